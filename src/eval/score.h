/* score.h - the number of right answers out of how many, and how sure that makes one. */
#ifndef QK_EVAL_SCORE_H
#define QK_EVAL_SCORE_H

#include <stddef.h>

struct qk_score {
    size_t right, total; /* right <= total */
};

/* Of a proportion, 0 to 1. */
struct qk_interval {
    double low, high;
};

/* The 95 % score interval of the proportion right / total (Wilson 1927: "Probable inference, the law of
 * succession, and statistical inference", J. Am. Stat. Assoc. 22), without continuity correction:
 * (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with z = 1.959964. Nothing tried: 0 to 1. */
struct qk_interval qk_score_interval(struct qk_score score);

#endif
