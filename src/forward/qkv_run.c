/* qkv_run.c - q, k and v of a layer, their past, and attention over them. */
#include "forward/coefficients.h"
#include "forward/mixer.h"

#include "base/mem.h"
#include "base/parallel.h"

#include <stdlib.h>
#include <string.h>

/* --- projection --- */

static void finish_projection(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct qk_run *run = context;
    if (run->w->mixer->finish_projection != NULL)
        run->w->mixer->finish_projection(run, qk_run_block(run, item));
}

void qk_projected_free(struct qk_projected *projected)
{
    free(projected->qkv);
    free(projected->beta);
    free(projected->g);
    *projected = (struct qk_projected){0};
}

/* q, k and v are products of their own: so q and k have the same bits with v and without. */
static enum qk_code multiply_group(
    struct qk_run *run, const struct qk_group *group, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    size_t ld = w->qkv.n, q = (w->mixer->value_heads ? w->n_k : w->n_q) * w->head_dim,
           k = w->n_k * w->head_dim;
    float *qkv = run->p.qkv + group->row * ld;
    const struct qk_product alpha_in = {
        .p = &w->alpha_in, .x = run->normed, .out = run->hidden, .ld = w->alpha_in.n};
    float *beta = run->p.beta != NULL ? run->p.beta + group->row * w->n_v : NULL,
          *g = run->p.g != NULL ? run->p.g + group->row * w->n_decay : NULL; /* of delta rules alone */
    const struct qk_projection role[] = {qk_projection_rows(&w->qkv, 0, q), qk_projection_rows(&w->qkv, q, k),
        qk_projection_rows(&w->qkv, q + k, ld - q - k)};
    const struct qk_product products[] = {
        {.p = &role[0], .x = run->normed, .out = qkv, .ld = ld},
        {.p = &role[1], .x = run->normed, .out = qkv + q, .ld = ld},
        {.p = &role[2], .x = run->normed, .out = qkv + q + k, .ld = ld},
        {.p = &w->beta,
            .x = run->normed,
            .out = beta,
            .ld = w->n_v,
            .use = QK_PRODUCT_ACTIVATE,
            .activation = QK_SIGMOID},
        {.p = &w->alpha,
            .x = w->alpha_in.weight != NULL ? run->hidden : run->normed,
            .out = g,
            .ld = w->n_decay},
    };
    QK_TRY(qk_run_products(run, group, &alpha_in, 1, progress, err));
    return qk_run_products(run, group, products, w->mixer->value_heads ? 5 : 3, progress, err);
}

static enum qk_code project_group(
    struct qk_run *run, const struct qk_group *group, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_mixer_ops *mixer = run->w->mixer;
    QK_TRY(qk_run_for_group(run, group, qk_run_norm_rows, progress, err));
    QK_TRY((mixer->project != NULL ? mixer->project : multiply_group)(run, group, progress, err));
    return qk_run_for_group(run, group, finish_projection, progress, err);
}

enum qk_code qk_qkv_project(
    struct qk_run *run, struct qk_rope_tables *tables, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    size_t T = run->batch->T;
    struct qk_group group = {0};
    QK_TRY(qk_rope_tables_find(tables, w, run->batch->positions, &run->cosines, &run->sines, err));
    QK_TRY(qk_alloc_aligned(&run->p.qkv, T * w->qkv.n, sizeof(float), err));
    if (w->mixer->value_heads) {
        QK_TRY(qk_alloc_aligned(&run->p.beta, T * w->n_v, sizeof(float), err));
        QK_TRY(qk_alloc_aligned(&run->p.g, T * w->n_decay, sizeof(float), err));
    }
    size_t rows = qk_run_group_rows(run, w->d);
    QK_TRY(qk_alloc_aligned(&run->normed, rows * w->d, sizeof(float), err));
    enum qk_code code = qk_alloc_aligned(&run->hidden, rows * w->alpha_in.n, sizeof(float), err);
    while (code == QK_OK && qk_run_next_group(run, w->d, &group))
        code = project_group(run, &group, progress, err);
    free(run->normed);
    free(run->hidden);
    run->normed = run->hidden = NULL;
    return code;
}

/* The attention of T tokens that begin their sequence, over their projections; out is not set. */
static struct qk_attention attention_of(const struct qk_layer_weights *weights, const float *qkv, size_t T)
{
    size_t hd = weights->head_dim, ld = weights->qkv.n,
           n = weights->mixer->value_heads ? weights->n_k : weights->n_q;
    struct qk_attention a = {.T = T,
        .n_q = weights->mixer->value_heads ? weights->n_out : weights->n_q,
        .n_k = weights->n_k,
        .head_dim = hd,
        .value_dim = weights->value_dim,
        .scale = weights->scale,
        .softcap = weights->softcap,
        .sinks = weights->sinks};
    a.window = weights->layer->kind == QK_WINDOW ? (size_t)weights->layer->window : 0;
    a.q = qkv;
    a.k = qkv + n * hd;
    a.v = weights->qkv.n > (n + weights->n_k) * hd ? a.k + weights->n_k * hd : NULL;
    a.q_stride = a.k_stride = a.v_stride = ld;
    return a;
}

/* --- mixing --- */

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
    const struct qk_run *run, size_t i, struct qk_progress *progress, struct qk_attention *a)
{
    const struct qk_layer_weights *w = run->w;
    const struct qk_sequence *s = &run->batch->sequence[i];
    bool recurs = w->mixer->recurs;
    *a = attention_of(w, run->p.qkv + s->first * w->qkv.n, s->n);
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

static void free_past(struct qk_past *past)
{
    free(past->a);
    free(past->gates);
    free(past->slope);
    *past = (struct qk_past){0};
}

static enum qk_code make_past(
    struct qk_run *run, struct qk_progress *progress, struct qk_past *past, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    size_t n = run->batch->n;
    QK_TRY(qk_alloc(&past->a, n, sizeof *past->a, err));
    for (size_t i = 0; i < n; i++)
        set_sequence(run, i, progress, &past->a[i]);
    return w->mixer->make_past(run, past, progress, err);
}

static enum qk_code show_rows(const struct qk_past *past, size_t n, const struct qk_rows *rows, void *context,
    struct qk_progress *progress, struct qk_error *err)
{
    if (rows == NULL)
        return QK_OK;
    struct qk_row_past of = {past->a, past->gates, past->slope, n};
    return qk_rows_show(&of, rows, context, progress, err);
}

enum qk_code qk_qkv_mix(struct qk_run *run, struct qk_rope_tables *tables, const struct qk_layer_watch *watch,
    struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    size_t n = run->batch->n;
    struct qk_past past = {0};
    QK_TRY(qk_qkv_project(run, tables, progress, err));
    QK_TRY(qk_alloc_aligned(&run->mixed, run->batch->T * w->n_out * w->value_dim, sizeof *run->mixed, err));
    enum qk_code code = make_past(run, progress, &past, err);
    if (code == QK_OK)
        code = w->mixer->attend(&past, n, watch->maps, err);
    if (code == QK_OK && w->layer->kind == QK_LINEAR) /* a state space also has gates, but no q and k */
        code = qk_past_maps_show(
            &(struct qk_row_past){past.a, past.gates, past.slope, n}, watch->maps, progress, err);
    if (code == QK_OK)
        code = show_rows(&past, n, watch->rows, watch->context, progress, err);
    free_past(&past);
    return code;
}

/* The attention outlives the weights, and so its sinks become its own. */
static enum qk_code copy_sinks(const struct qk_layer_weights *weights, float **out, struct qk_error *err)
{
    *out = NULL;
    if (weights->sinks == NULL)
        return QK_OK;
    QK_TRY(qk_alloc(out, weights->n_q, sizeof **out, err));
    memcpy(*out, weights->sinks, weights->n_q * sizeof **out);
    return QK_OK;
}

enum qk_code qk_layer_look(const struct qk_layer_weights *weights, const float *x, size_t T,
    struct qk_layer_attention *out, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_sequence whole = {.n = T};
    const struct qk_batch batch = {.sequence = &whole, .n = 1, .T = T, .positions = T};
    struct qk_rope_tables tables = {0};
    struct qk_past past = {0};
    float *sinks = NULL;
    /* Neither projecting nor convolving writes to x. */
    struct qk_run run = {.w = weights, .batch = &batch};
    memcpy(&run.x, &x, sizeof x);
    enum qk_code code = qk_run_begin(&run, err);
    if (code == QK_OK)
        code = qk_qkv_project(&run, &tables, progress, err);
    if (code == QK_OK)
        code = make_past(&run, progress, &past, err);
    if (code == QK_OK)
        code = copy_sinks(weights, &sinks, err);
    if (code == QK_OK) {
        *out = (struct qk_layer_attention){.attention = past.a[0], .slope = past.slope};
        if (past.gates != NULL)
            out->gates = past.gates[0];
        out->owned[0] = run.p.qkv;
        out->owned[1] = run.p.beta;
        out->owned[2] = run.p.g;
        past.slope = NULL;
        run.p = (struct qk_projected){0};
        out->attention.sinks = out->owned[3] = sinks;
    }
    free_past(&past);
    qk_rope_tables_free(&tables);
    qk_run_end(&run);
    return code;
}

enum qk_code qk_qkv_show_rows(struct qk_run *run, struct qk_rope_tables *tables, const struct qk_rows *rows,
    void *context, struct qk_progress *progress, struct qk_error *err)
{
    struct qk_past past = {0};
    QK_TRY(qk_qkv_project(run, tables, progress, err));
    enum qk_code code = make_past(run, progress, &past, err);
    if (code == QK_OK)
        code = show_rows(&past, run->batch->n, rows, context, progress, err);
    free_past(&past);
    return code;
}
