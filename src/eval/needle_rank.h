/* needle_rank.h - the query heads of a pair with their needle masses, in an order. */
#ifndef QK_EVAL_NEEDLE_RANK_H
#define QK_EVAL_NEEDLE_RANK_H

#include "eval/needle_measure.h"

/* A query head of a layer: mean masses and their difference, with standard errors over the needles. */
struct qk_needle_head {
    int layer, head;
    struct qk_needle_mean mass[QK_SIDE_COUNT], drop;
};

/* *out = the n query heads of all layers that both sides have numbers of and that can be chosen. The largest drop
 * comes first; equal ones are by layer and head. The caller frees. QK_IO when there is no memory. */
enum qk_code qk_needle_rank(const struct qk_pair *pair, const struct qk_needle_pair *measured,
    struct qk_needle_head **out, size_t *n, struct qk_error *err);

#endif
