/* layer_run.c - the effect of one layer on the activations: mix over time, add, MLP. */
#include "forward/feed_forward.h"
#include "forward/mixer.h"

#include "base/mem.h"
#include "base/parallel.h"
#include "forward/elementwise.h"
#include "forward/layer_inputs.h"

#include <stdlib.h>
#include <string.h>

enum { GROUP_VALUES = 1 << 24 };

void qk_norm_apply(const struct qk_norm *norm, size_t T, size_t n, const float *x, float *out)
{
    if (norm->gain == NULL && x != out)
        memcpy(out, x, T * n * sizeof *out);
    else if (norm->gain != NULL && norm->layer)
        qk_layer_norm(T, n, x, norm->gain, norm->bias, norm->eps, out);
    else if (norm->gain != NULL)
        qk_rms_norm(T, n, n, x, norm->gain, norm->offset, norm->eps, out);
}

void qk_run_project(const struct qk_projection *p, const struct qk_block *block, const float *x, float *out)
{
    qk_block_linear(block, p->k, p->n, x, p->weight, p->bias, out, p->n);
}

/* --- rows of a batch --- */

enum qk_code qk_run_begin(struct qk_run *run, struct qk_error *err)
{
    QK_TRY(qk_blocks_cut(run->batch, 0, &run->tiles, err));
    return qk_blocks_cut(run->batch, QK_ROW_BLOCK, &run->rows, err);
}

/* Frees what mixing alone needs. */
static void end_mixing(struct qk_run *run)
{
    qk_projected_free(&run->p);
    free(run->joined);
    free(run->values);
    run->joined = run->values = NULL;
}

void qk_run_end(struct qk_run *run)
{
    end_mixing(run);
    qk_blocks_free(&run->tiles);
    qk_blocks_free(&run->rows);
    free(run->mixed);
}

static enum qk_code begin_both(struct qk_run *run, struct qk_error *err)
{
    QK_TRY(qk_run_begin(run, err));
    return run->beside != NULL ? qk_run_begin(run->beside, err) : QK_OK;
}

static void end_both(struct qk_run *run)
{
    qk_run_end(run);
    if (run->beside != NULL)
        qk_run_end(run->beside);
}

bool qk_run_next_group(struct qk_run *run, size_t width, struct qk_group *group)
{
    const struct qk_blocks *tiles = &run->tiles;
    *group = (struct qk_group){.first = group->end, .end = group->end, .row = group->row + group->n};
    while (group->end < tiles->n &&
           (group->n == 0 || (group->n + tiles->block[group->end].n) * width <= GROUP_VALUES))
        group->n += tiles->block[group->end++].n;
    run->group = group->row;
    while (run->first_block < run->rows.n && run->rows.block[run->first_block].row < group->row)
        run->first_block++;
    return group->n > 0;
}

struct qk_group qk_run_whole(struct qk_run *run)
{
    run->group = run->first_block = 0;
    return (struct qk_group){.end = run->tiles.n, .n = run->batch->T};
}

size_t qk_run_group_rows(const struct qk_run *run, size_t width)
{
    size_t most = 0;
    struct qk_group group = {0};
    struct qk_run copy = *run;
    for (copy.first_block = 0; qk_run_next_group(&copy, width, &group);)
        most = group.n > most ? group.n : most;
    return most;
}

enum qk_code qk_run_for_group(struct qk_run *run, const struct qk_group *group, qk_parallel_item item,
    struct qk_progress *progress, struct qk_error *err)
{
    size_t end = run->first_block;
    while (end < run->rows.n && run->rows.block[end].row < group->row + group->n)
        end++;
    qk_parallel_for(end - run->first_block, item, run, progress);
    return qk_progress_check(progress, err);
}

const struct qk_block *qk_run_block(const struct qk_run *run, size_t item)
{
    return &run->rows.block[run->first_block + item];
}

enum qk_code qk_run_products(const struct qk_run *run, const struct qk_group *group,
    const struct qk_product *product, size_t n, struct qk_progress *progress, struct qk_error *err)
{
    struct qk_products *of;
    QK_TRY(qk_alloc(&of, n, sizeof *of, err));
    for (size_t i = 0; i < n; i++)
        of[i] = (struct qk_products){&product[i], run->tiles.block + group->first, group->end - group->first};
    enum qk_code code = qk_products_run(of, n, group->row, progress, err);
    free(of);
    return code;
}

size_t qk_run_position(const struct qk_run *run, const struct qk_block *block, size_t i, size_t *run_length)
{
    const struct qk_sequence *s = &run->batch->sequence[block->sequence];
    bool single = s->n == 1;
    if (run_length != NULL)
        *run_length = single ? 1 : block->n - i;
    return single ? s[i].t0 : s->t0 + (block->row + i - s->first);
}

enum qk_code qk_run_for_blocks(struct qk_run *run, qk_parallel_item item, size_t floats,
    struct qk_progress *progress, struct qk_error *err)
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

void qk_norm_heads(const struct qk_norm *norm, size_t n, size_t heads, size_t hd, size_t ld, float *x)
{
    if (norm->gain == NULL)
        return;
    size_t width = norm->groups > 1 ? norm->n / norm->groups : 0;
    for (size_t g = 0; width > 0 && g < norm->groups; g++)
        qk_rms_norm(
            n, width, ld, x + g * width, norm->gain + g * width, norm->offset, norm->eps, x + g * width);
    if (width > 0)
        return;
    size_t parts = norm->n == hd ? heads : 1;
    for (size_t t = 0; norm->layer && t < n; t++)
        for (size_t h = 0; h < heads; h++)
            qk_layer_norm(
                1, hd, x + t * ld + h * hd, norm->gain + h * hd, NULL, norm->eps, x + t * ld + h * hd);
    for (size_t h = 0; !norm->layer && h < parts; h++)
        qk_rms_norm(n, norm->n, ld, x + h * hd, norm->gain, norm->offset, norm->eps, x + h * hd);
}

void qk_run_norm_rows(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct qk_run *run = context;
    const struct qk_block *block = qk_run_block(run, item);
    size_t d = run->w->d;
    qk_norm_apply(&run->w->mixer_norm, block->n, d, run->x + block->row * d,
        run->normed + (block->row - run->group) * d);
}

/* --- what is added to the input --- */

/* to = alpha to + beta from. */
static void add(size_t n, float alpha, float beta, const float *from, float *to)
{
    if (alpha != 1.0f)
        qk_scale(n, alpha, to);
    qk_add(n, beta, from, to);
}

static void norm_mixed(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct qk_run *run = context;
    const struct qk_layer_weights *w = run->w;
    const struct qk_block *block = qk_run_block(run, item);
    size_t width = w->n_out * w->value_dim;
    qk_norm_heads(&w->o_norm, block->n, w->n_out, w->value_dim, width, run->mixed + block->row * width);
}

/* Makes what the gate's product takes. */
static void prepare_gate(void *context, size_t item, size_t worker)
{
    const struct qk_layer_weights *w = ((const struct qk_run *)context)->w;
    if (!w->gate_first)
        norm_mixed(context, item, worker);
    if (w->gate.weight != NULL)
        qk_run_norm_rows(context, item, worker);
}

/* Adds the mixers' output, and makes the input of the MLP. */
static void add_mixer(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct qk_run *run = context;
    const struct qk_layer_weights *w = run->w;
    const struct qk_block *block = qk_run_block(run, item);
    size_t d = w->width, n = block->n, at = (block->row - run->group) * d;
    float *x = run->x + block->row * d;
    if (w->normed_residual)
        qk_norm_apply(&w->mixer_norm, n, d, x, x);
    if (w->mixer != NULL) {
        qk_norm_apply(&w->mixer_post_norm, n, d, run->added + at, run->added + at);
        if (w->feed_forward == NULL || !w->parallel)
            add(n * d, w->mixer_alpha, w->mixer_beta, run->added + at, x);
    }
    if (w->feed_forward != NULL)
        qk_norm_apply(&w->mlp_norm, n, d, x, run->normed + at);
    if (w->feed_forward != NULL && w->normed_residual)
        memcpy(x, run->normed + at, n * d * sizeof *x);
}

/* Adds the output of the MLP, which is in `normed`. */
static void add_mlp(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct qk_run *run = context;
    const struct qk_layer_weights *w = run->w;
    const struct qk_block *block = qk_run_block(run, item);
    size_t d = w->width, n = block->n, at = (block->row - run->group) * d;
    float *x = run->x + block->row * d;
    qk_norm_apply(&w->mlp_post_norm, n, d, run->normed + at, run->normed + at);
    if (w->mixer != NULL && w->parallel)
        add(n * d, w->mixer_alpha, w->mixer_beta, run->added + at, x);
    add(n * d, w->mlp_alpha, w->mlp_beta, run->normed + at, x);
    if (w->layer_scale != 1.0f && w->own_gate.weight == NULL) /* else behind the layer's own inputs */
        qk_scale(n * d, w->layer_scale, x);
}

/* added = o_proj(norm(mixed) * gate), or with the gate first o_proj(norm(mixed * gate)); added to what another mixer
 * left there where `use` says so. */
static enum qk_code project_mixed(struct qk_run *run, const struct qk_group *group, enum qk_product_use use,
    struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    size_t width = w->n_out * w->value_dim;
    float *mixed = run->mixed + group->row * width;
    const struct qk_product gate_in = {
        .p = &w->gate_in, .x = run->normed, .out = run->hidden, .ld = w->gate_in.n};
    const struct qk_product gate = {&w->gate, w->gate_in.weight != NULL ? run->hidden : run->normed, mixed,
                                width, QK_PRODUCT_GATE, w->gate_activation, NULL},
                            o = {.p = &w->o, .x = mixed, .out = run->added, .ld = w->width, .use = use};
    QK_TRY(qk_run_for_group(run, group, prepare_gate, progress, err));
    QK_TRY(qk_run_products(run, group, &gate_in, 1, progress, err));
    QK_TRY(qk_run_products(run, group, &gate, 1, progress, err));
    if (w->gate_first)
        QK_TRY(qk_run_for_group(run, group, norm_mixed, progress, err));
    return qk_run_products(run, group, &o, 1, progress, err);
}

static enum qk_code project_beside(
    struct qk_run *run, const struct qk_group *group, struct qk_progress *progress, struct qk_error *err)
{
    struct qk_run *beside = run->beside;
    if (beside == NULL)
        return QK_OK;
    beside->normed = run->normed;
    beside->added = run->added;
    beside->hidden = run->hidden;
    beside->group = run->group;
    beside->first_block = run->first_block;
    return project_mixed(beside, group, QK_PRODUCT_ADD, progress, err);
}

/* x += the mixers' output, x += the MLP of x; for a parallel layer both are of the same x. */
static enum qk_code finish_group(
    struct qk_run *run, const struct qk_group *group, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    if (w->mixer != NULL)
        QK_TRY(project_mixed(run, group, QK_PRODUCT_SET, progress, err));
    QK_TRY(project_beside(run, group, progress, err));
    QK_TRY(qk_run_for_group(run, group, add_mixer, progress, err));
    if (w->feed_forward == NULL)
        return QK_OK;
    QK_TRY(qk_feed_forward_run(run, group, progress, err));
    return qk_run_for_group(run, group, add_mlp, progress, err);
}

static enum qk_code finish_all(struct qk_run *run, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    size_t hidden = w->feed_forward != NULL ? qk_feed_forward_width(w) : 0,
           width = hidden > w->width ? hidden : w->width;
    if (w->feed_forward != NULL && w->feed_forward->whole)
        width = 0;
    size_t rows = qk_run_group_rows(run, width);
    struct qk_group group = {0};
    enum qk_code code = qk_alloc_aligned(&run->normed, rows * w->width, sizeof(float), err);
    if (code == QK_OK)
        code = qk_alloc_aligned(&run->added, rows * w->width, sizeof(float), err);
    if (code == QK_OK)
        code = qk_alloc_aligned(
            &run->hidden, rows * (hidden > w->gate_in.n ? hidden : w->gate_in.n), sizeof(float), err);
    for (run->first_block = 0; code == QK_OK && qk_run_next_group(run, width, &group);)
        code = finish_group(run, &group, progress, err);
    free(run->normed);
    free(run->added);
    free(run->hidden);
    return code;
}

/* rest->mixed = the rows of run->mixed for the last token of each sequence. */
static enum qk_code take_ends(const struct qk_run *run, struct qk_run *rest, struct qk_error *err)
{
    const struct qk_batch *batch = run->batch;
    size_t width = run->w->n_out * run->w->value_dim;
    if (run->mixed == NULL)
        return QK_OK;
    QK_TRY(qk_alloc_aligned(&rest->mixed, batch->n * width, sizeof(float), err));
    for (size_t i = 0; i < batch->n; i++) {
        size_t last = batch->sequence[i].first + batch->sequence[i].n - 1;
        memcpy(rest->mixed + i * width, run->mixed + last * width, width * sizeof(float));
    }
    return QK_OK;
}

/* Finishes the last row of each sequence, as a batch of single rows. */
static enum qk_code finish_ends(struct qk_run *run, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_batch *batch = run->batch;
    size_t d = run->w->width, n = batch->n;
    struct qk_batch singles = {.n = n, .T = n, .positions = batch->positions};
    struct qk_run rest = {.w = run->w, .batch = &singles}, beside = {.w = run->w->beside, .batch = &singles};
    struct qk_sequence *sequence = NULL;
    enum qk_code code = qk_alloc(&sequence, n, sizeof *sequence, err);
    if (code == QK_OK)
        code = qk_alloc_aligned(&rest.x, n * d, sizeof(float), err);
    if (code == QK_OK)
        code = take_ends(run, &rest, err);
    if (code == QK_OK && run->beside != NULL) {
        rest.beside = &beside;
        beside.x = rest.x;
        code = take_ends(run->beside, &beside, err);
    }
    for (size_t i = 0; code == QK_OK && i < n; i++) {
        const struct qk_sequence *s = &batch->sequence[i];
        size_t last = s->first + s->n - 1;
        sequence[i] = (struct qk_sequence){i, 1, s->t0 + s->n - 1, NULL};
        memcpy(rest.x + i * d, run->x + last * d, d * sizeof(float));
    }
    singles.sequence = sequence;
    if (code == QK_OK)
        code = begin_both(&rest, err);
    if (code == QK_OK)
        code = finish_all(&rest, progress, err);
    for (size_t i = 0; code == QK_OK && i < n; i++)
        memcpy(run->x + (batch->sequence[i].first + batch->sequence[i].n - 1) * d, rest.x + i * d,
            d * sizeof(float));
    end_both(&rest);
    free(rest.x);
    free(sequence);
    return code;
}

static enum qk_code mix(struct qk_run *run, struct qk_rope_tables *tables, const struct qk_layer_watch *watch,
    struct qk_progress *progress, struct qk_error *err)
{
    if (run->w->mixer == NULL)
        return QK_OK;
    enum qk_code code = run->w->mixer->mix(run, tables, watch, progress, err);
    end_mixing(run);
    return code;
}

/* x (T, w->width) = the layer's output for x, of a layer without another behind it. */
static enum qk_code run_alone(const struct qk_layer_weights *w, float *x, const struct qk_batch *batch,
    struct qk_rope_tables *tables, const struct qk_layer_watch *watch, struct qk_progress *progress,
    struct qk_error *err)
{
    static const struct qk_layer_watch NOBODY = {0};
    struct qk_run run = {.w = w, .batch = batch, .x = x}, beside = {.w = w->beside, .batch = batch, .x = x};
    run.beside = w->beside != NULL ? &beside : NULL;
    enum qk_code code = begin_both(&run, err);
    if (code == QK_OK)
        code = mix(&run, tables, watch, progress, err);
    if (code == QK_OK && run.beside != NULL)
        code = mix(run.beside, tables, &NOBODY, progress, err);
    if (code == QK_OK)
        code = (batch->ends && batch->T > batch->n ? finish_ends : finish_all)(&run, progress, err);
    end_both(&run);
    return code;
}

/* --- a layer with more in its rows --- */

/* z += then_in y, where y is what the layer's mixer and MLP make of rows x (T, w->stream). */
static enum qk_code run_first(const struct qk_layer_weights *w, float *x, const struct qk_batch *batch,
    struct qk_rope_tables *tables, const struct qk_layer_watch *watch, float *z, struct qk_progress *progress,
    struct qk_error *err)
{
    struct qk_batch all = *batch;
    all.ends = false; /* the mixer behind it sees every row */
    struct qk_run run = {.w = w, .batch = &all, .x = x};
    float *y = NULL;
    enum qk_code code = qk_run_begin(&run, err);
    if (code == QK_OK)
        code = mix(&run, tables, watch, progress, err);
    if (code == QK_OK)
        code = qk_alloc_aligned(&y, all.T * w->width, sizeof *y, err);
    if (code == QK_OK) {
        memset(y, 0, all.T * w->width * sizeof *y);
        run.x = y;
        code = finish_all(&run, progress, err);
    }
    if (code == QK_OK) {
        const struct qk_group whole = qk_run_whole(&run);
        const struct qk_product product = {
            .p = &w->then_in, .x = y, .out = z, .ld = w->width, .use = QK_PRODUCT_ADD};
        code = qk_run_products(&run, &whole, &product, 1, progress, err);
    }
    free(y);
    qk_run_end(&run);
    return code;
}

/* z (T, w->width) = the layer's output for it, with the inputs of its own that rows x hold. */
static enum qk_code run_own(const struct qk_layer_weights *w, float *x, float *z,
    const struct qk_batch *batch, struct qk_rope_tables *tables, const struct qk_layer_watch *watch,
    struct qk_progress *progress, struct qk_error *err)
{
    QK_TRY(run_alone(w, z, batch, tables, watch, progress, err));
    return qk_layer_inputs_run(w, x, batch, z, progress, err);
}

/* The same for rows of x that hold more: their first w->width values become the output. */
static enum qk_code run_along(const struct qk_layer_weights *w, float *x, const struct qk_batch *batch,
    struct qk_rope_tables *tables, const struct qk_layer_watch *watch, struct qk_progress *progress,
    struct qk_error *err)
{
    static const struct qk_layer_watch NOBODY = {0};
    size_t T = batch->T, n = w->width;
    float *z;
    QK_TRY(qk_alloc_aligned(&z, T * n, sizeof *z, err));
    for (size_t t = 0; t < T; t++)
        memcpy(z + t * n, x + t * w->stream, n * sizeof *z);
    enum qk_code code = QK_OK;
    if (w->then == NULL)
        code = run_own(w, x, z, batch, tables, watch, progress, err);
    else {
        code = run_first(w, x, batch, tables, watch, z, progress, err);
        if (code == QK_OK)
            code = run_alone(w->then, z, batch, tables, &NOBODY, progress, err);
    }
    for (size_t t = 0; code == QK_OK && t < T; t++) {
        if (w->then != NULL)
            qk_add(n, 1.0f, z + t * n, x + t * w->stream);
        else
            memcpy(x + t * w->stream, z + t * n, n * sizeof *z);
    }
    free(z);
    return code;
}

enum qk_code qk_layer_run(const struct qk_layer_weights *weights, float *x, const struct qk_batch *batch,
    struct qk_rope_tables *tables, const struct qk_layer_watch *watch, struct qk_progress *progress,
    struct qk_error *err)
{
    static const struct qk_layer_watch NOBODY = {0};
    return (weights->stream != weights->width ? run_along : run_alone)(
        weights, x, batch, tables, watch != NULL ? watch : &NOBODY, progress, err);
}

enum qk_code qk_layer_show_rows(const struct qk_layer_weights *weights, const float *x,
    const struct qk_batch *batch, struct qk_rope_tables *tables, const struct qk_rows *rows, void *context,
    struct qk_progress *progress, struct qk_error *err)
{
    /* Neither projecting nor convolving writes to x. */
    struct qk_run run = {.w = weights, .batch = batch};
    memcpy(&run.x, &x, sizeof x);
    enum qk_code code = qk_run_begin(&run, err);
    if (code == QK_OK)
        code = weights->mixer->show_rows(&run, tables, rows, context, progress, err);
    qk_run_end(&run);
    return code;
}
