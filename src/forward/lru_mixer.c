/* lru_mixer.c - the mixer of real-gated linear recurrent units (RG-LRU, De et al. 2024): a convolution, and a
 * recurrence over each channel.
 *
 * Per channel, with u the convolved input, r and i sigmoids of projections of its head, and log a = -8 r softplus(p):
 * h <- a h + sqrt(1 - a^2) i u, without the root at the first token. */
#include "forward/convolution.h"
#include "forward/mixer.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "forward/weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- weights --- */

/* Reads a gate: matrices (heads, from, to) and biases (heads, to), as rows of the channels they make. */
static enum qk_code read_gate(
    struct qk_reading *r, const char *key, const char *bias_key, struct qk_projection *gate)
{
    struct qk_layer_weights *out = r->out;
    const struct qk_tensor *weight, *bias;
    int layer = r->layer->index;
    size_t heads = out->n_out, m = out->value_dim;
    float *stored, *biases;
    QK_TRY(qk_parts_layer_tensor(r->parts, layer, r->mixer, key, "", true, &weight, r->err));
    QK_TRY(qk_parts_layer_tensor(r->parts, layer, r->mixer, bias_key, "", true, &bias, r->err));
    if (weight->n_dims != 3 || weight->shape[0] != heads || weight->shape[1] != m || weight->shape[2] != m ||
        bias->n_dims != 2 || bias->shape[0] != heads || bias->shape[1] != m)
        return qk_fail_row(r, "its gates do not fit the width of its heads");
    QK_TRY(qk_weights_values(r->parts, bias, &biases, r->err));
    QK_TRY(qk_own(out, biases, heads * m * sizeof *biases, r->err));
    QK_TRY(qk_new_projection(r, gate, heads * m, m, QK_F32, false));
    gate->bias = biases;
    float *to = gate->weight;
    QK_TRY(qk_weights_values(r->parts, weight, &stored, r->err));
    for (size_t h = 0; h < heads; h++)
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < m; j++)
                to[(h * m + j) * m + i] = stored[(h * m + i) * m + j];
    free(stored);
    return QK_OK;
}

static enum qk_code read_lru(struct qk_reading *r, bool all)
{
    struct qk_layer_weights *out = r->out;
    long heads;
    (void)all;
    QK_TRY(qk_layout_count(r->mixer, "value_heads", &r->parts->model->config, 1 << 16, &heads, r->err));
    QK_TRY(qk_read_projection(r, r->mixer, "in", 0, out->d, true, &out->qkv));
    if (out->qkv.n % (size_t)heads != 0)
        return qk_fail_row(r, "its heads do not divide its width");
    out->n_out = out->n_v = (size_t)heads;
    out->value_dim = out->qkv.n / out->n_out;
    QK_TRY(qk_convolution_read(r, out->qkv.n));
    QK_TRY(read_gate(r, "input_gate", "input_gate_bias", &out->input_gate));
    QK_TRY(read_gate(r, "decay_gate", "decay_gate_bias", &out->decay_gate));
    QK_TRY(qk_read_named(r, "decay_log", out->qkv.n, 0, &out->decay_log));
    return qk_read_output(r);
}

/* --- running --- */

/* gates (rows of the block, width) = the sigmoid of a gate's projections of u, head by head. `part` has the room of one
 * head's. */
static void make_gates(const struct qk_layer_weights *w, const struct qk_projection *p,
    const struct qk_block *block, const float *u, float *part, float *gates)
{
    size_t m = w->value_dim, width = p->n;
    for (size_t h = 0; h < w->n_out; h++) {
        for (size_t i = 0; i < block->n; i++)
            memcpy(part + i * m, u + i * width + h * m, m * sizeof *part);
        qk_block_linear(
            block, m, m, part, qk_projection_row(p, h * m), p->bias + h * m, gates + h * m, width);
    }
    qk_activate(QK_SIGMOID, block->n * width, gates);
}

/* Item: a block. p.qkv = what is added to the state, mixed = the decay a. */
static void prepare(void *context, size_t item, size_t worker)
{
    const struct qk_run *run = context;
    const struct qk_layer_weights *w = run->w;
    const struct qk_block *block = qk_run_block(run, item);
    size_t n = w->qkv.n, values = block->n * n;
    float *part = run->scratch + worker * run->size, *input = part + QK_ROW_BLOCK * w->value_dim,
          *u = run->p.qkv + block->row * n, *a = run->mixed + block->row * n;
    qk_convolution_rows(run, block, n, u, n);
    make_gates(w, &w->input_gate, block, u, part, input);
    make_gates(w, &w->decay_gate, block, u, part, a);
    for (size_t i = 0; i < values; i++) {
        float log_a = -8.0f * a[i] * qk_softplus(w->decay_log[i % n]);
        bool first = qk_run_position(run, block, i / n, NULL) == 0;
        a[i] = expf(log_a);
        u[i] *= input[i] * (first ? 1.0f : sqrtf(-expm1f(2 * log_a)));
    }
}

enum { CHANNELS = 64 };

struct scan {
    const struct qk_run *run;
    size_t shares; /* of channels */
};

/* Item: a share of the channels of a sequence. */
static void scan_share(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct scan *scan = context;
    const struct qk_run *run = scan->run;
    const struct qk_sequence *s = &run->batch->sequence[item / scan->shares];
    size_t first = item % scan->shares * CHANNELS, n = run->w->qkv.n,
           m = n - first < CHANNELS ? n - first : CHANNELS;
    float state[CHANNELS] = {0};
    if (s->state != NULL)
        memcpy(state, s->state->recurrent + first, m * sizeof *state);
    for (size_t t = s->first; t < s->first + s->n; t++) {
        const float *added = run->p.qkv + t * n + first;
        float *y = run->mixed + t * n + first;
        for (size_t i = 0; i < m; i++)
            y[i] = state[i] = y[i] * state[i] + added[i];
    }
    if (s->state != NULL)
        memcpy(s->state->recurrent + first, state, m * sizeof *state);
}

static enum qk_code mix(struct qk_run *run, struct qk_rope_tables *tables, const struct qk_layer_watch *watch,
    struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    size_t n = w->qkv.n;
    struct scan scan = {run, (n + CHANNELS - 1) / CHANNELS};
    (void)watch;
    QK_TRY(qk_qkv_project(run, tables, progress, err));
    const struct qk_convolved x = {run->p.qkv, n, n};
    QK_TRY(qk_convolution_begin(run, &x, progress, err));
    QK_TRY(qk_alloc_aligned(&run->mixed, run->batch->T * n, sizeof *run->mixed, err));
    QK_TRY(qk_run_for_blocks(run, prepare, QK_ROW_BLOCK * (w->value_dim + n), progress, err));
    qk_parallel_for(run->batch->n * scan.shares, scan_share, &scan, progress);
    return qk_progress_check(progress, err);
}

static void size_lru(const struct qk_layer_weights *w, struct qk_layer_state *state)
{
    state->tail_values = qk_convolution_tail(w, w->qkv.n);
    state->recurrent_values = w->qkv.n;
}

const struct qk_mixer_ops qk_lru_mixer = {
    .word = "lru",
    .read = read_lru,
    .size_state = size_lru,
    .mix = mix,
    .recurs = true,
};
