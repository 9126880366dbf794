/* test_linalg.c - row bases and principal angles against matrices whose answers are known by construction,
 * and against values computed by scipy. */
#include "linalg/linalg.h"

#include "base/blas.h"
#include "helper.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { M = 24, N = 96 };

static const double DEGREE = 3.14159265358979323846 / 180.0;

static uint64_t random_state;

static void fill(double *a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        a[i] = random_uniform(&random_state);
}

/* q (m, n), m <= n: random orthonormal rows, by LAPACK. */
static void orthonormal(size_t m, size_t n, double *q)
{
    double *tau = calloc(m, sizeof *tau);
    assert_non_null(tau);
    fill(q, m * n);
    assert_int_equal(
        qk_lapack.dgeqrf(LAPACK_COL_MAJOR, (lapack_int)n, (lapack_int)m, q, (lapack_int)n, tau), 0);
    assert_int_equal(qk_lapack.dorgqr(LAPACK_COL_MAJOR, (lapack_int)n, (lapack_int)m, (lapack_int)m, q,
                         (lapack_int)n, tau),
        0);
    free(tau);
}

/* Rows of a: u_i. Rows of b: cos(t_i) u_i + sin(t_i) v_i with all u, v orthonormal, so the principal angles
 * are t. Both are then mixed by random well-conditioned (m, m) matrices, which leaves the spans alone. */
static void spans_with_angles(const double *degrees, double *a, double *b)
{
    static double frame[2 * M * N], mix[M * M], plain[2][M * N];
    orthonormal(2 * M, N, frame);
    for (size_t i = 0; i < M; i++) {
        double c = cos(degrees[i] * DEGREE), s = sin(degrees[i] * DEGREE);
        for (size_t j = 0; j < N; j++) {
            plain[0][i * N + j] = frame[i * N + j];
            plain[1][i * N + j] = c * frame[i * N + j] + s * frame[(M + i) * N + j];
        }
    }
    for (int side = 0; side < 2; side++) {
        orthonormal(M, M, mix);
        for (size_t i = 0; i < M; i++)
            for (size_t j = 0; j < M; j++)
                mix[i * M + j] *= 1.0 + (double)i / 3.0;
        qk_blas.dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, M, N, M, 1.0, mix, M, plain[side], N, 0.0,
            side == 0 ? a : b, N);
    }
}

static size_t angles(size_t m, size_t n, const double *a, const double *b, double *degrees, size_t rank[2])
{
    struct qk_work work = {0};
    struct qk_error err = {0};
    double *basis[2];
    assert_int_equal(qk_work_reserve(&work, m, n, &err), QK_OK);
    for (int s = 0; s < 2; s++) {
        basis[s] = calloc(m * n, sizeof(double));
        assert_non_null(basis[s]);
        assert_int_equal(qk_row_basis(m, n, s == 0 ? a : b, basis[s], &rank[s], &work, &err), QK_OK);
    }
    assert_int_equal(
        qk_principal_angles(n, basis[0], rank[0], basis[1], rank[1], degrees, &work, &err), QK_OK);
    for (int s = 0; s < 2; s++)
        free(basis[s]);
    qk_work_free(&work);
    return rank[0] < rank[1] ? rank[0] : rank[1];
}

/* Tolerance: an angle formed through its sine carries an absolute error of a few roundings times the mixing
 * matrices' condition (below 10), so 1e-12 degrees where the sine rules and 1e-11 near 90 degrees. */
static void test_known_angles(void **state)
{
    (void)state;
    double truth[M], a[M * N], b[M * N], found[M];
    size_t rank[2];
    for (size_t i = 0; i < M; i++)
        truth[i] = 90.0 * (double)(i + 1) / M;
    spans_with_angles(truth, a, b);
    assert_int_equal(angles(M, N, a, b, found, rank), M);
    for (size_t i = 0; i < M; i++)
        assert_true(fabs(found[i] - truth[i]) < 1e-11);
}

/* From 1e-11 to 1 degree: cosines alone would lose everything below 1e-6. */
static void test_tiny_angles(void **state)
{
    (void)state;
    double truth[M], a[M * N], b[M * N], found[M];
    size_t rank[2];
    for (size_t i = 0; i < M; i++)
        truth[i] = pow(10.0, -11.0 + 11.0 * (double)i / (M - 1));
    spans_with_angles(truth, a, b);
    assert_int_equal(angles(M, N, a, b, found, rank), M);
    for (size_t i = 0; i < M; i++)
        assert_true(fabs(found[i] - truth[i]) < 1e-12 + 1e-10 * truth[i]);
}

static void test_same_span(void **state)
{
    (void)state;
    double zero[M] = {0}, a[M * N], b[M * N], found[M];
    size_t rank[2];
    spans_with_angles(zero, a, b);
    angles(M, N, a, b, found, rank);
    for (size_t i = 0; i < M; i++)
        assert_true(found[i] < 1e-12);
}

/* Rows scaled apart by up to 1e12 (condition 1e12): CholeskyQR2 must step aside for Householder; the span of
 * row-scaled vectors is the same, and its angles stay good to about condition times rounding. */
static void test_nearly_dependent(void **state)
{
    (void)state;
    double truth[M], a[M * N], b[M * N], found[M];
    size_t rank[2];
    for (size_t i = 0; i < M; i++)
        truth[i] = 5.0 + (double)i;
    spans_with_angles(truth, a, b);
    /* Make row 1 almost row 0: the difference, 1e-7 of it, is what spans the missing direction. */
    for (size_t j = 0; j < N; j++) {
        a[N + j] = a[j] + 1e-7 * a[N + j];
        b[N + j] = b[j] + 1e-7 * b[N + j];
    }
    assert_int_equal(angles(M, N, a, b, found, rank), M);
    for (size_t i = 0; i < M; i++)
        assert_true(fabs(found[i] - truth[i]) < 1e-5);
}

static void test_rank_deficient(void **state)
{
    (void)state;
    double truth[M], a[M * N], b[M * N], found[M];
    size_t rank[2];
    for (size_t i = 0; i < M; i++)
        truth[i] = 3.0 * (double)(i + 1);
    spans_with_angles(truth, a, b);
    memcpy(a + 5 * N, a + 2 * N, N * sizeof *a); /* a repeated row */
    memset(b + 7 * N, 0, N * sizeof *b);         /* a row of zeros */
    memset(b + 8 * N, 0, N * sizeof *b);
    size_t n = angles(M, N, a, b, found, rank);
    assert_int_equal(rank[0], M - 1);
    assert_int_equal(rank[1], M - 2);
    assert_int_equal(n, M - 2);
    for (size_t i = 0; i < n; i++)
        assert_true(found[i] >= 0 && found[i] <= 90.0 && (i == 0 || found[i] >= found[i - 1]));
    memset(a, 0, sizeof a);
    assert_int_equal(angles(M, N, a, b, found, rank), 0);
    assert_int_equal(rank[0], 0);
}

/* Spans do not depend on scale: 1e200, 1e-200 and subnormals give the angles of the unscaled rows. */
static void test_scales(void **state)
{
    (void)state;
    const double scales[][2] = {{1e200, 1e-200}, {1e-300, 1e300}, {1.0, 1e-305}};
    double truth[M], a[M * N], b[M * N], sa[M * N], sb[M * N], found[M];
    size_t rank[2];
    for (size_t i = 0; i < M; i++)
        truth[i] = 2.0 * (double)(i + 1);
    spans_with_angles(truth, a, b);
    for (size_t k = 0; k < sizeof scales / sizeof scales[0]; k++) {
        for (size_t i = 0; i < M * N; i++) {
            sa[i] = a[i] * scales[k][0];
            sb[i] = b[i] * scales[k][1];
        }
        assert_int_equal(angles(M, N, sa, sb, found, rank), M);
        for (size_t i = 0; i < M; i++) /* 1e-305 leaves 2 digits fewer: rows near the subnormal range */
            assert_true(fabs(found[i] - truth[i]) < 1e-9);
    }
}

/* More rows than columns: the row space is at most the whole space, and two whole spaces have angle 0. */
static void test_tall(void **state)
{
    (void)state;
    double a[N * M], b[N * M], found[N];
    size_t rank[2];
    fill(a, N * M);
    fill(b, N * M);
    assert_int_equal(angles(N, M, a, b, found, rank), M);
    for (size_t i = 0; i < M; i++)
        assert_true(found[i] < 1e-11);
}

/* Rows scaled apart by up to 1e12 span what they spanned before. Each row keeps its own relative precision
 * through Householder; the loss is rounding times the condition of the earlier mix (below 100). */
static void test_rows_of_different_scale(void **state)
{
    (void)state;
    double truth[M], a[M * N], b[M * N], found[M];
    size_t rank[2];
    for (size_t i = 0; i < M; i++)
        truth[i] = 90.0 * (double)(i + 1) / M;
    spans_with_angles(truth, a, b);
    for (size_t i = 0; i < M; i++) {
        double scale = pow(10.0, -6.0 + 12.0 * (double)(i * 7 % M) / (M - 1));
        for (size_t j = 0; j < N; j++) {
            a[i * N + j] *= scale;
            b[i * N + j] *= scale;
        }
    }
    assert_int_equal(angles(M, N, a, b, found, rank), M);
    for (size_t i = 0; i < M; i++)
        assert_true(fabs(found[i] - truth[i]) < 1e-5);
}

/* Two copies of an r-dimensional space in many more rows than it needs, mixed differently: rank r, angle 0. */
static void test_tall_and_deficient(void **state)
{
    (void)state;
    enum { R = 5, ROWS = 40, COLUMNS = 16 };
    double base[R * COLUMNS], mix[2][ROWS * R], a[2][ROWS * COLUMNS], found[ROWS];
    size_t rank[2];
    fill(base, R * COLUMNS);
    for (int s = 0; s < 2; s++) {
        fill(mix[s], ROWS * R);
        qk_blas.dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, ROWS, COLUMNS, R, 1.0, mix[s], R, base,
            COLUMNS, 0.0, a[s], COLUMNS);
    }
    assert_int_equal(angles(ROWS, COLUMNS, a[0], a[1], found, rank), R);
    assert_true(rank[0] == R && rank[1] == R);
    for (int i = 0; i < R; i++)
        assert_true(found[i] < 1e-10);
}

/* Single rows: the angle between two lines, at its ends and between. */
static void test_lines(void **state)
{
    (void)state;
    static const double degrees[] = {0, 1e-9, 1e-7, 30, 45, 60, 89.999999, 90};
    for (size_t t = 0; t < sizeof degrees / sizeof degrees[0]; t++) {
        double a[3] = {2, 0, 0}, b[3] = {-5 * cos(degrees[t] * DEGREE), 5 * sin(degrees[t] * DEGREE), 0},
               found[1];
        size_t rank[2];
        assert_int_equal(angles(1, 3, a, b, found, rank), 1);
        assert_true(fabs(found[0] - degrees[t]) < 1e-13 + 1e-15 * degrees[t] * 100);
    }
}

/* One workspace serves heads of any smaller size after a larger one, and grows. */
static void test_work_is_reused(void **state)
{
    (void)state;
    static const size_t sizes[][2] = {{24, 96}, {3, 5}, {40, 8}, {1, 1}, {24, 96}};
    struct qk_work work = {0};
    struct qk_error err = {0};
    static double a[40 * 96], qa[40 * 96], degrees[40];
    for (size_t t = 0; t < sizeof sizes / sizeof sizes[0]; t++) {
        size_t m = sizes[t][0], n = sizes[t][1], rank, small = m < n ? m : n;
        fill(a, m * n);
        expect_ok(qk_work_reserve(&work, m, n, &err), &err);
        expect_ok(qk_row_basis(m, n, a, qa, &rank, &work, &err), &err);
        assert_int_equal(rank, small);
        for (size_t i = 0; i < rank; i++) /* orthonormal to a few roundings */
            for (size_t j = 0; j < rank; j++)
                assert_true(fabs(qk_dot(n, qa + i * n, qa + j * n) - (i == j)) < 1e-13);
        expect_ok(qk_principal_angles(n, qa, rank, qa, rank, degrees, &work, &err), &err);
        for (size_t i = 0; i < rank; i++)
            assert_true(degrees[i] < 1e-12);
    }
    qk_work_free(&work);
}

/* scipy.linalg.subspace_angles (1.10.1) of
 *   A[i, j] = 1 / (i + j + 1) (a Hilbert matrix, condition 1.5e7 for 5 rows of 8), B[i, j] = A[i, j] + 0.01 *
 * ((7 i + 3 j) % 5 - 2) in degrees, ascending. */
static void test_hilbert_against_scipy(void **state)
{
    (void)state;
    enum { ROWS = 5, COLUMNS = 8 };
    const double scipy[ROWS] = {0.0, 0.0, 6.552490809027851, 49.00226679853559, 74.67873588803569};
    double a[ROWS * COLUMNS], b[ROWS * COLUMNS], found[ROWS];
    size_t rank[2];
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < COLUMNS; j++) {
            a[i * COLUMNS + j] = 1.0 / (i + j + 1);
            b[i * COLUMNS + j] = a[i * COLUMNS + j] + 0.01 * ((7 * i + 3 * j) % 5 - 2);
        }
    }
    assert_int_equal(angles(ROWS, COLUMNS, a, b, found, rank), ROWS);
    for (int i = 0; i < ROWS; i++) /* condition 1e6 times rounding 1e-16, in degrees, with a margin */
        assert_true(fabs(found[i] - scipy[i]) < 1e-7);
}

static void test_products(void **state)
{
    (void)state;
    double a[M * N], b[M * N], c[M * M], g[M * M];
    fill(a, M * N);
    fill(b, M * N);
    qk_product_abt(M, N, a, b, c);
    qk_gram(M, N, a, g);
    for (size_t i = 0; i < M; i++) {
        for (size_t j = 0; j < M; j++) {
            double ab = 0, aa = 0;
            for (size_t k = 0; k < N; k++) {
                ab += a[i * N + k] * b[j * N + k];
                aa += a[i * N + k] * a[j * N + k];
            }
            /* sums of 96 products below 1: 96 roundings of 1e-16 */
            assert_true(fabs(c[i * M + j] - ab) < 1e-13);
            assert_true(fabs(g[i * M + j] - aa) < 1e-13);
        }
    }
}

int main(void)
{
    random_state = 20260611;
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_angles),
        cmocka_unit_test(test_tiny_angles),
        cmocka_unit_test(test_same_span),
        cmocka_unit_test(test_nearly_dependent),
        cmocka_unit_test(test_rank_deficient),
        cmocka_unit_test(test_scales),
        cmocka_unit_test(test_tall),
        cmocka_unit_test(test_rows_of_different_scale),
        cmocka_unit_test(test_tall_and_deficient),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_work_is_reused),
        cmocka_unit_test(test_hilbert_against_scipy),
        cmocka_unit_test(test_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
