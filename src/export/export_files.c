/* export_files.c - the choice of post's files that an export holds. */
#include "export/export_files.h"

#include "base/mem.h"
#include "base/text.h"
#include "export/recipe.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A listing of post's folder. */
struct chooser {
    const struct qk_checkpoint *post;
    const struct qk_file_rules *rules;
    bool single;         /* post is one file of a folder that may hold other things */
    bool left_over;      /* adapter_config.json is left over */
    char root[PATH_MAX]; /* the folder without links */
    struct qk_export_files *out;
};

static bool ends_with_one_of(const char *name, const char *const *ends)
{
    for (; *ends != NULL; ends++)
        if (qk_ends_with(name, *ends))
            return true;
    return false;
}

int qk_export_shard(const struct qk_checkpoint *post, const char *name)
{
    for (size_t i = 0; i < post->n_shards; i++)
        if (strcmp(post->shard[i].name, name) == 0)
            return (int)i;
    return -1;
}

/* True for a shard, and for a folder with one in it or below. */
static bool holds_shard(const struct qk_checkpoint *post, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < post->n_shards; i++)
        if (strncmp(post->shard[i].name, name, n) == 0 &&
            (post->shard[i].name[n] == '\0' || post->shard[i].name[n] == '/'))
            return true;
    return false;
}

bool qk_export_leaves_out(const struct qk_checkpoint *post, const char *name, bool is_folder)
{
    return !holds_shard(post, name) && qk_side_kind_of(name, is_folder) == QK_SIDE_STATE;
}

/* An earlier recipe would look like this export's, and the config of a merged adapter would add it once more. */
static bool still_true(const struct qk_checkpoint *post, const char *name)
{
    return strcmp(name, QK_RECIPE_NAME) != 0 &&
           (post->adapter == NULL || strcmp(name, QK_ADAPTER_CONFIG) != 0);
}

static bool beside_single_file(const struct qk_checkpoint *post, const char *name)
{
    static const char *const side_files[] = {".json", ".txt", ".model", ".py", ".jinja", ".md", NULL};
    return qk_export_shard(post, name) >= 0 ||
           (ends_with_one_of(name, side_files) && strstr(name, ".index.json") == NULL);
}

/* --- links --- */

/* True when `root` is a snapshot in a cache of the hub, and `target` one of its blobs. */
static bool is_blob(const char *root, const char *target)
{
    static const char SNAPSHOTS[] = "/snapshots/";
    const char *last = NULL;
    char blobs[PATH_MAX];
    for (const char *at = root; (at = strstr(at, SNAPSHOTS)) != NULL; at++)
        last = at;
    int n = last == NULL ? -1 : snprintf(blobs, sizeof blobs, "%.*s/blobs", (int)(last - root), root);
    return n > 0 && n < (int)sizeof blobs && qk_path_inside(target, blobs);
}

static enum qk_code check_link(const struct chooser *c, const struct qk_entry *entry, struct qk_error *err)
{
    char target[PATH_MAX];
    if (!entry->is_link || c->rules->follow_links || qk_export_shard(c->post, entry->name) >= 0)
        return QK_OK;
    if (realpath(entry->path, target) == NULL)
        return qk_fail_errno(err, entry->path, "examine");
    if (qk_path_inside(target, c->root) || is_blob(c->root, target))
        return QK_OK;
    return qk_fail(err, QK_INPUT,
        "%s: a link out of the folder, to %s: what it leads to is not copied (--follow-links copies it)",
        entry->path, target);
}

/* --- choosing --- */

static enum qk_code add_side(struct qk_export_files *files, const char *name, size_t n, const char *end,
    enum qk_side_kind kind, struct qk_side_file **out, struct qk_error *err)
{
    QK_TRY(qk_grow(&files->side, &files->capacity, files->n_sides + 1, sizeof *files->side, err));
    struct qk_text text = {0};
    qk_text_add(&text, "%.*s%s", (int)n, name, end);
    *out = &files->side[files->n_sides];
    **out = (struct qk_side_file){.kind = kind};
    QK_TRY(qk_text_take(&text, &(*out)->name, err));
    files->n_sides++;
    return QK_OK;
}

static enum qk_code leave_out(struct chooser *c, const struct qk_entry *entry, struct qk_error *err)
{
    struct qk_side_file *side;
    QK_TRY(add_side(
        c->out, entry->name, strlen(entry->name), entry->is_folder ? "/" : "", QK_SIDE_STATE, &side, err));
    if (entry->is_folder)
        qk_folder_size(entry->path, &side->bytes, &side->n_files);
    else
        *side = (struct qk_side_file){side->name, side->kind, entry->bytes, 1};
    return QK_OK;
}

/* The filter of the listing. */
static enum qk_code choose(void *context, const struct qk_entry *entry, bool *taken, struct qk_error *err)
{
    struct chooser *c = context;
    bool state = qk_export_leaves_out(c->post, entry->name, entry->is_folder),
         config = c->left_over && strcmp(entry->name, QK_ADAPTER_CONFIG) == 0;
    *taken =
        still_true(c->post, entry->name) && (!c->single || state || beside_single_file(c->post, entry->name));
    if (*taken && !c->rules->everything && (config || state)) {
        *taken = false;
        return leave_out(c, entry, err);
    }
    return *taken ? check_link(c, entry, err) : QK_OK;
}

/* Notes a copied file that is hidden or of no model; the files of a folder follow each other, and are one entry. */
static enum qk_code note_copied(struct chooser *c, const struct qk_file *file, struct qk_error *err)
{
    struct qk_export_files *files = c->out;
    struct qk_side_file *last = files->n_sides > 0 ? &files->side[files->n_sides - 1] : NULL;
    enum qk_side_kind kind = qk_side_kind_of(file->name, false);
    size_t n = strcspn(file->name, "/");
    bool below = file->name[n] == '/';
    if (kind != QK_SIDE_HIDDEN && kind != QK_SIDE_OTHER)
        return QK_OK;
    if (!below || last == NULL || last->kind != kind || strncmp(last->name, file->name, n + 1) != 0)
        QK_TRY(add_side(files, file->name, n, below ? "/" : "", kind, &last, err));
    last->bytes += file->bytes;
    last->n_files++;
    return QK_OK;
}

static int by_kind(const void *a, const void *b)
{
    const struct qk_side_file *x = a, *y = b;
    return x->kind != y->kind ? (int)x->kind - (int)y->kind : strcmp(x->name, y->name);
}

static enum qk_code examine_folder(struct chooser *c, struct qk_error *err)
{
    struct qk_lines names;
    if (realpath(c->post->folder, c->root) == NULL)
        return qk_fail_errno(err, c->post->folder, "examine");
    QK_TRY(qk_folder_names(c->post->folder, NULL, &names, err));
    c->left_over = qk_adapter_left_over(&names);
    qk_lines_free(&names);
    return QK_OK;
}

enum qk_code qk_export_files(const struct qk_checkpoint *post, const struct qk_file_rules *rules,
    struct qk_export_files *files, struct qk_error *err)
{
    const char *path = post->adapter != NULL ? post->adapter->base_path : post->path;
    struct chooser c = {.post = post,
        .rules = rules,
        .single = post->index_path == NULL && strcmp(path, post->folder) != 0,
        .out = files};
    *files = (struct qk_export_files){0};
    QK_TRY(examine_folder(&c, err));
    QK_TRY(qk_folder_list(post->folder, !c.single, choose, &c, &files->copied, err));
    for (size_t i = 0; i < files->copied.n; i++) {
        const struct qk_file *file = &files->copied.file[i];
        if (!file->is_folder && qk_export_shard(post, file->name) < 0)
            QK_TRY(note_copied(&c, file, err));
    }
    if (files->n_sides > 1)
        qsort(files->side, files->n_sides, sizeof *files->side, by_kind);
    return QK_OK;
}

void qk_export_files_free(struct qk_export_files *files)
{
    qk_folder_free(&files->copied);
    for (size_t i = 0; i < files->n_sides; i++)
        free(files->side[i].name);
    free(files->side);
    *files = (struct qk_export_files){0};
}
