/* blend.h - a layer with its choices applied (blend.c, blend_bytes.c, blend_check.c): the current model's head
 * views, the bytes that an export writes, and whether they can be written.
 *
 * Formulas (design section 4), S = stored rows of one head:
 *   lerp a        (1-a) post + a pre
 *   qk-pro l      K = pre
 *                 Q = post + G (G + l t I)^-1 (pre - post), G = S_K S_K^T of pre, t = trace(G)/head_dim
 *   procrustes a  (1-a) R post + a pre, R by enum qk_rotation, one R a key group, from M = sum over the
 *                 group's key head and query heads of pre post^T (Schonemann 1966)
 * qk-pro is computed as pre - D (pre - post), D = l (G/t + l I)^-1, from the eigenvalues of G/t instead of by
 * Cholesky: nothing is lost as l -> 0, and a singular G needs no special case. A key head of zeros (t = 0)
 * has no direction to put back: Q = post. Where both sides are bfloat16 most values come from float32, with
 * the bits that float64 gives (blend_bf16.h).
 *
 * Every value is rounded to post's dtype before it is handed out, so drift of the current model is the drift of
 * the file that export would write. */
#ifndef QK_BLEND_BLEND_H
#define QK_BLEND_BLEND_H

#include "base/progress.h"
#include "blend/choice.h"
#include "drift/heads.h"

/* Which rotations leave post's attention unchanged in this layer. */
enum qk_rotation {
    QK_ROTATION_FULL,   /* no positions, no gains in the way: any rotation of the head */
    QK_ROTATION_PLANES, /* RoPE: one plane rotation per rotated pair, any rotation of the non-rotary tail */
    QK_ROTATION_NONE,   /* gains differ or an elementwise map follows: R = I, procrustes equals lerp */
};
/* Reads post's gains to decide; *why (static text) says why in a few words. */
enum qk_code qk_blend_rotation(const struct qk_pair *pair, int layer, enum qk_rotation *rotation,
    const char **why, struct qk_error *err);

/* True when the layer's kind of q and k can be in this mode at all: latent attention knows keep, restore and
 * restore-latent, the others everything but the last; without keys there is neither qk-pro nor procrustes,
 * which turns queries and keys together. What else a choice needs, qk_blend_check tells. */
bool qk_blend_offers(const struct qk_pair_layer *layer, enum qk_mode mode);

/* Which gains of the q/k norms are multiplied into the rows of a view. */
enum qk_gains {
    QK_GAINS_NONE,
    QK_GAINS_POST,   /* post's, as an export without `norms` leaves them */
    QK_GAINS_CHOSEN, /* those that an export with `norms` writes */
};

/* The layer's views with these choices applied (q's and k's), rounded to post's dtype. Layer must have q and
 * k. QK_INPUT through read() when a result does not fit the dtype or an input is not finite. */
enum qk_code qk_heads_of_blend(const struct qk_pair *pair, int layer,
    const struct qk_choice choice[QK_ROLE_COUNT], enum qk_gains gains, struct qk_heads **out,
    struct qk_error *err);

/* What a role's choice comes to for one part of it: its rows of the weight, their bias, the gain of its q/k
 * norm. restore-latent is restore, and says of no part more than qk_blend_takes_slice does. Of qk-pro, k's
 * parts are restored, q's bias and gain kept; gains are never turned, so procrustes is lerp for them; and
 * what qk_choice_effect says. */
enum qk_part { QK_PART_WEIGHT, QK_PART_BIAS, QK_PART_GAIN, QK_PART_COUNT };
struct qk_choice qk_blend_effect(
    const struct qk_choice choice[QK_ROLE_COUNT], enum qk_role role, enum qk_part part);

/* Writes the changed bytes of one role into `bytes`, the whole of post's weight tensor (already holding
 * post's bytes), and of its bias into `bias_bytes`; either may be NULL and is then left out. restore copies
 * pre's bytes when the dtypes are equal and converts otherwise. Rows that belong to no head view of the role
 * stay untouched. progress is only asked whether to stop. QK_INPUT names the tensor when an input of a blend
 * is not finite, a result does not fit post's dtype, or a dtype cannot be computed with. */
enum qk_code qk_blend_role(const struct qk_pair *pair, int layer, enum qk_role role,
    const struct qk_choice choice[QK_ROLE_COUNT], void *bytes, void *bias_bytes, struct qk_progress *progress,
    struct qk_error *err);

/* True when this choice of the role takes this slice from pre (views of slices know keep, restore and
 * restore-latent alone, which is all that qk_blend_check lets through). */
bool qk_blend_takes_slice(
    const struct qk_choice choice[QK_ROLE_COUNT], enum qk_role role, const struct qk_slice *slice);

/* Copies slice number `slice` of the role from pre into `bytes`, the whole of post's tensor; converts where
 * the dtypes differ. QK_INPUT as qk_blend_role. */
enum qk_code qk_blend_slice(
    const struct qk_pair *pair, int layer, enum qk_role role, int slice, void *bytes, struct qk_error *err);

/* Bytes that qk_blend_role holds at most beside what it is given, for this layer of post. */
size_t qk_blend_memory(const struct qk_layer *post);

/* qk_blend_role for the gain of the role's q/k norm: the whole of post's norm tensor, which `bytes` holds
 * (for the `norms` option). QK_INPUT when pre has no such tensor of that size. */
enum qk_code qk_blend_gain(const struct qk_pair *pair, int layer, enum qk_role role,
    const struct qk_choice choice[QK_ROLE_COUNT], void *bytes, struct qk_error *err);

/* QK_INPUT when the choice needs a dtype that cannot be computed with or written: what qk_blend_role would
 * find, told before anything is written. Reads no tensor data. */
enum qk_code qk_blend_check(const struct qk_pair *pair, int layer,
    const struct qk_choice choice[QK_ROLE_COUNT], bool norms, struct qk_error *err);

#endif
