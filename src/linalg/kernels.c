/* kernels.c - the choice of OpenBLAS's kernels: a table of their classes, the processor's class, and the self-test. */
#include "linalg/kernels.h"

#include "base/blas.h"
#include "base/mem.h"
#include "linalg/selftest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static const char *const class_names[QK_KERNEL_CLASSES] = {"SSE", "AVX", "AVX2 and FMA", "AVX-512"};

const char *qk_kernel_class_name(enum qk_kernel_class class)
{
    return class_names[class];
}

/* Kernels of more than the base class by OpenBLAS's names, and for whom they are offered. Best first. */
static const struct row {
    const char *core;
    enum qk_kernel_class class;
    enum { NOBODY, ANYBODY, ZEN, NO_ZEN } offered;
} rows[] = {
    {"SapphireRapids", QK_KERNELS_AVX512, NOBODY}, /* tiles of bfloat16 are of no use here */
    {"Cooperlake", QK_KERNELS_AVX512, NOBODY},
    {"SkylakeX", QK_KERNELS_AVX512, ANYBODY},
    {"Zen", QK_KERNELS_AVX2, ZEN},
    {"Haswell", QK_KERNELS_AVX2, NO_ZEN},
    {"Excavator", QK_KERNELS_AVX2, NOBODY},
    {"Sandybridge", QK_KERNELS_AVX, ANYBODY},
    {"Bulldozer", QK_KERNELS_AVX, NOBODY},
    {"Piledriver", QK_KERNELS_AVX, NOBODY},
    {"Steamroller", QK_KERNELS_AVX, NOBODY},
    {"Nehalem", QK_KERNELS_BASE, ANYBODY},
};
enum { ROWS = sizeof rows / sizeof rows[0] };

enum qk_kernel_class qk_kernel_class_of(const char *core)
{
    for (int i = 0; i < ROWS; i++)
        if (strcasecmp(rows[i].core, core) == 0)
            return rows[i].class;
    return QK_KERNELS_BASE;
}

struct qk_processor qk_processor_read(void)
{
    struct qk_processor processor = {.class = QK_KERNELS_BASE};
#if defined(__x86_64__)
    __builtin_cpu_init();
    processor.zen = __builtin_cpu_is("amd") != 0;
    if (__builtin_cpu_supports("avx"))
        processor.class = QK_KERNELS_AVX;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        processor.class = QK_KERNELS_AVX2;
    if (processor.class == QK_KERNELS_AVX2 && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        processor.class = QK_KERNELS_AVX512;
#endif
    return processor;
}

void qk_kernels_order(
    const struct qk_processor *processor, const char *own, const char *order[QK_KERNELS_MOST], int *n)
{
    enum qk_kernel_class class = qk_kernel_class_of(own);
    *n = 0;
    for (int c = QK_KERNEL_CLASSES - 1; c >= 0; c--) {
        if (c == (int)class) /* of its own class the library knows best */
            order[(*n)++] = "";
        for (int i = 0; i < ROWS && *n < QK_KERNELS_MOST; i++)
            if ((int)rows[i].class == c && c <= (int)processor->class && strcasecmp(rows[i].core, own) != 0 &&
                (rows[i].offered == ANYBODY || rows[i].offered == (processor->zen ? ZEN : NO_ZEN)))
                order[(*n)++] = rows[i].core;
    }
}

/* --- the choice --- */

/* Loads kernels; *loaded is false when the library does not have them. */
static enum qk_code load(const char *core, bool *loaded, struct qk_error *err)
{
    QK_TRY(qk_blas_load(core[0] != '\0' ? core : NULL, err));
    *loaded = core[0] == '\0' || strcasecmp(qk_blas_core(), core) == 0;
    return QK_OK;
}

/* The self-test. QK_DIFFERS: the kernels are wrong; QK_IO: the processor lacks their instructions. */
static enum qk_code test(struct qk_error *wrong)
{
    struct qk_selftest result[QK_SELFTEST_MAX];
    int n;
    *wrong = (struct qk_error){0};
    QK_TRY(qk_selftest_run(false, result, &n, wrong));
    return qk_selftest_judge(result, n, wrong);
}

static enum qk_code load_asked(struct qk_kernels_choice *choice, struct qk_error *wrong, struct qk_error *err)
{
    bool loaded;
    choice->asked = true;
    QK_TRY(load("", &loaded, err));
    snprintf(choice->core, sizeof choice->core, "%s", qk_blas_core());
    enum qk_code code = test(wrong);
    if (code == QK_IO)
        return qk_fail(err, code, "%s", wrong->text);
    return QK_OK;
}

enum qk_code qk_kernels_load(struct qk_kernels_choice *choice, struct qk_error *wrong, struct qk_error *err)
{
    const char *asked = getenv("OPENBLAS_CORETYPE"), *order[QK_KERNELS_MOST];
    struct qk_processor processor = qk_processor_read();
    struct qk_error first = {0};
    int n;
    bool loaded;
    *choice = (struct qk_kernels_choice){0};
    if (asked != NULL && asked[0] != '\0')
        return load_asked(choice, wrong, err);
    QK_TRY(load("", &loaded, err));
    snprintf(choice->own, sizeof choice->own, "%s", qk_blas_core());
    qk_kernels_order(&processor, choice->own, order, &n);
    for (int i = 0; i < n; i++) {
        if (i > 0 || order[i][0] != '\0')
            QK_TRY(load(order[i], &loaded, err));
        if (!loaded)
            continue;
        snprintf(choice->core, sizeof choice->core, "%s", qk_blas_core());
        if (test(wrong) == QK_OK)
            return QK_OK;
        if (first.text[0] == '\0')
            first = *wrong;
        memcpy(choice->refused[choice->n_refused++], choice->core, sizeof choice->core);
    }
    *wrong = first;
    memcpy(choice->core, choice->own, sizeof choice->core);
    return load("", &loaded, err);
}

/* --- the rate --- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

enum { SIDE = 384 };

/* Multiplies (SIDE, SIDE) for SECONDS; the best time counts. */
static double measure(const float *a, const float *b, float *c)
{
    static const double SECONDS = 0.05;
    double best = 0, began = now(), before = began, after = began;
    while (after - began < SECONDS) {
        qk_blas.sgemm(
            CblasRowMajor, CblasNoTrans, CblasTrans, SIDE, SIDE, SIDE, 1, a, SIDE, b, SIDE, 0, c, SIDE);
        after = now();
        double rate = 2e-9 * SIDE * SIDE * SIDE / (after - before);
        best = rate > best ? rate : best;
        before = after;
    }
    return best;
}

enum qk_code qk_kernels_rate(const char *core, double *gflops, struct qk_error *err)
{
    enum { AREA = SIDE * SIDE };
    float *array = NULL;
    struct qk_error ignored;
    bool loaded;
    *gflops = 0;
    QK_TRY(load(core, &loaded, err));
    if (!loaded || test(&ignored) == QK_IO)
        return QK_OK;
    QK_TRY(qk_alloc_aligned(&array, 3 * AREA, sizeof *array, err));
    for (int i = 0; i < 3 * AREA; i++)
        array[i] = (float)(i % 7) - 3;
    *gflops = measure(array, array + AREA, array + 2 * AREA);
    free(array);
    return QK_OK;
}
