/* test_gemm.c - products of forward passes beside sums in float64, in float32 and in bfloat16. */
#include "base/blas.h"
#include "base/parallel.h"
#include "forward/bfloat16.h"
#include "helper.h"
#include "linalg/gemm.h"
#include "linalg/kernels.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 70, COLUMNS = 131, INNER = 515, LD = 140 };

static float a[ROWS * INNER], b[COLUMNS * INNER], turned[INNER * COLUMNS], out[ROWS * LD], again[ROWS * LD];
static uint16_t half_a[ROWS * INNER], half_b[COLUMNS * INNER];

static float float_of(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Values from -0.5 to 0.5. */
static void fill(float *x, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(seed >> 8) * 0x1p-24f - 0.5f;
    }
}

static int begin(void **state)
{
    (void)state;
    struct qk_kernels_choice choice;
    struct qk_error wrong, err;
    fill(a, ROWS * INNER, 1);
    fill(b, COLUMNS * INNER, 2);
    for (size_t j = 0; j < COLUMNS; j++)
        for (size_t k = 0; k < INNER; k++)
            turned[k * COLUMNS + j] = b[j * INNER + k];
    qk_to_bfloat16(ROWS * INNER, a, half_a);
    qk_to_bfloat16(COLUMNS * INNER, b, half_b);
    return qk_kernels_load(&choice, &wrong, &err) == QK_OK ? 0 : -1;
}

/* The sum of INNER products in float32, in any order, is off by at most INNER roundings of sums below INNER / 4, the
 * sum of |a b|. As a rule it is off by far less. */
static const double ALLOWED = INNER * (INNER / 4.0) * FLT_EPSILON;

static double sum_of(const float *x, const float *y)
{
    double sum = 0;
    for (size_t k = 0; k < INNER; k++)
        sum += (double)x[k] * (double)y[k];
    return sum;
}

static void test_float32(void **state)
{
    (void)state;
    for (int transposed = 0; transposed < 2; transposed++) {
        for (size_t i = 0; i < ROWS * LD; i++)
            out[i] = 1;
        qk_gemm(transposed, ROWS, COLUMNS, INNER, 0.5f, a, INNER, transposed ? b : turned,
            transposed ? INNER : COLUMNS, 2.0f, out, LD);
        for (size_t i = 0; i < ROWS; i++) {
            for (size_t j = 0; j < COLUMNS; j++)
                assert_true(
                    fabs(out[i * LD + j] - (2 + 0.5 * sum_of(a + i * INNER, b + j * INNER))) < ALLOWED);
            for (size_t j = COLUMNS; j < LD; j++)
                assert_true(out[i * LD + j] == 1);
        }
    }
}

/* Ties go to even, NaN stays NaN, and what is too large becomes infinite. */
static void test_rounding(void **state)
{
    (void)state;
    const float x[] = {1.0f, 1.00390625f, 1.01171875f, -1.0039064f, FLT_MAX, -INFINITY, NAN, 0x1p-130f, -0.0f,
        1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 3.0f, -2.5f, NAN};
    const uint16_t expected[] = {0x3f80, 0x3f80, 0x3f82, 0xbf81, 0x7f80, 0xff80, 0, 0x0008, 0x8000, 0x3f80,
        0x3f80, 0x3f80, 0x3f80, 0x3f80, 0x3f80, 0x3f80, 0x4040, 0xc020, 0};
    enum { N = sizeof x / sizeof x[0] };
    uint16_t half[N + 1] = {[N] = 7};
    qk_to_bfloat16(N, x, half);
    for (size_t i = 0; i < N; i++) {
        if (isnan(x[i]))
            assert_true(isnan(float_of(half[i])));
        else
            assert_int_equal(half[i], expected[i]);
    }
    assert_int_equal(half[N], 7);
}

/* Products of bfloat16 values are exact in float32, so only sums are rounded. */
static void test_bfloat16(void **state)
{
    (void)state;
    struct qk_error err;
    if (qk_precision_set(QK_BFLOAT16, &err) != QK_OK) {
        assert_non_null(strstr(err.text, "bfloat16 products need"));
        assert_int_equal(qk_precision(), QK_FLOAT32);
        not_here(err.text);
    }
    assert_int_equal(qk_precision_set(QK_FLOAT32, &err), QK_OK);
    memset(out, 0, sizeof out);
    qk_gemm_bfloat16(ROWS, COLUMNS, INNER, half_a, half_b, 0, out, LD);
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < COLUMNS; j++) {
            double sum = 0;
            for (size_t k = 0; k < INNER; k++)
                sum += (double)float_of(half_a[i * INNER + k]) * (double)float_of(half_b[j * INNER + k]);
            assert_true(fabs(out[i * LD + j] - sum) < ALLOWED);
        }
    qk_gemm_bfloat16(ROWS, COLUMNS, INNER, half_a, half_b, 1, out, LD);
    for (size_t i = 0; i < ROWS; i++)
        assert_true(fabs(out[i * LD] - 2 * sum_of(a + i * INNER, b)) < 0.02 * INNER);
}

struct product {
    float *out;
};

static void multiply_item(void *context, size_t item, size_t worker)
{
    const struct product *product = context;
    enum { PART = 10 };
    (void)worker;
    qk_gemm(true, PART, COLUMNS, INNER, 1, a + item * PART * INNER, INNER, b, INNER, 0,
        product->out + item * PART * LD, LD);
}

/* Bits do not depend on which thread multiplies, nor on what others multiply meanwhile. */
static void test_threads(void **state)
{
    (void)state;
    struct product one = {out}, many = {again};
    memset(out, 0, sizeof out);
    memset(again, 0, sizeof again);
    qk_parallel_limit(1);
    qk_parallel_for(ROWS / 10, multiply_item, &one, NULL);
    qk_parallel_limit(5);
    qk_parallel_for(ROWS / 10, multiply_item, &many, NULL);
    assert_memory_equal(out, again, sizeof out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float32),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_bfloat16),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
