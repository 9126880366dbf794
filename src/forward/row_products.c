/* row_products.c - the loop over rows and weights, for each instruction set. */
#include "forward/row_products.h"

#include <string.h>

/* Sums stay in registers: so many rows by so many weights at most, unrolled. */
enum { SUM_LANES = 16, MOST_ROWS = 4, MOST_WEIGHTS = 4 };
#define UNROLL _Pragma("GCC unroll 4")

#define LANES 4 /* SSE2, NEON */
#define ROWS 2
#define WEIGHTS 1
#define NAME(name) name##_4
#define ATTRIBUTE
#include "forward/row_products_loops.h"

#if defined __x86_64__
#define LANES 8
#define ROWS 2
#define WEIGHTS 2
#define NAME(name) name##_8
#define ATTRIBUTE __attribute__((target("avx2")))
#include "forward/row_products_loops.h"

#define LANES 16
#define ROWS 4
#define WEIGHTS 4
#define NAME(name) name##_16
#define ATTRIBUTE __attribute__((target("avx512f")))
#include "forward/row_products_loops.h"
#endif

struct loop {
    void (*multiply)(size_t k, const float *const *x, const float *const *weight, float (*out)[MOST_WEIGHTS]);
    size_t rows, weights; /* at a time */
};

static struct loop best_loop(void)
{
#if defined __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        return (struct loop){multiply_16, 4, 4};
    if (__builtin_cpu_supports("avx2"))
        return (struct loop){multiply_8, 2, 2};
#endif
    return (struct loop){multiply_4, 2, 1};
}

/* A block's last rows and weights stand for those that it lacks. */
static size_t at_most(size_t i, size_t last)
{
    return i < last ? i : last;
}

void qk_row_products(size_t T, size_t k, size_t n, const float *x, const float *weight, const float *bias,
    float *out, size_t ld)
{
    const struct loop loop = best_loop();
    for (size_t column = 0; column < n; column += loop.weights) {
        const float *rows[MOST_ROWS], *weights[MOST_WEIGHTS];
        float y[MOST_ROWS][MOST_WEIGHTS];
        for (size_t w = 0; w < loop.weights; w++)
            weights[w] = weight + at_most(column + w, n - 1) * k;
        for (size_t t = 0; t < T; t += loop.rows) {
            for (size_t r = 0; r < loop.rows; r++)
                rows[r] = x + at_most(t + r, T - 1) * k;
            loop.multiply(k, rows, weights, y);
            for (size_t r = 0; r < loop.rows && t + r < T; r++)
                for (size_t w = 0; w < loop.weights && column + w < n; w++)
                    out[(t + r) * ld + column + w] = y[r][w] + (bias != NULL ? bias[column + w] : 0.0f);
        }
    }
}
