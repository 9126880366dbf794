/* delta_mixer.c - the mixer of the gated delta rule: its gates and convolutions. */
#include "forward/mixer.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "forward/weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- weights --- */

/* Reads beta and alpha from one tensor, by key group: [beta of its value heads; alpha of its value heads]. */
static enum qk_code split_beta_alpha(struct qk_reading *r)
{
    struct qk_layer_weights *out = r->out;
    struct qk_projection both = {0};
    size_t each = out->n_v / out->n_k, d = out->d;
    QK_TRY(qk_read_projection(r, r->mixer, "beta_alpha", 2 * out->n_v, d, true, &both));
    QK_TRY(qk_new_projection(r, &out->beta, out->n_v, d, false));
    QK_TRY(qk_new_projection(r, &out->alpha, out->n_v, d, false));
    for (size_t h = 0; h < out->n_v; h++) {
        size_t row = h / each * 2 * each + h % each;
        memcpy(out->beta.weight + h * d, both.weight + row * d, d * sizeof(float));
        memcpy(out->alpha.weight + h * d, both.weight + (row + each) * d, d * sizeof(float));
    }
    return QK_OK;
}

/* Without `all`, for q and k alone. */
static enum qk_code read_conv(struct qk_reading *r, bool all)
{
    struct qk_layer_weights *out = r->out;
    const struct qk_tensor *conv;
    size_t values = out->n_v * out->value_dim, channels = out->qkv.n + (all ? 0 : values);
    if (qk_json_get(r->mixer, "kernel_in") != NULL) {
        if (!all)
            return QK_OK;
        QK_TRY(qk_read_projection(r, r->mixer, "kernel_in", 0, out->d, true, &out->kernel_in));
        QK_TRY(qk_read_projection(r, r->mixer, "kernel_out", 0, out->kernel_in.n, true, &out->kernel_out));
        out->conv_width = out->kernel_out.n / values;
        if (out->conv_width > 0 && out->kernel_out.n % values == 0)
            return QK_OK;
        return qk_fail_row(r, "the kernels of its convolution do not fit the values");
    }
    if (qk_json_get(r->mixer, "conv") == NULL)
        return QK_OK;
    QK_TRY(
        qk_parts_layer_tensor(r->parts, r->layer->index, r->mixer, "conv", ".weight", true, &conv, r->err));
    if (conv->n_dims != 3 || conv->shape[0] != channels || conv->shape[1] != 1 || conv->bytes == 0)
        return qk_fail_row(r, "its convolution does not have one kernel for each row of q, k and v");
    out->conv_width = (size_t)conv->shape[2];
    QK_TRY(qk_weights_values(r->parts, conv, &out->conv, r->err));
    return qk_own(out, out->conv, (size_t)conv->shape[0] * out->conv_width, r->err);
}

static enum qk_code read_delta(struct qk_reading *r, bool all)
{
    struct qk_layer_weights *out = r->out;
    const struct qk_tensor *log_tensor, *bias;
    int layer = r->layer->index;
    QK_TRY(qk_read_qkv(r, all));
    if (qk_json_get(r->mixer, "beta_alpha") != NULL) {
        QK_TRY(split_beta_alpha(r));
    } else {
        QK_TRY(qk_read_projection(r, r->mixer, "beta", out->n_v, out->d, true, &out->beta));
        QK_TRY(qk_read_projection(r, r->mixer, "alpha", out->n_v, out->d, true, &out->alpha));
    }
    QK_TRY(qk_parts_layer_tensor(r->parts, layer, r->mixer, "decay_log", "", true, &log_tensor, r->err));
    QK_TRY(qk_parts_layer_tensor(r->parts, layer, r->mixer, "decay_bias", "", true, &bias, r->err));
    QK_TRY(qk_read_owned(r->parts, log_tensor, out->n_v, 0, out, &out->decay_log, r->err));
    QK_TRY(qk_read_owned(r->parts, bias, out->n_v, 0, out, &out->decay_bias, r->err));
    return read_conv(r, all);
}

/* g = -e^decay_log softplus(g + decay_bias). */
static void finish_decay(const struct qk_run *run, const struct qk_block *block)
{
    const struct qk_layer_weights *w = run->w;
    float *g = run->p.g + block->row * w->n_v;
    for (size_t i = 0; i < block->n; i++)
        for (size_t h = 0; h < w->n_v; h++)
            g[i * w->n_v + h] = -expf(w->decay_log[h]) * qk_softplus(g[i * w->n_v + h] + w->decay_bias[h]);
}

/* --- the delta rule --- */

/* Item: a sequence. Puts the input of the convolution behind the sequence's tail (0 at its beginning): joined (taps +
 * n, channels). Its last rows are the next tail. */
static void join_sequence(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct qk_run *run = context;
    const struct qk_layer_weights *w = run->w;
    const struct qk_sequence *s = &run->batch->sequence[item];
    size_t taps = qk_taps_before(w), channels = qk_tail_channels(w), before = taps * channels;
    const float *from = run->p.qkv + s->first * w->qkv.n + (w->qkv.n - channels);
    float *to = run->joined + (s->first + item * taps) * channels;
    if (s->state != NULL)
        memcpy(to, s->state->tail, before * sizeof *to);
    else
        memset(to, 0, before * sizeof *to);
    for (size_t t = 0; t < s->n; t++)
        memcpy(to + before + t * channels, from + t * w->qkv.n, channels * sizeof *to);
    if (s->state != NULL)
        memcpy(s->state->tail, to + s->n * channels, before * sizeof *to);
}

/* out (channels) = the convolution at the block's row i, with kernel (channels, conv_width). */
static void convolve_row(
    const struct qk_run *run, const struct qk_block *block, size_t i, const float *kernel, float *out)
{
    const struct qk_layer_weights *w = run->w;
    size_t taps = qk_taps_before(w), channels = qk_tail_channels(w), sequence = block->sequence, t = i;
    if (run->batch->sequence[sequence].n == 1) {
        sequence += i;
        t = 0;
    } else {
        t += block->row - run->batch->sequence[sequence].first;
    }
    const float *joined = run->joined + (run->batch->sequence[sequence].first + sequence * taps) * channels;
    qk_convolve(taps + t, channels, channels, w->conv_width, kernel, joined, out);
}

/* Convolves v by kernels made of the input: kernel_out(silu(kernel_in x)), one for each token and channel. */
static void convolve_values(const struct qk_run *run, const struct qk_block *block, float *scratch)
{
    const struct qk_layer_weights *w = run->w;
    size_t values = w->n_v * w->value_dim, n = block->n;
    float *hidden = scratch + QK_ROW_BLOCK * w->d, *kernel = hidden + QK_ROW_BLOCK * w->kernel_in.n;
    qk_norm_apply(&w->mixer_norm, n, w->d, run->x + block->row * w->d, scratch);
    qk_run_project(&w->kernel_in, block, scratch, hidden);
    qk_activate(QK_SILU, n * w->kernel_in.n, hidden);
    qk_run_project(&w->kernel_out, block, hidden, kernel);
    for (size_t i = 0; i < n; i++)
        convolve_row(run, block, i, kernel + i * w->kernel_out.n, run->values + (block->row + i) * values);
    qk_activate(QK_SILU, n * values, run->values + block->row * values);
}

/* Convolution and SiLU, L2 norm of q and k, and q / sqrt(head_dim). */
static void prepare_delta(void *context, size_t item, size_t worker)
{
    const struct qk_run *run = context;
    const struct qk_layer_weights *w = run->w;
    const struct qk_block *block = qk_run_block(run, item);
    size_t n = block->n, hd = w->head_dim, ld = w->qkv.n;
    size_t active = run->values != NULL ? 2 * w->n_k * hd : ld;
    float *q = run->p.qkv + block->row * ld;
    if (run->values != NULL)
        convolve_values(run, block, run->scratch + worker * run->size);
    for (size_t i = 0; i < n; i++) {
        if (w->conv != NULL)
            convolve_row(run, block, i, w->conv, q + i * ld);
        qk_activate(QK_SILU, active, q + i * ld);
    }
    for (size_t h = 0; h < 2 * w->n_k; h++)
        qk_l2_norm(n, hd, ld, q + h * hd, 1e-6, h < w->n_k ? (float)(1.0 / sqrt((double)hd)) : 1.0f);
}

/* Leaves q and k of all tokens as the rule takes them, v in run->values where it has kernels of its own. */
static enum qk_code prepare_all_delta(struct qk_run *run, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    const struct qk_batch *batch = run->batch;
    size_t values = w->n_v * w->value_dim;
    if (w->kernel_in.weight != NULL)
        QK_TRY(qk_alloc_aligned(&run->values, batch->T * values, sizeof *run->values, err));
    QK_TRY(qk_alloc_aligned(&run->joined, (batch->T + batch->n * qk_taps_before(w)) * qk_tail_channels(w),
        sizeof *run->joined, err));
    qk_parallel_for(batch->n, join_sequence, run, progress);
    return qk_run_for_blocks(
        run, prepare_delta, QK_ROW_BLOCK * (w->d + w->kernel_in.n + w->kernel_out.n), progress, err);
}

static void set_gates(const struct qk_run *run, struct qk_attention *a, struct qk_gates *gates)
{
    const struct qk_layer_weights *w = run->w;
    size_t values = w->n_v * w->value_dim;
    for (size_t i = 0; i < run->batch->n; i++) {
        size_t row = run->batch->sequence[i].first;
        gates[i] = (struct qk_gates){run->p.g + row * w->n_v, run->p.beta + row * w->n_v};
        if (run->values != NULL) {
            a[i].v = run->values + row * values;
            a[i].v_stride = values;
        }
    }
}

/* --- the mixer --- */

static void size_delta(const struct qk_layer_weights *w, struct qk_layer_state *state)
{
    state->tail_values = qk_taps_before(w) * qk_tail_channels(w);
    state->recurrent_values = w->n_out * w->head_dim * w->value_dim;
}

static enum qk_code make_delta_past(
    struct qk_run *run, struct qk_past *past, struct qk_progress *progress, struct qk_error *err)
{
    QK_TRY(prepare_all_delta(run, progress, err));
    QK_TRY(qk_alloc(&past->gates, run->batch->n, sizeof *past->gates, err));
    set_gates(run, past->a, past->gates);
    return QK_OK;
}

static enum qk_code attend_delta(
    const struct qk_past *past, size_t n, const struct qk_attention_watch *maps, struct qk_error *err)
{
    (void)maps;
    return qk_gated_delta_rule(past->a, past->gates, n, err);
}

const struct qk_mixer_ops qk_delta_mixer = {
    .word = "delta",
    .read = read_delta,
    .size_state = size_delta,
    .mix = qk_qkv_mix,
    .show_rows = qk_qkv_show_rows,
    .value_heads = true,
    .recurs = true,
    .finish_projection = finish_decay,
    .make_past = make_delta_past,
    .attend = attend_delta,
};
