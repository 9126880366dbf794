/* network.h - a model's weights for many passes: held as far as they fit, else read at their turn.
 *
 * Not for two threads at once: the first use of a layer reads it. */
#ifndef QK_FORWARD_NETWORK_H
#define QK_FORWARD_NETWORK_H

#include "forward/layer.h"

struct qk_network;

/* Opens a network for sequences of at most `tokens` tokens, which also set the rotary frequencies of a longrope
 * model. It holds weights up to `memory` bytes and reads the others each time. The model and the patch (NULL allowed)
 * are borrowed and must outlive it. QK_INPUT when the family has no forward pass or the model no output head. Freed
 * with qk_network_close (NULL allowed). */
enum qk_code qk_network_open(const struct qk_model *model, const struct qk_patch *patch, size_t tokens,
    size_t memory, struct qk_network **out, struct qk_error *err);

/* Opens the same model with the patch in the layers with changed[layer] (n_layers). It shares all other layers with
 * the base, and the base's memory. Base and patch are borrowed and must outlive it. */
enum qk_code qk_network_derive(struct qk_network *base, const struct qk_patch *patch, const bool *changed,
    struct qk_network **out, struct qk_error *err);
void qk_network_close(struct qk_network *network);

const struct qk_model *qk_network_model(const struct qk_network *network);
size_t qk_network_tokens(const struct qk_network *network);
/* Width of an embedded token. */
size_t qk_network_width(const struct qk_network *network);
size_t qk_network_vocabulary(const struct qk_network *network);

/* x (T, width) as qk_embed. */
enum qk_code qk_network_embed(
    struct qk_network *network, const int32_t *ids, size_t t0, size_t T, float *x, struct qk_error *err);
/* *out = the layer's weights, valid until the next call of a network with the same base. QK_INPUT as
 * qk_layer_weights_read, and when its width differs from the network's. */
enum qk_code qk_network_layer(
    struct qk_network *network, int layer, const struct qk_layer_weights **out, struct qk_error *err);
/* logits (n, vocabulary) of the last layer's output x (n, width), which the final norm overwrites. */
enum qk_code qk_network_logits(struct qk_network *network, float *x, size_t n, float *logits,
    struct qk_progress *progress, struct qk_error *err);

#endif
