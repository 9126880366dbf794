/* blend_bytes.c - the bytes that an export writes for the blended rows. */
#include "blend/blend_internal.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Copies the byte ranges of every head; both sides have the same dtype and orientation. */
static enum qk_code copy_heads(
    const struct qk_pair *pair, int layer, enum qk_role role, char *bytes, struct qk_error *err)
{
    const struct qk_layer *pre = pair->layer[layer].side[QK_PRE], *post = pair->layer[layer].side[QK_POST];
    const struct qk_checkpoint *checkpoint = pair->model[QK_PRE]->checkpoint;
    for (int h = 0; h < post->role[role].n_heads; h++) {
        uint64_t first[QK_SIDE_COUNT], stride[QK_SIDE_COUNT], length, count;
        qk_view_ranges(pre, role, h, &first[QK_PRE], &stride[QK_PRE], &length, &count);
        qk_view_ranges(post, role, h, &first[QK_POST], &stride[QK_POST], &length, &count);
        for (uint64_t i = 0; i < count; i++)
            QK_TRY(qk_checkpoint_read(checkpoint, pre->role[role].weight, first[QK_PRE] + i * stride[QK_PRE],
                bytes + first[QK_POST] + i * stride[QK_POST], (size_t)length, err));
    }
    return QK_OK;
}

/* Puts the columns of a head's raw (m, n) as rows into a transposed view. */
static void store_columns(
    const struct qk_layer *layer, enum qk_role role, int head, const char *raw, char *bytes)
{
    uint64_t first, stride, length, count;
    qk_view_ranges(layer, role, head, &first, &stride, &length, &count);
    size_t m = (size_t)layer->head_dim, size = (size_t)length / m;
    for (uint64_t i = 0; i < count; i++)
        for (size_t r = 0; r < m; r++)
            memcpy(bytes + first + i * stride + r * size, raw + (r * count + i) * size, size);
}

static enum qk_code store_head(
    struct qk_blend_heads *b, enum qk_role role, int head, double *values, char *bytes, struct qk_error *err)
{
    const struct qk_layer *layer = b->side[QK_POST];
    uint64_t first, stride, length, count;
    qk_view_ranges(layer, role, head, &first, &stride, &length, &count);
    if (!layer->role[role].transposed)
        return qk_blend_round_head(b, role, head, values, bytes + first, err);
    QK_TRY(qk_blend_round_head(b, role, head, values, b->pre, err));
    store_columns(layer, role, head, (const char *)b->pre, bytes);
    return QK_OK;
}

static enum qk_code store_weight(struct qk_blend_heads *b, enum qk_role role, char *bytes,
    struct qk_progress *progress, struct qk_error *err)
{
    double *values;
    QK_TRY(qk_alloc_aligned(&values, b->m * b->n, sizeof *values, err));
    enum qk_code code = QK_OK;
    for (int h = 0; h < b->side[QK_POST]->role[role].n_heads && code == QK_OK; h++) {
        code = qk_progress_check(progress, err);
        if (code == QK_OK)
            code = store_head(b, role, h, values, bytes, err);
    }
    free(values);
    return code;
}

static enum qk_code store_bias(struct qk_blend_heads *b, enum qk_role role, char *bytes, struct qk_error *err)
{
    const struct qk_tensor *bias = b->side[QK_POST]->role[role].bias;
    struct qk_choice effect = qk_blend_effect(&b->choice, role, QK_PART_BIAS);
    size_t m = b->m, size = qk_dtype_bits(bias->dtype) / 8;
    for (int h = 0; h < b->side[QK_POST]->role[role].n_heads; h++) {
        double *values[QK_SIDE_COUNT] = {b->pre, b->post};
        /* Comes before pre's and post's buffers are filled: preparing a group uses them. */
        QK_TRY(qk_blend_prepare(b, effect.mode, role, h, err));
        for (int s = 0; s < QK_SIDE_COUNT; s++) {
            QK_TRY(qk_view_read_bias(b->pair->model[s], b->side[s], role, h, values[s], err));
            if (effect.mode != QK_RESTORE)
                QK_TRY(qk_blend_check_finite(
                    b->pair->model[s], b->side[s]->role[role].bias, role, h, m, values[s], err));
        }
        if (effect.mode == QK_RESTORE)
            memcpy(b->column, b->pre, m * sizeof *b->column);
        else
            qk_mode_ops(effect.mode)
                ->blend(b, b->state[effect.mode], effect.param, 1, b->pre, b->post, b->column);
        char *place = bytes + b->side[QK_POST]->role[role].first_row[h] * size;
        QK_TRY(qk_blend_round(b->pair, bias, m, b->column, place, err));
    }
    return QK_OK;
}

/* Copies the heads' entries of pre's bias, byte for byte. */
static enum qk_code copy_bias(
    const struct qk_pair *pair, int layer, enum qk_role role, char *bytes, struct qk_error *err)
{
    const struct qk_layer *post = pair->layer[layer].side[QK_POST];
    const struct qk_view *from = &pair->layer[layer].side[QK_PRE]->role[role], *to = &post->role[role];
    uint64_t size = qk_dtype_bits(to->bias->dtype) / 8, length = (uint64_t)post->head_dim * size;
    for (int h = 0; h < to->n_heads; h++)
        QK_TRY(qk_checkpoint_read(pair->model[QK_PRE]->checkpoint, from->bias, from->first_row[h] * size,
            bytes + to->first_row[h] * size, (size_t)length, err));
    return QK_OK;
}

static enum qk_code convert_rows(const struct qk_pair *pair, const struct qk_tensor *from,
    const struct qk_tensor *to, uint64_t first, uint64_t n, char *place, struct qk_error *err)
{
    double *values;
    size_t size = qk_dtype_bits(from->dtype) / 8;
    QK_TRY(qk_alloc_aligned(&values, 2 * n, sizeof *values, err)); /* raw values of any dtype fit into n */
    enum qk_code code =
        qk_checkpoint_read(pair->model[QK_PRE]->checkpoint, from, first * size, values + n, n * size, err);
    if (code == QK_OK) {
        qk_dtype_to_f64(from->dtype, values + n, n, values);
        code = qk_blend_round(pair, to, n, values, place, err);
    }
    free(values);
    return code;
}

enum qk_code qk_blend_slice(
    const struct qk_pair *pair, int layer, enum qk_role role, int slice, void *bytes, struct qk_error *err)
{
    const struct qk_slice *from = &pair->layer[layer].side[QK_PRE]->role[role].slice[slice],
                          *to = &pair->layer[layer].side[QK_POST]->role[role].slice[slice];
    uint64_t width = to->tensor->n_dims == 2 ? to->tensor->shape[1] : 1, n = to->length * width,
             size = qk_dtype_bits(to->tensor->dtype) / 8;
    for (uint64_t i = 0; i < to->count; i++) {
        uint64_t first = (to->first + i * to->step) * width; /* the same in pre: qk_pair_open compares */
        char *place = (char *)bytes + first * size;
        if (qk_blend_same_dtype(from->tensor, to->tensor))
            QK_TRY(qk_checkpoint_read(
                pair->model[QK_PRE]->checkpoint, from->tensor, first * size, place, n * size, err));
        else
            QK_TRY(convert_rows(pair, from->tensor, to->tensor, first, n, place, err));
    }
    return QK_OK;
}

enum qk_code qk_blend_role(const struct qk_pair *pair, int layer, enum qk_role role,
    const struct qk_layer_choice *choice, void *bytes, void *bias_bytes, struct qk_progress *progress,
    struct qk_error *err)
{
    const struct qk_pair_layer *target = &pair->layer[layer];
    enum qk_mode weight = bytes == NULL ? QK_KEEP : qk_blend_effect(choice, role, QK_PART_WEIGHT).mode;
    enum qk_mode bias = bias_bytes == NULL ? QK_KEEP : qk_blend_effect(choice, role, QK_PART_BIAS).mode;
    QK_TRY(qk_blend_check(pair, layer, choice, false, err));
    if (weight == QK_RESTORE && qk_blend_copies_weight(target, role)) {
        QK_TRY(copy_heads(pair, layer, role, bytes, err));
        weight = QK_KEEP;
    }
    if (bias == QK_RESTORE &&
        qk_blend_same_dtype(target->side[QK_PRE]->role[role].bias, target->side[QK_POST]->role[role].bias)) {
        QK_TRY(copy_bias(pair, layer, role, bias_bytes, err));
        bias = QK_KEEP;
    }
    if (weight == QK_KEEP && bias == QK_KEEP)
        return QK_OK;
    struct qk_blend_heads *b;
    QK_TRY(qk_blend_heads_new(pair, layer, choice, &b, err));
    enum qk_code code = QK_OK;
    if (weight != QK_KEEP)
        code = store_weight(b, role, bytes, progress, err);
    if (code == QK_OK && bias != QK_KEEP)
        code = store_bias(b, role, bias_bytes, err);
    qk_blend_heads_free(&b->base);
    return code;
}

size_t qk_blend_memory(const struct qk_layer *post)
{
    size_t m = (size_t)post->head_dim;
    /* pre, post, the result; squares; the part for float32 */
    return (3 * m * post->d + 6 * m * m) * sizeof(double) + qk_bf16_work_bytes(m);
}

enum qk_code qk_blend_gain(const struct qk_pair *pair, int layer, enum qk_role role,
    const struct qk_layer_choice *choice, void *bytes, struct qk_error *err)
{
    const struct qk_tensor *pre = pair->layer[layer].side[QK_PRE]->role[role].norm,
                           *post = pair->layer[layer].side[QK_POST]->role[role].norm;
    struct qk_choice effect = qk_blend_effect(choice, role, QK_PART_GAIN);
    if (effect.mode == QK_KEEP || post == NULL)
        return QK_OK;
    QK_TRY(qk_blend_check(pair, layer, choice, true, err));
    const struct qk_checkpoint *checkpoint = pair->model[QK_PRE]->checkpoint;
    if (effect.mode == QK_RESTORE && qk_blend_same_dtype(pre, post))
        return qk_checkpoint_read(checkpoint, pre, 0, bytes, (size_t)pre->bytes, err);
    size_t n = qk_blend_gain_values(post);
    double *values;
    QK_TRY(qk_alloc(&values, 3 * n, sizeof *values, err));
    double *before = values + n, *raw = before + n; /* n values of any dtype fit into n doubles */
    enum qk_code code = qk_checkpoint_read(checkpoint, pre, 0, raw, (size_t)pre->bytes, err);
    if (code == QK_OK) {
        qk_dtype_to_f64(pre->dtype, raw, n, before);
        qk_dtype_to_f64(post->dtype, bytes, n, values);
        if (effect.mode == QK_RESTORE) {
            memcpy(values, before, n * sizeof *values);
        } else {
            code = qk_blend_check_finite(pair->model[QK_PRE], pre, role, -1, n, before, err);
            if (code == QK_OK)
                code = qk_blend_check_finite(pair->model[QK_POST], post, role, -1, n, values, err);
            qk_mode_ops(effect.mode)->gain(effect.param, n, before, values, values);
        }
        if (code == QK_OK)
            code = qk_blend_round(pair, post, n, values, bytes, err);
    }
    free(values);
    return code;
}
