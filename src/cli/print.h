/* print.h - standard output: what was written is known to have been written. */
#ifndef QK_CLI_PRINT_H
#define QK_CLI_PRINT_H

#include "base/error.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* printf on standard output. A failure is kept for qk_print_end; later output is dropped. */
void qk_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The text with control characters made visible; for every name that comes from a file or a path. */
void qk_print_name(const char *text);

/* The line "qkscope: TEXT" on standard error, control characters made visible: for what the user should
 * know but what is no failure. */
void qk_print_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ",VALUE" with ten digits, "," alone when the value is not finite: a cell of a CSV row. */
void qk_print_csv_number(double value);

/* Prints the tree as JSON and frees it. Control characters above 0x7f are written as \u00NN, so that names
 * from files cannot steer a terminal. QK_IO when memory ran out. */
enum qk_code qk_print_json(cJSON *root, struct qk_error *err);

/* Adds a text that may not be UTF-8 (a path): its broken bytes are made visible, as JSON cannot hold them. */
void qk_json_add_text(cJSON *object, const char *key, const char *text);

/* Flushes. QK_IO when anything could not be written. A reader that closed its pipe has seen enough: that is
 * no failure. Main calls it once. */
enum qk_code qk_print_end(struct qk_error *err);

/* True when the locale's characters are UTF-8. */
bool qk_print_utf8(void);

/* Columns of the terminal, else of $COLUMNS, else 100. */
int qk_print_width(void);

/* Layer numbers as ranges: "0,2-3,5-6". n numbers, ascending. */
void qk_print_ranges(const int *number, int n);

#endif
