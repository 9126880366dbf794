/* score.h - a number of right answers with its interval. */
#ifndef QK_EVAL_SCORE_H
#define QK_EVAL_SCORE_H

#include <stddef.h>

struct qk_score {
    size_t right, total; /* right <= total */
};

/* The interval of a proportion, 0 to 1. */
struct qk_interval {
    double low, high;
};

/* The 95 % score interval of the proportion right / total, without continuity correction (Wilson 1927: "Probable
 * inference, the law of succession, and statistical inference", J. Am. Stat. Assoc. 22). It is (p + z^2/2n -+ z
 * sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with z = 1.959964, and 0 to 1 for total 0. */
struct qk_interval qk_score_interval(struct qk_score score);
/* The same for one of n_intervals (0 counts as 1) that all hold at once with 95 % (Bonferroni's rule): z is the normal
 * distribution's quantile at 1 - 0.025 / n_intervals. */
struct qk_interval qk_score_interval_of(struct qk_score score, size_t n_intervals);

#endif
