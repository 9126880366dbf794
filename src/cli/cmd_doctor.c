/* cmd_doctor.c - qkscope doctor: versions, terminal, folders, and whether this machine's kernels compute
 * right.
 *
 * OpenBLAS picks its kernels by the processor, and some releases have kernels that are wrong on some
 * processors. So every routine that the results rest on is compared with plain loops, at sizes that reach the
 * blocked, the unrolled and the left-over code paths. */
#include "cli/arguments.h"
#include "cli/folders.h"
#include "cli/print.h"
#include "linalg/linalg.h"

#include "base/mem.h"
#include "base/progress.h"
#include "model/layout.h"

#include <cblas.h>
#include <cjson/cJSON.h>
#include <float.h>
#include <lapacke.h>
#include <math.h>
#include <nettle/version.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct qk_option_info qk_doctor_options[] = {
    {NULL, 0, NULL, NULL},
};

/* --- matrices to test with --- */

/* Reproducible values in [-1, 1): xorshift64*, so that no library's generator is in question. */
static void fill(double *x, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed ^= seed >> 12;
        seed ^= seed << 25;
        seed ^= seed >> 27;
        x[i] = (double)((seed * 2685821657736338717u) >> 11) * 0x1p-52 - 1;
    }
}

/* Room for one test; every array holds `size` doubles. */
struct room {
    size_t size;
    double *a, *b, *c, *d, *e;
};

static enum qk_code make_room(struct room *room, size_t size, struct qk_error *err)
{
    double **array[] = {&room->a, &room->b, &room->c, &room->d, &room->e};
    *room = (struct room){.size = size};
    for (size_t i = 0; i < sizeof array / sizeof array[0]; i++)
        QK_TRY(qk_alloc_aligned(array[i], size, sizeof(double), err));
    return QK_OK;
}

static void free_room(struct room *room)
{
    free(room->a);
    free(room->b);
    free(room->c);
    free(room->d);
    free(room->e);
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

/* --- plain loops --- */

/* c (m, n) = a (m, k) b^T, b (n, k). */
static void plain_product_abt(size_t m, size_t n, size_t k, const double *a, const double *b, double *c)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t p = 0; p < k; p++)
                sum += a[i * k + p] * b[j * k + p];
            c[i * n + j] = sum;
        }
}

/* c (m, n) = a (m, k) b (k, n). */
static void plain_product(size_t m, size_t n, size_t k, const double *a, const double *b, double *c)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t p = 0; p < k; p++)
                sum += a[i * k + p] * b[p * n + j];
            c[i * n + j] = sum;
        }
}

/* --- the tests: each returns the worst error, in units of what rounding allows (1 is the limit) --- */

static double limit_of(size_t terms)
{
    return 8 * DBL_EPSILON * (double)(terms + 8);
}

static double test_gemm(struct room *r, size_t m, size_t k)
{
    fill(r->a, m * k, 1);
    fill(r->b, m * k, 2);
    plain_product_abt(m, m, k, r->a, r->b, r->c);
    qk_product_abt(m, k, r->a, r->b, r->d);
    double worst = largest_difference(m * m, r->c, r->d);
    /* the other orientation: (m, k) times (k, m), as blends use it */
    plain_product(m, m, k, r->a, r->b, r->c);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)m, (int)k, 1.0, r->a, (int)k, r->b,
        (int)m, 0.0, r->d, (int)m);
    return fmax(worst, largest_difference(m * m, r->c, r->d)) / limit_of(k);
}

static double test_syrk(struct room *r, size_t m, size_t k)
{
    fill(r->a, m * k, 3);
    plain_product_abt(m, m, k, r->a, r->a, r->c);
    qk_gram(m, k, r->a, r->d);
    /* sums of squares: the diagonal is about k / 3, and so grows its rounding */
    return largest_difference(m * m, r->c, r->d) / (limit_of(k) * (1 + (double)k / 3));
}

/* L L^T must give the matrix back. */
static double test_potrf(struct room *r, size_t m, size_t k)
{
    fill(r->a, m * k, 4);
    plain_product_abt(m, m, k, r->a, r->a, r->c);
    for (size_t i = 0; i < m; i++)
        r->c[i * m + i] += 1;
    memcpy(r->d, r->c, m * m * sizeof *r->d);
    if (LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', (lapack_int)m, r->d, (lapack_int)m) != 0)
        return HUGE_VAL;
    for (size_t i = 0; i < m; i++)
        for (size_t j = i + 1; j < m; j++)
            r->d[i * m + j] = 0;
    plain_product_abt(m, m, m, r->d, r->d, r->e);
    return largest_difference(m * m, r->c, r->e) / (limit_of(m) * (double)(k + 1));
}

/* U diag(s) V^T must give the matrix back, and U must be orthogonal. */
static double test_gesvd(struct room *r, size_t m)
{
    double *s = r->e, *superdiagonal = r->e + m;
    fill(r->a, m * m, 5);
    memcpy(r->b, r->a, m * m * sizeof *r->b);
    if (LAPACKE_dgesvd(LAPACK_ROW_MAJOR, 'A', 'A', (lapack_int)m, (lapack_int)m, r->b, (lapack_int)m, s, r->c,
            (lapack_int)m, r->d, (lapack_int)m, superdiagonal) != 0)
        return HUGE_VAL;
    double worst = 0;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < m; j++) {
            double sum = 0, unit = 0;
            for (size_t p = 0; p < m; p++) {
                sum += r->c[i * m + p] * s[p] * r->d[p * m + j];
                unit += r->c[i * m + p] * r->c[j * m + p];
            }
            worst = fmax(worst, fabs(sum - r->a[i * m + j]) / s[0]);
            worst = fmax(worst, fabs(unit - (i == j ? 1 : 0)));
        }
    return worst / limit_of(m);
}

/* V diag(e) V^T must give the matrix back, and V must be orthogonal. */
static double test_syevd(struct room *r, size_t m)
{
    double *values = r->e, *scaled = r->a;
    fill(r->b, m * m, 6);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < i; j++)
            r->b[j * m + i] = r->b[i * m + j];
    memcpy(r->c, r->b, m * m * sizeof *r->c);
    if (LAPACKE_dsyevd(LAPACK_ROW_MAJOR, 'V', 'L', (lapack_int)m, r->c, (lapack_int)m, values) != 0)
        return HUGE_VAL;
    double largest = fmax(fabs(values[0]), fabs(values[m - 1]));
    for (size_t i = 0; i < m * m; i++)
        scaled[i] = r->c[i] * values[i % m];
    plain_product_abt(m, m, m, scaled, r->c, r->d);
    double worst = largest_difference(m * m, r->b, r->d) / largest;
    plain_product_abt(m, m, m, r->c, r->c, r->d);
    for (size_t i = 0; i < m; i++)
        r->d[i * m + i] -= 1;
    memset(r->a, 0, m * m * sizeof *r->a);
    return fmax(worst, largest_difference(m * m, r->a, r->d)) / limit_of(m);
}

/* Rows turned by known angles out of their span: row i of b is cos(t) e_i + sin(t) e_(m+i), t = 10^-i'
 * degrees spread over 1e-6 to 60. In float64 the angles must come back to 1e-9 of themselves. */
static double test_angles(struct room *r, size_t m, struct qk_error *err)
{
    size_t n = 2 * m, rank[2] = {0, 0};
    struct qk_work work = {0};
    double worst = HUGE_VAL;
    memset(r->a, 0, m * n * sizeof *r->a);
    memset(r->b, 0, m * n * sizeof *r->b);
    for (size_t i = 0; i < m; i++) {
        double degrees = 1e-6 * pow(6e7, (double)i / (double)(m - 1));
        r->e[i] = degrees;
        r->a[i * n + i] = 1;
        r->b[i * n + i] = cos(degrees * M_PI / 180);
        r->b[i * n + m + i] = sin(degrees * M_PI / 180);
    }
    if (qk_work_reserve(&work, m, n, err) == QK_OK &&
        qk_row_basis(m, n, r->a, work.basis[0], &rank[0], &work, err) == QK_OK &&
        qk_row_basis(m, n, r->b, work.basis[1], &rank[1], &work, err) == QK_OK && rank[0] == m &&
        rank[1] == m &&
        qk_principal_angles(n, work.basis[0], m, work.basis[1], m, r->d, &work, err) == QK_OK) {
        worst = 0;
        for (size_t i = 0; i < m; i++)
            worst = fmax(worst, fabs(r->d[i] - r->e[i]) / (1e-9 * r->e[i] + 1e-13));
    }
    qk_work_free(&work);
    return worst;
}

struct outcome {
    const char *name;
    double worst;
};

static enum qk_code run_tests(struct outcome outcome[6], struct qk_error *err)
{
    static const size_t sizes[][2] = {
        {1, 1}, {3, 5}, {16, 64}, {31, 127}, {64, 256}, {127, 300}, {128, 1024}};
    enum { LARGEST = 128 * 1024 };
    struct room room;
    struct qk_error reason = {0};
    enum qk_code code = make_room(&room, LARGEST, err);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] && code == QK_OK; i++) {
        size_t m = sizes[i][0], k = sizes[i][1];
        outcome[0].worst = fmax(outcome[0].worst, test_gemm(&room, m, k));
        outcome[1].worst = fmax(outcome[1].worst, test_syrk(&room, m, k));
        outcome[2].worst = fmax(outcome[2].worst, test_potrf(&room, m, k));
        outcome[3].worst = fmax(outcome[3].worst, test_gesvd(&room, m));
        outcome[4].worst = fmax(outcome[4].worst, test_syevd(&room, m));
        if (m > 1)
            outcome[5].worst = fmax(outcome[5].worst, test_angles(&room, m, &reason));
    }
    free_room(&room);
    return code;
}

/* --- the report --- */

static void print_versions(void)
{
    qk_print("qkscope %s\n\nlibraries\n", PACKAGE_VERSION);
    qk_print("  %-20s%s\n", "OpenBLAS", openblas_get_config());
    qk_print("  %-20s%s\n", "kernels for", openblas_get_corename());
    lapack_int major = 0, minor = 0, patch = 0;
    LAPACK_ilaver(&major, &minor, &patch);
    qk_print("  %-20s%d.%d.%d\n", "LAPACK", (int)major, (int)minor, (int)patch);
    qk_print("  %-20s%s\n", "cJSON", cJSON_Version());
    qk_print("  %-20s%d.%d\n", "nettle", nettle_version_major(), nettle_version_minor());
    qk_print("  %-20s%d\n", "processors", qk_cpu_count());
}

static void print_terminal(void)
{
    static const char *const names[] = {
        "TERM", "COLORTERM", "COLORFGBG", "NO_COLOR", "LC_ALL", "LANG", "ESCDELAY"};
    qk_print("\nterminal\n  %-20s%s\n", "standard output",
        isatty(STDOUT_FILENO) ? "a terminal" : "not a terminal");
    qk_print("  %-20s%s\n", "characters", qk_print_utf8() ? "UTF-8" : "ASCII alone");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *text = getenv(names[i]);
        if (text == NULL)
            continue;
        qk_print("  %-20s", names[i]);
        qk_print_name(text);
        qk_print("\n");
    }
}

/* The family whose line is being printed; "" before the first. Rows live only while they are visited. */
struct family_line {
    char family[64];
};

static void print_family(void *context, const char *family, const char *model_type)
{
    struct family_line *line = context;
    if (strncmp(line->family, family, sizeof line->family - 1) != 0) {
        qk_print(line->family[0] != '\0' ? "\n  " : "  ");
        qk_print_name(family);
        qk_print(":");
        snprintf(line->family, sizeof line->family, "%s", family);
    }
    qk_print(" ");
    qk_print_name(strcmp(model_type, "*") == 0 ? "any other, guessed" : model_type);
}

static enum qk_code print_families(struct qk_error *err)
{
    struct family_line line = {""};
    qk_print("\nfamilies, and their model types\n");
    QK_TRY(qk_layout_families(print_family, &line, err));
    qk_print("\n");
    return QK_OK;
}

enum qk_code qk_doctor_run(const struct qk_arguments *arguments, struct qk_error *err)
{
    struct outcome outcome[] = {
        {"dgemm", 0}, {"dsyrk", 0}, {"dpotrf", 0}, {"dgesvd", 0}, {"dsyevd", 0}, {"principal angles", 0}};
    enum { N = sizeof outcome / sizeof outcome[0] };
    const char *first = NULL;
    (void)arguments;
    print_versions();
    print_terminal();
    qk_print("\nfolders\n");
    QK_TRY(qk_folders_print(err));
    QK_TRY(print_families(err));
    QK_TRY(run_tests(outcome, err));
    qk_print("\nnumeric self-test (worst error, as a part of what is allowed)\n");
    for (int i = 0; i < N; i++) {
        bool good = outcome[i].worst <= 1;
        qk_print("  %-20s%-8s%.2g\n", outcome[i].name, good ? "ok" : "WRONG", outcome[i].worst);
        if (!good && first == NULL)
            first = outcome[i].name;
    }
    if (first == NULL)
        return QK_OK;
    return qk_fail(err, QK_DIFFERS,
        "%s: OpenBLAS computes wrong results on this processor with its kernels for %s: set "
        "OPENBLAS_CORETYPE to another one (Haswell, Nehalem), or install another version",
        first, openblas_get_corename());
}
