/* pickle.h - the tensors that a pickle of PyTorch describes, read without running anything.
 *
 * A pickle is a program for a stack machine (Python's pickletools.py lists its opcodes) that may call any function of
 * any module. This machine knows the opcodes that torch.save writes (protocols 2 to 5), and the following names of
 * modules. It refuses everything else by name:
 *   collections.OrderedDict, torch._utils._rebuild_tensor_v2 and _v3 and _rebuild_parameter, the typed
 *   storages torch.FloatStorage ..., torch.storage.UntypedStorage, and the dtypes that stand beside it;
 *   and, as trainers leave them beside the tensors, torch.Size, torch.device, dtypes, and Python's set and
 *   frozenset, which are skipped (pickle_class.c has the names).
 * It accepts a dict of tensors by name, or a dict that holds one as "state_dict", "model", "model_state_dict"
 * (PyTorch's tutorials) or "module" (DeepSpeed). None, numbers, texts and other values that are skipped may stand
 * among the tensors.
 *
 * The limit is 64 MiB. Objects, their items, the stack, the memo and the tensors are counted. Memory thus stays below
 * 400 MB and a few dozen times the pickle's bytes. Nothing recurses. */
#ifndef QK_TENSOR_TORCH_PICKLE_H
#define QK_TENSOR_TORCH_PICKLE_H

#include "base/error.h"
#include "tensor/file.h"

#include <stddef.h>
#include <stdint.h>

enum { QK_PICKLE_MAX = 64 << 20 };

struct qk_pickled {
    struct qk_tensor tensor; /* offset: from the start of the storage, in bytes, and within it */
    const char *storage;     /* the name of its storage: storage_length bytes of the pickle's text */
    size_t storage_length;
    uint64_t storage_bytes;
};

struct qk_pickle {
    struct qk_pickled *tensor; /* in the order of the dict, at least one */
    size_t n;
};

/* Reads n bytes; messages call them `name`. QK_INPUT for any other pickle, and for tensors that are not row-major or
 * not within their storage. Freed with qk_pickle_free in every case. */
enum qk_code qk_pickle_read(
    const char *name, const char *bytes, size_t n, struct qk_pickle *pickle, struct qk_error *err);
void qk_pickle_free(struct qk_pickle *pickle);

#endif
