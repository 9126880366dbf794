/* read_file.h - regular files: opened, read by position, and read whole. */
#ifndef QK_BASE_READ_FILE_H
#define QK_BASE_READ_FILE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* Opens a file for reading and examines it. QK_IO when that fails, and QK_INPUT when it is not a regular file; then
 * nothing is open, and *fd is -1. Opening never waits. */
enum qk_code qk_open_regular(const char *path, int *fd, struct stat *info, struct qk_error *err);

/* Reads exactly n bytes from offset `at` on, whatever pread(2) gives at a time. QK_IO names `path` on a read error,
 * and when the file, which had `size` bytes at its opening, ends early. Safe from several threads at once. */
enum qk_code qk_read_at(
    int fd, const char *path, uint64_t size, uint64_t at, void *bytes, size_t n, struct qk_error *err);

/* *out = the whole of a regular file, *n bytes and a NUL behind them; the caller frees. QK_INPUT when it has more
 * than `most` bytes, else the codes of the two functions above; *out is NULL then. */
enum qk_code qk_read_file(const char *path, size_t most, char **out, size_t *n, struct qk_error *err);

/* QK_INPUT when the n bytes, with which the file begins, are what downloads leave in place of a file: the pointer of
 * Git LFS, or a page of HTML or XML. */
enum qk_code qk_check_stand_in(const char *path, const char *bytes, size_t n, struct qk_error *err);
enum { QK_STAND_IN_BYTES = 64 }; /* as many of them tell */

#endif
