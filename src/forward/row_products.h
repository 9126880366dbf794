/* row_products.h - products of few rows with weights, as decoding steps need them. */
#ifndef QK_FORWARD_ROW_PRODUCTS_H
#define QK_FORWARD_ROW_PRODUCTS_H

#include "tensor/dtype.h"

#include <stddef.h>

/* out (T, n) = x (T, k) W^T + bias, rows of out ld apart; W (n, k) row-major, in float32, bfloat16 or float16 (QK_F32,
 * QK_BF16, QK_F16), which is widened in registers; bias (n) or NULL. Overwrites out, which is not x. Every value has
 * the same bits for any T, any rows beside it, any number of threads, and any of these formats that holds the weights:
 * it is 16 sums of float32 products, which are added last. An instruction set with fused products rounds each product
 * and its sum once. It reads the weights once, so few rows cost as much as reading them. qk_linear is faster for more
 * than about a hundred rows. Starts no threads. */
void qk_row_products(size_t T, size_t k, size_t n, const float *x, enum qk_dtype dtype, const void *weight,
    const float *bias, float *out, size_t ld);

#endif
