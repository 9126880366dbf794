/* score.c - Wilson's interval for a share of right answers. */
#include "eval/score.h"

#include <math.h>

/* The x that a normal variable exceeds with the probability, 0 to 0.5, by halving. */
static double normal_quantile(double probability)
{
    enum { HALVINGS = 100 };
    double low = 0, high = 40;
    for (int i = 0; i < HALVINGS; i++) {
        double middle = (low + high) / 2;
        if (erfc(middle / sqrt(2)) / 2 > probability)
            low = middle;
        else
            high = middle;
    }
    return high;
}

struct qk_interval qk_score_interval_of(struct qk_score score, size_t n_intervals)
{
    double z = normal_quantile(0.025 / (double)(n_intervals > 0 ? n_intervals : 1));
    if (score.total == 0)
        return (struct qk_interval){0, 1};
    double n = (double)score.total, p = (double)score.right / n;
    double middle = p + z * z / (2 * n), half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    struct qk_interval interval = {(middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)};
    /* At 0 and 1 the interval begins or ends there exactly, without the error of rounding. */
    if (score.right == 0)
        interval.low = 0;
    if (score.right == score.total)
        interval.high = 1;
    return interval;
}

struct qk_interval qk_score_interval(struct qk_score score)
{
    return qk_score_interval_of(score, 1);
}
