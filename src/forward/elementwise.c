/* elementwise.c - vector loops for each instruction set, and the choice among them. */
#include "forward/elementwise.h"

#include <string.h>

enum { SUM_LANES = 16 };

#define LANES 4 /* SSE2, NEON */
#define NAME(name) name##_4
#define ATTRIBUTE
#include "forward/elementwise_loops.h"

#if defined __x86_64__
#define LANES 8
#define NAME(name) name##_8
#define ATTRIBUTE __attribute__((target("avx2")))
#include "forward/elementwise_loops.h"

#define LANES 16
#define NAME(name) name##_16
#define ATTRIBUTE __attribute__((target("avx512f")))
#include "forward/elementwise_loops.h"
#endif

struct loops {
    double (*sum_of_squares)(size_t n, const float *x);
    void (*scale_by_gain)(
        size_t n, const float *x, float factor, const float *gain, float offset, float *out);
    void (*multiply)(size_t n, const float *gate, float *x);
    void (*scale)(size_t n, float factor, float *x);
};

static const struct loops *loops(void)
{
    static const struct loops plain = {sum_of_squares_4, scale_by_gain_4, multiply_4, scale_4};
#if defined __x86_64__
    static const struct loops avx2 = {sum_of_squares_8, scale_by_gain_8, multiply_8, scale_8};
    static const struct loops avx512 = {sum_of_squares_16, scale_by_gain_16, multiply_16, scale_16};
    if (__builtin_cpu_supports("avx512f"))
        return &avx512;
    if (__builtin_cpu_supports("avx2"))
        return &avx2;
#endif
    return &plain;
}

double qk_sum_of_squares(size_t n, const float *x)
{
    return loops()->sum_of_squares(n, x);
}

void qk_scale_by_gain(size_t n, const float *x, float factor, const float *gain, float offset, float *out)
{
    loops()->scale_by_gain(n, x, factor, gain, offset, out);
}

void qk_multiply(size_t n, const float *gate, float *x)
{
    loops()->multiply(n, gate, x);
}

void qk_scale(size_t n, float factor, float *x)
{
    loops()->scale(n, factor, x);
}
