/* blend_internal.h - what the files of a blend share: its heads (blend.c), the bytes that are written for them
 * (blend_bytes.c), and what is checked before (blend_check.c). */
#ifndef QK_BLEND_BLEND_INTERNAL_H
#define QK_BLEND_BLEND_INTERNAL_H

#include "blend/blend.h"
#include "blend/blend_bf16.h"
#include "blend/rotation.h"

struct qk_blend_heads {
    struct qk_heads base;
    const struct qk_pair *pair;
    const struct qk_layer *side[QK_SIDE_COUNT];
    struct qk_choice choice[QK_ROLE_COUNT];
    size_t m, n;   /* head_dim, d */
    int per_group; /* query heads that share a key head */
    enum qk_rotation rotation;
    double *pre, *post;           /* (m, n) */
    double *column;               /* m: scratch for bias entries */
    double *gains[QK_ROLE_COUNT]; /* what the rows are multiplied by; NULL: by nothing */
    int group;                    /* what the next two belong to; -1: nothing yet */
    double *turn;                 /* (m, m) R of the key group, for procrustes */
    double *damping;              /* (m, m) D of the key head, for qk-pro */
    bool no_keys;                 /* the key head is all zeros: qk-pro keeps post's queries */
    struct qk_bf16_work bf16;     /* reserved where it can be used */
};

/* The heads of a layer under these choices, whose check has passed; gains are left out. The caller frees.
 * QK_IO; QK_INPUT as of rotation.h. */
enum qk_code qk_blend_heads_new(const struct qk_pair *pair, int layer,
    const struct qk_choice choice[QK_ROLE_COUNT], struct qk_blend_heads **out, struct qk_error *err);

/* Frees a struct qk_blend_heads by its base. */
void qk_blend_heads_free(struct qk_heads *heads);

/* What the heads of a key group share; kept until another group is asked for. */
enum qk_code qk_blend_prepare_group(struct qk_blend_heads *b, int group, struct qk_error *err);

/* out (m, columns) = (1-a) R post + a pre for any number of columns: rows of weights, or a bias. */
void qk_blend_turn(const struct qk_blend_heads *b, double alpha, size_t columns, const double *pre,
    const double *post, double *out);

/* out = (1-a) post + a pre, n values; out may be one of them. */
void qk_blend_lerp(double alpha, size_t n, const double *pre, const double *post, double *out);

/* The blended head in post's dtype: raw (m, n), which may be pre's buffer. values (m, n) is scratch. */
enum qk_code qk_blend_round_head(
    struct qk_blend_heads *b, enum qk_role role, int head, double *values, void *raw, struct qk_error *err);

/* Rounds n values to post's dtype of `tensor` into raw; QK_INPUT when one does not fit. */
enum qk_code qk_blend_round(const struct qk_pair *pair, const struct qk_tensor *tensor, size_t n,
    const double *values, void *raw, struct qk_error *err);

/* Of a q/k norm: one head's gain, or all heads', in a row or as a (heads, head_dim) matrix. */
size_t qk_blend_gain_values(const struct qk_tensor *norm);

/* QK_INPUT unless all n values are finite: those of one head in the tensor, or of all (-1). */
enum qk_code qk_blend_check_finite(const struct qk_model *model, const struct qk_tensor *tensor,
    enum qk_role role, int head, size_t n, const double *values, struct qk_error *err);

/* The tensors have the same known dtype: bytes can be copied. */
bool qk_blend_same_dtype(const struct qk_tensor *a, const struct qk_tensor *b);
/* So do both sides' weights of the role, and their rows lie the same way. */
bool qk_blend_copies_weight(const struct qk_pair_layer *layer, enum qk_role role);

/* QK_INPUT: the tensor's dtype is none whose values are read. */
enum qk_code qk_blend_fail_unreadable(
    const struct qk_checkpoint *checkpoint, const struct qk_tensor *tensor, struct qk_error *err);

#endif
