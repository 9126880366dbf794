/* kernels.h - the choice of OpenBLAS's kernels by what the processor can do and by what they compute.
 *
 * OpenBLAS picks its kernels by the processor's model number. Releases older than a model take kernels of an older
 * class for it (0.3.21: "Prescott" for many Intel processors since 2022, a third of the speed), and some kernels are
 * wrong on some processors. So the choice is checked against the processor's features and by the self-test. */
#ifndef QK_LINALG_KERNELS_H
#define QK_LINALG_KERNELS_H

#include "base/error.h"

#include <stdbool.h>

/* Classes of kernels by the instructions that they need, slowest first. */
enum qk_kernel_class {
    QK_KERNELS_BASE,
    QK_KERNELS_AVX,
    QK_KERNELS_AVX2,
    QK_KERNELS_AVX512,
    QK_KERNEL_CLASSES
};

/* "AVX-512" for its class. */
const char *qk_kernel_class_name(enum qk_kernel_class class);

/* What the processor and the operating system offer; QK_KERNELS_BASE for other than x86-64. */
struct qk_processor {
    enum qk_kernel_class class;
    bool zen; /* of AMD */
};
struct qk_processor qk_processor_read(void);

/* The class of OpenBLAS's kernels of that name; QK_KERNELS_BASE for an unknown one. */
enum qk_kernel_class qk_kernel_class_of(const char *core);

enum { QK_KERNELS_MOST = 8 };

/* The kernels to be tried one after the other, best first, where the library by itself takes `own`: *n names, of
 * which "" stands for the library's own choice. Borrowed, valid for ever. */
void qk_kernels_order(
    const struct qk_processor *processor, const char *own, const char *order[QK_KERNELS_MOST], int *n);

/* How the kernels were chosen. */
struct qk_kernels_choice {
    bool asked;    /* by OPENBLAS_CORETYPE, which stands */
    char own[32];  /* what the library takes by itself; "" when it was asked */
    char core[32]; /* what computes now */
    int n_refused; /* kernels that were tried before and failed the self-test */
    char refused[QK_KERNELS_MOST][32];
};

/* Loads OpenBLAS and LAPACKE (blas.h) with the first kernels of that order that pass the self-test. Those that
 * OPENBLAS_CORETYPE names are taken as they are. `wrong` gets a message when no kernels pass: the library's own then
 * stay. A failure names a library that is missing, a limit that is too low, or instructions that the asked
 * kernels need and the processor lacks. Takes a few milliseconds,
 * and as much again for other kernels than the library's own. */
enum qk_code qk_kernels_load(struct qk_kernels_choice *choice, struct qk_error *wrong, struct qk_error *err);

/* Loads these kernels alone ("" for the library's own) and multiplies matrices for a twentieth of a second: *gflops of
 * sgemm on one core; 0 when the library lacks them or the processor cannot run them. */
enum qk_code qk_kernels_rate(const char *core, double *gflops, struct qk_error *err);

#endif
