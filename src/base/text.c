/* text.c - growing text, UTF-8, printable forms. */
#include "base/text.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void qk_text_add_bytes(struct qk_text *text, const char *bytes, size_t n)
{
    if (text->failed || qk_grow(&text->s, &text->capacity, text->length + n + 1, 1, NULL) != QK_OK) {
        text->failed = true;
        return;
    }
    memcpy(text->s + text->length, bytes, n);
    text->length += n;
    text->s[text->length] = '\0';
}

static void add_formatted(struct qk_text *text, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (n < 0 || text->failed ||
        qk_grow(&text->s, &text->capacity, text->length + (size_t)n + 1, 1, NULL) != QK_OK) {
        text->failed = true;
        return;
    }
    vsnprintf(text->s + text->length, (size_t)n + 1, format, arguments);
    text->length += (size_t)n;
}

void qk_text_add(struct qk_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_formatted(text, format, arguments);
    va_end(arguments);
}

enum qk_code qk_text_take(struct qk_text *text, char **out, struct qk_error *err)
{
    qk_text_add_bytes(text, "", 0);
    if (text->failed) {
        size_t bytes = text->length + 1;
        qk_text_free(text);
        *out = NULL;
        return qk_fail_memory(err, bytes);
    }
    *out = text->s;
    *text = (struct qk_text){0};
    return QK_OK;
}

void qk_text_free(struct qk_text *text)
{
    free(text->s);
    *text = (struct qk_text){0};
}

enum qk_code qk_lines_add(struct qk_lines *lines, struct qk_error *err, const char *format, ...)
{
    struct qk_text text = {0};
    va_list arguments;
    QK_TRY(qk_grow(&lines->line, &lines->capacity, lines->n + 1, sizeof *lines->line, err));
    va_start(arguments, format);
    add_formatted(&text, format, arguments);
    va_end(arguments);
    QK_TRY(qk_text_take(&text, &lines->line[lines->n], err));
    lines->n++;
    return QK_OK;
}

bool qk_lines_hold(const struct qk_lines *lines, const char *line)
{
    for (size_t i = 0; i < lines->n; i++)
        if (strcmp(lines->line[i], line) == 0)
            return true;
    return false;
}

void qk_lines_free(struct qk_lines *lines)
{
    for (size_t i = 0; i < lines->n; i++)
        free(lines->line[i]);
    free(lines->line);
    *lines = (struct qk_lines){0};
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void qk_sort_texts(char **text, size_t n)
{
    if (n > 1)
        qsort(text, n, sizeof *text, compare_texts);
}

const char *qk_find_twice(char **text, size_t n)
{
    qk_sort_texts(text, n);
    for (size_t i = 1; i < n; i++)
        if (strcmp(text[i - 1], text[i]) == 0)
            return text[i];
    return NULL;
}

bool qk_ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

bool qk_path_inside(const char *path, const char *folder)
{
    size_t n = strlen(folder);
    if (strcmp(folder, "/") == 0)
        return true;
    return strncmp(path, folder, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

enum qk_code qk_path_join(const char *folder, const char *name, char **out, struct qk_error *err)
{
    struct qk_text text = {0};
    size_t n = strlen(folder);
    qk_text_add(&text, n > 0 && folder[n - 1] == '/' ? "%s%s" : "%s/%s", folder, name);
    return qk_text_take(&text, out, err);
}

/* Length of the well-formed UTF-8 sequence at p with n bytes left, and its value in *code; 0 for a broken one. */
static size_t utf8_sequence(const unsigned char *p, size_t n, uint32_t *code)
{
    size_t length = p[0] < 0x80   ? 1
                    : p[0] < 0xc2 ? 0
                    : p[0] < 0xe0 ? 2
                    : p[0] < 0xf0 ? 3
                    : p[0] < 0xf5 ? 4
                                  : 0;
    if (length == 0 || length > n)
        return 0;
    *code = length == 1 ? p[0] : p[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (p[i] & 0x3fu);
    }
    bool overlong = (length == 3 && *code < 0x800) || (length == 4 && *code < 0x10000);
    bool surrogate = *code >= 0xd800 && *code <= 0xdfff;
    return overlong || surrogate || *code > 0x10ffff ? 0 : length;
}

size_t qk_utf8_prefix(const char *bytes, size_t n)
{
    const unsigned char *p = (const unsigned char *)bytes;
    size_t i = 0;
    while (i < n) {
        uint32_t code;
        size_t length = utf8_sequence(p + i, n - i, &code);
        if (length == 0)
            break;
        i += length;
    }
    return i;
}

bool qk_utf8_valid(const char *bytes, size_t n)
{
    return qk_utf8_prefix(bytes, n) == n;
}

/* --- what may be shown --- */

/* Characters that steer a terminal, turn the order of what is written, end a line, or cannot be seen at all. */
static const struct {
    uint32_t first, last;
} HIDDEN[] = {
    {0x00, 0x1f},       /* C0 controls */
    {0x7f, 0x9f},       /* DEL, C1 controls */
    {0xad, 0xad},       /* soft hyphen */
    {0x34f, 0x34f},     /* grapheme joiner */
    {0x61c, 0x61c},     /* Arabic letter mark */
    {0x115f, 0x1160},   /* Hangul fillers */
    {0x17b4, 0x17b5},   /* Khmer vowels without a form */
    {0x180b, 0x180f},   /* Mongolian variants and separator */
    {0x200b, 0x200f},   /* zero-width space and joiners, marks of direction */
    {0x2028, 0x202e},   /* ends of lines and paragraphs, embeddings and overrides of direction */
    {0x2060, 0x206f},   /* word joiner, invisible operators, isolates of direction */
    {0x3164, 0x3164},   /* Hangul filler */
    {0xfe00, 0xfe0f},   /* variants */
    {0xfeff, 0xfeff},   /* byte order mark */
    {0xffa0, 0xffa0},   /* Hangul filler, half width */
    {0xfff0, 0xfffb},   /* interlinear annotations, and unassigned ones */
    {0xfffe, 0xffff},   /* no characters */
    {0x13430, 0x1343f}, /* hieroglyphic controls */
    {0x1bca0, 0x1bca3}, /* shorthand controls */
    {0x1d173, 0x1d17a}, /* musical controls */
    {0xe0000, 0xe0fff}, /* tags, more variants, and unassigned ones that show nothing */
};

bool qk_hidden(uint32_t code)
{
    for (size_t i = 0; i < sizeof HIDDEN / sizeof HIDDEN[0] && code >= HIDDEN[i].first; i++)
        if (code <= HIDDEN[i].last)
            return true;
    return false;
}

size_t qk_next_character(const char *text, size_t n, uint32_t *code)
{
    size_t length = utf8_sequence((const unsigned char *)text, n, code);
    if (length > 0)
        return length;
    *code = QK_BROKEN;
    return 1;
}

size_t qk_visible(const char *text, size_t n, char out[QK_VISIBLE], size_t *n_out)
{
    uint32_t code;
    size_t length = qk_next_character(text, n, &code);
    int used = 0;
    if (code == QK_BROKEN)
        used = snprintf(out, QK_VISIBLE, "\\x%02x", (unsigned char)text[0]);
    else if (!qk_hidden(code))
        used = snprintf(out, QK_VISIBLE, "%.*s", (int)length, text);
    else
        used = snprintf(out, QK_VISIBLE,
            code < 0xa0     ? "\\x%02x"
            : code > 0xffff ? "\\U%08x"
                            : "\\u%04x",
            code);
    *n_out = (size_t)used;
    return length;
}

char *qk_printable(char *out, size_t n, const char *text)
{
    size_t left = strlen(text), used = 0, wide;
    while (left > 0) {
        char piece[QK_VISIBLE];
        size_t length = qk_visible(text, left, piece, &wide);
        if (used + wide + 1 > n)
            break;
        memcpy(out + used, piece, wide);
        used += wide;
        text += length;
        left -= length;
    }
    if (n > 0)
        out[used] = '\0';
    return out;
}

size_t qk_plain(const char *text, size_t n, bool lines)
{
    size_t plain = 0;
    while (plain < n && ((text[plain] >= ' ' && text[plain] <= '~') ||
                            (lines && (text[plain] == '\n' || text[plain] == '\t'))))
        plain++;
    return plain;
}

void qk_text_add_visible(struct qk_text *text, const char *bytes, size_t n, bool lines)
{
    while (n > 0) {
        char piece[QK_VISIBLE];
        size_t wide, plain = qk_plain(bytes, n, lines), taken = 0;
        qk_text_add_bytes(text, bytes, plain);
        if (plain < n) {
            taken = qk_visible(bytes + plain, n - plain, piece, &wide);
            qk_text_add_bytes(text, piece, wide);
        }
        bytes += plain + taken;
        n -= plain + taken;
    }
}

char *qk_format_bytes(char out[QK_BYTES_TEXT], uint64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1000;
        unit++;
    }
    int digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
    snprintf(out, QK_BYTES_TEXT, "%.*f %s", digits, value, units[unit]);
    return out;
}
