/* layer_inputs.h - inputs that each layer has of its own for every token (per-layer embeddings, Gemma 3n and 4).
 *
 * For layer l and the token with the embedding e they are (norm(W_l e / sqrt(d)) + sqrt(p) E_l[token]) / sqrt(2), p
 * values. Behind its MLP the layer adds norm(out(f(gate x) * inputs)) to x. The inputs of all layers go along behind x
 * from layer to layer. */
#ifndef QK_FORWARD_LAYER_INPUTS_H
#define QK_FORWARD_LAYER_INPUTS_H

#include "forward/layer_reading.h"

/* Makes rows x (T, d) of tokens embedded at the positions t0 ... to rows (T, d + layers * p), with the inputs behind
 * them. x has room for these. QK_INPUT when a token has none, or a tensor is missing or has another shape. */
enum qk_code qk_layer_inputs_add(
    const struct qk_parts *parts, const int32_t *ids, size_t t0, size_t T, float *x, struct qk_error *err);
/* *out = W of all layers, (layers * p, d), for parts->layer_projection; the caller frees. */
enum qk_code qk_layer_inputs_hold(const struct qk_parts *parts, float **out, struct qk_error *err);

/* Reads the layer's gate, projection and norm. */
enum qk_code qk_layer_inputs_read(struct qk_reading *r);
/* z (T, w->width) = what the layer makes of z with its inputs, which are in the rows x (T, w->stream). */
enum qk_code qk_layer_inputs_run(const struct qk_layer_weights *w, float *x, const struct qk_batch *batch,
    float *z, struct qk_progress *progress, struct qk_error *err);

#endif
