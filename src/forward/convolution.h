/* convolution.h - depthwise causal convolutions over the tokens of a batch. */
#ifndef QK_FORWARD_CONVOLUTION_H
#define QK_FORWARD_CONVOLUTION_H

#include "forward/layer_internal.h"

/* What is convolved: `channels` columns of rows `ld` apart, one for each token of the batch. */
struct qk_convolved {
    const float *x;
    size_t ld, channels;
};

/* Reads the kernels (channels, conv_width) and the biases of the mixer's "conv". */
enum qk_code qk_convolution_read(struct qk_reading *r, size_t channels);
/* The values that the state keeps for it. */
size_t qk_convolution_tail(const struct qk_layer_weights *w, size_t channels);

/* run->joined = x, each sequence behind the tail of its state (0 at its beginning); the state's tail moves on. */
enum qk_code qk_convolution_begin(
    struct qk_run *run, const struct qk_convolved *x, struct qk_progress *progress, struct qk_error *err);
/* out (channels) = the convolution at the block's row i with a kernel (channels, conv_width). */
void qk_convolution_row(const struct qk_run *run, const struct qk_block *block, size_t i, size_t channels,
    const float *kernel, float *out);
/* out (rows of the block, ld) = the convolution of these rows with run->w->conv, and its biases. */
void qk_convolution_rows(
    const struct qk_run *run, const struct qk_block *block, size_t channels, float *out, size_t ld);
/* p.qkv = SiLU of its convolution over all its columns. */
enum qk_code qk_convolution_qkv(struct qk_run *run, struct qk_progress *progress, struct qk_error *err);

#endif
