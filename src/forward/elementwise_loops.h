/* elementwise_loops.h - the loops of elementwise.c for one width of vector (base/vector_widths.h). */

typedef float NAME(floats) __attribute__((vector_size(LANES * 4)));
typedef double NAME(doubles) __attribute__((vector_size(LANES * 8)));
typedef int32_t NAME(words) __attribute__((vector_size(LANES * 4)));

/* SUM_LANES values: the square of value i is added to sum[i]. */
ATTRIBUTE static inline __attribute__((always_inline)) void NAME(add_squares)(
    const float *x, NAME(doubles) * sum)
{
    for (size_t w = 0; w < SUM_LANES / LANES; w++) {
        NAME(floats) v;
        memcpy(&v, x + w * LANES, sizeof v);
        NAME(doubles) d = __builtin_convertvector(v, NAME(doubles));
        sum[w] += d * d;
    }
}

ATTRIBUTE static double NAME(sum_of_squares)(size_t n, const float *x)
{
    NAME(doubles) sum[SUM_LANES / LANES] = {0};
    double sums[SUM_LANES];
    float rest[SUM_LANES] = {0};
    size_t i = 0;
    for (; i + SUM_LANES <= n; i += SUM_LANES)
        NAME(add_squares)(x + i, sum);
    memcpy(rest, x + i, (n - i) * sizeof *rest);
    NAME(add_squares)(rest, sum);
    memcpy(sums, sum, sizeof sums);
    return add_lanes(sums);
}

/* SUM_LANES values become their magnitudes: value i is added to sum[i]. */
ATTRIBUTE static inline __attribute__((always_inline)) void NAME(add_magnitudes)(
    float *x, NAME(doubles) * sum)
{
    const NAME(words) sign = (NAME(words)){0} + INT32_MAX; /* every bit but the sign's */
    for (size_t w = 0; w < SUM_LANES / LANES; w++) {
        NAME(words) v;
        memcpy(&v, x + w * LANES, sizeof v);
        v &= sign;
        memcpy(x + w * LANES, &v, sizeof v);
        sum[w] += __builtin_convertvector((NAME(floats))v, NAME(doubles));
    }
}

ATTRIBUTE static double NAME(magnitudes)(size_t n, float *x)
{
    NAME(doubles) sum[SUM_LANES / LANES] = {0};
    double sums[SUM_LANES];
    float rest[SUM_LANES] = {0};
    size_t i = 0;
    for (; i + SUM_LANES <= n; i += SUM_LANES)
        NAME(add_magnitudes)(x + i, sum);
    memcpy(rest, x + i, (n - i) * sizeof *rest);
    NAME(add_magnitudes)(rest, sum);
    memcpy(x + i, rest, (n - i) * sizeof *rest);
    memcpy(sums, sum, sizeof sums);
    return add_lanes(sums);
}

ATTRIBUTE static void NAME(scale_by_gain)(
    size_t n, const float *x, float factor, const float *gain, float offset, float *out)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        NAME(floats) v, g;
        memcpy(&v, x + i, sizeof v);
        memcpy(&g, gain + i, sizeof g);
        v = v * factor * (g + offset);
        memcpy(out + i, &v, sizeof v);
    }
    for (; i < n; i++)
        out[i] = x[i] * factor * (gain[i] + offset);
}

ATTRIBUTE static void NAME(multiply)(size_t n, const float *gate, float *x)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        NAME(floats) v, g;
        memcpy(&v, x + i, sizeof v);
        memcpy(&g, gate + i, sizeof g);
        v *= g;
        memcpy(x + i, &v, sizeof v);
    }
    for (; i < n; i++)
        x[i] *= gate[i];
}

ATTRIBUTE static void NAME(scale)(size_t n, float factor, float *x)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        NAME(floats) v;
        memcpy(&v, x + i, sizeof v);
        v *= factor;
        memcpy(x + i, &v, sizeof v);
    }
    for (; i < n; i++)
        x[i] *= factor;
}

ATTRIBUTE static void NAME(add)(size_t n, float factor, const float *y, float *x)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        NAME(floats) v, w;
        memcpy(&v, x + i, sizeof v);
        memcpy(&w, y + i, sizeof w);
        v += w * factor;
        memcpy(x + i, &v, sizeof v);
    }
    for (; i < n; i++)
        x[i] += y[i] * factor;
}
