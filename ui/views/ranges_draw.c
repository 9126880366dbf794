/* ranges_draw.c - attention ranges in the detail: histograms of pre, post and current, and the reasons for none. */
#include "ui/views/layers_view.h"

#include "ui/format.h"
#include "ui/views/histogram.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

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
        return qk_session_range_error(app->session, layer) != NULL
                   ? qk_session_range_error(app->session, layer)
                   : "a layer without q and k has no range";
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

/* A share in per cent; what rounds to nothing is 0. */
static double points(double share)
{
    return fabs(100 * share) < 0.005 ? 0 : 100 * share;
}

static void fill_line(struct histogram_line *line, const struct qk_range *range, int n_bins)
{
    if (range == NULL)
        return;
    line->has_bins = true;
    memcpy(line->bin, range->hist, (size_t)n_bins * sizeof *line->bin);
    format_number(line->number[0], range->mean);
    format_number(line->number[1], points(range->long_mass));
}

/* The same of a difference, in points. */
static void fill_difference(const struct canvas *canvas, struct histogram_line *line,
    const struct qk_range *range, const struct qk_range *from, int n_bins)
{
    if (range == NULL || from == NULL)
        return;
    line->has_bins = true;
    for (int b = 0; b < n_bins; b++)
        line->bin[b] = range->hist[b] - from->hist[b];
    format_signed(line->number[0], range->mean - from->mean, canvas->theme->ascii);
    format_signed(line->number[1], points(range->long_mass - from->long_mass), canvas->theme->ascii);
}

static void draw_histograms(const struct app *app, struct canvas *canvas, struct area area,
    const struct qk_session_range *range, int head)
{
    bool chosen = range->current_is != QK_CURRENT_POST;
    const struct qk_layer_range *any =
        range->side[QK_POST] != NULL ? range->side[QK_POST] : range->side[QK_PRE];
    int n_bins = any != NULL ? any->n_bins : 0;
    struct histogram_line lines[HISTOGRAM_LINES] = {
        {.label = "pre", .style = STYLE_PRE, .why = "not known yet"},
        {.label = histogram_difference_label(canvas, true),
            .style = STYLE_POST,
            .is_signed = true,
            .why = "not known yet"},
        {.label = histogram_difference_label(canvas, false),
            .style = STYLE_CHOICE,
            .is_signed = true,
            .why = why_no_current(range)},
    };
    const struct qk_range *pre = part_of(range->side[QK_PRE], head);
    fill_line(&lines[0], pre, n_bins);
    fill_difference(canvas, &lines[1], part_of(range->side[QK_POST], head), pre, n_bins);
    fill_difference(canvas, &lines[2], chosen ? part_of(range->current, head) : NULL, pre, n_bins);
    char title[16], far[32];
    size_t from = qk_session_probe_state(app->session)->long_from;
    snprintf(far, sizeof far, from >= 1024 ? "%s%zuk%%" : "%s%zu%%", theme_glyph(&app->theme, GLYPH_AT_LEAST),
        from >= 1024 ? from / 1024 : from);
    const struct histogram_axis axis = {
        .title = part_title(title, head), .number = {"mean", far}, .n_bins = n_bins};
    if (axis.n_bins > 0)
        draw_histogram(canvas, area, &axis, lines);
}

/* --- the estimate --- */

/* Mean logits above the lowest of both sides. */
static struct histogram_line profile_line(
    const char *label, enum style style, const struct qk_profile *profile, int head, double low)
{
    struct histogram_line line = {.label = label, .style = style, .has_bins = true};
    double least = HUGE_VAL, most = -HUGE_VAL;
    for (int i = 0; i < profile->n_points; i++) {
        double logit = qk_profile_value(profile, head, i);
        line.bin[i] = logit - low;
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
    double low = HUGE_VAL;
    char title[16];
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        for (int i = 0; i < side[s]->n_points; i++)
            low = fmin(low, qk_profile_value(side[s], head, i));
    const struct histogram_axis axis = {
        .title = part_title(title, head), .number = {"least", "most"}, .n_bins = side[QK_POST]->n_points};
    const struct histogram_line lines[HISTOGRAM_LINES] = {
        profile_line("pre", STYLE_PRE, side[QK_PRE], head, low),
        profile_line("post", STYLE_POST, side[QK_POST], head, low),
        {.label = "", .style = STYLE_DIM, .why = ":states FILE gives the ranges"},
    };
    draw_histogram(canvas, area, &axis, lines);
}

static void draw_estimate(const struct app *app, struct canvas *canvas, struct area area, int layer)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    const struct qk_profile *side[QK_SIDE_COUNT];
    int left = area.h - 1, head = range_head(app);
    draw_run(canvas, area.y, area.x, area.w, STYLE_HEADING, "estimate from weights: mean logit by distance");
    area = (struct area){area.y + 1, area.x, histogram_rows(left), area.w};
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        side[s] = qk_session_profile(app->session, layer, (enum qk_side)s);
        if (side[s] == NULL) {
            draw_text(canvas, area.y, area.x, area.w, ALIGN_LEFT, STYLE_PENDING, "computing");
            return;
        }
    }
    bool both = area.h < left;
    draw_profiles(canvas, area, side, both || view->panel != PANEL_HEADS ? -1 : head);
    area.y += area.h + 1;
    if (both)
        draw_profiles(canvas, area, side, head);
}

/* The kind of the current model's numbers, for the right end of the heading. */
static enum style current_state(const struct app *app, const struct qk_session_range *range, char out[64])
{
    const struct qk_probe_state *state = qk_session_probe_state(app->session);
    bool exact = state->exact.running && range->current_is != QK_CURRENT_EXACT;
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
        snprintf(out, 64, "same states, exact %" PRIu64 "/%" PRIu64, state->exact.done, state->exact.total);
    else
        snprintf(out, 64, "same states%s", state->exact.error != NULL ? ", exact run failed" : "");
    return STYLE_WARNING;
}

/* "shift 0.016 nats, now 0.004", and the part of it that a restore undoes, as far as there is room. */
static int draw_shifts(struct canvas *canvas, struct area area, const struct qk_session_range *range)
{
    char shift[NUMBER_TEXT], text[48];
    int used = draw_format(
        canvas, area.y, area.x, area.w, STYLE_TEXT, " shift %s nats", shift_text(shift, range->shift));
    if (range->current_is != QK_CURRENT_POST && !isnan(range->current_shift)) {
        used += draw_run(canvas, area.y, area.x + used, area.w - used, STYLE_TEXT, ", ");
        used += draw_format(canvas, area.y, area.x + used, area.w - used, STYLE_CHOICE, "now %s",
            shift_text(shift, range->current_shift));
    }
    if (range->restored == NULL)
        return used;
    snprintf(text, sizeof text, ", q,k alone %s", shift_text(shift, range->restored_shift));
    if (text_cells(canvas, text) > area.w - used)
        snprintf(text, sizeof text, ", q,k %s", shift);
    if (text_cells(canvas, text) <= area.w - used)
        used += draw_run(canvas, area.y, area.x + used, area.w - used, STYLE_TEXT, text);
    return used;
}

static void draw_range_heading(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_session_range *range)
{
    char state[64];
    enum style style = current_state(app, range, state);
    int right = text_cells(canvas, state), left = area.w - right - 1;
    bool linear = selected_layer(app)->kind == QK_LINEAR;
    int used = draw_run(
        canvas, area.y, area.x, left, STYLE_HEADING, linear ? "coefficient range " : "attention range ");
    used += draw_shifts(canvas, (struct area){area.y, area.x + used, 1, left - used}, range);
    const struct qk_probe_state *probe = qk_session_probe_state(app->session);
    size_t queries = linear ? probe->linear_queries : probe->n_ids - probe->first_query;
    if (left - used > 26 && probe->n_ids > probe->first_query)
        draw_format(canvas, area.y, area.x + used, left - used, STYLE_DIM, ", %zu queries of %zu tokens",
            queries, probe->n_ids);
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
            "running both over the probe text: %" PRIu64 " of %" PRIu64 " layers; X stops it", state->done,
            state->total);
        draw_wrapped(canvas, area, STYLE_PENDING, text);
        return;
    }
    int used = draw_wrapped(canvas, (struct area){area.y, area.x, area.h > 1 ? area.h - 1 : 1, area.w},
        STYLE_DIM, range_obstacle(app, layer));
    if (state->stage == QK_PROBE_FAILED)
        draw_wrapped(canvas, (struct area){area.y + used, area.x, area.h - used, area.w}, STYLE_DIM,
            "typed here as :states FILE, :ids FILE or :probe FILE");
}

int ranges_beside(const struct app *app, int layer, int width)
{
    enum { LEAST_BIN = 3 };
    int cells = needle_beside_cells(app, layer), n_bins = qk_session_probe_state(app->session)->n_bins;
    return width - cells >= HISTOGRAM_LABEL + HISTOGRAM_GAP + 2 * HISTOGRAM_NUMBER + LEAST_BIN * n_bins
               ? cells
               : 0;
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
    int head = range_head(app), beside = ranges_beside(app, layer, area.w);
    area = (struct area){area.y + 1, area.x, histogram_rows(left), area.w - beside};
    bool both = area.h < left; /* else one of the two: that of the heads when they have the keys */
    draw_histograms(app, canvas, area, &range, both || view->panel != PANEL_HEADS ? -1 : head);
    int below = area.y + area.h + 1;
    if (beside > 0)
        draw_needle_beside(
            app, canvas, (struct area){both ? below : area.y, area.x + area.w, area.h, beside}, layer, head);
    area.y = below;
    if (both)
        draw_histograms(app, canvas, area, &range, head);
}
