/* grams.c - angles and routing sums from Gram matrices, with their error bounds. */
#include "linalg/grams.h"

#include "base/blas.h"
#include "base/mem.h"
#include "tensor/float32.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Columns of one float32 product, and columns whose products gather in memory before they are added up in float64.
 * Short products halve the error of long ones, and cost little. */
enum { COLUMNS = 128, BLOCK = 512 };

/* The error of an entry: of sums of 128 products in float32 on average, of sums of whole rows in float64 at worst. */
static const double SINGLE_ERROR = 5e-8, DOUBLE_ERROR = 1e-15;

/* --- storage --- */

enum qk_code qk_grams_reserve(struct qk_grams *grams, size_t m, struct qk_error *err)
{
    if (grams->m == m && grams->block != NULL)
        return QK_OK;
    qk_grams_free(grams);
    QK_TRY(qk_alloc_aligned(&grams->block, 4 * m * m, sizeof *grams->block, err));
    grams->m = m;
    grams->aa = grams->block;
    grams->ea = grams->aa + m * m;
    grams->ee = grams->ea + m * m;
    grams->bb = grams->ee + m * m;
    return QK_OK;
}

void qk_grams_free(struct qk_grams *grams)
{
    free(grams->block);
    *grams = (struct qk_grams){0};
}

enum qk_code qk_gram_work_reserve(struct qk_gram_work *work, size_t m, struct qk_error *err)
{
    if (work->m >= m)
        return QK_OK;
    qk_gram_work_free(work);
    QK_TRY(qk_alloc_aligned(&work->single, 4 * m * m, sizeof *work->single, err));
    QK_TRY(qk_alloc_aligned(&work->wide, 4 * m * m, sizeof *work->wide, err));
    for (int i = 0; i < 3; i++)
        QK_TRY(qk_alloc_aligned(&work->square[i], m * m, sizeof *work->square[i], err));
    QK_TRY(qk_alloc_aligned(&work->values, m, sizeof *work->values, err));
    QK_TRY(qk_alloc_aligned(&work->lapack, 40 * m, sizeof *work->lapack, err));
    work->m = m;
    return QK_OK;
}

void qk_gram_work_free(struct qk_gram_work *work)
{
    free(work->single);
    free(work->wide);
    for (int i = 0; i < 3; i++)
        free(work->square[i]);
    free(work->values);
    free(work->lapack);
    *work = (struct qk_gram_work){0};
}

/* --- products --- */

/* From the lower half of the (2 m, 2 m) product of [A; E] with itself. */
static void take_blocks(const double *wide, double error, struct qk_grams *grams)
{
    size_t m = grams->m;
    grams->error = error;
    grams->trace_aa = grams->trace_ee = 0;
    for (size_t i = 0; i < m; i++) {
        const double *a = wide + i * 2 * m, *e = wide + (m + i) * 2 * m;
        for (size_t j = 0; j <= i; j++) {
            grams->aa[i * m + j] = grams->aa[j * m + i] = a[j];
            grams->ee[i * m + j] = grams->ee[j * m + i] = e[m + j];
        }
        memcpy(grams->ea + i * m, e, m * sizeof *e);
        grams->trace_aa += a[i];
        grams->trace_ee += e[m + i];
    }
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < m; j++)
            grams->bb[i * m + j] =
                grams->aa[i * m + j] + (grams->ea[i * m + j] + grams->ea[j * m + i] + grams->ee[i * m + j]);
}

void qk_grams_of_single(size_t n, const float *x, struct qk_grams *grams, struct qk_gram_work *work)
{
    size_t rows = 2 * grams->m;
    memset(work->wide, 0, rows * rows * sizeof *work->wide);
    for (size_t from = 0; from < n; from += BLOCK) {
        size_t end = n - from < BLOCK ? n : from + BLOCK;
        for (size_t at = from; at < end; at += COLUMNS)
            qk_blas.ssyrk(CblasRowMajor, CblasLower, CblasNoTrans, (int)rows,
                (int)(end - at < COLUMNS ? end - at : COLUMNS), 1.0F, x + at, (int)n,
                at == from ? 0.0F : 1.0F, work->single, (int)rows);
        for (size_t i = 0; i < rows; i++)
            qk_add_to_f64(i + 1, work->single + i * rows, work->wide + i * rows);
    }
    take_blocks(work->wide, SINGLE_ERROR, grams);
}

void qk_grams_of_double(size_t n, const double *x, struct qk_grams *grams, struct qk_gram_work *work)
{
    size_t rows = 2 * grams->m;
    qk_blas.dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, (int)rows, (int)n, 1.0, x, (int)n, 0.0, work->wide,
        (int)rows);
    take_blocks(work->wide, DOUBLE_ERROR, grams);
}

/* --- angles --- */

/* Replaces g (m, m), symmetric and full, by its factor in the lower half; false unless it is positive definite. */
static bool factor(size_t m, double *g)
{
    lapack_int size = (lapack_int)m;
    /* Row-major lower is column-major upper. */
    return qk_lapack.dpotrf_work(LAPACK_COL_MAJOR, 'U', size, g, size) == 0;
}

static void solve(
    enum CBLAS_SIDE side, enum CBLAS_TRANSPOSE transposed, size_t m, const double *lower, double *x)
{
    qk_blas.dtrsm(CblasRowMajor, side, CblasLower, transposed, CblasNonUnit, (int)m, (int)m, 1.0, lower,
        (int)m, x, (int)m);
}

/* W = [De, Z Da]: how the errors of the entries reach the Schur complement. D are row norms, on the diagonals
 * of the Grams as squares; z (m, m) is Z = E A^+, NULL: W = Db alone. */
struct error_map {
    size_t m;
    const double *of_e, *of_a, *z;
};

/* y = W W^T x; scratch m. */
static void apply_map(const struct error_map *map, const double *x, double *y, double *scratch)
{
    int m = (int)map->m;
    for (size_t i = 0; i < map->m; i++)
        y[i] = map->of_e[i * map->m + i] * x[i];
    if (map->z == NULL)
        return;
    qk_blas.dgemv(CblasRowMajor, CblasTrans, m, m, 1.0, map->z, m, x, 1, 0.0, scratch, 1);
    for (size_t i = 0; i < map->m; i++)
        scratch[i] *= map->of_a[i * map->m + i];
    qk_blas.dgemv(CblasRowMajor, CblasNoTrans, m, m, 1.0, map->z, m, scratch, 1, 1.0, y, 1);
}

/* About |L^-1 W|_2^2 for a lower triangle L, by power iteration: from below, so a third is added. scratch 3 m. */
static double reach(const struct error_map *map, const double *lower, double *scratch)
{
    enum { STEPS = 6 };
    int m = (int)map->m;
    double *x = scratch, *y = x + m, length = 0;
    for (int i = 0; i < m; i++)
        x[i] = (i % 3 == 0 ? -1.0 : 1.0) / sqrt((double)m);
    for (int step = 0; step < STEPS; step++) {
        qk_blas.dtrsv(CblasRowMajor, CblasLower, CblasTrans, CblasNonUnit, m, lower, m, x, 1);
        apply_map(map, x, y, y + m);
        qk_blas.dtrsv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, m, lower, m, y, 1);
        length = qk_blas.dnrm2(m, y, 1);
        if (!(length > 0))
            break;
        for (int i = 0; i < m; i++)
            x[i] = y[i] / length;
    }
    return 1.3 * length;
}

/* The possible error of an eigenvalue: `fixed`, or `share` of it where that is less, and `always` of it. To first
 * order it moves by v^T (dEE - Z dEA^T - dEA Z^T + Z dAA Z^T - square dBB) v with Z = E A^+ and v = M^-T u, |u| = 1.
 * Each entry alone is off by error |x_i| |x_j|, so v^T Y dG Y^T v comes to error |D Y^T v|^2. That is at most |M^-1 Y
 * D|^2, and, with K K^T = the Schur complement S, |K^-1 Y D|^2 v^T S v. */
struct doubt {
    double fixed, share, always;
};

static struct doubt doubt_about(const struct qk_grams *grams, const double *factor_b, const double *factor_s,
    const double *z, double *scratch)
{
    const struct error_map moved = {grams->m, grams->ee, grams->aa, z},
                           all = {.m = grams->m, .of_e = grams->bb};
    double twice = 2 * grams->error; /* (|De v| + |Da Z^T v|)^2 is at most twice the sum of squares */
    return (struct doubt){.fixed = twice * reach(&moved, factor_b, scratch),
        .share = factor_s != NULL ? twice * reach(&moved, factor_s, scratch) : INFINITY,
        .always = grams->error * reach(&all, factor_b, scratch) + DBL_EPSILON};
}

/* Converts squared sines to degrees, ascending; false when one of them is not known well enough. */
static bool take_angles(size_t m, const double *squares, const struct doubt *doubt,
    const struct qk_angle_tolerance *tolerance, double *degrees)
{
    const double degree = 3.14159265358979323846 / 180.0;
    double largest = fmin(fmax(squares[m - 1], 0), 1);
    double limit = fmin(tolerance->relative * asin(sqrt(largest)), tolerance->degrees * degree);
    for (size_t i = 0; i < m; i++) {
        double square = fmin(fmax(squares[i], 0), 1), slope = 2 * sqrt(square * (1 - square));
        double unsure =
            fmin(doubt->fixed, doubt->share * square) + doubt->always * square + DBL_EPSILON * largest;
        double error = slope * sqrt(unsure) > unsure ? unsure / slope : sqrt(unsure);
        if (!(error <= limit))
            return false;
        degrees[i] = asin(sqrt(square)) / degree;
    }
    return true;
}

bool qk_grams_angles(const struct qk_grams *grams, const struct qk_angle_tolerance *tolerance,
    double *degrees, struct qk_gram_work *work)
{
    size_t m = grams->m, bytes = m * m * sizeof(double);
    double *lower = work->square[0], *z = work->square[1], *outside = work->square[2], *factor_s = work->wide;
    memcpy(lower, grams->aa, bytes);
    if (!factor(m, lower))
        return false;
    memcpy(z, grams->ea, bytes);
    solve(CblasRight, CblasTrans, m, lower, z); /* X */
    memcpy(outside, grams->ee, bytes);
    qk_blas.dsyrk(
        CblasRowMajor, CblasLower, CblasNoTrans, (int)m, (int)m, -1.0, z, (int)m, 1.0, outside, (int)m);
    for (size_t i = 0; i < m; i++)
        for (size_t j = i + 1; j < m; j++)
            outside[i * m + j] = outside[j * m + i];
    solve(CblasRight, CblasNoTrans, m, lower, z); /* Z = X L^-1 = E A^+, on A's rows */
    memcpy(lower, grams->bb, bytes);
    memcpy(factor_s, outside, bytes);
    if (!factor(m, lower))
        return false;
    bool definite = factor(m, factor_s);
    struct doubt doubt = doubt_about(grams, lower, definite ? factor_s : NULL, z, work->lapack);
    solve(CblasLeft, CblasNoTrans, m, lower, outside);
    solve(CblasRight, CblasTrans, m, lower, outside);
    if (qk_lapack.dsyev_work(LAPACK_COL_MAJOR, 'N', 'U', (lapack_int)m, outside, (lapack_int)m, work->values,
            work->lapack, (lapack_int)(40 * m)) != 0)
        return false;
    return take_angles(m, work->values, &doubt, tolerance, degrees);
}

/* --- routing --- */

static double norm(size_t n, const double *x)
{
    return qk_blas.dnrm2((int)n, x, 1);
}

bool qk_grams_routing(
    const struct qk_grams *q, const struct qk_grams *k, double tolerance, double *base, double *moved)
{
    size_t m = q->m, mm = m * m;
    double cross = 0;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < m; j++)
            cross += q->ea[j * m + i] * (k->ea[i * m + j] + k->ee[i * m + j]);
    *base = qk_blas.ddot((int)mm, q->aa, 1, k->aa, 1);
    *moved =
        qk_blas.ddot((int)mm, q->aa, 1, k->ee, 1) + 2 * cross + qk_blas.ddot((int)mm, q->ee, 1, k->bb, 1);
    /* The error of each product is that of one factor's entries, which its traces bound, times the other's norm. */
    double error = q->error > k->error ? q->error : k->error;
    double qa = q->trace_aa, qe = q->trace_ee, ka = k->trace_aa, ke = k->trace_ee, kb = ka + ke;
    double unsure = error * (qa * norm(mm, k->ee) + ke * norm(mm, q->aa) +
                                2 * (sqrt(qa * qe) * (norm(mm, k->ea) + norm(mm, k->ee)) +
                                        (sqrt(ka * ke) + ke) * norm(mm, q->ea)) +
                                qe * norm(mm, k->bb) + 2 * kb * norm(mm, q->ee));
    if (*moved < 0) /* rounding, when q and k were turned together */
        *moved = 0;
    return unsure <= tolerance * *moved;
}
