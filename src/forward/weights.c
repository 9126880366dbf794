/* weights.c - the reader of tensors as float32, or as the file has them. */
#include "forward/weights.h"

#include "base/mem.h"
#include "base/parallel.h"
#include "model/scaling.h"
#include "tensor/float32.h"
#include "tensor/mxfp4.h"
#include "tensor/quantised.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Slices of tensors, read and converted by pieces that the processors share. */
struct reading {
    const struct qk_checkpoint *checkpoint;
    struct qk_values *piece;
    char *bytes; /* `room` a worker: the largest piece */
    size_t room;
    struct qk_timing *timing;
};
enum { PIECE = 1 << 17 };

static size_t value_bytes(const struct qk_tensor *tensor)
{
    return qk_dtype_bits(tensor->dtype) / 8;
}

static enum qk_code read_packed(
    const struct reading *r, const struct qk_values *piece, char *bytes, struct qk_error *err)
{
    size_t blocks = piece->n / QK_MXFP4_VALUES, n = blocks * QK_MXFP4_BYTES;
    uint64_t first = piece->first / QK_MXFP4_VALUES;
    QK_TRY(qk_checkpoint_read(r->checkpoint, piece->tensor, first * QK_MXFP4_BYTES, bytes, n, err));
    QK_TRY(qk_checkpoint_read(r->checkpoint, piece->scales, first, bytes + n, blocks, err));
    qk_mxfp4_to_f32(bytes, bytes + n, blocks, piece->out);
    return QK_OK;
}

static enum qk_code read_piece(void *context, size_t item, size_t worker, struct qk_error *err)
{
    const struct reading *r = context;
    const struct qk_values *piece = &r->piece[item];
    size_t size = value_bytes(piece->tensor);
    char *bytes = r->bytes + worker * r->room;
    if (piece->scales != NULL)
        return read_packed(r, piece, bytes, err);
    bool kept = piece->dtype == piece->tensor->dtype;
    uint64_t since = qk_timing_start(r->timing);
    QK_TRY(qk_checkpoint_read(
        r->checkpoint, piece->tensor, piece->first * size, kept ? piece->out : bytes, piece->n * size, err));
    since = qk_timing_lap(r->timing, QK_TIME_READ, since);
    if (!kept)
        qk_dtype_to_f32(piece->tensor->dtype, bytes, piece->n, piece->out);
    qk_timing_lap(r->timing, QK_TIME_CONVERT, since);
    return QK_OK;
}

/* Cuts slices into pieces (or counts them where `piece` is NULL); returns their number. */
static size_t cut_pieces(const struct qk_values *slice, size_t n, struct qk_values *piece)
{
    size_t pieces = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t at = 0; at < slice[i].n; at += PIECE, pieces++)
            if (piece != NULL)
                piece[pieces] = (struct qk_values){slice[i].tensor, slice[i].scales, slice[i].first + at,
                    slice[i].n - at < PIECE ? slice[i].n - at : PIECE,
                    (char *)slice[i].out + at * (qk_dtype_bits(slice[i].dtype) / 8), slice[i].dtype};
    return pieces;
}

static enum qk_code read_pieces(
    const struct qk_parts *parts, const struct qk_values *slice, size_t n, struct qk_error *err)
{
    struct reading r = {
        .checkpoint = parts->model->checkpoint, .timing = qk_progress_timing(parts->progress)};
    size_t pieces = cut_pieces(slice, n, NULL), workers = qk_parallel_workers(pieces);
    QK_TRY(qk_alloc(&r.piece, pieces, sizeof *r.piece, err));
    cut_pieces(slice, n, r.piece);
    for (size_t i = 0; i < pieces; i++) {
        size_t bytes = r.piece[i].n * value_bytes(r.piece[i].tensor);
        r.room = bytes > r.room ? bytes : r.room;
    }
    enum qk_code code = qk_alloc_aligned(&r.bytes, workers, r.room, err);
    if (code == QK_OK)
        code = qk_parallel_try(pieces, workers, read_piece, &r, parts->progress, err);
    free(r.bytes);
    free(r.piece);
    return code;
}

bool qk_weights_patched(const struct qk_parts *parts, const struct qk_tensor *tensor)
{
    const struct qk_patch *patch = parts->patch;
    return patch != NULL && (patch->changes == NULL || patch->changes(patch->context, tensor));
}

/* Reads the whole tensor and applies the patch. */
static enum qk_code read_patched(const struct qk_parts *parts, const struct qk_tensor *tensor, size_t n,
    enum qk_dtype dtype, void *out, struct qk_error *err)
{
    struct qk_timing *timing = qk_progress_timing(parts->progress);
    char *bytes = out;
    bool kept = dtype == tensor->dtype;
    if (!kept)
        QK_TRY(qk_alloc_aligned(&bytes, (size_t)tensor->bytes, 1, err));
    uint64_t since = qk_timing_start(timing);
    enum qk_code code =
        qk_checkpoint_read(parts->model->checkpoint, tensor, 0, bytes, (size_t)tensor->bytes, err);
    since = qk_timing_lap(timing, QK_TIME_READ, since);
    if (code == QK_OK)
        code = parts->patch->apply(parts->patch->context, tensor, bytes, err);
    if (code == QK_OK && !kept)
        qk_dtype_to_f32(tensor->dtype, bytes, n, out);
    qk_timing_lap(timing, QK_TIME_CONVERT, since);
    if (!kept)
        free(bytes);
    return code;
}

/* --- scales --- */

/* QK_INPUT unless the tensor's values are numbers, or become numbers with *scale, whose tensor is NULL without one. */
static enum qk_code find_scaling(const struct qk_parts *parts, const struct qk_tensor *tensor,
    struct qk_scaling *scale, struct qk_error *err)
{
    bool known;
    const struct qk_checkpoint *c = parts->model->checkpoint;
    *scale = (struct qk_scaling){.tensor = qk_scale_find(c, tensor, &known)};
    if (!qk_dtype_readable(tensor->dtype))
        return qk_fail(err, QK_INPUT, "%s: %s: %s is not read as numbers", qk_checkpoint_file(c, tensor),
            tensor->name, tensor->dtype_text);
    if (scale->tensor != NULL && (!known || !qk_scaling_fit(parts->model, tensor, scale)))
        return qk_fail(err, QK_INPUT, "%s: %s: scaled by %s, which is not supported",
            qk_checkpoint_file(c, tensor), tensor->name, scale->tensor->name);
    return QK_OK;
}

/* Rows of a tensor and the scales over them. */
struct scaled_rows {
    const struct qk_scaling *scale;
    const float *factor; /* from that of the first row on */
    uint64_t first;
    size_t columns;
    float *rows;
};

static void scale_row(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct scaled_rows *s = context;
    float *row = s->rows + item * s->columns;
    size_t at = qk_scaling_row(s->scale, s->first + item) - qk_scaling_row(s->scale, s->first);
    const float *factor = s->factor + at * qk_scaling_per_row(s->scale, s->columns);
    for (size_t j = 0; j < s->columns; j++)
        row[j] *= factor[j / (size_t)s->scale->columns];
}

static size_t columns_of(const struct qk_tensor *tensor)
{
    return (size_t)tensor->shape[tensor->n_dims - 1];
}

/* Multiplies rows first .. first + n of the tensor, whose matrices' rows count on, by their scales. */
static enum qk_code apply_scaling(const struct qk_parts *parts, const struct qk_tensor *tensor,
    const struct qk_scaling *scale, uint64_t first, size_t n, float *rows, struct qk_error *err)
{
    float *factor;
    if (scale->tensor == NULL || n == 0)
        return QK_OK;
    size_t columns = columns_of(tensor), per_row = qk_scaling_per_row(scale, columns),
           from = qk_scaling_row(scale, first), end = qk_scaling_row(scale, first + n - 1) + 1;
    QK_TRY(qk_alloc_aligned(&factor, (end - from) * per_row, sizeof *factor, err));
    const struct qk_values part = {
        scale->tensor, NULL, from * per_row, (end - from) * per_row, factor, QK_F32};
    enum qk_code code = qk_weights_slices(parts, &part, 1, err);
    if (code == QK_OK) {
        struct scaled_rows of = {scale, factor, first, columns, rows};
        qk_parallel_for(n, scale_row, &of, parts->progress);
    }
    free(factor);
    return code;
}

/* --- reading --- */

enum qk_code qk_weights_check(const struct qk_parts *parts, const struct qk_tensor *tensor, uint64_t rows,
    uint64_t columns, struct qk_error *err)
{
    int n_dims = columns == 0 ? 1 : 2;
    char shape[QK_SHAPE_TEXT], expected[64];
    struct qk_scaling scale;
    QK_TRY(find_scaling(parts, tensor, &scale, err));
    if (tensor->n_dims == n_dims && (rows == 0 || tensor->shape[0] == rows) &&
        (n_dims == 1 || tensor->shape[1] == columns) && tensor->bytes > 0)
        return QK_OK;
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

enum qk_dtype qk_weights_dtype(const struct qk_parts *parts, const struct qk_tensor *tensor)
{
    bool known;
    return (tensor->dtype == QK_BF16 || tensor->dtype == QK_F16) &&
                   qk_scale_find(parts->model->checkpoint, tensor, &known) == NULL
               ? tensor->dtype
               : QK_F32;
}

/* Reads all values in the tensor's own format, which has no scales then, or in float32. */
static enum qk_code read_whole(const struct qk_parts *parts, const struct qk_tensor *tensor,
    enum qk_dtype dtype, void **out, struct qk_error *err)
{
    struct qk_scaling scale;
    *out = NULL;
    QK_TRY(find_scaling(parts, tensor, &scale, err));
    size_t n = (size_t)tensor->bytes / value_bytes(tensor);
    QK_TRY(qk_alloc_aligned(out, n, qk_dtype_bits(dtype) / 8, err));
    const struct qk_values whole = {tensor, NULL, 0, n, *out, dtype};
    enum qk_code code = qk_weights_patched(parts, tensor) ? read_patched(parts, tensor, n, dtype, *out, err)
                                                          : read_pieces(parts, &whole, 1, err);
    if (code == QK_OK)
        code = apply_scaling(
            parts, tensor, &scale, 0, scale.tensor != NULL ? n / columns_of(tensor) : 0, *out, err);
    if (code != QK_OK) {
        free(*out);
        *out = NULL;
    }
    return code;
}

enum qk_code qk_weights_values(
    const struct qk_parts *parts, const struct qk_tensor *tensor, float **out, struct qk_error *err)
{
    void *values;
    enum qk_code code = read_whole(parts, tensor, QK_F32, &values, err);
    *out = values;
    return code;
}

enum qk_code qk_weights_read(const struct qk_parts *parts, const struct qk_tensor *tensor, uint64_t rows,
    uint64_t columns, float **out, struct qk_error *err)
{
    *out = NULL;
    QK_TRY(qk_weights_check(parts, tensor, rows, columns, err));
    return qk_weights_values(parts, tensor, out, err);
}

enum qk_code qk_weights_turned(const struct qk_parts *parts, const struct qk_tensor *tensor, uint64_t rows,
    uint64_t columns, float **out, struct qk_error *err)
{
    float *stored, *turned;
    *out = NULL;
    QK_TRY(qk_weights_read(parts, tensor, columns, rows, &stored, err));
    enum qk_code code = qk_alloc_aligned(&turned, (size_t)(rows * columns), sizeof *turned, err);
    for (size_t i = 0; code == QK_OK && i < columns; i++)
        for (size_t j = 0; j < rows; j++)
            turned[j * columns + i] = stored[i * rows + j];
    free(stored);
    *out = turned;
    return code;
}

enum qk_code qk_weights_keep(const struct qk_parts *parts, const struct qk_tensor *tensor, uint64_t rows,
    uint64_t columns, enum qk_dtype dtype, void **out, struct qk_error *err)
{
    *out = NULL;
    QK_TRY(qk_weights_check(parts, tensor, rows, columns, err));
    return read_whole(parts, tensor, dtype, out, err);
}

enum qk_code qk_weights_rows(const struct qk_parts *parts, const struct qk_tensor *tensor, uint64_t first,
    size_t n, enum qk_dtype dtype, void *out, struct qk_error *err)
{
    size_t columns = (size_t)tensor->shape[1];
    struct qk_scaling scale;
    QK_TRY(find_scaling(parts, tensor, &scale, err));
    const struct qk_values rows = {tensor, NULL, first * columns, n * columns, out, dtype};
    QK_TRY(read_pieces(parts, &rows, 1, err));
    return apply_scaling(parts, tensor, &scale, first, n, out, err);
}

/* A slice of a tensor that the patch may change: it is read whole. */
static enum qk_code cut_from_whole(
    const struct qk_parts *parts, const struct qk_values *slice, struct qk_error *err)
{
    size_t size = qk_dtype_bits(slice->dtype) / 8;
    void *whole;
    QK_TRY(read_whole(parts, slice->tensor, slice->dtype, &whole, err));
    memcpy(slice->out, (char *)whole + slice->first * size, slice->n * size);
    free(whole);
    return QK_OK;
}

/* Slices that are read alone; scale[i] is that of plain[i]. */
struct plain_slices {
    struct qk_values *plain;
    struct qk_scaling *scale;
    size_t n;
};

/* Reads what the patch may change, and lists the others. */
static enum qk_code list_plain(const struct qk_parts *parts, const struct qk_values *slice, size_t n,
    struct plain_slices *list, struct qk_error *err)
{
    for (size_t i = 0; i < n; i++) {
        struct qk_scaling scale = {0};
        if (slice[i].scales == NULL)
            QK_TRY(find_scaling(parts, slice[i].tensor, &scale, err));
        size_t columns = scale.tensor != NULL ? columns_of(slice[i].tensor) : 1;
        if (qk_weights_patched(parts, slice[i].tensor) || slice[i].first % columns != 0 ||
            slice[i].n % columns != 0) {
            QK_TRY(cut_from_whole(parts, &slice[i], err));
        } else {
            list->scale[list->n] = scale;
            list->plain[list->n++] = slice[i];
        }
    }
    return QK_OK;
}

enum qk_code qk_weights_slices(
    const struct qk_parts *parts, const struct qk_values *slice, size_t n, struct qk_error *err)
{
    struct plain_slices list = {0};
    QK_TRY(qk_alloc(&list.plain, n, sizeof *list.plain, err));
    enum qk_code code = qk_alloc(&list.scale, n, sizeof *list.scale, err);
    if (code == QK_OK)
        code = list_plain(parts, slice, n, &list, err);
    if (code == QK_OK)
        code = read_pieces(parts, list.plain, list.n, err);
    for (size_t i = 0; i < list.n && code == QK_OK; i++) {
        const struct qk_values *s = &list.plain[i];
        size_t columns = list.scale[i].tensor != NULL ? columns_of(s->tensor) : 1;
        code =
            apply_scaling(parts, s->tensor, &list.scale[i], s->first / columns, s->n / columns, s->out, err);
    }
    free(list.scale);
    free(list.plain);
    return code;
}

uint64_t qk_weights_of_layer(const struct qk_parts *parts, int layer, uint64_t *of_turn)
{
    size_t n;
    const struct qk_name *name = qk_names_of_layer(&parts->names, layer, &n);
    uint64_t bytes = 0, experts = 0, most = 0;
    for (size_t i = 0; i < n; i++) {
        const struct qk_tensor *tensor = name[i].tensor;
        uint64_t here =
            qk_tensor_values(tensor) * (tensor->dtype == QK_U8 ? 2 : 1); /* two of MXFP4 in a byte */
        if (!qk_parts_is_expert(parts, layer, &name[i])) {
            bytes += here * (qk_dtype_bits(qk_weights_dtype(parts, tensor)) / 8);
            continue;
        }
        experts += here;
        here /=
            tensor->n_dims >= 3 && tensor->shape[0] > 0 ? tensor->shape[0] : 1; /* a matrix of one expert */
        most = here > most ? here : most;
    }
    *of_turn = 3 * most > QK_TURN_VALUES ? 3 * most : QK_TURN_VALUES; /* gate, up and down */
    *of_turn = (experts < *of_turn ? experts : *of_turn) * sizeof(float);
    return bytes;
}

void qk_weights_expect(const struct qk_parts *parts, int layer)
{
    size_t n;
    const struct qk_name *name = qk_names_of_layer(&parts->names, layer, &n);
    for (size_t i = 0; i < n; i++)
        if (!qk_parts_is_expert(parts, layer, &name[i]))
            qk_checkpoint_expect(parts->model->checkpoint, name[i].tensor, 0, (size_t)name[i].tensor->bytes);
}
