/* layer_inputs.c - inputs that each layer has of its own for every token. */
#include "forward/layer_inputs.h"

#include "base/mem.h"
#include "forward/elementwise.h"
#include "forward/layer_internal.h"
#include "forward/weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- embedded tokens --- */

/* The inputs of a token. */
struct sources {
    const struct qk_parts *parts;
    const struct qk_tensor *embedding;
    const float *projection; /* (all, d) */
    struct qk_norm norm;     /* (each) */
    size_t d, each, all;     /* values of a layer, and of all */
};

enum qk_code qk_layer_inputs_hold(const struct qk_parts *parts, float **out, struct qk_error *err)
{
    const struct qk_tensor *tensor;
    size_t d = (size_t)qk_model_own_width(parts->model);
    *out = NULL;
    QK_TRY(qk_parts_model_tensor(parts, "layer_input_in", ".weight", true, &tensor, err));
    return qk_weights_read(parts, tensor, qk_model_width(parts->model) - d, d, out, err);
}

/* inputs (all) = those of the token `id`; sum (all) = W_l e of all layers, which is overwritten. */
static enum qk_code make_inputs(
    const struct sources *s, int32_t id, float *sum, float *inputs, struct qk_error *err)
{
    QK_TRY(qk_weights_rows(s->parts, s->embedding, (uint64_t)id, 1, QK_F32, inputs, err));
    qk_scale(s->all, (float)(1 / sqrt((double)s->d)), sum);
    qk_norm_apply(&s->norm, s->all / s->each, s->each, sum, sum);
    qk_scale(s->all, (float)sqrt((double)s->each), inputs);
    qk_add(s->all, 1.0f, sum, inputs);
    qk_scale(s->all, (float)sqrt(0.5), inputs);
    return QK_OK;
}

/* Makes rows first .. first + n. Products are those of tiles, so that the parts of a prompt do not matter. */
static enum qk_code make_block(
    const struct sources *s, const int32_t *ids, size_t first, size_t n, float *x, struct qk_error *err)
{
    float *sum, *e = NULL;
    QK_TRY(qk_alloc_aligned(&sum, n * s->all, sizeof *sum, err));
    enum qk_code code = qk_alloc_aligned(&e, n * s->d, sizeof *e, err);
    if (code == QK_OK) {
        memcpy(e, x + first * s->d, n * s->d * sizeof *e);
        qk_linear(n, s->d, s->all, e, s->projection, NULL, sum, s->all);
    }
    for (size_t i = 0; code == QK_OK && i < n; i++) {
        float *row = x + (first + i) * (s->d + s->all);
        memcpy(row, e + i * s->d, s->d * sizeof *e);
        code = make_inputs(s, ids[first + i], sum + i * s->all, row + s->d, err);
    }
    free(e);
    free(sum);
    return code;
}

/* Rows move up from the last block on, so that none is overwritten before its turn. */
static enum qk_code make_rows(
    const struct sources *s, const int32_t *ids, size_t t0, size_t T, float *x, struct qk_error *err)
{
    for (size_t end = T, first; end > 0; end = first) {
        size_t border = qk_tile_border(t0 + end - 1);
        first = border > t0 ? border - t0 : 0;
        QK_TRY(make_block(s, ids, first, end - first, x, err));
    }
    return QK_OK;
}

/* QK_INPUT when a token has no row of the embedding. */
static enum qk_code check_rows(const struct sources *s, const int32_t *ids, size_t T, struct qk_error *err)
{
    size_t t;
    if (qk_unknown_ids(ids, T, (size_t)s->embedding->shape[0], &t) == 0)
        return QK_OK;
    return qk_fail(err, QK_INPUT, "%s: %s: token %zu has no row (found %d, expected 0 to %llu)",
        qk_checkpoint_file(s->parts->model->checkpoint, s->embedding), s->embedding->name, t, ids[t],
        (unsigned long long)s->embedding->shape[0] - 1);
}

enum qk_code qk_layer_inputs_add(
    const struct qk_parts *parts, const int32_t *ids, size_t t0, size_t T, float *x, struct qk_error *err)
{
    const struct qk_model *model = parts->model;
    struct qk_layer_weights owner = {0};
    struct sources s = {.parts = parts,
        .projection = parts->layer_projection,
        .d = (size_t)qk_model_own_width(model),
        .each = (size_t)model->layer_input};
    float *read = NULL;
    s.all = (size_t)qk_model_width(model) - s.d;
    QK_TRY(qk_parts_model_tensor(parts, "layer_input_embedding", ".weight", true, &s.embedding, err));
    QK_TRY(qk_weights_check(parts, s.embedding, 0, s.all, err));
    QK_TRY(check_rows(&s, ids, T, err));
    enum qk_code code = qk_norm_read(parts, NULL, -1, "layer_input_in_norm", s.each, &owner, &s.norm, err);
    if (code == QK_OK && s.projection == NULL) {
        code = qk_layer_inputs_hold(parts, &read, err);
        s.projection = read;
    }
    if (code == QK_OK)
        code = make_rows(&s, ids, t0, T, x, err);
    free(read);
    qk_layer_weights_free(&owner);
    return code;
}

/* --- the layer --- */

enum qk_code qk_layer_inputs_read(struct qk_reading *r)
{
    struct qk_layer_weights *out = r->out;
    const cJSON *forward = r->parts->forward;
    size_t n = (size_t)r->parts->model->layer_input;
    if (n == 0)
        return QK_OK;
    out->input_at = out->width + (size_t)r->layer->index * n;
    QK_TRY(qk_read_projection(r, forward, "layer_input_gate", n, out->width, true, &out->own_gate));
    QK_TRY(qk_read_projection(r, forward, "layer_input_out", out->width, n, true, &out->own_out));
    return qk_norm_read(
        r->parts, r->mixer, r->layer->index, "layer_input_norm", out->width, out, &out->own_norm, r->err);
}

/* Item: a block. What the gate made is multiplied by the inputs. */
static void multiply_inputs(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct qk_run *run = context;
    const struct qk_layer_weights *w = run->w;
    const struct qk_block *block = qk_run_block(run, item);
    for (size_t t = block->row; t < block->row + block->n; t++)
        qk_multiply(w->own_gate.n, run->x + t * w->stream + w->input_at, run->hidden + t * w->own_gate.n);
}

/* Item: a block. Adds the normed output, and scales the layer's. */
static void add_output(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct qk_run *run = context;
    const struct qk_layer_weights *w = run->w;
    const struct qk_block *block = qk_run_block(run, item);
    size_t n = block->n * w->width;
    float *added = run->added + block->row * w->width, *z = run->normed + block->row * w->width;
    qk_norm_apply(&w->own_norm, block->n, w->width, added, added);
    qk_add(n, 1.0f, added, z);
    if (w->layer_scale != 1.0f)
        qk_scale(n, w->layer_scale, z);
}

static enum qk_code run_products(struct qk_run *run, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    const struct qk_group whole = qk_run_whole(run);
    const struct qk_product gate = {&w->own_gate, run->normed, run->hidden, w->own_gate.n,
                                QK_PRODUCT_ACTIVATE, w->activation, NULL},
                            out = {.p = &w->own_out, .x = run->hidden, .out = run->added, .ld = w->width};
    QK_TRY(qk_run_products(run, &whole, &gate, 1, progress, err));
    QK_TRY(qk_run_for_group(run, &whole, multiply_inputs, progress, err));
    QK_TRY(qk_run_products(run, &whole, &out, 1, progress, err));
    return qk_run_for_group(run, &whole, add_output, progress, err);
}

enum qk_code qk_layer_inputs_run(const struct qk_layer_weights *w, float *x, const struct qk_batch *batch,
    float *z, struct qk_progress *progress, struct qk_error *err)
{
    struct qk_run run = {.w = w, .batch = batch, .x = x, .normed = z};
    if (w->own_gate.weight == NULL)
        return QK_OK;
    enum qk_code code = qk_run_begin(&run, err);
    if (code == QK_OK)
        code = qk_alloc_aligned(&run.hidden, batch->T * w->own_gate.n, sizeof(float), err);
    if (code == QK_OK)
        code = qk_alloc_aligned(&run.added, batch->T * w->width, sizeof(float), err);
    if (code == QK_OK)
        code = run_products(&run, progress, err);
    free(run.added);
    free(run.hidden);
    qk_run_end(&run);
    return code;
}
