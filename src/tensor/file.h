/* file.h - one file of tensors of any format: the reader of the format fills it in, and the rest of the program sees
 * nothing else. */
#ifndef QK_TENSOR_FILE_H
#define QK_TENSOR_FILE_H

#include "base/error.h"
#include "tensor/dtype.h"
#include "tensor/source.h"

#include <stddef.h>
#include <stdint.h>

enum { QK_MAX_DIMS = 16, QK_DTYPE_TEXT = 16 };

struct qk_tensor {
    char *name; /* owned by the file's table */
    enum qk_dtype dtype;
    char dtype_text[QK_DTYPE_TEXT]; /* as spelled in the file, cut; for messages */
    int n_dims;
    uint64_t shape[QK_MAX_DIMS];
    uint64_t offset; /* offset of the first data byte from the start of the file */
    uint64_t bytes;
    int shard; /* index into the checkpoint's shards, set by checkpoint.c */
};

enum qk_format { QK_FORMAT_SAFETENSORS, QK_FORMAT_TORCH };

struct qk_tensor_file {
    struct qk_source source;
    enum qk_format format;
    uint64_t header_bytes; /* safetensors: where the data begins; else 0 */
    char header_digest
        [65]; /* SHA-256 in hex of the description of the tensors (safetensors: header_bytes bytes)
                             * */
    struct qk_tensor
        *tensor; /* n_tensors, in the order of their offsets; only those of PyTorch files may overlap */
    size_t n_tensors;
};

void qk_tensor_file_close(struct qk_tensor_file *file);

/* *bytes = product of the shape times the dtype's size; 0 for QK_DTYPE_OTHER. QK_INPUT, with `path` and the tensor,
 * when it overflows or is no whole number of bytes. */
enum qk_code qk_tensor_bytes(
    const char *path, const struct qk_tensor *tensor, uint64_t *bytes, struct qk_error *err);

/* Sorts the table by offset; QK_INPUT when a name appears twice. */
enum qk_code qk_tensor_file_order(struct qk_tensor_file *file, struct qk_error *err);

/* The number of values: the product of the shape, or 1. */
uint64_t qk_tensor_values(const struct qk_tensor *tensor);
bool qk_tensor_same_shape(const struct qk_tensor *a, const struct qk_tensor *b);

/* Writes the shape as "(128, 64)", for messages. Returns out. */
enum { QK_SHAPE_TEXT = 128 };
char *qk_shape_text(char out[QK_SHAPE_TEXT], const struct qk_tensor *tensor);

#endif
