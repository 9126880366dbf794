/* row_products_loops.h - the loop of row_products.c for one width of vector (base/vector_widths.h). */

typedef float NAME(floats) __attribute__((vector_size(LANES * 4)));

/* Rows by rows of weights at a time: as many as the registers have room for sums. */
enum { NAME(VECTORS) = SUM_LANES / LANES, NAME(ROWS) = LANES < 16 ? 2 : 4, NAME(WEIGHTS) = LANES / 4 };

/* sum += a b, SUM_LANES values. */
ATTRIBUTE static inline __attribute__((always_inline)) void NAME(add_products)(
    const float *a, const float *b, NAME(floats) * sum)
{
    UNROLL for (size_t v = 0; v < NAME(VECTORS); v++)
    {
        NAME(floats) x, y;
        memcpy(&x, a + v * LANES, sizeof x);
        memcpy(&y, b + v * LANES, sizeof y);
        sum[v] += x * y;
    }
}

/* The last k % SUM_LANES products. */
ATTRIBUTE static inline __attribute__((always_inline)) void NAME(add_rest)(
    const float *a, const float *b, size_t n, NAME(floats) * sum)
{
    float x[SUM_LANES] = {0}, y[SUM_LANES] = {0};
    memcpy(x, a, n * sizeof *x);
    memcpy(y, b, n * sizeof *y);
    NAME(add_products)(x, y, sum);
}

/* The sum of the sums, in a fixed order. */
ATTRIBUTE static inline __attribute__((always_inline)) float NAME(total)(const NAME(floats) * sum)
{
    float s[SUM_LANES];
    memcpy(s, sum, sizeof s);
    for (size_t j = 0; j < 8; j++)
        s[j] += s[j + 8];
    for (size_t j = 0; j < 4; j++)
        s[j] += s[j + 4];
    return (s[0] + s[2]) + (s[1] + s[3]);
}

/* out[r][w] = x[r] weight[w], ROWS rows by WEIGHTS weights. */
ATTRIBUTE static void NAME(multiply)(
    size_t k, const float *const *x, const float *const *weight, float (*out)[MOST_WEIGHTS])
{
    NAME(floats) sum[NAME(ROWS)][NAME(WEIGHTS)][NAME(VECTORS)] = {0};
    size_t i = 0;
    for (; i + SUM_LANES <= k; i += SUM_LANES)
        UNROLL for (size_t w = 0; w < NAME(WEIGHTS); w++) UNROLL for (size_t r = 0; r < NAME(ROWS); r++)
            NAME(add_products)(x[r] + i, weight[w] + i, sum[r][w]);
    if (i < k)
        UNROLL for (size_t w = 0; w < NAME(WEIGHTS); w++) UNROLL for (size_t r = 0; r < NAME(ROWS); r++)
            NAME(add_rest)(x[r] + i, weight[w] + i, k - i, sum[r][w]);
    UNROLL for (size_t r = 0; r < NAME(ROWS); r++) UNROLL for (size_t w = 0; w < NAME(WEIGHTS); w++)
        out[r][w] = NAME(total)(sum[r][w]);
}
