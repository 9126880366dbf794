/* copy_range.c - copies inside the kernel where it can make them, and by blocks elsewhere. */
#include "export/copy_range.h"

#include "base/atomic_file.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { COPY_BLOCK = 4 << 20 }; /* a copy checks after each whether to stop */

/* Copies with copy_file_range until it declines; *at..end is left. */
static void copy_in_kernel(
    const struct qk_source *source, uint64_t *at, uint64_t end, int fd, struct qk_progress *progress)
{
#ifdef HAVE_COPY_FILE_RANGE
    while (*at < end && qk_progress_check(progress, NULL) == QK_OK) {
        off_t from = (off_t)*at, to = (off_t)*at;
        uint64_t left = end - *at, step = left < 4 * (uint64_t)COPY_BLOCK ? left : 4 * (uint64_t)COPY_BLOCK;
        ssize_t copied = copy_file_range(source->fd, &from, fd, &to, (size_t)step, 0);
        if (copied < 0 && errno == EINTR)
            continue;
        if (copied <= 0) /* an error (the plain copy reports it), or the file became shorter */
            return;
        *at += (uint64_t)copied;
    }
#else
    (void)source, (void)at, (void)end, (void)fd, (void)progress;
#endif
}

/* Finds the next data in [*at, end), from *at to *data_end; false without any. All is data where the file system
 * knows no holes, or where the search fails. */
static bool find_data(const struct qk_source *source, uint64_t *at, uint64_t end, uint64_t *data_end)
{
    *data_end = end;
#if defined SEEK_DATA && defined SEEK_HOLE
    off_t data = lseek(source->fd, (off_t)*at, SEEK_DATA);
    if (data < 0)
        return errno != ENXIO; /* behind the last data */
    if ((uint64_t)data >= end)
        return false;
    *at = (uint64_t)data;
    off_t hole = lseek(source->fd, data, SEEK_HOLE);
    if (hole > data && (uint64_t)hole < end)
        *data_end = (uint64_t)hole;
#endif
    return true;
}

static enum qk_code copy_data(const struct qk_source *source, uint64_t at, uint64_t end, int fd,
    const char *path, struct qk_progress *progress, struct qk_error *err)
{
    copy_in_kernel(source, &at, end, fd, progress);
    if (at == end)
        return QK_OK;
    char *block;
    QK_TRY(qk_alloc_aligned(&block, COPY_BLOCK, 1, err));
    enum qk_code code = QK_OK;
    while (at < end && code == QK_OK) {
        size_t step = end - at < COPY_BLOCK ? (size_t)(end - at) : COPY_BLOCK;
        code = qk_progress_check(progress, err);
        if (code == QK_OK)
            code = qk_source_read(source, at, block, step, err);
        if (code == QK_OK)
            code = qk_write_at(fd, path, at, block, step, err);
        at += step;
    }
    free(block);
    return code;
}

enum qk_code qk_copy_range(const struct qk_source *source, uint64_t at, uint64_t n, int fd, const char *path,
    struct qk_progress *progress, struct qk_error *err)
{
    uint64_t end = at + n, data_end;
    while (at < end && find_data(source, &at, end, &data_end)) {
        QK_TRY(copy_data(source, at, data_end, fd, path, progress, err));
        at = data_end;
    }
    return QK_OK;
}
