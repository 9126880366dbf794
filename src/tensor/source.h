/* source.h - a file opened for reading by position: never mapped, never written.
 *
 * A mapping would turn a file that another program cuts short into SIGBUS; pread turns it into an error. */
#ifndef QK_TENSOR_SOURCE_H
#define QK_TENSOR_SOURCE_H

#include "base/error.h"

#include <stdint.h>
#include <sys/stat.h>

struct qk_source {
    char *path; /* owned */
    int fd;     /* -1 when closed */
    uint64_t size;
    struct timespec modified, changed; /* content; content, name or rights */
    dev_t device;
    ino_t inode;
};

/* Opens a regular file read-only (QK_IO when that fails, QK_INPUT when it is not a regular file). */
enum qk_code qk_source_open(const char *path, struct qk_source *source, struct qk_error *err);
/* Reads exactly n bytes at offset; QK_IO on a read error or when the file ended early ("... became shorter
 * while it was read (found N bytes, expected M)"). Safe from several threads at once. */
enum qk_code qk_source_read(
    const struct qk_source *source, uint64_t offset, void *buffer, size_t n, struct qk_error *err);
/* QK_IO when size or modification time differ from when it was opened. */
enum qk_code qk_source_unchanged(const struct qk_source *source, struct qk_error *err);
void qk_source_close(struct qk_source *source);

#endif
