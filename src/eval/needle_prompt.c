/* needle_prompt.c - needles from cases and from made prompts. */
#include "eval/needle_prompt.h"

#include "base/mem.h"
#include "eval/case_tokens.h"
#include "eval/haystack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS = 4, DISTRACTORS = 4, TRIES = 50 };

void qk_needle_prompts_free(struct qk_needle_prompts *prompts)
{
    qk_needles_free(&prompts->needles);
    qk_lines_free(&prompts->skipped);
    *prompts = (struct qk_needle_prompts){0};
}

/* --- aligning --- */

/* Encodes the case with the last `moved` bytes of its prompt, which are blanks, at the front of its answer. */
static enum qk_code encode_moved(const struct qk_cases *cases, size_t i, size_t moved,
    const struct qk_tokenizer *tokenizer, struct qk_case_tokens *out, struct qk_error *err)
{
    const struct qk_case *from = &cases->item[i];
    size_t n_prompt = strlen(from->prompt) - moved, n_answer = strlen(from->answer) + moved;
    struct qk_cases one = *cases;
    struct qk_case item = *from;
    item.prompt = item.answer = NULL;
    item.after = item.until = NULL;
    item.contains = false;
    item.max_new_tokens = 0;
    enum qk_code code = qk_alloc(&item.prompt, n_prompt + 1, 1, err);
    if (code == QK_OK)
        code = qk_alloc(&item.answer, n_answer + 1, 1, err);
    if (code == QK_OK) {
        memcpy(item.prompt, from->prompt, n_prompt);
        memcpy(item.answer, from->prompt + n_prompt, moved);
        memcpy(item.answer + moved, from->answer, n_answer - moved);
        one.item = &item;
        code = qk_case_encode(&one, 0, tokenizer, NULL, out, err);
    }
    free(item.prompt);
    free(item.answer);
    return code;
}

static size_t trailing_blanks(const char *text)
{
    size_t n = strlen(text), blanks = 0;
    while (blanks < n && (text[n - 1 - blanks] == ' ' || text[n - 1 - blanks] == '\n'))
        blanks++;
    return blanks < n ? blanks : 0;
}

static const char TWICE[] = "the answer's tokens are in the prompt more than once";

/* Adds the tokens as a needle; *why = NULL, or the reason why they cannot be one (static). */
static enum qk_code add_tokens(const struct qk_case_tokens *tokens, struct qk_needle_prompts *prompts,
    const char **why, struct qk_error *err)
{
    size_t times;
    size_t place = qk_needle_find(tokens->prompt, tokens->n_prompt, tokens->answer, tokens->n_answer, &times);
    *why = tokens->n_answer == 0 ? "prompt and answer share a token"
           : times == 0          ? "needle and answer have other tokens"
           : times > 1           ? TWICE
                                 : NULL;
    if (*why != NULL)
        return QK_OK;
    return qk_needles_add(
        &prompts->needles, tokens->prompt, tokens->n_prompt, tokens->answer, tokens->n_answer, place, err);
}

static enum qk_code add_case(const struct qk_cases *cases, size_t i, const struct qk_tokenizer *tokenizer,
    struct qk_needle_prompts *prompts, const char **why, struct qk_error *err)
{
    const struct qk_case *item = &cases->item[i];
    *why = item->prompt == NULL ? "its prompt is a chat" : "it has several answers";
    if (item->prompt == NULL || item->n_other > 0)
        return QK_OK;
    size_t blanks = trailing_blanks(item->prompt);
    *why = "the answer is not in the prompt";
    if (strstr(item->prompt, item->answer) == NULL)
        return QK_OK;
    for (size_t moved = 0; *why != NULL && *why != TWICE && moved <= blanks;
         moved += blanks > 0 ? blanks : 1) {
        struct qk_case_tokens tokens;
        enum qk_code code = encode_moved(cases, i, moved, tokenizer, &tokens, err);
        if (code == QK_OK)
            code = add_tokens(&tokens, prompts, why, err);
        qk_case_tokens_free(&tokens);
        QK_TRY(code);
    }
    return QK_OK;
}

enum qk_code qk_needle_prompts_read(const struct qk_cases *cases, const struct qk_tokenizer *tokenizer,
    struct qk_needle_prompts *prompts, struct qk_error *err)
{
    for (size_t i = 0; i < cases->n; i++) {
        const char *why;
        QK_TRY(add_case(cases, i, tokenizer, prompts, &why, err));
        if (why == NULL)
            continue;
        prompts->n_skipped++;
        QK_TRY(qk_lines_add(&prompts->skipped, err, "%s:%zu: %s", cases->file[cases->item[i].file],
            cases->item[i].line, why));
    }
    return QK_OK;
}

enum qk_code qk_needle_prompts_open(const char *path, const struct qk_tokenizer *tokenizer,
    struct qk_needle_prompts *prompts, struct qk_error *err)
{
    struct qk_cases cases = {0};
    enum qk_code code = qk_cases_read(path, &cases, err);
    if (code == QK_OK)
        code = qk_needle_prompts_read(&cases, tokenizer, prompts, err);
    qk_cases_free(&cases);
    if (code == QK_OK && prompts->needles.n == 0)
        return qk_fail(err, QK_INPUT, "%s: no case is a needle (found %zu cases; the first: %s)", path,
            prompts->n_skipped, prompts->skipped.n > 0 ? prompts->skipped.line[0] : "none");
    return code;
}

/* --- making --- */

/* Makes one prompt, with another value until one has the same tokens at both places. */
static enum qk_code make_prompt(const struct qk_haystack *haystack, size_t length, double depth,
    size_t number, struct qk_needle_prompts *prompts, struct qk_error *err)
{
    char name[] = "made prompt", *file[] = {name};
    const char *why = NULL;
    for (int tries = 0; tries < TRIES; tries++) {
        struct qk_case item = {.depth = depth};
        struct qk_cases one = {.item = &item, .n = 1, .file = file, .n_files = 1};
        int which = (int)number * TRIES + tries;
        QK_TRY(qk_haystack_make(haystack, length, depth, which, &item.prompt, &item.answer, err));
        enum qk_code code = add_case(&one, 0, haystack->tokenizer, prompts, &why, err);
        free(item.prompt);
        free(item.answer);
        QK_TRY(code);
        if (why == NULL)
            return QK_OK;
    }
    return qk_fail(err, QK_INPUT,
        "no needle can be made for this tokenizer: %s (tried %d values); give cases of your own (--needles FILE)",
        why, TRIES);
}

enum qk_code qk_needle_prompts_make(size_t n, size_t length, const struct qk_tokenizer *tokenizer,
    struct qk_needle_prompts *prompts, struct qk_error *err)
{
    const struct qk_haystack haystack = {.filler = QK_FILLER_PROSE,
        .value = QK_VALUE_DIGITS,
        .digits = DIGITS,
        .distractors = DISTRACTORS,
        .tokenizer = tokenizer};
    for (size_t i = 0; i < n; i++)
        QK_TRY(make_prompt(&haystack, length, n > 1 ? (double)i / (double)(n - 1) : 0.5, i, prompts, err));
    return QK_OK;
}
