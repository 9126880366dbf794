/* detail_draw.c - everything about the selected layer: a heat map of its heads, the angles of one of them, its
 * attention ranges, and what the choice comes to. */
#include "ui/app.h"

#include "ui/format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NARROW_LABEL = 8, NARROW_HEAD = 7, WIDE_LABEL = 10, WIDE_HEAD = 8, WALL_CELLS = 2, AXIS_CELLS = 6 };

/* The rows of the heat map, the most telling first: a low panel shows the first ones. */
static const enum qk_metric HEAT_ROWS[] = {QK_METRIC_REL_FRO, QK_METRIC_ROUTING, QK_METRIC_ANGLE_MEAN,
    QK_METRIC_ANGLE_MAX, QK_METRIC_COSINE, QK_METRIC_NORM_RATIO};
enum { N_HEAT_ROWS = sizeof HEAT_ROWS / sizeof HEAT_ROWS[0] };

const struct qk_pair_layer *selected_layer(const struct app *app)
{
    return app->rows.selected >= 0 ? &app->pair->layer[app->rows.selected] : NULL;
}

const char *layer_obstacle(const struct qk_pair_layer *layer)
{
    if (layer->problem != NULL)
        return layer->problem;
    return layer->has_qk ? NULL : "it has no q and k";
}

bool layer_kept(const struct app *app, int layer)
{
    return qk_choices_keep(qk_session_selection(app->session)->choice[layer]);
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

/* --- heat map --- */

/* How far from "no drift" a value is, for its colour. */
static double heat(enum qk_metric metric, double value)
{
    if (metric == QK_METRIC_COSINE || metric == QK_METRIC_NORM_RATIO)
        return fabs(value - 1);
    return value;
}

/* The hottest head of all layers: colours mean the same from layer to layer. */
static double hottest(const struct app *app, enum qk_metric metric)
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

static void draw_heat_cell(const struct app *app, struct canvas *canvas, struct area cell,
    enum qk_metric metric, double value, double top)
{
    char number[NUMBER_TEXT];
    if (isnan(value)) {
        draw_text(canvas, cell.y, cell.x, cell.w, ALIGN_LEFT, STYLE_DIM, "");
        return;
    }
    double part = top > 0 ? fmin(heat(metric, value) / top, 1) : 0;
    enum style style = (enum style)(STYLE_HEAT + (int)lround(part * (HEAT_LEVELS - 1)));
    draw_text(
        canvas, cell.y, cell.x, 1, ALIGN_LEFT, style, theme_column_part(&app->theme, (int)ceil(part * 8)));
    draw_text(canvas, cell.y, cell.x + 1, cell.w - 1, ALIGN_LEFT, style,
        format_metric(number, metric, value, cell.w - 2));
}

/* The unit goes along where there is room for it. */
static void draw_heat_label(
    const struct app *app, struct canvas *canvas, struct area cell, enum qk_metric metric)
{
    const struct qk_metric_info *info = qk_metric_info(metric);
    char text[32];
    const char *unit = info->percent ? " %" : info->degrees && !app->theme.ascii ? " °" : "";
    snprintf(text, sizeof text, "%s%s", info->label, unit);
    draw_text(canvas, cell.y, cell.x, cell.w, ALIGN_LEFT, STYLE_HEADING,
        text_cells(canvas, text) < cell.w ? text : info->label);
}

/* Keeps the selected head in sight. */
static void scroll_heads(struct app *app, int shown, int n)
{
    if (app->head >= n)
        app->head = n - 1;
    if (app->head < app->first_head)
        app->first_head = app->head;
    if (app->head >= app->first_head + shown)
        app->first_head = app->head - shown + 1;
    if (app->first_head > n - shown)
        app->first_head = n > shown ? n - shown : 0;
}

static void draw_head_column(const struct app *app, struct canvas *canvas, struct area area, int column,
    const struct qk_layer_drift *drift, const double top[N_HEAT_ROWS])
{
    int head;
    char name[16];
    enum qk_role role = role_of_column(selected_layer(app), column, &head);
    bool selected = column == app->head;
    snprintf(name, sizeof name, " %s%d", qk_role_name(role), head);
    canvas->selected = selected;
    draw_text(canvas, area.y, area.x, area.w, ALIGN_LEFT, selected ? STYLE_STRONG : STYLE_HEADING, name);
    canvas->selected = selected && canvas->theme->tinted; /* reverse video would turn the heat around */
    for (int i = 0; i < N_HEAT_ROWS && i + 1 < area.h; i++)
        draw_heat_cell(app, canvas, (struct area){area.y + 1 + i, area.x, 1, area.w}, HEAT_ROWS[i],
            qk_metric_head(drift, HEAT_ROWS[i], role, head), top[i]);
    canvas->selected = false;
    if (selected && app->panel == PANEL_HEADS) {
        canvas->cursor_y = area.y;
        canvas->cursor_x = area.x;
    }
}

/* "head", and which of them are shown when that is not all. */
static void draw_heads_heading(
    const struct app *app, struct canvas *canvas, struct area cell, int shown, int n)
{
    char text[32] = "head";
    if (shown < n)
        snprintf(text, sizeof text, "%d-%d/%d", app->first_head + 1, app->first_head + shown, n);
    draw_text(canvas, cell.y, cell.x, cell.w, ALIGN_LEFT,
        app->panel == PANEL_HEADS ? STYLE_FOCUS : STYLE_HEADING, text);
}

static void draw_wall(const struct app *app, struct canvas *canvas, struct area area)
{
    for (int i = 0; i < area.h && i <= N_HEAT_ROWS; i++)
        draw_text(canvas, area.y + i, area.x, WALL_CELLS, ALIGN_LEFT, STYLE_RULE,
            theme_glyph(&app->theme, GLYPH_WALL));
}

static void place_heads(struct app *app, struct area area)
{
    int n = head_columns(app);
    bool wide = n * WIDE_HEAD + WIDE_LABEL + WALL_CELLS <= area.w;
    int label = wide ? WIDE_LABEL : NARROW_LABEL;
    app->head_cells = wide ? WIDE_HEAD : NARROW_HEAD;
    app->heads_area = (struct area){area.y, area.x + label, area.h, area.w - label};
    scroll_heads(app, (area.w - label - WALL_CELLS) / app->head_cells, n);
}

static void draw_heads(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_layer_drift *drift)
{
    double top[N_HEAT_ROWS];
    int n = head_columns(app), n_q = drift->role[QK_Q].n_heads, cells = app->head_cells;
    int x = app->heads_area.x, label = x - area.x, shown = (app->heads_area.w - WALL_CELLS) / cells;
    shown = n - app->first_head < shown ? n - app->first_head : shown;
    draw_heads_heading(app, canvas, (struct area){area.y, area.x, 1, label}, shown, n);
    for (int i = 0; i < N_HEAT_ROWS && i + 1 < area.h; i++) {
        top[i] = hottest(app, HEAT_ROWS[i]);
        draw_heat_label(app, canvas, (struct area){area.y + 1 + i, area.x, 1, label}, HEAT_ROWS[i]);
    }
    for (int i = 0; i < shown; i++) {
        int column = app->first_head + i;
        if (column == n_q && i > 0) {
            draw_wall(app, canvas, (struct area){area.y, x, area.h, WALL_CELLS});
            x += WALL_CELLS;
        }
        draw_head_column(app, canvas, (struct area){area.y, x, area.h, cells}, column, drift, top);
        x += cells;
    }
}

void click_head(struct app *app, int y, int x)
{
    struct area area = app->heads_area;
    if (app->detail_area.h == 0 || head_columns(app) == 0 || y < area.y || y >= area.y + area.h || x < area.x)
        return;
    int n_q = selected_layer(app)->side[QK_POST]->role[QK_Q].n_heads, at = (x - area.x) / app->head_cells;
    if (app->first_head < n_q && app->first_head + at >= n_q)
        at = (x - area.x - WALL_CELLS) / app->head_cells;
    if (app->first_head + at < head_columns(app))
        app->head = app->first_head + at;
}

/* --- principal angles --- */

static void draw_spectrum(
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

/* --- the panel --- */

static void name_layer(const struct app *app, const struct qk_pair_layer *layer, struct qk_text *text)
{
    const struct qk_layer *post = layer->side[QK_POST];
    qk_text_add(
        text, "layer %d %s %s", layer->index, theme_glyph(&app->theme, GLYPH_DOT), qk_kind_name(layer->kind));
    if (post->mixer != NULL && strcmp(post->mixer, qk_kind_name(layer->kind)) != 0)
        qk_text_add(text, " (%s)", post->mixer);
}

/* What is particular to its heads. */
static void describe_heads(const struct app *app, const struct qk_pair_layer *layer, struct qk_text *text)
{
    static const char *const POSITIONS[] = {
        [QK_POSITIONS_NONE] = "no positions",
        [QK_POSITIONS_ROPE_HALF] = "RoPE",
        [QK_POSITIONS_ROPE_INTER] = "RoPE",
        [QK_POSITIONS_FIXED] = "convolution",
    };
    const struct qk_layer *post = layer->side[QK_POST];
    const char *dot = theme_glyph(&app->theme, GLYPH_DOT);
    if (!layer->has_qk)
        return;
    qk_text_add(text, "%d q, %d k heads %s %d %s %s", post->role[QK_Q].n_heads, post->role[QK_K].n_heads,
        theme_glyph(&app->theme, GLYPH_TIMES), post->head_dim, dot, POSITIONS[post->positions]);
    if (post->window > 0)
        qk_text_add(text, " %s window %d", dot, post->window);
    if (post->role[QK_Q].norm != NULL || post->role[QK_K].norm != NULL)
        qk_text_add(text, " %s q/k norm", dot);
    if (post->role[QK_Q].bias != NULL)
        qk_text_add(text, " %s bias", dot);
}

/* The heading of the panel: in two lines, the second of which is of the heads, when one is too short. */
struct description {
    struct qk_text line[2]; /* the second is empty where there is one */
};

static struct description describe(
    const struct app *app, const struct canvas *canvas, int width, const struct qk_pair_layer *layer)
{
    struct qk_text name = {0}, heads = {0}, both = {0};
    name_layer(app, layer, &name);
    describe_heads(app, layer, &heads);
    qk_text_add(&both, "%s", name.s != NULL ? name.s : "");
    if (heads.s != NULL)
        qk_text_add(&both, " %s %s", theme_glyph(&app->theme, GLYPH_DOT), heads.s);
    if (heads.s != NULL && both.s != NULL && text_cells(canvas, both.s) > width - 4) {
        qk_text_free(&both);
        return (struct description){{name, heads}};
    }
    qk_text_free(&name);
    qk_text_free(&heads);
    return (struct description){{both, {0}}};
}

static void free_description(struct description *d)
{
    qk_text_free(&d->line[0]);
    qk_text_free(&d->line[1]);
}

static void draw_description(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_pair_layer *layer)
{
    char shown[256];
    struct description d = describe(app, canvas, area.w, layer);
    draw_rule(canvas, area.y, area.x, area.w, app->panel == PANEL_HEADS ? STYLE_FOCUS : STYLE_HEADING,
        qk_printable(shown, sizeof shown, d.line[0].s != NULL ? d.line[0].s : ""));
    if (d.line[1].s != NULL)
        draw_text(canvas, area.y + 1, area.x + 1, area.w - 1, ALIGN_LEFT, STYLE_DIM, d.line[1].s);
    free_description(&d);
}

/* What is below the heading. */
static struct area below_description(
    const struct app *app, const struct canvas *canvas, struct area area, const struct qk_pair_layer *layer)
{
    struct description d = describe(app, canvas, area.w, layer);
    int used = d.line[1].s != NULL ? 2 : 1;
    free_description(&d);
    return (struct area){area.y + used, area.x + 1, area.h - used, area.w - 1};
}

/* The drift whose heads are shown, or NULL and why there is none. */
static const struct qk_layer_drift *shown_drift(
    const struct app *app, const struct qk_pair_layer *layer, const char **why, enum style *style)
{
    *why = layer_obstacle(layer);
    *style = STYLE_DIM;
    if (*why != NULL)
        return NULL;
    *style = STYLE_PENDING;
    if (qk_session_layer_error(app->session, layer->index) != NULL) {
        *style = STYLE_ERROR;
        *why = qk_session_layer_error(app->session, layer->index);
        return NULL;
    }
    if (app->show_current && !layer_kept(app, layer->index)) {
        const struct qk_current *current = qk_session_current(app->session, layer->index);
        *why = "computing the numbers of this choice";
        return current != NULL ? &current->against[QK_PRE] : NULL;
    }
    bool running = qk_session_layer_state(app->session, layer->index) == QK_LAYER_RUNNING;
    *why = running ? "computing" : "waiting to be computed";
    return qk_session_drift(app->session, layer->index);
}

/* Rows of each part of the panel. */
struct shares {
    int heat, choice, ranges, angles, blank;
};
enum {
    SMALL_HEAT = 3,
    SMALL_CHOICE = 2,
    WHOLE_CHOICE = 8,
    SMALL_ANGLES = 2,
    GOOD_ANGLES = 6,
    HIGH_ANGLES = 13
};

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Each at its smallest first, then as large as there is room. */
static struct shares share_without_ranges(int rows)
{
    struct shares s = {.heat = least(rows, N_HEAT_ROWS + 1)};
    int left = rows - s.heat;
    if (left >= SMALL_CHOICE)
        s.choice = SMALL_CHOICE;
    if (left >= WHOLE_CHOICE + SMALL_ANGLES + 2)
        s.choice = WHOLE_CHOICE;
    s.blank = left - s.choice >= 8 ? 1 : 0;
    s.angles = least(left - s.choice - 2 * s.blank, HIGH_ANGLES);
    return s;
}

/* With ranges: they matter more than the heat map's last rows and than the angles; then the selected head's,
 * the table of the choice, angles, and higher bars. */
static struct shares share_with_ranges(int rows)
{
    struct shares s = {.heat = SMALL_HEAT, .ranges = LEAST_RANGES};
    int left = rows - s.heat - s.ranges;
    s.choice = least(left, SMALL_CHOICE);
    left -= s.choice;
    int heat = least(left, N_HEAT_ROWS + 1 - s.heat);
    s.heat += heat;
    left -= heat;
    if (left >= BOTH_RANGES - LEAST_RANGES) {
        left -= BOTH_RANGES - LEAST_RANGES;
        s.ranges = BOTH_RANGES;
    }
    if (left >= WHOLE_CHOICE - SMALL_CHOICE) {
        left -= WHOLE_CHOICE - SMALL_CHOICE;
        s.choice = WHOLE_CHOICE;
    }
    s.blank = left >= GOOD_ANGLES + 3 ? 1 : 0;
    left -= 3 * s.blank;
    s.angles = left >= GOOD_ANGLES ? least(left, HIGH_ANGLES) : 0;
    left -= s.angles;
    for (int high = 2; high <= 4 && left >= 6; high++, left -= 6)
        s.ranges += 6;
    return s;
}

static struct shares share(const struct app *app, int rows)
{
    bool ranges = app->plot == PLOT_RANGES && qk_probe_has(app->pair, app->rows.selected) &&
                  rows >= SMALL_HEAT + LEAST_RANGES;
    return ranges ? share_with_ranges(rows) : share_without_ranges(rows);
}

static void draw_parts(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_layer_drift *drift)
{
    struct shares s = share(app, area.h);
    int y = area.y;
    draw_heads(app, canvas, (struct area){y, area.x, s.heat, area.w}, drift);
    y += s.heat + s.blank;
    if (s.choice > 0)
        draw_choice(app, canvas, (struct area){y, area.x, s.choice, area.w});
    y += s.choice + s.blank;
    if (s.ranges > 0)
        draw_ranges(app, canvas, (struct area){y, area.x, s.ranges, area.w});
    y += s.ranges > 0 ? s.ranges + s.blank : 0;
    if (s.angles >= SMALL_ANGLES)
        draw_spectrum(app, canvas, (struct area){y, area.x, s.angles, area.w}, drift);
}

void place_detail(struct app *app, const struct canvas *canvas, struct area area)
{
    const struct qk_pair_layer *layer = selected_layer(app);
    const char *why;
    enum style style;
    app->detail_area = area;
    if (layer == NULL || shown_drift(app, layer, &why, &style) == NULL)
        return;
    area = below_description(app, canvas, area, layer);
    area.h = share(app, area.h).heat;
    place_heads(app, area);
}

void draw_detail(const struct app *app, struct canvas *canvas, struct area area)
{
    const struct qk_pair_layer *layer = selected_layer(app);
    const char *why;
    enum style style;
    if (layer == NULL) {
        draw_rule(canvas, area.y, area.x, area.w, STYLE_HEADING, "no layer");
        return;
    }
    draw_description(app, canvas, area, layer);
    area = below_description(app, canvas, area, layer);
    const struct qk_layer_drift *drift = shown_drift(app, layer, &why, &style);
    if (drift != NULL)
        draw_parts(app, canvas, area, drift);
    else
        draw_wrapped(canvas, area, style, why);
}
