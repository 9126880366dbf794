/* recurrence.h - the mixers of linear layers: lightning attention and delta rules, by chunks of tokens. The processors
 * share the heads of all sequences. Float32. */
#ifndef QK_FORWARD_RECURRENCE_H
#define QK_FORWARD_RECURRENCE_H

#include "forward/attention.h"

#include <stdbool.h>

/* Lightning attention (Qin et al. 2024): out_t = sum_{s<=t} e^(-slope_h (t-s)) scale (q_t . k_s) v_s, in
 * blocks with a (head_dim, value_dim) state between them, of n sequences as above. slope: n_q values. */
enum qk_code qk_lightning_attention(
    const struct qk_attention *a, size_t n, const float *slope, struct qk_error *err);

/* Tokens of a chunk. */
enum { QK_CHUNK = 64 };

/* ALiBi's slopes (Press et al. 2022): 2^(-8 (h+1) / n) for n a power of two, its interleaving rule otherwise. */
void qk_alibi_slopes(size_t n, float *slope);

/* Gated delta rule (Yang et al. 2024): per value head, state S (head_dim, value_dim),
 *   S <- e^g S;  d = beta (v - S^T k);  S <- S + k d^T;  out (T, n_q * value_dim) = S^T q.
 * q and k are already normalised and scaled. n_q is the number of value heads, n_k that of key heads; value head h
 * uses key head h / (n_q / n_k). q has n_k heads here, like k. g and beta (T, n_q) are those of each of the n
 * sequences. */
struct qk_gates {
    const float *g, *beta;
    bool channels; /* g is (T, n_q * head_dim), and e^g scales the rows of S (qk_channel_delta_rule) */
};
/* For a chunk of n <= QK_CHUNK tokens with the gates g, `stride` apart: decay[i * QK_CHUNK + j] = e^(g_(j+1) + ... +
 * g_i) for j <= i, and from_start[i] = e^(g_0 + ... + g_i). Each is the exponential of a sum of its own, so that none
 * overflows, and a strong decay takes no digits from those after it. */
void qk_chunk_decay(size_t n, const float *g, size_t stride, float *decay, float from_start[QK_CHUNK]);
enum qk_code qk_gated_delta_rule(
    const struct qk_attention *a, const struct qk_gates *gates, size_t n, struct qk_error *err);

/* The same with a decay for each channel of k (channel_delta.c), Kimi Delta Attention (Kimi Team 2025):
 *   S <- diag(e^g) S;  d = beta (v - S^T k);  S <- S + k d^T;  out = S^T q. */
enum qk_code qk_channel_delta_rule(
    const struct qk_attention *a, const struct qk_gates *gates, size_t n, struct qk_error *err);

#endif
