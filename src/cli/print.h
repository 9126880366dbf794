/* print.h - standard output, with its failures reported. */
#ifndef QK_CLI_PRINT_H
#define QK_CLI_PRINT_H

#include "base/error.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Prints on standard output. qk_print_end reports a failure; later output is dropped. Everything goes through the
 * filter of base/text.h, but ends of lines, which separate lines. */
void qk_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints the text with ends of lines made visible, too: for every name from a file or a path. */
void qk_print_name(const char *text);
/* The same as a cell of a CSV row, in quotes that are doubled within (RFC 4180). */
void qk_print_csv_name(const char *text);

/* Prints the line "qkscope: TEXT" on standard error, through the same filter. For facts that the user
 * should know and that are no failure. */
void qk_print_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints a number with its unit at the right of a cell of `width` columns (6 or more), with a blank before it. A number
 * that is too long for its digits loses some, and at last becomes a power of ten: cells never run together. "-" stands
 * for one that is not finite. */
void qk_print_number(int width, int digits, double value, const char *unit);

/* ",VALUE" with ten digits, "," alone when the value is not finite: a cell of a CSV row. */
void qk_print_csv_number(double value);

/* Prints the tree as JSON (qk_json_text) and frees it. QK_IO when memory ran out. */
enum qk_code qk_print_json(cJSON *root, struct qk_error *err);

/* Adds a text that may not be UTF-8 (a path). Its broken bytes are made visible, because JSON cannot hold them. */
void qk_json_add_text(cJSON *object, const char *key, const char *text);
/* The same for a key: the text itself, or out (capacity n) with its broken bytes made visible. */
const char *qk_json_key(char *out, size_t n, const char *text);

/* Flushes. QK_IO when a write failed. A reader that closed its pipe is no failure. Main calls it at the end. */
enum qk_code qk_print_end(struct qk_error *err);

/* True when the locale's characters are UTF-8. */
bool qk_print_utf8(void);

/* Columns of the terminal, else of $COLUMNS, else 100. */
int qk_print_width(void);

/* Prints n layer numbers, ascending, as ranges: "0,2-3,5-6". */
void qk_print_ranges(const int *number, int n);

#endif
