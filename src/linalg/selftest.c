/* selftest.c - the comparison of every BLAS and LAPACK routine of the program with plain loops.
 *
 * Products are tested twice. With small integers every sum is exact in float32 in any order, so any wrong entry
 * shows. Multiplying both sides by a vector (Freivalds 1977) makes that cost no more than the matrices themselves.
 * With fractions, the comparison of each entry shows whether precision is lost. */
#include "linalg/selftest.h"

#include "base/blas.h"
#include "base/mem.h"
#include "linalg/linalg.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* --- matrices to test with --- */

/* Every array holds `size` elements. */
struct room {
    double *a, *b, *c, *d, *e;
    float *x, *y, *z;           /* where single precision is computed */
    qk_product_routine product; /* tested in place of sgemm, or NULL */
    enum qk_code code;          /* set when a test could not end for a reason other than kernels */
    struct qk_error *err;
};

static enum qk_code make_room(struct room *room, size_t size, struct qk_error *err)
{
    double **wide[] = {&room->a, &room->b, &room->c, &room->d, &room->e};
    float **single[] = {&room->x, &room->y, &room->z};
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++)
        QK_TRY(qk_alloc_aligned(wide[i], size, sizeof(double), err));
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++)
        QK_TRY(qk_alloc_aligned(single[i], size, sizeof(float), err));
    return QK_OK;
}

static void free_room(struct room *room)
{
    void *array[] = {room->a, room->b, room->c, room->d, room->e, room->x, room->y, room->z};
    for (size_t i = 0; i < sizeof array / sizeof array[0]; i++)
        free(array[i]);
}

/* Reproducible values in [-1, 1) by xorshift64* (Vigna 2016), independent of any library's generator. */
static void fill(double *x, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed ^= seed >> 12;
        seed ^= seed << 25;
        seed ^= seed >> 27;
        x[i] = (double)((seed * 2685821657736338717u) >> 11) * 0x1p-52 - 1;
    }
}

/* Integers from -7 to 8, from the high bits of a linear congruence (Knuth's MMIX), which is faster for so many. */
static void fill_integers(double *x, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        x[i] = (double)((int)(seed >> 60) - 7);
    }
}

static void narrow(size_t n, const double *from, float *to)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (float)from[i];
}

static void widen(size_t n, const float *from, double *to)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (double)from[i];
}

static double largest_difference(size_t n, const double *x, const double *y)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs(x[i] - y[i]);
        if (!(d <= largest)) /* NaN is the largest of all */
            largest = d;
    }
    return largest;
}

/* The rounding error that a sum of so many products of values below 1 may have. */
static double allowed(bool single, size_t terms)
{
    return 8 * (single ? (double)FLT_EPSILON : DBL_EPSILON) * (double)(terms + 8);
}

static double wide_allowed(size_t terms)
{
    return allowed(false, terms);
}

/* --- plain loops --- */

/* Entry (i, j) of op(x), rows x columns. */
static double entry(const double *x, bool transposed, size_t rows, size_t columns, size_t i, size_t j)
{
    return transposed ? x[j * rows + i] : x[i * columns + j];
}

/* y = op(x) v, op(x) of rows x columns; added to y when `add`. */
static void plain_times(
    const double *x, bool transposed, size_t rows, size_t columns, const double *v, bool add, double *y)
{
    for (size_t i = 0; i < rows; i++) {
        double sum = add ? y[i] : 0;
        for (size_t j = 0; j < columns; j++)
            sum += entry(x, transposed, rows, columns, i, j) * v[j];
        y[i] = sum;
    }
}

/* c (m, n) = op(a) op(b), op(a) (m, k), op(b) (k, n). */
static void plain_product(
    size_t m, size_t n, size_t k, const double *a, bool ta, const double *b, bool tb, double *c)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t p = 0; p < k; p++)
                sum += entry(a, ta, m, k, i, p) * entry(b, tb, k, n, p, j);
            c[i * n + j] = sum;
        }
}

/* --- products: each returns the worst error, in units of what is allowed --- */

struct shape {
    size_t m, n, k;
    bool fractions; /* small enough for plain loops over whole products */
    bool single;    /* float32 is tested, not float64 */
};

/* c = op(a) op(b) + beta c by BLAS. */
static void multiply(struct room *r, bool ta, bool tb, const struct shape *s, double beta)
{
    enum CBLAS_TRANSPOSE a = ta ? CblasTrans : CblasNoTrans, b = tb ? CblasTrans : CblasNoTrans;
    int m = (int)s->m, n = (int)s->n, k = (int)s->k, lda = ta ? m : k, ldb = tb ? k : n;
    if (!s->single) {
        qk_blas.dgemm(CblasRowMajor, a, b, m, n, k, 1.0, r->a, lda, r->b, ldb, beta, r->c, n);
        return;
    }
    narrow(s->m * s->k, r->a, r->x);
    narrow(s->k * s->n, r->b, r->y);
    narrow(s->m * s->n, r->c, r->z);
    if (r->product != NULL)
        r->product(tb, s->m, s->n, s->k, 1.0F, r->x, s->k, r->y, (size_t)ldb, (float)beta, r->z, s->n);
    else
        qk_blas.sgemm(CblasRowMajor, a, b, m, n, k, 1.0F, r->x, lda, r->y, ldb, (float)beta, r->z, n);
    widen(s->m * s->n, r->z, r->c);
}

/* 0 when c = op(a) op(b) + c0 to the last bit, all integers, with c0 v in `before`; else more than 1. */
static double integers_differ(struct room *r, bool ta, bool tb, const struct shape *s, const double *v)
{
    double *inner = r->e, *want = r->d, *got = r->d + s->m;
    plain_times(r->b, tb, s->k, s->n, v, false, inner);
    plain_times(r->a, ta, s->m, s->k, inner, true, want);
    plain_times(r->c, false, s->m, s->n, v, false, got);
    double worst = largest_difference(s->m, want, got);
    return worst == 0 ? 0 : 1 + worst;
}

static double test_gemm_as(struct room *r, bool ta, bool tb, const struct shape *s)
{
    double *v = r->e + s->k;
    fill_integers(r->a, s->m * s->k, 1);
    fill_integers(r->b, s->k * s->n, 2);
    fill_integers(r->c, s->m * s->n, 3);
    fill_integers(v, s->n, 4);
    plain_times(r->c, false, s->m, s->n, v, false, r->d);
    multiply(r, ta, tb, s, 1);
    double worst = integers_differ(r, ta, tb, s, v);
    if (!s->fractions)
        return worst;
    fill(r->a, s->m * s->k, 5);
    fill(r->b, s->k * s->n, 6);
    if (s->single) { /* the factors are values of float32 */
        narrow(s->m * s->k, r->a, r->x);
        widen(s->m * s->k, r->x, r->a);
        narrow(s->k * s->n, r->b, r->y);
        widen(s->k * s->n, r->y, r->b);
    }
    multiply(r, ta, tb, s, 0);
    plain_product(s->m, s->n, s->k, r->a, ta, r->b, tb, r->d);
    return fmax(worst, largest_difference(s->m * s->n, r->c, r->d) / allowed(s->single, s->k));
}

static double test_gemm(struct room *r, const struct shape *s)
{
    double worst = 0;
    for (int way = 0; way < 4; way++)
        worst = fmax(worst, test_gemm_as(r, way & 1, way & 2, s));
    return worst;
}

/* c = a a^T + beta c, its lower half, by BLAS. */
static void square(struct room *r, const struct shape *s, double beta)
{
    int m = (int)s->m, k = (int)s->k;
    if (!s->single) {
        qk_blas.dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, m, k, 1.0, r->a, k, beta, r->c, m);
    } else {
        narrow(s->m * s->k, r->a, r->x);
        narrow(s->m * s->m, r->c, r->z);
        qk_blas.ssyrk(CblasRowMajor, CblasLower, CblasNoTrans, m, k, 1.0F, r->x, k, (float)beta, r->z, m);
        widen(s->m * s->m, r->z, r->c);
    }
}

static void mirror(size_t m, double *c)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = i + 1; j < m; j++)
            c[i * m + j] = c[j * m + i];
}

static double test_syrk(struct room *r, const struct shape *s)
{
    const struct shape own = {.m = s->m, .n = s->m, .k = s->k};
    double *v = r->e + s->k;
    fill_integers(r->a, s->m * s->k, 7);
    memcpy(r->b, r->a, s->m * s->k * sizeof *r->b);
    fill_integers(r->c, s->m * s->m, 8);
    mirror(s->m, r->c);
    fill_integers(v, s->m, 9);
    plain_times(r->c, false, s->m, s->m, v, false, r->d);
    square(r, s, 1);
    mirror(s->m, r->c);
    return integers_differ(r, false, true, &own, v);
}

/* y = op(a) x + y by BLAS, a (m, k) as it is stored. */
static void apply(struct room *r, const struct shape *s, bool transposed)
{
    enum CBLAS_TRANSPOSE how = transposed ? CblasTrans : CblasNoTrans;
    size_t rows = s->m, columns = s->k, in = transposed ? rows : columns, out = transposed ? columns : rows;
    if (!s->single) {
        qk_blas.dgemv(
            CblasRowMajor, how, (int)rows, (int)columns, 1.0, r->a, (int)columns, r->b, 1, 1.0, r->c, 1);
        return;
    }
    narrow(rows * columns, r->a, r->x);
    narrow(in, r->b, r->y);
    narrow(out, r->c, r->z);
    qk_blas.sgemv(
        CblasRowMajor, how, (int)rows, (int)columns, 1.0F, r->x, (int)columns, r->y, 1, 1.0F, r->z, 1);
    widen(out, r->z, r->c);
}

static double test_gemv(struct room *r, const struct shape *s)
{
    double worst = 0;
    for (int transposed = 0; transposed < 2; transposed++) {
        size_t in = transposed ? s->m : s->k, out = transposed ? s->k : s->m;
        fill_integers(r->a, s->m * s->k, 10);
        fill_integers(r->b, in, 11);
        fill_integers(r->c, out, 12);
        memcpy(r->d, r->c, out * sizeof *r->d);
        plain_times(r->a, transposed, out, in, r->b, true, r->d);
        apply(r, s, transposed);
        double difference = largest_difference(out, r->c, r->d);
        worst = fmax(worst, difference == 0 ? 0 : 1 + difference);
    }
    return worst;
}

static double test_dot(struct room *r, const struct shape *s)
{
    size_t n = s->m * s->k;
    double sum = 0, squares = 0;
    fill(r->a, n, 13);
    fill(r->b, n, 14);
    for (size_t i = 0; i < n; i++) {
        sum += r->a[i] * r->b[i];
        squares += r->a[i] * r->a[i];
    }
    double worst = fabs(qk_blas.ddot((int)n, r->a, 1, r->b, 1) - sum);
    return fmax(worst, fabs(qk_blas.dnrm2((int)n, r->a, 1) - sqrt(squares))) / wide_allowed(n);
}

/* --- triangles and factorisations --- */

/* What a test returns when LAPACK failed: running out of memory is no fault of its kernels. */
static double no_result(struct room *r, lapack_int info)
{
    if (info != LAPACK_WORK_MEMORY_ERROR && info != LAPACK_TRANSPOSE_MEMORY_ERROR)
        return HUGE_VAL;
    r->code = qk_fail(r->err, QK_IO, "out of memory (LAPACK's)");
    return 0;
}

/* A lower triangle far from singular: its diagonal outweighs the rest. */
static void fill_triangle(double *x, size_t m, uint64_t seed)
{
    fill(x, m * m, seed);
    for (size_t i = 0; i < m; i++) {
        x[i * m + i] = 2 + fabs(x[i * m + i]);
        for (size_t j = 0; j < m; j++)
            x[i * m + j] *= j > i ? 0 : j < i ? 1 / (double)m : 1;
    }
}

/* The solution must give the right-hand side back. */
static double test_trsm(struct room *r, const struct shape *s)
{
    size_t m = s->m;
    double worst = 0;
    fill_triangle(r->a, m, 15);
    for (int way = 0; way < 4; way++) {
        bool right = way & 1, transposed = way & 2;
        fill(r->b, m * m, 16);
        memcpy(r->c, r->b, m * m * sizeof *r->c);
        qk_blas.dtrsm(CblasRowMajor, right ? CblasRight : CblasLeft, CblasLower,
            transposed ? CblasTrans : CblasNoTrans, CblasNonUnit, (int)m, (int)m, 1.0, r->a, (int)m, r->c,
            (int)m);
        plain_product(m, m, m, right ? r->c : r->a, !right && transposed, right ? r->a : r->c,
            right && transposed, r->d);
        worst = fmax(worst, largest_difference(m * m, r->b, r->d));
        if (right)
            continue;
        memcpy(r->c, r->b, m * sizeof *r->c);
        qk_blas.dtrsv(CblasRowMajor, CblasLower, transposed ? CblasTrans : CblasNoTrans, CblasNonUnit, (int)m,
            r->a, (int)m, r->c, 1);
        plain_times(r->a, transposed, m, m, r->c, false, r->d);
        worst = fmax(worst, largest_difference(m, r->b, r->d));
    }
    return worst / wide_allowed(m);
}

/* L L^T must give the matrix back. */
static double test_potrf(struct room *r, const struct shape *s)
{
    size_t m = s->m, k = s->k;
    fill(r->a, m * k, 17);
    plain_product(m, m, k, r->a, false, r->a, true, r->c);
    for (size_t i = 0; i < m; i++)
        r->c[i * m + i] += 1;
    memcpy(r->d, r->c, m * m * sizeof *r->d);
    lapack_int info = qk_lapack.dpotrf(LAPACK_ROW_MAJOR, 'L', (lapack_int)m, r->d, (lapack_int)m);
    if (info != 0)
        return no_result(r, info);
    for (size_t i = 0; i < m; i++)
        for (size_t j = i + 1; j < m; j++)
            r->d[i * m + j] = 0;
    plain_product(m, m, m, r->d, false, r->d, true, r->e);
    return largest_difference(m * m, r->c, r->e) / (wide_allowed(m) * (double)(k + 1));
}

/* Q R must give the matrix back, of k rows and m columns as LAPACK sees it. */
static double test_geqrf(struct room *r, const struct shape *s)
{
    size_t m = s->m <= s->k ? s->m : s->k, k = s->k;
    lapack_int rows = (lapack_int)k, columns = (lapack_int)m;
    double *factors = r->e;
    fill(r->a, m * k, 18);
    memcpy(r->b, r->a, m * k * sizeof *r->b);
    lapack_int info = qk_lapack.dgeqrf(LAPACK_COL_MAJOR, rows, columns, r->b, rows, factors);
    if (info != 0)
        return no_result(r, info);
    for (size_t j = 0; j < m; j++)
        for (size_t i = 0; i < k; i++)
            r->c[j * k + i] = i <= j ? r->b[j * k + i] : 0;
    info =
        qk_lapack.dormqr(LAPACK_COL_MAJOR, 'L', 'N', rows, columns, columns, r->b, rows, factors, r->c, rows);
    if (info != 0)
        return no_result(r, info);
    return largest_difference(m * k, r->a, r->c) / wide_allowed(k);
}

/* U diag(s) V^T must give the matrix back, and U must be orthogonal. */
static double test_gesvd(struct room *r, const struct shape *s)
{
    size_t m = s->m;
    lapack_int ln = (lapack_int)m;
    double *values = r->e, *superdiagonal = r->e + m, worst = 0;
    fill(r->a, m * m, 19);
    memcpy(r->b, r->a, m * m * sizeof *r->b);
    lapack_int info = qk_lapack.dgesvd(
        LAPACK_ROW_MAJOR, 'A', 'A', ln, ln, r->b, ln, values, r->c, ln, r->d, ln, superdiagonal);
    if (info != 0)
        return no_result(r, info);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < m; j++) {
            double sum = 0, unit = 0;
            for (size_t p = 0; p < m; p++) {
                sum += r->c[i * m + p] * values[p] * r->d[p * m + j];
                unit += r->c[i * m + p] * r->c[j * m + p];
            }
            worst = fmax(worst, fabs(sum - r->a[i * m + j]) / values[0]);
            worst = fmax(worst, fabs(unit - (i == j ? 1 : 0)));
        }
    return worst / wide_allowed(m);
}

/* V diag(e) V^T must give the matrix back, V must be orthogonal, and the values alone must be the same. */
static double test_syev(struct room *r, const struct shape *s)
{
    size_t m = s->m;
    double *values = r->e, *alone = r->e + m, *scaled = r->a;
    fill(r->b, m * m, 20);
    mirror(m, r->b);
    memcpy(r->c, r->b, m * m * sizeof *r->c);
    memcpy(r->d, r->b, m * m * sizeof *r->d);
    lapack_int info =
        qk_lapack.dsyevd(LAPACK_ROW_MAJOR, 'V', 'L', (lapack_int)m, r->c, (lapack_int)m, values);
    if (info == 0)
        info = qk_lapack.dsyev(LAPACK_ROW_MAJOR, 'N', 'L', (lapack_int)m, r->d, (lapack_int)m, alone);
    if (info != 0)
        return no_result(r, info);
    double largest = fmax(fabs(values[0]), fabs(values[m - 1]));
    double worst = largest_difference(m, values, alone) / largest;
    for (size_t i = 0; i < m * m; i++)
        scaled[i] = r->c[i] * values[i % m];
    plain_product(m, m, m, scaled, false, r->c, true, r->d);
    worst = fmax(worst, largest_difference(m * m, r->b, r->d) / largest);
    plain_product(m, m, m, r->c, false, r->c, true, r->d);
    for (size_t i = 0; i < m; i++)
        r->d[i * m + i] -= 1;
    memset(r->a, 0, m * m * sizeof *r->a);
    return fmax(worst, largest_difference(m * m, r->a, r->d)) / wide_allowed(m);
}

/* Rows that are turned out of their span by known angles t, from 1e-6 to 60 degrees. Row i of b is cos(t) e_i +
 * sin(t) e_(m+i). In float64 the angles must come back to 1e-9 of themselves. */
static double test_angles(struct room *r, const struct shape *s)
{
    size_t m = s->m, n = 2 * m, rank[2] = {0, 0};
    struct qk_work work = {0};
    double worst = HUGE_VAL, *want = r->e;
    memset(r->a, 0, m * n * sizeof *r->a);
    memset(r->b, 0, m * n * sizeof *r->b);
    for (size_t i = 0; i < m; i++) {
        want[i] = m > 1 ? 1e-6 * pow(6e7, (double)i / (double)(m - 1)) : 1;
        r->a[i * n + i] = 1;
        r->b[i * n + i] = cos(want[i] * M_PI / 180);
        r->b[i * n + m + i] = sin(want[i] * M_PI / 180);
    }
    r->code = qk_work_reserve(&work, m, n, r->err);
    if (r->code == QK_OK && qk_row_basis(m, n, r->a, work.basis[0], &rank[0], &work, NULL) == QK_OK &&
        qk_row_basis(m, n, r->b, work.basis[1], &rank[1], &work, NULL) == QK_OK && rank[0] == m &&
        rank[1] == m &&
        qk_principal_angles(n, work.basis[0], m, work.basis[1], m, r->d, &work, NULL) == QK_OK) {
        worst = 0;
        for (size_t i = 0; i < m; i++)
            worst = fmax(worst, fabs(r->d[i] - want[i]) / (1e-9 * want[i] + 1e-13));
    }
    qk_work_free(&work);
    return worst;
}

/* --- all of them --- */

static const struct {
    const char *name;
    bool single;
    bool integers; /* has a test for sizes where plain loops over whole products would take too long */
    double (*test)(struct room *r, const struct shape *s);
} tests[] = {
    {"sgemm", true, true, test_gemm},
    {"dgemm", false, true, test_gemm},
    {"ssyrk", true, true, test_syrk},
    {"dsyrk", false, true, test_syrk},
    {"sgemv", true, true, test_gemv},
    {"dgemv", false, true, test_gemv},
    {"ddot, dnrm2", false, false, test_dot},
    {"dtrsm, dtrsv", false, false, test_trsm},
    {"dpotrf", false, false, test_potrf},
    {"dgeqrf, dormqr", false, false, test_geqrf},
    {"dgesvd", false, false, test_gesvd},
    {"dsyev, dsyevd", false, false, test_syev},
    {"principal angles", false, false, test_angles},
};
enum { TESTS = sizeof tests / sizeof tests[0] };
_Static_assert((int)TESTS <= (int)QK_SELFTEST_MAX, "room for every result");

/* Small ones take the paths of small matrices. 130 x 131 x 69 is beyond what OpenBLAS counts as small, and no
 * dimension is a multiple of a kernel's width. */
static const struct shape quick[] = {{31, 37, 33, true, false}, {130, 131, 69, false, false}};
static const struct shape all[] = {{1, 1, 1, true, false}, {3, 2, 5, true, false}, {16, 16, 64, true, false},
    {31, 33, 127, true, false}, {64, 48, 256, true, false}, {127, 65, 300, true, false},
    {128, 128, 1024, true, false}, {130, 200, 390, false, false}, {257, 511, 513, false, false},
    {512, 512, 512, false, false}};

static void run_tests(
    const struct shape *shape, size_t n_shapes, struct room *room, struct qk_selftest result[QK_SELFTEST_MAX])
{
    for (int t = 0; t < TESTS; t++) {
        result[t] = (struct qk_selftest){tests[t].name, 0};
        for (size_t i = 0; i < n_shapes && room->code == QK_OK; i++) {
            struct shape s = shape[i];
            s.single = tests[t].single;
            if (s.fractions || tests[t].integers)
                result[t].worst = fmax(result[t].worst, tests[t].test(room, &s));
        }
    }
}

/* Elements of the largest array that these sizes need. */
static size_t room_for(const struct shape *shape, size_t n_shapes)
{
    size_t most = 0;
    for (size_t i = 0; i < n_shapes; i++) {
        const struct shape *s = &shape[i];
        const size_t sizes[] = {s->m * s->k, s->k * s->n, s->m * s->n, 2 * s->m * s->m, s->m + s->n + s->k};
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
            most = most > sizes[k] ? most : sizes[k];
    }
    return most;
}

static sigjmp_buf out;

static void leave(int number)
{
    siglongjmp(out, number);
}

/* OPENBLAS_CORETYPE may ask for kernels that this processor cannot run: that ends in SIGILL. */
static enum qk_code run_guarded(const struct shape *shape, size_t n_shapes, struct room *room,
    struct qk_selftest *result, struct qk_error *err)
{
    struct sigaction guard = {.sa_handler = leave}, before;
    enum qk_code code = QK_OK;
    sigemptyset(&guard.sa_mask);
    sigaction(SIGILL, &guard, &before);
    if (sigsetjmp(out, 1) == 0) {
        run_tests(shape, n_shapes, room, result);
        code = room->code;
    } else {
        code = qk_fail(err, QK_IO,
            "OpenBLAS: this processor lacks instructions that the kernels for %s have: unset OPENBLAS_CORETYPE",
            qk_blas_core());
    }
    sigaction(SIGILL, &before, NULL);
    return code;
}

enum qk_code qk_selftest_run(
    bool thorough, struct qk_selftest result[QK_SELFTEST_MAX], int *n, struct qk_error *err)
{
    const struct shape *shape = thorough ? all : quick;
    size_t n_shapes = thorough ? sizeof all / sizeof all[0] : sizeof quick / sizeof quick[0];
    struct room room = {.err = err};
    enum qk_code code = make_room(&room, room_for(shape, n_shapes), err);
    if (code == QK_OK)
        code = run_guarded(shape, n_shapes, &room, result, err);
    *n = code == QK_OK ? TESTS : 0;
    free_room(&room);
    return code;
}

enum qk_code qk_selftest_product(qk_product_routine product, bool whole, struct qk_error *err)
{
    struct room room = {.product = product, .err = err};
    double worst = 0;
    enum qk_code code = make_room(&room, room_for(quick, sizeof quick / sizeof quick[0]), err);
    for (size_t i = 0; code == QK_OK && i < sizeof quick / sizeof quick[0]; i++) {
        struct shape s = quick[i];
        s.single = true;
        s.fractions = s.fractions && whole;
        for (int transposed = whole ? 0 : 1; transposed < 2; transposed++)
            worst = fmax(worst, test_gemm_as(&room, false, transposed, &s));
    }
    free_room(&room);
    if (code == QK_OK && !(worst <= 1))
        return qk_fail(err, QK_DIFFERS, "oneDNN computes wrong results on this processor");
    return code;
}

enum qk_code qk_selftest_judge(const struct qk_selftest *result, int n, struct qk_error *err)
{
    for (int i = 0; i < n; i++)
        if (!(result[i].worst <= 1))
            return qk_fail(err, QK_DIFFERS,
                "%s: OpenBLAS computes wrong results on this processor with its kernels for %s: set "
                "OPENBLAS_CORETYPE to another one (Haswell, Nehalem), or install another version",
                result[i].name, qk_blas_core());
    return QK_OK;
}
