/* parts.h - a model's layout row, ready to be asked for the parts of its forward pass and for their tensors. */
#ifndef QK_FORWARD_PARTS_H
#define QK_FORWARD_PARTS_H

#include "forward/forward.h"
#include "model/layout.h"
#include "model/model.h"
#include "model/names.h"

struct qk_parts {
    const struct qk_model *model; /* borrowed */
    const struct qk_patch *patch; /* borrowed; NULL: none */
    size_t T;                     /* tokens of the sequence, which some rotary frequencies hang on */
    struct qk_layout layout;
    struct qk_names names;
    const cJSON *forward; /* the row's "forward", NULL when it has none */
};

enum qk_code qk_parts_open(const struct qk_model *model, const struct qk_patch *patch, size_t T,
    struct qk_parts *parts, struct qk_error *err);
void qk_parts_close(struct qk_parts *parts);

/* Why there is no attention from given inputs and no forward pass, and why no forward pass;
 * NULL when there is. Static. */
const char *qk_parts_refused(const struct qk_parts *parts);
const char *qk_parts_missing(const struct qk_parts *parts);
/* QK_INPUT, with that reason, when there is no forward pass. */
enum qk_code qk_parts_check(const struct qk_parts *parts, struct qk_error *err);

/* The mixer of a layer. */
const cJSON *qk_parts_mixer(const struct qk_parts *parts, const struct qk_layer *layer);

/* The tensor for the first name of object[key] that exists: below the layer, or (of "forward") beside
 * the layers, else at the root. With `needed`, QK_INPUT names what is missing; else *out is NULL when
 * the key or the tensor is. */
enum qk_code qk_parts_layer_tensor(const struct qk_parts *parts, int layer, const cJSON *object,
    const char *key, const char *suffix, bool needed, const struct qk_tensor **out, struct qk_error *err);
enum qk_code qk_parts_model_tensor(const struct qk_parts *parts, const char *key, const char *suffix,
    bool needed, const struct qk_tensor **out, struct qk_error *err);

/* frequency[j], rotary_dims / 2 of them, of a layer with RoPE: theta^(-2j / rotary_dims), scaled as the
 * config says: linear (Chen et al. 2023), llama3 (Grattafiori et al. 2024) or longrope (Ding et al. 2024: a
 * divisor for each pair, other ones when more than the original number of tokens are seen). *factor
 * multiplies cosines and sines. QK_INPUT for another scaling. */
enum qk_code qk_rope_frequencies(const struct qk_parts *parts, const cJSON *mixer,
    const struct qk_layer *layer, float *frequency, float *factor, struct qk_error *err);

#endif
