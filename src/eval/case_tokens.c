/* case_tokens.c - the encoding of prompts, chats and answers. */
#include "eval/case_tokens.h"

#include "base/mem.h"
#include "range/probe_text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_NEW_TOKENS = 256 };

/* A prompt as text. A chat holds its special tokens already, so none are added to it. */
struct prompt {
    const struct qk_tokenizer *tokenizer;
    const char *text;
    bool special;
};

static enum qk_code encode(
    const struct prompt *prompt, const char *text, int32_t **ids, size_t *n_ids, struct qk_error *err)
{
    QK_TRY(qk_tokenizer_encode(prompt->tokenizer, text, strlen(text), prompt->special, ids, n_ids, err));
    *n_ids -= prompt->special ? qk_tokenizer_trailing(prompt->tokenizer) : 0;
    return QK_OK;
}

/* Sets out->answer from the ids of prompt and answer together, if these begin with the prompt's. */
static enum qk_code encode_answer(
    const struct prompt *prompt, const char *answer, struct qk_case_tokens *out, struct qk_error *err)
{
    struct qk_text both = {0};
    char *text;
    int32_t *ids;
    size_t n;
    qk_text_add_bytes(&both, prompt->text, strlen(prompt->text));
    qk_text_add_bytes(&both, answer, strlen(answer));
    QK_TRY(qk_text_take(&both, &text, err));
    enum qk_code code = encode(prompt, text, &ids, &n, err);
    free(text);
    QK_TRY(code);
    if (n > out->n_prompt && memcmp(ids, out->prompt, out->n_prompt * sizeof *ids) == 0) {
        size_t n_answer = n - out->n_prompt;
        code = qk_alloc(&out->answer, n_answer, sizeof *out->answer, err);
        if (code == QK_OK) {
            memcpy(out->answer, ids + out->n_prompt, n_answer * sizeof *ids);
            out->n_answer = n_answer;
        }
    }
    free(ids);
    return code;
}

static size_t longest_answer(const struct qk_case *item)
{
    size_t longest = 0;
    const char *answer;
    for (size_t i = 0; (answer = qk_case_answer(item, i)) != NULL; i++)
        longest = strlen(answer) > longest ? strlen(answer) : longest;
    return longest;
}

static enum qk_code encode_prompt(
    const struct qk_case *item, const struct prompt *prompt, struct qk_case_tokens *out, struct qk_error *err)
{
    QK_TRY(encode(prompt, prompt->text, &out->prompt, &out->n_prompt, err));
    if (out->n_prompt == 0 || out->n_prompt > QK_PROBE_MOST)
        return qk_fail(
            err, QK_INPUT, "the prompt has %zu tokens (expected 1 to %d)", out->n_prompt, QK_PROBE_MOST);
    bool anywhere = item->after != NULL || item->contains;
    if (!anywhere && item->n_other == 0)
        QK_TRY(encode_answer(prompt, item->answer, out, err));
    out->limit = item->max_new_tokens > 0 ? item->max_new_tokens
                 : anywhere               ? DEFAULT_NEW_TOKENS
                 : out->n_answer > 0      ? out->n_answer
                                          : longest_answer(item);
    if (out->limit < out->n_answer)
        return qk_fail(err, QK_INPUT,
            "max_new_tokens is less than the answer's tokens (found %zu, expected at least %zu)", out->limit,
            out->n_answer);
    return QK_OK;
}

static enum qk_code encode_case(const struct qk_case *item, const struct qk_tokenizer *tokenizer,
    const struct qk_chat *chat, struct qk_case_tokens *out, struct qk_error *err)
{
    struct prompt prompt = {tokenizer, item->prompt, item->messages == NULL};
    char *text = NULL;
    if (item->messages != NULL) {
        QK_TRY(qk_chat_render(chat, item->messages, &text, err));
        prompt.text = text;
    }
    enum qk_code code = encode_prompt(item, &prompt, out, err);
    free(text);
    return code;
}

enum qk_code qk_case_encode(const struct qk_cases *cases, size_t i, const struct qk_tokenizer *tokenizer,
    const struct qk_chat *chat, struct qk_case_tokens *out, struct qk_error *err)
{
    const struct qk_case *item = &cases->item[i];
    struct qk_error why = {0};
    *out = (struct qk_case_tokens){0};
    enum qk_code code = encode_case(item, tokenizer, chat, out, &why);
    if (code == QK_INPUT)
        return qk_fail(err, code, "%s:%zu: %s", cases->file[item->file], item->line, why.text);
    return code == QK_OK ? QK_OK : qk_fail(err, code, "%s", why.text);
}

void qk_case_tokens_free(struct qk_case_tokens *tokens)
{
    free(tokens->prompt);
    free(tokens->answer);
    *tokens = (struct qk_case_tokens){0};
}
