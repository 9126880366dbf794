/* products.h - the blocks of a batch's rows, and products of all rows with weights by tiles that the processors share.
 *
 * A tile is a block of rows of one sequence by a range of columns. Its borders are fixed positions of the sequence. So
 * no result depends on the number of threads or on the other sequences. Nor does it depend on whether a sequence comes
 * at once or in parts, where the parts end at borders. Few rows have loops of their own (forward/row_products.h). */
#ifndef QK_FORWARD_PRODUCTS_H
#define QK_FORWARD_PRODUCTS_H

#include "forward/batch.h"
#include "forward/ops.h"

#include "base/progress.h"
#include "tensor/dtype.h"

/* Weights stay as the file has them: few rows take them so (forward/row_products.h), and tiles of more rows widen
 * theirs on their way into the product. */
struct qk_projection {
    void *weight; /* (n, k) of `dtype`; NULL: no projection */
    float *bias;  /* (n) or NULL */
    size_t n, k;
    enum qk_dtype dtype; /* QK_F32, QK_BF16 or QK_F16 */
    bool rounds;         /* of bfloat16: tiles of several rows round theirs to it, too (linalg/gemm.h) */
};

/* Row number `row` of the weights. */
void *qk_projection_row(const struct qk_projection *p, size_t row);
/* Rows first .. first + n of a projection as one of their own; without rows it has no weight. It borrows the arrays. */
struct qk_projection qk_projection_rows(const struct qk_projection *p, size_t first, size_t n);

/* Rows row .. row + n of a batch, from the sequence `sequence` on: of one sequence, or of sequences that have a single
 * row each. */
struct qk_block {
    size_t row, n, sequence;
    size_t position; /* of the first row in its sequence */
    bool single;     /* it has one row, or single rows of several sequences */
};
struct qk_blocks {
    struct qk_block *block; /* owned */
    size_t n;
};
/* Cuts a batch into blocks of at most `most` rows, or into those of tiles (most 0). They end at fixed positions of the
 * sequence: multiples of `most`, which divides those of tiles. Freed with qk_blocks_free. */
enum qk_code qk_blocks_cut(
    const struct qk_batch *batch, size_t most, struct qk_blocks *out, struct qk_error *err);
void qk_blocks_free(struct qk_blocks *blocks);

/* The last border of tiles at or before a position. */
size_t qk_tile_border(size_t position);

/* qk_linear for rows of the block by weights in float32; with qk_row_products where it is single. */
void qk_block_linear(const struct qk_block *block, size_t k, size_t n, const float *x, const float *weight,
    const float *bias, float *out, size_t ld);

/* What becomes of y = x p^T + bias, tile by tile. */
enum qk_product_use {
    QK_PRODUCT_SET,      /* out = y */
    QK_PRODUCT_ACTIVATE, /* out = f(y) */
    QK_PRODUCT_GATE,     /* out *= f(y) */
    QK_PRODUCT_ADD,      /* out += y */
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

/* A product, and the blocks of rows that it is of. */
struct qk_products {
    const struct qk_product *product;
    const struct qk_block *block; /* n_blocks */
    size_t n_blocks;
};
/* Does n products; those without a weight are left out. `row` is the row of the blocks at which every x and out
 * begins. Every tile is an item of one loop. QK_CANCELLED, or QK_IO without memory. */
enum qk_code qk_products_run(const struct qk_products *products, size_t n, size_t row,
    struct qk_progress *progress, struct qk_error *err);

#endif
