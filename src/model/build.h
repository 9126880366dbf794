/* build.h - the interface between model.c (the model), layer.c (the tensors of a layer and its numbers of heads) and
 * rows.c (the rows of each head). These apply a row of the layout table to a checkpoint. */
#ifndef QK_MODEL_BUILD_H
#define QK_MODEL_BUILD_H

#include "model/layout.h"
#include "model/model.h"
#include "tensor/names.h"

/* The numbers of a head need squares of its dimension: 3 GB a thread at this limit, eight times what is known. */
enum { QK_MAX_HEADS = 1 << 16, QK_MAX_HEAD_DIM = 1 << 12 };

struct qk_builder {
    struct qk_model *model;
    struct qk_layout layout;
    struct qk_names names;
    const char **mixer;      /* name of each layer's mixer, from the row */
    struct qk_config config; /* the model's, as seen by the layer that is being built */
    int stored;              /* the layer under whose number the tensors of that layer are stored */
};

/* Heads of one layer, from the row and the config. */
struct qk_geometry {
    long heads, key_heads, head_dim, value_heads, value_dim;
    long rope_dim; /* of latent rows */
    long more;     /* rows of a block behind q, k and v */
    long parts;    /* of the model, each with q, k and v of its own heads */
};

/* Sets the layer's problem and replaces an earlier one. The text is cut and escaped as errors are. QK_IO when there
 * is no memory. */
enum qk_code qk_layer_problem(struct qk_layer *layer, struct qk_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for why the layer's q and k cannot be changed. The first reason stays. */
enum qk_code qk_layer_fix(struct qk_layer *layer, struct qk_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The tensor of a layer for the first of the names (a text, or a list) that exists; NULL without one. */
const struct qk_tensor *qk_layer_tensor(
    const struct qk_builder *b, int layer, const cJSON *names, const char *suffix);

/* Fills the layer whose index is set. QK_INPUT when its tensors contradict the row. */
enum qk_code qk_layer_build(struct qk_builder *b, struct qk_layer *layer, struct qk_error *err);

/* Fills the layer's d and the rest of a view whose tensors are known (weight, bias, norm, down, scales). `rows` is
 * the layout's word. QK_INPUT when a shape does not fit. */
enum qk_code qk_rows_build(struct qk_builder *b, struct qk_layer *layer, enum qk_role role, const char *rows,
    const struct qk_geometry *g, struct qk_error *err);

#endif
