/* test_float32.c - float32 conversions and sums in vector code, against float64 and value by value. */
#include "tensor/float32.h"

#include "helper.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Every pattern of the small formats, at every alignment of the vectors' ends. */
static void test_every_small_value_is_exact(void **state)
{
    (void)state;
    static const enum qk_dtype dtypes[] = {QK_BF16, QK_F16, QK_F8_E4M3, QK_F8_E5M2};
    static unsigned char bytes[2 * 65536];
    static float found[65536];
    static double expected[65536];
    for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++) {
        size_t size = qk_dtype_bits(dtypes[d]) / 8, n = size == 1 ? 256 : 65536;
        for (size_t i = 0; i < n; i++) {
            uint16_t code = (uint16_t)i;
            memcpy(bytes + size * i, &code, size);
        }
        qk_dtype_to_f64(dtypes[d], bytes, n, expected);
        for (size_t cut = 0; cut < 40; cut++) {
            memset(found, 0x55, sizeof found);
            qk_dtype_to_f32(dtypes[d], bytes + size * cut, n - 2 * cut, found);
            for (size_t i = 0; i < n - 2 * cut; i++) {
                double value = expected[cut + i];
                if (isnan(value) ? !isnan(found[i])
                                 : (double)found[i] != value || !signbit(found[i]) != !signbit(value))
                    fail_msg("%s %zx: found %g, expected %g", qk_dtype_name(dtypes[d]), cut + i,
                        (double)found[i], value);
            }
            uint32_t beyond;
            memcpy(&beyond, &found[n - 2 * cut > 65535 ? 65535 : n - 2 * cut], sizeof beyond);
            if (cut > 0)
                assert_int_equal(beyond, 0x55555555);
        }
    }
}

static void test_wide_values(void **state)
{
    (void)state;
    const double wide[] = {1.0 / 3, -1e-300, 1e300, 0.0};
    const float single[] = {1.0F / 3, -0.0F, INFINITY, 0.0F};
    float out[4];
    qk_dtype_to_f32(QK_F64, wide, 4, out);
    assert_memory_equal(out, single, sizeof out);
    qk_dtype_to_f32(QK_F32, single, 4, out);
    assert_memory_equal(out, single, sizeof out);
    assert_true(qk_dtype_is_single(QK_F32) && qk_dtype_is_single(QK_F8_E4M3));
    assert_false(qk_dtype_is_single(QK_F64) || qk_dtype_is_single(QK_I32));
}

enum { MOST = 5000 };
static float a[MOST], b[MOST], e[MOST];
static uint16_t half_a[MOST], half_b[MOST];

/* bfloat16 values, so that both ways to add up see the same ones. */
static void fill(void)
{
    uint64_t seed = 3;
    for (size_t i = 0; i < MOST; i++) {
        double x = random_uniform(&seed), y = x + 0.1 * random_uniform(&seed);
        qk_dtype_from_f64(QK_BF16, &x, 1, &half_a[i]);
        qk_dtype_from_f64(QK_BF16, &y, 1, &half_b[i]);
    }
    qk_dtype_to_f32(QK_BF16, half_a, MOST, a);
    qk_dtype_to_f32(QK_BF16, half_b, MOST, b);
}

static void near_sum(double found, double expected, double size)
{
    if (!(fabs(found - expected) <= 1e-7 * size)) /* the header's promise */
        fail_msg("found %.12g, expected %.12g", found, expected);
}

static void test_sums(void **state)
{
    (void)state;
    static const size_t counts[] = {0, 1, 15, 16, 17, 31, 33, 1023, 1024, 1025, 1040, 4999, 5000};
    fill();
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        size_t n = counts[c];
        double aa = 0, ae = 0, ee = 0, size = 0;
        for (size_t i = 0; i < n; i++) {
            double x = (double)a[i], d = (double)b[i] - x;
            aa += x * x;
            ae += x * d;
            size += fabs(x * d);
            ee += d * d;
        }
        memset(e, 0x55, sizeof e);
        struct qk_pair_sums sums = qk_pair_sums(n, a, b, e);
        struct qk_pair_sums halves = qk_pair_sums_bf16(n, half_a, half_b);
        for (size_t i = 0; i < n; i++)
            assert_true(e[i] == b[i] - a[i]);
        uint32_t beyond;
        memcpy(&beyond, &e[n < MOST ? n : 0], sizeof beyond);
        assert_true(n == MOST || beyond == 0x55555555);
        near_sum(sums.aa, aa, aa);
        near_sum(sums.ae, ae, size);
        near_sum(sums.ee, ee, ee);
        near_sum(halves.aa, aa, aa);
        near_sum(halves.ae, ae, size);
        near_sum(halves.ee, ee, ee);
    }
}

static void test_a_value_that_is_not_finite_shows(void **state)
{
    (void)state;
    for (size_t at = 0; at < 100; at += 7) {
        fill();
        a[at] = at % 2 == 0 ? NAN : INFINITY;
        half_b[at] = 0xff80; /* -infinity */
        assert_true(!isfinite(qk_pair_sums(100, a, b, e).aa));
        assert_true(!isfinite(qk_pair_sums_bf16(100, half_a, half_b).ee));
    }
}

static void test_add_to_f64(void **state)
{
    (void)state;
    double sum[37];
    fill();
    for (size_t i = 0; i < 37; i++)
        sum[i] = (double)i;
    qk_add_to_f64(35, a, sum);
    for (size_t i = 0; i < 37; i++)
        assert_true(sum[i] == (double)i + (i < 35 ? (double)a[i] : 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_small_value_is_exact),
        cmocka_unit_test(test_wide_values),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_a_value_that_is_not_finite_shows),
        cmocka_unit_test(test_add_to_f64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
