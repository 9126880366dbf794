/* place.c - the making of such a folder, and its removal. */
#include "eval/engine/place.h"

#include "base/atomic_file.h"
#include "base/cache.h"
#include "base/left_over.h"
#include "base/mem.h"
#include "export/export.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- where --- */

/* *out = CACHE/engines, which exists then. */
static enum qk_code cache_place(char **out, struct qk_error *err)
{
    char *path;
    QK_TRY(qk_cache_path("engines/", &path, err));
    if (path == NULL)
        return qk_fail(err, QK_IO, "no folder to write in (expected --scratch DIR, or HOME)");
    enum qk_code code = qk_make_folders(path, err);
    if (code != QK_OK)
        free(path);
    else
        *out = path;
    return code;
}

static enum qk_code find_parent(
    const struct qk_engine_setting *setting, const char *model, char **out, struct qk_error *err)
{
    char *name;
    if (setting->options.engine.scratch != NULL)
        return qk_strdup_to(out, setting->options.engine.scratch, err);
    QK_TRY(qk_split_path(model, out, &name, err));
    free(name);
    if (access(*out, W_OK) == 0)
        return QK_OK;
    free(*out);
    return cache_place(out, err);
}

static enum qk_code make_folder(
    const struct qk_engine_setting *setting, struct qk_place *place, struct qk_error *err)
{
    char folder[PATH_MAX], real[PATH_MAX], *parent, *unused, *name, *target = NULL, *made = NULL;
    const char *post = setting->model[QK_POST]->checkpoint->folder;
    if (realpath(post, folder) == NULL)
        return qk_fail_errno(err, post, "resolve");
    QK_TRY(find_parent(setting, folder, &parent, err));
    enum qk_code code = qk_split_path(folder, &unused, &name, err);
    if (code == QK_OK) {
        free(unused);
        code = realpath(parent, real) == NULL ? qk_fail_errno(err, parent, "open the folder to write in")
                                              : qk_path_join(real, name, &target, err);
        free(name);
    }
    free(parent);
    if (code == QK_OK)
        code = qk_left_overs_clear(target, err);
    if (code == QK_OK)
        code = qk_create_sibling(target, true, &made, &place->lock, err);
    free(target);
    place->folder = made;
    return code;
}

static enum qk_code make_paths(struct qk_place *place, struct qk_error *err)
{
    QK_TRY(qk_path_join(place->folder, "out", &place->out, err));
    QK_TRY(qk_path_join(place->folder, "log", &place->log, err));
    QK_TRY(qk_path_join(place->folder, "cases.jsonl", &place->cases, err));
    return mkdir(place->out, 0777) == 0 ? QK_OK : qk_fail_errno(err, place->out, "create");
}

/* --- the checkpoint --- */

/* True where a folder on disk is the subject: not for a merged adapter, nor one file of a folder of many. */
static bool has_folder(const struct qk_engine_setting *setting, const struct qk_subject *subject)
{
    const struct qk_checkpoint *checkpoint = setting->model[subject->side]->checkpoint;
    bool whole = checkpoint->index_path != NULL || strcmp(checkpoint->path, checkpoint->folder) == 0;
    return subject->selection == NULL && checkpoint->adapter == NULL &&
           (whole || setting->pair == NULL || subject->side == QK_PRE);
}

static enum qk_code write_model(const struct qk_engine_setting *setting, const struct qk_subject *subject,
    struct qk_progress *progress, struct qk_place *place, struct qk_error *err)
{
    const struct qk_engine_options *engine = &setting->options.engine;
    struct qk_export_written written = {0};
    struct qk_selection none = {0};
    if (setting->pair == NULL)
        return qk_fail(err, QK_USAGE,
            "%s: an adapter alone is no checkpoint for another engine (expected PRE POST)",
            setting->model[QK_POST]->checkpoint->path);
    const struct qk_export_options options = {.target = place->model,
        .link = true,
        .link_names = true,
        .norms = subject->norms,
        .files = {.follow_links = true},
        .written = &written};
    QK_TRY(qk_selection_init(&none, setting->pair->n_layers, err));
    uint64_t done = progress != NULL ? atomic_load(&progress->done) : 0,
             total = progress != NULL ? atomic_load(&progress->total) : 0;
    enum qk_code code = qk_export(
        setting->pair, subject->selection != NULL ? subject->selection : &none, &options, progress, err);
    qk_selection_free(&none);
    if (progress != NULL) { /* the export counted its bytes */
        atomic_store(&progress->done, done);
        atomic_store(&progress->total, total);
    }
    if (code == QK_OK && engine->wrote != NULL)
        engine->wrote(engine->context, place->folder, &written);
    return code;
}

static enum qk_code make_model(const struct qk_engine_setting *setting, const struct qk_subject *subject,
    struct qk_progress *progress, struct qk_place *place, struct qk_error *err)
{
    char folder[PATH_MAX];
    const char *own = setting->model[subject->side]->checkpoint->folder;
    if (!has_folder(setting, subject)) {
        QK_TRY(qk_path_join(place->folder, "model", &place->model, err));
        return write_model(setting, subject, progress, place, err);
    }
    if (realpath(own, folder) == NULL)
        return qk_fail_errno(err, own, "resolve");
    return qk_strdup_to(&place->model, folder, err);
}

/* --- the whole --- */

enum qk_code qk_place_open(const struct qk_engine_setting *setting, struct qk_subject subject,
    struct qk_progress *progress, struct qk_place *place, struct qk_error *err)
{
    *place = (struct qk_place){.lock = -1};
    QK_TRY(make_folder(setting, place, err));
    QK_TRY(make_paths(place, err));
    return make_model(setting, &subject, progress, place, err);
}

void qk_place_close(struct qk_place *place)
{
    if (place->folder != NULL)
        qk_folder_remove(place->folder, NULL);
    if (place->lock >= 0)
        close(place->lock);
    free(place->folder);
    free(place->model);
    free(place->out);
    free(place->log);
    free(place->cases);
    *place = (struct qk_place){.lock = -1};
}
