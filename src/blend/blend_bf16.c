/* blend_bf16.c - a blend in float32 for nearly all values of a head, and in float64 for those too near to a tie.
 *
 * The error of float32, with u = 2^-24, m <= 4096 terms, and sizes such that nothing overflows. M and X are rounded
 * to float32 (u each; X = pre - post is exact unless the two differ by 2^16). The sum of m products in any order,
 * fused or not, is off by at most m u / (1 - m u) of the sum of magnitudes (Higham, Accuracy and Stability of
 * Numerical Algorithms, 3.1). The factor is rounded and multiplied by (2 u). In all this is less than (m + 7) u
 * |factor| r c, where r is the row's sum of |M_ij| and c the column's largest |X_j|, because (m + 4) u / (1 - (m + 4)
 * u) < (m + 6) u for m <= 4096. weight pre is off by 2 u |weight pre|. The addition of both, and of the bound to that
 * sum, round once each: u of |weight pre| + |factor| r c. Together the error is less than (m + 9) u |factor| r c + 4
 * u |weight pre|. That is raised to m + 16 and 8 for the rounding of the bound itself and of what float64 computes.
 * Where numbers are too small for relative errors, each step is off by at most 2^-126 (subnormals or none), and m of
 * them by 2^-114. That is below the bound of the least r, c and |factor| in use. */
#include "blend/blend_bf16.h"

#include "base/blas.h"
#include "base/mem.h"
#include "linalg/linalg.h"
#include "tensor/float32.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Columns at a time, so that a block stays in the cache, and values at a time, of which compilers make vectors. */
enum { COLUMNS = 256, GROUP = 16, MAX_M = 4096 };
static const double UNIT = 0x1p-24, LEAST_REACH = 0x1p-20, LEAST_FACTOR = 0x1p-20;
static const float LEAST_X = 0x1p-40f, GREATEST_X = 0x1p60f;
enum { PRE, POST, X, PRODUCT };

size_t qk_bf16_work_bytes(size_t m)
{
    return (4 * m * COLUMNS + m * m + m) * sizeof(float) + m * sizeof(double);
}

enum qk_code qk_bf16_work_reserve(struct qk_bf16_work *work, size_t m, struct qk_error *err)
{
    if (work->m == m)
        return QK_OK;
    qk_bf16_work_free(work);
    for (int i = 0; i < 4; i++) /* zeroed, because the last group of a row may reach over its end */
        QK_TRY(qk_alloc(&work->block[i], m * COLUMNS, sizeof(float), err));
    QK_TRY(qk_alloc(&work->matrix, m * m, sizeof *work->matrix, err));
    QK_TRY(qk_alloc(&work->reach, m, sizeof *work->reach, err));
    QK_TRY(qk_alloc(&work->column, m, sizeof *work->column, err));
    work->m = m; /* last, so that a failed reserve starts anew */
    return QK_OK;
}

void qk_bf16_work_free(struct qk_bf16_work *work)
{
    for (int i = 0; i < 4; i++)
        free(work->block[i]);
    free(work->matrix);
    free(work->reach);
    free(work->column);
    *work = (struct qk_bf16_work){0};
}

/* Converts the matrix to float32, and computes for each row the factor of c in its part of the bound. */
static bool prepare(const struct qk_bf16_blend *blend, struct qk_bf16_work *work)
{
    size_t m = work->m;
    double factor = fabs(blend->factor);
    if (m > MAX_M || (factor > 0 && factor < LEAST_FACTOR))
        return false;
    for (size_t i = 0; i < m; i++) {
        double sum = blend->matrix == NULL ? 1 : 0;
        for (size_t j = 0; j < m && blend->matrix != NULL; j++) {
            sum += fabs(blend->matrix[i * m + j]);
            work->matrix[i * m + j] = (float)blend->matrix[i * m + j];
        }
        if (!(sum <= MAX_M)) /* also of NaN */
            return false;
        work->reach[i] = (float)((double)(m + 16) * UNIT * factor * fmax(sum, LEAST_REACH));
    }
    return true;
}

static int32_t magnitude(float value)
{
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & INT32_MAX;
}

/* Without restrict, compilers make no vectors of these two. */
static void subtract(const float *restrict a, const float *restrict b, float *restrict x)
{
    for (size_t c = 0; c < COLUMNS; c++)
        x[c] = a[c] - b[c];
}

static void raise_to(const float *restrict x, int32_t *restrict most)
{
    for (size_t c = 0; c < COLUMNS; c++) {
        int32_t size = magnitude(x[c]);
        most[c] = size > most[c] ? size : most[c];
    }
}

/* Reads columns first .. first + n of pre, post and X, and the c of each column; false when one is too large. */
static bool load_block(const struct qk_bf16_blend *blend, size_t width, size_t first, size_t n,
    const char *pre, const char *post, struct qk_bf16_work *work, float largest[COLUMNS])
{
    int32_t most[COLUMNS] = {0}; /* bits of numbers without a sign are in the numbers' order, NaN last */
    for (size_t i = 0; i < work->m; i++) {
        float *a = work->block[PRE] + i * COLUMNS, *b = work->block[POST] + i * COLUMNS,
              *x = work->block[X] + i * COLUMNS;
        qk_dtype_to_f32(QK_BF16, pre + 2 * (i * width + first), n, a);
        qk_dtype_to_f32(QK_BF16, post + 2 * (i * width + first), n, b);
        if (blend->difference)
            subtract(a, b, x);
        else
            memcpy(x, b, COLUMNS * sizeof *x);
        raise_to(x, most);
    }
    for (size_t c = 0; c < n; c++) {
        memcpy(&largest[c], &most[c], sizeof largest[c]);
        if (most[c] > magnitude(GREATEST_X))
            return false;
        /* Where pre alone is left without a factor, nothing is rounded. */
        if ((largest[c] > 0 || blend->weight < 1) && largest[c] < LEAST_X)
            largest[c] = LEAST_X;
    }
    return true;
}

/* The nearest bfloat16 of a number, ties to even; NaN and Inf do not become numbers. */
static uint32_t round_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

/* Computes GROUP results of a row; *open is not zero where the bounds do not agree. */
static void round_group(const struct qk_bf16_blend *blend, const float *pre, const float *product,
    const float *largest, float reach, uint32_t bits[GROUP], uint32_t open[GROUP])
{
    const float weight = (float)blend->weight, factor = (float)blend->factor;
    for (size_t i = 0; i < GROUP; i++) {
        float part = weight * pre[i], value = part + factor * product[i];
        float bound = reach * largest[i] + (float)(8 * UNIT) * fabsf(part);
        uint32_t low = round_bits(value - bound);
        bits[i] = round_bits(value + bound);
        /* all ones in the exponent of either carry over */
        uint32_t special = ((low & 0x7f80) + 0x80) | ((bits[i] & 0x7f80) + 0x80);
        open[i] = (low ^ bits[i]) | (special & 0x8000);
    }
}

/* Computes one value in float64. */
static double compute(
    const struct qk_bf16_blend *blend, size_t row, size_t column, const struct qk_bf16_work *work)
{
    const float *pre = work->block[PRE] + column, *post = work->block[POST] + column;
    size_t m = work->m, first = blend->matrix == NULL ? row : 0, end = blend->matrix == NULL ? row + 1 : m;
    for (size_t j = first; j < end; j++) {
        double a = (double)pre[j * COLUMNS], b = (double)post[j * COLUMNS];
        work->column[j] = blend->difference ? a - b : b;
    }
    double sum = blend->matrix == NULL ? work->column[row] : qk_dot(m, blend->matrix + row * m, work->column);
    return blend->weight * (double)pre[row * COLUMNS] + blend->factor * sum;
}

static bool round_row(const struct qk_bf16_blend *blend, size_t row, size_t n,
    const struct qk_bf16_work *work, const float largest[COLUMNS], char *out)
{
    const float *pre = work->block[PRE] + row * COLUMNS,
                *product = work->block[blend->matrix == NULL ? X : PRODUCT] + row * COLUMNS;
    for (size_t c = 0; c < n; c += GROUP) {
        uint32_t bits[GROUP], open[GROUP], any = 0;
        uint16_t half[GROUP];
        size_t some = n - c < GROUP ? n - c : GROUP;
        round_group(blend, pre + c, product + c, largest + c, work->reach[row], bits, open);
        for (size_t i = 0; i < GROUP; i++) {
            half[i] = (uint16_t)bits[i];
            any |= open[i];
        }
        for (size_t i = 0; any != 0 && i < some; i++) {
            if (open[i] == 0)
                continue;
            double value = compute(blend, row, c + i, work);
            if (!isfinite(value) || qk_dtype_from_f64(QK_BF16, &value, 1, &half[i]) > 0)
                return false;
        }
        memcpy(out + 2 * c, half, 2 * some);
    }
    return true;
}

bool qk_bf16_blend(const struct qk_bf16_blend *blend, size_t n, const void *pre, const void *post, void *out,
    struct qk_bf16_work *work)
{
    size_t m = work->m;
    float largest[COLUMNS] = {0};
    if (!prepare(blend, work))
        return false;
    for (size_t first = 0; first < n; first += COLUMNS) {
        size_t some = n - first < COLUMNS ? n - first : COLUMNS;
        if (!load_block(blend, n, first, some, pre, post, work, largest))
            return false;
        if (blend->matrix != NULL)
            qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)some, (int)m, 1,
                work->matrix, (int)m, work->block[X], COLUMNS, 0, work->block[PRODUCT], COLUMNS);
        for (size_t i = 0; i < m; i++)
            if (!round_row(blend, i, some, work, largest, (char *)out + 2 * (i * n + first)))
                return false;
    }
    return true;
}
