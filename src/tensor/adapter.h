/* adapter.h - a PEFT adapter folder: low-rank changes of a checkpoint's tensors, added when they are read.
 *
 *   adapter_config.json          peft_type LORA, r, lora_alpha, use_rslora, rank_pattern, alpha_pattern,
 *                                fan_in_fan_out
 *   adapter_model.safetensors    MODULE.lora_A.weight (r, in), MODULE.lora_B.weight (out, r); lora_embedding_A and
 *                                lora_embedding_B of an embedding; and whole tensors that were trained too
 *   adapter_model.bin            the same of older PEFT, read where there is no adapter_model.safetensors
 * Names are made plain and matched with the base's by what follows the layers' prefix (tensor/names.h).
 *
 * MODULE.weight W (out, in) becomes W + s B A, s = lora_alpha / r, or lora_alpha / sqrt(r) with use_rslora (Hu et al.
 * 2021; Kalajdzievski 2023). A W that is stored as (in, out) gets the transposed product: that of an embedding, and
 * where shapes or fan_in_fan_out say so. The sum is in float64 and rounded once to W's dtype. It equals PEFT's
 * merge_and_unload up to the rounding of the adapter's own precision. Whole tensors replace W, rounded likewise.
 * Variants that compute anything else (DoRA, a changed base) are refused by name.
 *
 * What has nothing to do with q and k refuses nothing. The base's notes name it, and `unmerged` says why no merged
 * checkpoint can be written:
 *   - an embedding or head of another number of rows, or a head on a tied base: taken into the base's table;
 *   - a tensor outside of attention without a place in the base: left out;
 *   - an unknown change, such as the empty factors of ZeRO-3: reading the base's tensor is QK_INPUT. */
#ifndef QK_TENSOR_ADAPTER_H
#define QK_TENSOR_ADAPTER_H

#include "tensor/file.h"

#include <stdbool.h>

#define QK_ADAPTER_CONFIG "adapter_config.json"

struct qk_checkpoint;
struct qk_factor_cache;
struct qk_lines;

enum { QK_SHARD_ADAPTER = -1 }; /* the shard of a tensor that the adapter's file holds for the base */

struct qk_addition {
    const struct qk_tensor *base;    /* the tensor that changes */
    const struct qk_tensor *instead; /* NULL, or the tensor that replaces it first */
    const struct qk_tensor *a, *b;   /* NULL, or the factors that are added */
    double scale;
    bool transposed, square;
    const char *unknown; /* NULL, or why the values are not known: `instead` then is the adapter's tensor */
};

struct qk_adapter {
    char *folder;              /* owned */
    char *base_path;           /* the name of the checkpoint below; owned */
    struct qk_checkpoint *own; /* the adapter's file as a checkpoint of its own; owned */
    struct qk_source config;
    char config_digest[65];       /* SHA-256 of the whole file, hex */
    struct qk_addition *addition; /* n_additions, in qk_addition_order */
    size_t n_additions;
    struct qk_tensor
        *taken; /* n_taken tensors of its file that the base's table holds, under names of the base */
    size_t n_taken;
    char *unmerged; /* NULL, or what a merged checkpoint would lack, with the file and a tensor; owned */
    bool partial;   /* a tensor of a layer was left out: forward passes would be of another model */
    struct qk_factor_cache *factors; /* owned */
};

/* *is = `path` is a folder with an adapter_config.json, which is not left over beside the weights of a whole model,
 * without any of an adapter. QK_IO when that cannot be examined. */
enum qk_code qk_adapter_is(const char *path, bool *is, struct qk_error *err);

/* True for a name of an adapter's file of weights, and for a folder whose names have one. */
bool qk_adapter_weights_name(const char *name);
bool qk_adapter_has_weights(const struct qk_lines *names);
/* True for the names of a folder with weights of a whole model, and none of an adapter: an adapter_config.json there is
 * left over. */
bool qk_adapter_left_over(const struct qk_lines *names);

/* Attaches the adapter in `folder` to the checkpoint. From then on qk_checkpoint_read gives the merged values, and
 * the checkpoint's path is the adapter's. The checkpoint owns the adapter. QK_INPUT names the file and the tensor or
 * key that does not fit; the checkpoint can then only be closed. Values are read later. */
enum qk_code qk_adapter_attach(struct qk_checkpoint *checkpoint, const char *folder, struct qk_error *err);
void qk_adapter_close(struct qk_adapter *adapter);

/* The adapter's file. */
const struct qk_tensor_file *qk_adapter_file(const struct qk_adapter *adapter);

/* Compares two additions by the place of their bases, for qsort and bsearch. */
int qk_addition_order(const void *a, const void *b);

/* The adapter's change of the base's tensor, or NULL. adapter may be NULL. */
const struct qk_addition *qk_adapter_addition(
    const struct qk_adapter *adapter, const struct qk_tensor *tensor);

/* Changes n bytes of the base's tensor from `offset` on (whole elements) to the merged ones. QK_INPUT names a factor
 * that is not finite or a result that does not fit the dtype. Thread-safe. It holds the tensor's factors as float64,
 * and keeps them for the next part (tensor/factors.h). */
enum qk_code qk_adapter_apply(const struct qk_adapter *adapter, const struct qk_tensor *tensor,
    uint64_t offset, void *bytes, size_t n, struct qk_error *err);

#endif
