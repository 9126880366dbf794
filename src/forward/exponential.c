/* exponential.c - vector loops for each instruction set, and the choice among them. */
#include "forward/exponential.h"

#include "base/vector.h"

#include <stdint.h>
#include <string.h>

enum { SUM_LANES = 16 };

#define LOOPS "forward/exponential_loops.h"
#include "base/vector_widths.h"

struct loops {
    float (*largest)(size_t n, const float *x);
    double (*exp_sum)(size_t n, float shift, float *x);
    void (*logistic)(size_t n, bool times_x, float *x);
};

static const struct loops *loops(void)
{
#define ROW(lanes) {largest_##lanes, exp_sum_##lanes, logistic_##lanes},
    static const struct loops by_width[] = {QK_VECTOR_WIDTHS(ROW)};
#undef ROW
    return &by_width[qk_vector_width()];
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
