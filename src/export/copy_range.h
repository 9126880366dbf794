/* copy_range.h - part of an old file copied to the same place of a new one, holes and shared blocks included. */
#ifndef QK_EXPORT_COPY_RANGE_H
#define QK_EXPORT_COPY_RANGE_H

#include "base/progress.h"
#include "tensor/source.h"

#include <stdint.h>

/* Copies bytes [at, at + n) of source to the same place of fd (named `path` in messages), which is a hole or ends
 * before it: holes of source are left out, the rest goes the cheapest way the file systems offer: copy_file_range
 * (which shares blocks where it can), else reads and large writes. progress is only asked whether to stop. */
enum qk_code qk_copy_range(const struct qk_source *source, uint64_t at, uint64_t n, int fd, const char *path,
    struct qk_progress *progress, struct qk_error *err);

#endif
