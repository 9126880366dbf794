/* attention_mixer.c - the mixer of softmax attention, and positions of q and k. */
#include "forward/mixer.h"

#include "base/parallel.h"

#include <math.h>
#include <string.h>

static void norm_qk(const struct qk_layer_weights *w, size_t n, float *q)
{
    size_t hd = w->head_dim, ld = w->qkv.n;
    qk_norm_heads(&w->q_norm, n, w->n_q, hd, ld, q);
    qk_norm_heads(&w->k_norm, n, w->n_k, hd, ld, q + w->n_q * hd);
    if (ld > (w->n_q + w->n_k) * hd)
        qk_norm_heads(&w->v_norm, n, w->n_v, w->value_dim, ld, q + (w->n_q + w->n_k) * hd);
}

/* Rotates q and k of the block's rows. */
static void turn_rows(const struct qk_run *run, const struct qk_block *block, float *q)
{
    const struct qk_layer_weights *w = run->w;
    size_t ld = w->qkv.n, pairs = (size_t)w->layer->rotary_dims / 2;
    for (size_t i = 0, n; run->cosines != NULL && i < block->n; i += n) { /* heads of k follow those of q */
        size_t at = qk_run_position(run, block, i, &n) * pairs;
        qk_rope(n, w->n_q + w->n_k, w->head_dim, ld, pairs, w->layer->turn == QK_POSITIONS_ROPE_INTER,
            run->cosines + at, run->sines + at, q + i * ld + (size_t)w->layer->rotary_first);
    }
}

static void scale_queries(const struct qk_run *run, const struct qk_block *block, float *q)
{
    const struct qk_layer_weights *w = run->w;
    const struct qk_query_scaling *by = &w->query;
    if (by->factor == 1.0f && by->log == 0 && by->beta == 0)
        return;
    for (size_t i = 0; i < block->n; i++) {
        double a = (double)by->log, t = (double)qk_run_position(run, block, i, NULL);
        float factor = by->factor * (a > 0 ? (float)(log(t + a) / log(a)) : 1.0f);
        if (by->beta != 0)
            factor *= (float)(1 + by->beta * log1p(floor((t + by->shift) / by->period)));
        for (size_t j = 0; j < w->n_q * w->head_dim; j++)
            q[i * w->qkv.n + j] *= factor;
    }
}

void qk_finish_qk(const struct qk_run *run, const struct qk_block *block)
{
    const struct qk_layer_weights *w = run->w;
    float *q = run->p.qkv + block->row * w->qkv.n;
    if (!w->layer->norm_after_rope)
        norm_qk(w, block->n, q);
    turn_rows(run, block, q);
    if (w->layer->norm_after_rope)
        norm_qk(w, block->n, q);
    scale_queries(run, block, q);
}

/* Item: a sequence. Appends its new keys and values to those that its state keeps. */
static void keep_keys(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct qk_run *run = context;
    const struct qk_layer_weights *w = run->w;
    const struct qk_sequence *s = &run->batch->sequence[item];
    size_t width = qk_keys_width(w);
    const float *from = run->p.qkv + s->first * w->qkv.n + w->n_q * w->head_dim;
    for (size_t t = 0; s->state != NULL && t < s->n; t++)
        memcpy(s->state->keys + (s->t0 + t) * width, from + t * w->qkv.n, width * sizeof *from);
}

enum qk_code qk_keep_keys(
    struct qk_run *run, struct qk_past *past, struct qk_progress *progress, struct qk_error *err)
{
    (void)past;
    (void)err;
    qk_parallel_for(run->batch->n, keep_keys, run, progress);
    return QK_OK;
}

enum qk_code qk_attend_softmax(
    const struct qk_past *past, size_t n, const struct qk_attention_watch *maps, struct qk_error *err)
{
    return qk_softmax_attention(past->a, n, maps, err);
}

void qk_size_keys(const struct qk_layer_weights *w, struct qk_layer_state *state)
{
    state->key_width = qk_keys_width(w);
}

const struct qk_mixer_ops qk_softmax_mixer = {
    .read = qk_read_qkv,
    .size_state = qk_size_keys,
    .mix = qk_qkv_mix,
    .show_rows = qk_qkv_show_rows,
    .finish_projection = qk_finish_qk,
    .make_past = qk_keep_keys,
    .attend = qk_attend_softmax,
};
