/* wrong_blas.c - a layer between the program and its BLAS and LAPACK. It makes the routine that QK_WRONG names compute
 * one wrong value, as a bad kernel does, with all kernels or with those that QK_WRONG_CORE names. QK_OWN_CORE is what
 * OpenBLAS takes by itself for this processor. Linked with --wrap (Makefile.am). */
#include "base/library.h"

#include <cblas.h>
#include <lapacke.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static __typeof__(&openblas_get_corename) real_corename;

/* OpenBLAS reads OPENBLAS_CORETYPE when it is loaded. */
static bool asked;

static char *corename(void)
{
    char *own = getenv("QK_OWN_CORE");
    return own != NULL && !asked ? own : real_corename();
}

static bool wrong(const char *routine)
{
    const char *wanted = getenv("QK_WRONG"), *core = getenv("QK_WRONG_CORE");
    return wanted != NULL && strcmp(wanted, routine) == 0 &&
           (core == NULL || strcasecmp(core, corename()) == 0);
}

/* Adds to the last element of what a routine wrote (m rows of n, `ld` apart). */
#define SPOIL(routine, x, m, n, ld)                                                                          \
    if (wrong(#routine) && (m) > 0 && (n) > 0)                                                               \
    (x)[((m)-1) * (ld) + (n)-1] += 1
#define WRAP(type, routine, parameters)                                                                      \
    static type(*real_##routine) parameters;                                                                 \
    static type wrong_##routine parameters
#define GEMM(routine, real)                                                                                  \
    WRAP(void, routine,                                                                                      \
        (enum CBLAS_ORDER order, enum CBLAS_TRANSPOSE ta, enum CBLAS_TRANSPOSE tb, blasint m, blasint n,     \
            blasint k, real alpha, const real *a, blasint lda, const real *b, blasint ldb, real beta,        \
            real *c, blasint ldc))                                                                           \
    {                                                                                                        \
        real_##routine(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);                         \
        SPOIL(routine, c, m, n, ldc);                                                                        \
    }
#define SYRK(routine, real)                                                                                  \
    WRAP(void, routine,                                                                                      \
        (enum CBLAS_ORDER order, enum CBLAS_UPLO uplo, enum CBLAS_TRANSPOSE how, blasint n, blasint k,       \
            real alpha, const real *a, blasint lda, real beta, real *c, blasint ldc))                        \
    {                                                                                                        \
        real_##routine(order, uplo, how, n, k, alpha, a, lda, beta, c, ldc);                                 \
        SPOIL(routine, c, n, n, ldc);                                                                        \
    }
#define GEMV(routine, real)                                                                                  \
    WRAP(void, routine,                                                                                      \
        (enum CBLAS_ORDER order, enum CBLAS_TRANSPOSE how, blasint m, blasint n, real alpha, const real *a,  \
            blasint lda, const real *x, blasint incx, real beta, real *y, blasint incy))                     \
    {                                                                                                        \
        real_##routine(order, how, m, n, alpha, a, lda, x, incx, beta, y, incy);                             \
        SPOIL(routine, y, 1, how == CblasNoTrans ? m : n, 1);                                                \
    }
GEMM(cblas_sgemm, float)
GEMM(cblas_dgemm, double)
SYRK(cblas_ssyrk, float)
SYRK(cblas_dsyrk, double)
GEMV(cblas_sgemv, float)
GEMV(cblas_dgemv, double)

WRAP(double, cblas_ddot, (blasint n, const double *x, blasint incx, const double *y, blasint incy))
{
    return real_cblas_ddot(n, x, incx, y, incy) * (wrong("cblas_ddot") ? 1.001 : 1);
}

WRAP(void, cblas_dtrsm,
    (enum CBLAS_ORDER order, enum CBLAS_SIDE side, enum CBLAS_UPLO uplo, enum CBLAS_TRANSPOSE how,
        enum CBLAS_DIAG diagonal, blasint m, blasint n, double alpha, const double *a, blasint lda, double *b,
        blasint ldb))
{
    real_cblas_dtrsm(order, side, uplo, how, diagonal, m, n, alpha, a, lda, b, ldb);
    SPOIL(cblas_dtrsm, b, m, n, ldb);
}

WRAP(lapack_int, LAPACKE_dpotrf, (int order, char uplo, lapack_int n, double *a, lapack_int lda))
{
    lapack_int info = real_LAPACKE_dpotrf(order, uplo, n, a, lda);
    SPOIL(LAPACKE_dpotrf, a, n, n, lda);
    return info;
}

WRAP(lapack_int, LAPACKE_dgeqrf,
    (int order, lapack_int m, lapack_int n, double *a, lapack_int lda, double *tau))
{
    lapack_int info = real_LAPACKE_dgeqrf(order, m, n, a, lda, tau);
    SPOIL(LAPACKE_dgeqrf, a, n, m, lda); /* by columns */
    return info;
}

WRAP(lapack_int, LAPACKE_dgesvd,
    (int order, char left, char right, lapack_int m, lapack_int n, double *a, lapack_int lda, double *s,
        double *u, lapack_int ldu, double *vt, lapack_int ldvt, double *rest))
{
    lapack_int info = real_LAPACKE_dgesvd(order, left, right, m, n, a, lda, s, u, ldu, vt, ldvt, rest);
    SPOIL(LAPACKE_dgesvd, u, m, m, ldu);
    return info;
}

WRAP(lapack_int, LAPACKE_dsyevd,
    (int order, char what, char uplo, lapack_int n, double *a, lapack_int lda, double *values))
{
    lapack_int info = real_LAPACKE_dsyevd(order, what, uplo, n, a, lda, values);
    SPOIL(LAPACKE_dsyevd, a, n, n, lda);
    return info;
}

static const struct layer {
    const char *name;
    void *real;  /* to the pointer that gets the library's function */
    void *wrong; /* to a pointer to ours */
} layers[] = {
#define LAYER(name) {#name, &real_##name, &(__typeof__(&wrong_##name)){wrong_##name}},
    LAYER(cblas_sgemm) LAYER(cblas_dgemm) LAYER(cblas_ssyrk) LAYER(cblas_dsyrk) LAYER(cblas_sgemv)
        LAYER(cblas_dgemv) LAYER(cblas_ddot) LAYER(cblas_dtrsm) LAYER(LAPACKE_dpotrf) LAYER(LAPACKE_dgeqrf)
            LAYER(LAPACKE_dgesvd) LAYER(LAPACKE_dsyevd){
                "openblas_get_corename", &real_corename, &(__typeof__(&corename)){corename}},
};

enum qk_code __real_qk_library_open(void **library, const char *file, bool global,
    const struct qk_symbol *symbol, size_t n, struct qk_error *err);
enum qk_code __wrap_qk_library_open(void **library, const char *file, bool global,
    const struct qk_symbol *symbol, size_t n, struct qk_error *err);

/* Puts the layer between a function that was found and the program's pointer to it. */
static void put_between(const struct qk_symbol *symbol)
{
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++)
        if (strcmp(layers[i].name, symbol->name) == 0) {
            memcpy(layers[i].real, symbol->pointer, sizeof(void *));
            memcpy(symbol->pointer, layers[i].wrong, sizeof(void *));
        }
}

enum qk_code __wrap_qk_library_open(void **library, const char *file, bool global,
    const struct qk_symbol *symbol, size_t n, struct qk_error *err)
{
    if (strstr(file, "openblas") != NULL)
        asked = getenv("OPENBLAS_CORETYPE") != NULL;
    enum qk_code code = __real_qk_library_open(library, file, global, symbol, n, err);
    for (size_t i = 0; code == QK_OK && i < n; i++)
        put_between(&symbol[i]);
    return code;
}
