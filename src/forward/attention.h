/* attention.h - causal softmax attention and the two linear recurrences, over blocks of queries. The processors share
 * the heads (base/parallel.h). Float32; the sum of a softmax is float64. */
#ifndef QK_FORWARD_ATTENTION_H
#define QK_FORWARD_ATTENTION_H

#include "base/error.h"
#include "base/progress.h"

#include <stddef.h>

/* One sequence. Rows of q, k and v are tokens; head h starts at column h * head_dim (value_dim for v). */
struct qk_attention {
    size_t T, n_q, n_k, head_dim, value_dim; /* T keys; queries are those of the last tokens */
    size_t first_query;                      /* position of q's first row: queries are first_query <= t < T */
    size_t window; /* 0: whole past; else a query sees itself and the window - 1 tokens before it */
    float scale;   /* of the logits */
    float softcap; /* 0: none; else logits become c tanh(logits / c) */
    const float *q, *k,
        *v; /* (T - first_query, q_stride), (T, k_stride) ...; v NULL: compute the maps only */
    size_t q_stride, k_stride, v_stride;
    float *out; /* (T - first_query, n_q * value_dim); may be NULL when v is */
    /* For the recurrences, whose T tokens all have a query. The state (n_q, head_dim, value_dim) is that behind the
     * tokens before, and moves on to the last of these. NULL: there were no tokens before, and no caller needs the
     * state. */
    float *state;
    struct qk_progress *progress; /* NULL, or the functions below stop once it is cancelled (QK_CANCELLED) */
};

/* Fills p (n, ld), ld >= t0 + n. Row i holds the attention a(t0 + i, s) of one head for s < t0 + n, zeros after the
 * query and before its window. */
void qk_attention_block(const struct qk_attention *a, size_t head, size_t t0, size_t n, float *p, size_t ld);

/* Receives the attention of one head for the queries t0 <= t < t0 + n. Row i of p (n, ld) holds a(t0 + i, s) for s <
 * t0 + n, zeros after the query. A head has one worker, and its calls come in the order of t. Heads come at once from
 * several threads: worker < qk_parallel_workers(n_q), and no two calls at once have the same. NULL: no caller needs
 * the maps. */
typedef void (*qk_attention_seen)(
    void *context, size_t worker, size_t head, size_t t0, size_t n, const float *p, size_t ld);

/* For each of n sequences, which differ in T, first_query and their arrays alone: out = softmax(q k^T scale) v, query
 * block by query block. Memory is one block of QK_QUERY_BLOCK rows of length T, never (T, T). `seen` (NULL allowed)
 * goes with a single sequence alone. QK_IO when there is no memory. */
enum { QK_QUERY_BLOCK = 128 };
enum qk_code qk_softmax_attention(
    const struct qk_attention *a, size_t n, qk_attention_seen seen, void *context, struct qk_error *err);

/* Lightning attention (Qin et al. 2024): out_t = sum_{s<=t} e^(-slope_h (t-s)) scale (q_t . k_s) v_s, in
 * blocks with a (head_dim, value_dim) state between them, of n sequences as above. slope: n_q values. */
enum qk_code qk_lightning_attention(
    const struct qk_attention *a, size_t n, const float *slope, struct qk_error *err);

/* ALiBi's slopes (Press et al. 2022): 2^(-8 (h+1) / n) for n a power of two, its interleaving rule otherwise. */
void qk_alibi_slopes(size_t n, float *slope);

/* Gated delta rule (Yang et al. 2024): per value head, state S (head_dim, value_dim),
 *   S <- e^g S;  d = beta (v - S^T k);  S <- S + k d^T;  out (T, n_q * value_dim) = S^T q.
 * q and k are already normalised and scaled. n_q is the number of value heads, n_k that of key heads; value head h
 * uses key head h / (n_q / n_k). q has n_k heads here, like k. g and beta (T, n_q) are those of each of the n
 * sequences. */
struct qk_gates {
    const float *g, *beta;
};
enum qk_code qk_gated_delta_rule(
    const struct qk_attention *a, const struct qk_gates *gates, size_t n, struct qk_error *err);

#endif
