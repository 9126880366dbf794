/* drifts.h - the drift of many layers at once. */
#ifndef QK_CLI_DRIFTS_H
#define QK_CLI_DRIFTS_H

#include "drift/drift.h"

/* *out = one entry for each layer of the pair. `threads` workers (0: one a processor) compute those where wanted[i]
 * is set (NULL: all); the others have has_qk = false. It shows progress and can be interrupted (meter.h). The error
 * is that of the lowest failing layer, for any `threads`. Freed with qk_drifts_free. */
enum qk_code qk_drifts_compute(const struct qk_pair *pair, const bool *wanted, bool effective, int threads,
    struct qk_layer_drift **out, struct qk_error *err);
void qk_drifts_free(struct qk_layer_drift *drift, int n_layers); /* NULL allowed */

/* Reports on standard error the layers that cannot be compared, and the tensors with values that are not finite. */
void qk_drifts_warn(const struct qk_pair *pair, const struct qk_layer_drift *drift, const bool *wanted);

/* Sorts the n layers of order by the key of each layer, the largest first; equal ones keep their order. NaN is less
 * than any number. */
void qk_order_by(int *order, int n, const double *key);

#endif
