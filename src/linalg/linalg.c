/* linalg.c - row bases, principal angles and products over OpenBLAS and LAPACKE. */
#include "linalg/linalg.h"

#include "base/blas.h"
#include "base/mem.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Householder replaces CholeskyQR2 below this reciprocal condition of the Gram matrix (cond(a) about 1e5). Above it,
 * CholeskyQR2 is orthogonal to machine precision with a safe margin; its proven limit is cond(a) < 1e8 / sqrt(mn). */
static const double GRAM_RCOND_LIMIT = 1e-10;

enum qk_code qk_work_reserve(struct qk_work *work, size_t m, size_t n, struct qk_error *err)
{
    if (work->m >= m && work->n >= n && work->basis[0] != NULL)
        return QK_OK;
    if (m < work->m)
        m = work->m;
    if (n < work->n)
        n = work->n;
    qk_work_free(work);
    /* QR with blocking takes 64 columns of workspace; the SVD of an (m, m) triangle at most 5 m + 64 m. */
    work->lapack_size = 80 * (m > 0 ? m : 1) + 80 * (n > 0 ? n : 1);
    size_t area = (n != 0 && m > SIZE_MAX / n) ? SIZE_MAX : m * n;
    QK_TRY(qk_alloc_aligned(&work->basis[0], area, sizeof(double), err));
    QK_TRY(qk_alloc_aligned(&work->basis[1], area, sizeof(double), err));
    QK_TRY(qk_alloc_aligned(&work->residual, area, sizeof(double), err));
    for (int i = 0; i < 3; i++)
        QK_TRY(qk_alloc_aligned(&work->square[i], m * m, sizeof(double), err));
    QK_TRY(qk_alloc_aligned(&work->values, 4 * m, sizeof(double), err));
    QK_TRY(qk_alloc_aligned(&work->lapack, work->lapack_size, sizeof(double), err));
    work->m = m;
    work->n = n;
    return QK_OK;
}

void qk_work_free(struct qk_work *work)
{
    free(work->basis[0]);
    free(work->basis[1]);
    free(work->residual);
    for (int i = 0; i < 3; i++)
        free(work->square[i]);
    free(work->values);
    free(work->lapack);
    memset(work, 0, sizeof *work);
}

double qk_dot(size_t n, const double *x, const double *y)
{
    return qk_blas.ddot((int)n, x, 1, y, 1);
}

void qk_product_abt(size_t m, size_t n, const double *a, const double *b, double *c)
{
    qk_blas.dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)m, (int)n, 1.0, a, (int)n, b, (int)n,
        0.0, c, (int)m);
}

void qk_gram(size_t m, size_t n, const double *a, double *c)
{
    qk_blas.dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, (int)m, (int)n, 1.0, a, (int)n, 0.0, c, (int)m);
    for (size_t i = 0; i < m; i++)
        for (size_t j = i + 1; j < m; j++)
            c[i * m + j] = c[j * m + i];
}

/* The exponent that brings the largest |a| into [0.5, 1); *zero when all values are 0. */
static int scale_exponent(size_t count, const double *a, bool *zero)
{
    double largest = 0.0;
    for (size_t i = 0; i < count; i++) {
        double v = fabs(a[i]);
        largest = v > largest ? v : largest;
    }
    int exponent = 0;
    *zero = largest == 0.0;
    if (!*zero)
        frexp(largest, &exponent);
    return -exponent;
}

/* One Cholesky QR pass over the rows of q (m, n) in place; false when the Gram matrix is not safely positive
 * definite. g is (m, m) scratch, rwork 3 m doubles. */
static bool cholesky_pass(size_t m, size_t n, double *q, double *g, double *rwork)
{
    qk_blas.dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, (int)m, (int)n, 1.0, q, (int)n, 0.0, g, (int)m);
    double norm = 0.0; /* 1-norm of the symmetric Gram matrix, from its lower half */
    for (size_t i = 0; i < m; i++) {
        double sum = 0.0;
        for (size_t j = 0; j < m; j++)
            sum += fabs(j <= i ? g[i * m + j] : g[j * m + i]);
        norm = sum > norm ? sum : norm;
    }
    /* Row-major lower is column-major upper. */
    if (qk_lapack.dpotrf_work(LAPACK_COL_MAJOR, 'U', (lapack_int)m, g, (lapack_int)m) != 0)
        return false;
    double rcond = 0.0;
    lapack_int *iwork = (lapack_int *)(void *)(rwork + 3 * m);
    if (qk_lapack.dpocon_work(
            LAPACK_COL_MAJOR, 'U', (lapack_int)m, g, (lapack_int)m, norm, &rcond, rwork, iwork) != 0 ||
        !(rcond > GRAM_RCOND_LIMIT))
        return false;
    qk_blas.dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)m, (int)n, 1.0, g,
        (int)m, q, (int)n);
    return true;
}

/* The rank-revealing method: Householder QR of a^T (row-major rows are LAPACK's columns), then an SVD of the
 * triangle. q (m, n) holds the scaled rows and receives the basis. */
static enum qk_code basis_by_svd(
    size_t m, size_t n, double *q, size_t *rank, struct qk_work *work, struct qk_error *err)
{
    lapack_int rows = (lapack_int)n, columns = (lapack_int)m;
    size_t k = m < n ? m : n;
    double *tau = work->values, *sigma = work->values + m, *r = work->square[0], *u = work->square[1];
    if (qk_lapack.dgeqrf_work(
            LAPACK_COL_MAJOR, rows, columns, q, rows, tau, work->lapack, (lapack_int)work->lapack_size) != 0)
        return qk_fail(err, QK_INPUT, "QR factorisation of a (%zu, %zu) head failed", m, n);
    /* r: (k, m) upper trapezoid, column-major. */
    for (size_t j = 0; j < m; j++)
        for (size_t i = 0; i < k; i++)
            r[j * k + i] = i <= j ? q[j * n + i] : 0.0;
    lapack_int info = qk_lapack.dgesvd_work(LAPACK_COL_MAJOR, 'S', 'N', (lapack_int)k, (lapack_int)m, r,
        (lapack_int)k, sigma, u, (lapack_int)k, NULL, 1, work->lapack, (lapack_int)work->lapack_size);
    if (info != 0)
        return qk_fail(err, QK_INPUT, "the singular values of a (%zu, %zu) head did not converge", m, n);
    double limit = (double)(m > n ? m : n) * DBL_EPSILON * sigma[0];
    *rank = 0;
    while (*rank < k && sigma[*rank] > limit)
        ++*rank;
    /* basis = Q [u; 0], the first `rank` columns; Q is in q below the diagonal, so the basis is built beside it. */
    double *product = work->residual;
    memset(product, 0, *rank * n * sizeof *product);
    for (size_t j = 0; j < *rank; j++)
        memcpy(product + j * n, u + j * k, k * sizeof *product);
    if (*rank > 0 && qk_lapack.dormqr_work(LAPACK_COL_MAJOR, 'L', 'N', rows, (lapack_int)*rank, (lapack_int)k,
                         q, rows, tau, product, rows, work->lapack, (lapack_int)work->lapack_size) != 0)
        return qk_fail(err, QK_INPUT, "the row basis of a (%zu, %zu) head could not be formed", m, n);
    memcpy(q, product, *rank * n * sizeof *q);
    return QK_OK;
}

static void copy_scaled(size_t count, const double *a, int exponent, double *out)
{
    /* One factor cannot reach from 1e-308 to 1, so two exact steps do. */
    double half = ldexp(1.0, exponent / 2), rest = ldexp(1.0, exponent - exponent / 2);
    for (size_t i = 0; i < count; i++)
        out[i] = a[i] * half * rest;
}

enum qk_code qk_row_basis(size_t m, size_t n, const double *a, double *basis, size_t *rank,
    struct qk_work *work, struct qk_error *err)
{
    bool zero;
    int exponent = scale_exponent(m * n, a, &zero);
    *rank = 0;
    if (zero)
        return QK_OK;
    if (m <= n) {
        copy_scaled(m * n, a, exponent, basis);
        double *rwork = work->lapack;
        if (cholesky_pass(m, n, basis, work->square[0], rwork) &&
            cholesky_pass(m, n, basis, work->square[0], rwork)) {
            *rank = m;
            return QK_OK;
        }
        copy_scaled(m * n, a, exponent, basis);
        return basis_by_svd(m, n, basis, rank, work, err);
    }
    /* With more rows than columns, the factors need room for m rows, which the caller's basis (m, n) has. */
    copy_scaled(m * n, a, exponent, basis);
    return basis_by_svd(m, n, basis, rank, work, err);
}

/* Singular values of the (m, n) row-major matrix a, m <= n, descending; a is destroyed. QR comes first: the values of
 * a triangle cost n/m times less, and QR is backward stable row by row. */
static enum qk_code singular_values(
    size_t m, size_t n, double *a, double *sigma, struct qk_work *work, struct qk_error *err)
{
    double *tau = work->values + 3 * work->m, *r = work->square[0];
    lapack_int info = qk_lapack.dgeqrf_work(LAPACK_COL_MAJOR, (lapack_int)n, (lapack_int)m, a, (lapack_int)n,
        tau, work->lapack, (lapack_int)work->lapack_size);
    for (size_t j = 0; j < m; j++)
        for (size_t i = 0; i < m; i++)
            r[j * m + i] = i <= j ? a[j * n + i] : 0.0;
    if (info == 0)
        info = qk_lapack.dgesvd_work(LAPACK_COL_MAJOR, 'N', 'N', (lapack_int)m, (lapack_int)m, r,
            (lapack_int)m, sigma, NULL, 1, NULL, 1, work->lapack, (lapack_int)work->lapack_size);
    if (info != 0)
        return qk_fail(err, QK_INPUT, "the singular values of a (%zu, %zu) matrix did not converge", m, n);
    return QK_OK;
}

enum qk_code qk_principal_angles(size_t n, const double *qa, size_t ra, const double *qb, size_t rb,
    double *degrees, struct qk_work *work, struct qk_error *err)
{
    /* Projects the smaller set onto the larger, so that every angle has its sine. */
    const double *big = qa, *small = qb;
    size_t p = ra, q = rb;
    if (rb > ra) {
        big = qb;
        small = qa;
        p = rb;
        q = ra;
    }
    if (q == 0)
        return QK_OK;
    double *c = work->square[1]; /* (q, p) = small big^T */
    qk_blas.dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)q, (int)p, (int)n, 1.0, small, (int)n, big,
        (int)n, 0.0, c, (int)p);
    double *outside = work->residual; /* (q, n) = small - c big */
    memcpy(outside, small, q * n * sizeof *outside);
    qk_blas.dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)q, (int)n, (int)p, -1.0, c, (int)p, big,
        (int)n, 1.0, outside, (int)n);
    double *sines = work->values, *cosines = work->values + work->m;
    QK_TRY(singular_values(q, n, outside, sines, work, err));
    QK_TRY(singular_values(q, p, c, cosines, work, err));
    for (size_t i = 0; i < q; i++) {
        double cosine = fmin(cosines[i], 1.0), sine = fmin(sines[q - 1 - i], 1.0);
        double angle = cosine * cosine >= 0.5 ? asin(sine) : acos(cosine);
        degrees[i] = angle * (180.0 / 3.14159265358979323846);
    }
    return QK_OK;
}
