/* selftest.h - the test of this machine's BLAS and LAPACK: do they compute right?
 *
 * OpenBLAS picks its kernels by the processor, and some releases have kernels that are wrong on some
 * processors (0.3.21 among them). Nothing else would tell: a wrong product looks like a drift. */
#ifndef QK_LINALG_SELFTEST_H
#define QK_LINALG_SELFTEST_H

#include "base/error.h"

#include <stdbool.h>

struct qk_selftest {
    const char *name; /* of the routine, as BLAS and LAPACK have it */
    double worst;     /* error found, in units of what rounding allows: above 1 the routine is wrong */
};

enum { QK_SELFTEST_MAX = 16 };

/* Compares every routine that results rest on with plain loops: `thorough` at many sizes, which reach
 * blocked, unrolled and left-over code (about a second); else at two sizes (a few milliseconds). Fills *n
 * results. QK_IO when memory runs out, or when the kernels have instructions that the processor lacks. */
enum qk_code qk_selftest_run(
    bool thorough, struct qk_selftest result[QK_SELFTEST_MAX], int *n, struct qk_error *err);

/* QK_OK, or QK_DIFFERS with a message that names the first routine that is wrong, the kernels, and what to do. */
enum qk_code qk_selftest_judge(const struct qk_selftest *result, int n, struct qk_error *err);

#endif
