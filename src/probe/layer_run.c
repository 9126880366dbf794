/* layer_run.c - what one layer does to the activations: project, mix over time, add, MLP (layer.h). */
#include "probe/layer.h"

#include "base/mem.h"
#include "base/parallel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void qk_norm_apply(const struct qk_norm *norm, size_t T, size_t n, const float *x, float *out)
{
    if (norm->gain == NULL && x != out)
        memcpy(out, x, T * n * sizeof *out);
    else if (norm->gain != NULL && norm->layer)
        qk_layer_norm(T, n, x, norm->gain, norm->bias, norm->eps, out);
    else if (norm->gain != NULL)
        qk_rms_norm(T, n, n, x, norm->gain, norm->offset, norm->eps, out);
}

static void project(const struct qk_projection *p, size_t T, const float *x, float *out)
{
    qk_linear(T, p->k, p->n, x, p->weight, p->bias, out);
}

/* --- positions --- */

void qk_rope_tables_free(struct qk_rope_tables *tables)
{
    for (size_t i = 0; i < tables->n; i++) {
        free(tables->table[i].frequency);
        free(tables->table[i].cosines);
        free(tables->table[i].sines);
    }
    *tables = (struct qk_rope_tables){0};
}

static enum qk_code make_table(struct qk_rope_tables *tables, size_t i,
    const struct qk_layer_weights *weights, size_t T, struct qk_error *err)
{
    size_t pairs = (size_t)weights->layer->rotary_dims / 2;
    float *cosines, *sines;
    memset(&tables->table[i], 0, sizeof tables->table[i]);
    tables->n = i + 1;
    QK_TRY(qk_alloc_aligned(&tables->table[i].frequency, pairs, sizeof(float), err));
    QK_TRY(qk_alloc_aligned(&cosines, T * pairs, sizeof(float), err));
    tables->table[i].cosines = cosines;
    QK_TRY(qk_alloc_aligned(&sines, T * pairs, sizeof(float), err));
    tables->table[i].sines = sines;
    tables->table[i].pairs = pairs;
    tables->table[i].factor = weights->rope_factor;
    memcpy(tables->table[i].frequency, weights->frequency, pairs * sizeof(float));
    qk_rope_table(T, pairs, weights->frequency, weights->rope_factor, cosines, sines);
    return QK_OK;
}

enum qk_code qk_rope_tables_find(struct qk_rope_tables *tables, const struct qk_layer_weights *weights,
    size_t T, const float **cosines, const float **sines, struct qk_error *err)
{
    size_t pairs = (size_t)weights->layer->rotary_dims / 2, i = 0;
    *cosines = *sines = NULL;
    if (weights->frequency == NULL)
        return QK_OK;
    while (i < tables->n &&
           (tables->table[i].pairs != pairs || tables->table[i].factor != weights->rope_factor ||
               memcmp(tables->table[i].frequency, weights->frequency, pairs * sizeof(float)) != 0))
        i++;
    if (i == sizeof tables->table / sizeof tables->table[0]) {
        qk_rope_tables_free(tables);
        i = 0;
    }
    if (i == tables->n)
        QK_TRY(make_table(tables, i, weights, T, err));
    *cosines = tables->table[i].cosines;
    *sines = tables->table[i].sines;
    return QK_OK;
}

/* --- blocks of tokens --- */

/* What the block functions share. scratch: `size` floats a worker. */
struct run {
    const struct qk_layer_weights *w;
    float *x;
    size_t T;
    const float *cosines, *sines;
    struct qk_projected p;
    float *values; /* delta with kernels of its own: v after the convolution */
    float *mixed;  /* (T, n_out * value_dim) */
    float *scratch;
    size_t size;
};

static size_t block_length(const struct run *run, size_t item, size_t *t0)
{
    *t0 = item * QK_TOKEN_BLOCK;
    return run->T - *t0 < QK_TOKEN_BLOCK ? run->T - *t0 : QK_TOKEN_BLOCK;
}

static enum qk_code for_blocks(
    struct run *run, qk_parallel_item item, size_t floats, struct qk_progress *progress, struct qk_error *err)
{
    size_t n = (run->T + QK_TOKEN_BLOCK - 1) / QK_TOKEN_BLOCK;
    run->size = floats;
    QK_TRY(qk_alloc_aligned(&run->scratch, qk_parallel_workers(n) * floats, sizeof *run->scratch, err));
    qk_parallel_for(n, item, run, progress);
    free(run->scratch);
    run->scratch = NULL;
    return qk_progress_check(progress, err);
}

/* --- projection --- */

static void norm_heads(const struct qk_norm *norm, size_t n, size_t heads, size_t hd, size_t ld, float *x)
{
    if (norm->gain == NULL)
        return;
    size_t parts = norm->n == hd ? heads : 1;
    for (size_t h = 0; h < parts; h++)
        qk_rms_norm(n, norm->n, ld, x + h * hd, norm->gain, norm->offset, norm->eps, x + h * hd);
}

/* Norms of q and k, positions, and the scaling of q, for tokens t0 .. t0 + n. */
static void finish_qk(const struct run *run, size_t t0, size_t n)
{
    const struct qk_layer_weights *w = run->w;
    size_t hd = w->head_dim, ld = w->qkv.n, pairs = (size_t)w->layer->rotary_dims / 2;
    float *q = run->p.qkv + t0 * ld, *k = q + w->n_q * hd;
    norm_heads(&w->q_norm, n, w->n_q, hd, ld, q);
    norm_heads(&w->k_norm, n, w->n_k, hd, ld, k);
    if (run->cosines != NULL) /* the heads of k follow those of q */
        qk_rope(n, w->n_q + w->n_k, hd, ld, pairs, w->layer->positions == QK_POSITIONS_ROPE_INTER,
            run->cosines + t0 * pairs, run->sines + t0 * pairs, q);
    for (size_t i = 0; i < n && (w->query_log > 0 || w->query_factor != 1.0f); i++) {
        double a = (double)w->query_log, t = (double)(t0 + i);
        float factor = w->query_factor * (a > 0 ? (float)(log(t + a) / log(a)) : 1.0f);
        for (size_t j = 0; j < w->n_q * hd; j++)
            q[i * ld + j] *= factor;
    }
}

/* beta = sigmoid(b x), g = -e^decay_log softplus(a x + decay_bias). */
static void project_decay(const struct run *run, const float *normed, size_t t0, size_t n)
{
    const struct qk_layer_weights *w = run->w;
    float *beta = run->p.beta + t0 * w->n_v, *g = run->p.g + t0 * w->n_v;
    project(&w->beta, n, normed, beta);
    qk_activate(QK_SIGMOID, n * w->n_v, beta);
    project(&w->alpha, n, normed, g);
    for (size_t i = 0; i < n; i++)
        for (size_t h = 0; h < w->n_v; h++)
            g[i * w->n_v + h] = -expf(w->decay_log[h]) * qk_softplus(g[i * w->n_v + h] + w->decay_bias[h]);
}

static void project_block(void *context, size_t item, size_t worker)
{
    const struct run *run = context;
    const struct qk_layer_weights *w = run->w;
    size_t t0, n = block_length(run, item, &t0);
    float *normed = run->scratch + worker * run->size;
    qk_norm_apply(&w->mixer_norm, n, w->d, run->x + t0 * w->d, normed);
    project(&w->qkv, n, normed, run->p.qkv + t0 * w->qkv.n);
    if (run->p.beta != NULL)
        project_decay(run, normed, t0, n);
    if (!w->delta)
        finish_qk(run, t0, n);
}

void qk_projected_free(struct qk_projected *projected)
{
    free(projected->qkv);
    free(projected->beta);
    free(projected->g);
    *projected = (struct qk_projected){0};
}

static enum qk_code project_all(
    struct run *run, struct qk_rope_tables *tables, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    QK_TRY(qk_rope_tables_find(tables, w, run->T, &run->cosines, &run->sines, err));
    QK_TRY(qk_alloc_aligned(&run->p.qkv, run->T * w->qkv.n, sizeof(float), err));
    if (w->delta) {
        QK_TRY(qk_alloc_aligned(&run->p.beta, run->T * w->n_v, sizeof(float), err));
        QK_TRY(qk_alloc_aligned(&run->p.g, run->T * w->n_v, sizeof(float), err));
    }
    return for_blocks(run, project_block, QK_TOKEN_BLOCK * w->d, progress, err);
}

enum qk_code qk_layer_project(const struct qk_layer_weights *weights, const float *x, size_t T,
    struct qk_rope_tables *tables, struct qk_projected *out, struct qk_progress *progress,
    struct qk_error *err)
{
    /* Projecting does not write to x. */
    struct run run = {.w = weights, .T = T};
    memcpy(&run.x, &x, sizeof x);
    enum qk_code code = project_all(&run, tables, progress, err);
    *out = run.p;
    if (code != QK_OK)
        qk_projected_free(out);
    return code;
}

struct qk_attention qk_layer_attention_of(const struct qk_layer_weights *weights, const float *qkv, size_t T)
{
    size_t hd = weights->head_dim, ld = weights->qkv.n, n = weights->delta ? weights->n_k : weights->n_q;
    struct qk_attention a = {.T = T,
        .n_q = weights->delta ? weights->n_out : weights->n_q,
        .n_k = weights->n_k,
        .head_dim = hd,
        .value_dim = weights->value_dim,
        .scale = weights->scale,
        .softcap = weights->softcap};
    a.window = weights->layer->kind == QK_WINDOW ? (size_t)weights->layer->window : 0;
    a.q = qkv;
    a.k = qkv + n * hd;
    a.v = weights->qkv.n > (n + weights->n_k) * hd ? a.k + weights->n_k * hd : NULL;
    a.q_stride = a.k_stride = a.v_stride = ld;
    return a;
}

/* --- the delta rule's convolutions --- */

enum { CHANNELS = 32 };

static void convolve_channels(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct run *run = context;
    const struct qk_layer_weights *w = run->w;
    size_t first = item * CHANNELS, n = w->qkv.n - first < CHANNELS ? w->qkv.n - first : CHANNELS;
    qk_causal_conv(run->T, n, w->qkv.n, w->conv_width, w->conv + first * w->conv_width, run->p.qkv + first);
}

/* v by kernels made of the input: kernel_out(silu(kernel_in x)), one for each token and channel. */
static void convolve_values(const struct run *run, size_t t0, size_t n, float *scratch)
{
    const struct qk_layer_weights *w = run->w;
    size_t values = w->n_v * w->value_dim, ld = w->qkv.n;
    const float *v = run->p.qkv + 2 * w->n_k * w->head_dim;
    float *hidden = scratch + QK_TOKEN_BLOCK * w->d, *kernel = hidden + QK_TOKEN_BLOCK * w->kernel_in.n;
    qk_norm_apply(&w->mixer_norm, n, w->d, run->x + t0 * w->d, scratch);
    project(&w->kernel_in, n, scratch, hidden);
    qk_activate(QK_SILU, n * w->kernel_in.n, hidden);
    project(&w->kernel_out, n, hidden, kernel);
    for (size_t i = 0; i < n; i++)
        qk_dynamic_conv(t0 + i, values, ld, w->conv_width, kernel + i * w->kernel_out.n, v,
            run->values + (t0 + i) * values);
    qk_activate(QK_SILU, n * values, run->values + t0 * values);
}

/* SiLU, L2 norm of q and k, and q / sqrt(head_dim). */
static void prepare_delta(void *context, size_t item, size_t worker)
{
    const struct run *run = context;
    const struct qk_layer_weights *w = run->w;
    size_t t0, n = block_length(run, item, &t0), hd = w->head_dim, ld = w->qkv.n;
    size_t active = run->values != NULL ? 2 * w->n_k * hd : ld;
    float *q = run->p.qkv + t0 * ld;
    if (run->values != NULL)
        convolve_values(run, t0, n, run->scratch + worker * run->size);
    for (size_t i = 0; i < n; i++)
        qk_activate(QK_SILU, active, q + i * ld);
    for (size_t h = 0; h < 2 * w->n_k; h++)
        qk_l2_norm(n, hd, ld, q + h * hd, 1e-6, h < w->n_k ? (float)(1.0 / sqrt((double)hd)) : 1.0f);
}

static enum qk_code run_delta(
    struct run *run, struct qk_attention *a, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    size_t values = w->n_v * w->value_dim;
    if (w->kernel_in.weight != NULL) {
        QK_TRY(qk_alloc_aligned(&run->values, run->T * values, sizeof *run->values, err));
        a->v = run->values;
        a->v_stride = values;
    }
    if (w->conv != NULL)
        qk_parallel_for((w->qkv.n + CHANNELS - 1) / CHANNELS, convolve_channels, run, progress);
    QK_TRY(for_blocks(
        run, prepare_delta, QK_TOKEN_BLOCK * (w->d + w->kernel_in.n + w->kernel_out.n), progress, err));
    return qk_gated_delta_rule(a, run->p.g, run->p.beta, run->mixed, err);
}

/* --- mixing --- */

static enum qk_code run_lightning(struct run *run, const struct qk_attention *a, struct qk_error *err)
{
    float *slope;
    QK_TRY(qk_alloc_aligned(&slope, a->n_q, sizeof *slope, err));
    qk_alibi_slopes(a->n_q, slope);
    enum qk_code code = qk_lightning_attention(a, slope, run->mixed, err);
    free(slope);
    return code;
}

static enum qk_code mix(struct run *run, qk_attention_seen seen, void *context, struct qk_progress *progress,
    struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    struct qk_attention a = qk_layer_attention_of(w, run->p.qkv, run->T);
    a.progress = progress;
    QK_TRY(qk_alloc_aligned(&run->mixed, run->T * w->n_out * w->value_dim, sizeof *run->mixed, err));
    if (w->delta)
        return run_delta(run, &a, progress, err);
    if (w->layer->kind == QK_LINEAR)
        return run_lightning(run, &a, err);
    return qk_softmax_attention(&a, run->mixed, seen, context, err);
}

/* --- what is added to the input --- */

/* One worker's scratch: normed, added, second (block, d) each, gate (block, gate.n), mlp (block, 2 *
 * mlp_up.n). */
static size_t finish_size(const struct qk_layer_weights *w)
{
    return QK_TOKEN_BLOCK * (3 * w->d + w->gate.n + 2 * w->mlp_up.n);
}

/* out (n, d) = o_proj(norm(mixed) * gate); normed and gate are scratch. */
static void mixer_output(const struct qk_layer_weights *w, size_t n, const float *x, float *mixed,
    float *normed, float *gate, float *out)
{
    size_t width = w->n_out * w->value_dim;
    norm_heads(&w->o_norm, n, w->n_out, w->value_dim, width, mixed);
    if (w->gate.weight != NULL) {
        qk_norm_apply(&w->mixer_norm, n, w->d, x, normed);
        project(&w->gate, n, normed, gate);
        qk_activate(w->gate_activation, n * width, gate);
        qk_multiply(n * width, gate, mixed);
    }
    project(&w->o, n, mixed, out);
    qk_norm_apply(&w->mixer_post_norm, n, w->d, out, out);
}

/* out (n, d) = the MLP of x (n, d); normed (n, d) and hidden (n, 2 * width) are scratch. */
static void mlp_output(
    const struct qk_layer_weights *w, size_t n, const float *x, float *normed, float *hidden, float *out)
{
    size_t width = w->mlp_up.n;
    float *gate = hidden + n * width;
    qk_norm_apply(&w->mlp_norm, n, w->d, x, normed);
    project(&w->mlp_up, n, normed, hidden);
    if (w->mlp_gate.weight != NULL) {
        project(&w->mlp_gate, n, normed, gate);
        qk_activate(w->activation, n * width, gate);
        qk_multiply(n * width, gate, hidden);
    } else {
        qk_activate(w->activation, n * width, hidden);
    }
    project(&w->mlp_down, n, hidden, out);
    qk_norm_apply(&w->mlp_post_norm, n, w->d, out, out);
}

static void add(size_t n, const float *from, float *to)
{
    for (size_t i = 0; i < n; i++)
        to[i] += from[i];
}

static void finish_block(void *context, size_t item, size_t worker)
{
    const struct run *run = context;
    const struct qk_layer_weights *w = run->w;
    size_t t0, n = block_length(run, item, &t0), d = w->d;
    float *normed = run->scratch + worker * run->size, *added = normed + QK_TOKEN_BLOCK * d,
          *second = added + QK_TOKEN_BLOCK * d, *gate = second + QK_TOKEN_BLOCK * d,
          *hidden = gate + QK_TOKEN_BLOCK * w->gate.n, *x = run->x + t0 * d;
    mixer_output(w, n, x, run->mixed + t0 * w->n_out * w->value_dim, normed, gate, added);
    if (!w->parallel)
        add(n * d, added, x);
    mlp_output(w, n, x, normed, hidden, second);
    if (w->parallel)
        add(n * d, added, x);
    add(n * d, second, x);
}

enum qk_code qk_layer_run(const struct qk_layer_weights *weights, float *x, size_t T,
    struct qk_rope_tables *tables, qk_attention_seen seen, void *context, struct qk_progress *progress,
    struct qk_error *err)
{
    struct run run = {.w = weights, .x = x, .T = T};
    enum qk_code code = project_all(&run, tables, progress, err);
    if (code == QK_OK)
        code = mix(&run, seen, context, progress, err);
    qk_projected_free(&run.p);
    free(run.values);
    if (code == QK_OK)
        code = for_blocks(&run, finish_block, finish_size(weights), progress, err);
    free(run.mixed);
    return code;
}
