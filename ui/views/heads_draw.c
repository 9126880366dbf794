/* heads_draw.c - the heat map of the selected layer's heads, and the principal angles of one of them. */
#include "ui/views/layers_view.h"

#include "ui/format.h"

#include <math.h>
#include <stdio.h>

enum { NARROW_LABEL = 8, NARROW_HEAD = 7, WIDE_LABEL = 10, WIDE_HEAD = 8, WALL_CELLS = 2, AXIS_CELLS = 6 };

/* A row of the heat map: a metric of the drift, or a needle mass. */
struct heat_row {
    bool needle;
    enum qk_metric metric;
    enum needle_value value;
    const char *label, *tight_label; /* of a needle mass */
};

/* Each in its own order: a low panel shows the first ones. */
static const struct heat_row DRIFT_ROWS[] = {{.metric = QK_METRIC_REL_FRO}, {.metric = QK_METRIC_ROUTING},
    {.metric = QK_METRIC_ANGLE_MEAN}, {.metric = QK_METRIC_ANGLE_MAX}, {.metric = QK_METRIC_COSINE},
    {.metric = QK_METRIC_NORM_RATIO}};
static const struct heat_row NEEDLE_HEAT[] = {
    {.needle = true, .value = NEEDLE_NOW, .label = "mass now", .tight_label = "m.now"},
    {.needle = true, .value = NEEDLE_POST, .label = "mass post", .tight_label = "m.post"},
    {.needle = true, .value = NEEDLE_DROP, .label = "mass drop", .tight_label = "m.drop"},
    {.needle = true, .value = NEEDLE_PRE, .label = "mass pre", .tight_label = "m.pre"},
};
enum {
    N_DRIFT_ROWS = sizeof DRIFT_ROWS / sizeof DRIFT_ROWS[0],
    N_NEEDLE_HEAT = sizeof NEEDLE_HEAT / sizeof NEEDLE_HEAT[0],
    N_HEAT_ROWS = N_DRIFT_ROWS + N_NEEDLE_HEAT
};

static int add_needle_rows(const struct app *app, struct heat_row out[N_HEAT_ROWS], int n)
{
    struct qk_session_needle needle;
    if (app->rows.selected < 0 || !qk_session_needle(app->session, app->rows.selected, &needle))
        return n;
    for (int i = 0; i < N_NEEDLE_HEAT; i++)
        if (NEEDLE_HEAT[i].value != NEEDLE_NOW || needle.current_is != QK_CURRENT_POST)
            out[n++] = NEEDLE_HEAT[i];
    return n;
}

/* The rows in the order of their importance: masses come first in a list that is sorted by them. */
static int find_rows(const struct app *app, struct heat_row out[N_HEAT_ROWS])
{
    bool first = app->rows.sort == COLUMN_NEEDLE || app->rows.sort == COLUMN_DROP;
    int n = first ? add_needle_rows(app, out, 0) : 0;
    for (int i = 0; i < N_DRIFT_ROWS; i++)
        out[n++] = DRIFT_ROWS[i];
    return first ? n : add_needle_rows(app, out, n);
}

int heads_rows(const struct app *app)
{
    struct heat_row rows[N_HEAT_ROWS];
    return 1 + find_rows(app, rows);
}

int head_columns(const struct app *app)
{
    const struct qk_pair_layer *layer = selected_layer(app);
    if (layer == NULL || !layer->has_qk)
        return 0;
    return layer->side[QK_POST]->role[QK_Q].n_heads + layer->side[QK_POST]->role[QK_K].n_heads;
}

/* Role and head of a column of the heat map. */
static enum qk_role role_of_column(const struct qk_pair_layer *layer, int column, int *head)
{
    int n_q = layer->side[QK_POST]->role[QK_Q].n_heads;
    *head = column < n_q ? column : column - n_q;
    return column < n_q ? QK_Q : QK_K;
}

enum qk_role selected_head(const struct app *app, int *head)
{
    return role_of_column(selected_layer(app), app->head, head);
}

/* --- heat map --- */

/* The distance of a value from "no drift", for its colour. */
static double heat(enum qk_metric metric, double value)
{
    if (metric == QK_METRIC_COSINE || metric == QK_METRIC_NORM_RATIO)
        return fabs(value - 1);
    return value;
}

double hottest(const struct app *app, enum qk_metric metric)
{
    double top = 0;
    for (int i = 0; i < app->pair->n_layers; i++) {
        const struct qk_layer_drift *drift = qk_session_drift(app->session, i);
        if (drift == NULL || !drift->has_qk)
            continue;
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            for (int h = 0; h < drift->role[r].n_heads; h++)
                top = fmax(top, heat(metric, qk_metric_head(drift, metric, (enum qk_role)r, h)));
    }
    return top;
}

/* The largest drop of all heads, so that the colour of a drop does not depend on how large masses can be. */
static double largest_drop(const struct app *app)
{
    double top = 0;
    for (int i = 0; i < app->pair->n_layers; i++)
        top = fmax(top, drop_value(NULL, app->session, i)); /* passes over NaN */
    return top;
}

static double row_top(const struct app *app, const struct heat_row *row)
{
    if (!row->needle)
        return hottest(app, row->metric);
    return row->value == NEEDLE_DROP ? largest_drop(app) : 1;
}

/* The value of a head in a row; NaN: it has none. Key heads have no mass of their own. */
static double row_value(const struct app *app, const struct heat_row *row, const struct qk_layer_drift *drift,
    enum qk_role role, int head)
{
    struct qk_session_needle needle;
    if (!row->needle)
        return qk_metric_head(drift, row->metric, role, head);
    if (role != QK_Q || !qk_session_needle(app->session, app->rows.selected, &needle))
        return NAN;
    return needle_value(&needle, row->value, head);
}

static void draw_heat_cell(const struct app *app, struct canvas *canvas, struct area cell,
    const struct heat_row *row, double value, double top)
{
    char number[NUMBER_TEXT];
    if (isnan(value)) {
        draw_text(canvas, cell.y, cell.x, cell.w, ALIGN_LEFT, STYLE_DIM, "");
        return;
    }
    double part = row->needle ? value : heat(row->metric, value);
    part = top > 0 ? fmax(fmin(part / top, 1), 0) : 0;
    enum style style = (enum style)(STYLE_HEAT + (int)lround(part * (HEAT_LEVELS - 1)));
    draw_text(
        canvas, cell.y, cell.x, 1, ALIGN_LEFT, style, theme_column_part(&app->theme, (int)ceil(part * 8)));
    draw_text(canvas, cell.y, cell.x + 1, cell.w - 1, ALIGN_LEFT, style,
        row->needle ? format_mass(number, value, cell.w - 2)
                    : format_metric(number, row->metric, value, cell.w - 2));
}

/* Shows the unit where there is room for it. */
static void draw_heat_label(
    const struct app *app, struct canvas *canvas, struct area cell, const struct heat_row *row)
{
    const struct qk_metric_info *info = qk_metric_info(row->metric);
    char text[32];
    if (row->needle) {
        bool fits = text_cells(canvas, row->label) < cell.w;
        draw_text(
            canvas, cell.y, cell.x, cell.w, ALIGN_LEFT, STYLE_HEADING, fits ? row->label : row->tight_label);
        return;
    }
    const char *unit = info->percent ? " %" : info->degrees && !app->theme.ascii ? " °" : "";
    snprintf(text, sizeof text, "%s%s", info->label, unit);
    draw_text(canvas, cell.y, cell.x, cell.w, ALIGN_LEFT, STYLE_HEADING,
        text_cells(canvas, text) < cell.w ? text : info->label);
}

void scroll_heads(struct app *app, int shown, int n)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    if (app->head >= n)
        app->head = n - 1;
    if (app->head < view->first_head)
        view->first_head = app->head;
    if (app->head >= view->first_head + shown)
        view->first_head = app->head - shown + 1;
    if (view->first_head > n - shown)
        view->first_head = n > shown ? n - shown : 0;
}

/* The rows that are shown. */
struct heat_map {
    struct heat_row row[N_HEAT_ROWS];
    double top[N_HEAT_ROWS];
    int n;
};

/* A head with a choice has a mark before its name. */
static void draw_head_column(const struct app *app, struct canvas *canvas, struct area area, int column,
    const struct qk_layer_drift *drift, const struct heat_map *map)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    int head;
    char name[16];
    enum qk_role role = role_of_column(selected_layer(app), column, &head);
    bool selected = column == app->head;
    const struct qk_layer_choice *choice = &qk_session_selection(app->session)->choice[app->rows.selected];
    bool kept = qk_layer_choice_of(choice, role, head).mode == QK_KEEP;
    snprintf(name, sizeof name, "%s%s%d", kept ? " " : theme_glyph(&app->theme, GLYPH_BULLET),
        qk_role_name(role), head);
    canvas->selected = selected;
    draw_text(canvas, area.y, area.x, area.w, ALIGN_LEFT,
        !kept      ? STYLE_CHOICE
        : selected ? STYLE_STRONG
                   : STYLE_HEADING,
        name);
    canvas->selected = selected && canvas->theme->tinted; /* reverse video would reverse the colours */
    for (int i = 0; i < map->n; i++)
        draw_heat_cell(app, canvas, (struct area){area.y + 1 + i, area.x, 1, area.w}, &map->row[i],
            row_value(app, &map->row[i], drift, role, head), map->top[i]);
    canvas->selected = false;
    if (selected && view->panel == PANEL_HEADS) {
        canvas->cursor_y = area.y;
        canvas->cursor_x = area.x;
    }
}

/* "head", with the numbers of the shown ones when that is not all. */
static void draw_heads_heading(
    const struct app *app, struct canvas *canvas, struct area cell, int shown, int n)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    char text[32] = "head";
    if (shown < n)
        snprintf(text, sizeof text, "%d-%d/%d", view->first_head + 1, view->first_head + shown, n);
    draw_text(canvas, cell.y, cell.x, cell.w, ALIGN_LEFT,
        view->panel == PANEL_HEADS ? STYLE_FOCUS : STYLE_HEADING, text);
}

static void draw_wall(const struct app *app, struct canvas *canvas, struct area area)
{
    for (int i = 0; i < area.h; i++)
        draw_text(canvas, area.y + i, area.x, WALL_CELLS, ALIGN_LEFT, STYLE_RULE,
            theme_glyph(&app->theme, GLYPH_WALL));
}

void place_heads(struct app *app, struct area area)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    int n = head_columns(app);
    bool wide = n * WIDE_HEAD + WIDE_LABEL + WALL_CELLS <= area.w;
    int label = wide ? WIDE_LABEL : NARROW_LABEL;
    view->head_cells = wide ? WIDE_HEAD : NARROW_HEAD;
    view->heads_area = (struct area){area.y, area.x + label, area.h, area.w - label};
    scroll_heads(app, (area.w - label - WALL_CELLS) / view->head_cells, n);
}

void draw_heads(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_layer_drift *drift)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    struct heat_map map;
    int n = head_columns(app), n_q = drift->role[QK_Q].n_heads, cells = view->head_cells;
    int x = view->heads_area.x, label = x - area.x, shown = (view->heads_area.w - WALL_CELLS) / cells;
    shown = n - view->first_head < shown ? n - view->first_head : shown;
    draw_heads_heading(app, canvas, (struct area){area.y, area.x, 1, label}, shown, n);
    map.n = find_rows(app, map.row);
    map.n = map.n < area.h - 1 ? map.n : area.h - 1;
    for (int i = 0; i < map.n; i++) {
        map.top[i] = row_top(app, &map.row[i]);
        draw_heat_label(app, canvas, (struct area){area.y + 1 + i, area.x, 1, label}, &map.row[i]);
    }
    for (int i = 0; i < shown; i++) {
        int column = view->first_head + i;
        if (column == n_q && i > 0) {
            draw_wall(app, canvas, (struct area){area.y, x, map.n + 1, WALL_CELLS});
            x += WALL_CELLS;
        }
        draw_head_column(app, canvas, (struct area){area.y, x, area.h, cells}, column, drift, &map);
        x += cells;
    }
}

void click_head(struct app *app, int y, int x)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    struct area area = view->heads_area;
    if (view->detail_area.h == 0 || head_columns(app) == 0 || y < area.y || y >= area.y + area.h ||
        x < area.x)
        return;
    if (view->head_cells == 0) { /* rows */
        int row = view->first_head + y - area.y;
        app->head = row < head_columns(app) ? row : app->head;
        return;
    }
    int n_q = selected_layer(app)->side[QK_POST]->role[QK_Q].n_heads, at = (x - area.x) / view->head_cells;
    if (view->first_head < n_q && view->first_head + at >= n_q)
        at = (x - area.x - WALL_CELLS) / view->head_cells;
    if (view->first_head + at < head_columns(app))
        app->head = view->first_head + at;
}

/* --- principal angles --- */

void draw_spectrum(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_layer_drift *drift)
{
    int head;
    const struct qk_pair_layer *layer = selected_layer(app);
    enum qk_role role = role_of_column(layer, app->head, &head);
    const struct qk_head_drift *h = &drift->role[role].head[head];
    const char *degree = theme_glyph(&app->theme, GLYPH_DEGREE);
    char mean[NUMBER_TEXT], top[NUMBER_TEXT], rank[64] = "";
    if (drift->norms_only) {
        draw_format(canvas, area.y, area.x, area.w, STYLE_PENDING, "angles of %s%d %s", qk_role_name(role),
            head, theme_glyph(&app->theme, GLYPH_WAIT));
        return;
    }
    if (h->rank[0] < layer->side[QK_POST]->head_dim || h->rank[1] < layer->side[QK_POST]->head_dim)
        snprintf(rank, sizeof rank, ", rank %d and %d of %d", h->rank[0], h->rank[1],
            layer->side[QK_POST]->head_dim);
    int used = draw_format(
        canvas, area.y, area.x, area.w, STYLE_HEADING, "angles of %s%d ", qk_role_name(role), head);
    draw_format(canvas, area.y, area.x + used, area.w - used, STYLE_TEXT, " %d, mean %s%s, max %s%s%s",
        h->n_angles, format_number(mean, h->angle_mean_deg), degree, format_number(top, h->angle_max_deg),
        degree, rank);
    if (area.h < 2 || h->n_angles == 0)
        return;
    int plot = area.h - 1;
    enum style style = role == QK_Q ? STYLE_Q : STYLE_K;
    if (plot >= 3)
        draw_text(canvas, area.y + plot, area.x, AXIS_CELLS, ALIGN_RIGHT, STYLE_DIM, "0");
    draw_format(canvas, area.y + 1, area.x, AXIS_CELLS, STYLE_DIM, "%*s", AXIS_CELLS,
        format_number(top, h->angle_max_deg));
    draw_columns(canvas, (struct area){area.y + 1, area.x + AXIS_CELLS + 1, plot, area.w - AXIS_CELLS - 1},
        style, h->angle_deg, h->n_angles, h->angle_max_deg);
}
