/* folder.c - the files of a folder: listed, measured and removed. */
#include "base/folder.h"

#include "base/mem.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* nftw holds OPEN_FOLDERS folders open at most: cleaning up must work where few files can be opened. */
enum { MAX_DEPTH = 32, OPEN_FOLDERS = 1 };

/* --- names --- */

static enum qk_code read_names(const char *path, DIR *dir, struct qk_lines *names, struct qk_error *err)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL)
            return errno == 0 ? QK_OK : qk_fail_errno(err, path, "read");
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            QK_TRY(qk_lines_add(names, err, "%s", entry->d_name));
    }
}

enum qk_code qk_folder_names(const char *path, bool *found, struct qk_lines *names, struct qk_error *err)
{
    *names = (struct qk_lines){0};
    DIR *dir = opendir(path);
    bool missing = dir == NULL && found != NULL && (errno == ENOENT || errno == ENOTDIR);
    if (found != NULL)
        *found = dir != NULL;
    if (dir == NULL)
        return missing ? QK_OK : qk_fail_errno(err, path, "open");
    enum qk_code code = read_names(path, dir, names, err);
    closedir(dir);
    if (code != QK_OK)
        qk_lines_free(names);
    qk_sort_texts(names->line, names->n);
    return code;
}

/* --- listing --- */

struct listing {
    const char *root;
    bool deep;
    qk_folder_filter filter;
    void *context;
    struct qk_folder *out;
    void *entered; /* a tree of the folders that were entered: struct identity, owned */
    struct qk_error *err;
};

/* A folder, whatever its name. */
struct identity {
    dev_t device;
    ino_t inode;
};

static int by_identity(const void *a, const void *b)
{
    const struct identity *x = a, *y = b;
    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    return x->inode < y->inode ? -1 : x->inode > y->inode;
}

/* Notes a folder that is entered. QK_INPUT for a second time: with links in a few folders, the number of entries could
 * grow without limit. */
static enum qk_code enter(struct listing *l, const char *path, const struct stat *info)
{
    struct identity *identity;
    QK_TRY(qk_alloc(&identity, 1, sizeof *identity, l->err));
    *identity = (struct identity){info->st_dev, info->st_ino};
    struct identity *const *kept = tsearch(identity, &l->entered, by_identity);
    if (kept != NULL && *kept == identity)
        return QK_OK;
    free(identity);
    if (kept == NULL)
        return qk_fail_memory(l->err, sizeof *identity);
    return qk_fail(l->err, QK_INPUT,
        "%s: leads to a folder that was listed under another name (links may lead to a folder once)", path);
}

static enum qk_code list_below(struct listing *l, const char *below, int depth);

/* Takes ownership of `name`. */
static enum qk_code take_entry(
    struct listing *l, char *name, const char *path, const struct stat *info, int depth)
{
    bool folder = S_ISDIR(info->st_mode);
    enum qk_code code = folder && l->deep ? enter(l, path, info) : QK_OK;
    if (code == QK_OK && !folder && !S_ISREG(info->st_mode))
        code = qk_fail(l->err, QK_INPUT, "%s: neither a file nor a folder: it cannot be copied", path);
    if (code == QK_OK && l->out->n >= QK_FOLDER_MOST)
        code = qk_fail(
            l->err, QK_INPUT, "%s: more than %d entries are in and below it", l->root, QK_FOLDER_MOST);
    if (code == QK_OK)
        code = qk_grow(&l->out->file, &l->out->capacity, l->out->n + 1, sizeof *l->out->file, l->err);
    if (code != QK_OK) {
        free(name);
        return code;
    }
    l->out->file[l->out->n++] = (struct qk_file){.name = name,
        .is_folder = folder,
        .bytes = folder ? 0 : (uint64_t)info->st_size,
        .mode = info->st_mode & 0777};
    return folder ? list_below(l, name, depth + 1) : QK_OK;
}

/* Takes ownership of `name`. */
static enum qk_code add_entry(struct listing *l, char *name, const char *path, int depth)
{
    struct stat info = {0}, own = {0};
    bool found = stat(path, &info) == 0, folder = found && S_ISDIR(info.st_mode);
    int reason = errno;
    bool nowhere = !found && (reason == ENOENT || reason == ELOOP), taken = true;
    const struct qk_entry entry = {name, path, folder, lstat(path, &own) == 0 && S_ISLNK(own.st_mode),
        folder || !found ? 0 : (uint64_t)info.st_size};
    enum qk_code code = QK_OK;
    if (!l->deep && (nowhere || (found && !S_ISREG(info.st_mode))))
        taken = false;
    else if (l->filter != NULL)
        code = l->filter(l->context, &entry, &taken, l->err);
    if (code == QK_OK && taken && !found) {
        errno = reason;
        code = qk_fail_errno(l->err, path, "examine");
    }
    if (code == QK_OK && taken)
        return take_entry(l, name, path, &info, depth);
    free(name);
    return code;
}

static enum qk_code list_entry(struct listing *l, const char *below, const char *entry, int depth)
{
    char *name, *path;
    if (below[0] == '\0')
        QK_TRY(qk_strdup_to(&name, entry, l->err));
    else
        QK_TRY(qk_path_join(below, entry, &name, l->err));
    enum qk_code code = qk_path_join(l->root, name, &path, l->err);
    if (code != QK_OK) {
        free(name);
        return code;
    }
    code = add_entry(l, name, path, depth);
    free(path);
    return code;
}

static enum qk_code list_below(struct listing *l, const char *below, int depth)
{
    char *path;
    QK_TRY(qk_path_join(l->root, below, &path, l->err));
    struct qk_lines names = {0};
    enum qk_code code =
        depth > MAX_DEPTH
            ? qk_fail(l->err, QK_INPUT, "%s: folders are nested too deeply (more than %d)", path, MAX_DEPTH)
            : qk_folder_names(path, NULL, &names, l->err);
    for (size_t i = 0; i < names.n && code == QK_OK; i++)
        code = list_entry(l, below, names.line[i], depth);
    qk_lines_free(&names);
    free(path);
    return code;
}

static int file_by_name(const void *a, const void *b)
{
    return strcmp(((const struct qk_file *)a)->name, ((const struct qk_file *)b)->name);
}

enum qk_code qk_folder_list(const char *path, bool deep, qk_folder_filter filter, void *context,
    struct qk_folder *folder, struct qk_error *err)
{
    struct listing listing = {path, deep, filter, context, folder, NULL, err};
    struct stat info;
    *folder = (struct qk_folder){0};
    enum qk_code code = deep && stat(path, &info) == 0 ? enter(&listing, path, &info) : QK_OK;
    if (code == QK_OK)
        code = list_below(&listing, "", 0);
    tdestroy(listing.entered, free);
    if (code != QK_OK)
        qk_folder_free(folder);
    else if (folder->n > 1)
        qsort(folder->file, folder->n, sizeof *folder->file, file_by_name);
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
    return folder->n == 0 ? NULL : bsearch(&key, folder->file, folder->n, sizeof *folder->file, file_by_name);
}

/* --- measuring and removing --- */

/* nftw passes no context. */
static _Thread_local struct {
    uint64_t bytes, size;
    size_t n_files;
    time_t changed;
} measured;

static int measure_entry(const char *path, const struct stat *info, int type, struct FTW *place)
{
    enum { STAT_BLOCK = 512 }; /* the unit of st_blocks, whatever the file system's own blocks are */
    (void)path, (void)place;
    if (type == FTW_NS)
        return 0;
    measured.bytes += (uint64_t)info->st_blocks * STAT_BLOCK;
    measured.size += S_ISREG(info->st_mode) ? (uint64_t)info->st_size : 0;
    measured.n_files += type != FTW_D;
    if (info->st_mtim.tv_sec > measured.changed)
        measured.changed = info->st_mtim.tv_sec;
    return 0;
}

static void measure(const char *path)
{
    memset(&measured, 0, sizeof measured);
    nftw(path, measure_entry, OPEN_FOLDERS, FTW_PHYS);
}

void qk_folder_size(const char *path, uint64_t *bytes, size_t *n_files)
{
    measure(path);
    *bytes = measured.size;
    *n_files = measured.n_files;
}

void qk_folder_measure(const char *path, uint64_t *bytes, time_t *changed)
{
    measure(path);
    *bytes = measured.bytes;
    *changed = measured.changed;
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
