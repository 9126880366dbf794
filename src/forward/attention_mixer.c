/* attention_mixer.c - the mixer of softmax attention, and positions of q and k. */
#include "forward/mixer.h"

#include "base/parallel.h"

#include <math.h>
#include <string.h>

/* Rotates q and k of the block's rows. */
static void rotate_rows(const struct qk_run *run, const struct qk_block *block, float *q)
{
    const struct qk_layer_weights *w = run->w;
    size_t hd = w->head_dim, ld = w->qkv.n, pairs = (size_t)w->layer->rotary_dims / 2;
    for (size_t i = 0, n; run->cosines != NULL && i < block->n; i += n) { /* heads of k follow those of q */
        size_t at = qk_run_position(run, block, i, &n) * pairs;
        qk_rope(n, w->n_q + w->n_k, hd, ld, pairs, w->layer->positions == QK_POSITIONS_ROPE_INTER,
            run->cosines + at, run->sines + at, q + i * ld);
    }
}

/* Scales the queries of the block's rows by their positions and by a factor. */
static void scale_queries(const struct qk_run *run, const struct qk_block *block, float *q)
{
    const struct qk_layer_weights *w = run->w;
    size_t hd = w->head_dim, ld = w->qkv.n;
    for (size_t i = 0; i < block->n && (w->query_log > 0 || w->query_factor != 1.0f); i++) {
        double a = (double)w->query_log, t = (double)qk_run_position(run, block, i, NULL);
        float factor = w->query_factor * (a > 0 ? (float)(log(t + a) / log(a)) : 1.0f);
        for (size_t j = 0; j < w->n_q * hd; j++)
            q[i * ld + j] *= factor;
    }
}

/* Norms of q and k, positions, and the scaling of q. */
void qk_finish_qk(const struct qk_run *run, const struct qk_block *block)
{
    const struct qk_layer_weights *w = run->w;
    size_t hd = w->head_dim, ld = w->qkv.n;
    float *q = run->p.qkv + block->row * ld;
    if (w->layer->norm_after_rope)
        rotate_rows(run, block, q);
    qk_norm_heads(&w->q_norm, block->n, w->n_q, hd, ld, q);
    qk_norm_heads(&w->k_norm, block->n, w->n_k, hd, ld, q + w->n_q * hd);
    if (!w->layer->norm_after_rope)
        rotate_rows(run, block, q);
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

static enum qk_code make_softmax_past(
    struct qk_run *run, struct qk_past *past, struct qk_progress *progress, struct qk_error *err)
{
    (void)past;
    (void)err;
    qk_parallel_for(run->batch->n, keep_keys, run, progress);
    return QK_OK;
}

static enum qk_code attend_softmax(
    const struct qk_past *past, size_t n, const struct qk_attention_watch *maps, struct qk_error *err)
{
    return qk_softmax_attention(past->a, n, maps, err);
}

static void size_keys(const struct qk_layer_weights *w, struct qk_layer_state *state)
{
    state->key_width = qk_keys_width(w);
}

const struct qk_mixer_ops qk_softmax_mixer = {
    .read = qk_read_qkv,
    .size_state = size_keys,
    .mix = qk_qkv_mix,
    .show_rows = qk_qkv_show_rows,
    .finish_projection = qk_finish_qk,
    .make_past = make_softmax_past,
    .attend = attend_softmax,
};
