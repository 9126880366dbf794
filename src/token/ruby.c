/* ruby.c - Ruby's regular expressions, rewritten for PCRE2 by recursive descent.
 *
 * The two differ in: (?m), which is (?s) there; (?i) without a colon, which holds for all alternatives to the end of
 * its group; {n}? and {n,m}+, which repeat what is before them; classes in classes and &&; the sets of \s, \w, \h and
 * [:NAME:]; \v and \u; names in \p. The source is doc/RE of Oniguruma 6.9.8, and what its library does.
 *
 * One thing is left out: (?i:ss) there also matches one character that stands for two letters (U+00DF). */
#include "token/ruby.h"

#include "base/text.h"
#include "token/pieces.h"
#include "token/ruby_sets.h"

#include <stdlib.h>
#include <string.h>

/* PCRE2 does not nest deeper than 250 brackets. */
enum { NESTED = 200, QUANTIFIERS = 8 };

struct ruby {
    const char *where, *at;
    struct qk_text *out;
    bool extended; /* (?x): spaces and comments do not count */
    bool ignore_case;
    int depth;
};

static enum qk_code foreign(const struct ruby *r, const char *at, struct qk_error *err)
{
    return qk_fail(err, QK_INPUT,
        "%s: the pattern has a part that is not supported (found %.8s); give token ids instead", r->where,
        at);
}

static enum qk_code enter(struct ruby *r, struct qk_error *err)
{
    if (++r->depth > NESTED)
        return qk_fail(err, QK_INPUT, "%s: the pattern is nested too deeply (at most %d)", r->where, NESTED);
    return QK_OK;
}

static bool starts(const struct ruby *r, const char *words)
{
    return strncmp(r->at, words, strlen(words)) == 0;
}

/* --- characters --- */

/* Never a character that has a meaning in a pattern. */
static void put_character(struct qk_text *out, int32_t code)
{
    bool plain = (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z') || (code >= '0' && code <= '9');
    if (plain)
        qk_text_add(out, "%c", (char)code);
    else
        qk_text_add(out, "\\x{%x}", (unsigned)code);
}

/* Reads at least one and at most `most` digits of the base. */
static bool read_digits(const char **at, int base, size_t most, int32_t *code)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    const char *start = *at;
    int32_t value = 0;
    for (; (size_t)(*at - start) < most && **at != '\0'; ++*at) {
        const char *digit = strchr(digits, **at);
        int32_t number = digit == NULL ? base : (int32_t)(digit - digits);
        number -= digit != NULL && number >= 16 ? 6 : 0;
        if (number >= base)
            break;
        value = value * base + number;
    }
    *code = value;
    return *at > start;
}

/* Behind \x or \u: a code. Bytes of a longer character, as in \xE2\x96\x81, are not read. */
static enum qk_code read_code(struct ruby *r, const char *escape, int32_t *code, struct qk_error *err)
{
    bool wide = escape[1] == 'u', braces = !wide && *r->at == '{';
    const char *start = r->at += braces;
    bool right = read_digits(&r->at, 16, wide ? 4 : braces ? 6 : 2, code);
    if (wide)
        right = right && r->at - start == 4;
    else if (braces)
        right = right && *r->at++ == '}';
    else
        right = right && *code < 0x80;
    return right ? QK_OK : foreign(r, escape, err);
}

/* The character of an escape that is one in a class and outside, or -1; r->at is behind it. */
static enum qk_code escaped_character(struct ruby *r, int32_t *code, struct qk_error *err)
{
    static const char letters[] = "abefnrtv", codes[] = "\a\b\x1b\f\n\r\t\v";
    const char *escape = r->at++;
    *code = -1;
    if (*r->at == '\0')
        return foreign(r, escape, err);
    size_t length = qk_character(r->at, strlen(r->at), code);
    const char *letter = strchr(letters, *r->at);
    bool octal = *r->at >= '0' && *r->at <= '7';
    if (*code < 0 || strchr("cCM", *r->at) != NULL)
        return foreign(r, escape, err);
    if (*r->at == 'x' || *r->at == 'u') {
        r->at++;
        return read_code(r, escape, code, err);
    }
    if (octal) {
        read_digits(&r->at, 8, 3, code);
        return *code < 0x80 ? QK_OK : foreign(r, escape, err);
    }
    r->at += length;
    if (letter != NULL)
        *code = codes[letter - letters];
    return QK_OK;
}

/* --- sets --- */

/* Reads \s, \p{...} and their like; *found says whether there is one. */
static enum qk_code read_set(
    struct ruby *r, bool in_class, struct qk_ruby_set *set, bool *found, struct qk_error *err)
{
    char letter = r->at[0] == '\\' ? r->at[1] : '\0';
    *found = false;
    if ((letter == 'p' || letter == 'P') && r->at[2] == '{') {
        const char *name = r->at + 3, *end = strchr(name, '}');
        if (end == NULL || !qk_ruby_set_of_name(name, (size_t)(end - name), false, set))
            return foreign(r, r->at, err);
        set->complement = set->complement != (letter == 'P');
        r->at = end + 1;
        *found = true;
    } else if (qk_ruby_set_of_letter(letter, in_class, set)) {
        r->at += 2;
        *found = true;
    }
    return QK_OK;
}

static void put_set(struct qk_text *out, const struct qk_ruby_set *set)
{
    if (set->single)
        qk_text_add(out, "\\%c%s", set->complement ? 'P' : 'p', set->items + 2);
    else
        qk_text_add(out, "[%s%s]", set->complement ? "^" : "", set->items);
}

/* --- classes --- */

/* The characters of a class, or of a part of it between two &&. */
struct members {
    struct qk_text items;  /* what can stand in a class of PCRE2 */
    struct qk_text others; /* "|PATTERN" of other members, each of one character */
};

static enum qk_code read_class(struct ruby *r, struct qk_text *out, struct qk_error *err);

static void put_members(struct qk_text *out, const struct members *members)
{
    const char *items = members->items.length > 0 ? members->items.s : NULL;
    const char *others = members->others.length > 0 ? members->others.s : NULL;
    if (items != NULL && others != NULL)
        qk_text_add(out, "(?:[%s]%s)", items, others);
    else if (items != NULL)
        qk_text_add(out, "[%s]", items);
    else if (others != NULL)
        qk_text_add(out, "(?:%s)", others + 1);
    else
        qk_text_add(out, "(?!)");
}

/* `start` is where the pattern names the set. With (?i), a class has both cases of its characters there. */
static enum qk_code add_set(const struct ruby *r, const char *start, struct members *members,
    const struct qk_ruby_set *set, struct qk_error *err)
{
    if (set->cased && r->ignore_case)
        return foreign(r, start, err);
    if (set->single)
        put_set(&members->items, set);
    else if (!set->complement)
        qk_text_add(&members->items, "%s", set->items);
    else
        qk_text_add(&members->others, "|[^%s]", set->items);
    return QK_OK;
}

/* [:NAME:], or a class in the class. */
static enum qk_code read_inner(struct ruby *r, struct members *members, struct qk_error *err)
{
    const char *start = r->at, *end = r->at[1] == ':' ? strstr(r->at, ":]") : NULL;
    struct qk_ruby_set set;
    if (end != NULL && strcspn(start + 2, "[]") > (size_t)(end - start - 2)) {
        if (!qk_ruby_set_of_name(start + 2, (size_t)(end - start - 2), true, &set))
            return foreign(r, start, err);
        r->at = end + 2;
        return add_set(r, start, members, &set, err);
    }
    qk_text_add(&members->others, "|");
    r->at++;
    return read_class(r, &members->others, err);
}

static enum qk_code class_character(struct ruby *r, int32_t *code, struct qk_error *err)
{
    if (*r->at == '\\')
        return escaped_character(r, code, err);
    r->at += qk_character(r->at, strlen(r->at), code);
    return *code >= 0 ? QK_OK : foreign(r, r->at - 1, err);
}

static enum qk_code read_member(struct ruby *r, struct members *members, struct qk_error *err)
{
    struct qk_ruby_set set;
    bool found;
    int32_t from, to;
    if (*r->at == '[')
        return read_inner(r, members, err);
    const char *start = r->at;
    QK_TRY(read_set(r, true, &set, &found, err));
    if (found)
        return add_set(r, start, members, &set, err);
    QK_TRY(class_character(r, &from, err));
    put_character(&members->items, from);
    if (r->at[0] != '-' || r->at[1] == ']' || r->at[1] == '\0' || strncmp(r->at + 1, "&&", 2) == 0)
        return QK_OK;
    const char *hyphen = r->at++;
    QK_TRY(read_set(r, true, &set, &found, err));
    if (found || *r->at == '[')
        return foreign(r, hyphen, err);
    QK_TRY(class_character(r, &to, err));
    qk_text_add(&members->items, "-");
    put_character(&members->items, to);
    return QK_OK;
}

/* Writes "(?=PART)" for each part before an && to `before`, and leaves the last part in `members`. */
static enum qk_code read_parts(
    struct ruby *r, struct qk_text *before, struct members *members, struct qk_error *err)
{
    for (bool first = true; *r->at != ']' || first; first = false) {
        if (*r->at == '\0')
            return qk_fail(err, QK_INPUT, "%s: the pattern is not valid (a class has no ])", r->where);
        if (!starts(r, "&&")) {
            QK_TRY(read_member(r, members, err));
            continue;
        }
        qk_text_add(before, "(?=");
        put_members(before, members);
        qk_text_add(before, ")");
        qk_text_free(&members->items);
        qk_text_free(&members->others);
        r->at += 2;
    }
    r->at++;
    return QK_OK;
}

/* Behind a [: writes a pattern of one character. */
static enum qk_code read_class(struct ruby *r, struct qk_text *out, struct qk_error *err)
{
    struct qk_text before = {0};
    struct members members = {0};
    QK_TRY(enter(r, err));
    bool negated = *r->at == '^';
    r->at += negated;
    enum qk_code code = read_parts(r, &before, &members, err);
    bool plain = before.length == 0 && members.others.length == 0 && members.items.length > 0;
    if (code == QK_OK && plain) {
        qk_text_add(out, "[%s%s]", negated ? "^" : "", members.items.s);
    } else if (code == QK_OK) {
        qk_text_add(out, negated ? "(?:(?!%s" : "(?:%s", before.s != NULL ? before.s : "");
        put_members(out, &members);
        qk_text_add(out, negated ? ")(?s:.))" : ")");
    }
    out->failed = out->failed || before.failed || members.items.failed || members.others.failed;
    qk_text_free(&before);
    qk_text_free(&members.items);
    qk_text_free(&members.others);
    r->depth--;
    return code;
}

/* --- atoms --- */

static enum qk_code read_alternatives(struct ruby *r, struct qk_error *err);

/* \b and \B: between a character of \w and none. */
static void put_boundary(struct qk_text *out, bool inside)
{
    struct qk_ruby_set word;
    qk_ruby_set_of_letter('w', false, &word);
    qk_text_add(out, "(?:(?<=[%s])(?%c[%s])|(?<![%s])(?%c[%s]))", word.items, inside ? '=' : '!', word.items,
        word.items, inside ? '!' : '=', word.items);
}

static void copy(struct ruby *r, const char *end)
{
    qk_text_add_bytes(r->out, r->at, (size_t)(end - r->at));
    r->at = end;
}

static enum qk_code read_escape(struct ruby *r, struct qk_error *err)
{
    const char *escape = r->at;
    char letter = escape[1];
    struct qk_ruby_set set;
    bool found;
    QK_TRY(read_set(r, false, &set, &found, err));
    if (found) {
        put_set(r->out, &set);
        return QK_OK;
    }
    if (letter != '\0' && strchr("GKyYo", letter) != NULL)
        return foreign(r, escape, err);
    if (letter != '\0' && strchr("AzZRX", letter) != NULL) {
        copy(r, escape + 2);
    } else if (letter == 'b' || letter == 'B') {
        put_boundary(r->out, letter == 'B');
        r->at += 2;
    } else if (letter >= '1' && letter <= '9') {
        copy(r, escape + 1 + strspn(escape + 1, "0123456789"));
    } else if ((letter == 'k' || letter == 'g') && escape[2] == '<') {
        const char *end = strchr(escape, '>');
        if (end == NULL)
            return foreign(r, escape, err);
        copy(r, end + 1);
    } else {
        int32_t code;
        QK_TRY(escaped_character(r, &code, err));
        put_character(r->out, code);
    }
    return QK_OK;
}

/* What is between the brackets of a group whose start is written; r->at is behind that start. */
static enum qk_code read_group(struct ruby *r, struct qk_error *err)
{
    QK_TRY(enter(r, err));
    QK_TRY(read_alternatives(r, err));
    r->depth--;
    if (*r->at != ')')
        return qk_fail(
            err, QK_INPUT, "%s: the pattern is not valid (a group has no closing bracket)", r->where);
    copy(r, r->at + 1);
    return QK_OK;
}

/* (?imx-imx:...), or (?imx-imx), which holds to the end of the group around it. */
static enum qk_code read_flags(struct ruby *r, struct qk_error *err)
{
    const struct ruby before = *r;
    bool on = true, extended = r->extended;
    qk_text_add(r->out, "(?");
    for (r->at += 2; *r->at != ':' && *r->at != ')'; r->at++) {
        if (*r->at == '\0' || strchr("imx-", *r->at) == NULL || (*r->at == '-' && !on))
            return foreign(r, before.at, err);
        if (*r->at == 'i')
            r->ignore_case = on;
        if (*r->at == 'x')
            extended = on;
        else
            qk_text_add(r->out, "%c", *r->at == 'm' ? 's' : *r->at);
        on = on && *r->at != '-';
    }
    bool group = *r->at++ == ':';
    qk_text_add(r->out, ":");
    r->extended = extended;
    if (group) {
        QK_TRY(read_group(r, err));
    } else {
        QK_TRY(enter(r, err));
        QK_TRY(read_alternatives(r, err));
        r->depth--;
        qk_text_add(r->out, ")");
    }
    r->extended = before.extended;
    r->ignore_case = before.ignore_case;
    return QK_OK;
}

static enum qk_code read_bracket(struct ruby *r, struct qk_error *err)
{
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (!starts(r, known[i]))
            continue;
        copy(r, r->at + strlen(known[i]));
        return read_group(r, err);
    }
    if (starts(r, "(?<")) {
        const char *end = strchr(r->at, '>');
        if (end == NULL)
            return foreign(r, r->at, err);
        copy(r, end + 1);
        return read_group(r, err);
    }
    if (starts(r, "(?"))
        return read_flags(r, err);
    if (starts(r, "(*"))
        return foreign(r, r->at, err);
    copy(r, r->at + 1);
    return read_group(r, err);
}

static enum qk_code read_atom(struct ruby *r, struct qk_error *err)
{
    int32_t code;
    if (*r->at == '\\')
        return read_escape(r, err);
    if (*r->at == '(')
        return read_bracket(r, err);
    if (*r->at == '[') {
        r->at++;
        return read_class(r, r->out, err);
    }
    if (strchr(".^$*+?", *r->at) != NULL) { /* PCRE2 names a quantifier of nothing */
        copy(r, r->at + 1);
        return QK_OK;
    }
    QK_TRY(class_character(r, &code, err));
    put_character(r->out, code);
    return QK_OK;
}

/* --- quantifiers --- */

/* {n}, {n,}, {,m} or {n,m} at r->at: writes it, and steps behind it. A larger n first makes it possessive. */
static bool read_interval(struct ruby *r, bool *fixed)
{
    int32_t low = 0, high = -1;
    const char *at = r->at + 1;
    bool has_low = read_digits(&at, 10, 6, &low), comma = *at == ',';
    at += comma;
    bool has_high = comma && read_digits(&at, 10, 6, &high);
    if (*at != '}' || (!has_low && !has_high))
        return false;
    r->at = at + 1;
    *fixed = !comma;
    if (!comma)
        qk_text_add(r->out, "{%d}", (int)low);
    else if (!has_high)
        qk_text_add(r->out, "{%d,}", (int)low);
    else if (low > high)
        qk_text_add(r->out, "{%d,%d}+", (int)high, (int)low);
    else
        qk_text_add(r->out, "{%d,%d}", (int)low, (int)high);
    return true;
}

static bool read_quantifier(struct ruby *r)
{
    bool fixed = false, mark = *r->at != '\0' && strchr("*+?", *r->at) != NULL;
    if (mark)
        copy(r, r->at + 1);
    else if (*r->at != '{' || !read_interval(r, &fixed))
        return false;
    if ((*r->at == '?' && !fixed) || (*r->at == '+' && mark))
        copy(r, r->at + 1);
    return true;
}

/* Spaces and comments of (?x), and (?#...). */
static enum qk_code skip_comments(struct ruby *r, struct qk_error *err)
{
    for (;;) {
        if (r->extended)
            r->at += strspn(r->at, " \t\n\v\f\r");
        if (r->extended && *r->at == '#') {
            r->at += strcspn(r->at, "\n");
        } else if (starts(r, "(?#")) {
            const char *end = strchr(r->at, ')');
            if (end == NULL)
                return foreign(r, r->at, err);
            r->at = end + 1;
        } else {
            return QK_OK;
        }
    }
}

/* An atom and its quantifiers. PCRE2 takes one, so what has more becomes a group. */
static enum qk_code read_piece(struct ruby *r, struct qk_error *err)
{
    static const char open[] = "(?:";
    size_t start = r->out->length, n = strlen(open);
    QK_TRY(read_atom(r, err));
    QK_TRY(skip_comments(r, err));
    for (int i = 0; i <= QUANTIFIERS && !r->out->failed; i++) {
        size_t length = r->out->length;
        if (!read_quantifier(r))
            return QK_OK;
        QK_TRY(skip_comments(r, err));
        if (i == 0 || r->out->failed)
            continue;
        qk_text_add(r->out, "%s)", open);
        if (r->out->failed)
            return QK_OK;
        char *s = r->out->s;
        size_t quantifier = r->out->length - n - 1 - length;
        memmove(s + length + n + 1, s + length, quantifier);
        memmove(s + start + n, s + start, length - start);
        memcpy(s + start, open, n);
        s[length + n] = ')';
    }
    return r->out->failed ? QK_OK : foreign(r, r->at, err);
}

/* To the end of the group or the pattern. */
static enum qk_code read_alternatives(struct ruby *r, struct qk_error *err)
{
    for (;;) {
        QK_TRY(skip_comments(r, err));
        if (*r->at == '\0' || *r->at == ')')
            return QK_OK;
        if (*r->at == '|')
            copy(r, r->at + 1);
        else
            QK_TRY(read_piece(r, err));
    }
}

enum qk_code qk_ruby_to_pcre2(const char *where, const char *text, char **out, struct qk_error *err)
{
    struct qk_text written = {0};
    struct ruby r = {where, text, &written, false, false, 0};
    *out = NULL;
    enum qk_code code = read_alternatives(&r, err);
    if (code == QK_OK && *r.at == ')')
        code = qk_fail(err, QK_INPUT, "%s: the pattern is not valid (a closing bracket has no group)", where);
    if (code == QK_OK)
        code = qk_text_take(&written, out, err);
    qk_text_free(&written);
    return code;
}
