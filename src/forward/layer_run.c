/* layer_run.c - the effect of one layer on the activations: project, mix over time, add, MLP. */
#include "forward/layer.h"

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

static void project(const struct qk_projection *p, const struct qk_block *block, const float *x, float *out)
{
    qk_block_linear(block, p->k, p->n, x, p->weight, p->bias, out, p->n);
}

/* --- rows of a batch --- */

enum { ROW_BLOCK = 16, GROUP_VALUES = 1 << 24 };

/* The data that the functions of rows share. Arrays of a group begin at the batch's row `group`. */
struct run {
    const struct qk_layer_weights *w;
    const struct qk_batch *batch;
    float *x;
    struct qk_blocks tiles, rows; /* rows: blocks of ROW_BLOCK, into which those of tiles divide */
    const float *cosines, *sines;
    struct qk_projected p;
    float *joined;                  /* delta: the input of the convolution, each sequence behind its tail */
    float *values;                  /* delta with kernels made of the input: v after the convolution */
    float *mixed;                   /* (T, n_out * value_dim) */
    size_t group, first_block;      /* the first row of the group, and its number in `rows` */
    float *normed, *added, *hidden; /* of a group: (rows, d), (rows, d), (rows, mlp_up.n) */
    float *scratch;                 /* `size` a worker */
    size_t size;
};

static enum qk_code begin_run(struct run *run, struct qk_error *err)
{
    QK_TRY(qk_blocks_cut(run->batch, 0, &run->tiles, err));
    return qk_blocks_cut(run->batch, ROW_BLOCK, &run->rows, err);
}

/* Frees what mixing alone needs. */
static void end_mixing(struct run *run)
{
    qk_projected_free(&run->p);
    free(run->joined);
    free(run->values);
    run->joined = run->values = NULL;
}

static void end_run(struct run *run)
{
    end_mixing(run);
    qk_blocks_free(&run->tiles);
    qk_blocks_free(&run->rows);
    free(run->mixed);
}

/* A group of rows: those of tiles first <= i < end. It bounds the memory of what exists for its rows alone. */
struct group {
    size_t first, end, row, n;
};

/* Moves on to the next group, of as many rows as have GROUP_VALUES values of this width, one tile at least. False
 * behind the last. */
static bool next_group(struct run *run, size_t width, struct group *group)
{
    const struct qk_blocks *tiles = &run->tiles;
    *group = (struct group){.first = group->end, .end = group->end, .row = group->row + group->n};
    while (group->end < tiles->n &&
           (group->n == 0 || (group->n + tiles->block[group->end].n) * width <= GROUP_VALUES))
        group->n += tiles->block[group->end++].n;
    run->group = group->row;
    while (run->first_block < run->rows.n && run->rows.block[run->first_block].row < group->row)
        run->first_block++;
    return group->n > 0;
}

/* The most rows that a group of this width has. */
static size_t group_rows(const struct run *run, size_t width)
{
    size_t most = 0;
    struct group group = {0};
    struct run copy = *run;
    for (copy.first_block = 0; next_group(&copy, width, &group);)
        most = group.n > most ? group.n : most;
    return most;
}

/* Calls `item` for every block of rows of the group; its number counts from run->first_block. */
static enum qk_code for_group(struct run *run, const struct group *group, qk_parallel_item item,
    struct qk_progress *progress, struct qk_error *err)
{
    size_t end = run->first_block;
    while (end < run->rows.n && run->rows.block[end].row < group->row + group->n)
        end++;
    qk_parallel_for(end - run->first_block, item, run, progress);
    return qk_progress_check(progress, err);
}

static const struct qk_block *block_of(const struct run *run, size_t item)
{
    return &run->rows.block[run->first_block + item];
}

static enum qk_code run_products(const struct run *run, const struct group *group,
    const struct qk_product *product, size_t n, struct qk_progress *progress, struct qk_error *err)
{
    return qk_products_run(&run->tiles, group->first, group->end, group->row, product, n, progress, err);
}

/* Position of the block's row i. *run_length (NULL allowed) rows from it on, at most to the block's end, have
 * consecutive positions. */
static size_t block_position(
    const struct run *run, const struct qk_block *block, size_t i, size_t *run_length)
{
    const struct qk_sequence *s = &run->batch->sequence[block->sequence];
    bool single = s->n == 1;
    if (run_length != NULL)
        *run_length = single ? 1 : block->n - i;
    return single ? s[i].t0 : s->t0 + (block->row + i - s->first);
}

/* Calls `item` for every block of rows of the batch, with scratch of so many floats a worker. */
static enum qk_code for_blocks(
    struct run *run, qk_parallel_item item, size_t floats, struct qk_progress *progress, struct qk_error *err)
{
    size_t n = run->rows.n;
    run->size = floats;
    run->first_block = 0;
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

/* Rotates and scales q and k of the block's rows. */
static void place_rows(const struct run *run, const struct qk_block *block, float *q)
{
    const struct qk_layer_weights *w = run->w;
    size_t hd = w->head_dim, ld = w->qkv.n, pairs = (size_t)w->layer->rotary_dims / 2;
    for (size_t i = 0, n; run->cosines != NULL && i < block->n; i += n) { /* heads of k follow those of q */
        size_t at = block_position(run, block, i, &n) * pairs;
        qk_rope(n, w->n_q + w->n_k, hd, ld, pairs, w->layer->positions == QK_POSITIONS_ROPE_INTER,
            run->cosines + at, run->sines + at, q + i * ld);
    }
    for (size_t i = 0; i < block->n && (w->query_log > 0 || w->query_factor != 1.0f); i++) {
        double a = (double)w->query_log, t = (double)block_position(run, block, i, NULL);
        float factor = w->query_factor * (a > 0 ? (float)(log(t + a) / log(a)) : 1.0f);
        for (size_t j = 0; j < w->n_q * hd; j++)
            q[i * ld + j] *= factor;
    }
}

/* Norms of q and k, positions, and the scaling of q. */
static void finish_qk(const struct run *run, const struct qk_block *block)
{
    const struct qk_layer_weights *w = run->w;
    size_t hd = w->head_dim, ld = w->qkv.n;
    float *q = run->p.qkv + block->row * ld;
    norm_heads(&w->q_norm, block->n, w->n_q, hd, ld, q);
    norm_heads(&w->k_norm, block->n, w->n_k, hd, ld, q + w->n_q * hd);
    place_rows(run, block, q);
}

/* g = -e^decay_log softplus(g + decay_bias). */
static void finish_decay(const struct run *run, const struct qk_block *block)
{
    const struct qk_layer_weights *w = run->w;
    float *g = run->p.g + block->row * w->n_v;
    for (size_t i = 0; i < block->n; i++)
        for (size_t h = 0; h < w->n_v; h++)
            g[i * w->n_v + h] = -expf(w->decay_log[h]) * qk_softplus(g[i * w->n_v + h] + w->decay_bias[h]);
}

static void norm_rows(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct run *run = context;
    const struct qk_block *block = block_of(run, item);
    size_t d = run->w->d;
    qk_norm_apply(&run->w->mixer_norm, block->n, d, run->x + block->row * d,
        run->normed + (block->row - run->group) * d);
}

static void finish_projection(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct run *run = context;
    if (run->w->delta)
        finish_decay(run, block_of(run, item));
    else
        finish_qk(run, block_of(run, item));
}

void qk_projected_free(struct qk_projected *projected)
{
    free(projected->qkv);
    free(projected->beta);
    free(projected->g);
    *projected = (struct qk_projected){0};
}

/* Rows first .. first + n of a projection as one of their own; without rows it has no weight. */
static struct qk_projection part_of(const struct qk_projection *p, size_t first, size_t n)
{
    if (n == 0)
        return (struct qk_projection){0};
    return (struct qk_projection){
        p->weight + first * p->k, p->bias != NULL ? p->bias + first : NULL, n, p->k};
}

/* q, k and v are products of their own: so q and k have the same bits with v and without. */
static enum qk_code project_group(
    struct run *run, const struct group *group, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    size_t ld = w->qkv.n, q = (w->delta ? w->n_k : w->n_q) * w->head_dim, k = w->n_k * w->head_dim;
    float *qkv = run->p.qkv + group->row * ld;
    const struct qk_projection role[] = {
        part_of(&w->qkv, 0, q), part_of(&w->qkv, q, k), part_of(&w->qkv, q + k, ld - q - k)};
    const struct qk_product products[] = {
        {.p = &role[0], .x = run->normed, .out = qkv, .ld = ld},
        {.p = &role[1], .x = run->normed, .out = qkv + q, .ld = ld},
        {.p = &role[2], .x = run->normed, .out = qkv + q + k, .ld = ld},
        {.p = &w->beta,
            .x = run->normed,
            .out = run->p.beta + group->row * w->n_v,
            .ld = w->n_v,
            .use = QK_PRODUCT_ACTIVATE,
            .activation = QK_SIGMOID},
        {.p = &w->alpha, .x = run->normed, .out = run->p.g + group->row * w->n_v, .ld = w->n_v},
    };
    QK_TRY(for_group(run, group, norm_rows, progress, err));
    QK_TRY(run_products(run, group, products, w->delta ? 5 : 3, progress, err));
    return for_group(run, group, finish_projection, progress, err);
}

static enum qk_code project_all(
    struct run *run, struct qk_rope_tables *tables, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    size_t T = run->batch->T;
    struct group group = {0};
    QK_TRY(begin_run(run, err));
    QK_TRY(qk_rope_tables_find(tables, w, run->batch->positions, &run->cosines, &run->sines, err));
    QK_TRY(qk_alloc_aligned(&run->p.qkv, T * w->qkv.n, sizeof(float), err));
    if (w->delta) {
        QK_TRY(qk_alloc_aligned(&run->p.beta, T * w->n_v, sizeof(float), err));
        QK_TRY(qk_alloc_aligned(&run->p.g, T * w->n_v, sizeof(float), err));
    }
    QK_TRY(qk_alloc_aligned(&run->normed, group_rows(run, w->d) * w->d, sizeof(float), err));
    enum qk_code code = QK_OK;
    while (code == QK_OK && next_group(run, w->d, &group))
        code = project_group(run, &group, progress, err);
    free(run->normed);
    run->normed = NULL;
    return code;
}

enum qk_code qk_layer_project(const struct qk_layer_weights *weights, const float *x,
    const struct qk_batch *batch, struct qk_rope_tables *tables, struct qk_projected *out,
    struct qk_progress *progress, struct qk_error *err)
{
    /* The projection does not write to x. */
    struct run run = {.w = weights, .batch = batch};
    memcpy(&run.x, &x, sizeof x);
    enum qk_code code = project_all(&run, tables, progress, err);
    if (code == QK_OK) {
        *out = run.p;
        run.p = (struct qk_projected){0};
    }
    end_run(&run);
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

/* --- the delta rule --- */

/* Item: a sequence. Puts the input of the convolution behind the sequence's tail (0 at its beginning): joined (taps +
 * n, channels). Its last rows are the next tail. */
static void join_sequence(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct run *run = context;
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
    const struct run *run, const struct qk_block *block, size_t i, const float *kernel, float *out)
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
static void convolve_values(const struct run *run, const struct qk_block *block, float *scratch)
{
    const struct qk_layer_weights *w = run->w;
    size_t values = w->n_v * w->value_dim, n = block->n;
    float *hidden = scratch + ROW_BLOCK * w->d, *kernel = hidden + ROW_BLOCK * w->kernel_in.n;
    qk_norm_apply(&w->mixer_norm, n, w->d, run->x + block->row * w->d, scratch);
    project(&w->kernel_in, block, scratch, hidden);
    qk_activate(QK_SILU, n * w->kernel_in.n, hidden);
    project(&w->kernel_out, block, hidden, kernel);
    for (size_t i = 0; i < n; i++)
        convolve_row(run, block, i, kernel + i * w->kernel_out.n, run->values + (block->row + i) * values);
    qk_activate(QK_SILU, n * values, run->values + block->row * values);
}

/* Convolution and SiLU, L2 norm of q and k, and q / sqrt(head_dim). */
static void prepare_delta(void *context, size_t item, size_t worker)
{
    const struct run *run = context;
    const struct qk_layer_weights *w = run->w;
    const struct qk_block *block = block_of(run, item);
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
static enum qk_code prepare_all_delta(struct run *run, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    const struct qk_batch *batch = run->batch;
    size_t values = w->n_v * w->value_dim;
    if (w->kernel_in.weight != NULL)
        QK_TRY(qk_alloc_aligned(&run->values, batch->T * values, sizeof *run->values, err));
    QK_TRY(qk_alloc_aligned(&run->joined, (batch->T + batch->n * qk_taps_before(w)) * qk_tail_channels(w),
        sizeof *run->joined, err));
    qk_parallel_for(batch->n, join_sequence, run, progress);
    return for_blocks(
        run, prepare_delta, ROW_BLOCK * (w->d + w->kernel_in.n + w->kernel_out.n), progress, err);
}

static void set_gates(const struct run *run, struct qk_attention *a, struct qk_gates *gates)
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

/* --- mixing --- */

/* Item: a sequence. Appends its new keys and values to those that its state keeps. */
static void keep_keys(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct run *run = context;
    const struct qk_layer_weights *w = run->w;
    const struct qk_sequence *s = &run->batch->sequence[item];
    size_t width = qk_keys_width(w);
    const float *from = run->p.qkv + s->first * w->qkv.n + w->n_q * w->head_dim;
    for (size_t t = 0; s->state != NULL && t < s->n; t++)
        memcpy(s->state->keys + (s->t0 + t) * width, from + t * w->qkv.n, width * sizeof *from);
}

/* Sets keys and values to those of all tokens so far, from the sequence's state. */
static void look_back(const struct qk_layer_weights *w, const struct qk_sequence *s, struct qk_attention *a)
{
    a->first_query = s->t0;
    a->T = s->t0 + s->n;
    a->k = s->state->keys;
    a->v = a->k + w->n_k * w->head_dim;
    a->k_stride = a->v_stride = qk_keys_width(w);
}

static void set_sequence(
    const struct run *run, size_t i, struct qk_progress *progress, struct qk_attention *a)
{
    const struct qk_layer_weights *w = run->w;
    const struct qk_sequence *s = &run->batch->sequence[i];
    bool recurs = w->layer->kind == QK_LINEAR;
    *a = qk_layer_attention_of(w, run->p.qkv + s->first * w->qkv.n, s->n);
    a->out = run->mixed + s->first * w->n_out * w->value_dim;
    a->progress = progress;
    if (s->state != NULL && recurs)
        a->state = s->state->recurrent;
    else if (s->state != NULL)
        look_back(w, s, a);
    if (run->batch->ends && !recurs) { /* the last query alone */
        size_t before = a->T - 1 - a->first_query;
        a->first_query += before;
        a->q += before * a->q_stride;
        a->out += before * w->n_out * w->value_dim;
    }
}

/* How the sequences of a batch attend to their past: what mixing and rows take. */
struct past {
    struct qk_attention *a; /* one a sequence; owned, like all below */
    struct qk_gates *gates; /* of the delta rule, likewise, or NULL */
    float *slope;           /* (n_q) of lightning attention, or NULL */
};

static void free_past(struct past *past)
{
    free(past->a);
    free(past->gates);
    free(past->slope);
    *past = (struct past){0};
}

static enum qk_code make_past(
    struct run *run, struct qk_progress *progress, struct past *past, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    size_t n = run->batch->n;
    QK_TRY(qk_alloc(&past->a, n, sizeof *past->a, err));
    for (size_t i = 0; i < n; i++)
        set_sequence(run, i, progress, &past->a[i]);
    if (w->delta) {
        QK_TRY(prepare_all_delta(run, progress, err));
        QK_TRY(qk_alloc(&past->gates, n, sizeof *past->gates, err));
        set_gates(run, past->a, past->gates);
    } else if (w->layer->kind == QK_LINEAR) {
        QK_TRY(qk_alloc(&past->slope, past->a->n_q, sizeof *past->slope, err));
        qk_alibi_slopes(past->a->n_q, past->slope);
    } else {
        qk_parallel_for(n, keep_keys, run, progress);
    }
    return QK_OK;
}

static enum qk_code show_rows(const struct past *past, size_t n, const struct qk_rows *rows, void *context,
    struct qk_progress *progress, struct qk_error *err)
{
    if (rows == NULL)
        return QK_OK;
    struct qk_row_past of = {past->a, past->gates, past->slope, n};
    return qk_rows_show(&of, rows, context, progress, err);
}

static enum qk_code mix(
    struct run *run, const struct qk_layer_watch *watch, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    size_t n = run->batch->n;
    struct past past = {0};
    QK_TRY(qk_alloc_aligned(&run->mixed, run->batch->T * w->n_out * w->value_dim, sizeof *run->mixed, err));
    enum qk_code code = make_past(run, progress, &past, err);
    if (code == QK_OK)
        code = past.gates != NULL   ? qk_gated_delta_rule(past.a, past.gates, n, err)
               : past.slope != NULL ? qk_lightning_attention(past.a, n, past.slope, err)
                                    : qk_softmax_attention(past.a, n, watch->maps, err);
    if (code == QK_OK)
        code = show_rows(&past, n, watch->rows, watch->context, progress, err);
    free_past(&past);
    return code;
}

/* --- what is added to the input --- */

static void add(size_t n, const float *from, float *to)
{
    for (size_t i = 0; i < n; i++)
        to[i] += from[i];
}

static void norm_mixed(void *context, size_t item, size_t worker)
{
    const struct run *run = context;
    const struct qk_layer_weights *w = run->w;
    const struct qk_block *block = block_of(run, item);
    size_t width = w->n_out * w->value_dim;
    norm_heads(&w->o_norm, block->n, w->n_out, w->value_dim, width, run->mixed + block->row * width);
    if (w->gate.weight != NULL)
        norm_rows(context, item, worker);
}

/* Adds the mixer's output, and makes the input of the MLP. */
static void add_mixer(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct run *run = context;
    const struct qk_layer_weights *w = run->w;
    const struct qk_block *block = block_of(run, item);
    size_t d = w->d, n = block->n, at = (block->row - run->group) * d;
    float *x = run->x + block->row * d;
    qk_norm_apply(&w->mixer_post_norm, n, d, run->added + at, run->added + at);
    if (!w->parallel)
        add(n * d, run->added + at, x);
    qk_norm_apply(&w->mlp_norm, n, d, x, run->normed + at);
}

/* Adds the output of the MLP, which is in `normed`. */
static void add_mlp(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct run *run = context;
    const struct qk_layer_weights *w = run->w;
    const struct qk_block *block = block_of(run, item);
    size_t d = w->d, n = block->n, at = (block->row - run->group) * d;
    float *x = run->x + block->row * d;
    qk_norm_apply(&w->mlp_post_norm, n, d, run->normed + at, run->normed + at);
    if (w->parallel)
        add(n * d, run->added + at, x);
    add(n * d, run->normed + at, x);
}

/* x += o_proj(norm(mixed) * gate), x += the MLP of x; for a parallel layer both are of the same x. */
static enum qk_code finish_group(
    struct run *run, const struct group *group, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    size_t width = w->n_out * w->value_dim, d = w->d, n = w->mlp_up.n;
    float *mixed = run->mixed + group->row * width, *normed = run->normed, *hidden = run->hidden;
    bool gated = w->mlp_gate.weight != NULL;
    const struct qk_product gate = {&w->gate, normed, mixed, width, QK_PRODUCT_GATE, w->gate_activation,
                                NULL},
                            o = {.p = &w->o, .x = mixed, .out = run->added, .ld = d},
                            mlp_gate = {&w->mlp_gate, normed, hidden, n, QK_PRODUCT_GATE, w->activation,
                                NULL},
                            up = {&w->mlp_up, normed, hidden, n, gated ? QK_PRODUCT_SET : QK_PRODUCT_ACTIVATE,
                                w->activation, gated ? &mlp_gate : NULL},
                            down = {.p = &w->mlp_down, .x = hidden, .out = normed, .ld = d};
    QK_TRY(for_group(run, group, norm_mixed, progress, err));
    QK_TRY(run_products(run, group, &gate, 1, progress, err));
    QK_TRY(run_products(run, group, &o, 1, progress, err));
    QK_TRY(for_group(run, group, add_mixer, progress, err));
    QK_TRY(run_products(run, group, &up, 1, progress, err));
    QK_TRY(run_products(run, group, &down, 1, progress, err));
    return for_group(run, group, add_mlp, progress, err);
}

static enum qk_code finish_all(struct run *run, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    size_t width = w->mlp_up.n > w->d ? w->mlp_up.n : w->d, rows = group_rows(run, width);
    struct group group = {0};
    enum qk_code code = qk_alloc_aligned(&run->normed, rows * w->d, sizeof(float), err);
    if (code == QK_OK)
        code = qk_alloc_aligned(&run->added, rows * w->d, sizeof(float), err);
    if (code == QK_OK)
        code = qk_alloc_aligned(&run->hidden, rows * w->mlp_up.n, sizeof(float), err);
    for (run->first_block = 0; code == QK_OK && next_group(run, width, &group);)
        code = finish_group(run, &group, progress, err);
    free(run->normed);
    free(run->added);
    free(run->hidden);
    return code;
}

/* Finishes the last row of each sequence, as a batch of single rows. */
static enum qk_code finish_ends(struct run *run, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_batch *batch = run->batch;
    size_t d = run->w->d, width = run->w->n_out * run->w->value_dim, n = batch->n;
    struct qk_batch singles = {.n = n, .T = n, .positions = batch->positions};
    struct run rest = {.w = run->w, .batch = &singles};
    struct qk_sequence *sequence = NULL;
    enum qk_code code = qk_alloc(&sequence, n, sizeof *sequence, err);
    if (code == QK_OK)
        code = qk_alloc_aligned(&rest.x, n * d, sizeof(float), err);
    if (code == QK_OK)
        code = qk_alloc_aligned(&rest.mixed, n * width, sizeof(float), err);
    for (size_t i = 0; code == QK_OK && i < n; i++) {
        const struct qk_sequence *s = &batch->sequence[i];
        size_t last = s->first + s->n - 1;
        sequence[i] = (struct qk_sequence){i, 1, s->t0 + s->n - 1, NULL};
        memcpy(rest.x + i * d, run->x + last * d, d * sizeof(float));
        memcpy(rest.mixed + i * width, run->mixed + last * width, width * sizeof(float));
    }
    singles.sequence = sequence;
    if (code == QK_OK)
        code = begin_run(&rest, err);
    if (code == QK_OK)
        code = finish_all(&rest, progress, err);
    for (size_t i = 0; code == QK_OK && i < n; i++)
        memcpy(run->x + (batch->sequence[i].first + batch->sequence[i].n - 1) * d, rest.x + i * d,
            d * sizeof(float));
    end_run(&rest);
    free(rest.x);
    free(sequence);
    return code;
}

enum qk_code qk_layer_run(const struct qk_layer_weights *weights, float *x, const struct qk_batch *batch,
    struct qk_rope_tables *tables, const struct qk_layer_watch *watch, struct qk_progress *progress,
    struct qk_error *err)
{
    static const struct qk_layer_watch NOBODY = {0};
    struct run run = {.w = weights, .batch = batch, .x = x};
    enum qk_code code = project_all(&run, tables, progress, err);
    if (code == QK_OK)
        code = mix(&run, watch != NULL ? watch : &NOBODY, progress, err);
    end_mixing(&run);
    if (code == QK_OK)
        code = (batch->ends && batch->T > batch->n ? finish_ends : finish_all)(&run, progress, err);
    end_run(&run);
    return code;
}

enum qk_code qk_layer_show_rows(const struct qk_layer_weights *weights, const float *x,
    const struct qk_batch *batch, struct qk_rope_tables *tables, const struct qk_rows *rows, void *context,
    struct qk_progress *progress, struct qk_error *err)
{
    /* Neither projecting nor convolving writes to x. */
    struct run run = {.w = weights, .batch = batch};
    struct past past = {0};
    memcpy(&run.x, &x, sizeof x);
    enum qk_code code = project_all(&run, tables, progress, err);
    if (code == QK_OK)
        code = make_past(&run, progress, &past, err);
    if (code == QK_OK)
        code = show_rows(&past, batch->n, rows, context, progress, err);
    free_past(&past);
    end_run(&run);
    return code;
}
