/* drifts.h - the drift of many layers at once. */
#ifndef QK_CLI_DRIFTS_H
#define QK_CLI_DRIFTS_H

#include "drift/drift.h"

/* *out = one entry a layer of the pair, computed by `threads` workers (0: one a processor) where wanted[i] is
 * set (NULL: all); the others have has_qk = false. Shows progress and can be interrupted (meter.h). The error
 * is the lowest failing layer's, whatever `threads` is. Freed with qk_drifts_free. */
enum qk_code qk_drifts_compute(const struct qk_pair *pair, const bool *wanted, bool effective, int threads,
    struct qk_layer_drift **out, struct qk_error *err);
void qk_drifts_free(struct qk_layer_drift *drift, int n_layers); /* NULL allowed */

/* Says on standard error which layers cannot be compared, and which tensors hold values that are not finite. */
void qk_drifts_warn(const struct qk_pair *pair, const struct qk_layer_drift *drift, const bool *wanted);

/* Puts the n layers of order by the key of each layer, the largest first; equal ones stay as they are.
 * NaN is less than anything. */
void qk_order_by(int *order, int n, const double *key);

#endif
