/* recipe_folder.c - the making, filling and removing of a folder of recipes. */
#include "cli/recipe_folder.h"

#include "base/mem.h"
#include "base/text.h"
#include "export/recipe.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum qk_code qk_recipe_folder_make(
    const char *path, bool force, struct qk_recipe_folder *folder, struct qk_error *err)
{
    struct stat info;
    folder->path = path;
    if (path == NULL)
        return QK_OK;
    folder->made = mkdir(path, 0777) == 0;
    if (folder->made)
        return QK_OK;
    if (errno != EEXIST)
        return qk_fail_errno(err, path, "create");
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode) && force)
        return QK_OK;
    return qk_fail(
        err, QK_USAGE, "%s: exists (use --force to write recipes into a folder that exists)", path);
}

enum qk_code qk_recipe_folder_write(struct qk_recipe_folder *folder, const char *name,
    const struct qk_pair *pair, const struct qk_selection *selection, const char *comment,
    struct qk_error *err)
{
    struct qk_text path = {0};
    struct qk_recipe recipe;
    if (folder->path == NULL)
        return QK_OK;
    QK_TRY(qk_grow(&folder->recipe, &folder->capacity, folder->n + 1, sizeof *folder->recipe, err));
    qk_text_add(&path, "%s/%s.json", folder->path, name);
    QK_TRY(qk_text_take(&path, &folder->recipe[folder->n], err));
    folder->n++;
    QK_TRY(qk_recipe_make(pair, selection, false, comment, &recipe, err));
    enum qk_code code = qk_recipe_write(&recipe, folder->recipe[folder->n - 1], err);
    qk_recipe_free(&recipe);
    return code;
}

const char *qk_recipe_folder_at(const struct qk_recipe_folder *folder, size_t i)
{
    return i < folder->n ? folder->recipe[i] : NULL;
}

void qk_recipe_folder_remove(const struct qk_recipe_folder *folder)
{
    if (!folder->made)
        return;
    for (size_t i = 0; i < folder->n; i++)
        unlink(folder->recipe[i]);
    rmdir(folder->path);
}

void qk_recipe_folder_free(struct qk_recipe_folder *folder)
{
    for (size_t i = 0; i < folder->n; i++)
        free(folder->recipe[i]);
    free(folder->recipe);
    *folder = (struct qk_recipe_folder){0};
}
