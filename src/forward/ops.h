/* ops.h - the elementwise and row-wise parts of a forward pass, in float32.
 *
 * Activations are row-major (T, width): one row a token. Sums inside a row are float64, so that a result does not
 * depend on the order of the sum. Products of matrices use sgemm (float32). Nothing here starts threads. */
#ifndef QK_FORWARD_OPS_H
#define QK_FORWARD_OPS_H

#include <stdbool.h>
#include <stddef.h>

/* out (T, n) = x (T, k) W^T + bias, rows of out ld apart; W (n, k) row-major; bias (n) or NULL. Overwrites out, which
 * is not x. */
void qk_linear(size_t T, size_t k, size_t n, const float *x, const float *weight, const float *bias,
    float *out, size_t ld);

/* out[t] = x[t] / sqrt(mean(x[t]^2) + eps) * (gain + offset), over rows of n that follow each other at ld
 * (Zhang & Sennrich 2019). out may be x. */
void qk_rms_norm(
    size_t T, size_t n, size_t ld, const float *x, const float *gain, float offset, double eps, float *out);
/* out[t] = (x[t] - mean) / sqrt(var + eps) * gain + bias, var the mean of squares (Ba et al. 2016); bias
 * (n) or NULL. out may be x. */
void qk_layer_norm(
    size_t T, size_t n, const float *x, const float *gain, const float *bias, double eps, float *out);
/* x[t] *= scale / sqrt(sum(x[t]^2) + eps), in place, rows of n that follow each other at ld. */
void qk_l2_norm(size_t T, size_t n, size_t ld, float *x, double eps, float scale);

enum qk_activation { QK_SILU, QK_SIGMOID, QK_GELU, QK_GELU_TANH, QK_RELU2, QK_IDENTITY };
/* True and *out set for the config's words: silu, swish, sigmoid, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, relu2,
 * identity. */
bool qk_activation_parse(const char *word, enum qk_activation *out);
/* x = f(x), n values in place: x sigmoid(x); sigmoid(x); x Phi(x); Phi by its tanh form (Hendrycks & Gimpel
 * 2016); max(x, 0)^2 (So et al. 2021); x. */
void qk_activate(enum qk_activation activation, size_t n, float *x);
/* log(1 + e^x) without overflow. */
float qk_softplus(float x);

/* Rotary tables (Su et al. 2021): cos and sin (T, pairs) of t * frequency[j], times factor. The angle is
 * rounded to float32 as the reference implementations do. */
void qk_rope_table(
    size_t T, size_t pairs, const float *frequency, float factor, float *cosines, float *sines);
/* Rotates, in place, the first 2*pairs values of each of `heads` blocks of head_dim in every row of x (T, ld). The
 * pairs are (j, j + pairs), or (2j, 2j + 1) when interleaved. */
void qk_rope(size_t T, size_t heads, size_t head_dim, size_t ld, size_t pairs, bool interleaved,
    const float *cosines, const float *sines, float *x);

/* One token of a depthwise causal convolution over time, float32: out[c] = sum_i kernel[c][i] x[t - width + 1 +
 * i][c]. It takes the first `channels` columns of x (t + 1, ld), with zeros before its first row, and kernel
 * (channels, width). out (channels) may be row t of x. */
void qk_convolve(
    size_t t, size_t channels, size_t ld, size_t width, const float *kernel, const float *x, float *out);

#endif
