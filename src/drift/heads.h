/* heads.h - a source of head views: a file, or a blend made on the fly. */
#ifndef QK_DRIFT_HEADS_H
#define QK_DRIFT_HEADS_H

#include "model/pair.h"

/* One layer's head views. `read` fills (head_dim, d) float64, row-major. One thread uses a source. Callers ask key
 * group by key group: key head g, then its query heads; a query head without keys is its own group. A blend can thus
 * keep what the heads of a group share. */
struct qk_heads {
    const struct qk_pair_layer *layer;
    const char *where; /* the side's name or "current", static: for messages */
    const struct qk_layer
        *named; /* the side whose tensor names messages use: pre and post may have different ones */
    enum qk_code (*read)(
        struct qk_heads *heads, enum qk_role role, int head, double *out, struct qk_error *err);
    /* Reads rows first .. first + n of a head, (n, d), as they are stored, in the named layer's dtypes. NULL where
     * the head views are not stored rows, and `read` alone gives them. */
    enum qk_code (*read_stored)(struct qk_heads *heads, enum qk_role role, int head, size_t first, size_t n,
        void *bytes, struct qk_error *err);
    void (*free)(struct qk_heads *heads); /* frees the source itself; may be called with a failed source */
};

/* Views of a stored checkpoint. With `effective` the q/k norm gains are multiplied into the rows. */
enum qk_code qk_heads_of_model(const struct qk_pair *pair, enum qk_side side, int layer, bool effective,
    struct qk_heads **out, struct qk_error *err);

void qk_heads_free(struct qk_heads *heads); /* NULL allowed */

#endif
