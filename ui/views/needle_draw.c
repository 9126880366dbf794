/* needle_draw.c - the needle mass of a head over the distance of the needle: pre, post and current. */
#include "ui/views/layers_view.h"

#include "ui/views/histogram.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MASS_CELLS = 6, BESIDE_BIN = 3, BESIDE_GAP = 2, BESIDE_TITLE = 17, STATE_TEXT = 96 };

/* One layer's masses as the lines of a histogram. */
struct curve {
    int first, n_bins;
    double bin[HISTOGRAM_LINES][QK_RANGE_BINS];
    struct histogram_line line[HISTOGRAM_LINES];
};

static void find_bins(const struct qk_needles *needles, struct curve *curve)
{
    int last;
    qk_needle_bins(needles, &curve->first, &last);
    curve->n_bins = last - curve->first + 1;
}

static void fill_line(struct curve *curve, int i, const struct qk_needles *needles,
    const struct qk_needle_layer *masses, int head)
{
    struct histogram_line *line = &curve->line[i];
    if (masses == NULL)
        return;
    line->bin = curve->bin[i];
    for (int b = 0; b < curve->n_bins; b++) {
        size_t n;
        curve->bin[i][b] = qk_needle_mass_at(needles, masses, head, curve->first + b, &n).mean;
    }
    struct qk_needle_mean mean = qk_needle_mass(masses, head);
    format_mass(line->number[0], mean.mean, 5);
    format_mass(line->number[1], mean.error, 5);
}

static void make_curve(
    const struct app *app, const struct qk_session_needle *needle, int head, struct curve *curve)
{
    static const char *const LABELS[HISTOGRAM_LINES] = {"pre", "post", "current"};
    static const enum style STYLES[HISTOGRAM_LINES] = {STYLE_PRE, STYLE_POST, STYLE_CHOICE};
    const struct qk_needles *all = qk_session_needles_state(app->session)->needles;
    bool chosen = needle->current_is != QK_CURRENT_POST;
    *curve = (struct curve){0};
    find_bins(all, curve);
    for (int i = 0; i < HISTOGRAM_LINES; i++)
        curve->line[i] = (struct histogram_line){.label = LABELS[i], .style = STYLES[i]};
    curve->line[2].why = !chosen                                   ? "as post"
                         : needle->current_is == QK_CURRENT_FAILED ? "failed"
                                                                   : "computing";
    fill_line(curve, 0, all, needle->side[QK_PRE], head);
    fill_line(curve, 1, all, needle->side[QK_POST], head);
    fill_line(curve, 2, needle->current_needles, chosen ? needle->current : NULL, head);
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
    make_curve(app, &needle, head, &curve);
    int x = area.x + BESIDE_GAP, end = area.x + area.w, high = (area.h - 1) / HISTOGRAM_LINES;
    int used = draw_format(canvas, area.y, x, end - x, STYLE_STRONG, "q%d", head);
    draw_format(canvas, area.y, x + used, end - x - used, STYLE_HEADING, " needle %s%zu",
        theme_glyph(&app->theme, GLYPH_AT_LEAST), qk_range_bin_first(curve.first));
    for (int i = 0; i < HISTOGRAM_LINES; i++) {
        const struct histogram_line *line = &curve.line[i];
        struct area plot = {area.y + 1 + i * high, x, high, end - x};
        if (line->bin == NULL) {
            draw_text(canvas, plot.y + high - 1, x, plot.w, ALIGN_LEFT, STYLE_PENDING, line->why);
            continue;
        }
        draw_bins(canvas, plot, line->style, line->bin, curve.n_bins, BESIDE_BIN, 1);
        draw_text(canvas, plot.y + high - 1, end - MASS_CELLS, MASS_CELLS, ALIGN_RIGHT, STYLE_TEXT,
            line->number[0]);
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
    make_curve(app, &needle, head, &curve);
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
