/* source.c - a file that is read by position. */
#include "tensor/source.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/read_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static enum qk_code open_local(const char *path, struct qk_source *source, struct qk_error *err)
{
    struct stat info;
    QK_TRY(qk_open_regular(path, &source->fd, &info, err));
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
    enum qk_code code = qk_remote_has(path) ? open_remote(path, source, err) : open_local(path, source, err);
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
    if (source->remote != NULL)
        return qk_remote_read(source->remote, offset, buffer, n, limit, err);
    return qk_read_at(source->fd, source->path, source->size, offset, buffer, n, err);
}

/* The system takes no more than its own window of what one call asks for. */
enum { WINDOW = 1 << 17 };

void qk_source_expect(const struct qk_source *source, uint64_t offset, uint64_t n)
{
    for (uint64_t at = 0; source->remote == NULL && at < n; at += WINDOW)
        posix_fadvise(source->fd, (off_t)(offset + at), (off_t)(n - at < WINDOW ? n - at : WINDOW),
            POSIX_FADV_WILLNEED);
}

enum qk_code qk_source_whole(
    const struct qk_source *source, size_t most, char **out, size_t *n, struct qk_error *err)
{
    *out = NULL;
    *n = (size_t)source->size;
    if (source->size > most)
        return qk_fail(err, QK_INPUT, "%s: too large (found %llu bytes, at most %zu)", source->path,
            (unsigned long long)source->size, most);
    QK_TRY(qk_alloc(out, *n + 1, 1, err));
    enum qk_code code = qk_source_read(source, 0, *out, *n, err);
    if (code != QK_OK) {
        free(*out);
        *out = NULL;
    }
    return code;
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

enum qk_code qk_source_json(const char *path, size_t max_bytes, cJSON **out, struct qk_error *err)
{
    struct qk_source source;
    char *text;
    size_t n;
    *out = NULL;
    QK_TRY(qk_source_open(path, &source, err));
    enum qk_code code = qk_source_whole(&source, max_bytes, &text, &n, err);
    if (code == QK_OK)
        code = qk_json_parse(path, text, n, out, err);
    free(text);
    qk_source_close(&source);
    return code;
}
