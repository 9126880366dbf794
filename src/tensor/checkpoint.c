/* checkpoint.c - the shards of a checkpoint, whose tensors it joins into one table. */
#include "tensor/checkpoint.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "tensor/checkpoint_files.h"
#include "tensor/safetensors.h"
#include "tensor/torch/torch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

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
        QK_TRY(qk_source_json(path, QK_MAX_INDEX_BYTES, root, err));
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
    enum qk_code code = qk_checkpoint_choose(c, &names, &index, err);
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

void qk_checkpoint_expect(
    const struct qk_checkpoint *c, const struct qk_tensor *tensor, uint64_t offset, uint64_t n)
{
    qk_source_expect(&file_of(c, tensor)->source, tensor->offset + offset, n);
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
