/* needle_work.h - the prompts and needle masses of a command: its options, the making, the measuring. */
#ifndef QK_CLI_NEEDLE_WORK_H
#define QK_CLI_NEEDLE_WORK_H

#include "cli/arguments.h"
#include "eval/needle_from_states.h"
#include "eval/needle_measure.h"
#include "eval/needle_prompt.h"

/* Zero-initialise; freed with qk_needle_work_free. */
struct qk_needle_work {
    const char *file;                             /* --needles; NULL: prompts are made; borrowed */
    int length, n_prompts;                        /* of made prompts */
    struct qk_needle_files states[QK_SIDE_COUNT]; /* --states, --states-pre; the lists are owned */
    struct qk_tokenizer *tokenizer;
    struct qk_needle_prompts prompts;
    struct qk_needle_pair measured;
};
void qk_needle_work_free(struct qk_needle_work *work);

/* Reads --needles, --length and --prompts, which the command takes (option.c). QK_USAGE. */
enum qk_code qk_needle_work_options(
    const struct qk_arguments *arguments, struct qk_needle_work *work, struct qk_error *err);
/* Reads --states and --states-pre, after the others. QK_USAGE. */
enum qk_code qk_needle_work_states(
    const struct qk_arguments *arguments, struct qk_needle_work *work, struct qk_error *err);
/* Opens post's tokenizer, and reads or makes the prompts. Cases that are no needles are named on standard error.
 * QK_INPUT when there is no tokenizer, or no needle in the file. */
enum qk_code qk_needle_work_prompts(
    const struct qk_pair *pair, struct qk_needle_work *work, struct qk_error *err);
/* Fills `measured`, with a selection unless that is NULL. Shows progress and can be interrupted (meter.h). QK_INPUT
 * when a side has no forward pass, unless states are there (needle_from_states.h). */
enum qk_code qk_needle_work_measure(const struct qk_pair *pair, const struct qk_selection *selection,
    bool norms, struct qk_needle_work *work, struct qk_error *err);
/* Where the prompts are from, for people; borrowed. */
const char *qk_needle_work_source(const struct qk_needle_work *work);

#endif
