/* attention.h - causal softmax attention, over blocks of queries and tiles of keys. The processors share the work
 * (base/parallel.h). Float32; the sum of a softmax is float64. */
#ifndef QK_FORWARD_ATTENTION_H
#define QK_FORWARD_ATTENTION_H

#include "base/error.h"
#include "base/progress.h"

#include <stddef.h>

/* One sequence. Rows of q, k and v are tokens; head h starts at column h * head_dim (value_dim for v). */
struct qk_attention {
    size_t T, n_q, n_k, head_dim, value_dim; /* T keys; queries are those of the last tokens */
    size_t first_query;                      /* position of q's first row: queries are first_query <= t < T */
    size_t window; /* 0: whole past; else a query sees itself and the window - 1 tokens before it */
    float scale;   /* of the logits */
    float softcap; /* 0: none; else logits become c tanh(logits / c) */
    const float
        *sinks; /* (n_q) or NULL: a logit that takes part in the softmax of each query and has no value */
    const float *q, *k,
        *v; /* (T - first_query, q_stride), (T, k_stride) ...; v NULL: compute the maps only */
    size_t q_stride, k_stride, v_stride;
    float *out; /* (T - first_query, n_q * value_dim); may be NULL when v is */
    /* For the recurrences (recurrence.h), whose T tokens all have a query. The state (n_q, head_dim, value_dim) is that
     * behind the tokens before, and moves on to the last of these. NULL: there were no tokens before, and no caller
     * needs the state. */
    float *state;
    struct qk_progress *progress; /* NULL, or the functions below stop once it is cancelled (QK_CANCELLED) */
};

/* The first key that the query at t sees. */
static inline size_t qk_first_key(size_t window, size_t t)
{
    return window != 0 && t + 1 > window ? t + 1 - window : 0;
}

/* row (t + 1) = the attention a(t, s) of one head from one query; zeros before its window. It sums to 1, or with a
 * sink to 1 less what the sink takes. */
void qk_attention_row(const struct qk_attention *a, size_t head, size_t t, float *row);

/* The attention of one head for the queries t0 <= t < t0 + n, before the last division:
 *   a(t0 + i, s) = p[i * ld + s] * factor[i * blocks + s / QK_ATTENTION_BLOCK]  for qk_first_key(window, t) <= s <= t.
 * Other values of p and factor are not set. Blocks of queries and those of keys with one factor are as long. Of a head
 * with a sink, sink[i] is what the sink takes of query t0 + i. */
enum { QK_ATTENTION_BLOCK = 128 };
struct qk_attention_map {
    size_t head, t0, n, window;
    const float *p;
    size_t ld;
    const float *factor;
    size_t blocks;
    const float *sink; /* (n), or NULL */
};

/* Makes the map of n <= QK_ATTENTION_BLOCK queries in `values`, which has room for qk_attention_map_values(a->T)
 * floats. The map lives as long. t0 is a multiple of QK_ATTENTION_BLOCK. */
struct qk_attention_map qk_attention_map_make(
    const struct qk_attention *a, size_t head, size_t t0, size_t n, float *values);
size_t qk_attention_map_values(size_t T);
size_t qk_attention_blocks(size_t T); /* of T queries, or keys */

/* The blocks of queries that are looked at: those with a query t >= from, or `most` of them in even steps. */
struct qk_block_choice {
    size_t T, from, first, among, n; /* n of the `among` blocks from number `first` on */
};
/* most 0: all of them. */
struct qk_block_choice qk_choose_blocks(size_t T, size_t from, size_t most);
/* The number of chosen block i < choice->n; it rises with i. */
size_t qk_chosen_block(const struct qk_block_choice *choice, size_t i);
/* The queries t >= from of all chosen blocks. */
size_t qk_chosen_queries(const struct qk_block_choice *choice);

/* Who looks on. */
struct qk_attention_watch {
    /* Receives the attention of one head for QK_ATTENTION_BLOCK queries from a multiple of it on (the last block has
     * fewer), where one of them is not before `from`. Blocks come in any order, at once from several threads. worker <
     * qk_parallel_workers(n_q * qk_attention_blocks(T)), and no two calls at once have the same. NULL: nobody needs the
     * maps. Queries are cut into blocks as for a watcher, so `out` has the same bits. */
    void (*seen)(void *context, size_t worker, const struct qk_attention_map *map);
    void *context;
    size_t from;
    size_t
        most; /* of a linear layer (forward/coefficients.h): as many blocks, those of qk_choose_blocks; 0: all */
};

/* For each of n sequences, which differ in T, first_query and their arrays alone: out = softmax(q k^T scale) v. The
 * processors share heads and blocks of queries. Memory is a tile a worker; for a watcher it is a block of
 * QK_ATTENTION_BLOCK rows of length T. It is never (T, T). watch (NULL allowed) goes with a single sequence alone, all
 * of whose tokens have queries. QK_IO when there is no memory. */
enum qk_code qk_softmax_attention(
    const struct qk_attention *a, size_t n, const struct qk_attention_watch *watch, struct qk_error *err);

#endif
