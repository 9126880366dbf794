/* ranges_draw.c - attention ranges in the detail: histograms of pre, post and current, and the reasons for none. */
#include "ui/views/layers_view.h"

#include "ui/format.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LABEL_CELLS = 8, NUMBER_CELLS = 6, LONGEST_BIN = 5, N_LINES = 3 };

bool any_ranges(const struct app *app)
{
    for (int i = 0; i < app->pair->n_layers; i++)
        if (qk_probe_has(app->pair, i))
            return true;
    return false;
}

const char *range_obstacle(const struct app *app, int layer)
{
    const struct qk_probe_state *state = qk_session_probe_state(app->session);
    struct qk_session_range range;
    if (!qk_probe_has(app->pair, layer))
        return "only full and window layers have attention ranges";
    if (qk_session_range(app->session, layer, &range))
        return NULL;
    if (qk_session_range_error(app->session, layer) != NULL)
        return qk_session_range_error(app->session, layer);
    switch (state->stage) {
    case QK_PROBE_RUNNING:
        return "the probe text is still being run";
    case QK_PROBE_FAILED:
        return state->error != NULL ? state->error : "the probe failed";
    case QK_PROBE_CANCELLED:
        return "the probe was stopped: T starts one";
    case QK_PROBE_OFF:
        return "no probe has run: T starts one";
    default:
        return "the probe has no numbers of this layer";
    }
}

bool range_waits(const struct app *app, int layer)
{
    return qk_probe_has(app->pair, layer) &&
           qk_session_probe_state(app->session)->stage == QK_PROBE_RUNNING &&
           qk_session_range_error(app->session, layer) == NULL;
}

char *shift_text(char out[NUMBER_TEXT], double shift)
{
    if (shift >= 0.0005)
        snprintf(out, NUMBER_TEXT, "%.3f", shift);
    else
        format_number(out, shift);
    return out;
}

/* --- histograms --- */

/* One histogram with two numbers behind it, or the reason for none. */
struct line {
    const char *label;
    enum style style;
    const double *bin; /* or NULL */
    const char *why;
    char number[2][NUMBER_TEXT];
};
/* The labels of an axis: the owner of the bins, and the names of the numbers. */
struct axis {
    const char *title, *number[2];
    int n_bins;
};

static int bin_cells(int width, int n_bins)
{
    int cells = (width - LABEL_CELLS - 2 * NUMBER_CELLS) / n_bins;
    return cells > LONGEST_BIN ? LONGEST_BIN : cells < 1 ? 1 : cells;
}

static void distance_text(char out[NUMBER_TEXT], size_t distance)
{
    snprintf(
        out, NUMBER_TEXT, distance >= 1024 ? "%zuk" : "%zu", distance >= 1024 ? distance / 1024 : distance);
}

/* The first distances of the bins, as many as fit, and the names of the numbers. */
static void draw_axis(struct canvas *canvas, struct area area, const struct axis *axis)
{
    char text[NUMBER_TEXT];
    int cells = bin_cells(area.w, axis->n_bins), plot = area.w - 2 * NUMBER_CELLS, free_from = LABEL_CELLS;
    draw_text(canvas, area.y, area.x, LABEL_CELLS, ALIGN_LEFT, STYLE_STRONG, axis->title);
    for (int b = 0; b < axis->n_bins; b++) {
        int x = LABEL_CELLS + b * cells;
        distance_text(text, qk_range_bin_first(b));
        if (x >= free_from && x + (int)strlen(text) <= plot)
            free_from = x + 1 + draw_run(canvas, area.y, area.x + x, plot - x, STYLE_DIM, text);
    }
    for (int i = 0; i < 2; i++)
        draw_text(canvas, area.y, area.x + plot + i * NUMBER_CELLS, NUMBER_CELLS, ALIGN_RIGHT, STYLE_HEADING,
            axis->number[i]);
}

/* The bars of one histogram; `top` is the full height. */
static void draw_bins(
    struct canvas *canvas, struct area area, const struct line *line, int n_bins, double top)
{
    int cells = bin_cells(area.w, n_bins), wide = cells > 2 ? cells - 1 : cells;
    for (int b = 0; b < n_bins; b++) {
        double value = line->bin[b];
        int eighths = value > 0 && top > 0 ? (int)lround(value / top * 8 * area.h) : 0;
        eighths = eighths == 0 && value > 0 ? 1 : eighths; /* a small value still shows */
        for (int row = 0; row < area.h; row++) {
            int level = eighths - 8 * row;
            level = level < 0 ? 0 : level > 8 ? 8 : level;
            for (int k = 0; k < wide; k++)
                draw_text(canvas, area.y + area.h - 1 - row, area.x + LABEL_CELLS + b * cells + k, 1,
                    ALIGN_LEFT, line->style, theme_column_part(canvas->theme, level));
        }
    }
}

static void draw_line(
    struct canvas *canvas, struct area area, const struct line *line, int n_bins, double top)
{
    int y = area.y + area.h - 1, plot = area.w - 2 * NUMBER_CELLS;
    draw_text(canvas, y, area.x, LABEL_CELLS, ALIGN_LEFT, line->style, line->label);
    if (line->bin == NULL) {
        draw_text(
            canvas, y, area.x + LABEL_CELLS, area.w - LABEL_CELLS, ALIGN_LEFT, STYLE_PENDING, line->why);
        return;
    }
    draw_bins(canvas, area, line, n_bins, top);
    for (int i = 0; i < 2; i++)
        draw_text(canvas, y, area.x + plot + i * NUMBER_CELLS, NUMBER_CELLS, ALIGN_RIGHT, STYLE_TEXT,
            line->number[i]);
}

/* An axis and the lines under it, each as high as the area allows, on one scale. */
static void draw_lines(
    struct canvas *canvas, struct area area, const struct axis *axis, const struct line lines[N_LINES])
{
    int high = (area.h - 1) / N_LINES;
    double top = 0;
    for (int i = 0; i < N_LINES; i++)
        for (int b = 0; lines[i].bin != NULL && b < axis->n_bins; b++)
            top = fmax(top, lines[i].bin[b]);
    draw_axis(canvas, area, axis);
    for (int i = 0; i < N_LINES; i++)
        draw_line(
            canvas, (struct area){area.y + 1 + i * high, area.x, high, area.w}, &lines[i], axis->n_bins, top);
}

static const char *part_title(char out[16], int head)
{
    snprintf(out, 16, head < 0 ? "layer" : "q%d", head);
    return out;
}

/* A layer's numbers, or those of its head (head >= 0). */
static const struct qk_range *part_of(const struct qk_layer_range *range, int head)
{
    if (range == NULL || head >= range->n_heads)
        return NULL;
    return head < 0 ? &range->layer : &range->head[head];
}

static const char *why_no_current(const struct qk_session_range *range)
{
    if (range->current_is == QK_CURRENT_FAILED)
        return range->current_error != NULL ? range->current_error : "failed";
    return range->current_is == QK_CURRENT_POST ? "as post" : "computing";
}

static struct line range_line(
    const char *label, enum style style, const struct qk_range *range, const char *why)
{
    struct line line = {.label = label, .style = style, .why = why};
    if (range == NULL)
        return line;
    line.bin = range->hist;
    format_number(line.number[0], range->mean);
    snprintf(line.number[1], NUMBER_TEXT, "%.3f", range->long_mass);
    return line;
}

static void draw_histograms(const struct app *app, struct canvas *canvas, struct area area,
    const struct qk_session_range *range, int head)
{
    bool chosen = range->current_is != QK_CURRENT_POST;
    const struct line lines[N_LINES] = {
        range_line("pre", STYLE_PRE, part_of(range->side[QK_PRE], head), "not known yet"),
        range_line("post", STYLE_POST, part_of(range->side[QK_POST], head), "not known yet"),
        range_line(
            "current", STYLE_CHOICE, chosen ? part_of(range->current, head) : NULL, why_no_current(range)),
    };
    const struct qk_layer_range *any =
        range->side[QK_POST] != NULL ? range->side[QK_POST] : range->side[QK_PRE];
    char title[16], far[32], text[NUMBER_TEXT];
    distance_text(text, qk_session_probe_state(app->session)->long_from);
    snprintf(far, sizeof far, "%s%s", theme_glyph(&app->theme, GLYPH_AT_LEAST), text);
    const struct axis axis = {part_title(title, head), {"mean", far}, any != NULL ? any->n_bins : 0};
    if (axis.n_bins > 0)
        draw_lines(canvas, area, &axis, lines);
}

/* --- the estimate --- */

/* Mean logits above the lowest of both sides, into bin. */
static struct line profile_line(const char *label, enum style style, const struct qk_profile *profile,
    int head, double low, double bin[QK_RANGE_BINS])
{
    struct line line = {.label = label, .style = style, .bin = bin};
    double least = HUGE_VAL, most = -HUGE_VAL;
    for (int i = 0; i < profile->n_points; i++) {
        double logit = qk_profile_value(profile, head, i);
        bin[i] = logit - low;
        least = fmin(least, logit);
        most = fmax(most, logit);
    }
    format_number(line.number[0], least);
    format_number(line.number[1], most);
    return line;
}

static void draw_profiles(
    struct canvas *canvas, struct area area, const struct qk_profile *const side[QK_SIDE_COUNT], int head)
{
    double low = HUGE_VAL, bins[QK_SIDE_COUNT][QK_RANGE_BINS];
    char title[16];
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        for (int i = 0; i < side[s]->n_points; i++)
            low = fmin(low, qk_profile_value(side[s], head, i));
    const struct axis axis = {part_title(title, head), {"least", "most"}, side[QK_POST]->n_points};
    const struct line lines[N_LINES] = {
        profile_line("pre", STYLE_PRE, side[QK_PRE], head, low, bins[QK_PRE]),
        profile_line("post", STYLE_POST, side[QK_POST], head, low, bins[QK_POST]),
        {.label = "", .style = STYLE_DIM, .why = ":states FILE gives the ranges"},
    };
    draw_lines(canvas, area, &axis, lines);
}

/* Rows of the layer's part: all, or half of them where the selected head's part fits below. */
static int part_height(int left)
{
    return left < 2 * (1 + N_LINES) ? left : 1 + N_LINES * ((left / 2 - 1) / N_LINES);
}

static void draw_estimate(const struct app *app, struct canvas *canvas, struct area area, int layer)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    const struct qk_profile *side[QK_SIDE_COUNT];
    int left = area.h - 1, head = range_head(app);
    draw_run(canvas, area.y, area.x, area.w, STYLE_HEADING, "estimate from weights: mean logit by distance");
    area = (struct area){area.y + 1, area.x, part_height(left), area.w};
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        side[s] = qk_session_profile(app->session, layer, (enum qk_side)s);
        if (side[s] == NULL) {
            draw_text(canvas, area.y, area.x, area.w, ALIGN_LEFT, STYLE_PENDING, "computing");
            return;
        }
    }
    bool both = area.h < left;
    draw_profiles(canvas, area, side, both || view->panel != PANEL_HEADS ? -1 : head);
    area.y += area.h;
    if (both)
        draw_profiles(canvas, area, side, head);
}

/* The kind of the current model's numbers, for the right end of the heading. */
static enum style current_state(const struct app *app, const struct qk_session_range *range, char out[64])
{
    const struct qk_probe_state *state = qk_session_probe_state(app->session);
    bool exact = state->exact_running && range->current_is != QK_CURRENT_EXACT;
    out[0] = '\0';
    switch (range->current_is) {
    case QK_CURRENT_POST:
        return STYLE_DIM;
    case QK_CURRENT_PENDING:
        snprintf(out, 64, "computing");
        return STYLE_PENDING;
    case QK_CURRENT_FAILED:
        snprintf(out, 64, "failed");
        return STYLE_ERROR;
    case QK_CURRENT_EXACT:
        snprintf(out, 64, "exact");
        return STYLE_GOOD;
    default:
        break;
    }
    if (exact)
        snprintf(out, 64, "same states, exact %" PRIu64 "/%" PRIu64, state->exact_done, state->exact_total);
    else
        snprintf(out, 64, "same states%s", state->exact_error != NULL ? ", exact run failed" : "");
    return STYLE_WARNING;
}

static void draw_range_heading(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_session_range *range)
{
    char state[64], shift[NUMBER_TEXT];
    enum style style = current_state(app, range, state);
    int right = text_cells(canvas, state), left = area.w - right - 1;
    int used = draw_run(canvas, area.y, area.x, left, STYLE_HEADING, "attention range ");
    used += draw_format(
        canvas, area.y, area.x + used, left - used, STYLE_TEXT, " shift %s", shift_text(shift, range->shift));
    /* the part of it that a restore undoes */
    if (range->restored != NULL && left - used >= 11)
        used += draw_format(canvas, area.y, area.x + used, left - used, STYLE_TEXT, ", q,k%s %s",
            left - used >= 17 ? " alone" : "", shift_text(shift, range->restored_shift));
    const struct qk_probe_state *probe = qk_session_probe_state(app->session);
    if (left - used > 26 && probe->n_ids > probe->first_query)
        draw_format(canvas, area.y, area.x + used, left - used, STYLE_DIM, ", %zu queries of %zu tokens",
            probe->n_ids - probe->first_query, probe->n_ids);
    draw_text(canvas, area.y, area.x + area.w - right, right, ALIGN_LEFT, style, state);
}

/* Why the layer has no histograms, and the remedy. */
static void draw_no_ranges(const struct app *app, struct canvas *canvas, struct area area, int layer)
{
    const struct qk_probe_state *state = qk_session_probe_state(app->session);
    char text[128];
    draw_run(canvas, area.y, area.x, area.w, STYLE_HEADING, "attention range");
    area = (struct area){area.y + 1, area.x, area.h - 1, area.w};
    if (range_waits(app, layer)) {
        snprintf(text, sizeof text,
            "running %s over the probe text: %" PRIu64 " of %" PRIu64 " layers; X stops it",
            state->doing != NULL ? state->doing : "both", state->done, state->total);
        draw_wrapped(canvas, area, STYLE_PENDING, text);
        return;
    }
    char shown[QK_ERROR_TEXT];
    int used = draw_wrapped(canvas, (struct area){area.y, area.x, area.h > 1 ? area.h - 1 : 1, area.w},
        STYLE_DIM, qk_printable(shown, sizeof shown, range_obstacle(app, layer)));
    if (state->stage == QK_PROBE_FAILED)
        draw_wrapped(canvas, (struct area){area.y + used, area.x, area.h - used, area.w}, STYLE_DIM,
            "typed here as :states FILE, :ids FILE or :probe FILE");
}

int range_head(const struct app *app)
{
    const struct qk_pair_layer *layer = selected_layer(app);
    int n_q = layer->side[QK_POST]->role[QK_Q].n_heads, n_k = layer->side[QK_POST]->role[QK_K].n_heads;
    int head = app->head < n_q ? app->head : (app->head - n_q) * (n_k > 0 ? n_q / n_k : 1);
    return head < n_q ? head : n_q - 1;
}

void draw_ranges(const struct app *app, struct canvas *canvas, struct area area)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    struct qk_session_range range;
    int layer = app->rows.selected, left = area.h - 1;
    if (!qk_session_range(app->session, layer, &range)) {
        bool estimated = qk_session_probe_state(app->session)->estimated &&
                         qk_session_range_error(app->session, layer) == NULL;
        if (estimated && qk_probe_has_profile(app->pair, layer))
            draw_estimate(app, canvas, area, layer);
        else
            draw_no_ranges(app, canvas, area, layer);
        return;
    }
    draw_range_heading(app, canvas, area, &range);
    int head = range_head(app);
    area = (struct area){area.y + 1, area.x, part_height(left), area.w};
    bool both = area.h < left; /* else one of the two: that of the heads when they have the keys */
    draw_histograms(app, canvas, area, &range, both || view->panel != PANEL_HEADS ? -1 : head);
    area.y += area.h;
    if (both)
        draw_histograms(app, canvas, area, &range, head);
}
