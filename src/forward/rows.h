/* rows.h - the attention of single queries, in softmax and in linear layers.
 *
 * A row holds a(t, s), the weight of the token at s for the query at t, for 0 <= s <= t; it sums to 1. In a softmax
 * layer it is the row of the attention map. A linear layer has coefficients instead: o_t = sum_s c(t, s) v_s, and
 * a(t, s) = |c(t, s)| / sum_r |c(t, r)|.
 *   lightning attention:  c(t, s) = e^(-slope (t - s)) q_t . k_s
 *   gated delta rule:     c(t, s) = beta_s k_s . w_s,  w_t = q_t,  w_(s-1) = e^(g_s) (w_s - beta_s k_s (k_s . w_s)),
 * Where each channel has a decay, e^(g_s) goes channel by channel (Kimi Team 2025).
 * This is o_t = S_t^T q_t with S_t = e^(g_t) (I - beta_t k_t k_t^T) S_(t-1) + beta_t k_t v_t^T (Yang et al. 2024),
 * unrolled backwards. Coefficients are summed in float64. A query head that several value heads share has the mean of
 * their rows. */
#ifndef QK_FORWARD_ROWS_H
#define QK_FORWARD_ROWS_H

#include "forward/recurrence.h"

/* A query of a batch: the token at position t of its sequence. */
struct qk_row_query {
    size_t sequence, t;
};

struct qk_rows {
    const struct qk_row_query *query; /* n */
    size_t n;
    /* Receives row (t + 1 values) of a head for query number i. Rows come from several threads at once, each (head,
     * i) once. A row is valid until the function returns. */
    void (*show)(void *context, size_t head, size_t i, const float *row);
};

/* n sequences, each from position 0 on, with one of three kinds of attention. Softmax attention has neither gates nor
 * slope, the delta rule has gates (one a sequence), and lightning attention has slope (n_q). */
struct qk_row_past {
    const struct qk_attention *a; /* one a sequence */
    const struct qk_gates *gates;
    const float *slope;
    size_t n;
};

/* Shows the rows of every query head. QK_IO when there is no memory, QK_CANCELLED. */
enum qk_code qk_rows_show(const struct qk_row_past *past, const struct qk_rows *rows, void *context,
    struct qk_progress *progress, struct qk_error *err);

#endif
