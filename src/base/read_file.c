/* read_file.c - regular files: opened, read by position, and read whole. */
#include "base/read_file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* A link to nowhere is not a missing file to the person who sees it in its folder. */
static enum qk_code fail_open(const char *path, struct qk_error *err)
{
    char target[256];
    int number = errno;
    ssize_t n = number == ENOENT ? readlink(path, target, sizeof target - 1) : -1;
    if (n > 0)
        return qk_fail(
            err, QK_IO, "%s: cannot open: it is a link to %.*s, which is not there", path, (int)n, target);
    errno = number;
    return qk_fail_errno(err, path, "open");
}

enum qk_code qk_open_regular(const char *path, int *fd, struct stat *info, struct qk_error *err)
{
    /* O_NONBLOCK: opening a FIFO must not hang. */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return fail_open(path, err);
    enum qk_code code = QK_OK;
    if (fstat(*fd, info) != 0)
        code = qk_fail_errno(err, path, "examine");
    else if (!S_ISREG(info->st_mode))
        code = qk_fail(err, QK_INPUT, "%s: not a regular file", path);
    if (code != QK_OK) {
        close(*fd);
        *fd = -1;
    }
    return code;
}

enum qk_code qk_read_at(
    int fd, const char *path, uint64_t size, uint64_t at, void *bytes, size_t n, struct qk_error *err)
{
    char *p = bytes;
    while (n > 0) {
        ssize_t got = pread(fd, p, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return qk_fail_errno(err, path, "read");
        if (got == 0)
            return qk_fail(err, QK_IO,
                "%s: became shorter while it was read (found %llu bytes, expected %llu)", path,
                (unsigned long long)at, (unsigned long long)size);
        p += got;
        at += (uint64_t)got;
        n -= (size_t)got;
    }
    return QK_OK;
}

static enum qk_code read_open_file(
    int fd, const char *path, uint64_t size, size_t most, char **out, struct qk_error *err)
{
    if (size > most)
        return qk_fail(err, QK_INPUT, "%s: too large (found %llu bytes, at most %zu)", path,
            (unsigned long long)size, most);
    QK_TRY(qk_alloc(out, (size_t)size + 1, 1, err));
    return qk_read_at(fd, path, size, 0, *out, (size_t)size, err);
}

enum qk_code qk_read_file(const char *path, size_t most, char **out, size_t *n, struct qk_error *err)
{
    struct stat info;
    int fd;
    *out = NULL;
    QK_TRY(qk_open_regular(path, &fd, &info, err));
    enum qk_code code = read_open_file(fd, path, (uint64_t)info.st_size, most, out, err);
    close(fd);
    *n = (size_t)info.st_size;
    if (code != QK_OK) {
        free(*out);
        *out = NULL;
    }
    return code;
}

enum qk_code qk_check_stand_in(const char *path, const char *bytes, size_t n, struct qk_error *err)
{
    static const char pointer[] = "version https://git-lfs.github.com/spec/";
    static const char *const pages[] = {"<!doctype", "<html", "<head", "<?xml"};
    if (n >= sizeof pointer - 1 && memcmp(bytes, pointer, sizeof pointer - 1) == 0)
        return qk_fail(
            err, QK_INPUT, "%s: a Git LFS pointer, not the file itself: \"git lfs pull\" fetches that", path);
    size_t at = 0;
    while (at < n && strchr("\xef\xbb\xbf \t\r\n", bytes[at]) != NULL && bytes[at] != '\0')
        at++;
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++)
        if (n - at >= strlen(pages[i]) && strncasecmp(bytes + at, pages[i], strlen(pages[i])) == 0)
            return qk_fail(err, QK_INPUT,
                "%s: a web page, not the file itself: a server answered the download with it", path);
    return QK_OK;
}
