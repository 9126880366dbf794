/* case_line.h - one case from one JSON object, in this program's keys or in those of other tools. */
#ifndef QK_EVAL_CASE_LINE_H
#define QK_EVAL_CASE_LINE_H

#include "eval/cases.h"

/* Reads the object text[begin, end), which begins on line `number` of the file. *item has its texts, but not its place
 * and task; qk_case_free frees them. *task = the name of its task, which the caller frees; where the object does not
 * give it, it comes from the file's name. QK_INPUT names line and key. After a failure both are empty. */
enum qk_code qk_case_read(const char *path, size_t number, const char *text, size_t begin, size_t end,
    struct qk_case *item, char **task, struct qk_error *err);

#endif
