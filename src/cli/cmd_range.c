/* cmd_range.c - qkscope range: the reach of attention in pre, in post and with a selection. */
#include "cli/arguments.h"
#include "cli/drifts.h"
#include "cli/inputs.h"
#include "cli/masses.h"
#include "cli/meter.h"
#include "cli/print.h"
#include "cli/range_report.h"

#include "base/mem.h"
#include "blend/patch.h"
#include "forward/forward.h"
#include "range/range_cache.h"
#include "range/restored.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum order { BY_INDEX, BY_SHIFT, BY_MEAN, BY_LONG, BY_HEADS, ORDERS };
static const char *const ORDER[BY_HEADS] = {"index", "shift", "mean", "long"};

/* The request, and everything made for it. */
struct range {
    struct qk_inputs inputs;
    struct qk_probe_options options;
    struct qk_spec layers;
    bool some_layers, chosen, exact, estimate, cached, timed;
    int threads;
    bool *wanted;
    enum order by;
    enum qk_head_metric head_metric; /* BY_HEADS */
    struct qk_head_numbers *masses;  /* NULL: not needed */
    int *order, n;
    struct qk_probe *probe;
    struct qk_profile *profile[QK_SIDE_COUNT];
    struct qk_layer_range *current;
    struct qk_timing_report timing; /* where it is timed */
};

static void free_range(struct range *r)
{
    int n = r->inputs.pair != NULL ? r->inputs.pair->n_layers : 0;
    for (int i = 0; r->current != NULL && i < n; i++)
        qk_layer_range_free(&r->current[i]);
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        for (int i = 0; r->profile[s] != NULL && i < n; i++)
            qk_profile_free(&r->profile[s][i]);
        free(r->profile[s]);
    }
    qk_needle_numbers_free(r->masses, n);
    free(r->current);
    free(r->wanted);
    free(r->order);
    qk_probe_close(r->probe);
    qk_spec_free(&r->layers);
    qk_inputs_free(&r->inputs);
}

/* --- options --- */

static enum qk_code read_probe(const struct qk_arguments *arguments, struct range *r, struct qk_error *err)
{
    static const char *const sources[] = {"probe", "ids", "states", "estimate"};
    enum { SOURCES = sizeof sources / sizeof sources[0], MOST_LONG = 1 << 30 };
    int length, far;
    const char *queries = qk_arguments_text(arguments, "queries");
    for (int i = 0; i < SOURCES; i++)
        for (int j = i + 1; j < SOURCES; j++)
            QK_TRY(qk_arguments_exclude(arguments, sources[i], sources[j], err));
    QK_TRY(qk_arguments_exclude(arguments, "states", "length", err));
    QK_TRY(qk_arguments_exclude(arguments, "states", "exact", err));
    QK_TRY(qk_arguments_exclude(arguments, "estimate", "exact", err));
    if (qk_arguments_has(arguments, "states-pre") && !qk_arguments_has(arguments, "states"))
        return qk_fail(err, QK_USAGE, "--states-pre needs --states, which gives post's");
    QK_TRY(qk_arguments_number(arguments, "length", 1, QK_PROBE_MOST, 0, &length, err));
    QK_TRY(qk_arguments_number(arguments, "long", 1, MOST_LONG, 0, &far, err));
    if (queries != NULL)
        QK_TRY(qk_queries_parse(queries, &r->options.range, err));
    r->options.text_path = qk_arguments_text(arguments, "probe");
    r->options.ids_path = qk_arguments_text(arguments, "ids");
    r->options.states_path[QK_PRE] = qk_arguments_text(arguments, "states-pre");
    r->options.states_path[QK_POST] = qk_arguments_text(arguments, "states");
    r->options.length = (size_t)length;
    r->options.range.long_from = (size_t)far;
    return QK_OK;
}

static enum qk_code read_order(const struct qk_arguments *arguments, struct range *r, struct qk_error *err)
{
    const char *sort = qk_arguments_text(arguments, "sort");
    QK_TRY(qk_arguments_exclude(arguments, "estimate", "sort", err));
    while (sort != NULL && r->by < BY_HEADS && strcmp(sort, ORDER[r->by]) != 0)
        r->by++;
    if (r->by == BY_HEADS && !qk_head_metric_parse(sort, &r->head_metric))
        return qk_fail(err, QK_USAGE,
            "--sort: unknown number (found '%s', expected index, shift, mean, long, needle or drop)", sort);
    return QK_OK;
}

static enum qk_code read_options(const struct qk_arguments *arguments, struct range *r, struct qk_error *err)
{
    const char *layers = qk_arguments_text(arguments, "layers");
    QK_TRY(read_probe(arguments, r, err));
    QK_TRY(read_order(arguments, r, err));
    QK_TRY(qk_arguments_exclude(arguments, "json", "csv", err));
    QK_TRY(qk_arguments_exclude(arguments, "timing", "csv", err));
    QK_TRY(qk_arguments_exclude(arguments, "timing", "estimate", err));
    QK_TRY(qk_arguments_threads(arguments, &r->threads, err));
    QK_TRY(qk_arguments_memory(arguments, &r->options.memory, err));
    QK_TRY(qk_arguments_precision(arguments, err));
    r->chosen = qk_arguments_has(arguments, "set") || qk_arguments_has(arguments, "recipe");
    r->exact = qk_arguments_has(arguments, "exact");
    r->estimate = qk_arguments_has(arguments, "estimate");
    r->timed = qk_arguments_has(arguments, "timing");
    if (qk_arguments_has(arguments, "remote") && !r->estimate && r->options.states_path[QK_POST] == NULL)
        return qk_fail(err, QK_USAGE,
            "--remote: a forward pass reads every tensor: give "
            "--estimate or --states FILE, or download the checkpoints");
    r->cached = !qk_arguments_has(arguments, "no-cache");
    if (r->exact && !r->chosen)
        return qk_inputs_want_choice(arguments, err);
    if (layers != NULL) {
        QK_TRY(qk_spec_parse_selector(layers, &r->layers, err));
        r->some_layers = true;
    }
    return QK_OK;
}

/* --- running --- */

static enum qk_code find_layers(struct range *r, struct qk_error *err)
{
    const struct qk_pair *pair = r->inputs.pair;
    struct qk_layer_drift *drift = NULL;
    bool by_heads = r->some_layers && r->layers.selector == QK_SELECT_HEADS;
    size_t n = (size_t)pair->n_layers;
    QK_TRY(qk_inputs_check_layers(&r->layers, pair, err));
    QK_TRY(qk_alloc(&r->wanted, n, sizeof *r->wanted, err));
    QK_TRY(qk_alloc(&r->order, n, sizeof *r->order, err));
    if (by_heads || r->by == BY_HEADS)
        QK_TRY(qk_masses_compute(pair, &r->masses, err));
    if (r->some_layers && r->layers.selector == QK_SELECT_TEST)
        QK_TRY(qk_drifts_compute(pair, NULL, false, r->threads, &drift, err));
    const struct qk_spec_numbers numbers = {drift, r->masses};
    for (int i = 0; i < pair->n_layers; i++) {
        bool asked = !r->some_layers || qk_spec_matches(&r->layers, pair, &numbers, i);
        r->wanted[i] = asked && qk_probe_has(pair, i);
        if (asked && pair->layer[i].problem != NULL)
            qk_print_note("layer %d cannot be compared: %s", i, pair->layer[i].problem);
    }
    qk_drifts_free(drift, pair->n_layers);
    return QK_OK;
}

static enum qk_code run_current(struct range *r, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_pair *pair = r->inputs.pair;
    struct qk_selection_patch patch;
    QK_TRY(qk_alloc(&r->current, (size_t)pair->n_layers, sizeof *r->current, err));
    enum qk_code code = qk_selection_patch_make(pair, &r->inputs.selection, -1, r->inputs.norms, &patch, err);
    if (code == QK_OK && r->exact)
        code = qk_probe_exact(r->probe, &patch.patch, r->wanted, progress, r->current, err);
    for (int i = 0; i < pair->n_layers && code == QK_OK && !r->exact; i++) {
        const struct qk_layer_range *post = &r->probe->layer[i].side[QK_POST];
        if (post->n_heads == 0)
            continue;
        code = qk_layer_choice_keeps(&r->inputs.selection.choice[i])
                   ? qk_layer_range_copy(&r->current[i], post, err)
                   : qk_probe_same(r->probe, i, &patch.patch, progress, &r->current[i], NULL, err);
    }
    qk_selection_patch_free(&patch);
    return code;
}

static enum qk_code list_layers(struct range *r, struct qk_error *err)
{
    double *key;
    QK_TRY(qk_alloc(&key, (size_t)r->inputs.pair->n_layers, sizeof *key, err));
    for (int i = 0; i < r->inputs.pair->n_layers; i++) {
        const struct qk_layer_ranges *ranges = &r->probe->layer[i];
        const struct qk_range *post = &ranges->side[QK_POST].layer;
        key[i] = r->by == BY_SHIFT   ? ranges->shift
                 : r->by == BY_MEAN  ? post->mean
                 : r->by == BY_LONG  ? post->long_mass
                 : r->by == BY_HEADS ? qk_head_numbers_largest(&r->masses[i], r->head_metric)
                                     : 0;
        if (ranges->side[QK_POST].n_heads > 0)
            r->order[r->n++] = i;
    }
    qk_order_by(r->order, r->n, key);
    free(key);
    return QK_OK;
}

static enum qk_code run_all(struct range *r, struct qk_progress *progress, struct qk_error *err)
{
    QK_TRY(qk_probe_run_restored(r->probe, r->wanted, NULL, progress, err));
    return r->chosen ? run_current(r, progress, err) : QK_OK;
}

static enum qk_code run_probe(struct range *r, struct qk_error *err)
{
    struct qk_meter meter;
    struct qk_error unkept = {0};
    struct qk_timing timing = {0};
    struct timespec start;
    QK_TRY(qk_probe_open(r->inputs.pair, &r->options, &r->probe, err));
    if (r->probe->pre_cannot != NULL)
        qk_print_note("%s", r->probe->pre_cannot);
    if (r->cached)
        qk_range_cache_load(r->probe);
    qk_meter_start(&meter, "running", false);
    clock_gettime(CLOCK_MONOTONIC, &start);
    meter.progress.timing = r->timed ? &timing : NULL;
    enum qk_code code = run_all(r, &meter.progress, err);
    qk_timing_report_take(&r->timing, &timing, qk_seconds_since(&start));
    qk_meter_stop(&meter);
    if (code == QK_OK && r->cached && qk_range_cache_store(r->probe, &unkept) != QK_OK)
        qk_print_note("the states are not kept for the next time: %s", unkept.text);
    return code == QK_OK ? list_layers(r, err) : code;
}

/* --- the estimate --- */

static bool has_profile(const struct range *r, int layer)
{
    return r->wanted[layer] && qk_probe_has_profile(r->inputs.pair, layer);
}

static enum qk_code make_profiles(struct range *r, struct qk_error *err)
{
    const struct qk_pair *pair = r->inputs.pair;
    int points = qk_probe_profile_points(&r->options);
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        QK_TRY(qk_alloc(&r->profile[s], (size_t)pair->n_layers, sizeof **r->profile, err));
    for (int i = 0; i < pair->n_layers; i++) {
        if (!has_profile(r, i))
            continue;
        for (int s = 0; s < QK_SIDE_COUNT; s++)
            QK_TRY(qk_profile_make(pair->model[s], pair->layer[i].side[s], points, &r->profile[s][i], err));
        r->order[r->n++] = i;
    }
    if (r->n == 0)
        return qk_fail(err, QK_INPUT,
            "%s: no layer has rotary positions, so there is no estimate from weights",
            pair->model[QK_POST]->checkpoint->path);
    if (r->chosen)
        qk_print_note("an estimate shows pre and post alone, without the choices");
    return QK_OK;
}

/* Without a forward pass and states, takes the estimate, where there is one. */
static enum qk_code choose_source(struct range *r, struct qk_error *err)
{
    bool any = false;
    const char *why, *refused[QK_SIDE_COUNT];
    QK_TRY(qk_probe_pass_missing(r->inputs.pair, &why, err));
    if (r->estimate || r->options.states_path[QK_POST] != NULL || why == NULL)
        return QK_OK;
    for (int i = 0; i < r->inputs.pair->n_layers; i++)
        any = any || has_profile(r, i);
    if (!any || r->options.text_path != NULL || r->options.ids_path != NULL || r->exact)
        return QK_OK; /* qk_probe_open reports what is missing */
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        QK_TRY(qk_forward_attention_missing(r->inputs.pair->model[s], &refused[s], err));
    bool states = refused[QK_PRE] == NULL && refused[QK_POST] == NULL;
    qk_print_note("no forward pass for this family: %s; this is an estimate%s", why,
        states ? ", --states FILE gives the ranges" : "");
    r->estimate = true;
    return QK_OK;
}

/* --- the command --- */

static enum qk_code print_report(
    const struct qk_arguments *arguments, const struct range *r, struct qk_error *err)
{
    const struct qk_range_report report = {.pair = r->inputs.pair,
        .probe = r->probe,
        .profile = {r->profile[QK_PRE], r->profile[QK_POST]},
        .current = r->current,
        .exact = r->exact,
        .text = r->options.text_path != NULL              ? r->options.text_path
                : r->options.ids_path != NULL             ? r->options.ids_path
                : r->options.states_path[QK_POST] != NULL ? r->options.states_path[QK_POST]
                                                          : "the built-in text",
        .layer = r->order,
        .n = r->n,
        .heads = qk_arguments_has(arguments, "heads"),
        .ascii = qk_arguments_has(arguments, "ascii"),
        .timing = r->timed && r->probe != NULL ? &r->timing : NULL};
    if (qk_arguments_has(arguments, "json"))
        return qk_range_json(&report, err);
    if (qk_arguments_has(arguments, "csv"))
        qk_range_csv(&report);
    else
        qk_range_table(&report);
    return QK_OK;
}

static enum qk_code run(const struct qk_arguments *arguments, struct range *r, struct qk_error *err)
{
    QK_TRY(read_options(arguments, r, err));
    QK_TRY(qk_inputs_remote(arguments, err));
    QK_TRY(qk_inputs_open(arguments, &r->inputs, err));
    QK_TRY(find_layers(r, err));
    QK_TRY(choose_source(r, err));
    QK_TRY(r->estimate ? make_profiles(r, err) : run_probe(r, err));
    QK_TRY(qk_pair_unchanged(r->inputs.pair, err));
    return print_report(arguments, r, err);
}

static enum qk_code run_range(const struct qk_arguments *arguments, struct qk_error *err)
{
    struct range r = {0};
    enum qk_code code = run(arguments, &r, err);
    free_range(&r);
    return code;
}

static const struct qk_option_info *const OPTIONS[] = {
    QK_OPTION("probe", 'p', "FILE",
        "a UTF-8 text, through POST's tokenizer; without it a built-in document with questions for its facts "
        "at the end"),
    QK_OPTION("ids", 0, "FILE", "token ids instead of a text: decimal numbers with white space between them"),
    QK_OPTION("states", 0, "FILE",
        "inputs of the layers instead of a forward pass, for both models: a safetensors with input_ids and "
        "hidden_states.I"),
    QK_OPTION("states-pre", 0, "FILE", "with --states: PRE's own inputs for the same tokens"),
    QK_OPTION("estimate", 0, NULL,
        "run nothing: for layers with rotary positions, the mean logit by distance from weights alone"),
    QK_OPTION("length", 'n', "N", "cut the probe to N tokens; 512 of the built-in text without it"),
    QK_OPTION("queries", 'q', "WHICH", "which queries count: half (the second half), all, or last:N"),
    QK_OPTION("long", 0, "N", "distances from N on are long; 128 without it"),
    &qk_option_set,
    &qk_option_recipe,
    &qk_option_norms,
    QK_OPTION(
        "exact", 'x', NULL, "run the whole model again for the choice, not its layers on POST's states"),
    &qk_option_no_cache,
    &qk_option_layers,
    QK_OPTION("sort", 0, "NUMBER",
        "the largest first, by shift, mean or long of POST, or by needle or drop, the largest of a layer's "
        "heads; by index without it"),
    &qk_option_heads,
    &qk_option_json,
    &qk_option_csv,
    &qk_option_ascii,
    QK_OPTION(
        "timing", 0, NULL, "after the report, the time of the pass by part: reading, products, attention"),
    &qk_option_threads,
    QK_OPTION("memory", 0, "SIZE",
        "what a pass may take, such as 8G: it is refused where it needs more, and both sides run at once where that "
        "fits; what is free without it"),
    &qk_option_precision,
    &qk_option_remote,
    NULL,
};

const struct qk_command qk_range_command = {
    .name = "range",
    .operands = "PRE POST",
    .summary = "Prints how far every layer with q and k looks, in PRE, in POST and with a choice",
    .options = OPTIONS,
    .run = run_range,
};
