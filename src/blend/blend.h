/* blend.h - a layer with its choices applied (blend.c, blend_bytes.c, blend_check.c, blend_effect.c): the current
 * model's head views, the bytes of an export, and the check that they can be written.
 *
 * Every value is rounded to post's dtype first, so the drift of the current model is that of the file that export
 * would write. */
#ifndef QK_BLEND_BLEND_H
#define QK_BLEND_BLEND_H

#include "base/progress.h"
#include "blend/layer_choice.h"
#include "drift/heads.h"

/* How a mode acts in a layer, where that depends on the layer. */
struct qk_mode_form {
    int index;        /* which of the mode's forms */
    const char *what; /* "turns whole heads" (static); NULL: the mode acts alike in every layer */
    const char *why;  /* the reason in a few words (static) */
};
enum { QK_MODE_FORMS = 3 }; /* at most */
bool qk_blend_has_forms(enum qk_mode mode);
/* *out = the form of `mode` in this layer of post. It reads tensors; QK_INPUT when their values are not numbers. */
enum qk_code qk_blend_form(
    const struct qk_pair *pair, int layer, enum qk_mode mode, struct qk_mode_form *out, struct qk_error *err);

/* True when the layer's kind of q and k can be in this mode at all. Latent attention allows modes that copy bytes,
 * and other layers all except those that take the latent. A layer of q alone takes no mode that needs k.
 * qk_blend_check reports what else a choice needs. */
bool qk_blend_offers(const struct qk_layer *post, enum qk_mode mode);

/* Which gains of the q/k norms are multiplied into the rows of a view. */
enum qk_gains {
    QK_GAINS_NONE,
    QK_GAINS_POST,   /* post's, as an export without `norms` leaves them */
    QK_GAINS_CHOSEN, /* those that an export with `norms` writes */
};

/* The layer's views with these choices applied (q's and k's), rounded to post's dtype. Layer must have q and
 * k. QK_INPUT through read() when a result does not fit the dtype or an input is not finite. */
enum qk_code qk_heads_of_blend(const struct qk_pair *pair, int layer, const struct qk_layer_choice *choice,
    enum qk_gains gains, struct qk_heads **out, struct qk_error *err);

/* The choice that acts on one part of a head: its rows of the weight, their bias, or its gain of the q/k norm. The
 * mode's file decides which (mode.h); an edge is resolved as by qk_choice_effect. Heads that share a gain leave it as
 * it is unless their choices have the same effect on it. */
enum qk_part { QK_PART_WEIGHT, QK_PART_BIAS, QK_PART_GAIN, QK_PART_COUNT };
struct qk_choice qk_blend_effect(const struct qk_layer *post, const struct qk_layer_choice *choice,
    enum qk_role role, enum qk_part part, int head);
/* True when the role has one gain of head_dim values for all its heads. */
bool qk_blend_shares_gain(const struct qk_layer *post, enum qk_role role);

/* Writes the changed bytes of one role into `bytes`, the whole of post's weight tensor with post's bytes, and those
 * of its bias into `bias_bytes`. Either may be NULL. restore copies pre's bytes when the dtypes are equal and
 * converts otherwise. Rows that belong to no head view of the role stay as they are. progress serves cancellation
 * alone. QK_INPUT names the tensor when a blend's input is not finite, its result does not fit post's dtype, or a
 * dtype is not readable. */
enum qk_code qk_blend_role(const struct qk_pair *pair, int layer, enum qk_role role,
    const struct qk_layer_choice *choice, void *bytes, void *bias_bytes, struct qk_progress *progress,
    struct qk_error *err);

/* The rows of the slice that a head owns: *length from *first on. False when the heads share the slice. */
bool qk_blend_slice_rows(const struct qk_layer *post, enum qk_role role, const struct qk_slice *slice,
    int head, uint64_t *first, uint64_t *length);
/* True when heads that own rows of the slice have different choices, so that each takes its own rows. */
bool qk_blend_splits_slice(const struct qk_layer *post, const struct qk_layer_choice *choice,
    enum qk_role role, const struct qk_slice *slice);
/* True when the choices take this head's rows of a slice from pre, or all rows of a slice that heads share. A shared
 * slice is taken when every head takes it. qk_blend_check allows views of slices only choices that copy bytes. */
bool qk_blend_takes_slice(const struct qk_layer *post, const struct qk_layer_choice *choice,
    enum qk_role role, const struct qk_slice *slice, int head);

/* Copies the rows that the choices take of slice number `slice` of the role from pre into `bytes`, the whole of
 * post's tensor; converts where the dtypes differ. QK_INPUT as qk_blend_role. */
enum qk_code qk_blend_slice(const struct qk_pair *pair, int layer, enum qk_role role,
    const struct qk_layer_choice *choice, int slice, void *bytes, struct qk_error *err);

/* The most bytes that qk_blend_role allocates for this layer of post. */
size_t qk_blend_memory(const struct qk_layer *post);

/* qk_blend_role for the gain of the role's q/k norm: the whole of post's norm tensor, which `bytes` holds
 * (for the `norms` option). QK_INPUT when pre has no such tensor of that size. */
enum qk_code qk_blend_gain(const struct qk_pair *pair, int layer, enum qk_role role,
    const struct qk_layer_choice *choice, void *bytes, struct qk_error *err);

/* QK_INPUT when the choice needs a dtype that cannot be read or written, or when a head is chosen alone whose rows
 * are not whole blocks of scales. It reports before any write what qk_blend_role would find, and reads no tensor
 * data. */
enum qk_code qk_blend_check(const struct qk_pair *pair, int layer, const struct qk_layer_choice *choice,
    bool norms, struct qk_error *err);

#endif
