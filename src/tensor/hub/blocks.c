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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* Reads the marks. False where the file is not one of this text and size. */
static bool load(struct qk_blocks *blocks, const char *text, size_t n)
{
    static const unsigned char none[QK_BLOCK_MARK];
    struct stat info;
    char *found;
    if (fstat(blocks->fd, &info) != 0 || (uint64_t)info.st_size != blocks->data + blocks->size ||
        qk_alloc(&found, n + 1, 1, NULL) != QK_OK)
        return false;
    bool fits = read_at(blocks, 0, found, n, NULL) == QK_OK && memcmp(found, text, n) == 0 &&
                read_at(blocks, blocks->marks, blocks->mark, blocks->n * QK_BLOCK_MARK, NULL) == QK_OK;
    free(found);
    for (size_t i = 0; i < blocks->n && fits; i++)
        blocks->whole[i] = memcmp(blocks->mark[i], none, QK_BLOCK_MARK) != 0;
    return fits;
}

/* Makes a file without blocks under a name of its own, which then takes the place of any other. A process that has that
 * one open goes on with it. */
static enum qk_code make(struct qk_blocks *blocks, const char *text, size_t n, struct qk_error *err)
{
    struct qk_text name = {0};
    char *temporary;
    memset(blocks->mark, 0, blocks->n * QK_BLOCK_MARK);
    qk_text_add_bytes(&name, blocks->path, strlen(blocks->path) - strlen(QK_BLOCKS_SUFFIX));
    qk_text_add(
        &name, "-XXXXXX%s", QK_BLOCKS_SUFFIX); /* what is left of a process that was killed is trimmed */
    QK_TRY(qk_text_take(&name, &temporary, err));
    blocks->fd = mkostemps(temporary, (int)strlen(QK_BLOCKS_SUFFIX), O_CLOEXEC);
    enum qk_code code = blocks->fd >= 0 ? QK_OK : qk_fail_errno(err, temporary, "create");
    if (code == QK_OK && ftruncate(blocks->fd, (off_t)(blocks->data + blocks->size)) != 0)
        code = qk_fail_errno(err, temporary, "write");
    if (code == QK_OK)
        code = write_at(blocks, 0, text, n, err);
    if (code == QK_OK && rename(temporary, blocks->path) != 0)
        code = qk_fail_errno(err, blocks->path, "create");
    if (code != QK_OK && blocks->fd >= 0)
        unlink(temporary);
    free(temporary);
    return code;
}

static enum qk_code open_file(struct qk_blocks *blocks, const char *text, size_t n, struct qk_error *err)
{
    QK_TRY(qk_make_folders(blocks->path, err));
    blocks->n = (size_t)((blocks->size + QK_BLOCK_BYTES - 1) / QK_BLOCK_BYTES);
    blocks->marks = n;
    blocks->data = (n + blocks->n * QK_BLOCK_MARK + PAGE - 1) / PAGE * PAGE;
    QK_TRY(qk_alloc(&blocks->whole, blocks->n, 1, err));
    QK_TRY(qk_alloc(&blocks->mark, blocks->n, sizeof *blocks->mark, err));
    blocks->fd = open(blocks->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (blocks->fd < 0 && errno != ENOENT)
        return qk_fail_errno(err, blocks->path, "open");
    if (blocks->fd >= 0) {
        futimens(blocks->fd, NULL); /* used now, so not trimmed first */
        if (load(blocks, text, n))
            return QK_OK;
        close(blocks->fd);
        blocks->fd = -1;
        memset(blocks->whole, 0, blocks->n);
    }
    return make(blocks, text, n, err);
}

enum qk_code qk_blocks_open(const char *folder, const char *url, const char *identity, uint64_t size,
    struct qk_blocks *blocks, struct qk_error *err)
{
    struct qk_text text = {0}, path = {0};
    struct qk_digest digest;
    char hex[QK_DIGEST_TEXT], *head;
    assert(size <= (uint64_t)1 << 40);
    *blocks = (struct qk_blocks){.fd = -1, .size = size};
    qk_text_add(&text, "qkscope blocks 2\n%s\n%s\n%llu\n", url, identity, (unsigned long long)size);
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
    free(blocks->mark);
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

enum qk_code qk_blocks_mark(struct qk_blocks *blocks, size_t first, size_t n,
    const unsigned char (*mark)[QK_BLOCK_MARK], struct qk_error *err)
{
    if (n == 0)
        return QK_OK;
    if (fdatasync(blocks->fd) != 0)
        return qk_fail_errno(err, blocks->path, "sync");
    memcpy(blocks->mark[first], mark, n * QK_BLOCK_MARK);
    return write_at(blocks, blocks->marks + first * QK_BLOCK_MARK, mark, n * QK_BLOCK_MARK, err);
}

size_t qk_block_bytes(const struct qk_blocks *blocks, size_t i)
{
    uint64_t left = blocks->size - (uint64_t)i * QK_BLOCK_BYTES;
    return left < QK_BLOCK_BYTES ? (size_t)left : QK_BLOCK_BYTES;
}

enum qk_code qk_blocks_check(const struct qk_blocks *blocks, size_t i, bool *good, struct qk_error *err)
{
    unsigned char found[QK_BLOCK_MARK];
    struct qk_digest digest;
    size_t n = qk_block_bytes(blocks, i);
    void *bytes;
    *good = false;
    QK_TRY(qk_alloc(&bytes, n, 1, err));
    if (qk_blocks_read(blocks, (uint64_t)i * QK_BLOCK_BYTES, bytes, n, NULL) == QK_OK) {
        qk_digest_init(&digest);
        qk_digest_add(&digest, bytes, n);
        qk_digest_bytes(&digest, found, sizeof found);
        *good = memcmp(found, blocks->mark[i], sizeof found) == 0;
    }
    free(bytes);
    return QK_OK;
}
