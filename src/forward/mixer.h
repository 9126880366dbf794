/* mixer.h - the kinds of mixers (mixer.c), one file each: attention_mixer.c, latent_mixer.c, lightning_mixer.c,
 * delta_mixer.c, mamba2_mixer.c, mamba_mixer.c, lru_mixer.c, short_conv_mixer.c. */
#ifndef QK_FORWARD_MIXER_H
#define QK_FORWARD_MIXER_H

#include "forward/layer_internal.h"

/* How the sequences of a batch attend to their past: what mixing and rows take. */
struct qk_past {
    struct qk_attention *a; /* one a sequence; owned, like all below */
    struct qk_gates *gates; /* of the delta rule or a state space, likewise, or NULL */
    float *slope;           /* (n_q) of lightning attention, or NULL */
    const float *skip;      /* (n_q) of a state space, or NULL; borrowed */
};

/* A kind of mixer. */
struct qk_mixer_ops {
    const char
        *word; /* "recurrence" of the layout row's mixer, or latent rows; NULL: other softmax attention */
    /* Reads its weights; with `all` false what its attention on given inputs needs. */
    enum qk_code (*read)(struct qk_reading *r, bool all);
    /* Sets the sizes of what the layer keeps of a sequence. */
    void (*size_state)(const struct qk_layer_weights *w, struct qk_layer_state *state);
    /* Sets run->mixed (T, n_out * value_dim) of run->x and the states, and shows what the watch wants. */
    enum qk_code (*mix)(struct qk_run *run, struct qk_rope_tables *tables, const struct qk_layer_watch *watch,
        struct qk_progress *progress, struct qk_error *err);
    /* Shows rows of attention over run->x without mixing; NULL: the layer has none. */
    enum qk_code (*show_rows)(struct qk_run *run, struct qk_rope_tables *tables, const struct qk_rows *rows,
        void *context, struct qk_progress *progress, struct qk_error *err);
    /* Of mixers that mix by qk_qkv_mix. */
    bool value_heads; /* the output has the heads of v, and q has those of k */
    bool recurs;      /* the past is a state, not keys and values */
    /* Projects a group's rows, normed, to run->p; NULL: by w->qkv. */
    enum qk_code (*project)(
        struct qk_run *run, const struct qk_group *group, struct qk_progress *progress, struct qk_error *err);
    void (*finish_projection)(/* NULL: nothing is left to do */
        const struct qk_run *run, const struct qk_block *block);
    enum qk_code (*make_past)(
        struct qk_run *run, struct qk_past *past, struct qk_progress *progress, struct qk_error *err);
    enum qk_code (*attend)(
        const struct qk_past *past, size_t n, const struct qk_attention_watch *maps, struct qk_error *err);
};
extern const struct qk_mixer_ops qk_softmax_mixer, qk_latent_mixer, qk_lightning_mixer, qk_delta_mixer,
    qk_channel_delta_mixer, qk_mamba2_mixer, qk_mamba_mixer, qk_lru_mixer, qk_short_conv_mixer;
/* The mixer of that word (NULL allowed), or NULL. */
const struct qk_mixer_ops *qk_mixer_find(const char *word);

/* run->p.qkv (T, w->qkv.n) = the projection of x, finished by the mixer. */
enum qk_code qk_qkv_project(
    struct qk_run *run, struct qk_rope_tables *tables, struct qk_progress *progress, struct qk_error *err);
/* Projects x to q, k and v; then the mixer finishes them, makes the past, and attends. */
enum qk_code qk_qkv_mix(struct qk_run *run, struct qk_rope_tables *tables, const struct qk_layer_watch *watch,
    struct qk_progress *progress, struct qk_error *err);

enum qk_code qk_qkv_show_rows(struct qk_run *run, struct qk_rope_tables *tables, const struct qk_rows *rows,
    void *context, struct qk_progress *progress, struct qk_error *err);
/* Norms of q and k, positions, and the scaling of q, for the block's rows. */
void qk_finish_qk(const struct qk_run *run, const struct qk_block *block);

/* What mixers of softmax attention share (attention_mixer.c): their keys and values are kept, and attended to. */
void qk_size_keys(const struct qk_layer_weights *w, struct qk_layer_state *state);
enum qk_code qk_keep_keys(
    struct qk_run *run, struct qk_past *past, struct qk_progress *progress, struct qk_error *err);
enum qk_code qk_attend_softmax(
    const struct qk_past *past, size_t n, const struct qk_attention_watch *maps, struct qk_error *err);

#endif
