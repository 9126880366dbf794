/* linalg.h - the linear algebra of the program in float64: row bases, principal angles, Gram products.
 *
 * Matrices are dense, row-major, (m, n) with leading dimension n. qk_blas_load or qk_kernels_load comes first. */
#ifndef QK_LINALG_LINALG_H
#define QK_LINALG_LINALG_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* Scratch for matrices of up to (m, n); one per thread. Zero-initialise, then qk_work_reserve. */
struct qk_work {
    size_t m, n;
    double *basis[2];  /* (m, n) each */
    double *residual;  /* (m, n) */
    double *square[3]; /* (m, m) each */
    double *values;    /* 4 m */
    double *lapack;    /* query-sized */
    size_t lapack_size;
};
enum qk_code qk_work_reserve(struct qk_work *work, size_t m, size_t n, struct qk_error *err);
void qk_work_free(struct qk_work *work);

/* Orthonormal basis of the row space of a (m, n): `basis` receives *rank orthonormal rows of length n, *rank <=
 * min(m, n). a stays unchanged; all its values must be finite.
 *   Well-conditioned rows take CholeskyQR2 (Yamamoto et al. 2015), orthogonal to machine precision while cond(a) <
 *   1e5. Others take Householder QR and an SVD of its triangle. Singular values below max(m, n) * 2^-52 * largest
 *   count as zero (the rule of numpy.linalg.matrix_rank).
 * Rows are scaled by one power of two first, so neither 1e-200 nor 1e200 over- or underflows.
 * Needs a work of at least (m, n) whose basis[] it does not touch. QK_INPUT when LAPACK does not converge. */
enum qk_code qk_row_basis(size_t m, size_t n, const double *a, double *basis, size_t *rank,
    struct qk_work *work, struct qk_error *err);

/* Principal angles in degrees between the spans of two orthonormal row sets, qa (ra, n) and qb (rb, n): min(ra, rb)
 * values, ascending. Cosines are the singular values of qa qb^T (Bjorck & Golub 1973). Angles below 45 degrees come
 * from the sines: the singular values of the part of one set outside the other's span (Knyazev & Argentati 2002).
 * Needs a work of at least (max(ra, rb), n). */
enum qk_code qk_principal_angles(size_t n, const double *qa, size_t ra, const double *qb, size_t rb,
    double *degrees, struct qk_work *work, struct qk_error *err);

/* c (m, m) = a b^T for a, b (m, n). */
void qk_product_abt(size_t m, size_t n, const double *a, const double *b, double *c);
/* c (m, m), symmetric and full = a a^T for a (m, n). */
void qk_gram(size_t m, size_t n, const double *a, double *c);
/* Sum of x[i] * y[i]. */
double qk_dot(size_t n, const double *x, const double *y);

#endif
