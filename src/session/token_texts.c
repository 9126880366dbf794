/* token_texts.c - the texts of a sequence of tokens. */
#include "session/token_texts.h"

#include "base/mem.h"

#include <stdlib.h>

struct qk_token_text {
    char *text; /* owned */
    size_t n;
};

enum qk_code qk_token_texts_make(const struct qk_tokenizer *tokenizer, const int32_t *ids, size_t n,
    struct qk_token_texts *out, struct qk_error *err)
{
    QK_TRY(qk_alloc(&out->item, n, sizeof *out->item, err));
    out->n = n;
    for (size_t i = 0; i < n; i++) {
        struct qk_error unknown = {0};
        qk_tokenizer_piece(tokenizer, ids[i], &out->item[i].text, &out->item[i].n, &unknown);
    }
    return QK_OK;
}

void qk_token_texts_free(struct qk_token_texts *texts)
{
    for (size_t i = 0; i < texts->n; i++)
        free(texts->item[i].text);
    free(texts->item);
    *texts = (struct qk_token_texts){0};
}

const char *qk_token_texts_at(const struct qk_token_texts *texts, size_t i, size_t *n)
{
    bool known = i < texts->n && texts->item[i].text != NULL;
    *n = known ? texts->item[i].n : 0;
    return known ? texts->item[i].text : NULL;
}
