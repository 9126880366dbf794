/* row_products.c - the loop over rows and weights, for each instruction set. */
#include "forward/row_products.h"

#include "base/vector.h"

#include <string.h>

/* Sums stay in registers: so many rows by so many weights at most, unrolled. */
enum { SUM_LANES = 16, MOST_ROWS = 4, MOST_WEIGHTS = 4 };
#define UNROLL _Pragma("GCC unroll 4")

#define LOOPS "forward/row_products_loops.h"
#include "base/vector_widths.h"

struct loop {
    void (*multiply)(size_t k, const float *const *x, const float *const *weight, float (*out)[MOST_WEIGHTS]);
    size_t rows, weights; /* at a time */
};

static const struct loop *best_loop(void)
{
#define ROW(lanes) {multiply_##lanes, ROWS_##lanes, WEIGHTS_##lanes},
    static const struct loop by_width[] = {QK_VECTOR_WIDTHS(ROW)};
#undef ROW
    return &by_width[qk_vector_width()];
}

/* A block's last rows and weights stand for those that it lacks. */
static size_t at_most(size_t i, size_t last)
{
    return i < last ? i : last;
}

void qk_row_products(size_t T, size_t k, size_t n, const float *x, const float *weight, const float *bias,
    float *out, size_t ld)
{
    const struct loop *loop = best_loop();
    for (size_t column = 0; column < n; column += loop->weights) {
        const float *rows[MOST_ROWS], *weights[MOST_WEIGHTS];
        float y[MOST_ROWS][MOST_WEIGHTS];
        for (size_t w = 0; w < loop->weights; w++)
            weights[w] = weight + at_most(column + w, n - 1) * k;
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
