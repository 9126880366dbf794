/* list_draw.c - the layers, one a row, in the columns that fit. */
#include "ui/views/layers_view.h"

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

static bool has_what_it_needs(enum cell_needs needs, const struct qk_pair_layer *row, const char *note)
{
    return needs == CELL_NEEDS_NOTHING || (needs == CELL_NEEDS_QK ? row->has_qk : note == NULL);
}

/* The cell of the k-th column in that row of the screen. */
static struct cell cell_of(const struct placed_columns *columns, int k, struct area area, int y)
{
    return (struct cell){.area = {y, area.x + columns->at[k].x, 1, columns->at[k].cells},
        .column = columns->at[k].column,
        .row = -1,
        .layer = -1};
}

static void draw_heading(
    const struct app *app, struct canvas *canvas, struct area area, const struct placed_columns *columns)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    enum style style = view->panel == PANEL_LAYERS ? STYLE_FOCUS : STYLE_HEADING;
    draw_text(canvas, area.y, area.x, area.w, ALIGN_LEFT, style, "");
    for (int k = 0; k < columns->n; k++) {
        struct cell cell = cell_of(columns, k, area, area.y);
        const struct column *column = cell.column;
        bool sorted = column == column_of(app->rows.sort), up = column->ascending != app->rows.reverse;
        const char *arrow = sorted ? theme_glyph(&app->theme, up ? GLYPH_UP : GLYPH_DOWN) : "";
        if (column->draw_heading != NULL)
            column->draw_heading(app, canvas, &cell, style, arrow);
        else
            draw_format(canvas, cell.area.y, cell.area.x, cell.area.w, style, "%s%s", column->heading, arrow);
    }
}

static void draw_row(const struct app *app, struct canvas *canvas, struct area area,
    const struct placed_columns *columns, int i, const double scale[COLUMN_COUNT])
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    int layer = app->rows.layer[i], y = area.y + 1 + i - app->rows.top;
    const struct qk_pair_layer *row = &app->pair->layer[layer];
    enum style style;
    const char *note = row_note(app, row, &style);
    canvas->selected = layer == app->rows.selected;
    draw_text(canvas, y, area.x, area.w, ALIGN_LEFT, STYLE_TEXT, "");
    for (int k = 0; k < columns->n; k++) {
        struct cell cell = cell_of(columns, k, area, y);
        cell.row = i;
        cell.layer = layer;
        cell.scale = scale[k];
        if (has_what_it_needs(cell.column->needs, row, note))
            cell.column->draw(app, canvas, &cell);
    }
    if (note != NULL)
        draw_text(canvas, y, area.x + columns->note_x,
            row->has_qk ? columns->note_cells : area.w - columns->note_x, ALIGN_LEFT, style, note);
    if (canvas->selected && view->panel == PANEL_LAYERS) {
        canvas->cursor_y = y;
        canvas->cursor_x = area.x;
    }
    canvas->selected = false;
}

static void draw_list(const struct app *app, struct canvas *canvas, struct area area)
{
    int count[COLUMN_COUNT];
    double scale[COLUMN_COUNT] = {0};
    columns_count(app, count);
    struct placed_columns columns = columns_place(area.w, count, app->rows.sort);
    draw_heading(app, canvas, area, &columns);
    for (int k = 0; k < columns.n; k++)
        if (columns.at[k].column->scale != NULL)
            scale[k] = columns.at[k].column->scale(app, columns.at[k].column);
    for (int i = app->rows.top; i < app->rows.n && i < app->rows.top + area.h - 1; i++)
        draw_row(app, canvas, area, &columns, i, scale);
    const char *doubt = app->rows.n == 0 ? selector_doubt(app->rows.filter) : NULL;
    if (app->rows.n == 0)
        draw_format(canvas, area.y + 1, area.x + POINTER_CELLS, area.w - POINTER_CELLS, STYLE_WARNING,
            "no layer matches '%s': %s%sEsc shows all", app->rows.filter, doubt != NULL ? doubt : "",
            doubt != NULL ? "; " : "");
}

/* --- the list with the detail beside or below it --- */

enum {
    BESIDE_COLUMNS = 140,
    LEAST_BESIDE = 69 /* for eight heads */,
    BELOW_ROWS = 18,
    LEAST_DETAIL = 10,
    MOST_DETAIL = 40
};

/* Divides the view: the detail's area has no rows where it is not shown. */
static void divide(const struct app *app, struct area area, struct area *list, struct area *detail)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    *list = *detail = area;
    detail->h = 0;
    if (!view->detail_shown || (area.w < BESIDE_COLUMNS && area.h < BELOW_ROWS))
        return;
    if (area.w >= BESIDE_COLUMNS) {
        int width = area.w - LEAST_BESIDE;
        list->w = width > area.w * 11 / 20 ? area.w * 11 / 20 : width;
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
