/* forward.h - a checkpoint over a sequence of tokens, layer by layer from its files, in float32.
 *
 * A family is a combination of shared parts (norms, positions, attention, recurrences, MLPs), which its layout row
 * describes (model/layout.h). The weights of a layer are freed after its turn. Memory is one layer, or where it is
 * plenty two, since the next one is read meanwhile, and the activations, never (T, T). */
#ifndef QK_FORWARD_FORWARD_H
#define QK_FORWARD_FORWARD_H

#include "base/progress.h"
#include "forward/rows.h"
#include "model/model.h"

#include <stdint.h>

/* A change of the stored model. `apply` gets the bytes of every tensor of a layer, and of the final norm, after they
 * were read. It changes them in place (to those of the current selection, say). Embeddings and the output head, which
 * are read by rows, stay as they are stored. */
struct qk_patch {
    enum qk_code (*apply)(void *context, const struct qk_tensor *tensor, void *bytes, struct qk_error *err);
    void *context;
    bool (*changes)(
        void *context, const struct qk_tensor *tensor); /* false: apply has no effect; NULL: it may */
};

/* Callbacks of a pass. Each may be NULL; an error stops the pass. */
struct qk_forward_hooks {
    void *context;
    /* x (T, d) is the input of layer `layer`; with layer == n_layers what follows the final norm. */
    enum qk_code (*state)(void *context, int layer, const float *x, size_t T, size_t d, struct qk_error *err);
    /* The attention of a layer with q and k, block by block, as struct qk_attention_watch says; that of linear layers
     * is made for this alone. Blocks come at once from several threads, after the state of their layer and before the
     * next. */
    void (*attention)(void *context, int layer, size_t worker, const struct qk_attention_map *map);
    size_t attention_from, attention_most; /* `from` and `most` of the watch */
    const bool *attended;                  /* n_layers: those whose attention is shown; NULL: all */
    bool ends; /* with the state of layer `last`, the first that is not run; there are no logits then */
    int last;
};

/* *why = NULL when the family has a forward pass, else why not, in a few words ("its Mamba layers are not built in";
 * static). Only the pass itself reports a rotary scaling that is not built in, and missing tensors. */
enum qk_code qk_forward_missing(const struct qk_model *model, const char **why, struct qk_error *err);
/* The same for attention on given inputs (qk_layer_attention_make). */
enum qk_code qk_forward_attention_missing(
    const struct qk_model *model, const char **why, struct qk_error *err);
/* QK_INPUT, with that reason, when the family has no forward pass. */
enum qk_code qk_forward_check(const struct qk_model *model, struct qk_error *err);

/* Runs ids (T) through the model. logits, unless NULL, receives (n_logits, vocabulary) of the last n_logits tokens.
 * hooks, patch and progress may be NULL; progress counts layers. T is at least 1. QK_INPUT when the family has no
 * forward pass, an id is outside the vocabulary, or a tensor is missing or has another shape. */
enum qk_code qk_forward(const struct qk_model *model, const struct qk_patch *patch, const int32_t *ids,
    size_t T, const struct qk_forward_hooks *hooks, float *logits, size_t n_logits,
    struct qk_progress *progress, struct qk_error *err);
/* *bytes = about what a pass over T tokens holds at once: the activations of a layer, and the largest layer's weights
 * in float32. Where memory is plenty, the next layer's are read meanwhile. */
enum qk_code qk_forward_bytes(const struct qk_model *model, size_t T, size_t *bytes, struct qk_error *err);
/* *floats = what all layers' mixers without q and k keep of a sequence for the tokens behind it. */
enum qk_code qk_forward_state(const struct qk_model *model, size_t *floats, struct qk_error *err);
/* *n = width of a row of logits. QK_INPUT as from qk_forward_check, and when the output
 * head or the embedding is missing. */
enum qk_code qk_forward_vocabulary(const struct qk_model *model, size_t *n, struct qk_error *err);
/* How many of the n ids are outside a vocabulary of that size; *first is the place of the first, or n. */
size_t qk_unknown_ids(const int32_t *ids, size_t n, size_t vocabulary, size_t *first);

/* The attention of one layer on given inputs x (T, d), ready for qk_attention_row and qk_attention_map_make, or by
 * qk_layer_attention_past for rows and maps of every kind. Its norm, q and k, what follows them and the gates of a
 * linear layer are applied; v is NULL. It works for every family whose row has the layer's norm, and a linear layer's
 * recurrence, with or without a forward pass. progress (NULL allowed) cancels and measures. Freed with
 * qk_layer_attention_free. */
struct qk_layer_attention {
    struct qk_attention attention;
    struct qk_gates gates; /* of the delta rule, else NULL */
    float *slope;          /* of lightning attention, else NULL; owned */
    float *owned[4];       /* q and k, the gates, and the sinks */
};
enum qk_code qk_layer_attention_make(const struct qk_model *model, const struct qk_patch *patch, int layer,
    const float *x, size_t T, struct qk_progress *progress, struct qk_layer_attention *out,
    struct qk_error *err);
void qk_layer_attention_free(struct qk_layer_attention *attention);
/* Valid as long as the attention stays where it is. */
struct qk_row_past qk_layer_attention_past(const struct qk_layer_attention *attention);

#endif
