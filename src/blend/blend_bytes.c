/* blend_bytes.c - the bytes that an export writes for the blended rows. */
#include "blend/blend_internal.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Copies the byte ranges of a head; both sides have the same dtype and orientation. */
static enum qk_code copy_head(
    const struct qk_pair *pair, int layer, enum qk_role role, int head, char *bytes, struct qk_error *err)
{
    const struct qk_layer *pre = pair->layer[layer].side[QK_PRE], *post = pair->layer[layer].side[QK_POST];
    const struct qk_checkpoint *checkpoint = pair->model[QK_PRE]->checkpoint;
    uint64_t first[QK_SIDE_COUNT], stride[QK_SIDE_COUNT], length, count;
    qk_view_ranges(pre, role, head, &first[QK_PRE], &stride[QK_PRE], &length, &count);
    qk_view_ranges(post, role, head, &first[QK_POST], &stride[QK_POST], &length, &count);
    for (uint64_t i = 0; i < count; i++)
        QK_TRY(qk_checkpoint_read(checkpoint, pre->role[role].weight, first[QK_PRE] + i * stride[QK_PRE],
            bytes + first[QK_POST] + i * stride[QK_POST], (size_t)length, err));
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

/* Stores the heads that are neither kept nor `copied` where they are restored. */
static enum qk_code store_weight(struct qk_blend_heads *b, enum qk_role role, bool copied, char *bytes,
    struct qk_progress *progress, struct qk_error *err)
{
    double *values;
    QK_TRY(qk_alloc_aligned(&values, b->m * b->n, sizeof *values, err));
    enum qk_code code = QK_OK;
    for (int h = 0; h < b->side[QK_POST]->role[role].n_heads && code == QK_OK; h++) {
        enum qk_mode mode = qk_blend_effect(b->side[QK_POST], &b->choice, role, QK_PART_WEIGHT, h).mode;
        if (mode == QK_KEEP || (mode == QK_RESTORE && copied))
            continue;
        code = qk_progress_check(progress, err);
        if (code == QK_OK)
            code = store_head(b, role, h, values, bytes, err);
    }
    free(values);
    return code;
}

static enum qk_code store_bias_of(struct qk_blend_heads *b, enum qk_role role, int head,
    struct qk_choice effect, char *bytes, struct qk_error *err)
{
    const struct qk_tensor *bias = b->side[QK_POST]->role[role].bias;
    size_t m = b->m, size = qk_dtype_bits(bias->dtype) / 8;
    double *values[QK_SIDE_COUNT] = {b->pre, b->post};
    /* Comes before pre's and post's buffers are filled: preparing a group uses them. */
    QK_TRY(qk_blend_prepare(b, effect.mode, role, head, err));
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        QK_TRY(qk_view_read_bias(b->pair->model[s], b->side[s], role, head, values[s], err));
        if (effect.mode != QK_RESTORE)
            QK_TRY(qk_blend_check_finite(
                b->pair->model[s], b->side[s]->role[role].bias, role, head, m, values[s], err));
    }
    if (effect.mode == QK_RESTORE)
        memcpy(b->column, b->pre, m * sizeof *b->column);
    else
        qk_mode_ops(effect.mode)
            ->blend(b, b->state[effect.mode], effect.param, 1, b->pre, b->post, b->column);
    char *place = bytes + b->side[QK_POST]->role[role].first_row[head] * size;
    return qk_blend_round(b->pair, bias, m, b->column, place, err);
}

static enum qk_code store_bias(
    struct qk_blend_heads *b, enum qk_role role, bool copied, char *bytes, struct qk_error *err)
{
    for (int h = 0; h < b->side[QK_POST]->role[role].n_heads; h++) {
        struct qk_choice effect = qk_blend_effect(b->side[QK_POST], &b->choice, role, QK_PART_BIAS, h);
        if (effect.mode != QK_KEEP && (effect.mode != QK_RESTORE || !copied))
            QK_TRY(store_bias_of(b, role, h, effect, bytes, err));
    }
    return QK_OK;
}

/* Copies the head's entries of pre's bias, byte for byte. */
static enum qk_code copy_bias(
    const struct qk_pair *pair, int layer, enum qk_role role, int head, char *bytes, struct qk_error *err)
{
    const struct qk_layer *post = pair->layer[layer].side[QK_POST];
    const struct qk_view *from = &pair->layer[layer].side[QK_PRE]->role[role], *to = &post->role[role];
    uint64_t size = qk_dtype_bits(to->bias->dtype) / 8, length = (uint64_t)post->head_dim * size;
    return qk_checkpoint_read(pair->model[QK_PRE]->checkpoint, from->bias, from->first_row[head] * size,
        bytes + to->first_row[head] * size, (size_t)length, err);
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

/* Takes `length` rows from row `first` on. Their places in pre are the same: qk_pair_open compares. */
static enum qk_code take_rows(const struct qk_pair *pair, const struct qk_slice *from,
    const struct qk_slice *to, uint64_t first, uint64_t length, char *bytes, struct qk_error *err)
{
    uint64_t width = to->tensor->n_dims == 2 ? to->tensor->shape[1] : 1, n = length * width,
             size = qk_dtype_bits(to->tensor->dtype) / 8;
    char *place = bytes + first * width * size;
    if (qk_blend_same_dtype(from->tensor, to->tensor))
        return qk_checkpoint_read(
            pair->model[QK_PRE]->checkpoint, from->tensor, first * width * size, place, n * size, err);
    return convert_rows(pair, from->tensor, to->tensor, first * width, n, place, err);
}

enum qk_code qk_blend_slice(const struct qk_pair *pair, int layer, enum qk_role role,
    const struct qk_layer_choice *choice, int slice, void *bytes, struct qk_error *err)
{
    const struct qk_layer *post = pair->layer[layer].side[QK_POST];
    const struct qk_slice *from = &pair->layer[layer].side[QK_PRE]->role[role].slice[slice],
                          *to = &post->role[role].slice[slice];
    uint64_t first, length;
    bool by_head = qk_blend_splits_slice(post, choice, role, to);
    bool all = !by_head && qk_blend_takes_slice(post, choice, role, to, 0);
    for (uint64_t i = 0; all && i < to->count; i++)
        QK_TRY(take_rows(pair, from, to, to->first + i * to->step, to->length, bytes, err));
    for (int h = 0; by_head && h < post->role[role].n_heads; h++) {
        qk_blend_slice_rows(post, role, to, h, &first, &length);
        if (qk_blend_takes_slice(post, choice, role, to, h))
            QK_TRY(take_rows(pair, from, to, first, length, bytes, err));
    }
    return QK_OK;
}

/* Copies what is restored byte for byte. *left: a head's rows or bias are left to be computed. */
static enum qk_code copy_restored(const struct qk_pair *pair, int layer, enum qk_role role,
    const struct qk_layer_choice *choice, const bool copied[QK_PART_COUNT], void *const bytes[QK_PART_COUNT],
    bool *left, struct qk_error *err)
{
    const struct qk_layer *post = pair->layer[layer].side[QK_POST];
    *left = false;
    for (int h = 0; h < post->role[role].n_heads; h++)
        for (int part = QK_PART_WEIGHT; part <= QK_PART_BIAS; part++) {
            enum qk_mode mode = qk_blend_effect(post, choice, role, (enum qk_part)part, h).mode;
            if (bytes[part] == NULL || mode == QK_KEEP)
                continue;
            if (mode != QK_RESTORE || !copied[part])
                *left = true;
            else if (part == QK_PART_WEIGHT)
                QK_TRY(copy_head(pair, layer, role, h, bytes[part], err));
            else
                QK_TRY(copy_bias(pair, layer, role, h, bytes[part], err));
        }
    return QK_OK;
}

enum qk_code qk_blend_role(const struct qk_pair *pair, int layer, enum qk_role role,
    const struct qk_layer_choice *choice, void *bytes, void *bias_bytes, struct qk_progress *progress,
    struct qk_error *err)
{
    const struct qk_pair_layer *target = &pair->layer[layer];
    const struct qk_view *pre = &target->side[QK_PRE]->role[role], *post = &target->side[QK_POST]->role[role];
    void *const part[QK_PART_COUNT] = {[QK_PART_WEIGHT] = bytes, [QK_PART_BIAS] = bias_bytes};
    const bool copied[QK_PART_COUNT] = {
        [QK_PART_WEIGHT] = bytes != NULL && qk_blend_copies_weight(target, role),
        [QK_PART_BIAS] = bias_bytes != NULL && qk_blend_same_dtype(pre->bias, post->bias)};
    bool left;
    QK_TRY(qk_blend_check(pair, layer, choice, false, err));
    QK_TRY(copy_restored(pair, layer, role, choice, copied, part, &left, err));
    if (!left)
        return QK_OK;
    struct qk_blend_heads *b;
    QK_TRY(qk_blend_heads_new(pair, layer, choice, &b, err));
    enum qk_code code = QK_OK;
    if (bytes != NULL)
        code = store_weight(b, role, copied[QK_PART_WEIGHT], bytes, progress, err);
    if (code == QK_OK && bias_bytes != NULL)
        code = store_bias(b, role, copied[QK_PART_BIAS], bias_bytes, err);
    qk_blend_heads_free(&b->base);
    return code;
}

size_t qk_blend_memory(const struct qk_layer *post)
{
    size_t m = (size_t)post->head_dim;
    /* pre, post, the result; squares; the part for float32 */
    return (3 * m * post->d + 6 * m * m) * sizeof(double) + qk_bf16_work_bytes(m);
}

/* The gains of one head, or those that all heads share: n values from value `first` on. `head` is for messages
 * (-1: all). */
static enum qk_code store_gain(const struct qk_pair *pair, int layer, enum qk_role role,
    struct qk_choice effect, int head, size_t first, size_t n, char *bytes, struct qk_error *err)
{
    const struct qk_tensor *pre = pair->layer[layer].side[QK_PRE]->role[role].norm,
                           *post = pair->layer[layer].side[QK_POST]->role[role].norm;
    const struct qk_checkpoint *checkpoint = pair->model[QK_PRE]->checkpoint;
    size_t size[QK_SIDE_COUNT] = {qk_dtype_bits(pre->dtype) / 8, qk_dtype_bits(post->dtype) / 8};
    char *place = bytes + first * size[QK_POST];
    if (effect.mode == QK_RESTORE && qk_blend_same_dtype(pre, post))
        return qk_checkpoint_read(checkpoint, pre, first * size[QK_PRE], place, n * size[QK_PRE], err);
    double *values;
    QK_TRY(qk_alloc(&values, 3 * n, sizeof *values, err));
    double *before = values + n, *raw = before + n; /* n values of any dtype fit into n doubles */
    enum qk_code code = qk_checkpoint_read(checkpoint, pre, first * size[QK_PRE], raw, n * size[QK_PRE], err);
    if (code == QK_OK) {
        qk_dtype_to_f64(pre->dtype, raw, n, before);
        qk_dtype_to_f64(post->dtype, place, n, values);
        if (effect.mode == QK_RESTORE) {
            memcpy(values, before, n * sizeof *values);
        } else {
            code = qk_blend_check_finite(pair->model[QK_PRE], pre, role, head, n, before, err);
            if (code == QK_OK)
                code = qk_blend_check_finite(pair->model[QK_POST], post, role, head, n, values, err);
            qk_mode_ops(effect.mode)->gain(effect.param, n, before, values, values);
        }
        if (code == QK_OK)
            code = qk_blend_round(pair, post, n, values, place, err);
    }
    free(values);
    return code;
}

/* True when the gains of all heads are kept. */
static bool keeps_gains(const struct qk_layer *post, const struct qk_layer_choice *choice, enum qk_role role)
{
    for (int h = 0; h < qk_layer_choice_count(choice, role); h++)
        if (qk_blend_effect(post, choice, role, QK_PART_GAIN, h).mode != QK_KEEP)
            return false;
    return true;
}

enum qk_code qk_blend_gain(const struct qk_pair *pair, int layer, enum qk_role role,
    const struct qk_layer_choice *choice, void *bytes, struct qk_error *err)
{
    const struct qk_layer *post = pair->layer[layer].side[QK_POST];
    if (post->role[role].norm == NULL || keeps_gains(post, choice, role))
        return QK_OK;
    QK_TRY(qk_blend_check(pair, layer, choice, true, err));
    size_t m = (size_t)post->head_dim;
    bool alike = qk_blend_shares_gain(post, role) || qk_layer_choice_count(choice, role) == 1;
    if (alike)
        return store_gain(pair, layer, role, qk_blend_effect(post, choice, role, QK_PART_GAIN, 0), -1, 0,
            qk_blend_gain_values(post->role[role].norm), bytes, err);
    for (int h = 0; h < post->role[role].n_heads; h++) {
        struct qk_choice effect = qk_blend_effect(post, choice, role, QK_PART_GAIN, h);
        if (effect.mode != QK_KEEP)
            QK_TRY(store_gain(pair, layer, role, effect, h, (size_t)h * m, m, bytes, err));
    }
    return QK_OK;
}
