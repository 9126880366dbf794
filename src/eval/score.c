/* score.c - Wilson's interval for a share of right answers. */
#include "eval/score.h"

#include <math.h>

struct qk_interval qk_score_interval(struct qk_score score)
{
    static const double z = 1.959964; /* the normal distribution's quantile at 0.975 */
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
