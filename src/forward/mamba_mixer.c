/* mamba_mixer.c - the mixer of Mamba layers (Gu & Dao 2023): a convolution, and a selective scan over each channel.
 *
 * Per channel c, with a state S (head_dim): S_s <- e^(dt_c A_cs) S_s + dt_c u_c B_s, and y_c = sum_s C_s S_s + D_c u_c.
 * u is the convolved input, [dt; B; C] are projections of it, and a norm may follow each. */
#include "forward/convolution.h"
#include "forward/elementwise.h"
#include "forward/exponential.h"
#include "forward/mixer.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "forward/weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_STATE = 1 << 10 };

/* --- weights --- */

static enum qk_code read_norm(struct qk_reading *r, const char *key, size_t n, struct qk_norm *norm)
{
    const struct qk_tensor *gain;
    if (qk_json_get(r->mixer, key) == NULL)
        return QK_OK;
    QK_TRY(qk_parts_layer_tensor(r->parts, r->layer->index, r->mixer, key, ".weight", true, &gain, r->err));
    norm->n = n;
    norm->eps = r->out->mixer_norm.eps;
    return qk_read_owned(r->parts, gain, n, 0, r->out, &norm->gain, r->err);
}

/* Reads the input and the gate, which are one tensor [x; z], and A as it acts. */
static enum qk_code read_channels(struct qk_reading *r)
{
    struct qk_layer_weights *out = r->out;
    struct qk_projection in = {0};
    const struct qk_tensor *decay;
    QK_TRY(qk_parts_layer_tensor(r->parts, r->layer->index, r->mixer, "decay_log", "", true, &decay, r->err));
    QK_TRY(qk_read_projection(r, r->mixer, "in", 0, out->d, true, &in));
    size_t n = in.n / 2, state = decay->n_dims == 2 ? (size_t)decay->shape[1] : 0;
    if (n == 0 || in.n % 2 != 0 || state == 0 || state > MOST_STATE)
        return qk_fail_row(r, "its projection is not of an input and a gate, or it has no states");
    QK_TRY(qk_read_named(r, "decay_log", n, state, &out->decay_log));
    for (size_t i = 0; i < n * state; i++)
        out->decay_log[i] = -expf(out->decay_log[i]);
    out->n_v = out->n_out = n;
    out->value_dim = 1;
    out->head_dim = state;
    out->qkv = qk_projection_rows(&in, 0, n);
    out->gate = qk_projection_rows(&in, n, n);
    return qk_convolution_read(r, n);
}

/* Reads dt's projections through its latent, and that of B and C, which stands behind the latent's. */
static enum qk_code read_selection(struct qk_reading *r)
{
    struct qk_layer_weights *out = r->out;
    struct qk_projection all = {0};
    const struct qk_tensor *step;
    size_t n = out->n_v, state = out->head_dim;
    QK_TRY(
        qk_parts_layer_tensor(r->parts, r->layer->index, r->mixer, "step", ".weight", true, &step, r->err));
    size_t rank = step->n_dims == 2 ? (size_t)step->shape[1] : 0;
    QK_TRY(qk_read_projection(r, r->mixer, "selection", rank + 2 * state, n, true, &all));
    QK_TRY(qk_read_projection(r, r->mixer, "step", n, rank, true, &out->step_out));
    out->step_in = qk_projection_rows(&all, 0, rank);
    out->state_in = qk_projection_rows(&all, rank, 2 * state);
    QK_TRY(read_norm(r, "step_norm", rank, &out->step_norm));
    QK_TRY(read_norm(r, "k_norm", state, &out->k_norm));
    return read_norm(r, "q_norm", state, &out->q_norm);
}

static enum qk_code read_mamba(struct qk_reading *r, bool all)
{
    (void)all;
    QK_TRY(read_channels(r));
    QK_TRY(read_selection(r));
    QK_TRY(qk_read_named(r, "skip", r->out->n_v, 0, &r->out->skip));
    return qk_read_output(r);
}

/* --- what the scan takes --- */

/* Item: a block. p.g holds the latents of dt, and p.beta [B; C]. */
static void norm_selection(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct qk_run *run = context;
    const struct qk_layer_weights *w = run->w;
    const struct qk_block *block = qk_run_block(run, item);
    size_t rank = w->step_in.n, state = w->head_dim;
    float *b = run->p.beta + block->row * 2 * state;
    qk_norm_heads(&w->step_norm, block->n, 1, rank, rank, run->p.g + block->row * rank);
    qk_norm_heads(&w->k_norm, block->n, 1, state, 2 * state, b);
    qk_norm_heads(&w->q_norm, block->n, 1, state, 2 * state, b + state);
}

/* Item: a block. */
static void finish_steps(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct qk_run *run = context;
    const struct qk_block *block = qk_run_block(run, item);
    float *step = run->mixed + block->row * run->w->n_v;
    for (size_t i = 0; i < block->n * run->w->n_v; i++)
        step[i] = qk_softplus(step[i]);
}

/* Leaves u in p.qkv, [B; C] in p.beta, and dt in `mixed`. */
static enum qk_code select_all(struct qk_run *run, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    size_t T = run->batch->T, n = w->n_v;
    QK_TRY(qk_convolution_qkv(run, progress, err));
    QK_TRY(qk_alloc_aligned(&run->p.g, T * w->step_in.n, sizeof(float), err));
    QK_TRY(qk_alloc_aligned(&run->p.beta, T * w->state_in.n, sizeof(float), err));
    QK_TRY(qk_alloc_aligned(&run->mixed, T * n, sizeof(float), err));
    const struct qk_group whole = qk_run_whole(run);
    const struct qk_product in[] = {{.p = &w->step_in, .x = run->p.qkv, .out = run->p.g, .ld = w->step_in.n},
        {.p = &w->state_in, .x = run->p.qkv, .out = run->p.beta, .ld = w->state_in.n}},
                            out = {.p = &w->step_out, .x = run->p.g, .out = run->mixed, .ld = n};
    QK_TRY(qk_run_products(run, &whole, in, 2, progress, err));
    QK_TRY(qk_run_for_blocks(run, norm_selection, 0, progress, err));
    QK_TRY(qk_run_products(run, &whole, &out, 1, progress, err));
    return qk_run_for_blocks(run, finish_steps, 0, progress, err);
}

/* --- the scan --- */

/* A worker's scratch has decays and states of so many channels. */
enum { CHANNELS = 16 };

struct scan {
    const struct qk_run *run;
    struct qk_progress *progress;
    size_t shares; /* of channels */
    float *scratch;
};

/* One token of m channels. y holds dt, and receives the output. */
static void scan_token(const struct qk_layer_weights *w, size_t first, size_t m, const float *u,
    const float *selected, float *state, float *decay, float *y)
{
    size_t n = w->head_dim;
    const float *b = selected, *c = selected + n;
    for (size_t i = 0; i < m; i++)
        for (size_t s = 0; s < n; s++)
            decay[i * n + s] = y[i] * w->decay_log[(first + i) * n + s];
    qk_exp_sum(m * n, 0, decay);
    for (size_t i = 0; i < m; i++) {
        float step = y[i] * u[i], sum = 0;
        for (size_t s = 0; s < n; s++) {
            float *at = &state[i * n + s];
            *at = *at * decay[i * n + s] + step * b[s];
            sum += *at * c[s];
        }
        y[i] = sum + w->skip[first + i] * u[i];
    }
}

/* Item: a share of the channels of a sequence. */
static void scan_share(void *context, size_t item, size_t worker)
{
    const struct scan *scan = context;
    const struct qk_run *run = scan->run;
    const struct qk_layer_weights *w = run->w;
    const struct qk_sequence *s = &run->batch->sequence[item / scan->shares];
    struct qk_timing *timing = qk_progress_timing(scan->progress);
    uint64_t since = qk_timing_start(timing);
    size_t first = item % scan->shares * CHANNELS, n = w->n_v,
           m = n - first < CHANNELS ? n - first : CHANNELS, values = m * w->head_dim;
    float *decay = scan->scratch + worker * 2 * CHANNELS * w->head_dim,
          *state = decay + CHANNELS * w->head_dim;
    if (s->state != NULL)
        memcpy(state, s->state->recurrent + first * w->head_dim, values * sizeof *state);
    else
        memset(state, 0, values * sizeof *state);
    for (size_t t = s->first; t < s->first + s->n && qk_progress_check(scan->progress, NULL) == QK_OK; t++)
        scan_token(w, first, m, run->p.qkv + t * n + first, run->p.beta + t * w->state_in.n, state, decay,
            run->mixed + t * n + first);
    if (s->state != NULL)
        memcpy(s->state->recurrent + first * w->head_dim, state, values * sizeof *state);
    qk_timing_lap(timing, QK_TIME_RECURRENCE, since);
}

static enum qk_code mix(struct qk_run *run, struct qk_rope_tables *tables, const struct qk_layer_watch *watch,
    struct qk_progress *progress, struct qk_error *err)
{
    struct scan scan = {.run = run, .progress = progress};
    (void)watch;
    QK_TRY(qk_qkv_project(run, tables, progress, err));
    QK_TRY(select_all(run, progress, err));
    scan.shares = (run->w->n_v + CHANNELS - 1) / CHANNELS;
    size_t items = run->batch->n * scan.shares;
    QK_TRY(qk_alloc_aligned(&scan.scratch, qk_parallel_workers(items) * 2 * CHANNELS * run->w->head_dim,
        sizeof *scan.scratch, err));
    qk_parallel_for(items, scan_share, &scan, progress);
    free(scan.scratch);
    return qk_progress_check(progress, err);
}

static void size_mamba(const struct qk_layer_weights *w, struct qk_layer_state *state)
{
    state->tail_values = qk_convolution_tail(w, w->n_v);
    state->recurrent_values = w->n_v * w->head_dim;
}

const struct qk_mixer_ops qk_mamba_mixer = {
    .word = "mamba",
    .read = read_mamba,
    .size_state = size_mamba,
    .mix = mix,
    .recurs = true,
};
