/* atomic_file.c - checked writes, and temporary siblings that are renamed. */
#include "base/atomic_file.h"

#include "base/left_over.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum qk_code qk_write_at(
    int fd, const char *path, uint64_t at, const void *bytes, size_t n, struct qk_error *err)
{
    const char *p = bytes;
    while (n > 0) {
        ssize_t written = pwrite(fd, p, n, (off_t)at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return qk_fail_errno(err, path, "write");
        p += written;
        at += (uint64_t)written;
        n -= (size_t)written;
    }
    return QK_OK;
}

void qk_start_writing(int fd, uint64_t at, uint64_t n)
{
#ifdef HAVE_SYNC_FILE_RANGE
    sync_file_range(fd, (off_t)at, (off_t)n, SYNC_FILE_RANGE_WRITE); /* fsync does what it cannot do */
#else
    (void)fd, (void)at, (void)n;
#endif
}

enum qk_code qk_sync_close(int fd, const char *path, struct qk_error *err)
{
    enum qk_code code = QK_OK;
    /* Some file systems have no fsync because they keep files in memory alone, where nothing can be lost. */
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

static size_t without_slashes(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    return n;
}

enum qk_code qk_plain_path(const char *path, char **out, struct qk_error *err)
{
    return qk_strndup_to(out, path, without_slashes(path), err);
}

enum qk_code qk_split_path(const char *path, char **parent, char **name, struct qk_error *err)
{
    size_t n = without_slashes(path);
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

/* Makes a sibling and locks it. Another process may remove it as a left-over in between: then the name counts as
 * taken (EEXIST). Where there are no locks, no process removes left-overs. After a failure nothing is left, and errno
 * says why. */
static bool make_and_hold(const char *path, bool folder, int *fd)
{
    struct stat opened, named;
    *fd = -1;
    if (folder && mkdir(path, 0777) != 0)
        return false;
    *fd = folder ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                 : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (*fd < 0) {
        int reason = errno;
        if (folder)
            rmdir(path);
        errno = folder && reason == ENOENT ? EEXIST : reason;
        return false;
    }
    flock(*fd, LOCK_EX);
    bool known = fstat(*fd, &opened) == 0 && lstat(path, &named) == 0;
    if (known && opened.st_ino == named.st_ino && opened.st_dev == named.st_dev)
        return true;
    int reason = known || errno == ENOENT ? EEXIST : errno;
    if (!known && reason != EEXIST)
        (void)(folder ? rmdir(path) : unlink(path)); /* its owner is not known now, but it is empty */
    close(*fd);
    *fd = -1;
    errno = reason;
    return false;
}

enum qk_code qk_sibling_path(
    const char *parent, const char *name, const char *ending, char **out, struct qk_error *err)
{
    struct qk_text text = {0};
    qk_text_add(&text, "%s/.%s%s%s", strcmp(parent, "/") == 0 ? "" : parent, name, QK_SIBLING_MARK, ending);
    return qk_text_take(&text, out, err);
}

/* Tries names one after the other: mkstemp and mkdtemp make private files, whatever the umask. */
static enum qk_code create_first_free(
    const char *parent, const char *base, bool folder, char **name, int *fd, struct qk_error *err)
{
    enum { TRIES = 1000 };
    for (int i = 0; i < TRIES; i++) {
        char ending[48]; /* two numbers and a dash */
        snprintf(ending, sizeof ending, "%ld-%d", (long)getpid(), i);
        QK_TRY(qk_sibling_path(parent, base, ending, name, err));
        if (make_and_hold(*name, folder, fd))
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
    QK_TRY(qk_left_overs_clear(path, err));
    QK_TRY(qk_create_sibling(path, false, &sibling, &fd, err));
    /* Closing may fail, and must not release the lock before the file has its name. */
    int lock = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    enum qk_code code = qk_write_at(fd, path, 0, text, n, err);
    if (code == QK_OK)
        code = qk_sync_close(fd, path, err);
    else
        close(fd);
    if (code == QK_OK && rename(sibling, path) != 0)
        code = qk_fail_errno(err, path, "write");
    if (code != QK_OK)
        unlink(sibling);
    if (lock >= 0)
        close(lock);
    free(sibling);
    return code == QK_OK ? qk_sync_parent(path, err) : code;
}
