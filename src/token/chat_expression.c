/* chat_expression.c - the reader of expressions, which computes them as it reads. */
#include "token/chat_expression.h"

#include "base/mem.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_DEPTH = 16, MOST_STEPS = 1 << 22, MOST_MADE = 1 << 20 };

/* --- words --- */

static void skip_blanks(struct qk_chat_run *run)
{
    while (run->at < run->end && isspace((unsigned char)*run->at))
        run->at++;
}

static bool is_letter(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

const char *qk_chat_name(struct qk_chat_run *run, size_t *n)
{
    skip_blanks(run);
    const char *name = run->at;
    if (name == run->end || !is_letter(*name) || isdigit((unsigned char)*name))
        return NULL;
    while (run->at < run->end && is_letter(*run->at))
        run->at++;
    *n = (size_t)(run->at - name);
    return name;
}

bool qk_chat_word(struct qk_chat_run *run, const char *word)
{
    size_t n = strlen(word);
    skip_blanks(run);
    if ((size_t)(run->end - run->at) < n || memcmp(run->at, word, n) != 0)
        return false;
    if (is_letter(word[0]) && run->at + n < run->end && is_letter(run->at[n]))
        return false;
    run->at += n;
    return true;
}

enum qk_code qk_chat_unsupported(struct qk_chat_run *run, const char *at)
{
    enum { SHOWN = 40 };
    int n = run->end - at < SHOWN ? (int)(run->end - at) : SHOWN;
    return qk_fail(run->err, QK_INPUT,
        "%s: chat_template: \"%.*s\" is not supported (expected prompts instead of messages)", run->path, n,
        at);
}

/* --- values --- */

bool qk_chat_true(const struct qk_chat_value *value)
{
    switch (value->kind) {
    case QK_CHAT_BOOL:
    case QK_CHAT_NUMBER:
        return value->number != 0;
    case QK_CHAT_TEXT:
        return value->n > 0;
    case QK_CHAT_LIST:
        return value->to > value->from;
    default:
        return value->kind == QK_CHAT_OBJECT || value->kind == QK_CHAT_LOOP;
    }
}

bool qk_chat_print(const struct qk_chat_value *value, struct qk_text *to)
{
    switch (value->kind) {
    case QK_CHAT_UNDEFINED:
        return true;
    case QK_CHAT_NONE:
        qk_text_add(to, "None");
        return true;
    case QK_CHAT_BOOL:
        qk_text_add(to, value->number ? "True" : "False");
        return true;
    case QK_CHAT_NUMBER:
        qk_text_add(to, "%ld", value->number);
        return true;
    case QK_CHAT_TEXT:
        qk_text_add_bytes(to, value->text, value->n);
        return true;
    default:
        return false;
    }
}

static struct qk_chat_value truth(bool yes)
{
    return (struct qk_chat_value){.kind = QK_CHAT_BOOL, .number = yes};
}

static struct qk_chat_value of_text(const char *text, size_t n)
{
    return (struct qk_chat_value){.kind = QK_CHAT_TEXT, .text = text, .n = n};
}

static struct qk_chat_value of_node(const cJSON *node)
{
    struct qk_chat_value value = {.node = node};
    if (cJSON_IsString(node))
        return of_text(node->valuestring, strlen(node->valuestring));
    if (cJSON_IsArray(node)) {
        value.kind = QK_CHAT_LIST;
        value.to = cJSON_GetArraySize(node);
    } else if (cJSON_IsObject(node)) {
        value.kind = QK_CHAT_OBJECT;
    } else if (cJSON_IsNull(node)) {
        value.kind = QK_CHAT_NONE;
    }
    return value;
}

static bool equal(const struct qk_chat_value *a, const struct qk_chat_value *b)
{
    if (a->kind == QK_CHAT_TEXT && b->kind == QK_CHAT_TEXT)
        return a->n == b->n && memcmp(a->text, b->text, a->n) == 0;
    bool numbers = (a->kind == QK_CHAT_NUMBER || a->kind == QK_CHAT_BOOL) &&
                   (b->kind == QK_CHAT_NUMBER || b->kind == QK_CHAT_BOOL);
    return numbers ? a->number == b->number
                   : a->kind == b->kind && a->node == b->node && a->from == b->from && a->to == b->to;
}

enum qk_code qk_chat_set(
    struct qk_chat_run *run, const char *name, size_t n, const struct qk_chat_value *value)
{
    struct qk_chat_variable *variable = run->variable;
    size_t i = 0;
    while (i < run->n_variables && (variable[i].n != n || memcmp(variable[i].name, name, n) != 0))
        i++;
    if (i == QK_CHAT_VARIABLES)
        return qk_fail(run->err, QK_INPUT, "%s: chat_template: too many variables (expected at most %d)",
            run->path, QK_CHAT_VARIABLES);
    variable[i] = (struct qk_chat_variable){name, n, *value};
    run->n_variables += i == run->n_variables;
    return QK_OK;
}

static struct qk_chat_value find_variable(const struct qk_chat_run *run, const char *name, size_t n)
{
    for (size_t i = 0; i < run->n_variables; i++)
        if (run->variable[i].n == n && memcmp(run->variable[i].name, name, n) == 0)
            return run->variable[i].value;
    return (struct qk_chat_value){0};
}

/* Keeps a text that was made until the end of the run. */
static enum qk_code keep_text(struct qk_chat_run *run, struct qk_text *text, struct qk_chat_value *out)
{
    size_t n = text->length;
    char *made;
    QK_TRY(qk_text_take(text, &made, run->err));
    enum qk_code code =
        run->n_made < MOST_MADE
            ? qk_grow(&run->made, &run->capacity, run->n_made + 1, sizeof *run->made, run->err)
            : qk_fail(run->err, QK_INPUT, "%s: chat_template: it runs too long", run->path);
    if (code != QK_OK) {
        free(made);
        return code;
    }
    run->made[run->n_made++] = made;
    *out = of_text(made, n);
    return QK_OK;
}

/* --- parts of a value --- */

static struct qk_chat_value stripped(const struct qk_chat_value *text)
{
    const char *from = text->text, *to = from + text->n;
    while (from < to && isspace((unsigned char)*from))
        from++;
    while (to > from && isspace((unsigned char)to[-1]))
        to--;
    return of_text(from, (size_t)(to - from));
}

static struct qk_chat_value attribute(const struct qk_chat_value *of, const char *name, size_t n)
{
    static const char *const LOOP[] = {"first", "last", "index", "index0", "length"};
    const long values[] = {of->from == 0, of->from + 1 == of->to, of->from + 1, of->from, of->to};
    for (size_t i = 0; of->kind == QK_CHAT_LOOP && i < sizeof LOOP / sizeof LOOP[0]; i++)
        if (strlen(LOOP[i]) == n && memcmp(LOOP[i], name, n) == 0)
            return (struct qk_chat_value){.kind = i < 2 ? QK_CHAT_BOOL : QK_CHAT_NUMBER, .number = values[i]};
    const cJSON *child = of->kind == QK_CHAT_OBJECT ? of->node->child : NULL;
    for (; child != NULL; child = child->next)
        if (strlen(child->string) == n && memcmp(child->string, name, n) == 0)
            return of_node(child);
    return (struct qk_chat_value){0};
}

static enum qk_code read_expression(struct qk_chat_run *run, struct qk_chat_value *out);

/* A bound of a slice of `length` entries, `fallback` where it is not written. */
static enum qk_code read_bound(
    struct qk_chat_run *run, long length, long fallback, struct qk_chat_value *index, long *out)
{
    const char *at = run->at;
    *out = fallback;
    *index = (struct qk_chat_value){0};
    if (qk_chat_word(run, ":") || qk_chat_word(run, "]")) {
        run->at--;
        return QK_OK;
    }
    QK_TRY(read_expression(run, index));
    if (index->kind != QK_CHAT_NUMBER)
        return QK_OK;
    *out = index->number < 0 ? index->number + length : index->number;
    if (*out < 0)
        *out = 0;
    return *out <= LONG_MAX / 2 ? QK_OK : qk_chat_unsupported(run, at);
}

/* [INDEX], [NAME] or [FROM:TO] behind a value. */
static enum qk_code read_index(struct qk_chat_run *run, struct qk_chat_value *value)
{
    const char *at = run->at;
    struct qk_chat_value index, last;
    bool list = value->kind == QK_CHAT_LIST;
    long length = list ? value->to - value->from : 0, from, to = length;
    QK_TRY(read_bound(run, length, 0, &index, &from));
    bool slice = qk_chat_word(run, ":");
    if (slice)
        QK_TRY(read_bound(run, length, length, &last, &to));
    if (!qk_chat_word(run, "]"))
        return qk_chat_unsupported(run, at);
    if (slice && list) {
        to = to < length ? to : length;
        value->to = value->from + to;
        value->from += from < to ? from : to;
    } else if (list && index.kind == QK_CHAT_NUMBER) {
        bool there = from < length && index.number >= -length;
        *value = there ? of_node(cJSON_GetArrayItem(value->node, (int)(value->from + from)))
                       : (struct qk_chat_value){0};
    } else if (index.kind == QK_CHAT_TEXT && !slice) {
        *value = attribute(value, index.text, index.n);
    } else if (run->idle == 0) {
        return qk_chat_unsupported(run, at);
    }
    return QK_OK;
}

/* .NAME, .strip() or .startswith(TEXT) behind a value. */
static enum qk_code read_attribute(struct qk_chat_run *run, struct qk_chat_value *value)
{
    size_t n;
    const char *at = run->at, *name = qk_chat_name(run, &n);
    struct qk_chat_value wanted;
    if (name == NULL)
        return qk_chat_unsupported(run, at);
    if (!qk_chat_word(run, "(")) {
        *value = attribute(value, name, n);
        return QK_OK;
    }
    bool text = value->kind == QK_CHAT_TEXT || run->idle > 0;
    if (text && n == 5 && memcmp(name, "strip", n) == 0 && qk_chat_word(run, ")")) {
        *value = value->kind == QK_CHAT_TEXT ? stripped(value) : *value;
        return QK_OK;
    }
    if (!text || n != 10 || memcmp(name, "startswith", n) != 0)
        return qk_chat_unsupported(run, at);
    QK_TRY(read_expression(run, &wanted));
    if (!qk_chat_word(run, ")") || (wanted.kind != QK_CHAT_TEXT && run->idle == 0))
        return qk_chat_unsupported(run, at);
    *value =
        truth(wanted.n == 0 || (wanted.n <= value->n && memcmp(value->text, wanted.text, wanted.n) == 0));
    return QK_OK;
}

/* | trim or | length behind a value. */
static enum qk_code read_filter(struct qk_chat_run *run, struct qk_chat_value *value)
{
    const char *at = run->at;
    bool trim = qk_chat_word(run, "trim");
    if (!trim && !qk_chat_word(run, "length"))
        return qk_chat_unsupported(run, at);
    if (trim && value->kind == QK_CHAT_TEXT)
        *value = stripped(value);
    else if (!trim && value->kind == QK_CHAT_LIST)
        *value = (struct qk_chat_value){.kind = QK_CHAT_NUMBER, .number = value->to - value->from};
    else if (run->idle == 0)
        return qk_chat_unsupported(run, at);
    return QK_OK;
}

/* --- what stands alone --- */

static enum qk_code read_text(struct qk_chat_run *run, struct qk_chat_value *out)
{
    static const char ESCAPED[] = "nrt\\'\"", PLAIN[] = "\n\r\t\\'\"";
    struct qk_text text = {0};
    const char *start = run->at;
    char quote = *run->at++;
    for (; run->at < run->end && *run->at != quote; run->at++) {
        const char *escaped = *run->at == '\\' && run->at + 1 < run->end ? strchr(ESCAPED, run->at[1]) : NULL;
        qk_text_add_bytes(&text, escaped != NULL ? &PLAIN[escaped - ESCAPED] : run->at, 1);
        run->at += escaped != NULL;
    }
    if (run->at >= run->end) {
        qk_text_free(&text);
        run->at = run->end;
        return qk_chat_unsupported(run, start);
    }
    run->at++;
    return keep_text(run, &text, out);
}

/* raise_exception(TEXT): the template refuses the chat. */
static enum qk_code read_exception(struct qk_chat_run *run, const char *name)
{
    struct qk_chat_value why;
    QK_TRY(read_expression(run, &why));
    if (!qk_chat_word(run, ")"))
        return qk_chat_unsupported(run, name);
    if (run->idle > 0)
        return QK_OK;
    return qk_fail(run->err, QK_INPUT, "%s: chat_template refuses these messages: %.*s", run->path,
        why.kind == QK_CHAT_TEXT ? (int)(why.n < 200 ? why.n : 200) : 0, why.text != NULL ? why.text : "");
}

static enum qk_code read_named(struct qk_chat_run *run, struct qk_chat_value *out)
{
    static const char *const WORDS[] = {"false", "False", "true", "True", "none", "None"};
    size_t n;
    const char *at = run->at, *name = qk_chat_name(run, &n);
    if (name == NULL)
        return qk_chat_unsupported(run, at);
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++)
        if (strlen(WORDS[i]) == n && memcmp(WORDS[i], name, n) == 0) {
            *out = i < 4 ? truth(i >= 2) : (struct qk_chat_value){.kind = QK_CHAT_NONE};
            return QK_OK;
        }
    *out = find_variable(run, name, n);
    if (!qk_chat_word(run, "("))
        return QK_OK;
    if (n == strlen("raise_exception") && memcmp(name, "raise_exception", n) == 0)
        return read_exception(run, name);
    return qk_chat_unsupported(run, name);
}

static enum qk_code read_primary(struct qk_chat_run *run, struct qk_chat_value *out)
{
    skip_blanks(run);
    const char *at = run->at;
    *out = (struct qk_chat_value){0};
    if (++run->steps > MOST_STEPS)
        return qk_fail(run->err, QK_INPUT, "%s: chat_template: it runs too long", run->path);
    if (at < run->end && (*at == '\'' || *at == '"'))
        return read_text(run, out);
    bool minus = qk_chat_word(run, "-");
    if (run->at < run->end && isdigit((unsigned char)*run->at)) {
        for (; run->at < run->end && isdigit((unsigned char)*run->at); run->at++)
            if ((out->number = out->number * 10 + (*run->at - '0')) > INT_MAX)
                return qk_chat_unsupported(run, at);
        out->kind = QK_CHAT_NUMBER;
        out->number = minus ? -out->number : out->number;
        return QK_OK;
    }
    if (minus)
        return qk_chat_unsupported(run, at);
    if (!qk_chat_word(run, "("))
        return read_named(run, out);
    QK_TRY(read_expression(run, out));
    return qk_chat_word(run, ")") ? QK_OK : qk_chat_unsupported(run, at);
}

/* A value that is not there has no parts, in Jinja either. */
static enum qk_code check_whole(
    const struct qk_chat_run *run, const struct qk_chat_value *value, const char *at)
{
    enum { SHOWN = 40 };
    if (value->kind != QK_CHAT_UNDEFINED || run->idle > 0)
        return QK_OK;
    return qk_fail(run->err, QK_INPUT,
        "%s: chat_template: a part of a value that is not there (found \"%.*s\")", run->path,
        (int)(run->end - at < SHOWN ? run->end - at : SHOWN), at);
}

static enum qk_code read_postfix(struct qk_chat_run *run, struct qk_chat_value *out)
{
    QK_TRY(read_primary(run, out));
    for (;;) {
        const char *at = run->at;
        bool index = qk_chat_word(run, "["), name = !index && qk_chat_word(run, ".");
        if (index || name)
            QK_TRY(check_whole(run, out, at));
        if (index)
            QK_TRY(read_index(run, out));
        else if (name)
            QK_TRY(read_attribute(run, out));
        else if (qk_chat_word(run, "|"))
            QK_TRY(read_filter(run, out));
        else
            return QK_OK;
    }
}

/* --- operators, the tightest first --- */

static enum qk_code read_remainder(struct qk_chat_run *run, struct qk_chat_value *out)
{
    struct qk_chat_value right;
    QK_TRY(read_postfix(run, out));
    for (const char *at = run->at; qk_chat_word(run, "%"); at = run->at) {
        QK_TRY(read_postfix(run, &right));
        bool numbers = out->kind == QK_CHAT_NUMBER && right.kind == QK_CHAT_NUMBER && right.number > 0;
        if (!numbers && run->idle == 0)
            return qk_chat_unsupported(run, at);
        out->number = numbers ? (out->number % right.number + right.number) % right.number : 0;
    }
    return QK_OK;
}

/* a + b and a ~ b put texts together; + and - also compute with numbers. */
static enum qk_code read_sum(struct qk_chat_run *run, struct qk_chat_value *out)
{
    struct qk_chat_value right;
    QK_TRY(read_remainder(run, out));
    for (;;) {
        const char *at = run->at;
        bool tilde = qk_chat_word(run, "~"), minus = !tilde && qk_chat_word(run, "-");
        if (!tilde && !minus && !qk_chat_word(run, "+"))
            return QK_OK;
        QK_TRY(read_remainder(run, &right));
        if (run->idle > 0)
            continue;
        bool numbers = out->kind == QK_CHAT_NUMBER && right.kind == QK_CHAT_NUMBER;
        bool texts = !minus && out->kind == QK_CHAT_TEXT && right.kind == QK_CHAT_TEXT;
        if (!tilde && numbers) {
            out->number += minus ? -right.number : right.number;
            continue;
        }
        struct qk_text both = {0};
        bool printed = (tilde || texts) && qk_chat_print(out, &both) && qk_chat_print(&right, &both);
        if (!printed) {
            qk_text_free(&both);
            return qk_chat_unsupported(run, at);
        }
        QK_TRY(keep_text(run, &both, out));
    }
}

/* True where `one` stands in a text, or is a key of an object. */
static bool is_in(const struct qk_chat_value *one, const struct qk_chat_value *many)
{
    if (one->kind == QK_CHAT_TEXT && many->kind == QK_CHAT_TEXT)
        return one->n == 0 || memmem(many->text, many->n, one->text, one->n) != NULL;
    if (one->kind == QK_CHAT_TEXT && many->kind == QK_CHAT_OBJECT)
        return attribute(many, one->text, one->n).kind != QK_CHAT_UNDEFINED;
    return false;
}

/* What stands behind "is" or "is not". */
static enum qk_code read_test(struct qk_chat_run *run, struct qk_chat_value *out)
{
    const char *at = run->at;
    bool negated = qk_chat_word(run, "not"), yes;
    if (qk_chat_word(run, "defined"))
        yes = out->kind != QK_CHAT_UNDEFINED;
    else if (qk_chat_word(run, "none"))
        yes = out->kind == QK_CHAT_NONE;
    else if (qk_chat_word(run, "string"))
        yes = out->kind == QK_CHAT_TEXT;
    else if (qk_chat_word(run, "true"))
        yes = out->kind == QK_CHAT_BOOL && out->number != 0;
    else if (qk_chat_word(run, "false"))
        yes = out->kind == QK_CHAT_BOOL && out->number == 0;
    else
        return qk_chat_unsupported(run, at);
    *out = truth(yes != negated);
    return QK_OK;
}

static enum qk_code read_in(struct qk_chat_run *run, bool negated, struct qk_chat_value *out)
{
    struct qk_chat_value right;
    QK_TRY(read_sum(run, &right));
    *out = truth(is_in(out, &right) != negated);
    return QK_OK;
}

static enum qk_code read_comparison(struct qk_chat_run *run, struct qk_chat_value *out)
{
    static const char *const SIGNS[] = {"==", "!=", "<=", ">=", "<", ">"};
    struct qk_chat_value right;
    QK_TRY(read_sum(run, out));
    for (;;) {
        const char *at = run->at;
        size_t sign = 0;
        if (qk_chat_word(run, "is")) {
            QK_TRY(read_test(run, out));
            continue;
        }
        bool negated = qk_chat_word(run, "not");
        if (qk_chat_word(run, "in")) {
            QK_TRY(read_in(run, negated, out));
            continue;
        }
        while (sign < sizeof SIGNS / sizeof SIGNS[0] && !qk_chat_word(run, SIGNS[sign]))
            sign++;
        if (negated)
            return qk_chat_unsupported(run, at);
        if (sign == sizeof SIGNS / sizeof SIGNS[0])
            return QK_OK;
        QK_TRY(read_sum(run, &right));
        bool numbers = out->kind == QK_CHAT_NUMBER && right.kind == QK_CHAT_NUMBER;
        if (sign >= 2 && !numbers && run->idle == 0)
            return qk_chat_unsupported(run, at);
        long a = out->number, b = right.number;
        bool same = equal(out, &right);
        const bool results[] = {same, !same, a <= b, a >= b, a<b, a> b};
        *out = truth(results[sign]);
    }
}

static enum qk_code read_not(struct qk_chat_run *run, struct qk_chat_value *out)
{
    size_t negated = 0;
    while (qk_chat_word(run, "not"))
        negated++;
    QK_TRY(read_comparison(run, out));
    if (negated > 0)
        *out = truth(qk_chat_true(out) == (negated % 2 == 0));
    return QK_OK;
}

/* "and" where `both`, else "or" of such. The right side does not count where the left one decides. */
static enum qk_code read_logic(struct qk_chat_run *run, bool both, struct qk_chat_value *out)
{
    struct qk_chat_value right;
    QK_TRY(both ? read_not(run, out) : read_logic(run, true, out));
    while (qk_chat_word(run, both ? "and" : "or")) {
        bool decided = qk_chat_true(out) != both;
        run->idle += decided;
        QK_TRY(both ? read_not(run, &right) : read_logic(run, true, &right));
        run->idle -= decided;
        if (!decided)
            *out = right;
    }
    return QK_OK;
}

/* VALUE, or VALUE if CONDITION [else VALUE]. A value is read before its condition, so it is read again where that is
 * false: it does not count the first time. */
static enum qk_code read_choice(struct qk_chat_run *run, struct qk_chat_value *out)
{
    const char *start = run->at;
    struct qk_chat_value condition, other = {0};
    run->idle++;
    QK_TRY(read_logic(run, false, out));
    run->idle--;
    const char *behind = run->at;
    bool conditional = qk_chat_word(run, "if"), taken = true;
    if (conditional) {
        QK_TRY(read_logic(run, false, &condition));
        taken = qk_chat_true(&condition);
        run->idle += taken;
        if (qk_chat_word(run, "else"))
            QK_TRY(read_expression(run, &other));
        run->idle -= taken;
        behind = run->at;
    }
    *out = other;
    if (!taken)
        return QK_OK;
    run->at = start;
    QK_TRY(read_logic(run, false, out));
    run->at = behind;
    return QK_OK;
}

static enum qk_code read_expression(struct qk_chat_run *run, struct qk_chat_value *out)
{
    if (++run->depth > MOST_DEPTH)
        return qk_fail(run->err, QK_INPUT, "%s: chat_template: nested too deeply", run->path);
    QK_TRY(read_choice(run, out));
    run->depth--;
    return QK_OK;
}

enum qk_code qk_chat_evaluate(struct qk_chat_run *run, struct qk_chat_value *out)
{
    run->depth = run->idle = 0;
    QK_TRY(read_expression(run, out));
    skip_blanks(run);
    return run->at == run->end ? QK_OK : qk_chat_unsupported(run, run->at);
}
