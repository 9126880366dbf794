/* copy.c - checked writes and copies. */
#include "restore/copy.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COPY_BLOCK = 4 << 20 }; /* also how often a copy asks whether to stop */

enum qk_code qk_write_all(int fd, const char *path, const void *bytes, size_t n, struct qk_error *err)
{
    const char *p = bytes;
    while (n > 0) {
        ssize_t written = write(fd, p, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return qk_fail_errno(err, path, "write");
        p += written;
        n -= (size_t)written;
    }
    return QK_OK;
}

enum qk_code qk_sync_close(int fd, const char *path, struct qk_error *err)
{
    enum qk_code code = QK_OK;
    /* Some file systems have no fsync for what they keep in memory only; nothing can be lost there. */
    if (fsync(fd) != 0 && errno != EINVAL && errno != EROFS)
        code = qk_fail_errno(err, path, "write");
    if (close(fd) != 0 && code == QK_OK)
        code = qk_fail_errno(err, path, "close");
    return code;
}

enum qk_code qk_sync_folder(const char *path, struct qk_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return qk_fail_errno(err, path, "open");
    return qk_sync_close(fd, path, err);
}

enum qk_code qk_split_path(const char *path, char **parent, char **name, struct qk_error *err)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t slash = n;
    while (slash > 0 && path[slash - 1] != '/')
        slash--;
    *name = NULL;
    if (slash == 0)
        QK_TRY(qk_strdup_to(parent, ".", err));
    else
        QK_TRY(qk_strndup_to(parent, path, slash == 1 ? 1 : slash - 1, err));
    enum qk_code code = qk_strndup_to(name, path + slash, n - slash, err);
    if (code != QK_OK) {
        free(*parent);
        *parent = NULL;
    }
    return code;
}

/* Names are tried one after the other: mkstemp and mkdtemp would make private files, whatever the umask. */
static enum qk_code create_first_free(
    const char *parent, const char *base, bool folder, char **name, int *fd, struct qk_error *err)
{
    enum { TRIES = 1000 };
    for (int i = 0; i < TRIES; i++) {
        struct qk_text text = {0};
        qk_text_add(&text, "%s/.%s%s%ld-%d", strcmp(parent, "/") == 0 ? "" : parent, base, QK_SIBLING_MARK,
            (long)getpid(), i);
        QK_TRY(qk_text_take(&text, name, err));
        *fd = -1;
        if (folder ? mkdir(*name, 0777) == 0
                   : (*fd = open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) >= 0)
            return QK_OK;
        bool taken = errno == EEXIST;
        enum qk_code code = taken ? QK_OK : qk_fail_errno(err, parent, "create a temporary name in");
        free(*name);
        *name = NULL;
        QK_TRY(code);
    }
    return qk_fail(err, QK_IO, "%s: no temporary name is free", parent);
}

enum qk_code qk_create_sibling(const char *path, bool folder, char **sibling, int *fd, struct qk_error *err)
{
    char *parent, *base;
    *sibling = NULL;
    QK_TRY(qk_split_path(path, &parent, &base, err));
    enum qk_code code = create_first_free(parent, base, folder, sibling, fd, err);
    free(parent);
    free(base);
    return code;
}

enum qk_code qk_sync_parent(const char *path, struct qk_error *err)
{
    char *parent, *base;
    QK_TRY(qk_split_path(path, &parent, &base, err));
    enum qk_code code = qk_sync_folder(parent, err);
    free(parent);
    free(base);
    return code;
}

enum qk_code qk_write_text(const char *path, const char *text, size_t n, struct qk_error *err)
{
    char *sibling;
    int fd;
    QK_TRY(qk_create_sibling(path, false, &sibling, &fd, err));
    enum qk_code code = qk_write_all(fd, path, text, n, err);
    if (code == QK_OK)
        code = qk_sync_close(fd, path, err);
    else
        close(fd);
    if (code == QK_OK && rename(sibling, path) != 0)
        code = qk_fail_errno(err, path, "write");
    if (code != QK_OK)
        unlink(sibling);
    free(sibling);
    return code == QK_OK ? qk_sync_parent(path, err) : code;
}

/* copy_file_range until it declines; *done bytes are copied. False: the rest must be read and written. */
static bool copy_in_kernel(const struct qk_source *source, uint64_t offset, uint64_t n, int fd,
    struct qk_progress *progress, uint64_t *done)
{
#ifdef HAVE_COPY_FILE_RANGE
    while (*done < n && qk_progress_check(progress, NULL) == QK_OK) {
        off_t from = (off_t)(offset + *done);
        uint64_t left = n - *done, step = left < 16 * (uint64_t)COPY_BLOCK ? left : 16 * (uint64_t)COPY_BLOCK;
        ssize_t copied = copy_file_range(source->fd, &from, fd, NULL, (size_t)step, 0);
        if (copied < 0 && errno == EINTR)
            continue;
        if (copied <= 0) /* an error (the plain way will name it), or the file became shorter */
            return false;
        *done += (uint64_t)copied;
        qk_progress_add(progress, (uint64_t)copied);
    }
    return true;
#else
    (void)source, (void)offset, (void)n, (void)fd, (void)progress, (void)done;
    return false;
#endif
}

enum qk_code qk_copy_range(const struct qk_source *source, uint64_t offset, uint64_t n, int fd,
    const char *path, struct qk_progress *progress, struct qk_error *err)
{
    uint64_t done = 0;
    QK_TRY(qk_progress_check(progress, err));
    if (copy_in_kernel(source, offset, n, fd, progress, &done))
        return qk_progress_check(progress, err);
    char *block;
    QK_TRY(qk_alloc_aligned(&block, COPY_BLOCK, 1, err));
    enum qk_code code = QK_OK;
    while (done < n && code == QK_OK) {
        size_t step = n - done < COPY_BLOCK ? (size_t)(n - done) : COPY_BLOCK;
        code = qk_progress_check(progress, err);
        if (code == QK_OK)
            code = qk_source_read(source, offset + done, block, step, err);
        if (code == QK_OK)
            code = qk_write_all(fd, path, block, step, err);
        if (code == QK_OK)
            qk_progress_add(progress, step);
        done += step;
    }
    free(block);
    return code;
}
