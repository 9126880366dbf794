/* head_rows.c - the heads of a layer on the whole screen: one a row with bars and a small spectrum, and the spectra of
 * all heads beside each other. */
#include "ui/views/layers_view.h"
#include "ui/views/whole.h"

#include "ui/format.h"

#include <math.h>
#include <stdio.h>

enum {
    NAME_CELLS = 6,
    BAR_CELLS = 7, /* with its blank */
    LONG_BAR = 13,
    NUMBER_CELLS = 6,
    MASS_CELLS = 7,
    N_MASSES = 3,
    LEAST_SPARK = 12,
    TITLED_SPARK = 16,
    MOST_SPARK = 40
};

/* Where the columns are, for a width. */
struct head_columns {
    int bar, bars_at, numbers_at, masses_at, spark_at, spark;
    bool masses;
    double rel_top, routing_top, angle_top; /* of the scales */
};

static struct head_columns divide(int width, bool masses)
{
    struct head_columns c = {.bar = BAR_CELLS, .bars_at = NAME_CELLS, .masses = masses};
    int fixed = NAME_CELLS + 4 * NUMBER_CELLS + (masses ? N_MASSES * MASS_CELLS : 0) + 2;
    if (fixed + 2 * LONG_BAR + MOST_SPARK <= width)
        c.bar = LONG_BAR;
    c.numbers_at = c.bars_at + 2 * (c.bar + NUMBER_CELLS);
    c.masses_at = c.numbers_at + 2 * NUMBER_CELLS;
    c.spark_at = c.masses_at + (masses ? N_MASSES * MASS_CELLS : 0) + 2;
    c.spark = width - c.spark_at > MOST_SPARK ? MOST_SPARK : width - c.spark_at;
    return c;
}

static bool has_masses_of(const struct app *app, struct qk_session_needle *needle)
{
    return qk_session_needle(app->session, app->rows.selected, needle);
}

/* Role, number and drift of the head in a column of the heat map (q's first), and its drift in post. */
struct shown_head {
    enum qk_role role;
    int head;
    const struct qk_head_drift *now, *post;
    double routing, routing_post; /* NaN for a key head */
};

static struct shown_head head_at(const struct app *app, const struct qk_layer_drift *drift, int column)
{
    const struct qk_layer_drift *post = qk_session_drift(app->session, app->rows.selected);
    int n_q = drift->role[QK_Q].n_heads;
    struct shown_head shown = {
        .role = column < n_q ? QK_Q : QK_K, .head = column < n_q ? column : column - n_q};
    post = post != NULL && !post->norms_only ? post : drift;
    shown.now = &drift->role[shown.role].head[shown.head];
    shown.post = &post->role[shown.role].head[shown.head];
    shown.routing = qk_metric_head(drift, QK_METRIC_ROUTING, shown.role, shown.head);
    shown.routing_post = qk_metric_head(post, QK_METRIC_ROUTING, shown.role, shown.head);
    return shown;
}

/* --- spectra --- */

/* The largest of a head's angles that share cell i of `cells`. */
static double angle_of_cell(const struct qk_head_drift *head, int i, int cells)
{
    double largest = 0;
    int n = head->n_angles, first = (int)((long)i * n / cells), end = (int)((long)(i + 1) * n / cells);
    for (int k = first; k < (end > first ? end : first + 1) && k < n; k++)
        largest = fmax(largest, head->angle_deg[k]);
    return largest;
}

/* A head's angles as columns up to `top` degrees; post's are shaded behind those of a choice. */
static void draw_angles(struct canvas *canvas, struct area area, const struct shown_head *shown, double top)
{
    int n = shown->now->n_angles > shown->post->n_angles ? shown->now->n_angles : shown->post->n_angles;
    int cells = n < area.w ? n : area.w;
    for (int i = 0; i < cells && top > 0; i++) {
        int now = (int)lround(angle_of_cell(shown->now, i, cells) / top * area.h * 8),
            post = (int)lround(angle_of_cell(shown->post, i, cells) / top * area.h * 8);
        for (int row = 0; row < area.h; row++) {
            int level = now - 8 * row;
            bool shaded = level <= 0 && post > 8 * row && shown->now != shown->post;
            level = level < 0 ? 0 : level > 8 ? 8 : level;
            draw_text(canvas, area.y + area.h - 1 - row, area.x + i, 1, ALIGN_LEFT,
                shaded                ? STYLE_GONE
                : shown->role == QK_Q ? STYLE_Q
                                      : STYLE_K,
                shaded ? theme_glyph(canvas->theme, GLYPH_GONE) : theme_column_part(canvas->theme, level));
        }
    }
}

enum {
    SPECTRUM_GAP = 2,
    LEAST_SPECTRUM = 10,
    MOST_SPECTRUM = 40,
    SPECTRUM_AXIS = 6,
    LEAST_HIGH = 2,
    MOST_HIGH = 12
};

/* How spectra are laid out: `across` in a row, each `wide` cells and `high` rows below its name; `rows` of them. */
struct grid {
    int across, wide, high, rows;
};

static struct grid grid_of(const struct app *app, int width, int height)
{
    int n = head_columns(app), room = width - SPECTRUM_AXIS;
    struct grid best = {0};
    for (int across = 1; across <= n; across++) {
        int wide = room / across - SPECTRUM_GAP, rows = (n + across - 1) / across;
        if (wide < LEAST_SPECTRUM)
            break;
        int high = (height - 1) / rows - 1;
        high = high > MOST_HIGH ? MOST_HIGH : high;
        wide = wide > MOST_SPECTRUM ? MOST_SPECTRUM : wide;
        if (high >= LEAST_HIGH && high * wide >= best.high * best.wide)
            best = (struct grid){across, wide, high, rows};
    }
    return best;
}

int spectra_rows(const struct app *app, int width, int height)
{
    struct grid grid = grid_of(app, width, height);
    return grid.rows > 0 ? 1 + grid.rows * (1 + grid.high) : 0;
}

void draw_spectra(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_layer_drift *drift)
{
    struct grid grid = grid_of(app, area.w, area.h);
    const char *degree = theme_glyph(&app->theme, GLYPH_DEGREE);
    double top = hottest(app, QK_METRIC_ANGLE_MAX);
    char number[NUMBER_TEXT];
    if (grid.rows == 0)
        return;
    int used = draw_run(canvas, area.y, area.x, area.w, STYLE_HEADING, "principal angles");
    draw_format(canvas, area.y, area.x + used, area.w - used, STYLE_DIM,
        "  from small to large, scale 0 to %s%s", format_number(number, top), degree);
    for (int c = 0; c < head_columns(app); c++) {
        struct shown_head shown = head_at(app, drift, c);
        int y = area.y + 1 + c / grid.across * (1 + grid.high),
            x = area.x + SPECTRUM_AXIS + c % grid.across * (grid.wide + SPECTRUM_GAP);
        canvas->selected = c == app->head;
        used = draw_format(canvas, y, x, grid.wide, canvas->selected ? STYLE_STRONG : STYLE_HEADING, "%s%d",
            qk_role_name(shown.role), shown.head);
        canvas->selected = false;
        draw_format(canvas, y, x + used + 1, grid.wide - used - 1, STYLE_DIM, "%s%s",
            format_number(number, shown.now->angle_max_deg), degree);
        draw_angles(canvas, (struct area){y + 1, x, grid.high, grid.wide}, &shown, top);
        if (c % grid.across != 0)
            continue; /* ticks stand before the first of a row */
        draw_text(
            canvas, y + 1, area.x, SPECTRUM_AXIS - 1, ALIGN_RIGHT, STYLE_DIM, format_number(number, top));
        draw_text(canvas, y + grid.high, area.x, SPECTRUM_AXIS - 1, ALIGN_RIGHT, STYLE_DIM, "0");
    }
}

/* --- rows --- */

/* The masses that have columns, without choices and with any. */
static const struct {
    const char *label;
    enum needle_value value;
} MASSES[2][N_MASSES] = {{{"m.pre", NEEDLE_PRE}, {"m.post", NEEDLE_POST}, {"m.drop", NEEDLE_DROP}},
    {{"m.pre", NEEDLE_PRE}, {"m.post", NEEDLE_POST}, {"m.now", NEEDLE_NOW}}};

static void draw_heading(
    const struct app *app, struct canvas *canvas, struct area area, const struct head_columns *c, int shown)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    const char *degree = app->theme.ascii ? "" : " °";
    struct qk_session_needle needle;
    bool chosen = has_masses_of(app, &needle) && needle.current_is != QK_CURRENT_POST;
    int y = area.y, x = area.x, n = head_columns(app);
    char top[NUMBER_TEXT], text[32] = "head";
    if (shown < n)
        snprintf(text, sizeof text, "%d/%d", view->first_head + shown, n);
    draw_text(canvas, y, x, NAME_CELLS, ALIGN_LEFT, STYLE_FOCUS, text);
    draw_text(canvas, y, x + c->bars_at, c->bar + NUMBER_CELLS, ALIGN_LEFT, STYLE_HEADING, "rel. %");
    draw_text(canvas, y, x + c->bars_at + c->bar + NUMBER_CELLS, c->bar + NUMBER_CELLS, ALIGN_LEFT,
        STYLE_HEADING, "routing %");
    draw_format(canvas, y, x + c->numbers_at, NUMBER_CELLS, STYLE_HEADING, "angle");
    draw_format(
        canvas, y, x + c->numbers_at + NUMBER_CELLS + 1, NUMBER_CELLS, STYLE_HEADING, "max%s", degree);
    for (int i = 0; c->masses && i < N_MASSES; i++)
        draw_text(canvas, y, x + c->masses_at + i * MASS_CELLS, MASS_CELLS, ALIGN_RIGHT, STYLE_HEADING,
            MASSES[chosen][i].label);
    if (c->spark >= LEAST_SPARK)
        draw_format(canvas, y, x + c->spark_at, c->spark, STYLE_HEADING,
            c->spark >= TITLED_SPARK ? "angles to %s%s" : "to %s%s", format_number(top, c->angle_top),
            app->theme.ascii ? "" : "°");
}

static void draw_bar_of(
    struct canvas *canvas, struct area area, enum style style, double top, double now, double post)
{
    char number[NUMBER_TEXT];
    if (isnan(now))
        return;
    draw_bar(canvas, area.y, area.x, area.w - NUMBER_CELLS - 1, style, top > 0 ? now / top : 0,
        top > 0 ? post / top : 0);
    draw_text(canvas, area.y, area.x + area.w - NUMBER_CELLS - 1, NUMBER_CELLS - 1, ALIGN_RIGHT, STYLE_TEXT,
        format_number(number, 100 * now));
}

static void draw_head_row(const struct app *app, struct canvas *canvas, struct area area,
    const struct head_columns *c, const struct qk_layer_drift *drift, int column)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    const struct qk_layer_choice *choice = &qk_session_selection(app->session)->choice[app->rows.selected];
    struct shown_head shown = head_at(app, drift, column);
    struct qk_session_needle needle;
    int y = area.y, x = area.x, cells = c->bar + NUMBER_CELLS;
    bool kept = qk_layer_choice_of(choice, shown.role, shown.head).mode == QK_KEEP;
    char text[NUMBER_TEXT];
    canvas->selected = column == app->head;
    draw_text(canvas, y, x, area.w, ALIGN_LEFT, STYLE_TEXT, "");
    draw_format(canvas, y, x, NAME_CELLS, !kept ? STYLE_CHOICE : STYLE_TEXT, "%s%s%d",
        kept ? " " : theme_glyph(&app->theme, GLYPH_BULLET), qk_role_name(shown.role), shown.head);
    draw_bar_of(canvas, (struct area){y, x + c->bars_at, 1, cells}, shown.role == QK_Q ? STYLE_Q : STYLE_K,
        c->rel_top, shown.now->rel_fro, shown.post->rel_fro);
    draw_bar_of(canvas, (struct area){y, x + c->bars_at + cells, 1, cells}, STYLE_ROUTING, c->routing_top,
        shown.routing, shown.routing_post);
    draw_text(canvas, y, x + c->numbers_at, NUMBER_CELLS - 1, ALIGN_RIGHT, STYLE_TEXT,
        drift->norms_only ? theme_glyph(&app->theme, GLYPH_WAIT)
                          : format_number(text, shown.now->angle_mean_deg));
    draw_text(canvas, y, x + c->numbers_at + NUMBER_CELLS, NUMBER_CELLS - 1, ALIGN_RIGHT, STYLE_TEXT,
        drift->norms_only ? "" : format_number(text, shown.now->angle_max_deg));
    for (int i = 0; c->masses && shown.role == QK_Q && i < N_MASSES && has_masses_of(app, &needle); i++)
        draw_text(canvas, y, x + c->masses_at + i * MASS_CELLS, MASS_CELLS, ALIGN_RIGHT, STYLE_TEXT,
            format_mass(text,
                needle_value(&needle, MASSES[needle.current_is != QK_CURRENT_POST][i].value, shown.head),
                MASS_CELLS - 1));
    canvas->selected = canvas->selected && canvas->theme->tinted;
    if (c->spark >= LEAST_SPARK && !drift->norms_only)
        draw_angles(canvas, (struct area){y, x + c->spark_at, 1, c->spark}, &shown, c->angle_top);
    canvas->selected = false;
    if (column == app->head && view->panel == PANEL_HEADS) {
        canvas->cursor_y = y;
        canvas->cursor_x = x;
    }
}

void place_head_rows(struct app *app, struct area area)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    view->heads_area = (struct area){area.y + 1, area.x, area.h - 1, area.w};
    view->head_cells = 0; /* they are rows */
    scroll_heads(app, area.h - 1, head_columns(app));
}

void draw_head_rows(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_layer_drift *drift)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    struct qk_session_needle needle;
    struct head_columns c = divide(area.w, has_masses_of(app, &needle));
    c.rel_top = hottest(app, QK_METRIC_REL_FRO);
    c.routing_top = hottest(app, QK_METRIC_ROUTING);
    c.angle_top = hottest(app, QK_METRIC_ANGLE_MAX);
    int n = head_columns(app) - view->first_head, shown = n < area.h - 1 ? n : area.h - 1;
    draw_heading(app, canvas, area, &c, shown);
    for (int i = 0; i < shown; i++)
        draw_head_row(
            app, canvas, (struct area){area.y + 1 + i, area.x, 1, area.w}, &c, drift, view->first_head + i);
}
