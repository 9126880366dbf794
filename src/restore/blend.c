/* blend.c - the current model's head views, and the bytes that an export writes for them. */
#include "restore/blend.h"

#include "base/mem.h"
#include "drift/product.h"
#include "linalg/linalg.h"
#include "restore/blend_bf16.h"
#include "restore/rotation.h"

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

struct blend_heads {
    struct qk_heads base;
    const struct qk_pair *pair;
    const struct qk_layer *side[QK_SIDE_COUNT];
    struct qk_choice choice[QK_ROLE_COUNT];
    size_t m, n;   /* head_dim, d */
    int per_group; /* query heads that share a key head */
    enum qk_rotation rotation;
    double *pre, *post;           /* (m, n) */
    double *column;               /* m: scratch for bias entries */
    double *gains[QK_ROLE_COUNT]; /* what the rows are multiplied by; NULL: by nothing */
    int group;                    /* what the next two belong to; -1: nothing yet */
    double *turn;                 /* (m, m) R of the key group, for procrustes */
    double *damping;              /* (m, m) D of the key head, for qk-pro */
    bool no_keys;                 /* the key head is all zeros: qk-pro keeps post's queries */
    struct qk_bf16_work bf16;     /* reserved where it can be used */
};

static bool has_mode(const struct blend_heads *b, enum qk_mode mode)
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

/* QK_INPUT unless all n values are finite: those of one head in the tensor, or of all (-1). */
static enum qk_code check_finite(const struct qk_model *model, const struct qk_tensor *tensor,
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

static enum qk_code fail_unreadable(
    const struct qk_checkpoint *checkpoint, const struct qk_tensor *tensor, struct qk_error *err)
{
    return qk_fail(err, QK_INPUT, "%s: %s: %s is not read as numbers", qk_checkpoint_file(checkpoint, tensor),
        tensor->name, tensor->dtype_text);
}

/* One head of one side, all of it finite. */
static enum qk_code read_finite(const struct blend_heads *b, enum qk_side side, enum qk_role role, int head,
    double *out, struct qk_error *err)
{
    QK_TRY(qk_view_read(b->pair->model[side], b->side[side], role, head, out, err));
    return check_finite(
        b->pair->model[side], b->side[side]->role[role].weight, role, head, b->m * b->n, out, err);
}

static enum qk_code read_both(const struct blend_heads *b, enum qk_role role, int head, struct qk_error *err)
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
static enum qk_code prepare_turn(struct blend_heads *b, int group, struct qk_error *err)
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
static enum qk_code prepare_damping(struct blend_heads *b, int group, struct qk_error *err)
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

/* What the heads of a key group share; kept until another group is asked for. */
static enum qk_code prepare_group(struct blend_heads *b, int group, struct qk_error *err)
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

/* out (m, columns) = (1-a) R post + a pre for any number of columns: rows of weights, or a bias. */
static void turn_and_blend(const struct blend_heads *b, double alpha, size_t columns, const double *pre,
    const double *post, double *out)
{
    memcpy(out, pre, b->m * columns * sizeof *out);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)b->m, (int)columns, (int)b->m, 1 - alpha,
        b->turn, (int)b->m, post, (int)columns, alpha, out, (int)columns);
}

static void lerp(double alpha, size_t n, const double *pre, const double *post, double *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (1 - alpha) * post[i] + alpha * pre[i];
}

/* The blended head before rounding; out (m, n) may not overlap pre and post. */
static enum qk_code blend_head(
    struct blend_heads *b, enum qk_role role, int head, double *out, struct qk_error *err)
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
    QK_TRY(prepare_group(b, role == QK_K ? head : head / b->per_group, err));
    QK_TRY(read_both(b, role, head, err));
    if (effect.mode == QK_LERP) {
        lerp(effect.param, m * n, b->pre, b->post, out);
    } else if (effect.mode == QK_PROCRUSTES) {
        turn_and_blend(b, effect.param, n, b->pre, b->post, out);
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

/* Rounds n values to post's dtype of `tensor` into raw; QK_INPUT when one does not fit. */
static enum qk_code round_values(const struct qk_pair *pair, const struct qk_tensor *tensor, size_t n,
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
static bool is_bf16_blend(const struct blend_heads *b, enum qk_role role)
{
    enum qk_mode mode = qk_blend_effect(b->choice, role, QK_PART_WEIGHT).mode;
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        if (b->side[s]->role[role].weight->dtype != QK_BF16)
            return false;
    return mode == QK_LERP || mode == QK_PROCRUSTES || mode == QK_QKPRO;
}

/* *done: whether raw (m, n) holds the head; else the way by blend_head will tell what is wrong with it. */
static enum qk_code blend_bf16(
    struct blend_heads *b, enum qk_role role, int head, void *raw, bool *done, struct qk_error *err)
{
    struct qk_choice effect = qk_blend_effect(b->choice, role, QK_PART_WEIGHT);
    QK_TRY(prepare_group(b, role == QK_K ? head : head / b->per_group, err));
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

/* The blended head in post's dtype: raw (m, n), which may be pre's buffer. values (m, n) is scratch. */
static enum qk_code round_head(
    struct blend_heads *b, enum qk_role role, int head, double *values, void *raw, struct qk_error *err)
{
    bool done = false;
    if (is_bf16_blend(b, role))
        QK_TRY(blend_bf16(b, role, head, raw, &done, err));
    if (done)
        return QK_OK;
    QK_TRY(blend_head(b, role, head, values, err));
    return round_values(b->pair, b->side[QK_POST]->role[role].weight, b->m * b->n, values, raw, err);
}

/* Of a q/k norm: one head's gain, or all heads', in a row or as a (heads, head_dim) matrix. */
static size_t gain_values(const struct qk_tensor *norm)
{
    return (size_t)(norm->n_dims == 2 ? norm->shape[0] * norm->shape[1] : norm->shape[0]);
}

static enum qk_code read_blend(
    struct qk_heads *heads, enum qk_role role, int head, double *out, struct qk_error *err)
{
    struct blend_heads *b = (struct blend_heads *)heads;
    bool product = b->side[QK_POST]->role[role].n_slices > 0; /* its factors are rounded, not it */
    if (product || qk_blend_effect(b->choice, role, QK_PART_WEIGHT).mode == QK_KEEP) {
        QK_TRY(blend_head(b, role, head, out, err));
    } else {
        QK_TRY(round_head(b, role, head, out, b->pre, err));
        qk_dtype_to_f64(b->side[QK_POST]->role[role].weight->dtype, b->pre, b->m * b->n, out);
    }
    const struct qk_tensor *norm = b->side[QK_POST]->role[role].norm;
    for (size_t i = 0; b->gains[role] != NULL && i < b->m; i++) {
        size_t first = gain_values(norm) == b->m ? 0 : (size_t)head * b->m; /* one for all, or each its own */
        /* Not dscal, which makes zeros of NaN when it scales by 0. */
        for (size_t j = 0; j < b->n; j++)
            out[i * b->n + j] *= b->gains[role][first + i];
    }
    return QK_OK;
}

static void free_blend(struct qk_heads *heads)
{
    struct blend_heads *b = (struct blend_heads *)heads;
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
    struct blend_heads *b, enum qk_role role, enum qk_gains gains, struct qk_error *err)
{
    const struct qk_tensor *norm = b->side[QK_POST]->role[role].norm;
    if (gains == QK_GAINS_NONE || norm == NULL)
        return QK_OK;
    const struct qk_checkpoint *checkpoint = b->pair->model[QK_POST]->checkpoint;
    if (!qk_dtype_readable(norm->dtype))
        return fail_unreadable(checkpoint, norm, err);
    void *bytes;
    size_t n = gain_values(norm);
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

static enum qk_code allocate_blend(struct blend_heads *b, struct qk_error *err)
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

static enum qk_code make_blend(const struct qk_pair *pair, int layer,
    const struct qk_choice choice[QK_ROLE_COUNT], struct blend_heads **out, struct qk_error *err)
{
    struct blend_heads *b;
    *out = NULL;
    QK_TRY(qk_alloc(&b, 1, sizeof *b, err));
    b->base = (struct qk_heads){.layer = &pair->layer[layer],
        .where = "current",
        .named = pair->layer[layer].side[QK_POST],
        .read = read_blend,
        .free = free_blend};
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
        free_blend(&b->base);
    else
        *out = b;
    return code;
}

enum qk_code qk_heads_of_blend(const struct qk_pair *pair, int layer,
    const struct qk_choice choice[QK_ROLE_COUNT], enum qk_gains gains, struct qk_heads **out,
    struct qk_error *err)
{
    struct blend_heads *b;
    *out = NULL;
    QK_TRY(qk_blend_check(pair, layer, choice, gains == QK_GAINS_CHOSEN, err));
    QK_TRY(make_blend(pair, layer, choice, &b, err));
    enum qk_code code = QK_OK;
    for (int r = 0; r < QK_ROLE_COUNT && code == QK_OK; r++)
        code = prepare_gains(b, (enum qk_role)r, gains, err);
    if (code != QK_OK)
        free_blend(&b->base);
    else
        *out = &b->base;
    return code;
}

/* --- bytes --- */

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

/* Puts the columns of a head's raw (m, n) where a transposed view keeps them, as rows. */
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
    struct blend_heads *b, enum qk_role role, int head, double *values, char *bytes, struct qk_error *err)
{
    const struct qk_layer *layer = b->side[QK_POST];
    uint64_t first, stride, length, count;
    qk_view_ranges(layer, role, head, &first, &stride, &length, &count);
    if (!layer->role[role].transposed)
        return round_head(b, role, head, values, bytes + first, err);
    QK_TRY(round_head(b, role, head, values, b->pre, err));
    store_columns(layer, role, head, (const char *)b->pre, bytes);
    return QK_OK;
}

static enum qk_code store_weight(
    struct blend_heads *b, enum qk_role role, char *bytes, struct qk_progress *progress, struct qk_error *err)
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

static enum qk_code store_bias(struct blend_heads *b, enum qk_role role, char *bytes, struct qk_error *err)
{
    const struct qk_tensor *bias = b->side[QK_POST]->role[role].bias;
    struct qk_choice effect = qk_blend_effect(b->choice, role, QK_PART_BIAS);
    size_t m = b->m, size = qk_dtype_bits(bias->dtype) / 8;
    for (int h = 0; h < b->side[QK_POST]->role[role].n_heads; h++) {
        double *values[QK_SIDE_COUNT] = {b->pre, b->post};
        /* Before pre's and post's buffers are filled: preparing a group uses them. */
        if (effect.mode == QK_PROCRUSTES)
            QK_TRY(prepare_group(b, role == QK_K ? h : h / b->per_group, err));
        for (int s = 0; s < QK_SIDE_COUNT; s++) {
            QK_TRY(qk_view_read_bias(b->pair->model[s], b->side[s], role, h, values[s], err));
            if (effect.mode != QK_RESTORE)
                QK_TRY(
                    check_finite(b->pair->model[s], b->side[s]->role[role].bias, role, h, m, values[s], err));
        }
        if (effect.mode == QK_RESTORE)
            memcpy(b->column, b->pre, m * sizeof *b->column);
        else if (effect.mode == QK_PROCRUSTES)
            turn_and_blend(b, effect.param, 1, b->pre, b->post, b->column);
        else
            lerp(effect.param, m, b->pre, b->post, b->column);
        char *place = bytes + b->side[QK_POST]->role[role].first_row[h] * size;
        QK_TRY(round_values(b->pair, bias, m, b->column, place, err));
    }
    return QK_OK;
}

/* Same dtype: bytes can be copied. */
static bool same_dtype(const struct qk_tensor *a, const struct qk_tensor *b)
{
    return a->dtype == b->dtype && a->dtype != QK_DTYPE_OTHER;
}

static bool copies_weight(const struct qk_pair_layer *layer, enum qk_role role)
{
    const struct qk_view *pre = &layer->side[QK_PRE]->role[role], *post = &layer->side[QK_POST]->role[role];
    return same_dtype(pre->weight, post->weight) && pre->transposed == post->transposed;
}

/* The head entries of pre's bias, byte for byte. */
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
        code = round_values(pair, to, n, values, place, err);
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
        if (same_dtype(from->tensor, to->tensor))
            QK_TRY(qk_checkpoint_read(
                pair->model[QK_PRE]->checkpoint, from->tensor, first * size, place, n * size, err));
        else
            QK_TRY(convert_rows(pair, from->tensor, to->tensor, first, n, place, err));
    }
    return QK_OK;
}

enum qk_code qk_blend_role(const struct qk_pair *pair, int layer, enum qk_role role,
    const struct qk_choice choice[QK_ROLE_COUNT], void *bytes, void *bias_bytes, struct qk_progress *progress,
    struct qk_error *err)
{
    const struct qk_pair_layer *target = &pair->layer[layer];
    enum qk_mode weight = bytes == NULL ? QK_KEEP : qk_blend_effect(choice, role, QK_PART_WEIGHT).mode;
    enum qk_mode bias = bias_bytes == NULL ? QK_KEEP : qk_blend_effect(choice, role, QK_PART_BIAS).mode;
    QK_TRY(qk_blend_check(pair, layer, choice, false, err));
    if (weight == QK_RESTORE && copies_weight(target, role)) {
        QK_TRY(copy_heads(pair, layer, role, bytes, err));
        weight = QK_KEEP;
    }
    if (bias == QK_RESTORE &&
        same_dtype(target->side[QK_PRE]->role[role].bias, target->side[QK_POST]->role[role].bias)) {
        QK_TRY(copy_bias(pair, layer, role, bias_bytes, err));
        bias = QK_KEEP;
    }
    if (weight == QK_KEEP && bias == QK_KEEP)
        return QK_OK;
    struct blend_heads *b;
    QK_TRY(make_blend(pair, layer, choice, &b, err));
    enum qk_code code = QK_OK;
    if (weight != QK_KEEP)
        code = store_weight(b, role, bytes, progress, err);
    if (code == QK_OK && bias != QK_KEEP)
        code = store_bias(b, role, bias_bytes, err);
    free_blend(&b->base);
    return code;
}

size_t qk_blend_memory(const struct qk_layer *post)
{
    size_t m = (size_t)post->head_dim;
    /* pre, post, what comes of them; squares; float32's part */
    return (3 * m * post->d + 6 * m * m) * sizeof(double) + qk_bf16_work_bytes(m);
}

enum qk_code qk_blend_gain(const struct qk_pair *pair, int layer, enum qk_role role,
    const struct qk_choice choice[QK_ROLE_COUNT], void *bytes, struct qk_error *err)
{
    const struct qk_tensor *pre = pair->layer[layer].side[QK_PRE]->role[role].norm,
                           *post = pair->layer[layer].side[QK_POST]->role[role].norm;
    struct qk_choice effect = qk_blend_effect(choice, role, QK_PART_GAIN);
    if (effect.mode == QK_KEEP || post == NULL)
        return QK_OK;
    QK_TRY(qk_blend_check(pair, layer, choice, true, err));
    const struct qk_checkpoint *checkpoint = pair->model[QK_PRE]->checkpoint;
    if (effect.mode == QK_RESTORE && same_dtype(pre, post))
        return qk_checkpoint_read(checkpoint, pre, 0, bytes, (size_t)pre->bytes, err);
    size_t n = gain_values(post);
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
            code = check_finite(pair->model[QK_PRE], pre, role, -1, n, before, err);
            if (code == QK_OK)
                code = check_finite(pair->model[QK_POST], post, role, -1, n, values, err);
            lerp(effect.param, n, before, values,
                values); /* element by element: output and input may be one */
        }
        if (code == QK_OK)
            code = round_values(pair, post, n, values, bytes, err);
    }
    free(values);
    return code;
}

/* --- checks before anything is written --- */

/* A choice of mode `mode` from pre's tensor into post's: can it be computed? */
static enum qk_code check_tensor(const struct qk_pair *pair, const struct qk_tensor *pre,
    const struct qk_tensor *post, enum qk_mode mode, bool copied, struct qk_error *err)
{
    if (mode == QK_KEEP || (mode == QK_RESTORE && copied))
        return QK_OK;
    const struct qk_tensor *tensor[QK_SIDE_COUNT] = {pre, post};
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        if (!qk_dtype_readable(tensor[s]->dtype))
            return fail_unreadable(pair->model[s]->checkpoint, tensor[s], err);
    if (!qk_dtype_writable(post->dtype))
        return qk_fail(err, QK_INPUT,
            "%s: %s: results are not written as %s (expected F64, F32, F16 or BF16; restore copies bytes "
            "where pre has the same dtype)",
            qk_checkpoint_file(pair->model[QK_POST]->checkpoint, post), post->name, post->dtype_text);
    return QK_OK;
}

static enum qk_code check_gain(const struct qk_pair *pair, const struct qk_view *pre,
    const struct qk_view *post, enum qk_mode mode, struct qk_error *err)
{
    if (mode == QK_KEEP || post->norm == NULL)
        return QK_OK;
    const char *file = qk_checkpoint_file(pair->model[QK_POST]->checkpoint, post->norm);
    size_t found = pre->norm == NULL ? 0 : gain_values(pre->norm), expected = gain_values(post->norm);
    if (found != expected)
        return qk_fail(err, QK_INPUT, "%s: %s: pre has no gain of this size (found %zu, expected %zu)", file,
            post->norm->name, found, expected);
    return check_tensor(pair, pre->norm, post->norm, mode, same_dtype(pre->norm, post->norm), err);
}

/* A view of slices is restored, or left alone: nothing in between is defined on factors, or has scales. */
static enum qk_code check_slices(const struct qk_pair *pair, int layer, enum qk_role role,
    const struct qk_choice choice[QK_ROLE_COUNT], struct qk_error *err)
{
    const struct qk_view *pre = &pair->layer[layer].side[QK_PRE]->role[role],
                         *post = &pair->layer[layer].side[QK_POST]->role[role];
    struct qk_choice effect = qk_choice_effect(choice[role]);
    if (effect.mode != QK_KEEP && effect.mode != QK_RESTORE && effect.mode != QK_RESTORE_LATENT)
        return qk_fail(err, QK_INPUT,
            "%s: %s: %s %s cannot be blended (found %s, expected keep, restore or restore-latent)",
            qk_checkpoint_file(pair->model[QK_POST]->checkpoint, post->weight), post->weight->name,
            qk_role_name(role), post->down != NULL ? "of latent attention" : "with scaled blocks",
            qk_mode_info(effect.mode)->name);
    for (int i = 0; i < post->n_slices; i++)
        if (qk_blend_takes_slice(choice, role, &post->slice[i]))
            QK_TRY(check_tensor(pair, pre->slice[i].tensor, post->slice[i].tensor, QK_RESTORE,
                same_dtype(pre->slice[i].tensor, post->slice[i].tensor), err));
    return QK_OK;
}

bool qk_blend_offers(const struct qk_pair_layer *layer, enum qk_mode mode)
{
    const struct qk_layer *post = layer->side[QK_POST];
    bool latent = post->role[QK_Q].down != NULL || post->role[QK_K].down != NULL;
    if (mode == QK_RESTORE_LATENT)
        return latent;
    if (layer->no_k != NULL && (mode == QK_QKPRO || mode == QK_PROCRUSTES))
        return false;
    return !latent || mode == QK_KEEP || mode == QK_RESTORE;
}

enum qk_code qk_blend_check(const struct qk_pair *pair, int layer,
    const struct qk_choice choice[QK_ROLE_COUNT], bool norms, struct qk_error *err)
{
    const struct qk_pair_layer *target = &pair->layer[layer];
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        enum qk_role role = (enum qk_role)r;
        const struct qk_view *pre = &target->side[QK_PRE]->role[r], *post = &target->side[QK_POST]->role[r];
        if (post->weight == NULL) /* q alone; of k qk_selection_set takes no choice */
            continue;
        if (post->n_slices > 0)
            QK_TRY(check_slices(pair, layer, role, choice, err));
        else
            QK_TRY(check_tensor(pair, pre->weight, post->weight,
                qk_blend_effect(choice, role, QK_PART_WEIGHT).mode, copies_weight(target, role), err));
        if (post->bias != NULL)
            QK_TRY(check_tensor(pair, pre->bias, post->bias, qk_blend_effect(choice, role, QK_PART_BIAS).mode,
                same_dtype(pre->bias, post->bias), err));
        if (norms)
            QK_TRY(check_gain(pair, pre, post, qk_blend_effect(choice, role, QK_PART_GAIN).mode, err));
    }
    return QK_OK;
}
