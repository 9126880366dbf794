/* objectives.h - the inputs of a search (search.h): case files as objectives, and numbers that order the layers. */
#ifndef QK_EVAL_OBJECTIVES_H
#define QK_EVAL_OBJECTIVES_H

#include "eval/evaluation.h"
#include "eval/recall_heads.h"
#include "eval/search.h"

#include <stdint.h>

/* Zero-initialise. Owned, except what the cases own; `cases` points into the arrays. */
struct qk_objectives {
    struct qk_search_cases cases;
    char **name; /* cases.n_objectives */
    size_t *task, *objective;
    double *cost;
    bool *held_out; /* NULL: none */
    double *least;  /* NULL: none */
};

/* Each file is an objective, named by the file without folder and .jsonl; with one file alone, its tasks are the
 * objectives. A task in two files belongs to the first. QK_INPUT when a file has no task of its own. Freed with
 * qk_objectives_free, on failure too. */
enum qk_code qk_objectives_make(const struct qk_cases *cases, const struct qk_evaluation *evaluation,
    struct qk_objectives *out, struct qk_error *err);
void qk_objectives_free(struct qk_objectives *objectives);

/* The percentage that is held out unless a user says otherwise. */
enum { QK_USUAL_HELD_OUT = 50 };
/* Holds out this percentage of the cases of each task, rounded down, to confirm the front (search.h). A seed draws
 * the same cases each time. */
enum qk_code qk_objectives_hold_out(
    struct qk_objectives *objectives, int percent, uint64_t seed, struct qk_error *err);

/* Reads "NAME>=PERCENT" and sets the objective's least share. QK_USAGE when the text has another form, names no
 * objective, or the number is outside 0 to 100. */
enum qk_code qk_objectives_constrain(
    struct qk_objectives *objectives, const char *text, struct qk_error *err);

/* The most promising recall heads as hints of a search; returns how many. */
enum { QK_SEARCH_HEADS = 8 };
size_t qk_hint_heads(const struct qk_recall *recall, struct qk_search_head out[QK_SEARCH_HEADS]);

/* Adds n values, none below 0, to the sums, each divided by the largest, so that numbers of two kinds have equal
 * weight. A value that is not finite counts as 0. */
void qk_prior_add(double *sum, const double *value, int n);

#endif
