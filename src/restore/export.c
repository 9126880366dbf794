/* export.c - writing an export: a temporary sibling is filled, then renamed; export.h tells the states. */
#include "restore/export.h"

#include "base/digest.h"
#include "base/mem.h"
#include "base/text.h"
#include "restore/change.h"
#include "restore/copy.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct exporter {
    const struct qk_pair *pair;
    const struct qk_checkpoint *post;
    const struct qk_selection *selection;
    const struct qk_export_options *options;
    struct qk_progress *progress;
    struct qk_error *err;
    struct qk_export_plan plan;
    struct qk_folder files;
    struct qk_recipe recipe; /* with the digests of what was written */
    char *sibling;           /* the folder that is filled */
    int lock;                /* held while it is: a sibling that nobody holds is left over from a crash */
};

/* --- left-overs of a crash --- */

static void remove_if_left_over(const char *path)
{
    struct stat info;
    if (lstat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        qk_folder_remove(path, NULL);
    close(fd);
}

/* Siblings of the target that an export left which did not end. What cannot be removed does no harm. */
static enum qk_code remove_left_overs(const char *target, struct qk_error *err)
{
    char *parent, *name;
    QK_TRY(qk_split_path(target, &parent, &name, err));
    struct qk_text mark = {0};
    qk_text_add(&mark, ".%s%s", name, QK_SIBLING_MARK);
    DIR *dir = mark.failed ? NULL : opendir(parent);
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char *path;
        if (strncmp(entry->d_name, mark.s, mark.length) != 0)
            continue;
        if (qk_path_join(parent, entry->d_name, &path, NULL) != QK_OK)
            continue;
        remove_if_left_over(path);
        free(path);
    }
    if (dir != NULL)
        closedir(dir);
    qk_text_free(&mark);
    free(parent);
    free(name);
    return QK_OK;
}

/* --- files --- */

static enum qk_code create_file(const char *path, mode_t mode, int *fd, struct qk_error *err)
{
    *fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    return *fd >= 0 ? QK_OK : qk_fail_errno(err, path, "create");
}

/* Ends the writing of a file: synced when all went well, closed in every case. */
static enum qk_code end_file(int fd, const char *path, enum qk_code code, struct qk_error *err)
{
    if (code == QK_OK)
        return qk_sync_close(fd, path, err);
    close(fd);
    return code;
}

static enum qk_code copy_file(struct exporter *e, const char *from, const char *to, mode_t mode)
{
    struct qk_source source;
    int fd;
    QK_TRY(qk_source_open(from, &source, e->err));
    enum qk_code code = create_file(to, mode, &fd, e->err);
    if (code == QK_OK) {
        code = qk_copy_range(&source, 0, source.size, fd, to, e->progress, e->err);
        if (code == QK_OK)
            code = qk_source_unchanged(&source, e->err);
        code = end_file(fd, to, code, e->err);
    }
    qk_source_close(&source);
    return code;
}

/* The new bytes of one changed tensor, appended to fd and noted in the recipe. */
static enum qk_code write_bytes(
    struct exporter *e, const struct qk_export_change *change, void *bytes, int fd, const char *path)
{
    const struct qk_tensor *tensor = change->tensor;
    QK_TRY(qk_checkpoint_read(e->post, tensor, 0, bytes, (size_t)tensor->bytes, e->err));
    QK_TRY(qk_change_apply(e->pair, e->selection, e->options->norms, change, bytes, e->progress, e->err));
    QK_TRY(qk_write_all(fd, path, bytes, (size_t)tensor->bytes, e->err));
    struct qk_output_print *output = &e->recipe.output[e->recipe.n_outputs];
    struct qk_digest digest;
    qk_digest_init(&digest);
    qk_digest_add(&digest, bytes, (size_t)tensor->bytes);
    qk_digest_hex(&digest, output->digest);
    QK_TRY(qk_strdup_to(&output->tensor, tensor->name, e->err));
    e->recipe.n_outputs++;
    qk_progress_add(e->progress, tensor->bytes);
    return qk_progress_check(e->progress, e->err);
}

static enum qk_code write_tensor(
    struct exporter *e, const struct qk_export_change *change, int fd, const char *path)
{
    void *bytes;
    QK_TRY(qk_alloc_aligned(&bytes, (size_t)change->tensor->bytes, 1, e->err));
    enum qk_code code = write_bytes(e, change, bytes, fd, path);
    free(bytes);
    return code;
}

/* A shard in which tensors change: the header and all between them is copied. */
static enum qk_code write_shard(struct exporter *e, int shard, int fd, const char *path)
{
    const struct qk_source *source = &e->post->shard[shard].file.source;
    uint64_t at = 0;
    for (size_t i = 0; i < e->plan.n_changes; i++) {
        const struct qk_tensor *tensor = e->plan.change[i].tensor;
        if (tensor->shard != shard)
            continue;
        QK_TRY(qk_copy_range(source, at, tensor->offset - at, fd, path, e->progress, e->err));
        QK_TRY(write_tensor(e, &e->plan.change[i], fd, path));
        at = tensor->offset + tensor->bytes;
    }
    return qk_copy_range(source, at, source->size - at, fd, path, e->progress, e->err);
}

static enum qk_code export_file(
    struct exporter *e, const struct qk_file *file, const char *from, const char *to)
{
    if (file->is_folder)
        return mkdir(to, file->mode | S_IRWXU) == 0 ? QK_OK : qk_fail_errno(e->err, to, "create");
    int shard = qk_export_shard(e->post, file->name), fd;
    bool changes = shard >= 0 && qk_export_changes_shard(&e->plan, shard);
    /* A hard link is refused across file systems and by some of them; then the file is copied. */
    if (e->options->link && shard >= 0 && !changes &&
        linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0)
        return QK_OK;
    if (!changes)
        return copy_file(e, from, to, file->mode);
    QK_TRY(create_file(to, file->mode, &fd, e->err));
    return end_file(fd, to, write_shard(e, shard, fd, to), e->err);
}

static enum qk_code export_entry(struct exporter *e, const struct qk_file *file)
{
    char *from = NULL, *to = NULL;
    enum qk_code code = qk_path_join(e->post->folder, file->name, &from, e->err);
    if (code == QK_OK)
        code = qk_path_join(e->sibling, file->name, &to, e->err);
    if (code == QK_OK)
        code = export_file(e, file, from, to);
    free(from);
    free(to);
    return code;
}

static enum qk_code sync_folders(const struct exporter *e)
{
    for (size_t i = e->files.n; i-- > 0;) {
        char *path;
        if (!e->files.file[i].is_folder)
            continue;
        QK_TRY(qk_path_join(e->sibling, e->files.file[i].name, &path, e->err));
        enum qk_code code = qk_sync_folder(path, e->err);
        free(path);
        QK_TRY(code);
    }
    return QK_OK;
}

/* --- patches --- */

static bool add_patch_tensor(cJSON *header, const struct qk_tensor *tensor, uint64_t at)
{
    cJSON *entry = cJSON_AddObjectToObject(header, tensor->name);
    bool added = cJSON_AddStringToObject(entry, "dtype", qk_dtype_name(tensor->dtype)) != NULL;
    cJSON *shape = cJSON_AddArrayToObject(entry, "shape");
    for (int i = 0; i < tensor->n_dims && added; i++)
        added = cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)tensor->shape[i]));
    cJSON *offsets = cJSON_AddArrayToObject(entry, "data_offsets");
    return added && cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)at)) &&
           cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)(at + tensor->bytes)));
}

/* The header of a patch, padded so that its data begins at a multiple of 8. */
static enum qk_code patch_header(const struct exporter *e, char **out, struct qk_error *err)
{
    cJSON *header = cJSON_CreateObject();
    uint64_t at = 0;
    bool made =
        cJSON_AddStringToObject(cJSON_AddObjectToObject(header, "__metadata__"), "format", "pt") != NULL;
    for (size_t i = 0; i < e->plan.n_changes && made; i++) {
        made = add_patch_tensor(header, e->plan.change[i].tensor, at);
        at += e->plan.change[i].tensor->bytes;
    }
    char *text = made ? cJSON_PrintUnformatted(header) : NULL;
    cJSON_Delete(header);
    if (text == NULL)
        return qk_fail(err, QK_IO, "out of memory (a patch's header)");
    struct qk_text padded = {0};
    qk_text_add(&padded, "%s", text);
    cJSON_free(text);
    while (padded.length % 8 != 0 && !padded.failed)
        qk_text_add(&padded, " ");
    return qk_text_take(&padded, out, err);
}

static enum qk_code write_patch_to(struct exporter *e, int fd, const char *path)
{
    char *header;
    unsigned char length[8];
    QK_TRY(patch_header(e, &header, e->err));
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)strlen(header) >> (8 * i));
    enum qk_code code = qk_write_all(fd, path, length, sizeof length, e->err);
    if (code == QK_OK)
        code = qk_write_all(fd, path, header, strlen(header), e->err);
    free(header);
    for (size_t i = 0; i < e->plan.n_changes && code == QK_OK; i++)
        code = write_tensor(e, &e->plan.change[i], fd, path);
    return code;
}

static enum qk_code write_patch(struct exporter *e)
{
    char *path;
    int fd;
    QK_TRY(qk_path_join(e->sibling, QK_PATCH_NAME, &path, e->err));
    enum qk_code code = create_file(path, 0666, &fd, e->err);
    if (code == QK_OK)
        code = end_file(fd, path, write_patch_to(e, fd, path), e->err);
    free(path);
    return code;
}

/* --- the whole --- */

static enum qk_code write_recipe(struct exporter *e)
{
    char *path;
    QK_TRY(qk_path_join(e->sibling, QK_RECIPE_NAME, &path, e->err));
    enum qk_code code = qk_recipe_write(&e->recipe, path, e->err);
    free(path);
    return code;
}

static enum qk_code fill_sibling(struct exporter *e)
{
    if (e->options->patch_only) {
        QK_TRY(write_patch(e));
    } else {
        for (size_t i = 0; i < e->files.n; i++)
            QK_TRY(export_entry(e, &e->files.file[i]));
        QK_TRY(sync_folders(e));
    }
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        QK_TRY(qk_checkpoint_unchanged(e->pair->model[s]->checkpoint, e->err));
    QK_TRY(write_recipe(e));
    return qk_sync_folder(e->sibling, e->err);
}

/* rename with a flag of renameat2; false, errno ENOSYS, where it is not to be had. */
static bool rename_with(const char *from, const char *to, unsigned flag)
{
#ifdef HAVE_RENAMEAT2
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, flag) == 0)
        return true;
    if (errno == EINVAL)
        errno = ENOSYS;
#else
    (void)from, (void)to, (void)flag;
    errno = ENOSYS;
#endif
    return false;
}

/* Puts the old folder aside, the new one in its place: for file systems that cannot exchange two names. */
static enum qk_code replace_in_two_steps(const struct exporter *e)
{
    const char *target = e->options->target;
    char *aside;
    int fd;
    QK_TRY(qk_create_sibling(target, true, &aside, &fd, e->err));
    enum qk_code code = QK_OK;
    if (rename(target, aside) != 0) {
        code = qk_fail_errno(e->err, target, "replace");
        rmdir(aside);
    } else if (rename(e->sibling, target) != 0) {
        code = qk_fail_errno(e->err, target, "replace");
        rename(aside, target);
    } else {
        qk_folder_remove(aside, NULL); /* else the next export to this target does */
    }
    free(aside);
    return code;
}

/* Gives the sibling its name. */
static enum qk_code publish(struct exporter *e)
{
    enum { NOREPLACE = 1, EXCHANGE = 2 }; /* <linux/fs.h> */
    const char *target = e->options->target;
    if (e->plan.target_exists) {
        if (rename_with(e->sibling, target, EXCHANGE)) {
            qk_folder_remove(e->sibling, NULL); /* the old one; else the next export to this target does */
        } else {
            if (errno != ENOSYS)
                return qk_fail_errno(e->err, target, "replace");
            QK_TRY(replace_in_two_steps(e));
        }
    } else if (!rename_with(e->sibling, target, NOREPLACE)) {
        /* A plain rename replaces at most an empty folder. */
        if (errno != ENOSYS || rename(e->sibling, target) != 0)
            return qk_fail_errno(e->err, target, "create");
    }
    return qk_sync_parent(target, e->err);
}

static enum qk_code run(struct exporter *e)
{
    QK_TRY(remove_left_overs(e->options->target, e->err));
    QK_TRY(qk_export_plan(e->pair, e->selection, e->options, &e->plan, e->err));
    QK_TRY(qk_export_files(e->post, &e->files, e->err));
    QK_TRY(qk_recipe_make(e->pair, e->selection, e->options->norms, e->options->comment, &e->recipe, e->err));
    QK_TRY(qk_alloc(&e->recipe.output, e->plan.n_changes, sizeof *e->recipe.output, e->err));
    qk_progress_total(e->progress, e->plan.bytes_written);
    int unused;
    QK_TRY(qk_create_sibling(e->options->target, true, &e->sibling, &unused, e->err));
    e->lock = open(e->sibling, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (e->lock >= 0)
        flock(e->lock, LOCK_EX | LOCK_NB); /* where there are no locks, left-overs stay */
    enum qk_code code = fill_sibling(e);
    if (code == QK_OK)
        code = publish(e);
    if (code != QK_OK)
        qk_folder_remove(e->sibling, NULL);
    return code;
}

enum qk_code qk_export(const struct qk_pair *pair, const struct qk_selection *selection,
    const struct qk_export_options *options, struct qk_progress *progress, struct qk_error *err)
{
    struct exporter e = {.pair = pair,
        .post = pair->model[QK_POST]->checkpoint,
        .selection = selection,
        .options = options,
        .progress = progress,
        .err = err,
        .lock = -1};
    enum qk_code code = run(&e);
    if (e.lock >= 0)
        close(e.lock);
    free(e.sibling);
    qk_recipe_free(&e.recipe);
    qk_folder_free(&e.files);
    qk_export_plan_free(&e.plan);
    return code;
}
