/* onednn.c - oneDNN over dlopen, held to the calling thread. */
#include "base/onednn.h"

#include "base/environment.h"
#include "base/library.h"

#include <stddef.h>
#include <stdio.h>

struct qk_onednn qk_onednn;

#ifdef QK_ONEDNN_SONAME

/* The release, as oneDNN describes itself: the first numbers of its dnnl_version_t. */
struct version {
    int major, minor, patch;
};

static const struct version *(*version)(void);
static int (*most_threads)(void);
static void *library;

/* The product of bfloat16 is exported by all releases from 1 to 3, whose own tests call it, but no header declares
 * it. */
static const struct qk_symbol symbols[] = {
    {"dnnl_sgemm", &qk_onednn.sgemm},
    {"dnnl_gemm_bf16bf16f32", &qk_onednn.bf16_gemm},
    {"dnnl_version", &version},
};
static const struct qk_symbol openmp = {"omp_get_max_threads", &most_threads};

enum qk_code qk_onednn_load(struct qk_error *err)
{
    if (library != NULL)
        return QK_OK;
    /* OpenMP reads it once, when it is loaded with the library. A team of one thread is not started at all. */
    char *threads = qk_environment_replace("OMP_NUM_THREADS", "1");
    enum qk_code code =
        qk_library_open(&library, QK_ONEDNN_SONAME, false, symbols, sizeof symbols / sizeof symbols[0], err);
    qk_environment_put_back("OMP_NUM_THREADS", threads);
    QK_TRY(code);
    if (qk_library_find(library, &openmp) && most_threads() == 1)
        return QK_OK;
    qk_library_close(&library);
    return qk_fail(err, QK_IO, "%s: it would start threads of its own", QK_ONEDNN_SONAME);
}

const char *qk_onednn_version(char out[32])
{
    const struct version *of = version();
    snprintf(out, 32, "%d.%d.%d", of->major, of->minor, of->patch);
    return out;
}

#else

enum qk_code qk_onednn_load(struct qk_error *err)
{
    return qk_fail(err, QK_IO, "this build of qkscope has no oneDNN");
}

const char *qk_onednn_version(char out[32])
{
    out[0] = '\0';
    return out;
}

#endif
