/* questions.c - limits, costs and keys of cases without tokens. */
#include "eval/engine/questions.h"

#include "base/mem.h"
#include "model/identity.h"

#include <stdlib.h>
#include <string.h>

enum qk_code qk_questions_open(const struct qk_cases *cases, struct qk_questions *out, struct qk_error *err)
{
    *out = (struct qk_questions){.cases = cases};
    QK_TRY(qk_alloc(&out->digest, cases->n, sizeof *out->digest, err));
    for (size_t i = 0; i < cases->n; i++)
        qk_case_digest(&cases->item[i], out->digest[i]);
    return QK_OK;
}

void qk_questions_close(struct qk_questions *questions)
{
    free(questions->digest);
    *questions = (struct qk_questions){0};
}

size_t qk_question_limit(const struct qk_case *item)
{
    enum { ANYWHERE = 256 };
    size_t longest = 1;
    const char *answer;
    if (item->max_new_tokens > 0)
        return item->max_new_tokens;
    if (item->after != NULL || item->contains)
        return ANYWHERE;
    for (size_t i = 0; (answer = qk_case_answer(item, i)) != NULL; i++)
        longest = strlen(answer) > longest ? strlen(answer) : longest;
    return longest;
}

const char *qk_questions_digest(const void *state, enum qk_side side, size_t i)
{
    (void)side;
    return ((const struct qk_questions *)state)->digest[i];
}

size_t qk_questions_cost(const void *state, size_t i)
{
    const struct qk_case *item = &((const struct qk_questions *)state)->cases->item[i];
    const char *text = item->messages != NULL ? item->messages : item->prompt;
    return strlen(text) + qk_question_limit(item);
}

void qk_questions_identify(const struct qk_model *model, struct qk_digest *digest)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model", "tokenizer_config.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        qk_identity_add_beside(digest, model, names[i]);
}
