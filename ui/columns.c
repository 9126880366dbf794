/* columns.c - the table of the list's columns, looking them up, and dividing a list's width among them. */
#include "ui/columns.h"

#include "ui/app.h"

#include <string.h>

static const struct column COLUMNS[COLUMN_COUNT] = {
#define SORTED(id, name_, value_, draw_, ...)                                                                \
    [COLUMN_##id] = {.name = name_, .value = value_, .draw = draw_, __VA_ARGS__},
#define UNSORTED(id, draw_, ...) [COLUMN_##id] = {.draw = draw_, __VA_ARGS__},
    QK_COLUMNS(SORTED, UNSORTED)
#undef SORTED
#undef UNSORTED
};

const struct column *column_of(enum column_id id)
{
    return &COLUMNS[id];
}

bool column_parse(const char *name, enum column_id *id)
{
    for (int i = 0; i < COLUMN_COUNT; i++) {
        if (COLUMNS[i].name != NULL && strcmp(name, COLUMNS[i].name) == 0) {
            *id = (enum column_id)i;
            return true;
        }
    }
    return false;
}

/* --- what fits --- */

void columns_count(const struct app *app, int count[COLUMN_COUNT])
{
    for (int i = 0; i < COLUMN_COUNT; i++)
        count[i] = COLUMNS[i].count != NULL ? COLUMNS[i].count(app) : 1;
}

/* The cells that the table gives the column; 0: it is not there. */
static int size_of(const struct column *column, int width, int count)
{
    int cells = 0;
    for (int i = 0; i < COLUMN_SIZES && column->size[i].cells > 0 && width >= column->size[i].from; i++)
        cells = column->size[i].cells;
    return cells * count;
}

static int with_gap(int id, const int cells[COLUMN_COUNT])
{
    return cells[id] > 0 ? cells[id] + COLUMNS[id].gap : 0;
}

/* The cells of each column by the table alone. */
static void choose_sizes(int width, const int count[COLUMN_COUNT], int cells[COLUMN_COUNT])
{
    for (int i = 0; i < COLUMN_COUNT; i++)
        cells[i] = size_of(&COLUMNS[i], width, count[i]);
    for (int i = 0; i < COLUMN_COUNT; i++) {
        int taken = COLUMNS[i].yields_to != COLUMN_INDEX ? with_gap((int)COLUMNS[i].yields_to, cells) : 0;
        if (taken > 0)
            cells[i] = width - taken >= COLUMNS[i].beside ? size_of(&COLUMNS[i], width - taken, count[i]) : 0;
    }
}

/* Shares what is left among the columns that can use it. */
static void share_rest(int width, int cells[COLUMN_COUNT])
{
    int left = width, n = 0;
    for (int i = 0; i < COLUMN_COUNT; i++) {
        bool shares = COLUMNS[i].fit != NULL && cells[i] > 0;
        n += shares;
        left -= shares ? 0 : with_gap(i, cells);
    }
    for (int i = 0; i < COLUMN_COUNT; i++)
        if (COLUMNS[i].fit != NULL && cells[i] > 0)
            cells[i] = COLUMNS[i].fit(left / n - COLUMNS[i].gap);
}

/* Adds the frozen columns, or the others, behind those that are there. */
static int add_columns(struct placed_columns *out, int x, bool frozen, const int cells[COLUMN_COUNT],
    const struct column *const shown[COLUMN_COUNT])
{
    for (int i = 0; i < COLUMN_COUNT; i++) {
        if (cells[i] == 0 || COLUMNS[i].frozen != frozen)
            continue;
        out->at[out->n].column = shown[i];
        out->at[out->n].x = x;
        out->at[out->n++].cells = cells[i];
        x += with_gap(i, cells);
    }
    return x;
}

/* Where notes have their place: behind the frozen columns, up to one that is drawn beside a note. */
static void place_notes(struct placed_columns *out, int from, int width)
{
    int end = width;
    for (int i = out->n - 1; i >= 0; i--)
        if (out->at[i].x >= from && out->at[i].column->needs == CELL_NEEDS_QK)
            end = out->at[i].x - 1;
    out->note_x = from;
    out->note_cells = end > from ? end - from : 0;
}

/* Gives the column by which rows are sorted a place: its own, that of another one, a new one where there is room for
 * it, or that of the kind. */
static void show_sorted(
    int width, enum column_id sort, int cells[COLUMN_COUNT], const struct column *shown[COLUMN_COUNT])
{
    const enum column_id host[] = {COLUMNS[sort].instead_of, COLUMN_EFFECTS, COLUMN_REACH};
    int needed = COLUMNS[sort].size[0].cells, left = width;
    for (size_t i = 0; i < sizeof host / sizeof host[0] && cells[sort] == 0; i++)
        if (host[i] != COLUMN_INDEX && cells[host[i]] >= needed) {
            shown[host[i]] = &COLUMNS[sort];
            return;
        }
    for (int i = 0; i < COLUMN_COUNT; i++)
        left -= with_gap(i, cells);
    if (cells[sort] == 0 && left >= needed + COLUMNS[sort].gap)
        cells[sort] = needed;
    else if (cells[sort] == 0)
        shown[COLUMN_KIND] = &COLUMNS[sort];
}

enum column_id column_at(const struct placed_columns *placed, int x)
{
    for (int k = 0; k < placed->n; k++) {
        const struct column *column = placed->at[k].column;
        if (x >= placed->at[k].x && x < placed->at[k].x + placed->at[k].cells)
            return (enum column_id)(column - COLUMNS);
    }
    return COLUMN_COUNT;
}

struct placed_columns columns_place(int width, const int count[COLUMN_COUNT], enum column_id sort)
{
    struct placed_columns out = {0};
    int cells[COLUMN_COUNT];
    const struct column *shown[COLUMN_COUNT];
    for (int i = 0; i < COLUMN_COUNT; i++)
        shown[i] = &COLUMNS[i];
    choose_sizes(width, count, cells);
    show_sorted(width, sort, cells, shown);
    share_rest(width, cells);
    int left = add_columns(&out, 0, true, cells, shown);
    add_columns(&out, left, false, cells, shown);
    place_notes(&out, left, width);
    out.at[out.n - 1].cells = width - out.at[out.n - 1].x;
    return out;
}

/* --- cells without a number --- */

void draw_no_number(
    const struct app *app, struct canvas *canvas, struct area area, enum align align, bool waits)
{
    draw_text(canvas, area.y, area.x, area.w, align, waits ? STYLE_PENDING : STYLE_DIM,
        waits ? theme_glyph(&app->theme, GLYPH_WAIT) : "-");
}

enum style current_style(enum qk_current_range current)
{
    return current == QK_CURRENT_POST      ? STYLE_TEXT
           : current == QK_CURRENT_PENDING ? STYLE_PENDING
           : current == QK_CURRENT_FAILED  ? STYLE_ERROR
                                           : STYLE_CHOICE;
}

const char *current_mark(const struct app *app, enum qk_current_range current)
{
    return current == QK_CURRENT_FAILED ? "?" : theme_glyph(&app->theme, GLYPH_WAIT);
}
