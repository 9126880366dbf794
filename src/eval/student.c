/* student.c - tails and quantiles of Student's t distribution. */
#include "eval/student.h"

#include <math.h>
#include <stdbool.h>

static const double PI = 3.14159265358979323846;

double qk_student_tail(double x, size_t freedom)
{
    double angle = atan2(x, sqrt((double)freedom)), cosine = cos(angle), square = cosine * cosine;
    bool odd = freedom % 2 == 1;
    double term = odd ? cosine : 1, sum = freedom > 1 ? term : 0;
    for (size_t k = odd ? 3 : 2; k + 2 <= freedom; k += 2) {
        term *= square * (double)(k - 1) / (double)k;
        sum += term;
    }
    double within = sin(angle) * sum;
    if (odd)
        within = 2 / PI * (angle + within);
    return (1 - within) / 2;
}

double qk_student_quantile(double probability, size_t freedom)
{
    enum { HALVINGS = 200 };
    double low = 0, high = 1;
    if (freedom == 0)
        return INFINITY;
    while (qk_student_tail(high, freedom) > probability && high < 1e15)
        high *= 2;
    for (int i = 0; i < HALVINGS; i++) {
        double middle = (low + high) / 2;
        if (qk_student_tail(middle, freedom) > probability)
            low = middle;
        else
            high = middle;
    }
    return high;
}
