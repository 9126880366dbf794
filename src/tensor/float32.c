/* float32.c - vector loops for each instruction set, and the choice among them. */
#include "tensor/float32.h"

#include "base/vector.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

enum { SUM_LANES = 16, SUM_BLOCK = 1024 };

#define LOOPS "tensor/float32_loops.h"
#include "base/vector_widths.h"

struct loops {
    void (*from_bf16)(const unsigned char *src, size_t n, float *dst);
    void (*from_f16)(const unsigned char *src, size_t n, float *dst);
    void (*sum_block)(size_t n, const float *a, const float *b, float *e, double sums[3]);
    void (*sum_bf16)(size_t n, const unsigned char *a, const unsigned char *b, double sums[3]);
    void (*add_to_f64)(size_t n, const float *x, double *sum);
};

static const struct loops *loops(void)
{
#define ROW(lanes)                                                                                           \
    {from_bf16_##lanes, from_f16_##lanes, sum_block_##lanes, sum_bf16_##lanes, add_to_f64_##lanes},
    static const struct loops by_width[] = {QK_VECTOR_WIDTHS(ROW)};
#undef ROW
    return &by_width[qk_vector_width()];
}

bool qk_dtype_is_single(enum qk_dtype dtype)
{
    return qk_dtype_readable(dtype) && dtype != QK_F64;
}

/* Converts the other formats through float64, a piece at a time. */
static void through_f64(enum qk_dtype dtype, const unsigned char *src, size_t n, float *dst)
{
    enum { PIECE = 512 };
    double values[PIECE];
    size_t size = qk_dtype_bits(dtype) / 8;
    for (size_t i = 0; i < n; i += PIECE) {
        size_t m = n - i < PIECE ? n - i : PIECE;
        qk_dtype_to_f64(dtype, src + i * size, m, values);
        for (size_t j = 0; j < m; j++)
            dst[i + j] = (float)values[j];
    }
}

void qk_dtype_to_f32(enum qk_dtype dtype, const void *src, size_t n, float *dst)
{
    if (dtype == QK_F32)
        memcpy(dst, src, n * sizeof *dst);
    else if (dtype == QK_BF16)
        loops()->from_bf16(src, n, dst);
    else if (dtype == QK_F16)
        loops()->from_f16(src, n, dst);
    else
        through_f64(dtype, src, n, dst);
}

struct qk_pair_sums qk_pair_sums(size_t n, const float *a, const float *b, float *e)
{
    double sums[3] = {0};
    const struct loops *with = loops();
    size_t whole = n - n % SUM_LANES, rest = n - whole;
    for (size_t i = 0; i < whole; i += SUM_BLOCK)
        with->sum_block(whole - i < SUM_BLOCK ? whole - i : SUM_BLOCK, a + i, b + i, e + i, sums);
    if (rest > 0) {
        float last_a[SUM_LANES] = {0}, last_b[SUM_LANES] = {0};
        memcpy(last_a, a + whole, rest * sizeof *a);
        memcpy(last_b, b + whole, rest * sizeof *b);
        with->sum_block(SUM_LANES, last_a, last_b, last_b, sums);
        memcpy(e + whole, last_b, rest * sizeof *e);
    }
    return (struct qk_pair_sums){sums[0], sums[1], sums[2]};
}

struct qk_pair_sums qk_pair_sums_bf16(size_t n, const void *a, const void *b)
{
    double sums[3] = {0};
    const unsigned char *x = a, *y = b;
    const struct loops *with = loops();
    size_t whole = n - n % (2 * SUM_LANES), rest = n - whole;
    for (size_t i = 0; i < whole; i += SUM_BLOCK)
        with->sum_bf16(whole - i < SUM_BLOCK ? whole - i : SUM_BLOCK, x + 2 * i, y + 2 * i, sums);
    if (rest > 0) {
        unsigned char last_a[4 * SUM_LANES] = {0}, last_b[4 * SUM_LANES] = {0};
        memcpy(last_a, x + 2 * whole, 2 * rest);
        memcpy(last_b, y + 2 * whole, 2 * rest);
        with->sum_bf16(2 * SUM_LANES, last_a, last_b, sums);
    }
    return (struct qk_pair_sums){sums[0], sums[1], sums[2]};
}

void qk_add_to_f64(size_t n, const float *x, double *sum)
{
    loops()->add_to_f64(n, x, sum);
}
