/* row_products_loops.h - the loop of row_products.c for one width of vector (base/vector_widths.h) and each format of
 * weights. */

typedef float NAME(floats) __attribute__((vector_size(LANES * 4)));
typedef uint32_t NAME(words) __attribute__((vector_size(LANES * 4)));
typedef uint16_t NAME(halves) __attribute__((vector_size(LANES * 2)));

/* Rows by rows of weights at a time: as many as the registers have room for sums. A single row takes more weights, so
 * that no sum waits for the one before. */
enum {
    NAME(VECTORS) = SUM_LANES / LANES,
    NAME(ROWS) = LANES < 16 ? 2 : 4,
    NAME(WEIGHTS) = LANES / 4,
    NAME(WEIGHTS_ONE) = LANES / 2
};

/* a b + sum, rounded once where the instruction set can. */
ATTRIBUTE static inline __attribute__((always_inline)) NAME(floats)
    NAME(fused)(NAME(floats) a, NAME(floats) b, NAME(floats) sum)
{
#if LANES == 16
    return (NAME(floats))_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)sum);
#elif LANES == 8
    return (NAME(floats))_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)sum);
#else
    return sum + a * b;
#endif
}

/* LANES values as float32, exactly. */
ATTRIBUTE static inline __attribute__((always_inline)) NAME(floats) NAME(load_f32)(const char *from)
{
    NAME(floats) value;
    memcpy(&value, from, sizeof value);
    return value;
}

ATTRIBUTE static inline __attribute__((always_inline)) NAME(floats) NAME(load_bf16)(const char *from)
{
    NAME(halves) half;
    memcpy(&half, from, sizeof half);
#if LANES == 16 /* __builtin_convertvector takes two halves to pieces */
    return (NAME(floats))_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)half), 16);
#elif LANES == 8
    return (NAME(floats))_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)half), 16);
#else
    return (NAME(floats))(__builtin_convertvector(half, NAME(words)) << 16);
#endif
}

ATTRIBUTE static inline __attribute__((always_inline)) NAME(floats) NAME(load_f16)(const char *from)
{
    NAME(halves) half;
    memcpy(&half, from, sizeof half);
#if LANES == 16
    return (NAME(floats))_mm512_cvtph_ps((__m256i)half);
#elif LANES == 8
    return (NAME(floats))_mm256_cvtph_ps((__m128i)half);
#else /* as qk_dtype_to_f32 does (tensor/float32_loops.h) */
    NAME(words) h = __builtin_convertvector(half, NAME(words)), magnitude = (h & 0x7fff) << 13;
    NAME(words) special = (NAME(words))(magnitude >= 0x0f800000);
    NAME(floats) value = (NAME(floats))magnitude * 0x1p112f;
    NAME(words) bits = (NAME(words))value;
    return (NAME(floats))((special & (magnitude | 0x7f800000)) | (~special & bits) | (h & 0x8000) << 16);
#endif
}

/* The sum of the sums, in a fixed order. */
ATTRIBUTE static inline __attribute__((always_inline)) float NAME(total)(const NAME(floats) * sum)
{
    typedef float four __attribute__((vector_size(16)));
    four part[SUM_LANES / 4];
    memcpy(part, sum, sizeof part);
    part[0] = (part[0] + part[2]) + (part[1] + part[3]);
    return (part[0][0] + part[0][2]) + (part[0][1] + part[0][3]);
}

/* sum[r][w] += x[r] weight[w] over SUM_LANES values from number i on. */
#define ADD_PRODUCTS(rows, n, load, size, row, weights, i)                                                   \
    UNROLL for (size_t w = 0; w < (n); w++) UNROLL for (size_t v = 0; v < NAME(VECTORS); v++)                \
    {                                                                                                        \
        const NAME(floats) b = load((weights)[w] + ((i) + v * LANES) * (size));                              \
        UNROLL for (size_t r = 0; r < (rows); r++) sum[r][w][v] =                                            \
            NAME(fused)(NAME(load_f32)((const char *)((row)[r] + (i) + v * LANES)), b, sum[r][w][v]);        \
    }

/* out[r][w] = x[r] weight[w], `rows` rows by n weights, whose values have `size` bytes. */
#define MULTIPLY(name, rows, n, load, size)                                                                  \
    ATTRIBUTE static void NAME(name)(                                                                        \
        size_t k, const float *const *x, const char *const *weight, float(*out)[MOST_WEIGHTS])               \
    {                                                                                                        \
        NAME(floats) sum[rows][n][NAME(VECTORS)] = {0};                                                      \
        size_t i = 0;                                                                                        \
        for (; i + SUM_LANES <= k; i += SUM_LANES)                                                           \
            ADD_PRODUCTS(rows, n, load, size, x, weight, i)                                                  \
        if (i < k) {                                                                                         \
            float rest[rows][SUM_LANES] = {0};                                                               \
            char rest_weight[n][SUM_LANES * (size)] = {0};                                                   \
            const float *row[rows];                                                                          \
            const char *from[n];                                                                             \
            for (size_t r = 0; r < (rows); r++)                                                              \
                row[r] = memcpy(rest[r], x[r] + i, (k - i) * sizeof **rest);                                 \
            for (size_t w = 0; w < (n); w++)                                                                 \
                from[w] = memcpy(rest_weight[w], weight[w] + i * (size), (k - i) * (size));                  \
            ADD_PRODUCTS(rows, n, load, size, row, from, 0)                                                  \
        }                                                                                                    \
        UNROLL for (size_t r = 0; r < (rows); r++) UNROLL for (size_t w = 0; w < (n); w++) out[r][w] =       \
            NAME(total)(sum[r][w]);                                                                          \
    }

MULTIPLY(multiply_f32, NAME(ROWS), NAME(WEIGHTS), NAME(load_f32), 4)
MULTIPLY(multiply_bf16, NAME(ROWS), NAME(WEIGHTS), NAME(load_bf16), 2)
MULTIPLY(multiply_f16, NAME(ROWS), NAME(WEIGHTS), NAME(load_f16), 2)
MULTIPLY(multiply_one_f32, 1, NAME(WEIGHTS_ONE), NAME(load_f32), 4)
MULTIPLY(multiply_one_bf16, 1, NAME(WEIGHTS_ONE), NAME(load_bf16), 2)
MULTIPLY(multiply_one_f16, 1, NAME(WEIGHTS_ONE), NAME(load_f16), 2)

#undef ADD_PRODUCTS
#undef MULTIPLY
