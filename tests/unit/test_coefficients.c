/* test_coefficients.c - maps of linear layers against rows of single queries, which other code computes in float64. */
#include "helper.h"

#include "base/blas.h"
#include "base/parallel.h"
#include "forward/coefficients.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Random q and k of length 1, and gates. */
struct layer {
    struct qk_attention a;
    struct qk_gates gates;
    float *q, *k, *g, *beta, *slope;
    struct qk_row_past past;
};

static float *unit_rows(size_t rows, size_t heads, size_t dim, uint64_t *random)
{
    float *x = calloc(rows * heads * dim, sizeof *x);
    for (size_t i = 0; i < rows * heads; i++) {
        double sum = 0;
        for (size_t j = 0; j < dim; j++) {
            x[i * dim + j] = (float)random_uniform(random);
            sum += (double)x[i * dim + j] * (double)x[i * dim + j];
        }
        for (size_t j = 0; j < dim; j++)
            x[i * dim + j] = (float)((double)x[i * dim + j] / sqrt(sum));
    }
    return x;
}

/* What the tests have: lightning attention, delta rules with a decay for each value head, and with one for each of its
 * channels. */
static const struct kind {
    size_t values; /* value heads */
    bool delta, channels;
} KINDS[] = {{2, false, false}, {2, true, false}, {6, true, false}, {2, true, true}, {6, true, true}};
enum { N_KINDS = sizeof KINDS / sizeof KINDS[0] };

/* g lies between -fade and 0. */
static void make_layer(struct layer *l, size_t T, const struct kind *kind, double fade)
{
    size_t values = kind->values;
    bool delta = kind->delta;
    enum { HEADS = 2, DIM = 24 };
    uint64_t random = T + values;
    size_t decays = T * values * (kind->channels ? DIM : 1);
    *l = (struct layer){.q = unit_rows(T, HEADS, DIM, &random), .k = unit_rows(T, HEADS, DIM, &random)};
    l->a = (struct qk_attention){.T = T,
        .n_q = delta ? values : HEADS,
        .n_k = HEADS,
        .head_dim = DIM,
        .scale = 0.2f,
        .q = l->q,
        .k = l->k,
        .q_stride = HEADS * DIM,
        .k_stride = HEADS * DIM};
    l->g = calloc(decays, sizeof *l->g);
    l->beta = calloc(T * values, sizeof *l->beta);
    l->slope = calloc(HEADS, sizeof *l->slope);
    for (size_t i = 0; i < decays; i++)
        l->g[i] = (float)(-fade * (1 + random_uniform(&random)) / 2);
    for (size_t i = 0; i < T * values; i++)
        l->beta[i] = (float)((1 + random_uniform(&random)) / 2);
    for (size_t h = 0; h < HEADS; h++)
        l->slope[h] = (float)(h == 0 ? fade : fade / 64);
    l->gates = (struct qk_gates){l->g, l->beta, kind->channels};
    l->past = (struct qk_row_past){
        .a = &l->a, .gates = delta ? &l->gates : NULL, .slope = delta ? NULL : l->slope, .n = 1};
}

static void free_layer(struct layer *l)
{
    free(l->q);
    free(l->k);
    free(l->g);
    free(l->beta);
    free(l->slope);
}

/* --- maps against rows --- */

/* Rows of all queries, (heads, T, T), by qk_rows_show. */
struct kept {
    size_t T;
    float *row;
};

static void keep_row(void *context, size_t head, size_t i, const float *row)
{
    const struct kept *kept = context;
    memcpy(kept->row + (head * kept->T + i) * kept->T, row, (i + 1) * sizeof *row);
}

static float *all_rows(const struct qk_row_past *past)
{
    size_t T = past->a->T;
    struct qk_error err = {0};
    struct kept kept = {T, calloc(qk_past_heads(past) * T * T, sizeof(float))};
    struct qk_row_query *query = calloc(T, sizeof *query);
    for (size_t t = 0; t < T; t++)
        query[t] = (struct qk_row_query){0, t};
    const struct qk_rows rows = {.query = query, .n = T, .show = keep_row};
    expect_ok(qk_rows_show(past, &rows, &kept, NULL, &err), &err);
    free(query);
    return kept.row;
}

/* The errors of all rows, each the sum of a row's differences: the largest and the mean. */
struct errors {
    double worst, mean;
    size_t windows; /* maps that leave out keys */
};

static struct errors row_errors(const struct qk_row_past *past, const float *expected)
{
    size_t T = past->a->T, room = qk_past_map_values(past), heads = qk_past_heads(past);
    float *values = malloc(room * sizeof *values), *row = malloc(T * sizeof *row);
    struct errors errors = {0};
    for (size_t h = 0; h < heads; h++)
        for (size_t t0 = 0; t0 < T; t0 += QK_ATTENTION_BLOCK) {
            size_t n = T - t0 < QK_ATTENTION_BLOCK ? T - t0 : QK_ATTENTION_BLOCK;
            for (size_t i = 0; i < room; i++) /* what a map does not set must not count */
                values[i] = (float)NAN;
            const struct qk_attention_map map = qk_past_map_make(past, h, t0, n, values);
            errors.windows += map.window > 0;
            for (size_t i = 0; i < n; i++) {
                const float *right = expected + (h * T + t0 + i) * T;
                double sum = 0;
                map_row(&map, i, row);
                for (size_t s = 0; s <= t0 + i; s++)
                    sum += fabs((double)row[s] - (double)right[s]);
                errors.worst = sum <= errors.worst ? errors.worst : sum;
                errors.mean += sum / (double)(heads * T);
            }
        }
    free(values);
    free(row);
    return errors;
}

static void test_maps_meet_rows(void **state)
{
    static const size_t lengths[] = {1, 2, 63, 64, 65, 128, 129, 300, 1000};
    static const double fades[] = {0, 0.01, 1, 30};
    (void)state;
    size_t windows = 0;
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
        for (size_t f = 0; f < sizeof fades / sizeof *fades; f++)
            for (size_t kind = 0; kind < N_KINDS; kind++) {
                struct layer layer;
                make_layer(&layer, lengths[l], &KINDS[kind], fades[f]);
                float *expected = all_rows(&layer.past);
                /* Float32 against float64: products of 24 terms (1e-7 of their length), which w carries over 16
                 * chunks. A row keeps this error where all keys that have not faded are nearly at right angles to
                 * the query, or have a small beta: 1e-3 of them left make 1e-4 of it. */
                struct errors errors = row_errors(&layer.past, expected);
                windows += errors.windows;
                if (!(errors.worst < 2e-4 && errors.mean < 1e-6))
                    fail_msg("kind %zu, %zu tokens, fade %g: rows are off by %g, on average %g", kind,
                        lengths[l], fades[f], errors.worst, errors.mean);
                free(expected);
                free_layer(&layer);
            }
    assert_true(windows > 0);
}

/* Without keys nothing is read: the rows are zero, not undefined. What is not finite stays so. */
static void test_odd_values(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_KINDS; kind++) {
        struct layer layer;
        float row[200];
        make_layer(&layer, 200, &KINDS[kind], 0.01);
        float *values = malloc(qk_past_map_values(&layer.past) * sizeof *values);
        memset(layer.k, 0, layer.a.T * layer.a.k_stride * sizeof *layer.k);
        struct qk_attention_map map = qk_past_map_make(&layer.past, 1, 128, 72, values);
        map_row(&map, 71, row);
        for (size_t s = 0; s < 200; s++)
            assert_true(row[s] == 0);
        layer.k[10 * layer.a.k_stride + layer.a.head_dim] = (float)NAN;
        map = qk_past_map_make(&layer.past, 1, 128, 72, values);
        map_row(&map, 71, row);
        assert_true(isnan(row[10]));
        free(values);
        free_layer(&layer);
    }
}

/* --- the watcher --- */

struct seen {
    float *rows; /* (heads, T, T) */
    bool *block; /* (heads, blocks) */
    size_t T, blocks;
};

static void see(void *context, size_t worker, const struct qk_attention_map *map)
{
    struct seen *seen = context;
    (void)worker;
    seen->block[map->head * seen->blocks + map->t0 / QK_ATTENTION_BLOCK] = true;
    for (size_t i = 0; i < map->n; i++)
        map_row(map, i, seen->rows + (map->head * seen->T + map->t0 + i) * seen->T);
}

static void test_watcher_sees_chosen_blocks(void **state)
{
    enum { T = 1500, FROM = 400, MOST = 3, WORKERS = 3 };
    static const size_t workers[WORKERS] = {1, 2, 5};
    (void)state;
    struct layer layer;
    struct seen seen[WORKERS];
    struct qk_error err = {0};
    make_layer(&layer, T, &(struct kind){4, true, false}, 0.01);
    const struct qk_block_choice choice = qk_choose_blocks(T, FROM, MOST);
    for (size_t w = 0; w < WORKERS; w++) {
        seen[w] = (struct seen){.T = T, .blocks = qk_attention_blocks(T)};
        seen[w].rows = calloc(2 * T * T, sizeof(float));
        seen[w].block = calloc(2 * seen[w].blocks, sizeof(bool));
        const struct qk_attention_watch watch = {
            .seen = see, .context = &seen[w], .from = FROM, .most = MOST};
        qk_parallel_limit(workers[w]);
        expect_ok(qk_past_maps_show(&layer.past, &watch, NULL, &err), &err);
        assert_memory_equal(seen[w].rows, seen[0].rows, 2 * T * T * sizeof(float));
    }
    qk_parallel_limit(0);
    for (size_t h = 0; h < 2; h++)
        for (size_t b = 0; b < seen[0].blocks; b++) {
            bool chosen = false;
            for (size_t i = 0; i < choice.n; i++)
                chosen = chosen || qk_chosen_block(&choice, i) == b;
            assert_int_equal(seen[0].block[h * seen[0].blocks + b], chosen);
        }
    for (size_t w = 0; w < WORKERS; w++) {
        free(seen[w].rows);
        free(seen[w].block);
    }
    free_layer(&layer);
}

static void test_choices_of_blocks(void **state)
{
    (void)state;
    for (size_t T = 1; T < 3000; T += 97)
        for (size_t from = 0; from < T; from += 61)
            for (size_t most = 0; most < 6; most++) {
                const struct qk_block_choice choice = qk_choose_blocks(T, from, most);
                size_t all = qk_attention_blocks(T) - from / QK_ATTENTION_BLOCK, queries = 0;
                assert_int_equal(choice.n, most > 0 && most < all ? most : all);
                for (size_t i = 0; i < choice.n; i++) {
                    size_t block = qk_chosen_block(&choice, i);
                    assert_true(block >= from / QK_ATTENTION_BLOCK && block < qk_attention_blocks(T));
                    assert_true(i == 0 || block > qk_chosen_block(&choice, i - 1));
                    for (size_t t = block * QK_ATTENTION_BLOCK; t < T && t < (block + 1) * QK_ATTENTION_BLOCK;
                         t++)
                        queries += t >= from;
                }
                assert_int_equal(qk_chosen_queries(&choice), queries);
                assert_true(choice.n < all || queries == T - from);
            }
    const struct qk_block_choice even = qk_choose_blocks(8192, 4096, 4);
    for (size_t i = 0; i < 4; i++) /* the middle of each quarter of blocks 32 to 63 */
        assert_int_equal(qk_chosen_block(&even, i), 36 + 8 * i);
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_maps_meet_rows),
        cmocka_unit_test(test_odd_values),
        cmocka_unit_test(test_watcher_sees_chosen_blocks),
        cmocka_unit_test(test_choices_of_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
