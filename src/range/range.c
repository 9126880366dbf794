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

size_t qk_range_most_blocks(enum qk_kind kind)
{
    return qk_kind_softmax(kind) ? 0 : QK_RANGE_LINEAR_BLOCKS;
}

struct qk_block_choice qk_range_blocks(const struct qk_range_options *options, enum qk_kind kind, size_t T)
{
    return qk_choose_blocks(T, qk_range_first_query(options, T), qk_range_most_blocks(kind));
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

/* Of a block of a head's queries. */
struct range_part {
    size_t queries;
    double moment, long_mass, hist[QK_RANGE_BINS];
};

enum qk_code qk_range_sum_init(struct qk_range_sum *sum, const struct qk_range_options *options, size_t T,
    size_t n_heads, struct qk_error *err)
{
    *sum = (struct qk_range_sum){.T = T,
        .n_heads = n_heads,
        .blocks = qk_attention_blocks(T),
        .first = qk_range_first_query(options, T),
        .long_from = options->long_from > 0 ? options->long_from : QK_RANGE_LONG};
    return qk_alloc(&sum->part, n_heads * sum->blocks, sizeof *sum->part, err);
}

void qk_range_sum_free(struct qk_range_sum *sum)
{
    free(sum->part);
    sum->part = NULL;
}

/* Adds the keys s <= . < end of row i, which share a bin and a side of long_from; returns their mass. */
static double add_run(
    struct range_part *part, const struct qk_attention_map *map, size_t i, size_t s, size_t end)
{
    size_t t = map->t0 + i;
    double all = 0;
    for (size_t stop; s < end; s = stop) {
        double mass, moment, factor = (double)map->factor[i * map->blocks + s / QK_ATTENTION_BLOCK];
        stop = s - s % QK_ATTENTION_BLOCK + QK_ATTENTION_BLOCK;
        stop = stop < end ? stop : end;
        qk_range_mass(stop - s, map->p + i * map->ld + s, t - s, &mass, &moment);
        all += factor * mass;
        part->moment += factor * moment;
    }
    return all;
}

/* Adds one query, by runs of distances that share a bin and a side of long_from. */
static void add_query(struct range_part *part, const struct qk_attention_map *map, size_t i, size_t long_from)
{
    size_t t = map->t0 + i, seen = t + 1 - qk_first_key(map->window, t);
    for (size_t near = 0; near < seen;) {
        int bin = qk_range_bin(near);
        size_t end = bin == 0 ? 1 : 2 * qk_range_bin_first(bin);
        if (near < long_from && long_from < end)
            end = long_from;
        if (end > seen)
            end = seen;
        double mass = add_run(part, map, i, t + 1 - end, t + 1 - near);
        part->hist[bin] += mass;
        if (near >= long_from)
            part->long_mass += mass;
        near = end;
    }
    part->queries++;
}

void qk_range_sum_add(struct qk_range_sum *sum, const struct qk_attention_map *map)
{
    struct range_part *part = &sum->part[map->head * sum->blocks + map->t0 / QK_ATTENTION_BLOCK];
    for (size_t i = 0; i < map->n; i++)
        if (map->t0 + i >= sum->first)
            add_query(part, map, i, sum->long_from);
}

static struct range_part add_parts(const struct qk_range_sum *sum, size_t head)
{
    struct range_part all = {0};
    for (size_t i = 0; i < sum->blocks; i++) {
        const struct range_part *part = &sum->part[head * sum->blocks + i];
        all.queries += part->queries;
        all.moment += part->moment;
        all.long_mass += part->long_mass;
        for (int b = 0; b < QK_RANGE_BINS; b++)
            all.hist[b] += part->hist[b];
    }
    return all;
}

enum qk_code qk_range_sum_finish(
    const struct qk_range_sum *sum, struct qk_layer_range *out, struct qk_error *err)
{
    *out = (struct qk_layer_range){.n_bins = qk_range_bins(sum->T), .n_heads = (int)sum->n_heads};
    QK_TRY(qk_alloc(&out->head, sum->n_heads, sizeof *out->head, err));
    double heads = (double)sum->n_heads;
    for (size_t h = 0; h < sum->n_heads; h++) {
        const struct range_part from = add_parts(sum, h);
        struct qk_range *to = &out->head[h];
        double queries = (double)from.queries;
        to->mean = from.moment / queries;
        to->long_mass = from.long_mass / queries;
        out->layer.mean += to->mean / heads;
        out->layer.long_mass += to->long_mass / heads;
        for (int b = 0; b < out->n_bins; b++) {
            to->hist[b] = from.hist[b] / queries;
            out->layer.hist[b] += to->hist[b] / heads;
        }
    }
    return QK_OK;
}

/* --- a layer of several models --- */

struct qk_range_run {
    size_t T, n, n_heads, blocks;
    struct qk_block_choice chosen;
    struct qk_range_source source[QK_RANGE_SOURCES];
    struct qk_layer_attention made[QK_RANGE_SOURCES];
    struct qk_range_sum sum[QK_RANGE_SOURCES];
    double *divergence; /* (n, n_heads, blocks) sums over the queries of a block */
    float *scratch;     /* a worker: a map of source 0 unless that is given, and one of another source */
    size_t values;      /* of a map */
    struct qk_progress *progress;
};

/* Divergence of row i of two maps. Where one of them has a window that ends before the other's, each place adds p ln 2
 * / 2. */
static double row_divergence(const struct qk_attention_map *a, const struct qk_attention_map *b, size_t i)
{
    size_t t = a->t0 + i, first_a = qk_first_key(a->window, t), first_b = qk_first_key(b->window, t),
           s = first_a < first_b ? first_a : first_b, both = first_a < first_b ? first_b : first_a;
    const struct qk_attention_map *wide = first_a < first_b ? a : b;
    double sum = 0;
    for (size_t end; s <= t; s = end) {
        size_t unit = i * a->blocks + s / QK_ATTENTION_BLOCK;
        end = s - s % QK_ATTENTION_BLOCK + QK_ATTENTION_BLOCK;
        end = end < t + 1 ? end : t + 1;
        if (s < both) {
            double mass, moment;
            end = end < both ? end : both;
            qk_range_mass(end - s, wide->p + i * wide->ld + s, t - s, &mass, &moment);
            sum += (double)wide->factor[unit] * mass * log(2) / 2;
        } else {
            sum += qk_range_divergence(
                end - s, a->factor[unit], a->p + i * a->ld + s, b->factor[unit], b->p + i * b->ld + s);
        }
    }
    if (a->sink != NULL && b->sink != NULL)
        sum += qk_range_divergence(1, 1.0f, a->sink + i, 1.0f, b->sink + i);
    return sum;
}

/* Adds what a source's map says, beside that of source 0. */
static void add_map(
    struct qk_range_run *run, size_t i, const struct qk_attention_map *map, const struct qk_attention_map *of)
{
    size_t first = run->sum[0].first, skip = map->t0 < first ? first - map->t0 : 0;
    double sum = 0;
    if (run->source[i].range != NULL)
        qk_range_sum_add(&run->sum[i], map);
    if (run->source[i].shift == NULL)
        return;
    for (size_t j = skip; j < map->n; j++)
        sum += row_divergence(map, of, j);
    run->divergence[(i * run->n_heads + map->head) * run->blocks + map->t0 / QK_ATTENTION_BLOCK] = sum;
}

/* Adds a block of queries of every source. `of` is source 0's map; others' are made in scratch. */
static void add_block(struct qk_range_run *run, const struct qk_attention_map *of, float *scratch)
{
    struct qk_timing *timing = qk_progress_timing(run->progress);
    uint64_t since = qk_timing_start(timing);
    add_map(run, 0, of, of);
    since = qk_timing_lap(timing, QK_TIME_STATISTICS, since);
    for (size_t i = 1; i < run->n; i++) {
        const struct qk_row_past past = qk_layer_attention_past(&run->made[i]);
        struct qk_attention_map map = qk_past_map_make(&past, of->head, of->t0, of->n, scratch);
        since = qk_timing_lap(timing, QK_TIME_ATTENTION, since);
        add_map(run, i, &map, of);
        since = qk_timing_lap(timing, QK_TIME_STATISTICS, since);
    }
}

/* Maps that a worker makes at once. */
static size_t maps_made(const struct qk_range_run *run)
{
    return (size_t)!run->source[0].given + (size_t)(run->n > 1);
}

static float *scratch_of(const struct qk_range_run *run, size_t worker)
{
    return run->scratch + worker * maps_made(run) * run->values;
}

/* Item: a chosen block of queries of a head, the last blocks first. Blocks are those of a pass, so that a head has the
 * same numbers beside a pass. */
static void run_block(void *context, size_t item, size_t worker)
{
    struct qk_range_run *run = context;
    struct qk_timing *timing = qk_progress_timing(run->progress);
    uint64_t since = qk_timing_start(timing);
    size_t head = item % run->n_heads,
           block = qk_chosen_block(&run->chosen, run->chosen.n - 1 - item / run->n_heads),
           t0 = block * QK_ATTENTION_BLOCK,
           n = run->T - t0 < QK_ATTENTION_BLOCK ? run->T - t0 : QK_ATTENTION_BLOCK;
    float *scratch = scratch_of(run, worker);
    const struct qk_row_past past = qk_layer_attention_past(&run->made[0]);
    struct qk_attention_map of = qk_past_map_make(&past, head, t0, n, scratch);
    qk_timing_lap(timing, QK_TIME_ATTENTION, since);
    add_block(run, &of, scratch + run->values);
}

static enum qk_code make_source(struct qk_range_run *run, const struct qk_range_options *options, int layer,
    const float *x, size_t i, struct qk_error *err)
{
    const struct qk_range_source *source = &run->source[i];
    struct qk_layer_attention *made = &run->made[i];
    size_t heads = (size_t)source->model->layer[layer].role[QK_Q].n_heads;
    if (!source->given) {
        QK_TRY(qk_layer_attention_make(
            source->model, source->patch, layer, x, run->T, run->progress, made, err));
        const struct qk_row_past past = qk_layer_attention_past(made);
        size_t values = qk_past_map_values(&past);
        heads = qk_past_heads(&past);
        run->values = values > run->values ? values : run->values;
    }
    if (i == 0)
        run->n_heads = heads;
    if (heads != run->n_heads)
        return qk_fail(err, QK_INPUT, "layer %d: other numbers of query heads (found %zu, expected %zu)",
            layer, heads, run->n_heads);
    return qk_range_sum_init(&run->sum[i], options, run->T, run->n_heads, err);
}

static enum qk_code make_run(struct qk_range_run *run, const struct qk_range_options *options, int layer,
    const float *x, size_t T, const struct qk_range_source *source, size_t n, struct qk_progress *progress,
    struct qk_error *err)
{
    *run = (struct qk_range_run){.T = T, .n = n, .blocks = qk_attention_blocks(T), .progress = progress};
    memcpy(run->source, source, n * sizeof *source);
    run->chosen = qk_range_blocks(options, source->model->layer[layer].kind, T);
    for (size_t i = 0; i < n; i++)
        QK_TRY(make_source(run, options, layer, x, i, err));
    QK_TRY(qk_alloc(&run->divergence, n * run->n_heads * run->blocks, sizeof *run->divergence, err));
    return qk_alloc_aligned(&run->scratch, qk_parallel_workers(run->n_heads * run->blocks) * maps_made(run),
        run->values * sizeof *run->scratch, err);
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
        for (size_t j = 0; j < run->n_heads * run->blocks; j++)
            sum += run->divergence[i * run->n_heads * run->blocks + j];
        if (source[i].shift != NULL)
            *source[i].shift = sum / ((double)run->n_heads * (double)qk_chosen_queries(&run->chosen));
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
    enum qk_code code = make_run(&run, options, layer, x, T, source, n, progress, err);
    if (code == QK_OK) {
        qk_parallel_for(run.chosen.n * run.n_heads, run_block, &run, progress);
        code = qk_progress_check(progress, err);
    }
    if (code == QK_OK)
        code = finish(&run, err);
    free_run(&run);
    return code;
}

/* --- beside a pass --- */

enum qk_code qk_range_begin(const struct qk_range_options *options, int layer, const float *x, size_t T,
    const struct qk_range_source *source, size_t n, struct qk_progress *progress, struct qk_range_run **out,
    struct qk_error *err)
{
    struct qk_range_run *run;
    *out = NULL;
    QK_TRY(qk_alloc(&run, 1, sizeof *run, err));
    enum qk_code code = make_run(run, options, layer, x, T, source, n, progress, err);
    if (code == QK_OK)
        *out = run;
    else
        qk_range_abandon(run);
    return code;
}

void qk_range_see(struct qk_range_run *run, size_t worker, const struct qk_attention_map *map)
{
    if (map->t0 + map->n > run->sum[0].first)
        add_block(run, map, scratch_of(run, worker));
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
