/* source.h - a file of this machine or the hub, opened for reading by position: never mapped, never written.
 *
 * A mapping would turn a file that another program cuts short into SIGBUS; pread turns it into an error. */
#ifndef QK_TENSOR_SOURCE_H
#define QK_TENSOR_SOURCE_H

#include "base/error.h"
#include "tensor/hub/remote.h"

#include <cjson/cJSON.h>
#include <stdint.h>
#include <sys/stat.h>

struct qk_source {
    char *path;                    /* owned */
    int fd;                        /* -1 when closed, and for a remote file */
    struct qk_remote_file *remote; /* NULL: a file of this machine; else the fields behind `size` are 0 */
    uint64_t size;
    struct timespec modified, changed; /* times of the last change of content; of content, name or rights */
    dev_t device;
    ino_t inode;
};

/* Opens a regular file read-only (QK_IO when that fails, QK_INPUT when it is not a regular file), or a remote
 * one (codes as in tensor/hub/http.h). */
enum qk_code qk_source_open(const char *path, struct qk_source *source, struct qk_error *err);
/* Reads exactly n bytes at offset. QK_IO on a read error or when the file ended early ("... became shorter while it
 * was read (found N bytes, expected M)"). Safe from several threads at once. */
enum qk_code qk_source_read(
    const struct qk_source *source, uint64_t offset, void *buffer, size_t n, struct qk_error *err);
/* The same for a reader who will go on to `limit`: bytes of a remote file up to there may be fetched along. */
enum qk_code qk_source_read_on(const struct qk_source *source, uint64_t offset, void *buffer, size_t n,
    uint64_t limit, struct qk_error *err);
/* Asks the system to have n bytes at offset in memory soon, without waiting. Nothing for a remote file. */
void qk_source_expect(const struct qk_source *source, uint64_t offset, uint64_t n);
/* *out = the whole file, *n bytes and a NUL behind them; the caller frees. QK_INPUT when there are more than
 * `most`. */
enum qk_code qk_source_whole(
    const struct qk_source *source, size_t most, char **out, size_t *n, struct qk_error *err);
/* QK_IO when size or modification time changed since it was opened. For a remote file, every answer was checked when
 * it came. */
enum qk_code qk_source_unchanged(const struct qk_source *source, struct qk_error *err);
void qk_source_close(struct qk_source *source);

/* *found = the name exists (also as a link that leads nowhere). QK_IO when that cannot be examined. */
enum qk_code qk_source_exists(const char *path, bool *found, struct qk_error *err);
/* qk_json_read for either kind of file; cJSON_Delete frees. */
enum qk_code qk_source_json(const char *path, size_t max_bytes, cJSON **out, struct qk_error *err);

#endif
