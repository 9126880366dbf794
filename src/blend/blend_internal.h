/* blend_internal.h - the shared part of a blend's files: its heads (blend.c), the bytes that are written for them
 * (blend_bytes.c), and what is checked before (blend_check.c). */
#ifndef QK_BLEND_BLEND_INTERNAL_H
#define QK_BLEND_BLEND_INTERNAL_H

#include "blend/blend.h"
#include "blend/blend_bf16.h"
#include "blend/mode.h"

struct qk_blend_heads {
    struct qk_heads base;
    const struct qk_pair *pair;
    const struct qk_layer *side[QK_SIDE_COUNT];
    struct qk_layer_choice choice;
    size_t m, n;                  /* head_dim, d */
    int per_group;                /* query heads that share a key head */
    double *pre, *post;           /* (m, n) */
    double *column;               /* m: scratch for bias entries */
    double *gains[QK_ROLE_COUNT]; /* the factors of the rows; NULL: none */
    void *state[QK_MODE_COUNT];   /* of each mode that is in use and has one; owned */
    int group[QK_MODE_COUNT];     /* the key group that the state belongs to; -1: none yet */
    struct qk_bf16_work bf16;     /* reserved where it can be used */
};

/* Opens the heads of a layer under these checked choices, without gains. The caller frees. QK_IO; QK_INPUT as the
 * modes' prepare (mode.h). */
enum qk_code qk_blend_heads_new(const struct qk_pair *pair, int layer, const struct qk_layer_choice *choice,
    struct qk_blend_heads **out, struct qk_error *err);

/* Frees a struct qk_blend_heads by its base. */
void qk_blend_heads_free(struct qk_heads *heads);

/* Fills the state of a mode for the key group of a head, and overwrites b->pre and b->post. The state is valid until
 * a call for another group. */
enum qk_code qk_blend_prepare(
    struct qk_blend_heads *b, enum qk_mode mode, enum qk_role role, int head, struct qk_error *err);

/* Reads one head of one side into out (m, n), or of both sides into b->pre and b->post. QK_INPUT unless all values
 * are finite. */
enum qk_code qk_blend_read_finite(const struct qk_blend_heads *b, enum qk_side side, enum qk_role role,
    int head, double *out, struct qk_error *err);
enum qk_code qk_blend_read_both(
    const struct qk_blend_heads *b, enum qk_role role, int head, struct qk_error *err);

/* The exponent of 2 that brings the largest |x| of n values near 1; 0 for zeros. */
int qk_blend_exponent(size_t n, const double *x);
/* Multiplies n values of x by 2^exponent. */
void qk_blend_scale(size_t n, double *x, int exponent);

/* Computes the blended head in post's dtype: raw (m, n), which may be pre's buffer. values (m, n) is scratch. */
enum qk_code qk_blend_round_head(
    struct qk_blend_heads *b, enum qk_role role, int head, double *values, void *raw, struct qk_error *err);

/* Rounds n values to post's dtype of `tensor` into raw; QK_INPUT when one does not fit. */
enum qk_code qk_blend_round(const struct qk_pair *pair, const struct qk_tensor *tensor, size_t n,
    const double *values, void *raw, struct qk_error *err);

/* The number of gains of a q/k norm: one head's, or all heads', in a row or as a (heads, head_dim) matrix. */
size_t qk_blend_gain_values(const struct qk_tensor *norm);

/* QK_INPUT unless all n values of one head in the tensor, or of all (-1), are finite. */
enum qk_code qk_blend_check_finite(const struct qk_model *model, const struct qk_tensor *tensor,
    enum qk_role role, int head, size_t n, const double *values, struct qk_error *err);

/* True when the role's slices that all heads share are taken from pre; `latent`: those that make values, too. */
bool qk_blend_takes_shared(const struct qk_layer_choice *choice, enum qk_role role, bool latent);

/* True when the tensors have the same known dtype, so that bytes can be copied. */
bool qk_blend_same_dtype(const struct qk_tensor *a, const struct qk_tensor *b);
/* True when this holds for both sides' weights of the role, and their rows have the same orientation. */
bool qk_blend_copies_weight(const struct qk_pair_layer *layer, enum qk_role role);

/* QK_INPUT when the tensor's dtype is not readable. */
enum qk_code qk_blend_fail_unreadable(
    const struct qk_checkpoint *checkpoint, const struct qk_tensor *tensor, struct qk_error *err);

#endif
