/* cache.c - where the program's own folders are. */
#include "base/cache.h"

#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
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
    if (base != NULL && base[0] == '/') /* relative ones are to be ignored, says the specification */
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

static bool is_older(const struct stat *a, const struct stat *b)
{
    return a->st_mtim.tv_sec < b->st_mtim.tv_sec ||
           (a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec < b->st_mtim.tv_nsec);
}

/* Removes the oldest file when all of them together are too large; true when there may be more. */
static bool remove_oldest(const char *folder, const char *suffix, uint64_t most)
{
    enum { STAT_BLOCK = 512 }; /* what st_blocks counts, whatever the file system's own blocks are */
    char oldest[512] = "";
    struct stat info, of_oldest = {0};
    uint64_t total = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (!qk_ends_with(entry->d_name, suffix) || strlen(entry->d_name) >= sizeof oldest ||
            fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        total += (uint64_t)info.st_blocks * STAT_BLOCK;
        if (oldest[0] == '\0' || is_older(&info, &of_oldest)) {
            snprintf(oldest, sizeof oldest, "%s", entry->d_name);
            of_oldest = info;
        }
    }
    bool removed = dir != NULL && total > most && unlinkat(dirfd(dir), oldest, 0) == 0;
    if (dir != NULL)
        closedir(dir);
    return removed;
}

void qk_cache_trim(const char *folder, const char *suffix, uint64_t most)
{
    while (remove_oldest(folder, suffix, most))
        continue;
}
