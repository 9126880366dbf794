/* map_metrics.c - the numbers by which the map colours heads: drift, needle masses, ranges, effects of restores. */
#include "ui/views/map_view.h"

#include "ui/preconditions.h"
#include "ui/views/layers_view.h"

#include <math.h>
#include <stdio.h>

/* --- filling --- */

static void fill_drift(
    const struct app *app, const struct map_metric *metric, int layer, bool current, struct map_heads *to)
{
    const struct qk_layer_drift *drift = model_drift(app, layer, current);
    for (int r = 0; drift != NULL && drift->has_qk && r < QK_ROLE_COUNT; r++)
        for (int h = 0; h < to->n[r] && h < drift->role[r].n_heads; h++)
            to->of[r][h] = qk_metric_head(drift, metric->drift, (enum qk_role)r, h);
}

static void fill_mass(
    const struct app *app, const struct map_metric *metric, int layer, bool current, struct map_heads *to)
{
    struct qk_session_needle needle;
    (void)metric;
    if (!qk_session_needle(app->session, layer, &needle))
        return;
    for (int h = 0; h < to->n[QK_Q]; h++)
        to->of[QK_Q][h] = needle_value(&needle, current ? NEEDLE_NOW : NEEDLE_POST, h);
}

static void fill_drop(
    const struct app *app, const struct map_metric *metric, int layer, bool current, struct map_heads *to)
{
    struct qk_session_needle needle;
    (void)metric;
    if (!qk_session_needle(app->session, layer, &needle))
        return;
    for (int h = 0; h < to->n[QK_Q]; h++)
        to->of[QK_Q][h] = current
                              ? needle_value(&needle, NEEDLE_PRE, h) - needle_value(&needle, NEEDLE_NOW, h)
                              : needle_value(&needle, NEEDLE_DROP, h);
}

static void fill_long(
    const struct app *app, const struct map_metric *metric, int layer, bool current, struct map_heads *to)
{
    struct qk_session_range range;
    (void)metric;
    if (!qk_session_range(app->session, layer, &range))
        return;
    const struct qk_layer_range *of = current ? range.current : range.side[QK_POST];
    for (int h = 0; of != NULL && h < to->n[QK_Q] && h < of->n_heads; h++)
        to->of[QK_Q][h] = of->head[h].long_mass;
}

static void fill_all(struct map_heads *to, double value)
{
    for (int h = 0; h < to->n[QK_Q]; h++)
        to->of[QK_Q][h] = value;
}

static void fill_shift(
    const struct app *app, const struct map_metric *metric, int layer, bool current, struct map_heads *to)
{
    struct qk_session_range range;
    (void)metric;
    if (qk_session_range(app->session, layer, &range))
        fill_all(to, current ? range.current_shift : range.shift);
}

static void fill_effect(
    const struct app *app, const struct map_metric *metric, int layer, bool current, struct map_heads *to)
{
    const struct qk_search_state *found = qk_session_search_state(app->session);
    (void)metric;
    (void)current;
    if (found->effect == NULL)
        return;
    const struct qk_estimate *effect = found->effect + (size_t)layer * found->n_objectives;
    if (effect->n > 0)
        fill_all(to, effect->value);
}

/* --- what is not known --- */

static const char *needs_nothing(const struct app *app)
{
    (void)app;
    return NULL;
}

static const char *needs_masses(const struct app *app)
{
    const struct qk_needles_state *state = qk_session_needles_state(app->session);
    if (has_masses(app))
        return NULL;
    if (state->error != NULL)
        return state->error;
    return state->stage == QK_NEEDLES_RUNNING || needles_awaited(app)
               ? "needle masses are being measured"
               : "needle masses have not been measured: :needles in the list does it";
}

static const char *needs_ranges(const struct app *app)
{
    struct qk_session_range range;
    for (int i = 0; i < app->pair->n_layers; i++)
        if (qk_session_range(app->session, i, &range))
            return NULL;
    for (int i = 0; i < app->pair->n_layers; i++)
        if (qk_probe_has(app->pair, i))
            return range_obstacle(app, i);
    return "no layer of this pair has an attention range";
}

static const char *needs_search(const struct app *app)
{
    return qk_session_search_state(app->session)->effect != NULL
               ? NULL
               : "a search measures what the restore of a layer does: t, then s, begins one";
}

/* --- text --- */

static char *drift_text(const struct map_metric *metric, double value, char out[NUMBER_TEXT])
{
    return format_metric(out, metric->drift, value, 6);
}

static char *mass_text(const struct map_metric *metric, double value, char out[NUMBER_TEXT])
{
    (void)metric;
    return format_mass(out, value, 5);
}

static char *nats_text(const struct map_metric *metric, double value, char out[NUMBER_TEXT])
{
    (void)metric;
    return shift_text(out, value);
}

static char *percent_text(const struct map_metric *metric, double value, char out[NUMBER_TEXT])
{
    (void)metric;
    return format_number(out, 100 * value);
}

static const struct map_metric METRICS[] = {
    {"rel", "rel. %", fill_drift, needs_nothing, .of_drift = true, .drift = QK_METRIC_REL_FRO,
        .text = drift_text, .unit = " %"},
    {"angle", "angle, degrees", fill_drift, needs_nothing, .of_drift = true, .drift = QK_METRIC_ANGLE_MEAN,
        .text = drift_text, .unit = NULL, .column = COLUMN_ANGLE},
    {"max-angle", "largest angle, degrees", fill_drift, needs_nothing, .of_drift = true,
        .drift = QK_METRIC_ANGLE_MAX, .text = drift_text, .unit = NULL},
    {"routing", "routing %", fill_drift, needs_nothing, .of_drift = true, .drift = QK_METRIC_ROUTING,
        .text = drift_text, .unit = " %", .column = COLUMN_ROUTING},
    {"drop", "drop of needle mass", fill_drop, needs_masses, .text = mass_text, .unit = "",
        .column = COLUMN_DROP},
    {"mass", "needle mass", fill_mass, needs_masses, .text = mass_text, .unit = "", .column = COLUMN_NEEDLE},
    {"shift", "shift of layers, nats", fill_shift, needs_ranges, .of_layers = true, .text = nats_text,
        .unit = " nats", .column = COLUMN_SHIFT},
    {"long-mass", "mass far away", fill_long, needs_ranges, .text = mass_text, .unit = ""},
    {"effect", "effect of restoring layers, points", fill_effect, needs_search, .of_layers = true,
        .text = percent_text, .unit = " points"},
};
enum { N_METRICS = sizeof METRICS / sizeof METRICS[0] };

int map_metric_count(void)
{
    return N_METRICS;
}

const struct map_metric *map_metric(int i)
{
    return &METRICS[i];
}

void map_metric_names(struct qk_text *text)
{
    for (int i = 0; i < N_METRICS; i++)
        qk_text_add(text, "%s%s", i > 0 ? ", " : "", METRICS[i].name);
}

char *map_value_text(const struct app *app, const struct map_metric *metric, double value, char out[32])
{
    char number[NUMBER_TEXT];
    const char *unit = metric->unit != NULL ? metric->unit : theme_glyph(&app->theme, GLYPH_DEGREE);
    snprintf(out, 32, "%s%s", metric->text(metric, value, number), isnan(value) ? "" : unit);
    return out;
}
