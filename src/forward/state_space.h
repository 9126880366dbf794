/* state_space.h - the recurrence of Mamba2 layers, by chunks of tokens. The processors share the heads of all
 * sequences. Float32. */
#ifndef QK_FORWARD_STATE_SPACE_H
#define QK_FORWARD_STATE_SPACE_H

#include "forward/recurrence.h"

/* State-space duality (Dao & Gu 2024): per head h, state S (head_dim, value_dim),
 *   S <- e^(g_t) S + beta_t k_t v_t^T;  out_t = S^T q_t + skip_h v_t.
 * q is their C and k their B, which groups of heads share: head h uses h / (n_q / n_k), and q has n_k heads, like k. v
 * has n_q heads, beta (T, n_q) is the step, and g (T, n_q) the step times A, at most 0. skip (n_q) is D, or NULL. For
 * each of n sequences, which differ in T and their arrays alone. */
enum qk_code qk_state_space(const struct qk_attention *a, const struct qk_gates *gates, const float *skip,
    size_t n, struct qk_error *err);

#endif
