/* test_ops.c - the kernels of the forward pass against sums written out in float64. */
#include "helper.h"

#include "base/blas.h"
#include "forward/attention.h"
#include "forward/exponential.h"
#include "forward/ops.h"

#include <math.h>
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
        {"gelu_new", QK_GELU_TANH}, {"gelu_pytorch_tanh", QK_GELU_TANH}};
    for (size_t w = 0; w < sizeof words / sizeof words[0]; w++) {
        enum qk_activation activation;
        assert_true(qk_activation_parse(words[w].word, &activation));
        assert_int_equal(activation, words[w].activation);
        for (int i = -400; i <= 400; i++) {
            float x = 0.05f * (float)i, y = x;
            qk_activate(activation, 1, &y);
            expect_close((double)y, by_definition(activation, (double)x), 1e-6);
        }
        float ends[2] = {-1e4f, 1e4f};
        qk_activate(activation, 2, ends);
        expect_close((double)ends[0], 0, 1e-30);
        expect_close((double)ends[1], activation == QK_SIGMOID ? 1 : 1e4, 1e-6);
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
    size_t next[NQ];
};

static void see(void *context, size_t worker, size_t head, size_t t0, size_t n, const float *p, size_t ld)
{
    struct watch *watch = context;
    (void)worker;
    assert_int_equal(watch->next[head], t0);
    watch->next[head] = t0 + n;
    for (size_t i = 0; i < n; i++)
        memcpy(watch->maps + (head * T + t0 + i) * T, p + i * ld, (t0 + n) * sizeof *p);
}

static void check_softmax(const float *x, size_t window, float softcap)
{
    struct qk_attention a = sample(x);
    struct qk_error err = {0};
    float *out = malloc(T * NQ * VD * sizeof *out), *maps = calloc((size_t)NQ * T * T, sizeof *maps),
          p[3 * T];
    struct watch watch = {.maps = maps};
    a.window = window;
    a.softcap = softcap;
    a.out = out;
    expect_ok(qk_softmax_attention(&a, 1, see, &watch, &err), &err);
    for (int h = 0; h < NQ; h++) {
        assert_int_equal(watch.next[h], T);
        for (int t = 0; t < T; t++) {
            double weight[T] = {0}, sum = 0, mixed[VD] = {0};
            for (int s = window == 0 || t < (int)window ? 0 : t - (int)window + 1; s <= t; s++) {
                double logit = 0.7 * score(x, t, s, h);
                logit = softcap > 0 ? (double)softcap * tanh(logit / (double)softcap) : logit;
                sum += weight[s] = exp(logit);
            }
            qk_attention_block(&a, (size_t)h, (size_t)t, 1, p, T);
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
    check_softmax(x, 0, 0);
    check_softmax(x, 1, 0);
    check_softmax(x, 70, 0);
    check_softmax(x, T + 9, 0.5f);
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

static void test_delta_rule(void **state)
{
    (void)state;
    float *x = random_values(T * LD, 9), *g = random_values(T * NQ, 10), *beta = random_values(T * NQ, 11);
    float *out = malloc(T * NQ * VD * sizeof *out);
    struct qk_attention a = sample(x);
    struct qk_error err = {0};
    for (int i = 0; i < T * NQ; i++) {
        g[i] = -fabsf(g[i]);
        beta[i] = 0.5f * fabsf(beta[i]);
    }
    a.out = out;
    expect_ok(qk_gated_delta_rule(&a, &(struct qk_gates){g, beta}, 1, &err), &err);
    for (int h = 0; h < NQ; h++) {
        double S[HD][VD] = {{0}};
        int key = h / (NQ / NK);
        for (int t = 0; t < T; t++) {
            const float *q = x + t * LD + Q + key * HD, *k = x + t * LD + K + key * HD,
                        *v = x + t * LD + V + h * VD;
            for (int j = 0; j < VD; j++) {
                double memory = 0, read = 0;
                for (int i = 0; i < HD; i++) {
                    S[i][j] *= exp((double)g[t * NQ + h]);
                    memory += S[i][j] * (double)k[i];
                }
                for (int i = 0; i < HD; i++) {
                    S[i][j] += (double)k[i] * (double)beta[t * NQ + h] * ((double)v[j] - memory);
                    read += S[i][j] * (double)q[i];
                }
                expect_close((double)out[(t * NQ + h) * VD + j], read, 1e-5);
            }
        }
    }
    free(x);
    free(g);
    free(beta);
    free(out);
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
    assert_int_equal(qk_softmax_attention(&a, 1, NULL, NULL, &err), QK_CANCELLED);
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
        cmocka_unit_test(test_lightning),
        cmocka_unit_test(test_slopes),
        cmocka_unit_test(test_delta_rule),
        cmocka_unit_test(test_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
