/* cmd_suggest.c - qkscope suggest: selections worth a try, from the heads that fetch needles. */
#include "cli/arguments.h"
#include "cli/drifts.h"
#include "cli/inputs.h"
#include "cli/meter.h"
#include "cli/needle_work.h"
#include "cli/recipe_folder.h"
#include "cli/suggest_report.h"

#include "base/mem.h"

#include <stdlib.h>

/* Everything made for the command. */
struct suggest {
    struct qk_pair *pair;
    struct qk_needle_work work;
    struct qk_suggestion suggestion;
    struct qk_layer_drift *drift;
    struct qk_recipe_folder recipes;
    int threads;
};

static void free_suggest(struct suggest *s)
{
    qk_drifts_free(s->drift, s->pair != NULL ? s->pair->n_layers : 0);
    qk_recipe_folder_free(&s->recipes);
    qk_suggestion_free(&s->suggestion);
    qk_needle_work_free(&s->work);
    qk_pair_close(s->pair);
}

/* Measures the effect of each proposal on the recall heads, in the whole model. */
static enum qk_code measure_proposals(struct suggest *s, struct qk_error *err)
{
    enum qk_code code = QK_OK;
    for (int i = 0; i < s->suggestion.n && code == QK_OK; i++) {
        struct qk_meter meter;
        qk_meter_start(&meter, s->suggestion.proposal[i].name, false);
        code = qk_proposal_measure(
            s->pair, &s->work.prompts.needles, &s->work.measured, 0, &meter.progress, &s->suggestion, i, err);
        qk_meter_stop(&meter);
    }
    return code;
}

/* The drift of the layers that the report shows. */
static enum qk_code compute_drift(struct suggest *s, bool all, struct qk_error *err)
{
    const struct qk_recall *recall = &s->suggestion.recall;
    size_t n = all ? recall->n : qk_suggest_listed(&s->suggestion);
    bool *wanted;
    QK_TRY(qk_alloc(&wanted, (size_t)s->pair->n_layers, sizeof *wanted, err));
    for (size_t i = 0; i < n; i++)
        wanted[recall->head[i].of.layer] = true;
    enum qk_code code = qk_drifts_compute(s->pair, wanted, false, s->threads, &s->drift, err);
    free(wanted);
    return code;
}

static enum qk_code write_recipes(struct suggest *s, struct qk_error *err)
{
    for (int i = 0; i < s->suggestion.n; i++) {
        const struct qk_proposal *proposal = &s->suggestion.proposal[i];
        QK_TRY(qk_recipe_folder_write(
            &s->recipes, proposal->slug, s->pair, &proposal->selection, proposal->reason, err));
    }
    return QK_OK;
}

static enum qk_code print_report(
    const struct qk_arguments *arguments, const struct suggest *s, struct qk_error *err)
{
    const struct qk_suggest_report report = {.pair = s->pair,
        .operand = {arguments->operand[QK_PRE], arguments->operand[QK_POST]},
        .prompts = &s->work.prompts,
        .source = qk_needle_work_source(&s->work),
        .suggestion = &s->suggestion,
        .drift = s->drift,
        .recipes = &s->recipes};
    if (qk_arguments_has(arguments, "json"))
        return qk_suggest_json(&report, err);
    qk_suggest_text(&report);
    return QK_OK;
}

static enum qk_code run(const struct qk_arguments *arguments, struct suggest *s, struct qk_error *err)
{
    QK_TRY(qk_needle_work_options(arguments, &s->work, err));
    QK_TRY(qk_arguments_threads(arguments, &s->threads, err));
    QK_TRY(qk_inputs_pair(arguments, &s->pair, err));
    QK_TRY(qk_needle_work_prompts(s->pair, &s->work, err));
    QK_TRY(qk_recipe_folder_make(
        qk_arguments_text(arguments, "output"), qk_arguments_has(arguments, "force"), &s->recipes, err));
    QK_TRY(qk_needle_work_measure(s->pair, NULL, false, &s->work, err));
    QK_TRY(qk_suggest(s->pair, &s->work.prompts.needles, &s->work.measured, &s->suggestion, err));
    QK_TRY(measure_proposals(s, err));
    QK_TRY(compute_drift(s, qk_arguments_has(arguments, "json"), err));
    QK_TRY(qk_pair_unchanged(s->pair, err));
    QK_TRY(write_recipes(s, err));
    return print_report(arguments, s, err);
}

static enum qk_code run_suggest(const struct qk_arguments *arguments, struct qk_error *err)
{
    struct suggest s = {0};
    enum qk_code code = run(arguments, &s, err);
    if (code != QK_OK)
        qk_recipe_folder_remove(&s.recipes);
    free_suggest(&s);
    return code;
}

static const struct qk_option_info *const OPTIONS[] = {
    &qk_option_needles,
    &qk_option_length,
    &qk_option_prompts,
    QK_OPTION("output", 'o', "DIR", "write a recipe of each proposal to DIR"),
    QK_OPTION("force", 'f', NULL, "write into a DIR that exists"),
    &qk_option_json,
    &qk_option_threads,
    NULL,
};

const struct qk_command qk_suggest_command = {
    .name = "suggest",
    .operands = "PRE POST",
    .summary = "Finds the heads that fetch needles, and proposes selections that put them back",
    .options = OPTIONS,
    .run = run_suggest,
};
