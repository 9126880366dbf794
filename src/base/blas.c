/* blas.c - OpenBLAS and LAPACKE over dlopen, and the room that they need under a limit of address space. */
#include "base/blas.h"

#include "base/environment.h"
#include "base/library.h"
#include "base/processors.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

struct qk_blas qk_blas;
struct qk_lapack qk_lapack;

/* Functions of OpenBLAS alone. The last two are not in every build of it. */
static struct {
    __typeof__(&openblas_get_corename) get_corename;
    __typeof__(&openblas_get_config) get_config;
    void *(*memory_alloc)(int position);
    void (*memory_free)(void *buffer);
} openblas;
static __typeof__(&LAPACKE_ilaver) lapack_version;

static void *blas_library, *lapack_library;

/* --- symbols --- */

#define QK_BLAS_SYMBOL(name) {"cblas_" #name, &qk_blas.name},
#define QK_LAPACK_SYMBOL(name) {"LAPACKE_" #name, &qk_lapack.name},
static const struct qk_symbol blas_symbols[] = {
    QK_BLAS_ROUTINES(QK_BLAS_SYMBOL){"openblas_get_corename", &openblas.get_corename},
    {"openblas_get_config", &openblas.get_config},
};
static const struct qk_symbol memory_symbols[] = {
    {"blas_memory_alloc", &openblas.memory_alloc},
    {"blas_memory_free", &openblas.memory_free},
};
static const struct qk_symbol lapack_symbols[] = {
    QK_LAPACK_ROUTINES(QK_LAPACK_SYMBOL){"LAPACKE_ilaver", &lapack_version},
};

/* --- address space --- */

enum {
    MIB = 1 << 20,
    LIBRARY_MIB = 192, /* both libraries with those that they need, measured at 0.3.21: 110 */
    BUFFER_MIB = 129,  /* one buffer of OpenBLAS on x86-64 (BUFFER_SIZE), page by page */
    MOST_CALLERS =
        100 /* OpenBLAS has twice as many buffers as the processors it is built for, at least 128 */
};

static bool is_limited(size_t *mib)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return false;
    *mib = (size_t)(limit.rlim_cur / MIB);
    return true;
}

/* The threads that may compute at once: each processor's, in a run and in what the screen asks for meanwhile. */
static int count_callers(void)
{
    int callers = 2 * qk_cpu_count() + 2;
    return callers < MOST_CALLERS ? callers : MOST_CALLERS;
}

static enum qk_code check_room(struct qk_error *err)
{
    int callers = count_callers();
    size_t limit, need = LIBRARY_MIB + BUFFER_MIB * (size_t)callers;
    if (!is_limited(&limit))
        return QK_OK;
    void *room = mmap(NULL, need * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return qk_fail(err, QK_IO,
            "OpenBLAS needs %zu MiB of address space for %d threads, and the limit of %zu MiB (ulimit -v) has "
            "not so much left",
            need, callers, limit);
    munmap(room, need * MIB);
    return QK_OK;
}

/* Buffers that were taken once stay OpenBLAS's. */
static void set_buffers_aside(void)
{
    int callers = count_callers();
    void *buffer[MOST_CALLERS];
    size_t limit;
    if (!is_limited(&limit) || !qk_library_find(blas_library, &memory_symbols[0]) ||
        !qk_library_find(blas_library, &memory_symbols[1]))
        return;
    for (int i = 0; i < callers; i++)
        buffer[i] = openblas.memory_alloc(0);
    for (int i = 0; i < callers; i++)
        openblas.memory_free(buffer[i]);
}

/* --- the libraries --- */

enum qk_code qk_blas_load(const char *core, struct qk_error *err)
{
    qk_library_close(&lapack_library);
    qk_library_close(&blas_library);
    QK_TRY(check_room(err));
    char *threads = qk_environment_replace("OPENBLAS_NUM_THREADS", "1");
    char *openmp = qk_environment_replace("OMP_NUM_THREADS", "1"); /* for a build of OpenBLAS with OpenMP */
    char *cores = qk_environment_replace("OPENBLAS_CORETYPE", core);
    /* LAPACKE's own LAPACK is found in OpenBLAS before any other library, hence global. */
    enum qk_code code = qk_library_open(&blas_library, QK_OPENBLAS_SONAME, true, blas_symbols,
        sizeof blas_symbols / sizeof blas_symbols[0], err);
    qk_environment_put_back("OPENBLAS_CORETYPE", cores);
    qk_environment_put_back("OMP_NUM_THREADS", openmp);
    qk_environment_put_back("OPENBLAS_NUM_THREADS", threads);
    if (code == QK_OK)
        code = qk_library_open(&lapack_library, QK_LAPACKE_SONAME, false, lapack_symbols,
            sizeof lapack_symbols / sizeof lapack_symbols[0], err);
    if (code == QK_OK)
        set_buffers_aside();
    return code;
}

const char *qk_blas_core(void)
{
    return openblas.get_corename();
}

const char *qk_blas_config(void)
{
    return openblas.get_config();
}

const char *qk_lapack_version(char out[32])
{
    lapack_int major = 0, minor = 0, patch = 0;
    lapack_version(&major, &minor, &patch);
    snprintf(out, 32, "%d.%d.%d", (int)major, (int)minor, (int)patch);
    return out;
}
