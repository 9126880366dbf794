/* selftest.h - the test of this machine's BLAS and LAPACK.
 *
 * OpenBLAS picks its kernels by the processor, and some releases (0.3.21 among them) have kernels that are wrong on
 * some processors. Nothing else would show it: a wrong product looks like a drift. */
#ifndef QK_LINALG_SELFTEST_H
#define QK_LINALG_SELFTEST_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct qk_selftest {
    const char *name; /* name of the routine in BLAS and LAPACK */
    double worst;     /* error, in units of what rounding allows: above 1 the routine is wrong */
};

enum { QK_SELFTEST_MAX = 16 };

/* Compares every routine that results rest on with plain loops. `thorough` takes many sizes, which reach blocked,
 * unrolled and left-over code (about a second); else two sizes (a few milliseconds). Fills *n results. QK_IO when
 * memory runs out, or when the kernels have instructions that the processor lacks. */
enum qk_code qk_selftest_run(
    bool thorough, struct qk_selftest result[QK_SELFTEST_MAX], int *n, struct qk_error *err);

/* A product as qk_gemm (linalg/gemm.h), tested by plain loops on sizes of quick tests: with b transposed, and as it is
 * where it is `whole`, which can multiply any float32; else it multiplies small integers. QK_DIFFERS where it is wrong,
 * or QK_IO without memory. */
typedef void (*qk_product_routine)(bool transposed, size_t m, size_t n, size_t k, float alpha, const float *a,
    size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc);
enum qk_code qk_selftest_product(qk_product_routine product, bool whole, struct qk_error *err);

/* QK_OK, or QK_DIFFERS with a message that names the first wrong routine, the kernels, and what to do. */
enum qk_code qk_selftest_judge(const struct qk_selftest *result, int n, struct qk_error *err);

#endif
