/* channel_delta.c - the delta rule with a decay for each channel, by chunks. */
#include "forward/recurrence_internal.h"

#include "base/blas.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "forward/elementwise.h"
#include "forward/exponential.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A chunk of n tokens at once, with the state S before it. c(i, j) is the vector e^(g_(j+1) + ... + g_i), c(i) =
 * c(i, j) e^(g_j) at the first j, and * goes channel by channel:
 *   d_i = beta_i (v_i - S^T (c(i) * k_i) - sum_(j<i) k_i . (c(i, j) * k_j) d_j)
 *   out_i = S^T (c(i) * q_i) + sum_(j<=i) q_i . (c(i, j) * k_j) d_j
 *   S <- diag(c(n)) S + sum_j (c(n, j) * k_j) d_j^T.
 * The scores k_i . (c(i, j) * k_j) are products of matrices once c(i, j) = c(i, m) c(m, j) is split at an m between.
 * So the chunk is halved again and again: a pair is split at the border m of the halves that part i from j. Both
 * factors have exponents below 0, whatever the decay, so neither overflows. If one underflows, so does their product.
 * Every exponent is a sum of its own, so that a strong decay takes no digits from the sums after it. */

enum {
    LEAST_HALF = 8
}; /* of a product's own: shorter halves share one, of which the pairs they part are taken */

/* What scores are made with: decays and what they scale (QK_CHUNK, dk each), and a product (QK_CHUNK, QK_CHUNK). */
struct scratch {
    float *decay, *k, *q, *part, *keys, *queries;
};

/* --- decays --- */

/* Rows first <= i < end of `decay`: the sums of g from `first` to i; and those from i + 1 to the end. */
static void sum_from(const struct qk_gated_tokens *x, size_t first, size_t end, float *decay)
{
    for (size_t i = first; i < end; i++)
        for (size_t c = 0; c < x->dk; c++)
            decay[i * x->dk + c] =
                (i > first ? decay[(i - 1) * x->dk + c] : 0.0f) + x->g[i * x->g_stride + c];
}

static void sum_to(const struct qk_gated_tokens *x, size_t first, size_t end, float *decay)
{
    for (size_t i = end; i-- > first;)
        for (size_t c = 0; c < x->dk; c++)
            decay[i * x->dk + c] =
                i + 1 < end ? decay[(i + 1) * x->dk + c] + x->g[(i + 1) * x->g_stride + c] : 0.0f;
}

static void scale_rows(
    const struct qk_gated_tokens *x, const float *decay, const float *from, size_t stride, float *to)
{
    for (size_t i = 0; i < x->n; i++) {
        memcpy(to + i * x->dk, from + i * stride, x->dk * sizeof *to);
        qk_multiply(x->dk, decay + i * x->dk, to + i * x->dk);
    }
}

/* decay = its exponentials, of which the least is 1e-38. */
static void exponentials(size_t n, float *decay)
{
    for (size_t i = 0; i < n; i++)
        decay[i] = decay[i] < -87.0f ? -87.0f : decay[i];
    qk_exp_sum(n, 0, decay);
}

/* k and q (the latter where it is not NULL) = those of the tokens times the exponentials of `decay`. */
static void apply_decay(const struct qk_gated_tokens *x, float *decay, float *k, float *q)
{
    exponentials(x->n * x->dk, decay);
    scale_rows(x, decay, x->k, x->k_stride, k);
    if (q != NULL)
        scale_rows(x, decay, x->q, x->q_stride, q);
}

/* --- scores --- */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Rows row .. row + n and columns column .. column + m of scores = a . k, where halves of this length part them. */
static void take_scores(const struct qk_gated_tokens *x, const struct scratch *s, const float *a, size_t half,
    size_t row, size_t n, size_t column, size_t m, float *scores)
{
    size_t dk = x->dk;
    qk_chunk_product(n, m, dk, a + row * dk, dk, s->k + column * dk, dk, true, s->part, QK_CHUNK);
    for (size_t i = row; i < row + n; i++)
        for (size_t j = column; j < column + m; j++)
            if (i / half % 2 == 1 && j / half + 1 == i / half)
                scores[i * QK_CHUNK + j] = s->part[(i - row) * QK_CHUNK + j - column];
}

/* The scores of pairs that halves of this length part. */
static void score_halves(const struct qk_gated_tokens *x, const struct scratch *s, size_t half)
{
    bool exact = half >= LEAST_HALF;
    size_t block = exact ? 2 * half : 2 * LEAST_HALF;
    for (size_t at = 0; at < x->n; at += 2 * half) {
        sum_to(x, at, smaller(at + half, x->n), s->decay);
        sum_from(x, smaller(at + half, x->n), smaller(at + 2 * half, x->n), s->decay);
    }
    apply_decay(x, s->decay, s->k, s->q);
    for (size_t at = 0; at < x->n; at += block) {
        size_t row = exact ? at + half : at, end = smaller(at + block, x->n), m = exact ? half : end - at;
        if (row >= end)
            continue;
        take_scores(x, s, s->k, half, row, end - row, at, m, s->keys);
        take_scores(x, s, s->q, half, row, end - row, at, m, s->queries);
    }
}

static float dot(size_t n, const float *a, const float *b)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* keys below the diagonal; queries with it, and zeros above. */
static void score(const struct qk_gated_tokens *x, const struct scratch *s)
{
    memset(s->queries, 0, QK_CHUNK * QK_CHUNK * sizeof *s->queries);
    for (size_t half = QK_CHUNK / 2; half > 0; half /= 2)
        if (half < x->n)
            score_halves(x, s, half);
    for (size_t i = 0; i < x->n; i++)
        s->queries[i * QK_CHUNK + i] = dot(x->dk, x->q + i * x->q_stride, x->k + i * x->k_stride);
}

size_t qk_channel_chunk_values(size_t dk)
{
    return 6 * QK_CHUNK * dk + 3 * QK_CHUNK * QK_CHUNK;
}

struct qk_channel_chunk qk_channel_chunk_make(const struct qk_gated_tokens *x, float *values)
{
    size_t each = QK_CHUNK * x->dk;
    struct qk_channel_chunk out = {.decay = values,
        .keys_from_start = values + each,
        .queries_from_start = values + 2 * each,
        .keys_to_end = values + 3 * each,
        .keys = values + 6 * each};
    out.queries = out.keys + QK_CHUNK * QK_CHUNK;
    const struct scratch s = {values + 4 * each, out.keys_to_end, values + 5 * each,
        out.queries + QK_CHUNK * QK_CHUNK, out.keys, out.queries};
    score(x, &s);
    sum_from(x, 0, x->n, out.decay);
    apply_decay(x, out.decay, out.keys_from_start, out.queries_from_start);
    sum_to(x, 0, x->n, s.decay);
    apply_decay(x, s.decay, out.keys_to_end, NULL);
    return out;
}

/* --- the rule --- */

/* A worker's scratch: state (dk, dv), delta (QK_CHUNK, dv), and that of a chunk. */
struct rule {
    float *state, *delta, *chunk;
};

/* A single token. */
static void step(const struct qk_gated_tokens *x, const struct rule *s)
{
    size_t dk = x->dk, dv = x->dv;
    float *decay = s->chunk;
    memcpy(decay, x->g, dk * sizeof *decay);
    exponentials(dk, decay);
    for (size_t i = 0; i < dk; i++)
        qk_scale(dv, decay[i], s->state + i * dv);
    qk_state_times(dk, dv, s->state, x->k, s->delta);
    for (size_t j = 0; j < dv; j++)
        s->delta[j] = x->beta[0] * (x->v[j] - s->delta[j]);
    qk_state_add(dk, dv, x->k, s->delta, s->state);
    qk_state_times(dk, dv, s->state, x->q, x->out);
}

/* s->delta = d, from the triangular system. */
static void solve(const struct qk_gated_tokens *x, const struct qk_channel_chunk *c, const struct rule *s)
{
    size_t n = x->n, dv = x->dv;
    qk_chunk_product(n, dv, x->dk, c->keys_from_start, x->dk, s->state, dv, false, s->delta, dv);
    for (size_t i = 0; i < n; i++) {
        float beta = x->beta[i * x->stride], *d = s->delta + i * dv;
        qk_scale(i, beta, c->keys + i * QK_CHUNK);
        for (size_t j = 0; j < dv; j++)
            d[j] = beta * (x->v[i * x->v_stride + j] - d[j]);
    }
    qk_blas.strsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasUnit, (int)n, (int)dv, 1.0f,
        c->keys, QK_CHUNK, s->delta, (int)dv);
}

static void chunk(const struct qk_gated_tokens *x, const struct rule *s)
{
    size_t n = x->n, dk = x->dk, dv = x->dv;
    const struct qk_channel_chunk c = qk_channel_chunk_make(x, s->chunk);
    solve(x, &c, s);
    qk_chunk_product(n, dv, dk, c.queries_from_start, dk, s->state, dv, false, x->out, x->out_stride);
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)dv, (int)n, 1.0f, c.queries,
        QK_CHUNK, s->delta, (int)dv, 1.0f, x->out, (int)x->out_stride);
    for (size_t i = 0; i < dk; i++)
        qk_scale(dv, c.decay[(n - 1) * dk + i], s->state + i * dv);
    qk_blas.sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)dk, (int)dv, (int)n, 1.0f, c.keys_to_end,
        (int)dk, s->delta, (int)dv, 1.0f, s->state, (int)dv);
}

static void run_rule(
    const struct qk_gated_rule *rule, const struct qk_gated_tokens *x, size_t h, float *state, float *scratch)
{
    const struct rule s = {state, scratch, scratch + QK_CHUNK * x->dv};
    (void)rule;
    (void)h;
    (x->n == 1 ? step : chunk)(x, &s);
}

enum qk_code qk_channel_delta_rule(
    const struct qk_attention *a, const struct qk_gates *gates, size_t n, struct qk_error *err)
{
    const struct qk_gated_rule rule = {
        QK_CHUNK * a->value_dim + qk_channel_chunk_values(a->head_dim), run_rule, NULL};
    return qk_gated_rule_run(&rule, a, gates, n, err);
}
