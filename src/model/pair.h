/* pair.h - pre and post side by side, matched by (layer, role), never by tensor name. */
#ifndef QK_MODEL_PAIR_H
#define QK_MODEL_PAIR_H

#include "model/model.h"

enum qk_side { QK_PRE, QK_POST, QK_SIDE_COUNT };
const char *qk_side_name(enum qk_side side); /* "pre" "post" */

struct qk_pair_layer {
    int index;
    enum qk_kind kind;                          /* post's */
    const struct qk_layer *side[QK_SIDE_COUNT]; /* borrowed from the models */
    bool has_qk;                                /* both sides have q, and k unless no_k, of one geometry */
    const char *no_k; /* NULL, or why the layer has q alone on both sides; borrowed */
    char *problem;    /* owned; NULL, or why the layer cannot be compared or chosen, one line */
    char *fixed;      /* owned; NULL, or why it can be compared, but not chosen, one line */
};

struct qk_pair {
    struct qk_model *model[QK_SIDE_COUNT]; /* owned */
    struct qk_pair_layer *layer;
    int n_layers;
};

/* Opens both checkpoints; a post that is an adapter's folder is pre with the adapter merged. QK_INPUT when
 * nothing can be paired: the layer counts differ, or no layer has q and k on both sides. A single layer that
 * does not fit gets a `problem` (shapes, kinds, head counts: found and expected) and the rest stays usable.
 * Freed with qk_pair_close. */
enum qk_code qk_pair_open(const char *pre, const char *post, struct qk_pair **out, struct qk_error *err);
void qk_pair_close(struct qk_pair *pair);

/* *out = the notes of both checkpoints (tensor/checkpoint.h), pre's first. An adapter's base is pre, whose notes are
 * then those of both and stand once. The caller frees the list, on failure too. */
enum qk_code qk_pair_notes(const struct qk_pair *pair, struct qk_lines *out, struct qk_error *err);

/* QK_IO when a file of pre or post changed after it was opened: what was read in between may be of neither state. */
enum qk_code qk_pair_unchanged(const struct qk_pair *pair, struct qk_error *err);

#endif
