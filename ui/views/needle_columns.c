/* needle_columns.c - the columns of needle masses: the head with the largest mass, and the one with the largest drop.
 */
#include "ui/views/layers_view.h"

#include "ui/format.h"

#include <math.h>
#include <stdio.h>

enum { DIGITS_2 = 3, DIGITS_3 = 4, DROP_ALONE = 6, MASSES_TEXT = 64 };

int count_needles(const struct app *app)
{
    return qk_session_needles_state(app->session)->needles != NULL;
}

double needle_column_value(const struct column *column, const struct qk_session *session, int layer)
{
    struct qk_session_needle needle;
    (void)column;
    return qk_session_needle(session, layer, &needle) ? needle_value(&needle, NEEDLE_PRE, needle.largest)
                                                      : NAN;
}

double drop_value(const struct column *column, const struct qk_session *session, int layer)
{
    struct qk_session_needle needle;
    (void)column;
    return qk_session_needle(session, layer, &needle)
               ? needle_value(&needle, NEEDLE_DROP, needle.largest_drop)
               : NAN;
}

/* ".83->.70", and "->.72" where choices matter; with `named` "q2 " before it. */
static void masses_text(const struct app *app, char out[MASSES_TEXT], const struct qk_session_needle *needle,
    int head, bool named, bool tight)
{
    char pre[NUMBER_TEXT], post[NUMBER_TEXT], now[NUMBER_TEXT], name[16] = "";
    bool chosen = needle->current_is != QK_CURRENT_POST;
    const char *arrow = app->theme.ascii && chosen ? ">" : theme_glyph(&app->theme, GLYPH_ARROW);
    format_mass(pre, needle_value(needle, NEEDLE_PRE, head), DIGITS_2);
    format_mass(post, needle_value(needle, NEEDLE_POST, head), DIGITS_2);
    if (needle->current != NULL)
        format_mass(now, needle_value(needle, NEEDLE_NOW, head), DIGITS_2);
    else
        snprintf(now, sizeof now, "%s", current_mark(app, needle->current_is));
    if (named)
        snprintf(name, sizeof name, "q%d ", head);
    if (!chosen)
        snprintf(out, MASSES_TEXT, "%s%s%s%s", name, pre, arrow, post);
    else if (tight)
        snprintf(out, MASSES_TEXT, "%s%s%s", name, arrow, now);
    else
        snprintf(out, MASSES_TEXT, "%s%s%s%s%s%s", name, pre, arrow, post, arrow, now);
}

/* The longest text that fits: with the head's name, without it, current alone. */
static void draw_masses(const struct app *app, struct canvas *canvas, struct area area,
    const struct qk_session_needle *needle, int head)
{
    char text[MASSES_TEXT];
    for (int i = 0; i < 4; i++) {
        masses_text(app, text, needle, head, i == 0 || i == 2, i >= 2);
        if (text_cells(canvas, text) <= area.w)
            break;
    }
    enum style style = current_style(needle->current_is);
    bool fetches = needle_value(needle, NEEDLE_PRE, head) >= QK_NEEDLE_FETCHES;
    draw_text(canvas, area.y, area.x, area.w, ALIGN_LEFT, fetches || style == STYLE_ERROR ? style : STYLE_DIM,
        text);
}

/* Finds the masses of a cell's layer. Without masses it draws what stands in their place and returns false. */
static bool numbers(
    const struct app *app, struct canvas *canvas, const struct cell *cell, struct qk_session_needle *needle)
{
    if (qk_session_needle(app->session, cell->layer, needle))
        return true;
    draw_no_number(app, canvas, cell->area, ALIGN_LEFT,
        qk_session_needles_state(app->session)->stage == QK_NEEDLES_RUNNING);
    return false;
}

void draw_needle_cell(const struct app *app, struct canvas *canvas, const struct cell *cell)
{
    struct qk_session_needle needle;
    if (numbers(app, canvas, cell, &needle))
        draw_masses(app, canvas, cell->area, &needle, needle.largest);
}

/* The drop itself, or in a wider place the masses between which it lies. */
void draw_drop(const struct app *app, struct canvas *canvas, const struct cell *cell)
{
    struct area area = cell->area;
    struct qk_session_needle needle;
    char text[NUMBER_TEXT];
    if (!numbers(app, canvas, cell, &needle))
        return;
    if (area.w > DROP_ALONE) {
        draw_masses(app, canvas, area, &needle, needle.largest_drop);
        return;
    }
    bool fetches = needle_value(&needle, NEEDLE_PRE, needle.largest_drop) >= QK_NEEDLE_FETCHES;
    draw_text(canvas, area.y, area.x, area.w, ALIGN_LEFT, fetches ? STYLE_TEXT : STYLE_DIM,
        format_mass(text, needle_value(&needle, NEEDLE_DROP, needle.largest_drop), DIGITS_3));
}
