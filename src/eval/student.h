/* student.h - Student's t distribution, for bounds of means from few samples. */
#ifndef QK_EVAL_STUDENT_H
#define QK_EVAL_STUDENT_H

#include <stddef.h>

/* The probability that t with `freedom` degrees of freedom (at least 1) exceeds x, x >= 0. By the finite series for
 * whole degrees of freedom (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4); exact to about 1e-15. */
double qk_student_tail(double x, size_t freedom);

/* The x that t exceeds with the probability, 1e-12 to 0.5; infinite without a degree of freedom. */
double qk_student_quantile(double probability, size_t freedom);

#endif
