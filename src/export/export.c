/* export.c - the writer of an export, which fills a temporary sibling and renames it. */
#include "export/export.h"

#include "base/atomic_file.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/left_over.h"
#include "base/mem.h"
#include "base/text.h"
#include "blend/blend.h"
#include "blend/change.h"
#include "export/fill.h"
#include "export/recipe.h"
#include "export/replace.h"
#include "export/zip_crc.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef HAVE_LINUX_FS_H
#include <linux/fs.h>
#endif

struct exporter {
    const struct qk_pair *pair;
    const struct qk_checkpoint *post;
    const struct qk_selection *selection;
    const struct qk_export_options *options;
    struct qk_progress *progress;
    struct qk_error *err;
    struct qk_export_manifest manifest;
    struct qk_recipe recipe; /* with the digests of the written tensors */
    struct qk_fill fill;
    char *header;  /* of a patch */
    char *sibling; /* the folder that is filled */
    int lock;      /* its descriptor, whose lock shows others that it is in use (left_over.h); -1: none */
    struct qk_export_written written;
};

/* --- files --- */

/* The first n bytes of a patch: 8 of length, and the header. */
static enum qk_code write_header(const struct exporter *e, unsigned char *bytes, size_t n)
{
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)(n - 8) >> (8 * i));
    memcpy(bytes + 8, e->header, n - 8);
    return QK_OK;
}

/* Makes the new bytes of changed tensor number `index`, and notes their digest in the recipe. */
static enum qk_code make_tensor(
    void *context, size_t index, void *bytes, size_t n, struct qk_progress *progress, struct qk_error *err)
{
    enum { DIGEST_PIECE = 8 << 20 };
    struct exporter *e = context;
    if (index == e->manifest.n_changes) /* the header of a patch */
        return write_header(e, bytes, n);
    const struct qk_change *change = &e->manifest.change[index];
    QK_TRY(qk_checkpoint_read(e->post, change->tensor, 0, bytes, n, err));
    QK_TRY(qk_change_apply(e->pair, e->selection, e->options->norms, change, bytes, progress, err));
    struct qk_output_print *output = &e->recipe.output[index];
    struct qk_digest digest;
    qk_digest_init(&digest);
    for (size_t at = 0; at < n; at += DIGEST_PIECE) {
        QK_TRY(qk_progress_check(progress, err));
        qk_digest_add(&digest, (const char *)bytes + at, n - at < DIGEST_PIECE ? n - at : DIGEST_PIECE);
    }
    qk_digest_hex(&digest, output->digest);
    return qk_strdup_to(&output->tensor, change->tensor->name, err);
}

static enum qk_code add_tensor(struct exporter *e, size_t index, uint64_t at)
{
    const struct qk_change *change = &e->manifest.change[index];
    size_t memory = change->layer < 0 || change->addition != NULL
                        ? 0
                        : qk_blend_memory(e->pair->layer[change->layer].side[QK_POST]);
    return qk_fill_add_made(&e->fill, at, change->tensor->bytes, memory, index, e->err);
}

/* Adds a file that is copied, except for the tensors that change when it is a shard. */
static enum qk_code add_file(
    struct exporter *e, const struct qk_file *file, int shard, const char *from, const char *to)
{
    if (shard < 0)
        return qk_fill_add_closed(&e->fill, to, file->mode, file->bytes, from, e->err);
    const struct qk_source *source = &e->post->shard[shard].file.source;
    QK_TRY(qk_fill_add_file(&e->fill, to, file->mode, source->size, source, e->err));
    for (size_t i = 0; i < e->manifest.n_changes; i++)
        if (e->manifest.change[i].tensor->shard == shard)
            QK_TRY(add_tensor(e, i, e->manifest.change[i].tensor->offset));
    return QK_OK;
}

/* Shares all blocks of the old file. After a failure nothing is left. */
static bool share_file(const struct qk_file *file, const char *from, const char *to)
{
    bool shared = false;
#ifdef FICLONE
    int old = open(from, O_RDONLY | O_CLOEXEC),
        new = old < 0 ? -1 : open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, file->mode);
    shared = new >= 0 && ioctl(new, FICLONE, old) == 0;
    if (new >= 0 && (close(new) != 0 || !shared)) {
        unlink(to);
        shared = false;
    }
    if (old >= 0)
        close(old);
#else
    (void)file, (void)from, (void)to;
#endif
    return shared;
}

/* Makes a symbolic link to the file itself, whatever links lead to it. */
static bool name_file(const char *from, const char *to)
{
    char *target = realpath(from, NULL);
    bool made = target != NULL && symlink(target, to) == 0;
    free(target);
    return made;
}

/* False where the shard has to be copied: some file systems refuse hard links, as all do across file systems. */
static bool link_shard(struct exporter *e, const struct qk_file *file, const char *from, const char *to)
{
    size_t *count = NULL;
    if (e->options->link && linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0)
        count = &e->written.linked;
    else if (e->options->link && e->options->link_names && share_file(file, from, to))
        count = &e->written.shared;
    else if (e->options->link && e->options->link_names && name_file(from, to))
        count = &e->written.named;
    if (count != NULL)
        ++*count;
    return count != NULL;
}

static enum qk_code add_entry(
    struct exporter *e, const struct qk_file *file, const char *from, const char *to)
{
    if (file->is_folder)
        return mkdir(to, file->mode | S_IRWXU) == 0 ? QK_OK : qk_fail_errno(e->err, to, "create");
    int shard = qk_export_shard(e->post, file->name);
    bool changed = shard >= 0 && qk_export_changes_shard(&e->manifest, shard);
    if (shard >= 0 && !changed && link_shard(e, file, from, to))
        return QK_OK;
    e->written.bytes += file->bytes;
    e->written.changed += changed;
    e->written.copied += shard >= 0 && !changed;
    return add_file(e, file, shard, from, to);
}

static enum qk_code add_entries(struct exporter *e)
{
    for (size_t i = 0; i < e->manifest.files.copied.n; i++) {
        const struct qk_file *file = &e->manifest.files.copied.file[i];
        char *from = NULL, *to = NULL;
        enum qk_code code = qk_path_join(e->post->folder, file->name, &from, e->err);
        if (code == QK_OK)
            code = qk_path_join(e->sibling, file->name, &to, e->err);
        if (code == QK_OK)
            code = add_entry(e, file, from, to);
        free(from);
        free(to);
        QK_TRY(code);
    }
    return QK_OK;
}

/* Updates the sums of a zip archive's entries, which are known when all of an entry is written. */
static enum qk_code mend_sums(const struct exporter *e, int shard)
{
    struct qk_sum *sum;
    size_t n;
    char *path;
    QK_TRY(qk_sums_find(e->post, shard, e->manifest.change, e->manifest.n_changes, &sum, &n, e->err));
    enum qk_code code = qk_path_join(e->sibling, e->post->shard[shard].name, &path, e->err);
    if (code == QK_OK) {
        code = qk_sums_mend(path, sum, n, e->progress, e->err);
        free(path);
    }
    free(sum);
    return code;
}

static enum qk_code write_files(struct exporter *e)
{
    QK_TRY(add_entries(e));
    QK_TRY(qk_fill_run(&e->fill, e->progress, e->err));
    for (size_t i = 0; i < e->post->n_shards; i++)
        QK_TRY(mend_sums(e, (int)i));
    return QK_OK;
}

static enum qk_code sync_folders(const struct exporter *e)
{
    for (size_t i = e->manifest.files.copied.n; i-- > 0;) {
        char *path;
        if (!e->manifest.files.copied.file[i].is_folder)
            continue;
        QK_TRY(qk_path_join(e->sibling, e->manifest.files.copied.file[i].name, &path, e->err));
        enum qk_code code = qk_sync_folder(path, e->err);
        free(path);
        QK_TRY(code);
    }
    return QK_OK;
}

/* --- patches --- */

static void add_patch_tensor(cJSON *header, const struct qk_tensor *tensor, uint64_t at)
{
    cJSON *entry = cJSON_AddObjectToObject(header, tensor->name);
    cJSON_AddStringToObject(entry, "dtype", qk_dtype_name(tensor->dtype));
    cJSON *shape = cJSON_AddArrayToObject(entry, "shape");
    for (int i = 0; i < tensor->n_dims; i++)
        qk_json_append(shape, cJSON_CreateNumber((double)tensor->shape[i]));
    cJSON *offsets = cJSON_AddArrayToObject(entry, "data_offsets");
    qk_json_append(offsets, cJSON_CreateNumber((double)at));
    qk_json_append(offsets, cJSON_CreateNumber((double)(at + tensor->bytes)));
}

/* The header of a patch, padded so that its data begins at a multiple of 8. */
static enum qk_code patch_header(const struct exporter *e, char **out, struct qk_error *err)
{
    cJSON *header = cJSON_CreateObject();
    uint64_t at = 0;
    char *text;
    cJSON_AddStringToObject(cJSON_AddObjectToObject(header, "__metadata__"), "format", "pt");
    for (size_t i = 0; i < e->manifest.n_changes; i++) {
        add_patch_tensor(header, e->manifest.change[i].tensor, at);
        at += e->manifest.change[i].tensor->bytes;
    }
    QK_TRY(qk_json_text(header, false, &text, err));
    struct qk_text padded = {0};
    qk_text_add(&padded, "%s", text);
    free(text);
    while (padded.length % 8 != 0 && !padded.failed)
        qk_text_add(&padded, " ");
    return qk_text_take(&padded, out, err);
}

static enum qk_code write_patch(struct exporter *e)
{
    char *path = NULL;
    uint64_t bytes = e->manifest.bytes_total;
    QK_TRY(patch_header(e, &e->header, e->err));
    uint64_t at = 8 + strlen(e->header);
    QK_TRY(qk_path_join(e->sibling, QK_PATCH_NAME, &path, e->err));
    enum qk_code code = qk_fill_add_file(&e->fill, path, 0666, at + bytes, NULL, e->err);
    free(path);
    QK_TRY(code);
    QK_TRY(qk_fill_add_made(&e->fill, 0, at, 0, e->manifest.n_changes, e->err));
    for (size_t i = 0; i < e->manifest.n_changes; i++) {
        QK_TRY(add_tensor(e, i, at));
        at += e->manifest.change[i].tensor->bytes;
    }
    return qk_fill_run(&e->fill, e->progress, e->err);
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
        QK_TRY(write_files(e));
        QK_TRY(sync_folders(e));
    }
    QK_TRY(qk_pair_unchanged(e->pair, e->err));
    QK_TRY(write_recipe(e));
    return qk_sync_folder(e->sibling, e->err);
}

static enum qk_code run(struct exporter *e)
{
    QK_TRY(qk_export_manifest(e->pair, e->selection, e->options, &e->manifest, e->err));
    QK_TRY(qk_recipe_make(e->pair, e->selection, e->options->norms, e->options->comment, &e->recipe, e->err));
    QK_TRY(qk_alloc(&e->recipe.output, e->manifest.n_changes, sizeof *e->recipe.output, e->err));
    e->recipe.n_outputs = e->manifest.n_changes;
    qk_progress_total(e->progress, e->manifest.bytes_written);
    /* Nothing is removed or renamed for an export that is refused: this comes behind all that refuses one. */
    QK_TRY(qk_replaced_recover(e->options->target, e->err));
    QK_TRY(qk_left_overs_clear(e->options->target, e->err));
    QK_TRY(qk_create_sibling(e->options->target, true, &e->sibling, &e->lock, e->err));
    enum qk_code code = fill_sibling(e);
    if (code == QK_OK)
        code = qk_replace_folder(e->sibling, e->options->target, e->manifest.target_exists, e->err);
    if (code == QK_OK)
        return QK_OK;
    /* Where no more files can be opened, nothing could be removed. */
    qk_fill_free(&e->fill);
    close(e->lock);
    e->lock = -1;
    qk_folder_remove(e->sibling, NULL);
    return code;
}

enum qk_code qk_export(const struct qk_pair *pair, const struct qk_selection *selection,
    const struct qk_export_options *options, struct qk_progress *progress, struct qk_error *err)
{
    struct qk_export_options plain = *options;
    char *target;
    QK_TRY(qk_plain_path(options->target, &target, err));
    plain.target = target;
    struct exporter e = {.pair = pair,
        .post = qk_export_subject(pair, options->adapter),
        .selection = selection,
        .options = &plain,
        .progress = progress,
        .err = err,
        .lock = -1};
    e.fill.make = make_tensor;
    e.fill.context = &e;
    enum qk_code code = run(&e);
    if (options->written != NULL)
        *options->written = e.written;
    if (e.lock >= 0)
        close(e.lock);
    qk_fill_free(&e.fill);
    free(e.header);
    free(e.sibling);
    free(target);
    qk_recipe_free(&e.recipe);
    qk_export_manifest_free(&e.manifest);
    return code;
}
