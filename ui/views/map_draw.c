/* map_draw.c - the map of all heads in cells: two layers a row in half blocks, or a ramp of digits. */
#include "ui/views/map_view.h"

#include "ui/views/layers_view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BAR_CELLS = 8, ROUTING_NUMBER = 5, LEGEND_CELLS = 2 };

int map_offset(const struct map_view *view, int column)
{
    int from = view->first_column, n_q = view->heads[QK_Q];
    return (column - from) * view->cells + (column >= n_q && from < n_q ? MAP_GAP : 0);
}

static const char *missing(const struct app *app)
{
    const struct map_view *view = app->state[SCREEN_MAP];
    return map_metric(view->metric)->missing(app);
}

static bool shows_current(const struct app *app)
{
    const struct layers_view *layers = app->state[SCREEN_LIST];
    return layers->show_current;
}

static int level_of(const struct map_view *view, double value)
{
    double part = view->top > 0 ? fmin(fmax(value / view->top, 0), 1) : 0;
    return (int)lround(part * (HEAT_LEVELS - 1));
}

/* --- heading --- */

static void draw_title(const struct app *app, struct canvas *canvas, struct area area)
{
    const struct map_view *view = app->state[SCREEN_MAP];
    char text[160];
    const char *dot = theme_glyph(&app->theme, GLYPH_DOT);
    snprintf(text, sizeof text, "map: %s, %s %s %d layers %s %d q, %d k", map_metric(view->metric)->title,
        shows_current(app) ? "current" : "post", dot, view->n, theme_glyph(&app->theme, GLYPH_TIMES),
        view->heads[QK_Q], view->heads[QK_K]);
    draw_rule(canvas, area.y, area.x, area.w, STYLE_FOCUS, text);
}

/* Names of heads above the cells, as many as fit: "q0", then numbers. */
static void draw_ticks(const struct app *app, struct canvas *canvas, int y)
{
    enum { LEAST_APART = 5 };
    const struct map_view *view = app->state[SCREEN_MAP];
    int step = 1, end = view->area.x + view->area.w;
    while (step * view->cells < LEAST_APART)
        step *= 2;
    for (int c = view->first_column; c < map_columns(view); c++) {
        bool k = c >= view->heads[QK_Q];
        int head = k ? c - view->heads[QK_Q] : c, x = view->area.x + map_offset(view, c);
        bool first = head == 0 || c == view->first_column;
        if (x < end && (first || (head % step == 0 && c >= view->first_column + step)))
            draw_format(canvas, y, x, end - x, STYLE_HEADING, "%s%d", first ? (k ? "k" : "q") : "", head);
    }
    if (view->routing)
        draw_format(canvas, y, end, 32, STYLE_HEADING, "%s routing %%", theme_glyph(&app->theme, GLYPH_WALL));
}

/* --- rows --- */

/* "28", or "28,31" where the second layer of the row is not the next. */
static void draw_label(const struct app *app, struct canvas *canvas, int y, int x, int first, int pointed)
{
    const struct map_view *view = app->state[SCREEN_MAP];
    char text[32];
    bool here = pointed >= first && pointed < first + view->per_row, chosen = false;
    int layer = view->layer[first], next = layer;
    for (int i = first; i < first + view->per_row && i < view->n; i++) {
        next = view->layer[i];
        chosen = chosen || !layer_kept(app, next);
    }
    snprintf(text, sizeof text, next > layer + 1 ? "%d,%d" : "%d", layer, next);
    draw_text(
        canvas, y, x, 1, ALIGN_LEFT, STYLE_POINTER, here ? theme_glyph(&app->theme, GLYPH_POINTER) : "");
    draw_text(
        canvas, y, x + 1, 1, ALIGN_LEFT, STYLE_CHOICE, chosen ? theme_glyph(&app->theme, GLYPH_BULLET) : "");
    draw_text(canvas, y, x + 2, MAP_LABEL - 3, ALIGN_RIGHT, here ? STYLE_STRONG : STYLE_TEXT, text);
}

/* What a layer shows in a column. */
static enum half half_of(const struct map_view *view, int at, int column, bool pointed)
{
    if (pointed)
        return HALF_POINTER;
    double value = at < view->n ? map_value(view, at, column) : NAN;
    return isnan(value) ? HALF_NONE : (enum half)level_of(view, value);
}

static void draw_halves(struct canvas *canvas, int y, int x, int cells, enum half upper, enum half lower)
{
    for (int i = 0; i < cells; i++)
        draw_text(
            canvas, y, x + i, 1, ALIGN_LEFT, theme_halves(upper, lower), theme_half_glyph(upper, lower));
}

static bool head_chosen(const struct app *app, int layer, bool k, int head)
{
    const struct qk_layer_choice *choice = &qk_session_selection(app->session)->choice[layer];
    return head < qk_selection_heads(&app->pair->layer[layer], k ? QK_HEAD_K : QK_HEAD_Q) &&
           qk_layer_choice_of(choice, k ? QK_K : QK_Q, head).mode != QK_KEEP;
}

/* A digit, underlined where the head has a choice. */
static void draw_digit(
    const struct app *app, struct canvas *canvas, int y, int x, int at, int column, bool pointed)
{
    const struct map_view *view = app->state[SCREEN_MAP];
    double value = map_value(view, at, column);
    char text[2] = "";
    bool k = column >= view->heads[QK_Q];
    if (!isnan(value))
        snprintf(text, sizeof text, "%c", '0' + level_of(view, value));
    canvas->selected = pointed;
    canvas->underlined =
        !isnan(value) && head_chosen(app, view->layer[at], k, k ? column - view->heads[QK_Q] : column);
    draw_text(canvas, y, x, 1, ALIGN_LEFT,
        isnan(value) ? STYLE_TEXT : (enum style)(STYLE_HEAT + level_of(view, value)), text);
    canvas->selected = canvas->underlined = false;
}

/* The bars of routing of the row's layers, one above the other, and their numbers. */
static void draw_routing(const struct app *app, struct canvas *canvas, int y, int x, int first, double top)
{
    const struct map_view *view = app->state[SCREEN_MAP];
    int n = first + 1 < view->n && view->per_row == 2 ? 2 : 1, cells[2] = {0, 0};
    draw_text(canvas, y, x, 1, ALIGN_LEFT, STYLE_RULE, theme_glyph(&app->theme, GLYPH_WALL));
    for (int i = 0; i < n; i++) {
        char number[NUMBER_TEXT];
        const struct qk_layer_drift *drift = model_drift(app, view->layer[first + i], shows_current(app));
        double value = drift != NULL ? drift->routing_rel_fro : NAN;
        cells[i] = top > 0 && value > 0 ? (int)lround(fmin(value / top, 1) * BAR_CELLS) : 0;
        draw_text(canvas, y, x + 3 + BAR_CELLS + i * (ROUTING_NUMBER + 1), ROUTING_NUMBER, ALIGN_RIGHT,
            isnan(value) ? STYLE_DIM : STYLE_TEXT, format_number(number, 100 * value));
    }
    if (view->per_row == 1)
        cells[1] = cells[0];
    for (int i = 0; i < BAR_CELLS; i++) {
        bool up = i < cells[0], down = i < cells[1];
        const char *part = up && down ? theme_bar_part(&app->theme, 8) : up ? "▀" : down ? "▄" : "";
        draw_text(canvas, y, x + 2 + i, 1, ALIGN_LEFT, STYLE_ROUTING, part);
    }
}

/* The largest routing of any layer, in post and in current. */
static double routing_top(const struct app *app)
{
    const struct map_view *view = app->state[SCREEN_MAP];
    double top = 0;
    for (int i = 0; i < view->n; i++)
        for (int current = 0; current <= (int)shows_current(app); current++) {
            const struct qk_layer_drift *drift = model_drift(app, view->layer[i], current > 0);
            top = drift != NULL ? fmax(top, drift->routing_rel_fro) : top; /* passes over NaN */
        }
    return top;
}

static void draw_cells(const struct app *app, struct canvas *canvas, int y, int first)
{
    const struct map_view *view = app->state[SCREEN_MAP];
    int pointed, column = map_pointer(app, &pointed), x = view->area.x;
    for (int c = view->first_column; c < map_columns(view); c++) {
        int at = x + map_offset(view, c);
        if (at + view->cells > x + view->area.w)
            break;
        bool here = c == column && pointed >= first && pointed < first + view->per_row;
        if (here) {
            canvas->cursor_y = y;
            canvas->cursor_x = at;
        }
        if (!theme_has_halves(&app->theme)) {
            draw_digit(app, canvas, y, at, first, c, here);
            continue;
        }
        int second = first + view->per_row - 1; /* the same where a row has one layer */
        draw_halves(canvas, y, at, view->cells, half_of(view, first, c, here && pointed == first),
            half_of(view, second, c, here && pointed == second));
    }
}

/* --- below --- */

static void draw_legend(const struct app *app, struct canvas *canvas, struct area area)
{
    const struct map_view *view = app->state[SCREEN_MAP];
    char text[32];
    int x = area.x + 1, end = area.x + area.w;
    x += draw_run(canvas, area.y, x, end - x, STYLE_DIM, "scale ");
    x += draw_run(canvas, area.y, x, end - x, STYLE_TEXT, "0 ");
    for (int level = 0; level < HEAT_LEVELS; level++) {
        if (theme_has_halves(&app->theme)) {
            draw_halves(canvas, area.y, x, LEGEND_CELLS, (enum half)level, (enum half)level);
            x += LEGEND_CELLS;
        } else {
            snprintf(text, sizeof text, "%d", level);
            x += draw_run(canvas, area.y, x, end - x, (enum style)(STYLE_HEAT + level), text);
        }
    }
    x += draw_format(canvas, area.y, x, end - x, STYLE_TEXT, " %s   ",
        map_value_text(app, map_metric(view->metric), view->top, text));
    if (theme_has_halves(&app->theme)) {
        draw_halves(canvas, area.y, x, 1, HALF_POINTER, HALF_POINTER);
        x += 1 + draw_run(canvas, area.y, x + 1, end - x - 1, STYLE_DIM, " pointer   ");
    }
    snprintf(text, sizeof text, "%s chosen   ", theme_glyph(&app->theme, GLYPH_BULLET));
    x += draw_run(canvas, area.y, x, end - x, STYLE_DIM, text);
    draw_format(canvas, area.y, x, end - x, STYLE_DIM, "c: %s", shows_current(app) ? "post" : "current");
}

static int add_drift(const struct app *app, struct canvas *canvas, int y, int x, int end,
    const struct qk_layer_drift *drift, enum qk_role role, int head)
{
    static const struct {
        const char *label;
        enum qk_metric metric;
    } PARTS[] = {{"rel.", QK_METRIC_REL_FRO}, {"angle", QK_METRIC_ANGLE_MEAN}, {"max", QK_METRIC_ANGLE_MAX},
        {"routing", QK_METRIC_ROUTING}};
    const struct map_view *view = app->state[SCREEN_MAP];
    for (size_t i = 0; drift != NULL && i < sizeof PARTS / sizeof PARTS[0]; i++) {
        const struct qk_metric_info *info = qk_metric_info(PARTS[i].metric);
        double value = qk_metric_head(drift, PARTS[i].metric, role, head);
        char number[NUMBER_TEXT];
        if (isnan(value) ||
            (map_metric(view->metric)->of_drift && map_metric(view->metric)->drift == PARTS[i].metric))
            continue; /* or it stands before the others */
        char label[32], text[NUMBER_TEXT + 8];
        snprintf(label, sizeof label, "  %s ", PARTS[i].label);
        snprintf(text, sizeof text, "%s%s", format_metric(number, PARTS[i].metric, value, 6),
            info->percent ? " %" : theme_glyph(&app->theme, GLYPH_DEGREE));
        if (text_cells(canvas, label) + text_cells(canvas, text) > end - x)
            break; /* half a number would be another one */
        x += draw_run(canvas, y, x, end - x, STYLE_DIM, label);
        x += draw_run(canvas, y, x, end - x, STYLE_TEXT, text);
    }
    return x;
}

/* What the pointer is on, with its numbers and its choice. */
static void draw_pointed(const struct app *app, struct canvas *canvas, struct area area)
{
    const struct map_view *view = app->state[SCREEN_MAP];
    int at, head, n, column = map_pointer(app, &at), y = area.y, x = area.x + 1, end = area.x + area.w;
    if (at < 0)
        return;
    int layer = view->layer[at];
    enum qk_role role = selected_head(app, &head);
    double value = map_value(view, at, column);
    char text[32], label[CHOICE_LABEL];
    x += draw_format(canvas, y, x, end - x, STYLE_STRONG, "layer %d %s%d", layer, qk_role_name(role), head);
    if (!isnan(value)) {
        int rank = map_rank(view, value, &n);
        x += draw_format(canvas, y, x, end - x, (enum style)(STYLE_HEAT + level_of(view, value)), "  %s",
            map_value_text(app, map_metric(view->metric), value, text));
        x += draw_format(canvas, y, x, end - x, STYLE_DIM, ", number %d of %d", rank, n);
    }
    const struct qk_layer_choice *choice = &qk_session_selection(app->session)->choice[layer];
    struct qk_choice of_head = qk_layer_choice_of(choice, role, head);
    if (of_head.mode != QK_KEEP)
        x += draw_format(canvas, y, x, end - x, STYLE_CHOICE, "  %s %s",
            theme_glyph(&app->theme, GLYPH_BULLET), format_choice(label, of_head, app->theme.ascii));
    add_drift(app, canvas, y, x, end, model_drift(app, layer, shows_current(app)), role, head);
}

void draw_map(const struct app *app, struct canvas *canvas, struct area area)
{
    const struct map_view *view = app->state[SCREEN_MAP];
    struct area cells = view->area;
    int pointed, bottom = area.y + area.h - 2;
    draw_title(app, canvas, area);
    if (view->n == 0) {
        draw_wrapped(canvas, (struct area){area.y + 1, area.x + 1, 2, area.w - 2}, STYLE_WARNING,
            "no layer with q and k is in view: Esc in the list shows all");
        return;
    }
    draw_ticks(app, canvas, area.y + 1);
    map_pointer(app, &pointed);
    double top = routing_top(app);
    for (int row = 0; row < cells.h; row++) {
        int first = (view->first_row + row) * view->per_row;
        if (first >= view->n)
            break;
        draw_label(app, canvas, cells.y + row, area.x, first, pointed);
        draw_cells(app, canvas, cells.y + row, first);
        if (view->routing)
            draw_routing(app, canvas, cells.y + row, cells.x + cells.w, first, top);
    }
    const char *why = missing(app);
    if (why != NULL)
        draw_wrapped(canvas, (struct area){bottom, area.x + 1, 1, area.w - 2}, STYLE_PENDING, why);
    else
        draw_legend(app, canvas, (struct area){bottom, area.x, 1, area.w});
    draw_pointed(app, canvas, (struct area){bottom + 1, area.x, 1, area.w});
}
