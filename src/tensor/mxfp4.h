/* mxfp4.h - values packed as MXFP4 (OCP Microscaling Formats 1.0): blocks of 32 values of 4 bits, each with a power of
 * two. */
#ifndef QK_TENSOR_MXFP4_H
#define QK_TENSOR_MXFP4_H

#include <stddef.h>

enum { QK_MXFP4_VALUES = 32, QK_MXFP4_BYTES = QK_MXFP4_VALUES / 2 };

/* out (n, 32) = n blocks of 16 bytes, the first value of a byte in its low half, times 2^(scale - 127) of n scales; NaN
 * for a scale of 255. */
void qk_mxfp4_to_f32(const void *blocks, const void *scales, size_t n, float *out);

#endif
