/* cache.h - the program's own folders: one for data that can be made or fetched again, one for unsaved choices. */
#ifndef QK_BASE_CACHE_H
#define QK_BASE_CACHE_H

#include "base/error.h"

#include <stdint.h>

/* *out = $XDG_CACHE_HOME/qkscope, else ~/.cache/qkscope, whether it exists or not; NULL when no variable is set. The
 * caller frees. */
enum qk_code qk_cache_folder(char **out, struct qk_error *err);

/* The same of $XDG_STATE_HOME/qkscope, else ~/.local/state/qkscope. */
enum qk_code qk_state_folder(char **out, struct qk_error *err);

/* *out = the path of `name` in the folder of qk_cache_folder; NULL when no variable is set. The caller frees. */
enum qk_code qk_cache_path(const char *name, char **out, struct qk_error *err);

/* Makes the folders above the file `path`, for the user alone. QK_IO; `path` is unchanged afterwards unless that
 * fails. */
enum qk_code qk_make_folders(char *path, struct qk_error *err);

/* Removes files of the folder whose names end in `suffix`, the one written or touched longest ago first. It stops
 * when the others take at most `most` bytes of the disk (holes take none). Files that cannot be read or removed stay.
 * A file that a process has open stays readable to it. */
void qk_cache_trim(const char *folder, const char *suffix, uint64_t most);
/* The same of the folder that holds the file `path`, which is unchanged afterwards. */
void qk_cache_trim_beside(char *path, const char *suffix, uint64_t most);

#endif
