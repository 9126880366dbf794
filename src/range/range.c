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

struct qk_range_run {
    size_t T, n, n_heads;
    struct qk_range_source source[QK_RANGE_SOURCES];
    struct qk_layer_attention made[QK_RANGE_SOURCES];
    struct qk_range_sum sum[QK_RANGE_SOURCES];
    double *divergence; /* (n, n_heads) sums over queries */
    float *scratch;     /* a block (QK_QUERY_BLOCK, T) for each source, a worker */
    struct qk_progress *progress;
};

/* Adds the queries that count of t0 <= t < t0 + n of a head. `given` is the block of source 0, or NULL where it is to
 * be computed. */
static void add_block(
    struct qk_range_run *run, size_t worker, size_t head, size_t t0, size_t n, const float *given, size_t ld)
{
    size_t T = run->T, size = QK_QUERY_BLOCK * T, first = run->sum[0].first,
           skip = t0 < first ? first - t0 : 0;
    float *scratch = run->scratch + worker * run->n * size;
    const float *of = given != NULL ? given : scratch; /* source 0 */
    for (size_t i = 0; i < run->n; i++) {
        float *own = scratch + i * size;
        const float *p = i == 0 ? of : own;
        size_t stride = i == 0 ? ld : T;
        if (i > 0 || given == NULL)
            qk_attention_block(&run->made[i].attention, head, t0, n, own, T);
        if (run->source[i].range != NULL)
            qk_range_sum_add(&run->sum[i], head, t0, n, p, stride);
        for (size_t j = skip; run->source[i].shift != NULL && j < n; j++)
            run->divergence[i * run->n_heads + head] +=
                qk_range_divergence(p + j * stride, of + j * ld, t0 + j + 1);
    }
}

/* One worker has a head from its first query to its last, so that sums do not depend on the number of workers. Blocks
 * are those of a pass, so that a head has the same numbers beside a pass. */
static void run_head(void *context, size_t head, size_t worker)
{
    struct qk_range_run *run = context;
    size_t T = run->T, first = run->sum[0].first;
    for (size_t t0 = first - first % QK_QUERY_BLOCK; t0 < T; t0 += QK_QUERY_BLOCK) {
        size_t n = T - t0 < QK_QUERY_BLOCK ? T - t0 : QK_QUERY_BLOCK;
        if (qk_progress_check(run->progress, NULL) != QK_OK)
            return;
        add_block(run, worker, head, t0, n, NULL, T);
    }
}

static enum qk_code make_source(struct qk_range_run *run, const struct qk_range_options *options, int layer,
    const float *x, size_t i, struct qk_error *err)
{
    const struct qk_range_source *source = &run->source[i];
    struct qk_layer_attention *made = &run->made[i];
    size_t heads = (size_t)source->model->layer[layer].role[QK_Q].n_heads;
    if (!source->given) {
        QK_TRY(qk_layer_attention_make(source->model, source->patch, layer, x, run->T, made, err));
        heads = made->attention.n_q;
    }
    if (i == 0)
        run->n_heads = heads;
    if (heads != run->n_heads)
        return qk_fail(err, QK_INPUT, "layer %d: other numbers of query heads (found %zu, expected %zu)",
            layer, heads, run->n_heads);
    return qk_range_sum_init(&run->sum[i], options, run->T, run->n_heads, err);
}

static enum qk_code make_run(struct qk_range_run *run, const struct qk_range_options *options, int layer,
    const float *x, size_t T, const struct qk_range_source *source, size_t n, struct qk_error *err)
{
    *run = (struct qk_range_run){.T = T, .n = n};
    memcpy(run->source, source, n * sizeof *source);
    for (size_t i = 0; i < n; i++)
        QK_TRY(make_source(run, options, layer, x, i, err));
    QK_TRY(qk_alloc(&run->divergence, n * run->n_heads, sizeof *run->divergence, err));
    return qk_alloc_aligned(
        &run->scratch, qk_parallel_workers(run->n_heads) * n, QK_QUERY_BLOCK * T * sizeof *run->scratch, err);
}

static void free_run(struct qk_range_run *run)
{
    for (size_t i = 0; i < run->n; i++) {
        qk_layer_attention_free(&run->made[i]);
        qk_range_sum_free(&run->sum[i]);
    }
    free(run->divergence);
    free(run->scratch);
}

static enum qk_code finish(const struct qk_range_run *run, struct qk_error *err)
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
    struct qk_range_run run;
    enum qk_code code = make_run(&run, options, layer, x, T, source, n, err);
    run.progress = progress;
    if (code == QK_OK) {
        qk_parallel_for(run.n_heads, run_head, &run, progress);
        code = qk_progress_check(progress, err);
    }
    if (code == QK_OK)
        code = finish(&run, err);
    free_run(&run);
    return code;
}

/* --- beside a pass --- */

enum qk_code qk_range_begin(const struct qk_range_options *options, int layer, const float *x, size_t T,
    const struct qk_range_source *source, size_t n, struct qk_range_run **out, struct qk_error *err)
{
    struct qk_range_run *run;
    *out = NULL;
    QK_TRY(qk_alloc(&run, 1, sizeof *run, err));
    enum qk_code code = make_run(run, options, layer, x, T, source, n, err);
    if (code == QK_OK)
        *out = run;
    else
        qk_range_abandon(run);
    return code;
}

void qk_range_see(
    struct qk_range_run *run, size_t worker, size_t head, size_t t0, size_t n, const float *p, size_t ld)
{
    if (t0 + n > run->sum[0].first)
        add_block(run, worker, head, t0, n, p, ld);
}

enum qk_code qk_range_end(struct qk_range_run *run, struct qk_error *err)
{
    enum qk_code code = finish(run, err);
    qk_range_abandon(run);
    return code;
}

void qk_range_abandon(struct qk_range_run *run)
{
    if (run == NULL)
        return;
    free_run(run);
    free(run);
}
