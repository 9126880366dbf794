/* objectives.c - case files as objectives of a search, and the order of its layers. */
#include "eval/objectives.h"

#include "base/mem.h"
#include "base/text.h"

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
    out->cases = (struct qk_search_cases){cases->n, cases->n_tasks, n, out->task, out->objective, out->cost};
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
    *objectives = (struct qk_objectives){0};
}

void qk_prior_add(double *sum, const double *value, int n)
{
    double largest = 0;
    for (int i = 0; i < n; i++)
        largest = isfinite(value[i]) && value[i] > largest ? value[i] : largest;
    for (int i = 0; i < n && largest > 0; i++)
        sum[i] += isfinite(value[i]) ? value[i] / largest : 0;
}
