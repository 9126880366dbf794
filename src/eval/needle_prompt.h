/* needle_prompt.h - prompts for needle masses (range/needle.h): from files of cases, or made for a tokenizer.
 *
 * The answer must stand in the prompt once, in the same tokens as behind it. Where it does not, blanks that end the
 * prompt are tried as the beginning of the answer, as tokenizers that join a blank to a word have it. */
#ifndef QK_EVAL_NEEDLE_PROMPT_H
#define QK_EVAL_NEEDLE_PROMPT_H

#include "eval/cases.h"
#include "range/needle.h"

/* Zero-initialise; freed with qk_needle_prompts_free. */
struct qk_needle_prompts {
    struct qk_needles needles;
    size_t n_skipped;        /* cases that are no needles */
    struct qk_lines skipped; /* "FILE:LINE: why" of each */
};
void qk_needle_prompts_free(struct qk_needle_prompts *prompts);

/* Appends a needle for every case of the list whose answer stands in its prompt. A case with answer_after is read by
 * its answer alone. QK_INPUT when the tokenizer refuses a text or a prompt is too long (file, line). */
enum qk_code qk_needle_prompts_read(const struct qk_cases *cases, const struct qk_tokenizer *tokenizer,
    struct qk_needle_prompts *prompts, struct qk_error *err);

/* Appends n made prompts of at most `length` tokens: prose with the needle at depths from 0 to 1, some other needles
 * beside it, values of digits that tokenise alike at both places. The same for the same arguments on every machine.
 * QK_USAGE when `length` is too short for needle and question; QK_INPUT when no value tokenises alike. */
enum { QK_NEEDLE_PROMPTS = 24, QK_NEEDLE_LENGTH = 512 };
enum qk_code qk_needle_prompts_make(size_t n, size_t length, const struct qk_tokenizer *tokenizer,
    struct qk_needle_prompts *prompts, struct qk_error *err);

#endif
