/* gemm.c - the choice between OpenBLAS and oneDNN, and products through what was chosen. */
#include "linalg/gemm.h"

#include "base/blas.h"
#include "base/mem.h"
#include "base/onednn.h"
#include "base/timing.h"
#include "linalg/kernels.h"
#include "linalg/selftest.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* --- routines --- */

static void multiply_openblas(bool transposed, size_t m, size_t n, size_t k, float alpha, const float *a,
    size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, transposed ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k,
        alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

/* oneDNN fails before it writes, where it has no memory for copies. */
static void multiply_onednn(bool transposed, size_t m, size_t n, size_t k, float alpha, const float *a,
    size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    if (qk_onednn.sgemm('N', transposed ? 'T' : 'N', (int64_t)m, (int64_t)n, (int64_t)k, alpha, a,
            (int64_t)lda, b, (int64_t)ldb, beta, c, (int64_t)ldc) != 0)
        multiply_openblas(transposed, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

/* --- the choice --- */

static struct qk_gemm_choice choice;
static pthread_once_t chosen = PTHREAD_ONCE_INIT;

static enum qk_code check_onednn(struct qk_error *why_not)
{
    const char *asked = getenv("OPENBLAS_CORETYPE");
    QK_TRY(qk_onednn_load(why_not));
    if (asked != NULL && asked[0] != '\0')
        return qk_fail(why_not, QK_INPUT, "OPENBLAS_CORETYPE asks for kernels of OpenBLAS");
    /* Below that class OpenBLAS is as fast: at 256 x 256 x 1024 with AVX2 it does 81 Gflop/s beside 79. */
    if (qk_processor_read().class < QK_KERNELS_AVX512)
        return qk_fail(why_not, QK_INPUT, "OpenBLAS is as fast on a processor without AVX-512");
    return qk_selftest_product(multiply_onednn, true, why_not);
}

static void choose(void)
{
    choice.onednn = check_onednn(&choice.why_not) == QK_OK;
}

const struct qk_gemm_choice *qk_gemm_choose(void)
{
    pthread_once(&chosen, choose);
    return &choice;
}

void qk_gemm(bool transposed, size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda,
    const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    (qk_gemm_choose()->onednn ? multiply_onednn : multiply_openblas)(
        transposed, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

/* --- bfloat16 --- */

static enum qk_precision current;

enum qk_precision qk_precision(void)
{
    return current;
}

void qk_precision_add(struct qk_digest *digest)
{
    static const char NAME[] = "bfloat16";
    if (current == QK_BFLOAT16)
        qk_digest_add(digest, NAME, sizeof NAME);
}

static float float_of(uint16_t value)
{
    uint32_t bits = (uint32_t)value << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The same sums one by one, for when oneDNN has no memory for copies. */
static void multiply_plain(
    size_t m, size_t n, size_t k, const uint16_t *a, const uint16_t *b, float beta, float *c, size_t ldc)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            float sum = beta != 0 ? beta * c[i * ldc + j] : 0;
            for (size_t p = 0; p < k; p++)
                sum += float_of(a[i * k + p]) * float_of(b[j * k + p]);
            c[i * ldc + j] = sum;
        }
}

void qk_gemm_bfloat16(
    size_t m, size_t n, size_t k, const uint16_t *a, const uint16_t *b, float beta, float *c, size_t ldc)
{
    if (qk_onednn.bf16_gemm('N', 'T', (int64_t)m, (int64_t)n, (int64_t)k, 1.0f, a, (int64_t)k, b, (int64_t)k,
            beta, c, (int64_t)ldc) != 0)
        multiply_plain(m, n, k, a, b, beta, c, ldc);
}

/* Values that bfloat16 has, cut to it. */
static void cut(size_t rows, size_t columns, const float *x, size_t ld, uint16_t *out)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) {
            uint32_t bits;
            memcpy(&bits, &x[i * ld + j], sizeof bits);
            out[i * columns + j] = (uint16_t)(bits >> 16);
        }
}

/* For the self-test, whose factors are small integers. */
static void multiply_cut(bool transposed, size_t m, size_t n, size_t k, float alpha, const float *a,
    size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    uint16_t *half;
    struct qk_error ignored;
    if (qk_alloc_aligned(&half, (m + n) * k, sizeof *half, &ignored) != QK_OK)
        return;
    (void)alpha;
    assert(transposed);
    cut(m, k, a, lda, half);
    cut(n, k, b, ldb, half + m * k);
    qk_gemm_bfloat16(m, n, k, half, half + m * k, beta, c, ldc);
    free(half);
}

static bool has_bfloat16(void)
{
#if defined __x86_64__
    return qk_processor_read().class == QK_KERNELS_AVX512 && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

static enum qk_code check_bfloat16(struct qk_error *err)
{
    struct qk_error why_not;
    if (qk_onednn_load(&why_not) != QK_OK)
        return qk_fail(err, QK_INPUT, "bfloat16 products need oneDNN: %s", why_not.text);
    if (!has_bfloat16())
        return qk_fail(err, QK_INPUT, "bfloat16 products need a processor with AVX512-BF16 or AMX");
    return qk_selftest_product(multiply_cut, false, err);
}

enum qk_code qk_precision_set(enum qk_precision precision, struct qk_error *err)
{
    if (precision == QK_BFLOAT16)
        QK_TRY(check_bfloat16(err));
    current = precision;
    return QK_OK;
}

/* --- the rate --- */

enum { SIDE = 384 };

static void multiply_once(enum qk_precision precision, float *array)
{
    enum { AREA = SIDE * SIDE };
    if (precision == QK_FLOAT32)
        multiply_onednn(
            true, SIDE, SIDE, SIDE, 1, array, SIDE, array + AREA, SIDE, 0, array + 2 * AREA, SIDE);
    else
        qk_gemm_bfloat16(SIDE, SIDE, SIDE, (const uint16_t *)array, (const uint16_t *)(array + AREA), 0,
            array + 2 * AREA, SIDE);
}

/* The best of the products of SECONDS. */
static double measure(enum qk_precision precision, float *array)
{
    static const double SECONDS = 0.05;
    double best = 0;
    multiply_once(precision, array); /* which generates the kernels */
    for (uint64_t began = qk_timing_clock(), before = began, after = began;
         (double)(after - began) < 1e9 * SECONDS; before = after) {
        multiply_once(precision, array);
        after = qk_timing_clock();
        double rate = 2.0 * SIDE * SIDE * SIDE / (double)(after - before);
        best = rate > best ? rate : best;
    }
    return best;
}

enum qk_code qk_gemm_rate(
    enum qk_precision precision, double *gflops, struct qk_error *why_not, struct qk_error *err)
{
    float *array;
    *gflops = 0;
    if ((precision == QK_FLOAT32 ? qk_onednn_load(why_not) : check_bfloat16(why_not)) != QK_OK)
        return QK_OK;
    QK_TRY(qk_alloc(&array, 3 * (size_t)SIDE * SIDE, sizeof *array, err));
    *gflops = measure(precision, array);
    free(array);
    return QK_OK;
}
