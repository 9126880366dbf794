/* text.h - growing text buffers, UTF-8 checks, and the few formats shared by all front ends. */
#ifndef QK_BASE_TEXT_H
#define QK_BASE_TEXT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialise before use. s is NUL-terminated whenever it is not NULL. `failed` is set when memory runs out and
 * stays set, so a long run of appends needs one check at the end (qk_text_take). */
struct qk_text {
    char *s;
    size_t length, capacity;
    bool failed;
};

void qk_text_add(struct qk_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void qk_text_add_bytes(struct qk_text *text, const char *bytes, size_t n);
/* Gives the buffer to the caller, who frees it (never NULL on success), and empties `text`. */
enum qk_code qk_text_take(struct qk_text *text, char **out, struct qk_error *err);
void qk_text_free(struct qk_text *text);

/* A list of lines, such as the remarks that a model collects while it opens. Zero-initialise before use. */
struct qk_lines {
    char **line;
    size_t n, capacity;
};
enum qk_code qk_lines_add(struct qk_lines *lines, struct qk_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool qk_lines_hold(const struct qk_lines *lines, const char *line);
void qk_lines_free(struct qk_lines *lines);

/* Sorts n texts by strcmp. */
void qk_sort_texts(char **text, size_t n);
/* Sorts them, too, and returns the first that appears twice, or NULL. */
const char *qk_find_twice(char **text, size_t n);

bool qk_ends_with(const char *text, const char *end);

/* True when `path` is `folder` or below it. Both are absolute, without links, dots and slashes at the end. */
bool qk_path_inside(const char *path, const char *folder);

/* *out = "FOLDER/NAME"; the caller frees. */
enum qk_code qk_path_join(const char *folder, const char *name, char **out, struct qk_error *err);

/* True when the n bytes are well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, <= U+10FFFF). */
bool qk_utf8_valid(const char *bytes, size_t n);
/* The number of bytes before the first that is not. */
size_t qk_utf8_prefix(const char *bytes, size_t n);

/* The one filter of everything that leaves the program for a person's eyes: names from files may hold characters that
 * steer a terminal or deceive who reads them. True for controls, ends of lines, marks of direction, characters of no
 * width or form, and tags. */
bool qk_hidden(uint32_t code);

/* *code = the first character of text[0, n), or QK_BROKEN where it is not UTF-8; n > 0. Returns its bytes. */
enum { QK_BROKEN = 0x110000 };
size_t qk_next_character(const char *text, size_t n, uint32_t *code);

/* Writes that character as it may be shown, *n_out bytes: itself, or where it is hidden \xNN, \uNNNN or \UNNNNNNNN. A
 * byte that is not UTF-8 is \xNN. Returns the bytes of the text that it stands for, of which it has at most four times
 * as many; n > 0. */
enum { QK_VISIBLE = 12 };
size_t qk_visible(const char *text, size_t n, char out[QK_VISIBLE], size_t *n_out);

/* Copies `text` to out (capacity n, always terminated, cut between characters) in this form. Returns out. */
char *qk_printable(char *out, size_t n, const char *text);
/* The bytes of text[0, n) before the first that this form may change: most of all text. `lines` as below. */
size_t qk_plain(const char *text, size_t n, bool lines);
/* Adds n bytes in this form. With `lines`, ends of lines and tabs stay: for a text of lines whose names are visible. */
void qk_text_add_visible(struct qk_text *text, const char *bytes, size_t n, bool lines);

/* Writes "812 B", "12.4 MB" or "18.2 GB": decimal units, three significant digits. Returns out. */
enum { QK_BYTES_TEXT = 16 };
char *qk_format_bytes(char out[QK_BYTES_TEXT], uint64_t bytes);

#endif
