/* exponential.c - vector loops for each instruction set, and the choice among them. */
#include "forward/exponential.h"

#include <stdint.h>
#include <string.h>

enum { SUM_LANES = 16 };

#define LANES 4 /* SSE2, NEON */
#define NAME(name) name##_4
#define ATTRIBUTE
#include "forward/exponential_loops.h"

#if defined __x86_64__
#define LANES 8
#define NAME(name) name##_8
#define ATTRIBUTE __attribute__((target("avx2")))
#include "forward/exponential_loops.h"

#define LANES 16
#define NAME(name) name##_16
#define ATTRIBUTE __attribute__((target("avx512f")))
#include "forward/exponential_loops.h"
#endif

struct loops {
    float (*largest)(size_t n, const float *x);
    double (*exp_sum)(size_t n, float shift, float *x);
    void (*logistic)(size_t n, bool times_x, float *x);
};

static const struct loops *loops(void)
{
    static const struct loops plain = {largest_4, exp_sum_4, logistic_4};
#if defined __x86_64__
    static const struct loops avx2 = {largest_8, exp_sum_8, logistic_8};
    static const struct loops avx512 = {largest_16, exp_sum_16, logistic_16};
    if (__builtin_cpu_supports("avx512f"))
        return &avx512;
    if (__builtin_cpu_supports("avx2"))
        return &avx2;
#endif
    return &plain;
}

float qk_largest(size_t n, const float *x)
{
    return loops()->largest(n, x);
}

double qk_exp_sum(size_t n, float shift, float *x)
{
    return loops()->exp_sum(n, shift, x);
}

void qk_logistic(size_t n, bool times_x, float *x)
{
    loops()->logistic(n, times_x, x);
}
