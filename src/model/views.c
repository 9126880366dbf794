/* views.c - the reader of head views, biases and gains as float64. */
#include "base/mem.h"
#include "model/model.h"
#include "model/scaling.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static bool view_holds(const struct qk_view *view, const struct qk_tensor *tensor)
{
    bool held = view->weight == tensor || view->bias == tensor || view->norm == tensor;
    for (int i = 0; i < view->n_slices && !held; i++)
        held = view->slice[i].tensor == tensor;
    return held;
}

/* The input width of q and k of the first layer that has them; 0 without one. */
static uint64_t input_width(const struct qk_model *model)
{
    for (int i = 0; i < model->n_layers; i++)
        if (model->layer[i].d > 0)
            return model->layer[i].d;
    return 0;
}

uint64_t qk_model_width(const struct qk_model *model)
{
    uint64_t width = input_width(model);
    return width > 0 ? width + (uint64_t)model->layer_input * (uint64_t)model->n_layers : 0;
}

uint64_t qk_model_own_width(const struct qk_model *model)
{
    return input_width(model) / (model->joined ? 2 : 1);
}

bool qk_layer_holds(const struct qk_layer *layer, const struct qk_tensor *tensor)
{
    return view_holds(&layer->role[QK_Q], tensor) || view_holds(&layer->role[QK_K], tensor);
}

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

/* Reads columns first .. first + n of a (d, rows) tensor as rows of d. It reads whole rows in pieces of about a
 * mebibyte and picks the columns out, which is faster than d tiny reads. */
static enum qk_code read_columns(const struct qk_model *model, const struct qk_tensor *tensor, uint64_t first,
    size_t n, char *out, struct qk_error *err)
{
    size_t size = qk_dtype_bits(tensor->dtype) / 8, d = (size_t)tensor->shape[0],
           stride = (size_t)tensor->shape[1] * size;
    size_t per_piece = stride > 1 << 20 ? 1 : (1 << 20) / stride;
    char *piece;
    QK_TRY(qk_alloc_aligned(&piece, per_piece, stride, err));
    enum qk_code code = QK_OK;
    for (size_t i = 0; code == QK_OK && i < d; i += per_piece) {
        size_t some = d - i < per_piece ? d - i : per_piece;
        code = qk_checkpoint_read(model->checkpoint, tensor, i * stride, piece, some * stride, err);
        for (size_t k = 0; code == QK_OK && k < some; k++)
            for (size_t r = 0; r < n; r++)
                memcpy(out + (r * d + i + k) * size, piece + k * stride + (first + r) * size, size);
    }
    free(piece);
    return code;
}

static enum qk_code check_readable(
    const struct qk_model *model, const struct qk_tensor *tensor, struct qk_error *err)
{
    if (qk_dtype_readable(tensor->dtype))
        return QK_OK;
    return qk_fail(err, QK_INPUT, "%s: %s: %s is not read as numbers",
        qk_checkpoint_file(model->checkpoint, tensor), tensor->name, tensor->dtype_text);
}

enum qk_code qk_view_read_stored(const struct qk_model *model, const struct qk_layer *layer,
    enum qk_role role, int h, size_t first, size_t n, void *bytes, struct qk_error *err)
{
    const struct qk_view *view = &layer->role[role];
    const struct qk_tensor *weight = view->weight;
    uint64_t row = view->first_row[h] + first, width = layer->d * (qk_dtype_bits(weight->dtype) / 8);
    QK_TRY(check_readable(model, weight, err));
    if (view->transposed)
        return read_columns(model, weight, row, n, bytes, err);
    return qk_checkpoint_read(model->checkpoint, weight, row * width, bytes, n * (size_t)width, err);
}

/* The raw bytes stand at the end of the output and become numbers from its beginning on, without a second buffer.
 * Value i is read at or behind the place where it is written. */
static char *raw_part(double *out, size_t n, enum qk_dtype dtype)
{
    return (char *)out + n * (sizeof *out - qk_dtype_bits(dtype) / 8);
}

static void raw_to_f64(double *out, size_t n, enum qk_dtype dtype)
{
    enum { PIECE = 256 };
    char copy[PIECE * sizeof(double)];
    const char *raw = raw_part(out, n, dtype);
    size_t size = qk_dtype_bits(dtype) / 8;
    for (size_t i = 0; i < n; i += PIECE) {
        size_t m = n - i < PIECE ? n - i : PIECE;
        memcpy(copy, raw + i * size, m * size);
        qk_dtype_to_f64(dtype, copy, m, out + i);
    }
}

/* n values of a tensor from element `first` on. */
static enum qk_code read_values(const struct qk_model *model, const struct qk_tensor *tensor, uint64_t first,
    size_t n, double *out, struct qk_error *err)
{
    size_t size = qk_dtype_bits(tensor->dtype) / 8;
    QK_TRY(check_readable(model, tensor, err));
    QK_TRY(qk_checkpoint_read(
        model->checkpoint, tensor, first * size, raw_part(out, n, tensor->dtype), n * size, err));
    raw_to_f64(out, n, tensor->dtype);
    return QK_OK;
}

/* Multiplies rows first .. first + n of a tensor by the scales of their blocks. */
static enum qk_code scale_rows(const struct qk_model *model, const struct qk_scaling *scale, size_t columns,
    size_t first, size_t n, double *rows, struct qk_error *err)
{
    size_t per_row = qk_scaling_per_row(scale, columns), at = qk_scaling_row(scale, first),
           end = qk_scaling_row(scale, first + n - 1) + 1;
    double *factor;
    QK_TRY(qk_alloc(&factor, (end - at) * per_row, sizeof *factor, err));
    enum qk_code code = read_values(model, scale->tensor, at * per_row, (end - at) * per_row, factor, err);
    for (size_t i = 0; i < n && code == QK_OK; i++) {
        const double *of = factor + (qk_scaling_row(scale, first + i) - at) * per_row;
        for (size_t j = 0; j < columns; j++)
            rows[i * columns + j] *= of[j / (size_t)scale->columns];
    }
    free(factor);
    return code;
}

/* Rows first .. first + n of a (rows, columns) tensor, as numbers. */
static enum qk_code read_rows(const struct qk_model *model, const struct qk_tensor *tensor,
    const struct qk_scaling *scale, size_t first, size_t n, double *out, struct qk_error *err)
{
    size_t columns = (size_t)tensor->shape[1];
    QK_TRY(read_values(model, tensor, first * columns, n * columns, out, err));
    if (scale->tensor == NULL || n == 0)
        return QK_OK;
    return scale_rows(model, scale, columns, first, n, out, err);
}

enum qk_code qk_view_read_up(const struct qk_model *model, const struct qk_layer *layer, enum qk_role role,
    int h, double *out, struct qk_error *err)
{
    const struct qk_view *view = &layer->role[role];
    return read_rows(model, view->weight, &view->scale, (size_t)view->first_row[h],
        (size_t)(layer->head_dim - view->tail), out, err);
}

enum qk_code qk_view_read_latent_gain(const struct qk_model *model, const struct qk_layer *layer,
    enum qk_role role, double *out, struct qk_error *err)
{
    const struct qk_view *view = &layer->role[role];
    return read_values(model, view->down_norm, 0, (size_t)view->weight->shape[1], out, err);
}

enum qk_code qk_view_read_down(const struct qk_model *model, const struct qk_layer *layer, enum qk_role role,
    size_t first, size_t n, double *out, struct qk_error *err)
{
    const struct qk_view *view = &layer->role[role];
    return read_rows(model, view->down, &view->down_scale, first, n, out, err);
}

enum qk_code qk_view_read(const struct qk_model *model, const struct qk_layer *layer, enum qk_role role,
    int h, double *out, struct qk_error *err)
{
    size_t m = (size_t)layer->head_dim, n = m * (size_t)layer->d;
    enum qk_dtype dtype = layer->role[role].weight->dtype;
    assert(layer->role[role].down == NULL);
    if (layer->role[role].scale.tensor != NULL)
        return read_rows(model, layer->role[role].weight, &layer->role[role].scale,
            (size_t)layer->role[role].first_row[h], m, out, err);
    QK_TRY(qk_view_read_stored(model, layer, role, h, 0, m, raw_part(out, n, dtype), err));
    raw_to_f64(out, n, dtype);
    return QK_OK;
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
