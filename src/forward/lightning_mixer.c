/* lightning_mixer.c - the mixer of lightning attention: its weights, SiLU of q, k and v, and its slopes. */
#include "forward/mixer.h"

#include "base/json.h"
#include "base/mem.h"

#include <string.h>

/* MiniMax (2025) and Ling 2.5 weaken the slopes from layer to layer: slope (1 - i / (layers - 1) + 1e-5). i is the
 * number of this layer, or of the one before. */
static float factor_of_layer(const struct qk_reading *r)
{
    const char *word = qk_json_string(r->mixer, "slope_layer", NULL);
    double layers = r->parts->model->n_layers, i = r->layer->index;
    if (word == NULL)
        return 1.0f;
    if (strcmp(word, "before") == 0)
        i -= 1;
    return (float)(1 - (layers > 1 ? i / (layers - 1) : 0) + 1e-5);
}

static enum qk_code read_lightning(struct qk_reading *r, bool all)
{
    r->out->qkv_silu = qk_layout_flag(r->mixer, "qkv_silu", &r->parts->model->config, false);
    r->out->slope_factor = factor_of_layer(r);
    return qk_read_qkv(r, all);
}

static void size_lightning(const struct qk_layer_weights *w, struct qk_layer_state *state)
{
    state->recurrent_values = w->n_out * w->head_dim * w->value_dim;
}

static void finish_lightning(const struct qk_run *run, const struct qk_block *block)
{
    const struct qk_layer_weights *w = run->w;
    if (w->qkv_silu)
        qk_activate(QK_SILU, block->n * w->qkv.n, run->p.qkv + block->row * w->qkv.n);
    qk_finish_qk(run, block);
}

static enum qk_code make_lightning_past(
    struct qk_run *run, struct qk_past *past, struct qk_progress *progress, struct qk_error *err)
{
    (void)progress;
    QK_TRY(qk_alloc(&past->slope, past->a->n_q, sizeof *past->slope, err));
    qk_alibi_slopes(past->a->n_q, past->slope);
    for (size_t h = 0; h < past->a->n_q; h++)
        past->slope[h] *= run->w->slope_factor;
    return QK_OK;
}

static enum qk_code attend_lightning(
    const struct qk_past *past, size_t n, const struct qk_attention_watch *maps, struct qk_error *err)
{
    (void)maps;
    return qk_lightning_attention(past->a, n, past->slope, err);
}

const struct qk_mixer_ops qk_lightning_mixer = {
    .word = "lightning",
    .read = read_lightning,
    .size_state = size_lightning,
    .mix = qk_qkv_mix,
    .show_rows = qk_qkv_show_rows,
    .recurs = true,
    .finish_projection = finish_lightning,
    .make_past = make_lightning_past,
    .attend = attend_lightning,
};
