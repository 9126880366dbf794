/* manifest.c - the effects of an export and the obstacles to it, found before anything is written. */
#include "export/manifest.h"

#include "base/atomic_file.h"
#include "base/left_over.h"
#include "base/mem.h"
#include "base/text.h"
#include "blend/change.h"
#include "export/export_files.h"
#include "export/recipe.h"
#include "export/replace.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* *out = the place of the target, which need not exist: its parent resolved, its last part as given. */
static enum qk_code resolve_target(const char *target, char **out, char **parent, struct qk_error *err)
{
    char *given, *name, resolved[PATH_MAX];
    QK_TRY(qk_split_path(target, &given, &name, err));
    enum qk_code code = QK_OK;
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        code = qk_fail(err, QK_USAGE, "'%s': not a name for a new folder", target);
    else if (realpath(given, resolved) == NULL)
        code = qk_fail_errno(err, given, "open the folder to write in");
    else if ((code = qk_path_join(resolved, name, out, err)) == QK_OK)
        code = qk_strdup_to(parent, resolved, err);
    free(given);
    free(name);
    return code;
}

static enum qk_code keep_folder_safe(
    const char *folder, const char *side, const char *target, struct qk_error *err)
{
    char resolved[PATH_MAX];
    if (realpath(folder, resolved) == NULL)
        return qk_fail_errno(err, folder, "resolve");
    if (qk_path_inside(target, resolved))
        return qk_fail(
            err, QK_USAGE, "%s: refused: it is, or is in, %s's folder (%s)", target, side, resolved);
    if (qk_path_inside(resolved, target))
        return qk_fail(err, QK_USAGE, "%s: refused: it holds %s's folder (%s)", target, side, resolved);
    return QK_OK;
}

/* Checks that the target is no input, holds none and is in none. Links are resolved: shards may be links out of their
 * folder. */
static enum qk_code keep_inputs_safe(const struct qk_pair *pair, const char *target, struct qk_error *err)
{
    char resolved[PATH_MAX];
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        const struct qk_checkpoint *c = pair->model[s]->checkpoint;
        const char *side = qk_side_name((enum qk_side)s);
        QK_TRY(keep_folder_safe(c->folder, side, target, err));
        if (c->adapter != NULL)
            QK_TRY(keep_folder_safe(c->adapter->folder, side, target, err));
        for (size_t i = 0; i < c->n_shards; i++) {
            const char *path = c->shard[i].file.source.path;
            if (realpath(path, resolved) == NULL)
                return qk_fail_errno(err, path, "resolve");
            if (qk_path_inside(resolved, target))
                return qk_fail(
                    err, QK_USAGE, "%s: refused: it holds a file of %s (%s)", target, side, resolved);
        }
    }
    return QK_OK;
}

/* True for a file of post that this export leaves out and an earlier one did not. */
static bool is_copy(const struct qk_checkpoint *post, const char *name, bool is_folder)
{
    char *path;
    struct stat info;
    bool config = post->adapter == NULL && strcmp(name, QK_ADAPTER_CONFIG) == 0;
    if ((!config && !qk_export_leaves_out(post, name, is_folder)) ||
        qk_path_join(post->folder, name, &path, NULL) != QK_OK)
        return false;
    bool there = stat(path, &info) == 0;
    free(path);
    return there;
}

/* Checks that this export would write every name of an existing folder, so that nothing of the user's is lost. That
 * holds for an empty folder and for an earlier export of the same checkpoint. */
static enum qk_code check_replaceable(
    const struct qk_checkpoint *post, const char *target, const struct qk_folder *files, struct qk_error *err)
{
    struct qk_folder present;
    QK_TRY(qk_folder_list(target, true, NULL, NULL, &present, err));
    bool recipe = present.n == 0 || qk_folder_find(&present, QK_RECIPE_NAME) != NULL;
    enum qk_code code =
        recipe ? QK_OK
               : qk_fail(err, QK_USAGE, "%s: exists and holds no %s: not replaced", target, QK_RECIPE_NAME);
    for (size_t i = 0; i < present.n && code == QK_OK; i++) {
        const char *name = present.file[i].name;
        if (qk_folder_find(files, name) == NULL && strcmp(name, QK_RECIPE_NAME) != 0 &&
            strcmp(name, QK_PATCH_NAME) != 0 && !is_copy(post, name, present.file[i].is_folder))
            code = qk_fail(
                err, QK_USAGE, "%s: holds %s, which this export would not write: not replaced", target, name);
    }
    qk_folder_free(&present);
    return code;
}

/* Where an export goes. */
struct place {
    char *target, *parent; /* resolved */
    char *aside; /* an earlier export that a killed one put aside, or NULL; the next one puts it back first */
    uint64_t bytes; /* of the disk, of what is removed before anything is written */
};

static void free_place(struct place *place)
{
    free(place->target);
    free(place->parent);
    free(place->aside);
}

/* *exists: there is a folder to replace. */
static enum qk_code check_target(const struct qk_checkpoint *post, const struct qk_export_options *options,
    const struct place *place, const struct qk_folder *files, bool *exists, struct qk_error *err)
{
    struct stat info;
    bool there = lstat(options->target, &info) == 0;
    if (!there && errno != ENOENT)
        return qk_fail_errno(err, options->target, "examine");
    *exists = there || place->aside != NULL;
    if (!*exists)
        return QK_OK;
    if (there && S_ISLNK(info.st_mode))
        return qk_fail(
            err, QK_USAGE, "%s: is a link: name the folder itself, or another one", options->target);
    if (there && !S_ISDIR(info.st_mode))
        return qk_fail(err, QK_USAGE, "%s: exists and is not a folder", options->target);
    if (!options->force && !there)
        return qk_fail(err, QK_USAGE,
            "%s: exists as %s, where an interrupted export left it; it is replaced when forced, if it is an "
            "earlier export",
            options->target, place->aside);
    if (!options->force)
        return qk_fail(err, QK_USAGE, "%s: exists; it is replaced when forced, if it is an earlier export",
            options->target);
    return check_replaceable(post, there ? options->target : place->aside, files, err);
}

/* Left-overs of the target's name go before anything is written, and what was put aside gets its name back, or goes.
 * An input may be in none of them. */
static enum qk_code check_removed(const struct qk_pair *pair, struct place *place, struct qk_error *err)
{
    struct qk_left_overs left;
    struct stat info;
    time_t changed;
    if (place->aside != NULL) {
        QK_TRY(keep_inputs_safe(pair, place->aside, err));
        if (lstat(place->target, &info) == 0)
            qk_folder_measure(place->aside, &place->bytes, &changed);
    }
    /* A folder that cannot be read keeps its left-overs. */
    if (qk_left_overs_of(place->target, &left, NULL) != QK_OK)
        return QK_OK;
    enum qk_code code = QK_OK;
    for (size_t i = 0; i < left.n && code == QK_OK; i++) {
        char *path;
        code = qk_path_join(place->parent, left.entry[i].name, &path, err);
        if (code != QK_OK)
            break;
        code = keep_inputs_safe(pair, path, err);
        free(path);
    }
    place->bytes += qk_left_overs_bytes(&left);
    qk_left_overs_free(&left);
    return code;
}

static enum qk_code check_place(const struct qk_pair *pair, const struct qk_export_options *options,
    const struct qk_folder *files, struct place *place, bool *exists, struct qk_error *err)
{
    QK_TRY(resolve_target(options->target, &place->target, &place->parent, err));
    QK_TRY(keep_inputs_safe(pair, place->target, err));
    QK_TRY(qk_replaced_find(place->target, &place->aside, err));
    QK_TRY(check_target(qk_export_subject(pair, options->adapter), options, place, files, exists, err));
    return check_removed(pair, place, err);
}

/* --- sizes --- */

static void count_shards(struct qk_export_manifest *manifest)
{
    int last = -1;
    for (size_t i = 0; i < manifest->n_changes; i++) {
        manifest->bytes_changed += manifest->change[i].bytes_changed;
        manifest->n_shards_changed += manifest->change[i].tensor->shard != last;
        last = manifest->change[i].tensor->shard;
    }
}

bool qk_export_changes_shard(const struct qk_export_manifest *manifest, int shard)
{
    for (size_t i = 0; i < manifest->n_changes; i++)
        if (manifest->change[i].tensor->shard == shard)
            return true;
    return false;
}

static void count_bytes(const struct qk_checkpoint *post, const struct qk_folder *files,
    const struct qk_export_options *options, struct qk_export_manifest *manifest)
{
    if (options->patch_only) {
        for (size_t i = 0; i < manifest->n_changes; i++)
            manifest->bytes_total += manifest->change[i].tensor->bytes;
        manifest->bytes_written = manifest->bytes_total;
        manifest->n_files = 1;
        return;
    }
    for (size_t i = 0; i < files->n; i++) {
        const struct qk_file *file = &files->file[i];
        int shard = qk_export_shard(post, file->name);
        bool linked = options->link && shard >= 0 && !qk_export_changes_shard(manifest, shard);
        manifest->bytes_total += file->bytes;
        manifest->bytes_written += linked ? 0 : file->bytes;
        manifest->n_files += !file->is_folder;
    }
}

static enum qk_code count_free(
    const struct place *place, struct qk_export_manifest *manifest, struct qk_error *err)
{
    struct statvfs info;
    if (statvfs(place->parent, &info) != 0)
        return qk_fail_errno(err, place->parent, "examine");
    manifest->bytes_free = (uint64_t)info.f_bavail * (uint64_t)info.f_frsize + place->bytes;
    return QK_OK;
}

/* --- the manifest --- */

static enum qk_code check_merge(
    const struct qk_checkpoint *post, const struct qk_export_options *options, struct qk_error *err)
{
    if (options->adapter || post->adapter == NULL || post->adapter->unmerged == NULL)
        return QK_OK;
    return qk_fail(err, QK_INPUT, "%s: no merged checkpoint can hold it: export with --adapter",
        post->adapter->unmerged);
}

static enum qk_code make_manifest(const struct qk_pair *pair, const struct qk_selection *selection,
    const struct qk_export_options *options, struct qk_export_manifest *manifest, struct qk_error *err)
{
    const struct qk_checkpoint *post = qk_export_subject(pair, options->adapter);
    struct place place = {0};
    QK_TRY(qk_export_files(post, &options->files, &manifest->files, err));
    QK_TRY(check_merge(post, options, err));
    QK_TRY(qk_changes_find(
        pair, selection, options->norms, options->adapter, &manifest->change, &manifest->n_changes, err));
    count_shards(manifest);
    count_bytes(post, &manifest->files.copied, options, manifest);
    enum qk_code code =
        check_place(pair, options, &manifest->files.copied, &place, &manifest->target_exists, err);
    if (code == QK_OK)
        code = count_free(&place, manifest, err);
    free_place(&place);
    QK_TRY(code);
    if (manifest->bytes_written > manifest->bytes_free) {
        char free_text[QK_BYTES_TEXT], needed[QK_BYTES_TEXT];
        return qk_fail(err, QK_IO, "%s: not enough space (found %s, expected %s)", options->target,
            qk_format_bytes(free_text, manifest->bytes_free),
            qk_format_bytes(needed, manifest->bytes_written));
    }
    if (options->patch_only && manifest->n_changes == 0)
        return qk_fail(err, QK_USAGE, "%s: nothing is chosen: there is no patch to write", options->target);
    if (options->patch_only)
        qk_export_files_free(&manifest->files);
    return QK_OK;
}

enum qk_code qk_export_manifest(const struct qk_pair *pair, const struct qk_selection *selection,
    const struct qk_export_options *options, struct qk_export_manifest *manifest, struct qk_error *err)
{
    struct qk_export_options plain = *options;
    char *target;
    *manifest = (struct qk_export_manifest){0};
    QK_TRY(qk_plain_path(options->target, &target, err));
    plain.target = target;
    enum qk_code code = make_manifest(pair, selection, &plain, manifest, err);
    free(target);
    if (code != QK_OK)
        qk_export_manifest_free(manifest);
    return code;
}

void qk_export_manifest_free(struct qk_export_manifest *manifest)
{
    free(manifest->change);
    qk_export_files_free(&manifest->files);
    *manifest = (struct qk_export_manifest){0};
}
