/* cache.h - the folder for what can be made or fetched again. */
#ifndef QK_BASE_CACHE_H
#define QK_BASE_CACHE_H

#include "base/error.h"

/* *out = $XDG_CACHE_HOME/qkscope, else ~/.cache/qkscope, whether it exists or not; NULL when no variable
 * tells one. The caller frees. */
enum qk_code qk_cache_folder(char **out, struct qk_error *err);

/* Makes the folders above the file `path`, for the user alone; `path` is as it was afterwards unless that
 * fails (QK_IO). */
enum qk_code qk_make_folders(char *path, struct qk_error *err);

#endif
