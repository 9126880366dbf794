/* float32_loops.h - the loops of float32.c for one width of vector (base/vector_widths.h).
 *
 * Sums have the same 16 lanes in every width, and no multiplication is fused with an addition, so that all machines
 * give the same bits. */

typedef float NAME(floats) __attribute__((vector_size(LANES * 4)));
typedef uint32_t NAME(words) __attribute__((vector_size(LANES * 4)));
typedef uint16_t NAME(halves) __attribute__((vector_size(LANES * 2)));

ATTRIBUTE static void NAME(from_bf16)(const unsigned char *src, size_t n, float *dst)
{
    size_t i = 0;
#pragma GCC unroll 4
    for (; i + LANES <= n; i += LANES) {
        NAME(halves) half;
        memcpy(&half, src + 2 * i, sizeof half);
        NAME(words) bits = __builtin_convertvector(half, NAME(words)) << 16;
        memcpy(dst + i, &bits, sizeof bits);
    }
    for (; i < n; i++) {
        uint16_t half;
        memcpy(&half, src + 2 * i, sizeof half);
        uint32_t bits = (uint32_t)half << 16;
        memcpy(dst + i, &bits, sizeof bits);
    }
}

/* Moves exponent and mantissa into place and multiplies by 2^(127 - 15). This is exact for subnormals, too, whose
 * product is a normal number. Infinities and NaN get float32's exponent instead. */
ATTRIBUTE static void NAME(from_f16)(const unsigned char *src, size_t n, float *dst)
{
    unsigned char padded[2 * LANES] = {0};
    for (size_t i = 0; i < n; i += LANES) {
        bool whole = n - i >= LANES;
        NAME(halves) half;
        if (!whole)
            memcpy(padded, src + 2 * i, 2 * (n - i));
        memcpy(&half, whole ? src + 2 * i : padded, sizeof half);
        NAME(words) h = __builtin_convertvector(half, NAME(words));
        NAME(words) magnitude = (h & 0x7fff) << 13, special = (NAME(words))(magnitude >= 0x0f800000);
        NAME(floats) value = (NAME(floats))magnitude * 0x1p112f;
        NAME(words) bits = (NAME(words))value;
        bits = (special & (magnitude | 0x7f800000)) | (~special & bits) | (h & 0x8000) << 16;
        if (whole)
            memcpy(dst + i, &bits, sizeof bits);
        else
            memcpy(dst + i, &bits, 4 * (n - i));
    }
}

ATTRIBUTE static inline __attribute__((always_inline)) void NAME(add_up)(
    const NAME(floats) * aa, const NAME(floats) * ae, const NAME(floats) * ee, double sums[3])
{
#pragma GCC unroll 4
    for (int w = 0; w < SUM_LANES / LANES; w++) {
#pragma GCC unroll 16
        for (int j = 0; j < LANES; j++) {
            sums[0] += (double)aa[w][j];
            sums[1] += (double)ae[w][j];
            sums[2] += (double)ee[w][j];
        }
    }
}

/* Adds up one block of at most SUM_BLOCK values, a multiple of SUM_LANES, in float32. */
ATTRIBUTE static void NAME(sum_block)(size_t n, const float *a, const float *b, float *e, double sums[3])
{
    enum { WAYS = SUM_LANES / LANES };
    NAME(floats) aa[WAYS], ae[WAYS], ee[WAYS];
#pragma GCC unroll 4
    for (int w = 0; w < WAYS; w++)
        aa[w] = ae[w] = ee[w] = (NAME(floats)){0};
    for (size_t i = 0; i < n; i += SUM_LANES) {
#pragma GCC unroll 4
        for (size_t w = 0; w < WAYS; w++) {
            NAME(floats) x, y;
            memcpy(&x, a + i + w * LANES, sizeof x);
            memcpy(&y, b + i + w * LANES, sizeof y);
            y -= x;
            memcpy(e + i + w * LANES, &y, sizeof y);
            aa[w] += x * x;
            ae[w] += x * y;
            ee[w] += y * y;
        }
    }
    NAME(add_up)(aa, ae, ee, sums);
}

/* The same for bfloat16 values, a multiple of 2 SUM_LANES. A word of two values is the odd one with the lower half
 * cleared, and the even one shifted up. */
ATTRIBUTE static void NAME(sum_bf16)(size_t n, const unsigned char *a, const unsigned char *b, double sums[3])
{
    enum { WAYS = SUM_LANES / LANES };
    NAME(floats) aa[WAYS], ae[WAYS], ee[WAYS];
#pragma GCC unroll 4
    for (int w = 0; w < WAYS; w++)
        aa[w] = ae[w] = ee[w] = (NAME(floats)){0};
    for (size_t i = 0; i < n; i += 2 * SUM_LANES) {
#pragma GCC unroll 4
        for (size_t w = 0; w < WAYS; w++) {
            NAME(words) x, y;
            memcpy(&x, a + 2 * i + 4 * w * LANES, sizeof x);
            memcpy(&y, b + 2 * i + 4 * w * LANES, sizeof y);
            NAME(floats) even = (NAME(floats))(x << 16), odd = (NAME(floats))(x & 0xffff0000);
            NAME(floats)
            even_e = (NAME(floats))(y << 16) - even, odd_e = (NAME(floats))(y & 0xffff0000) - odd;
            aa[w] += even * even + odd * odd;
            ae[w] += even * even_e + odd * odd_e;
            ee[w] += even_e * even_e + odd_e * odd_e;
        }
    }
    NAME(add_up)(aa, ae, ee, sums);
}

ATTRIBUTE static void NAME(add_to_f64)(size_t n, const float *x, double *sum)
{
    typedef double wide __attribute__((vector_size(LANES * 8)));
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        NAME(floats) some;
        wide total;
        memcpy(&some, x + i, sizeof some);
        memcpy(&total, sum + i, sizeof total);
        total += __builtin_convertvector(some, wide);
        memcpy(sum + i, &total, sizeof total);
    }
    for (; i < n; i++)
        sum[i] += (double)x[i];
}
