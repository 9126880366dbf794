/* chat.c - the parts of a chat template, and its statements. */
#include "token/chat.h"

#include "base/mem.h"
#include "base/read_file.h"
#include "tensor/source.h"
#include "token/chat_expression.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 1 << 20, MOST_CONFIG = 32 << 20, MOST_TEXT = 64 << 20, MOST_BLOCKS = 32 };

enum part_kind { PART_TEXT, PART_VALUE, PART_STATEMENT };

/* text[begin, end) of the template, without its brackets. */
struct part {
    enum part_kind kind;
    size_t begin, end;
};

struct qk_chat {
    char *path, *text;
    size_t n;
    struct part *part; /* n_parts */
    size_t n_parts, capacity;
    cJSON *config; /* tokenizer_config.json, or NULL */
};

/* --- parts --- */

static enum qk_code add_part(
    struct qk_chat *chat, enum part_kind kind, size_t begin, size_t end, struct qk_error *err)
{
    QK_TRY(qk_grow(&chat->part, &chat->capacity, chat->n_parts + 1, sizeof *chat->part, err));
    chat->part[chat->n_parts++] = (struct part){kind, begin, end};
    return QK_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The end of the text before a tag. "-" takes all blanks away; before a statement or a comment also those that stand
 * alone on its line (lstrip_blocks). */
static size_t cut_end(const struct qk_chat *chat, size_t begin, size_t tag)
{
    size_t end = tag;
    char sign = chat->text[tag + 2];
    if (sign == '-') {
        while (end > begin && is_blank(chat->text[end - 1]))
            end--;
        return end;
    }
    while (end > begin && (chat->text[end - 1] == ' ' || chat->text[end - 1] == '\t'))
        end--;
    bool alone = end == 0 || chat->text[end - 1] == '\n';
    return alone && sign != '+' && chat->text[tag + 1] != '{' ? end : tag;
}

/* The place of the bracket that closes the tag at `tag`; quotes in it are skipped. chat->n where none does. */
static size_t find_close(const struct qk_chat *chat, size_t tag)
{
    static const char OPEN[] = "{%#", CLOSE[] = "}%#";
    char close = CLOSE[strchr(OPEN, chat->text[tag + 1]) - OPEN], quote = '\0';
    for (size_t i = tag + 2; i + 1 < chat->n; i++) {
        char c = chat->text[i];
        if (quote != '\0') {
            i += c == '\\';
            quote = c == quote ? '\0' : quote;
        } else if (c == close && chat->text[i + 1] == '}') {
            return i;
        } else if (close != '#' && (c == '\'' || c == '"')) {
            quote = c;
        }
    }
    return chat->n;
}

static size_t find_tag(const struct qk_chat *chat, size_t at)
{
    for (; at + 2 < chat->n; at++)
        if (chat->text[at] == '{' && strchr("{%#", chat->text[at + 1]) != NULL && chat->text[at + 1] != '\0')
            return at;
    return chat->n;
}

static enum qk_code cut_parts(struct qk_chat *chat, struct qk_error *err)
{
    size_t at = 0;
    while (at < chat->n) {
        size_t tag = find_tag(chat, at);
        size_t end = tag < chat->n ? cut_end(chat, at, tag) : chat->n;
        if (end > at)
            QK_TRY(add_part(chat, PART_TEXT, at, end, err));
        if (tag == chat->n)
            break;
        size_t close = find_close(chat, tag), begin = tag + 2, behind = close + 2;
        if (close == chat->n)
            return qk_fail(err, QK_INPUT, "%s: chat_template: a tag does not end", chat->path);
        char kind = chat->text[tag + 1];
        bool minus = close > begin && chat->text[close - 1] == '-';
        close -= minus || (close > begin && chat->text[close - 1] == '+' && kind == '%');
        begin += begin < close && (chat->text[begin] == '-' || chat->text[begin] == '+');
        if (kind != '#')
            QK_TRY(add_part(chat, kind == '{' ? PART_VALUE : PART_STATEMENT, begin, close, err));
        while (minus && behind < chat->n && is_blank(chat->text[behind]))
            behind++;
        if (!minus && kind != '{' && behind < chat->n && chat->text[behind] == '\n')
            behind++; /* trim_blocks */
        at = behind;
    }
    return QK_OK;
}

/* --- opening --- */

/* The template of the configuration: a text, or the one called "default" of a list. */
static const char *template_of(const cJSON *config)
{
    const cJSON *item = qk_json_get(config, "chat_template");
    for (const cJSON *one = cJSON_IsArray(item) ? item->child : NULL; one != NULL; one = one->next)
        if (strcmp(qk_json_string(one, "name", ""), "default") == 0)
            return qk_json_string(one, "template", NULL);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static enum qk_code read_config(struct qk_chat *chat, const char *folder, struct qk_error *err)
{
    char *path;
    bool found;
    QK_TRY(qk_path_join(folder, "tokenizer_config.json", &path, err));
    enum qk_code code = qk_source_exists(path, &found, err);
    if (code == QK_OK && found)
        code = qk_json_read(path, MOST_CONFIG, &chat->config, err);
    if (chat->path == NULL)
        chat->path = path;
    else
        free(path);
    return code;
}

static enum qk_code read_template(struct qk_chat *chat, const char *folder, struct qk_error *err)
{
    char *path;
    bool found;
    QK_TRY(qk_path_join(folder, "chat_template.jinja", &path, err));
    enum qk_code code = qk_source_exists(path, &found, err);
    if (code == QK_OK && found) {
        chat->path = path;
        QK_TRY(qk_read_file(path, MOST_BYTES, &chat->text, &chat->n, err));
        if (memchr(chat->text, '\0', chat->n) != NULL || !qk_utf8_valid(chat->text, chat->n))
            return qk_fail(err, QK_INPUT, "%s: not a text of UTF-8", path);
        return read_config(chat, folder, err);
    }
    free(path);
    QK_TRY(code);
    QK_TRY(read_config(chat, folder, err));
    const char *text = template_of(chat->config);
    if (text == NULL)
        return qk_fail(err, QK_INPUT,
            "%s: no chat_template, which messages need (expected prompts instead of messages)", chat->path);
    chat->n = strlen(text);
    if (chat->n > MOST_BYTES)
        return qk_fail(err, QK_INPUT, "%s: chat_template is too long (found %zu bytes, expected at most %d)",
            chat->path, chat->n, MOST_BYTES);
    return qk_strdup_to(&chat->text, text, err);
}

enum qk_code qk_chat_open(const char *folder, struct qk_chat **out, struct qk_error *err)
{
    struct qk_chat *chat;
    *out = NULL;
    QK_TRY(qk_alloc(&chat, 1, sizeof *chat, err));
    enum qk_code code = read_template(chat, folder, err);
    if (code == QK_OK) {
        chat->n -=
            chat->n > 0 && chat->text[chat->n - 1] == '\n'; /* as Jinja does with a template's last one */
        code = cut_parts(chat, err);
    }
    if (code == QK_OK)
        *out = chat;
    else
        qk_chat_free(chat);
    return code;
}

void qk_chat_free(struct qk_chat *chat)
{
    if (chat == NULL)
        return;
    cJSON_Delete(chat->config);
    free(chat->part);
    free(chat->text);
    free(chat->path);
    free(chat);
}

/* --- statements --- */

/* The words that end a block or begin its next part. */
enum stop { STOP_END, STOP_ELIF, STOP_ELSE, STOP_ENDIF, STOP_ENDFOR, STOP_OTHER };
static const char *const STOP[] = {
    [STOP_ELIF] = "elif", [STOP_ELSE] = "else", [STOP_ENDIF] = "endif", [STOP_ENDFOR] = "endfor"};

struct walk {
    const struct qk_chat *chat;
    struct qk_chat_run run;
    size_t part; /* the next */
    int blocks;
    bool skips; /* the part is not to be written */
};

static void enter(struct walk *walk, const struct part *part)
{
    walk->run.at = walk->chat->text + part->begin;
    walk->run.end = walk->chat->text + part->end;
}

static enum qk_code run_block(struct walk *walk, enum stop *stop);

/* The word with which the statement of this part ends a block, behind which the run then stands. */
static enum stop stop_of(struct walk *walk)
{
    for (enum stop stop = STOP_ELIF; stop < STOP_OTHER; stop++)
        if (qk_chat_word(&walk->run, STOP[stop]))
            return stop;
    return STOP_OTHER;
}

static enum qk_code badly_nested(const struct walk *walk)
{
    return qk_fail(
        walk->run.err, QK_INPUT, "%s: chat_template: blocks do not fit together", walk->chat->path);
}

/* Runs parts to the end of the block, written or not. */
static enum qk_code run_part(struct walk *walk, bool skips, enum stop *stop)
{
    bool before = walk->skips;
    walk->skips = before || skips;
    QK_TRY(run_block(walk, stop));
    walk->skips = before;
    return QK_OK;
}

static enum qk_code run_if(struct walk *walk)
{
    bool done = false;
    enum stop stop = STOP_ELIF;
    while (stop == STOP_ELIF || stop == STOP_ELSE) {
        struct qk_chat_value value = {0};
        bool holds = stop == STOP_ELSE;
        if (stop == STOP_ELIF && !done && !walk->skips) {
            QK_TRY(qk_chat_evaluate(&walk->run, &value));
            holds = qk_chat_true(&value);
        }
        bool last = stop == STOP_ELSE;
        QK_TRY(run_part(walk, done || !holds, &stop));
        done = done || holds;
        if (last && stop != STOP_ENDIF)
            return badly_nested(walk);
    }
    return stop == STOP_ENDIF ? QK_OK : badly_nested(walk);
}

static enum qk_code run_round(
    struct walk *walk, const char *name, size_t n, const struct qk_chat_value *list, long i)
{
    const struct qk_chat_value loop = {.kind = QK_CHAT_LOOP, .from = i, .to = list->to - list->from};
    const cJSON *entry = cJSON_GetArrayItem(list->node, (int)(list->from + i));
    struct qk_chat_value value = {
        .kind = cJSON_IsObject(entry) ? QK_CHAT_OBJECT : QK_CHAT_UNDEFINED, .node = entry};
    QK_TRY(qk_chat_set(&walk->run, name, n, &value));
    return qk_chat_set(&walk->run, "loop", 4, &loop);
}

/* for NAME in LIST. Variables that are set within do not outlast a round, as in Jinja. */
static enum qk_code run_for(struct walk *walk)
{
    struct qk_chat_run *run = &walk->run;
    struct qk_chat_value list = {0};
    struct qk_chat_variable saved[QK_CHAT_VARIABLES];
    size_t n, n_saved = run->n_variables, body = walk->part;
    const char *at = run->at, *name = qk_chat_name(run, &n);
    enum stop stop = STOP_END;
    bool filtered = memmem(at, (size_t)(run->end - at), " if ", 4) != NULL;
    if (name == NULL || !qk_chat_word(run, "in") || filtered)
        return qk_chat_unsupported(run, at);
    if (!walk->skips)
        QK_TRY(qk_chat_evaluate(run, &list));
    if (!walk->skips && list.kind != QK_CHAT_LIST)
        return qk_chat_unsupported(run, at);
    memcpy(saved, run->variable, sizeof saved);
    long rounds = walk->skips ? 0 : list.to - list.from;
    for (long i = 0; i < rounds; i++) {
        walk->part = body;
        QK_TRY(run_round(walk, name, n, &list, i));
        QK_TRY(run_part(walk, false, &stop));
        memcpy(run->variable, saved, sizeof saved);
        run->n_variables = n_saved;
    }
    if (rounds <= 0)
        QK_TRY(run_part(walk, true, &stop));
    return stop == STOP_ENDFOR ? QK_OK : badly_nested(walk);
}

static enum qk_code run_set(struct walk *walk)
{
    struct qk_chat_value value;
    size_t n;
    const char *at = walk->run.at, *name = qk_chat_name(&walk->run, &n);
    if (walk->skips)
        return QK_OK;
    if (name == NULL || !qk_chat_word(&walk->run, "="))
        return qk_chat_unsupported(&walk->run, at);
    QK_TRY(qk_chat_evaluate(&walk->run, &value));
    return qk_chat_set(&walk->run, name, n, &value);
}

static enum qk_code run_value(struct walk *walk)
{
    struct qk_chat_value value;
    const char *at = walk->run.at;
    QK_TRY(qk_chat_evaluate(&walk->run, &value));
    if (!qk_chat_print(&value, &walk->run.out))
        return qk_chat_unsupported(&walk->run, at);
    return walk->run.out.length <= MOST_TEXT
               ? QK_OK
               : qk_fail(
                     walk->run.err, QK_INPUT, "%s: chat_template: its text grows too long", walk->chat->path);
}

/* Runs a statement that does not end a block. */
static enum qk_code run_statement(struct walk *walk)
{
    const char *at = walk->run.at;
    if (qk_chat_word(&walk->run, "if"))
        return run_if(walk);
    if (qk_chat_word(&walk->run, "for"))
        return run_for(walk);
    if (qk_chat_word(&walk->run, "set"))
        return run_set(walk);
    /* These mark what a model wrote, for training. */
    if (qk_chat_word(&walk->run, "generation") || qk_chat_word(&walk->run, "endgeneration"))
        return QK_OK;
    return qk_chat_unsupported(&walk->run, at);
}

static enum qk_code run_parts(struct walk *walk, enum stop *stop)
{
    const struct qk_chat *chat = walk->chat;
    for (*stop = STOP_END; walk->part < chat->n_parts;) {
        const struct part *part = &chat->part[walk->part++];
        enter(walk, part);
        if (part->kind == PART_TEXT && !walk->skips)
            qk_text_add_bytes(&walk->run.out, walk->run.at, part->end - part->begin);
        else if (part->kind == PART_VALUE && !walk->skips)
            QK_TRY(run_value(walk));
        if (part->kind != PART_STATEMENT)
            continue;
        *stop = stop_of(walk);
        if (*stop != STOP_OTHER)
            return QK_OK;
        QK_TRY(run_statement(walk));
        *stop = STOP_END;
    }
    return QK_OK;
}

static enum qk_code run_block(struct walk *walk, enum stop *stop)
{
    if (++walk->blocks > MOST_BLOCKS)
        return qk_fail(walk->run.err, QK_INPUT, "%s: chat_template: nested too deeply", walk->chat->path);
    QK_TRY(run_parts(walk, stop));
    walk->blocks--;
    return QK_OK;
}

/* --- rendering --- */

/* What transformers gives to a template. */
static enum qk_code set_variables(struct walk *walk, const cJSON *messages)
{
    static const char *const TOKENS[] = {"bos_token", "eos_token", "unk_token", "pad_token"};
    static const char *const ABSENT[] = {"tools", "documents"};
    struct qk_chat_value value = {.kind = QK_CHAT_LIST, .node = messages, .to = cJSON_GetArraySize(messages)};
    QK_TRY(qk_chat_set(&walk->run, "messages", 8, &value));
    value = (struct qk_chat_value){.kind = QK_CHAT_BOOL, .number = 1};
    QK_TRY(qk_chat_set(&walk->run, "add_generation_prompt", 21, &value));
    value = (struct qk_chat_value){.kind = QK_CHAT_NONE};
    for (size_t i = 0; i < sizeof ABSENT / sizeof ABSENT[0]; i++)
        QK_TRY(qk_chat_set(&walk->run, ABSENT[i], strlen(ABSENT[i]), &value));
    for (size_t i = 0; i < sizeof TOKENS / sizeof TOKENS[0]; i++) {
        const cJSON *config = walk->chat->config;
        const char *text = qk_json_string(
            config, TOKENS[i], qk_json_string(qk_json_get(config, TOKENS[i]), "content", NULL));
        if (text == NULL)
            continue;
        value = (struct qk_chat_value){.kind = QK_CHAT_TEXT, .text = text, .n = strlen(text)};
        QK_TRY(qk_chat_set(&walk->run, TOKENS[i], strlen(TOKENS[i]), &value));
    }
    return QK_OK;
}

static enum qk_code render(struct walk *walk, const cJSON *messages)
{
    enum stop stop;
    QK_TRY(set_variables(walk, messages));
    QK_TRY(run_block(walk, &stop));
    return stop == STOP_END ? QK_OK : badly_nested(walk);
}

enum qk_code qk_chat_render(
    const struct qk_chat *chat, const char *messages, char **text, struct qk_error *err)
{
    struct walk *walk;
    cJSON *tree = NULL;
    *text = NULL;
    QK_TRY(qk_alloc(&walk, 1, sizeof *walk, err));
    walk->chat = chat;
    walk->run.path = chat->path;
    walk->run.err = err;
    enum qk_code code = qk_json_parse("messages", messages, strlen(messages), &tree, err);
    if (code == QK_OK)
        code = render(walk, tree);
    if (code == QK_OK)
        code = qk_text_take(&walk->run.out, text, err);
    qk_text_free(&walk->run.out);
    for (size_t i = 0; i < walk->run.n_made; i++)
        free(walk->run.made[i]);
    free(walk->run.made);
    cJSON_Delete(tree);
    free(walk);
    return code;
}
