/* needle_draw.c - the needle mass of a head over the distance of the needle: pre, post and current. */
#include "ui/views/layers_view.h"

#include "ui/views/histogram.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MASS_CELLS = 7, BESIDE_BIN = 3, BESIDE_GAP = 2, BESIDE_TITLE = 17, STATE_TEXT = 96 };

/* One layer's masses as the lines of a histogram. */
struct curve {
    int first, n_bins;
    struct histogram_line line[HISTOGRAM_LINES];
};

static void find_bins(const struct qk_needles *needles, struct curve *curve)
{
    int last;
    qk_needle_bins(needles, &curve->first, &last);
    curve->n_bins = last - curve->first + 1;
}

static double mass_at(
    const struct qk_needles *needles, const struct qk_needle_layer *masses, int head, int bin)
{
    size_t n;
    return qk_needle_mass_at(needles, masses, head, bin, &n).mean;
}

/* pre's masses: the line from which the others differ. */
static void fill_pre(
    struct curve *curve, const struct qk_needles *needles, const struct qk_needle_layer *masses, int head)
{
    struct histogram_line *line = &curve->line[0];
    line->has_bins = true;
    for (int b = 0; b < curve->n_bins; b++)
        line->bin[b] = mass_at(needles, masses, head, curve->first + b);
    struct qk_needle_mean mean = qk_needle_mass(masses, head);
    format_mass(line->number[0], mean.mean, 5);
    format_mass(line->number[1], mean.error, 5);
}

/* The change of a mass, with its sign. */
static void change_text(const struct app *app, char out[NUMBER_TEXT], double change)
{
    char number[NUMBER_TEXT];
    const char *sign = isnan(change) ? "" : change < 0 ? theme_glyph(&app->theme, GLYPH_MINUS) : "+";
    snprintf(out, NUMBER_TEXT, "%s%.8s", sign, format_mass(number, fabs(change), 5));
}

/* Line i: what these masses differ from pre's; its error is known on the same prompts. */
static void fill_change(const struct app *app, struct curve *curve, int i, const struct qk_needles *needles,
    const struct qk_needle_layer *masses, const struct qk_session_needle *needle, int head)
{
    struct histogram_line *line = &curve->line[i];
    const struct qk_needles *all = qk_session_needles_state(app->session)->needles;
    const struct qk_needle_layer *pre = needle->side[QK_PRE];
    if (masses == NULL)
        return;
    line->has_bins = true;
    for (int b = 0; b < curve->n_bins; b++)
        line->bin[b] =
            mass_at(needles, masses, head, curve->first + b) - mass_at(all, pre, head, curve->first + b);
    change_text(app, line->number[0], qk_needle_mass(masses, head).mean - qk_needle_mass(pre, head).mean);
    format_mass(line->number[1], needles->n == all->n ? qk_needle_drop(pre, masses, head).error : NAN, 5);
}

static void make_curve(const struct app *app, const struct canvas *canvas,
    const struct qk_session_needle *needle, int head, struct curve *curve)
{
    const struct qk_needles *all = qk_session_needles_state(app->session)->needles;
    bool chosen = needle->current_is != QK_CURRENT_POST;
    *curve = (struct curve){
        .line = {{.label = "pre", .style = STYLE_PRE},
            {.label = histogram_difference_label(canvas, true), .style = STYLE_POST, .is_signed = true},
            {.label = histogram_difference_label(canvas, false), .style = STYLE_CHOICE, .is_signed = true}}};
    find_bins(all, curve);
    curve->line[2].why = !chosen                                   ? "as post"
                         : needle->current_is == QK_CURRENT_FAILED ? "failed"
                                                                   : "computing";
    fill_pre(curve, all, needle->side[QK_PRE], head);
    fill_change(app, curve, 1, all, needle->side[QK_POST], needle, head);
    fill_change(app, curve, 2, needle->current_needles, chosen ? needle->current : NULL, needle, head);
}

/* --- beside histograms, whose labels serve both --- */

int needle_beside_cells(const struct app *app, int layer)
{
    struct qk_session_needle needle;
    struct curve curve;
    if (!qk_session_needle(app->session, layer, &needle))
        return 0;
    find_bins(qk_session_needles_state(app->session)->needles, &curve);
    int cells = curve.n_bins * BESIDE_BIN + MASS_CELLS;
    return BESIDE_GAP + (cells < BESIDE_TITLE ? BESIDE_TITLE : cells);
}

void draw_needle_beside(const struct app *app, struct canvas *canvas, struct area area, int layer, int head)
{
    struct qk_session_needle needle;
    struct curve curve;
    if (!qk_session_needle(app->session, layer, &needle))
        return;
    make_curve(app, canvas, &needle, head, &curve);
    int x = area.x + BESIDE_GAP, end = area.x + area.w, high = (area.h - 1) / HISTOGRAM_LINES;
    int used = draw_format(canvas, area.y, x, end - x, STYLE_STRONG, "q%d", head);
    draw_format(canvas, area.y, x + used, end - x - used, STYLE_HEADING, " needle %s%zu",
        theme_glyph(&app->theme, GLYPH_AT_LEAST), qk_range_bin_first(curve.first));
    for (int i = 0; i < HISTOGRAM_LINES; i++) {
        const struct histogram_line *line = &curve.line[i];
        struct area plot = {area.y + 1 + i * high, x, high, end - x};
        int y = line->is_signed ? plot.y + high / 2 : plot.y + high - 1; /* of the labels of the histograms */
        if (!line->has_bins) {
            draw_text(canvas, y, x, plot.w, ALIGN_LEFT, STYLE_PENDING, line->why);
            continue;
        }
        draw_bins(canvas, plot, line, curve.n_bins, BESIDE_BIN,
            line->is_signed ? histogram_top(curve.line, curve.n_bins, true) : 1);
        draw_text(canvas, y, end - MASS_CELLS, MASS_CELLS, ALIGN_RIGHT, STYLE_TEXT, line->number[0]);
    }
}

/* --- by itself --- */

/* The kind of current's masses, for the right end of the heading. */
static enum style current_state(
    const struct app *app, const struct qk_session_needle *needle, char out[STATE_TEXT])
{
    const struct qk_needles_state *state = qk_session_needles_state(app->session);
    out[0] = '\0';
    if (needle->current_is == QK_CURRENT_EXACT)
        snprintf(out, STATE_TEXT, "exact");
    else if (needle->current_is == QK_CURRENT_PENDING)
        snprintf(out, STATE_TEXT, "computing");
    else if (needle->current_is == QK_CURRENT_FAILED)
        snprintf(out, STATE_TEXT, "failed");
    else if (needle->current_is == QK_CURRENT_SAME && needle->current_needles->n < state->needles->n)
        snprintf(out, STATE_TEXT, "same states, %zu of %zu prompts", needle->current_needles->n,
            state->needles->n);
    else if (needle->current_is == QK_CURRENT_SAME)
        snprintf(out, STATE_TEXT, "same states");
    return needle->current_is == QK_CURRENT_EXACT    ? STYLE_GOOD
           : needle->current_is == QK_CURRENT_FAILED ? STYLE_ERROR
                                                     : STYLE_WARNING;
}

void draw_needle(const struct app *app, struct canvas *canvas, struct area area, int layer, int head)
{
    struct qk_session_needle needle;
    struct curve curve;
    char state[STATE_TEXT], drop[NUMBER_TEXT], error[NUMBER_TEXT], title[16];
    if (!qk_session_needle(app->session, layer, &needle))
        return;
    make_curve(app, canvas, &needle, head, &curve);
    enum style style = current_state(app, &needle, state);
    int right = text_cells(canvas, state), left = area.w - right - 1;
    struct qk_needle_mean loss = qk_needle_drop(needle.side[QK_PRE], needle.side[QK_POST], head);
    int used = draw_run(canvas, area.y, area.x, left, STYLE_HEADING, "needle mass ");
    draw_format(canvas, area.y, area.x + used, left - used, STYLE_TEXT, " drop %s %s %s",
        format_mass(drop, loss.mean, 5), theme_glyph(&app->theme, GLYPH_PLUS_MINUS),
        format_mass(error, loss.error, 5));
    draw_text(canvas, area.y, area.x + area.w - right, right, ALIGN_LEFT, style, state);
    snprintf(title, sizeof title, "q%d", head);
    const struct histogram_axis axis = {.title = title,
        .number = {"mass", theme_glyph(&app->theme, GLYPH_PLUS_MINUS)},
        .first = curve.first,
        .n_bins = curve.n_bins,
        .top = 1};
    draw_histogram(canvas, (struct area){area.y + 1, area.x, area.h - 1, area.w}, &axis, curve.line);
}
