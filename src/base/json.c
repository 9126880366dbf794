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

/* The value of the escape \uXXXX at text[at, n), or -1 where none stands there. */
static long escaped_unit(const char *text, size_t at, size_t n)
{
    char digits[5] = "";
    if (at + 6 > n || text[at] != '\\' || text[at + 1] != 'u')
        return -1;
    memcpy(digits, text + at + 2, 4);
    return strspn(digits, "0123456789abcdefABCDEF") == 4 ? strtol(digits, NULL, 16) : -1;
}

static bool is_high(long unit)
{
    return unit >= 0xd800 && unit < 0xdc00;
}

static bool is_low(long unit)
{
    return unit >= 0xdc00 && unit < 0xe000;
}

const char *qk_json_not_text(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        long unit = escaped_unit(text, i, n);
        if (text[i] == '\0' || unit == 0)
            return "a NUL character";
        if (is_low(unit) || (is_high(unit) && !is_low(escaped_unit(text, i + 6, n))))
            return "half of a surrogate pair (a text that was cut within a character)";
        i += is_high(unit) ? 11 : unit >= 0 ? 5 : text[i] == '\\';
    }
    return NULL;
}

size_t qk_json_value_end(const char *text, size_t at, size_t end)
{
    size_t depth = 0;
    for (; at < end; at++) {
        char c = text[at];
        if (c == '"') {
            for (at++; at < end && text[at] != '"' && text[at] != '\n'; at++)
                at += text[at] == '\\';
            if (at >= end || text[at] != '"')
                return 0;
        }
        depth += c == '{' || c == '[';
        if ((c == '}' || c == ']') && --depth == 0)
            return at + 1;
    }
    return 0;
}

/* The place behind the string that starts, with its quote, at `at`; n when it does not end. */
static size_t string_end(const char *text, size_t at, size_t n)
{
    for (at++; at < n && text[at] != '"'; at++)
        at += text[at] == '\\';
    return at < n ? at + 1 : n;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* --- tokens --- cJSON reads numbers, control characters and escapes that JSON does not have. */

static size_t digits_end(const char *text, size_t at, size_t n)
{
    while (at < n && text[at] >= '0' && text[at] <= '9')
        at++;
    return at;
}

static bool take_digits(const char *text, size_t *at, size_t n)
{
    size_t start = *at;
    *at = digits_end(text, start, n);
    return *at > start;
}

static bool take_number(const char *text, size_t *at, size_t n)
{
    *at += text[*at] == '-';
    size_t whole = *at;
    if (!take_digits(text, at, n))
        return false;
    if (text[whole] == '0' && *at > whole + 1) {
        *at = whole + 1;
        return false;
    }
    if (*at < n && text[*at] == '.') {
        ++*at;
        if (!take_digits(text, at, n))
            return false;
    }
    if (*at == n || (text[*at] != 'e' && text[*at] != 'E'))
        return true;
    ++*at;
    *at += *at < n && (text[*at] == '+' || text[*at] == '-');
    return take_digits(text, at, n);
}

static bool take_escape(const char *text, size_t *at, size_t n)
{
    ++*at;
    if (*at == n || strchr("\"\\/bfnrtu", text[*at]) == NULL)
        return false;
    if (text[*at] != 'u')
        return true;
    for (int i = 0; i < 4; i++)
        if (++*at == n || strchr("0123456789abcdefABCDEF", text[*at]) == NULL)
            return false;
    return true;
}

static bool take_string(const char *text, size_t *at, size_t n)
{
    size_t start = *at;
    for (++*at; *at < n && text[*at] != '"'; ++*at)
        if ((unsigned char)text[*at] < ' ' || (text[*at] == '\\' && !take_escape(text, at, n)))
            return false;
    bool ends = *at < n;
    *at = ends ? *at + 1 : start;
    return ends;
}

static size_t word_length(const char *const *words, const char *text, size_t at, size_t n)
{
    for (; *words != NULL; words++)
        if (strlen(*words) <= n - at && memcmp(text + at, *words, strlen(*words)) == 0)
            return strlen(*words);
    return 0;
}

/* The length of the word at `at` that Python writes for a float that JSON does not have; 0 where none starts. */
static size_t special_length(const char *text, size_t at, size_t n)
{
    static const char *const words[] = {"NaN", "Infinity", "-Infinity", NULL};
    return word_length(words, text, at, n);
}

/* Steps over one token, or to the place where the text stops to be one. */
static bool take_token(const char *text, size_t *at, size_t n, enum qk_json_dialect dialect)
{
    static const char *const words[] = {"true", "false", "null", "{", "}", "[", "]", ":", ",", NULL};
    size_t length = word_length(words, text, *at, n);
    if (length == 0 && dialect == QK_JSON_PYTHON)
        length = special_length(text, *at, n);
    *at += length;
    return length > 0 || (text[*at] == '"' ? take_string(text, at, n) : take_number(text, at, n));
}

/* The place of the first special word at or after `at`, outside strings, or n. */
static size_t next_special(const char *text, size_t at, size_t n)
{
    while (at < n && special_length(text, at, n) == 0)
        at = text[at] == '"' ? string_end(text, at, n) : at + 1;
    return at;
}

/* *out = the text with quotes around special words, so that cJSON reads them as strings; NULL when it holds none. */
static enum qk_code quote_specials(
    const char *text, size_t n, char **out, size_t *length, struct qk_error *err)
{
    size_t count = 0, from = 0, used = 0;
    *out = NULL;
    for (size_t i = next_special(text, 0, n); i < n;
         i = next_special(text, i + special_length(text, i, n), n))
        count++;
    if (count == 0)
        return QK_OK;
    QK_TRY(qk_alloc(out, n + 2 * count, 1, err));
    for (size_t i = next_special(text, 0, n), end; i < n; i = next_special(text, end, n)) {
        end = i + special_length(text, i, n);
        memcpy(*out + used, text + from, i - from);
        used += i - from;
        (*out)[used++] = '"';
        memcpy(*out + used, text + i, end - i);
        used += end - i;
        (*out)[used++] = '"';
        from = end;
    }
    memcpy(*out + used, text + from, n - from);
    *length = used + n - from;
    return QK_OK;
}

/* The place in the text that is at `at` in the text with quotes. */
static size_t unquoted_place(const char *text, size_t n, size_t at)
{
    size_t added = 0;
    for (size_t i = next_special(text, 0, n); i < n && i + added < at;
         i = next_special(text, i + special_length(text, i, n), n))
        added += 2;
    return at - (added < at ? added : at);
}

/* --- parsing --- */

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

static enum qk_code parse_error(const char *name, const char *text, size_t at, struct qk_error *err)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at; i++) {
        line += text[i] == '\n';
        column = text[i] == '\n' ? 1 : column + 1;
    }
    return qk_fail(err, QK_INPUT, "%s: not valid JSON (line %zu, column %zu)", name, line, column);
}

/* Parses text[0, n), which must be one value with white space behind it at most. *stop = where it ended; *out = NULL
 * when that is where it stops to be JSON. */
static enum qk_code parse_value(
    const char *name, const char *text, size_t n, cJSON **out, size_t *stop, struct qk_error *err)
{
    const char *rest = NULL;
    bool before = refused;
    refused = false;
    *out = NULL;
    cJSON *root = cJSON_ParseWithLengthOpts(text, n, &rest, false);
    *stop = rest != NULL && rest >= text && rest <= text + n ? (size_t)(rest - text) : n;
    bool without_memory = refused;
    refused = before;
    if (without_memory) {
        cJSON_Delete(root);
        return qk_fail(err, QK_IO, "%s: out of memory (its JSON values)", name);
    }
    while (root != NULL && *stop < n && is_blank(text[*stop]))
        ++*stop;
    if (root != NULL && *stop == n)
        *out = root;
    else
        cJSON_Delete(root);
    return QK_OK;
}

/* Parses text[at, end); places in messages count from the start of `text`. */
static enum qk_code parse_range(
    const char *name, const char *text, size_t at, size_t end, cJSON **out, struct qk_error *err)
{
    size_t stop;
    QK_TRY(parse_value(name, text + at, end - at, out, &stop, err));
    return *out != NULL ? QK_OK : parse_error(name, text, at + stop, err);
}

enum qk_code qk_json_check(const char *name, const char *bytes, size_t n, struct qk_error *err)
{
    QK_TRY(qk_check_stand_in(name, bytes, n, err));
    if (!qk_utf8_valid(bytes, n))
        return qk_fail(err, QK_INPUT, "%s: not UTF-8", name);
    if (memchr(bytes, '\0', n) != NULL || has_escaped_nul(bytes, n))
        return qk_fail(err, QK_INPUT, "%s: a NUL character in the JSON text", name);
    return QK_OK;
}

enum qk_code qk_json_check_tokens(const char *name, const char *text, size_t begin, size_t end,
    enum qk_json_dialect dialect, struct qk_error *err)
{
    char last = '\0'; /* of the token before: only a string is a key */
    for (size_t at = begin; at < end;) {
        if (is_blank(text[at])) {
            at++;
            continue;
        }
        if ((text[at] == ':' && last != '"') || !take_token(text, &at, end, dialect))
            return parse_error(name, text, at, err);
        last = text[at - 1];
    }
    return QK_OK;
}

enum qk_code qk_json_parse(const char *name, const char *bytes, size_t n, cJSON **out, struct qk_error *err)
{
    char *quoted;
    size_t length;
    *out = NULL;
    QK_TRY(qk_json_check(name, bytes, n, err));
    bool mark = n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0; /* cJSON skips it, too */
    QK_TRY(qk_json_check_tokens(name, bytes, mark ? 3 : 0, n, QK_JSON_PYTHON, err));
    size_t values = count_values(bytes, n);
    if (values > FREE_VALUES + n / BYTES_PER_VALUE)
        return qk_fail(
            err, QK_INPUT, "%s: too many JSON values for its size (found %zu in %zu bytes)", name, values, n);
    QK_TRY(quote_specials(bytes, n, &quoted, &length, err));
    if (quoted == NULL)
        return parse_range(name, bytes, 0, n, out, err);
    size_t stop;
    enum qk_code code = parse_value(name, quoted, length, out, &stop, err);
    if (code == QK_OK && *out == NULL)
        code = parse_error(name, bytes, unquoted_place(bytes, n, stop), err);
    free(quoted);
    return code;
}

/* --- walking --- */

void qk_json_walk_start(
    struct qk_json_walk *walk, const char *name, const char *text, size_t begin, size_t end)
{
    *walk = (struct qk_json_walk){.name = name, .text = text, .at = begin, .end = end};
}

void qk_json_walk_start_list(
    struct qk_json_walk *walk, const char *name, const char *text, size_t begin, size_t end)
{
    qk_json_walk_start(walk, name, text, begin, end);
    walk->list = true;
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
    if (has_escaped_nul(walk->text + start, walk->at - start)) /* cJSON would cut it to another key */
        return parse_error(walk->name, walk->text, start, err);
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
    if (first && !take(walk, walk->list ? '[' : '{'))
        return parse_error(walk->name, walk->text, walk->at, err);
    *more = !take(walk, walk->list ? ']' : '}');
    if (!*more) {
        peek(walk);
        return walk->at == walk->end ? QK_OK : parse_error(walk->name, walk->text, walk->at, err);
    }
    if (!first && !take(walk, ','))
        return parse_error(walk->name, walk->text, walk->at, err);
    if (!walk->list) {
        QK_TRY(take_key(walk, err));
        if (!take(walk, ':'))
            return parse_error(walk->name, walk->text, walk->at, err);
    }
    peek(walk);
    walk->value = walk->at;
    skip_value(walk);
    walk->length = walk->at - walk->value;
    return walk->length > 0 ? QK_OK : parse_error(walk->name, walk->text, walk->at, err);
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

struct member {
    cJSON *item;
    size_t place;
};

static int compare_members(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    int order = strcmp(x->item->string, y->item->string);
    return order != 0 ? order : (x->place > y->place) - (x->place < y->place);
}

enum qk_code qk_json_keep_last(cJSON *object, struct qk_error *err)
{
    size_t n = 0, i = 0;
    for (cJSON *item = object->child; item != NULL; item = item->next)
        n++;
    struct member *members;
    QK_TRY(qk_alloc(&members, n, sizeof *members, err));
    for (cJSON *item = object->child; item != NULL; item = item->next, i++)
        members[i] = (struct member){item, i};
    qsort(members, n, sizeof *members, compare_members);
    for (i = 1; i < n; i++)
        if (strcmp(members[i - 1].item->string, members[i].item->string) == 0)
            cJSON_Delete(cJSON_DetachItemViaPointer(object, members[i - 1].item));
    free(members);
    return QK_OK;
}

const cJSON *qk_json_get(const cJSON *object, const char *key)
{
    const cJSON *found = NULL;
    for (const cJSON *item = object != NULL ? object->child : NULL; item != NULL; item = item->next)
        if (item->string != NULL && strcmp(item->string, key) == 0)
            found = item;
    return found;
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

/* Replaces *text by one in which hidden characters are escapes, so that no terminal obeys a name and every reader gets
 * it back. Outside of strings JSON has none but ends of lines. */
static enum qk_code escape_hidden(char **text, struct qk_error *err)
{
    struct qk_text out = {0};
    size_t n = strlen(*text), from = 0;
    for (size_t at = 0, length; at < n; at += length) {
        uint32_t code;
        length = qk_next_character(*text + at, n - at, &code);
        if (code == '\n' || code == '\t' || code == QK_BROKEN || !qk_hidden(code))
            continue;
        qk_text_add_bytes(&out, *text + from, at - from);
        if (code > 0xffff)
            qk_text_add(&out, "\\u%04x\\u%04x", 0xd7c0 + (code >> 10), 0xdc00 + (code & 0x3ff));
        else
            qk_text_add(&out, "\\u%04x", code);
        from = at + length;
    }
    if (from == 0)
        return QK_OK;
    qk_text_add_bytes(&out, *text + from, n - from);
    cJSON_free(*text);
    return qk_text_take(&out, text, err);
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
    return text != NULL ? escape_hidden(out, err)
                        : qk_fail(err, QK_IO, "out of memory (the text of a JSON object)");
}

void qk_json_add_number(cJSON *object, const char *key, double value)
{
    if (isfinite(value))
        cJSON_AddNumberToObject(object, key, value);
    else
        cJSON_AddNullToObject(object, key);
}
