/* blas.h - the routines of OpenBLAS and LAPACKE that the program calls, in libraries loaded when they are needed.
 *
 * Loading takes address space, relocations and a tenth of a gigabyte of buffers, so commands that compute nothing start
 * without them; and the libraries can be loaded again for other kernels (linalg/kernels.h). */
#ifndef QK_BASE_BLAS_H
#define QK_BASE_BLAS_H

#include "base/error.h"

#include <cblas.h>
#include <lapacke.h>

#define QK_BLAS_ROUTINES(X)                                                                                  \
    X(ddot) X(dgemm) X(dgemv) X(dnrm2) X(dsyrk) X(dtrsm) X(dtrsv) X(sgemm) X(sgemv) X(ssyrk) X(strsm)
#define QK_LAPACK_ROUTINES(X)                                                                                \
    X(dgeqrf)                                                                                                \
    X(dgeqrf_work)                                                                                           \
    X(dgesvd)                                                                                                \
    X(dgesvd_work)                                                                                           \
    X(dorgqr)                                                                                                \
    X(dormqr) X(dormqr_work) X(dpocon_work) X(dpotrf) X(dpotrf_work) X(dsyev) X(dsyev_work) X(dsyevd)

/* qk_blas.sgemm is cblas_sgemm, qk_lapack.dgesvd is LAPACKE_dgesvd, and so on: the same arguments and results. NULL
 * before qk_blas_load. */
#define QK_BLAS_MEMBER(name) __typeof__(&cblas_##name) name;
#define QK_LAPACK_MEMBER(name) __typeof__(&LAPACKE_##name) name;
extern struct qk_blas {
    QK_BLAS_ROUTINES(QK_BLAS_MEMBER)
} qk_blas;
extern struct qk_lapack {
    QK_LAPACK_ROUTINES(QK_LAPACK_MEMBER)
} qk_lapack;

/* Loads both libraries with one BLAS thread a caller: parallelism is over heads and layers. `core` is
 * OpenBLAS's name of the kernels to be used; NULL leaves the choice to OPENBLAS_CORETYPE or the library. What was
 * loaded before is unloaded first, so no other thread may compute meanwhile. Under a limit of address space (ulimit
 * -v), the buffers of all threads are set aside now: OpenBLAS would wait for ever for one that it cannot have. QK_IO:
 * a library is missing or has not all routines, or the limit is too low. */
enum qk_code qk_blas_load(const char *core, struct qk_error *err);

/* OpenBLAS's name of the loaded kernels ("Haswell"), its version and build, LAPACK's version "3.11.0" (into out);
 * borrowed. Only after qk_blas_load. */
const char *qk_blas_core(void);
const char *qk_blas_config(void);
const char *qk_lapack_version(char out[32]);

#endif
