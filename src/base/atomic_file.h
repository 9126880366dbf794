/* atomic_file.h - writing files so that a name never stands for half a file: checked writes, fsync, rename. */
#ifndef QK_BASE_ATOMIC_FILE_H
#define QK_BASE_ATOMIC_FILE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All n bytes from offset `at` on, whatever pwrite(2) takes at a time. QK_IO names `path`. */
enum qk_code qk_write_at(
    int fd, const char *path, uint64_t at, const void *bytes, size_t n, struct qk_error *err);

/* Tells the kernel to begin writing these bytes to the disk, where it can be told; waits for nothing, and
 * makes nothing durable: that is fsync's, which then finds less to do. */
void qk_start_writing(int fd, uint64_t at, uint64_t n);

/* fsync and close, both checked; fd is closed in every case. */
enum qk_code qk_sync_close(int fd, const char *path, struct qk_error *err);

/* fsync of a folder, so that a rename in it outlives a crash. */
enum qk_code qk_sync_folder(const char *path, struct qk_error *err);

/* The same for the folder that `path` stands in. */
enum qk_code qk_sync_parent(const char *path, struct qk_error *err);

/* "a/b/" -> "a" and "b"; the parent of a bare name is ".". The caller frees both. */
enum qk_code qk_split_path(const char *path, char **parent, char **name, struct qk_error *err);

#define QK_SIBLING_MARK ".qkscope-"
/* *out = "PARENT/.NAME.qkscope-ENDING", PARENT and NAME as of qk_split_path; the caller frees. */
enum qk_code qk_sibling_path(
    const char *parent, const char *name, const char *ending, char **out, struct qk_error *err);

/* Creates a file (open for writing in *fd) or a folder (open in *fd) beside `path`, named
 * ".NAME.qkscope-PID-N": a name that no checkpoint reader takes for a checkpoint. *fd holds the lock that
 * tells it from a left-over (left_over.h) until it is closed. The caller frees *sibling. */
enum qk_code qk_create_sibling(const char *path, bool folder, char **sibling, int *fd, struct qk_error *err);

/* Replaces the file `path` by this text: a temporary sibling, fsync, rename. What was left of a write to it
 * that was killed is removed. */
enum qk_code qk_write_text(const char *path, const char *text, size_t n, struct qk_error *err);

#endif
