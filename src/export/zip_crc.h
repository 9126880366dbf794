/* zip_crc.h - the CRC-32 of the zip entries that an export changes: a PyTorch file holds one of every storage. */
#ifndef QK_EXPORT_ZIP_CRC_H
#define QK_EXPORT_ZIP_CRC_H

#include "base/progress.h"
#include "blend/change.h"

#include <stddef.h>
#include <stdint.h>

/* One changed entry. Where its sum stands: in the directory, and in its local header or the descriptor behind
 * its data, or both; 4 bytes each, little-endian, from the start of the file. */
struct qk_sum {
    uint64_t at, bytes;
    uint64_t place[3];
    int n_places;
};

/* Of shard number `shard` of post, the entries that hold the tensors of these changes (n, in the order of
 * qk_changes_find), in the order of the file; none when it is no PyTorch file. The caller frees *out. */
enum qk_code qk_sums_find(const struct qk_checkpoint *post, int shard, const struct qk_change *change,
    size_t n, struct qk_sum **out, size_t *n_out, struct qk_error *err);

/* *crc of the entry's bytes as `file` has them now. progress is only asked whether to stop. */
enum qk_code qk_sum_compute(const struct qk_source *file, const struct qk_sum *sum,
    struct qk_progress *progress, uint32_t *crc, struct qk_error *err);

/* Writes the sums of the file `path`, whose entries have their new bytes, into their places; synced. */
enum qk_code qk_sums_mend(
    const char *path, const struct qk_sum *sum, size_t n, struct qk_progress *progress, struct qk_error *err);

#endif
