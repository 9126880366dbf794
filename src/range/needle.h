/* needle.h - needle mass: the share of a head's attention that goes from an answer to the place where it was read.
 *
 * A needle is a prompt with its answer behind it (teacher forced); the answer's tokens are in the prompt once before.
 * For answer token j, t_j is the position whose output is that token, and s_j the position of the same token in the
 * prompt. The mass of a head on a needle is the mean over j of a(t_j, s_j) + a(t_j, s_j - 1): the token itself and
 * the one before. It is the smooth form of the retrieval score (Wu et al. 2024, arXiv 2404.15574). That score,
 * `copies`, is the share of answer tokens whose largest attention is at s_j. Rows are those of forward/rows.h, so
 * linear layers have masses of their normalised coefficients. */
#ifndef QK_RANGE_NEEDLE_H
#define QK_RANGE_NEEDLE_H

#include "forward/network.h"
#include "forward/row_pass.h"
#include "range/range.h"

struct qk_needle {
    int32_t *ids; /* T: prompt and answer without its last token; owned */
    size_t T, n_answer;
    size_t *query, *place; /* t_j and s_j, n_answer each, t_j ascending; owned */
};
struct qk_needles {
    struct qk_needle *item; /* n, owned */
    size_t n, capacity;
};

/* Appends a needle of prompt ids (n_prompt, at least 1) and answer ids (n_answer, at least 1). The answer is at
 * `place` of the prompt. QK_IO when there is no memory. */
enum qk_code qk_needles_add(struct qk_needles *needles, const int32_t *prompt, size_t n_prompt,
    const int32_t *answer, size_t n_answer, size_t place, struct qk_error *err);
void qk_needles_free(struct qk_needles *needles);

/* Frees the needles whose entry of keep (n) is false, and closes the gaps. */
void qk_needles_keep(struct qk_needles *needles, const bool *keep);

/* The place of the n_answer ids in the prompt's ids, or SIZE_MAX; *times is how often they are there. */
size_t qk_needle_find(
    const int32_t *prompt, size_t n_prompt, const int32_t *answer, size_t n_answer, size_t *times);

/* Distance in tokens from the first answer token's query back to its place in the prompt. */
size_t qk_needle_distance(const struct qk_needle *needle);

/* The bins of distances (qk_range_bin) that some needle has: *first to *last. False, and an empty range from 0,
 * without needles. */
bool qk_needle_bins(const struct qk_needles *needles, int *first, int *last);

/* One layer of one model. */
struct qk_needle_layer {
    int n_heads;      /* 0: no numbers */
    size_t n_needles; /* columns */
    double *mass;     /* (n_heads, n_needles): mean over the answer's tokens, 0 to 1; owned */
    double *copies;   /* (n_heads, n_needles): share of answer tokens, 0 to 1; owned */
};
void qk_needle_layer_free(struct qk_needle_layer *layer);
/* Removes the columns whose entry of keep (n_needles) is false. */
void qk_needle_layer_keep(struct qk_needle_layer *layer, const bool *keep);

/* A mean over needles with the standard error of the mean (NaN for a single needle). */
struct qk_needle_mean {
    double mean, error;
};
struct qk_needle_mean qk_needle_mass(const struct qk_needle_layer *layer, int head);
struct qk_needle_mean qk_needle_copies(const struct qk_needle_layer *layer, int head);
/* The mean of `from`'s mass minus `to`'s on the same needles; its error is that of the paired differences. */
struct qk_needle_mean qk_needle_drop(
    const struct qk_needle_layer *from, const struct qk_needle_layer *to, int head);
/* The mean over the *n needles whose distance is in the bin (qk_range_bin); NaN without any. */
struct qk_needle_mean qk_needle_mass_at(
    const struct qk_needles *needles, const struct qk_needle_layer *layer, int head, int bin, size_t *n);

/* Receives x (sum of the group's T, d), the input of a layer for the needles first <= i < first + n, before
 * qk_needle_run runs it. An error ends the run. */
struct qk_needle_watch {
    void *context;
    enum qk_code (*state)(
        void *context, int layer, size_t first, size_t n, const float *x, size_t d, struct qk_error *err);
};

/* Runs all needles through the network and fills out (n_layers, zeroed; the caller frees each) for its layers with q
 * and k. Needles go in groups of at most QK_NEEDLE_TOKENS tokens, or of one. watch and progress may be NULL; progress
 * counts tokens times layers. QK_INPUT, QK_IO, QK_CANCELLED. */
enum { QK_NEEDLE_TOKENS = 1 << 14 };
enum qk_code qk_needle_run(struct qk_network *network, const struct qk_needles *needles,
    const struct qk_needle_watch *watch, struct qk_progress *progress, struct qk_needle_layer *out,
    struct qk_error *err);

/* Runs one layer of the model under a patch (NULL allowed) over its input x: sum of T of the needles first <= i <
 * first + n, d. It sets the columns of these needles in out, which it makes when out has no heads yet. */
enum qk_code qk_needle_same(const struct qk_model *model, const struct qk_patch *patch, int layer,
    const struct qk_needles *needles, size_t first, size_t n, const float *x, struct qk_progress *progress,
    struct qk_needle_layer *out, struct qk_error *err);

/* *rows (query heads, query + 1) = the attention of the layer's query heads from one token of a sequence whose input
 * is x (query + 1, d) at least; the caller frees. */
enum qk_code qk_needle_attention(const struct qk_model *model, const struct qk_patch *patch, int layer,
    const float *x, size_t query, float **rows, struct qk_error *err);

#endif
