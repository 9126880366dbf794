/* blend.c - the heads of pre and post under a choice, and the current model's head views. */
#include "blend/blend_internal.h"

#include "base/mem.h"
#include "drift/product.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool qk_blend_has_forms(enum qk_mode mode)
{
    return qk_mode_ops(mode)->form != NULL;
}

enum qk_code qk_blend_form(
    const struct qk_pair *pair, int layer, enum qk_mode mode, struct qk_mode_form *out, struct qk_error *err)
{
    const struct qk_mode_ops *ops = qk_mode_ops(mode);
    *out = (struct qk_mode_form){0};
    return ops->form != NULL ? ops->form(pair, layer, out, err) : QK_OK;
}

/* --- head views --- */

/* The loop has no exit and works in whole numbers, so that it costs less than reading the values. */
static bool all_finite(size_t n, const double *values)
{
    const uint64_t exponent = 0x7ffull << 52;
    uint64_t found = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        found |= (bits & exponent) + (1ull << 52); /* all ones carry over into the sign */
    }
    return found >> 63 == 0;
}

enum qk_code qk_blend_check_finite(const struct qk_model *model, const struct qk_tensor *tensor,
    enum qk_role role, int head, size_t n, const double *values, struct qk_error *err)
{
    if (all_finite(n, values))
        return QK_OK;
    char place[32] = "";
    if (head >= 0)
        snprintf(place, sizeof place, "%s head %d ", qk_role_name(role), head);
    return qk_fail(err, QK_INPUT, "%s: %s: %sholds values that are not finite and cannot be blended",
        qk_checkpoint_file(model->checkpoint, tensor), tensor->name, place);
}

enum qk_code qk_blend_fail_unreadable(
    const struct qk_checkpoint *checkpoint, const struct qk_tensor *tensor, struct qk_error *err)
{
    return qk_fail(err, QK_INPUT, "%s: %s: %s is not read as numbers", qk_checkpoint_file(checkpoint, tensor),
        tensor->name, tensor->dtype_text);
}

enum qk_code qk_blend_read_finite(const struct qk_blend_heads *b, enum qk_side side, enum qk_role role,
    int head, double *out, struct qk_error *err)
{
    QK_TRY(qk_view_read(b->pair->model[side], b->side[side], role, head, out, err));
    return qk_blend_check_finite(
        b->pair->model[side], b->side[side]->role[role].weight, role, head, b->m * b->n, out, err);
}

enum qk_code qk_blend_read_both(
    const struct qk_blend_heads *b, enum qk_role role, int head, struct qk_error *err)
{
    QK_TRY(qk_blend_read_finite(b, QK_PRE, role, head, b->pre, err));
    return qk_blend_read_finite(b, QK_POST, role, head, b->post, err);
}

int qk_blend_exponent(size_t n, const double *x)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        double value = fabs(x[i]); /* fmax is a call */
        largest = value > largest ? value : largest;
    }
    int exponent = 0;
    if (largest > 0)
        frexp(largest, &exponent);
    return exponent;
}

void qk_blend_scale(size_t n, double *x, int exponent)
{
    if (exponent == 0)
        return;
    /* 2^1074 is no number, so there are two factors; the first is exact where it makes numbers larger. */
    double half = ldexp(1.0, exponent / 2), rest = ldexp(1.0, exponent - exponent / 2);
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] * half * rest;
}

enum qk_code qk_blend_prepare(
    struct qk_blend_heads *b, enum qk_mode mode, enum qk_role role, int head, struct qk_error *err)
{
    const struct qk_mode_ops *ops = qk_mode_ops(mode);
    int group = role == QK_K ? head : head / b->per_group;
    if (ops->prepare_group == NULL || b->group[mode] == group)
        return QK_OK;
    b->group[mode] = -1;
    QK_TRY(ops->prepare_group(b, b->state[mode], group, err));
    b->group[mode] = group;
    return QK_OK;
}

static struct qk_choice weight_effect(const struct qk_blend_heads *b, enum qk_role role, int head)
{
    return qk_blend_effect(b->side[QK_POST], &b->choice, role, QK_PART_WEIGHT, head);
}

/* Copies a head of one side as it is, finite or not. What latent attention shares comes from where it is taken. */
static enum qk_code read_side(const struct qk_blend_heads *b, enum qk_side side, enum qk_role role, int head,
    double *out, struct qk_error *err)
{
    if (b->side[side]->role[role].down == NULL)
        return qk_view_read(b->pair->model[side], b->side[side], role, head, out, err);
    /* k's latent makes values, too; q's is q's alone */
    enum qk_side latent = qk_blend_takes_shared(&b->choice, role, role == QK_K) ? QK_PRE : QK_POST,
                 tail = qk_blend_takes_shared(&b->choice, role, false) ? QK_PRE : QK_POST;
    const struct qk_product_sources sources = {{b->pair->model[side], b->side[side]},
        {b->pair->model[latent], b->side[latent]}, {b->pair->model[tail], b->side[tail]}};
    return qk_product_read(&sources, role, head, out, err);
}

/* Computes the blended head before rounding; out (m, n) must not overlap pre and post. */
static enum qk_code blend_head(
    struct qk_blend_heads *b, enum qk_role role, int head, double *out, struct qk_error *err)
{
    struct qk_choice effect = weight_effect(b, role, head);
    if (effect.mode == QK_KEEP || effect.mode == QK_RESTORE)
        return read_side(b, effect.mode == QK_KEEP ? QK_POST : QK_PRE, role, head, out, err);
    QK_TRY(qk_blend_prepare(b, effect.mode, role, head, err));
    QK_TRY(qk_blend_read_both(b, role, head, err));
    qk_mode_ops(effect.mode)->blend(b, b->state[effect.mode], effect.param, b->n, b->pre, b->post, out);
    return QK_OK;
}

enum qk_code qk_blend_round(const struct qk_pair *pair, const struct qk_tensor *tensor, size_t n,
    const double *values, void *raw, struct qk_error *err)
{
    size_t overflows = qk_dtype_from_f64(tensor->dtype, values, n, raw);
    if (overflows > 0)
        return qk_fail(err, QK_INPUT, "%s: %s: %zu results are too large for %s",
            qk_checkpoint_file(pair->model[QK_POST]->checkpoint, tensor), tensor->name, overflows,
            tensor->dtype_text);
    return QK_OK;
}

/* True when the weights of both sides are bfloat16 and the head's blend has a form in float32. */
static bool is_bf16_blend(const struct qk_blend_heads *b, enum qk_role role, int head)
{
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        if (b->side[s]->role[role].weight->dtype != QK_BF16)
            return false;
    return qk_mode_ops(weight_effect(b, role, head).mode)->bf16 != NULL;
}

/* *done: raw (m, n) holds the head; otherwise blend_head reports what is wrong with it. */
static enum qk_code blend_bf16(
    struct qk_blend_heads *b, enum qk_role role, int head, void *raw, bool *done, struct qk_error *err)
{
    struct qk_choice effect = weight_effect(b, role, head);
    struct qk_bf16_blend blend;
    QK_TRY(qk_blend_prepare(b, effect.mode, role, head, err));
    if (!qk_mode_ops(effect.mode)->bf16(b->state[effect.mode], effect.param, &blend))
        return QK_OK;
    double *values[QK_SIDE_COUNT] = {b->pre, b->post};
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        QK_TRY(qk_view_read_stored(b->pair->model[s], b->side[s], role, head, 0, b->m, values[s], err));
    QK_TRY(qk_bf16_work_reserve(&b->bf16, b->m, err));
    *done = qk_bf16_blend(&blend, b->n, b->pre, b->post, raw, &b->bf16);
    return QK_OK;
}

enum qk_code qk_blend_round_head(
    struct qk_blend_heads *b, enum qk_role role, int head, double *values, void *raw, struct qk_error *err)
{
    bool done = false;
    if (is_bf16_blend(b, role, head))
        QK_TRY(blend_bf16(b, role, head, raw, &done, err));
    if (done)
        return QK_OK;
    QK_TRY(blend_head(b, role, head, values, err));
    return qk_blend_round(b->pair, b->side[QK_POST]->role[role].weight, b->m * b->n, values, raw, err);
}

size_t qk_blend_gain_values(const struct qk_tensor *norm)
{
    return (size_t)(norm->n_dims == 2 ? norm->shape[0] * norm->shape[1] : norm->shape[0]);
}

static enum qk_code read_blend(
    struct qk_heads *heads, enum qk_role role, int head, double *out, struct qk_error *err)
{
    struct qk_blend_heads *b = (struct qk_blend_heads *)heads;
    bool product = b->side[QK_POST]->role[role].n_slices > 0; /* its factors are rounded, not the product */
    if (product || weight_effect(b, role, head).mode == QK_KEEP) {
        QK_TRY(blend_head(b, role, head, out, err));
    } else {
        QK_TRY(qk_blend_round_head(b, role, head, out, b->pre, err));
        qk_dtype_to_f64(b->side[QK_POST]->role[role].weight->dtype, b->pre, b->m * b->n, out);
    }
    size_t first = qk_blend_shares_gain(b->side[QK_POST], role) ? 0 : (size_t)head * b->m;
    for (size_t i = 0; b->gains[role] != NULL && i < b->m; i++) {
        /* Not by dscal, which turns NaN into 0 when it scales by 0. */
        for (size_t j = 0; j < b->n; j++)
            out[i * b->n + j] *= b->gains[role][first + i];
    }
    return QK_OK;
}

void qk_blend_heads_free(struct qk_heads *heads)
{
    struct qk_blend_heads *b = (struct qk_blend_heads *)heads;
    free(b->pre);
    free(b->post);
    free(b->column);
    free(b->gains[QK_Q]);
    free(b->gains[QK_K]);
    for (int m = 0; m < QK_MODE_COUNT; m++)
        free(b->state[m]);
    qk_bf16_work_free(&b->bf16);
    qk_layer_choice_free(&b->choice);
    free(b);
}

/* Reads all values of the role's norm, as they act. */
static enum qk_code prepare_gains(
    struct qk_blend_heads *b, enum qk_role role, enum qk_gains gains, struct qk_error *err)
{
    const struct qk_tensor *norm = b->side[QK_POST]->role[role].norm;
    if (gains == QK_GAINS_NONE || norm == NULL)
        return QK_OK;
    const struct qk_checkpoint *checkpoint = b->pair->model[QK_POST]->checkpoint;
    if (!qk_dtype_readable(norm->dtype))
        return qk_blend_fail_unreadable(checkpoint, norm, err);
    void *bytes;
    size_t n = qk_blend_gain_values(norm);
    QK_TRY(qk_alloc(&b->gains[role], n, sizeof(double), err));
    QK_TRY(qk_alloc(&bytes, (size_t)norm->bytes, 1, err));
    enum qk_code code = qk_checkpoint_read(checkpoint, norm, 0, bytes, (size_t)norm->bytes, err);
    if (code == QK_OK && gains == QK_GAINS_CHOSEN)
        code = qk_blend_gain(b->pair, b->base.layer->index, role, &b->choice, bytes, err);
    if (code == QK_OK)
        qk_dtype_to_f64(norm->dtype, bytes, n, b->gains[role]);
    for (size_t i = 0; i < n && b->side[QK_POST]->gain_plus_one; i++)
        b->gains[role][i] += 1;
    free(bytes);
    return code;
}

static enum qk_code prepare_head(struct qk_blend_heads *b, enum qk_role role, int head, struct qk_error *err)
{
    for (int part = 0; part < QK_PART_COUNT; part++) {
        enum qk_mode mode =
            qk_blend_effect(b->side[QK_POST], &b->choice, role, (enum qk_part)part, head).mode;
        const struct qk_mode_ops *ops = qk_mode_ops(mode);
        if (ops->prepare != NULL && b->state[mode] == NULL)
            QK_TRY(ops->prepare(b, &b->state[mode], err));
    }
    return QK_OK;
}

/* Prepares the states of the modes that act on any part of any head. */
static enum qk_code prepare_modes(struct qk_blend_heads *b, struct qk_error *err)
{
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        for (int h = 0; h < qk_layer_choice_count(&b->choice, (enum qk_role)r); h++)
            QK_TRY(prepare_head(b, (enum qk_role)r, h, err));
    return QK_OK;
}

static enum qk_code allocate_blend(struct qk_blend_heads *b, struct qk_error *err)
{
    size_t m = b->m, n = b->n;
    QK_TRY(qk_alloc_aligned(&b->pre, m * n, sizeof(double), err));
    QK_TRY(qk_alloc_aligned(&b->post, m * n, sizeof(double), err));
    QK_TRY(qk_alloc(&b->column, m, sizeof(double), err));
    return prepare_modes(b, err);
}

enum qk_code qk_blend_heads_new(const struct qk_pair *pair, int layer, const struct qk_layer_choice *choice,
    struct qk_blend_heads **out, struct qk_error *err)
{
    struct qk_blend_heads *b;
    *out = NULL;
    QK_TRY(qk_alloc(&b, 1, sizeof *b, err));
    b->base = (struct qk_heads){.layer = &pair->layer[layer],
        .where = "current",
        .named = pair->layer[layer].side[QK_POST],
        .read = read_blend,
        .free = qk_blend_heads_free};
    b->pair = pair;
    memcpy(b->side, pair->layer[layer].side, sizeof b->side);
    b->choice = qk_layer_choice_copy(choice);
    const struct qk_layer *post = b->side[QK_POST];
    b->m = (size_t)post->head_dim;
    b->n = post->d;
    b->per_group = post->no_k != NULL ? 1 : post->role[QK_Q].n_heads / post->role[QK_K].n_heads;
    for (int mode = 0; mode < QK_MODE_COUNT; mode++)
        b->group[mode] = -1;
    enum qk_code code = allocate_blend(b, err);
    if (code != QK_OK)
        qk_blend_heads_free(&b->base);
    else
        *out = b;
    return code;
}

enum qk_code qk_heads_of_blend(const struct qk_pair *pair, int layer, const struct qk_layer_choice *choice,
    enum qk_gains gains, struct qk_heads **out, struct qk_error *err)
{
    struct qk_blend_heads *b;
    *out = NULL;
    QK_TRY(qk_blend_check(pair, layer, choice, gains == QK_GAINS_CHOSEN, err));
    QK_TRY(qk_blend_heads_new(pair, layer, choice, &b, err));
    enum qk_code code = QK_OK;
    for (int r = 0; r < QK_ROLE_COUNT && code == QK_OK; r++)
        code = prepare_gains(b, (enum qk_role)r, gains, err);
    if (code != QK_OK)
        qk_blend_heads_free(&b->base);
    else
        *out = &b->base;
    return code;
}
