/* blocks.c - a sparse file with a mark for each block. */
#include "tensor/hub/blocks.h"

#include "base/atomic_file.h"
#include "base/cache.h"
#include "base/digest.h"
#include "base/mem.h"
#include "base/read_file.h"
#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096 };

static enum qk_code write_at(
    const struct qk_blocks *blocks, uint64_t at, const void *bytes, size_t n, struct qk_error *err)
{
    return qk_write_at(blocks->fd, blocks->path, at, bytes, n, err);
}

static enum qk_code read_at(
    const struct qk_blocks *blocks, uint64_t at, void *buffer, size_t n, struct qk_error *err)
{
    return qk_read_at(blocks->fd, blocks->path, blocks->data + blocks->size, at, buffer, n, err);
}

/* Reads the marks of a valid file; begins any other anew. */
static enum qk_code load(struct qk_blocks *blocks, const char *text, size_t n, struct qk_error *err)
{
    struct stat info;
    if (fstat(blocks->fd, &info) != 0)
        return qk_fail_errno(err, blocks->path, "examine");
    char *found;
    QK_TRY(qk_alloc(&found, n + 1, 1, err));
    bool fits = (uint64_t)info.st_size == blocks->data + blocks->size &&
                read_at(blocks, 0, found, n, err) == QK_OK && memcmp(found, text, n) == 0 &&
                read_at(blocks, blocks->marks, blocks->whole, blocks->n, err) == QK_OK;
    free(found);
    for (size_t i = 0; fits && i < blocks->n; i++)
        fits = blocks->whole[i] <= 1;
    if (fits)
        return QK_OK;
    memset(blocks->whole, 0, blocks->n);
    if (ftruncate(blocks->fd, 0) != 0 || ftruncate(blocks->fd, (off_t)(blocks->data + blocks->size)) != 0)
        return qk_fail_errno(err, blocks->path, "write");
    return write_at(blocks, 0, text, n, err);
}

static enum qk_code open_file(struct qk_blocks *blocks, const char *text, size_t n, struct qk_error *err)
{
    QK_TRY(qk_make_folders(blocks->path, err));
    blocks->fd = open(blocks->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (blocks->fd < 0)
        return qk_fail_errno(err, blocks->path, "open");
    futimens(blocks->fd, NULL); /* used now, so not trimmed first */
    blocks->n = (size_t)((blocks->size + QK_BLOCK_BYTES - 1) / QK_BLOCK_BYTES);
    blocks->marks = n;
    blocks->data = (n + blocks->n + PAGE - 1) / PAGE * PAGE;
    QK_TRY(qk_alloc(&blocks->whole, blocks->n, 1, err));
    /* No other process may find the file half made. */
    while (flock(blocks->fd, LOCK_EX) != 0)
        if (errno != EINTR)
            return qk_fail_errno(err, blocks->path, "lock");
    enum qk_code code = load(blocks, text, n, err);
    flock(blocks->fd, LOCK_UN);
    return code;
}

enum qk_code qk_blocks_open(const char *folder, const char *url, const char *identity, uint64_t size,
    struct qk_blocks *blocks, struct qk_error *err)
{
    struct qk_text text = {0}, path = {0};
    struct qk_digest digest;
    char hex[QK_DIGEST_TEXT], *head;
    assert(size <= (uint64_t)1 << 40);
    *blocks = (struct qk_blocks){.fd = -1, .size = size};
    qk_text_add(&text, "qkscope blocks 1\n%s\n%s\n%llu\n", url, identity, (unsigned long long)size);
    size_t n = text.length;
    QK_TRY(qk_text_take(&text, &head, err));
    qk_digest_init(&digest);
    qk_digest_add(&digest, head, n);
    qk_digest_hex(&digest, hex);
    qk_text_add(&path, "%s/%s" QK_BLOCKS_SUFFIX, folder, hex);
    enum qk_code code = qk_text_take(&path, &blocks->path, err);
    if (code == QK_OK)
        code = open_file(blocks, head, n, err);
    free(head);
    if (code != QK_OK)
        qk_blocks_close(blocks);
    return code;
}

void qk_blocks_close(struct qk_blocks *blocks)
{
    if (blocks->fd >= 0)
        close(blocks->fd);
    free(blocks->path);
    free(blocks->whole);
    *blocks = (struct qk_blocks){.fd = -1};
}

enum qk_code qk_blocks_write(
    const struct qk_blocks *blocks, uint64_t offset, const void *bytes, size_t n, struct qk_error *err)
{
    return write_at(blocks, blocks->data + offset, bytes, n, err);
}

enum qk_code qk_blocks_read(
    const struct qk_blocks *blocks, uint64_t offset, void *buffer, size_t n, struct qk_error *err)
{
    return read_at(blocks, blocks->data + offset, buffer, n, err);
}

enum qk_code qk_blocks_mark(const struct qk_blocks *blocks, size_t first, size_t n, struct qk_error *err)
{
    unsigned char *marks;
    if (n == 0)
        return QK_OK;
    QK_TRY(qk_alloc(&marks, n, 1, err));
    memset(marks, 1, n);
    enum qk_code code = fdatasync(blocks->fd) == 0 ? write_at(blocks, blocks->marks + first, marks, n, err)
                                                   : qk_fail_errno(err, blocks->path, "sync");
    free(marks);
    return code;
}
