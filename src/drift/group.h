/* group.h - the numbers of one key group of a layer, its key head and the query heads that use it, for drift.c.
 *
 * Float32 serves where it is good enough, and float64 where a bound says that it is not. An orthogonal factorisation
 * serves where Gram matrices in float64 do not suffice. All three give the same numbers to 1e-5. */
#ifndef QK_DRIFT_GROUP_H
#define QK_DRIFT_GROUP_H

#include "drift/drift.h"

/* Sums over heads, from which a role's numbers follow, scaled by 4^exponent. */
struct qk_head_sums {
    double aa, bb, ae, ee, angle_sum, angle_max;
    int angle_heads;
    int exponent;
    bool known;     /* a head was not all zeros: the exponent counts */
    bool undefined; /* a head held values that are not finite */
};

struct qk_group_sums {
    struct qk_head_sums role[QK_ROLE_COUNT];
    double routing_base, routing_moved; /* scaled by 4^(both exponents) */
    size_t not_finite;                  /* values */
    int fault_side;                     /* of the first of them */
    enum qk_role fault_role;
    int fault_head;
};

/* Adds the sums of other heads, after bringing both to one exponent. */
void qk_head_sums_add(struct qk_head_sums *to, const struct qk_head_sums *from);

/* rel_fro, cosine and norm_ratio of the sums; NaN where they are not defined. */
void qk_head_sums_ratios(
    const struct qk_head_sums *sums, double *rel_fro, double *cosine, double *norm_ratio);

/* Computes group g of the layer of these sides: fills the heads in out, which drift.c allocated, and *sums. QK_IO,
 * QK_CANCELLED. progress counts heads read, two a head. */
enum qk_code qk_drift_group(struct qk_heads *const side[2], int g, enum qk_drift_stage stage,
    struct qk_drift_work *work, struct qk_progress *progress, struct qk_layer_drift *out,
    struct qk_group_sums *sums, struct qk_error *err);

#endif
