/* kept.h - activations of prompts in front of layers, kept for networks that begin with the same layers.
 *
 * A number stands for what computed them: equal numbers are equal weights in all layers below. An entry is one prompt
 * behind one number: the input of the next layer, and the state of the layer before it. A pass that begins at a layer
 * takes the states of all layers below from their entries, and so has the bits of a whole pass. */
#ifndef QK_FORWARD_KEPT_H
#define QK_FORWARD_KEPT_H

#include "forward/layer_state.h"

#include <stdbool.h>

struct qk_kept;

/* Makes room for `bytes` bytes and the prompts 0 to n - 1. Freed with qk_kept_close (NULL allowed). */
enum qk_code qk_kept_open(size_t n, size_t bytes, struct qk_kept **out, struct qk_error *err);
void qk_kept_close(struct qk_kept *kept);

struct qk_kept_entry {
    float *x;                    /* (tokens, width): the input of the next layer, or NULL: not kept */
    struct qk_layer_state state; /* of the layer before, behind all tokens */
};
/* The prompt's entry, borrowed, or NULL. */
const struct qk_kept_entry *qk_kept_find(const struct qk_kept *kept, size_t prompt, size_t number);
/* Takes an entry of so many bytes; false, and the entry stays the caller's, when there is no more room. */
bool qk_kept_put(
    struct qk_kept *kept, size_t prompt, size_t number, size_t bytes, const struct qk_kept_entry *entry);
/* True when there is room for so many bytes. Without it nothing more is kept. */
bool qk_kept_room(struct qk_kept *kept, size_t bytes);

/* The layers of a network. Borrowed. */
struct qk_kept_run {
    struct qk_kept *kept;
    const size_t *number; /* n_layers + 1: of what computes the layers before layer l */
    const bool *keep;     /* n_layers + 1: keep what is in front of layer l */
    const bool *inputs;   /* n_layers + 1: ... with the input of layer l, so that a pass can begin there */
};

#endif
