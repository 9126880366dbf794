/* cases.c - the reader and writer of files of cases. */
#include "eval/cases.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/read_file.h"
#include "eval/case_foreign.h"
#include "eval/case_line.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LINE = 16 << 20 };

/* --- the list --- */

static enum qk_code add_name(
    char ***list, size_t *n, size_t *capacity, const char *name, size_t length, struct qk_error *err)
{
    QK_TRY(qk_grow(list, capacity, *n + 1, sizeof **list, err));
    QK_TRY(qk_strndup_to(&(*list)[*n], name, length, err));
    (*n)++;
    return QK_OK;
}

static enum qk_code find_task(
    struct qk_cases *cases, const char *place, const char *name, size_t *task, struct qk_error *err)
{
    for (*task = 0; *task < cases->n_tasks; ++*task)
        if (strcmp(cases->task[*task], name) == 0)
            return QK_OK;
    if (cases->n_tasks == QK_CASES_TASKS)
        return qk_fail(err, QK_INPUT, "%s: too many tasks (expected at most %d)", place, QK_CASES_TASKS);
    return add_name(&cases->task, &cases->n_tasks, &cases->task_capacity, name, strlen(name), err);
}

/* Adds the case to the list, which owns its texts then. */
static enum qk_code add_case(
    struct qk_cases *cases, const char *place, const char *task, struct qk_case *item, struct qk_error *err)
{
    if (cases->n == QK_CASES_MOST)
        return qk_fail(err, QK_INPUT, "%s: too many cases (expected at most %d)", place, QK_CASES_MOST);
    QK_TRY(find_task(cases, place, task, &item->task, err));
    QK_TRY(qk_grow(&cases->item, &cases->capacity, cases->n + 1, sizeof *cases->item, err));
    item->file = cases->n_files - 1;
    cases->item[cases->n++] = *item;
    *item = (struct qk_case){0};
    return QK_OK;
}

/* A file that is being read. */
struct reader {
    struct qk_cases *cases;
    const char *path, *text;
    size_t n;
    size_t at, number; /* a place in the text, and its line */
};

/* Steps to a later place. */
static void step_to(struct reader *reader, size_t place)
{
    const char *newline;
    while (reader->at < place &&
           (newline = memchr(reader->text + reader->at, '\n', place - reader->at)) != NULL) {
        reader->at = (size_t)(newline - reader->text) + 1;
        reader->number++;
    }
    reader->at = place;
}

/* Reads text[begin, end) as the case that begins on the reader's line. */
static enum qk_code read_case(struct reader *reader, size_t begin, size_t end, struct qk_error *err)
{
    struct qk_case item = {0};
    struct qk_text name = {0};
    char *place, *task = NULL;
    qk_text_add(&name, "%s:%zu", reader->path, reader->number);
    QK_TRY(qk_text_take(&name, &place, err));
    enum qk_code code =
        end - begin <= MOST_LINE
            ? qk_case_read(reader->path, reader->number, reader->text, begin, end, &item, &task, err)
            : qk_fail(err, QK_INPUT, "%s: too long (found %zu bytes, expected at most %d)", place,
                  end - begin, MOST_LINE);
    if (code == QK_OK)
        code = add_case(reader->cases, place, task, &item, err);
    qk_case_free(&item);
    free(task);
    free(place);
    return code;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t line_end(const struct reader *reader, size_t at)
{
    const char *newline = memchr(reader->text + at, '\n', reader->n - at);
    return newline != NULL ? (size_t)(newline - reader->text) : reader->n;
}

/* The end of the line on which the object that begins here ends. That is the present line, unless the object is spread
 * over several. */
static size_t object_end(const struct reader *reader, size_t begin)
{
    size_t first = line_end(reader, begin);
    size_t end = reader->text[begin] == '{' ? qk_json_value_end(reader->text, begin, reader->n) : 0;
    return end <= first ? first : line_end(reader, end);
}

static enum qk_code read_lines(struct reader *reader, struct qk_error *err)
{
    while (reader->at < reader->n) {
        if (is_blank(reader->text[reader->at])) {
            step_to(reader, reader->at + 1);
            continue;
        }
        size_t begin = reader->at, end = object_end(reader, begin);
        QK_TRY(read_case(reader, begin, end, err));
        step_to(reader, end);
    }
    return QK_OK;
}

/* Reads the whole text as one list of objects. */
static enum qk_code read_list(struct reader *reader, struct qk_error *err)
{
    struct qk_json_walk walk;
    bool more = false;
    qk_json_walk_start_list(&walk, reader->path, reader->text, reader->at, reader->n);
    enum qk_code code = qk_json_walk_next(&walk, &more, err);
    while (code == QK_OK && more) {
        step_to(reader, walk.value);
        code = read_case(reader, walk.value, walk.value + walk.length, err);
        if (code == QK_OK)
            code = qk_json_walk_next(&walk, &more, err);
    }
    qk_json_walk_end(&walk);
    return code;
}

static enum qk_code read_text(
    struct qk_cases *cases, const char *path, const char *text, size_t n, struct qk_error *err)
{
    static const char mark[] = "\xef\xbb\xbf"; /* the byte order mark that editors may put before UTF-8 */
    struct reader reader = {.cases = cases, .path = path, .text = text, .n = n, .number = 1};
    size_t before = cases->n;
    QK_TRY(qk_check_stand_in(path, text, n, err));
    reader.at = n >= 3 && memcmp(text, mark, 3) == 0 ? 3 : 0;
    size_t begin = reader.at;
    while (begin < n && is_blank(text[begin]))
        begin++;
    QK_TRY(begin < n && text[begin] == '[' ? read_list(&reader, err) : read_lines(&reader, err));
    return cases->n > before ? QK_OK : qk_fail(err, QK_INPUT, "%s: it holds no case", path);
}

enum qk_code qk_cases_read(const char *path, struct qk_cases *cases, struct qk_error *err)
{
    char *text;
    size_t n;
    QK_TRY(add_name(&cases->file, &cases->n_files, &cases->file_capacity, path, strlen(path), err));
    QK_TRY(qk_read_file(path, QK_CASES_BYTES, &text, &n, err));
    enum qk_code code = read_text(cases, path, text, n, err);
    free(text);
    return code;
}

const char *qk_case_answer(const struct qk_case *item, size_t i)
{
    if (i == 0)
        return item->answer;
    return i <= item->n_other ? item->other[i - 1] : NULL;
}

static void free_texts(char **text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(text[i]);
    free(text);
}

void qk_case_free(struct qk_case *item)
{
    free_texts(item->other, item->n_other);
    free_texts(item->stop, item->n_stop);
    free(item->prompt);
    free(item->messages);
    free(item->answer);
    free(item->after);
    free(item->until);
    *item = (struct qk_case){0};
}

void qk_cases_free(struct qk_cases *cases)
{
    for (size_t i = 0; i < cases->n; i++)
        qk_case_free(&cases->item[i]);
    free_texts(cases->task, cases->n_tasks);
    free_texts(cases->file, cases->n_files);
    free(cases->item);
    *cases = (struct qk_cases){0};
}

/* Adds one text, or a list where there are several. */
static void add_texts(cJSON *root, enum qk_case_key key, const char *first, char *const *other, size_t n)
{
    if (n == 0) {
        cJSON_AddStringToObject(root, qk_case_key(key), first);
        return;
    }
    cJSON *list = cJSON_AddArrayToObject(root, qk_case_key(key));
    if (first != NULL)
        qk_json_append(list, cJSON_CreateString(first));
    for (size_t i = 0; i < n; i++)
        qk_json_append(list, cJSON_CreateString(other[i]));
}

static void add_comparison(cJSON *root, const struct qk_case *item)
{
    add_texts(root, QK_KEY_ANSWER, item->answer, item->other, item->n_other);
    if (item->contains)
        cJSON_AddStringToObject(root, qk_case_key(QK_KEY_MATCH), "contains");
    if (item->all)
        cJSON_AddStringToObject(root, qk_case_key(QK_KEY_REQUIRE), "all");
    if (item->n_stop > 0)
        add_texts(root, QK_KEY_STOP, NULL, item->stop, item->n_stop);
    if (item->after != NULL)
        cJSON_AddStringToObject(root, qk_case_key(QK_KEY_AFTER), item->after);
    if (item->until != NULL)
        cJSON_AddStringToObject(root, qk_case_key(QK_KEY_UNTIL), item->until);
    if (item->max_new_tokens > 0)
        cJSON_AddNumberToObject(root, qk_case_key(QK_KEY_NEW_TOKENS), (double)item->max_new_tokens);
}

enum qk_code qk_case_write(
    const struct qk_case *item, const char *task, struct qk_text *text, struct qk_error *err)
{
    cJSON *root = cJSON_CreateObject();
    char *line;
    cJSON_AddStringToObject(root, qk_case_key(QK_KEY_TASK), task);
    if (!isnan(item->depth))
        qk_json_add_exact(root, qk_case_key(QK_KEY_DEPTH), item->depth);
    if (item->messages != NULL)
        cJSON_AddRawToObject(root, qk_case_key(QK_KEY_MESSAGES), item->messages);
    else
        cJSON_AddStringToObject(root, qk_case_key(QK_KEY_PROMPT), item->prompt);
    add_comparison(root, item);
    QK_TRY(qk_json_text(root, false, &line, err));
    qk_text_add(text, "%s\n", line);
    free(line);
    return text->failed ? qk_fail_memory(err, text->length) : QK_OK;
}

/* --- digest --- */

/* Adds a text with its length in front, so that two different lists of texts never give the same bytes. */
static void digest_text(struct qk_digest *digest, const char *text)
{
    char length[32];
    int n = text != NULL ? snprintf(length, sizeof length, "%zu ", strlen(text))
                         : snprintf(length, sizeof length, "- ");
    qk_digest_add(digest, length, (size_t)n);
    if (text != NULL)
        qk_digest_add(digest, text, strlen(text));
}

static void digest_texts(struct qk_digest *digest, char *const *text, size_t n)
{
    qk_digest_add(digest, &n, sizeof n);
    for (size_t i = 0; i < n; i++)
        digest_text(digest, text[i]);
}

void qk_case_digest(const struct qk_case *item, char out[QK_DIGEST_TEXT])
{
    struct qk_digest digest;
    char limit[32];
    qk_digest_init(&digest);
    digest_text(&digest, item->messages != NULL ? item->messages : item->prompt);
    digest_text(&digest, item->answer);
    digest_text(&digest, item->after);
    digest_text(&digest, item->until);
    int n = snprintf(limit, sizeof limit, "%zu", item->max_new_tokens);
    qk_digest_add(&digest, limit, (size_t)n);
    /* The digest of a plain case stays what it was before there were these. */
    if (item->messages != NULL || item->n_other > 0 || item->contains || item->n_stop > 0) {
        n = snprintf(limit, sizeof limit, " %d %d %d", item->messages != NULL, item->contains, item->all);
        qk_digest_add(&digest, limit, (size_t)n);
        digest_texts(&digest, item->other, item->n_other);
        digest_texts(&digest, item->stop, item->n_stop);
    }
    qk_digest_hex(&digest, out);
}
