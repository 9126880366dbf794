/* pickle_class.c - the table of the names of Python's modules that a checkpoint may hold. */
#include "tensor/torch/pickle_class.h"

#include <stdbool.h>
#include <string.h>

const struct qk_pickle_class qk_pickle_classes[] = {
    {"collections", "OrderedDict", QK_PICKLE_ORDERED_DICT, QK_DTYPE_OTHER},
    {"torch._utils", "_rebuild_tensor_v2", QK_PICKLE_REBUILD_V2, QK_DTYPE_OTHER},
    {"torch._utils", "_rebuild_tensor_v3", QK_PICKLE_REBUILD_V3, QK_DTYPE_OTHER},
    {"torch._utils", "_rebuild_parameter", QK_PICKLE_REBUILD_PARAMETER, QK_DTYPE_OTHER},
    {"torch.storage", "UntypedStorage", QK_PICKLE_UNTYPED, QK_U8},
    {"torch", "DoubleStorage", QK_PICKLE_TYPED, QK_F64},
    {"torch", "FloatStorage", QK_PICKLE_TYPED, QK_F32},
    {"torch", "HalfStorage", QK_PICKLE_TYPED, QK_F16},
    {"torch", "BFloat16Storage", QK_PICKLE_TYPED, QK_BF16},
    {"torch", "LongStorage", QK_PICKLE_TYPED, QK_I64},
    {"torch", "IntStorage", QK_PICKLE_TYPED, QK_I32},
    {"torch", "ShortStorage", QK_PICKLE_TYPED, QK_I16},
    {"torch", "CharStorage", QK_PICKLE_TYPED, QK_I8},
    {"torch", "ByteStorage", QK_PICKLE_TYPED, QK_U8},
    {"torch", "BoolStorage", QK_PICKLE_TYPED, QK_BOOL},
    {"torch", "ComplexFloatStorage", QK_PICKLE_TYPED, QK_C64},
    {"torch", "float64", QK_PICKLE_DTYPE, QK_F64},
    {"torch", "float32", QK_PICKLE_DTYPE, QK_F32},
    {"torch", "float16", QK_PICKLE_DTYPE, QK_F16},
    {"torch", "bfloat16", QK_PICKLE_DTYPE, QK_BF16},
    {"torch", "float8_e4m3fn", QK_PICKLE_DTYPE, QK_F8_E4M3},
    {"torch", "float8_e5m2", QK_PICKLE_DTYPE, QK_F8_E5M2},
    {"torch", "float8_e8m0fnu", QK_PICKLE_DTYPE, QK_F8_E8M0},
    {"torch", "int64", QK_PICKLE_DTYPE, QK_I64},
    {"torch", "int32", QK_PICKLE_DTYPE, QK_I32},
    {"torch", "int16", QK_PICKLE_DTYPE, QK_I16},
    {"torch", "int8", QK_PICKLE_DTYPE, QK_I8},
    {"torch", "uint64", QK_PICKLE_DTYPE, QK_U64},
    {"torch", "uint32", QK_PICKLE_DTYPE, QK_U32},
    {"torch", "uint16", QK_PICKLE_DTYPE, QK_U16},
    {"torch", "uint8", QK_PICKLE_DTYPE, QK_U8},
    {"torch", "bool", QK_PICKLE_DTYPE, QK_BOOL},
    {"torch", "complex64", QK_PICKLE_DTYPE, QK_C64},
    {"torch", "complex32", QK_PICKLE_DTYPE, QK_DTYPE_OTHER},
    {"torch", "complex128", QK_PICKLE_DTYPE, QK_DTYPE_OTHER},
    {"torch", "float8_e4m3fnuz", QK_PICKLE_DTYPE, QK_DTYPE_OTHER},
    {"torch", "float8_e5m2fnuz", QK_PICKLE_DTYPE, QK_DTYPE_OTHER},
    {"torch", "Size", QK_PICKLE_SIZE, QK_DTYPE_OTHER},
    {"torch", "device", QK_PICKLE_DEVICE, QK_DTYPE_OTHER},
    {"__builtin__", "set", QK_PICKLE_SET, QK_DTYPE_OTHER}, /* as protocol 2 spells builtins */
    {"__builtin__", "frozenset", QK_PICKLE_SET, QK_DTYPE_OTHER},
    {"builtins", "set", QK_PICKLE_SET, QK_DTYPE_OTHER},
    {"builtins", "frozenset", QK_PICKLE_SET, QK_DTYPE_OTHER},
};

static bool equals(const char *text, size_t length, const char *expected)
{
    return length == strlen(expected) && memcmp(text, expected, length) == 0;
}

int qk_pickle_class_find(const char *module, size_t module_length, const char *name, size_t name_length)
{
    enum { N = sizeof qk_pickle_classes / sizeof qk_pickle_classes[0] };
    for (int i = 0; i < N; i++)
        if (equals(module, module_length, qk_pickle_classes[i].module) &&
            equals(name, name_length, qk_pickle_classes[i].name))
            return i;
    return -1;
}
