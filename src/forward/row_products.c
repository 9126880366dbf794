/* row_products.c - the loop over rows and weights, for each instruction set. */
#include "forward/row_products.h"

#include "base/vector.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#if defined __x86_64__
#include <immintrin.h>
#endif

/* Sums stay in registers: so many rows by so many weights at most, unrolled. */
enum { SUM_LANES = 16, MOST_ROWS = 4, MOST_WEIGHTS = 8 };
#define UNROLL _Pragma("GCC unroll 8")

#define LOOPS "forward/row_products_loops.h"
#include "base/vector_widths.h"

typedef void multiply_function(
    size_t k, const float *const *x, const char *const *weight, float (*out)[MOST_WEIGHTS]);

struct loop {
    multiply_function *multiply;
    size_t rows, weights; /* at a time */
};

enum { FORMATS = 3 };

static const struct loop *best_loop(enum qk_dtype dtype, bool one)
{
#define OF(format, lanes)                                                                                    \
    {                                                                                                        \
        {multiply_##format##_##lanes, ROWS_##lanes, WEIGHTS_##lanes},                                        \
            {multiply_one_##format##_##lanes, 1, WEIGHTS_ONE_##lanes},                                       \
    }
#define ROW(lanes) {OF(f32, lanes), OF(bf16, lanes), OF(f16, lanes)},
    static const struct loop by_width[][FORMATS][2] = {QK_VECTOR_WIDTHS(ROW)};
#undef ROW
#undef OF
    assert(dtype == QK_F32 || dtype == QK_BF16 || dtype == QK_F16);
    return &by_width[qk_vector_width()][dtype == QK_F32 ? 0 : dtype == QK_BF16 ? 1 : 2][one];
}

/* A block's last rows and weights stand for those that it lacks. */
static size_t at_most(size_t i, size_t last)
{
    return i < last ? i : last;
}

void qk_row_products(size_t T, size_t k, size_t n, const float *x, enum qk_dtype dtype, const void *weight,
    const float *bias, float *out, size_t ld)
{
    const struct loop *loop = best_loop(dtype, T == 1);
    const size_t row_bytes = k * (qk_dtype_bits(dtype) / 8);
    for (size_t column = 0; column < n; column += loop->weights) {
        const float *rows[MOST_ROWS];
        const char *weights[MOST_WEIGHTS];
        float y[MOST_ROWS][MOST_WEIGHTS];
        for (size_t w = 0; w < loop->weights; w++)
            weights[w] = (const char *)weight + at_most(column + w, n - 1) * row_bytes;
        for (size_t t = 0; t < T; t += loop->rows) {
            for (size_t r = 0; r < loop->rows; r++)
                rows[r] = x + at_most(t + r, T - 1) * k;
            loop->multiply(k, rows, weights, y);
            for (size_t r = 0; r < loop->rows && t + r < T; r++)
                for (size_t w = 0; w < loop->weights && column + w < n; w++)
                    out[(t + r) * ld + column + w] = y[r][w] + (bias != NULL ? bias[column + w] : 0.0f);
        }
    }
}
