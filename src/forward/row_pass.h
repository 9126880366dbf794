/* row_pass.h - a pass of many sequences through a network for the attention of a few of their tokens.
 *
 * Sequences pass through a layer together, so each weight is read once. Beside the pass itself only the requested
 * rows are computed: long sequences cost no more than their pass. */
#ifndef QK_FORWARD_ROW_PASS_H
#define QK_FORWARD_ROW_PASS_H

#include "forward/network.h"

#include <stdint.h>

/* Sequences, and their queries whose rows are needed. All borrowed. */
struct qk_row_batch {
    const size_t *length; /* tokens of each of n sequences; at least 1 */
    size_t n;
    const struct qk_row_query *query; /* n_queries, ascending by sequence */
    size_t n_queries;
};

struct qk_row_watch {
    void *context; /* passed to both functions */
    /* Receives row (t + 1 values) of a query head for query number i. Calls come from several threads at once, each
     * (layer, head, i) once. */
    void (*row)(void *context, int layer, size_t head, size_t i, const float *row);
    /* Receives x (sum of lengths, d), the input of the layer, before its rows. NULL allowed. */
    enum qk_code (*state)(void *context, int layer, const float *x, size_t d, struct qk_error *err);
};

/* Shows the rows of every layer with q and k (full, window, linear), in the order of the layers. ids: those of all
 * sequences, one after another. progress (NULL allowed) counts tokens times layers. QK_INPUT as qk_network_layer;
 * QK_IO when there is no memory; QK_CANCELLED. */
enum qk_code qk_row_pass_run(struct qk_network *network, const int32_t *ids, const struct qk_row_batch *batch,
    const struct qk_row_watch *watch, struct qk_progress *progress, struct qk_error *err);

/* Shows rows of one layer of the model under a patch (NULL allowed) over x (sum of lengths, d), its input. It
 * needs no forward pass of their family. QK_INPUT when the family's attention is not known, or a tensor is
 * missing. progress serves cancellation alone. */
enum qk_code qk_row_pass_layer(const struct qk_model *model, const struct qk_patch *patch, int layer,
    const float *x, const struct qk_row_batch *batch, const struct qk_row_watch *watch,
    struct qk_progress *progress, struct qk_error *err);

#endif
