/* state_space.c - the recurrence of Mamba2 layers, by chunks. */
#include "forward/state_space.h"

#include "base/blas.h"
#include "forward/elementwise.h"
#include "forward/exponential.h"
#include "forward/recurrence_internal.h"

#include <math.h>
#include <string.h>

/* A worker's scratch: p (QK_CHUNK, QK_CHUNK), keys (QK_CHUNK, head_dim); and its state (head_dim, value_dim). */
struct scratch {
    float *state, *p, *keys;
};

/* row[j] = e^(g_(j+1) + ... + g_i) for j <= i: the decay from each token of the chunk to token i; *from_start that from
 * the state before the chunk. `sum` holds the sums of g up to each token in float64, whose differences are exact enough
 * for any decay. */
static void decay_row(const double *sum, size_t i, float *row, float *from_start)
{
    float all[QK_CHUNK + 1];
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
static void run_chunk(const struct qk_gated_tokens *x, float skip, const struct scratch *s)
{
    size_t n = x->n, dk = x->dk, dv = x->dv;
    double sum[QK_CHUNK];
    float decay[QK_CHUNK], from_start = 1;
    for (size_t i = 0; i < n; i++)
        sum[i] = (i > 0 ? sum[i - 1] : 0) + (double)x->g[i * x->stride];
    qk_chunk_product(n, n, dk, x->q, x->q_stride, x->k, x->k_stride, true, s->p, QK_CHUNK);
    qk_chunk_product(n, dv, dk, x->q, x->q_stride, s->state, dv, false, x->out, x->out_stride);
    for (size_t i = 0; i < n; i++) {
        decay_row(sum, i, decay, &from_start);
        for (size_t j = 0; j <= i; j++)
            decay[j] *= x->beta[j * x->stride];
        qk_multiply(i + 1, decay, s->p + i * QK_CHUNK);
        memset(s->p + i * QK_CHUNK + i + 1, 0, (n - i - 1) * sizeof *s->p);
        qk_scale(dv, from_start, x->out + i * x->out_stride);
        qk_add(dv, skip, x->v + i * x->v_stride, x->out + i * x->out_stride);
    }
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)dv, (int)n, 1.0f, s->p, QK_CHUNK,
        x->v, (int)x->v_stride, 1.0f, x->out, (int)x->out_stride);
    for (size_t i = 0; i < n; i++) { /* decay is that to the last token */
        memcpy(s->keys + i * dk, x->k + i * x->k_stride, dk * sizeof *s->keys);
        qk_scale(dk, decay[i], s->keys + i * dk);
    }
    qk_blas.sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)dk, (int)dv, (int)n, 1.0f, s->keys, (int)dk,
        x->v, (int)x->v_stride, from_start, s->state, (int)dv);
}

/* A single token. Its rows are too short for a BLAS call. */
static void run_step(const struct qk_gated_tokens *x, float skip, const struct scratch *s)
{
    size_t dv = x->dv;
    float fade = expf(x->g[0]);
    for (size_t j = 0; j < dv; j++)
        x->out[j] = skip * x->v[j];
    for (size_t i = 0; i < x->dk; i++) {
        float *state = s->state + i * dv, step = x->beta[0] * x->k[i], q = x->q[i];
        for (size_t j = 0; j < dv; j++) {
            state[j] = state[j] * fade + step * x->v[j];
            x->out[j] += q * state[j];
        }
    }
}

static void run_rule(
    const struct qk_gated_rule *rule, const struct qk_gated_tokens *x, size_t h, float *state, float *scratch)
{
    const struct scratch s = {state, scratch, scratch + QK_CHUNK * QK_CHUNK};
    (x->n == 1 ? run_step : run_chunk)(x, rule->skip != NULL ? rule->skip[h] : 0, &s);
}

enum qk_code qk_state_space(const struct qk_attention *a, const struct qk_gates *gates, const float *skip,
    size_t n, struct qk_error *err)
{
    const struct qk_gated_rule rule = {QK_CHUNK * QK_CHUNK + QK_CHUNK * a->head_dim, run_rule, skip};
    return qk_gated_rule_run(&rule, a, gates, n, err);
}
