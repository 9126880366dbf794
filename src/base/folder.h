/* folder.h - the files of a folder: listed, measured, and removed. */
#ifndef QK_BASE_FOLDER_H
#define QK_BASE_FOLDER_H

#include "base/error.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct qk_file {
    char *name; /* relative to the folder; owned */
    bool is_folder;
    uint64_t bytes; /* 0 of a folder */
    mode_t mode;    /* permission bits */
};

struct qk_folder {
    struct qk_file *file;
    size_t n, capacity;
};

/* Lists the names of all entries of the folder `path` except "." and "..", sorted by strcmp; qk_lines_free frees
 * them. QK_IO names a folder that cannot be read; then there are no names. A missing folder sets *found to false and
 * is no failure; with `found` NULL it is QK_IO, too. */
enum qk_code qk_folder_names(const char *path, bool *found, struct qk_lines *names, struct qk_error *err);

/* An entry that is about to be listed. */
struct qk_entry {
    const char *name; /* relative to the folder */
    const char *path;
    bool is_folder, is_link; /* is_folder: also of a link that leads to one */
    uint64_t bytes;          /* of a file */
};
/* *taken = the entry is listed, and a folder entered; true before the call. */
typedef enum qk_code (*qk_folder_filter)(
    void *context, const struct qk_entry *entry, bool *taken, struct qk_error *err);

/* Lists the regular files of the folder `path`, sorted by strcmp of name; links are followed. With `deep` it lists
 * everything below the folder, a folder before its entries. QK_INPUT then names an entry that is neither a file nor a
 * folder, folders nested too deeply, a folder that links reach a second time, or more than QK_FOLDER_MOST entries.
 * QK_IO names what cannot be read. `filter`, unless NULL, decides about each entry first. */
enum { QK_FOLDER_MOST = 1 << 20 };
enum qk_code qk_folder_list(const char *path, bool deep, qk_folder_filter filter, void *context,
    struct qk_folder *folder, struct qk_error *err);
void qk_folder_free(struct qk_folder *folder);
/* The entry of that name, or NULL. */
const struct qk_file *qk_folder_find(const struct qk_folder *folder, const char *name);

/* Adds up the sizes of the files below a folder, or that of one file, and counts them. Links are not followed. What
 * cannot be examined counts as nothing. */
void qk_folder_size(const char *path, uint64_t *bytes, size_t *n_files);

/* Measures the bytes of the disk that a folder and all below it take (holes take none), and when any of it was last
 * written. Entries that cannot be examined are left out. Links are not followed. `path` may be a file. */
void qk_folder_measure(const char *path, uint64_t *bytes, time_t *changed);

/* Removes a folder, or a file, and all below it; links are removed, not followed. */
enum qk_code qk_folder_remove(const char *path, struct qk_error *err);

#endif
