/* added_tokens.h - the added tokens of a tokenizer, which are found in the text itself before any other step. */
#ifndef QK_TOKEN_ADDED_TOKENS_H
#define QK_TOKEN_ADDED_TOKENS_H

#include "base/error.h"
#include "base/json.h"
#include "token/bpe.h"
#include "token/pieces.h"
#include "token/steps.h"

struct qk_added_token {
    char *content; /* owned */
    size_t n;
    char *spelling; /* the text to find: normalized, where the token says so; owned */
    size_t n_spelling;
    int32_t id;
    bool special, normalized, single_word, lstrip, rstrip;
};

/* Tokens of one sort, sorted by their spelling. */
struct qk_added_index {
    const struct qk_added_token **token;
    size_t n;
    bool begins[256]; /* one of them begins with this byte */
};

struct qk_added {
    struct qk_added_token *token; /* sorted by id */
    size_t n;
    struct qk_added_index plain, normalized;
};

/* The limit for the length of a token. */
enum { QK_ADDED_BYTES = 256 };

/* Reads the "added_tokens" of a tokenizer.json. A token in the vocabulary has its id there, whatever the list says
 * (as in the original). Freed with qk_added_free, on failure too. */
enum qk_code qk_added_read(const char *path, const cJSON *list, const struct qk_bpe *bpe,
    const struct qk_steps *normalizer, struct qk_added *added, struct qk_error *err);
void qk_added_free(struct qk_added *added);

/* The token with that id or that content, or NULL. */
const struct qk_added_token *qk_added_by_id(const struct qk_added *added, int32_t id);
const struct qk_added_token *qk_added_by_content(const struct qk_added *added, const char *content);

/* Cuts text[0, n) at the tokens of the index, the longest at the leftmost place first. `lead` is that
 * of struct qk_piece. */
enum qk_code qk_added_cut(const struct qk_added_index *index, const char *text, size_t n, size_t lead,
    struct qk_pieces *out, struct qk_error *err);

#endif
