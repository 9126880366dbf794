/* detail.c - everything about the selected layer: a heat map of its heads, the angles of one of them, and
 * what the choice comes to. */
#include "ui/app.h"

#include "ui/format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LABEL_CELLS = 9, HEAD_CELLS = 7, WALL_CELLS = 2 };

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
    const struct qk_choice *choice = qk_session_selection(app->session)->choice[layer];
    return choice[QK_Q].mode == QK_KEEP && choice[QK_K].mode == QK_KEEP;
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

static void draw_heat_cell(
    struct app *app, struct canvas *canvas, int y, int x, enum qk_metric metric, double value, double top)
{
    char number[NUMBER_TEXT];
    if (isnan(value)) {
        draw_text(canvas, y, x, HEAD_CELLS, ALIGN_LEFT, STYLE_DIM, "");
        return;
    }
    double part = top > 0 ? fmin(heat(metric, value) / top, 1) : 0;
    enum style style = (enum style)(STYLE_HEAT + (int)lround(part * (HEAT_LEVELS - 1)));
    draw_text(canvas, y, x, 1, ALIGN_LEFT, style, theme_column_part(&app->theme, (int)ceil(part * 8)));
    draw_text(canvas, y, x + 1, HEAD_CELLS - 1, ALIGN_LEFT, style, format_metric(number, metric, value));
}

static void draw_heat_label(struct app *app, struct canvas *canvas, int y, int x, enum qk_metric metric)
{
    const struct qk_metric_info *info = qk_metric_info(metric);
    char text[32];
    snprintf(text, sizeof text, "%s%s", info->label,
        info->percent                        ? " %"
        : info->degrees && !app->theme.ascii ? " °"
                                             : "");
    draw_text(canvas, y, x, LABEL_CELLS, ALIGN_LEFT, STYLE_HEADING, text);
}

/* Keeps the selected head in sight. */
static int scroll_heads(struct app *app, int shown, int n)
{
    if (app->head >= n)
        app->head = n - 1;
    if (app->head < app->first_head)
        app->first_head = app->head;
    if (app->head >= app->first_head + shown)
        app->first_head = app->head - shown + 1;
    if (app->first_head > n - shown)
        app->first_head = n > shown ? n - shown : 0;
    return n - app->first_head < shown ? n - app->first_head : shown;
}

static void draw_head_column(struct app *app, struct canvas *canvas, struct area area, int column,
    const struct qk_layer_drift *drift, const double top[N_HEAT_ROWS])
{
    int head;
    char name[16];
    enum qk_role role = role_of_column(selected_layer(app), column, &head);
    bool selected = column == app->head;
    snprintf(name, sizeof name, " %s%d", qk_role_name(role), head);
    canvas->selected = selected;
    draw_text(canvas, area.y, area.x, HEAD_CELLS, ALIGN_LEFT, selected ? STYLE_STRONG : STYLE_HEADING, name);
    canvas->selected = selected && canvas->theme->tinted; /* reverse video would turn the heat around */
    for (int i = 0; i < N_HEAT_ROWS && i + 1 < area.h; i++)
        draw_heat_cell(app, canvas, area.y + 1 + i, area.x, HEAT_ROWS[i],
            qk_metric_head(drift, HEAT_ROWS[i], role, head), top[i]);
    canvas->selected = false;
    if (selected && app->panel == PANEL_HEADS) {
        app->cursor_y = area.y;
        app->cursor_x = area.x;
    }
}

void draw_heads(struct app *app, struct canvas *canvas, struct area area, const struct qk_layer_drift *drift)
{
    double top[N_HEAT_ROWS];
    int n = head_columns(app), n_q = drift->role[QK_Q].n_heads;
    int shown = scroll_heads(app, (area.w - LABEL_CELLS - WALL_CELLS) / HEAD_CELLS, n),
        x = area.x + LABEL_CELLS;
    draw_text(canvas, area.y, area.x, LABEL_CELLS, ALIGN_LEFT,
        app->panel == PANEL_HEADS ? STYLE_FOCUS : STYLE_HEADING, "head");
    for (int i = 0; i < N_HEAT_ROWS && i + 1 < area.h; i++) {
        top[i] = hottest(app, HEAT_ROWS[i]);
        draw_heat_label(app, canvas, area.y + 1 + i, area.x, HEAT_ROWS[i]);
    }
    for (int i = 0; i < shown; i++) {
        int column = app->first_head + i;
        if (column == n_q && i > 0) {
            for (int k = 0; k < area.h && k <= N_HEAT_ROWS; k++)
                draw_text(canvas, area.y + k, x, WALL_CELLS, ALIGN_LEFT, STYLE_RULE,
                    theme_glyph(&app->theme, GLYPH_WALL));
            x += WALL_CELLS;
        }
        draw_head_column(app, canvas, (struct area){area.y, x, area.h, HEAD_CELLS}, column, drift, top);
        x += HEAD_CELLS;
    }
}

/* --- principal angles --- */

void draw_spectrum(
    struct app *app, struct canvas *canvas, struct area area, const struct qk_layer_drift *drift)
{
    int head;
    const struct qk_pair_layer *layer = selected_layer(app);
    enum qk_role role = role_of_column(layer, app->head, &head);
    const struct qk_head_drift *h = &drift->role[role].head[head];
    const char *degree = theme_glyph(&app->theme, GLYPH_DEGREE);
    char mean[NUMBER_TEXT], top[NUMBER_TEXT], rank[64] = "";
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
    int plot = area.h - 1, axis = LABEL_CELLS - 2;
    enum style style = role == QK_Q ? STYLE_Q : STYLE_K;
    if (plot >= 3)
        draw_text(canvas, area.y + plot, area.x, axis, ALIGN_RIGHT, STYLE_DIM, "0");
    draw_format(
        canvas, area.y + 1, area.x, axis, STYLE_DIM, "%*s", axis, format_number(top, h->angle_max_deg));
    draw_columns(canvas, (struct area){area.y + 1, area.x + LABEL_CELLS - 1, plot, area.w - LABEL_CELLS},
        style, h->angle_deg, h->n_angles, h->angle_max_deg);
}

/* --- the panel --- */

static void describe_layer(const struct app *app, const struct qk_pair_layer *layer, char *out, size_t n)
{
    const struct qk_layer *post = layer->side[QK_POST];
    const char *dot = theme_glyph(&app->theme, GLYPH_DOT);
    int used = snprintf(out, n, "layer %d %s %s", layer->index, dot, qk_kind_name(layer->kind));
    if (post->mixer != NULL && strcmp(post->mixer, qk_kind_name(layer->kind)) != 0)
        used += snprintf(out + used, n - (size_t)used, " (%.32s)", post->mixer);
    if (!layer->has_qk)
        return;
    const char *positions = post->positions == QK_POSITIONS_NONE    ? "no positions"
                            : post->positions == QK_POSITIONS_FIXED ? "convolution"
                                                                    : "RoPE";
    used += snprintf(out + used, n - (size_t)used, " %s %d q, %d k heads %s %d %s %s", dot,
        post->role[QK_Q].n_heads, post->role[QK_K].n_heads, theme_glyph(&app->theme, GLYPH_TIMES),
        post->head_dim, dot, positions);
    if (post->window > 0)
        used += snprintf(out + used, n - (size_t)used, " %s window %d", dot, post->window);
    if (post->role[QK_Q].norm != NULL || post->role[QK_K].norm != NULL)
        used += snprintf(out + used, n - (size_t)used, " %s q/k norm", dot);
    if (post->role[QK_Q].bias != NULL)
        snprintf(out + used, n - (size_t)used, " %s bias", dot);
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

/* Shares the rows out: heat map, choice, angles; each at its smallest first, then as large as there is room.
 */
static void draw_parts(
    struct app *app, struct canvas *canvas, struct area area, const struct qk_layer_drift *drift)
{
    enum { SMALL_CHOICE = 2, WHOLE_CHOICE = 8, SMALL_ANGLES = 2, HIGH_ANGLES = 13 };
    int heat = area.h < N_HEAT_ROWS + 1 ? area.h : N_HEAT_ROWS + 1, left = area.h - heat, choice = 0;
    if (left >= SMALL_CHOICE)
        choice = SMALL_CHOICE;
    if (left >= WHOLE_CHOICE + SMALL_ANGLES + 2)
        choice = WHOLE_CHOICE;
    int blank = left - choice >= 8 ? 1 : 0, angles = left - choice - 2 * blank;
    angles = angles > HIGH_ANGLES ? HIGH_ANGLES : angles;
    draw_heads(app, canvas, (struct area){area.y, area.x, heat, area.w}, drift);
    int y = area.y + heat + blank;
    if (choice > 0)
        draw_choice(app, canvas, (struct area){y, area.x, choice, area.w});
    y += choice + blank;
    if (angles >= SMALL_ANGLES)
        draw_spectrum(app, canvas, (struct area){y, area.x, angles, area.w}, drift);
}

void draw_detail(struct app *app, struct canvas *canvas, struct area area)
{
    const struct qk_pair_layer *layer = selected_layer(app);
    char heading[256] = "no layer";
    app->detail_area = area;
    if (layer != NULL)
        describe_layer(app, layer, heading, sizeof heading);
    enum style style = app->panel == PANEL_HEADS ? STYLE_FOCUS : STYLE_HEADING;
    draw_rule(canvas, area.y, area.x, area.w, style, heading);
    area = (struct area){area.y + 1, area.x + 1, area.h - 1, area.w - 1};
    if (layer == NULL)
        return;
    const char *why;
    const struct qk_layer_drift *drift = shown_drift(app, layer, &why, &style);
    if (drift != NULL)
        draw_parts(app, canvas, area, drift);
    else
        draw_wrapped(canvas, area, style, why);
}
