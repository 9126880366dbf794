/* lightning_mixer.c - the mixer of lightning attention. */
#include "forward/mixer.h"

#include "base/mem.h"

static void size_lightning(const struct qk_layer_weights *w, struct qk_layer_state *state)
{
    state->recurrent_values = w->n_out * w->head_dim * w->value_dim;
}

static enum qk_code make_lightning_past(
    struct qk_run *run, struct qk_past *past, struct qk_progress *progress, struct qk_error *err)
{
    (void)run;
    (void)progress;
    QK_TRY(qk_alloc(&past->slope, past->a->n_q, sizeof *past->slope, err));
    qk_alibi_slopes(past->a->n_q, past->slope);
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
    .read = qk_read_qkv,
    .size_state = size_lightning,
    .mix = qk_qkv_mix,
    .show_rows = qk_qkv_show_rows,
    .recurs = true,
    .finish_projection = qk_finish_qk,
    .make_past = make_lightning_past,
    .attend = attend_lightning,
};
