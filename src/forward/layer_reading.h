/* layer_reading.h - a layer that is read from its checkpoint (qkv_read.c: what is around its q, k and v). */
#ifndef QK_FORWARD_LAYER_READING_H
#define QK_FORWARD_LAYER_READING_H

#include "forward/layer.h"

struct qk_reading {
    const struct qk_parts *parts;
    const struct qk_layer *layer;
    const cJSON *mixer;
    const char *rows; /* the row order of q's tensor */
    struct qk_layer_weights *out;
    struct qk_error *err;
    /* The tensor read last, as (rows, d) in the format of q, k and v: these and a gate may be in one. */
    const struct qk_tensor *held;
    uint64_t held_rows;
    enum qk_dtype dtype;
    void *values;
};

/* Makes an array of n values that the layer owns. */
enum qk_code qk_new_array(struct qk_layer_weights *out, size_t n, float **array, struct qk_error *err);
/* Makes an array of n ones that the layer owns. */
enum qk_code qk_make_ones(struct qk_layer_weights *out, size_t n, float **array, struct qk_error *err);
/* Hands an array of so many bytes over to the layer; it is freed on failure. */
enum qk_code qk_own(struct qk_layer_weights *out, void *array, size_t bytes, struct qk_error *err);
/* Reads a tensor of that shape (columns 0: one dimension) into an array that the layer owns. */
enum qk_code qk_read_owned(const struct qk_parts *parts, const struct qk_tensor *tensor, uint64_t rows,
    uint64_t columns, struct qk_layer_weights *out, float **array, struct qk_error *err);
/* Reports a row of the layout table that contradicts itself or the tensors. */
enum qk_code qk_fail_row(const struct qk_reading *r, const char *what);
/* Makes a projection (n, k) of undefined values in that format (forward/products.h). */
enum qk_code qk_new_projection(struct qk_reading *r, struct qk_projection *projection, size_t n, size_t k,
    enum qk_dtype dtype, bool bias);
/* Makes a projection's weights float32: for those that change them, and for products of a few rows at a time. */
enum qk_code qk_widen_projection(struct qk_layer_weights *out, struct qk_projection *p, struct qk_error *err);
/* Reads a tensor as the weights (n, k) of a projection, in the format of qk_weights_dtype, without its bias. */
enum qk_code qk_read_weight(struct qk_reading *r, const struct qk_tensor *tensor, size_t n, size_t k,
    struct qk_projection *projection);
/* Reads a projection (n, k) with a tensor of its own; transposed as the mixer's q is (Conv1D), which makes it float32.
 * n 0: any number of rows. */
enum qk_code qk_read_projection(struct qk_reading *r, const cJSON *object, const char *key, size_t n,
    size_t k, bool needed, struct qk_projection *projection);
/* Multiplies a projection's weights, which become float32, and its biases by a factor. */
enum qk_code qk_scale_projection(struct qk_reading *r, struct qk_projection *projection, float factor);
/* Reads the gate of the mixer's output, its norm, and its projection. */
enum qk_code qk_read_output(struct qk_reading *r);
/* Adds the factors NAME.0 and NAME.1 to a projection whose weights are the layer's own, where the layer has them; a
 * part N of the name is the number of the layer among those of its mixer (Hu et al. 2022). */
enum qk_code qk_add_adapter(
    struct qk_reading *r, const cJSON *object, const char *key, struct qk_projection *projection);
/* Reads the tensor of that name, without a suffix, of this shape. */
enum qk_code qk_read_named(
    struct qk_reading *r, const char *key, uint64_t rows, uint64_t columns, float **out);
/* Reads q, k and (with `all`) v, their norms and scales, and the gate, the norm and the projection of the output. */
enum qk_code qk_read_qkv(struct qk_reading *r, bool all);
/* Of these, the scales of scores and queries, the frequencies and the sinks. */
enum qk_code qk_read_scales(struct qk_reading *r);
/* Of these, the gate, the norm and the projection of the output. */
enum qk_code qk_read_output(struct qk_reading *r);

#endif
