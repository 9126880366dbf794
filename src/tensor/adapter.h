/* adapter.h - a PEFT adapter folder: low-rank changes of a checkpoint's tensors, added when they are read.
 *
 *   adapter_config.json          peft_type LORA, r, lora_alpha, use_rslora, rank_pattern, alpha_pattern,
 *                                fan_in_fan_out
 *   adapter_model.safetensors    base_model.model.MODULE.lora_A.weight (r, in), ....lora_B.weight (out, r),
 *                                and whole tensors that were trained too: base_model.model.TENSOR, with
 *                                .base_layer before the last part where the module has factors
 *   adapter_model.bin            the same of older PEFT, read where there is no adapter_model.safetensors
 * MODULE.weight W (out, in) becomes W + s B A, s = lora_alpha / r, or lora_alpha / sqrt(r) with use_rslora (Hu et al.
 * 2021; Kalajdzievski 2023); with fan_in_fan_out W is (in, out) and gets the transposed product. The sum is in
 * float64 and rounded once to W's dtype. It equals PEFT's merge_and_unload up to the rounding of the adapter's own
 * precision. Whole tensors replace W, rounded likewise. Variants that compute anything else (DoRA, a changed base)
 * are refused by name. */
#ifndef QK_TENSOR_ADAPTER_H
#define QK_TENSOR_ADAPTER_H

#include "tensor/file.h"

#include <stdbool.h>

#define QK_ADAPTER_CONFIG "adapter_config.json"

struct qk_checkpoint;
struct qk_factor_cache;

struct qk_addition {
    const struct qk_tensor *base;  /* the tensor that changes */
    const struct qk_tensor *a, *b; /* the factors; NULL when the tensor is replaced */
    const struct qk_tensor *instead;
    double scale;
    bool transposed;
};

struct qk_adapter {
    char *folder;              /* owned */
    char *base_path;           /* the name of the checkpoint below; owned */
    struct qk_checkpoint *own; /* the adapter's file as a checkpoint of its own; owned */
    struct qk_source config;
    char config_digest[65];       /* SHA-256 of the whole file, hex */
    struct qk_addition *addition; /* n_additions, sorted by base */
    size_t n_additions;
    struct qk_factor_cache *factors; /* owned */
};

/* *is = `path` is a folder with an adapter_config.json. QK_IO when that cannot be examined. */
enum qk_code qk_adapter_is(const char *path, bool *is, struct qk_error *err);

/* Attaches the adapter in `folder` to the checkpoint. From then on qk_checkpoint_read gives the merged values, and
 * the checkpoint's path is the adapter's. The checkpoint owns the adapter. QK_INPUT names the file and the tensor or
 * key that does not fit. Values are read later. */
enum qk_code qk_adapter_attach(struct qk_checkpoint *checkpoint, const char *folder, struct qk_error *err);
void qk_adapter_close(struct qk_adapter *adapter);

/* The adapter's file. */
const struct qk_tensor_file *qk_adapter_file(const struct qk_adapter *adapter);

/* The adapter's change of the base's tensor, or NULL. adapter may be NULL. */
const struct qk_addition *qk_adapter_addition(
    const struct qk_adapter *adapter, const struct qk_tensor *tensor);

/* Changes n bytes of the base's tensor from `offset` on (whole elements) to the merged ones. QK_INPUT names a factor
 * that is not finite or a result that does not fit the dtype. Thread-safe. It holds the tensor's factors as float64,
 * and keeps them for the next part (tensor/factors.h). */
enum qk_code qk_adapter_apply(const struct qk_adapter *adapter, const struct qk_tensor *tensor,
    uint64_t offset, void *bytes, size_t n, struct qk_error *err);

#endif
