/* procrustes.c - the mode procrustes: a blend after post's heads are turned onto pre's.
 *
 *   (1-a) R post + a pre, one R a key group, from M = the sum over the group's key head and query heads of pre post^T
 *   (Schonemann 1966)
 * R is among the rotations that leave post's attention unchanged: rotation.h says which. Gains are never turned. */
#include "blend/blend_internal.h"

#include "base/blas.h"
#include "base/mem.h"
#include "blend/rotation.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

struct turn {
    enum qk_rotation rotation;
    alignas(16) double r[]; /* (m, m) R of the key group */
};

static struct qk_choice choose(struct qk_choice choice, enum qk_role role, enum qk_part part)
{
    (void)role;
    return part == QK_PART_GAIN ? (struct qk_choice){QK_LERP, choice.param} : choice;
}

static enum qk_code prepare(struct qk_blend_heads *b, void **state, struct qk_error *err)
{
    enum qk_rotation rotation;
    const char *why;
    QK_TRY(qk_rotation_find(b->pair, b->base.layer->index, &rotation, &why, err));
    QK_TRY(qk_alloc(state, sizeof(struct turn) + b->m * b->m * sizeof(double), 1, err));
    ((struct turn *)*state)->rotation = rotation;
    return QK_OK;
}

/* Adds pre post^T of a head to product (m, m). M is only needed up to a factor. exponent, of pre and of post, scales
 * it so that it cannot overflow. */
static enum qk_code add_head(struct qk_blend_heads *b, enum qk_role role, int head,
    int exponent[QK_SIDE_COUNT], double *product, struct qk_error *err)
{
    enum { USUAL = 100 };
    double *values[QK_SIDE_COUNT] = {b->pre, b->post};
    size_t m = b->m, n = b->n;
    QK_TRY(qk_blend_read_both(b, role, head, err));
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        if (role == QK_K) { /* the first head of the group decides for the others */
            exponent[s] = qk_blend_exponent(m * n, values[s]);
            exponent[s] = abs(exponent[s]) > USUAL ? -exponent[s] : 0;
        }
        qk_blend_scale(m * n, values[s], exponent[s]);
    }
    qk_blas.dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)m, (int)n, 1.0, b->pre, (int)n,
        b->post, (int)n, 1.0, product, (int)m);
    return QK_OK;
}

static enum qk_code prepare_group(struct qk_blend_heads *b, void *state, int group, struct qk_error *err)
{
    struct turn *turn = state;
    double *product = NULL;
    int exponent[QK_SIDE_COUNT];
    QK_TRY(qk_alloc(&product, b->m * b->m, sizeof *product, err));
    enum qk_code code = add_head(b, QK_K, group, exponent, product, err);
    for (int i = 0; i < b->per_group && code == QK_OK; i++)
        code = add_head(b, QK_Q, group * b->per_group + i, exponent, product, err);
    if (code == QK_OK)
        code = qk_rotation_solve(turn->rotation, b->side[QK_POST], product, turn->r, err);
    free(product);
    return code;
}

static void blend(const struct qk_blend_heads *b, const void *state, double param, size_t columns,
    const double *pre, double *post, double *out)
{
    const struct turn *turn = state;
    memcpy(out, pre, b->m * columns * sizeof *out);
    qk_blas.dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)b->m, (int)columns, (int)b->m, 1 - param,
        turn->r, (int)b->m, post, (int)columns, param, out, (int)columns);
}

static bool bf16(const void *state, double param, struct qk_bf16_blend *out)
{
    const struct turn *turn = state;
    *out = (struct qk_bf16_blend){.weight = param, .factor = 1 - param, .matrix = turn->r};
    return true;
}

static enum qk_code form(
    const struct qk_pair *pair, int layer, struct qk_mode_form *out, struct qk_error *err)
{
    static const char *const WHAT[] = {[QK_ROTATION_FULL] = "turns whole heads",
        [QK_ROTATION_PLANES] = "turns the planes of RoPE",
        [QK_ROTATION_NONE] = "turns nothing and equals lerp"};
    enum qk_rotation rotation;
    QK_TRY(qk_rotation_find(pair, layer, &rotation, &out->why, err));
    out->index = (int)rotation;
    out->what = WHAT[rotation];
    return QK_OK;
}

const struct qk_mode_ops qk_mode_procrustes = {
    .info = {.name = "procrustes",
        .symbol = "α",
        .ascii = "a",
        .placeholder = "ALPHA",
        .help = "a blend after turning post's heads onto pre's, as far as attention does not change",
        .has_param = true,
        .needs_k = true,
        .start = 0.5,
        .low = 0,
        .high = 1,
        .edge = {{1, QK_RESTORE}},
        .n_edges = 1,
        .trial = {{2, 0.5}},
        .n_trials = 1},
    .part = choose,
    .prepare = prepare,
    .prepare_group = prepare_group,
    .blend = blend,
    .bf16 = bf16,
    .form = form,
};
