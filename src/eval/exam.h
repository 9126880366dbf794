/* exam.h - cases for one model: the questions in its own tokens, and whether its answers are right. */
#ifndef QK_EVAL_EXAM_H
#define QK_EVAL_EXAM_H

#include "eval/answer.h"
#include "eval/cases.h"
#include "forward/kept.h"
#include "forward/network.h"

/* Owned, except the cases. */
struct qk_exam {
    const struct qk_cases *cases;
    struct qk_tokenizer *tokenizer;
    struct qk_chat *chat; /* NULL where no case has messages */
    struct qk_ends ends;
    struct qk_case_tokens *tokens; /* one a case */
    char (*digest)
        [QK_DIGEST_TEXT]; /* digest of all on which a case's answer depends, except the model's weights */
    bool *foreign;        /* per case: it has tokens outside the model's vocabulary, and cannot be asked */
    size_t n_foreign;
    char *why; /* what the first of them has (one line), or NULL */
};

/* Reads tokenizer and EOS of a checkpoint's folder, and its chat template where a case has messages, and encodes every
 * case. QK_INPUT as qk_tokenizer_open, qk_ends_read, qk_chat_open and qk_case_encode, and when the model has no forward
 * pass. A token outside its vocabulary is no failure (foreign). Freed with qk_exam_close, on failure too. */
enum qk_code qk_exam_open(
    const struct qk_model *model, const struct qk_cases *cases, struct qk_exam *out, struct qk_error *err);
void qk_exam_close(struct qk_exam *exam);

/* Tokens of a case: those of the prompt and the most after it. */
size_t qk_exam_cost(const struct qk_exam *exam, size_t i);

/* Tokens of the longest case. */
size_t qk_exam_longest(const struct qk_exam *exam);

/* Estimated bytes that a token keeps (keys and values of softmax layers) and that a sequence keeps (states of linear
 * layers). */
void qk_exam_kept_bytes(const struct qk_model *model, size_t *token, size_t *sequence);

/* Receives the answers of some cases while the others are in work. */
struct qk_exam_watch {
    void *context;
    void (*done)(void *context, size_t n, const size_t *cases, const signed char *answer);
};

/* answer[i] = 1 or 0 for the n cases list[i]. The network runs them in groups, each as long as its tokens fit. An
 * answer depends neither on the group nor on what is kept; prompts have the numbers of their cases there. progress
 * counts tokens as qk_exam_cost. kept, watch and progress may be NULL. */
enum qk_code qk_exam_take(const struct qk_exam *exam, struct qk_network *network, size_t n,
    const size_t *list, const struct qk_kept_run *kept, signed char *answer,
    const struct qk_exam_watch *watch, struct qk_progress *progress, struct qk_error *err);

#endif
