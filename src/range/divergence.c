/* divergence.c - the Jensen-Shannon divergence of two rows of attention, in vector loops for each instruction set. */
#include "range/range.h"

#include <stdint.h>
#include <string.h>

/* The vectors are as wide for every instruction set, so that all machines give the same bits.
 *
 * (1-r) ln(1-r) + (1+r) ln(1+r) = sum over k of r^2k / (k (2k-1)). The series is used where it converges fast. It has
 * no cancellation, so models that hardly differ keep every digit of their divergence. The first term left out is
 * below 1e-13 of the sum. */
enum { LANES = 8, TERMS = 10, LOG_TERMS = 11 };
static const double SERIES_MOST = 0.1; /* of r^2 */
/* 1 / (k (2k - 1)) and 1 / (2k + 1), the last first. */
static const double term[TERMS] = {1. / 190, 1. / 153, 1. / 120, 1. / 91, 1. / 66, 1. / 45, 1. / 28, 1. / 15,
    1. / 6, 1},
                    log_term[LOG_TERMS] = {1. / 21, 1. / 19, 1. / 17, 1. / 15, 1. / 13, 1. / 11, 1. / 9,
                        1. / 7, 1. / 5, 1. / 3, 1};
typedef float floats __attribute__((vector_size(LANES * 4)));
typedef double doubles __attribute__((vector_size(LANES * 8)));
typedef int64_t words __attribute__((vector_size(LANES * 8)));

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

double qk_range_divergence(const float *p, const float *r, size_t n)
{
#if defined __x86_64__
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq"))
        return divergence_avx512(p, r, n);
    if (__builtin_cpu_supports("avx2"))
        return divergence_avx2(p, r, n);
#endif
    return divergence_plain(p, r, n);
}
