/* needle_measure.h - needle masses of a pair: of pre, of post, of post restored, and of post with a selection. */
#ifndef QK_EVAL_NEEDLE_MEASURE_H
#define QK_EVAL_NEEDLE_MEASURE_H

#include "blend/selection.h"
#include "range/needle.h"

/* Each is an array of n_layers of the pair's, owned; a layer without numbers has no heads. */
struct qk_needle_pair {
    int n_layers;
    struct qk_needle_layer *side[QK_SIDE_COUNT]; /* each on its own inputs */
    struct qk_needle_layer *restored;            /* post's layer with pre's q and k, on post's inputs */
    struct qk_needle_layer *current;             /* the whole of post with the selection; NULL without one */
};

/* Runs the needles through pre, post and, unless selection is NULL, post with it. `memory`: bytes of weights held
 * between groups of needles. progress (NULL allowed) counts tokens times layers of all passes. QK_INPUT when a side
 * has no forward pass. *out is freed with qk_needle_pair_free, also after a failure. */
enum qk_code qk_needle_measure(const struct qk_pair *pair, const struct qk_needles *needles,
    const struct qk_selection *selection, bool norms, size_t memory, struct qk_progress *progress,
    struct qk_needle_pair *out, struct qk_error *err);
/* Runs the needles through post with the selection, and nothing else: of *out only n_layers and current are set. The
 * rest as above. */
enum qk_code qk_needle_measure_current(const struct qk_pair *pair, const struct qk_needles *needles,
    const struct qk_selection *selection, bool norms, size_t memory, struct qk_progress *progress,
    struct qk_needle_pair *out, struct qk_error *err);
void qk_needle_pair_free(struct qk_needle_pair *measured);

#endif
