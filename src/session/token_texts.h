/* token_texts.h - the texts of a sequence of tokens, for the screen. */
#ifndef QK_SESSION_TOKEN_TEXTS_H
#define QK_SESSION_TOKEN_TEXTS_H

#include "token/tokenizer.h"

/* Zero-initialise; freed with qk_token_texts_free. */
struct qk_token_texts {
    struct qk_token_text *item; /* n, owned */
    size_t n;
};

/* Fills *out with the texts of n ids; also without a text of an unknown id. QK_IO when there is no memory. */
enum qk_code qk_token_texts_make(const struct qk_tokenizer *tokenizer, const int32_t *ids, size_t n,
    struct qk_token_texts *out, struct qk_error *err);
void qk_token_texts_free(struct qk_token_texts *texts);

/* The text of token i, *n bytes: a token may be a part of a character. NULL, and 0, when it has none. */
const char *qk_token_texts_at(const struct qk_token_texts *texts, size_t i, size_t *n);

#endif
