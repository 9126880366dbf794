/* checkpoint.c - the search for a checkpoint's shards, whose tensors it joins into one table. */
#include "tensor/checkpoint.h"

#include "base/folder.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "tensor/safetensors.h"
#include "tensor/torch/torch.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_INDEX_BYTES = 64 << 20 };

/* --- which files --- */

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
    enum qk_code code = qk_source_json(path, MAX_INDEX_BYTES, root, &unheard);
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

static enum qk_code choose_files(
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

/* --- the index --- */

struct entry { /* one line of weight_map; borrowed from the JSON */
    const char *tensor, *shard;
};

static int entries_by_tensor(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->tensor, ((const struct entry *)b)->tensor);
}

/* True for a path that stays in its folder: no part of it is empty, "." or "..". */
static bool stays_inside(const char *path)
{
    for (const char *part = path;;) {
        size_t n = strcspn(part, "/");
        if (n == 0 || (n <= 2 && strspn(part, ".") >= n))
            return false;
        if (part[n] == '\0')
            return true;
        part += n + 1;
    }
}

static enum qk_code check_shard_name(
    const char *index, const char *tensor, const char *name, struct qk_error *err)
{
    const char *end = qk_ends_with(index, ".bin.index.json") ? ".bin" : ".safetensors";
    if (!stays_inside(name) || !qk_ends_with(name, end))
        return qk_fail(
            err, QK_INPUT, "%s: %s: \"%s\" is not a %s file in this folder", index, tensor, name, end);
    return QK_OK;
}

/* Reads the index, unless *root has it already. */
static enum qk_code read_index(const char *path, cJSON **root, struct entry **entries, size_t *n,
    struct qk_lines *names, struct qk_error *err)
{
    if (*root == NULL)
        QK_TRY(qk_source_json(path, MAX_INDEX_BYTES, root, err));
    QK_TRY(qk_json_keep_last(*root, err));
    cJSON *map = cJSON_GetObjectItemCaseSensitive(*root, "weight_map");
    if (!cJSON_IsObject(map))
        return qk_fail(err, QK_INPUT, "%s: weight_map is missing or not an object", path);
    QK_TRY(qk_json_keep_last(map, err));
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

/* One way in which the index and its shards differ: how many tensors, and the first of them. */
struct difference {
    size_t n;
    const char *tensor, *shard;
};

static void differ(struct difference *difference, const char *tensor, const char *shard)
{
    if (difference->n++ == 0)
        *difference = (struct difference){1, tensor, shard};
}

static enum qk_code note_difference(
    struct qk_checkpoint *c, const struct difference *difference, const char *what, struct qk_error *err)
{
    if (difference->n == 0)
        return QK_OK;
    if (difference->n == 1)
        return qk_lines_add(
            &c->notes, err, "%s: %s: %s %s", c->index_path, difference->tensor, what, difference->shard);
    return qk_lines_add(&c->notes, err, "%s: %s and %zu more: %s %s", c->index_path, difference->tensor,
        difference->n - 1, what, difference->shard);
}

/* Notes where the table and the index, both sorted by name, differ. The shards tell what there is. */
static enum qk_code compare_with_index(
    struct qk_checkpoint *c, const struct entry *entries, size_t n, struct qk_error *err)
{
    size_t i = 0, j = 0;
    struct difference lacking = {0}, unnamed = {0}, moved = {0};
    while (i < n || j < c->n_tensors) {
        int order = i == n ? 1 : j == c->n_tensors ? -1 : strcmp(entries[i].tensor, c->by_name[j]->name);
        const char *shard = order >= 0 ? c->shard[c->by_name[j]->shard].name : NULL;
        if (order < 0)
            differ(&lacking, entries[i].tensor, entries[i].shard);
        else if (order > 0)
            differ(&unnamed, c->by_name[j]->name, shard);
        else if (strcmp(entries[i].shard, shard) != 0)
            differ(&moved, c->by_name[j]->name, shard);
        i += order <= 0;
        j += order >= 0;
    }
    if (lacking.n == n)
        return qk_fail(err, QK_INPUT, "%s: %s: the index says it is in %s, but no shard holds it",
            c->index_path, lacking.tensor, lacking.shard);
    QK_TRY(note_difference(c, &lacking, "no shard holds it, though the index says it is in", err));
    QK_TRY(note_difference(c, &unnamed, "the index does not name it, though it is in", err));
    return note_difference(c, &moved, "the index names another shard, though it is in", err);
}

/* --- the table --- */

static int tensors_by_name(const void *a, const void *b)
{
    const struct qk_tensor *x = *(const struct qk_tensor *const *)a, *y = *(const struct qk_tensor *const *)b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : x->shard - y->shard;
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

/* The shard that the index names for the tensor, or NULL. */
static const char *named_shard(const struct entry *entries, size_t n, const char *tensor)
{
    const struct entry key = {tensor, NULL};
    const struct entry *found = n == 0 ? NULL : bsearch(&key, entries, n, sizeof *entries, entries_by_tensor);
    return found == NULL ? NULL : found->shard;
}

/* *same = two tensors hold the same values. */
static enum qk_code same_values(const struct qk_checkpoint *c, const struct qk_tensor *a,
    const struct qk_tensor *b, bool *same, struct qk_error *err)
{
    enum { PIECE = 1 << 20 };
    char *piece;
    *same = a->dtype == b->dtype && qk_tensor_same_shape(a, b) && a->bytes == b->bytes;
    QK_TRY(qk_alloc(&piece, 2, PIECE, err));
    enum qk_code code = QK_OK;
    for (uint64_t at = 0, n; code == QK_OK && *same && at < a->bytes; at += n) {
        n = a->bytes - at < PIECE ? a->bytes - at : PIECE;
        code = qk_checkpoint_read(c, a, at, piece, (size_t)n, err);
        if (code == QK_OK)
            code = qk_checkpoint_read(c, b, at, piece + PIECE, (size_t)n, err);
        *same = code == QK_OK && memcmp(piece, piece + PIECE, (size_t)n) == 0;
    }
    free(piece);
    return code;
}

/* Picks from the tensors i to end of one name, which lie in several shards: the one that the index names, else any of
 * equal ones. Others are refused. */
static enum qk_code pick_twin(struct qk_checkpoint *c, size_t i, size_t end, const char *shard,
    const struct qk_tensor **right, struct qk_error *err)
{
    const char *name = c->by_name[i]->name, *first = c->shard[c->by_name[i]->shard].name,
               *last = c->shard[c->by_name[end - 1]->shard].name;
    *right = c->by_name[i];
    for (size_t k = i; shard != NULL && k < end; k++)
        if (strcmp(c->shard[c->by_name[k]->shard].name, shard) == 0) {
            *right = c->by_name[k];
            return qk_lines_add(&c->notes, err, "%s: %s: is in two shards (%s and %s): that of %s counts",
                c->folder, name, first, last, shard);
        }
    for (size_t k = i + 1; k < end; k++) {
        bool same;
        QK_TRY(same_values(c, *right, c->by_name[k], &same, err));
        if (!same)
            return qk_fail(
                err, QK_INPUT, "%s: %s: is in two shards (%s and %s)", c->folder, name, first, last);
    }
    return qk_lines_add(&c->notes, err, "%s: %s: is in two shards (%s and %s), with the same values",
        c->folder, name, first, last);
}

/* Leaves one tensor of each name in the table. */
static enum qk_code drop_twins(
    struct qk_checkpoint *c, const struct entry *entries, size_t n, struct qk_error *err)
{
    size_t kept = 0;
    for (size_t i = 0, end; i < c->n_tensors; i = end) {
        const struct qk_tensor *right = c->by_name[i];
        end = i + 1;
        while (end < c->n_tensors && strcmp(c->by_name[end]->name, right->name) == 0)
            end++;
        if (end - i > 1)
            QK_TRY(pick_twin(c, i, end, named_shard(entries, n, right->name), &right, err));
        c->by_name[kept++] = right;
    }
    c->n_tensors = kept;
    return QK_OK;
}

static enum qk_code build_table(
    struct qk_checkpoint *c, const struct entry *entries, size_t n_entries, struct qk_error *err)
{
    size_t n = 0;
    QK_TRY(qk_alloc(&c->by_name, c->n_tensors, sizeof *c->by_name, err));
    for (size_t i = 0; i < c->n_shards; i++)
        for (size_t k = 0; k < c->shard[i].file.n_tensors; k++)
            c->by_name[n++] = &c->shard[i].file.tensor[k];
    qsort(c->by_name, n, sizeof *c->by_name, tensors_by_name);
    return drop_twins(c, entries, n_entries, err);
}

static enum qk_code open_checkpoint(struct qk_checkpoint *c, struct qk_error *err)
{
    struct qk_lines names = {0};
    struct entry *entries = NULL;
    cJSON *index = NULL;
    size_t n = 0;
    enum qk_code code = choose_files(c, &names, &index, err);
    if (code == QK_OK && c->index_path != NULL)
        code = read_index(c->index_path, &index, &entries, &n, &names, err);
    if (code == QK_OK)
        code = open_shards(c, &names, err);
    if (code == QK_OK)
        code = build_table(c, entries, n, err);
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

void qk_checkpoint_expect(const struct qk_checkpoint *c, const struct qk_tensor *tensor)
{
    qk_source_expect(&file_of(c, tensor)->source, tensor->offset, tensor->bytes);
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
