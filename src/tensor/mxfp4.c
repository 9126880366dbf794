/* mxfp4.c - packed values as float32. */
#include "tensor/mxfp4.h"

#include <math.h>

void qk_mxfp4_to_f32(const void *blocks, const void *scales, size_t n, float *out)
{
    /* E2M1: a sign, two bits of exponent, one of mantissa. */
    static const float VALUES[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    enum { BIAS = 127, NOT_A_NUMBER = 255 };
    const unsigned char *byte = blocks, *scale = scales;
    for (size_t i = 0; i < n; i++) {
        float factor = scale[i] == NOT_A_NUMBER ? NAN : ldexpf(1, scale[i] - BIAS);
        for (size_t j = 0; j < QK_MXFP4_BYTES; j++, byte++) {
            *out++ = VALUES[*byte & 15] * factor;
            *out++ = VALUES[*byte >> 4] * factor;
        }
    }
}
