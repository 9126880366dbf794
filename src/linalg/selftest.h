/* selftest.h - the test of this machine's BLAS and LAPACK.
 *
 * OpenBLAS picks its kernels by the processor, and some releases (0.3.21 among them) have kernels that are wrong on
 * some processors. Nothing else would show it: a wrong product looks like a drift. */
#ifndef QK_LINALG_SELFTEST_H
#define QK_LINALG_SELFTEST_H

#include "base/error.h"

#include <stdbool.h>

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

/* QK_OK, or QK_DIFFERS with a message that names the first wrong routine, the kernels, and what to do. */
enum qk_code qk_selftest_judge(const struct qk_selftest *result, int n, struct qk_error *err);

#endif
