/* cmd_diff.c - qkscope diff: the drift of every layer. */
#include "cli/arguments.h"
#include "cli/drifts.h"
#include "cli/inputs.h"
#include "cli/masses.h"
#include "cli/print.h"
#include "cli/report.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- the layers and their order --- */

struct sort_key {
    bool by_heads; /* head_metric instead of metric */
    enum qk_head_metric head_metric;
    enum qk_metric metric;
    int role; /* -1: the stronger of q and k */
};

static enum qk_code parse_sort(const char *text, struct sort_key *key, struct qk_error *err)
{
    const char *name = qk_metric_role(text, &key->role);
    key->by_heads = qk_head_metric_parse(text, &key->head_metric);
    if (key->by_heads)
        return QK_OK;
    if (!qk_metric_parse(name, &key->metric) || (key->metric == QK_METRIC_ROUTING && key->role >= 0))
        return qk_fail(err, QK_USAGE,
            "--sort: unknown metric (found '%s', expected rel_fro, cosine, norm_ratio, angle, angle_max, routing, "
            "needle or drop)",
            text);
    return QK_OK;
}

/* The amount of drift that a value means; NaN when it is unknown. */
static double strength(const struct qk_layer_drift *drift, const struct sort_key *key)
{
    double value = qk_metric_layer(drift, key->metric, key->role);
    if (key->metric == QK_METRIC_NORM_RATIO)
        return fabs(log(value));
    return qk_metric_info(key->metric)->falls ? -value : value;
}

/* The request, and everything made for it. */
struct diff {
    struct qk_pair *pair;
    struct qk_spec layers;
    bool some_layers, sorted, remote;
    struct sort_key key;
    int threads;
    bool effective;
    bool *wanted;
    int *order, n;
    struct qk_layer_drift *drift;
    struct qk_head_numbers *masses; /* NULL: not needed */
};

static void free_diff(struct diff *d)
{
    if (d->pair != NULL) {
        qk_drifts_free(d->drift, d->pair->n_layers);
        qk_needle_numbers_free(d->masses, d->pair->n_layers);
    }
    qk_spec_free(&d->layers);
    qk_pair_close(d->pair);
    free(d->wanted);
    free(d->order);
}

static enum qk_code sort_layers(struct diff *d, struct qk_error *err)
{
    double *key;
    QK_TRY(qk_alloc(&key, (size_t)d->pair->n_layers, sizeof *key, err));
    for (int i = 0; i < d->n; i++) {
        int layer = d->order[i];
        key[layer] = d->key.by_heads ? qk_head_numbers_largest(&d->masses[layer], d->key.head_metric)
                                     : strength(&d->drift[layer], &d->key);
    }
    qk_order_by(d->order, d->n, key);
    free(key);
    return QK_OK;
}

/* The default layers of a remote pair: those of softmax attention, or all without such layers. Attention at a
 * distance is theirs, and q and k of all layers are an eighth of a hybrid's bytes. */
static void choose_remote(const struct diff *d)
{
    const struct qk_pair *pair = d->pair;
    int n_softmax = 0, n_left = 0;
    for (int i = 0; i < pair->n_layers; i++) {
        enum qk_kind kind = pair->layer[i].kind;
        d->wanted[i] = qk_kind_softmax(kind);
        n_softmax += d->wanted[i];
        n_left += kind == QK_LINEAR;
    }
    if (n_softmax > 0 && n_left > 0)
        qk_print_note(
            "--remote: %d linear layers are left out, to fetch less (--layers all takes them)", n_left);
    for (int i = 0; n_softmax == 0 && i < pair->n_layers; i++)
        d->wanted[i] = true;
}

/* A test needs every layer's numbers; lists and kinds save the work of the other layers. */
static enum qk_code compute(struct diff *d, struct qk_error *err)
{
    const struct qk_pair *pair = d->pair;
    bool by_test = d->some_layers && d->layers.selector == QK_SELECT_TEST;
    bool by_heads = d->some_layers && d->layers.selector == QK_SELECT_HEADS;
    QK_TRY(qk_inputs_check_layers(&d->layers, pair, err));
    QK_TRY(qk_alloc(&d->wanted, (size_t)pair->n_layers, sizeof *d->wanted, err));
    QK_TRY(qk_alloc(&d->order, (size_t)pair->n_layers, sizeof *d->order, err));
    if (by_heads || (d->sorted && d->key.by_heads))
        QK_TRY(qk_masses_compute(pair, &d->masses, err));
    struct qk_spec_numbers numbers = {.heads = d->masses};
    for (int i = 0; i < pair->n_layers; i++)
        d->wanted[i] = by_test || !d->some_layers || qk_spec_matches(&d->layers, pair, &numbers, i);
    if (d->remote && !d->some_layers)
        choose_remote(d);
    QK_TRY(qk_drifts_compute(pair, d->wanted, d->effective, d->threads, &d->drift, err));
    numbers = (struct qk_spec_numbers){.drift = d->drift};
    for (int i = 0; i < pair->n_layers; i++) {
        if (by_test)
            d->wanted[i] = qk_spec_matches(&d->layers, pair, &numbers, i);
        if (d->wanted[i])
            d->order[d->n++] = i;
    }
    return d->sorted ? sort_layers(d, err) : QK_OK;
}

/* --- the command --- */

static enum qk_code read_options(const struct qk_arguments *arguments, struct diff *d, struct qk_error *err)
{
    const char *layers = qk_arguments_text(arguments, "layers"), *sort = qk_arguments_text(arguments, "sort");
    QK_TRY(qk_arguments_exclude(arguments, "json", "csv", err));
    QK_TRY(qk_arguments_threads(arguments, &d->threads, err));
    if (layers != NULL) {
        QK_TRY(qk_spec_parse_selector(layers, &d->layers, err));
        d->some_layers = true;
    }
    if (sort != NULL) {
        QK_TRY(parse_sort(sort, &d->key, err));
        d->sorted = true;
    }
    d->remote = qk_arguments_has(arguments, "remote");
    d->effective = qk_arguments_has(arguments, "effective");
    return QK_OK;
}

static enum qk_code run(const struct qk_arguments *arguments, struct diff *d, struct qk_error *err)
{
    QK_TRY(read_options(arguments, d, err));
    QK_TRY(qk_inputs_remote(arguments, err));
    QK_TRY(qk_inputs_pair(arguments, &d->pair, err));
    QK_TRY(compute(d, err));
    struct qk_report report = {.pair = d->pair,
        .drift = d->drift,
        .order = d->order,
        .n = d->n,
        .heads = qk_arguments_has(arguments, "heads"),
        .ascii = qk_arguments_has(arguments, "ascii")};
    qk_drifts_warn(d->pair, d->drift, d->wanted);
    if (qk_arguments_has(arguments, "json"))
        return qk_report_json(&report, err);
    if (qk_arguments_has(arguments, "csv"))
        qk_report_csv(&report);
    else
        qk_report_table(&report);
    return QK_OK;
}

static enum qk_code run_diff(const struct qk_arguments *arguments, struct qk_error *err)
{
    struct diff d = {0};
    enum qk_code code = run(arguments, &d, err);
    free_diff(&d);
    return code;
}

static const struct qk_option_info *const OPTIONS[] = {
    &qk_option_layers,
    QK_OPTION("sort", 0, "METRIC",
        "most drift first, by rel_fro, cosine, "
        "norm_ratio, angle, angle_max (each also "
        "as q.METRIC or k.METRIC) or routing; or by needle or drop, the largest of a layer's heads"),
    &qk_option_heads,
    QK_OPTION("effective", 'e', NULL, "multiply the gains of q/k norms into the rows first"),
    &qk_option_json,
    &qk_option_csv,
    &qk_option_ascii,
    &qk_option_threads,
    &qk_option_remote,
    NULL,
};

const struct qk_command qk_diff_command = {
    .name = "diff",
    .operands = "PRE POST",
    .summary = "Prints the drift of every layer from PRE to POST",
    .options = OPTIONS,
    .run = run_diff,
};
