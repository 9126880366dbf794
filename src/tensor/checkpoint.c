/* checkpoint.c - the search for a checkpoint's shards, whose tensors it joins into one table. */
#include "tensor/checkpoint.h"

#include "base/folder.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "tensor/safetensors.h"
#include "tensor/torch/torch.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_INDEX_BYTES = 64 << 20 };

/* --- which files --- */

static const char TORCH_FILE[] = "pytorch_model.bin", TORCH_INDEX[] = "pytorch_model.bin.index.json";

/* Names of a folder's entries that may belong to a checkpoint, sorted. `torch` are PyTorch files and their indexes,
 * which count where there is no safetensors. */
static enum qk_code list_folder(const char *folder, struct qk_lines *weights, struct qk_lines *indexes,
    struct qk_lines *torch, struct qk_error *err)
{
    struct qk_lines names;
    enum qk_code code = qk_folder_names(folder, NULL, &names, err);
    for (size_t i = 0; i < names.n && code == QK_OK; i++) {
        const char *name = names.line[i];
        if (qk_ends_with(name, ".safetensors"))
            code = qk_lines_add(weights, err, "%s", name);
        else if (qk_ends_with(name, ".safetensors.index.json"))
            code = qk_lines_add(indexes, err, "%s", name);
        else if (qk_torch_name(name) || strcmp(name, TORCH_INDEX) == 0)
            code = qk_lines_add(torch, err, "%s", name);
    }
    qk_lines_free(&names);
    return code;
}

static bool holds(const struct qk_lines *lines, const char *name)
{
    for (size_t i = 0; i < lines->n; i++)
        if (strcmp(lines->line[i], name) == 0)
            return true;
    return false;
}

/* Lists PyTorch shards, for a folder without safetensors. It takes known names alone: other PyTorch files may be
 * states of optimizers. */
static enum qk_code choose_torch(
    struct qk_checkpoint *c, const struct qk_lines *torch, struct qk_lines *names, struct qk_error *err)
{
    if (holds(torch, TORCH_FILE))
        return qk_lines_add(names, err, "%s", TORCH_FILE);
    if (holds(torch, TORCH_INDEX))
        return qk_path_join(c->folder, TORCH_INDEX, &c->index_path, err);
    return qk_fail(err, QK_INPUT, "%s: no .safetensors file and no %s here%s%s%s", c->folder, TORCH_FILE,
        torch->n > 0 ? " (name the file itself if it is " : "", torch->n > 0 ? torch->line[0] : "",
        torch->n > 0 ? ")" : "");
}

/* Fills `names` with the shards of a folder, or sets index_path. */
static enum qk_code choose_in_folder(struct qk_checkpoint *c, struct qk_lines *names, struct qk_error *err)
{
    struct qk_lines weights = {0}, indexes = {0}, torch = {0};
    enum qk_code code = list_folder(c->folder, &weights, &indexes, &torch, err);
    if (code != QK_OK)
        goto done;
    const char *index = holds(&indexes, "model.safetensors.index.json") ? "model.safetensors.index.json"
                        : indexes.n == 1                                ? indexes.line[0]
                                                                        : NULL;
    if (holds(&weights, "model.safetensors"))
        code = qk_lines_add(names, err, "model.safetensors");
    else if (index != NULL)
        code = qk_path_join(c->folder, index, &c->index_path, err);
    else if (indexes.n > 1)
        code = qk_fail(err, QK_INPUT, "%s: more than one index (%s, %s ...): name one of them", c->folder,
            indexes.line[0], indexes.line[1]);
    else if (weights.n == 0)
        code = choose_torch(c, &torch, names, err);
    else
        for (size_t i = 0; code == QK_OK && i < weights.n; i++)
            code = qk_lines_add(names, err, "%s", weights.line[i]);
done:
    qk_lines_free(&weights);
    qk_lines_free(&indexes);
    qk_lines_free(&torch);
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

static enum qk_code choose_files(struct qk_checkpoint *c, struct qk_lines *names, struct qk_error *err)
{
    struct stat info;
    const char *name;
    if (qk_remote_has(c->path))
        return choose_remote(c, names, err);
    if (stat(c->path, &info) != 0)
        return qk_fail_errno(err, c->path, "open");
    if (S_ISDIR(info.st_mode)) {
        QK_TRY(qk_strdup_to(&c->folder, c->path, err));
        return choose_in_folder(c, names, err);
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

/* --- the index --- */

struct entry { /* one line of weight_map; borrowed from the JSON */
    const char *tensor, *shard;
};

static int entries_by_tensor(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->tensor, ((const struct entry *)b)->tensor);
}

static enum qk_code check_shard_name(
    const char *index, const char *tensor, const char *name, struct qk_error *err)
{
    const char *end = qk_ends_with(index, ".bin.index.json") ? ".bin" : ".safetensors";
    if (name[0] == '\0' || strchr(name, '/') != NULL || strcmp(name, "..") == 0 || !qk_ends_with(name, end))
        return qk_fail(
            err, QK_INPUT, "%s: %s: \"%s\" is not a plain %s name in this folder", index, tensor, name, end);
    return QK_OK;
}

static enum qk_code read_index(const char *path, cJSON **root, struct entry **entries, size_t *n,
    struct qk_lines *names, struct qk_error *err)
{
    QK_TRY(qk_source_json(path, MAX_INDEX_BYTES, root, err));
    const cJSON *map = qk_json_get(*root, "weight_map");
    if (!cJSON_IsObject(map))
        return qk_fail(err, QK_INPUT, "%s: weight_map is missing or not an object", path);
    const char *twice;
    QK_TRY(qk_json_duplicate(*root, &twice, err));
    if (twice != NULL)
        return qk_fail(err, QK_INPUT, "%s: the key \"%s\" appears twice", path, twice);
    QK_TRY(qk_json_duplicate(map, &twice, err));
    if (twice != NULL)
        return qk_fail(err, QK_INPUT, "%s: %s: appears twice in weight_map", path, twice);
    for (const cJSON *item = map->child; item != NULL; item = item->next)
        ++*n;
    if (*n == 0)
        return qk_fail(err, QK_INPUT, "%s: weight_map is empty", path);
    QK_TRY(qk_alloc(entries, *n, sizeof **entries, err));
    size_t i = 0;
    struct qk_lines all = {0};
    enum qk_code code = QK_OK;
    for (const cJSON *item = map->child; code == QK_OK && item != NULL; item = item->next) {
        if (!cJSON_IsString(item)) {
            code = qk_fail(err, QK_INPUT, "%s: %s: its shard is not a string", path, item->string);
            break;
        }
        code = check_shard_name(path, item->string, item->valuestring, err);
        (*entries)[i++] = (struct entry){item->string, item->valuestring};
        if (code == QK_OK && (all.n == 0 || strcmp(all.line[all.n - 1], item->valuestring) != 0))
            code = qk_lines_add(&all, err, "%s", item->valuestring);
    }
    if (code == QK_OK) {
        qk_sort_texts(all.line, all.n);
        for (size_t k = 0; code == QK_OK && k < all.n; k++)
            if (k == 0 || strcmp(all.line[k], all.line[k - 1]) != 0)
                code = qk_lines_add(names, err, "%s", all.line[k]);
        qsort(*entries, *n, sizeof **entries, entries_by_tensor);
    }
    qk_lines_free(&all);
    return code;
}

/* Checks that the table and the index, both sorted by name, agree. */
static enum qk_code compare_with_index(
    const struct qk_checkpoint *c, const struct entry *entries, size_t n, struct qk_error *err)
{
    size_t i = 0, j = 0;
    while (i < n || j < c->n_tensors) {
        int order = i == n ? 1 : j == c->n_tensors ? -1 : strcmp(entries[i].tensor, c->by_name[j]->name);
        if (order < 0)
            return qk_fail(err, QK_INPUT, "%s: %s: the index says it is in %s, but no shard holds it",
                c->index_path, entries[i].tensor, entries[i].shard);
        const struct qk_tensor *tensor = c->by_name[j];
        const char *shard = c->shard[tensor->shard].name;
        if (order > 0)
            return qk_fail(err, QK_INPUT, "%s: %s: %s holds it, but the index does not name it",
                c->index_path, tensor->name, shard);
        if (strcmp(entries[i].shard, shard) != 0)
            return qk_fail(err, QK_INPUT, "%s: %s: in the wrong shard (found %s, expected %s)", c->index_path,
                tensor->name, shard, entries[i].shard);
        i++;
        j++;
    }
    return QK_OK;
}

/* --- the table --- */

static int tensors_by_name(const void *a, const void *b)
{
    const struct qk_tensor *x = *(const struct qk_tensor *const *)a, *y = *(const struct qk_tensor *const *)b;
    return strcmp(x->name, y->name);
}

static enum qk_code open_shards(struct qk_checkpoint *c, const struct qk_lines *names, struct qk_error *err)
{
    QK_TRY(qk_alloc(&c->shard, names->n, sizeof *c->shard, err));
    for (size_t i = 0; i < names->n; i++) {
        struct qk_shard *shard = &c->shard[i];
        char *path;
        shard->file.source.fd = -1;
        QK_TRY(qk_strdup_to(&shard->name, names->line[i], err));
        c->n_shards++;
        QK_TRY(qk_path_join(c->folder, shard->name, &path, err));
        enum qk_code code = qk_torch_name(path) ? qk_torch_open(path, &shard->file, err)
                                                : qk_safetensors_open(path, &shard->file, err);
        free(path);
        QK_TRY(code);
        c->file_bytes += shard->file.source.size;
        c->n_tensors += shard->file.n_tensors;
        for (size_t k = 0; k < shard->file.n_tensors; k++)
            shard->file.tensor[k].shard = (int)i;
    }
    return QK_OK;
}

static enum qk_code build_table(struct qk_checkpoint *c, struct qk_error *err)
{
    size_t n = 0;
    QK_TRY(qk_alloc(&c->by_name, c->n_tensors, sizeof *c->by_name, err));
    for (size_t i = 0; i < c->n_shards; i++)
        for (size_t k = 0; k < c->shard[i].file.n_tensors; k++)
            c->by_name[n++] = &c->shard[i].file.tensor[k];
    qsort(c->by_name, n, sizeof *c->by_name, tensors_by_name);
    for (size_t i = 1; i < n; i++)
        if (strcmp(c->by_name[i - 1]->name, c->by_name[i]->name) == 0)
            return qk_fail(err, QK_INPUT, "%s: %s: is in two shards (%s and %s)", c->folder,
                c->by_name[i]->name, c->shard[c->by_name[i - 1]->shard].name,
                c->shard[c->by_name[i]->shard].name);
    return QK_OK;
}

static enum qk_code open_checkpoint(struct qk_checkpoint *c, struct qk_error *err)
{
    struct qk_lines names = {0};
    struct entry *entries = NULL;
    cJSON *index = NULL;
    size_t n = 0;
    enum qk_code code = choose_files(c, &names, err);
    if (code == QK_OK && c->index_path != NULL)
        code = read_index(c->index_path, &index, &entries, &n, &names, err);
    if (code == QK_OK)
        code = open_shards(c, &names, err);
    if (code == QK_OK)
        code = build_table(c, err);
    if (code == QK_OK && c->index_path != NULL)
        code = compare_with_index(c, entries, n, err);
    free(entries);
    cJSON_Delete(index);
    qk_lines_free(&names);
    return code;
}

enum qk_code qk_checkpoint_open(const char *path, struct qk_checkpoint **out, struct qk_error *err)
{
    *out = NULL;
    struct qk_checkpoint *c;
    QK_TRY(qk_alloc(&c, 1, sizeof *c, err));
    enum qk_code code = qk_strdup_to(&c->path, path, err);
    if (code == QK_OK)
        code = open_checkpoint(c, err);
    if (code != QK_OK) {
        qk_checkpoint_close(c);
        return code;
    }
    *out = c;
    return QK_OK;
}

void qk_checkpoint_close(struct qk_checkpoint *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->n_shards; i++) {
        free(c->shard[i].name);
        qk_tensor_file_close(&c->shard[i].file);
    }
    qk_adapter_close(c->adapter);
    qk_lines_free(&c->notes);
    free(c->shard);
    free(c->by_name);
    free(c->path);
    free(c->folder);
    free(c->index_path);
    free(c);
}

static int name_against_tensor(const void *key, const void *element)
{
    return strcmp(key, (*(const struct qk_tensor *const *)element)->name);
}

const struct qk_tensor *qk_checkpoint_find(const struct qk_checkpoint *c, const char *name)
{
    const struct qk_tensor *const *found =
        c->n_tensors == 0 ? NULL
                          : bsearch(name, c->by_name, c->n_tensors, sizeof *c->by_name, name_against_tensor);
    return found != NULL ? *found : NULL;
}

static const struct qk_tensor_file *file_of(const struct qk_checkpoint *c, const struct qk_tensor *tensor)
{
    return tensor->shard == QK_SHARD_ADAPTER ? qk_adapter_file(c->adapter) : &c->shard[tensor->shard].file;
}

enum qk_code qk_checkpoint_read(const struct qk_checkpoint *c, const struct qk_tensor *tensor,
    uint64_t offset, void *buffer, size_t n, struct qk_error *err)
{
    assert(offset <= tensor->bytes && n <= tensor->bytes - offset);
    QK_TRY(qk_source_read_on(&file_of(c, tensor)->source, tensor->offset + offset, buffer, n,
        tensor->offset + tensor->bytes, err));
    return qk_adapter_apply(c->adapter, tensor, offset, buffer, n, err);
}

const char *qk_checkpoint_file(const struct qk_checkpoint *c, const struct qk_tensor *tensor)
{
    return file_of(c, tensor)->source.path;
}

enum qk_code qk_checkpoint_unchanged(const struct qk_checkpoint *c, struct qk_error *err)
{
    for (size_t i = 0; i < c->n_shards; i++)
        QK_TRY(qk_source_unchanged(&c->shard[i].file.source, err));
    if (c->adapter == NULL)
        return QK_OK;
    QK_TRY(qk_source_unchanged(&c->adapter->config, err));
    return qk_source_unchanged(&qk_adapter_file(c->adapter)->source, err);
}
