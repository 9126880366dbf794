/* recurrence_internal.h - tokens, products and heads of recurrences (recurrence.c, channel_delta.c, state_space.c). */
#ifndef QK_FORWARD_RECURRENCE_INTERNAL_H
#define QK_FORWARD_RECURRENCE_INTERNAL_H

#include "forward/recurrence.h"

/* s (dv) = state (dk, dv)^T x. */
void qk_state_times(size_t dk, size_t dv, const float *state, const float *x, float *s);
/* state (dk, dv) += k delta^T. */
void qk_state_add(size_t dk, size_t dv, const float *k, const float *delta, float *state);
/* c (n, m) = a (n, k) b, b (k, m) or with `transposed` (m, k). */
void qk_chunk_product(size_t n, size_t m, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
    bool transposed, float *c, size_t ldc);

/* Tokens of a value head, and its gates: row i is `stride` (for g g_stride) behind row i - 1. */
struct qk_gated_tokens {
    size_t n, dk, dv, q_stride, k_stride, v_stride, stride, g_stride, out_stride;
    const float *q, *k, *v, *g, *beta;
    float *out;
};
/* At most QK_CHUNK tokens of value head h from t on. */
struct qk_gated_tokens qk_gated_tokens_of(
    const struct qk_attention *a, const struct qk_gates *gates, size_t h, size_t t);

/* A recurrence over gated tokens. */
struct qk_gated_rule {
    size_t scratch; /* values that a worker needs beside a state */
    /* Runs at most QK_CHUNK tokens of value head h, and moves the state (dk, dv) on. */
    void (*run)(const struct qk_gated_rule *rule, const struct qk_gated_tokens *x, size_t h, float *state,
        float *scratch);
    const float *skip; /* of a state space; else NULL */
};
/* Runs all heads of n sequences, which differ in T and their arrays alone, from and to their states. QK_IO when there
 * is no memory; QK_CANCELLED. */
enum qk_code qk_gated_rule_run(const struct qk_gated_rule *rule, const struct qk_attention *a,
    const struct qk_gates *gates, size_t n, struct qk_error *err);

/* What a chunk of the delta rule with a decay for each channel is made of (channel_delta.c). With c(i, j) and c(i) as
 * there: keys[i][j] = k_i . (c(i, j) * k_j) for j < i, queries[i][j] = q_i . (c(i, j) * k_j) for j <= i and 0 behind,
 * both QK_CHUNK wide; c(i), c(i) * k_i, c(i) * q_i, and c(n, i) * k_i, (n, dk) each. `values` has room for
 * qk_channel_chunk_values floats, and the chunk lives as long. Of x all but v, beta and out is used. */
struct qk_channel_chunk {
    float *keys, *queries, *decay, *keys_from_start, *queries_from_start, *keys_to_end;
};
size_t qk_channel_chunk_values(size_t dk);
struct qk_channel_chunk qk_channel_chunk_make(const struct qk_gated_tokens *x, float *values);

#endif
