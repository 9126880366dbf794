/* delta_mixer.c - the mixers of delta rules: their gates and convolutions. */
#include "forward/mixer.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "forward/convolution.h"
#include "forward/elementwise.h"
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
    QK_TRY(qk_new_projection(r, &out->beta, out->n_v, d, both.dtype, false));
    QK_TRY(qk_new_projection(r, &out->alpha, out->n_v, d, both.dtype, false));
    size_t bytes = d * (qk_dtype_bits(both.dtype) / 8);
    for (size_t h = 0; h < out->n_v; h++) {
        size_t row = h / each * 2 * each + h % each;
        memcpy(qk_projection_row(&out->beta, h), qk_projection_row(&both, row), bytes);
        memcpy(qk_projection_row(&out->alpha, h), qk_projection_row(&both, row + each), bytes);
    }
    return QK_OK;
}

/* Kernels made of the input, a block of rows at a time. */
static enum qk_code read_kernels(struct qk_reading *r)
{
    struct qk_layer_weights *out = r->out;
    size_t values = out->n_v * out->value_dim;
    QK_TRY(qk_read_projection(r, r->mixer, "kernel_in", 0, out->d, true, &out->kernel_in));
    QK_TRY(qk_read_projection(r, r->mixer, "kernel_out", 0, out->kernel_in.n, true, &out->kernel_out));
    QK_TRY(qk_widen_projection(out, &out->kernel_in, r->err));
    QK_TRY(qk_widen_projection(out, &out->kernel_out, r->err));
    out->conv_width = out->kernel_out.n / values;
    if (out->conv_width > 0 && out->kernel_out.n % values == 0)
        return QK_OK;
    return qk_fail_row(r, "the kernels of its convolution do not fit the values");
}

static const char BAD_CONV[] = "its convolution does not have one kernel for each row of q, k and v";
enum { MOST_CONVS = 3 };

/* Finds the tensors of the convolution over so many channels: one, or one each for q, k and v. */
static enum qk_code find_convs(struct qk_reading *r, size_t all, const struct qk_tensor *conv[MOST_CONVS],
    const struct qk_tensor *bias[MOST_CONVS], size_t *n)
{
    static const char *const keys[] = {"conv", "q_conv", "k_conv", "v_conv"};
    uint64_t channels = 0;
    int layer = r->layer->index;
    *n = 0;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && *n < MOST_CONVS; i++) {
        if (qk_json_get(r->mixer, keys[i]) == NULL)
            continue;
        const struct qk_tensor **found = &conv[*n];
        QK_TRY(qk_parts_layer_tensor(r->parts, layer, r->mixer, keys[i], ".weight", true, found, r->err));
        QK_TRY(qk_parts_layer_tensor(r->parts, layer, r->mixer, keys[i], ".bias", false, &bias[*n], r->err));
        if ((*found)->n_dims != 3 || (*found)->shape[1] != 1 || (*found)->bytes == 0 ||
            (*found)->shape[2] != conv[0]->shape[2] || (*found)->shape[0] > all - channels)
            return qk_fail_row(r, BAD_CONV);
        channels += (*found)->shape[0];
        ++*n;
    }
    return *n > 0 && channels != all ? qk_fail_row(r, BAD_CONV) : QK_OK;
}

/* Reads the convolution. The kernels of its tensors follow each other as the channels do, wherever they are cut:
 * transformers 5 cuts the kernels of all channels into three equal parts when it saves them. Those of q and k come
 * first: without `whole` no other is used. */
static enum qk_code read_conv(struct qk_reading *r, bool whole)
{
    struct qk_layer_weights *out = r->out;
    const struct qk_tensor *conv[MOST_CONVS] = {0}, *bias[MOST_CONVS] = {0};
    size_t n, at = 0, all = out->qkv.n + (whole ? 0 : out->n_v * out->value_dim);
    if (qk_json_get(r->mixer, "kernel_in") != NULL)
        return whole ? read_kernels(r) : QK_OK;
    if (!qk_layout_flag(r->mixer, "conv_if", &r->parts->model->config, true))
        return QK_OK;
    QK_TRY(find_convs(r, all, conv, bias, &n));
    if (n == 0)
        return QK_OK;
    out->conv_width = (size_t)conv[0]->shape[2];
    QK_TRY(qk_new_array(out, all * out->conv_width, &out->conv, r->err));
    if (bias[0] != NULL)
        QK_TRY(qk_new_array(out, all, &out->conv_bias, r->err));
    for (size_t i = 0; i < n; i++) {
        float *values;
        size_t channels = (size_t)conv[i]->shape[0];
        QK_TRY(qk_weights_values(r->parts, conv[i], &values, r->err));
        memcpy(out->conv + at * out->conv_width, values, channels * out->conv_width * sizeof *values);
        free(values);
        if ((bias[i] != NULL) != (bias[0] != NULL))
            return qk_fail_row(r, "only some of its convolutions have a bias");
        if (bias[i] != NULL) {
            QK_TRY(qk_weights_read(r->parts, bias[i], channels, 0, &values, r->err));
            memcpy(out->conv_bias + at, values, channels * sizeof *values);
            free(values);
        }
        at += channels;
    }
    return QK_OK;
}

/* Reads n values of any shape. */
static enum qk_code read_values(struct qk_reading *r, const char *key, size_t n, float **out)
{
    const struct qk_tensor *tensor;
    QK_TRY(qk_parts_layer_tensor(r->parts, r->layer->index, r->mixer, key, "", true, &tensor, r->err));
    if (qk_tensor_values(tensor) != n)
        return qk_weights_check(r->parts, tensor, n, 0, r->err);
    QK_TRY(qk_weights_values(r->parts, tensor, out, r->err));
    return qk_own(r->out, *out, n * sizeof **out, r->err);
}

/* Reads a layer whose g has `decays` values for each value head: 0 stands for head_dim. */
static enum qk_code read_rule(struct qk_reading *r, bool all, size_t decays)
{
    struct qk_layer_weights *out = r->out;
    QK_TRY(qk_read_qkv(r, all));
    out->n_decay = out->n_v * (decays > 0 ? decays : out->head_dim);
    out->beta_factor = qk_layout_flag(r->mixer, "negative", &r->parts->model->config, false) ? 2.0f : 1.0f;
    if (qk_json_get(r->mixer, "beta_alpha") != NULL) {
        QK_TRY(split_beta_alpha(r));
    } else {
        bool low = qk_json_get(r->mixer, "alpha_in") != NULL;
        QK_TRY(qk_read_projection(r, r->mixer, "beta", out->n_v, out->d, true, &out->beta));
        QK_TRY(qk_read_projection(r, r->mixer, "alpha_in", 0, out->d, low, &out->alpha_in));
        QK_TRY(qk_read_projection(
            r, r->mixer, "alpha", out->n_decay, low ? out->alpha_in.n : out->d, true, &out->alpha));
    }
    QK_TRY(read_values(r, "decay_log", out->n_v, &out->decay_log));
    QK_TRY(read_values(r, "decay_bias", out->n_decay, &out->decay_bias));
    return read_conv(r, all);
}

static enum qk_code read_delta(struct qk_reading *r, bool all)
{
    return read_rule(r, all, 1);
}

static enum qk_code read_channel_delta(struct qk_reading *r, bool all)
{
    return read_rule(r, all, 0);
}

/* g = -e^decay_log softplus(g + decay_bias), beta *= beta_factor. */
static void finish_gates(const struct qk_run *run, const struct qk_block *block)
{
    const struct qk_layer_weights *w = run->w;
    size_t each = w->n_decay / w->n_v;
    float *g = run->p.g + block->row * w->n_decay;
    for (size_t i = 0; i < block->n; i++, g += w->n_decay)
        for (size_t h = 0; h < w->n_v; h++) {
            float rate = -expf(w->decay_log[h]);
            for (size_t c = h * each; c < (h + 1) * each; c++)
                g[c] = rate * qk_softplus(g[c] + w->decay_bias[c]);
        }
    if (w->beta_factor != 1.0f)
        qk_scale(block->n * w->n_v, w->beta_factor, run->p.beta + block->row * w->n_v);
}

/* --- the delta rule --- */

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
        qk_convolution_row(
            run, block, i, values, kernel + i * w->kernel_out.n, run->values + (block->row + i) * values);
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
    if (w->conv != NULL)
        qk_convolution_rows(run, block, ld, q, ld);
    for (size_t i = 0; i < n; i++)
        qk_activate(QK_SILU, active, q + i * ld);
    for (size_t h = 0; h < 2 * w->n_k; h++)
        qk_l2_norm(n, hd, ld, q + h * hd, 1e-6, h < w->n_k ? (float)(1.0 / sqrt((double)hd)) : 1.0f);
}

/* Leaves q and k of all tokens as the rule takes them, v in run->values where it has kernels of its own. */
static enum qk_code prepare_all_delta(struct qk_run *run, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    size_t channels = qk_tail_channels(w);
    const struct qk_convolved x = {run->p.qkv + (w->qkv.n - channels), w->qkv.n, channels};
    if (w->kernel_in.weight != NULL)
        QK_TRY(
            qk_alloc_aligned(&run->values, run->batch->T * w->n_v * w->value_dim, sizeof *run->values, err));
    QK_TRY(qk_convolution_begin(run, &x, progress, err));
    return qk_run_for_blocks(
        run, prepare_delta, QK_ROW_BLOCK * (w->d + w->kernel_in.n + w->kernel_out.n), progress, err);
}

static void set_gates(const struct qk_run *run, struct qk_attention *a, struct qk_gates *gates)
{
    const struct qk_layer_weights *w = run->w;
    size_t values = w->n_v * w->value_dim;
    for (size_t i = 0; i < run->batch->n; i++) {
        size_t row = run->batch->sequence[i].first;
        gates[i] =
            (struct qk_gates){run->p.g + row * w->n_decay, run->p.beta + row * w->n_v, w->n_decay != w->n_v};
        if (run->values != NULL) {
            a[i].v = run->values + row * values;
            a[i].v_stride = values;
        }
    }
}

/* --- the mixer --- */

static void size_delta(const struct qk_layer_weights *w, struct qk_layer_state *state)
{
    state->tail_values = qk_convolution_tail(w, qk_tail_channels(w));
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

static enum qk_code attend_channel_delta(
    const struct qk_past *past, size_t n, const struct qk_attention_watch *maps, struct qk_error *err)
{
    (void)maps;
    return qk_channel_delta_rule(past->a, past->gates, n, err);
}

const struct qk_mixer_ops qk_delta_mixer = {
    .word = "delta",
    .read = read_delta,
    .size_state = size_delta,
    .mix = qk_qkv_mix,
    .show_rows = qk_qkv_show_rows,
    .value_heads = true,
    .recurs = true,
    .finish_projection = finish_gates,
    .make_past = make_delta_past,
    .attend = attend_delta,
};

const struct qk_mixer_ops qk_channel_delta_mixer = {
    .word = "channel_delta",
    .read = read_channel_delta,
    .size_state = size_delta,
    .mix = qk_qkv_mix,
    .show_rows = qk_qkv_show_rows,
    .value_heads = true,
    .recurs = true,
    .finish_projection = finish_gates,
    .make_past = make_delta_past,
    .attend = attend_channel_delta,
};
