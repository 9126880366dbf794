/* torch.h - a PyTorch file as torch.save writes it since 1.6: a zip archive of a pickle and storages.
 *
 *   NAME/data.pkl       the pickle (pickle.h): names, shapes, and which storage holds them
 *   NAME/byteorder      "little", where it is there at all
 *   NAME/data/KEY       the bytes of a storage, uncompressed; others are skipped
 * NAME is that of the first entry. Beside the checks of zip.h and pickle.h, each storage must have its entry, which
 * is not compressed and exactly as long as the pickle says. Two tensors may share bytes. The digest of such a file is
 * that of the pickle and the directory, which has the sums of all storages. */
#ifndef QK_TENSOR_TORCH_TORCH_H
#define QK_TENSOR_TORCH_TORCH_H

#include "tensor/file.h"

#include <stdbool.h>

/* True for the names of PyTorch files: .bin, .pt, .pth. */
bool qk_torch_name(const char *name);

/* Opens and checks a file. On failure nothing is left open. Older formats (a bare pickle, a tar archive)
 * are QK_INPUT with advice. */
enum qk_code qk_torch_open(const char *path, struct qk_tensor_file *file, struct qk_error *err);

#endif
