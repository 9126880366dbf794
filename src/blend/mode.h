/* mode.h - the operations of a mode of the table (choice.h) on the numbers of a role.
 *
 * The rows of a head are a matrix (m, n): m is head_dim, n the width d of the layer. A mode gets the values of pre and
 * post as float64, all finite. What it returns is rounded to post's dtype afterwards. */
#ifndef QK_BLEND_MODE_H
#define QK_BLEND_MODE_H

#include "blend/blend.h"
#include "blend/blend_bf16.h"

struct qk_blend_heads; /* blend_internal.h */

struct qk_mode_ops {
    struct qk_mode_info info;

    /* The choice that acts on one part of a role. NULL: the choice itself. */
    struct qk_choice (*part)(struct qk_choice choice, enum qk_role role, enum qk_part part);

    /* a, when every value becomes (1 - a) post + a pre and nothing else happens. NULL: the mode is not linear. Files
     * for other tools and the factors of an adapter can hold linear modes only. */
    double (*alpha)(double param);

    /* What the heads of a key group share. prepare allocates *state as one block, which free() frees; prepare_group
     * fills it for a group. Both may use b->pre and b->post as scratch. NULL: the mode has no state. QK_INPUT when
     * the layer's numbers allow no result. */
    enum qk_code (*prepare)(struct qk_blend_heads *b, void **state, struct qk_error *err);
    enum qk_code (*prepare_group)(struct qk_blend_heads *b, void *state, int group, struct qk_error *err);

    /* out (m, columns) from pre and post (m, columns): the rows of a head, or its bias as one column. post may be
     * overwritten; out overlaps neither. NULL: no part of a role is computed. */
    void (*blend)(const struct qk_blend_heads *b, const void *state, double param, size_t columns,
        const double *pre, double *post, double *out);

    /* *out = the same for float32. False when the state allows no such form. NULL: there is no such form. */
    bool (*bf16)(const void *state, double param, struct qk_bf16_blend *out);

    /* out = the blended gains of a q/k norm, n values; out may be pre or post. NULL: `part` leaves no gains to the
     * mode. */
    void (*gain)(double param, size_t n, const double *pre, const double *post, double *out);

    /* The form that the mode takes in a layer (blend.h). NULL: the mode acts alike in every layer. */
    enum qk_code (*form)(
        const struct qk_pair *pair, int layer, struct qk_mode_form *out, struct qk_error *err);
};

#define QK_MODE_DECLARATION(id, ops) extern const struct qk_mode_ops ops;
QK_MODES(QK_MODE_DECLARATION)
#undef QK_MODE_DECLARATION

const struct qk_mode_ops *qk_mode_ops(enum qk_mode mode);

#endif
