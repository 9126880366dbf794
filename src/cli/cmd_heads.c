/* cmd_heads.c - qkscope heads: the heads that fetch needles, and their losses. */
#include "cli/arguments.h"
#include "cli/drifts.h"
#include "cli/inputs.h"
#include "cli/needle_report.h"
#include "cli/needle_work.h"
#include "cli/print.h"

#include "base/mem.h"
#include "range/probe.h"

#include <stdlib.h>

enum { ROWS = 20 };

/* Everything made for the command. */
struct heads {
    struct qk_inputs inputs;
    struct qk_needle_work work;
    struct qk_layer_drift *drift;
    struct qk_needle_head *head; /* n */
    size_t n;
    bool chosen;
    int threads, rows;
};

static void free_heads(struct heads *h)
{
    qk_drifts_free(h->drift, h->inputs.pair != NULL ? h->inputs.pair->n_layers : 0);
    qk_needle_work_free(&h->work);
    qk_inputs_free(&h->inputs);
    free(h->head);
}

static enum qk_code read_options(const struct qk_arguments *arguments, struct heads *h, struct qk_error *err)
{
    QK_TRY(qk_arguments_exclude(arguments, "json", "csv", err));
    QK_TRY(qk_needle_work_options(arguments, &h->work, err));
    QK_TRY(qk_needle_work_states(arguments, &h->work, err));
    QK_TRY(qk_arguments_number(arguments, "rows", 1, 1 << 20, ROWS, &h->rows, err));
    QK_TRY(qk_arguments_threads(arguments, &h->threads, err));
    h->chosen = qk_arguments_has(arguments, "set") || qk_arguments_has(arguments, "recipe");
    return QK_OK;
}

/* Reports a missing forward pass with the way around it. */
static enum qk_code check_source(const struct heads *h, struct qk_error *err)
{
    const struct qk_model *post = h->inputs.pair->model[QK_POST];
    const char *why = NULL, *what;
    if (h->work.states[QK_POST].n == 0)
        QK_TRY(qk_probe_pass_missing(h->inputs.pair, &why, err));
    if (why == NULL)
        return QK_OK;
    QK_TRY(qk_probe_way_out(h->inputs.pair, &what, err));
    return qk_fail(err, QK_INPUT, "%s: there is no forward pass for the %s family: %s; %s",
        post->checkpoint->path, post->family, why, what);
}

/* Without a head that fetches, a small drop means nothing. */
static void note_recall(const struct heads *h)
{
    double most = 0;
    for (size_t i = 0; i < h->n; i++)
        most = h->head[i].mass[QK_PRE].mean > most ? h->head[i].mass[QK_PRE].mean : most;
    if (most < QK_NEEDLE_FETCHES)
        qk_print_note(
            "no head of PRE fetches the needle (largest mass %.3f). The prompts may be unlike the model's "
            "training or too long, or recall may be elsewhere. --needles FILE takes prompts of your own",
            most);
}

/* The drift of the layers that the report shows: a table shows its first rows alone. */
static enum qk_code compute_drift(const struct qk_arguments *arguments, struct heads *h, struct qk_error *err)
{
    bool all = qk_arguments_has(arguments, "json") || qk_arguments_has(arguments, "csv"), *wanted;
    QK_TRY(qk_alloc(&wanted, (size_t)h->inputs.pair->n_layers, sizeof *wanted, err));
    for (size_t i = 0; i < h->n && (all || i < (size_t)h->rows); i++)
        wanted[h->head[i].layer] = true;
    enum qk_code code = qk_drifts_compute(h->inputs.pair, wanted, false, h->threads, &h->drift, err);
    free(wanted);
    return code;
}

/* --- the command --- */

static enum qk_code print_report(
    const struct qk_arguments *arguments, const struct heads *h, struct qk_error *err)
{
    const struct qk_needle_report report = {.pair = h->inputs.pair,
        .prompts = &h->work.prompts,
        .measured = &h->work.measured,
        .drift = h->drift,
        .source = qk_needle_work_source(&h->work),
        .head = h->head,
        .n = h->n,
        .rows = (size_t)h->rows,
        .ascii = qk_arguments_has(arguments, "ascii") || !qk_print_utf8()};
    if (qk_arguments_has(arguments, "json"))
        return qk_needle_json(&report, err);
    if (qk_arguments_has(arguments, "csv"))
        qk_needle_csv(&report);
    else
        qk_needle_table(&report);
    return QK_OK;
}

static enum qk_code run(const struct qk_arguments *arguments, struct heads *h, struct qk_error *err)
{
    QK_TRY(read_options(arguments, h, err));
    QK_TRY(qk_inputs_open(arguments, &h->inputs, err));
    QK_TRY(check_source(h, err));
    QK_TRY(qk_needle_work_prompts(h->inputs.pair, &h->work, err));
    QK_TRY(qk_needle_work_measure(
        h->inputs.pair, h->chosen ? &h->inputs.selection : NULL, h->inputs.norms, &h->work, err));
    QK_TRY(qk_needle_rank(h->inputs.pair, &h->work.measured, &h->head, &h->n, err));
    QK_TRY(compute_drift(arguments, h, err));
    QK_TRY(qk_pair_unchanged(h->inputs.pair, err));
    note_recall(h);
    return print_report(arguments, h, err);
}

static enum qk_code run_heads(const struct qk_arguments *arguments, struct qk_error *err)
{
    struct heads h = {0};
    enum qk_code code = run(arguments, &h, err);
    free_heads(&h);
    return code;
}

static const struct qk_option_info *const OPTIONS[] = {
    &qk_option_needles,
    &qk_option_length,
    &qk_option_prompts,
    QK_OPTION("states", 0, "FILE",
        "states of a prompt of --needles instead of a forward pass: a safetensors with input_ids and "
        "hidden_states.I; repeatable"),
    QK_OPTION("states-pre", 0, "FILE", "with --states: PRE's own states of the same prompts; repeatable"),
    &qk_option_set,
    &qk_option_recipe,
    &qk_option_norms,
    QK_OPTION("rows", 0, "N", "heads in the table; 20 without it"),
    &qk_option_json,
    &qk_option_csv,
    &qk_option_ascii,
    &qk_option_threads,
    NULL,
};

const struct qk_command qk_heads_command = {
    .name = "heads",
    .operands = "PRE POST",
    .summary = "Ranks the heads by the attention that they give a needle, and by how much of it POST lost",
    .options = OPTIONS,
    .run = run_heads,
};
