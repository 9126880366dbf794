/* elementwise.c - vector loops for each instruction set, and the choice among them. */
#include "forward/elementwise.h"

#include "base/vector.h"

#include <stdint.h>
#include <string.h>

enum { SUM_LANES = 16 };

/* The sum of SUM_LANES values, in one order on every machine. */
static double add_lanes(double *sums)
{
    for (size_t half = SUM_LANES / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            sums[j] += sums[j + half];
    return sums[0];
}

#define LOOPS "forward/elementwise_loops.h"
#include "base/vector_widths.h"

struct loops {
    double (*sum_of_squares)(size_t n, const float *x);
    double (*magnitudes)(size_t n, float *x);
    void (*scale_by_gain)(
        size_t n, const float *x, float factor, const float *gain, float offset, float *out);
    void (*multiply)(size_t n, const float *gate, float *x);
    void (*scale)(size_t n, float factor, float *x);
    void (*add)(size_t n, float factor, const float *y, float *x);
};

static const struct loops *loops(void)
{
#define ROW(lanes)                                                                                           \
    {sum_of_squares_##lanes, magnitudes_##lanes, scale_by_gain_##lanes, multiply_##lanes, scale_##lanes,     \
        add_##lanes},
    static const struct loops by_width[] = {QK_VECTOR_WIDTHS(ROW)};
#undef ROW
    return &by_width[qk_vector_width()];
}

double qk_sum_of_squares(size_t n, const float *x)
{
    return loops()->sum_of_squares(n, x);
}

double qk_magnitudes(size_t n, float *x)
{
    return loops()->magnitudes(n, x);
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

void qk_add(size_t n, float factor, const float *y, float *x)
{
    loops()->add(n, factor, y, x);
}
