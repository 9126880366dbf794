/* dtype.c - the table of number formats, and their conversion to and from float64. */
#include "tensor/dtype.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

static const struct {
    const char *name;
    unsigned bits;
    bool readable, writable;
} DTYPES[] = {
    [QK_F64] = {"F64", 64, true, true},
    [QK_F32] = {"F32", 32, true, true},
    [QK_F16] = {"F16", 16, true, true},
    [QK_BF16] = {"BF16", 16, true, true},
    [QK_F8_E4M3] = {"F8_E4M3", 8, true, false},
    [QK_F8_E5M2] = {"F8_E5M2", 8, true, false},
    [QK_F8_E8M0] = {"F8_E8M0", 8, true, false},
    [QK_F6_E3M2] = {"F6_E3M2", 6, false, false},
    [QK_F6_E2M3] = {"F6_E2M3", 6, false, false},
    [QK_F4] = {"F4", 4, false, false},
    [QK_I64] = {"I64", 64, false, false},
    [QK_I32] = {"I32", 32, false, false},
    [QK_I16] = {"I16", 16, false, false},
    [QK_I8] = {"I8", 8, false, false},
    [QK_U64] = {"U64", 64, false, false},
    [QK_U32] = {"U32", 32, false, false},
    [QK_U16] = {"U16", 16, false, false},
    [QK_U8] = {"U8", 8, false, false},
    [QK_BOOL] = {"BOOL", 8, false, false},
    [QK_C64] = {"C64", 64, false, false},
    [QK_DTYPE_OTHER] = {"other", 0, false, false},
};
static_assert(sizeof DTYPES / sizeof DTYPES[0] == QK_DTYPE_COUNT, "a row for every dtype");

const char *qk_dtype_name(enum qk_dtype dtype)
{
    return DTYPES[dtype].name;
}

enum qk_dtype qk_dtype_parse(const char *name)
{
    for (int i = 0; i < QK_DTYPE_OTHER; i++)
        if (strcmp(name, DTYPES[i].name) == 0)
            return (enum qk_dtype)i;
    return QK_DTYPE_OTHER;
}

unsigned qk_dtype_bits(enum qk_dtype dtype)
{
    return DTYPES[dtype].bits;
}

bool qk_dtype_readable(enum qk_dtype dtype)
{
    return DTYPES[dtype].readable;
}

bool qk_dtype_writable(enum qk_dtype dtype)
{
    return DTYPES[dtype].writable;
}

/* --- reading --- A memcpy of a fixed size is a load that may be unaligned. Files are little-endian, and so are all
 * machines this program is built for (configure checks it). */

static double small_float(unsigned bits, unsigned exponent_bits, unsigned mantissa_bits)
{
    unsigned mantissa = bits & ((1u << mantissa_bits) - 1);
    unsigned exponent = bits >> mantissa_bits & ((1u << exponent_bits) - 1);
    bool negative = bits >> (mantissa_bits + exponent_bits) & 1;
    int bias = (1 << (exponent_bits - 1)) - 1;
    double value;
    if (exponent == 0)
        value = ldexp((double)mantissa, 1 - bias - (int)mantissa_bits);
    else
        value = ldexp((double)(mantissa | 1u << mantissa_bits), (int)exponent - bias - (int)mantissa_bits);
    return negative ? -value : value;
}

static double from_f16(uint16_t bits)
{
    if ((bits & 0x7c00) == 0x7c00) {
        double special = (bits & 0x3ff) != 0 ? (double)NAN : (double)INFINITY;
        return bits & 0x8000 ? -special : special;
    }
    return small_float(bits, 5, 10);
}

static double from_f8_e4m3(uint8_t bits)
{
    if ((bits & 0x7f) == 0x7f)
        return bits & 0x80 ? -(double)NAN : (double)NAN;
    return small_float(bits, 4, 3);
}

/* Compilers make vector code of loops over blocks of a fixed size. */
enum { BLOCK = 16 };

static void from_bf16(const unsigned char *src, size_t n, double *dst)
{
    for (size_t at = 0; at < n; at += BLOCK) {
        size_t m = n - at < BLOCK ? n - at : BLOCK;
        uint16_t half[BLOCK] = {0};
        uint32_t bits[BLOCK];
        float value[BLOCK];
        double wide[BLOCK];
        if (m == BLOCK)
            memcpy(half, src + 2 * at, sizeof half);
        else
            memcpy(half, src + 2 * at, 2 * m);
        for (size_t i = 0; i < BLOCK; i++)
            bits[i] = (uint32_t)half[i] << 16;
        memcpy(value, bits, sizeof value);
        for (size_t i = 0; i < BLOCK; i++)
            wide[i] = (double)value[i];
        memcpy(dst + at, wide, m * sizeof *wide);
    }
}

void qk_dtype_to_f64(enum qk_dtype dtype, const void *src, size_t n, double *dst)
{
    const unsigned char *p = src;
    switch (dtype) {
    case QK_F64:
        memcpy(dst, p, n * sizeof *dst);
        return;
    case QK_F32:
        for (size_t i = 0; i < n; i++) {
            float value;
            memcpy(&value, p + 4 * i, sizeof value);
            dst[i] = (double)value;
        }
        return;
    case QK_BF16:
        from_bf16(p, n, dst);
        return;
    case QK_F16:
        for (size_t i = 0; i < n; i++) {
            uint16_t bits;
            memcpy(&bits, p + 2 * i, sizeof bits);
            dst[i] = from_f16(bits);
        }
        return;
    case QK_F8_E4M3:
        for (size_t i = 0; i < n; i++)
            dst[i] = from_f8_e4m3(p[i]);
        return;
    case QK_F8_E5M2: /* the upper half of an F16 */
        for (size_t i = 0; i < n; i++)
            dst[i] = from_f16((uint16_t)(p[i] << 8));
        return;
    case QK_F8_E8M0: /* a power of two */
        for (size_t i = 0; i < n; i++)
            dst[i] = p[i] == 0xff ? (double)NAN : ldexp(1.0, p[i] - 127);
        return;
    default:
        assert(qk_dtype_readable(dtype));
    }
}

/* --- writing --- */

/* Rounds a float64 to a format of the given widths, to nearest, ties to even, in one step from the float64 bits. A
 * step through float32 would round twice and miss by one unit near ties. */
static uint32_t round_bits(double value, unsigned exponent_bits, unsigned mantissa_bits)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = (uint32_t)(bits >> 63) << (exponent_bits + mantissa_bits);
    uint32_t infinity = ((1u << exponent_bits) - 1) << mantissa_bits;
    int exponent = (int)(bits >> 52 & 0x7ff);
    uint64_t mantissa = bits & ((1ull << 52) - 1);
    if (exponent == 0x7ff)
        return sign | infinity | (mantissa != 0 ? 1u << (mantissa_bits - 1) : 0);
    if (exponent == 0) /* float64 subnormals are below half the least of every smaller format */
        return sign;
    mantissa |= 1ull << 52;
    int bias = (1 << (exponent_bits - 1)) - 1;
    int target = exponent - 1023 + bias; /* biased exponent in the target format */
    unsigned drop = 52 - mantissa_bits;
    if (target < 1) {
        if (1 - target > (int)mantissa_bits + 2)
            return sign;
        drop += (unsigned)(1 - target);
        target = 0;
    }
    uint64_t kept = mantissa >> drop, rest = mantissa & ((1ull << drop) - 1), half = 1ull << (drop - 1);
    if (rest > half || (rest == half && (kept & 1)))
        kept++;
    /* A carry out of the mantissa runs into the exponent, as rounding up requires. For normal numbers, kept already
     * has the hidden bit. */
    uint64_t result = target == 0 ? kept : ((uint64_t)(target - 1) << mantissa_bits) + kept;
    return sign | (uint32_t)(result >= infinity ? infinity : result);
}

/* Rounds BLOCK values as if they were normal numbers of the format, before and after rounding. False, with no valid
 * result, when one is not. The widths are constants where it is called. */
static inline bool round_block(
    const double *src, unsigned exponent_bits, unsigned mantissa_bits, uint64_t result[BLOCK])
{
    const unsigned drop = 52 - mantissa_bits, sign_bit = exponent_bits + mantissa_bits;
    const uint64_t least = 1025 - (1ull << (exponent_bits - 1)); /* float64's exponent of the least normal */
    const uint64_t greatest = least + (1ull << exponent_bits) - 3;
    uint64_t outside = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        uint64_t bits;
        memcpy(&bits, src + i, sizeof bits);
        uint64_t magnitude = bits & INT64_MAX;
        /* A carry out of the mantissa runs into the exponent, as rounding up requires. */
        uint64_t kept = (magnitude + ((1ull << (drop - 1)) - 1) + (magnitude >> drop & 1)) >> drop;
        /* Negative, with the sign set, when the exponent is too small, or too large after rounding. */
        outside |= ((magnitude >> 52) - least) | (greatest - (kept >> mantissa_bits));
        result[i] = (kept - ((least - 1) << mantissa_bits)) | bits >> 63 << sign_bit;
    }
    return outside >> 63 == 0;
}

/* Rounds n values; returns how many finite ones became infinite. */
static inline size_t round_all(
    const double *src, size_t n, unsigned exponent_bits, unsigned mantissa_bits, unsigned char *dst)
{
    const unsigned bytes = (1 + exponent_bits + mantissa_bits) / 8;
    const uint32_t infinity = ((1u << exponent_bits) - 1) << mantissa_bits;
    uint64_t block[BLOCK];
    size_t overflows = 0;
    for (size_t at = 0; at < n; at += BLOCK) {
        size_t m = n - at < BLOCK ? n - at : BLOCK;
        if (m < BLOCK || !round_block(src + at, exponent_bits, mantissa_bits, block)) {
            for (size_t i = 0; i < m; i++) {
                uint32_t bits = round_bits(src[at + i], exponent_bits, mantissa_bits);
                overflows += isfinite(src[at + i]) && (bits & infinity) == infinity ? 1u : 0u;
                block[i] = bits;
            }
        }
        for (size_t i = 0; i < m; i++)
            memcpy(dst + (at + i) * bytes, &block[i], bytes); /* little-endian, as above */
    }
    return overflows;
}

size_t qk_dtype_from_f64(enum qk_dtype dtype, const double *src, size_t n, void *dst)
{
    switch (dtype) {
    case QK_F64:
        memcpy(dst, src, n * sizeof *src);
        return 0;
    case QK_F32:
        return round_all(src, n, 8, 23, dst);
    case QK_BF16:
        return round_all(src, n, 8, 7, dst);
    case QK_F16:
        return round_all(src, n, 5, 10, dst);
    default:
        assert(qk_dtype_writable(dtype));
        return 0;
    }
}
