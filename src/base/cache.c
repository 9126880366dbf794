/* cache.c - the places of the program's own folders, and the limit for their size. */
#include "base/cache.h"

#include "base/folder.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* *out = $VARIABLE/qkscope, else ~/BELOW/qkscope, else NULL. */
static enum qk_code own_folder(const char *variable, const char *below, char **out, struct qk_error *err)
{
    const char *base = getenv(variable), *home = getenv("HOME");
    struct qk_text text = {0};
    *out = NULL;
    if (base != NULL && base[0] == '/') /* the specification ignores relative paths */
        qk_text_add(&text, "%s/qkscope", base);
    else if (home != NULL && home[0] == '/')
        qk_text_add(&text, "%s/%s/qkscope", home, below);
    else
        return QK_OK;
    return qk_text_take(&text, out, err);
}

enum qk_code qk_cache_folder(char **out, struct qk_error *err)
{
    return own_folder("XDG_CACHE_HOME", ".cache", out, err);
}

enum qk_code qk_cache_path(const char *name, char **out, struct qk_error *err)
{
    char *folder;
    *out = NULL;
    QK_TRY(qk_cache_folder(&folder, err));
    if (folder == NULL)
        return QK_OK;
    enum qk_code code = qk_path_join(folder, name, out, err);
    free(folder);
    return code;
}

enum qk_code qk_state_folder(char **out, struct qk_error *err)
{
    return own_folder("XDG_STATE_HOME", ".local/state", out, err);
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

struct kept {
    char *path; /* owned */
    uint64_t bytes;
    struct timespec changed;
};

static int oldest_first(const void *a, const void *b)
{
    const struct timespec *x = &((const struct kept *)a)->changed, *y = &((const struct kept *)b)->changed;
    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? -1 : 1;
    return x->tv_nsec < y->tv_nsec ? -1 : x->tv_nsec > y->tv_nsec;
}

/* Those of the names that end in `suffix` and can be examined, the oldest first; returns how many. */
static size_t find_kept(
    const char *folder, const struct qk_lines *names, const char *suffix, struct kept *kept, uint64_t *total)
{
    enum { STAT_BLOCK = 512 }; /* the unit of st_blocks, whatever the file system's own blocks are */
    struct stat info;
    size_t n = 0;
    *total = 0;
    for (size_t i = 0; i < names->n; i++) {
        if (!qk_ends_with(names->line[i], suffix) ||
            qk_path_join(folder, names->line[i], &kept[n].path, NULL) != QK_OK)
            continue;
        if (lstat(kept[n].path, &info) != 0) {
            free(kept[n].path);
            continue;
        }
        kept[n].bytes = (uint64_t)info.st_blocks * STAT_BLOCK;
        kept[n].changed = info.st_mtim;
        *total += kept[n++].bytes;
    }
    if (n > 1)
        qsort(kept, n, sizeof *kept, oldest_first);
    return n;
}

void qk_cache_trim(const char *folder, const char *suffix, uint64_t most)
{
    struct qk_lines names;
    struct kept *kept = NULL;
    uint64_t total = 0;
    size_t n = 0;
    if (qk_folder_names(folder, NULL, &names, NULL) == QK_OK &&
        qk_alloc(&kept, names.n, sizeof *kept, NULL) == QK_OK)
        n = find_kept(folder, &names, suffix, kept, &total);
    for (size_t i = 0; i < n; i++) {
        /* What another process removed takes no room either. */
        if (total > most && (unlink(kept[i].path) == 0 || errno == ENOENT))
            total -= kept[i].bytes;
        free(kept[i].path);
    }
    free(kept);
    qk_lines_free(&names);
}

void qk_cache_trim_beside(char *path, const char *suffix, uint64_t most)
{
    char *slash = strrchr(path, '/');
    *slash = '\0';
    qk_cache_trim(path, suffix, most);
    *slash = '/';
}
