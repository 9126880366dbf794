/* state_space.c - the recurrence of Mamba2 layers, by chunks. */
#include "forward/state_space.h"

#include "base/blas.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "forward/elementwise.h"
#include "forward/exponential.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 64 };

struct job {
    const struct qk_attention *a; /* one a sequence */
    const struct qk_gates *gates; /* likewise */
    const float *skip;
    float *scratch; /* one of `size` a worker */
    size_t size;
};

/* A worker's scratch: state (head_dim, value_dim), p (CHUNK, CHUNK), keys (CHUNK, head_dim). */
struct scratch {
    float *state, *p, *keys;
};

/* A chunk of n tokens of a head; row i is `stride` behind row i - 1. */
struct chunk {
    size_t n, dk, dv, q_stride, k_stride, v_stride, stride, out_stride;
    const float *q, *k, *v, *g, *beta;
    float skip, *out;
};

/* row[j] = e^(g_(j+1) + ... + g_i) for j <= i: the decay from each token of the chunk to token i; *from_start that from
 * the state before the chunk. `sum` holds the sums of g up to each token in float64, whose differences are exact enough
 * for any decay. */
static void decay_row(const double *sum, size_t i, float *row, float *from_start)
{
    float all[CHUNK + 1];
    for (size_t j = 0; j <= i; j++)
        all[j] = (float)(sum[i] - sum[j]);
    all[i + 1] = (float)sum[i];
    qk_exp_sum(i + 2, 0, all);
    memcpy(row, all, (i + 1) * sizeof *row);
    *from_start = all[i + 1];
}

/* With c(i, j) of decay_row and c(i) from the start, and the state S before the chunk:
 *   out_i = c(i) S^T q_i + sum_(j<=i) c(i, j) beta_j (q_i . k_j) v_j + skip v_i
 *   S <- c(n) S + sum_j c(n, j) beta_j k_j v_j^T. */
static void run_chunk(const struct chunk *x, const struct scratch *s)
{
    size_t n = x->n, dk = x->dk, dv = x->dv;
    double sum[CHUNK];
    float decay[CHUNK], from_start = 1;
    for (size_t i = 0; i < n; i++)
        sum[i] = (i > 0 ? sum[i - 1] : 0) + (double)x->g[i * x->stride];
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)n, (int)dk, 1.0f, x->q,
        (int)x->q_stride, x->k, (int)x->k_stride, 0.0f, s->p, CHUNK);
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)dv, (int)dk, 1.0f, x->q,
        (int)x->q_stride, s->state, (int)dv, 0.0f, x->out, (int)x->out_stride);
    for (size_t i = 0; i < n; i++) {
        decay_row(sum, i, decay, &from_start);
        for (size_t j = 0; j <= i; j++)
            decay[j] *= x->beta[j * x->stride];
        qk_multiply(i + 1, decay, s->p + i * CHUNK);
        memset(s->p + i * CHUNK + i + 1, 0, (n - i - 1) * sizeof *s->p);
        qk_scale(dv, from_start, x->out + i * x->out_stride);
        qk_add(dv, x->skip, x->v + i * x->v_stride, x->out + i * x->out_stride);
    }
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)dv, (int)n, 1.0f, s->p, CHUNK, x->v,
        (int)x->v_stride, 1.0f, x->out, (int)x->out_stride);
    for (size_t i = 0; i < n; i++) { /* decay is that to the last token */
        memcpy(s->keys + i * dk, x->k + i * x->k_stride, dk * sizeof *s->keys);
        qk_scale(dk, decay[i], s->keys + i * dk);
    }
    qk_blas.sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)dk, (int)dv, (int)n, 1.0f, s->keys, (int)dk,
        x->v, (int)x->v_stride, from_start, s->state, (int)dv);
}

/* A single token. Its rows are too short for a BLAS call. */
static void run_step(const struct chunk *x, const struct scratch *s)
{
    size_t dv = x->dv;
    float fade = expf(x->g[0]);
    for (size_t j = 0; j < dv; j++)
        x->out[j] = x->skip * x->v[j];
    for (size_t i = 0; i < x->dk; i++) {
        float *state = s->state + i * dv, step = x->beta[0] * x->k[i], q = x->q[i];
        for (size_t j = 0; j < dv; j++) {
            state[j] = state[j] * fade + step * x->v[j];
            x->out[j] += q * state[j];
        }
    }
}

/* Item: a head of a sequence. */
static void run_head(void *context, size_t item, size_t worker)
{
    const struct job *job = context;
    const struct qk_attention *a = &job->a[item / job->a->n_q];
    const struct qk_gates *gates = &job->gates[item / job->a->n_q];
    struct qk_timing *timing = qk_progress_timing(a->progress);
    uint64_t since = qk_timing_start(timing);
    size_t h = item % a->n_q, dk = a->head_dim, dv = a->value_dim, group = h / (a->n_q / a->n_k);
    struct scratch s = {.state = job->scratch + worker * job->size};
    s.p = s.state + dk * dv;
    s.keys = s.p + CHUNK * CHUNK;
    if (a->state != NULL)
        memcpy(s.state, a->state + h * dk * dv, dk * dv * sizeof *s.state);
    else
        memset(s.state, 0, dk * dv * sizeof *s.state);
    for (size_t t = 0; t < a->T && qk_progress_check(a->progress, NULL) == QK_OK; t += CHUNK) {
        const struct chunk x = {.n = a->T - t < CHUNK ? a->T - t : CHUNK,
            .dk = dk,
            .dv = dv,
            .q_stride = a->q_stride,
            .k_stride = a->k_stride,
            .v_stride = a->v_stride,
            .stride = a->n_q,
            .out_stride = a->n_q * dv,
            .q = a->q + t * a->q_stride + group * dk,
            .k = a->k + t * a->k_stride + group * dk,
            .v = a->v + t * a->v_stride + h * dv,
            .g = gates->g + t * a->n_q + h,
            .beta = gates->beta + t * a->n_q + h,
            .skip = job->skip != NULL ? job->skip[h] : 0,
            .out = a->out + (t * a->n_q + h) * dv};
        (x.n == 1 ? run_step : run_chunk)(&x, &s);
    }
    if (a->state != NULL)
        memcpy(a->state + h * dk * dv, s.state, dk * dv * sizeof *s.state);
    qk_timing_lap(timing, QK_TIME_RECURRENCE, since);
}

enum qk_code qk_state_space(const struct qk_attention *a, const struct qk_gates *gates, const float *skip,
    size_t n, struct qk_error *err)
{
    struct job job = {.a = a, .gates = gates, .skip = skip};
    size_t items = n * a->n_q;
    job.size = a->head_dim * a->value_dim + CHUNK * CHUNK + CHUNK * a->head_dim;
    QK_TRY(qk_alloc_aligned(&job.scratch, qk_parallel_workers(items) * job.size, sizeof *job.scratch, err));
    qk_parallel_for(items, run_head, &job, a->progress);
    free(job.scratch);
    return qk_progress_check(a->progress, err);
}
