/* json.c - cJSON behind the checks that files from strangers need. */
#include "base/json.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* True when a string in the text holds \u0000, at which cJSON would silently cut it. */
static bool has_escaped_nul(const char *bytes, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) {
        if (bytes[i] != '\\')
            continue;
        if (i + 6 <= n && memcmp(bytes + i, "\\u0000", 6) == 0)
            return true;
        i++; /* whatever is escaped, it does not start an escape */
    }
    return false;
}

static enum qk_code parse_error(
    const char *name, const char *bytes, size_t n, const char *at, struct qk_error *err)
{
    size_t offset = at != NULL && at >= bytes && at <= bytes + n ? (size_t)(at - bytes) : n;
    size_t line = 1, column = 1;
    for (size_t i = 0; i < offset; i++) {
        line += bytes[i] == '\n';
        column = bytes[i] == '\n' ? 1 : column + 1;
    }
    return qk_fail(err, QK_INPUT, "%s: not valid JSON (line %zu, column %zu)", name, line, column);
}

enum qk_code qk_json_parse(const char *name, const char *bytes, size_t n, cJSON **out, struct qk_error *err)
{
    *out = NULL;
    if (!qk_utf8_valid(bytes, n))
        return qk_fail(err, QK_INPUT, "%s: not UTF-8", name);
    if (memchr(bytes, '\0', n) != NULL || has_escaped_nul(bytes, n))
        return qk_fail(err, QK_INPUT, "%s: a NUL character in the JSON text", name);
    const char *end = NULL;
    cJSON *root = cJSON_ParseWithLengthOpts(bytes, n, &end, false);
    if (root == NULL)
        return parse_error(name, bytes, n, end, err);
    const char *rest = end;
    while (rest < bytes + n && strchr(" \t\r\n", *rest) != NULL)
        rest++;
    if (rest != bytes + n) {
        cJSON_Delete(root);
        return parse_error(name, bytes, n, rest, err);
    }
    *out = root;
    return QK_OK;
}

static enum qk_code read_text(
    int fd, const char *path, size_t max_bytes, char **out, size_t *n, struct qk_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return qk_fail_errno(err, path, "examine");
    if (!S_ISREG(info.st_mode))
        return qk_fail(err, QK_INPUT, "%s: not a regular file", path);
    if ((uint64_t)info.st_size > max_bytes)
        return qk_fail(err, QK_INPUT, "%s: too large (found %lld bytes, at most %zu)", path,
            (long long)info.st_size, max_bytes);
    size_t size = (size_t)info.st_size, done = 0;
    char *text;
    QK_TRY(qk_alloc(&text, size + 1, 1, err));
    while (done < size) {
        ssize_t got = read(fd, text + done, size - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            free(text);
            return qk_fail_errno(err, path, "read");
        }
        if (got == 0)
            break;
        done += (size_t)got;
    }
    *out = text;
    *n = done;
    return QK_OK;
}

enum qk_code qk_json_read(const char *path, size_t max_bytes, cJSON **out, struct qk_error *err)
{
    *out = NULL;
    /* O_NONBLOCK: opening a FIFO must not hang. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return qk_fail_errno(err, path, "open");
    char *text = NULL;
    size_t n = 0;
    enum qk_code code = read_text(fd, path, max_bytes, &text, &n, err);
    close(fd);
    if (code == QK_OK)
        code = qk_json_parse(path, text, n, out, err);
    free(text);
    return code;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

enum qk_code qk_json_duplicate(const cJSON *object, const char **key, struct qk_error *err)
{
    *key = NULL;
    size_t n = 0, i = 0;
    for (const cJSON *item = object->child; item != NULL; item = item->next)
        n++;
    const char **names;
    QK_TRY(qk_alloc(&names, n, sizeof *names, err));
    for (const cJSON *item = object->child; item != NULL; item = item->next)
        names[i++] = item->string;
    qsort(names, n, sizeof *names, compare_names);
    for (i = 1; i < n && *key == NULL; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            *key = names[i];
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

void qk_json_add_number(cJSON *object, const char *key, double value)
{
    if (isfinite(value))
        cJSON_AddNumberToObject(object, key, value);
    else
        cJSON_AddNullToObject(object, key);
}
