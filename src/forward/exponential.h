/* exponential.h - softmax and logistic functions of many values. They give the same bits on every machine: the loops
 * differ in the width of their vectors, not in the order of their sums. */
#ifndef QK_FORWARD_EXPONENTIAL_H
#define QK_FORWARD_EXPONENTIAL_H

#include <stdbool.h>
#include <stddef.h>

/* The largest of n >= 1 values. */
float qk_largest(size_t n, const float *x);

/* x = e^(x - shift), n values in place, to 2e-7 of each; returns their sum, added in float64. Differences below -87
 * count as -87; values that are not finite give NaN. */
double qk_exp_sum(size_t n, float shift, float *x);

/* x = 1 / (1 + e^-x), n values in place, times x where times_x. */
void qk_logistic(size_t n, bool times_x, float *x);

#endif
