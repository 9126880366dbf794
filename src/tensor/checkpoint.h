/* checkpoint.h - a checkpoint as one set of tensors: a single file, a folder, or shards with an index, in safetensors
 * or PyTorch files. */
#ifndef QK_TENSOR_CHECKPOINT_H
#define QK_TENSOR_CHECKPOINT_H

#include "base/error.h"
#include "base/text.h"
#include "tensor/adapter.h"
#include "tensor/file.h"

#include <stddef.h>
#include <stdint.h>

struct qk_shard {
    char *name; /* file name relative to the folder, as the index spells it; owned */
    struct qk_tensor_file file;
};

struct qk_checkpoint {
    char *path;       /* as given, for messages; owned */
    char *folder;     /* the folder that holds the shards; owned */
    char *index_path; /* NULL without an index; owned */
    struct qk_shard *shard;
    size_t n_shards;
    const struct qk_tensor **by_name; /* every tensor of every shard, sorted by strcmp of name */
    size_t n_tensors;
    uint64_t file_bytes;        /* all shards together */
    struct qk_lines notes;      /* what was set aside and why, one line each, with the file */
    struct qk_adapter *adapter; /* NULL, or the adapter that changes the tensors when they are read; owned */
};

/* `path` is
 *   a folder: model.safetensors, unless an index names more tensors and has all its shards there; else the one
 *     *.safetensors.index.json (model.safetensors.index.json first) of which a shard is there; else the numbered
 *     *.safetensors, all of them, else every *.safetensors; without any, pytorch_model.bin or
 *     pytorch_model.bin.index.json;
 *   a *.safetensors file, or a PyTorch file (.bin, .pt, .pth): that file alone;
 *   an *.index.json: the shards of its weight_map, beside it;
 *   the address of a folder on the hub (tensor/hub/remote.h): model.safetensors.index.json, else
 *     model.safetensors.
 * Shard names in an index must stay in the folder: no part is empty, "." or "..". They end in .safetensors, or in .bin
 * where the index ends in .bin.index.json. The shards tell which tensors there are; where the index says otherwise, the
 * notes tell. Of a name in two shards the index chooses; without its word they must have the same values. Each fault is
 * QK_INPUT and names file and tensor; files that cannot be read are QK_IO. *out is freed with qk_checkpoint_close. */
enum qk_code qk_checkpoint_open(const char *path, struct qk_checkpoint **out, struct qk_error *err);
void qk_checkpoint_close(struct qk_checkpoint *checkpoint);

/* The tensor with that exact name, or NULL. */
const struct qk_tensor *qk_checkpoint_find(const struct qk_checkpoint *checkpoint, const char *name);

/* Reads n bytes at `offset` within the tensor. Where the adapter changes it, the bytes are merged, and must be whole
 * elements. The range must lie inside the tensor (asserted). */
enum qk_code qk_checkpoint_read(const struct qk_checkpoint *checkpoint, const struct qk_tensor *tensor,
    uint64_t offset, void *buffer, size_t n, struct qk_error *err);

/* Asks the system to have n bytes at `offset` within the tensor in memory soon, without waiting. Nothing for a remote
 * file. */
void qk_checkpoint_expect(
    const struct qk_checkpoint *checkpoint, const struct qk_tensor *tensor, uint64_t offset, uint64_t n);

/* The path of the file that holds the tensor, for messages. */
const char *qk_checkpoint_file(const struct qk_checkpoint *checkpoint, const struct qk_tensor *tensor);

/* QK_IO when a shard or the adapter changed on disk since it was opened. */
enum qk_code qk_checkpoint_unchanged(const struct qk_checkpoint *checkpoint, struct qk_error *err);

#endif
