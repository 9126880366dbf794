/* rotation.h - the rotation of a key group that brings post nearest to pre and leaves attention unchanged. */
#ifndef QK_BLEND_ROTATION_H
#define QK_BLEND_ROTATION_H

#include "model/pair.h"

#include <stddef.h>

/* Which rotations leave post's attention unchanged in a layer. */
enum qk_rotation {
    QK_ROTATION_FULL,   /* no positions and equal gains: any rotation of the head */
    QK_ROTATION_PLANES, /* RoPE: one plane rotation per rotated pair, any rotation of the non-rotary tail */
    QK_ROTATION_NONE,   /* gains differ or an elementwise map follows: R = I */
};
/* Finds the form from post's gains; *why (static) gives the reason in a few words. QK_INPUT when they are not
 * numbers. */
enum qk_code qk_rotation_find(const struct qk_pair *pair, int layer, enum qk_rotation *rotation,
    const char **why, struct qk_error *err);

/* r (m, m) = the orthogonal matrix of the given form for which |pre - R post|_F is least. product (m, m) is M = sum
 * of pre post^T. `layer` gives the rotated pairs.
 *   FULL    R = U V^T of M's SVD (Schonemann 1966)
 *   PLANES  for each rotated pair (i, j) the block [[c, -s], [s, c]], angle atan2(M_ji - M_ij, M_ii + M_jj);
 *           the rows after the rotary ones as under FULL, from their own block of M
 *   NONE    R = I
 * QK_INPUT when LAPACK does not converge. */
enum qk_code qk_rotation_solve(enum qk_rotation rotation, const struct qk_layer *layer, const double *product,
    double *r, struct qk_error *err);

/* The rows (i, j) of rotated pair p, p < rotary_dims / 2. */
void qk_rotation_pair(const struct qk_layer *layer, int p, int *i, int *j);

#endif
