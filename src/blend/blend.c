/* blend.c - what is left of pre and post in a head under a choice, and the current model's head views. */
#include "blend/blend_internal.h"

#include "base/mem.h"
#include "drift/product.h"
#include "linalg/linalg.h"

#include <assert.h>
#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qk_choice qk_blend_effect(
    const struct qk_choice choice[QK_ROLE_COUNT], enum qk_role role, enum qk_part part)
{
    struct qk_choice effect = qk_choice_effect(choice[role]);
    if (effect.mode == QK_RESTORE_LATENT || (effect.mode == QK_QKPRO && role == QK_K))
        return (struct qk_choice){QK_RESTORE, 0};
    if (effect.mode == QK_QKPRO && part != QK_PART_WEIGHT)
        return (struct qk_choice){QK_KEEP, 0};
    if (effect.mode == QK_PROCRUSTES && part == QK_PART_GAIN)
        return qk_choice_effect((struct qk_choice){QK_LERP, effect.param});
    return effect;
}

bool qk_blend_takes_slice(
    const struct qk_choice choice[QK_ROLE_COUNT], enum qk_role role, const struct qk_slice *slice)
{
    bool restored = qk_blend_effect(choice, role, QK_PART_WEIGHT).mode == QK_RESTORE;
    return restored && (!slice->latent || choice[role].mode == QK_RESTORE_LATENT);
}

/* --- head views --- */

static bool has_mode(const struct qk_blend_heads *b, enum qk_mode mode)
{
    return qk_choice_effect(b->choice[QK_Q]).mode == mode || qk_choice_effect(b->choice[QK_K]).mode == mode;
}

/* Without a way out of the loop and in whole numbers, so that it costs less than reading the values. */
static bool all_finite(size_t n, const double *values)
{
    const uint64_t exponent = 0x7ffull << 52;
    uint64_t found = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        found |= (bits & exponent) + (1ull << 52); /* all ones run over into the sign */
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

/* One head of one side, all of it finite. */
static enum qk_code read_finite(const struct qk_blend_heads *b, enum qk_side side, enum qk_role role,
    int head, double *out, struct qk_error *err)
{
    QK_TRY(qk_view_read(b->pair->model[side], b->side[side], role, head, out, err));
    return qk_blend_check_finite(
        b->pair->model[side], b->side[side]->role[role].weight, role, head, b->m * b->n, out, err);
}

static enum qk_code read_both(
    const struct qk_blend_heads *b, enum qk_role role, int head, struct qk_error *err)
{
    QK_TRY(read_finite(b, QK_PRE, role, head, b->pre, err));
    return read_finite(b, QK_POST, role, head, b->post, err);
}

/* The power of two that brings the largest |x| near 1; 0 for zeros. */
static int size_exponent(size_t n, const double *x)
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

static void scale(size_t n, double *x, int exponent)
{
    if (exponent == 0)
        return;
    /* 2^1074 is no number: two factors, the first of which is exact where it makes numbers larger. */
    double half = ldexp(1.0, exponent / 2), rest = ldexp(1.0, exponent - exponent / 2);
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] * half * rest;
}

/* turn = R of the group. M is only needed up to a factor, and scaled so that it cannot overflow. */
static enum qk_code prepare_turn(struct qk_blend_heads *b, int group, struct qk_error *err)
{
    size_t m = b->m, n = b->n;
    double *product = NULL;
    QK_TRY(qk_alloc(&product, m * m, sizeof *product, err));
    enum qk_code code = read_both(b, QK_K, group, err);
    int pre_exponent = 0, post_exponent = 0;
    for (int i = -1; i < b->per_group && code == QK_OK; i++) { /* -1: the key head */
        if (i >= 0)
            code = read_both(b, QK_Q, group * b->per_group + i, err);
        if (code != QK_OK)
            break;
        if (i < 0) {
            enum { USUAL = 100 };
            pre_exponent = size_exponent(m * n, b->pre);
            post_exponent = size_exponent(m * n, b->post);
            pre_exponent = abs(pre_exponent) > USUAL ? -pre_exponent : 0;
            post_exponent = abs(post_exponent) > USUAL ? -post_exponent : 0;
        }
        scale(m * n, b->pre, pre_exponent);
        scale(m * n, b->post, post_exponent);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)m, (int)n, 1.0, b->pre, (int)n,
            b->post, (int)n, 1.0, product, (int)m);
    }
    if (code == QK_OK)
        code = qk_rotation_solve(b->rotation, b->side[QK_POST], product, b->turn, err);
    free(product);
    return code;
}

/* damping = D = l (G/t + l I)^-1 = V diag(l / (e + l)) V^T, e and V the eigenvalues and vectors of G/t. */
static enum qk_code prepare_damping(struct qk_blend_heads *b, int group, struct qk_error *err)
{
    size_t m = b->m, n = b->n;
    double lambda = b->choice[QK_K].param, trace = 0, *vectors = NULL, *damped, *values;
    QK_TRY(read_finite(b, QK_PRE, QK_K, group, b->pre, err));
    scale(m * n, b->pre, -size_exponent(m * n, b->pre));
    QK_TRY(qk_alloc(&vectors, 2 * m * m + m, sizeof *vectors, err));
    damped = vectors + m * m;
    values = damped + m * m;
    qk_gram(m, n, b->pre, vectors);
    for (size_t i = 0; i < m; i++)
        trace += vectors[i * m + i];
    b->no_keys = trace == 0;
    for (size_t i = 0; i < m * m && !b->no_keys; i++)
        vectors[i] /= trace / (double)m;
    lapack_int failure = b->no_keys ? 0
                                    : LAPACKE_dsyevd(LAPACK_ROW_MAJOR, 'V', 'L', (lapack_int)m, vectors,
                                          (lapack_int)m, values);
    if (failure == 0 && !b->no_keys) {
        for (size_t j = 0; j < m; j++) {
            /* l / (e + l), so that neither a huge nor a tiny l overflows on the way */
            double e = fmax(values[j], 0), factor = lambda > 1 ? 1 / (e / lambda + 1) : lambda / (e + lambda);
            for (size_t i = 0; i < m; i++)
                damped[i * m + j] = vectors[i * m + j] * factor;
        }
        qk_product_abt(m, m, damped, vectors, b->damping);
    }
    free(vectors);
    return failure == 0 ? QK_OK
                        : qk_fail(err, QK_INPUT, "layer %d: the eigenvalues of key head %d do not converge",
                              b->base.layer->index, group);
}

enum qk_code qk_blend_prepare_group(struct qk_blend_heads *b, int group, struct qk_error *err)
{
    if (b->group == group)
        return QK_OK;
    b->group = -1;
    if (b->turn != NULL)
        QK_TRY(prepare_turn(b, group, err));
    if (b->damping != NULL)
        QK_TRY(prepare_damping(b, group, err));
    b->group = group;
    return QK_OK;
}

void qk_blend_turn(const struct qk_blend_heads *b, double alpha, size_t columns, const double *pre,
    const double *post, double *out)
{
    memcpy(out, pre, b->m * columns * sizeof *out);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)b->m, (int)columns, (int)b->m, 1 - alpha,
        b->turn, (int)b->m, post, (int)columns, alpha, out, (int)columns);
}

void qk_blend_lerp(double alpha, size_t n, const double *pre, const double *post, double *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (1 - alpha) * post[i] + alpha * pre[i];
}

/* The blended head before rounding; out (m, n) may not overlap pre and post. */
static enum qk_code blend_head(
    struct qk_blend_heads *b, enum qk_role role, int head, double *out, struct qk_error *err)
{
    struct qk_choice effect = qk_blend_effect(b->choice, role, QK_PART_WEIGHT);
    size_t m = b->m, n = b->n;
    if (effect.mode == QK_KEEP || effect.mode == QK_RESTORE) {
        enum qk_side side = effect.mode == QK_KEEP ? QK_POST : QK_PRE;
        if (b->side[side]->role[role].down != NULL) {
            bool latent_stays = role == QK_K && b->choice[role].mode != QK_RESTORE_LATENT;
            enum qk_side from = latent_stays ? QK_POST : side;
            return qk_product_read(b->pair->model[side], b->side[side], b->pair->model[from], b->side[from],
                role, head, out, err);
        }
        return qk_view_read(b->pair->model[side], b->side[side], role, head, out, err);
    }
    QK_TRY(qk_blend_prepare_group(b, role == QK_K ? head : head / b->per_group, err));
    QK_TRY(read_both(b, role, head, err));
    if (effect.mode == QK_LERP) {
        qk_blend_lerp(effect.param, m * n, b->pre, b->post, out);
    } else if (effect.mode == QK_PROCRUSTES) {
        qk_blend_turn(b, effect.param, n, b->pre, b->post, out);
    } else if (b->no_keys) {
        memcpy(out, b->post, m * n * sizeof *out);
    } else {
        assert(effect.mode == QK_QKPRO);
        for (size_t i = 0; i < m * n; i++)
            b->post[i] = b->pre[i] - b->post[i];
        memcpy(out, b->pre, m * n * sizeof *out);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)n, (int)m, -1.0, b->damping,
            (int)m, b->post, (int)n, 1.0, out, (int)n);
    }
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

/* The weights of both sides are bfloat16, and this blend takes arithmetic. */
static bool is_bf16_blend(const struct qk_blend_heads *b, enum qk_role role)
{
    enum qk_mode mode = qk_blend_effect(b->choice, role, QK_PART_WEIGHT).mode;
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        if (b->side[s]->role[role].weight->dtype != QK_BF16)
            return false;
    return mode == QK_LERP || mode == QK_PROCRUSTES || mode == QK_QKPRO;
}

/* *done: whether raw (m, n) holds the head; else the way by blend_head will tell what is wrong with it. */
static enum qk_code blend_bf16(
    struct qk_blend_heads *b, enum qk_role role, int head, void *raw, bool *done, struct qk_error *err)
{
    struct qk_choice effect = qk_blend_effect(b->choice, role, QK_PART_WEIGHT);
    QK_TRY(qk_blend_prepare_group(b, role == QK_K ? head : head / b->per_group, err));
    struct qk_bf16_blend blend = {.weight = effect.param, .factor = 1 - effect.param};
    if (effect.mode == QK_PROCRUSTES)
        blend.matrix = b->turn;
    if (effect.mode == QK_QKPRO)
        blend = (struct qk_bf16_blend){1, -1, b->damping, true};
    if (effect.mode == QK_QKPRO && b->no_keys)
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
    if (is_bf16_blend(b, role))
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
    bool product = b->side[QK_POST]->role[role].n_slices > 0; /* its factors are rounded, not it */
    if (product || qk_blend_effect(b->choice, role, QK_PART_WEIGHT).mode == QK_KEEP) {
        QK_TRY(blend_head(b, role, head, out, err));
    } else {
        QK_TRY(qk_blend_round_head(b, role, head, out, b->pre, err));
        qk_dtype_to_f64(b->side[QK_POST]->role[role].weight->dtype, b->pre, b->m * b->n, out);
    }
    const struct qk_tensor *norm = b->side[QK_POST]->role[role].norm;
    for (size_t i = 0; b->gains[role] != NULL && i < b->m; i++) {
        size_t first =
            qk_blend_gain_values(norm) == b->m ? 0 : (size_t)head * b->m; /* one for all, or each its own */
        /* Not dscal, which makes zeros of NaN when it scales by 0. */
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
    free(b->turn);
    free(b->damping);
    qk_bf16_work_free(&b->bf16);
    free(b);
}

/* The values of the role's norm, all of them, as they act. */
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
        code = qk_blend_gain(b->pair, b->base.layer->index, role, b->choice, bytes, err);
    if (code == QK_OK)
        qk_dtype_to_f64(norm->dtype, bytes, n, b->gains[role]);
    for (size_t i = 0; i < n && b->side[QK_POST]->gain_plus_one; i++)
        b->gains[role][i] += 1;
    free(bytes);
    return code;
}

static enum qk_code allocate_blend(struct qk_blend_heads *b, struct qk_error *err)
{
    size_t m = b->m, n = b->n;
    QK_TRY(qk_alloc_aligned(&b->pre, m * n, sizeof(double), err));
    QK_TRY(qk_alloc_aligned(&b->post, m * n, sizeof(double), err));
    QK_TRY(qk_alloc(&b->column, m, sizeof(double), err));
    if (has_mode(b, QK_PROCRUSTES)) {
        const char *why;
        QK_TRY(qk_blend_rotation(b->pair, b->base.layer->index, &b->rotation, &why, err));
        QK_TRY(qk_alloc(&b->turn, m * m, sizeof(double), err));
    }
    if (has_mode(b, QK_QKPRO))
        QK_TRY(qk_alloc(&b->damping, m * m, sizeof(double), err));
    return QK_OK;
}

enum qk_code qk_blend_heads_new(const struct qk_pair *pair, int layer,
    const struct qk_choice choice[QK_ROLE_COUNT], struct qk_blend_heads **out, struct qk_error *err)
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
    memcpy(b->choice, choice, sizeof b->choice);
    const struct qk_layer *post = b->side[QK_POST];
    b->m = (size_t)post->head_dim;
    b->n = post->d;
    b->per_group = post->no_k != NULL ? 1 : post->role[QK_Q].n_heads / post->role[QK_K].n_heads;
    b->group = -1;
    enum qk_code code = allocate_blend(b, err);
    if (code != QK_OK)
        qk_blend_heads_free(&b->base);
    else
        *out = b;
    return code;
}

enum qk_code qk_heads_of_blend(const struct qk_pair *pair, int layer,
    const struct qk_choice choice[QK_ROLE_COUNT], enum qk_gains gains, struct qk_heads **out,
    struct qk_error *err)
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
