/* test_ops.c - the kernels of the forward pass against sums written out in float64. */
#include "helper.h"

#include "base/blas.h"
#include "forward/exponential.h"
#include "forward/ops.h"
#include "forward/recurrence.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static float *random_values(size_t n, uint64_t seed)
{
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)random_uniform(&seed);
    return x;
}

/* Float32 results of a few hundred products of numbers around 1. */
static void expect_close(double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance * fmax(1.0, fabs(expected))))
        fail_msg("found %.9g, expected %.9g", found, expected);
}

/* --- elementwise --- */

static void test_exponential(void **state)
{
    (void)state;
    enum { N = 1003 }; /* not a multiple of the lanes */
    float x[N], shifted[N];
    double sum = 0;
    for (int i = 0; i < N; i++)
        x[i] = shifted[i] = -60.0f + 0.11f * (float)i;
    float largest = qk_largest(N, x);
    assert_true(largest == x[N - 1]);
    double found = qk_exp_sum(N, largest, shifted);
    for (int i = 0; i < N; i++) {
        double expected = exp(fmax((double)(x[i] - largest), -87.0));
        sum += expected;
        if (!(fabs((double)shifted[i] / expected - 1) < 3e-7)) /* one ulp is 1.2e-7 */
            fail_msg("e^%g: found %g, expected %g", (double)(x[i] - largest), (double)shifted[i], expected);
    }
    expect_close(found, sum, 1e-7);
    float odd[3] = {0, (float)NAN, 1};
    assert_true(isnan(qk_exp_sum(3, 0, odd)));
    assert_true(isnan(odd[1]) && !isnan(odd[0]) && !isnan(odd[2]));
}

static double by_definition(enum qk_activation activation, double x)
{
    switch (activation) {
    case QK_SILU:
        return x / (1 + exp(-x));
    case QK_SIGMOID:
        return 1 / (1 + exp(-x));
    case QK_GELU:
        return x * 0.5 * erfc(-x / sqrt(2));
    case QK_RELU2:
        return x > 0 ? x * x : 0;
    case QK_IDENTITY:
        return x;
    case QK_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979) * (x + 0.044715 * x * x * x)));
    }
    return 0;
}

static void test_activations(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        enum qk_activation activation;
    } words[] = {{"silu", QK_SILU}, {"swish", QK_SILU}, {"sigmoid", QK_SIGMOID}, {"gelu", QK_GELU},
        {"gelu_new", QK_GELU_TANH}, {"gelu_pytorch_tanh", QK_GELU_TANH}, {"relu2", QK_RELU2},
        {"identity", QK_IDENTITY}};
    for (size_t w = 0; w < sizeof words / sizeof words[0]; w++) {
        enum qk_activation activation;
        assert_true(qk_activation_parse(words[w].word, &activation));
        assert_int_equal(activation, words[w].activation);
        for (int i = -400; i <= 400; i++) {
            float x = 0.05f * (float)i, y = x;
            qk_activate(activation, 1, &y);
            double expected = by_definition(activation, (double)x);
            expect_close((double)y, expected, 1e-6 * fmax(1, fabs(expected)));
        }
        float ends[2] = {-1e4f, 1e4f};
        qk_activate(activation, 2, ends);
        expect_close((double)ends[0], activation == QK_IDENTITY ? -1e4 : 0, 1e-30);
        expect_close((double)ends[1],
            activation == QK_SIGMOID ? 1
            : activation == QK_RELU2 ? 1e8
                                     : 1e4,
            1e-6);
    }
    enum qk_activation ignored;
    assert_false(qk_activation_parse("relu", &ignored));
    expect_close((double)qk_softplus(-3), log1p(exp(-3)), 1e-6);
    expect_close((double)qk_softplus(90), 90, 1e-6);
}

static void test_norms(void **state)
{
    (void)state;
    enum { T = 3, N = 13, LD = 17 };
    float *x = random_values(T * LD, 1), *gain = random_values(N, 2), *bias = random_values(N, 3),
          out[T * LD];
    qk_rms_norm(T, N, LD, x, gain, 1, 1e-6, out);
    float packed[T * N], layered[T * N];
    for (int t = 0; t < T; t++) {
        double squares = 0, mean = 0, variance = 0;
        for (int i = 0; i < N; i++) {
            squares += pow((double)x[t * LD + i], 2) / N;
            mean += (double)x[t * LD + i] / N;
            packed[t * N + i] = x[t * LD + i];
        }
        for (int i = 0; i < N; i++)
            variance += pow((double)x[t * LD + i] - mean, 2) / N;
        qk_layer_norm(1, N, packed + t * N, gain, bias, 1e-5, layered + t * N);
        for (int i = 0; i < N; i++) {
            double v = (double)x[t * LD + i];
            expect_close((double)out[t * LD + i], v / sqrt(squares + 1e-6) * (1 + (double)gain[i]), 1e-6);
            expect_close((double)layered[t * N + i],
                (v - mean) / sqrt(variance + 1e-5) * (double)gain[i] + (double)bias[i], 1e-6);
        }
        qk_l2_norm(1, N, LD, x + t * LD, 1e-6, 0.5f);
        for (int i = 0; i < N; i++)
            expect_close(
                (double)x[t * LD + i], 0.5 * (double)packed[t * N + i] / sqrt(squares * N + 1e-6), 1e-6);
    }
    free(x);
    free(gain);
    free(bias);
}

static void test_convolution(void **state)
{
    (void)state;
    enum { T = 9, C = 3, LD = 5, W = 4 };
    float *x = random_values(T * LD, 4), *kernel = random_values(C * W, 5), out[T * LD];
    memcpy(out, x, sizeof out);
    for (size_t t = T; t-- > 0;) /* in place, last token first */
        qk_convolve(t, C, LD, W, kernel, out, out + t * LD);
    for (int t = 0; t < T; t++)
        for (int c = 0; c < LD; c++) {
            double sum = c < C ? 0 : (double)x[t * LD + c]; /* the other columns stay */
            for (int i = 0; c < C && i < W; i++)
                if (t - W + 1 + i >= 0)
                    sum += (double)kernel[c * W + i] * (double)x[(t - W + 1 + i) * LD + c];
            expect_close((double)out[t * LD + c], sum, 1e-6);
        }
    free(x);
    free(kernel);
}

static void test_rope(void **state)
{
    (void)state;
    enum { T = 5, HEADS = 2, HD = 6, PAIRS = 2 };
    const float frequency[PAIRS] = {1, 0.03f};
    float cosines[T * PAIRS], sines[T * PAIRS], *x = random_values(T * HEADS * HD, 6), y[T * HEADS * HD];
    qk_rope_table(T, PAIRS, frequency, 1.5f, cosines, sines);
    for (int inter = 0; inter < 2; inter++) {
        memcpy(y, x, sizeof y);
        qk_rope(T, HEADS, HD, HEADS * HD, PAIRS, inter == 1, cosines, sines, y);
        for (int t = 0; t < T; t++)
            for (int h = 0; h < HEADS; h++) {
                const float *from = x + (t * HEADS + h) * HD, *to = y + (t * HEADS + h) * HD;
                for (int j = 0; j < PAIRS; j++) {
                    int a = inter ? 2 * j : j, b = inter ? 2 * j + 1 : j + PAIRS;
                    double angle = t * (double)frequency[j], c = 1.5 * cos(angle), s = 1.5 * sin(angle);
                    expect_close((double)to[a], (double)from[a] * c - (double)from[b] * s, 1e-6);
                    expect_close((double)to[b], (double)from[b] * c + (double)from[a] * s, 1e-6);
                }
                assert_true(to[4] == from[4] && to[5] == from[5]); /* not rotary */
            }
    }
    free(x);
}

/* --- over time --- */

enum { T = 150, NQ = 4, NK = 2, HD = 5, VD = 3, Q = 0, K = NQ * HD, V = K + NK * HD, LD = V + NQ * VD };

static struct qk_attention sample(const float *x)
{
    return (struct qk_attention){.T = T,
        .n_q = NQ,
        .n_k = NK,
        .head_dim = HD,
        .value_dim = VD,
        .scale = 0.7f,
        .q = x + Q,
        .k = x + K,
        .v = x + V,
        .q_stride = LD,
        .k_stride = LD,
        .v_stride = LD};
}

static double score(const float *x, int t, int s, int h)
{
    double sum = 0;
    for (int i = 0; i < HD; i++)
        sum += (double)x[t * LD + Q + h * HD + i] * (double)x[s * LD + K + h / (NQ / NK) * HD + i];
    return sum;
}

struct watch {
    float *maps; /* (NQ, T, T) */
    double sink[NQ][T];
    atomic_int seen[NQ][2];
};

static void see(void *context, size_t worker, const struct qk_attention_map *map)
{
    struct watch *watch = context;
    (void)worker;
    watch->seen[map->head][map->t0 / QK_ATTENTION_BLOCK]++;
    for (size_t i = 0; i < map->n; i++) {
        map_row(map, i, watch->maps + (map->head * T + map->t0 + i) * T);
        watch->sink[map->head][map->t0 + i] = map->sink != NULL ? (double)map->sink[i] : 0;
    }
}

static void check_softmax(const float *x, size_t window, float softcap, const float *sinks)
{
    struct qk_attention a = sample(x);
    struct qk_error err = {0};
    float *out = malloc(T * NQ * VD * sizeof *out), *maps = calloc((size_t)NQ * T * T, sizeof *maps), p[T];
    struct watch watch = {.maps = maps};
    const struct qk_attention_watch watcher = {.seen = see, .context = &watch};
    a.window = window;
    a.softcap = softcap;
    a.sinks = sinks;
    a.out = out;
    expect_ok(qk_softmax_attention(&a, 1, &watcher, &err), &err);
    for (int h = 0; h < NQ; h++) {
        assert_true(watch.seen[h][0] == 1 && watch.seen[h][1] == 1);
        for (int t = 0; t < T; t++) {
            double weight[T] = {0}, sink = sinks != NULL ? exp((double)sinks[h]) : 0, sum = sink,
                   mixed[VD] = {0};
            for (int s = window == 0 || t < (int)window ? 0 : t - (int)window + 1; s <= t; s++) {
                double logit = 0.7 * score(x, t, s, h);
                logit = softcap > 0 ? (double)softcap * tanh(logit / (double)softcap) : logit;
                sum += weight[s] = exp(logit);
            }
            expect_close(watch.sink[h][t], sink / sum, 1e-6);
            qk_attention_row(&a, (size_t)h, (size_t)t, p);
            for (int s = 0; s < T; s++) {
                float seen = maps[(h * T + t) * T + s];
                expect_close((double)seen, weight[s] / sum, 1e-6);
                assert_true((weight[s] == 0) == (seen == 0));
                if (s <= t)
                    expect_close((double)p[s], weight[s] / sum, 1e-6);
                for (int j = 0; j < VD; j++)
                    mixed[j] += weight[s] / sum * (double)x[s * LD + V + h / (NQ / NK) * VD + j];
            }
            for (int j = 0; j < VD; j++)
                expect_close((double)out[(t * NQ + h) * VD + j], mixed[j], 1e-6);
        }
    }
    free(out);
    free(maps);
}

static void test_softmax(void **state)
{
    (void)state;
    float *x = random_values(T * LD, 7);
    check_softmax(x, 0, 0, NULL);
    check_softmax(x, 1, 0, NULL);
    check_softmax(x, 70, 0, NULL);
    check_softmax(x, T + 9, 0.5f, NULL);
    /* Sinks below, among and far above the logits. */
    static const float sinks[NQ] = {-20, 0, 2, 30};
    check_softmax(x, 0, 0, sinks);
    check_softmax(x, 40, 1.5f, sinks);
    free(x);
}

/* Queries that cross many tiles. Logits rise to hundreds along the keys, so that sums are rescaled again and again, and
 * early keys weigh nothing. */
struct long_watch {
    float *row[2]; /* of two queries of head 1 */
    size_t query[2];
    atomic_size_t queries;
};

static void see_two(void *context, size_t worker, const struct qk_attention_map *map)
{
    struct long_watch *watch = context;
    (void)worker;
    watch->queries += map->n;
    for (int i = 0; i < 2; i++)
        if (map->head == 1 && watch->query[i] >= map->t0 && watch->query[i] < map->t0 + map->n)
            map_row(map, watch->query[i] - map->t0, watch->row[i]);
}

/* out (VD) and weights (t + 1) of a query, in float64. */
static void attend_slowly(const struct qk_attention *a, size_t h, size_t t, double *weight, double out[VD])
{
    double most = -INFINITY, sum = 0;
    const float *q = a->q + t * a->q_stride + h * HD;
    memset(out, 0, VD * sizeof *out);
    for (size_t s = 0; s <= t; s++) {
        const float *k = a->k + s * a->k_stride + h / (a->n_q / a->n_k) * HD;
        weight[s] = 0;
        for (size_t i = 0; i < HD; i++)
            weight[s] += (double)a->scale * (double)q[i] * (double)k[i];
        if (s < qk_first_key(a->window, t))
            weight[s] = -INFINITY;
        most = fmax(most, weight[s]);
    }
    for (size_t s = 0; s <= t; s++)
        sum += weight[s] = exp(weight[s] - most);
    for (size_t s = 0; s <= t; s++) {
        weight[s] /= sum;
        for (size_t i = 0; i < VD; i++)
            out[i] += weight[s] * (double)a->v[s * a->v_stride + h / (a->n_q / a->n_k) * VD + i];
    }
}

static void check_long(const struct qk_attention *of, size_t from)
{
    enum { LONG = 1501 };
    static double weight[LONG];
    static float out[3][LONG * NQ * VD], row[3][LONG];
    struct qk_attention a = *of;
    struct qk_error err = {0};
    struct long_watch watch = {.row = {row[0], row[1]}, .query = {from, LONG - 1}};
    struct qk_attention_watch watcher = {.seen = see_two, .context = &watch, .from = from};
    a.out = out[0];
    expect_ok(qk_softmax_attention(&a, 1, NULL, &err), &err);
    a.out = out[1];
    expect_ok(qk_softmax_attention(&a, 1, &watcher, &err), &err);
    assert_int_equal(watch.queries, NQ * (LONG - from / QK_ATTENTION_BLOCK * QK_ATTENTION_BLOCK));
    watcher.seen = NULL;
    a.out = out[2];
    expect_ok(qk_softmax_attention(&a, 1, &watcher, &err), &err);
    assert_memory_equal(out[1], out[2], sizeof out[1]);
    for (size_t h = 0; h < NQ; h++)
        for (size_t t = h; t < LONG; t += h == 1 ? 1 : 83) { /* every edge of a window and a tile */
            double expected[VD];
            attend_slowly(&a, h, t, weight, expected);
            /* Logits of 300 are off by 300 roundings of 6e-8, and weights by as much of themselves. */
            for (size_t i = 0; i < VD; i++)
                for (int run = 0; run < 2; run++)
                    expect_close((double)out[run][(t * NQ + h) * VD + i], expected[i], 5e-5);
        }
    for (int i = 0; i < 2; i++) {
        double unused[VD];
        attend_slowly(&a, 1, watch.query[i], weight, unused);
        qk_attention_row(&a, 1, watch.query[i], row[2]);
        for (size_t s = 0; s <= watch.query[i]; s++) {
            expect_close((double)row[i][s], weight[s], 5e-5);
            expect_close((double)row[2][s], weight[s], 5e-5);
            assert_true(s >= qk_first_key(a.window, watch.query[i]) || (row[i][s] == 0 && row[2][s] == 0));
        }
    }
}

static void test_tiles(void **state)
{
    (void)state;
    enum { LONG = 1501 };
    float *x = random_values((size_t)LONG * LD, 13);
    struct qk_attention a = sample(x);
    a.T = LONG;
    for (size_t t = 0; t < LONG; t++)
        for (size_t i = 0; i < NK * HD; i++)
            x[t * LD + K + i] *= (float)t * 0.2f;
    check_long(&a, 0);
    check_long(&a, LONG / 2);
    a.window = 1;
    check_long(&a, LONG / 2);
    a.window = 300;
    check_long(&a, 1000);
    a.window = 700;
    check_long(&a, 100);
    free(x);
}

static void test_lightning(void **state)
{
    (void)state;
    float *x = random_values(T * LD, 8), *out = malloc(T * NQ * VD * sizeof *out), slope[NQ];
    struct qk_attention a = sample(x);
    struct qk_error err = {0};
    qk_alibi_slopes(NQ, slope);
    a.out = out;
    expect_ok(qk_lightning_attention(&a, 1, slope, &err), &err);
    for (int h = 0; h < NQ; h++)
        for (int t = 0; t < T; t++)
            for (int j = 0; j < VD; j++) {
                double sum = 0;
                for (int s = 0; s <= t; s++)
                    sum += exp(-(double)slope[h] * (t - s)) * 0.7 * score(x, t, s, h) *
                           (double)x[s * LD + V + h / (NQ / NK) * VD + j];
                expect_close((double)out[(t * NQ + h) * VD + j], sum, 1e-5);
            }
    free(x);
    free(out);
}

static void test_slopes(void **state)
{
    (void)state;
    float four[4], six[6];
    qk_alibi_slopes(4, four);
    qk_alibi_slopes(6, six);
    /* Press et al.'s own: 2^-2 2^-4 2^-6 2^-8, and for six heads two of eight's: 2^-1 2^-3. */
    for (int h = 0; h < 4; h++)
        assert_true(four[h] == ldexpf(1, -2 * (h + 1)) && six[h] == four[h]);
    assert_true(six[4] == 0.5f && six[5] == 0.125f);
}

/* The gated delta rule of value head h, token by token in float64, from and to state (head_dim, value_dim). out (T,
 * value_dim). */
static void delta_slowly(
    const struct qk_attention *a, const struct qk_gates *gates, size_t h, double *state, double *out)
{
    size_t dk = a->head_dim, dv = a->value_dim, key = h / (a->n_q / a->n_k);
    for (size_t t = 0; t < a->T; t++) {
        const float *q = a->q + t * a->q_stride + key * dk, *k = a->k + t * a->k_stride + key * dk,
                    *v = a->v + t * a->v_stride + h * dv;
        double g = (double)gates->g[t * a->n_q + h], beta = (double)gates->beta[t * a->n_q + h];
        for (size_t j = 0; j < dv; j++) {
            double memory = 0, read = 0;
            for (size_t i = 0; i < dk; i++) {
                state[i * dv + j] *= exp(g);
                memory += state[i * dv + j] * (double)k[i];
            }
            for (size_t i = 0; i < dk; i++) {
                state[i * dv + j] += (double)k[i] * beta * ((double)v[j] - memory);
                read += state[i * dv + j] * (double)q[i];
            }
            out[t * dv + j] = read;
        }
    }
}

static void test_delta_rule(void **state)
{
    (void)state;
    float *x = random_values(T * LD, 9), *g = random_values(T * NQ, 10), *beta = random_values(T * NQ, 11);
    float *out = malloc(T * NQ * VD * sizeof *out);
    struct qk_attention a = sample(x);
    const struct qk_gates gates = {g, beta};
    struct qk_error err = {0};
    for (int i = 0; i < T * NQ; i++) {
        g[i] = -fabsf(g[i]);
        beta[i] = 0.5f * fabsf(beta[i]);
    }
    a.out = out;
    expect_ok(qk_gated_delta_rule(&a, &gates, 1, &err), &err);
    for (size_t h = 0; h < NQ; h++) {
        double kept[HD * VD] = {0}, expected[T * VD];
        delta_slowly(&a, &gates, h, kept, expected);
        for (size_t i = 0; i < T * VD; i++)
            expect_close((double)out[(i / VD * NQ + h) * VD + i % VD], expected[i], 1e-5);
    }
    free(x);
    free(g);
    free(beta);
    free(out);
}

/* --- the delta rule by chunks --- */

enum { D_T = 203, D_NV = 4, D_NK = 2, D_DK = 24, D_DV = 40, D_LD = 2 * D_NK * D_DK + D_NV * D_DV };

/* Inputs that are hard for chunks. A gate is g or beta of token t, from a number of -1 to 1. */
struct delta_case {
    float (*g)(size_t t, float number), (*beta)(size_t t, float number);
    float apart; /* how far keys differ from each other */
};

static float mild(size_t t, float number)
{
    (void)t;
    return -0.1f * fabsf(number);
}
/* Nearly nothing, a chunk's whole reach of float32 in one step, and more than that, in turn. */
static float strong(size_t t, float number)
{
    static const float levels[] = {0, -1e-6f, -30, 0, -200, -1, -1e20f, -0.5f, -INFINITY, 0, 0};
    return number < -0.5f ? levels[t % (sizeof levels / sizeof *levels)] : -0.01f;
}
static float none(size_t t, float number)
{
    (void)t;
    return 0 * number;
}
static float middle(size_t t, float number)
{
    (void)t;
    return 0.5f + 0.5f * number;
}
static float extreme(size_t t, float number)
{
    return t % 3 == 0 ? 0 : t % 3 == 1 ? 1 : number > 0 ? 1 - 1e-6f : 1e-7f;
}

static const struct delta_case DELTA_CASES[] = {{mild, middle, 1}, {strong, middle, 1}, {strong, extreme, 1},
    {none, extreme, 1}, {none, extreme, 1e-3f}, {none, middle, 0}, {mild, extreme, 0}};

/* Keys of length 1 around one direction, queries of length 1 / sqrt(D_DK), as a layer makes them. */
static void shape_delta(float *x, float apart)
{
    for (size_t t = 0; t < D_T; t++)
        for (size_t part = 0; part < 2 * D_NK; part++) {
            float *row = x + t * D_LD + part * D_DK;
            for (size_t i = 0; i < D_DK && part >= D_NK; i++)
                row[i] = 1 + apart * 4 * row[i];
            qk_l2_norm(1, D_DK, D_DK, row, 1e-6, part < D_NK ? 1 / sqrtf(D_DK) : 1);
        }
}

static void check_delta(const struct delta_case *c, uint64_t seed)
{
    static const size_t ends[] = {64, 65, 67, D_T, D_T}; /* calls, the state between them */
    static double expected[D_T * D_DV], end[D_DK * D_DV];
    float *x = random_values(D_T * D_LD, seed), *g = random_values(D_T * D_NV, seed + 1),
          *beta = random_values(D_T * D_NV, seed + 2), *start = random_values(D_NV * D_DK * D_DV, seed + 3);
    static float out[2][D_T * D_NV * D_DV], state[D_NV * D_DK * D_DV], whole[D_NV * D_DK * D_DV];
    struct qk_attention a = {.n_q = D_NV,
        .n_k = D_NK,
        .head_dim = D_DK,
        .value_dim = D_DV,
        .scale = 1,
        .q_stride = D_LD,
        .k_stride = D_LD,
        .v_stride = D_LD};
    struct qk_error err = {0};
    shape_delta(x, c->apart);
    for (size_t i = 0; i < D_T * D_NV; i++) {
        g[i] = c->g(i / D_NV, g[i]);
        beta[i] = c->beta(i / D_NV, beta[i]);
    }
    memcpy(state, start, sizeof state);
    memcpy(whole, start, sizeof whole);
    for (size_t i = 0; i < 5; i++) { /* the last call has all tokens */
        size_t t = i == 0 || i == 4 ? 0 : ends[i - 1];
        a.T = ends[i] - t;
        a.q = x + t * D_LD;
        a.k = a.q + D_NK * D_DK;
        a.v = a.k + D_NK * D_DK;
        a.out = out[i == 4] + t * D_NV * D_DV;
        a.state = i == 4 ? whole : state;
        expect_ok(qk_gated_delta_rule(&a, &(struct qk_gates){g + t * D_NV, beta + t * D_NV}, 1, &err), &err);
    }
    for (size_t h = 0; h < D_NV; h++) {
        for (size_t i = 0; i < D_DK * D_DV; i++)
            end[i] = (double)start[h * D_DK * D_DV + i];
        delta_slowly(
            &a, &(struct qk_gates){g, beta}, h, end, expected); /* of all tokens, as in the last call */
        /* Numbers are around 1, and a rounding of 6e-8 happens to each of up to 200 terms that a number is a sum of.
         * The rule forgets: no rounding grows from one token to the next. */
        for (size_t i = 0; i < D_T * D_DV; i++)
            for (int run = 0; run < 2; run++)
                expect_close((double)out[run][(i / D_DV * D_NV + h) * D_DV + i % D_DV], expected[i], 5e-6);
        for (size_t i = 0; i < D_DK * D_DV; i++) {
            expect_close((double)state[h * D_DK * D_DV + i], end[i], 5e-6);
            expect_close((double)whole[h * D_DK * D_DV + i], end[i], 5e-6);
        }
    }
    free(x);
    free(g);
    free(beta);
    free(start);
}

static void test_delta_chunks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof DELTA_CASES / sizeof *DELTA_CASES; i++)
        check_delta(&DELTA_CASES[i], 20 + 10 * i);
}

static void test_cancelled(void **state)
{
    (void)state;
    float *x = random_values(T * LD, 12), *out = malloc(T * NQ * VD * sizeof *out), slope[NQ],
          gates[T * NQ] = {0};
    struct qk_attention a = sample(x);
    struct qk_progress progress = {.cancel = true};
    struct qk_error err = {0};
    qk_alibi_slopes(NQ, slope);
    a.progress = &progress;
    a.out = out;
    assert_int_equal(qk_softmax_attention(&a, 1, NULL, &err), QK_CANCELLED);
    assert_int_equal(qk_lightning_attention(&a, 1, slope, &err), QK_CANCELLED);
    assert_int_equal(qk_gated_delta_rule(&a, &(struct qk_gates){gates, gates}, 1, &err), QK_CANCELLED);
    free(x);
    free(out);
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exponential),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_convolution),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_lightning),
        cmocka_unit_test(test_slopes),
        cmocka_unit_test(test_delta_rule),
        cmocka_unit_test(test_delta_chunks),
        cmocka_unit_test(test_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
