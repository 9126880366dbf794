/* objectives.c - case files as objectives of a search, and the order of its layers. */
#include "eval/objectives.h"

#include "base/mem.h"
#include "base/text.h"
#include "range/prose.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Names an objective by the file's name without its folder and .jsonl. */
static enum qk_code short_name(const char *path, char **out, struct qk_error *err)
{
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
    size_t n = strlen(base) - (qk_ends_with(base, ".jsonl") ? strlen(".jsonl") : 0);
    return qk_strndup_to(out, base, n, err);
}

/* Takes the whole path where an earlier file has that name. */
static enum qk_code name_file(
    const struct qk_cases *cases, size_t i, struct qk_objectives *out, struct qk_error *err)
{
    QK_TRY(short_name(cases->file[i], &out->name[i], err));
    for (size_t k = 0; k < i; k++)
        if (strcmp(out->name[k], out->name[i]) == 0) {
            free(out->name[i]);
            out->name[i] = NULL;
            return qk_strdup_to(&out->name[i], cases->file[i], err);
        }
    return QK_OK;
}

enum qk_code qk_objectives_make(const struct qk_cases *cases, const struct qk_evaluation *evaluation,
    struct qk_objectives *out, struct qk_error *err)
{
    bool files = cases->n_files > 1;
    size_t n = files ? cases->n_files : cases->n_tasks;
    QK_TRY(qk_alloc(&out->name, n, sizeof *out->name, err));
    QK_TRY(qk_alloc(&out->task, cases->n, sizeof *out->task, err));
    QK_TRY(qk_alloc(&out->objective, cases->n_tasks, sizeof *out->objective, err));
    QK_TRY(qk_alloc(&out->cost, cases->n, sizeof *out->cost, err));
    for (size_t *i = &out->cases.n_objectives; *i < n; ++*i)
        QK_TRY(files ? name_file(cases, *i, out, err) : qk_strdup_to(&out->name[*i], cases->task[*i], err));
    for (size_t i = cases->n; i-- > 0;) {
        out->task[i] = cases->item[i].task;
        out->objective[out->task[i]] = files ? cases->item[i].file : out->task[i];
        out->cost[i] = (double)qk_evaluation_cost(evaluation, i);
    }
    for (size_t o = 0, task; files && o < n; o++) {
        for (task = 0; task < cases->n_tasks && out->objective[task] != o; task++)
            ;
        if (task == cases->n_tasks)
            return qk_fail(err, QK_INPUT,
                "%s: every task of it is in a file before it, so it is no objective of its own",
                cases->file[o]);
    }
    out->cases = (struct qk_search_cases){.n = cases->n,
        .n_tasks = cases->n_tasks,
        .n_objectives = n,
        .task = out->task,
        .objective = out->objective,
        .cost = out->cost};
    return QK_OK;
}

void qk_objectives_free(struct qk_objectives *objectives)
{
    for (size_t i = 0; objectives->name != NULL && i < objectives->cases.n_objectives; i++)
        free(objectives->name[i]);
    free(objectives->name);
    free(objectives->task);
    free(objectives->objective);
    free(objectives->cost);
    free(objectives->held_out);
    free(objectives->least);
    *objectives = (struct qk_objectives){0};
}

/* Holds out n of the cases of a task: each case with the chance that the rest needs (Knuth 1997, 3.4.2, S). */
static void hold_out_task(
    struct qk_objectives *objectives, size_t task, size_t n, size_t of, uint64_t *random)
{
    for (size_t i = 0; i < objectives->cases.n && n > 0; i++)
        if (objectives->task[i] == task) {
            objectives->held_out[i] = qk_random_below(random, of--) < n;
            n -= objectives->held_out[i];
        }
}

enum qk_code qk_objectives_hold_out(
    struct qk_objectives *objectives, int percent, uint64_t seed, struct qk_error *err)
{
    struct qk_search_cases *cases = &objectives->cases;
    QK_TRY(qk_alloc(&objectives->held_out, cases->n, sizeof *objectives->held_out, err));
    for (size_t task = 0; task < cases->n_tasks; task++) {
        size_t of = 0;
        uint64_t random = qk_random_mix(seed, task);
        for (size_t i = 0; i < cases->n; i++)
            of += cases->task[i] == task;
        hold_out_task(objectives, task, of * (size_t)percent / 100, of, &random);
    }
    cases->held_out = objectives->held_out;
    return QK_OK;
}

enum qk_code qk_objectives_constrain(struct qk_objectives *objectives, const char *text, struct qk_error *err)
{
    struct qk_search_cases *cases = &objectives->cases;
    const char *sign = strstr(text, ">=");
    char *end = NULL;
    double least = sign != NULL ? strtod(sign + 2, &end) : NAN;
    if (sign == NULL || end == sign + 2 || *end != '\0' || !(least >= 0 && least <= 100))
        return qk_fail(
            err, QK_USAGE, "--constraint: expected NAME>=PERCENT, such as reasoning>=95 (found %s)", text);
    for (size_t o = 0; o < cases->n_objectives; o++)
        if (strlen(objectives->name[o]) == (size_t)(sign - text) &&
            strncmp(objectives->name[o], text, (size_t)(sign - text)) == 0) {
            if (objectives->least == NULL)
                QK_TRY(qk_alloc(&objectives->least, cases->n_objectives, sizeof *objectives->least, err));
            objectives->least[o] = least / 100;
            cases->least = objectives->least;
            return QK_OK;
        }
    return qk_fail(err, QK_USAGE, "--constraint: no objective is called %.*s (the first is %s)",
        (int)(sign - text), text, objectives->name[0]);
}

size_t qk_hint_heads(const struct qk_recall *recall, struct qk_search_head out[QK_SEARCH_HEADS])
{
    size_t n = 0;
    for (; n < recall->n_recall && n < QK_SEARCH_HEADS; n++) {
        const struct qk_recall_head *head = &recall->head[n];
        out[n] = (struct qk_search_head){head->of.layer, head->of.head, head->key};
    }
    return n;
}

void qk_prior_add(double *sum, const double *value, int n)
{
    double largest = 0;
    for (int i = 0; i < n; i++)
        largest = isfinite(value[i]) && value[i] > largest ? value[i] : largest;
    for (int i = 0; i < n && largest > 0; i++)
        sum[i] += isfinite(value[i]) ? value[i] / largest : 0;
}
