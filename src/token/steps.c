/* steps.c - the steps of a normalizer, pre_tokenizer or decoder, carried out. */
#include "token/steps.h"

#include "token/pattern.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* The limit for combining marks in a row: sorting them takes quadratic time, and no real text has more. */
enum { MARKS_IN_A_ROW = 4096 };

/* --- GPT-2's alphabet: bytes that print stand for themselves, the others for U+0100 on, in their order --- */

static bool prints(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
}

/* The number of bytes below this one that do not print: 0 ... 0x20, 0x7f ... 0xa0, 0xad. */
static unsigned hidden_below(unsigned byte)
{
    return byte <= 0x20 ? byte : byte <= 0xa0 ? byte - 0x7f + 0x21 : 0x43;
}

size_t qk_byte_character(unsigned char byte, char out[2])
{
    unsigned code = prints(byte) ? byte : 0x100 + hidden_below(byte);
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    out[0] = (char)(0xc0 | code >> 6);
    out[1] = (char)(0x80 | (code & 0x3f));
    return 2;
}

/* The byte that the character stands for, or -1. */
static int character_byte(int32_t code)
{
    if (code < 0 || code > 0x143)
        return -1;
    if (code < 0x100)
        return prints((unsigned)code) ? code : -1;
    unsigned hidden = (unsigned)code - 0x100;
    return (int)(hidden <= 0x20 ? hidden : hidden < 0x43 ? hidden - 0x21 + 0x7f : 0xad);
}

/* --- one piece --- */

/* The output of a step, and the text that it works on. */
struct task {
    const struct qk_step *step;
    const char *text;
    size_t n;
    size_t lead;         /* of the text */
    size_t *lead_behind; /* that of the output, which a step sets where it differs */
    bool begins, inside; /* the first piece of the list; the pieces are within a text */
    struct qk_pieces *out;
};

static bool starts_with(const char *text, size_t n, const char *prefix)
{
    size_t length = strlen(prefix);
    return n >= length && memcmp(text, prefix, length) == 0;
}

static enum qk_code add(const struct task *task, const char *bytes, size_t n, struct qk_error *err)
{
    return qk_pieces_add(task->out, bytes, n, err);
}

static bool is_ascii(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= 0x80)
            return false;
    return true;
}

static enum qk_code check_marks(const char *text, size_t n, struct qk_error *err)
{
    size_t marks = 0;
    for (size_t at = 0; at < n;) {
        int32_t code;
        at += qk_character(text + at, n - at, &code);
        if (code < 0)
            return qk_fail(err, QK_INPUT, "the text is not UTF-8, which this tokenizer's normalizer needs");
        marks = utf8proc_get_property(code)->combining_class != 0 ? marks + 1 : 0;
        if (marks > MARKS_IN_A_ROW)
            return qk_fail(err, QK_INPUT,
                "the text has too many combining marks in a row (found more than %d)", MARKS_IN_A_ROW);
    }
    return QK_OK;
}

/* *result = the normal form of the first n bytes of the text; the caller frees. */
static enum qk_code map(
    const struct task *task, size_t n, char **result, size_t *length, struct qk_error *err)
{
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t found = utf8proc_map((const utf8proc_uint8_t *)task->text, (utf8proc_ssize_t)n, &mapped,
        (utf8proc_option_t)task->step->form);
    if (found < 0)
        return qk_fail(err, found == UTF8PROC_ERROR_NOMEM ? QK_IO : QK_INPUT,
            "the text cannot be normalized: %s", utf8proc_errmsg(found));
    *result = (char *)mapped;
    *length = (size_t)found;
    return QK_OK;
}

static enum qk_code normal_form(const struct task *task, struct qk_error *err)
{
    if (is_ascii(task->text, task->n))
        return add(task, task->text, task->n, err);
    QK_TRY(check_marks(task->text, task->n, err));
    char *result;
    size_t n;
    if (task->lead > 0) {
        QK_TRY(map(task, task->lead, &result, task->lead_behind, err));
        free(result);
    }
    QK_TRY(map(task, task->n, &result, &n, err));
    enum qk_code code = add(task, result, n, err);
    free(result);
    return code;
}

static enum qk_code prefix(const struct task *task, struct qk_error *err)
{
    const struct qk_step *step = task->step;
    bool skip = step->kind == QK_STEP_PREFIX &&
                (starts_with(task->text, task->n, step->text) || (step->first && task->lead == 0));
    if (!skip) {
        QK_TRY(add(task, step->text, strlen(step->text), err));
        *task->lead_behind += task->lead > 0 ? strlen(step->text) : 0;
    }
    return add(task, task->text, task->n, err);
}

static enum qk_code replace(const struct task *task, struct qk_error *err)
{
    struct qk_ranges ranges = {0};
    size_t length = strlen(task->step->text), lead = 0;
    enum qk_code code = qk_pattern_find(task->step->pattern, task->text, task->n, &ranges, err);
    for (size_t i = 0; i < ranges.n && code == QK_OK; i++) {
        const struct qk_range *range = &ranges.range[i];
        code = range->match ? add(task, task->step->text, length, err)
                            : add(task, task->text + range->from, range->to - range->from, err);
        /* what replaces comes from where the last replaced byte does */
        size_t there = qk_lead_behind(task->lead, range->match ? range->to - (range->to > 0) : range->from);
        lead += range->match ? (there > 0 ? length : 0)
                             : (there < range->to - range->from ? there : range->to - range->from);
    }
    *task->lead_behind = lead;
    free(ranges.range);
    return code;
}

static enum qk_code to_bytes(const struct task *task, struct qk_error *err)
{
    for (size_t i = 0; i < task->n; i++) {
        char character[2];
        size_t n = qk_byte_character((unsigned char)task->text[i], character);
        QK_TRY(add(task, character, n, err));
        *task->lead_behind += i < task->lead ? n - 1 : 0;
    }
    return QK_OK;
}

/* A token with a character that stands for no byte (an added one, say) stays as it is. */
static enum qk_code from_bytes(const struct task *task, struct qk_error *err)
{
    int32_t code;
    for (size_t at = 0; at < task->n;) {
        at += qk_character(task->text + at, task->n - at, &code);
        if (character_byte(code) < 0)
            return add(task, task->text, task->n, err);
    }
    for (size_t at = 0; at < task->n;) {
        at += qk_character(task->text + at, task->n - at, &code);
        char byte = (char)character_byte(code);
        QK_TRY(add(task, &byte, 1, err));
    }
    return QK_OK;
}

static enum qk_code spaces(const struct task *task, struct qk_error *err)
{
    const char *mark = task->step->text;
    size_t length = strlen(mark);
    bool vanish = task->step->first && task->begins && !task->inside;
    for (size_t at = 0; at < task->n;) {
        bool here = starts_with(task->text + at, task->n - at, mark);
        if (!here)
            QK_TRY(add(task, task->text + at, 1, err));
        else if (!vanish)
            QK_TRY(add(task, " ", 1, err));
        at += here ? length : 1;
    }
    return QK_OK;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

static enum qk_code byte_fallback(const struct task *task, struct qk_error *err)
{
    const char *text = task->text;
    bool is_byte = task->n == 6 && memcmp(text, "<0x", 3) == 0 && hex_digit(text[3]) >= 0 &&
                   hex_digit(text[4]) >= 0 && text[5] == '>';
    if (!is_byte)
        return add(task, text, task->n, err);
    char byte = (char)(hex_digit(text[3]) << 4 | hex_digit(text[4]));
    return add(task, &byte, 1, err);
}

static enum qk_code strip(const struct task *task, struct qk_error *err)
{
    const char *mark = task->step->text;
    size_t length = strlen(mark), from = 0, to = task->n;
    if (task->inside)
        return add(task, task->text, task->n, err);
    for (size_t i = 0; i < task->step->start && starts_with(task->text + from, to - from, mark); i++)
        from += length;
    for (size_t i = 0;
         i < task->step->stop && to - from >= length && memcmp(task->text + to - length, mark, length) == 0;
         i++)
        to -= length;
    return add(task, task->text + from, to - from, err);
}

/* --- all pieces --- */

static enum qk_code run_text(const struct task *task, struct qk_error *err)
{
    switch (task->step->kind) {
    case QK_STEP_NORMAL_FORM:
        return normal_form(task, err);
    case QK_STEP_PREPEND:
    case QK_STEP_PREFIX:
        return prefix(task, err);
    case QK_STEP_REPLACE:
        return replace(task, err);
    case QK_STEP_TO_BYTES:
        return to_bytes(task, err);
    case QK_STEP_FROM_BYTES:
        return from_bytes(task, err);
    case QK_STEP_SPACES:
        return spaces(task, err);
    case QK_STEP_BYTE_FALLBACK:
        return byte_fallback(task, err);
    case QK_STEP_STRIP:
        return strip(task, err);
    case QK_STEP_SPLIT:
    case QK_STEP_FUSE:
        break;
    }
    return add(task, task->text, task->n, err);
}

static enum qk_code run_piece(const struct task *task, struct qk_error *err)
{
    const struct qk_step *step = task->step;
    if (step->kind == QK_STEP_SPLIT)
        return qk_pattern_split(step->pattern, step->invert, (enum qk_split)step->split, task->text, task->n,
            task->lead, task->out, err);
    size_t from = task->out->n_bytes;
    QK_TRY(run_text(task, err));
    return qk_pieces_cut(task->out, from, QK_NO_TOKEN, *task->lead_behind, err);
}

static enum qk_code run_step(const struct qk_step *step, bool inside, const struct qk_pieces *pieces,
    struct qk_pieces *out, struct qk_error *err)
{
    if (step->kind == QK_STEP_FUSE)
        return qk_pieces_put(out, pieces->bytes, pieces->n_bytes, QK_NO_TOKEN, 0, err);
    for (size_t i = 0; i < pieces->n; i++) {
        const struct qk_piece *piece = &pieces->piece[i];
        const char *text = pieces->bytes + piece->at;
        size_t lead = piece->lead;
        const struct task task = {step, text, piece->n, piece->lead, &lead, i == 0, inside, out};
        QK_TRY(piece->token == QK_NO_TOKEN
                   ? run_piece(&task, err)
                   : qk_pieces_put(out, text, piece->n, piece->token, piece->lead, err));
    }
    return QK_OK;
}

enum qk_code qk_steps_run(
    const struct qk_steps *steps, bool inside, struct qk_pieces *pieces, struct qk_error *err)
{
    for (size_t i = 0; i < steps->n; i++) {
        struct qk_pieces out = {.limit = pieces->limit};
        enum qk_code code = run_step(&steps->step[i], inside, pieces, &out, err);
        if (code != QK_OK) {
            qk_pieces_free(&out);
            return code;
        }
        qk_pieces_free(pieces);
        *pieces = out;
    }
    return QK_OK;
}
