/* qk_pro.c - the mode qk-pro: pre's keys, and queries pulled to pre's along strong key directions.
 *
 *   K = pre
 *   Q = post + G (G + l t I)^-1 (pre - post), G = S_K S_K^T of pre's key head, t = trace(G) / m
 * It is the least |W_Q - post|_F under W_Q W_K^T = R of pre with W_K = pre, ridge-regularised (design section 4).
 *
 * Q is computed as pre - D (pre - post), D = l (G/t + l I)^-1, from the eigenvalues of G/t instead of by Cholesky. So
 * nothing is lost as l -> 0, and a singular G needs no special case. A key head of zeros (t = 0) has no direction to
 * restore: Q = post. Biases follow: k's is pre's, q's is post's. */
#include "blend/blend_internal.h"

#include "base/blas.h"
#include "base/mem.h"
#include "linalg/linalg.h"

#include <math.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

/* The state of a key head. */
struct damping {
    bool no_keys;           /* the key head is all zeros */
    alignas(16) double d[]; /* (m, m) D */
};

static struct qk_choice choose(struct qk_choice choice, enum qk_role role, enum qk_part part)
{
    if (role == QK_K)
        return (struct qk_choice){QK_RESTORE, 0};
    return part == QK_PART_WEIGHT ? choice : (struct qk_choice){QK_KEEP, 0};
}

static enum qk_code prepare(struct qk_blend_heads *b, void **state, struct qk_error *err)
{
    return qk_alloc(state, sizeof(struct damping) + b->m * b->m * sizeof(double), 1, err);
}

/* d = D = V diag(l / (e + l)) V^T, e and V the eigenvalues and vectors of G/t. */
static enum qk_code prepare_group(struct qk_blend_heads *b, void *state, int group, struct qk_error *err)
{
    struct damping *damping = state;
    size_t m = b->m, n = b->n;
    double lambda = qk_layer_choice_of(&b->choice, QK_K, group).param, trace = 0, *vectors = NULL, *damped,
           *values;
    QK_TRY(qk_blend_read_finite(b, QK_PRE, QK_K, group, b->pre, err));
    qk_blend_scale(m * n, b->pre, -qk_blend_exponent(m * n, b->pre));
    QK_TRY(qk_alloc(&vectors, 2 * m * m + m, sizeof *vectors, err));
    damped = vectors + m * m;
    values = damped + m * m;
    qk_gram(m, n, b->pre, vectors);
    for (size_t i = 0; i < m; i++)
        trace += vectors[i * m + i];
    damping->no_keys = trace == 0;
    for (size_t i = 0; i < m * m && !damping->no_keys; i++)
        vectors[i] /= trace / (double)m;
    lapack_int failure = damping->no_keys ? 0
                                          : qk_lapack.dsyevd(LAPACK_ROW_MAJOR, 'V', 'L', (lapack_int)m,
                                                vectors, (lapack_int)m, values);
    if (failure == 0 && !damping->no_keys) {
        for (size_t j = 0; j < m; j++) {
            /* l / (e + l), computed so that neither a huge nor a tiny l overflows */
            double e = fmax(values[j], 0), factor = lambda > 1 ? 1 / (e / lambda + 1) : lambda / (e + lambda);
            for (size_t i = 0; i < m; i++)
                damped[i * m + j] = vectors[i * m + j] * factor;
        }
        qk_product_abt(m, m, damped, vectors, damping->d);
    }
    free(vectors);
    return failure == 0 ? QK_OK
                        : qk_fail(err, QK_INPUT, "layer %d: the eigenvalues of key head %d do not converge",
                              b->base.layer->index, group);
}

static void blend(const struct qk_blend_heads *b, const void *state, double param, size_t columns,
    const double *pre, double *post, double *out)
{
    const struct damping *damping = state;
    size_t m = b->m;
    (void)param; /* D holds it */
    if (damping->no_keys) {
        memcpy(out, post, m * columns * sizeof *out);
        return;
    }
    for (size_t i = 0; i < m * columns; i++)
        post[i] = pre[i] - post[i];
    memcpy(out, pre, m * columns * sizeof *out);
    qk_blas.dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)columns, (int)m, -1.0, damping->d,
        (int)m, post, (int)columns, 1.0, out, (int)columns);
}

static bool bf16(const void *state, double param, struct qk_bf16_blend *out)
{
    const struct damping *damping = state;
    (void)param;
    *out = (struct qk_bf16_blend){1, -1, damping->d, true};
    return !damping->no_keys;
}

const struct qk_mode_ops qk_mode_qk_pro = {
    .info = {.name = "qk-pro",
        .symbol = "λ",
        .ascii = "lam",
        .placeholder = "LAMBDA",
        .help = "pre's keys; queries pulled back along strong key directions: 0 is pre, large keeps post's",
        .has_param = true,
        .both_roles = true,
        .needs_k = true,
        .start = 0.3,
        .low = 0,
        .high = HUGE_VAL,
        .edge = {{0, QK_RESTORE}},
        .n_edges = 1,
        .trial = {{0, 0.3}, {1, 3}},
        .n_trials = 2},
    .part = choose,
    .prepare = prepare,
    .prepare_group = prepare_group,
    .blend = blend,
    .bf16 = bf16,
};
