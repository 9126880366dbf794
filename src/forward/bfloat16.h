/* bfloat16.h - weights and activations as bfloat16, for products of that precision (linalg/gemm.h). */
#ifndef QK_FORWARD_BFLOAT16_H
#define QK_FORWARD_BFLOAT16_H

#include "base/error.h"
#include "forward/layer.h"

#include <stddef.h>
#include <stdint.h>

/* out[i] = x[i] rounded to nearest, ties to even. */
void qk_to_bfloat16(size_t n, const float *x, uint16_t *out);

/* Where qk_precision is bfloat16: rounds the projections of the layer, but not those of experts and of kernels, to
 * bfloat16, and has their products of several rows be of it. Biases stay. QK_IO without memory. */
enum qk_code qk_layer_to_bfloat16(
    struct qk_layer_weights *weights, struct qk_progress *progress, struct qk_error *err);

#endif
