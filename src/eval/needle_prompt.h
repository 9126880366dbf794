/* needle_prompt.h - prompts for needle masses (range/needle.h): from files of cases, or made for a tokenizer.
 *
 * The answer must be in the prompt once, in the same tokens as behind it. Where it is not, the blanks at the prompt's
 * end are tried as the answer's beginning, for tokenizers that join a blank to a word. */
#ifndef QK_EVAL_NEEDLE_PROMPT_H
#define QK_EVAL_NEEDLE_PROMPT_H

#include "eval/cases.h"
#include "range/needle.h"
#include "token/tokenizer.h"

/* Zero-initialise; freed with qk_needle_prompts_free. */
struct qk_needle_prompts {
    struct qk_needles needles;
    size_t n_skipped;        /* cases that give no needle */
    struct qk_lines skipped; /* "FILE:LINE: why" of each */
};
void qk_needle_prompts_free(struct qk_needle_prompts *prompts);

/* Appends a needle for every case of the list whose answer is in its prompt. Of a case with answer_after the answer
 * alone counts. QK_INPUT when the tokenizer refuses a text or a prompt is too long (file, line). */
enum qk_code qk_needle_prompts_read(const struct qk_cases *cases, const struct qk_tokenizer *tokenizer,
    struct qk_needle_prompts *prompts, struct qk_error *err);

/* Reads a file of cases (cases.h) and appends their needles. QK_INPUT also when no case is one. */
enum qk_code qk_needle_prompts_open(const char *path, const struct qk_tokenizer *tokenizer,
    struct qk_needle_prompts *prompts, struct qk_error *err);

/* Appends n made prompts of at most `length` tokens: prose with the needle at depths from 0 to 1, and some other
 * needles. Values are digits that have the same tokens at both places. The same arguments give the same prompts on
 * every machine. QK_USAGE when `length` is too short for needle and question; QK_INPUT when no value has the same
 * tokens. */
enum { QK_NEEDLE_PROMPTS = 24, QK_NEEDLE_LENGTH = 512 };
enum qk_code qk_needle_prompts_make(size_t n, size_t length, const struct qk_tokenizer *tokenizer,
    struct qk_needle_prompts *prompts, struct qk_error *err);

#endif
