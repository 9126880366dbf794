/* source.c - reading a file by position. */
#include "tensor/source.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static enum qk_code examine(struct qk_source *source, const char *path, struct qk_error *err)
{
    struct stat info;
    if (fstat(source->fd, &info) != 0)
        return qk_fail_errno(err, path, "examine");
    if (!S_ISREG(info.st_mode))
        return qk_fail(err, QK_INPUT, "%s: not a regular file", path);
    source->size = (uint64_t)info.st_size;
    source->modified = info.st_mtim;
    source->changed = info.st_ctim;
    source->device = info.st_dev;
    source->inode = info.st_ino;
    return qk_strdup_to(&source->path, path, err);
}

enum qk_code qk_source_open(const char *path, struct qk_source *source, struct qk_error *err)
{
    *source = (struct qk_source){.fd = -1};
    /* O_NONBLOCK: opening a FIFO must not hang. */
    source->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (source->fd < 0)
        return qk_fail_errno(err, path, "open");
    enum qk_code code = examine(source, path, err);
    if (code != QK_OK)
        qk_source_close(source);
    return code;
}

enum qk_code qk_source_read(
    const struct qk_source *source, uint64_t offset, void *buffer, size_t n, struct qk_error *err)
{
    size_t done = 0;
    while (done < n) {
        ssize_t got = pread(source->fd, (char *)buffer + done, n - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return qk_fail_errno(err, source->path, "read");
        if (got == 0)
            return qk_fail(err, QK_IO,
                "%s: became shorter while it was read (found %llu bytes, expected %llu)", source->path,
                (unsigned long long)(offset + done), (unsigned long long)source->size);
        done += (size_t)got;
    }
    return QK_OK;
}

enum qk_code qk_source_unchanged(const struct qk_source *source, struct qk_error *err)
{
    struct stat info;
    if (fstat(source->fd, &info) != 0)
        return qk_fail_errno(err, source->path, "examine");
    if ((uint64_t)info.st_size != source->size || info.st_mtim.tv_sec != source->modified.tv_sec ||
        info.st_mtim.tv_nsec != source->modified.tv_nsec)
        return qk_fail(err, QK_IO, "%s: was changed by another program while it was read", source->path);
    return QK_OK;
}

void qk_source_close(struct qk_source *source)
{
    if (source->fd >= 0)
        close(source->fd);
    source->fd = -1;
    free(source->path);
    source->path = NULL;
}
