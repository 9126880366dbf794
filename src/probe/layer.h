/* layer.h - one layer of a forward pass: its weights in float32, and what it does to the activations.
 *
 * Activations x (T, d), row-major, one row a token. What a layer does token by token is done in blocks of
 * QK_TOKEN_BLOCK tokens, shared out among the processors; whole rows of T are kept of q, k, v and the mixer's
 * output alone, so memory beside x is (T, width of [q; k; v] + heads * value_dim). */
#ifndef QK_PROBE_LAYER_H
#define QK_PROBE_LAYER_H

#include "probe/attention.h"
#include "probe/ops.h"
#include "probe/parts.h"

enum { QK_TOKEN_BLOCK = 128 };

struct qk_norm {
    float *gain, *bias; /* (n); gain NULL: there is no norm */
    size_t n;
    bool layer;   /* layer norm, else RMS */
    float offset; /* 1 when a gain w acts as 1 + w */
    double eps;
};
struct qk_projection {
    float *weight, *bias; /* (n, k), (n) or NULL; weight NULL: there is none */
    size_t n, k;
};

struct qk_layer_weights {
    const struct qk_layer *layer;
    size_t d, n_q, n_k, head_dim; /* n_q query heads, n_k key heads */
    size_t n_out, value_dim;      /* heads and their width of the mixer's output */
    size_t n_v;                   /* heads of v: n_k, or n_out of a delta rule */
    struct qk_norm mixer_norm, mixer_post_norm, mlp_norm, mlp_post_norm, q_norm, k_norm, o_norm;
    struct qk_projection qkv; /* rows of all q heads, all k heads, all v heads (these may be left out) */
    float scale, softcap;
    float query_factor, query_log; /* q *= query_factor, and ln(t + query_log) / ln(query_log) unless 0 */
    float rope_factor;             /* of the cosines and sines */
    float *frequency;              /* (rotary_dims / 2) or NULL */
    bool has_o_gate, delta, parallel;
    enum qk_activation gate_activation, activation;
    struct qk_projection gate, o, beta, alpha, kernel_in, kernel_out, mlp_gate, mlp_up, mlp_down;
    float *conv, *decay_log,
        *decay_bias; /* delta: conv (q, k and v channels, conv_width) or NULL; (n_v) each */
    size_t conv_width;
    void **owned; /* every array above */
    size_t n_owned, capacity;
};

/* Reads a layer: with `all` whole, else what its attention from given inputs needs. QK_INPUT names a tensor
 * that is missing or has another shape. Freed with qk_layer_weights_free, also after a failure. */
enum qk_code qk_layer_weights_read(const struct qk_parts *parts, const struct qk_layer *layer, bool all,
    struct qk_layer_weights *out, struct qk_error *err);
void qk_layer_weights_free(struct qk_layer_weights *weights);

/* Reads a norm of n values below the layer (layer >= 0) or of the whole model; none when the row has no such
 * key. */
enum qk_code qk_norm_read(const struct qk_parts *parts, int layer, const char *key, size_t n,
    struct qk_layer_weights *owner, struct qk_norm *norm, struct qk_error *err);
/* out (T, n) = norm of x; a copy when there is none. out may be x. */
void qk_norm_apply(const struct qk_norm *norm, size_t T, size_t n, const float *x, float *out);

/* Angles that several layers share; zero-initialise. */
struct qk_rope_tables {
    struct {
        float *frequency, *cosines, *sines;
        size_t pairs;
        float factor;
    } table[4];
    size_t n;
};
/* cos and sin (T, pairs) of a layer, made when no layer before it had its frequencies. NULL without RoPE. */
enum qk_code qk_rope_tables_find(struct qk_rope_tables *tables, const struct qk_layer_weights *weights,
    size_t T, const float **cosines, const float **sines, struct qk_error *err);
void qk_rope_tables_free(struct qk_rope_tables *tables);

/* qkv (T, weights->qkv.n) = norm and projection of x, with the norms of q and k, positions and scaling; of a
 * delta rule the projection alone, and beta (T, n_v) = sigmoid(beta x), g (T, n_v) = its logarithmic decay.
 */
struct qk_projected {
    float *qkv, *beta, *g;
};
enum qk_code qk_layer_project(const struct qk_layer_weights *weights, const float *x, size_t T,
    struct qk_rope_tables *tables, struct qk_projected *out, struct qk_progress *progress,
    struct qk_error *err);
void qk_projected_free(struct qk_projected *projected);
/* The attention over what was projected. */
struct qk_attention qk_layer_attention_of(const struct qk_layer_weights *weights, const float *qkv, size_t T);

/* x = what the layer makes of x. seen: as in qk_softmax_attention. */
enum qk_code qk_layer_run(const struct qk_layer_weights *weights, float *x, size_t T,
    struct qk_rope_tables *tables, qk_attention_seen seen, void *context, struct qk_progress *progress,
    struct qk_error *err);

#endif
