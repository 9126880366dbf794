/* layer_state.h - the part of a sequence that a layer keeps for the tokens that follow. */
#ifndef QK_FORWARD_LAYER_STATE_H
#define QK_FORWARD_LAYER_STATE_H

#include "base/error.h"

#include <stddef.h>

struct qk_layer_weights; /* forward/layer.h */

/* What a layer keeps of a sequence's tokens for those that follow. Softmax attention keeps keys and values; a linear
 * layer keeps its state, and the tokens that a convolution still reaches. */
struct qk_layer_state {
    float *keys;      /* (capacity, heads of k * head_dim + heads of v * value_dim): [k; v] of each token */
    float *recurrent; /* (n_out, head_dim, value_dim) */
    float *tail;      /* (conv_width - 1, channels): before the convolution */
    size_t capacity, key_width;           /* tokens, and the values that one of them has in keys */
    size_t recurrent_values, tail_values; /* of these arrays */
};
/* Makes an empty state for `capacity` tokens at most (linear layers take any number). Freed with qk_layer_state_free,
 * also after a failure. */
enum qk_code qk_layer_state_make(const struct qk_layer_weights *weights, size_t capacity,
    struct qk_layer_state *out, struct qk_error *err);
void qk_layer_state_free(struct qk_layer_state *state);
/* Makes a state for `capacity` tokens that is equal behind `tokens` tokens. Freed with qk_layer_state_free, also after
 * a failure. */
enum qk_code qk_layer_state_copy(const struct qk_layer_state *from, size_t tokens, size_t capacity,
    struct qk_layer_state *out, struct qk_error *err);
/* Bytes of such a copy for as many tokens as it can take. */
size_t qk_layer_state_bytes(const struct qk_layer_state *state, size_t tokens);

/* Channels that go through a convolution: all of qkv, or those of v with kernels made of the input. */
size_t qk_tail_channels(const struct qk_layer_weights *weights);
/* Tokens that a convolution reaches before its own. */
size_t qk_taps_before(const struct qk_layer_weights *weights);
/* Values of a token's keys: those of its k and v. */
size_t qk_keys_width(const struct qk_layer_weights *weights);

#endif
