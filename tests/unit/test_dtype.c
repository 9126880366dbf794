/* test_dtype.c - number formats: every pattern of the small ones, rounding at every tie, overflow and NaN.
 *
 * Conversions are exact or correctly rounded, so every comparison here is for equality. */
#include "helper.h"

#include "tensor/dtype.h"

#include <fenv.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A small format by its definition: sign, exponent bits, mantissa bits. */
struct format {
    enum qk_dtype dtype;
    int exponent_bits, mantissa_bits;
};
static const struct format F16 = {QK_F16, 5, 10}, BF16 = {QK_BF16, 8, 7};

/* (-1)^s 2^(e-bias) 1.m, or 2^(1-bias) 0.m for e = 0, as IEEE 754 writes it. */
static double by_definition(const struct format *f, unsigned bits)
{
    unsigned mantissa = bits & ((1u << f->mantissa_bits) - 1);
    unsigned exponent = bits >> f->mantissa_bits & ((1u << f->exponent_bits) - 1);
    double sign = bits >> (f->mantissa_bits + f->exponent_bits) ? -1.0 : 1.0;
    int bias = (1 << (f->exponent_bits - 1)) - 1;
    double fraction = (double)mantissa / (double)(1u << f->mantissa_bits);
    if (exponent == 0)
        return sign * pow(2.0, 1 - bias) * fraction;
    return sign * pow(2.0, (double)exponent - bias) * (1.0 + fraction);
}

static bool same_number(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0; /* the sign of zero counts, too */
}

/* Alone, and among so many that whole blocks are converted at once: it must not make a difference. */
enum { MANY = 37 };
static void write_value(enum qk_dtype dtype, double value, void *bits, size_t *overflows)
{
    size_t size = qk_dtype_bits(dtype) / 8;
    double values[MANY];
    unsigned char many[MANY * sizeof(double)];
    *overflows = qk_dtype_from_f64(dtype, &value, 1, bits);
    for (int i = 0; i < MANY; i++)
        values[i] = value;
    assert_int_equal(qk_dtype_from_f64(dtype, values, MANY, many), MANY * *overflows);
    for (size_t i = 0; i < MANY; i++)
        if (memcmp(many + i * size, bits, size) != 0)
            fail_msg("%a is rounded differently at place %zu", value, i);
}

static double read16(enum qk_dtype dtype, uint16_t bits)
{
    double value, values[MANY];
    uint16_t many[MANY];
    qk_dtype_to_f64(dtype, &bits, 1, &value);
    for (int i = 0; i < MANY; i++)
        many[i] = bits;
    qk_dtype_to_f64(dtype, many, MANY, values);
    for (size_t i = 0; i < MANY; i++)
        assert_memory_equal(&values[i], &value, sizeof value);
    return value;
}

static uint16_t write16(enum qk_dtype dtype, double value, size_t *overflows)
{
    uint16_t bits;
    write_value(dtype, value, &bits, overflows);
    return bits;
}

static void check_all_patterns(const struct format *f)
{
    uint16_t infinity = (uint16_t)(((1u << f->exponent_bits) - 1) << f->mantissa_bits);
    size_t overflows;
    for (unsigned bits = 0; bits < 1u << 16; bits++) {
        double value = read16(f->dtype, (uint16_t)bits);
        uint16_t back = write16(f->dtype, value, &overflows);
        assert_int_equal(overflows, 0);
        if ((bits & 0x7fff) > infinity) { /* NaN: quiet, and its sign */
            assert_true(isnan(value));
            assert_int_equal(back, (bits & 0x8000) | infinity | 1u << (f->mantissa_bits - 1));
            continue;
        }
        if ((bits & 0x7fff) == infinity)
            assert_true(value == (bits & 0x8000 ? -HUGE_VAL : HUGE_VAL));
        else
            assert_true(same_number(value, by_definition(f, bits)));
        assert_int_equal(back, bits);
    }
}

static void test_all_patterns_round_trip(void **state)
{
    (void)state;
    check_all_patterns(&F16);
    check_all_patterns(&BF16);
}

/* Between each number and the next: the tie goes to the even one, the neighbours of the tie to the nearer. */
static void check_ties(const struct format *f)
{
    unsigned infinity = ((1u << f->exponent_bits) - 1) << f->mantissa_bits;
    for (unsigned bits = 0; bits < infinity; bits++) {
        bool last = bits + 1 == infinity; /* above the greatest number: infinity from the tie on */
        double low = by_definition(f, bits),
               high = last ? low + (low - by_definition(f, bits - 1)) : by_definition(f, bits + 1);
        double tie = low + (high - low) / 2;
        const double values[] = {tie, nextafter(tie, 0), nextafter(tie, HUGE_VAL), nextafter(low, HUGE_VAL)};
        const unsigned expected[] = {bits + (bits & 1), bits, bits + 1, bits};
        for (int i = 0; i < 4; i++) {
            size_t overflows;
            assert_int_equal(write16(f->dtype, values[i], &overflows), expected[i]);
            assert_int_equal(overflows, expected[i] == infinity);
            assert_int_equal(write16(f->dtype, -values[i], &overflows), expected[i] | 0x8000);
            assert_int_equal(overflows, expected[i] == infinity);
        }
    }
}

static void test_ties_go_to_even(void **state)
{
    (void)state;
    check_ties(&F16);
    check_ties(&BF16);
}

/* Just above the tie of two BF16 numbers, but by less than float32 resolves: rounding twice would fall. */
static void test_rounds_once(void **state)
{
    (void)state;
    size_t overflows;
    double value = 1.0 + 0x1p-8 + 0x1p-40;
    assert_int_equal(write16(QK_BF16, value, &overflows), 0x3f81);
    assert_int_equal(write16(QK_BF16, (double)(float)value, &overflows), 0x3f80);
    assert_int_equal(write16(QK_F16, 1.0 + 0x1p-11 + 0x1p-40, &overflows), 0x3c01);
}

static void test_far_values(void **state)
{
    (void)state;
    static const struct {
        double value;
        uint16_t f16, bf16;
        size_t overflow16, overflowb;
    } rows[] = {{1e300, 0x7c00, 0x7f80, 1, 1}, {-1e300, 0xfc00, 0xff80, 1, 1}, {1e-300, 0, 0, 0, 0},
        {-1e-300, 0x8000, 0x8000, 0, 0}, {5e-324, 0, 0, 0, 0}, {0.0, 0, 0, 0, 0},
        {-0.0, 0x8000, 0x8000, 0, 0}, {HUGE_VAL, 0x7c00, 0x7f80, 0, 0}, {-HUGE_VAL, 0xfc00, 0xff80, 0, 0},
        {65504, 0x7bff, 0x4780, 0, 0}, {0x1p-24, 0x0001, 0x3380, 0, 0}, {0x1p-25, 0x0000, 0x3300, 0, 0},
        {0x1.8p-25, 0x0001, 0x3340, 0, 0}, {0x1p-133, 0, 0x0001, 0, 0}, {0x1p-134, 0, 0x0000, 0, 0},
        {0x1.000001p-134, 0, 0x0001, 0, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t overflows;
        assert_int_equal(write16(QK_F16, rows[i].value, &overflows), rows[i].f16);
        assert_int_equal(overflows, rows[i].overflow16);
        assert_int_equal(write16(QK_BF16, rows[i].value, &overflows), rows[i].bf16);
        assert_int_equal(overflows, rows[i].overflowb);
    }
}

static void test_overflows_are_counted(void **state)
{
    (void)state;
    const double values[] = {1, 1e6, -1e6, HUGE_VAL, NAN, 65519, 65520, 3e38, 3.4e38};
    uint16_t out[9];
    assert_int_equal(qk_dtype_from_f64(QK_F16, values, 9, out), 5);
    assert_int_equal(out[5], 0x7bff);
    assert_int_equal(out[6], 0x7c00);
    assert_int_equal(qk_dtype_from_f64(QK_BF16, values, 9, out), 1);
}

/* The OCP 8-bit floats by their definition. E4M3: bias 7, no infinities, only all ones is NaN. */
static void test_f8(void **state)
{
    (void)state;
    static const struct format e4m3 = {QK_F8_E4M3, 4, 3}, e5m2 = {QK_F8_E5M2, 5, 2};
    for (unsigned bits = 0; bits < 256; bits++) {
        uint8_t byte = (uint8_t)bits;
        double value;
        qk_dtype_to_f64(QK_F8_E4M3, &byte, 1, &value);
        if ((bits & 0x7f) == 0x7f)
            assert_true(isnan(value));
        else
            assert_true(same_number(value, by_definition(&e4m3, bits)));
        qk_dtype_to_f64(QK_F8_E5M2, &byte, 1, &value);
        if ((bits & 0x7f) > 0x7c)
            assert_true(isnan(value));
        else if ((bits & 0x7f) == 0x7c)
            assert_true(value == (bits & 0x80 ? -HUGE_VAL : HUGE_VAL));
        else
            assert_true(same_number(value, by_definition(&e5m2, bits)));
        qk_dtype_to_f64(QK_F8_E8M0, &byte, 1, &value);
        assert_true(bits == 0xff ? isnan(value) : same_number(value, pow(2, (double)bits - 127)));
    }
    uint8_t largest = 0x7e;
    double value;
    qk_dtype_to_f64(QK_F8_E4M3, &largest, 1, &value);
    assert_true(value == 448.0);
}

/* The compiler's own cast rounds to nearest even: it is the reference for F32. Random float64 patterns, and
 * random float32 numbers moved to the tie above them and beside it, subnormals among them. */
static void test_f32_against_the_cast(void **state)
{
    (void)state;
    assert_int_equal(fegetround(), FE_TONEAREST);
    uint64_t seed = 1;
    for (int i = 0; i < 2000000; i++) {
        uint64_t bits = random_bits(&seed);
        double value;
        if (i % 2 == 0) {
            memcpy(&value, &bits, sizeof value);
        } else {
            uint32_t low = (uint32_t)bits & 0x7f7fffff;
            float a, b;
            memcpy(&a, &low, sizeof a);
            b = nextafterf(a, INFINITY);
            value = isinf(b) ? (double)a : (double)a + ((double)b - (double)a) / 2;
            value = i % 3 == 0 ? value : nextafter(value, i % 3 == 1 ? 0 : HUGE_VAL);
        }
        float found, expected = (float)value;
        size_t overflows;
        write_value(QK_F32, value, &found, &overflows);
        assert_int_equal(overflows, isfinite(value) && isinf(expected));
        if (isnan(value))
            assert_true(isnan(found) && !signbit(found) == !signbit(value));
        else
            assert_memory_equal(&found, &expected, sizeof found);
    }
}

static void test_f32_and_f64_round_trip(void **state)
{
    (void)state;
    uint64_t seed = 2;
    for (int i = 0; i < 500000; i++) {
        uint32_t bits = (uint32_t)random_bits(&seed), back;
        double value;
        qk_dtype_to_f64(QK_F32, &bits, 1, &value);
        assert_int_equal(qk_dtype_from_f64(QK_F32, &value, 1, &back), 0);
        if (isnan(value))
            assert_int_equal(back, (bits & 0x80000000u) | 0x7fc00000u);
        else
            assert_int_equal(back, bits);
    }
    const double values[] = {1e-320, -0.0, HUGE_VAL, 1.0 / 3};
    double out[4], again[4];
    assert_int_equal(qk_dtype_from_f64(QK_F64, values, 4, out), 0);
    qk_dtype_to_f64(QK_F64, out, 4, again);
    assert_memory_equal(again, values, sizeof values);
}

/* Values that a whole block cannot be rounded with stand between others. */
static void test_mixed_blocks(void **state)
{
    (void)state;
    static const enum qk_dtype dtypes[] = {QK_F32, QK_F16, QK_BF16};
    static const double odd[] = {0.0, -0.0, NAN, HUGE_VAL, 1e300, 0x1p-140, 0x1p-24, 65520, 0x1.fffp+127};
    enum { N = 1000 };
    uint64_t seed = 3;
    double values[N];
    for (size_t d = 0; d < 3; d++) {
        size_t size = qk_dtype_bits(dtypes[d]) / 8, overflows = 0;
        unsigned char found[N * 4], expected[N * 4];
        for (size_t i = 0; i < N; i++) {
            values[i] = (double)(int64_t)random_bits(&seed) * 0x1p-63;
            if (random_bits(&seed) % 20 == 0)
                values[i] = odd[random_bits(&seed) % (sizeof odd / sizeof odd[0])];
            overflows += qk_dtype_from_f64(dtypes[d], &values[i], 1, expected + i * size);
        }
        assert_int_equal(qk_dtype_from_f64(dtypes[d], values, N, found), overflows);
        assert_memory_equal(found, expected, N * size);
    }
}

/* Tensors of a file start anywhere. */
static void test_any_alignment(void **state)
{
    (void)state;
    static const enum qk_dtype dtypes[] = {QK_F64, QK_F32, QK_F16, QK_BF16};
    const double values[] = {1.5, -2.25, 0.125, 640};
    unsigned char bytes[64];
    double out[4];
    for (size_t d = 0; d < 4; d++) {
        for (size_t shift = 0; shift < 8; shift++) {
            assert_int_equal(qk_dtype_from_f64(dtypes[d], values, 4, bytes + shift), 0);
            qk_dtype_to_f64(dtypes[d], bytes + shift, 4, out);
            assert_memory_equal(out, values, sizeof values);
        }
    }
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned bits;
        bool readable, writable;
    } rows[] = {{"F64", 64, true, true}, {"F32", 32, true, true}, {"F16", 16, true, true},
        {"BF16", 16, true, true}, {"F8_E4M3", 8, true, false}, {"F8_E5M2", 8, true, false},
        {"F8_E8M0", 8, true, false}, {"F6_E3M2", 6, false, false}, {"F6_E2M3", 6, false, false},
        {"F4", 4, false, false}, {"I64", 64, false, false}, {"I8", 8, false, false},
        {"U16", 16, false, false}, {"BOOL", 8, false, false}, {"C64", 64, false, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum qk_dtype dtype = qk_dtype_parse(rows[i].name);
        assert_string_equal(qk_dtype_name(dtype), rows[i].name);
        assert_int_equal(qk_dtype_bits(dtype), rows[i].bits);
        assert_int_equal(qk_dtype_readable(dtype), rows[i].readable);
        assert_int_equal(qk_dtype_writable(dtype), rows[i].writable);
    }
    assert_int_equal(qk_dtype_parse("bf16"), QK_DTYPE_OTHER);
    assert_int_equal(qk_dtype_parse("BF16 "), QK_DTYPE_OTHER);
    assert_int_equal(qk_dtype_parse("other"), QK_DTYPE_OTHER);
    assert_int_equal(qk_dtype_parse(""), QK_DTYPE_OTHER);
    assert_int_equal(qk_dtype_bits(QK_DTYPE_OTHER), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_patterns_round_trip),
        cmocka_unit_test(test_ties_go_to_even),
        cmocka_unit_test(test_rounds_once),
        cmocka_unit_test(test_far_values),
        cmocka_unit_test(test_overflows_are_counted),
        cmocka_unit_test(test_f8),
        cmocka_unit_test(test_f32_against_the_cast),
        cmocka_unit_test(test_f32_and_f64_round_trip),
        cmocka_unit_test(test_mixed_blocks),
        cmocka_unit_test(test_any_alignment),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
