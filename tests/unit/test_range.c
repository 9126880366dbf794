/* test_range.c - attention ranges: the sums against numbers of other software, the sources against each other. */
#include "range/range.h"

#include "base/blas.h"
#include "base/json.h"
#include "base/parallel.h"
#include "blend/patch.h"
#include "forward/forward.h"
#include "models.h"
#include "range/probe.h"
#include "range/restored.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SOFTMAX_LAYERS = 4, LAYERS = 12 };
static const int SOFTMAX[SOFTMAX_LAYERS] = {1, 4, 7, 10};

/* --- the sums --- */

static void test_bins(void **state)
{
    (void)state;
    static const struct {
        size_t distance;
        int bin;
    } known[] = {{0, 0}, {1, 1}, {2, 2}, {3, 2}, {4, 3}, {7, 3}, {8, 4}, {127, 7}, {128, 8}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_int_equal(qk_range_bin(known[i].distance), known[i].bin);
    for (int b = 1; b < QK_RANGE_BINS - 1; b++) {
        assert_int_equal(qk_range_bin(qk_range_bin_first(b)), b);
        assert_int_equal(qk_range_bin(qk_range_bin_first(b + 1) - 1), b);
    }
    assert_int_equal(qk_range_bins(1), 1);
    assert_int_equal(qk_range_bins(2), 2);
    assert_int_equal(qk_range_bins(203), 9);
    assert_int_equal(qk_range_bins(512), 10);
    assert_int_equal(qk_range_bins(513), 11);
}

static void test_queries(void **state)
{
    (void)state;
    struct qk_range_options options = {0};
    struct qk_error err = {0};
    assert_int_equal(qk_range_first_query(&options, 1), 0);
    assert_int_equal(qk_range_first_query(&options, 203), 101);
    expect_ok(qk_queries_parse("last:10", &options, &err), &err);
    assert_int_equal(qk_range_first_query(&options, 203), 193);
    assert_int_equal(qk_range_first_query(&options, 3), 0);
    expect_ok(qk_queries_parse("all", &options, &err), &err);
    assert_int_equal(qk_range_first_query(&options, 203), 0);
    expect_ok(qk_queries_parse("half", &options, &err), &err);
    assert_int_equal(qk_range_first_query(&options, 203), 101);
    static const char *const wrong[] = {
        "", "none", "last", "last:", "last:0", "last:-1", "last:1x", "last:9999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        expect_failure(
            qk_queries_parse(wrong[i], &options, &err), &err, QK_USAGE, "--queries|half, all or last:N");
}

/* Adds rows t0 .. t0 + n of a whole map (T, T), in blocks of at most QK_ATTENTION_BLOCK. Its factors are all 1. */
static void add_rows(struct qk_range_sum *sum, size_t head, size_t t0, size_t n, const float *p, size_t T)
{
    size_t blocks = qk_attention_blocks(T);
    float *ones = malloc(n * blocks * sizeof *ones);
    for (size_t i = 0; i < n * blocks; i++)
        ones[i] = 1;
    const struct qk_attention_map map = {head, t0, n, 0, p, T, ones, blocks, NULL};
    qk_range_sum_add(sum, &map);
    free(ones);
}

/* Every query looks `back` tokens back, or at the first token. */
static struct qk_layer_range range_of_gaze(size_t T, size_t back, const struct qk_range_options *options)
{
    struct qk_range_sum sum;
    struct qk_layer_range range;
    struct qk_error err = {0};
    float *p = calloc(T, sizeof *p);
    expect_ok(qk_range_sum_init(&sum, options, T, 1, &err), &err);
    for (size_t t = 0; t < T; t++) {
        p[t < back ? 0 : t - back] = 1;
        add_rows(&sum, 0, t, 1, p, T);
        p[t < back ? 0 : t - back] = 0;
    }
    expect_ok(qk_range_sum_finish(&sum, &range, &err), &err);
    qk_range_sum_free(&sum);
    free(p);
    return range;
}

static void test_gazes(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 2, 5, 64, 200, 600}, backs[] = {0, 1, 3, 99, 100, 127, 128, 300},
                        longs[] = {1, 100, 128};
    for (size_t l = 0; l < 6; l++)
        for (size_t b = 0; b < 8; b++)
            for (size_t o = 0; o < 3; o++) {
                size_t T = lengths[l], back = backs[b];
                const struct qk_range_options options = {.long_from = longs[o]};
                struct qk_layer_range range = range_of_gaze(T, back, &options);
                double mean = 0, far = 0, hist[QK_RANGE_BINS] = {0}, n = (double)(T - T / 2);
                for (size_t t = T / 2; t < T; t++) {
                    size_t distance = t < back ? t : back;
                    mean += (double)distance / n;
                    far += (distance >= longs[o]) / n;
                    hist[qk_range_bin(distance)] += 1 / n;
                }
                /* whole numbers, divided once here and once there: a few roundings of 2^-53 */
                assert_true(fabs(range.layer.mean - mean) <= 1e-12 * (1 + mean));
                assert_true(fabs(range.layer.long_mass - far) <= 1e-12);
                for (int i = 0; i < range.n_bins; i++)
                    assert_true(fabs(range.head[0].hist[i] - hist[i]) <= 1e-12);
                qk_layer_range_free(&range);
            }
}

static void test_divergence(void **state)
{
    (void)state;
    enum { N = 300 };
    uint64_t random = 5;
    for (int trial = 0; trial < 60; trial++) {
        float p[N], r[N];
        double sums[2] = {0, 0}, closeness = pow(10, -trial % 7), direct = 0;
        for (int i = 0; i < N; i++) {
            double value = exp(4 * random_uniform(&random));
            p[i] = i % 11 == 0 ? 0 : (float)value;
            r[i] = i % 13 == 0 ? 0 : (float)(value * (1 + closeness * random_uniform(&random)));
            sums[0] += p[i];
            sums[1] += r[i];
        }
        for (int i = 0; i < N; i++) {
            p[i] = (float)(p[i] / sums[0]);
            r[i] = (float)(r[i] / sums[1]);
            double m = ((double)p[i] + r[i]) / 2;
            direct += (p[i] > 0 ? p[i] * log(p[i] / m) / 2 : 0) + (r[i] > 0 ? r[i] * log(r[i] / m) / 2 : 0);
            p[i] *= 2; /* the factors take that back */
            r[i] /= 2;
        }
        /* Terms are float32 and positive, each off by a few roundings of 6e-8, so their sum is, too. The direct sum
         * loses digits where p and r are near: 300 roundings of 1e-17. */
        double found = qk_range_divergence(N, 0.5f, p, 2.0f, r);
        assert_true(fabs(found - direct) < 5e-7 * direct + 1e-15);
    }
    const float one[2] = {1, 0}, other[2] = {0, 1}, nan[2] = {NAN, 0};
    assert_true(qk_range_divergence(2, 1, one, 1, one) == 0);
    assert_true(fabs(qk_range_divergence(2, 1, one, 1, other) - log(2)) < 1e-7);
    assert_true(isnan(qk_range_divergence(2, 1, one, 1, nan)));
}

/* --- against the reference --- */

static cJSON *reference(const char *name)
{
    char path[PATH_SIZE];
    cJSON *root;
    struct qk_error err = {0};
    expect_ok(qk_json_read(demo_path(path, name), 1 << 20, &root, &err), &err);
    return root;
}

/* Largest difference of any number of the layer; means are taken relative to T. */
static double difference(const struct qk_layer_range *range, const cJSON *root, int layer, size_t T)
{
    char key[16];
    snprintf(key, sizeof key, "%d", layer);
    const cJSON *heads = cJSON_GetObjectItemCaseSensitive(root, key);
    double worst = 0;
    assert_int_equal(cJSON_GetArraySize(heads), range->n_heads);
    for (int h = 0; h < range->n_heads; h++) {
        const cJSON *head = cJSON_GetArrayItem(heads, h), *hist = qk_json_get(head, "hist");
        assert_int_equal(cJSON_GetArraySize(hist), range->n_bins);
        for (int b = 0; b < range->n_bins; b++)
            worst = fmax(worst, fabs(cJSON_GetArrayItem(hist, b)->valuedouble - range->head[h].hist[b]));
        worst = fmax(worst, fabs(qk_json_number(head, "long_mass", NAN) - range->head[h].long_mass));
        worst = fmax(worst, fabs(qk_json_number(head, "mean", NAN) - range->head[h].mean) / (double)T);
    }
    return worst;
}

/* The maps of one layer of a golden, (heads, T, T), added up in blocks that do not divide theirs. */
static struct qk_layer_range range_of_golden(const char *path, int layer, size_t *T)
{
    struct qk_checkpoint *golden;
    struct qk_error err = {0};
    char name[32];
    snprintf(name, sizeof name, "attentions.%d", layer);
    expect_ok(qk_checkpoint_open(path, &golden, &err), &err);
    const struct qk_tensor *tensor = qk_checkpoint_find(golden, name);
    assert_non_null(tensor);
    size_t heads = (size_t)tensor->shape[0], block = 8;
    *T = (size_t)tensor->shape[1];
    float *maps = malloc(tensor->bytes);
    expect_ok(qk_checkpoint_read(golden, tensor, 0, maps, tensor->bytes, &err), &err);
    const struct qk_range_options options = {0};
    struct qk_range_sum sum;
    struct qk_layer_range range;
    expect_ok(qk_range_sum_init(&sum, &options, *T, heads, &err), &err);
    for (size_t h = 0; h < heads; h++)
        for (size_t t0 = 0; t0 < *T; t0 += block)
            add_rows(&sum, h, t0, *T - t0 < block ? *T - t0 : block, maps + (h * *T + t0) * *T, *T);
    expect_ok(qk_range_sum_finish(&sum, &range, &err), &err);
    qk_range_sum_free(&sum);
    free(maps);
    qk_checkpoint_close(golden);
    return range;
}

static void test_golden_attentions(void **state)
{
    (void)state;
    static const char *const files[2][2] = {
        {"golden-pre.safetensors", "range-pre.json"}, {"golden-post.safetensors", "range-post.json"}};
    for (int s = 0; s < 2; s++) {
        char path[PATH_SIZE];
        cJSON *root = reference(files[s][1]);
        for (int i = 0; i < SOFTMAX_LAYERS; i++) {
            size_t T;
            struct qk_layer_range range = range_of_golden(demo_path(path, files[s][0]), SOFTMAX[i], &T);
            /* the same float32 maps summed in float64 by both: only the order of 20,000 additions differs */
            assert_true(difference(&range, root, SOFTMAX[i], T) < 1e-12);
            qk_layer_range_free(&range);
        }
        cJSON_Delete(root);
    }
}

/* --- the sources --- */

static struct qk_probe *open_probe(const struct qk_pair *pair, const struct qk_probe_options *options)
{
    struct qk_probe *probe;
    struct qk_error err = {0};
    expect_ok(qk_probe_open(pair, options, &probe, &err), &err);
    expect_ok(qk_probe_run_restored(probe, NULL, NULL, NULL, &err), &err);
    return probe;
}

/* The goldens' tokens as a file of ids. */
static void write_ids(const char *path, const struct qk_probe *probe)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (size_t t = 0; t < probe->T; t++)
        fprintf(file, "%d%c", probe->ids[t], t % 16 == 15 ? '\n' : ' ');
    fclose(file);
}

static double range_difference(const struct qk_layer_range *a, const struct qk_layer_range *b, size_t T)
{
    double worst = 0;
    assert_int_equal(a->n_heads, b->n_heads);
    assert_int_equal(a->n_bins, b->n_bins);
    for (int h = 0; h < a->n_heads; h++) {
        for (int i = 0; i < a->n_bins; i++)
            worst = fmax(worst, fabs(a->head[h].hist[i] - b->head[h].hist[i]));
        worst = fmax(worst, fabs(a->head[h].long_mass - b->head[h].long_mass));
        worst = fmax(worst, fabs(a->head[h].mean - b->head[h].mean) / (double)T);
    }
    return worst;
}

static void test_states_and_pass_agree(void **state)
{
    char pre[PATH_SIZE], post[PATH_SIZE], ids[PATH_SIZE];
    struct qk_pair *pair = open_family("hypenet");
    const struct qk_probe_options from_file = {.states_path = {demo_path(pre, "golden-pre.safetensors"),
                                                   demo_path(post, "golden-post.safetensors")}};
    struct qk_probe *states = open_probe(pair, &from_file);
    write_ids(path_in(ids, *state, "ids"), states);
    const struct qk_probe_options run = {.ids_path = ids};
    struct qk_probe *pass = open_probe(pair, &run);
    assert_int_equal(states->origin, QK_ORIGIN_STATES);
    assert_int_equal(pass->origin, QK_ORIGIN_PASS);
    cJSON *root[2] = {reference("range-pre.json"), reference("range-post.json")},
          *shifts = reference("range-shift.json");
    for (int i = 0; i < LAYERS; i++) /* softmax layers by the maps of other software, linear ones by numpy */
        for (int s = 0; s < QK_SIDE_COUNT; s++) {
            const struct qk_layer_range *a = &states->layer[i].side[s], *b = &pass->layer[i].side[s];
            /* One float32 map differs by up to 1e-6 of its largest entry, a mean over a hundred queries by
             * less; a pass brings the errors of the layers before it along. */
            assert_true(difference(a, root[s], i, states->T) < 2e-7);
            assert_true(difference(b, root[s], i, states->T) < 1e-6);
            assert_true(range_difference(a, b, states->T) < 1e-6);
            assert_true(fabs(states->layer[i].shift - pass->layer[i].shift) < 1e-6);
        }
    int n_shifts = 0;
    for (const cJSON *shift = shifts->child; shift != NULL; shift = shift->next, n_shifts++)
        assert_true(fabs(states->layer[atoi(shift->string)].shift / shift->valuedouble - 1) < 2e-6);
    assert_int_equal(n_shifts, LAYERS - SOFTMAX_LAYERS);
    cJSON_Delete(root[0]);
    cJSON_Delete(root[1]);
    cJSON_Delete(shifts);
    qk_probe_close(states);
    qk_probe_close(pass);
    qk_pair_close(pair);
}

/* Families without (jamba) and with a forward pass from their goldens' states. The goldens of those with RoPE
 * come of models that had been cast to bfloat16 and back with their rotary frequencies: angles are off by up
 * to 2^-9 of themselves, which at 48 positions is a tenth of a radian. */
static void test_states_of_families(void **state)
{
    static const struct {
        const char *name;
        double tolerance;
    } families[] = {{"jamba", 2e-7}, {"llama", 1e-3}, {"mistral", 1e-3}, {"qwen3_next", 1e-3}};
    (void)state;
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
        char name[PATH_SIZE], post[PATH_SIZE];
        snprintf(name, sizeof name, "fixtures/%s/post/golden.safetensors", families[f].name);
        struct qk_pair *pair = open_family(families[f].name);
        const struct qk_probe_options options = {.states_path = {NULL, data_path(post, name)}};
        struct qk_probe *probe = open_probe(pair, &options);
        int n = 0;
        for (int i = 0; i < pair->n_layers; i++) {
            if (probe->layer[i].side[QK_POST].n_heads == 0)
                continue;
            size_t T = probe->T;
            struct qk_layer_range range = {0};
            if (qk_kind_softmax(pair->layer[i].kind)) {
                range = range_of_golden(post, i, &T);
                assert_true(
                    range_difference(&range, &probe->layer[i].side[QK_POST], T) < families[f].tolerance);
            }
            n++;
            /* one file serves both */
            const struct qk_range_source pre = {.model = pair->model[QK_PRE], .range = &range};
            struct qk_error err = {0};
            qk_layer_range_free(&range);
            expect_ok(
                qk_range_layer(&options.range, i, probe->states[QK_POST].layer[i], T, &pre, 1, NULL, &err),
                &err);
            assert_true(range_difference(&range, &probe->layer[i].side[QK_PRE], T) == 0);
            assert_true(probe->layer[i].shift > 0 && probe->layer[i].shift < log(2));
            qk_layer_range_free(&range);
        }
        assert_true(n > 0);
        qk_probe_close(probe);
        qk_pair_close(pair);
    }
}

/* Two sides whose windows differ, against whole rows: a key that one side alone sees counts with what it has there. */
static void test_windows_differ(void **state)
{
    static const int windows[][QK_SIDE_COUNT] = {{16, 16}, {16, 5}, {3, 16}, {16, 1}};
    (void)state;
    char post[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_pair *pair = open_family("mistral");
    const struct qk_probe_options options = {
        .states_path = {NULL, data_path(post, "fixtures/mistral/post/golden.safetensors")}};
    struct qk_probe *probe = open_probe(pair, &options);
    const float *x = probe->states[QK_POST].layer[0];
    size_t T = probe->T, first = T / 2;
    float *row[QK_SIDE_COUNT] = {calloc(T, sizeof(float)), calloc(T, sizeof(float))};
    assert_int_equal(pair->model[QK_PRE]->layer[0].kind, QK_WINDOW);
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        struct qk_layer_attention made[QK_SIDE_COUNT];
        double shift, expected = 0;
        for (int s = 0; s < QK_SIDE_COUNT; s++) {
            pair->model[s]->layer[0].window = windows[i][s];
            expect_ok(qk_layer_attention_make(pair->model[s], NULL, 0, x, T, NULL, &made[s], &err), &err);
        }
        const struct qk_range_source source[] = {
            {.model = pair->model[QK_POST]}, {.model = pair->model[QK_PRE], .shift = &shift}};
        expect_ok(qk_range_layer(&options.range, 0, x, T, source, 2, NULL, &err), &err);
        size_t heads = made[QK_PRE].attention.n_q;
        for (size_t h = 0; h < heads; h++)
            for (size_t t = first; t < T; t++) {
                for (int s = 0; s < QK_SIDE_COUNT; s++)
                    qk_attention_row(&made[s].attention, h, t, row[s]);
                for (size_t j = 0; j <= t; j++) {
                    double p = (double)row[QK_PRE][j], r = (double)row[QK_POST][j], m = (p + r) / 2;
                    expected += (p > 0 ? p * log(p / m) / 2 : 0) + (r > 0 ? r * log(r / m) / 2 : 0);
                }
            }
        expected /= (double)(heads * (T - first));
        assert_true(expected > 1e-6);
        assert_true(
            fabs(shift - expected) < 2e-6 * expected); /* float32 rows, once by tiles and once whole */
        qk_layer_attention_free(&made[QK_PRE]);
        qk_layer_attention_free(&made[QK_POST]);
    }
    free(row[QK_PRE]);
    free(row[QK_POST]);
    qk_probe_close(probe);
    qk_pair_close(pair);
}

/* What a restored layer's attention on post's states is: pre's, where q and k are all that its attention
 * depends on (fixtures: norms do not differ); nearer to it than to post's in the demo pair, whose
 * input norms and gains drifted, too, and in a delta rule, whose gates did. */
static void test_restored_layer_looks_as_pre(void **state)
{
    static const struct {
        const char *family;
        bool more; /* drifted than q and k */
        double most;
    } known[] = {
        {"llama", false, 0}, {"qwen3", false, 0}, {"jet_nemotron", false, 0.03}, {"hypenet", true, 0.006}};
    (void)state;
    for (size_t f = 0; f < sizeof known / sizeof known[0]; f++) {
        char name[PATH_SIZE], post[PATH_SIZE];
        bool demo = strcmp(known[f].family, "hypenet") == 0;
        snprintf(name, sizeof name, "fixtures/%s/post/golden.safetensors", known[f].family);
        struct qk_pair *pair = open_family(known[f].family);
        const struct qk_probe_options options = {
            .states_path = {NULL, demo ? demo_path(post, "golden-post.safetensors") : data_path(post, name)}};
        struct qk_probe *probe = open_probe(pair, &options);
        for (int i = 0; i < pair->n_layers; i++) {
            struct qk_selection selection;
            struct qk_selection_patch patch;
            struct qk_layer_range current;
            double shift;
            struct qk_error err = {0};
            const struct qk_layer_ranges *ranges = &probe->layer[i];
            if (ranges->side[QK_POST].n_heads == 0)
                continue;
            expect_ok(qk_selection_init(&selection, pair->n_layers, &err), &err);
            expect_ok(
                qk_selection_set(&selection, pair, i, -1, (struct qk_choice){QK_RESTORE, 0}, &err), &err);
            expect_ok(qk_selection_patch_make(pair, &selection, -1, false, &patch, &err), &err);
            expect_ok(qk_probe_same(probe, i, &patch.patch, NULL, &current, &shift, &err), &err);
            double from_pre = range_difference(&current, &ranges->side[QK_PRE], probe->T),
                   from_post = range_difference(&current, &ranges->side[QK_POST], probe->T);
            bool all = !known[f].more && pair->layer[i].kind != QK_LINEAR; /* that its attention has */
            assert_true(from_pre <= (all ? 0 : known[f].most));
            assert_true(from_post > from_pre);
            /* this is what the probe said beforehand that a restore reaches */
            assert_true(range_difference(&current, &ranges->restored, probe->T) == 0);
            assert_true(ranges->restored_shift > 0);
            assert_true(all == (ranges->restored_shift == ranges->shift));
            /* what is left of the shift: nothing where q and k are all that attention has */
            assert_true(all ? shift < 1e-12 : shift < ranges->shift);
            qk_layer_range_free(&current);
            qk_selection_patch_free(&patch);
            qk_selection_free(&selection);
        }
        qk_probe_close(probe);
        qk_pair_close(pair);
    }
}

static enum qk_code refuse(void *context, const struct qk_tensor *tensor, void *bytes, struct qk_error *err)
{
    (void)tensor;
    (void)bytes;
    return qk_fail(err, *(const enum qk_code *)context, "refused");
}

/* A restore that is refused leaves the other ranges; any other failure is one. */
static void test_restore_refused(void **state)
{
    (void)state;
    char post[PATH_SIZE];
    struct qk_pair *pair = open_family("hypenet");
    const struct qk_probe_options options = {
        .states_path = {NULL, demo_path(post, "golden-post.safetensors")}};
    struct qk_probe *with = open_probe(pair, &options), *probe;
    enum qk_code code = QK_INPUT;
    const struct qk_patch patch = {refuse, &code, NULL};
    struct qk_error err = {0};
    expect_ok(qk_probe_open(pair, &options, &probe, &err), &err);
    expect_ok(qk_probe_run(probe, &patch, NULL, NULL, NULL, &err), &err);
    for (int i = 0; i < LAYERS; i++) {
        const struct qk_layer_ranges *a = &with->layer[i], *b = &probe->layer[i];
        for (int s = 0; s < QK_SIDE_COUNT; s++)
            assert_true(range_difference(&a->side[s], &b->side[s], probe->T) == 0);
        assert_true(a->shift == b->shift);
        assert_int_equal(b->restored.n_heads, 0);
        assert_true(isnan(b->restored_shift));
    }
    qk_probe_close(probe);
    code = QK_IO;
    expect_ok(qk_probe_open(pair, &options, &probe, &err), &err);
    expect_failure(qk_probe_run(probe, &patch, NULL, NULL, NULL, &err), &err, QK_IO, "refused");
    qk_probe_close(probe);
    qk_probe_close(with);
    qk_pair_close(pair);
}

/* --- the sides beside each other --- */

struct order {
    const struct qk_probe *probe;
    int layer[LAYERS], n;
};

static void see_ready(void *context, int layer)
{
    struct order *order = context;
    const struct qk_layer_ranges *ranges = &order->probe->layer[layer];
    assert_true(order->n < LAYERS);
    assert_true(ranges->side[QK_PRE].n_heads > 0 && ranges->side[QK_POST].n_heads > 0);
    order->layer[order->n++] = layer;
}

/* Every bit is the same as of one worker, for which the sides take turns, and as of a layer alone on the same inputs.
 * Layers are ready in order, with both. Of linear layers some blocks of queries count. */
static void test_sides_beside_each_other(void **state)
{
    (void)state;
    static const size_t WORKERS[] = {1, 2, 5};
    enum { RUNS = sizeof WORKERS / sizeof WORKERS[0], TOKENS = 1300 };
    struct qk_pair *pair = open_family("hypenet");
    struct qk_probe *probe[RUNS];
    struct qk_selection_patch restored;
    struct qk_error err = {0};
    expect_ok(qk_restored_patch_make(pair, &restored, &err), &err);
    for (int r = 0; r < RUNS; r++) {
        qk_parallel_limit(WORKERS[r]);
        const struct qk_probe_options options = {.length = TOKENS, .range = {.queries = QK_QUERIES_ALL}};
        struct qk_progress progress = {0};
        expect_ok(qk_probe_open(pair, &options, &probe[r], &err), &err);
        struct order order = {.probe = probe[r]};
        const struct qk_probe_watch watch = {&order, see_ready};
        expect_ok(qk_probe_run(probe[r], &restored.patch, NULL, &watch, &progress, &err), &err);
        assert_true(progress.done == progress.total && progress.total == 2 * (uint64_t)LAYERS);
        assert_int_equal(order.n, LAYERS);
        for (int i = 0; i < LAYERS; i++) {
            const struct qk_layer_ranges *a = &probe[0]->layer[i], *b = &probe[r]->layer[i];
            assert_int_equal(order.layer[i], i);
            for (int s = 0; s < QK_SIDE_COUNT; s++)
                assert_true(range_difference(&a->side[s], &b->side[s], TOKENS) == 0);
            assert_true(range_difference(&a->restored, &b->restored, TOKENS) == 0);
            assert_true(a->shift == b->shift && a->restored_shift == b->restored_shift);
        }
    }
    qk_parallel_limit(0);
    for (int i = 0; i < LAYERS; i++) {
        struct qk_layer_range alone;
        double shift;
        expect_ok(qk_probe_same(probe[0], i, NULL, NULL, &alone, &shift, &err), &err);
        assert_true(fabs(shift - probe[0]->layer[i].shift) <= 1e-6 * shift); /* terms are float32 */
        assert_true(range_difference(&alone, &probe[0]->layer[i].side[QK_POST], TOKENS) == 0);
        qk_layer_range_free(&alone);
    }
    for (int r = 0; r < RUNS; r++)
        qk_probe_close(probe[r]);
    qk_selection_patch_free(&restored);
    qk_pair_close(pair);
}

/* A side whose file ends too soon is reported, whichever side it is, and not the end of the other one. */
static void test_side_fails(void **state)
{
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        char folder[PATH_SIZE], file[PATH_SIZE], ids[PATH_SIZE], side[QK_SIDE_COUNT][PATH_SIZE];
        const char *name = qk_side_name((enum qk_side)s);
        struct qk_pair *pair;
        struct qk_probe *probe;
        struct qk_error err = {0};
        for (int i = 0; i < QK_SIDE_COUNT; i++)
            demo_path(side[i], qk_side_name((enum qk_side)i));
        copy_model("hypenet", name, path_in(folder, *state, name), NULL, NULL);
        memcpy(side[s], folder, sizeof folder);
        expect_ok(qk_pair_open(side[QK_PRE], side[QK_POST], &pair, &err), &err);
        write_text(path_in(ids, *state, "ids"), "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16");
        const struct qk_probe_options options = {.ids_path = ids};
        expect_ok(qk_probe_open(pair, &options, &probe, &err), &err);
        assert_int_equal(truncate(path_in(file, folder, "model.safetensors"), 1 << 20), 0);
        qk_parallel_limit(5);
        expect_failure(qk_probe_run(probe, NULL, NULL, NULL, NULL, &err), &err, QK_IO, folder);
        qk_parallel_limit(0);
        qk_probe_close(probe);
        qk_pair_close(pair);
    }
}

/* Bytes grow by the tokens' activations, and are enough for what the pass cannot do without. */
static void test_pass_bytes(void **state)
{
    (void)state;
    struct qk_pair *pair = open_family("hypenet");
    const struct qk_model *model = pair->model[QK_POST];
    struct qk_error err = {0};
    size_t bytes[3];
    for (size_t i = 0; i < 3; i++)
        expect_ok(qk_forward_bytes(model, 1 + i * 8191, &bytes[i], &err), &err);
    assert_true(bytes[2] - bytes[1] == bytes[1] - bytes[0]);
    assert_true(bytes[1] - bytes[0] > 8191 * model->layer[0].d * sizeof(float));
    assert_true(bytes[1] < 100 << 20);
    qk_pair_close(pair);
}

static void test_built_in_probe(void **state)
{
    (void)state;
    struct qk_pair *pair = open_family("hypenet");
    const struct qk_probe_options options = {0};
    struct qk_probe *probe = open_probe(pair, &options);
    assert_in_range(probe->T, 480, 512);
    assert_int_equal(probe->ids[0], 256); /* BOS */
    for (int i = 0; i < LAYERS; i++)
        assert_true(probe->layer[i].shift <= probe->layer[7].shift);
    struct qk_error err = {0};
    for (int layer = 7; layer < 9; layer++) { /* softmax, linear */
        float *row;
        expect_ok(qk_probe_rows(probe, layer, QK_POST, NULL, 300, &row, &err), &err);
        for (int h = 0; h < 4; h++) {
            double sum = 0;
            for (int s = 0; s <= 300; s++)
                sum += row[h * 301 + s];
            assert_true(fabs(sum - 1) < 1e-5); /* 300 float32 values */
        }
        free(row);
    }
    qk_probe_close(probe);
    qk_pair_close(pair);
}

static void test_one_token(void **state)
{
    (void)state;
    struct qk_pair *pair = open_family("hypenet");
    const struct qk_probe_options options = {.length = 1};
    struct qk_probe *probe = open_probe(pair, &options);
    assert_int_equal(probe->T, 1);
    for (int i = 0; i < LAYERS; i++) {
        const struct qk_layer_ranges *ranges = &probe->layer[i];
        assert_int_equal(ranges->side[QK_PRE].n_bins, 1);
        /* A coefficient times the reciprocal of itself is 1 to a rounding of float32. */
        assert_true(fabs(ranges->side[QK_PRE].layer.hist[0] - 1) < 1e-7);
        assert_true(ranges->side[QK_PRE].layer.mean == 0);
        assert_true(fabs(ranges->shift) < 1e-7);
    }
    qk_probe_close(probe);
    qk_pair_close(pair);
}

static void test_exact_without_choices_is_post(void **state)
{
    (void)state;
    struct qk_pair *pair = open_family("hypenet");
    const struct qk_probe_options options = {.length = 64};
    struct qk_probe *probe = open_probe(pair, &options);
    struct qk_layer_range *exact = calloc((size_t)pair->n_layers, sizeof *exact);
    struct qk_error err = {0};
    expect_ok(qk_probe_exact(probe, NULL, NULL, NULL, exact, &err), &err);
    for (int i = 0; i < LAYERS; i++) {
        assert_true(range_difference(&exact[i], &probe->layer[i].side[QK_POST], 64) == 0);
        qk_layer_range_free(&exact[i]);
    }
    struct qk_progress progress = {.cancel = true};
    assert_int_equal(qk_probe_exact(probe, NULL, NULL, &progress, exact, &err), QK_CANCELLED);
    assert_int_equal(qk_probe_run(probe, NULL, NULL, NULL, &progress, &err), QK_CANCELLED);
    free(exact);
    qk_probe_close(probe);
    qk_pair_close(pair);
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bins),
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_gazes),
        cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_golden_attentions),
        test_in_folder(test_states_and_pass_agree),
        cmocka_unit_test(test_states_of_families),
        cmocka_unit_test(test_windows_differ),
        cmocka_unit_test(test_restored_layer_looks_as_pre),
        cmocka_unit_test(test_restore_refused),
        cmocka_unit_test(test_sides_beside_each_other),
        test_in_folder(test_side_fails),
        cmocka_unit_test(test_pass_bytes),
        cmocka_unit_test(test_built_in_probe),
        cmocka_unit_test(test_one_token),
        cmocka_unit_test(test_exact_without_choices_is_post),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
