/* export_files.c - the choice of post's files that an export holds. */
#include "export/export_files.h"

#include "base/mem.h"
#include "base/text.h"
#include "export/recipe.h"

#include <stdlib.h>
#include <string.h>

static bool ends_with_one_of(const char *name, const char *const *ends)
{
    for (; *ends != NULL; ends++)
        if (qk_ends_with(name, *ends))
            return true;
    return false;
}

/* Keeps the entries for which `wanted` holds, and frees the others. */
static void keep_files(struct qk_folder *files, const struct qk_checkpoint *post,
    bool (*wanted)(const struct qk_checkpoint *post, const struct qk_file *file))
{
    size_t kept = 0;
    for (size_t i = 0; i < files->n; i++) {
        if (wanted(post, &files->file[i]))
            files->file[kept++] = files->file[i];
        else
            free(files->file[i].name);
    }
    files->n = kept;
}

/* An earlier recipe would look like this export's, and the config of a merged adapter would add it once more. */
static bool still_true(const struct qk_checkpoint *post, const struct qk_file *file)
{
    return strcmp(file->name, QK_RECIPE_NAME) != 0 &&
           (post->adapter == NULL || strcmp(file->name, QK_ADAPTER_CONFIG) != 0);
}

static bool beside_single_file(const struct qk_checkpoint *post, const struct qk_file *file)
{
    static const char *const side_files[] = {".json", ".txt", ".model", ".py", ".jinja", ".md", NULL};
    return qk_export_shard(post, file->name) >= 0 ||
           (ends_with_one_of(file->name, side_files) && strstr(file->name, ".index.json") == NULL);
}

enum qk_code qk_export_files(const struct qk_checkpoint *post, struct qk_folder *files, struct qk_error *err)
{
    const char *path = post->adapter != NULL ? post->adapter->base_path : post->path;
    bool single = post->index_path == NULL && strcmp(path, post->folder) != 0;
    QK_TRY(qk_folder_list(post->folder, !single, files, err));
    keep_files(files, post, still_true);
    if (single)
        keep_files(files, post, beside_single_file);
    return QK_OK;
}

int qk_export_shard(const struct qk_checkpoint *post, const char *name)
{
    for (size_t i = 0; i < post->n_shards; i++)
        if (strcmp(post->shard[i].name, name) == 0)
            return (int)i;
    return -1;
}
