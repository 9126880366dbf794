/* grams.h - principal angles and routing sums from the Gram matrices of two heads, with a bound on their rounding
 * error. Float32 products thus serve where they are good enough and nowhere else.
 *
 * A head A and its other version B = A + E are (m, n). Every number of drift.h follows from A A^T, E A^T and E E^T. E
 * is formed before anything is multiplied, so a small drift is known to as many digits as a large one. */
#ifndef QK_LINALG_GRAMS_H
#define QK_LINALG_GRAMS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct qk_grams {
    size_t m;
    double *aa, *ea, *ee; /* (m, m), full: A A^T, E A^T, E E^T */
    double *bb;           /* (m, m), full: B B^T = aa + ea + ea^T + ee */
    double trace_aa, trace_ee;
    double error;  /* error of an entry <x, y>: this times |x| |y| */
    double *block; /* storage of the four, owned */
};
enum qk_code qk_grams_reserve(struct qk_grams *grams, size_t m, struct qk_error *err);
void qk_grams_free(struct qk_grams *grams);

/* Scratch of a thread for products and angles. Zero-initialise. */
struct qk_gram_work {
    size_t m;
    float *single;     /* (2 m, 2 m) */
    double *wide;      /* (2 m, 2 m) */
    double *square[3]; /* (m, m) each */
    double *values;    /* m */
    double *lapack;    /* 40 m */
};
enum qk_code qk_gram_work_reserve(struct qk_gram_work *work, size_t m, struct qk_error *err);
void qk_gram_work_free(struct qk_gram_work *work);

/* Fills grams, reserved for m, from x (2 m, n): the rows of A, then those of E. Values are finite and far from over-
 * and underflow: for float32, sums of squares between 1e-24 and 1e24 (or 0). Products in float32 take 128 columns,
 * and are added up in float64 every 512. */
void qk_grams_of_single(size_t n, const float *x, struct qk_grams *grams, struct qk_gram_work *work);
void qk_grams_of_double(size_t n, const double *x, struct qk_grams *grams, struct qk_gram_work *work);

/* The error that an angle may have: `relative` of the largest one, and so many degrees. */
struct qk_angle_tolerance {
    double relative, degrees;
};
/* Principal angles between the row spaces of A and B, both of rank m: m values in degrees, ascending. False, with
 * degrees undefined, unless both are known to have rank m and each angle is within the tolerance. With L L^T = A A^T
 * and M M^T = B B^T the squared sines are the eigenvalues of
 *   M^-1 S M^-T,  S = E E^T - X X^T,  X = E A^T L^-T,
 * because the part of B outside the span of A is that of E. */
bool qk_grams_angles(const struct qk_grams *grams, const struct qk_angle_tolerance *tolerance,
    double *degrees, struct qk_gram_work *work);

/* Sums of the routing R = Q^T K of a query head and its key head, from their Grams:
 *   base  = |R_A|^2       = sum Qaa o Kaa
 *   moved = |R_B - R_A|^2 = sum Qaa o Kee + 2 Qea^T o (Kea + Kee) + Qee o Kbb
 * with R_B - R_A = Qa^T Ek + Eq^T Kb, and <X^T Y, Z^T W> = sum (X Z^T) o (Y W^T). False unless `moved` is known to
 * `tolerance` of itself. The sums are written in any case, and moved is never below 0. */
bool qk_grams_routing(
    const struct qk_grams *q, const struct qk_grams *k, double tolerance, double *base, double *moved);

#endif
