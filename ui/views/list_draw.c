/* list_draw.c - the layers, one a row: kind, drift of q and k, routing, reach, choice. The bars of a metric share
 * one scale: q and k can be compared. */
#include "ui/views/layers_view.h"

#include "ui/format.h"
#include "ui/views/search_view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { GROUPS = 3, POINTER_CELLS = 2, INDEX_CELLS = 3, KIND_CELLS = 6, GAP = 2, ANGLE_CELLS = 7 };
enum { LEFT_CELLS = POINTER_CELLS + INDEX_CELLS + 1 + KIND_CELLS + GAP };
enum { TIGHT_NUMBER = 5, NARROW_NUMBER = 6, WIDE_NUMBER = 13, LONGEST_BAR = 24, SHORTEST_BAR = 4 };
enum { MOST_EFFECTS = 2, EFFECT_CELLS = 7 };
enum { LEAST_BOTH = 74 };                                        /* for reach beside effects, without these */
enum { CHOICE_CELLS = 16, PAIR_CHOICE = 17, ROOMY_CHOICE = 24 }; /* PAIR_CHOICE: "Q keep  K restore" */

/* One metric with a bar. */
struct group {
    const char *heading, *short_heading;
    enum qk_metric metric;
    int role;
    enum style style;
    enum sort sort;
};
static const struct group GROUP[GROUPS] = {
    {"Q drift", "Q", QK_METRIC_REL_FRO, QK_Q, STYLE_Q, SORT_Q},
    {"K drift", "K", QK_METRIC_REL_FRO, QK_K, STYLE_K, SORT_K},
    {"routing", "rout.", QK_METRIC_ROUTING, -1, STYLE_ROUTING, SORT_ROUTING},
};

static int effect_columns(const struct app *app)
{
    const struct qk_search_state *found = qk_session_search_state(app->session);
    if (found->effect == NULL)
        return 0;
    return found->n_objectives < MOST_EFFECTS ? (int)found->n_objectives : MOST_EFFECTS;
}

static void draw_effect_name(
    const struct app *app, struct canvas *canvas, struct area cell, int objective, enum style style)
{
    char name[256];
    draw_text(canvas, cell.y, cell.x, cell.w, objective_align(app) == ALIGN_TAIL ? ALIGN_TAIL : ALIGN_RIGHT,
        style, qk_printable(name, sizeof name, qk_session_search_state(app->session)->objective[objective]));
}

static void draw_effect(
    const struct app *app, struct canvas *canvas, struct area cell, int layer, int objective)
{
    const struct qk_search_state *found = qk_session_search_state(app->session);
    struct qk_estimate effect = found->effect[(size_t)layer * found->n_objectives + (size_t)objective];
    char text[32];
    if (effect.n == 0) {
        bool waits = found->stage == QK_SEARCH_RUNNING;
        draw_text(canvas, cell.y, cell.x, cell.w, ALIGN_RIGHT, waits ? STYLE_PENDING : STYLE_DIM,
            waits ? theme_glyph(&app->theme, GLYPH_WAIT) : "-");
        return;
    }
    snprintf(text, sizeof text, "%+.1f", 100 * effect.value + 0.0);
    draw_text(canvas, cell.y, cell.x, cell.w, ALIGN_RIGHT,
        fabs(effect.value) > 1.96 * effect.error ? STYLE_STRONG : STYLE_DIM, text);
}

/* Where the columns of a list of some width are. */
struct columns {
    int bar, space, number, group, angle, /* space: between bar and number */
        choice, choice_x;
    int reach, shift, reach_x; /* 0 wide: not there */
    int effects, effects_x;    /* number of columns */
};

/* What is shown of attention ranges in so many cells: the change of long mass from 60 on, the shift where it fits. */
static void place_ranges(struct columns *c, int width)
{
    c->reach = width >= 96 ? ROOMY_REACH : width >= 74 ? NARROW_REACH : TIGHT_REACH;
    c->shift = width >= 96 ? SHIFT_CELLS : 0;
}

/* Divides a group: a wide number and a narrow one leave room for a bar, a tight one lets it have the
 * spaces; else there is none. */
static void place_bars(struct columns *c)
{
    bool wide = c->group >= WIDE_NUMBER + 1 + GAP + SHORTEST_BAR + 1;
    bool narrow = c->group >= NARROW_NUMBER + 1 + GAP + SHORTEST_BAR;
    int gap = narrow ? GAP : 1;
    c->number = wide ? WIDE_NUMBER : narrow ? NARROW_NUMBER : TIGHT_NUMBER;
    c->space = narrow ? 1 : 0;
    c->bar = c->group - c->space - c->number - gap;
    if (c->bar < SHORTEST_BAR) {
        c->bar = c->space = 0;
        c->number = NARROW_NUMBER;
        c->group = c->group >= NARROW_NUMBER + GAP ? NARROW_NUMBER + GAP : NARROW_NUMBER + 1;
        return;
    }
    c->bar = c->bar > LONGEST_BAR ? LONGEST_BAR : c->bar;
    c->group = c->bar + c->space + c->number + gap;
}

static struct columns columns_of(const struct app *app, int width)
{
    struct columns c = {.choice = width >= 120 ? ROOMY_CHOICE : width >= 76 ? PAIR_CHOICE : CHOICE_CELLS};
    c.angle = width >= 110 ? ANGLE_CELLS + GAP : 0;
    c.effects = effect_columns(app);
    int effects = c.effects > 0 ? c.effects * EFFECT_CELLS + GAP : 0;
    /* Of a search that was run, effects tell more than the reach, which the detail shows, too. */
    if (any_ranges(app) && (effects == 0 || width - effects >= LEAST_BOTH))
        place_ranges(&c, width - effects);
    int ranges = (c.reach > 0 ? c.reach + GAP : 0) + (c.shift > 0 ? c.shift + GAP : 0);
    c.group = (width - LEFT_CELLS - c.choice - c.angle - ranges - effects) / GROUPS;
    place_bars(&c);
    c.reach_x = LEFT_CELLS + GROUPS * c.group + c.angle;
    c.effects_x = c.reach_x + ranges;
    c.choice_x = c.effects_x + effects;
    c.choice = width - c.choice_x;
    return c;
}

/* The largest value of the metric in any column that shows it, so that bars share a scale. */
static double scale_of(const struct app *app, enum qk_metric metric)
{
    double top = 0;
    for (int i = 0; i < app->pair->n_layers; i++) {
        const struct qk_layer_drift *drift = qk_session_drift(app->session, i);
        for (int g = 0; g < GROUPS && drift != NULL; g++)
            if (GROUP[g].metric == metric)
                top = fmax(top, qk_metric_layer(drift, metric, GROUP[g].role));
    }
    return top;
}

/* "reach >=128" or "reach", "shift"; in a list without room for the shift the order is told at the reach. */
static void draw_range_names(const struct app *app, struct canvas *canvas, int y, int x, struct columns c,
    enum style style, const char *arrow)
{
    char text[64];
    size_t far = qk_session_probe_state(app->session)->long_from;
    const char *sorted = c.shift > 0 ? "" : arrow;
    snprintf(text, sizeof text, "reach%s%s%zu", sorted, theme_glyph(&app->theme, GLYPH_AT_LEAST),
        far > 0 ? far : (size_t)QK_RANGE_LONG);
    if (sorted[0] != '\0')
        snprintf(text, sizeof text, "shift%s", sorted);
    else if (text_cells(canvas, text) > c.reach)
        snprintf(text, sizeof text, "reach");
    if (c.reach > 0)
        draw_text(canvas, y, x, c.reach, ALIGN_LEFT, style, text);
    snprintf(text, sizeof text, "shift%s", arrow);
    if (c.shift > 0)
        draw_text(canvas, y, x + c.reach + GAP, c.shift, ALIGN_LEFT, style, text);
}

static void draw_heading(const struct app *app, struct canvas *canvas, struct area area, struct columns c)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    char text[64];
    enum sort sort = app->rows.sort;
    /* Numbers sort from the largest down; what sorts upwards first is told by the other arrow. */
    bool up = (sort == SORT_INDEX || sort == SORT_KIND) != app->rows.reverse;
    const char *arrow = theme_glyph(&app->theme, up ? GLYPH_UP : GLYPH_DOWN);
    enum style style = view->panel == PANEL_LAYERS ? STYLE_FOCUS : STYLE_HEADING;
    draw_text(canvas, area.y, area.x, area.w, ALIGN_LEFT, style, "");
    snprintf(text, sizeof text, "layer%s", sort == SORT_INDEX ? arrow : "");
    draw_text(canvas, area.y, area.x, 6, ALIGN_LEFT, style, text);
    snprintf(text, sizeof text, "kind%s", sort == SORT_KIND ? arrow : "");
    draw_text(canvas, area.y, area.x + POINTER_CELLS + INDEX_CELLS + 1, KIND_CELLS, ALIGN_LEFT, style, text);
    for (int g = 0; g < GROUPS; g++) {
        snprintf(text, sizeof text, "%s%s", c.bar > 0 ? GROUP[g].heading : GROUP[g].short_heading,
            sort == GROUP[g].sort                  ? arrow
            : c.number != WIDE_NUMBER && c.bar > 0 ? " %"
                                                   : "");
        draw_text(canvas, area.y, area.x + LEFT_CELLS + g * c.group, c.group - 1, ALIGN_LEFT, style, text);
    }
    if (c.angle > 0) {
        snprintf(text, sizeof text, "angle%s", sort == SORT_ANGLE ? arrow : "");
        draw_text(canvas, area.y, area.x + c.reach_x - c.angle, ANGLE_CELLS, ALIGN_LEFT, style, text);
    }
    draw_range_names(app, canvas, area.y, area.x + c.reach_x, c, style, sort == SORT_SHIFT ? arrow : "");
    for (int o = 0; o < c.effects; o++)
        draw_effect_name(app, canvas,
            (struct area){area.y, area.x + c.effects_x + o * EFFECT_CELLS, 1, EFFECT_CELLS - 1}, o, style);
    snprintf(text, sizeof text, "choice%s%s", sort == SORT_CHOICE ? arrow : "",
        app->role == QK_Q   ? " (on q)"
        : app->role == QK_K ? " (on k)"
                            : "");
    draw_text(canvas, area.y, area.x + c.choice_x, c.choice, ALIGN_LEFT, style, text);
}

/* "10.6", or "10.6 -> 0 %" and "-> 0" when a choice changes it; the arrow alone while that is computed. */
static void number_text(
    const struct app *app, char out[64], double before, double now, bool chosen, bool known, bool wide)
{
    char a[NUMBER_TEXT], b[NUMBER_TEXT];
    const char *arrow = theme_glyph(&app->theme, GLYPH_ARROW), *wait = theme_glyph(&app->theme, GLYPH_WAIT);
    format_number(a, 100 * before);
    snprintf(b, sizeof b, "%s", wait);
    if (known)
        format_number(b, 100 * now);
    if (!chosen)
        snprintf(out, 64, wide ? "%s %%" : "%s", a);
    else if (wide)
        snprintf(out, 64, "%s %s %s %%", a, arrow, b);
    else
        snprintf(out, 64, "%s%s", arrow, b);
}

/* What is left of a bar where there is no room for one: a block as high as the value, as in the heat map. */
static void draw_level(struct canvas *canvas, int y, int x, double part)
{
    double level = fmin(fmax(part, 0), 1);
    draw_text(canvas, y, x, 1, ALIGN_LEFT, (enum style)(STYLE_HEAT + (int)lround(level * (HEAT_LEVELS - 1))),
        theme_column_part(canvas->theme, (int)ceil(level * 8)));
}

/* Norms of all layers come first: what is still being computed is no missing number. */
static bool still_to_come(const struct qk_layer_drift *drift, double value)
{
    return drift->norms_only && isnan(value);
}

static void draw_group(const struct app *app, struct canvas *canvas, int y, int x, struct columns c,
    int layer, const struct group *group, double scale)
{
    const struct qk_layer_drift *drift = qk_session_drift(app->session, layer);
    const struct qk_current *current = qk_session_current(app->session, layer);
    bool chosen = !layer_kept(app, layer);
    double before = qk_metric_layer(drift, group->metric, group->role);
    double now =
        current != NULL ? qk_metric_layer(&current->against[QK_PRE], group->metric, group->role) : before;
    if (!chosen && still_to_come(drift, before)) {
        draw_text(canvas, y, x + (c.bar > 0 ? c.bar + 1 : 0), c.number, ALIGN_RIGHT, STYLE_PENDING,
            theme_glyph(&app->theme, GLYPH_WAIT));
        return;
    }
    if (c.bar > 0) {
        draw_bar(
            canvas, y, x, c.bar, group->style, scale > 0 ? now / scale : 0, scale > 0 ? before / scale : 0);
        x += c.bar + c.space;
    }
    char text[64];
    number_text(app, text, before, now, chosen, current != NULL, c.number == WIDE_NUMBER);
    enum style style = chosen ? (current != NULL ? STYLE_CHOICE : STYLE_PENDING) : STYLE_TEXT;
    size_t arrow = 0; /* which goes where digits would have to: the colour tells, too */
    if (chosen && c.number == TIGHT_NUMBER && text_cells(canvas, text) > c.number)
        arrow = strlen(theme_glyph(&app->theme, GLYPH_ARROW));
    draw_text(canvas, y, x, c.number, ALIGN_RIGHT, style, text + arrow);
    if (c.bar == 0 && !chosen)
        draw_level(canvas, y, x, scale > 0 ? now / scale : 0);
}

/* Why a row has no numbers. */
static const char *row_note(const struct app *app, const struct qk_pair_layer *layer, enum style *style)
{
    *style = STYLE_DIM;
    if (layer->problem != NULL)
        return layer->problem;
    if (!layer->has_qk)
        return layer->side[QK_POST]->mixer != NULL ? layer->side[QK_POST]->mixer : "no q and k";
    switch (qk_session_layer_state(app->session, layer->index)) {
    case QK_LAYER_FAILED:
        *style = STYLE_ERROR;
        return qk_session_layer_error(app->session, layer->index);
    case QK_LAYER_RUNNING:
        *style = STYLE_PENDING;
        return "computing";
    case QK_LAYER_WAITING:
        *style = STYLE_PENDING;
        return theme_glyph(&app->theme, GLYPH_WAIT);
    default:
        return NULL;
    }
}

/* Of a layer with a choice the angle that is left, as its other numbers are. */
static void draw_angle(const struct app *app, struct canvas *canvas, int y, int x, int layer)
{
    char number[NUMBER_TEXT], text[32];
    const struct qk_layer_drift *drift = qk_session_drift(app->session, layer);
    const struct qk_current *current = qk_session_current(app->session, layer);
    bool chosen = !layer_kept(app, layer);
    const char *degree = app->theme.ascii ? "" : theme_glyph(&app->theme, GLYPH_DEGREE);
    double angle = qk_metric_layer(
        chosen && current != NULL ? &current->against[QK_PRE] : drift, QK_METRIC_ANGLE_MEAN, -1);
    if ((chosen && current == NULL) || (!chosen && still_to_come(drift, angle))) {
        draw_text(
            canvas, y, x, ANGLE_CELLS - 1, ALIGN_LEFT, STYLE_PENDING, theme_glyph(&app->theme, GLYPH_WAIT));
        return;
    }
    format_number(number, angle);
    snprintf(
        text, sizeof text, "%s%s%s", chosen ? theme_glyph(&app->theme, GLYPH_ARROW) : "", number, degree);
    draw_text(canvas, y, x, ANGLE_CELLS - 1, ALIGN_LEFT, chosen ? STYLE_CHOICE : STYLE_TEXT, text);
}

/* Where the shift has no column of its own, sorting by it shows it in place of the reach. */
static void draw_range_cells(
    const struct app *app, struct canvas *canvas, int y, int x, struct columns c, int layer)
{
    if (c.reach > 0 && c.shift == 0 && app->rows.sort == SORT_SHIFT)
        draw_shift(app, canvas, (struct area){y, x, 1, c.reach}, layer);
    else if (c.reach > 0)
        draw_reach(app, canvas, (struct area){y, x, 1, c.reach}, layer);
    if (c.shift > 0)
        draw_shift(app, canvas, (struct area){y, x + c.reach + GAP, 1, c.shift}, layer);
}

static void draw_choice_cell(const struct app *app, struct canvas *canvas, int y, int x, int width, int layer)
{
    const struct qk_choice *choice = qk_session_selection(app->session)->choice[layer];
    const char *error = qk_session_current_error(app->session, layer);
    enum style style = layer_kept(app, layer) ? STYLE_DIM : STYLE_CHOICE;
    char text[CHOICE_LABEL];
    for (int length = CHOICE_WHOLE; length <= CHOICE_SHORTEST; length++) {
        format_choices(text, choice, app->theme.ascii, (enum choice_length)length);
        if (text_cells(canvas, text) <= width)
            break;
    }
    draw_text(
        canvas, y, x, width, ALIGN_LEFT, error != NULL ? STYLE_ERROR : style, error != NULL ? error : text);
}

/* Arrow, mark, number and kind. */
static void draw_row_name(const struct app *app, struct canvas *canvas, int y, int x, int i)
{
    int layer = app->rows.layer[i];
    const struct qk_pair_layer *row = &app->pair->layer[layer];
    enum style style = row->has_qk ? STYLE_TEXT : STYLE_DIM;
    const char *mark = app->rows.marked[layer]        ? theme_glyph(&app->theme, GLYPH_MARK)
                       : rows_in_range(&app->rows, i) ? theme_glyph(&app->theme, GLYPH_RANGE)
                                                      : "";
    char number[16];
    snprintf(number, sizeof number, "%d", layer);
    draw_text(canvas, y, x, 1, ALIGN_LEFT, STYLE_POINTER,
        layer == app->rows.selected ? theme_glyph(&app->theme, GLYPH_POINTER) : "");
    draw_text(canvas, y, x + 1, 1, ALIGN_LEFT, STYLE_MARK, mark);
    draw_text(canvas, y, x + POINTER_CELLS, INDEX_CELLS, ALIGN_RIGHT, style, number);
    draw_text(canvas, y, x + POINTER_CELLS + INDEX_CELLS + 1, KIND_CELLS, ALIGN_LEFT, style,
        qk_kind_name(row->kind));
}

static void draw_row(const struct app *app, struct canvas *canvas, struct area area, struct columns c, int i,
    const double scale[GROUPS])
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    int layer = app->rows.layer[i], y = area.y + 1 + i - app->rows.top, x = area.x;
    const struct qk_pair_layer *row = &app->pair->layer[layer];
    bool selected = layer == app->rows.selected;
    enum style style;
    const char *note = row_note(app, row, &style);
    canvas->selected = selected;
    draw_text(canvas, y, x, area.w, ALIGN_LEFT, STYLE_TEXT, "");
    draw_row_name(app, canvas, y, x, i);
    for (int g = 0; g < GROUPS && note == NULL; g++)
        draw_group(app, canvas, y, x + LEFT_CELLS + g * c.group, c, layer, &GROUP[g], scale[g]);
    if (c.angle > 0 && note == NULL)
        draw_angle(app, canvas, y, x + c.reach_x - c.angle, layer);
    if (row->has_qk)
        draw_range_cells(app, canvas, y, x + c.reach_x, c, layer);
    for (int o = 0; o < c.effects && row->has_qk; o++)
        draw_effect(
            app, canvas, (struct area){y, x + c.effects_x + o * EFFECT_CELLS, 1, EFFECT_CELLS - 1}, layer, o);
    if (note != NULL)
        draw_text(canvas, y, x + LEFT_CELLS, (row->has_qk ? c.reach_x - 1 : area.w) - LEFT_CELLS, ALIGN_LEFT,
            style, note);
    if (row->has_qk)
        draw_choice_cell(app, canvas, y, x + c.choice_x, c.choice, layer);
    canvas->selected = false;
    if (selected && view->panel == PANEL_LAYERS) {
        canvas->cursor_y = y;
        canvas->cursor_x = x;
    }
}

static void draw_list(const struct app *app, struct canvas *canvas, struct area area)
{
    struct columns c = columns_of(app, area.w);
    double scale[GROUPS];
    draw_heading(app, canvas, area, c);
    for (int g = 0; g < GROUPS; g++)
        scale[g] = scale_of(app, GROUP[g].metric);
    for (int i = app->rows.top; i < app->rows.n && i < app->rows.top + area.h - 1; i++)
        draw_row(app, canvas, area, c, i, scale);
    if (app->rows.n == 0)
        draw_format(canvas, area.y + 1, area.x + POINTER_CELLS, area.w - POINTER_CELLS, STYLE_WARNING,
            "no layer matches '%s': Esc shows all", app->rows.filter);
}

/* --- the list with the detail beside or below it --- */

enum { BESIDE_COLUMNS = 120, LEAST_BESIDE = 70, BELOW_ROWS = 18, LEAST_DETAIL = 10, MOST_DETAIL = 40 };

/* Divides the view: the detail's area has no rows where it is not shown. */
static void divide(const struct app *app, struct area area, struct area *list, struct area *detail)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    *list = *detail = area;
    detail->h = 0;
    if (!view->detail_shown || (area.w < BESIDE_COLUMNS && area.h < BELOW_ROWS))
        return;
    if (area.w >= BESIDE_COLUMNS) {
        int width = area.w - 54; /* what the heads of a small model take */
        width = width > area.w * 11 / 20 ? area.w * 11 / 20 : width;
        list->w = width < LEAST_BESIDE ? LEAST_BESIDE : width; /* from here on rows have bars */
        *detail = (struct area){area.y, area.x + list->w + 1, area.h, area.w - list->w - 1};
        return;
    }
    int all = app->pair->n_layers + 1;
    list->h = area.h / 2;
    if (all <= list->h || area.h - all >= LEAST_DETAIL)
        list->h = all;
    else if (area.h - list->h > MOST_DETAIL) /* it has no use for more */
        list->h = area.h - MOST_DETAIL;
    *detail = (struct area){area.y + list->h, area.x, area.h - list->h, area.w};
}

void place_rows(struct app *app, struct area area)
{
    struct area list, detail;
    divide(app, area, &list, &detail);
    rows_scroll(&app->rows, list.h - 1);
}

void place_layers(struct app *app, const struct canvas *canvas, struct area area)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    struct area detail;
    divide(app, area, &view->list_area, &detail);
    view->detail_area.h = 0;
    if (detail.h > 0)
        place_detail(app, canvas, detail);
}

void draw_layers(const struct app *app, struct canvas *canvas, struct area area)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    int wall = view->list_area.x + view->list_area.w;
    draw_list(app, canvas, view->list_area);
    for (int y = area.y; y < area.y + area.h && wall < area.x + area.w; y++)
        draw_text(canvas, y, wall, 1, ALIGN_LEFT, STYLE_RULE, theme_glyph(&app->theme, GLYPH_WALL));
    if (view->detail_area.h > 0)
        draw_detail(app, canvas, view->detail_area);
}
