/* divergence.c - the sums over rows of attention: their divergence, their mass and its distance, in vector loops for
 * each instruction set. */
#include "range/range.h"

#include "base/vector.h"

#include <stdint.h>
#include <string.h>

/* The vectors are as wide for every instruction set, so that all machines give the same bits.
 *
 * (1-r) ln(1-r) + (1+r) ln(1+r) = sum over k of r^2k / (k (2k-1)). The series is used where it converges fast. It has
 * no cancellation, and r has none either, because x - y is exact where x and y are near. So float32 is enough: models
 * that hardly differ lose no digits. The first term left out is below 2e-8 of the sum. */
enum { SUM_LANES = 16, HALF = SUM_LANES / 2, TERMS = 6, LOG_TERMS = 5 };
static const float SERIES_MOST = 0.1f; /* of r^2 */
/* 1 / (k (2k - 1)) and 1 / (2k + 1), the last first. */
static const float term[TERMS] = {1.f / 66, 1.f / 45, 1.f / 28, 1.f / 15, 1.f / 6, 1},
                   log_term[LOG_TERMS] = {1.f / 9, 1.f / 7, 1.f / 5, 1.f / 3, 1};
typedef float floats __attribute__((vector_size(SUM_LANES * 4)));
typedef int32_t words __attribute__((vector_size(SUM_LANES * 4)));
typedef float few __attribute__((vector_size(HALF * 4)));
typedef double doubles __attribute__((vector_size(HALF * 8)));

#define LOOPS "range/divergence_loops.h"
#include "base/vector_widths.h"

struct loops {
    double (*divergence)(size_t n, float a, const float *p, float b, const float *r);
    void (*mass)(size_t n, const float *p, size_t farthest, double *mass, double *moment);
};

static const struct loops *loops(void)
{
#define ROW(lanes) {divergence_##lanes, mass_##lanes},
    static const struct loops by_width[] = {QK_VECTOR_WIDTHS(ROW)};
#undef ROW
    return &by_width[qk_vector_width()];
}

double qk_range_divergence(size_t n, float a, const float *p, float b, const float *r)
{
    return loops()->divergence(n, a, p, b, r);
}

void qk_range_mass(size_t n, const float *p, size_t farthest, double *mass, double *moment)
{
    loops()->mass(n, p, farthest, mass, moment);
}
