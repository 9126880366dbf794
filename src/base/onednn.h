/* onednn.h - products of oneDNN, in a library that is loaded when a forward pass first multiplies. */
#ifndef QK_BASE_ONEDNN_H
#define QK_BASE_ONEDNN_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* c (m, n) = alpha op(a) op(b) + beta c, row-major, op by 'N' or 'T' (transposed); 0 when it succeeds. The second one
 * takes bfloat16 values and adds in float32. All of it runs on the calling thread. NULL before qk_onednn_load. */
extern struct qk_onednn {
    int (*sgemm)(char transa, char transb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
        int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
    int (*bf16_gemm)(char transa, char transb, int64_t m, int64_t n, int64_t k, float alpha,
        const uint16_t *a, int64_t lda, const uint16_t *b, int64_t ldb, float beta, float *c, int64_t ldc);
} qk_onednn;

/* Loads the library, once. QK_IO with a message: the program was built without it, it cannot be loaded or lacks the
 * functions, or it would start threads of its own. */
enum qk_code qk_onednn_load(struct qk_error *err);

/* Its version "2.6.3", into out; only after qk_onednn_load. */
const char *qk_onednn_version(char out[32]);

#endif
