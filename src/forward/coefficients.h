/* coefficients.h - the attention of all queries of a linear layer, in blocks like those of softmax attention.
 *
 * A row of such a map is that of forward/rows.h: the magnitudes of the coefficients c(t, s) of o_t = sum_s c(t, s)
 * v_s, divided by their sum, and for a query head the mean over the value heads that share it. A block of queries goes
 * back over its keys by matrix products. That takes time for each query and key, unlike the layer itself. Float32;
 * rows sum up in float64. */
#ifndef QK_FORWARD_COEFFICIENTS_H
#define QK_FORWARD_COEFFICIENTS_H

#include "forward/rows.h"

/* The heads that have rows: those of q. */
size_t qk_past_heads(const struct qk_row_past *past);

/* The map of n <= QK_ATTENTION_BLOCK queries from t0, a multiple of it, in `values`, which has room for
 * qk_past_map_values floats. The past is that of a single sequence, of any kind. Keys before the window of the map have
 * less than 1e-9 of each row. A row without any coefficient is zero. */
struct qk_attention_map qk_past_map_make(
    const struct qk_row_past *past, size_t head, size_t t0, size_t n, float *values);
size_t qk_past_map_values(const struct qk_row_past *past);

/* Shows the watcher the maps of a linear layer; softmax attention shows its own, while it mixes (qk_softmax_attention).
 * The processors share heads and blocks. QK_IO when there is no memory, QK_CANCELLED. */
enum qk_code qk_past_maps_show(const struct qk_row_past *past, const struct qk_attention_watch *watch,
    struct qk_progress *progress, struct qk_error *err);

#endif
