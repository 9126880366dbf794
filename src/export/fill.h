/* fill.h - new files of any size, filled with parts of old ones and computed parts: on all processors, in bounded
 * memory, each file synced. Their content does not depend on the processors.
 *
 * Files share blocks with the old file where the file system can (FICLONE). Else the kernel copies (copy_file_range),
 * and holes stay holes; else bytes are read and written. Writing to the disk begins with every part at once
 * (sync_file_range), so that fsync, at the end of a file, has little to do. */
#ifndef QK_EXPORT_FILL_H
#define QK_EXPORT_FILL_H

#include "base/progress.h"
#include "tensor/source.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Makes the n bytes of part number `part`. Several threads call it at once, for different parts. */
typedef enum qk_code (*qk_fill_make)(
    void *context, size_t part, void *bytes, size_t n, struct qk_progress *progress, struct qk_error *err);

struct qk_fill_part {
    size_t file, number; /* number: the caller's, for made parts */
    uint64_t at, n;
    uint64_t memory; /* bytes in memory while it is made; 0: it is copied */
};
struct qk_fill_file {
    char *path; /* owned */
    char *from; /* NULL, or the old file, opened for its own parts alone; owned */
    mode_t mode;
    uint64_t bytes, covered; /* covered: bytes that already have their parts */
    const struct qk_source *source;
    struct qk_fill_state *state; /* state while it is filled */
};
/* Zero-initialise, set make and context; freed with qk_fill_free in every case. */
struct qk_fill {
    qk_fill_make make;
    void *context; /* passed to make */
    struct qk_fill_file *file;
    struct qk_fill_part *part;
    size_t n_files, files_capacity, n_parts, parts_capacity;
};

/* Adds a file to create, and to fill with the same bytes of `source` (borrowed; NULL when all parts are made). */
enum qk_code qk_fill_add_file(struct qk_fill *fill, const char *path, mode_t mode, uint64_t bytes,
    const struct qk_source *source, struct qk_error *err);

/* The same for a file that is not open: it is opened with its first part and closed with its last, so that few are open
 * at once. QK_IO when it has another size then, or changes meanwhile. */
enum qk_code qk_fill_add_closed(struct qk_fill *fill, const char *path, mode_t mode, uint64_t bytes,
    const char *from, struct qk_error *err);

/* Adds a made part, bytes [at, at + n) of the file that was added last: make is called with `number`. Parts are added
 * in the order of `at`. `scratch` is the memory that making takes beside the n bytes. No more than 192 MiB are made
 * at once, or one part. */
enum qk_code qk_fill_add_made(
    struct qk_fill *fill, uint64_t at, uint64_t n, uint64_t scratch, size_t number, struct qk_error *err);

/* Creates and fills the files; progress counts bytes. It ends at the first failure, that of the first part that
 * fails, and leaves the files as they are then. QK_IO names the file. */
enum qk_code qk_fill_run(struct qk_fill *fill, struct qk_progress *progress, struct qk_error *err);

void qk_fill_free(struct qk_fill *fill);

#endif
