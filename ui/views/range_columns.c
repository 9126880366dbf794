/* range_columns.c - the columns of attention ranges in the list: the reach and the shift. */
#include "ui/views/layers_view.h"

#include "ui/format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* "0.71", or ".71" when brief. */
static void mass_text(char out[NUMBER_TEXT], const struct qk_layer_range *range, bool brief)
{
    snprintf(out, NUMBER_TEXT, "%.2f", range->layer.long_mass);
    if (isnan(range->layer.long_mass))
        snprintf(out, NUMBER_TEXT, "-");
    else if (brief && out[0] == '0')
        memmove(out, out + 1, strlen(out));
    else if (brief)
        snprintf(out, NUMBER_TEXT, "%.1f", range->layer.long_mass);
}

/* Long mass "pre -> post", and "-> current" where choices matter; in a tight column that alone. */
static void reach_text(const struct app *app, char out[64], const struct qk_session_range *range, int width)
{
    char pre[NUMBER_TEXT] = "-", post[NUMBER_TEXT] = "-", now[NUMBER_TEXT];
    const char *arrow = theme_glyph(&app->theme, GLYPH_ARROW);
    bool brief = width < ROOMY_REACH, chosen = range->current_is != QK_CURRENT_POST;
    if (range->side[QK_PRE] != NULL)
        mass_text(pre, range->side[QK_PRE], brief);
    if (range->side[QK_POST] != NULL)
        mass_text(post, range->side[QK_POST], brief);
    if (range->current != NULL)
        mass_text(now, range->current, brief);
    else
        snprintf(now, sizeof now, "%s", current_mark(app, range->current_is));
    if (!chosen)
        snprintf(out, 64, "%s%s%s", pre, arrow, post);
    else if (width < NARROW_REACH)
        snprintf(out, 64, "%s%s", arrow, now);
    else if (app->theme.ascii && brief)
        snprintf(out, 64, "%s>%s>%s", pre, post, now);
    else
        snprintf(out, 64, "%s%s%s%s%s", pre, arrow, post, arrow, now);
}

int count_ranges(const struct app *app)
{
    return any_ranges(app);
}

/* "reach >=128", or "reach". */
void heading_reach(const struct app *app, struct canvas *canvas, const struct cell *cell, enum style style,
    const char *arrow)
{
    char text[64];
    size_t far = qk_session_probe_state(app->session)->long_from;
    (void)arrow;
    snprintf(text, sizeof text, "%s%s%zu", cell->column->heading, theme_glyph(&app->theme, GLYPH_AT_LEAST),
        far > 0 ? far : (size_t)QK_RANGE_LONG);
    draw_text(canvas, cell->area.y, cell->area.x, cell->area.w, ALIGN_LEFT, style,
        text_cells(canvas, text) <= cell->area.w ? text : cell->column->heading);
}

void draw_reach(const struct app *app, struct canvas *canvas, const struct cell *cell)
{
    struct area area = cell->area;
    struct qk_session_range range;
    char text[64];
    if (!qk_session_range(app->session, cell->layer, &range)) {
        draw_no_number(app, canvas, area, ALIGN_LEFT, range_waits(app, cell->layer));
        return;
    }
    reach_text(app, text, &range, area.w);
    draw_text(canvas, area.y, area.x, area.w, ALIGN_LEFT, current_style(range.current_is), text);
}

double shift_value(const struct column *column, const struct qk_session *session, int layer)
{
    struct qk_session_range range;
    (void)column;
    return qk_session_range(session, layer, &range) ? range.shift : NAN;
}

void draw_shift(const struct app *app, struct canvas *canvas, const struct cell *cell)
{
    struct area area = cell->area;
    struct qk_session_range range;
    char text[NUMBER_TEXT] = "-";
    bool known = qk_session_range(app->session, cell->layer, &range);
    if (known)
        shift_text(text, range.shift);
    draw_text(canvas, area.y, area.x, area.w, ALIGN_LEFT, known ? STYLE_TEXT : STYLE_DIM, text);
}
