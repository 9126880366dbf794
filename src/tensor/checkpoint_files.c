/* checkpoint_files.c - the search for a checkpoint's shards. */
#include "tensor/checkpoint_files.h"

#include "base/folder.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "tensor/safetensors.h"
#include "tensor/torch/torch.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char TORCH_FILE[] = "pytorch_model.bin", TORCH_INDEX[] = "pytorch_model.bin.index.json";

/* The names of a folder's entries, sorted: all, and those that may belong to a checkpoint. `torch` are PyTorch files
 * and their indexes, which count where there is no safetensors. */
struct files {
    struct qk_lines all, weights, indexes, torch;
};

static void free_files(struct files *files)
{
    qk_lines_free(&files->all);
    qk_lines_free(&files->weights);
    qk_lines_free(&files->indexes);
    qk_lines_free(&files->torch);
}

/* Freed with free_files, also after a failure. */
static enum qk_code list_folder(const char *folder, struct files *files, struct qk_error *err)
{
    *files = (struct files){0};
    enum qk_code code = qk_folder_names(folder, NULL, &files->all, err);
    for (size_t i = 0; i < files->all.n && code == QK_OK; i++) {
        const char *name = files->all.line[i];
        if (qk_adapter_weights_name(name)) /* no part of a whole model */
            continue;
        if (qk_ends_with(name, ".safetensors"))
            code = qk_lines_add(&files->weights, err, "%s", name);
        else if (qk_ends_with(name, ".safetensors.index.json"))
            code = qk_lines_add(&files->indexes, err, "%s", name);
        else if (qk_torch_name(name) || strcmp(name, TORCH_INDEX) == 0)
            code = qk_lines_add(&files->torch, err, "%s", name);
    }
    return code;
}

/* What a folder that lies in a checkpoint's place holds. */
enum { HOLDS_NOTHING, HOLDS_ADAPTER, HOLDS_CHECKPOINT };

static int holds(const char *folder)
{
    struct files files = {0};
    struct stat info;
    int what = HOLDS_NOTHING;
    if (stat(folder, &info) == 0 && S_ISDIR(info.st_mode) && list_folder(folder, &files, NULL) == QK_OK) {
        bool torch = qk_lines_hold(&files.torch, TORCH_FILE) || qk_lines_hold(&files.torch, TORCH_INDEX);
        if (qk_lines_hold(&files.all, QK_ADAPTER_CONFIG) && !qk_adapter_left_over(&files.all))
            what = HOLDS_ADAPTER;
        else if (torch || files.weights.n > 0 || files.indexes.n > 0)
            what = HOLDS_CHECKPOINT;
    }
    free_files(&files);
    return what;
}

/* Appends to the hint which folders in this one have weights: PEFT names one after the adapter ("default"), and Trainer
 * after the step ("checkpoint-500"). Nothing where none has. */
static enum qk_code hint_inside(
    const struct qk_checkpoint *c, const struct files *files, struct qk_text *hint, struct qk_error *err)
{
    int first = HOLDS_NOTHING;
    size_t n = 0, at = 0;
    for (size_t i = 0; i < files->all.n; i++) {
        char *path;
        QK_TRY(qk_path_join(c->folder, files->all.line[i], &path, err));
        int what = holds(path);
        free(path);
        if (what != HOLDS_NOTHING && n++ == 0) {
            first = what;
            at = i;
        }
    }
    const char *what = first == HOLDS_ADAPTER ? "an adapter" : "a checkpoint";
    if (n == 1)
        qk_text_add(hint, " (%s holds %s: name that folder)", files->all.line[at], what);
    else if (n > 1)
        qk_text_add(hint, " (%s and %zu more hold %s: name one of them)", files->all.line[at], n - 1, what);
    return QK_OK;
}

/* Refuses a folder without weights. */
static enum qk_code refuse_empty(
    const struct qk_checkpoint *c, const struct files *files, struct qk_error *err)
{
    struct qk_text hint = {0};
    enum qk_code code = hint_inside(c, files, &hint, err);
    if (code == QK_OK && hint.s == NULL && files->torch.n > 0)
        qk_text_add(&hint, " (name the file itself if it is %s)", files->torch.line[0]);
    if (code == QK_OK)
        code = qk_fail(err, QK_INPUT, "%s: no .safetensors file and no %s here%s", c->folder, TORCH_FILE,
            hint.s != NULL ? hint.s : "");
    qk_text_free(&hint);
    return code;
}

/* Refuses loose files without a config beside folders that hold checkpoints: they are results or goldens of these. */
static enum qk_code refuse_parent(
    const struct qk_checkpoint *c, const struct files *files, struct qk_error *err)
{
    struct qk_text hint = {0};
    if (files->weights.n < 2 || qk_lines_hold(&files->all, "config.json"))
        return QK_OK;
    enum qk_code code = hint_inside(c, files, &hint, err);
    if (code == QK_OK && hint.s != NULL)
        code =
            qk_fail(err, QK_INPUT, "%s: no config.json and no model.safetensors here%s", c->folder, hint.s);
    qk_text_free(&hint);
    return code;
}

/* Lists PyTorch shards, for a folder without safetensors. It takes known names alone: other PyTorch files may be
 * states of optimizers. */
static enum qk_code choose_torch(
    struct qk_checkpoint *c, const struct files *files, struct qk_lines *names, struct qk_error *err)
{
    if (qk_lines_hold(&files->torch, TORCH_FILE))
        return qk_lines_add(names, err, "%s", TORCH_FILE);
    if (qk_lines_hold(&files->torch, TORCH_INDEX))
        return qk_path_join(c->folder, TORCH_INDEX, &c->index_path, err);
    return refuse_empty(c, files, err);
}

static const char SINGLE[] = "model.safetensors", INDEX[] = "model.safetensors.index.json";

/* The shards that the name of one says there are ("model-00001-of-00002.safetensors"), or 0. *number: which it is. */
static unsigned long shard_count(const char *name, unsigned long *number)
{
    const char *of = strstr(name, "-of-"), *dash = of;
    char *end;
    while (dash != NULL && dash > name && isdigit((unsigned char)dash[-1]))
        dash--;
    if (of == NULL || dash == of || dash == name || dash[-1] != '-' || !isdigit((unsigned char)of[4]))
        return 0;
    *number = strtoul(dash, NULL, 10);
    unsigned long count = strtoul(of + 4, &end, 10);
    return strcmp(end, ".safetensors") == 0 ? count : 0;
}

/* Takes the numbered shards of a folder without an index, and leaves other files out; all files when none is
 * numbered. */
static enum qk_code choose_numbered(
    struct qk_checkpoint *c, const struct files *files, struct qk_lines *names, struct qk_error *err)
{
    const struct qk_lines *weights = &files->weights;
    unsigned long count = 0, found = 0, number, other;
    for (size_t i = 0; i < weights->n; i++) {
        unsigned long n = shard_count(weights->line[i], &number);
        if (n > 0 && count > 0 && n != count)
            return qk_fail(err, QK_INPUT, "%s: no index, and shards of two sets (%s and one of %lu)",
                c->folder, weights->line[i], count);
        count = n > 0 ? n : count;
        found += n > 0;
    }
    if (count == 0)
        QK_TRY(refuse_parent(c, files, err));
    for (size_t i = 0; i < weights->n; i++)
        if (count == 0 || shard_count(weights->line[i], &other) > 0)
            QK_TRY(qk_lines_add(names, err, "%s", weights->line[i]));
    if (found < count)
        return qk_fail(err, QK_INPUT, "%s: shards are missing (found %lu, expected %lu as in %s)", c->folder,
            found, count, names->line[0]);
    if (names->n < weights->n)
        QK_TRY(qk_lines_add(&c->notes, err, "%s: only numbered shards count (%s ...), and no other file",
            c->folder, names->line[0]));
    return QK_OK;
}

static int text_against_text(const void *a, const void *b)
{
    return strcmp(a, *(char *const *)b);
}

/* *more = the index names a tensor that the file does not hold, or the file cannot be read. */
static enum qk_code names_more(const cJSON *map, const char *path, bool *more, struct qk_error *err)
{
    struct qk_tensor_file file;
    struct qk_error unheard = {0};
    char **name;
    *more = qk_safetensors_open(path, &file, &unheard) != QK_OK;
    if (*more)
        return QK_OK;
    enum qk_code code = qk_alloc(&name, file.n_tensors, sizeof *name, err);
    if (code == QK_OK) {
        for (size_t i = 0; i < file.n_tensors; i++)
            name[i] = file.tensor[i].name;
        qk_sort_texts(name, file.n_tensors);
        for (const cJSON *item = map->child; item != NULL && !*more; item = item->next)
            *more = file.n_tensors == 0 ||
                    bsearch(item->string, name, file.n_tensors, sizeof *name, text_against_text) == NULL;
        free(name);
    }
    qk_tensor_file_close(&file);
    return code;
}

/* What an index says of the folder that it lies in. */
struct outlook {
    bool any, all; /* of its shards are here */
    bool more;     /* it names a tensor that model.safetensors lacks */
};

/* *root = the index. One that cannot be read is NULL, and stands for one whose shards are here: read_index reports the
 * fault. */
static enum qk_code examine_index(const struct qk_checkpoint *c, const char *index,
    const struct qk_lines *weights, cJSON **root, struct outlook *out, struct qk_error *err)
{
    struct qk_error unheard = {0};
    char *path, *single;
    *out = (struct outlook){.any = true};
    QK_TRY(qk_path_join(c->folder, index, &path, err));
    enum qk_code code = qk_source_json(path, QK_MAX_INDEX_BYTES, root, &unheard);
    const cJSON *map = code == QK_OK ? qk_json_get(*root, "weight_map") : NULL;
    free(path);
    code = QK_OK;
    if (cJSON_IsObject(map) && map->child != NULL) {
        const char *last = NULL;
        *out = (struct outlook){.all = true};
        for (const cJSON *item = map->child; item != NULL; item = item->next) {
            if (!cJSON_IsString(item))
                out->any = true;
            if (!cJSON_IsString(item) || (last != NULL && strcmp(last, item->valuestring) == 0))
                continue;
            last = item->valuestring;
            bool plain = strchr(last, '/') == NULL && qk_ends_with(last, ".safetensors"),
                 here = !plain || qk_lines_hold(weights, last);
            out->any = out->any || here;
            out->all = out->all && here;
        }
        if (qk_lines_hold(weights, SINGLE) && out->all &&
            (code = qk_path_join(c->folder, SINGLE, &single, err)) == QK_OK) {
            code = names_more(map, single, &out->more, err);
            free(single);
        }
    }
    return code;
}

/* Chooses among the safetensors files: the single one, unless an index has all its shards and names more; then the
 * index; else the files. */
static enum qk_code choose_safetensors(struct qk_checkpoint *c, const struct files *files,
    struct qk_lines *names, cJSON **root, struct qk_error *err)
{
    const struct qk_lines *weights = &files->weights, *indexes = &files->indexes;
    const char *index = qk_lines_hold(indexes, INDEX) ? INDEX : indexes->n == 1 ? indexes->line[0] : NULL;
    bool single = qk_lines_hold(weights, SINGLE);
    struct outlook outlook = {0};
    if (index != NULL && weights->n > 0)
        QK_TRY(examine_index(c, index, weights, root, &outlook, err));
    if (single && !outlook.more)
        return qk_lines_add(names, err, SINGLE);
    if (single)
        QK_TRY(qk_lines_add(&c->notes, err,
            "%s/%s: left out, for %s names more tensors and its shards are here", c->folder, SINGLE, index));
    if (index != NULL && (outlook.any || weights->n == 0))
        return qk_path_join(c->folder, index, &c->index_path, err);
    if (index != NULL)
        QK_TRY(qk_lines_add(
            &c->notes, err, "%s/%s: left out, for none of its shards is here", c->folder, index));
    else if (indexes->n > 1)
        return qk_fail(err, QK_INPUT, "%s: more than one index (%s, %s ...): name one of them", c->folder,
            indexes->line[0], indexes->line[1]);
    return choose_numbered(c, files, names, err);
}

/* Refuses a folder with an adapter's weights alone. Notes an adapter's config beside the weights of a whole model. */
static enum qk_code check_adapter_files(
    struct qk_checkpoint *c, const struct files *files, struct qk_error *err)
{
    bool config = qk_lines_hold(&files->all, QK_ADAPTER_CONFIG);
    if (!config && files->weights.n == 0 && files->torch.n == 0 && qk_adapter_has_weights(&files->all))
        return qk_fail(
            err, QK_INPUT, "%s: the weights of an adapter without their %s", c->folder, QK_ADAPTER_CONFIG);
    if (config && qk_adapter_left_over(&files->all))
        return qk_lines_add(&c->notes, err,
            "%s/%s: left over: the weights beside it are those of a whole model", c->folder,
            QK_ADAPTER_CONFIG);
    return QK_OK;
}

/* Fills `names` with the shards of a folder, or sets index_path, and *index where it has been read. */
static enum qk_code choose_in_folder(
    struct qk_checkpoint *c, struct qk_lines *names, cJSON **index, struct qk_error *err)
{
    struct files files;
    enum qk_code code = list_folder(c->folder, &files, err);
    if (code == QK_OK)
        code = check_adapter_files(c, &files, err);
    if (code == QK_OK)
        code = files.weights.n == 0 && files.indexes.n == 0
                   ? choose_torch(c, &files, names, err)
                   : choose_safetensors(c, &files, names, index, err);
    free_files(&files);
    return code;
}

/* Splits the path of a file into the checkpoint's folder and the file's name (borrowed from path). */
static enum qk_code split_file(
    struct qk_checkpoint *c, const char *path, const char **name, struct qk_error *err)
{
    const char *slash = strrchr(path, '/');
    *name = slash != NULL ? slash + 1 : path;
    if (slash == NULL)
        return qk_strdup_to(&c->folder, ".", err);
    return qk_strndup_to(&c->folder, path, slash == path ? 1 : (size_t)(slash - path), err);
}

/* Tries the two names that transformers writes, without asking the hub for a list of files. */
static enum qk_code choose_remote(struct qk_checkpoint *c, struct qk_lines *names, struct qk_error *err)
{
    char *index, *single;
    bool found;
    QK_TRY(qk_strdup_to(&c->folder, c->path, err));
    QK_TRY(qk_path_join(c->folder, "model.safetensors.index.json", &index, err));
    enum qk_code code = qk_source_exists(index, &found, err);
    if (code == QK_OK && found) {
        c->index_path = index;
        return QK_OK;
    }
    free(index);
    QK_TRY(code);
    QK_TRY(qk_path_join(c->folder, "model.safetensors", &single, err));
    code = qk_source_exists(single, &found, err);
    free(single);
    QK_TRY(code);
    if (!found)
        return qk_fail(err, QK_IO,
            "%s: no such model or revision, or one without model.safetensors and "
            "model.safetensors.index.json (HTTP status 404)",
            c->path);
    return qk_lines_add(names, err, "model.safetensors");
}

enum qk_code qk_checkpoint_choose(
    struct qk_checkpoint *c, struct qk_lines *names, cJSON **index, struct qk_error *err)
{
    struct stat info;
    const char *name;
    if (qk_remote_has(c->path))
        return choose_remote(c, names, err);
    if (stat(c->path, &info) != 0)
        return qk_fail_errno(err, c->path, "open");
    if (S_ISDIR(info.st_mode)) {
        QK_TRY(qk_strdup_to(&c->folder, c->path, err));
        return choose_in_folder(c, names, index, err);
    }
    if (!S_ISREG(info.st_mode))
        return qk_fail(err, QK_INPUT, "%s: neither a folder nor a regular file", c->path);
    QK_TRY(split_file(c, c->path, &name, err));
    if (qk_ends_with(name, ".json"))
        return qk_strdup_to(&c->index_path, c->path, err);
    if (!qk_ends_with(name, ".safetensors") && !qk_torch_name(name))
        return qk_fail(err, QK_INPUT,
            "%s: not a .safetensors file, a PyTorch file (.bin, .pt, .pth), an index.json or a folder",
            c->path);
    return qk_lines_add(names, err, "%s", name);
}
