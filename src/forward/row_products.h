/* row_products.h - products of few rows with weights, as decoding steps need them. */
#ifndef QK_FORWARD_ROW_PRODUCTS_H
#define QK_FORWARD_ROW_PRODUCTS_H

#include <stddef.h>

/* out (T, n) = x (T, k) W^T + bias, rows of out ld apart; W (n, k) row-major; bias (n) or NULL. Overwrites out, which
 * is not x. Every value has the same bits for any T, any rows beside it, and any processor: it is 16 sums of float32
 * products, which are added last. It reads the weights once, so few rows cost as much as reading them. qk_linear is
 * faster for more than about a hundred rows. Starts no threads. */
void qk_row_products(size_t T, size_t k, size_t n, const float *x, const float *weight, const float *bias,
    float *out, size_t ld);

#endif
