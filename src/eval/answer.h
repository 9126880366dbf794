/* answer.h - the judge of a continuation: does it give the answer? Known as early as it can be, token by token.
 *
 * Without answer_after, the first tokens of the continuation must be the answer's; where the answer has no
 * ids of its own (qk_case_encode), the continuation's text must begin with the answer.
 *
 * With answer_after, the text behind its first occurrence must begin with the answer and, where there is an
 * answer_until, go on with that: the answer is the text up to the next answer_until, as it is, nothing
 * trimmed. A continuation that ends by itself (a token of EOS) ends the answer as well; one that was cut at
 * its limit does not. Without answer_until it is right as soon as it begins with the answer.
 *
 * Text is compared byte by byte, so that a character may be spread over tokens. Special tokens count as they
 * are spelled; an id that is not the tokenizer's (models have more rows than tokens) as U+FFFD. */
#ifndef QK_EVAL_ANSWER_H
#define QK_EVAL_ANSWER_H

#include "base/text.h"
#include "eval/cases.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The ids that end a text. Zero-initialise. */
struct qk_ends {
    int32_t *id;
    size_t n, capacity;
};

/* eos_token_id, a number or a list, of FOLDER/generation_config.json; where that has none, of config.json
 * (also below text_config). None in either, or no such files: n = 0. QK_INPUT when a file is not JSON or the
 * value is not of ids. Freed with qk_ends_free, on failure too. */
enum qk_code qk_ends_read(const char *folder, struct qk_ends *out, struct qk_error *err);
void qk_ends_free(struct qk_ends *ends);

enum qk_verdict { QK_GO_ON, QK_RIGHT, QK_WRONG };

/* All but `text` is borrowed and must outlive it. */
struct qk_answer {
    const struct qk_case *item;
    const struct qk_case_tokens *tokens;
    const struct qk_tokenizer *tokenizer;
    const struct qk_ends *ends;
    struct qk_text text;     /* of the continuation so far */
    size_t searched, start;  /* up to where answer_after was looked for; where the answer begins */
    bool started;            /* answer_after was found, or is not wanted */
    size_t taken;            /* tokens */
    enum qk_verdict verdict; /* of the tokens so far */
};

void qk_answer_start(struct qk_answer *answer, const struct qk_case *item,
    const struct qk_case_tokens *tokens, const struct qk_tokenizer *tokenizer, const struct qk_ends *ends);
/* Takes the next token of the continuation; nothing once answer->verdict is no longer QK_GO_ON, which after
 * tokens->limit tokens at the latest it is not. QK_IO when memory ran out. */
enum qk_code qk_answer_take(struct qk_answer *answer, int32_t id, struct qk_error *err);
void qk_answer_free(struct qk_answer *answer);

#endif
