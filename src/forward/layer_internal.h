/* layer_internal.h - a layer that runs over the rows of a batch (qkv_run.c: its queries, keys and values).
 *
 * A layer is a mixer over time (forward/mixer.h) and an MLP (forward/feed_forward.h), each with its norms. layer_run.c
 * does what all layers share. */
#ifndef QK_FORWARD_LAYER_INTERNAL_H
#define QK_FORWARD_LAYER_INTERNAL_H

#include "base/parallel.h"
#include "forward/layer_reading.h"

/* The data that the functions of rows share. Arrays of a group begin at the batch's row `group`. */
struct qk_run {
    const struct qk_layer_weights *w;
    const struct qk_batch *batch;
    struct qk_run *beside; /* of w->beside; NULL: none */
    float *x;
    struct qk_blocks tiles, rows; /* rows: blocks of QK_ROW_BLOCK, into which those of tiles divide */
    const float *cosines, *sines;
    struct qk_projected p;
    float *joined;                  /* delta: the input of the convolution, each sequence behind its tail */
    float *low_q, *low_kv;          /* latent, of a group: (rows, rank of q), (rows, rank) */
    float *values;                  /* delta with kernels made of the input: v after the convolution */
    float *mixed;                   /* (T, n_out * value_dim) */
    size_t group, first_block;      /* the first row of the group, and its number in `rows` */
    float *normed, *added, *hidden; /* of a group: (rows, d), (rows, d), (rows, width of the MLP) */
    float *scratch;                 /* `size` a worker */
    size_t size;
};
enum { QK_ROW_BLOCK = 16 };

/* A group of rows: those of tiles first <= i < end. It bounds the memory of what exists for its rows alone. */
struct qk_group {
    size_t first, end, row, n;
};

enum qk_code qk_run_begin(struct qk_run *run, struct qk_error *err);
void qk_run_end(struct qk_run *run);
/* Moves on to the next group, of as many rows as have a bounded number of values of this width, one tile at least.
 * False behind the last. qk_run_group_rows: the most rows that a group has. */
bool qk_run_next_group(struct qk_run *run, size_t width, struct qk_group *group);
size_t qk_run_group_rows(const struct qk_run *run, size_t width);
/* Calls `item` for every block of rows of the group, or of the batch (with scratch of so many floats a worker).
 * qk_run_block is the block of an item. */
enum qk_code qk_run_for_group(struct qk_run *run, const struct qk_group *group, qk_parallel_item item,
    struct qk_progress *progress, struct qk_error *err);
enum qk_code qk_run_for_blocks(struct qk_run *run, qk_parallel_item item, size_t floats,
    struct qk_progress *progress, struct qk_error *err);
const struct qk_block *qk_run_block(const struct qk_run *run, size_t item);
/* Position of the block's row i. *run_length (NULL allowed) rows from it on, at most to the block's end, have
 * consecutive positions. */
size_t qk_run_position(const struct qk_run *run, const struct qk_block *block, size_t i, size_t *run_length);
/* All rows of the batch as one group. */
struct qk_group qk_run_whole(struct qk_run *run);
enum qk_code qk_run_products(const struct qk_run *run, const struct qk_group *group,
    const struct qk_product *product, size_t n, struct qk_progress *progress, struct qk_error *err);
/* out (rows of the block, p->n) = a projection of x that is in float32. */
void qk_run_project(const struct qk_projection *p, const struct qk_block *block, const float *x, float *out);
/* Item: a block of the group. normed = the mixer's norm of x. */
void qk_run_norm_rows(void *context, size_t item, size_t worker);
/* Norm, in place, of `heads` blocks of hd columns in rows that follow each other at ld: each, or all together. */
void qk_norm_heads(const struct qk_norm *norm, size_t n, size_t heads, size_t hd, size_t ld, float *x);

#endif
