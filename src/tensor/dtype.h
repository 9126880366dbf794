/* dtype.h - the number formats of safetensors: names, sizes, and conversion to and from float64. */
#ifndef QK_TENSOR_DTYPE_H
#define QK_TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>

/* In the order of the table in dtype.c. QK_DTYPE_OTHER is any unknown name: its bytes are carried along, and its size
 * cannot be checked against its shape. */
enum qk_dtype {
    QK_F64,
    QK_F32,
    QK_F16,
    QK_BF16,
    QK_F8_E4M3,
    QK_F8_E5M2,
    QK_F8_E8M0,
    QK_F6_E3M2,
    QK_F6_E2M3,
    QK_F4,
    QK_I64,
    QK_I32,
    QK_I16,
    QK_I8,
    QK_U64,
    QK_U32,
    QK_U16,
    QK_U8,
    QK_BOOL,
    QK_C64,
    QK_DTYPE_OTHER,
    QK_DTYPE_COUNT
};

const char *qk_dtype_name(enum qk_dtype dtype);
/* Parses the exact, case-sensitive safetensors spelling ("BF16", "F8_E4M3"); QK_DTYPE_OTHER when it is unknown. */
enum qk_dtype qk_dtype_parse(const char *name);
/* Bits of one element; 0 for QK_DTYPE_OTHER. */
unsigned qk_dtype_bits(enum qk_dtype dtype);
/* True for the formats with conversion to numbers (F64 F32 F16 BF16 F8_E4M3 F8_E5M2 F8_E8M0). */
bool qk_dtype_readable(enum qk_dtype dtype);
/* True for the formats results are rounded to (F64 F32 F16 BF16). */
bool qk_dtype_writable(enum qk_dtype dtype);

/* dst[i] = src[i] exactly, n elements, little-endian source of any alignment. dtype must be readable.
 * F8_E4M3 is the "fn" form: no infinities, 0x7f and 0xff are NaN, largest 448. F8_E5M2 is IEEE-like. F8_E8M0 is a
 * power of two, 2^(bits - 127), and 0xff is NaN. */
void qk_dtype_to_f64(enum qk_dtype dtype, const void *src, size_t n, double *dst);

/* dst[i] = src[i] rounded once, to nearest, ties to even, subnormals kept; NaN gives a quiet NaN of the
 * same sign. Returns how many finite inputs became infinite. dtype must be writable. */
size_t qk_dtype_from_f64(enum qk_dtype dtype, const double *src, size_t n, void *dst);

#endif
