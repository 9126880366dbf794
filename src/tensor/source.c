/* source.c - reading a file by position. */
#include "tensor/source.h"

#include "base/json.h"
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

static enum qk_code open_remote(const char *path, struct qk_source *source, struct qk_error *err)
{
    bool found;
    QK_TRY(qk_remote_open(path, &found, &source->remote, err));
    if (!found)
        return qk_fail(err, QK_IO, "%s: no such model, revision or file on the server", path);
    source->size = qk_remote_size(source->remote);
    return qk_strdup_to(&source->path, path, err);
}

enum qk_code qk_source_open(const char *path, struct qk_source *source, struct qk_error *err)
{
    *source = (struct qk_source){.fd = -1};
    if (qk_remote_has(path))
        return open_remote(path, source, err);
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
    return qk_source_read_on(source, offset, buffer, n, offset + n, err);
}

enum qk_code qk_source_read_on(const struct qk_source *source, uint64_t offset, void *buffer, size_t n,
    uint64_t limit, struct qk_error *err)
{
    size_t done = 0;
    if (source->remote != NULL)
        return qk_remote_read(source->remote, offset, buffer, n, limit, err);
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
    if (source->remote != NULL)
        return QK_OK;
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
    source->remote = NULL;
}

enum qk_code qk_source_exists(const char *path, bool *found, struct qk_error *err)
{
    struct stat info;
    struct qk_remote_file *file;
    if (qk_remote_has(path))
        return qk_remote_open(path, found, &file, err);
    *found = lstat(path, &info) == 0;
    return *found || errno == ENOENT ? QK_OK : qk_fail_errno(err, path, "examine");
}

static enum qk_code parse(const struct qk_source *source, size_t max_bytes, cJSON **out, struct qk_error *err)
{
    char *text;
    if (source->size > max_bytes)
        return qk_fail(err, QK_INPUT, "%s: too large (found %llu bytes, at most %zu)", source->path,
            (unsigned long long)source->size, max_bytes);
    size_t n = (size_t)source->size;
    QK_TRY(qk_alloc(&text, n + 1, 1, err));
    enum qk_code code = qk_source_read(source, 0, text, n, err);
    if (code == QK_OK)
        code = qk_json_parse(source->path, text, n, out, err);
    free(text);
    return code;
}

enum qk_code qk_source_json(const char *path, size_t max_bytes, cJSON **out, struct qk_error *err)
{
    struct qk_source source;
    *out = NULL;
    if (!qk_remote_has(path))
        return qk_json_read(path, max_bytes, out, err);
    QK_TRY(qk_source_open(path, &source, err));
    enum qk_code code = parse(&source, max_bytes, out, err);
    qk_source_close(&source);
    return code;
}
