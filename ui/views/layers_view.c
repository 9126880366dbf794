/* layers_view.c - the layers as a list and in detail: moving, finding, sorting, and how they are shown. */
#include "ui/views/layers_view.h"

#include "base/mem.h"
#include "ui/dispatch.h"
#include "ui/handlers.h"
#include "ui/message.h"
#include "ui/preconditions.h"
#include "ui/terminal.h"
#include "ui/views/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- moving --- */

static void move_heads(struct app *app, enum action action)
{
    int n = head_columns(app);
    if (action == ACTION_LEFT)
        app->head--;
    if (action == ACTION_RIGHT)
        app->head++;
    if (action == ACTION_FIRST)
        app->head = 0;
    if (action == ACTION_LAST)
        app->head = n - 1;
    app->head = app->head >= n ? n - 1 : app->head;
    app->head = app->head < 0 ? 0 : app->head;
}

static void move_layers(struct app *app, enum action action)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    struct rows *rows = &app->rows;
    int at = rows_at(rows), page = rows->height > 1 ? rows->height - 1 : 1, half = (page + 1) / 2;
    bool heads = view->panel == PANEL_HEADS && (action == ACTION_FIRST || action == ACTION_LAST);
    if (heads || action == ACTION_LEFT || action == ACTION_RIGHT) {
        move_heads(app, action);
        return;
    }
    at += action == ACTION_UP          ? -1
          : action == ACTION_DOWN      ? 1
          : action == ACTION_PAGE_UP   ? -page
          : action == ACTION_PAGE_DOWN ? page
          : action == ACTION_HALF_UP   ? -half
          : action == ACTION_HALF_DOWN ? half
          : action == ACTION_FIRST     ? -rows->n
                                       : rows->n;
    rows_select(rows, at);
}

/* --- sorting --- */

static unsigned set_order(struct app *app, enum column_id column, bool reverse)
{
    struct rows *rows = &app->rows;
    rows->ordered = true;
    rows->reverse = reverse;
    rows->sort = column;
    rows_update(rows, app->session);
    rows_select(rows, 0);
    const struct column *by = column_of(column);
    if (by->count != NULL && by->count(app) == 0)
        say(app, STYLE_WARNING, "sorted by %s: none is known yet", by->name);
    else
        say(app, STYLE_DIM, "sorted by %s%s", by->name, reverse ? ", reversed" : "");
    return REFRESH_ROWS | REFRESH_DRAW;
}

/* Sorts by that column; by the one that rows are sorted by: the other way around. */
static unsigned sort_by(struct app *app, enum column_id column)
{
    return set_order(app, column, column == app->rows.sort && !app->rows.reverse);
}

/* --- the two views --- */

void describe_list(const struct app *app, struct qk_text *text)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    const char *dot = theme_glyph(&app->theme, GLYPH_DOT);
    int marked = rows_marked(&app->rows);
    if (qk_session_effective(app->session))
        qk_text_add(text, " %s with norm gains", dot);
    if (view->show_current)
        qk_text_add(text, " %s heads of the current model", dot);
    if (app->rows.filter[0] != '\0')
        qk_text_add(text, " %s filter '%s' shows %d", dot, app->rows.filter, app->rows.n);
    if (app->rows.n > app->rows.height && app->rows.height > 0)
        qk_text_add(text, " %s row %d/%d", dot, rows_at(&app->rows) + 1, app->rows.n);
    if (marked > 0)
        qk_text_add(text, " %s %d marked", dot, marked);
}

static bool find_layer(struct app *app, bool backwards)
{
    int at = rows_at(&app->rows);
    return rows_find(&app->rows, app->session, backwards ? at - 1 : at + 1, backwards);
}

/* Sorts by the column of that heading. */
static bool click_heading(struct app *app, int x)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    int count[COLUMN_COUNT];
    columns_count(app, count);
    struct placed_columns placed = columns_place(view->list_area.w, count, app->rows.sort);
    enum column_id column = column_at(&placed, x);
    if (column < COLUMN_COUNT && column_of(column)->name != NULL)
        sort_by(app, column);
    return false;
}

static bool click_layer(struct app *app, int y, int x)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    struct area area = view->list_area;
    click_head(app, y, x);
    if (y < area.y || y >= area.y + area.h || x >= area.x + area.w)
        return false;
    if (y == area.y)
        return click_heading(app, x - area.x);
    int row = app->rows.top + y - area.y - 1;
    if (row >= app->rows.n)
        return false;
    bool again = app->rows.layer[row] == app->rows.selected;
    rows_select(&app->rows, row);
    return again;
}

/* Of range, marks and filter the first that there is. */
static unsigned back_rows(struct app *app)
{
    struct rows *rows = &app->rows;
    if (rows->anchor >= 0)
        rows->anchor = -1;
    else if (rows_marked(rows) > 0)
        memset(rows->marked, 0, (size_t)app->pair->n_layers * sizeof *rows->marked);
    else if (rows->filter[0] != '\0')
        rows->filter[0] = '\0';
    else
        return REFRESH_NONE;
    return REFRESH_ROWS | REFRESH_DRAW;
}

static unsigned back_list(struct app *app)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    unsigned refresh = back_rows(app);
    if (refresh != REFRESH_NONE)
        return refresh;
    if (view->panel == PANEL_LAYERS)
        return probe_busy(app) ? run_probe_stop(app, ACTION_PROBE_STOP, NULL) : REFRESH_NONE;
    view->panel = PANEL_LAYERS;
    return REFRESH_DRAW;
}

static void place_whole_detail(struct app *app, const struct canvas *canvas, struct area area)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    view->list_area.h = 0;
    place_detail(app, canvas, area);
}

static enum qk_code start_layers(struct app *app, struct qk_error *err)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    view->detail_shown = true;
    return app->options->needles != NULL ? qk_strdup_to(&view->needles.file, app->options->needles, err)
                                         : QK_OK;
}

static void report_passes(struct app *app)
{
    probe_report(app);
    needles_report(app);
}

static void end_layers(void *state)
{
    struct layers_view *view = state;
    free(view->needles.file);
}

const struct screen_ops list_screen = {
    .state_size = sizeof(struct layers_view),
    .start = start_layers,
    .place = place_layers,
    .draw = draw_layers,
    .go = move_layers,
    .find = find_layer,
    .click = click_layer,
    .back = back_list,
    .report = report_passes,
    .end = end_layers,
};

/* The same keys with the detail on the whole screen. */
const struct screen_ops detail_screen = {
    .place = place_whole_detail,
    .draw = draw_detail,
    .go = move_layers,
    .find = find_layer,
    .click = click_layer,
    .back = back_rows,
};

/* --- handlers --- */

unsigned run_move(struct app *app, enum action action, const char *argument)
{
    (void)argument;
    top_ops(app)->go(app, action);
    return REFRESH_DRAW;
}

unsigned run_layer(struct app *app, enum action action, const char *argument)
{
    if (argument == NULL)
        return ask_argument(app, action, "layer ", "", "number of a layer");
    char *end;
    long number = strtol(argument, &end, 10);
    for (int i = 0; i < app->rows.n && *end == '\0' && end != argument; i++) {
        if (app->rows.layer[i] == number) {
            rows_select(&app->rows, i);
            return REFRESH_DRAW;
        }
    }
    return say_failure(app, "layer: '%s' is not in view", argument);
}

unsigned run_panel(struct app *app, enum action action, const char *argument)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    (void)action; /* two panels: next and previous are the same */
    (void)argument;
    bool both = view->detail_area.h > 0 && view->list_area.h > 0;
    if (!both && view->panel == PANEL_LAYERS)
        return say_failure(app, "there is only one panel here: Enter opens the layer, d shows its detail");
    view->panel = view->panel == PANEL_LAYERS ? PANEL_HEADS : PANEL_LAYERS;
    return REFRESH_DRAW;
}

unsigned run_open(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    bool back = top_screen(app) != SCREEN_LIST && top_screen(app) != SCREEN_MAP;
    if (back || (app->depth > 1 && app->screen[app->depth - 2] == SCREEN_DETAIL))
        close_screen(app);
    else
        open_screen(app, SCREEN_DETAIL);
    return REFRESH_DRAW;
}

/* --- finding --- */

unsigned run_search(struct app *app, enum action action, const char *argument)
{
    if (argument == NULL)
        return ask_argument(
            app, action, "/", "", "a word, or layers as 'linear', '3,5-8', 'routing>0.15'; n and N go on");
    struct rows *rows = &app->rows;
    if (argument[0] == '\0') { /* as in other programs: what was searched for last, once more */
        snprintf(rows->search, sizeof rows->search, "%s", app->prompt_before);
        return rows->search[0] != '\0' ? run_search_on(app, ACTION_NEXT, NULL) : REFRESH_DRAW;
    }
    snprintf(rows->search, sizeof rows->search, "%.*s", MATCH_TEXT - 1, argument);
    bool layers = (here(app) & ON_LAYERS) != 0;
    bool found =
        layers ? rows_find(rows, app->session, rows_at(rows), false) : top_ops(app)->find(app, false);
    return found ? REFRESH_DRAW : say_failure(app, "not found: %s", argument);
}

unsigned run_search_on(struct app *app, enum action action, const char *argument)
{
    (void)argument;
    if (!top_ops(app)->find(app, action == ACTION_PREVIOUS))
        return say_failure(app, "not found: %s", app->rows.search);
    return REFRESH_DRAW;
}

unsigned run_filter(struct app *app, enum action action, const char *argument)
{
    if (argument == NULL)
        return ask_argument(app, action, "filter ", app->rows.filter,
            "a word, or layers as 'linear', '3,5-8', 'routing>0.15'; empty shows all");
    snprintf(app->rows.filter, sizeof app->rows.filter, "%.*s", MATCH_TEXT - 1, argument);
    return REFRESH_ROWS;
}

static unsigned take_order(struct app *app, int column)
{
    return sort_by(app, column < 0 ? app->rows.sort : (enum column_id)column);
}

static void fill_orders(struct app *app, struct menu *menu)
{
    const struct rows *rows = &app->rows;
    snprintf(menu->title, sizeof menu->title, "sort by: its key again turns the order around");
    for (int c = 0; c < COLUMN_COUNT; c++) {
        const struct column *column = column_of((enum column_id)c);
        if (column->name == NULL)
            continue;
        bool sorted = c == (int)rows->sort, up = column->ascending != rows->reverse;
        struct menu_entry *entry = menu_add(menu, column->key, c, column->name);
        entry->style = STYLE_CHOICE;
        snprintf(entry->note, sizeof entry->note, "%s", theme_glyph(&app->theme, up ? GLYPH_UP : GLYPH_DOWN));
        if (!sorted)
            snprintf(entry->note, sizeof entry->note, " ");
    }
    menu_add(menu, 's', -1, "reverse");
}

unsigned run_sort(struct app *app, enum action action, const char *argument)
{
    static const char NAMES[] = QK_COLUMN_NAMES;
    struct rows *rows = &app->rows;
    enum column_id column;
    if (action == ACTION_SORT_REVERSE)
        return sort_by(app, rows->sort);
    if (argument == NULL || argument[0] == '\0')
        return menu_open(app, fill_orders, take_order, (int)rows->sort);
    if (!column_parse(argument, &column))
        return say_failure(app, "sort: '%s' is no column (expected %.*s)", argument,
            (int)(sizeof NAMES - sizeof ", "), NAMES);
    return set_order(app, column, false);
}

/* --- view --- */

unsigned run_detail(struct app *app, enum action action, const char *argument)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    (void)action;
    (void)argument;
    view->detail_shown = !view->detail_shown;
    if (!view->detail_shown)
        view->panel = PANEL_LAYERS;
    return REFRESH_DRAW;
}

unsigned run_current(struct app *app, enum action action, const char *argument)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    (void)action;
    (void)argument;
    view->show_current = !view->show_current;
    say(app, STYLE_DIM, "heads of %s, from pre",
        view->show_current ? "post with the choices applied" : "post as it is");
    return REFRESH_DRAW;
}

unsigned run_effective(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    qk_session_recompute(app->session, !qk_session_effective(app->session));
    say(app, STYLE_DIM, "numbers %s the gains of the q/k norms",
        qk_session_effective(app->session) ? "with" : "without");
    return REFRESH_ROWS;
}

unsigned run_recompute(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    qk_session_recompute(app->session, qk_session_effective(app->session));
    say(app, STYLE_DIM, "every number is computed again");
    probe_again(app);
    needles_again(app);
    return REFRESH_ROWS;
}

unsigned run_copy(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    const struct qk_layer *post = selected_layer(app)->side[QK_POST];
    struct qk_lines names = {0};
    bool whole = true;
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        if (post->role[r].weight != NULL && (r == 0 || post->role[r].weight != post->role[0].weight))
            whole = whole && qk_lines_add(&names, NULL, "%s", post->role[r].weight->name) == QK_OK;
    bool any = names.n > 0;
    whole = whole && (!any || terminal_copy(&names));
    qk_lines_free(&names);
    if (!whole)
        return say_failure(app, "out of memory");
    if (!any)
        return say_failure(app, "copy: the layer has no tensor for q or k");
    say(app, STYLE_DIM, "tensor names handed to the terminal's clipboard");
    return REFRESH_DRAW;
}
