/* safetensors.c - the reader of a file's header, with the checks that safetensors.h lists. */
#include "tensor/safetensors.h"

#include "base/digest.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/read_file.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The limit for the entry of a tensor; a well-formed one has a hundred bytes or two. */
enum { MAX_ENTRY = 64 << 10 };

static enum qk_code read_header(struct qk_tensor_file *file, char **text, size_t *n, struct qk_error *err)
{
    const struct qk_source *source = &file->source;
    unsigned char prefix[8];
    char head[QK_STAND_IN_BYTES];
    size_t n_head = source->size < sizeof head ? (size_t)source->size : sizeof head;
    QK_TRY(qk_source_read(source, 0, head, n_head, err));
    QK_TRY(qk_check_stand_in(source->path, head, n_head, err));
    if (source->size < sizeof prefix)
        return qk_fail(err, QK_INPUT,
            "%s: header too small (found a file of %llu bytes, expected at least 8)", source->path,
            (unsigned long long)source->size);
    memcpy(prefix, head, sizeof prefix);
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | prefix[i];
    if (length > QK_ST_MAX_HEADER)
        return qk_fail(err, QK_INPUT, "%s: header too large (found %llu bytes, at most %d)", source->path,
            (unsigned long long)length, QK_ST_MAX_HEADER);
    if (length > source->size - sizeof prefix)
        return qk_fail(err, QK_INPUT,
            "%s: header runs past the end of the file (found %llu bytes, expected %llu)", source->path,
            (unsigned long long)source->size, (unsigned long long)(length + sizeof prefix));
    QK_TRY(qk_alloc(text, (size_t)length + 1, 1, err));
    *n = (size_t)length;
    QK_TRY(qk_source_read(source, sizeof prefix, *text, *n, err));
    file->header_bytes = sizeof prefix + length;
    struct qk_digest digest;
    qk_digest_init(&digest);
    qk_digest_add(&digest, prefix, sizeof prefix);
    qk_digest_add(&digest, *text, *n);
    qk_digest_hex(&digest, file->header_digest);
    if (*n == 0 || (*text)[0] != '{')
        return qk_fail(err, QK_INPUT, "%s: header does not start with '{'", source->path);
    return QK_OK;
}

static enum qk_code check_metadata_entry(
    const struct qk_json_walk *walk, struct qk_lines *names, struct qk_error *err)
{
    cJSON *value;
    QK_TRY(qk_json_walk_value(walk, &value, err));
    bool string = cJSON_IsString(value);
    cJSON_Delete(value);
    if (!string)
        return qk_fail(err, QK_INPUT, "%s: __metadata__: \"%s\" is not a string", walk->name, walk->key);
    return qk_lines_add(names, err, "%s", walk->key);
}

/* Reads __metadata__, the member at which `outer` stands. */
static enum qk_code check_metadata(const struct qk_json_walk *outer, struct qk_error *err)
{
    if (outer->length == 4 && memcmp(outer->text + outer->value, "null", 4) == 0)
        return QK_OK; /* the reference library takes it for none */
    if (outer->text[outer->value] != '{')
        return qk_fail(err, QK_INPUT, "%s: __metadata__ is not an object", outer->name);
    struct qk_json_walk walk;
    struct qk_lines names = {0};
    bool more = true;
    enum qk_code code = QK_OK;
    qk_json_walk_start(&walk, outer->name, outer->text, outer->value, outer->value + outer->length);
    while (code == QK_OK && (code = qk_json_walk_next(&walk, &more, err)) == QK_OK && more)
        code = check_metadata_entry(&walk, &names, err);
    qk_json_walk_end(&walk);
    const char *twice = code == QK_OK ? qk_find_twice(names.line, names.n) : NULL;
    if (twice != NULL)
        code = qk_fail(err, QK_INPUT, "%s: __metadata__: key \"%s\" appears twice", outer->name, twice);
    qk_lines_free(&names);
    return code;
}

static enum qk_code parse_shape(
    const char *path, const cJSON *shape, struct qk_tensor *tensor, struct qk_error *err)
{
    if (!cJSON_IsArray(shape))
        return qk_fail(err, QK_INPUT, "%s: %s: shape is not an array", path, tensor->name);
    for (const cJSON *item = shape->child; item != NULL; item = item->next) {
        if (tensor->n_dims == QK_MAX_DIMS)
            return qk_fail(err, QK_INPUT, "%s: %s: more than %d dimensions", path, tensor->name, QK_MAX_DIMS);
        if (!qk_json_u64(item, &tensor->shape[tensor->n_dims++]))
            return qk_fail(err, QK_INPUT,
                "%s: %s: shape holds something that is not a whole number up to 2^53", path, tensor->name);
    }
    return QK_OK;
}

static enum qk_code parse_tensor(
    const struct qk_tensor_file *file, const cJSON *item, struct qk_tensor *tensor, struct qk_error *err)
{
    const char *path = file->source.path;
    if (!cJSON_IsObject(item))
        return qk_fail(err, QK_INPUT, "%s: %s: its entry is not an object", path, tensor->name);
    const char *twice, *dtype = qk_json_string(item, "dtype", NULL);
    QK_TRY(qk_json_duplicate(item, &twice, err));
    if (twice != NULL)
        return qk_fail(err, QK_INPUT, "%s: %s: key \"%s\" appears twice", path, tensor->name, twice);
    if (dtype == NULL)
        return qk_fail(err, QK_INPUT, "%s: %s: dtype is missing or not a string", path, tensor->name);
    if (dtype[strspn(dtype, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")] != '\0')
        return qk_fail(err, QK_INPUT, "%s: %s: not a dtype (found \"%.32s\", expected capitals and digits)",
            path, tensor->name, dtype);
    tensor->dtype = qk_dtype_parse(dtype);
    snprintf(tensor->dtype_text, sizeof tensor->dtype_text, "%s", dtype);
    QK_TRY(parse_shape(path, qk_json_get(item, "shape"), tensor, err));
    const cJSON *offsets = qk_json_get(item, "data_offsets");
    uint64_t begin, end, expected = 0;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !qk_json_u64(cJSON_GetArrayItem(offsets, 0), &begin) ||
        !qk_json_u64(cJSON_GetArrayItem(offsets, 1), &end))
        return qk_fail(err, QK_INPUT, "%s: %s: data_offsets are not two whole numbers", path, tensor->name);
    if (begin > end)
        return qk_fail(err, QK_INPUT, "%s: %s: data_offsets run backwards (%llu to %llu)", path, tensor->name,
            (unsigned long long)begin, (unsigned long long)end);
    QK_TRY(qk_tensor_bytes(path, tensor, &expected, err));
    char shape[QK_SHAPE_TEXT];
    if (tensor->dtype != QK_DTYPE_OTHER && end - begin != expected)
        return qk_fail(err, QK_INPUT,
            "%s: %s: data_offsets do not fit its shape (found %llu bytes, expected %llu for %s %s)", path,
            tensor->name, (unsigned long long)(end - begin), (unsigned long long)expected, tensor->dtype_text,
            qk_shape_text(shape, tensor));
    tensor->bytes = end - begin;
    tensor->offset = file->header_bytes + begin;
    return QK_OK;
}

static enum qk_code check_cover(const struct qk_tensor_file *file, struct qk_error *err)
{
    const char *path = file->source.path;
    uint64_t at = file->header_bytes;
    for (size_t i = 0; i < file->n_tensors; i++) {
        const struct qk_tensor *tensor = &file->tensor[i];
        if (tensor->offset < at)
            return qk_fail(err, QK_INPUT, "%s: %s: data_offsets overlap the tensor before it by %llu bytes",
                path, tensor->name, (unsigned long long)(at - tensor->offset));
        if (tensor->offset > at)
            return qk_fail(err, QK_INPUT, "%s: %s: a hole of %llu bytes before its data", path, tensor->name,
                (unsigned long long)(tensor->offset - at));
        at += tensor->bytes;
    }
    if (at > file->source.size)
        return qk_fail(err, QK_INPUT, "%s: the data is cut short (found %llu bytes, expected %llu)", path,
            (unsigned long long)file->source.size, (unsigned long long)at);
    if (at < file->source.size)
        return qk_fail(err, QK_INPUT, "%s: %llu bytes after the last tensor (found %llu, expected %llu)",
            path, (unsigned long long)(file->source.size - at), (unsigned long long)file->source.size,
            (unsigned long long)at);
    return QK_OK;
}

/* Refuses numbers of the entry that have a sign, a point or an exponent, as the reference library does. The tree of the
 * entry does not show these. */
static enum qk_code check_spelling(
    const struct qk_json_walk *outer, const struct qk_tensor *tensor, struct qk_error *err)
{
    struct qk_json_walk walk;
    bool more = true;
    enum qk_code code = QK_OK;
    qk_json_walk_start(&walk, outer->name, outer->text, outer->value, outer->value + outer->length);
    while (code == QK_OK && (code = qk_json_walk_next(&walk, &more, err)) == QK_OK && more)
        if ((strcmp(walk.key, "shape") == 0 || strcmp(walk.key, "data_offsets") == 0) &&
            strcspn(walk.text + walk.value, "-.eE") < walk.length)
            code = qk_fail(err, QK_INPUT, "%s: %s: %s holds a number that is not spelled as a whole number",
                walk.name, tensor->name, walk.key);
    qk_json_walk_end(&walk);
    return code;
}

/* Reads the tensor at which the walk stands. It counts before it parses, so that a half-parsed one is freed, too. */
static enum qk_code add_tensor(
    struct qk_tensor_file *file, const struct qk_json_walk *walk, size_t *capacity, struct qk_error *err)
{
    QK_TRY(qk_grow(&file->tensor, capacity, file->n_tensors + 1, sizeof *file->tensor, err));
    struct qk_tensor *tensor = &file->tensor[file->n_tensors++];
    QK_TRY(qk_strdup_to(&tensor->name, walk->key, err));
    if (walk->length > MAX_ENTRY)
        return qk_fail(err, QK_INPUT, "%s: %s: its entry is too long (found %zu bytes, at most %d)",
            walk->name, tensor->name, walk->length, MAX_ENTRY);
    cJSON *item;
    QK_TRY(qk_json_walk_value(walk, &item, err));
    enum qk_code code = parse_tensor(file, item, tensor, err);
    cJSON_Delete(item);
    return code != QK_OK ? code : check_spelling(walk, tensor, err);
}

/* Reads entry by entry: a tree of the whole header would take many times its size. */
static enum qk_code parse_header(
    struct qk_tensor_file *file, const char *text, size_t n, struct qk_error *err)
{
    struct qk_json_walk walk;
    size_t capacity = 0;
    bool more = true, metadata = false;
    QK_TRY(qk_json_check(file->source.path, text, n, err));
    QK_TRY(qk_json_check_tokens(file->source.path, text, 0, n, QK_JSON_STRICT, err));
    enum qk_code code = QK_OK;
    qk_json_walk_start(&walk, file->source.path, text, 0, n);
    while (code == QK_OK && (code = qk_json_walk_next(&walk, &more, err)) == QK_OK && more) {
        if (strcmp(walk.key, "__metadata__") != 0) {
            code = add_tensor(file, &walk, &capacity, err);
        } else if (metadata) {
            code = qk_fail(err, QK_INPUT, "%s: __metadata__ appears twice", walk.name);
        } else {
            metadata = true;
            code = check_metadata(&walk, err);
        }
    }
    qk_json_walk_end(&walk);
    QK_TRY(code);
    QK_TRY(qk_tensor_file_order(file, err));
    return check_cover(file, err);
}

enum qk_code qk_safetensors_open(const char *path, struct qk_tensor_file *file, struct qk_error *err)
{
    *file = (struct qk_tensor_file){.source = {.fd = -1}};
    QK_TRY(qk_source_open(path, &file->source, err));
    char *text = NULL;
    size_t n = 0;
    enum qk_code code = read_header(file, &text, &n, err);
    if (code == QK_OK)
        code = parse_header(file, text, n, err);
    free(text);
    if (code != QK_OK)
        qk_tensor_file_close(file);
    return code;
}
