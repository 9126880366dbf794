/* range.c - sums over distances, the divergence of two attentions, and one layer of several models at once. */
#include "range/range.h"

#include "base/mem.h"
#include "base/parallel.h"
#include "forward/forward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- bins and queries --- */

int qk_range_bin(size_t distance)
{
    int bin = 0;
    for (; distance > 0; distance >>= 1)
        bin++;
    return bin < QK_RANGE_BINS ? bin : QK_RANGE_BINS - 1;
}

int qk_range_bins(size_t T)
{
    return T == 0 ? 0 : qk_range_bin(T - 1) + 1;
}

size_t qk_range_bin_first(int bin)
{
    return bin <= 0 ? 0 : (size_t)1 << (bin - 1);
}

size_t qk_range_first_query(const struct qk_range_options *options, size_t T)
{
    if (options->queries == QK_QUERIES_ALL)
        return 0;
    if (options->queries == QK_QUERIES_LAST)
        return options->last < T ? T - options->last : 0;
    return T / 2;
}

enum qk_code qk_queries_parse(const char *text, struct qk_range_options *options, struct qk_error *err)
{
    if (strcmp(text, "half") == 0) {
        options->queries = QK_QUERIES_HALF;
        return QK_OK;
    }
    if (strcmp(text, "all") == 0) {
        options->queries = QK_QUERIES_ALL;
        return QK_OK;
    }
    enum { MOST_DIGITS = 9 };
    const char *digits = strncmp(text, "last:", 5) == 0 ? text + 5 : "";
    size_t n = strspn(digits, "0123456789");
    long last = n > 0 && n <= MOST_DIGITS && digits[n] == '\0' ? strtol(digits, NULL, 10) : 0;
    if (last < 1)
        return qk_fail(
            err, QK_USAGE, "--queries: unknown queries (found '%s', expected half, all or last:N)", text);
    options->queries = QK_QUERIES_LAST;
    options->last = (size_t)last;
    return QK_OK;
}

/* --- results --- */

void qk_layer_range_free(struct qk_layer_range *range)
{
    free(range->head);
    memset(range, 0, sizeof *range);
}

enum qk_code qk_layer_range_copy(
    struct qk_layer_range *to, const struct qk_layer_range *from, struct qk_error *err)
{
    *to = *from;
    to->head = NULL;
    if (from->n_heads == 0)
        return QK_OK;
    QK_TRY(qk_alloc(&to->head, (size_t)from->n_heads, sizeof *to->head, err));
    memcpy(to->head, from->head, (size_t)from->n_heads * sizeof *to->head);
    return QK_OK;
}

/* --- sums --- */

struct range_head {
    size_t queries;
    double moment, long_mass, hist[QK_RANGE_BINS];
};

enum qk_code qk_range_sum_init(struct qk_range_sum *sum, const struct qk_range_options *options, size_t T,
    size_t n_heads, struct qk_error *err)
{
    *sum = (struct qk_range_sum){.T = T,
        .n_heads = n_heads,
        .first = qk_range_first_query(options, T),
        .long_from = options->long_from > 0 ? options->long_from : QK_RANGE_LONG};
    return qk_alloc(&sum->head, n_heads, sizeof *sum->head, err);
}

void qk_range_sum_free(struct qk_range_sum *sum)
{
    free(sum->head);
    sum->head = NULL;
}

/* Adds up the mass of the n values of p, the first of which is `farthest` away, and their mass times distance. It has
 * four lanes, so that an addition need not wait for the one before it. */
static void add_run(const float *p, size_t n, size_t farthest, double *mass, double *moment)
{
    enum { LANES = 4 };
    double m[LANES] = {0}, w[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) {
            double value = p[i + j];
            m[j] += value;
            w[j] += value * (double)(farthest - i - j);
        }
    for (; i < n; i++) {
        m[0] += p[i];
        w[0] += p[i] * (double)(farthest - i);
    }
    *mass = (m[0] + m[1]) + (m[2] + m[3]);
    *moment += (w[0] + w[1]) + (w[2] + w[3]);
}

/* Adds one query at t, by runs of distances that share a bin and a side of long_from. */
static void add_query(struct range_head *head, const float *row, size_t t, size_t long_from)
{
    for (size_t near = 0; near <= t;) {
        int bin = qk_range_bin(near);
        size_t end = bin == 0 ? 1 : 2 * qk_range_bin_first(bin);
        if (near < long_from && long_from < end)
            end = long_from;
        if (end > t + 1)
            end = t + 1;
        double mass;
        add_run(row + (t + 1 - end), end - near, end - 1, &mass, &head->moment);
        head->hist[bin] += mass;
        if (near >= long_from)
            head->long_mass += mass;
        near = end;
    }
    head->queries++;
}

void qk_range_sum_add(struct qk_range_sum *sum, size_t head, size_t t0, size_t n, const float *p, size_t ld)
{
    for (size_t i = 0; i < n; i++)
        if (t0 + i >= sum->first)
            add_query(&sum->head[head], p + i * ld, t0 + i, sum->long_from);
}

enum qk_code qk_range_sum_finish(
    const struct qk_range_sum *sum, struct qk_layer_range *out, struct qk_error *err)
{
    *out = (struct qk_layer_range){.n_bins = qk_range_bins(sum->T), .n_heads = (int)sum->n_heads};
    QK_TRY(qk_alloc(&out->head, sum->n_heads, sizeof *out->head, err));
    double heads = (double)sum->n_heads;
    for (size_t h = 0; h < sum->n_heads; h++) {
        const struct range_head *from = &sum->head[h];
        struct qk_range *to = &out->head[h];
        double queries = (double)from->queries;
        to->mean = from->moment / queries;
        to->long_mass = from->long_mass / queries;
        out->layer.mean += to->mean / heads;
        out->layer.long_mass += to->long_mass / heads;
        for (int b = 0; b < out->n_bins; b++) {
            to->hist[b] = from->hist[b] / queries;
            out->layer.hist[b] += to->hist[b] / heads;
        }
    }
    return QK_OK;
}

/* --- a layer of several models --- */

enum { MOST_SOURCES = 4 };

struct layer_run {
    size_t T, n, n_heads;
    const struct qk_range_source *source;
    struct qk_layer_attention made[MOST_SOURCES];
    struct qk_range_sum sum[MOST_SOURCES];
    double *divergence; /* (n, n_heads) sums over queries */
    float *scratch;     /* n blocks (QK_QUERY_BLOCK, T) a worker */
    struct qk_progress *progress;
};

/* One worker has a head from its first query to its last, so that sums do not depend on the number of workers. */
static void run_head(void *context, size_t head, size_t worker)
{
    struct layer_run *run = context;
    size_t T = run->T, block = QK_QUERY_BLOCK * T;
    float *p = run->scratch + worker * run->n * block;
    for (size_t t0 = run->sum[0].first; t0 < T; t0 += QK_QUERY_BLOCK) {
        size_t n = T - t0 < QK_QUERY_BLOCK ? T - t0 : QK_QUERY_BLOCK;
        if (qk_progress_check(run->progress, NULL) != QK_OK)
            return;
        for (size_t i = 0; i < run->n; i++) {
            qk_attention_block(&run->made[i].attention, head, t0, n, p + i * block, T);
            if (run->source[i].range != NULL)
                qk_range_sum_add(&run->sum[i], head, t0, n, p + i * block, T);
            for (size_t j = 0; run->source[i].shift != NULL && j < n; j++)
                run->divergence[i * run->n_heads + head] +=
                    qk_range_divergence(p + i * block + j * T, p + j * T, t0 + j + 1);
        }
    }
}

static enum qk_code run_heads(struct layer_run *run, struct qk_error *err)
{
    QK_TRY(qk_alloc_aligned(&run->scratch, qk_parallel_workers(run->n_heads) * run->n,
        QK_QUERY_BLOCK * run->T * sizeof *run->scratch, err));
    qk_parallel_for(run->n_heads, run_head, run, run->progress);
    return qk_progress_check(run->progress, err);
}

static enum qk_code make_sources(struct layer_run *run, const struct qk_range_options *options, int layer,
    const float *x, size_t n, struct qk_error *err)
{
    for (; run->n < n; run->n++) {
        const struct qk_range_source *source = &run->source[run->n];
        struct qk_layer_attention *made = &run->made[run->n];
        QK_TRY(qk_layer_attention_make(source->model, source->patch, layer, x, run->T, made, err));
        if (run->n == 0)
            run->n_heads = made->attention.n_q;
        if (made->attention.n_q != run->n_heads) {
            qk_fail(err, QK_INPUT, "layer %d: other numbers of query heads (found %zu, expected %zu)", layer,
                made->attention.n_q, run->n_heads);
            qk_layer_attention_free(made);
            return QK_INPUT;
        }
        enum qk_code code = qk_range_sum_init(&run->sum[run->n], options, run->T, run->n_heads, err);
        if (code != QK_OK) {
            qk_layer_attention_free(made);
            return code;
        }
    }
    return qk_alloc(&run->divergence, n * run->n_heads, sizeof *run->divergence, err);
}

static enum qk_code finish(const struct layer_run *run, struct qk_error *err)
{
    const struct qk_range_source *source = run->source;
    for (size_t i = 0; i < run->n; i++) {
        double sum = 0;
        for (size_t h = 0; h < run->n_heads; h++)
            sum += run->divergence[i * run->n_heads + h];
        if (source[i].shift != NULL)
            *source[i].shift = sum / ((double)run->n_heads * (double)(run->T - run->sum[0].first));
        if (source[i].range == NULL)
            continue;
        enum qk_code code = qk_range_sum_finish(&run->sum[i], source[i].range, err);
        for (size_t j = 0; code != QK_OK && j < i; j++)
            if (source[j].range != NULL)
                qk_layer_range_free(source[j].range);
        QK_TRY(code);
    }
    return QK_OK;
}

enum qk_code qk_range_layer(const struct qk_range_options *options, int layer, const float *x, size_t T,
    const struct qk_range_source *source, size_t n, struct qk_progress *progress, struct qk_error *err)
{
    struct layer_run run = {.T = T, .source = source, .progress = progress};
    enum qk_code code = make_sources(&run, options, layer, x, n, err);
    if (code == QK_OK)
        code = run_heads(&run, err);
    if (code == QK_OK)
        code = finish(&run, err);
    for (size_t i = 0; i < run.n; i++) {
        qk_layer_attention_free(&run.made[i]);
        qk_range_sum_free(&run.sum[i]);
    }
    free(run.divergence);
    free(run.scratch);
    return code;
}
