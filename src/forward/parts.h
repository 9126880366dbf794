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
    const float
        *layer_projection; /* of the layers' own inputs (forward/layer_inputs.h), borrowed; NULL: read anew */
    const cJSON *forward;  /* the row's "forward", NULL when it has none */
    struct qk_progress *progress; /* of those who read weights; borrowed; NULL, until the caller sets it */
};

enum qk_code qk_parts_open(const struct qk_model *model, const struct qk_patch *patch, size_t T,
    struct qk_parts *parts, struct qk_error *err);
void qk_parts_close(struct qk_parts *parts);

/* qk_parts_refused: why there is neither attention on given inputs nor a forward pass. qk_parts_missing: why there is
 * no forward pass. NULL when there is. Valid as long as the model. */
const char *qk_parts_refused(const struct qk_parts *parts);
const char *qk_parts_missing(const struct qk_parts *parts);
/* QK_INPUT when the family attends to all tokens only in shorter sequences. */
enum qk_code qk_parts_check_tokens(const struct qk_parts *parts, struct qk_error *err);
/* QK_INPUT, with that reason, when there is no forward pass, or by qk_parts_check_tokens. */
enum qk_code qk_parts_check(const struct qk_parts *parts, struct qk_error *err);

/* The same of a row alone: what holds for every checkpoint of its families. qk_row_condition is config key number i
 * which, where it is true, refuses both, and *why; NULL behind the last. */
const char *qk_row_refused(const struct qk_layout *row);
const char *qk_row_missing(const struct qk_layout *row);
const char *qk_row_condition(const struct qk_layout *row, int i, const char **why);

/* The mixer of a layer. */
const cJSON *qk_parts_mixer(const struct qk_parts *parts, const struct qk_layer *layer);
/* How many layers before this one have the same mixer. */
size_t qk_parts_use(const struct qk_parts *parts, const struct qk_layer *layer);

/* False for a layer without q and k of which the row says nothing more. */
bool qk_parts_runs(const struct qk_parts *parts, const struct qk_layer *layer);

/* Find the tensor for the first name of object[key] that exists: below the layer (or the one with whose tensors it
 * works), or (in "forward") beside the
 * layers, else outwards to the root. With `needed`, QK_INPUT names what is missing; else *out is NULL when the key or
 * the tensor is missing. */
enum qk_code qk_parts_layer_tensor(const struct qk_parts *parts, int layer, const cJSON *object,
    const char *key, const char *suffix, bool needed, const struct qk_tensor **out, struct qk_error *err);
enum qk_code qk_parts_model_tensor(const struct qk_parts *parts, const char *key, const char *suffix,
    bool needed, const struct qk_tensor **out, struct qk_error *err);

/* Experts ("experts" of "forward"). A name with the part N stands for one tensor an expert, N its number; any other
 * name for one tensor of all experts. */

/* The object of the row, when the layer has the tensor of a router; else NULL. */
const cJSON *qk_parts_experts(const struct qk_parts *parts, int layer);
/* As qk_parts_layer_tensor, with the expert's number in the place of N. *each (NULL allowed) says whether it was. */
enum qk_code qk_parts_expert_tensor(const struct qk_parts *parts, int layer, const cJSON *object,
    const char *key, size_t expert, const char *suffix, bool needed, const struct qk_tensor **out, bool *each,
    struct qk_error *err);
/* True for the tensor of an expert, or of all of them. */
bool qk_parts_is_expert(const struct qk_parts *parts, int layer, const struct qk_name *name);

/* *eps = what norms add to a mean of squares: the value of the mixer's key (both may be NULL) where it has one, else
 * that of the row. QK_INPUT when neither has one, or it is below 0. */
enum qk_code qk_parts_eps(
    const struct qk_parts *parts, const cJSON *mixer, const char *key, double *eps, struct qk_error *err);
/* *out = the value of a key of "forward" or of a mixer, a factor; 1 without it. QK_INPUT unless it is finite. */
enum qk_code qk_parts_multiplier(
    const struct qk_parts *parts, const cJSON *object, const char *key, float *out, struct qk_error *err);

/* What qk_rope_scaled gives (model/rope.h), in float32: frequency has rotary_dims / 2 values, *factor multiplies
 * cosines and sines, and *score the scores of latent attention. */
enum qk_code qk_rope_frequencies(const struct qk_parts *parts, const struct qk_layer *layer, float *frequency,
    float *factor, float *score, struct qk_error *err);

#endif
