/* answer.h - the judge of a continuation, which decides token by token, as early as possible, whether it gives the
 * answer.
 *
 * Without answer_after, the first tokens of the continuation must be the answer's. Where the answer has no ids of its
 * own (qk_case_encode), the continuation's text must begin with the answer.
 *
 * With answer_after, the text behind its first occurrence must begin with the answer. With answer_until it must go on
 * with that: the answer is the text up to the next answer_until, untrimmed. A continuation that ends by itself (a
 * token of EOS) ends the answer as well; one that is cut at its limit does not. Without answer_until it is right as
 * soon as it begins with the answer.
 *
 * Of several answers the text must begin with one. They are compared as text, without ids of their own.
 *
 * With "contains" the answers may stand anywhere in the text, in small or capital letters. That is the text behind
 * answer_after, or all of it, up to the first "stop", to answer_until or to the end. One of them is enough, unless all
 * are required.
 *
 * Text is compared byte by byte, so a character may span tokens. Special tokens count as they are spelled; an id
 * outside the tokenizer (models have more rows than tokens) counts as U+FFFD. */
#ifndef QK_EVAL_ANSWER_H
#define QK_EVAL_ANSWER_H

#include "base/text.h"
#include "eval/case_tokens.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The ids that end a text. Zero-initialise. */
struct qk_ends {
    int32_t *id;
    size_t n, capacity;
};

/* Reads eos_token_id, a number or a list, of FOLDER/generation_config.json, else of config.json (also below
 * text_config). Without either, n = 0. QK_INPUT when a file is not JSON or the value is no id. Freed with
 * qk_ends_free, on failure too. */
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
    struct qk_text lower;    /* with "contains": the text behind `start` in lower case, up to `lowered` */
    struct qk_lines missing; /* the answers in lower case; "" where one was found */
    size_t lowered;
    size_t searched, start;  /* the end of the search for answer_after; the beginning of the answer */
    bool started;            /* answer_after was found, or the case has none */
    size_t taken;            /* tokens */
    enum qk_verdict verdict; /* of the tokens so far */
};

void qk_answer_start(struct qk_answer *answer, const struct qk_case *item,
    const struct qk_case_tokens *tokens, const struct qk_tokenizer *tokenizer, const struct qk_ends *ends);
/* Takes the next token of the continuation. It does nothing once answer->verdict is no longer QK_GO_ON, which is so
 * after tokens->limit tokens at the latest. QK_IO when memory ran out. */
enum qk_code qk_answer_take(struct qk_answer *answer, int32_t id, struct qk_error *err);
void qk_answer_free(struct qk_answer *answer);

/* *right = whether a whole continuation, as another engine wrote it (n bytes), gives the answer, compared as text.
 * `ended`: the model ended it by itself, and no limit cut it. QK_IO when memory ran out. */
enum qk_code qk_answer_judge(
    const struct qk_case *item, const char *text, size_t n, bool ended, bool *right, struct qk_error *err);

#endif
