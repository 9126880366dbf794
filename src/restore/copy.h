/* copy.h - writing files so that a name never stands for half a file: checked writes, fsync, rename. */
#ifndef QK_RESTORE_COPY_H
#define QK_RESTORE_COPY_H

#include "base/progress.h"
#include "tensor/source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All n bytes, whatever write(2) takes at a time. QK_IO names `path`. */
enum qk_code qk_write_all(int fd, const char *path, const void *bytes, size_t n, struct qk_error *err);

/* fsync and close, both checked; fd is closed in every case. */
enum qk_code qk_sync_close(int fd, const char *path, struct qk_error *err);

/* fsync of a folder, so that a rename in it outlives a crash. */
enum qk_code qk_sync_folder(const char *path, struct qk_error *err);

/* The same for the folder that `path` stands in. */
enum qk_code qk_sync_parent(const char *path, struct qk_error *err);

/* "a/b/" -> "a" and "b"; the parent of a bare name is ".". The caller frees both. */
enum qk_code qk_split_path(const char *path, char **parent, char **name, struct qk_error *err);

/* Creates a file (open for writing in *fd) or a folder beside `path`, named ".NAME.qkscope-PID-N": a name
 * that no checkpoint reader takes for a checkpoint. The caller frees *sibling. */
#define QK_SIBLING_MARK ".qkscope-"
enum qk_code qk_create_sibling(const char *path, bool folder, char **sibling, int *fd, struct qk_error *err);

/* Replaces the file `path` by this text: a temporary sibling, fsync, rename. */
enum qk_code qk_write_text(const char *path, const char *text, size_t n, struct qk_error *err);

/* Appends bytes [offset, offset + n) of source to fd (named `path` in messages), the cheapest way the file
 * systems offer: copy_file_range (which shares blocks where it can), else reads and large writes.
 * progress counts the bytes. */
enum qk_code qk_copy_range(const struct qk_source *source, uint64_t offset, uint64_t n, int fd,
    const char *path, struct qk_progress *progress, struct qk_error *err);

#endif
