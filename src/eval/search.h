/* search.h - the search for selections that answer most of several sets of cases. It asks the selections that are known
 * to be good first and in full. Then it measures the effects of layers on samples, walks greedily, and refines the best
 * by successive halving over roles, heads, blends and their strengths, up to the Pareto front.
 *
 * A trial is a selection and its answers to a sample of the cases. Samples are nested. Cases that pre and post answer
 * differently come first in them, because the others hardly distinguish selections. Estimates weigh both strata by
 * their true sizes (Cochran 1977, ch. 5), so that they hold for all cases. How often a selection turns an answer that
 * both give is estimated from all trials together. Only trials with every answer are on the front.
 *
 * The best of many trials looks better than it is. So some cases may be held out: the search never asks them, until
 * its front is found. Then the points of the front answer them, and so do trials that the answers cannot tell from one
 * of these points. Their figures have no such bias.
 *
 * Only a limit of seconds makes the result depend on time: it decides the number of trials and the size of their
 * samples. The same trials come in the same order, so that a repeated search goes on where the answers kept by the
 * caller end. */
#ifndef QK_EVAL_SEARCH_H
#define QK_EVAL_SEARCH_H

#include "base/progress.h"
#include "blend/selection.h"
#include "eval/score.h"

#include <time.h>

/* The cases of a search. Objectives (recall, reasoning) consist of tasks, and tasks of cases. */
struct qk_search_cases {
    size_t n, n_tasks, n_objectives;
    const size_t *task;      /* n: task of each case */
    const size_t *objective; /* n_tasks: objective of each task */
    const double *cost;      /* n: work of each case, in any unit */
    const bool *held_out;    /* n: those that confirm the front; NULL: none */
    const double *least; /* n_objectives: a selection below this share is no solution; NULL: none has one */
    bool whole;          /* all cases of a selection are answered at once: no sample costs less */
};

/* The two parts of the cases. */
enum qk_search_part { QK_SEARCHED, QK_CONFIRMED, QK_SEARCH_PARTS };

/* A head that carries recall, and the key head that it reads (-1: none). */
struct qk_search_head {
    int layer, q, k;
};

/* What is known before a case is asked. */
struct qk_search_hints {
    const double *layer;               /* n_layers, or NULL: ranks the layers, larger first */
    const struct qk_search_head *head; /* n_heads, most promising first */
    size_t n_heads;
};

struct qk_trial {
    struct qk_selection selection;
    signed char *answer; /* of each case: 1 right, 0 wrong, -1 not asked */
    size_t n_asked;      /* of the cases to search on */
    const char *origin;  /* the step that proposed it: "post", "greedy" ... (static) */
    /* Every case to search on is asked, and no other such trial is better in one objective and as good in all, nor
     * nearer to the least shares. */
    bool front;
    bool usual;     /* it is one of those that are known to be good and asked first */
    bool confirmed; /* every case that was held out is asked, too */
};

/* An estimate from a sample, in shares of 1, with its standard error; n 0: no estimate. */
struct qk_estimate {
    double value, error;
    size_t n;
};

/* The effect of restoring roles of a layer (both, q alone, k alone) on each objective. `in` is the change of post as
 * it is; `out` is the loss when all layers but this one are restored. */
enum qk_effect_roles { QK_EFFECT_BOTH, QK_EFFECT_Q, QK_EFFECT_K, QK_EFFECT_ROLES };
struct qk_effect {
    struct qk_estimate *in[QK_EFFECT_ROLES], *out[QK_EFFECT_ROLES]; /* n_objectives each; owned */
};

struct qk_search_limits {
    double seconds;    /* 0: no limit */
    size_t max_trials; /* 0: no limit; a trial counts once for each size of its sample */
};

/* The callbacks of a search. */
struct qk_search_calls {
    void *context;
    /* answer[i] = 1 or 0 for each of the n listed cases, by post with the selection (NULL: by pre). *cost is the cost
     * of those that were not known already. An error ends the search. */
    enum qk_code (*answer)(void *context, const struct qk_selection *selection, const size_t *cases, size_t n,
        signed char *answer, double *cost, struct qk_error *err);
    /* Receives a measured trial, with `stage` as origin. May be NULL. */
    void (*report)(void *context, const char *stage, const struct qk_trial *trial);
};

/* The results of a search; owned. */
struct qk_search {
    const struct qk_pair *pair;   /* borrowed */
    struct qk_search_cases cases; /* arrays borrowed */
    struct qk_trial **trial;      /* n_trials; the first is post */
    size_t n_trials, capacity;
    signed char *pre;         /* pre's answers to all cases; -1: not asked */
    struct qk_effect *effect; /* n_layers */
    bool complete;            /* it ended before its limits */
    struct qk_search_parts *parts;
};

/* Runs a search; zero-initialise *search. Layers that cannot be restored are skipped; QK_INPUT when no layer can.
 * After QK_CANCELLED, and any other error of `answer`, earlier results stay. Freed with qk_search_free in any case. */
enum qk_code qk_search_run(struct qk_search *search, const struct qk_pair *pair,
    const struct qk_search_cases *cases, const struct qk_search_hints *hints,
    const struct qk_search_limits *limits, const struct qk_search_calls *calls, struct qk_error *err);
void qk_search_free(struct qk_search *search);

/* *out = the n_front trials on the front, best in the first objective first, and behind them in the same order those
 * near it that are confirmed, n in all. The caller frees the array. */
enum qk_code qk_search_points(const struct qk_search *search, const struct qk_trial ***out, size_t *n_front,
    size_t *n, struct qk_error *err);

/* Right answers and known answers (n of the cases, below 0: not asked) of an objective in a part of the cases. */
struct qk_score qk_search_score(
    const struct qk_search *search, const signed char *answer, size_t objective, enum qk_search_part part);
/* How many trials have every answer of a part: as many intervals hold at once. */
size_t qk_search_count(const struct qk_search *search, enum qk_search_part part);

/* The share of right answers to the objective's cases to search on, from those asked; n is 0 before post and pre have
 * answered all. */
struct qk_estimate qk_search_rate(
    const struct qk_search *search, const struct qk_trial *trial, size_t objective);
/* The same for trial minus base, over the cases that both were asked. */
struct qk_estimate qk_search_difference(const struct qk_search *search, const struct qk_trial *trial,
    const struct qk_trial *base, size_t objective);

#endif
