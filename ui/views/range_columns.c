/* range_columns.c - the columns of attention ranges in the list: the reach and the shift. */
#include "ui/views/layers_view.h"

#include "ui/format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* "64.6", in per cent. */
static const char *percent_text(char out[NUMBER_TEXT], double share)
{
    snprintf(out, NUMBER_TEXT, "%.1f", 100 * share);
    return isnan(share) ? "-" : out;
}

/* "-0.8", the points from pre. */
static const char *points_text(const struct app *app, char out[NUMBER_TEXT], double difference)
{
    double points = round(1000 * difference) / 10; /* as shown: "-0.0" would be no loss */
    snprintf(out, NUMBER_TEXT, "%s%.1f",
        points < 0   ? theme_glyph(&app->theme, GLYPH_MINUS)
        : points > 0 ? "+"
                     : "",
        fabs(points));
    return isnan(difference) ? "-" : out;
}

/* The long mass of a layer as text: pre's, post's and, where it differs from that, the current one's. */
struct reach {
    char pre[NUMBER_TEXT], post[NUMBER_TEXT], now[NUMBER_TEXT]; /* now "": as post */
};

static double long_mass(const struct qk_layer_range *range)
{
    return range != NULL ? range->layer.long_mass : NAN;
}

static struct reach reach_of(const struct app *app, const struct qk_session_range *range)
{
    char text[NUMBER_TEXT];
    struct reach reach = {.now = ""};
    double pre = long_mass(range->side[QK_PRE]);
    snprintf(reach.pre, NUMBER_TEXT, "%s", percent_text(text, pre));
    snprintf(reach.post, NUMBER_TEXT, "%s", points_text(app, text, long_mass(range->side[QK_POST]) - pre));
    if (range->current_is == QK_CURRENT_POST)
        return reach;
    if (range->current == NULL)
        snprintf(reach.now, NUMBER_TEXT, "%s", current_mark(app, range->current_is));
    else if (strcmp(points_text(app, text, long_mass(range->current) - pre), reach.post) != 0)
        snprintf(reach.now, NUMBER_TEXT, "%s", text);
    return reach;
}

/* The longest of these that fits: "64.6 -0.8 > -0.4", "64.6 -0.8>-0.4", "64.6>-0.4", ">-0.4". */
static void reach_text(
    const struct app *app, const struct canvas *canvas, const struct reach *reach, char out[64], int width)
{
    const char *then = theme_glyph(&app->theme, GLYPH_THEN);
    for (int form = 0; form < 4; form++) {
        if (reach->now[0] == '\0')
            snprintf(out, 64, form == 0 ? "%s %s" : "%s%s", reach->pre, reach->post);
        else if (form < 2)
            snprintf(
                out, 64, form == 0 ? "%s %s %s %s" : "%s %s%s%s", reach->pre, reach->post, then, reach->now);
        else
            snprintf(out, 64, "%s%s%s", form == 2 ? reach->pre : "", then, reach->now);
        if (text_cells(canvas, out) <= width)
            return;
    }
}

int count_ranges(const struct app *app)
{
    return any_ranges(app);
}

/* "reach >=128 %", "reach>=128", or "reach". */
void heading_reach(const struct app *app, struct canvas *canvas, const struct cell *cell, enum style style,
    const char *arrow)
{
    char text[64];
    size_t far = qk_session_probe_state(app->session)->long_from;
    bool roomy = cell->area.w >= ROOMY_REACH;
    (void)arrow;
    snprintf(text, sizeof text, roomy ? "%s %s%zu %%" : "%s%s%zu", cell->column->heading,
        theme_glyph(&app->theme, GLYPH_AT_LEAST), far > 0 ? far : (size_t)QK_RANGE_LONG);
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
    struct reach reach = reach_of(app, &range);
    reach_text(app, canvas, &reach, text, area.w);
    draw_text(canvas, area.y, area.x, area.w, ALIGN_LEFT,
        reach.now[0] != '\0' ? current_style(range.current_is) : STYLE_TEXT, text);
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
