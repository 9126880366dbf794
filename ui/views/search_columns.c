/* search_columns.c - the column of what a search found: the effects of restoring a layer on the first objectives. */
#include "ui/views/layers_view.h"

#include "ui/views/search_view.h"

#include <math.h>
#include <stdio.h>

enum { MOST_EFFECTS = 2 };

int count_effects(const struct app *app)
{
    const struct qk_search_state *found = qk_session_search_state(app->session);
    if (found->effect == NULL)
        return 0;
    return found->n_objectives < MOST_EFFECTS ? (int)found->n_objectives : MOST_EFFECTS;
}

/* How many effects the cell shows: it may stand in the place of another column. */
static int cells_of_effects(const struct app *app, const struct cell *cell)
{
    int n = count_effects(app), room = (cell->area.w + 1) / EFFECT_CELLS;
    return n < room ? n : room;
}

/* Where the effect on one objective stands in the cell. */
static struct area part_of(const struct cell *cell, int objective)
{
    return (struct area){cell->area.y, cell->area.x + objective * EFFECT_CELLS, 1, EFFECT_CELLS - 1};
}

/* The effect on the first objective. */
double effect_value(const struct column *column, const struct qk_session *session, int layer)
{
    const struct qk_search_state *found = qk_session_search_state(session);
    (void)column;
    if (found->effect == NULL || found->effect[(size_t)layer * found->n_objectives].n == 0)
        return NAN;
    return found->effect[(size_t)layer * found->n_objectives].value;
}

void heading_effects(const struct app *app, struct canvas *canvas, const struct cell *cell, enum style style,
    const char *arrow)
{
    const struct qk_search_state *found = qk_session_search_state(app->session);
    enum align align = objective_align(app) == ALIGN_TAIL ? ALIGN_TAIL : ALIGN_RIGHT;
    int n = cells_of_effects(app, cell);
    if (n == 0)
        draw_format(
            canvas, cell->area.y, cell->area.x, cell->area.w, style, "%s%s", cell->column->name, arrow);
    for (int o = 0; o < n; o++) {
        struct area part = part_of(cell, o);
        const char *mark = o == 0 ? arrow : "";
        int cells = text_cells(canvas, mark);
        draw_text(canvas, part.y, part.x, part.w - cells, align, style, found->objective[o]);
        draw_text(canvas, part.y, part.x + part.w - cells, cells, ALIGN_LEFT, style, mark);
    }
}

static void draw_effect(const struct app *app, struct canvas *canvas, struct area part,
    const struct qk_search_state *found, struct qk_estimate effect)
{
    char text[32];
    if (effect.n == 0) {
        draw_no_number(app, canvas, part, ALIGN_RIGHT, found->stage == QK_SEARCH_RUNNING);
        return;
    }
    snprintf(text, sizeof text, "%+.1f", 100 * effect.value + 0.0);
    draw_text(canvas, part.y, part.x, part.w, ALIGN_RIGHT,
        fabs(effect.value) > 1.96 * effect.error ? STYLE_STRONG : STYLE_DIM, text);
}

void draw_effects(const struct app *app, struct canvas *canvas, const struct cell *cell)
{
    const struct qk_search_state *found = qk_session_search_state(app->session);
    int n = cells_of_effects(app, cell);
    for (int o = 0; o < n; o++)
        draw_effect(app, canvas, part_of(cell, o), found,
            found->effect[(size_t)cell->layer * found->n_objectives + (size_t)o]);
    if (n == 0)
        draw_no_number(app, canvas, cell->area, ALIGN_LEFT, found->stage == QK_SEARCH_RUNNING);
}
