/* atomic_file.h - files that are written so that a name never stands for half a file: checked writes, fsync,
 * rename. */
#ifndef QK_BASE_ATOMIC_FILE_H
#define QK_BASE_ATOMIC_FILE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes all n bytes from offset `at` on, whatever pwrite(2) takes at a time. QK_IO names `path`. */
enum qk_code qk_write_at(
    int fd, const char *path, uint64_t at, const void *bytes, size_t n, struct qk_error *err);

/* Asks the kernel to begin writing these bytes to the disk, where it can. It waits for nothing and makes nothing
 * durable: fsync does, and then has less to do. */
void qk_start_writing(int fd, uint64_t at, uint64_t n);

/* Syncs and closes, both checked; fd is closed in every case. */
enum qk_code qk_sync_close(int fd, const char *path, struct qk_error *err);

/* Syncs a folder, so that a rename in it outlives a crash. */
enum qk_code qk_sync_folder(const char *path, struct qk_error *err);

/* The same for the folder of `path`. */
enum qk_code qk_sync_parent(const char *path, struct qk_error *err);

/* *out = the path without slashes at its end, which would make the system follow a link; the caller frees. */
enum qk_code qk_plain_path(const char *path, char **out, struct qk_error *err);
/* Splits "a/b/" into "a" and "b"; the parent of a bare name is ".". The caller frees both. */
enum qk_code qk_split_path(const char *path, char **parent, char **name, struct qk_error *err);

#define QK_SIBLING_MARK ".qkscope-"
/* *out = "PARENT/.NAME.qkscope-ENDING", with PARENT and NAME of qk_split_path; the caller frees. */
enum qk_code qk_sibling_path(
    const char *parent, const char *name, const char *ending, char **out, struct qk_error *err);

/* Creates a file (open for writing in *fd) or a folder (open in *fd) beside `path`, named ".NAME.qkscope-PID-N". No
 * checkpoint reader takes that name for a checkpoint. Until it is closed, *fd holds the lock that distinguishes it
 * from a left-over (left_over.h). The caller frees *sibling. */
enum qk_code qk_create_sibling(const char *path, bool folder, char **sibling, int *fd, struct qk_error *err);

/* Replaces the file `path` by this text: a temporary sibling, fsync, rename. It also removes what a killed write to
 * it left. */
enum qk_code qk_write_text(const char *path, const char *text, size_t n, struct qk_error *err);

#endif
