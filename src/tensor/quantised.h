/* quantised.h - the signs of quantised weights beside a module: tensors of scales, and of packed values. */
#ifndef QK_TENSOR_QUANTISED_H
#define QK_TENSOR_QUANTISED_H

#include "tensor/names.h"

#include <stdbool.h>

/* The tensor by which the values of an 8-bit weight are multiplied, or NULL: the one beside it whose name holds
 * "scale". Scales of activations and of the cache do not count. *known is false when the name is of no known form, or
 * when there are several: nobody can tell what they do. */
const struct qk_tensor *qk_scale_find(
    const struct qk_checkpoint *checkpoint, const struct qk_tensor *weight, bool *known);

/* True for a name of scales of activations or of the cache, which do not change weights. */
bool qk_scale_is_aside(const char *name);

/* The tensor of a module that shows that its weight is packed, or NULL. `below` is as in qk_names_find. *method is the
 * name of the method, static. */
const struct qk_tensor *qk_packed_find(
    const struct qk_names *names, int layer, const char *below, const char **method);

#endif
