/* layer_columns.c - the columns of what a layer is and what is chosen for it: index, kind, choice. */
#include "ui/views/layers_view.h"

#include "ui/format.h"

#include <stdio.h>

enum { INDEX_DIGITS = 3 };

static enum style style_of(const struct qk_pair_layer *layer)
{
    return layer->has_qk ? STYLE_TEXT : STYLE_DIM;
}

double index_value(const struct column *column, const struct qk_session *session, int layer)
{
    (void)column;
    (void)session;
    return layer;
}

/* Arrow, mark and number. */
void draw_index(const struct app *app, struct canvas *canvas, const struct cell *cell)
{
    int layer = cell->layer, y = cell->area.y, x = cell->area.x;
    const char *mark = app->rows.marked[layer]                ? theme_glyph(&app->theme, GLYPH_MARK)
                       : rows_in_range(&app->rows, cell->row) ? theme_glyph(&app->theme, GLYPH_RANGE)
                                                              : "";
    char number[16];
    snprintf(number, sizeof number, "%d", layer);
    draw_text(canvas, y, x, 1, ALIGN_LEFT, STYLE_POINTER,
        layer == app->rows.selected ? theme_glyph(&app->theme, GLYPH_POINTER) : "");
    draw_text(canvas, y, x + 1, 1, ALIGN_LEFT, STYLE_MARK, mark);
    draw_text(
        canvas, y, x + POINTER_CELLS, INDEX_DIGITS, ALIGN_RIGHT, style_of(&app->pair->layer[layer]), number);
}

double kind_value(const struct column *column, const struct qk_session *session, int layer)
{
    (void)column;
    return qk_session_pair(session)->layer[layer].kind;
}

void draw_kind(const struct app *app, struct canvas *canvas, const struct cell *cell)
{
    const struct qk_pair_layer *layer = &app->pair->layer[cell->layer];
    draw_text(canvas, cell->area.y, cell->area.x, cell->area.w, ALIGN_LEFT, style_of(layer),
        qk_kind_name(layer->kind));
}

double choice_value(const struct column *column, const struct qk_session *session, int layer)
{
    const struct qk_layer_choice *choice = &qk_session_selection(session)->choice[layer];
    (void)column;
    return QK_MODE_COUNT * (int)qk_layer_choice_mode(choice, QK_Q) + (int)qk_layer_choice_mode(choice, QK_K);
}

void heading_choice(const struct app *app, struct canvas *canvas, const struct cell *cell, enum style style,
    const char *arrow)
{
    const char *on = app->role == QK_Q ? " (on q)" : app->role == QK_K ? " (on k)" : "";
    draw_format(
        canvas, cell->area.y, cell->area.x, cell->area.w, style, "%s%s%s", cell->column->heading, arrow, on);
}

void draw_choice_cell(const struct app *app, struct canvas *canvas, const struct cell *cell)
{
    const struct qk_layer_choice *choice = &qk_session_selection(app->session)->choice[cell->layer];
    const char *error = qk_session_current_error(app->session, cell->layer);
    enum style style = layer_kept(app, cell->layer) ? STYLE_DIM : STYLE_CHOICE;
    char text[CHOICE_LABEL];
    struct area area = cell->area;
    for (int length = CHOICE_WHOLE; length <= CHOICE_SHORTEST; length++) {
        format_choices(text, choice, app->theme.ascii, (enum choice_length)length);
        if (text_cells(canvas, text) <= area.w)
            break;
    }
    int missing = text_cells(canvas, text) - area.w;
    if (error == NULL && missing > 0 && cell->layer == app->rows.selected && area.x > missing + 1) {
        area.x -= missing; /* where it is being made it is never cut: it covers what stands before it */
        area.w += missing;
        draw_text(canvas, area.y, area.x - 1, 1, ALIGN_LEFT, STYLE_TEXT, "");
    }
    draw_text(canvas, area.y, area.x, area.w, ALIGN_LEFT, error != NULL ? STYLE_ERROR : style,
        error != NULL ? error : text);
}
