/* zip_crc.h - the CRC-32 of the zip entries that an export changes; a PyTorch file has one for every storage. */
#ifndef QK_EXPORT_ZIP_CRC_H
#define QK_EXPORT_ZIP_CRC_H

#include "base/progress.h"
#include "blend/change.h"

#include <stddef.h>
#include <stdint.h>

/* A changed entry, and the places of its sum: the directory, and the local header or the descriptor behind the data,
 * or both. Each is 4 bytes, little-endian; places count from the start of the file. */
struct qk_sum {
    uint64_t at, bytes;
    uint64_t place[3];
    int n_places;
};

/* *out = the entries of shard number `shard` of post that hold the tensors of these n changes (in the order of
 * qk_changes_find). They are in the order of the file; a file that is not PyTorch's has none. The caller frees
 * *out. */
enum qk_code qk_sums_find(const struct qk_checkpoint *post, int shard, const struct qk_change *change,
    size_t n, struct qk_sum **out, size_t *n_out, struct qk_error *err);

/* *crc = the sum of the entry's bytes in `file` now. progress serves cancellation alone. */
enum qk_code qk_sum_compute(const struct qk_source *file, const struct qk_sum *sum,
    struct qk_progress *progress, uint32_t *crc, struct qk_error *err);

/* Writes the sums into their places in the file `path`, whose entries have their new bytes, and syncs it. */
enum qk_code qk_sums_mend(
    const char *path, const struct qk_sum *sum, size_t n, struct qk_progress *progress, struct qk_error *err);

#endif
