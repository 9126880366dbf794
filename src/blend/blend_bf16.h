/* blend_bf16.h - a head blended in float32 with the bytes that float64 gives, for bfloat16 on both sides. */
#ifndef QK_BLEND_BLEND_BF16_H
#define QK_BLEND_BLEND_BF16_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* out = weight pre + factor M X, with X = pre - post or post: the form of the modes' formulas. */
struct qk_bf16_blend {
    double weight, factor; /* 0 to 1; -1 to 1 */
    const double *matrix;  /* M (m, m); NULL: the identity */
    bool difference;       /* X = pre - post, else X = post */
};

/* Scratch for heads of m rows, kept from head to head. Zero-initialise, then reserve. */
struct qk_bf16_work {
    size_t m;
    float *block[4], *matrix, *reach;
    double *column;
};
enum qk_code qk_bf16_work_reserve(struct qk_bf16_work *work, size_t m, struct qk_error *err);
void qk_bf16_work_free(struct qk_bf16_work *work);
/* Bytes that reserve asks for. */
size_t qk_bf16_work_bytes(size_t m);

/* pre, post and out: (m, n) bfloat16 of any alignment; out may be one of the other two. The result is that of
 * float64, rounded once to nearest, ties to even. False, with no valid result in out, when a value is not finite, a
 * result does not fit, or sizes are too extreme for float32. */
bool qk_bf16_blend(const struct qk_bf16_blend *blend, size_t n, const void *pre, const void *post, void *out,
    struct qk_bf16_work *work);

#endif
