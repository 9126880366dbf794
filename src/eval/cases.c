/* cases.c - the reader of files of cases, and their tokens. */
#include "eval/cases.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/read_file.h"
#include "base/text.h"
#include "range/probe_text.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LINE = 16 << 20, MOST_NAME = 255, DEFAULT_NEW_TOKENS = 256 };

/* --- one line --- */

enum key { PROMPT, ANSWER, TASK, AFTER, UNTIL, DEPTH, NEW_TOKENS, KEYS };
static const char *const KEY[KEYS] = {
    "prompt", "answer", "task", "answer_after", "answer_until", "depth", "max_new_tokens"};
enum { TEXTS = DEPTH }; /* the keys before this one hold texts */

struct line {
    const char *path;
    char *name; /* "PATH:LINE", for messages; owned */
    size_t number;
    bool seen[KEYS];
    char *text[TEXTS]; /* owned; NULL where it is not given */
    double depth;
    size_t max_new_tokens;
};

static void free_line(struct line *line)
{
    for (int i = 0; i < TEXTS; i++)
        free(line->text[i]);
    free(line->name);
}

static enum qk_code take_text(struct line *line, int key, cJSON *value, struct qk_error *err)
{
    if (!cJSON_IsString(value))
        return qk_fail(err, QK_INPUT, "%s: %s is not a text", line->name, KEY[key]);
    if (value->valuestring[0] == '\0')
        return qk_fail(err, QK_INPUT, "%s: %s is empty", line->name, KEY[key]);
    return qk_strdup_to(&line->text[key], value->valuestring, err);
}

static enum qk_code take_number(struct line *line, int key, const cJSON *value, struct qk_error *err)
{
    uint64_t tokens = 0;
    if (!cJSON_IsNumber(value))
        return qk_fail(err, QK_INPUT, "%s: %s is not a number", line->name, KEY[key]);
    if (key == DEPTH) {
        line->depth = value->valuedouble;
        return line->depth >= 0 && line->depth <= 1
                   ? QK_OK
                   : qk_fail(err, QK_INPUT, "%s: depth is out of range (found %g, expected 0 to 1)",
                         line->name, line->depth);
    }
    if (!qk_json_u64(value, &tokens) || tokens < 1 || tokens > QK_CASES_NEW_TOKENS)
        return qk_fail(err, QK_INPUT, "%s: max_new_tokens is out of range (found %g, expected 1 to %d)",
            line->name, value->valuedouble, QK_CASES_NEW_TOKENS);
    line->max_new_tokens = (size_t)tokens;
    return QK_OK;
}

/* Reads the walk's present member, if its key is known. */
static enum qk_code take_member(const struct qk_json_walk *walk, struct line *line, struct qk_error *err)
{
    int key = 0;
    cJSON *value;
    while (key < KEYS && strcmp(walk->key, KEY[key]) != 0)
        key++;
    if (key == KEYS)
        return QK_OK;
    if (line->seen[key])
        return qk_fail(err, QK_INPUT, "%s: %s appears twice", line->name, KEY[key]);
    line->seen[key] = true;
    /* Lists never become trees, which may take a multiple of their text. */
    if (walk->length > 0 && strchr("[{", walk->text[walk->value]) != NULL)
        return qk_fail(
            err, QK_INPUT, "%s: %s is not a %s", line->name, KEY[key], key < TEXTS ? "text" : "number");
    QK_TRY(qk_json_walk_value(walk, &value, err));
    enum qk_code code = cJSON_IsNull(value) ? QK_OK
                        : key < TEXTS       ? take_text(line, key, value, err)
                                            : take_number(line, key, value, err);
    cJSON_Delete(value);
    return code;
}

static enum qk_code read_members(
    const char *text, size_t begin, size_t end, struct line *line, struct qk_error *err)
{
    struct qk_json_walk walk;
    bool more = false;
    qk_json_walk_start(&walk, line->path, text, begin, end);
    enum qk_code code = qk_json_walk_next(&walk, &more, err);
    while (code == QK_OK && more) {
        code = take_member(&walk, line, err);
        if (code == QK_OK)
            code = qk_json_walk_next(&walk, &more, err);
    }
    qk_json_walk_end(&walk);
    return code;
}

/* The answer ends before the first answer_until: where that begins within the answer, nothing can be right. */
static enum qk_code check_until(const struct line *line, struct qk_error *err)
{
    const char *answer = line->text[ANSWER], *until = line->text[UNTIL];
    struct qk_text both = {0};
    if (until == NULL)
        return QK_OK;
    if (line->text[AFTER] == NULL)
        return qk_fail(err, QK_INPUT, "%s: answer_until needs answer_after", line->name);
    qk_text_add_bytes(&both, answer, strlen(answer));
    qk_text_add_bytes(&both, until, strlen(until));
    bool failed = both.failed, ends = !failed && strstr(both.s, until) == both.s + strlen(answer);
    size_t wanted = both.length;
    qk_text_free(&both);
    if (failed)
        return qk_fail_memory(err, wanted);
    return ends ? QK_OK
                : qk_fail(err, QK_INPUT, "%s: answer_until is within the answer, so nothing can be right",
                      line->name);
}

static enum qk_code check_line(const struct line *line, struct qk_error *err)
{
    static const enum key needed[] = {PROMPT, ANSWER};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (line->text[needed[i]] == NULL)
            return qk_fail(err, QK_INPUT, "%s: %s is missing", line->name, KEY[needed[i]]);
    if (line->text[TASK] != NULL && strlen(line->text[TASK]) > MOST_NAME)
        return qk_fail(err, QK_INPUT,
            "%s: the name of the task is too long (found %zu bytes, expected at "
            "most %d)",
            line->name, strlen(line->text[TASK]), MOST_NAME);
    return check_until(line, err);
}

/* --- the list --- */

static enum qk_code add_name(
    char ***list, size_t *n, size_t *capacity, const char *name, size_t length, struct qk_error *err)
{
    QK_TRY(qk_grow(list, capacity, *n + 1, sizeof **list, err));
    QK_TRY(qk_strndup_to(&(*list)[*n], name, length, err));
    (*n)++;
    return QK_OK;
}

/* The file's name without its folder, and without .jsonl or .json. */
static void name_of_file(const char *path, const char **name, size_t *n)
{
    const char *slash = strrchr(path, '/');
    *name = slash != NULL ? slash + 1 : path;
    *n = strlen(*name);
    if (qk_ends_with(*name, ".jsonl") && *n > 6)
        *n -= 6;
    else if (qk_ends_with(*name, ".json") && *n > 5)
        *n -= 5;
}

static enum qk_code find_task(
    struct qk_cases *cases, const struct line *line, size_t *task, struct qk_error *err)
{
    const char *name = line->text[TASK];
    size_t n = name != NULL ? strlen(name) : 0;
    if (name == NULL)
        name_of_file(line->path, &name, &n);
    for (*task = 0; *task < cases->n_tasks; ++*task)
        if (strlen(cases->task[*task]) == n && memcmp(cases->task[*task], name, n) == 0)
            return QK_OK;
    if (cases->n_tasks == QK_CASES_TASKS)
        return qk_fail(err, QK_INPUT, "%s: too many tasks (expected at most %d)", line->name, QK_CASES_TASKS);
    return add_name(&cases->task, &cases->n_tasks, &cases->task_capacity, name, n, err);
}

static enum qk_code add_case(struct qk_cases *cases, struct line *line, struct qk_error *err)
{
    size_t task;
    if (cases->n == QK_CASES_MOST)
        return qk_fail(err, QK_INPUT, "%s: too many cases (expected at most %d)", line->name, QK_CASES_MOST);
    QK_TRY(find_task(cases, line, &task, err));
    QK_TRY(qk_grow(&cases->item, &cases->capacity, cases->n + 1, sizeof *cases->item, err));
    cases->item[cases->n++] = (struct qk_case){.prompt = line->text[PROMPT],
        .answer = line->text[ANSWER],
        .after = line->text[AFTER],
        .until = line->text[UNTIL],
        .depth = line->depth,
        .max_new_tokens = line->max_new_tokens,
        .task = task,
        .file = cases->n_files - 1,
        .line = line->number};
    for (int i = 0; i < TEXTS; i++)
        if (i != TASK)
            line->text[i] = NULL;
    return QK_OK;
}

static enum qk_code name_line(const char *path, size_t number, char **out, struct qk_error *err)
{
    struct qk_text name = {0};
    qk_text_add(&name, "%s:%zu", path, number);
    return qk_text_take(&name, out, err);
}

/* Reads line `number`, text[begin, end); skips a blank one. */
static enum qk_code read_line(struct qk_cases *cases, const char *path, size_t number, const char *text,
    size_t begin, size_t end, struct qk_error *err)
{
    struct line line = {.path = path, .number = number, .depth = NAN};
    while (begin < end && strchr(" \t\r", text[begin]) != NULL && text[begin] != '\0')
        begin++;
    if (begin == end)
        return QK_OK;
    enum qk_code code = name_line(path, number, &line.name, err);
    if (code == QK_OK && end - begin > MOST_LINE)
        code = qk_fail(err, QK_INPUT, "%s: too long (found %zu bytes, expected at most %d)", line.name,
            end - begin, MOST_LINE);
    if (code == QK_OK)
        code = qk_json_check(line.name, text + begin, end - begin, err);
    if (code == QK_OK)
        code = qk_json_check_tokens(path, text, begin, end, QK_JSON_PYTHON, err);
    if (code == QK_OK && text[begin] != '{')
        code = qk_fail(err, QK_INPUT, "%s: not a JSON object (expected one a line)", line.name);
    if (code == QK_OK)
        code = read_members(text, begin, end, &line, err);
    if (code == QK_OK)
        code = check_line(&line, err);
    if (code == QK_OK)
        code = add_case(cases, &line, err);
    free_line(&line);
    return code;
}

static enum qk_code read_lines(
    struct qk_cases *cases, const char *path, const char *text, size_t n, struct qk_error *err)
{
    static const char mark[] = "\xef\xbb\xbf"; /* the byte order mark that editors may put before UTF-8 */
    size_t before = cases->n, number = 1;
    size_t at = n >= 3 && memcmp(text, mark, 3) == 0 ? 3 : 0;
    for (; at < n; number++) {
        const char *newline = memchr(text + at, '\n', n - at);
        size_t end = newline != NULL ? (size_t)(newline - text) : n;
        QK_TRY(read_line(cases, path, number, text, at, end, err));
        at = end + 1;
    }
    return cases->n > before ? QK_OK : qk_fail(err, QK_INPUT, "%s: it holds no case", path);
}

enum qk_code qk_cases_read(const char *path, struct qk_cases *cases, struct qk_error *err)
{
    char *text;
    size_t n;
    QK_TRY(add_name(&cases->file, &cases->n_files, &cases->file_capacity, path, strlen(path), err));
    QK_TRY(qk_read_file(path, QK_CASES_BYTES, &text, &n, err));
    enum qk_code code = read_lines(cases, path, text, n, err);
    free(text);
    return code;
}

void qk_cases_free(struct qk_cases *cases)
{
    for (size_t i = 0; i < cases->n; i++) {
        struct qk_case *item = &cases->item[i];
        free(item->prompt);
        free(item->answer);
        free(item->after);
        free(item->until);
    }
    for (size_t i = 0; i < cases->n_tasks; i++)
        free(cases->task[i]);
    for (size_t i = 0; i < cases->n_files; i++)
        free(cases->file[i]);
    free(cases->item);
    free(cases->task);
    free(cases->file);
    *cases = (struct qk_cases){0};
}

enum qk_code qk_case_write(
    const struct qk_case *item, const char *task, struct qk_text *text, struct qk_error *err)
{
    cJSON *root = cJSON_CreateObject();
    char *line;
    cJSON_AddStringToObject(root, KEY[TASK], task);
    if (!isnan(item->depth))
        qk_json_add_exact(root, KEY[DEPTH], item->depth);
    cJSON_AddStringToObject(root, KEY[PROMPT], item->prompt);
    cJSON_AddStringToObject(root, KEY[ANSWER], item->answer);
    if (item->after != NULL)
        cJSON_AddStringToObject(root, KEY[AFTER], item->after);
    if (item->until != NULL)
        cJSON_AddStringToObject(root, KEY[UNTIL], item->until);
    if (item->max_new_tokens > 0)
        cJSON_AddNumberToObject(root, KEY[NEW_TOKENS], (double)item->max_new_tokens);
    QK_TRY(qk_json_text(root, false, &line, err));
    qk_text_add(text, "%s\n", line);
    free(line);
    return text->failed ? qk_fail_memory(err, strlen(item->prompt)) : QK_OK;
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

void qk_case_digest(const struct qk_case *item, char out[QK_DIGEST_TEXT])
{
    struct qk_digest digest;
    char limit[32];
    qk_digest_init(&digest);
    digest_text(&digest, item->prompt);
    digest_text(&digest, item->answer);
    digest_text(&digest, item->after);
    digest_text(&digest, item->until);
    int n = snprintf(limit, sizeof limit, "%zu", item->max_new_tokens);
    qk_digest_add(&digest, limit, (size_t)n);
    qk_digest_hex(&digest, out);
}

/* --- tokens --- */

static enum qk_code encode(const struct qk_tokenizer *tokenizer, const char *text, size_t n, int32_t **ids,
    size_t *n_ids, struct qk_error *err)
{
    QK_TRY(qk_tokenizer_encode(tokenizer, text, n, true, ids, n_ids, err));
    *n_ids -= qk_tokenizer_trailing(tokenizer);
    return QK_OK;
}

/* Sets out->answer from the ids of prompt and answer together, if these begin with the prompt's. */
static enum qk_code encode_answer(const struct qk_case *item, const struct qk_tokenizer *tokenizer,
    struct qk_case_tokens *out, struct qk_error *err)
{
    struct qk_text both = {0};
    char *text;
    int32_t *ids;
    size_t n;
    qk_text_add_bytes(&both, item->prompt, strlen(item->prompt));
    qk_text_add_bytes(&both, item->answer, strlen(item->answer));
    size_t length = both.length;
    QK_TRY(qk_text_take(&both, &text, err));
    enum qk_code code = encode(tokenizer, text, length, &ids, &n, err);
    free(text);
    QK_TRY(code);
    if (n > out->n_prompt && memcmp(ids, out->prompt, out->n_prompt * sizeof *ids) == 0) {
        size_t n_answer = n - out->n_prompt;
        code = qk_alloc(&out->answer, n_answer, sizeof *out->answer, err);
        if (code == QK_OK) {
            memcpy(out->answer, ids + out->n_prompt, n_answer * sizeof *ids);
            out->n_answer = n_answer;
        }
    }
    free(ids);
    return code;
}

static enum qk_code encode_case(const struct qk_case *item, const struct qk_tokenizer *tokenizer,
    struct qk_case_tokens *out, struct qk_error *err)
{
    QK_TRY(encode(tokenizer, item->prompt, strlen(item->prompt), &out->prompt, &out->n_prompt, err));
    if (out->n_prompt == 0 || out->n_prompt > QK_PROBE_MOST)
        return qk_fail(
            err, QK_INPUT, "the prompt has %zu tokens (expected 1 to %d)", out->n_prompt, QK_PROBE_MOST);
    if (item->after == NULL)
        QK_TRY(encode_answer(item, tokenizer, out, err));
    out->limit = item->max_new_tokens > 0 ? item->max_new_tokens
                 : item->after != NULL    ? DEFAULT_NEW_TOKENS
                 : out->n_answer > 0      ? out->n_answer
                                          : strlen(item->answer);
    if (out->limit < out->n_answer)
        return qk_fail(err, QK_INPUT,
            "max_new_tokens is less than the answer's tokens (found %zu, expected at least %zu)", out->limit,
            out->n_answer);
    return QK_OK;
}

enum qk_code qk_case_encode(const struct qk_cases *cases, size_t i, const struct qk_tokenizer *tokenizer,
    struct qk_case_tokens *out, struct qk_error *err)
{
    const struct qk_case *item = &cases->item[i];
    struct qk_error why = {0};
    *out = (struct qk_case_tokens){0};
    enum qk_code code = encode_case(item, tokenizer, out, &why);
    if (code == QK_INPUT)
        return qk_fail(err, code, "%s:%zu: %s", cases->file[item->file], item->line, why.text);
    return code == QK_OK ? QK_OK : qk_fail(err, code, "%s", why.text);
}

void qk_case_tokens_free(struct qk_case_tokens *tokens)
{
    free(tokens->prompt);
    free(tokens->answer);
    *tokens = (struct qk_case_tokens){0};
}
