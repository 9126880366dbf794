/* recurrence.c - lightning attention and the gated delta rule, by chunks. */
#include "forward/recurrence_internal.h"

#include "base/blas.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "forward/elementwise.h"
#include "forward/exponential.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* --- states of the recurrences --- */

static void begin_state(const struct qk_attention *a, size_t h, float *state)
{
    size_t n = a->head_dim * a->value_dim;
    if (a->state != NULL)
        memcpy(state, a->state + h * n, n * sizeof *state);
    else
        memset(state, 0, n * sizeof *state);
}

static void end_state(const struct qk_attention *a, size_t h, const float *state)
{
    size_t n = a->head_dim * a->value_dim;
    if (a->state != NULL)
        memcpy(a->state + h * n, state, n * sizeof *state);
}

/* --- lightning --- */

void qk_alibi_slopes(size_t n, float *slope)
{
    size_t power = 1;
    while (power * 2 <= n)
        power *= 2;
    for (size_t h = 0; h < power && h < n; h++)
        slope[h] = (float)pow(2.0, -8.0 * (double)(h + 1) / (double)power);
    for (size_t h = power; h < n; h++) /* every other slope of the next power of two */
        slope[h] = (float)pow(2.0, -8.0 * (double)(2 * (h - power) + 1) / (double)(2 * power));
}

struct lightning_job {
    const struct qk_attention *a; /* one a sequence */
    const float *slope;
    float *scratch; /* one of `size` a worker */
    size_t size;
};

/* A worker's scratch: state (head_dim, value_dim), p (QK_CHUNK, QK_CHUNK), scaled (QK_CHUNK, head_dim), decay
 * (QK_CHUNK + 1) with decay[i] = e^(-slope i). */
struct lightning_scratch {
    float *state, *p, *scaled, *decay;
};

/* The part of the chunk's output that comes from the state: to (n, value_dim) = (e^(-slope (i + 1)) scale q_i)
 * state. */
static void lightning_from_state(
    const struct qk_attention *a, const struct lightning_scratch *s, const float *q, size_t n, float *to)
{
    size_t hd = a->head_dim, vd = a->value_dim;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < hd; j++)
            s->scaled[i * hd + j] = q[i * a->q_stride + j] * (s->decay[i + 1] * a->scale);
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)vd, (int)hd, 1.0f, s->scaled,
        (int)hd, s->state, (int)vd, 0.0f, to, (int)(a->n_q * vd));
}

/* Adds the part that comes from the chunk itself: to += (scale q k^T, decayed and causal) v. */
static void lightning_within(const struct qk_attention *a, const struct lightning_scratch *s, const float *q,
    const float *k, const float *v, size_t n, float *to)
{
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)n, (int)a->head_dim, a->scale, q,
        (int)a->q_stride, k, (int)a->k_stride, 0.0f, s->p, QK_CHUNK);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            s->p[i * QK_CHUNK + j] = j <= i ? s->p[i * QK_CHUNK + j] * s->decay[i - j] : 0.0f;
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)a->value_dim, (int)n, 1.0f, s->p,
        QK_CHUNK, v, (int)a->v_stride, 1.0f, to, (int)(a->n_q * a->value_dim));
}

/* state = e^(-slope n) state + sum_i e^(-slope (n - 1 - i)) k_i v_i^T. */
static void lightning_move_state(
    const struct qk_attention *a, const struct lightning_scratch *s, const float *k, const float *v, size_t n)
{
    size_t hd = a->head_dim, vd = a->value_dim;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < hd; j++)
            s->scaled[i * hd + j] = k[i * a->k_stride + j] * s->decay[n - 1 - i];
    qk_blas.sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)hd, (int)vd, (int)n, 1.0f, s->scaled, (int)hd,
        v, (int)a->v_stride, s->decay[n], s->state, (int)vd);
}

/* Item: a head of a sequence. */
static void lightning_head(void *context, size_t item, size_t worker)
{
    const struct lightning_job *job = context;
    const struct qk_attention *a = &job->a[item / job->a->n_q];
    struct qk_timing *timing = qk_progress_timing(a->progress);
    uint64_t since = qk_timing_start(timing);
    size_t h = item % a->n_q, hd = a->head_dim, vd = a->value_dim, g = h / (a->n_q / a->n_k);
    struct lightning_scratch s = {.state = job->scratch + worker * job->size};
    s.p = s.state + hd * vd;
    s.scaled = s.p + QK_CHUNK * QK_CHUNK;
    s.decay = s.scaled + QK_CHUNK * hd;
    for (size_t i = 0; i <= QK_CHUNK; i++)
        s.decay[i] = (float)exp(-(double)job->slope[h] * (double)i);
    begin_state(a, h, s.state);
    for (size_t t0 = 0; t0 < a->T && qk_progress_check(a->progress, NULL) == QK_OK; t0 += QK_CHUNK) {
        size_t n = a->T - t0 < QK_CHUNK ? a->T - t0 : QK_CHUNK;
        const float *q = a->q + t0 * a->q_stride + h * hd, *k = a->k + t0 * a->k_stride + g * hd,
                    *v = a->v + t0 * a->v_stride + g * vd;
        float *to = a->out + (t0 * a->n_q + h) * vd;
        lightning_from_state(a, &s, q, n, to);
        lightning_within(a, &s, q, k, v, n, to);
        lightning_move_state(a, &s, k, v, n);
    }
    end_state(a, h, s.state);
    qk_timing_lap(timing, QK_TIME_RECURRENCE, since);
}

enum qk_code qk_lightning_attention(
    const struct qk_attention *a, size_t n, const float *slope, struct qk_error *err)
{
    struct lightning_job job = {.a = a, .slope = slope};
    size_t items = n * a->n_q;
    job.size = a->head_dim * a->value_dim + QK_CHUNK * QK_CHUNK + QK_CHUNK * a->head_dim + QK_CHUNK + 16;
    QK_TRY(qk_alloc_aligned(&job.scratch, qk_parallel_workers(items) * job.size, sizeof *job.scratch, err));
    qk_parallel_for(items, lightning_head, &job, a->progress);
    free(job.scratch);
    return qk_progress_check(a->progress, err);
}

/* --- rules of gated tokens --- */

struct qk_gated_tokens qk_gated_tokens_of(
    const struct qk_attention *a, const struct qk_gates *gates, size_t h, size_t t)
{
    size_t dk = a->head_dim, dv = a->value_dim, key = h / (a->n_q / a->n_k), g = gates->channels ? dk : 1;
    return (struct qk_gated_tokens){.n = a->T - t < QK_CHUNK ? a->T - t : QK_CHUNK,
        .dk = dk,
        .dv = dv,
        .q_stride = a->q_stride,
        .k_stride = a->k_stride,
        .v_stride = a->v_stride,
        .stride = a->n_q,
        .g_stride = a->n_q * g,
        .out_stride = a->n_q * dv,
        .q = a->q + t * a->q_stride + key * dk,
        .k = a->k + t * a->k_stride + key * dk,
        .v = a->v + t * a->v_stride + h * dv,
        .g = gates->g + (t * a->n_q + h) * g,
        .beta = gates->beta + t * a->n_q + h,
        .out = a->out + (t * a->n_q + h) * dv};
}

struct gated_job {
    const struct qk_gated_rule *rule;
    const struct qk_attention *a; /* one a sequence */
    const struct qk_gates *gates; /* likewise */
    float *scratch;               /* one of `size` a worker: a state, then the rule's */
    size_t size;
};

/* Item: a value head of a sequence. */
static void gated_head(void *context, size_t item, size_t worker)
{
    const struct gated_job *job = context;
    const struct qk_attention *a = &job->a[item / job->a->n_q];
    const struct qk_gates *gates = &job->gates[item / job->a->n_q];
    struct qk_timing *timing = qk_progress_timing(a->progress);
    uint64_t since = qk_timing_start(timing);
    size_t h = item % a->n_q;
    float *state = job->scratch + worker * job->size, *scratch = state + a->head_dim * a->value_dim;
    begin_state(a, h, state);
    for (size_t t = 0; t < a->T && qk_progress_check(a->progress, NULL) == QK_OK; t += QK_CHUNK) {
        const struct qk_gated_tokens x = qk_gated_tokens_of(a, gates, h, t);
        job->rule->run(job->rule, &x, h, state, scratch);
    }
    end_state(a, h, state);
    qk_timing_lap(timing, QK_TIME_RECURRENCE, since);
}

enum qk_code qk_gated_rule_run(const struct qk_gated_rule *rule, const struct qk_attention *a,
    const struct qk_gates *gates, size_t n, struct qk_error *err)
{
    struct gated_job job = {
        .rule = rule, .a = a, .gates = gates, .size = a->head_dim * a->value_dim + rule->scratch};
    size_t items = n * a->n_q;
    QK_TRY(qk_alloc_aligned(&job.scratch, qk_parallel_workers(items) * job.size, sizeof *job.scratch, err));
    qk_parallel_for(items, gated_head, &job, a->progress);
    free(job.scratch);
    return qk_progress_check(a->progress, err);
}

/* --- the gated delta rule --- */

/* A worker's scratch: delta (QK_CHUNK, value_dim), faded (QK_CHUNK, head_dim), and three of (QK_CHUNK, QK_CHUNK); and
 * its state. */
struct delta_scratch {
    float *state, *delta, *faded, *decay, *keys, *queries;
};

static size_t delta_size(size_t dk, size_t dv)
{
    return QK_CHUNK * dv + QK_CHUNK * dk + 3 * QK_CHUNK * QK_CHUNK;
}

static struct delta_scratch lay_delta(float *state, float *at, size_t dk, size_t dv)
{
    struct delta_scratch s = {.state = state, .delta = at};
    s.faded = s.delta + QK_CHUNK * dv;
    s.decay = s.faded + QK_CHUNK * dk;
    s.keys = s.decay + QK_CHUNK * QK_CHUNK;
    s.queries = s.keys + QK_CHUNK * QK_CHUNK;
    return s;
}

/* Both passes over the state are plain loops, because its rows are too short for a BLAS call. */
void qk_state_times(size_t dk, size_t dv, const float *state, const float *x, float *s)
{
    memset(s, 0, dv * sizeof *s);
    for (size_t i = 0; i < dk; i++)
        for (size_t j = 0; j < dv; j++)
            s[j] += state[i * dv + j] * x[i];
}

void qk_state_add(size_t dk, size_t dv, const float *k, const float *delta, float *state)
{
    for (size_t i = 0; i < dk; i++)
        for (size_t j = 0; j < dv; j++)
            state[i * dv + j] += k[i] * delta[j];
}

/* A single token. */
static void delta_step(const struct qk_gated_tokens *x, const struct delta_scratch *s)
{
    size_t dk = x->dk, dv = x->dv;
    qk_scale(dk * dv, expf(x->g[0]), s->state);
    qk_state_times(dk, dv, s->state, x->k, s->delta);
    for (size_t j = 0; j < dv; j++)
        s->delta[j] = x->beta[0] * (x->v[j] - s->delta[j]);
    qk_state_add(dk, dv, x->k, s->delta, s->state);
    qk_state_times(dk, dv, s->state, x->q, x->out);
}

/* A chunk of n tokens at once, with the state S before it (Yang et al. 2024). With c(i, j) = e^(g_(j+1) + ... + g_i),
 * and c(i) = c(i, j) e^(g_j) at the first j:
 *   d_i = beta_i (v_i - c(i) S^T k_i - sum_(j<i) c(i, j) (k_i . k_j) d_j)
 *   out_i = c(i) S^T q_i + sum_(j<=i) c(i, j) (q_i . k_j) d_j
 *   S <- c(n) S + sum_j c(n, j) k_j d_j^T.
 * The first line is a triangular system. Every c is the exponential of a sum of its own, so that none overflows, and a
 * strong decay takes no digits from those after it. */

/* decay[i][j] = c(i, j) for j <= i; from_start[i] = c(i). */
void qk_chunk_decay(size_t n, const float *g, size_t stride, float *decay, float from_start[QK_CHUNK])
{
    static const double LEAST = -87; /* of exponents: 1e-38 */
    double sum[QK_CHUNK + 1] = {0};  /* the last: from the start */
    float row[QK_CHUNK + 1];
    for (size_t i = 0; i < n; i++) {
        double of_token = (double)g[i * stride];
        sum[i] = 0;
        for (size_t j = 0; j < i; j++)
            sum[j] += of_token;
        sum[QK_CHUNK] += of_token;
        for (size_t j = 0; j <= i; j++)
            row[j] = (float)(sum[j] < LEAST ? LEAST : sum[j]);
        row[i + 1] = (float)(sum[QK_CHUNK] < LEAST ? LEAST : sum[QK_CHUNK]);
        qk_exp_sum(i + 2, 0, row);
        memcpy(decay + i * QK_CHUNK, row, (i + 1) * sizeof *row);
        from_start[i] = row[i + 1];
    }
}

void qk_chunk_product(size_t n, size_t m, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
    bool transposed, float *c, size_t ldc)
{
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, transposed ? CblasTrans : CblasNoTrans, (int)n, (int)m, (int)k,
        1.0f, a, (int)lda, b, (int)ldb, 0.0f, c, (int)ldc);
}

/* delta (n, value_dim) = d, from the triangular system. */
static void solve_delta(
    const struct qk_gated_tokens *x, const struct delta_scratch *s, const float from_start[QK_CHUNK])
{
    size_t n = x->n, dv = x->dv;
    qk_chunk_product(n, n, x->dk, x->k, x->k_stride, x->k, x->k_stride, true, s->keys, QK_CHUNK);
    qk_chunk_product(n, dv, x->dk, x->k, x->k_stride, s->state, dv, false, s->delta, dv);
    for (size_t i = 0; i < n; i++) {
        float beta = x->beta[i * x->stride], *d = s->delta + i * dv;
        for (size_t j = 0; j < i; j++)
            s->keys[i * QK_CHUNK + j] *= beta * s->decay[i * QK_CHUNK + j];
        for (size_t j = 0; j < dv; j++)
            d[j] = beta * (x->v[i * x->v_stride + j] - from_start[i] * d[j]);
    }
    qk_blas.strsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasUnit, (int)n, (int)dv, 1.0f,
        s->keys, QK_CHUNK, s->delta, (int)dv);
}

static void delta_chunk(const struct qk_gated_tokens *x, const struct delta_scratch *s)
{
    size_t n = x->n, dk = x->dk, dv = x->dv;
    float from_start[QK_CHUNK];
    const float *to_end = s->decay + (n - 1) * QK_CHUNK;
    qk_chunk_decay(n, x->g, x->g_stride, s->decay, from_start);
    solve_delta(x, s, from_start);
    qk_chunk_product(n, n, dk, x->q, x->q_stride, x->k, x->k_stride, true, s->queries, QK_CHUNK);
    qk_chunk_product(n, dv, dk, x->q, x->q_stride, s->state, dv, false, x->out, x->out_stride);
    for (size_t i = 0; i < n; i++) {
        qk_scale(dv, from_start[i], x->out + i * x->out_stride);
        for (size_t j = 0; j < n; j++)
            s->queries[i * QK_CHUNK + j] =
                j <= i ? s->queries[i * QK_CHUNK + j] * s->decay[i * QK_CHUNK + j] : 0.0f;
        for (size_t j = 0; j < dk; j++)
            s->faded[i * dk + j] = to_end[i] * x->k[i * x->k_stride + j];
    }
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)dv, (int)n, 1.0f, s->queries,
        QK_CHUNK, s->delta, (int)dv, 1.0f, x->out, (int)x->out_stride);
    qk_blas.sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)dk, (int)dv, (int)n, 1.0f, s->faded, (int)dk,
        s->delta, (int)dv, from_start[n - 1], s->state, (int)dv);
}

static void run_delta(
    const struct qk_gated_rule *rule, const struct qk_gated_tokens *x, size_t h, float *state, float *scratch)
{
    const struct delta_scratch s = lay_delta(state, scratch, x->dk, x->dv);
    (void)rule;
    (void)h;
    (x->n == 1 ? delta_step : delta_chunk)(x, &s);
}

enum qk_code qk_gated_delta_rule(
    const struct qk_attention *a, const struct qk_gates *gates, size_t n, struct qk_error *err)
{
    const struct qk_gated_rule rule = {delta_size(a->head_dim, a->value_dim), run_delta, NULL};
    return qk_gated_rule_run(&rule, a, gates, n, err);
}
