/* case_foreign.c - prompts and answers as this program, RULER, lm-evaluation-harness and chats write them. */
#include "eval/case_foreign.h"

#include "base/mem.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* The most tokens that RULER lets its tasks write, and that the harness lets one write without max_gen_toks. */
enum { RULER_NEW_TOKENS = 128, SAMPLE_NEW_TOKENS = 256 };

/* --- names of tasks --- */

const char *qk_case_file_task(const char *path, size_t *n)
{
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    *n = strlen(name);
    if (qk_ends_with(name, ".jsonl") && *n > 6)
        *n -= 6;
    else if (qk_ends_with(name, ".json") && *n > 5)
        *n -= 5;
    return name;
}

static bool is_name(const char *name, size_t n, const char *wanted)
{
    return strlen(wanted) == n && memcmp(name, wanted, n) == 0;
}

const char *qk_case_ruler_task(const char *path, size_t *n)
{
    const char *name = qk_case_file_task(path, n), *folder = name;
    if (name - path < 2 || (!is_name(name, *n, "validation") && !is_name(name, *n, "test")))
        return name;
    while (folder - 1 > path && folder[-2] != '/')
        folder--;
    folder -= folder - 1 == path ? 0 : 1;
    *n = (size_t)(name - 1 - folder);
    return folder;
}

const char *qk_case_sample_task(const char *path, size_t *n)
{
    static const char FRONT[] = "samples_";
    size_t length = sizeof FRONT - 1;
    const char *name = qk_case_file_task(path, n);
    if (*n <= length || strncmp(name, FRONT, length) != 0)
        return name;
    name += length;
    *n -= length;
    for (size_t i = *n; i > 1; i--)
        if (name[i - 1] == '_' && i < *n && isdigit((unsigned char)name[i])) {
            *n = i - 1;
            break;
        }
    return name;
}

/* --- this program's keys, and RULER's --- */

/* RULER's list: all of its texts must be somewhere in what the model writes. */
static enum qk_code take_outputs(const struct qk_case_line *line, struct qk_case *item, struct qk_error *err)
{
    if (item->answer != NULL || !qk_case_has(line, QK_KEY_OUTPUTS))
        return QK_OK;
    item->contains = item->all = true;
    return qk_case_answers(line, QK_KEY_OUTPUTS, item, err);
}

enum qk_code qk_case_read_own(const struct qk_case_line *line, struct qk_case *item, struct qk_error *err)
{
    QK_TRY(qk_case_text(line, QK_KEY_PROMPT, false, &item->prompt, err));
    return take_outputs(line, item, err);
}

enum qk_code qk_case_read_ruler(const struct qk_case_line *line, struct qk_case *item, struct qk_error *err)
{
    struct qk_text both = {0};
    char *input, *prefix = NULL;
    size_t n;
    QK_TRY(take_outputs(line, item, err));
    if (item->contains) {
        const char *task = qk_case_ruler_task(line->path, &n);
        item->max_new_tokens = RULER_NEW_TOKENS;
        item->all = n < 2 || strncmp(task, "qa", 2) != 0; /* its questions have several right answers */
    }
    QK_TRY(qk_case_text(line, QK_KEY_INPUT, false, &input, err));
    enum qk_code code = QK_OK;
    if (qk_case_has(line, QK_KEY_PREFIX))
        code = qk_case_text(line, QK_KEY_PREFIX, true, &prefix, err);
    qk_text_add(&both, "%s%s", input, prefix != NULL ? prefix : "");
    free(input);
    free(prefix);
    if (code == QK_OK)
        return qk_text_take(&both, &item->prompt, err);
    qk_text_free(&both);
    return code;
}

/* --- chats --- */

/* Adds the text of a message: a text, or a list of parts that are texts. */
static enum qk_code add_content(const struct qk_case_line *line, const cJSON *content, size_t number,
    struct qk_text *text, struct qk_error *err)
{
    const cJSON *part = cJSON_IsArray(content) ? content->child : NULL;
    if (cJSON_IsString(content)) {
        qk_text_add_bytes(text, content->valuestring, strlen(content->valuestring));
        return QK_OK;
    }
    if (part == NULL)
        return qk_fail(
            err, QK_INPUT, "%s: messages: the content of message %zu is not a text", line->name, number);
    for (; part != NULL; part = part->next) {
        const char *words = qk_json_string(part, "text", NULL), *type = qk_json_string(part, "type", "text");
        if (words == NULL || strcmp(type, "text") != 0)
            return qk_fail(err, QK_INPUT,
                "%s: messages: message %zu has a part that is not a text (found type \"%.32s\")", line->name,
                number, type);
        qk_text_add_bytes(text, words, strlen(words));
    }
    return QK_OK;
}

/* Adds the message as {"role", "content"} to `to`, or, where it is the assistant's last one, as the answer. */
static enum qk_code add_message(const struct qk_case_line *line, const cJSON *message, size_t number,
    cJSON *to, struct qk_case *item, struct qk_error *err)
{
    const char *role = qk_json_string(message, "role", NULL);
    struct qk_text content = {0};
    char *text;
    if (role == NULL)
        return qk_fail(err, QK_INPUT, "%s: messages: message %zu has no role", line->name, number);
    enum qk_code code = add_content(line, qk_json_get(message, "content"), number, &content, err);
    if (code != QK_OK) {
        qk_text_free(&content);
        return code;
    }
    QK_TRY(qk_text_take(&content, &text, err));
    if (message->next == NULL && strcmp(role, "assistant") == 0) {
        if (item->answer == NULL)
            code = qk_case_add_answer(line, text, strlen(text), item, err);
    } else {
        cJSON *added = qk_json_append_object(to);
        cJSON_AddStringToObject(added, "role", role);
        cJSON_AddStringToObject(added, "content", text);
    }
    free(text);
    return code;
}

enum qk_code qk_case_read_chat(const struct qk_case_line *line, struct qk_case *item, struct qk_error *err)
{
    cJSON *tree, *kept = cJSON_CreateArray();
    size_t number = 0;
    enum qk_code code = take_outputs(line, item, err);
    if (code == QK_OK)
        code = qk_case_tree(line, QK_KEY_MESSAGES, &tree, err);
    if (code != QK_OK) {
        cJSON_Delete(kept);
        return code;
    }
    if (!cJSON_IsArray(tree))
        code = qk_fail(err, QK_INPUT, "%s: messages is not a list", line->name);
    for (const cJSON *message = code == QK_OK ? tree->child : NULL; message != NULL && code == QK_OK;
         message = message->next)
        code = add_message(line, message, ++number, kept, item, err);
    cJSON_Delete(tree);
    if (code == QK_OK && cJSON_GetArraySize(kept) == 0)
        code = qk_fail(err, QK_INPUT, "%s: messages holds no message to answer", line->name);
    if (code == QK_OK)
        return qk_json_text(kept, false, &item->messages, err);
    cJSON_Delete(kept);
    return code;
}

/* --- samples of lm-evaluation-harness --- */

/* A list as Python prints one, ['a', "b", 1], as the harness writes a target that is a list. */
struct python {
    const struct qk_case_line *line;
    struct qk_case *item;
    const char *at;
};

static void skip_blanks(struct python *p)
{
    p->at += strspn(p->at, " \n");
}

/* One text or number. False where it is spelled in a way that is not known here; `text` then is undefined. */
static bool read_entry(struct python *p, struct qk_text *text)
{
    static const char ESCAPED[] = "\\'\"nrt", PLAIN[] = "\\'\"\n\r\t";
    char quote = *p->at;
    if (quote != '\'' && quote != '"') {
        size_t n = strspn(p->at, "-+.0123456789e");
        qk_text_add_bytes(text, p->at, n);
        p->at += n;
        return n > 0;
    }
    for (p->at++; *p->at != quote; p->at++) {
        const char *escaped = *p->at == '\\' && p->at[1] != '\0' ? strchr(ESCAPED, p->at[1]) : NULL;
        if (*p->at == '\0' || (*p->at == '\\' && escaped == NULL))
            return false;
        qk_text_add_bytes(text, escaped != NULL ? &PLAIN[escaped - ESCAPED] : p->at, 1);
        p->at += escaped != NULL;
    }
    p->at++;
    return true;
}

/* Adds the entries as answers; *is_list = false, and nothing stays added, where the text is no such list. */
static enum qk_code read_python_list(struct python *p, bool *is_list, struct qk_error *err)
{
    struct qk_lines found = {0};
    enum qk_code code = QK_OK;
    bool more = *p->at++ == '[';
    while (more && code == QK_OK) {
        struct qk_text text = {0};
        skip_blanks(p);
        more = read_entry(p, &text);
        if (more)
            code = qk_lines_add(&found, err, "%s", text.s != NULL ? text.s : "");
        qk_text_free(&text);
        skip_blanks(p);
        more = more && *p->at == ',';
        p->at += more;
    }
    *is_list = strcmp(p->at, "]") == 0 && found.n > 0;
    for (size_t i = 0; i < found.n && *is_list && code == QK_OK; i++)
        code = qk_case_add_answer(p->line, found.line[i], strlen(found.line[i]), p->item, err);
    qk_lines_free(&found);
    return code;
}

static enum qk_code take_target(const struct qk_case_line *line, struct qk_case *item, struct qk_error *err)
{
    char *target;
    bool is_list = false;
    enum qk_code code = QK_OK;
    if (!qk_case_has(line, QK_KEY_TARGET))
        return QK_OK;
    if (line->text[line->value[QK_KEY_TARGET].at] != '"') /* the target of another writer */
        return qk_case_answers(line, QK_KEY_TARGET, item, err);
    QK_TRY(qk_case_text(line, QK_KEY_TARGET, false, &target, err));
    struct python python = {line, item, target};
    if (strstr(target, "\n####") != NULL)
        code = qk_fail(err, QK_INPUT,
            "%s: target is a worked solution, whose check is in the task: give answer and answer_after",
            line->name);
    if (code == QK_OK && target[0] == '[')
        code = read_python_list(&python, &is_list, err);
    if (code == QK_OK && !is_list)
        code = qk_case_add_answer(line, target, strlen(target), item, err);
    free(target);
    return code;
}

/* The n-th argument of a request, which is {"arg_0": ..., "arg_1": ...} or, before 2024, a list. */
static const cJSON *argument(const cJSON *request, int n)
{
    static const char *const NAME[] = {"arg_0", "arg_1"};
    return cJSON_IsArray(request) ? cJSON_GetArrayItem(request, n) : qk_json_get(request, NAME[n]);
}

/* What a request to generate says of the end of the text. */
static enum qk_code take_settings(
    const struct qk_case_line *line, const cJSON *settings, struct qk_case *item, struct qk_error *err)
{
    int64_t most = qk_json_int(settings, "max_gen_toks", SAMPLE_NEW_TOKENS);
    const cJSON *until = qk_json_get(settings, "until");
    item->contains = true;
    item->max_new_tokens = most >= 1 && most <= QK_CASES_NEW_TOKENS ? (size_t)most : SAMPLE_NEW_TOKENS;
    if (until != NULL && !cJSON_IsNull(until))
        QK_TRY(qk_case_stops(line, until, item, err));
    return item->answer == NULL ? take_target(line, item, err) : QK_OK;
}

static enum qk_code take_request(
    const struct qk_case_line *line, const cJSON *request, struct qk_case *item, struct qk_error *err)
{
    const cJSON *prompt = argument(request, 0), *second = argument(request, 1);
    if (!cJSON_IsString(prompt) || prompt->valuestring[0] == '\0')
        return qk_fail(err, QK_INPUT, "%s: arguments: the prompt is not a text", line->name);
    QK_TRY(qk_strdup_to(&item->prompt, prompt->valuestring, err));
    if (cJSON_IsObject(second))
        return take_settings(line, second, item, err);
    if (!cJSON_IsString(second))
        return qk_fail(
            err, QK_INPUT, "%s: arguments: neither a continuation nor settings of a generation", line->name);
    if (request->next != NULL)
        return qk_fail(err, QK_INPUT,
            "%s: arguments are choices to compare by likelihood (multiple choice), which is not supported: only "
            "written answers are counted",
            line->name);
    return item->answer == NULL
               ? qk_case_add_answer(line, second->valuestring, strlen(second->valuestring), item, err)
               : QK_OK;
}

enum qk_code qk_case_read_sample(const struct qk_case_line *line, struct qk_case *item, struct qk_error *err)
{
    cJSON *tree;
    QK_TRY(qk_case_tree(line, QK_KEY_ARGUMENTS, &tree, err));
    const cJSON *first = tree->child;
    bool flat = cJSON_IsArray(tree) && cJSON_IsString(first); /* one request, not in a list of its own */
    enum qk_code code = take_request(line, flat ? tree : first, item, err);
    cJSON_Delete(tree);
    return code;
}
