/* weights.c - the reader of tensors as float32. */
#include "forward/weights.h"

#include "base/mem.h"
#include "base/parallel.h"
#include "tensor/float32.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct conversion {
    enum qk_dtype dtype;
    const char *src;
    size_t n;
    float *out;
};
enum { SHARE = 1 << 16 };

static void convert_share(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct conversion *c = context;
    size_t first = item * SHARE, n = c->n - first < SHARE ? c->n - first : SHARE;
    qk_dtype_to_f32(c->dtype, c->src + first * (qk_dtype_bits(c->dtype) / 8), n, c->out + first);
}

static void convert(enum qk_dtype dtype, const char *src, size_t n, float *out)
{
    struct conversion c = {dtype, src, n, out};
    qk_parallel_for((n + SHARE - 1) / SHARE, convert_share, &c, NULL);
}

/* Weights in 8 bits are numbers only together with the scales of their blocks. */
static bool has_scale(const struct qk_parts *parts, const struct qk_tensor *tensor)
{
    static const char *const suffixes[] = {"_scale_inv", "_scale"};
    char name[512];
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++)
        if (qk_dtype_bits(tensor->dtype) == 8 &&
            snprintf(name, sizeof name, "%s%s", tensor->name, suffixes[i]) < (int)sizeof name &&
            qk_checkpoint_find(parts->model->checkpoint, name) != NULL)
            return true;
    return false;
}

static enum qk_code check_readable(
    const struct qk_parts *parts, const struct qk_tensor *tensor, struct qk_error *err)
{
    const char *file = qk_checkpoint_file(parts->model->checkpoint, tensor);
    if (!qk_dtype_readable(tensor->dtype))
        return qk_fail(
            err, QK_INPUT, "%s: %s: %s is not read as numbers", file, tensor->name, tensor->dtype_text);
    if (has_scale(parts, tensor))
        return qk_fail(
            err, QK_INPUT, "%s: %s: weights with scales of their own are not supported", file, tensor->name);
    return QK_OK;
}

enum qk_code qk_weights_check(const struct qk_parts *parts, const struct qk_tensor *tensor, uint64_t rows,
    uint64_t columns, struct qk_error *err)
{
    int n_dims = columns == 0 ? 1 : 2;
    char shape[QK_SHAPE_TEXT], expected[64];
    if (tensor->n_dims == n_dims && (rows == 0 || tensor->shape[0] == rows) &&
        (n_dims == 1 || tensor->shape[1] == columns) && tensor->bytes > 0)
        return check_readable(parts, tensor, err);
    const char *first = rows == 0 ? "any" : "";
    if (columns == 0)
        snprintf(expected, sizeof expected, "(%s%.0llu)", first, (unsigned long long)rows);
    else
        snprintf(expected, sizeof expected, "(%s%.0llu, %llu)", first, (unsigned long long)rows,
            (unsigned long long)columns);
    return qk_fail(err, QK_INPUT, "%s: %s: its shape does not fit the model (found %s, expected %s)",
        qk_checkpoint_file(parts->model->checkpoint, tensor), tensor->name, qk_shape_text(shape, tensor),
        expected);
}

enum qk_code qk_weights_values(
    const struct qk_parts *parts, const struct qk_tensor *tensor, float **out, struct qk_error *err)
{
    char *bytes;
    *out = NULL;
    QK_TRY(check_readable(parts, tensor, err));
    size_t n = (size_t)(tensor->bytes / (qk_dtype_bits(tensor->dtype) / 8));
    QK_TRY(qk_alloc_aligned(&bytes, (size_t)tensor->bytes, 1, err));
    enum qk_code code =
        qk_checkpoint_read(parts->model->checkpoint, tensor, 0, bytes, (size_t)tensor->bytes, err);
    if (code == QK_OK && parts->patch != NULL)
        code = parts->patch->apply(parts->patch->context, tensor, bytes, err);
    if (code == QK_OK)
        code = qk_alloc_aligned(out, n, sizeof **out, err);
    if (code == QK_OK)
        convert(tensor->dtype, bytes, n, *out);
    free(bytes);
    return code;
}

enum qk_code qk_weights_read(const struct qk_parts *parts, const struct qk_tensor *tensor, uint64_t rows,
    uint64_t columns, float **out, struct qk_error *err)
{
    *out = NULL;
    QK_TRY(qk_weights_check(parts, tensor, rows, columns, err));
    return qk_weights_values(parts, tensor, out, err);
}

enum qk_code qk_weights_rows(const struct qk_parts *parts, const struct qk_tensor *tensor, uint64_t first,
    size_t n, float *out, struct qk_error *err)
{
    size_t size = qk_dtype_bits(tensor->dtype) / 8, row = (size_t)tensor->shape[1] * size;
    char *bytes;
    QK_TRY(qk_alloc_aligned(&bytes, n * row, 1, err));
    enum qk_code code =
        qk_checkpoint_read(parts->model->checkpoint, tensor, first * row, bytes, n * row, err);
    if (code == QK_OK)
        convert(tensor->dtype, bytes, n * (size_t)tensor->shape[1], out);
    free(bytes);
    return code;
}
