/* arithmetic.h - problems of several steps, each of which uses the result of the step before. */
#ifndef QK_EVAL_ARITHMETIC_H
#define QK_EVAL_ARITHMETIC_H

#include "base/text.h"

#include <stdint.h>

enum { QK_ARITHMETIC_STEPS = 64 }; /* the most steps of a problem */

/* Appends problem `number` of a seed as a line of a file of cases: "Problem: start with 56, add 30, subtract 29. ",
 * whose answer stands behind "Answer: " and before a full stop. It has low to high steps (1 <= low <= high <=
 * QK_ARITHMETIC_STEPS), all numbers are 1 to 99, and the answer is not in the prompt. The form is that of the demo
 * pair's fine-tuning. QK_IO when memory ran out. */
enum qk_code qk_arithmetic_write(
    uint64_t seed, int number, int low, int high, struct qk_text *out, struct qk_error *err);

#endif
