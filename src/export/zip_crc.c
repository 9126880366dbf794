/* zip_crc.c - the sums of changed zip entries: found, computed and written. */
#include "export/zip_crc.h"

#include "base/atomic_file.h"
#include "base/mem.h"
#include "tensor/torch/zip.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static uint32_t number(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* An entry whose header was written before its data has zeros there, and its sum behind the data, with or without a
 * signature before it. */
static enum qk_code find_places(const struct qk_source *source, const struct qk_zip_entry *entry,
    struct qk_sum *sum, struct qk_error *err)
{
    enum { DESCRIBED = 1 << 3, SUM_IN_HEADER = 14, SIGNATURE = 0x08074b50 };
    unsigned char in_header[4], behind[8];
    uint64_t end = entry->at + entry->stored;
    *sum = (struct qk_sum){entry->at, entry->bytes, {entry->crc_at}, 1};
    QK_TRY(qk_source_read(source, entry->header + SUM_IN_HEADER, in_header, sizeof in_header, err));
    if ((entry->flags & DESCRIBED) == 0 || number(in_header) != 0)
        sum->place[sum->n_places++] = entry->header + SUM_IN_HEADER;
    if ((entry->flags & DESCRIBED) == 0)
        return QK_OK;
    /* The directory and its end follow, so 8 bytes exist. */
    QK_TRY(qk_source_read(source, end, behind, sizeof behind, err));
    if (number(behind) == SIGNATURE && number(behind + 4) == entry->crc)
        sum->place[sum->n_places++] = end + 4;
    else if (number(behind) == entry->crc)
        sum->place[sum->n_places++] = end;
    return QK_OK;
}

enum qk_code qk_sums_find(const struct qk_checkpoint *post, int shard, const struct qk_change *change,
    size_t n, struct qk_sum **out, size_t *n_out, struct qk_error *err)
{
    const struct qk_tensor_file *file = &post->shard[shard].file;
    struct qk_zip zip = {0};
    *n_out = 0;
    QK_TRY(qk_alloc(out, n, sizeof **out, err));
    enum qk_code code = file->format == QK_FORMAT_TORCH ? qk_zip_open(&file->source, &zip, err) : QK_OK;
    for (size_t i = 0; zip.n > 0 && i < n && code == QK_OK; i++) {
        const struct qk_tensor *tensor = change[i].tensor;
        if (tensor->shard != shard || tensor->bytes == 0)
            continue;
        const struct qk_zip_entry *entry = qk_zip_at(&zip, tensor->offset);
        if (entry == NULL)
            code = qk_fail(
                err, QK_IO, "%s: was changed by another program while it was read", file->source.path);
        else if (*n_out == 0 || (*out)[*n_out - 1].at != entry->at)
            code = find_places(&file->source, entry, &(*out)[(*n_out)++], err);
    }
    qk_zip_free(&zip);
    if (code != QK_OK) {
        free(*out);
        *out = NULL;
    }
    return code;
}

enum qk_code qk_sum_compute(const struct qk_source *file, const struct qk_sum *sum,
    struct qk_progress *progress, uint32_t *crc, struct qk_error *err)
{
    enum { PIECE = 1 << 20 };
    unsigned char *piece;
    uLong value = crc32(0, NULL, 0);
    QK_TRY(qk_alloc_aligned(&piece, PIECE, 1, err));
    enum qk_code code = QK_OK;
    for (uint64_t done = 0; done < sum->bytes && code == QK_OK;) {
        size_t n = sum->bytes - done < PIECE ? (size_t)(sum->bytes - done) : PIECE;
        code = qk_progress_check(progress, err);
        if (code == QK_OK)
            code = qk_source_read(file, sum->at + done, piece, n, err);
        if (code == QK_OK)
            value = crc32(value, piece, (uInt)n);
        done += n;
    }
    free(piece);
    *crc = (uint32_t)value;
    return code;
}

static enum qk_code mend(const struct qk_source *file, int fd, const struct qk_sum *sum,
    struct qk_progress *progress, struct qk_error *err)
{
    uint32_t crc = 0;
    QK_TRY(qk_sum_compute(file, sum, progress, &crc, err));
    /* Little-endian, as all machines for which this is built. */
    for (int i = 0; i < sum->n_places; i++)
        QK_TRY(qk_write_at(fd, file->path, sum->place[i], &crc, sizeof crc, err));
    return QK_OK;
}

/* Makes a copy writable: it has post's rights, which may forbid even its owner to write. *mode = its rights
 * before. */
static enum qk_code open_for_writing(
    const struct qk_source *file, int *fd, mode_t *mode, struct qk_error *err)
{
    struct stat info;
    if (fstat(file->fd, &info) != 0)
        return qk_fail_errno(err, file->path, "examine");
    *mode = info.st_mode & 07777;
    if ((*mode & S_IWUSR) == 0 && fchmod(file->fd, *mode | S_IWUSR) != 0)
        return qk_fail_errno(err, file->path, "write");
    *fd = open(file->path, O_WRONLY | O_CLOEXEC);
    return *fd >= 0 ? QK_OK : qk_fail_errno(err, file->path, "write");
}

static enum qk_code mend_all(const struct qk_source *file, const struct qk_sum *sum, size_t n,
    struct qk_progress *progress, struct qk_error *err)
{
    int fd = -1;
    mode_t mode = 0;
    QK_TRY(open_for_writing(file, &fd, &mode, err));
    enum qk_code code = QK_OK;
    for (size_t i = 0; i < n && code == QK_OK; i++)
        code = mend(file, fd, &sum[i], progress, err);
    if (code == QK_OK && (mode & S_IWUSR) == 0 && fchmod(fd, mode) != 0)
        code = qk_fail_errno(err, file->path, "write");
    if (code == QK_OK)
        return qk_sync_close(fd, file->path, err);
    close(fd);
    return code;
}

enum qk_code qk_sums_mend(
    const char *path, const struct qk_sum *sum, size_t n, struct qk_progress *progress, struct qk_error *err)
{
    struct qk_source file;
    if (n == 0)
        return QK_OK;
    QK_TRY(qk_source_open(path, &file, err));
    enum qk_code code = mend_all(&file, sum, n, progress, err);
    qk_source_close(&file);
    return code;
}
