/* lineage.h - numbers for the first layers of post, and of post with selections.
 *
 * Models that begin with the same layers have the same numbers as far. What more than one model computes is worth
 * keeping (forward/kept.h): post's layers, and what a second model asks for. */
#ifndef QK_EVAL_LINEAGE_H
#define QK_EVAL_LINEAGE_H

#include "base/digest.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct qk_lineage;

enum qk_code qk_lineage_open(struct qk_lineage **out, struct qk_error *err);
/* NULL allowed. */
void qk_lineage_close(struct qk_lineage *lineage);

/* Follows a model through its layers. change[l] is the digest of what changes layer l, "" where it is post's.
 * number[l], 0 <= l <= n_layers, becomes the number of the layers before l with their changes. shared[l] becomes true
 * where these layers are post's, or an earlier model had them. */
enum qk_code qk_lineage_follow(struct qk_lineage *lineage, size_t n_layers,
    const char (*change)[QK_DIGEST_TEXT], size_t *number, bool *shared, struct qk_error *err);

#endif
