/* exponential_loops.h - the loops of exponential.c for one width of vector (base/vector_widths.h). */

typedef float NAME(floats) __attribute__((vector_size(LANES * 4)));
typedef int32_t NAME(words) __attribute__((vector_size(LANES * 4)));
typedef double NAME(doubles) __attribute__((vector_size(LANES * 8)));

/* e^x, with x clamped to -87 ... 88. It is 2^n e^r with |r| <= ln(2) / 2, and e^r = 1 + r + r^2 p(r) with the
 * polynomial of Moshier's Cephes library (expf). Values that are not finite give NaN. The clamp compares bits as
 * whole numbers; those of negative floats grow with their size. */
ATTRIBUTE static inline __attribute__((always_inline)) void NAME(exp_of)(NAME(floats) * x)
{
    const NAME(words) bits = (NAME(words)) * x;
    NAME(words) most = bits < 0x42b00000, least = bits < -0x3d520000; /* 88, and the bits of -87 */
    NAME(words)
    positive = (most & bits) | (~most & 0x42b00000), negative = (least & bits) | (~least & -0x3d520000),
    sign = bits < 0;
    NAME(floats) value = (NAME(floats))((sign & negative) | (~sign & positive));
    /* 1.5 * 2^23 leaves the nearest whole number in the low bits. */
    NAME(floats) shifted = value * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    NAME(floats) r = (value - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts */
    NAME(floats) power = (NAME(floats))(((NAME(words))shifted << 23) + 0x3f800000);
    NAME(floats) p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    *x = (p * r * r + r + 1.0f) * power + (*x - *x);
}

ATTRIBUTE static float NAME(largest)(size_t n, const float *x)
{
    float first[LANES], largest = x[0];
    size_t i = 0;
    NAME(floats) most = {0};
    most += x[0];
    for (; i + LANES <= n; i += LANES) {
        NAME(floats) v;
        memcpy(&v, x + i, sizeof v);
        NAME(words) more = v > most;
        most = (NAME(floats))((more & (NAME(words))v) | (~more & (NAME(words))most));
    }
    for (; i < n; i++)
        largest = x[i] > largest ? x[i] : largest;
    memcpy(first, &most, sizeof first);
    for (size_t j = 0; j < LANES; j++)
        largest = first[j] > largest ? first[j] : largest;
    return largest;
}

/* SUM_LANES values: value i of the block is added to sum[i]. */
ATTRIBUTE static inline __attribute__((always_inline)) void NAME(exp_block)(
    float shift, float *x, NAME(doubles) * sum)
{
    for (size_t w = 0; w < SUM_LANES / LANES; w++) {
        NAME(floats) v;
        memcpy(&v, x + w * LANES, sizeof v);
        v -= shift;
        NAME(exp_of)(&v);
        memcpy(x + w * LANES, &v, sizeof v);
        sum[w] += __builtin_convertvector(v, NAME(doubles));
    }
}

ATTRIBUTE static double NAME(exp_sum)(size_t n, float shift, float *x)
{
    NAME(doubles) sum[SUM_LANES / LANES] = {0};
    double sums[SUM_LANES], all = 0;
    float rest[SUM_LANES] = {0};
    size_t i = 0, left = n % SUM_LANES;
    for (; i + SUM_LANES <= n; i += SUM_LANES)
        NAME(exp_block)(shift, x + i, sum);
    memcpy(sums, sum, sizeof sums);
    memcpy(rest, x + i, left * sizeof *rest);
    NAME(exp_block)(shift, rest, sum);
    memcpy(x + i, rest, left * sizeof *rest);
    for (size_t j = 0; j < left; j++)
        sums[j] += (double)rest[j];
    for (size_t j = 0; j < SUM_LANES; j++)
        all += sums[j];
    return all;
}

ATTRIBUTE static inline __attribute__((always_inline)) void NAME(logistic_of)(bool times_x, float *x)
{
    NAME(floats) v, e;
    memcpy(&v, x, sizeof v);
    e = -v;
    NAME(exp_of)(&e);
    v = (times_x ? v : (NAME(floats)){0} + 1.0f) / (1.0f + e);
    memcpy(x, &v, sizeof v);
}

ATTRIBUTE static void NAME(logistic)(size_t n, bool times_x, float *x)
{
    float rest[LANES] = {0};
    size_t i = 0, left = n % LANES;
    for (; i + LANES <= n; i += LANES)
        NAME(logistic_of)(times_x, x + i);
    memcpy(rest, x + i, left * sizeof *rest);
    NAME(logistic_of)(times_x, rest);
    memcpy(x + i, rest, left * sizeof *rest);
}
