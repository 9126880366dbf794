/* questions.h - the cases as engines other than the built-in one see them: texts, their keys, and what they cost. */
#ifndef QK_EVAL_ENGINE_QUESTIONS_H
#define QK_EVAL_ENGINE_QUESTIONS_H

#include "eval/engine/engine.h"

/* Owned, except the cases. */
struct qk_questions {
    const struct qk_cases *cases;
    char (*digest)[QK_DIGEST_TEXT]; /* of each case; NULL: of none */
};

enum qk_code qk_questions_open(const struct qk_cases *cases, struct qk_questions *out, struct qk_error *err);
void qk_questions_close(struct qk_questions *questions);

/* The functions of qk_engine_ops, for a state that begins with its questions. The cost is the bytes of the prompt and
 * the most tokens after it. */
const char *qk_questions_digest(const void *state, enum qk_side side, size_t i);
size_t qk_questions_cost(const void *state, size_t i);

/* The most tokens that the case may need: max_new_tokens, else 256 where the answer may stand anywhere, else the bytes
 * of the longest answer, which has no more tokens than bytes. */
size_t qk_question_limit(const struct qk_case *item);

/* Adds the identity of the files beside the weights that decide how a model is asked: its tokenizer's. */
void qk_questions_identify(const struct qk_model *model, struct qk_digest *digest);

#endif
