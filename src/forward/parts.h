/* parts.h - the parts of a model's forward pass, from its layout row, and their tensors. */
#ifndef QK_FORWARD_PARTS_H
#define QK_FORWARD_PARTS_H

#include "forward/forward.h"
#include "model/layout.h"
#include "model/model.h"
#include "tensor/names.h"

struct qk_parts {
    const struct qk_model *model; /* borrowed */
    const struct qk_patch *patch; /* borrowed; NULL: none */
    size_t T;                     /* tokens of the sequence, on which some rotary frequencies depend */
    struct qk_layout layout;
    struct qk_names names;
    const cJSON *forward;         /* the row's "forward", NULL when it has none */
    struct qk_progress *progress; /* of those who read weights; borrowed; NULL, until the caller sets it */
};

enum qk_code qk_parts_open(const struct qk_model *model, const struct qk_patch *patch, size_t T,
    struct qk_parts *parts, struct qk_error *err);
void qk_parts_close(struct qk_parts *parts);

/* qk_parts_refused: why there is neither attention on given inputs nor a forward pass. qk_parts_missing: why there is
 * no forward pass. NULL when there is. Valid as long as the model. */
const char *qk_parts_refused(const struct qk_parts *parts);
const char *qk_parts_missing(const struct qk_parts *parts);
/* QK_INPUT, with that reason, when there is no forward pass. */
enum qk_code qk_parts_check(const struct qk_parts *parts, struct qk_error *err);

/* The same of a row alone: what holds for every checkpoint of its families. qk_row_condition is config key number i
 * which, where it is true, refuses both, and *why; NULL behind the last. */
const char *qk_row_refused(const struct qk_layout *row);
const char *qk_row_missing(const struct qk_layout *row);
const char *qk_row_condition(const struct qk_layout *row, int i, const char **why);

/* The mixer of a layer. */
const cJSON *qk_parts_mixer(const struct qk_parts *parts, const struct qk_layer *layer);

/* Find the tensor for the first name of object[key] that exists: below the layer, or (in "forward") beside the
 * layers, else outwards to the root. With `needed`, QK_INPUT names what is missing; else *out is NULL when the key or
 * the tensor is missing. */
enum qk_code qk_parts_layer_tensor(const struct qk_parts *parts, int layer, const cJSON *object,
    const char *key, const char *suffix, bool needed, const struct qk_tensor **out, struct qk_error *err);
enum qk_code qk_parts_model_tensor(const struct qk_parts *parts, const char *key, const char *suffix,
    bool needed, const struct qk_tensor **out, struct qk_error *err);

/* What qk_rope_scaled gives (model/rope.h), in float32: frequency has rotary_dims / 2 values, *factor multiplies
 * cosines and sines, and *score the scores of latent attention. */
enum qk_code qk_rope_frequencies(const struct qk_parts *parts, const struct qk_layer *layer, float *frequency,
    float *factor, float *score, struct qk_error *err);

#endif
