/* cache.c - where the cache is. */
#include "base/cache.h"

#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum qk_code qk_cache_folder(char **out, struct qk_error *err)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    struct qk_text text = {0};
    *out = NULL;
    if (cache != NULL && cache[0] == '/') /* relative ones are to be ignored, says the specification */
        qk_text_add(&text, "%s/qkscope", cache);
    else if (home != NULL && home[0] == '/')
        qk_text_add(&text, "%s/.cache/qkscope", home);
    else
        return QK_OK;
    return qk_text_take(&text, out, err);
}

enum qk_code qk_make_folders(char *path, struct qk_error *err)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int made = mkdir(path, 0700);
        if (made != 0 && errno != EEXIST)
            return qk_fail_errno(err, path, "create");
        *slash = '/';
    }
    return QK_OK;
}
