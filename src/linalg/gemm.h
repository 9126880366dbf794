/* gemm.h - the products of forward passes: OpenBLAS's or oneDNN's in float32, and oneDNN's of bfloat16.
 *
 * Which library multiplies is chosen once, at the first product, by the class of the processor and by a self-test. No
 * time is measured for the choice, so a machine gives the same bits each time. */
#ifndef QK_LINALG_GEMM_H
#define QK_LINALG_GEMM_H

#include "base/digest.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* c (m, n) = alpha a b + beta c, a (m, k), b (k, n) or, `transposed`, (n, k); row-major, rows lda, ldb and ldc apart.
 * On the calling thread. */
void qk_gemm(bool transposed, size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda,
    const float *b, size_t ldb, float beta, float *c, size_t ldc);

/* How qk_gemm was chosen. The first call chooses: oneDNN takes about 0.03 s to load and to make its code. */
struct qk_gemm_choice {
    bool onednn;             /* oneDNN multiplies, else OpenBLAS */
    struct qk_error why_not; /* why it is OpenBLAS */
};
const struct qk_gemm_choice *qk_gemm_choose(void);

/* The precision of products of tokens with weights; float32 without qk_precision_set. Sums are in float32. */
enum qk_precision { QK_FLOAT32, QK_BFLOAT16 };
enum qk_precision qk_precision(void);
/* For the start of the process. QK_INPUT for bfloat16 without oneDNN, without a processor that multiplies it, or where
 * oneDNN computes wrong. */
enum qk_code qk_precision_set(enum qk_precision precision, struct qk_error *err);
/* Adds what keeps results of one precision apart from those of another: nothing for float32. */
void qk_precision_add(struct qk_digest *digest);

/* c (m, n) = a b^T + beta c with bfloat16 a (m, k) and b (n, k), rows k apart, and c's rows ldc apart. Only where
 * qk_precision is QK_BFLOAT16. */
void qk_gemm_bfloat16(
    size_t m, size_t n, size_t k, const uint16_t *a, const uint16_t *b, float beta, float *c, size_t ldc);

/* Multiplies for a twentieth of a second with oneDNN: *gflops on one core; 0 where it cannot, with why_not. */
enum qk_code qk_gemm_rate(
    enum qk_precision precision, double *gflops, struct qk_error *why_not, struct qk_error *err);

#endif
