/* attention.c - softmax attention by query blocks, lightning attention by chunks, the gated delta rule. */
#include "forward/attention.h"

#include "base/blas.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "forward/exponential.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- softmax --- */

/* Softmax of row[0..n), in place. The sum is float64, so that long rows keep their last digits. */
static void softmax_row(float *row, size_t n)
{
    float scale = (float)(1.0 / qk_exp_sum(n, qk_largest(n, row), row));
    for (size_t i = 0; i < n; i++)
        row[i] *= scale;
}

/* First key that the first query of a block sees. */
static size_t first_key(const struct qk_attention *a, size_t t)
{
    return a->window != 0 && t + 1 > a->window ? t + 1 - a->window : 0;
}

/* p (n, keys) = scale q k^T of the queries from t0 on and the keys from s0 on. A single query is a product of a
 * matrix and a vector. */
static void multiply_block(
    const struct qk_attention *a, size_t h, size_t t0, size_t n, size_t s0, float *p, size_t ld)
{
    size_t keys = t0 + n - s0;
    const float *q = a->q + (t0 - a->first_query) * a->q_stride + h * a->head_dim,
                *k = a->k + s0 * a->k_stride + h / (a->n_q / a->n_k) * a->head_dim;
    if (n == 1)
        qk_blas.sgemv(CblasRowMajor, CblasNoTrans, (int)keys, (int)a->head_dim, a->scale, k, (int)a->k_stride,
            q, 1, 0.0f, p, 1);
    else
        qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)keys, (int)a->head_dim, a->scale,
            q, (int)a->q_stride, k, (int)a->k_stride, 0.0f, p, (int)ld);
}

/* Fills columns first_key(t0) <= s < t0 + n of p, and no column before them. */
static void attend_block(const struct qk_attention *a, size_t h, size_t t0, size_t n, float *p, size_t ld)
{
    size_t s0 = first_key(a, t0);
    multiply_block(a, h, t0, n, s0, p + s0, ld);
    for (size_t i = 0; i < n; i++) {
        float *row = p + i * ld;
        size_t t = t0 + i, first = first_key(a, t);
        if (a->softcap > 0)
            for (size_t s = first; s <= t; s++)
                row[s] = a->softcap * tanhf(row[s] / a->softcap);
        softmax_row(row + first, t + 1 - first);
        memset(row + s0, 0, (first - s0) * sizeof *row);
        memset(row + t + 1, 0, (t0 + n - t - 1) * sizeof *row);
    }
}

/* Computes the block's rows of out = p v. */
static void mix_block(const struct qk_attention *a, size_t h, size_t t0, size_t n, const float *p, size_t ld)
{
    size_t s0 = first_key(a, t0), keys = t0 + n - s0, vd = a->value_dim;
    const float *v = a->v + s0 * a->v_stride + h / (a->n_q / a->n_k) * vd;
    float *out = a->out + ((t0 - a->first_query) * a->n_q + h) * vd;
    if (n == 1)
        qk_blas.sgemv(CblasRowMajor, CblasTrans, (int)keys, (int)vd, 1.0f, v, (int)a->v_stride, p + s0, 1,
            0.0f, out, 1);
    else
        qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)vd, (int)keys, 1.0f, p + s0,
            (int)ld, v, (int)a->v_stride, 0.0f, out, (int)(a->n_q * vd));
}

static void clear_before(const struct qk_attention *a, size_t t0, size_t n, float *p, size_t ld)
{
    for (size_t i = 0; i < n; i++)
        memset(p + i * ld, 0, first_key(a, t0) * sizeof *p);
}

void qk_attention_block(const struct qk_attention *a, size_t head, size_t t0, size_t n, float *p, size_t ld)
{
    attend_block(a, head, t0, n, p, ld);
    clear_before(a, t0, n, p, ld);
}

struct softmax_job {
    const struct qk_attention *a; /* one a sequence */
    float *p;                     /* one block of `size` a worker */
    size_t size;
    qk_attention_seen seen;
    void *context;
};

/* Item: a head of a sequence. */
static void attend_head(void *context, size_t item, size_t worker)
{
    struct softmax_job *job = context;
    const struct qk_attention *a = &job->a[item / job->a->n_q];
    size_t ld = a->T, h = item % a->n_q;
    float *p = job->p + worker * job->size;
    for (size_t t0 = a->first_query; t0 < a->T && qk_progress_check(a->progress, NULL) == QK_OK;
         t0 += QK_QUERY_BLOCK) {
        size_t n = a->T - t0 < QK_QUERY_BLOCK ? a->T - t0 : QK_QUERY_BLOCK;
        attend_block(a, h, t0, n, p, ld);
        if (a->out != NULL && a->v != NULL)
            mix_block(a, h, t0, n, p, ld);
        if (job->seen == NULL)
            continue;
        clear_before(a, t0, n, p, ld);
        job->seen(job->context, worker, h, t0, n, p, ld);
    }
}

enum qk_code qk_softmax_attention(
    const struct qk_attention *a, size_t n, qk_attention_seen seen, void *context, struct qk_error *err)
{
    struct softmax_job job = {.a = a, .seen = seen, .context = context};
    size_t items = n * a->n_q, workers = qk_parallel_workers(items);
    for (size_t i = 0; i < n; i++) {
        size_t rows = a[i].T - a[i].first_query;
        rows = rows < QK_QUERY_BLOCK ? rows : QK_QUERY_BLOCK;
        job.size = rows * a[i].T > job.size ? rows * a[i].T : job.size;
    }
    QK_TRY(qk_alloc_aligned(&job.p, workers * job.size, sizeof *job.p, err));
    qk_parallel_for(items, attend_head, &job, a->progress);
    free(job.p);
    return qk_progress_check(a->progress, err);
}

/* --- states of the recurrences --- */

/* The state (head_dim, value_dim) behind the tokens before these. */
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

enum { CHUNK = 64 };

struct lightning_job {
    const struct qk_attention *a; /* one a sequence */
    const float *slope;
    float *scratch; /* one of `size` a worker */
    size_t size;
};

/* A worker's scratch: state (head_dim, value_dim), p (CHUNK, CHUNK), scaled (CHUNK, head_dim), decay (CHUNK +
 * 1) with decay[i] = e^(-slope i). */
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
        (int)a->q_stride, k, (int)a->k_stride, 0.0f, s->p, CHUNK);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            s->p[i * CHUNK + j] = j <= i ? s->p[i * CHUNK + j] * s->decay[i - j] : 0.0f;
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)a->value_dim, (int)n, 1.0f, s->p,
        CHUNK, v, (int)a->v_stride, 1.0f, to, (int)(a->n_q * a->value_dim));
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
    size_t h = item % a->n_q, hd = a->head_dim, vd = a->value_dim, g = h / (a->n_q / a->n_k);
    struct lightning_scratch s = {.state = job->scratch + worker * job->size};
    s.p = s.state + hd * vd;
    s.scaled = s.p + CHUNK * CHUNK;
    s.decay = s.scaled + CHUNK * hd;
    for (size_t i = 0; i <= CHUNK; i++)
        s.decay[i] = (float)exp(-(double)job->slope[h] * (double)i);
    begin_state(a, h, s.state);
    for (size_t t0 = 0; t0 < a->T && qk_progress_check(a->progress, NULL) == QK_OK; t0 += CHUNK) {
        size_t n = a->T - t0 < CHUNK ? a->T - t0 : CHUNK;
        const float *q = a->q + t0 * a->q_stride + h * hd, *k = a->k + t0 * a->k_stride + g * hd,
                    *v = a->v + t0 * a->v_stride + g * vd;
        float *to = a->out + (t0 * a->n_q + h) * vd;
        lightning_from_state(a, &s, q, n, to);
        lightning_within(a, &s, q, k, v, n, to);
        lightning_move_state(a, &s, k, v, n);
    }
    end_state(a, h, s.state);
}

enum qk_code qk_lightning_attention(
    const struct qk_attention *a, size_t n, const float *slope, struct qk_error *err)
{
    struct lightning_job job = {.a = a, .slope = slope};
    size_t items = n * a->n_q;
    job.size = a->head_dim * a->value_dim + CHUNK * CHUNK + CHUNK * a->head_dim + CHUNK + 16;
    QK_TRY(qk_alloc_aligned(&job.scratch, qk_parallel_workers(items) * job.size, sizeof *job.scratch, err));
    qk_parallel_for(items, lightning_head, &job, a->progress);
    free(job.scratch);
    return qk_progress_check(a->progress, err);
}

/* --- the gated delta rule --- */

struct delta_job {
    const struct qk_attention *a; /* one a sequence */
    const struct qk_gates *gates; /* likewise */
    float *scratch;               /* state (head_dim, value_dim) and delta (value_dim), one a worker */
};

/* s (value_dim) = state^T x. Both passes over the state are plain loops, because its rows are too short for a BLAS
 * call. */
static void state_times(size_t dk, size_t dv, const float *state, const float *x, float *s)
{
    memset(s, 0, dv * sizeof *s);
    for (size_t i = 0; i < dk; i++)
        for (size_t j = 0; j < dv; j++)
            s[j] += state[i * dv + j] * x[i];
}

static void delta_step(const struct qk_attention *a, const float *q, const float *k, const float *v,
    float decay, float beta, float *state, float *delta, float *to)
{
    size_t dk = a->head_dim, dv = a->value_dim;
    for (size_t i = 0; i < dk * dv; i++)
        state[i] *= decay;
    state_times(dk, dv, state, k, delta);
    for (size_t j = 0; j < dv; j++)
        delta[j] = beta * (v[j] - delta[j]);
    for (size_t i = 0; i < dk; i++)
        for (size_t j = 0; j < dv; j++)
            state[i * dv + j] += k[i] * delta[j];
    state_times(dk, dv, state, q, to);
}

/* Item: a value head of a sequence. */
static void delta_head(void *context, size_t item, size_t worker)
{
    const struct delta_job *job = context;
    const struct qk_attention *a = &job->a[item / job->a->n_q];
    const struct qk_gates *gates = &job->gates[item / job->a->n_q];
    size_t h = item % a->n_q, dk = a->head_dim, dv = a->value_dim, key = h / (a->n_q / a->n_k);
    float *state = job->scratch + worker * (dk + 1) * dv, *delta = state + dk * dv;
    begin_state(a, h, state);
    for (size_t t = 0; t < a->T && qk_progress_check(a->progress, NULL) == QK_OK; t++)
        delta_step(a, a->q + t * a->q_stride + key * dk, a->k + t * a->k_stride + key * dk,
            a->v + t * a->v_stride + h * dv, expf(gates->g[t * a->n_q + h]), gates->beta[t * a->n_q + h],
            state, delta, a->out + (t * a->n_q + h) * dv);
    end_state(a, h, state);
}

enum qk_code qk_gated_delta_rule(
    const struct qk_attention *a, const struct qk_gates *gates, size_t n, struct qk_error *err)
{
    struct delta_job job = {.a = a, .gates = gates};
    size_t items = n * a->n_q, size = (a->head_dim + 1) * a->value_dim;
    QK_TRY(qk_alloc_aligned(&job.scratch, qk_parallel_workers(items) * size, sizeof *job.scratch, err));
    qk_parallel_for(items, delta_head, &job, a->progress);
    free(job.scratch);
    return qk_progress_check(a->progress, err);
}
