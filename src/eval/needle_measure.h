/* needle_measure.h - needle masses of a pair: of pre, of post, of post restored, and of post with a selection.
 *
 * qk_needle_measure does all of it once. A session measures the sides once and keeps post's inputs. Then it follows
 * each choice on these, one layer at a time, or runs the whole of post again. */
#ifndef QK_EVAL_NEEDLE_MEASURE_H
#define QK_EVAL_NEEDLE_MEASURE_H

#include "blend/spec.h"
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
void qk_needle_pair_free(struct qk_needle_pair *measured);
void qk_needle_layers_free(struct qk_needle_layer *layers, int n_layers); /* the array, too; NULL allowed */

/* Runs post's layer under the patch of qk_restored_patch_make, as qk_needle_same. A layer that cannot be restored has
 * no numbers afterwards, which is no failure. */
enum qk_code qk_needle_restored(const struct qk_pair *pair, const struct qk_patch *restored, int layer,
    const struct qk_needles *needles, size_t first, size_t n, const float *x, struct qk_progress *progress,
    struct qk_needle_layer *out, struct qk_error *err);

/* Post's inputs of its layers on some of the needles. Zero-initialise; freed with qk_needle_states_free. */
struct qk_needle_states {
    int n_layers;
    size_t *item;              /* needles.n: the number of each among all needles, ascending; owned */
    struct qk_needles needles; /* those that are kept; their arrays belong to the measured ones */
    size_t T, d;               /* tokens of the kept needles, width */
    float **x; /* n_layers: (T, d), or NULL where pre and post have no q and k to compare; owned */
};
void qk_needle_states_free(struct qk_needle_states *states);

/* As qk_needle_measure without a selection. It also keeps post's inputs of as many whole needles as fit into
 * `budget` bytes, evenly among all. *states is freed in any case, and before the needles. */
enum qk_code qk_needle_measure_sides(const struct qk_pair *pair, const struct qk_needles *needles,
    size_t memory, size_t budget, struct qk_progress *progress, struct qk_needle_pair *out,
    struct qk_needle_states *states, struct qk_error *err);
/* *out = the masses of the whole of post with the selection (n_layers; qk_needle_layers_free). Progress counts tokens
 * times layers. */
enum qk_code qk_needle_measure_current(const struct qk_pair *pair, const struct qk_needles *needles,
    const struct qk_selection *selection, bool norms, size_t memory, struct qk_progress *progress,
    struct qk_needle_layer **out, struct qk_error *err);
/* *out = the masses of post's layer with its choices of the selection, on the kept inputs: a column for each kept
 * needle. The layer must have inputs. QK_INPUT when a choice cannot be computed; QK_IO, QK_CANCELLED. */
enum qk_code qk_needle_follow(const struct qk_pair *pair, const struct qk_needle_states *states, int layer,
    const struct qk_selection *selection, bool norms, struct qk_progress *progress,
    struct qk_needle_layer *out, struct qk_error *err);
/* *rows (query heads, query + 1) = the attention of every query head of a side's layer from one token of a kept
 * needle, on post's inputs; the caller frees. `selection` (NULL: none) changes post. */
enum qk_code qk_needle_rows(const struct qk_pair *pair, const struct qk_needle_states *states, size_t kept,
    int layer, enum qk_side side, const struct qk_selection *selection, bool norms, size_t query,
    float **rows, struct qk_error *err);

/* A head of pre with less mass than this fetches nothing. Attention that is spread evenly over a prompt of some
 * hundred tokens has less than a tenth of it. */
#define QK_NEEDLE_FETCHES 0.1
/* The head of the layer with the largest mass in pre, and the one with the largest drop; -1 where the layer has no
 * masses on both sides. */
int qk_needle_largest(const struct qk_needle_pair *measured, int layer);
int qk_needle_largest_drop(const struct qk_needle_pair *measured, int layer);
/* True when a head of pre fetches needles: without one a small drop means nothing. */
bool qk_needle_fetches(const struct qk_needle_pair *measured);

/* *out = what selectors test, n_layers entries: pre's mass and the drop of each head with both. */
enum qk_code qk_needle_numbers(
    const struct qk_needle_pair *measured, struct qk_head_numbers **out, struct qk_error *err);
void qk_needle_numbers_free(struct qk_head_numbers *numbers, int n_layers); /* NULL allowed */

#endif
