/* objectives.h - the inputs of a search (search.h): case files as objectives, and numbers of layers as the
 * order in which they are tried. */
#ifndef QK_EVAL_OBJECTIVES_H
#define QK_EVAL_OBJECTIVES_H

#include "eval/evaluation.h"
#include "eval/search.h"

/* Zero-initialise. Owned, but for what the cases own; `cases` points into the arrays. */
struct qk_objectives {
    struct qk_search_cases cases;
    char **name; /* cases.n_objectives */
    size_t *task, *objective;
    double *cost;
};

/* Each file is an objective, called by its name without folder and .jsonl; one file alone has its tasks for
 * objectives. A task that stands in two files belongs to the first; QK_INPUT when a file has none of its own.
 * Freed with qk_objectives_free, on failure too. */
enum qk_code qk_objectives_make(const struct qk_cases *cases, const struct qk_evaluation *evaluation,
    struct qk_objectives *out, struct qk_error *err);
void qk_objectives_free(struct qk_objectives *objectives);

/* Adds n values, none below 0, to the sums, each divided by the largest, so that numbers of two kinds count
 * alike; one that is not finite counts as 0. */
void qk_prior_add(double *sum, const double *value, int n);

#endif
