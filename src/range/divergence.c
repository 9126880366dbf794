/* divergence.c - the sums over rows of attention: their divergence, their mass and its distance, in vector loops for
 * each instruction set. */
#include "range/range.h"

#include <stdint.h>
#include <string.h>

/* The vectors are as wide for every instruction set, so that all machines give the same bits.
 *
 * (1-r) ln(1-r) + (1+r) ln(1+r) = sum over k of r^2k / (k (2k-1)). The series is used where it converges fast. It has
 * no cancellation, and r has none either, because x - y is exact where x and y are near. So float32 is enough: models
 * that hardly differ lose no digits. The first term left out is below 2e-8 of the sum. */
enum { LANES = 16, HALF = LANES / 2, TERMS = 6, LOG_TERMS = 5 };
static const float SERIES_MOST = 0.1f; /* of r^2 */
/* 1 / (k (2k - 1)) and 1 / (2k + 1), the last first. */
static const float term[TERMS] = {1.f / 66, 1.f / 45, 1.f / 28, 1.f / 15, 1.f / 6, 1},
                   log_term[LOG_TERMS] = {1.f / 9, 1.f / 7, 1.f / 5, 1.f / 3, 1};
typedef float floats __attribute__((vector_size(LANES * 4)));
typedef int32_t words __attribute__((vector_size(LANES * 4)));
typedef float few __attribute__((vector_size(HALF * 4)));
typedef double doubles __attribute__((vector_size(HALF * 8)));

#define NAME(name) name##_plain
#define ATTRIBUTE
#include "range/divergence_loops.h"

#if defined __x86_64__
#define NAME(name) name##_avx2
#define ATTRIBUTE __attribute__((target("avx2")))
#include "range/divergence_loops.h"

#define NAME(name) name##_avx512
#define ATTRIBUTE __attribute__((target("avx512f,avx512dq")))
#include "range/divergence_loops.h"
#endif

struct loops {
    double (*divergence)(size_t n, float a, const float *p, float b, const float *r);
    void (*mass)(size_t n, const float *p, size_t farthest, double *mass, double *moment);
};

static const struct loops *loops(void)
{
    static const struct loops plain = {divergence_plain, mass_plain};
#if defined __x86_64__
    static const struct loops avx2 = {divergence_avx2, mass_avx2}, avx512 = {divergence_avx512, mass_avx512};
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq"))
        return &avx512;
    if (__builtin_cpu_supports("avx2"))
        return &avx2;
#endif
    return &plain;
}

double qk_range_divergence(size_t n, float a, const float *p, float b, const float *r)
{
    return loops()->divergence(n, a, p, b, r);
}

void qk_range_mass(size_t n, const float *p, size_t farthest, double *mass, double *moment)
{
    loops()->mass(n, p, farthest, mass, moment);
}
