/* drift_columns.c - the columns of drift: q, k and routing with their bars, and the angle. */
#include "ui/views/layers_view.h"

#include "ui/format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TIGHT_NUMBER = 5, NARROW_NUMBER = 6, WIDE_NUMBER = 13, LONGEST_BAR = 24, SHORTEST_BAR = 4, BLANK = 1 };

static double post_value(const struct column *column, const struct qk_session *session, int layer)
{
    const struct qk_layer_drift *drift = qk_session_drift(session, layer);
    return drift != NULL ? qk_metric_layer(drift, column->metric, column->role) : NAN;
}

/* What the cell shows: of a layer with a choice what is left of the drift, once it is known. */
double metric_value(const struct column *column, const struct qk_session *session, int layer)
{
    const struct qk_current *current = qk_session_current(session, layer);
    return current != NULL ? qk_metric_layer(&current->against[QK_PRE], column->metric, column->role)
                           : post_value(column, session, layer);
}

/* The largest value of the metric in any column with bars of it: the bars of q and k can be compared. */
double metric_scale(const struct app *app, const struct column *column)
{
    double top = 0;
    for (int c = 0; c < COLUMN_COUNT; c++) {
        const struct column *other = column_of((enum column_id)c);
        for (int i = 0; i < app->pair->n_layers; i++)
            if (other->scale == column->scale && other->metric == column->metric)
                top = fmax(top, post_value(other, app->session, i)); /* passes over NaN */
    }
    return top;
}

/* A cell in parts: bar, blanks, number, blanks. */
struct parts {
    int bar, space, number;
};

/* Divides a cell by its width: a bar with a wide number, with a narrow one, or with a tight one and no blanks, or a
 * number alone. */
static struct parts divide(int cells)
{
    bool wide = cells >= SHORTEST_BAR + 1 + BLANK + WIDE_NUMBER + BLANK;
    bool narrow = cells >= SHORTEST_BAR + BLANK + NARROW_NUMBER + BLANK;
    struct parts parts = {.space = narrow ? BLANK : 0,
        .number = wide     ? WIDE_NUMBER
                  : narrow ? NARROW_NUMBER
                           : TIGHT_NUMBER};
    parts.bar = cells - parts.space - parts.number - (narrow ? BLANK : 0);
    if (parts.bar < SHORTEST_BAR)
        return (struct parts){.number = NARROW_NUMBER};
    parts.bar = parts.bar > LONGEST_BAR ? LONGEST_BAR : parts.bar;
    return parts;
}

int fit_metric(int cells)
{
    struct parts parts = divide(cells);
    if (parts.bar == 0)
        return cells > NARROW_NUMBER ? NARROW_NUMBER + BLANK : NARROW_NUMBER;
    return parts.bar + parts.space + parts.number + (parts.space > 0 ? BLANK : 0);
}

void heading_metric(const struct app *app, struct canvas *canvas, const struct cell *cell, enum style style,
    const char *arrow)
{
    struct parts parts = divide(cell->area.w);
    const struct column *column = cell->column;
    bool unit = parts.bar > 0 && parts.number != WIDE_NUMBER && arrow[0] == '\0';
    (void)app;
    draw_format(canvas, cell->area.y, cell->area.x, cell->area.w, style, "%s%s%s",
        parts.bar > 0 ? column->heading : column->tight_heading, arrow, unit ? " %" : "");
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

void draw_metric(const struct app *app, struct canvas *canvas, const struct cell *cell)
{
    const struct column *column = cell->column;
    struct parts parts = divide(cell->area.w);
    int y = cell->area.y, x = cell->area.x, layer = cell->layer;
    double scale = cell->scale;
    const struct qk_layer_drift *drift = qk_session_drift(app->session, layer);
    const struct qk_current *current = qk_session_current(app->session, layer);
    bool chosen = !layer_kept(app, layer);
    double before = qk_metric_layer(drift, column->metric, column->role);
    double now =
        current != NULL ? qk_metric_layer(&current->against[QK_PRE], column->metric, column->role) : before;
    if (!chosen && still_to_come(drift, before)) {
        draw_text(canvas, y, x + (parts.bar > 0 ? parts.bar + 1 : 0), parts.number, ALIGN_RIGHT,
            STYLE_PENDING, theme_glyph(&app->theme, GLYPH_WAIT));
        return;
    }
    if (parts.bar > 0) {
        draw_bar(canvas, y, x, parts.bar, column->style, scale > 0 ? now / scale : 0,
            scale > 0 ? before / scale : 0);
        x += parts.bar + parts.space;
    }
    char text[64];
    number_text(app, text, before, now, chosen, current != NULL, parts.number == WIDE_NUMBER);
    enum style style = chosen ? (current != NULL ? STYLE_CHOICE : STYLE_PENDING) : STYLE_TEXT;
    size_t arrow = 0; /* which goes where digits would have to: the colour shows it, too */
    if (chosen && parts.number == TIGHT_NUMBER && text_cells(canvas, text) > parts.number)
        arrow = strlen(theme_glyph(&app->theme, GLYPH_ARROW));
    draw_text(canvas, y, x, parts.number, ALIGN_RIGHT, style, text + arrow);
    if (parts.bar == 0 && !chosen)
        draw_level(canvas, y, x, scale > 0 ? now / scale : 0);
}

/* Of a layer with a choice the angle that is left, as its other numbers are. */
void draw_angle(const struct app *app, struct canvas *canvas, const struct cell *cell)
{
    struct area area = cell->area;
    char number[NUMBER_TEXT], text[32];
    const struct qk_layer_drift *drift = qk_session_drift(app->session, cell->layer);
    const struct qk_current *current = qk_session_current(app->session, cell->layer);
    bool chosen = !layer_kept(app, cell->layer);
    const char *degree = app->theme.ascii ? "" : theme_glyph(&app->theme, GLYPH_DEGREE);
    double angle = qk_metric_layer(chosen && current != NULL ? &current->against[QK_PRE] : drift,
        cell->column->metric, cell->column->role);
    if ((chosen && current == NULL) || (!chosen && still_to_come(drift, angle))) {
        draw_text(
            canvas, area.y, area.x, area.w, ALIGN_LEFT, STYLE_PENDING, theme_glyph(&app->theme, GLYPH_WAIT));
        return;
    }
    format_number(number, angle);
    snprintf(
        text, sizeof text, "%s%s%s", chosen ? theme_glyph(&app->theme, GLYPH_ARROW) : "", number, degree);
    draw_text(canvas, area.y, area.x, area.w, ALIGN_LEFT, chosen ? STYLE_CHOICE : STYLE_TEXT, text);
}
