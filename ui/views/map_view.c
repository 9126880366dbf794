/* map_view.c - the map of all heads: its numbers, the pointer, and the order of the hottest. */
#include "ui/views/map_view.h"

#include "base/mem.h"
#include "ui/dispatch.h"
#include "ui/handlers.h"
#include "ui/message.h"
#include "ui/screen.h"
#include "ui/views/layers_view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int heads_of(const struct app *app, int layer, enum qk_role role)
{
    return app->pair->layer[layer].side[QK_POST]->role[role].n_heads;
}

int map_columns(const struct map_view *view)
{
    return view->heads[QK_Q] + view->heads[QK_K];
}

double map_value(const struct map_view *view, int at, int column)
{
    return view->value[(size_t)at * (size_t)map_columns(view) + (size_t)column];
}

int map_pointer(const struct app *app, int *at)
{
    const struct map_view *view = app->state[SCREEN_MAP];
    int layer = app->rows.selected;
    *at = -1;
    for (int i = 0; i < view->n; i++)
        if (view->layer[i] == layer)
            *at = i;
    if (*at < 0)
        return 0;
    int n_q = heads_of(app, layer, QK_Q), n_k = heads_of(app, layer, QK_K);
    int head = app->head < n_q + n_k ? app->head : n_q + n_k - 1;
    return head < n_q ? head : view->heads[QK_Q] + head - n_q;
}

/* Puts the pointer on a layer of the view, and there on the column, or the head before it that the layer has. */
static void point_at(struct app *app, int at, int column)
{
    const struct map_view *view = app->state[SCREEN_MAP];
    int layer = view->layer[at], n_q = heads_of(app, layer, QK_Q), n_k = heads_of(app, layer, QK_K);
    bool k = column >= view->heads[QK_Q] && n_k > 0;
    int head = k ? column - view->heads[QK_Q] : column, last = (k ? n_k : n_q) - 1;
    head = head > last ? last : head;
    for (int i = 0; i < app->rows.n; i++)
        if (app->rows.layer[i] == layer)
            rows_select(&app->rows, i);
    app->head = (k ? n_q : 0) + (head < 0 ? 0 : head);
}

/* --- numbers --- */

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void find_layers(struct app *app)
{
    struct map_view *view = app->state[SCREEN_MAP];
    view->n = 0;
    memset(view->heads, 0, sizeof view->heads);
    for (int i = 0; i < app->rows.n; i++) {
        int layer = app->rows.layer[i];
        if (!app->pair->layer[layer].has_qk)
            continue;
        view->layer[view->n++] = layer;
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            if (heads_of(app, layer, (enum qk_role)r) > view->heads[r])
                view->heads[r] = heads_of(app, layer, (enum qk_role)r);
    }
    qsort(view->layer, (size_t)view->n, sizeof *view->layer, by_number);
}

static void fill_values(struct app *app, bool current)
{
    struct map_view *view = app->state[SCREEN_MAP];
    const struct map_metric *metric = map_metric(view->metric);
    int columns = map_columns(view);
    for (int i = 0; i < view->n; i++) {
        double *row = view->value + (size_t)i * (size_t)columns;
        struct map_heads heads = {.of = {[QK_Q] = row, [QK_K] = row + view->heads[QK_Q]}};
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            heads.n[r] = heads_of(app, view->layer[i], (enum qk_role)r);
        for (int c = 0; c < columns; c++)
            row[c] = NAN;
        metric->fill(app, metric, view->layer[i], current, &heads);
        for (int c = 0; c < columns; c++)
            view->top = fmax(view->top, row[c]); /* passes over NaN */
    }
}

/* The scale is that of both, so that colours can be compared. Without memory the map is empty. */
static void find_values(struct app *app)
{
    struct map_view *view = app->state[SCREEN_MAP];
    const struct layers_view *layers = app->state[SCREEN_LIST];
    size_t wanted = (size_t)view->n * (size_t)map_columns(view);
    if (wanted > view->room) {
        free(view->value);
        view->room = qk_alloc(&view->value, wanted, sizeof *view->value, NULL) == QK_OK ? wanted : 0;
    }
    if (wanted > view->room)
        view->n = 0;
    view->top = 0;
    if (layers->show_current)
        fill_values(app, false);
    fill_values(app, layers->show_current);
}

/* --- the order of the hottest --- */

/* One of the numbers, or of the layers' numbers. */
struct spot {
    double value;
    int at, column;
};

static bool is_hotter(const struct spot *a, const struct spot *b)
{
    if (a->value != b->value)
        return a->value > b->value;
    return a->at != b->at ? a->at < b->at : a->column < b->column;
}

/* Number i of the view; false: it has none, or its layer's stands for it. */
static bool spot_of(const struct map_view *view, int i, struct spot *spot)
{
    int columns = map_columns(view);
    *spot = (struct spot){view->value[i], i / columns, i % columns};
    return !isnan(spot->value) && (spot->column == 0 || !map_metric(view->metric)->of_layers);
}

/* The next one after `from` in the order, or the one before it; false without one. from NULL: the first. */
static bool next_spot(const struct map_view *view, const struct spot *from, bool back, struct spot *found)
{
    bool any = false;
    for (int i = 0; i < view->n * map_columns(view); i++) {
        struct spot spot;
        if (!spot_of(view, i, &spot))
            continue;
        if (from != NULL && !(back ? is_hotter(&spot, from) : is_hotter(from, &spot)))
            continue;
        if (!any || (back ? is_hotter(found, &spot) : is_hotter(&spot, found)))
            *found = spot;
        any = true;
    }
    return any;
}

int map_rank(const struct map_view *view, double value, int *n)
{
    int rank = 1;
    *n = 0;
    for (int i = 0; i < view->n * map_columns(view); i++) {
        struct spot spot;
        if (!spot_of(view, i, &spot))
            continue;
        (*n)++;
        rank += spot.value > value;
    }
    return rank;
}

unsigned run_hottest(struct app *app, enum action action, const char *argument)
{
    struct map_view *view = app->state[SCREEN_MAP];
    bool back = action == ACTION_HOTTER;
    struct spot spot = {NAN, -1, 0}, from = spot;
    (void)argument;
    from.column = map_pointer(app, &from.at);
    if (from.at >= 0)
        from.value = map_value(view, from.at, from.column);
    if (map_metric(view->metric)->of_layers)
        from.column = 0;
    bool first = view->fresh || isnan(from.value);
    if (!next_spot(view, first ? NULL : &from, back && !first, &spot))
        return say_failure(app, isnan(from.value) ? "no head has this number yet"
                                : back            ? "this is the hottest one"
                                                  : "this is the last one");
    view->fresh = false;
    point_at(app, spot.at, spot.column);
    return REFRESH_DRAW;
}

/* --- layout --- */

enum {
    HEADING_ROWS = 2,
    BELOW_ROWS = 2,
    MOST_CELLS = 6,
    MOST_DIGIT_CELLS = 2,
    ROUTING_CELLS = 25,
    LEAST_WITH_ROUTING = 100
};

static int whole_width(const struct map_view *view, int cells)
{
    return map_columns(view) * cells + MAP_GAP;
}

/* Heads as wide as there is room for, with routing beside them if that leaves enough. */
static void choose_cells(struct map_view *view, int width, int most)
{
    view->routing = width >= LEAST_WITH_ROUTING || whole_width(view, 1) + ROUTING_CELLS <= width;
    width -= view->routing ? ROUTING_CELLS : 0;
    view->area.w = width;
    view->cells = 1;
    while (view->cells < most && whole_width(view, view->cells + 1) <= width)
        view->cells++;
    int used = whole_width(view, view->cells) + 1;
    view->area.w = used < width ? used : width; /* routing stands beside the heads */
}

/* Keeps row or column `at` of n among those shown from *first on; `shown` have room. */
static void scroll_to(int *first, int at, int shown, int n)
{
    *first = at < *first ? at : at >= *first + shown ? at - shown + 1 : *first;
    if (*first > n - shown)
        *first = n > shown ? n - shown : 0;
}

static void place_map(struct app *app, const struct canvas *canvas, struct area area)
{
    struct map_view *view = app->state[SCREEN_MAP];
    int at;
    (void)canvas;
    find_layers(app);
    find_values(app);
    view->area = (struct area){
        area.y + HEADING_ROWS, area.x + MAP_LABEL, area.h - HEADING_ROWS - BELOW_ROWS, area.w - MAP_LABEL};
    choose_cells(view, area.w - MAP_LABEL, theme_has_halves(&app->theme) ? MOST_CELLS : MOST_DIGIT_CELLS);
    view->per_row = theme_has_halves(&app->theme) && view->n > view->area.h ? 2 : 1;
    view->shown = (view->area.w - MAP_GAP) / view->cells;
    int column = map_pointer(app, &at), rows = (view->n + view->per_row - 1) / view->per_row;
    scroll_to(&view->first_column, column, view->shown, map_columns(view));
    scroll_to(&view->first_row, (at < 0 ? 0 : at) / view->per_row, view->area.h, rows);
    if (at >= 0)
        point_at(app, at, column); /* the head that is shown, where another layer's number was out of range */
}

/* --- keys --- */

static void go_map(struct app *app, enum action action)
{
    const struct map_view *view = app->state[SCREEN_MAP];
    int at, column = map_pointer(app, &at), page = view->area.h * view->per_row, half = (page + 1) / 2;
    if (view->n == 0)
        return;
    if (action == ACTION_LEFT || action == ACTION_RIGHT) {
        int last = head_columns(app) - 1, to = app->head + (action == ACTION_LEFT ? -1 : 1);
        app->head = to < 0 ? 0 : to > last ? last : to;
        return;
    }
    at += action == ACTION_UP          ? -1
          : action == ACTION_DOWN      ? 1
          : action == ACTION_PAGE_UP   ? -page
          : action == ACTION_PAGE_DOWN ? page
          : action == ACTION_HALF_UP   ? -half
          : action == ACTION_HALF_DOWN ? half
          : action == ACTION_FIRST     ? -view->n
                                       : view->n;
    point_at(app, at < 0 ? 0 : at >= view->n ? view->n - 1 : at, column);
}

static bool click_map(struct app *app, int y, int x)
{
    const struct map_view *view = app->state[SCREEN_MAP];
    struct area area = view->area;
    int was, at, before = map_pointer(app, &was), column = view->first_column;
    if (y < area.y || y >= area.y + area.h || x < area.x || x >= area.x + area.w)
        return false;
    while (column + 1 < map_columns(view) && area.x + map_offset(view, column + 1) <= x)
        column++;
    at = (view->first_row + y - area.y) * view->per_row;
    if (at >= view->n)
        return false;
    if (was / view->per_row == at / view->per_row && before == column)
        return true;
    point_at(app, at, column);
    return false;
}

/* The metric that a list shows that is sorted as this one. */
static int metric_of_order(const struct app *app)
{
    for (int i = 0; i < map_metric_count(); i++)
        if (map_metric(i)->column != COLUMN_INDEX && map_metric(i)->column == app->rows.sort)
            return i;
    return 0;
}

static void open_map(struct app *app)
{
    struct map_view *view = app->state[SCREEN_MAP];
    int at;
    if (!view->picked)
        view->metric = metric_of_order(app);
    view->fresh = true;
    find_layers(app);
    map_pointer(app, &at);
    if (at < 0 && view->n > 0)
        point_at(app, 0, 0);
}

static enum qk_code start_map(struct app *app, struct qk_error *err)
{
    struct map_view *view = app->state[SCREEN_MAP];
    return qk_alloc(&view->layer, (size_t)app->pair->n_layers, sizeof *view->layer, err);
}

static void end_map(void *state)
{
    struct map_view *view = state;
    free(view->layer);
    free(view->value);
}

const struct screen_ops map_screen = {
    .state_size = sizeof(struct map_view),
    .start = start_map,
    .open = open_map,
    .place = place_map,
    .draw = draw_map,
    .go = go_map,
    .click = click_map,
    .end = end_map,
};

/* Map and layer open each other: each closes again onto the one below it. */
unsigned run_map(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    if (app->depth > 1 && app->screen[app->depth - 2] == SCREEN_MAP)
        close_screen(app);
    else
        open_screen(app, SCREEN_MAP);
    return REFRESH_DRAW;
}

unsigned run_metric(struct app *app, enum action action, const char *argument)
{
    struct map_view *view = app->state[SCREEN_MAP];
    int n = map_metric_count(), to = -1;
    if (argument == NULL || argument[0] == '\0')
        to = (view->metric + (action == ACTION_METRIC_BACK ? n - 1 : 1)) % n;
    for (int i = 0; to < 0 && i < n; i++)
        if (strcmp(argument, map_metric(i)->name) == 0)
            to = i;
    if (to < 0) {
        struct qk_text names = {0};
        map_metric_names(&names);
        unsigned refresh = say_failure(app, "metric: '%s' is no number of heads (expected %s)", argument,
            names.s != NULL ? names.s : "");
        qk_text_free(&names);
        return refresh;
    }
    view->metric = to;
    view->picked = view->fresh = true;
    return REFRESH_DRAW;
}
