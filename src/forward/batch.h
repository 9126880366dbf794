/* batch.h - the new tokens of several sequences, one after another, and the parts of a batch that memory allows. */
#ifndef QK_FORWARD_BATCH_H
#define QK_FORWARD_BATCH_H

#include <stdbool.h>
#include <stddef.h>

struct qk_layer_state; /* forward/layer.h */

/* New tokens of one sequence: rows first .. first + n of x, n at least 1, the first of them at position t0. */
struct qk_sequence {
    size_t first, n, t0;
    struct qk_layer_state *state; /* of this layer: read and moved on; NULL: t0 is 0 and no state is kept */
};
struct qk_batch {
    const struct qk_sequence *sequence; /* n, by first, without gaps */
    size_t n;
    size_t T;         /* rows of x */
    size_t positions; /* above every position */
    bool ends; /* of each sequence only the last row of the output is needed; the others become undefined */
};

/* Cuts the next part of a batch: sequences from number `from` on, as many as have QK_PART_VALUES values of x (T,
 * width) together, one at least. Rows are counted from the part's first, number *row of the batch's x, until
 * qk_batch_put_back. Returns the number of the sequence after the part. */
enum { QK_PART_VALUES = 1 << 24 }; /* what a layer makes of them is a few times as large */
size_t qk_batch_cut(struct qk_sequence *sequence, size_t n, size_t from, size_t width, size_t positions,
    struct qk_batch *part, size_t *row);
void qk_batch_put_back(struct qk_sequence *sequence, size_t from, size_t end, size_t row);

#endif
