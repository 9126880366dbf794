/* cmd_search.c - qkscope search: effects of single layers, and the selections that answer most. */
#include "cli/arguments.h"
#include "cli/drifts.h"
#include "cli/engines.h"
#include "cli/inputs.h"
#include "cli/meter.h"
#include "cli/needle_work.h"
#include "cli/print.h"
#include "cli/recipe_folder.h"
#include "cli/search_report.h"

#include "base/mem.h"
#include "base/text.h"
#include "blend/patch.h"
#include "eval/objectives.h"
#include "eval/suggest.h"
#include "range/range_cache.h"
#include "range/restored.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { USUAL_MINUTES = 10 };

struct search {
    struct qk_cases cases;
    struct qk_pair *pair;
    struct qk_evaluation *evaluation;
    struct qk_evaluation_options options;
    struct qk_objectives objectives;
    double *prior;
    struct qk_search_head head[QK_SEARCH_HEADS]; /* n_heads: those that carry recall */
    size_t n_heads;
    int held_out, seed;
    struct qk_search_limits limits;
    struct qk_search result;
    const struct qk_trial **point; /* n_points: the front, and what is near it */
    size_t n_front, n_points;
    struct qk_recipe_folder folder;
    int threads;
    struct qk_meter meter;
    struct qk_engine_talk talk;
};

static void free_search(struct search *s)
{
    qk_recipe_folder_free(&s->folder);
    free(s->point);
    free(s->prior);
    qk_objectives_free(&s->objectives);
    qk_search_free(&s->result);
    qk_evaluation_close(s->evaluation);
    qk_pair_close(s->pair);
    qk_cases_free(&s->cases);
    qk_engines_free(&s->talk);
}

/* --- the order of the trials --- */

/* The forward pass is at hand. Who lets another engine answer has models for which it is too slow. */
static bool is_built_in(const struct search *s)
{
    return s->options.engine.kind == QK_ENGINE_BUILT_IN;
}

/* The attention shift that a restore of each softmax layer undoes, on the built-in text; 0 without one. That of linear
 * layers says nothing on what their restore brings (data/README.md). */
static enum qk_code find_shifts(struct search *s, double *value, struct qk_error *err)
{
    struct qk_probe_options options = {.cached = !s->options.no_cache};
    struct qk_probe *probe = NULL;
    struct qk_error why = {0};
    enum qk_code code = qk_probe_open(s->pair, &options, &probe, &why);
    if (code == QK_INPUT)
        return QK_OK; /* without layers that have ranges, or a text, the drift alone orders the layers */
    if (code != QK_OK)
        return qk_fail(err, code, "%s", why.text);
    if (options.cached)
        qk_range_cache_load(probe);
    qk_meter_turn(&s->meter, "ranges");
    code = qk_probe_run_restored(probe, NULL, NULL, &s->meter.progress, err);
    if (code == QK_OK && options.cached)
        qk_range_cache_store(probe, &why);
    for (int i = 0; code == QK_OK && i < s->pair->n_layers; i++)
        if (qk_kind_softmax(s->pair->layer[i].kind) && probe->layer[i].restored.n_heads > 0)
            value[i] = probe->layer[i].restored_shift;
    qk_probe_close(probe);
    return code;
}

/* Finds the heads that carry recall by needles of its own. */
static enum qk_code find_heads(struct search *s, struct qk_needle_work *work, struct qk_error *err)
{
    struct qk_recall recall = {0};
    QK_TRY(qk_needle_work_prompts(s->pair, work, err));
    QK_TRY(qk_needle_work_measure(s->pair, NULL, false, work, err));
    enum qk_code code =
        qk_recall_find(s->pair, &work->measured, qk_recall_background(&work->prompts.needles), &recall, err);
    if (code == QK_OK)
        s->n_heads = qk_hint_heads(&recall, s->head);
    qk_recall_free(&recall);
    return code;
}

/* Without a tokenizer, say, the search begins without such heads. */
static enum qk_code look_for_heads(struct search *s, struct qk_error *err)
{
    struct qk_needle_work work = {.length = QK_NEEDLE_LENGTH, .n_prompts = QK_NEEDLE_PROMPTS};
    struct qk_error why = {0};
    enum qk_code code = find_heads(s, &work, &why);
    qk_needle_work_free(&work);
    return code == QK_OK || code == QK_INPUT ? QK_OK : qk_fail(err, code, "%s", why.text);
}

static enum qk_code find_prior(struct search *s, struct qk_error *err)
{
    struct qk_layer_drift *drift;
    int n = s->pair->n_layers;
    double *value;
    QK_TRY(qk_alloc(&s->prior, (size_t)n, sizeof *s->prior, err));
    QK_TRY(qk_drifts_compute(s->pair, NULL, false, s->threads, &drift, err));
    enum qk_code code = qk_alloc(&value, (size_t)n, sizeof *value, err);
    for (int i = 0; code == QK_OK && i < n; i++)
        value[i] = qk_metric_layer(&drift[i], QK_METRIC_ROUTING, -1);
    if (code == QK_OK)
        qk_prior_add(s->prior, value, n);
    qk_drifts_free(drift, n);
    if (code == QK_OK && is_built_in(s)) {
        memset(value, 0, (size_t)n * sizeof *value);
        qk_meter_start(&s->meter, "ranges", false);
        code = find_shifts(s, value, err);
        qk_meter_stop(&s->meter);
        if (code == QK_OK)
            qk_prior_add(s->prior, value, n);
    }
    free(value);
    return code;
}

/* --- the search --- */

static enum qk_code answer(void *context, const struct qk_selection *selection, const size_t *cases, size_t n,
    signed char *out, double *cost, struct qk_error *err)
{
    struct search *s = context;
    const struct qk_subject subject = {selection != NULL ? QK_POST : QK_PRE, selection, false};
    QK_TRY(qk_progress_check(&s->meter.progress, err));
    return qk_evaluation_answer(s->evaluation, subject, n, cases, out, NULL, &s->meter.progress, cost, err);
}

static void on_trial(void *context, const char *stage, const struct qk_trial *trial)
{
    struct search *s = context;
    (void)trial;
    qk_meter_turn(&s->meter, stage);
}

static enum qk_code measure(struct search *s, struct qk_error *err)
{
    const struct qk_search_calls calls = {s, answer, on_trial};
    const struct qk_search_hints hints = {s->prior, s->head, s->n_heads};
    qk_meter_start(&s->meter, "post and pre", false);
    qk_meter_limit(&s->meter, s->limits.seconds);
    s->talk.meter = &s->meter;
    enum qk_code code =
        qk_search_run(&s->result, s->pair, &s->objectives.cases, &hints, &s->limits, &calls, err);
    s->talk.meter = NULL;
    qk_meter_stop(&s->meter);
    qk_engines_print(&s->talk);
    qk_engines_print_sum(&s->talk);
    return code;
}

/* The cases of an engine with tasks of its own, by their first run, on post. */
static enum qk_code learn(struct search *s, struct qk_error *err)
{
    const struct qk_subject post = {.side = QK_POST};
    if (!qk_evaluation_whole(s->evaluation))
        return QK_OK;
    qk_meter_start(&s->meter, "post", false);
    s->talk.meter = &s->meter;
    enum qk_code code = qk_evaluation_learn(s->evaluation, post, &s->cases, &s->meter.progress, err);
    s->talk.meter = NULL;
    qk_meter_stop(&s->meter);
    qk_engines_print(&s->talk);
    return code;
}

/* --- the front --- */

/* "recall 78.0 % (71.2 to 83.6)", of the part's cases. */
static void add_rates(
    struct qk_text *text, const struct search *s, const struct qk_trial *trial, enum qk_search_part part)
{
    for (size_t o = 0; o < s->objectives.cases.n_objectives; o++) {
        struct qk_score score = qk_search_score(&s->result, trial->answer, o, part);
        struct qk_interval interval = qk_score_interval_of(score, qk_search_count(&s->result, part));
        qk_text_add(text, "%s %s %.1f %% (%.1f to %.1f)", o > 0 ? "," : "", s->objectives.name[o],
            score.total > 0 ? 100 * (double)score.right / (double)score.total : 0, 100 * interval.low,
            100 * interval.high);
    }
}

/* Writes "FOLDER/1.json", with the point's figures as a comment. */
static enum qk_code write_recipe(struct search *s, size_t i, struct qk_error *err)
{
    struct qk_text comment = {0};
    char name[24], *text;
    snprintf(name, sizeof name, "%zu", i + 1);
    if (s->point[i]->front)
        qk_text_add(&comment, "point %zu of %zu of a search's front:", i + 1, s->n_front);
    else
        qk_text_add(&comment, "near a search's front:");
    add_rates(&comment, s, s->point[i], QK_SEARCHED);
    if (s->point[i]->confirmed) {
        qk_text_add(&comment, "; on cases held out:");
        add_rates(&comment, s, s->point[i], QK_CONFIRMED);
    }
    QK_TRY(qk_text_take(&comment, &text, err));
    enum qk_code code = qk_recipe_folder_write(&s->folder, name, s->pair, &s->point[i]->selection, text, err);
    free(text);
    return code;
}

static enum qk_code report(const struct qk_arguments *arguments, struct search *s, struct qk_error *err)
{
    QK_TRY(qk_search_points(&s->result, &s->point, &s->n_front, &s->n_points, err));
    for (size_t i = 0; i < s->n_points && s->folder.path != NULL; i++)
        QK_TRY(write_recipe(s, i, err));
    const struct qk_search_report report = {.search = &s->result,
        .cases = &s->cases,
        .objective = (const char *const *)s->objectives.name,
        .point = s->point,
        .n_front = s->n_front,
        .n_points = s->n_points,
        .recipe = s->folder.recipe,
        .ascii = qk_arguments_has(arguments, "ascii") || !qk_print_utf8()};
    if (qk_arguments_has(arguments, "json"))
        return qk_search_json(&report, err);
    QK_TRY(qk_search_table(&report, err));
    if (!s->result.complete)
        qk_print_note("the limit ended the search early; a larger one finds more");
    return QK_OK;
}

/* --- the command --- */

static enum qk_code read_options(const struct qk_arguments *arguments, struct search *s, struct qk_error *err)
{
    enum { MOST_MINUTES = 1 << 20, MOST_TRIALS = 1 << 24 };
    int minutes, trials;
    QK_TRY(qk_arguments_number(arguments, "max-evals", 1, MOST_TRIALS, 0, &trials, err));
    QK_TRY(qk_arguments_number(
        arguments, "minutes", 1, MOST_MINUTES, trials > 0 ? 0 : USUAL_MINUTES, &minutes, err));
    QK_TRY(qk_arguments_threads(arguments, &s->threads, err));
    QK_TRY(qk_arguments_memory(arguments, &s->options.memory, err));
    QK_TRY(qk_arguments_precision(arguments, err));
    s->limits = (struct qk_search_limits){60.0 * minutes, (size_t)trials};
    s->options.no_cache = qk_arguments_has(arguments, "no-cache");
    s->options.reuse = true;
    QK_TRY(qk_engines_read(arguments, &s->talk, &s->options.engine, err));
    s->talk.sum = true;
    bool tasks = s->options.engine.kind == QK_ENGINE_TASKS;
    QK_TRY(
        qk_arguments_number(arguments, "confirm", 0, 90, tasks ? 0 : QK_USUAL_HELD_OUT, &s->held_out, err));
    if (tasks && s->held_out > 0)
        return qk_fail(err, QK_USAGE,
            "--confirm: --tasks gives numbers of right answers alone, of which no case can be held out (found %d, "
            "expected 0)",
            s->held_out);
    QK_TRY(qk_arguments_number(arguments, "seed", 0, INT_MAX, 0, &s->seed, err));
    return tasks ? QK_OK : qk_inputs_cases(arguments, &s->cases, err);
}

static enum qk_code make_objectives(
    const struct qk_arguments *arguments, struct search *s, struct qk_error *err)
{
    const char *const *constraint = NULL;
    size_t n;
    QK_TRY(qk_objectives_make(&s->cases, s->evaluation, &s->objectives, err));
    s->objectives.cases.whole = qk_evaluation_whole(s->evaluation);
    if (s->held_out > 0)
        QK_TRY(qk_objectives_hold_out(&s->objectives, s->held_out, (uint64_t)s->seed, err));
    QK_TRY(qk_arguments_all(arguments, "constraint", &constraint, &n, err));
    enum qk_code code = QK_OK;
    for (size_t i = 0; i < n && code == QK_OK; i++)
        code = qk_objectives_constrain(&s->objectives, constraint[i], err);
    free((void *)constraint);
    return code;
}

static enum qk_code run(const struct qk_arguments *arguments, struct search *s, struct qk_error *err)
{
    QK_TRY(read_options(arguments, s, err));
    QK_TRY(qk_inputs_pair(arguments, &s->pair, err));
    QK_TRY(qk_evaluation_open(s->pair, NULL, &s->cases, &s->options, &s->evaluation, err));
    QK_TRY(learn(s, err));
    QK_TRY(make_objectives(arguments, s, err));
    QK_TRY(qk_recipe_folder_make(
        qk_arguments_text(arguments, "output"), qk_arguments_has(arguments, "force"), &s->folder, err));
    QK_TRY(find_prior(s, err));
    if (is_built_in(s))
        QK_TRY(look_for_heads(s, err));
    enum qk_code code = measure(s, err);
    /* Reports the results of an interrupted search, too. The next run goes on from kept answers. */
    if (code == QK_CANCELLED && s->result.effect != NULL && s->result.parts != NULL) {
        struct qk_error why = {0};
        enum qk_code reported = report(arguments, s, &why);
        return reported == QK_OK ? code : qk_fail(err, reported, "%s", why.text);
    }
    return code == QK_OK ? report(arguments, s, err) : code;
}

static enum qk_code run_search(const struct qk_arguments *arguments, struct qk_error *err)
{
    struct search s = {0};
    enum qk_code code = run(arguments, &s, err);
    if (code != QK_OK && (code != QK_CANCELLED || s.n_front == 0))
        qk_recipe_folder_remove(&s.folder);
    free_search(&s);
    return code;
}

static const struct qk_option_info *const OPTIONS[] = {
    &qk_option_cases,
    QK_OPTION("minutes", 'm', "N", "stop after N minutes; 10 without it and --max-evals"),
    QK_OPTION("max-evals", 0, "N", "stop after N trials, each a selection measured on one size of sample"),
    QK_OPTION("confirm", 0, "PERCENT",
        "hold out so many of each task's cases, and confirm the front on them; 50 without it, 0: none"),
    QK_OPTION("seed", 0, "N", "another seed holds out other cases; 0 without it"),
    QK_OPTION("constraint", 0, "NAME>=PERCENT",
        "look for selections with at least so much of an objective, as in reasoning>=95; repeatable"),
    QK_OPTION("output", 'o', "DIR", "write a recipe for each point of the front, and near it, to DIR"),
    QK_OPTION("force", 'f', NULL, "write into a DIR that exists"),
    &qk_option_memory,
    &qk_option_precision,
    &qk_option_no_cache,
    QK_ENGINE_OPTIONS,
    &qk_option_json,
    &qk_option_ascii,
    &qk_option_threads,
    NULL,
};

const struct qk_command qk_search_command = {
    .name = "search",
    .operands = "PRE POST",
    .summary = "Measures the effect of each layer on the answers, and searches for the selections that "
               "answer most",
    .options = OPTIONS,
    .run = run_search,
};
