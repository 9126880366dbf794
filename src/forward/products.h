/* products.h - the blocks of a batch's rows, and products of all rows with weights by tiles that the processors share.
 *
 * A tile is a block of rows of one sequence by a range of columns. Its size depends on the length of the sequence
 * alone. So no result depends on the number of threads or on the other sequences. */
#ifndef QK_FORWARD_PRODUCTS_H
#define QK_FORWARD_PRODUCTS_H

#include "forward/batch.h"
#include "forward/ops.h"

#include "base/progress.h"

struct qk_projection {
    float *weight, *bias; /* (n, k), (n) or NULL; weight NULL: no projection */
    size_t n, k;
};

/* Rows row .. row + n of a batch, from the sequence `sequence` on: of one sequence, or of sequences that have a single
 * row each. */
struct qk_block {
    size_t row, n, sequence;
    size_t tokens; /* new tokens of its sequence: 1 for single rows */
};
struct qk_blocks {
    struct qk_block *block; /* owned */
    size_t n;
};
/* Cuts a batch into blocks of at most `most` rows, or into those of tiles (most 0). Freed with qk_blocks_free. */
enum qk_code qk_blocks_cut(
    const struct qk_batch *batch, size_t most, struct qk_blocks *out, struct qk_error *err);
void qk_blocks_free(struct qk_blocks *blocks);

/* What becomes of y = x p^T + bias, tile by tile. */
enum qk_product_use {
    QK_PRODUCT_SET,      /* out = y */
    QK_PRODUCT_ACTIVATE, /* out = f(y) */
    QK_PRODUCT_GATE,     /* out *= f(y) */
};
struct qk_product {
    const struct qk_projection *p;
    const float *x; /* (rows, p->k) */
    float *out;     /* (rows, p->n), rows `ld` apart */
    size_t ld;
    enum qk_product_use use;
    enum qk_activation activation; /* f */
    const struct qk_product *then; /* done next on the same tile, or NULL; its projection has as many rows */
};

/* Does n products (those without a weight are left out) for blocks first <= i < end. `row` is the row of the batch at
 * which every x and out begins. Every tile is an item of one loop. QK_CANCELLED, or QK_IO without memory. */
enum qk_code qk_products_run(const struct qk_blocks *blocks, size_t first, size_t end, size_t row,
    const struct qk_product *product, size_t n, struct qk_progress *progress, struct qk_error *err);

#endif
