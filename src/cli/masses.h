/* masses.h - the numbers of heads that selectors test, from the made needle prompts. */
#ifndef QK_CLI_MASSES_H
#define QK_CLI_MASSES_H

#include "eval/needle_measure.h"

/* *out = one entry a layer of the pair: needle mass in pre, and its drop, on the prompts that `qkscope heads` makes
 * without options. Shows progress and can be interrupted (meter.h). QK_INPUT when a side has no forward pass or no
 * tokenizer. Freed with qk_needle_numbers_free. */
enum qk_code qk_masses_compute(
    const struct qk_pair *pair, struct qk_head_numbers **out, struct qk_error *err);

#endif
