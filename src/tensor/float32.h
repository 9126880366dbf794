/* float32.h - tensor values as float32, in vector code chosen for the processor the program runs on. */
#ifndef QK_TENSOR_FLOAT32_H
#define QK_TENSOR_FLOAT32_H

#include "tensor/dtype.h"

#include <stdbool.h>
#include <stddef.h>

/* True for the formats whose every value is a float32: all readable ones but F64. */
bool qk_dtype_is_single(enum qk_dtype dtype);

/* dst[i] = src[i], n elements of a readable dtype, little-endian source of any alignment; exact where
 * qk_dtype_is_single, F64 is rounded to nearest. src and dst must not overlap. */
void qk_dtype_to_f32(enum qk_dtype dtype, const void *src, size_t n, float *dst);

/* e[i] = b[i] - a[i] in float32, and the sums of a a, a e and e e over the n values. The sums are float32 over 1,024
 * values in 16 lanes, and float64 above. Their error is 1e-7 of sum |x y| at worst, and far less as a rule. A value
 * that is not finite makes a sum that is not finite. e may be b itself. */
struct qk_pair_sums {
    double aa, ae, ee;
};
struct qk_pair_sums qk_pair_sums(size_t n, const float *a, const float *b, float *e);
/* The same sums of n bfloat16 values, of any alignment, without the differences. */
struct qk_pair_sums qk_pair_sums_bf16(size_t n, const void *a, const void *b);

/* sum[i] += x[i], n of them. */
void qk_add_to_f64(size_t n, const float *x, double *sum);

#endif
