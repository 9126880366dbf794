/* answer_store.c - a file of answers, read whole and appended to. */
#include "eval/answer_store.h"

#include "base/atomic_file.h"
#include "base/cache.h"
#include "base/mem.h"
#include "base/read_file.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DIGITS = QK_DIGEST_TEXT - 1, LINE = DIGITS + 3 };
/* The limit for such a file: more than any number of cases needs. */
enum { MOST_BYTES = 1 << 28 };
static const char SUFFIX[] = ".answers";

struct known {
    char digest[DIGITS];
    char answer;
};

struct qk_answer_store {
    char *path;
    struct known *known; /* n, by digest */
    size_t n;
};

static int by_digest(const void *a, const void *b)
{
    return memcmp(((const struct known *)a)->digest, ((const struct known *)b)->digest, DIGITS);
}

static bool is_line(const char *line)
{
    return strspn(line, "0123456789abcdef") == DIGITS && line[DIGITS] == ' ' &&
           (line[DIGITS + 1] == 'r' || line[DIGITS + 1] == 'w') && line[DIGITS + 2] == '\n';
}

/* Reads the lines of a text that ends in NUL. */
static enum qk_code take_lines(
    struct qk_answer_store *store, const char *text, size_t size, struct qk_error *err)
{
    QK_TRY(qk_alloc(&store->known, size / LINE + 1, sizeof *store->known, err));
    for (const char *line = text; *line != '\0';) {
        const char *end = strchr(line, '\n');
        if (end != NULL && is_line(line)) {
            memcpy(store->known[store->n].digest, line, DIGITS);
            store->known[store->n++].answer = line[DIGITS + 1];
        }
        line = end != NULL ? end + 1 : "";
    }
    qsort(store->known, store->n, sizeof *store->known, by_digest);
    return QK_OK;
}

/* A file that cannot be read counts as empty: its questions are asked again. */
static enum qk_code read_file(struct qk_answer_store *store, struct qk_error *err)
{
    char *text;
    size_t n;
    if (qk_read_file(store->path, MOST_BYTES, &text, &n, NULL) != QK_OK)
        return QK_OK;
    enum qk_code code = take_lines(store, text, n, err);
    free(text);
    return code;
}

enum qk_code qk_answer_store_open(
    const char digest[QK_DIGEST_TEXT], struct qk_answer_store **out, struct qk_error *err)
{
    struct qk_answer_store *store;
    char *path, name[QK_DIGEST_TEXT + 32];
    *out = NULL;
    snprintf(name, sizeof name, "answers/%s%s", digest, SUFFIX);
    QK_TRY(qk_cache_path(name, &path, err));
    if (path == NULL)
        return QK_OK;
    enum qk_code code = qk_alloc(&store, 1, sizeof *store, err);
    if (code != QK_OK) {
        free(path);
        return code;
    }
    store->path = path;
    code = read_file(store, err);
    if (code == QK_OK)
        *out = store;
    else
        qk_answer_store_close(store);
    return code;
}

void qk_answer_store_close(struct qk_answer_store *store)
{
    if (store == NULL)
        return;
    free(store->path);
    free(store->known);
    free(store);
}

int qk_answer_store_find(const struct qk_answer_store *store, const char digest[QK_DIGEST_TEXT])
{
    struct known key;
    if (store == NULL || store->n == 0)
        return -1;
    memcpy(key.digest, digest, DIGITS);
    const struct known *found = bsearch(&key, store->known, store->n, sizeof key, by_digest);
    return found == NULL ? -1 : found->answer == 'r';
}

enum qk_code qk_answer_store_add(struct qk_answer_store *store, size_t n,
    const char (*digest)[QK_DIGEST_TEXT], const signed char *answer, struct qk_error *err)
{
    struct qk_text text = {0};
    char *lines;
    if (store == NULL || n == 0)
        return QK_OK;
    for (size_t i = 0; i < n; i++)
        qk_text_add(&text, "%s %c\n", digest[i], answer[i] > 0 ? 'r' : 'w');
    size_t length = text.length;
    QK_TRY(qk_text_take(&text, &lines, err));
    enum qk_code code = qk_make_folders(store->path, err);
    bool is_new = access(store->path, F_OK) != 0;
    int fd = -1;
    if (code == QK_OK)
        fd = open(store->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (code == QK_OK)
        code = fd < 0
                   ? qk_fail_errno(err, store->path, "write")
                   : qk_write_at(fd, store->path, 0, lines, length, err); /* O_APPEND: at the end, on Linux */
    if (fd >= 0)
        close(fd);
    if (code == QK_OK && is_new)
        qk_cache_trim_beside(store->path, SUFFIX, QK_ANSWER_CACHE_BYTES);
    free(lines);
    return code;
}
