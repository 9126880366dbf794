/* blocks.h - the part of a remote file that was fetched so far, in a sparse file of the cache.
 *
 *   text: "qkscope blocks 2\nURL\nIDENTITY\nSIZE\n"  | a mark for each block | the file itself
 * A mark is the beginning of the block's SHA-256, or zero where the block is not there. The bytes of a block are on the
 * disk before its mark is set, so a run after a crash goes on with the file. A block that was damaged on the disk does
 * not have its mark. The name is a digest of the text: another state of a remote file is another file here. Several
 * processes may share one: it gets its name when it is whole, so they need no locks. */
#ifndef QK_TENSOR_HUB_BLOCKS_H
#define QK_TENSOR_HUB_BLOCKS_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum { QK_BLOCK_BYTES = 256 << 10, QK_BLOCK_MARK = 16 };

/* The end of the names of such files. */
#define QK_BLOCKS_SUFFIX ".blocks"

struct qk_blocks {
    char *path; /* owned */
    int fd;     /* -1 when closed */
    uint64_t size, marks,
        data;             /* size of the remote file; where the marks and its bytes begin in this file */
    unsigned char *whole; /* n: 1 where the file has a mark, 0, or what the user of this struct puts there */
    unsigned char (*mark)[QK_BLOCK_MARK]; /* n, as the file has them */
    size_t n;
};

/* Opens FOLDER/DIGEST.blocks, or makes it and the folders above. `size` is at most 2^40 (asserted). QK_IO. */
enum qk_code qk_blocks_open(const char *folder, const char *url, const char *identity, uint64_t size,
    struct qk_blocks *blocks, struct qk_error *err);
void qk_blocks_close(struct qk_blocks *blocks);

/* Bytes of block i: QK_BLOCK_BYTES, or fewer at the end of the file. */
size_t qk_block_bytes(const struct qk_blocks *blocks, size_t i);

/* Writes n bytes at `offset` of the remote file; QK_IO when the cache's disk is full, say. */
enum qk_code qk_blocks_write(
    const struct qk_blocks *blocks, uint64_t offset, const void *bytes, size_t n, struct qk_error *err);
enum qk_code qk_blocks_read(
    const struct qk_blocks *blocks, uint64_t offset, void *buffer, size_t n, struct qk_error *err);
/* Syncs the written blocks [first, first + n) and sets their marks (not `whole`). */
enum qk_code qk_blocks_mark(struct qk_blocks *blocks, size_t first, size_t n,
    const unsigned char (*mark)[QK_BLOCK_MARK], struct qk_error *err);
/* *good = whether block i has the bytes of its mark. A block that cannot be read is not good. QK_IO: memory. */
enum qk_code qk_blocks_check(const struct qk_blocks *blocks, size_t i, bool *good, struct qk_error *err);

#endif
