/* latent_mixer.c - the mixer of latent attention (MLA, DeepSeek-AI 2024).
 *
 * Queries and keys are made of latents: q = q_up norm(q_down x), and k = k_up c, v = v_up c of c = norm(kv_down x).
 * The last rows of each head rotate. Those of k are k_turned x, the same for every head. q, k and v are written out
 * for every head: memory, and what a sequence keeps, is heads * (head_dim + value_dim) values a token, as for other
 * softmax attention with as many key heads. */
#include "forward/mixer.h"

#include "base/json.h"
#include "base/mem.h"
#include "forward/weights.h"

#include <stdlib.h>
#include <string.h>

/* --- reading --- */

/* A projection that is held as a whole until its rows are taken. */
static void free_source(struct qk_projection *source)
{
    free(source->weight);
    free(source->bias);
}

static enum qk_code read_source(struct qk_reading *r, const struct qk_tensor *weight,
    const struct qk_tensor *bias, size_t rows, size_t k, struct qk_projection *out)
{
    *out = (struct qk_projection){.n = rows, .k = k, .dtype = qk_weights_dtype(r->parts, weight)};
    enum qk_code code = qk_weights_keep(r->parts, weight, rows, k, out->dtype, &out->weight, r->err);
    if (code == QK_OK && bias != NULL)
        code = qk_weights_read(r->parts, bias, rows, 0, &out->bias, r->err);
    if (code != QK_OK)
        free_source(out);
    return code;
}

/* p = `heads` runs of `n` rows, the first at row `first`, `step` apart. */
static enum qk_code take_rows(struct qk_reading *r, const struct qk_projection *source, size_t first,
    size_t n, size_t step, size_t heads, struct qk_projection *p)
{
    if (n == 0)
        return QK_OK;
    QK_TRY(qk_new_projection(r, p, heads * n, source->k, source->dtype, source->bias != NULL));
    for (size_t h = 0; h < heads; h++) {
        size_t from = first + h * step;
        memcpy(qk_projection_row(p, h * n), qk_projection_row(source, from),
            n * p->k * (qk_dtype_bits(p->dtype) / 8));
        if (p->bias != NULL)
            memcpy(p->bias + h * n, source->bias + from, n * sizeof *p->bias);
    }
    return QK_OK;
}

static enum qk_code read_latent_norm(
    const struct qk_reading *r, const struct qk_tensor *gain, size_t rank, struct qk_norm *norm)
{
    *norm = (struct qk_norm){.n = rank};
    QK_TRY(qk_parts_eps(r->parts, r->mixer, "down_norm_eps", &norm->eps, r->err));
    return qk_read_owned(r->parts, gain, rank, 0, r->out, &norm->gain, r->err);
}

static enum qk_code own_projection(struct qk_reading *r, const struct qk_tensor *weight,
    const struct qk_tensor *bias, size_t n, size_t k, struct qk_projection *p)
{
    QK_TRY(qk_read_weight(r, weight, n, k, p));
    return bias != NULL ? qk_read_owned(r->parts, bias, n, 0, r->out, &p->bias, r->err) : QK_OK;
}

/* Reads q's factors, or its projection where it has no latent. */
static enum qk_code read_queries(struct qk_reading *r)
{
    struct qk_latent *latent = &r->out->latent;
    const struct qk_view *q = &r->layer->role[QK_Q];
    size_t n = r->out->n_q * r->out->head_dim, k = (size_t)q->weight->shape[1];
    if (q->down != NULL) {
        QK_TRY(own_projection(r, q->down, q->down_bias, k, r->out->d, &latent->q_down));
        QK_TRY(read_latent_norm(r, q->down_norm, k, &latent->q_norm));
    }
    return own_projection(r, q->weight, q->bias, n, k, &latent->q_up);
}

static enum qk_code read_keys(struct qk_reading *r, bool all)
{
    struct qk_layer_weights *out = r->out;
    struct qk_latent *latent = &out->latent;
    const struct qk_view *k = &r->layer->role[QK_K];
    size_t rank = (size_t)k->weight->shape[1], turned = (size_t)k->tail, still = out->head_dim - turned,
           step = still + out->value_dim;
    struct qk_projection source;
    QK_TRY(read_source(r, k->down, k->down_bias, rank + turned, out->d, &source));
    enum qk_code code = take_rows(r, &source, 0, rank, 0, 1, &latent->kv_down);
    if (code == QK_OK)
        code = take_rows(r, &source, rank, turned, 0, 1, &latent->k_turned);
    free_source(&source);
    QK_TRY(code);
    QK_TRY(read_latent_norm(r, k->down_norm, rank, &latent->kv_norm));
    QK_TRY(read_source(r, k->weight, k->bias, out->n_k * step, rank, &source));
    code = take_rows(r, &source, 0, still, step, out->n_k, &latent->k_up);
    if (code == QK_OK && all)
        code = take_rows(r, &source, still, out->value_dim, step, out->n_k, &latent->v_up);
    free_source(&source);
    return code;
}

static enum qk_code read_latent(struct qk_reading *r, bool all)
{
    struct qk_layer_weights *out = r->out;
    const struct qk_config *config = &r->parts->model->config;
    const struct qk_view *k = &r->layer->role[QK_K];
    long value;
    QK_TRY(qk_layout_count(r->mixer, "value_dim", config, 1 << 16, &value, r->err));
    out->value_dim = (size_t)value;
    out->n_v = out->n_k;
    out->n_out = out->n_q;
    if (out->n_q != out->n_k || k->down == NULL)
        return qk_fail_row(r, "its numbers of query, key and value heads do not fit together");
    QK_TRY(read_queries(r));
    QK_TRY(read_keys(r, all));
    out->qkv = (struct qk_projection){.n = (out->n_q + out->n_k) * out->head_dim, .k = out->d};
    out->qkv.n += all ? out->n_v * out->value_dim : 0;
    QK_TRY(qk_read_scales(r));
    return all ? qk_read_output(r) : QK_OK;
}

/* --- running --- */

/* The rows of a head that do not rotate; those that do are the last. */
static size_t still_rows(const struct qk_layer_weights *w)
{
    return w->head_dim - w->latent.k_turned.n;
}

/* Item: a block of the group. Norms of the latents. */
static void norm_latents(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct qk_run *run = context;
    const struct qk_latent *latent = &run->w->latent;
    const struct qk_block *block = qk_run_block(run, item);
    size_t at = block->row - run->group, q = latent->q_down.n, kv = latent->kv_down.n;
    if (q > 0)
        qk_norm_apply(&latent->q_norm, block->n, q, run->low_q + at * q, run->low_q + at * q);
    qk_norm_apply(&latent->kv_norm, block->n, kv, run->low_kv + at * kv, run->low_kv + at * kv);
}

/* q, the rows of k that do not rotate, head by head, and v: products of the latents. */
static enum qk_code multiply_latents(struct qk_run *run, const struct qk_group *group, float *qkv,
    struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    const struct qk_latent *latent = &w->latent;
    size_t hd = w->head_dim, ld = w->qkv.n, n = still_rows(w);
    struct qk_projection *head;
    struct qk_product *product = NULL;
    QK_TRY(qk_alloc(&head, w->n_k, sizeof *head, err));
    enum qk_code code = qk_alloc(&product, w->n_k + 2, sizeof *product, err);
    for (size_t h = 0; code == QK_OK && h < w->n_k; h++) {
        head[h] = qk_projection_rows(&latent->k_up, h * n, n);
        product[h] =
            (struct qk_product){.p = &head[h], .x = run->low_kv, .out = qkv + (w->n_q + h) * hd, .ld = ld};
    }
    if (code == QK_OK) {
        product[w->n_k] = (struct qk_product){
            .p = &latent->q_up, .x = latent->q_down.n > 0 ? run->low_q : run->normed, .out = qkv, .ld = ld};
        product[w->n_k + 1] = (struct qk_product){
            .p = &latent->v_up, .x = run->low_kv, .out = qkv + (w->n_q + w->n_k) * hd, .ld = ld};
        code = qk_run_products(run, group, product, w->n_k + 2, progress, err);
    }
    free(product);
    free(head);
    return code;
}

static enum qk_code project_latent(
    struct qk_run *run, const struct qk_group *group, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    const struct qk_latent *latent = &w->latent;
    float *qkv = run->p.qkv + group->row * w->qkv.n;
    QK_TRY(qk_alloc_aligned(&run->low_kv, group->n * latent->kv_down.n, sizeof(float), err));
    enum qk_code code = qk_alloc_aligned(&run->low_q, group->n * latent->q_down.n, sizeof(float), err);
    const struct qk_product down[] = {
        {.p = &latent->q_down, .x = run->normed, .out = run->low_q, .ld = latent->q_down.n},
        {.p = &latent->kv_down, .x = run->normed, .out = run->low_kv, .ld = latent->kv_down.n},
        {.p = &latent->k_turned,
            .x = run->normed,
            .out = qkv + w->n_q * w->head_dim + still_rows(w), /* the first head's; the others copy it */
            .ld = w->qkv.n}};
    if (code == QK_OK)
        code = qk_run_products(run, group, down, 3, progress, err);
    if (code == QK_OK)
        code = qk_run_for_group(run, group, norm_latents, progress, err);
    if (code == QK_OK)
        code = multiply_latents(run, group, qkv, progress, err);
    free(run->low_q);
    free(run->low_kv);
    run->low_q = run->low_kv = NULL;
    return code;
}

/* Copies the rotating rows of k to every head, then positions. */
static void finish_latent(const struct qk_run *run, const struct qk_block *block)
{
    const struct qk_layer_weights *w = run->w;
    size_t hd = w->head_dim, turned = w->latent.k_turned.n;
    for (size_t i = 0; i < block->n; i++) {
        float *k = run->p.qkv + (block->row + i) * w->qkv.n + w->n_q * hd + still_rows(w);
        for (size_t h = 1; h < w->n_k; h++)
            memcpy(k + h * hd, k, turned * sizeof *k);
    }
    qk_finish_qk(run, block);
}

const struct qk_mixer_ops qk_latent_mixer = {
    .word = "latent",
    .read = read_latent,
    .size_state = qk_size_keys,
    .mix = qk_qkv_mix,
    .show_rows = qk_qkv_show_rows,
    .project = project_latent,
    .finish_projection = finish_latent,
    .make_past = qk_keep_keys,
    .attend = qk_attend_softmax,
};
