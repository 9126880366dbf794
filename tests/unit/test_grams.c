/* test_grams.c - angles and routing from Gram matrices against the factorisation (test_linalg.c compares that with
 * LAPACK), and the promise that every reported number is known. */
#include "linalg/grams.h"

#include "base/blas.h"
#include "helper.h"
#include "linalg/linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { M = 32, N = 700 };

static double wide[3 * M * N]; /* A, E, B */
static float single[2 * M * N];
static uint64_t seed;

/* A with a spectrum from 1 to 1 / condition, mixed by a random matrix; E of the relative size `drift`: noise,
 * or of rank 2 with a thousandth of noise. Values are float32, so that both precisions see the same head. */
static void make_pair(double condition, double drift, bool low_rank)
{
    static double mix[M * M], rows[M * N], moved[M * N];
    double a2 = 0, e2 = 0;
    for (size_t i = 0; i < M * M; i++)
        mix[i] = random_uniform(&seed) / 6 + (i % (M + 1) == 0 ? 1 : 0);
    for (size_t i = 0; i < M * N; i++)
        rows[i] = random_uniform(&seed) * pow(condition, -(double)(i / N) / (M - 1));
    qk_blas.dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, M, N, M, 1.0, mix, M, rows, N, 0.0, wide, N);
    for (size_t i = 0; i < M * N; i++)
        moved[i] = random_uniform(&seed) * (low_rank ? 1e-3 : 1);
    for (size_t k = 0; k < 2 && low_rank; k++)
        for (size_t i = 0; i < M; i++)
            for (size_t j = 0; j < N; j++)
                moved[i * N + j] += sin((double)(i * (k + 2))) * cos((double)(j * (2 * k + 1)));
    a2 = qk_blas.ddot(M * N, wide, 1, wide, 1);
    e2 = qk_blas.ddot(M * N, moved, 1, moved, 1);
    for (size_t i = 0; i < M * N; i++) {
        single[i] = (float)wide[i];
        single[M * N + i] = (float)(moved[i] * drift * sqrt(a2 / e2));
    }
    for (size_t i = 0; i < 2 * M * N; i++)
        wide[i] = (double)single[i];
    for (size_t i = 0; i < M * N; i++)
        wide[2 * M * N + i] = wide[i] + wide[M * N + i];
}

static struct qk_grams of_single, of_double;
static struct qk_gram_work work;

static void make_grams(void)
{
    struct qk_error err = {0};
    expect_ok(qk_grams_reserve(&of_single, M, &err), &err);
    expect_ok(qk_grams_reserve(&of_double, M, &err), &err);
    expect_ok(qk_gram_work_reserve(&work, M, &err), &err);
    qk_grams_of_single(N, single, &of_single, &work);
    qk_grams_of_double(N, wide, &of_double, &work);
}

static void true_angles(double degrees[M])
{
    struct qk_work bases = {0};
    struct qk_error err = {0};
    size_t rank[2];
    expect_ok(qk_work_reserve(&bases, M, N, &err), &err);
    for (int s = 0; s < 2; s++) {
        expect_ok(qk_row_basis(M, N, wide + 2 * s * M * N, bases.basis[s], &rank[s], &bases, &err), &err);
        assert_int_equal(rank[s], M);
    }
    expect_ok(qk_principal_angles(N, bases.basis[0], M, bases.basis[1], M, degrees, &bases, &err), &err);
    qk_work_free(&bases);
}

static double worst(const double *found, const double *expected)
{
    double error = 0;
    for (size_t i = 0; i < M; i++)
        error = fmax(error, fabs(found[i] - expected[i]));
    return error;
}

/* The tightest tolerance at which the Grams give a number is a bound of their error, and not a loose one. */
static double claimed_bound(const struct qk_grams *grams, double *degrees)
{
    for (double relative = 1e-16; relative < 1; relative *= 1.5)
        if (qk_grams_angles(grams, &(struct qk_angle_tolerance){relative, 90}, degrees, &work))
            return relative;
    return INFINITY;
}

static void test_reported_numbers_are_known(void **state)
{
    (void)state;
    static const double conditions[] = {1, 10, 100, 1000, 1e4}, drifts[] = {1e-5, 1e-3, 0.05, 1};
    seed = 1;
    for (size_t c = 0; c < 5; c++) {
        for (size_t t = 0; t < 8; t++) {
            double expected[M], found[M];
            make_pair(conditions[c], drifts[t / 2], t % 2 == 1);
            make_grams();
            true_angles(expected);
            double bound = claimed_bound(&of_single, found), largest = expected[M - 1];
            if (isfinite(bound) && !(worst(found, expected) <= bound * largest))
                fail_msg("condition %g, drift %g, float32: off by %.2g of the largest, claimed %.2g",
                    conditions[c], drifts[t / 2], worst(found, expected) / largest, bound);
            if (conditions[c] <= 10 && t % 2 == 0) /* a plain head, and the usual way: no float64 is needed */
                assert_true(bound < 1e-4);
            bound = claimed_bound(&of_double, found);
            assert_true(isfinite(bound));
            if (!(worst(found, expected) <= bound * largest + 1e-12))
                fail_msg("condition %g, drift %g, float64: off by %.2g of the largest, claimed %.2g",
                    conditions[c], drifts[t / 2], worst(found, expected) / largest, bound);
        }
    }
}

static void test_no_drift_is_no_angle(void **state)
{
    (void)state;
    double degrees[M];
    seed = 2;
    make_pair(10, 0.1, false);
    memset(single + M * N, 0, M * N * sizeof *single);
    memset(wide + M * N, 0, M * N * sizeof *wide);
    make_grams();
    assert_true(qk_grams_angles(&of_single, &(struct qk_angle_tolerance){1e-4, 1e-3}, degrees, &work));
    for (size_t i = 0; i < M; i++)
        assert_true(degrees[i] == 0);
}

/* Grams give no number for a rank that is not full, on either side. */
static void test_lost_rank_is_not_told(void **state)
{
    (void)state;
    const struct qk_angle_tolerance tolerance = {1e-4, 1e-3};
    double degrees[M];
    for (int s = 0; s < 2; s++) {
        seed = 3;
        make_pair(10, 0.1, false);
        double *a = wide, *e = wide + M * N;
        for (size_t j = 0; j < N; j++) { /* the last row of A, or of B, becomes its first */
            double last = s == 0 ? a[j] : a[j] + e[j] - a[(M - 1) * N + j];
            *(s == 0 ? &a[(M - 1) * N + j] : &e[(M - 1) * N + j]) = last;
        }
        for (size_t i = 0; i < 2 * M * N; i++)
            single[i] = (float)wide[i];
        make_grams();
        assert_false(qk_grams_angles(&of_single, &tolerance, degrees, &work));
        assert_false(qk_grams_angles(&of_double, &(struct qk_angle_tolerance){1e-8, 1e-3}, degrees, &work));
    }
}

/* Against float64 of the same values: a number from float32 is as exact as it claims. It gives none for a common
 * rotation of q and k, whose routing does not move at all. */
static void test_routing(void **state)
{
    (void)state;
    double base[2], moved[2];
    seed = 4;
    make_pair(30, 0.05, false);
    make_grams();
    struct qk_grams q_single = of_single, q_double = of_double;
    of_single = of_double = (struct qk_grams){0};
    make_pair(30, 0.02, true);
    make_grams();
    assert_true(qk_grams_routing(&q_single, &of_single, 1e-5, &base[0], &moved[0]));
    assert_true(qk_grams_routing(&q_double, &of_double, 1e-12, &base[1], &moved[1]));
    assert_true(fabs(base[0] / base[1] - 1) < 1e-5 && fabs(moved[0] / moved[1] - 1) < 1e-5);
    qk_grams_free(&of_single);
    qk_grams_free(&of_double);
    of_single = q_single;
    of_double = q_double;

    make_pair(10, 0.1, false);
    for (size_t j = 0; j < N; j++) { /* B: two rows of A turned into each other */
        float x = single[j], y = single[N + j];
        single[M * N + j] = 0.8F * x - 0.6F * y - x;
        single[M * N + N + j] = 0.6F * x + 0.8F * y - y;
        memset(single + M * N + 2 * N, 0, (M - 2) * N * sizeof *single);
    }
    make_grams();
    assert_false(qk_grams_routing(&of_single, &of_single, 1e-5, &base[0], &moved[0]));
    assert_true(sqrt(moved[0] / base[0]) < 1e-3);
}

static int free_all(void **state)
{
    (void)state;
    qk_grams_free(&of_single);
    qk_grams_free(&of_double);
    qk_gram_work_free(&work);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reported_numbers_are_known),
        cmocka_unit_test(test_no_drift_is_no_angle),
        cmocka_unit_test(test_lost_rank_is_not_told),
        cmocka_unit_test(test_routing),
    };
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, free_all);
}
