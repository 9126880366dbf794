/* search.h - the search for selections that answer most of several sets of cases: effects of single layers,
 * a greedy search and successive halving over selections and blends, up to the Pareto front.
 *
 * A trial is a selection and its answers to a sample of the cases. Samples are nested, and cases that pre and
 * post answer differently come first in them, for the others hardly tell selections apart; what is estimated
 * from a sample weighs both strata by their true sizes (Cochran 1977, ch. 5), so that it is no less true of
 * all cases. How often a selection turns an answer that both give is estimated from all trials together. Only
 * trials with every answer stand on the front; restoring q and k of all full layers always has them all.
 *
 * Nothing here depends on the time it takes but where a limit of seconds is set, which decides how many
 * trials there are and how large their samples. The same trials come in the same order, so that a search that
 * is run again goes on where answers kept by the caller end. */
#ifndef QK_EVAL_SEARCH_H
#define QK_EVAL_SEARCH_H

#include "base/progress.h"
#include "blend/selection.h"

#include <time.h>

/* What there is to answer. Objectives (recall, reasoning) are made of tasks, tasks of cases. */
struct qk_search_cases {
    size_t n, n_tasks, n_objectives;
    const size_t *task;      /* n: of each case */
    const size_t *objective; /* n_tasks: of each task */
    const double *cost;      /* n: work of each case, in any unit */
};

struct qk_trial {
    struct qk_selection selection;
    signed char *answer; /* of each case: 1 right, 0 wrong, -1 not asked */
    size_t n_asked;
    const char *origin; /* how it came up: "post", "greedy" ... (static) */
    bool front;         /* every case asked, and no other such trial is better in one objective and as good in
                           all */
};

/* An estimate from a sample, in shares of 1, with its standard error; n 0: nothing is known. */
struct qk_estimate {
    double value, error;
    size_t n;
};

/* What restoring a role of a layer (both, q alone, k alone) does to each objective: to post as it is (in),
 * and to what is lost when all layers but this one are restored (out). */
enum qk_effect_roles { QK_EFFECT_BOTH, QK_EFFECT_Q, QK_EFFECT_K, QK_EFFECT_ROLES };
struct qk_effect {
    struct qk_estimate *in[QK_EFFECT_ROLES], *out[QK_EFFECT_ROLES]; /* n_objectives each; owned */
};

struct qk_search_limits {
    double seconds;    /* 0: none */
    size_t max_trials; /* 0: none; a trial counts once for each size of its sample */
};

/* What a search asks and tells. */
struct qk_search_calls {
    void *context;
    /* answer[i] = 1 or 0 for each of the n cases named, by post with the selection (NULL: by pre). *cost is
     * the cost of those that were not known already. An error ends the search. */
    enum qk_code (*answer)(void *context, const struct qk_selection *selection, const size_t *cases, size_t n,
        signed char *answer, double *cost, struct qk_error *err);
    /* A trial was measured; `stage` as origin. May be NULL. */
    void (*told)(void *context, const char *stage, const struct qk_trial *trial);
};

/* Everything that was found; owned. */
struct qk_search {
    const struct qk_pair *pair;   /* borrowed */
    struct qk_search_cases cases; /* arrays borrowed */
    struct qk_trial **trial;      /* n_trials; the first is post */
    size_t n_trials, capacity;
    signed char *pre;         /* pre's answers to all cases */
    struct qk_effect *effect; /* n_layers */
    bool complete;            /* it came to its end before its limits */
    struct qk_search_parts *parts;
};

/* Zero-initialise *search. `prior` (n_layers, or NULL) ranks the layers, larger first: what is tried first
 * when there is no time for all. Layers that cannot be restored are passed over; QK_INPUT when there is none
 * that can. On QK_CANCELLED, and any other error of `answer`, what was found until then stays. Freed with
 * qk_search_free in any case. */
enum qk_code qk_search_run(struct qk_search *search, const struct qk_pair *pair,
    const struct qk_search_cases *cases, const double *prior, const struct qk_search_limits *limits,
    const struct qk_search_calls *calls, struct qk_error *err);
void qk_search_free(struct qk_search *search);

/* *out = the trials on the front, n of them, best in the first objective first. The caller frees the array. */
enum qk_code qk_search_front(
    const struct qk_search *search, const struct qk_trial ***out, size_t *n, struct qk_error *err);

/* Share of right answers of the objective's cases, from those asked; n is 0 before post and pre have answered all. */
struct qk_estimate qk_search_rate(
    const struct qk_search *search, const struct qk_trial *trial, size_t objective);
/* The same of trial less base, over the cases that both were asked. */
struct qk_estimate qk_search_difference(const struct qk_search *search, const struct qk_trial *trial,
    const struct qk_trial *base, size_t objective);

#endif
