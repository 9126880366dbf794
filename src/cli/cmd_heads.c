/* cmd_heads.c - qkscope heads: the heads that fetch needles, and their losses. */
#include "cli/arguments.h"
#include "cli/drifts.h"
#include "cli/inputs.h"
#include "cli/meter.h"
#include "cli/needle_report.h"
#include "cli/print.h"

#include "base/mem.h"

#include <stdlib.h>

/* A head of pre with less mass than this fetches nothing. Attention that is spread evenly over a prompt of some
 * hundred tokens has less than a tenth of it. */
static const double FETCHES = 0.1;

enum { MOST_SKIPPED = 5, ROWS = 20, SHORTEST = 64 };

/* Everything made for the command. */
struct heads {
    struct qk_inputs inputs;
    struct qk_tokenizer *tokenizer;
    struct qk_needle_prompts prompts;
    struct qk_needle_pair measured;
    struct qk_layer_drift *drift;
    struct qk_needle_head *head; /* n */
    size_t n;
    bool chosen;
    int threads, length, n_prompts, rows;
};

static void free_heads(struct heads *h)
{
    qk_drifts_free(h->drift, h->inputs.pair != NULL ? h->inputs.pair->n_layers : 0);
    qk_needle_pair_free(&h->measured);
    qk_needle_prompts_free(&h->prompts);
    qk_tokenizer_free(h->tokenizer);
    qk_inputs_free(&h->inputs);
    free(h->head);
}

static enum qk_code read_options(const struct qk_arguments *arguments, struct heads *h, struct qk_error *err)
{
    QK_TRY(qk_arguments_exclude(arguments, "json", "csv", err));
    QK_TRY(qk_arguments_exclude(arguments, "needles", "length", err));
    QK_TRY(qk_arguments_exclude(arguments, "needles", "prompts", err));
    QK_TRY(qk_arguments_number(arguments, "length", SHORTEST, 1 << 20, QK_NEEDLE_LENGTH, &h->length, err));
    QK_TRY(qk_arguments_number(arguments, "prompts", 1, 1 << 16, QK_NEEDLE_PROMPTS, &h->n_prompts, err));
    QK_TRY(qk_arguments_number(arguments, "rows", 1, 1 << 20, ROWS, &h->rows, err));
    QK_TRY(qk_arguments_threads(arguments, &h->threads, err));
    h->chosen = qk_arguments_has(arguments, "set") || qk_arguments_has(arguments, "recipe");
    return QK_OK;
}

/* --- prompts --- */

static enum qk_code read_needles(struct heads *h, const char *path, struct qk_error *err)
{
    struct qk_cases cases = {0};
    enum qk_code code = qk_cases_read(path, &cases, err);
    if (code == QK_OK)
        code = qk_needle_prompts_read(&cases, h->tokenizer, &h->prompts, err);
    qk_cases_free(&cases);
    QK_TRY(code);
    for (size_t i = 0; i < h->prompts.skipped.n && i < MOST_SKIPPED; i++)
        qk_print_note("%s", h->prompts.skipped.line[i]);
    if (h->prompts.n_skipped > MOST_SKIPPED)
        qk_print_note("%zu more cases are no needles", h->prompts.n_skipped - MOST_SKIPPED);
    if (h->prompts.needles.n == 0)
        return qk_fail(
            err, QK_INPUT, "%s: no case is a needle (found %zu cases)", path, h->prompts.n_skipped);
    return QK_OK;
}

static enum qk_code make_prompts(const struct qk_arguments *arguments, struct heads *h, struct qk_error *err)
{
    const char *needles = qk_arguments_text(arguments, "needles");
    QK_TRY(qk_tokenizer_open(h->inputs.pair->model[QK_POST]->checkpoint->folder, &h->tokenizer, err));
    if (needles != NULL)
        return read_needles(h, needles, err);
    return qk_needle_prompts_make((size_t)h->n_prompts, (size_t)h->length, h->tokenizer, &h->prompts, err);
}

/* --- ranking --- */

/* The largest drop first; equal ones by layer and head. */
static int by_drop(const void *a, const void *b)
{
    const struct qk_needle_head *x = a, *y = b;
    if (x->drop.mean != y->drop.mean)
        return x->drop.mean > y->drop.mean ? -1 : 1;
    return x->layer != y->layer ? x->layer - y->layer : x->head - y->head;
}

static enum qk_code rank_heads(struct heads *h, struct qk_error *err)
{
    const struct qk_needle_pair *m = &h->measured;
    size_t most = 0;
    for (int i = 0; i < m->n_layers; i++)
        most += (size_t)m->side[QK_POST][i].n_heads;
    QK_TRY(qk_alloc(&h->head, most, sizeof *h->head, err));
    for (int i = 0; i < m->n_layers; i++) {
        const struct qk_needle_layer *pre = &m->side[QK_PRE][i], *post = &m->side[QK_POST][i];
        if (!h->inputs.pair->layer[i].has_qk || pre->n_heads != post->n_heads)
            continue;
        for (int q = 0; q < post->n_heads; q++)
            h->head[h->n++] = (struct qk_needle_head){
                i, q, {qk_needle_mass(pre, q), qk_needle_mass(post, q)}, qk_needle_drop(pre, post, q)};
    }
    if (h->n > 1)
        qsort(h->head, h->n, sizeof *h->head, by_drop);
    return QK_OK;
}

/* Without a head that fetches, a small drop means nothing. */
static void note_recall(const struct heads *h)
{
    double most = 0;
    for (size_t i = 0; i < h->n; i++)
        most = h->head[i].mass[QK_PRE].mean > most ? h->head[i].mass[QK_PRE].mean : most;
    if (most < FETCHES)
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

static enum qk_code measure(struct heads *h, struct qk_error *err)
{
    struct qk_meter meter;
    qk_meter_start(&meter, "running", false);
    enum qk_code code = qk_needle_measure(h->inputs.pair, &h->prompts.needles,
        h->chosen ? &h->inputs.selection : NULL, h->inputs.norms, 0, &meter.progress, &h->measured, err);
    qk_meter_stop(&meter);
    return code;
}

static enum qk_code print_report(
    const struct qk_arguments *arguments, const struct heads *h, struct qk_error *err)
{
    const char *needles = qk_arguments_text(arguments, "needles");
    const struct qk_needle_report report = {.pair = h->inputs.pair,
        .prompts = &h->prompts,
        .measured = &h->measured,
        .drift = h->drift,
        .source = needles != NULL ? needles : "made for the tokenizer",
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
    QK_TRY(make_prompts(arguments, h, err));
    QK_TRY(measure(h, err));
    QK_TRY(rank_heads(h, err));
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
    QK_OPTION("needles", 0, "FILE",
        "prompts of your own: JSON lines with prompt and answer, the answer in the prompt"),
    QK_OPTION("length", 'n', "N", "tokens of a made prompt; 512 without it"),
    QK_OPTION("prompts", 0, "N", "prompts to make, with the needle at N depths; 24 without it"),
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
