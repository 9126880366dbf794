/* search_trials.h - the table of trials of a search, their estimates and their order (search_rank.c). */
#ifndef QK_EVAL_SEARCH_TRIALS_H
#define QK_EVAL_SEARCH_TRIALS_H

#include "eval/search.h"

struct qk_search_parts {
    struct qk_search_hints hints;
    struct qk_search_limits limits;
    struct qk_search_calls calls;
    struct timespec start;
    size_t n_measured;                  /* trials of the limit */
    double run_cost, seconds;           /* of cases that were run */
    size_t n_cases[QK_SEARCH_PARTS];    /* cases of a part */
    double whole_cost[QK_SEARCH_PARTS]; /* of all cases of a part */
    double end;    /* share of the limits at which searching ends, and confirming begins */
    bool cut;      /* the limits left something out */
    bool *differs; /* for each case: pre and post answer it differently; NULL until both are known */
    size_t *order; /* cases to search on by task, each task in the order of its samples */
    size_t *first; /* n_tasks + 1: the beginning of each task in order */
    int *layer;    /* n_used: those that can be restored, by prior */
    int n_used;
    /* For each objective, over the cases that pre and post answer alike: how many answers of other trials are known,
     * and how many differ from post's. */
    size_t *alike, *turned;
    struct qk_effect_trials *effect; /* n_layers */
    struct qk_trial *all;            /* every layer restored; NULL: not tried */
};

/* The trials from which the effects of a layer are computed; NULL where none was made. */
struct qk_effect_trials {
    struct qk_trial *in[QK_EFFECT_ROLES], *out[QK_EFFECT_ROLES];
};

/* True while less than this share (0 to 1) of what the search may use is used; without limits always. */
bool qk_search_within(const struct qk_search *search, double share);
/* The used share of what the search may use, 0 to 1. */
double qk_search_spent(const struct qk_search *search);
/* Seconds left of that share; HUGE_VAL without a limit of seconds. */
double qk_search_left(const struct qk_search *search, double share);
/* Expected seconds of one trial over all cases of a part; 0 before the first run. */
double qk_search_whole_seconds(const struct qk_search *search, enum qk_search_part part);

/* True when the case is in that part. */
bool qk_search_has(const struct qk_search *search, size_t i, enum qk_search_part part);
/* Puts the cases in the order of samples, once post (trial 0) and pre are known. */
enum qk_code qk_search_order(struct qk_search *search, struct qk_error *err);

/* The trial of a selection of equal effect, or NULL. */
struct qk_trial *qk_search_find(const struct qk_search *search, const struct qk_selection *selection);
/* *out = the trial of the selection, with the first ceil(level * cases) of each task asked. It is made when it does
 * not exist yet; choices of equal effect are one trial. *out = NULL when the limits are used up, or would be on the
 * way. */
enum qk_code qk_search_measure(struct qk_search *search, const struct qk_selection *selection, double level,
    const char *stage, struct qk_trial **out, struct qk_error *err);
/* Asks the trial every case that was held out, unless the limits are used up: then trial->confirmed stays false. */
enum qk_code qk_search_ask_held_out(
    struct qk_search *search, struct qk_trial *trial, const char *stage, struct qk_error *err);
/* Asks pre all cases of a part. */
enum qk_code qk_search_ask_pre(struct qk_search *search, enum qk_search_part part, struct qk_error *err);

void qk_search_free_trials(struct qk_search *search);

/* What a selection lacks to the least shares of its objectives, summed; 0: it is a solution. */
double qk_search_lack(const struct qk_search *search, const struct qk_trial *trial);
/* Sorts n trials, best first (Deb et al. 2002): by fronts (Pareto rank of their estimated rates; a trial that lacks
 * less beats one that lacks more, Deb 2000), and within a front by their distance to their neighbours. */
enum qk_code qk_search_rank(
    const struct qk_search *search, struct qk_trial **trial, size_t n, struct qk_error *err);

/* Sets `front` of every trial. */
enum qk_code qk_search_mark_front(struct qk_search *search, struct qk_error *err);

#endif
