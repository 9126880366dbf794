/* json.c - cJSON behind the checks that files from strangers need. */
#include "base/json.h"

#include "base/mem.h"
#include "base/read_file.h"
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* cJSON builds a node of 64 bytes and more for every value, so a file of "[0,0,0,..." takes forty times its size.
 * Real files with more values than this have longer ones. */
enum { FREE_VALUES = 1 << 20, BYTES_PER_VALUE = 8 };

/* True when this thread was refused memory for a tree since its last check. */
static _Thread_local bool refused;

static void *allocate(size_t n)
{
    void *block = malloc(n);
    refused = refused || block == NULL;
    return block;
}

void qk_json_init(void)
{
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = allocate, .free_fn = free});
}

/* True when a string in the text holds \u0000, at which cJSON silently cuts it. */
static bool has_escaped_nul(const char *bytes, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) {
        if (bytes[i] != '\\')
            continue;
        if (i + 6 <= n && memcmp(bytes + i, "\\u0000", 6) == 0)
            return true;
        i++; /* the escaped character does not start an escape */
    }
    return false;
}

/* The place behind the string that starts, with its quote, at `at`; n when it does not end. */
static size_t string_end(const char *text, size_t at, size_t n)
{
    for (at++; at < n && text[at] != '"'; at++)
        at += text[at] == '\\';
    return at < n ? at + 1 : n;
}

/* An upper bound for the number of values. */
static size_t count_values(const char *text, size_t n)
{
    size_t count = 1;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '"')
            i = string_end(text, i, n) - 1;
        else
            count += text[i] == ',' || text[i] == '[' || text[i] == '{';
    }
    return count;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static enum qk_code parse_error(const char *name, const char *text, size_t at, struct qk_error *err)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at; i++) {
        line += text[i] == '\n';
        column = text[i] == '\n' ? 1 : column + 1;
    }
    return qk_fail(err, QK_INPUT, "%s: not valid JSON (line %zu, column %zu)", name, line, column);
}

/* Parses text[at, end), which must be one value with white space behind it at most. */
static enum qk_code parse_range(
    const char *name, const char *text, size_t at, size_t end, cJSON **out, struct qk_error *err)
{
    const char *rest = NULL;
    bool before = refused;
    refused = false;
    cJSON *root = cJSON_ParseWithLengthOpts(text + at, end - at, &rest, false);
    size_t stop = rest != NULL && rest >= text + at && rest <= text + end ? (size_t)(rest - text) : end;
    bool without_memory = refused;
    refused = before;
    if (without_memory) {
        cJSON_Delete(root);
        return qk_fail(err, QK_IO, "%s: out of memory (its JSON values)", name);
    }
    while (root != NULL && stop < end && is_blank(text[stop]))
        stop++;
    if (root == NULL || stop != end) {
        cJSON_Delete(root);
        return parse_error(name, text, stop, err);
    }
    *out = root;
    return QK_OK;
}

enum qk_code qk_json_check(const char *name, const char *bytes, size_t n, struct qk_error *err)
{
    if (!qk_utf8_valid(bytes, n))
        return qk_fail(err, QK_INPUT, "%s: not UTF-8", name);
    if (memchr(bytes, '\0', n) != NULL || has_escaped_nul(bytes, n))
        return qk_fail(err, QK_INPUT, "%s: a NUL character in the JSON text", name);
    return QK_OK;
}

enum qk_code qk_json_parse(const char *name, const char *bytes, size_t n, cJSON **out, struct qk_error *err)
{
    *out = NULL;
    QK_TRY(qk_json_check(name, bytes, n, err));
    size_t values = count_values(bytes, n);
    if (values > FREE_VALUES + n / BYTES_PER_VALUE)
        return qk_fail(
            err, QK_INPUT, "%s: too many JSON values for its size (found %zu in %zu bytes)", name, values, n);
    return parse_range(name, bytes, 0, n, out, err);
}

/* --- walking --- */

void qk_json_walk_start(
    struct qk_json_walk *walk, const char *name, const char *text, size_t begin, size_t end)
{
    *walk = (struct qk_json_walk){.name = name, .text = text, .at = begin, .end = end};
}

static char peek(struct qk_json_walk *walk)
{
    while (walk->at < walk->end && is_blank(walk->text[walk->at]))
        walk->at++;
    return walk->at < walk->end ? walk->text[walk->at] : '\0';
}

static bool take(struct qk_json_walk *walk, char wanted)
{
    if (peek(walk) != wanted)
        return false;
    walk->at++;
    return true;
}

/* Skips one value without checking its content. */
static void skip_value(struct qk_json_walk *walk)
{
    size_t depth = 0;
    while (walk->at < walk->end) {
        char c = walk->text[walk->at];
        if (depth == 0 && (c == ',' || c == '}' || c == ']' || is_blank(c)))
            return;
        if (c == '"') {
            walk->at = string_end(walk->text, walk->at, walk->end);
        } else {
            depth += c == '{' || c == '[';
            depth -= c == '}' || c == ']';
            walk->at++;
        }
        if (depth == 0 && (c == '"' || c == '}' || c == ']'))
            return;
    }
}

static enum qk_code take_key(struct qk_json_walk *walk, struct qk_error *err)
{
    cJSON *key;
    if (peek(walk) != '"')
        return parse_error(walk->name, walk->text, walk->at, err);
    size_t start = walk->at;
    walk->at = string_end(walk->text, start, walk->end);
    QK_TRY(parse_range(walk->name, walk->text, start, walk->at, &key, err));
    enum qk_code code = qk_strdup_to(&walk->key, key->valuestring, err);
    cJSON_Delete(key);
    return code;
}

enum qk_code qk_json_walk_next(struct qk_json_walk *walk, bool *more, struct qk_error *err)
{
    free(walk->key);
    walk->key = NULL;
    bool first = !walk->started;
    walk->started = true;
    if (first && !take(walk, '{'))
        return parse_error(walk->name, walk->text, walk->at, err);
    *more = !(take(walk, '}'));
    if (!*more) {
        peek(walk);
        return walk->at == walk->end ? QK_OK : parse_error(walk->name, walk->text, walk->at, err);
    }
    if (!first && !take(walk, ','))
        return parse_error(walk->name, walk->text, walk->at, err);
    QK_TRY(take_key(walk, err));
    if (!take(walk, ':'))
        return parse_error(walk->name, walk->text, walk->at, err);
    peek(walk);
    walk->value = walk->at;
    skip_value(walk);
    walk->length = walk->at - walk->value;
    return QK_OK;
}

enum qk_code qk_json_walk_value(const struct qk_json_walk *walk, cJSON **out, struct qk_error *err)
{
    *out = NULL;
    return parse_range(walk->name, walk->text, walk->value, walk->value + walk->length, out, err);
}

void qk_json_walk_end(struct qk_json_walk *walk)
{
    free(walk->key);
    walk->key = NULL;
}

enum qk_code qk_json_read(const char *path, size_t max_bytes, cJSON **out, struct qk_error *err)
{
    char *text;
    size_t n;
    *out = NULL;
    QK_TRY(qk_read_file(path, max_bytes, &text, &n, err));
    enum qk_code code = qk_json_parse(path, text, n, out, err);
    free(text);
    return code;
}

enum qk_code qk_json_duplicate(const cJSON *object, const char **key, struct qk_error *err)
{
    *key = NULL;
    size_t n = 0, i = 0;
    for (const cJSON *item = object->child; item != NULL; item = item->next)
        n++;
    char **names;
    QK_TRY(qk_alloc(&names, n, sizeof *names, err));
    for (const cJSON *item = object->child; item != NULL; item = item->next)
        names[i++] = item->string;
    *key = qk_find_twice(names, n);
    free(names);
    return QK_OK;
}

const cJSON *qk_json_get(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

int64_t qk_json_int(const cJSON *object, const char *key, int64_t fallback)
{
    const cJSON *item = qk_json_get(object, key);
    if (!cJSON_IsNumber(item) || !(fabs(item->valuedouble) <= 0x1p53) ||
        item->valuedouble != floor(item->valuedouble))
        return fallback;
    return (int64_t)item->valuedouble;
}

double qk_json_number(const cJSON *object, const char *key, double fallback)
{
    const cJSON *item = qk_json_get(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : fallback;
}

bool qk_json_bool(const cJSON *object, const char *key, bool fallback)
{
    const cJSON *item = qk_json_get(object, key);
    return cJSON_IsBool(item) ? cJSON_IsTrue(item) : fallback;
}

const char *qk_json_string(const cJSON *object, const char *key, const char *fallback)
{
    const cJSON *item = qk_json_get(object, key);
    return cJSON_IsString(item) ? item->valuestring : fallback;
}

bool qk_json_u64(const cJSON *item, uint64_t *out)
{
    if (!cJSON_IsNumber(item))
        return false;
    double value = item->valuedouble;
    if (!(value >= 0 && value <= 0x1p53) || value != floor(value))
        return false;
    *out = (uint64_t)value;
    return true;
}

void qk_json_add_exact(cJSON *object, const char *key, double value)
{
    char text[40];
    int digits = 15;
    do
        snprintf(text, sizeof text, "%.*g", digits, value);
    while (strtod(text, NULL) != value && digits++ < 17);
    char *comma = strchr(text, ','); /* a locale's decimal point */
    if (comma != NULL)
        *comma = '.';
    cJSON_AddRawToObject(object, key, text);
}

void qk_json_append(cJSON *array, cJSON *item)
{
    if (!cJSON_AddItemToArray(array, item))
        cJSON_Delete(item);
}

cJSON *qk_json_append_object(cJSON *array)
{
    cJSON *object = cJSON_CreateObject();
    if (cJSON_AddItemToArray(array, object))
        return object;
    cJSON_Delete(object);
    return NULL;
}

enum qk_code qk_json_text(cJSON *root, bool lines, char **out, struct qk_error *err)
{
    char *text = lines ? cJSON_Print(root) : cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    if (refused || text == NULL) {
        cJSON_free(text);
        text = NULL;
    }
    refused = false;
    *out = text;
    return text != NULL ? QK_OK : qk_fail(err, QK_IO, "out of memory (the text of a JSON object)");
}

void qk_json_add_number(cJSON *object, const char *key, double value)
{
    if (isfinite(value))
        cJSON_AddNumberToObject(object, key, value);
    else
        cJSON_AddNullToObject(object, key);
}
