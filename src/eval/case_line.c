/* case_line.c - the keys of a case, and the formats of other tools. */
#include "eval/case_line.h"

#include "base/json.h"
#include "base/mem.h"
#include "eval/case_foreign.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NAME = 255, MOST_TEXTS = 1024 };

#define KEY_NAME(id, name) name,
static const char *const KEY[QK_CASE_KEYS] = {QK_CASE_KEY_LIST(KEY_NAME)};

const char *qk_case_key(enum qk_case_key key)
{
    return KEY[key];
}

/* --- values --- */

bool qk_case_has(const struct qk_case_line *line, enum qk_case_key key)
{
    return line->value[key].n > 0;
}

static char first_of(const struct qk_case_line *line, enum qk_case_key key)
{
    return line->text[line->value[key].at];
}

/* Parses text[at, at + n), which is part of the key's value. */
static enum qk_code parse(const struct qk_case_line *line, enum qk_case_key key, size_t at, size_t n,
    cJSON **out, struct qk_error *err)
{
    const char *fault = qk_json_not_text(line->text + at, n);
    struct qk_text name = {0};
    char *place;
    *out = NULL;
    if (fault != NULL)
        return qk_fail(err, QK_INPUT, "%s: %s holds %s", line->name, KEY[key], fault);
    qk_text_add(&name, "%s: %s", line->name, KEY[key]);
    QK_TRY(qk_text_take(&name, &place, err));
    enum qk_code code = qk_json_parse(place, line->text + at, n, out, err);
    free(place);
    return code;
}

enum qk_code qk_case_tree(
    const struct qk_case_line *line, enum qk_case_key key, cJSON **out, struct qk_error *err)
{
    return parse(line, key, line->value[key].at, line->value[key].n, out, err);
}

enum qk_code qk_case_text(
    const struct qk_case_line *line, enum qk_case_key key, bool empty, char **out, struct qk_error *err)
{
    cJSON *value;
    if (first_of(line, key) != '"')
        return qk_fail(err, QK_INPUT, "%s: %s is not a text", line->name, KEY[key]);
    QK_TRY(qk_case_tree(line, key, &value, err));
    enum qk_code code = empty || value->valuestring[0] != '\0'
                            ? qk_strdup_to(out, value->valuestring, err)
                            : qk_fail(err, QK_INPUT, "%s: %s is empty", line->name, KEY[key]);
    cJSON_Delete(value);
    return code;
}

enum qk_code qk_case_add_answer(
    const struct qk_case_line *line, const char *text, size_t n, struct qk_case *item, struct qk_error *err)
{
    if (n == 0)
        return qk_fail(err, QK_INPUT, "%s: answer is empty", line->name);
    if (item->answer == NULL)
        return qk_strndup_to(&item->answer, text, n, err);
    if (item->n_other == MOST_TEXTS)
        return qk_fail(
            err, QK_INPUT, "%s: too many answers (expected at most %d)", line->name, MOST_TEXTS + 1);
    char **grown = realloc(item->other, (item->n_other + 1) * sizeof *grown);
    if (grown == NULL)
        return qk_fail_memory(err, (item->n_other + 1) * sizeof *grown);
    item->other = grown;
    QK_TRY(qk_strndup_to(&item->other[item->n_other], text, n, err));
    item->n_other++;
    return QK_OK;
}

enum qk_code qk_case_add_stop(const char *text, struct qk_case *item, struct qk_error *err)
{
    char **grown = realloc(item->stop, (item->n_stop + 1) * sizeof *grown);
    if (grown == NULL)
        return qk_fail_memory(err, (item->n_stop + 1) * sizeof *grown);
    item->stop = grown;
    QK_TRY(qk_strdup_to(&item->stop[item->n_stop], text, err));
    item->n_stop++;
    return QK_OK;
}

/* Adds one answer, text[at, at + n): a text, or a number as it is spelled. */
static enum qk_code add_answer_value(const struct qk_case_line *line, enum qk_case_key key, size_t at,
    size_t n, struct qk_case *item, struct qk_error *err)
{
    const char *p = line->text + at;
    cJSON *value;
    bool number = *p != '\0' && strchr("-0123456789", *p) != NULL && p[n - 1] != 'y'; /* -Infinity */
    if (number)
        return qk_case_add_answer(line, p, n, item, err);
    if (*p != '"')
        return qk_fail(err, QK_INPUT, "%s: %s is not a text (expected a text, a number, or a list of these)",
            line->name, KEY[key]);
    QK_TRY(parse(line, key, at, n, &value, err));
    enum qk_code code =
        value->valuestring[0] != '\0'
            ? qk_case_add_answer(line, value->valuestring, strlen(value->valuestring), item, err)
            : qk_fail(err, QK_INPUT, "%s: %s is empty", line->name, KEY[key]);
    cJSON_Delete(value);
    return code;
}

enum qk_code qk_case_answers(
    const struct qk_case_line *line, enum qk_case_key key, struct qk_case *item, struct qk_error *err)
{
    struct qk_json_walk walk;
    size_t at = line->value[key].at, end = at + line->value[key].n;
    bool more = false;
    if (first_of(line, key) != '[')
        return add_answer_value(line, key, at, end - at, item, err);
    qk_json_walk_start_list(&walk, line->path, line->text, at, end);
    enum qk_code code = qk_json_walk_next(&walk, &more, err);
    while (code == QK_OK && more) {
        code = add_answer_value(line, key, walk.value, walk.length, item, err);
        if (code == QK_OK)
            code = qk_json_walk_next(&walk, &more, err);
    }
    qk_json_walk_end(&walk);
    return code == QK_OK && item->answer == NULL
               ? qk_fail(err, QK_INPUT, "%s: %s is an empty list", line->name, KEY[key])
               : code;
}

static enum qk_code take_number(
    const struct qk_case_line *line, enum qk_case_key key, double *out, struct qk_error *err)
{
    cJSON *value = NULL;
    if (strchr("[{\"", first_of(line, key)) == NULL)
        QK_TRY(qk_case_tree(line, key, &value, err));
    bool number = cJSON_IsNumber(value);
    *out = number ? value->valuedouble : NAN;
    cJSON_Delete(value);
    return number ? QK_OK : qk_fail(err, QK_INPUT, "%s: %s is not a number", line->name, KEY[key]);
}

static enum qk_code take_depth(const struct qk_case_line *line, double *depth, struct qk_error *err)
{
    QK_TRY(take_number(line, QK_KEY_DEPTH, depth, err));
    return *depth >= 0 && *depth <= 1
               ? QK_OK
               : qk_fail(err, QK_INPUT, "%s: depth is out of range (found %g, expected 0 to 1)", line->name,
                     *depth);
}

static enum qk_code take_limit(const struct qk_case_line *line, size_t *limit, struct qk_error *err)
{
    double tokens;
    QK_TRY(take_number(line, QK_KEY_NEW_TOKENS, &tokens, err));
    if (!(tokens >= 1 && tokens <= QK_CASES_NEW_TOKENS) || tokens != floor(tokens))
        return qk_fail(err, QK_INPUT, "%s: max_new_tokens is out of range (found %g, expected 1 to %d)",
            line->name, tokens, QK_CASES_NEW_TOKENS);
    *limit = (size_t)tokens;
    return QK_OK;
}

/* *second = whether the value is the second of two words. */
static enum qk_code take_word(const struct qk_case_line *line, enum qk_case_key key, const char *one,
    const char *two, bool *second, struct qk_error *err)
{
    char *text;
    QK_TRY(qk_case_text(line, key, true, &text, err));
    *second = strcmp(text, two) == 0;
    enum qk_code code =
        *second || strcmp(text, one) == 0
            ? QK_OK
            : qk_fail(err, QK_INPUT, "%s: %s is out of range (found \"%.64s\", expected %s or %s)",
                  line->name, KEY[key], text, one, two);
    free(text);
    return code;
}

static enum qk_code take_stops(const struct qk_case_line *line, struct qk_case *item, struct qk_error *err)
{
    cJSON *tree;
    QK_TRY(qk_case_tree(line, QK_KEY_STOP, &tree, err));
    enum qk_code code = qk_case_stops(line, tree, item, err);
    cJSON_Delete(tree);
    return code;
}

enum qk_code qk_case_stops(
    const struct qk_case_line *line, const cJSON *tree, struct qk_case *item, struct qk_error *err)
{
    const cJSON *text = cJSON_IsArray(tree) ? tree->child : tree;
    for (; text != NULL; text = cJSON_IsArray(tree) ? text->next : NULL) {
        if (!cJSON_IsString(text) || item->n_stop == MOST_TEXTS)
            return qk_fail(err, QK_INPUT, "%s: stop is neither a text nor a list of at most %d texts",
                line->name, MOST_TEXTS);
        if (text->valuestring[0] != '\0')
            QK_TRY(qk_case_add_stop(text->valuestring, item, err));
    }
    return QK_OK;
}

/* --- the formats --- */

/* What an object is, by the key that it has: the first row whose key is there. Each reads the prompt, and the answers
 * where the object has no `answer`. */
static const struct format {
    enum qk_case_key sign;
    enum qk_code (*read)(const struct qk_case_line *line, struct qk_case *item, struct qk_error *err);
    const char *(*task)(const char *path, size_t *n);
} FORMATS[] = {
    {QK_KEY_PROMPT, qk_case_read_own, qk_case_file_task},
    {QK_KEY_MESSAGES, qk_case_read_chat, qk_case_file_task},
    {QK_KEY_ARGUMENTS, qk_case_read_sample, qk_case_sample_task},
    {QK_KEY_INPUT, qk_case_read_ruler, qk_case_ruler_task},
};

static const struct format *format_of(const struct qk_case_line *line)
{
    for (size_t i = 0; i < sizeof FORMATS / sizeof FORMATS[0]; i++)
        if (qk_case_has(line, FORMATS[i].sign))
            return &FORMATS[i];
    return NULL;
}

static enum qk_code take_task(
    const struct qk_case_line *line, const struct format *format, char **task, struct qk_error *err)
{
    if (!qk_case_has(line, QK_KEY_TASK)) {
        size_t n;
        const char *name = format->task(line->path, &n);
        return qk_strndup_to(task, name, n, err);
    }
    QK_TRY(qk_case_text(line, QK_KEY_TASK, false, task, err));
    if (strlen(*task) > MOST_NAME)
        return qk_fail(err, QK_INPUT,
            "%s: the name of the task is too long (found %zu bytes, expected at most %d)", line->name,
            strlen(*task), MOST_NAME);
    return QK_OK;
}

/* --- what must fit together --- */

/* The answer ends before the first answer_until: where that begins within an answer, nothing can be right. */
static enum qk_code check_until(
    const struct qk_case_line *line, const char *answer, const char *until, struct qk_error *err)
{
    struct qk_text both = {0};
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

static enum qk_code check_item(
    const struct qk_case_line *line, const struct qk_case *item, struct qk_error *err)
{
    if (item->answer == NULL)
        return qk_fail(err, QK_INPUT, "%s: answer is missing", line->name);
    if (item->all && !item->contains && item->n_other > 0)
        return qk_fail(err, QK_INPUT,
            "%s: require is \"all\", but only one of several answers can come first (expected \"match\": "
            "\"contains\")",
            line->name);
    if (item->until == NULL)
        return QK_OK;
    if (item->after == NULL)
        return qk_fail(err, QK_INPUT, "%s: answer_until needs answer_after", line->name);
    const char *answer;
    for (size_t i = 0; (answer = qk_case_answer(item, i)) != NULL; i++)
        QK_TRY(check_until(line, answer, item->until, err));
    return QK_OK;
}

/* The keys that every format may have. */
static enum qk_code take_common(const struct qk_case_line *line, struct qk_case *item, struct qk_error *err)
{
    if (qk_case_has(line, QK_KEY_AFTER))
        QK_TRY(qk_case_text(line, QK_KEY_AFTER, false, &item->after, err));
    if (qk_case_has(line, QK_KEY_UNTIL))
        QK_TRY(qk_case_text(line, QK_KEY_UNTIL, false, &item->until, err));
    if (qk_case_has(line, QK_KEY_DEPTH))
        QK_TRY(take_depth(line, &item->depth, err));
    if (qk_case_has(line, QK_KEY_NEW_TOKENS))
        QK_TRY(take_limit(line, &item->max_new_tokens, err));
    if (qk_case_has(line, QK_KEY_MATCH))
        QK_TRY(take_word(line, QK_KEY_MATCH, "exact", "contains", &item->contains, err));
    if (qk_case_has(line, QK_KEY_REQUIRE))
        QK_TRY(take_word(line, QK_KEY_REQUIRE, "any", "all", &item->all, err));
    return qk_case_has(line, QK_KEY_STOP) ? take_stops(line, item, err) : QK_OK;
}

static enum qk_code take_case(
    const struct qk_case_line *line, struct qk_case *item, char **task, struct qk_error *err)
{
    const struct format *format = format_of(line);
    if (format == NULL)
        return qk_fail(err, QK_INPUT, "%s: prompt is missing", line->name);
    QK_TRY(take_task(line, format, task, err));
    if (qk_case_has(line, QK_KEY_ANSWER))
        QK_TRY(qk_case_answers(line, QK_KEY_ANSWER, item, err));
    QK_TRY(format->read(line, item, err));
    QK_TRY(take_common(line, item, err));
    return check_item(line, item, err);
}

/* --- the object --- */

/* Notes where the values of known keys are; of a key that stands twice the last one counts, as in Python. */
static enum qk_code find_values(struct qk_case_line *line, size_t begin, size_t end, struct qk_error *err)
{
    struct qk_json_walk walk;
    bool more = false;
    qk_json_walk_start(&walk, line->path, line->text, begin, end);
    enum qk_code code = qk_json_walk_next(&walk, &more, err);
    while (code == QK_OK && more) {
        int key = 0;
        while (key < QK_CASE_KEYS && strcmp(walk.key, KEY[key]) != 0)
            key++;
        bool null = walk.length == 4 && memcmp(line->text + walk.value, "null", 4) == 0;
        if (key < QK_CASE_KEYS)
            line->value[key] = (struct qk_case_span){walk.value, null ? 0 : walk.length};
        code = qk_json_walk_next(&walk, &more, err);
    }
    qk_json_walk_end(&walk);
    return code;
}

/* Refuses bytes that are no text, and names the key whose value has the first of them, if one has. */
static enum qk_code check_bytes(struct qk_case_line *line, size_t begin, size_t end, struct qk_error *err)
{
    size_t good = begin + qk_utf8_prefix(line->text + begin, end - begin);
    const char *nul = memchr(line->text + begin, '\0', end - begin);
    if (nul != NULL && (size_t)(nul - line->text) < good)
        good = (size_t)(nul - line->text);
    if (good == end)
        return QK_OK;
    const char *key = "the line";
    find_values(line, begin, end, NULL);
    for (int i = 0; i < QK_CASE_KEYS; i++)
        if (good >= line->value[i].at && good < line->value[i].at + line->value[i].n)
            key = KEY[i];
    unsigned char byte = (unsigned char)line->text[good];
    if (byte == 0)
        return qk_fail(err, QK_INPUT, "%s: %s holds a NUL byte", line->name, key);
    return qk_fail(err, QK_INPUT, "%s: %s is not UTF-8 (found the byte 0x%02x%s)", line->name, key, byte,
        byte >= 0xa0 ? ", as in Latin-1" : "");
}

static enum qk_code read_object(struct qk_case_line *line, size_t begin, size_t end, struct qk_case *item,
    char **task, struct qk_error *err)
{
    QK_TRY(check_bytes(line, begin, end, err));
    QK_TRY(qk_json_check_tokens(line->path, line->text, begin, end, QK_JSON_PYTHON, err));
    if (line->text[begin] != '{')
        return qk_fail(err, QK_INPUT, "%s: not a JSON object (expected one a line)", line->name);
    QK_TRY(find_values(line, begin, end, err));
    return take_case(line, item, task, err);
}

enum qk_code qk_case_read(const char *path, size_t number, const char *text, size_t begin, size_t end,
    struct qk_case *item, char **task, struct qk_error *err)
{
    struct qk_case_line line = {.path = path, .text = text};
    struct qk_text name = {0};
    *item = (struct qk_case){.depth = NAN, .line = number};
    *task = NULL;
    qk_text_add(&name, "%s:%zu", path, number);
    QK_TRY(qk_text_take(&name, &line.name, err));
    enum qk_code code = read_object(&line, begin, end, item, task, err);
    free(line.name);
    if (code != QK_OK) {
        qk_case_free(item);
        free(*task);
        *task = NULL;
    }
    return code;
}
