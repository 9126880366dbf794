/* states.h - the inputs of layers, kept from a forward pass or read from a file that any framework can write.
 *
 * A states file is a safetensors with `input_ids` (T, integers) and `hidden_states.{i}` (T, d), the input of layer i
 * before its norm. Types are F32, F16, BF16 or F64; a leading axis of 1 (a batch of one) is skipped. Layers that the
 * file does not have stay unknown. A layer that sees the embedded tokens (zamba2) needs hidden_states.0, too. */
#ifndef QK_RANGE_STATES_H
#define QK_RANGE_STATES_H

#include "model/model.h"

struct qk_states {
    size_t T;
    int n_layers;
    float **layer; /* n_layers: (T, d), d of qk_model_width, or NULL; owned */
    int32_t *ids;  /* T; owned */
};

/* True for layers that have ranges: full and window layers, and linear layers whose recurrence is built in, whose q and
 * k can be used. */
bool qk_states_wanted(const struct qk_layer *layer);

enum qk_code qk_states_init(
    struct qk_states *states, int n_layers, const int32_t *ids, size_t T, struct qk_error *err);
/* Keeps a copy of x (T, d) as the input of the layer. */
enum qk_code qk_states_keep(
    struct qk_states *states, int layer, const float *x, size_t d, struct qk_error *err);
/* Reads the wanted layers of the file. QK_INPUT names file and tensor when ids are no vector of integers from 0, or
 * states have another shape or type or are not finite. It also reports a file without any of the wanted layers. */
enum qk_code qk_states_read(
    const char *path, const struct qk_model *model, struct qk_states *out, struct qk_error *err);
void qk_states_free(struct qk_states *states);

#endif
