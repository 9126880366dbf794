/* pickle_class.h - the names of Python's modules that the pickle reader knows. */
#ifndef QK_TENSOR_TORCH_PICKLE_CLASS_H
#define QK_TENSOR_TORCH_PICKLE_CLASS_H

#include "tensor/dtype.h"

#include <stddef.h>

enum qk_pickle_what {
    QK_PICKLE_ORDERED_DICT,
    QK_PICKLE_REBUILD_V2,
    QK_PICKLE_REBUILD_V3,
    QK_PICKLE_REBUILD_PARAMETER,
    QK_PICKLE_TYPED,   /* a storage of one dtype */
    QK_PICKLE_UNTYPED, /* a storage of bytes */
    QK_PICKLE_DTYPE,
    QK_PICKLE_SIZE,
    QK_PICKLE_DEVICE,
    QK_PICKLE_SET,
};

struct qk_pickle_class {
    const char *module, *name;
    enum qk_pickle_what what;
    enum qk_dtype dtype; /* of storages and dtypes; QK_DTYPE_OTHER where tensors of it are not read */
};

extern const struct qk_pickle_class qk_pickle_classes[];

/* The row of a name in a module, neither of which needs to end in a NUL; -1 for every other name. */
int qk_pickle_class_find(const char *module, size_t module_length, const char *name, size_t name_length);

#endif
