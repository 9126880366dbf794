/* search_report.c - the effects, the front and what is near it, as tables and as JSON. */
#include "cli/search_report.h"

#include "base/json.h"
#include "base/text.h"
#include "blend/spec.h"
#include "cli/print.h"
#include "eval/score.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Standard errors around the mean that hold 95 % of a normal distribution. */
#define Z95 1.959964

static const char *const ROLES[QK_EFFECT_ROLES] = {
    [QK_EFFECT_BOTH] = "qk", [QK_EFFECT_Q] = "q", [QK_EFFECT_K] = "k"};

/* --- scores --- */

/* The right answers of a task among those known. */
static struct qk_score score_of(const struct qk_search *search, const signed char *answer, size_t task)
{
    struct qk_score score = {0};
    for (size_t i = 0; i < search->cases.n; i++)
        if (search->cases.task[i] == task && answer[i] >= 0) {
            score.total++;
            score.right += answer[i] > 0;
        }
    return score;
}

/* --- effects --- */

/* True when the interval of the estimate leaves out 0. */
static bool is_clear(const struct qk_estimate *estimate)
{
    return estimate->n > 0 && fabs(estimate->value) > Z95 * estimate->error;
}

static void print_estimate(const struct qk_search_report *report, const struct qk_estimate *estimate)
{
    char text[40];
    bool sign =
        estimate != NULL && is_clear(estimate) && !report->ascii; /* it has two bytes and one column */
    if (estimate == NULL || estimate->n == 0)
        snprintf(text, sizeof text, "%s", "-");
    else if (!is_clear(estimate))
        snprintf(text, sizeof text, "%s", "unclear");
    else
        snprintf(text, sizeof text, "%+.1f %s%.1f", 100 * estimate->value, report->ascii ? "+-" : "\xc2\xb1",
            100 * Z95 * estimate->error);
    qk_print("  %*s", sign ? 15 : 14, text);
}

static const struct qk_estimate *effect_of(
    const struct qk_search_report *report, int layer, int roles, int direction)
{
    const struct qk_effect *effect = &report->search->effect[layer];
    return direction == 0 ? effect->in[roles] : effect->out[roles];
}

/* True when the layer was measured; *clear is set when one of its effects is. */
static bool is_measured(const struct qk_search_report *report, int layer, int roles, bool *clear)
{
    bool measured = false;
    *clear = false;
    for (int direction = 0; direction < 2; direction++) {
        const struct qk_estimate *of = effect_of(report, layer, roles, direction);
        measured = measured || of != NULL;
        for (size_t o = 0; of != NULL && o < report->search->cases.n_objectives; o++)
            *clear = *clear || is_clear(&of[o]);
    }
    return measured;
}

static void print_effect(const struct qk_search_report *report, int layer, int roles)
{
    const struct qk_search *search = report->search;
    qk_print("%5d  %-7s%-4s", layer, qk_kind_name(search->pair->layer[layer].kind), ROLES[roles]);
    for (int direction = 0; direction < 2; direction++)
        for (size_t o = 0; o < search->cases.n_objectives; o++) {
            const struct qk_estimate *of = effect_of(report, layer, roles, direction);
            print_estimate(report, of != NULL ? &of[o] : NULL);
        }
    qk_print("\n");
}

static void print_headings(const struct qk_search_report *report)
{
    qk_print("Effect of restoring a layer, in points: in post as it is, "
             "and what is lost without it where all others are restored\n");
    qk_print("%5s  %-7s%-4s", "layer", "kind", "role");
    for (int direction = 0; direction < 2; direction++)
        for (size_t o = 0; o < report->search->cases.n_objectives; o++) {
            char name[64];
            snprintf(name, sizeof name, "%s %s", direction == 0 ? "in" : "out", report->objective[o]);
            qk_print("  %*s", 14 - (int)strlen(name), "");
            qk_print_name(name);
        }
    qk_print("\n");
}

static void print_effects(const struct qk_search_report *report)
{
    size_t n_clear = 0, n_unclear = 0;
    for (int i = 0; i < report->search->pair->n_layers; i++)
        for (int roles = 0; roles < QK_EFFECT_ROLES; roles++) {
            bool clear;
            if (!is_measured(report, i, roles, &clear))
                continue;
            n_unclear += !clear;
            if (!clear)
                continue;
            if (n_clear++ == 0)
                print_headings(report);
            print_effect(report, i, roles);
        }
    if (n_unclear > 0)
        qk_print(
            "%zu %seffect%s of single layers measured, with intervals that hold 0: too few cases to tell\n",
            n_unclear, n_clear > 0 ? "more " : "", n_unclear == 1 ? "" : "s");
}

/* --- the front --- */

/* Prints one line for each task below the name: the figures of all tasks do not fit beside each other. */
static void print_tasks(const struct qk_search_report *report, const signed char *answer)
{
    for (size_t t = 0; t < report->cases->n_tasks; t++) {
        struct qk_score score = score_of(report->search, answer, t);
        struct qk_interval interval = qk_score_interval(score);
        if (score.total == 0)
            continue;
        qk_print("    %5.1f %%  (%.1f to %.1f)  %zu of %zu  ",
            100 * (double)score.right / (double)score.total, 100 * interval.low, 100 * interval.high,
            score.right, score.total);
        qk_print_name(report->cases->task[t]);
        qk_print("\n");
    }
}

/* "recall 78.0 % (71.2 to 83.6)" for each objective, of the cases of a part. */
static void print_rates(
    const struct qk_search_report *report, const signed char *answer, enum qk_search_part part)
{
    const struct qk_search *search = report->search;
    for (size_t o = 0; o < search->cases.n_objectives; o++) {
        struct qk_score score = qk_search_score(search, answer, o, part);
        struct qk_interval interval = qk_score_interval_of(score, qk_search_count(search, part));
        double least = search->cases.least != NULL ? search->cases.least[o] : 0,
               rate = score.total > 0 ? (double)score.right / (double)score.total : 0;
        qk_print("%s", o > 0 ? ", " : "");
        qk_print_name(report->objective[o]);
        qk_print(" %.1f %% (%.1f to %.1f)%s", 100 * rate, 100 * interval.low, 100 * interval.high,
            rate < least ? ", below the constraint" : "");
    }
    qk_print("\n");
}

/* The figures on both parts of the cases, and those of the tasks on all known answers. */
static void print_figures(const struct qk_search_report *report, const signed char *answer, bool confirmed)
{
    bool parts = report->search->cases.held_out != NULL;
    qk_print("    %s", parts ? "searched   " : "");
    print_rates(report, answer, QK_SEARCHED);
    if (confirmed) {
        qk_print("    confirmed  ");
        print_rates(report, answer, QK_CONFIRMED);
    }
    print_tasks(report, answer);
}

/* The numbers of cases and intervals behind the figures. */
static void print_parts(const struct qk_search_report *report)
{
    const struct qk_search *search = report->search;
    size_t n[QK_SEARCH_PARTS] = {0};
    for (size_t i = 0; i < search->cases.n; i++)
        n[search->cases.held_out != NULL && search->cases.held_out[i]]++;
    qk_print(
        "\nPareto front: %zu of %zu selections, every case answered\n", report->n_front, search->n_trials);
    if (search->cases.held_out != NULL)
        qk_print(
            "searched: %zu cases, on which the front was chosen. confirmed: %zu cases held out, asked afterwards\n",
            n[QK_SEARCHED], n[QK_CONFIRMED]);
    qk_print("Intervals of all %zu selections%s hold at once, with 95 %%\n",
        qk_search_count(search, QK_SEARCHED),
        search->cases.held_out != NULL ? ", and of all that are confirmed," : "");
}

static enum qk_code print_front(const struct qk_search_report *report, struct qk_error *err)
{
    const struct qk_search *search = report->search;
    const struct qk_trial *post = search->trial[0];
    print_parts(report);
    qk_print("pre\n");
    print_figures(report, search->pre, post->confirmed);
    qk_print("post\n");
    print_figures(report, post->answer, post->confirmed);
    for (size_t i = 0; i < report->n_points; i++) {
        char *text;
        QK_TRY(qk_spec_text(&report->point[i]->selection, search->pair, &text, err));
        if (i == report->n_front)
            qk_print("\nNear the front: the searched cases cannot tell these from one of its points\n");
        qk_print("%zu. %s", i + 1, text);
        if (report->recipe != NULL && report->recipe[i] != NULL) {
            qk_print("   -> ");
            qk_print_name(report->recipe[i]);
        }
        qk_print("\n");
        print_figures(report, report->point[i]->answer, report->point[i]->confirmed);
        free(text);
    }
    return QK_OK;
}

enum qk_code qk_search_table(const struct qk_search_report *report, struct qk_error *err)
{
    print_effects(report);
    return print_front(report, err);
}

/* --- JSON --- */

/* An objective's name as a key: a file's name need not be UTF-8. */
enum { KEY_TEXT = 4 * 256 };

static void add_tasks(cJSON *item, const struct qk_search_report *report, const signed char *answer)
{
    cJSON *tasks = cJSON_AddArrayToObject(item, "tasks");
    for (size_t t = 0; t < report->cases->n_tasks; t++) {
        struct qk_score score = score_of(report->search, answer, t);
        struct qk_interval interval = qk_score_interval(score);
        cJSON *task = qk_json_append_object(tasks);
        qk_json_add_text(task, "task", report->cases->task[t]);
        cJSON_AddNumberToObject(task, "right", (double)score.right);
        cJSON_AddNumberToObject(task, "total", (double)score.total);
        cJSON_AddNumberToObject(task, "low", interval.low);
        cJSON_AddNumberToObject(task, "high", interval.high);
    }
}

static void add_estimates(
    cJSON *item, const char *key, const struct qk_search_report *report, const struct qk_estimate *estimate)
{
    if (estimate == NULL)
        return;
    cJSON *all = cJSON_AddObjectToObject(item, key);
    for (size_t o = 0; o < report->search->cases.n_objectives; o++) {
        char name[KEY_TEXT];
        cJSON *of = cJSON_AddObjectToObject(all, qk_json_key(name, sizeof name, report->objective[o]));
        cJSON_AddNumberToObject(of, "value", estimate[o].value);
        cJSON_AddNumberToObject(of, "error", estimate[o].error);
        cJSON_AddNumberToObject(of, "cases", (double)estimate[o].n);
    }
}

static void add_effects(cJSON *root, const struct qk_search_report *report)
{
    const struct qk_search *search = report->search;
    cJSON *effects = cJSON_AddArrayToObject(root, "effects");
    for (int i = 0; i < search->pair->n_layers; i++)
        for (int roles = 0; roles < QK_EFFECT_ROLES; roles++) {
            const struct qk_effect *effect = &search->effect[i];
            if (effect->in[roles] == NULL && effect->out[roles] == NULL)
                continue;
            cJSON *item = qk_json_append_object(effects);
            cJSON_AddNumberToObject(item, "layer", i);
            cJSON_AddStringToObject(item, "kind", qk_kind_name(search->pair->layer[i].kind));
            cJSON_AddStringToObject(item, "roles", ROLES[roles]);
            add_estimates(item, "in", report, effect->in[roles]);
            add_estimates(item, "out", report, effect->out[roles]);
        }
}

static const char *const PARTS[QK_SEARCH_PARTS] = {[QK_SEARCHED] = "searched", [QK_CONFIRMED] = "confirmed"};

/* The right answers of each objective to the cases of a part, with an interval that holds for all selections. */
static void add_part(
    cJSON *item, const struct qk_search_report *report, const signed char *answer, enum qk_search_part part)
{
    const struct qk_search *search = report->search;
    cJSON *objectives = cJSON_AddObjectToObject(item, PARTS[part]);
    for (size_t o = 0; o < search->cases.n_objectives; o++) {
        char key[KEY_TEXT];
        struct qk_score score = qk_search_score(search, answer, o, part);
        struct qk_interval interval = qk_score_interval_of(score, qk_search_count(search, part));
        cJSON *of = cJSON_AddObjectToObject(objectives, qk_json_key(key, sizeof key, report->objective[o]));
        cJSON_AddNumberToObject(of, "right", (double)score.right);
        cJSON_AddNumberToObject(of, "total", (double)score.total);
        cJSON_AddNumberToObject(of, "low", interval.low);
        cJSON_AddNumberToObject(of, "high", interval.high);
    }
}

static enum qk_code trial_json(const struct qk_search_report *report, const struct qk_trial *trial,
    const char *recipe, cJSON *list, struct qk_error *err)
{
    char *text;
    QK_TRY(qk_spec_text(&trial->selection, report->search->pair, &text, err));
    cJSON *item = qk_json_append_object(list);
    cJSON_AddStringToObject(item, "set", text);
    free(text);
    cJSON_AddStringToObject(item, "origin", trial->origin);
    cJSON_AddNumberToObject(item, "cases", (double)trial->n_asked);
    cJSON_AddBoolToObject(item, "front", trial->front);
    if (recipe != NULL)
        qk_json_add_text(item, "recipe", recipe);
    cJSON *rates = cJSON_AddObjectToObject(item, "objectives");
    for (size_t o = 0; o < report->search->cases.n_objectives; o++) {
        struct qk_estimate rate = qk_search_rate(report->search, trial, o);
        char key[KEY_TEXT];
        if (rate.n > 0)
            cJSON_AddNumberToObject(rates, qk_json_key(key, sizeof key, report->objective[o]), rate.value);
    }
    if (trial->n_asked == report->search->trial[0]->n_asked)
        add_part(item, report, trial->answer, QK_SEARCHED);
    if (trial->confirmed)
        add_part(item, report, trial->answer, QK_CONFIRMED);
    add_tasks(item, report, trial->answer);
    return QK_OK;
}

enum qk_code qk_search_json(const struct qk_search_report *report, struct qk_error *err)
{
    const struct qk_search *search = report->search;
    cJSON *root = cJSON_CreateObject(), *pre = cJSON_AddObjectToObject(root, "pre");
    enum qk_code code = QK_OK;
    add_tasks(pre, report, search->pre);
    cJSON_AddBoolToObject(root, "complete", search->complete);
    add_effects(root, report);
    cJSON *front = cJSON_AddArrayToObject(root, "front"), *near = cJSON_AddArrayToObject(root, "near"),
          *all = cJSON_AddArrayToObject(root, "trials");
    for (size_t i = 0; i < report->n_points && code == QK_OK; i++)
        code = trial_json(report, report->point[i], report->recipe != NULL ? report->recipe[i] : NULL,
            i < report->n_front ? front : near, err);
    for (size_t i = 0; i < search->n_trials && code == QK_OK; i++)
        code = trial_json(report, search->trial[i], NULL, all, err);
    if (code == QK_OK)
        return qk_print_json(root, err);
    cJSON_Delete(root);
    return code;
}
