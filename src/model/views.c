/* views.c - reading head views, biases and gains as float64. */
#include "base/mem.h"
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

void qk_view_ranges(const struct qk_layer *layer, enum qk_role role, int h, uint64_t *first, uint64_t *stride,
    uint64_t *length, uint64_t *count)
{
    const struct qk_view *view = &layer->role[role];
    const struct qk_tensor *weight = view->weight;
    uint64_t size = qk_dtype_bits(weight->dtype) / 8, row = view->first_row[h],
             dim = (uint64_t)layer->head_dim;
    if (view->transposed) {
        *stride = weight->shape[1] * size;
        *first = row * size;
        *length = dim * size;
        *count = layer->d;
    } else {
        *first = row * layer->d * size;
        *length = dim * layer->d * size;
        *stride = *length;
        *count = 1;
    }
}

/* Columns of a (d, rows) tensor: whole rows are read in pieces of about a mebibyte and the columns picked
 * out, which beats d tiny reads. */
static enum qk_code read_columns(const struct qk_model *model, const struct qk_layer *layer,
    enum qk_role role, int h, double *out, struct qk_error *err)
{
    const struct qk_tensor *weight = layer->role[role].weight;
    uint64_t first, stride, length, count;
    qk_view_ranges(layer, role, h, &first, &stride, &length, &count);
    size_t dim = (size_t)layer->head_dim, per_piece = stride > 1 << 20 ? 1 : (size_t)((1 << 20) / stride);
    per_piece = per_piece > count ? (size_t)count : per_piece;
    char *piece;
    double *values;
    QK_TRY(qk_alloc(&piece, per_piece, (size_t)stride, err));
    enum qk_code code = qk_alloc(&values, dim, sizeof *values, err);
    for (uint64_t i = 0; code == QK_OK && i < count; i += per_piece) {
        size_t n = count - i < per_piece ? (size_t)(count - i) : per_piece;
        code = qk_checkpoint_read(model->checkpoint, weight, i * stride, piece, n * (size_t)stride, err);
        for (size_t k = 0; code == QK_OK && k < n; k++) {
            qk_dtype_to_f64(weight->dtype, piece + k * stride + first, dim, values);
            for (size_t r = 0; r < dim; r++)
                out[r * layer->d + i + k] = values[r];
        }
    }
    free(values);
    free(piece);
    return code;
}

/* n values of a tensor from element `first` on. */
static enum qk_code read_values(const struct qk_model *model, const struct qk_tensor *tensor, uint64_t first,
    size_t n, double *out, struct qk_error *err)
{
    size_t size = qk_dtype_bits(tensor->dtype) / 8;
    if (!qk_dtype_readable(tensor->dtype))
        return qk_fail(err, QK_INPUT, "%s: %s: %s is not read as numbers",
            qk_checkpoint_file(model->checkpoint, tensor), tensor->name, tensor->dtype_text);
    /* The raw bytes go to the end of the output, so that no second buffer is needed: value i is read from at
     * or behind the place where it is written. */
    char *raw = (char *)out + n * (sizeof *out - size);
    QK_TRY(qk_checkpoint_read(model->checkpoint, tensor, first * size, raw, n * size, err));
    enum { PIECE = 256 };
    char copy[PIECE * sizeof(double)];
    for (size_t i = 0; i < n; i += PIECE) {
        size_t m = n - i < PIECE ? n - i : PIECE;
        memcpy(copy, raw + i * size, m * size);
        qk_dtype_to_f64(tensor->dtype, copy, m, out + i);
    }
    return QK_OK;
}

enum qk_code qk_view_read(const struct qk_model *model, const struct qk_layer *layer, enum qk_role role,
    int h, double *out, struct qk_error *err)
{
    const struct qk_view *view = &layer->role[role];
    if (view->transposed)
        return read_columns(model, layer, role, h, out, err);
    return read_values(
        model, view->weight, view->first_row[h] * layer->d, (size_t)layer->head_dim * layer->d, out, err);
}

enum qk_code qk_view_read_bias(const struct qk_model *model, const struct qk_layer *layer, enum qk_role role,
    int h, double *out, struct qk_error *err)
{
    const struct qk_view *view = &layer->role[role];
    memset(out, 0, (size_t)layer->head_dim * sizeof *out);
    if (view->bias == NULL)
        return QK_OK;
    return read_values(model, view->bias, view->first_row[h], (size_t)layer->head_dim, out, err);
}

enum qk_code qk_view_read_gain(const struct qk_model *model, const struct qk_layer *layer, enum qk_role role,
    int h, double *out, struct qk_error *err)
{
    const struct qk_view *view = &layer->role[role];
    size_t dim = (size_t)layer->head_dim;
    double offset = layer->gain_plus_one ? 1.0 : 0.0;
    for (size_t i = 0; i < dim; i++)
        out[i] = 1.0;
    if (view->norm == NULL)
        return QK_OK;
    /* one head's gain for all of them, or (heads, head_dim) in a row */
    uint64_t first = view->norm->n_dims == 1 && view->norm->shape[0] == dim ? 0 : (uint64_t)h * dim;
    QK_TRY(read_values(model, view->norm, first, dim, out, err));
    for (size_t i = 0; i < dim; i++)
        out[i] += offset;
    return QK_OK;
}
