/* folder.c - listing and removing folders. */
#include "restore/folder.h"

#include "base/mem.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_DEPTH = 32, OPEN_FOLDERS = 32 };

static enum qk_code list_below(
    const char *root, const char *below, int depth, struct qk_folder *out, struct qk_error *err);

/* Takes `name` over. */
static enum qk_code add_entry(
    const char *root, char *name, const char *path, int depth, struct qk_folder *out, struct qk_error *err)
{
    struct stat info;
    enum qk_code code = qk_grow(&out->file, &out->capacity, out->n + 1, sizeof *out->file, err);
    if (code == QK_OK && stat(path, &info) != 0)
        code = qk_fail_errno(err, path, "examine");
    if (code == QK_OK && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
        code = qk_fail(err, QK_INPUT, "%s: neither a file nor a folder: it cannot be copied", path);
    if (code != QK_OK) {
        free(name);
        return code;
    }
    bool folder = S_ISDIR(info.st_mode);
    out->file[out->n++] = (struct qk_file){.name = name,
        .is_folder = folder,
        .bytes = folder ? 0 : (uint64_t)info.st_size,
        .mode = info.st_mode & 0777};
    return folder ? list_below(root, name, depth + 1, out, err) : QK_OK;
}

static enum qk_code list_entry(const char *root, const char *below, const char *entry, int depth,
    struct qk_folder *out, struct qk_error *err)
{
    char *name, *path;
    if (below[0] == '\0')
        QK_TRY(qk_strdup_to(&name, entry, err));
    else
        QK_TRY(qk_path_join(below, entry, &name, err));
    enum qk_code code = qk_path_join(root, name, &path, err);
    if (code != QK_OK) {
        free(name);
        return code;
    }
    code = add_entry(root, name, path, depth, out, err);
    free(path);
    return code;
}

static enum qk_code list_below(
    const char *root, const char *below, int depth, struct qk_folder *out, struct qk_error *err)
{
    char *path;
    QK_TRY(qk_path_join(root, below, &path, err));
    enum qk_code code = QK_OK;
    DIR *dir = NULL;
    if (depth > MAX_DEPTH)
        code = qk_fail(err, QK_INPUT, "%s: folders are nested too deeply (more than %d)", path, MAX_DEPTH);
    else if ((dir = opendir(path)) == NULL)
        code = qk_fail_errno(err, path, "open");
    while (code == QK_OK) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            if (errno != 0)
                code = qk_fail_errno(err, path, "read");
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            code = list_entry(root, below, entry->d_name, depth, out, err);
    }
    if (dir != NULL)
        closedir(dir);
    free(path);
    return code;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct qk_file *)a)->name, ((const struct qk_file *)b)->name);
}

enum qk_code qk_folder_list(const char *path, struct qk_folder *folder, struct qk_error *err)
{
    enum qk_code code = list_below(path, "", 0, folder, err);
    if (code != QK_OK)
        qk_folder_free(folder);
    else if (folder->n > 1)
        qsort(folder->file, folder->n, sizeof *folder->file, by_name);
    return code;
}

void qk_folder_free(struct qk_folder *folder)
{
    for (size_t i = 0; i < folder->n; i++)
        free(folder->file[i].name);
    free(folder->file);
    *folder = (struct qk_folder){0};
}

const struct qk_file *qk_folder_find(const struct qk_folder *folder, const char *name)
{
    struct qk_file key = {.name = (char *)(uintptr_t)name};
    return folder->n == 0 ? NULL : bsearch(&key, folder->file, folder->n, sizeof *folder->file, by_name);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info, (void)type, (void)place;
    return remove(path);
}

enum qk_code qk_folder_remove(const char *path, struct qk_error *err)
{
    if (nftw(path, remove_entry, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS) != 0)
        return qk_fail_errno(err, path, "remove");
    return QK_OK;
}
