/* elementwise.h - sums, scalings, products of rows. They give the same bits on every machine: the
 * loops differ in the width of their vectors, not in the order of their sums. */
#ifndef QK_FORWARD_ELEMENTWISE_H
#define QK_FORWARD_ELEMENTWISE_H

#include <stddef.h>

/* The sum of x[i]^2 in float64, n values. */
double qk_sum_of_squares(size_t n, const float *x);

/* x = |x|, n values in place; returns their sum, added in float64. */
double qk_magnitudes(size_t n, float *x);

/* out = x factor (gain + offset), n values. out may be x. */
void qk_scale_by_gain(size_t n, const float *x, float factor, const float *gain, float offset, float *out);

/* x *= gate, n values. */
void qk_multiply(size_t n, const float *gate, float *x);
/* x *= factor, n values. */
void qk_scale(size_t n, float factor, float *x);
/* x += factor y, n values. */
void qk_add(size_t n, float factor, const float *y, float *x);

#endif
