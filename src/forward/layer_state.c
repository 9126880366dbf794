/* layer_state.c - the arrays of a layer's state, and their widths. */
#include "forward/layer_state.h"

#include "base/mem.h"
#include "forward/mixer.h"

#include <stdlib.h>
#include <string.h>

size_t qk_tail_channels(const struct qk_layer_weights *w)
{
    return w->conv != NULL ? w->qkv.n : w->kernel_in.weight != NULL ? w->n_v * w->value_dim : 0;
}

size_t qk_taps_before(const struct qk_layer_weights *w)
{
    return w->conv_width > 0 ? w->conv_width - 1 : 0;
}

size_t qk_keys_width(const struct qk_layer_weights *w)
{
    return w->n_k * w->head_dim + w->n_v * w->value_dim;
}

static enum qk_code make_arrays(struct qk_layer_state *state, struct qk_error *err)
{
    QK_TRY(qk_alloc_aligned(&state->keys, state->capacity * state->key_width, sizeof(float), err));
    QK_TRY(qk_alloc(&state->tail, state->tail_values, sizeof(float), err));
    return qk_alloc(&state->recurrent, state->recurrent_values, sizeof(float), err);
}

enum qk_code qk_layer_state_make(
    const struct qk_layer_weights *weights, size_t capacity, struct qk_layer_state *out, struct qk_error *err)
{
    *out = (struct qk_layer_state){.capacity = capacity};
    if (weights->mixer != NULL)
        weights->mixer->size_state(weights, out);
    /* Of attention and a state space, each sets sizes of its own. */
    if (weights->beside != NULL)
        weights->beside->mixer->size_state(weights->beside, out);
    if (weights->then != NULL)
        weights->then->mixer->size_state(weights->then, out);
    return make_arrays(out, err);
}

enum qk_code qk_layer_state_copy(const struct qk_layer_state *from, size_t tokens, size_t capacity,
    struct qk_layer_state *out, struct qk_error *err)
{
    *out = (struct qk_layer_state){.capacity = capacity,
        .key_width = from->key_width,
        .recurrent_values = from->recurrent_values,
        .tail_values = from->tail_values};
    QK_TRY(make_arrays(out, err));
    memcpy(out->keys, from->keys, tokens * from->key_width * sizeof(float));
    memcpy(out->tail, from->tail, from->tail_values * sizeof(float));
    memcpy(out->recurrent, from->recurrent, from->recurrent_values * sizeof(float));
    return QK_OK;
}

size_t qk_layer_state_bytes(const struct qk_layer_state *state, size_t tokens)
{
    return (tokens * state->key_width + state->recurrent_values + state->tail_values) * sizeof(float);
}

void qk_layer_state_free(struct qk_layer_state *state)
{
    free(state->keys);
    free(state->recurrent);
    free(state->tail);
    *state = (struct qk_layer_state){0};
}
