/* range.h - attention ranges: histograms of distances, their mean, the mass far away, and the difference of two
 * models' attention. They are sums over blocks of attention, so that memory never holds (T, T). A linear layer has the
 * magnitudes of its coefficients in place of attention, as shares of their sum (forward/rows.h).
 *
 * For the attention a(t, s) of a query t the distance is tau = t - s. Bin 0 is tau = 0, and bin b > 0 is 2^(b-1) <=
 * tau < 2^b; there are as many bins as hold T - 1. A head's numbers are means over the chosen queries, a layer's are
 * means over its heads. The shift of two attentions p and r of a query is their Jensen-Shannon divergence in nats
 * (Lin 1991). It is KL(p | m) / 2 + KL(r | m) / 2 with m = (p + r) / 2, from 0 to ln 2. All sums in float64.
 *
 * A head with a sink (attention.h) gives the tokens less than 1. What the sink takes has no distance: it is in no bin,
 * and adds nothing to the mean and to the mass far away. The divergence counts it as one more place. */
#ifndef QK_RANGE_RANGE_H
#define QK_RANGE_RANGE_H

#include "base/progress.h"
#include "forward/coefficients.h"
#include "model/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qk_patch; /* forward.h */

enum { QK_RANGE_BINS = 33, QK_RANGE_LONG = 128 }; /* bins for T up to 2^32; where long begins by default */

int qk_range_bins(size_t T); /* bins for T tokens (T >= 1) */
int qk_range_bin(size_t distance);
size_t qk_range_bin_first(int bin); /* the least distance of the bin: 0, 1, 2, 4, 8, ... */

/* Which queries count, and which distances are long. Zero-initialised: the second half, and QK_RANGE_LONG. */
enum qk_queries { QK_QUERIES_HALF, QK_QUERIES_ALL, QK_QUERIES_LAST };
struct qk_range_options {
    enum qk_queries queries;
    size_t last;      /* QK_QUERIES_LAST: this many of the last, or all where there are fewer; at least 1 */
    size_t long_from; /* distances from here on are long; 0: QK_RANGE_LONG */
};
/* The first query that counts: T / 2, 0, or T - last. */
size_t qk_range_first_query(const struct qk_range_options *options, size_t T);
/* The blocks of queries that count in a layer of the kind: all those with a chosen query. A linear layer, whose cost is
 * else linear in T, has at most QK_RANGE_LINEAR_BLOCKS of them, in even steps. */
enum { QK_RANGE_LINEAR_BLOCKS = 4 };
size_t qk_range_most_blocks(enum qk_kind kind); /* 0: no limit */
struct qk_block_choice qk_range_blocks(const struct qk_range_options *options, enum qk_kind kind, size_t T);
/* Parses "half", "all" or "last:N". QK_USAGE for anything else. */
enum qk_code qk_queries_parse(const char *text, struct qk_range_options *options, struct qk_error *err);

struct qk_range {
    double mean, long_mass;
    double hist[QK_RANGE_BINS]; /* the first n_bins count; they sum to 1, with a sink to less */
};
/* One layer of one model. */
struct qk_layer_range {
    int n_bins, n_heads; /* n_heads 0: no numbers */
    struct qk_range layer;
    struct qk_range *head; /* n_heads, owned */
};
void qk_layer_range_free(struct qk_layer_range *range);
enum qk_code qk_layer_range_copy(struct qk_layer_range *to, const struct qk_layer_range *from,
    struct qk_error *err); /* to uninitialised */

/* Adds up one layer's blocks. Each has sums of its own, which are added in their order at the end. So blocks may come
 * from any thread, in any order. */
struct qk_range_sum {
    size_t T, first, long_from, n_heads, blocks;
    struct range_part *part; /* (n_heads, blocks), owned */
};
enum qk_code qk_range_sum_init(struct qk_range_sum *sum, const struct qk_range_options *options, size_t T,
    size_t n_heads, struct qk_error *err);
/* Adds a map, whose queries are of one block of QK_ATTENTION_BLOCK; those that do not count are skipped. */
void qk_range_sum_add(struct qk_range_sum *sum, const struct qk_attention_map *map);
enum qk_code qk_range_sum_finish(
    const struct qk_range_sum *sum, struct qk_layer_range *out, struct qk_error *err);
void qk_range_sum_free(struct qk_range_sum *sum);

/* The part of the Jensen-Shannon divergence that comes from n places of two rows, which hold a p[i] and b r[i]. Terms
 * are float32 and never cancel: to 1e-6 of itself, for values that are exact. */
double qk_range_divergence(size_t n, float a, const float *p, float b, const float *r);
/* *mass = sum of the n values of p, and *moment = that of p[i] (farthest - i). */
void qk_range_mass(size_t n, const float *p, size_t farthest, double *mass, double *moment);

/* One model's layer on given inputs. */
struct qk_range_source {
    const struct qk_model *model;
    const struct qk_patch *patch; /* or NULL */
    bool given; /* its attention comes from a pass that runs: source 0 of qk_range_begin alone */
    struct qk_layer_range *range; /* receives the range; NULL where only the shift is needed */
    double *shift; /* receives the divergence of its attention from source 0's, averaged over heads and chosen
                    * queries; NULL allowed */
};
/* Runs layer `layer` of each of the n sources (at most QK_RANGE_SOURCES) on the same inputs x (T, d), by blocks of
 * the chosen queries. The processors share blocks of heads. QK_INPUT when the sources have different numbers of heads.
 * Attention that is not finite gives NaN. progress serves cancellation alone. */
enum qk_code qk_range_layer(const struct qk_range_options *options, int layer, const float *x, size_t T,
    const struct qk_range_source *source, size_t n, struct qk_progress *progress, struct qk_error *err);

/* The same where source 0 is given: the pass that is about to run the layer on x shows its attention to qk_range_see,
 * block by block. That computes the others' blocks beside it. The sources are copied, and x is not needed any more.
 * A failure leaves nothing to end. */
enum { QK_RANGE_SOURCES = 4 };
struct qk_range_run;
enum qk_code qk_range_begin(const struct qk_range_options *options, int layer, const float *x, size_t T,
    const struct qk_range_source *source, size_t n, struct qk_progress *progress, struct qk_range_run **out,
    struct qk_error *err);
/* As a hook of a pass (struct qk_attention_watch). */
void qk_range_see(struct qk_range_run *run, size_t worker, const struct qk_attention_map *map);
/* Writes the results of all sources and frees the run. */
enum qk_code qk_range_end(struct qk_range_run *run, struct qk_error *err);
void qk_range_abandon(struct qk_range_run *run); /* frees it without results; NULL allowed */

#endif
