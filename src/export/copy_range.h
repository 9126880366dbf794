/* copy_range.h - a part of an old file, copied to the same place of a new one with its holes and shared blocks. */
#ifndef QK_EXPORT_COPY_RANGE_H
#define QK_EXPORT_COPY_RANGE_H

#include "base/progress.h"
#include "tensor/source.h"

#include <stdint.h>

/* Copies bytes [at, at + n) of source to the same place of fd (`path` in messages), which is a hole or ends before
 * it. Holes of source stay holes. The rest goes by copy_file_range (which shares blocks where it can), else by reads
 * and large writes. progress serves cancellation alone. */
enum qk_code qk_copy_range(const struct qk_source *source, uint64_t at, uint64_t n, int fd, const char *path,
    struct qk_progress *progress, struct qk_error *err);

#endif
