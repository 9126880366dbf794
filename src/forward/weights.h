/* weights.h - tensors as float32, or as the file has them: whole ones with the patch applied, and rows of large ones,
 * after a check of shapes. */
#ifndef QK_FORWARD_WEIGHTS_H
#define QK_FORWARD_WEIGHTS_H

#include "forward/parts.h"

/* *out = all values of the tensor, which must have this shape. With `columns` 0 it has one dimension of `rows`
 * values; `rows` 0 takes any number. The patch gets the bytes before they are converted. The caller frees. */
enum qk_code qk_weights_read(const struct qk_parts *parts, const struct qk_tensor *tensor, uint64_t rows,
    uint64_t columns, float **out, struct qk_error *err);

/* The same of a tensor that is stored turned, (columns, rows): *out (rows, columns). */
enum qk_code qk_weights_turned(const struct qk_parts *parts, const struct qk_tensor *tensor, uint64_t rows,
    uint64_t columns, float **out, struct qk_error *err);

/* The format in which weights of that tensor stay in memory: its own where products widen it (QK_BF16, QK_F16), else
 * QK_F32. Values that scales multiply are in float32. */
enum qk_dtype qk_weights_dtype(const struct qk_parts *parts, const struct qk_tensor *tensor);
/* qk_weights_read with values in that format, or in float32. The caller frees. */
enum qk_code qk_weights_keep(const struct qk_parts *parts, const struct qk_tensor *tensor, uint64_t rows,
    uint64_t columns, enum qk_dtype dtype, void **out, struct qk_error *err);

/* The same for any shape: the values in the file's order, in float32. */
enum qk_code qk_weights_values(
    const struct qk_parts *parts, const struct qk_tensor *tensor, float **out, struct qk_error *err);

/* QK_INPUT unless the shape is (rows, columns), as above. */
enum qk_code qk_weights_check(const struct qk_parts *parts, const struct qk_tensor *tensor, uint64_t rows,
    uint64_t columns, struct qk_error *err);

/* True when the patch may change the tensor. */
bool qk_weights_patched(const struct qk_parts *parts, const struct qk_tensor *tensor);

/* Values first .. first + n of a tensor, in the file's order, to be written to out (n), in float32 or in the tensor's
 * own format. With scales the tensor holds the blocks of MXFP4 (tensor/mxfp4.h), and first and n are of whole
 * blocks. */
struct qk_values {
    const struct qk_tensor *tensor, *scales; /* scales: NULL allowed */
    uint64_t first;
    size_t n;
    void *out;
    enum qk_dtype dtype; /* of out */
};
/* Reads n slices, with the patch applied. They are read by pieces that the processors share. */
enum qk_code qk_weights_slices(
    const struct qk_parts *parts, const struct qk_values *slice, size_t n, struct qk_error *err);

/* out (n, columns) = rows first .. first + n of a tensor (rows, columns), not patched, in float32 or in the format of
 * qk_weights_dtype. */
enum qk_code qk_weights_rows(const struct qk_parts *parts, const struct qk_tensor *tensor, uint64_t first,
    size_t n, enum qk_dtype dtype, void *out, struct qk_error *err);

/* Values of the experts that are in memory at once, where one has less, and of what they make. */
enum { QK_TURN_VALUES = 1 << 24 };
/* Bytes in memory of the layer's tensors but for its experts. *of_turn = about those of the experts that are in memory
 * at once (forward/experts.h), 0 without any. */
uint64_t qk_weights_of_layer(const struct qk_parts *parts, int layer, uint64_t *of_turn);
/* Asks the system to have a layer's tensors in memory soon, but for those of its experts, of which nobody knows yet
 * which are chosen. No layer has to have that number. */
void qk_weights_expect(const struct qk_parts *parts, int layer);

#endif
