/* adapter_internal.h - the interface of adapter.c (config, numbers) and adapter_tensors.c (tensors). */
#ifndef QK_TENSOR_ADAPTER_INTERNAL_H
#define QK_TENSOR_ADAPTER_INTERNAL_H

#include "tensor/checkpoint.h"

#include <cjson/cJSON.h>

/* An adapter that is being attached. */
struct qk_adapter_reader {
    struct qk_checkpoint *base;
    struct qk_adapter *adapter;
    cJSON *config;
    struct qk_error *err;
};

/* *scale = the s of W + s B A for the factors of `module`. QK_INPUT when the config has none, or another rank. */
enum qk_code qk_adapter_scale(
    const struct qk_adapter_reader *r, const char *module, const struct qk_tensor *a, double *scale);

/* Fills the adapter's additions and notes, and puts its tensors of other shapes into the base's table. */
enum qk_code qk_adapter_find_additions(struct qk_adapter_reader *r);

#endif
