/* layer.h - one layer of a forward pass: its weights (layer_read.c), and its effect on the activations
 * (layer_run.c).
 *
 * Activations x (T, d), row-major, have one row a token: the new tokens of a batch of sequences, one sequence after
 * another. The processors share the tiles of products (forward/products.h), the heads of attention, and blocks of
 * rows. Only q, k, v and the mixer's output exist for all T tokens; what the MLP makes exists for a group of tokens at
 * a time. Memory beside x is thus (T, width of [q; k; v] + heads * value_dim) and a bounded part. No tile holds tokens
 * of two sequences unless each has a single new one. The result for a prompt thus does not depend on the others. */
#ifndef QK_FORWARD_LAYER_H
#define QK_FORWARD_LAYER_H

#include "forward/attention.h"
#include "forward/batch.h"
#include "forward/layer_state.h"
#include "forward/ops.h"
#include "forward/parts.h"
#include "forward/products.h"
#include "forward/recurrence.h"
#include "forward/rope_tables.h"
#include "forward/rows.h"

struct qk_mixer_ops;        /* forward/mixer.h */
struct qk_feed_forward_ops; /* forward/feed_forward.h */
struct qk_experts;          /* forward/experts.h */

/* q at position t is multiplied by factor, by ln(t + log) / ln(log) unless log is 0, and by
 * 1 + beta ln(1 + floor((t + shift) / period)). */
struct qk_query_scaling {
    float factor, log;
    double beta, period, shift;
};

struct qk_norm {
    float *gain, *bias; /* (n); gain NULL: no norm */
    size_t n;
    size_t groups; /* above 1: so many parts of the n values are normalised each on its own */
    bool layer;    /* layer norm, else RMS */
    float offset;  /* 1 when a gain w acts as 1 + w */
    double eps;
};

/* The factors of latent attention (forward/latent_mixer.c). */
struct qk_latent {
    struct qk_projection q_down;   /* (rank of q, d), or none */
    struct qk_projection q_up;     /* (n_q * head_dim, rank of q, or d) */
    struct qk_projection kv_down;  /* (rank, d) */
    struct qk_projection k_turned; /* (rows of a head that rotate, d) */
    struct qk_projection k_up;     /* (n_k * the other rows of a head, rank) */
    struct qk_projection v_up;     /* (n_v * value_dim, rank) */
    struct qk_norm q_norm, kv_norm;
};

/* down(f(up x)), or down(f(gate x) * up x); up.weight NULL: no MLP. */
struct qk_mlp {
    struct qk_projection gate, up, down;
};

struct qk_layer_weights {
    const struct qk_layer *layer;
    /* Owned: a second mixer of the same input, whose output is added; or NULL. */
    struct qk_layer_weights *beside;
    /* Owned, or NULL: the mixer of x + then_in y, where y is what the others make. Its output alone is added to x. */
    struct qk_layer_weights *then;
    struct qk_projection then_in;
    /* The input of the mixer; what the layer adds to; and the rows of x, which hold that and what goes along: embedded
     * tokens, or the layers' own inputs. */
    size_t d, width, stream;
    size_t n_q, n_k, head_dim; /* n_q query heads, n_k key heads */
    size_t n_out, value_dim;   /* heads of the mixer's output, and their width */
    size_t n_v;                /* heads of v: n_k, or n_out for a delta rule */
    struct qk_norm mixer_norm, mixer_post_norm, mlp_norm, mlp_post_norm, q_norm, k_norm, v_norm, o_norm;
    struct qk_projection
        qkv; /* rows of all q heads, all k heads, all v heads (the last may be left out); of latent
                                 attention the sizes alone */
    struct qk_latent latent;
    float scale, softcap;
    float layer_scale; /* of the layer's output */
    float *sinks;      /* (n_q) or NULL: attention.h */
    struct qk_query_scaling query;
    float rope_factor;                              /* of the cosines and sines */
    float *frequency;                               /* (rotary_dims / 2) or NULL */
    const struct qk_mixer_ops *mixer;               /* forward/mixer.h; NULL: the layer is an MLP alone */
    const struct qk_feed_forward_ops *feed_forward; /* forward/feed_forward.h; NULL: the layer has no MLP */
    bool parallel;
    bool normed_residual; /* the mixer and the MLP are added to their normed input, not to their input */
    float mixer_alpha, mixer_beta, mlp_alpha, mlp_beta; /* input * alpha + output * beta */
    bool qkv_silu;      /* of lightning attention: q, k and v go through SiLU */
    float slope_factor; /* of lightning attention's slopes */
    bool gate_first;    /* the gate of the mixer's output comes before o_norm */
    enum qk_activation gate_activation, activation;
    struct qk_projection gate_in, gate; /* gate(gate_in(x)); gate(x) without gate_in */
    struct qk_projection o, beta, kernel_in, kernel_out;
    struct qk_projection alpha_in, alpha; /* of a delta rule: likewise */
    struct qk_mlp mlp;
    size_t input_at; /* where the layer's own inputs (forward/layer_inputs.h) begin in a row of x */
    struct qk_projection own_gate, own_out;
    struct qk_norm own_norm;
    struct qk_experts *experts; /* owned; NULL: none */
    float *conv, *conv_bias;    /* (channels, conv_width), (channels), or NULL */
    size_t conv_width;
    float *decay_log, *decay_bias,
        *skip;                   /* (n_v) each, as far as the mixer has them; decay_bias: (n_decay) */
    size_t n_decay;              /* values of g for a token: n_v, or n_v * head_dim */
    float beta_factor;           /* of a delta rule */
    float step_least, step_most; /* bounds of a state space's steps */
    struct qk_projection step_in, step_out, state_in; /* mamba: dt through its latent; [B; C] */
    struct qk_norm step_norm;                         /* mamba: of the latent */
    struct qk_projection input_gate, decay_gate;      /* lru: (width, width of a head), head by head */
    void **owned;                                     /* every array above */
    size_t n_owned, capacity;
    size_t bytes; /* of all of them */
};

/* Reads a layer: with `all` the whole of it, else what its attention on given inputs needs (q and k, the gates of a
 * linear layer). QK_INPUT names a tensor
 * that is missing or has another shape. Freed with qk_layer_weights_free, also after a failure. */
enum qk_code qk_layer_weights_read(const struct qk_parts *parts, const struct qk_layer *layer, bool all,
    struct qk_layer_weights *out, struct qk_error *err);
void qk_layer_weights_free(struct qk_layer_weights *weights);

/* Reads a norm of n values below the layer (layer >= 0) or of the whole model. A key of the mixer (NULL allowed) counts
 * before that of "forward". The norm is empty when the row has no such key. */
enum qk_code qk_norm_read(const struct qk_parts *parts, const cJSON *mixer, int layer, const char *key,
    size_t n, struct qk_layer_weights *owner, struct qk_norm *norm, struct qk_error *err);
/* out (T, n) = norm of x; a copy without a norm. out may be x. */
void qk_norm_apply(const struct qk_norm *norm, size_t T, size_t n, const float *x, float *out);

/* qkv (T, weights->qkv.n) = norm and projection of x, with the norms of q and k, positions and scaling. For a delta
 * rule it is the projection alone, with beta (T, n_v) = beta_factor sigmoid(beta x), and g (T, n_decay) = its
 * logarithmic decay. */
struct qk_projected {
    float *qkv, *beta, *g;
};
void qk_projected_free(struct qk_projected *projected);

/* Makes the attention of T tokens x that begin their sequence, without mixing. Freed with qk_layer_attention_free. */
enum qk_code qk_layer_look(const struct qk_layer_weights *weights, const float *x, size_t T,
    struct qk_layer_attention *out, struct qk_progress *progress, struct qk_error *err);

/* The callbacks of a layer that runs; zero-initialised: none. `maps` goes with a batch of one sequence
 * (qk_softmax_attention); `rows` lists single queries of any of its sequences, all of which begin at position 0. */
struct qk_layer_watch {
    const struct qk_attention_watch *maps; /* NULL allowed */
    const struct qk_rows *rows;            /* forward/rows.h; NULL allowed */
    void *context;                         /* handed to rows */
};

/* x (T, weights->stream) = the layer's output for x. */
enum qk_code qk_layer_run(const struct qk_layer_weights *weights, float *x, const struct qk_batch *batch,
    struct qk_rope_tables *tables, const struct qk_layer_watch *watch, struct qk_progress *progress,
    struct qk_error *err);

/* Shows rows of attention over inputs x without running the rest of the layer. x is not written. */
enum qk_code qk_layer_show_rows(const struct qk_layer_weights *weights, const float *x,
    const struct qk_batch *batch, struct qk_rope_tables *tables, const struct qk_rows *rows, void *context,
    struct qk_progress *progress, struct qk_error *err);

#endif
