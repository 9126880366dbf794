/* case_tokens.h - a case in a tokenizer's ids. */
#ifndef QK_EVAL_CASE_TOKENS_H
#define QK_EVAL_CASE_TOKENS_H

#include "eval/cases.h"
#include "token/chat.h"
#include "token/tokenizer.h"

#include <stdint.h>

/* A case in a tokenizer's ids. */
struct qk_case_tokens {
    int32_t *prompt; /* n_prompt, at least one; owned */
    size_t n_prompt;
    int32_t *answer; /* n_answer; owned. None where the answer is compared as text (eval/answer.h) */
    size_t n_answer;
    size_t limit; /* the most tokens to generate; at least 1 */
};

/* Encodes a case. The prompt has the special tokens that the tokenizer's template puts before a text. Those behind it
 * (EOS) are left out, because the text goes on. A case with messages becomes a prompt by `chat`, which may be NULL for
 * others, and gets no special tokens but those of the chat template.
 *
 * The answer's ids are those of prompt and answer together behind those of the prompt. Where these do not begin with
 * the prompt's there are no such ids, and n_answer is 0: the prompt's last letters and the answer's first make one
 * token. It is also 0 with answer_after, with "contains", and with several answers.
 *
 * limit is max_new_tokens. Without it, it is the number of the answer's ids, or of the longest answer's bytes where it
 * has no ids, and 256 with answer_after or "contains". QK_INPUT, with file and line, when the tokenizer or the chat
 * template refuses the text, or the prompt has no token or more than QK_PROBE_MOST. Also when max_new_tokens is less
 * than the answer's ids. *out is freed with qk_case_tokens_free, on failure too. */
enum qk_code qk_case_encode(const struct qk_cases *cases, size_t i, const struct qk_tokenizer *tokenizer,
    const struct qk_chat *chat, struct qk_case_tokens *out, struct qk_error *err);
void qk_case_tokens_free(struct qk_case_tokens *tokens);

#endif
