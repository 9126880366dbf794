/* exam.h - cases put to a model: what it was asked, in its own tokens, and whether it answered right. */
#ifndef QK_EVAL_EXAM_H
#define QK_EVAL_EXAM_H

#include "eval/answer.h"
#include "eval/cases.h"
#include "forward/network.h"

/* Owned, but for the cases. */
struct qk_exam {
    const struct qk_cases *cases;
    struct qk_tokenizer *tokenizer;
    struct qk_ends ends;
    struct qk_case_tokens *tokens;  /* one a case */
    char (*digest)[QK_DIGEST_TEXT]; /* of all that a case's answer depends on beside the model's weights */
};

/* Reads tokenizer and EOS of a checkpoint's folder and encodes every case. QK_INPUT as qk_tokenizer_open,
 * qk_ends_read and qk_case_encode say, and when the model has no forward pass, or a token is outside its
 * vocabulary. Freed with qk_exam_close, on failure too. */
enum qk_code qk_exam_open(
    const struct qk_model *model, const struct qk_cases *cases, struct qk_exam *out, struct qk_error *err);
void qk_exam_close(struct qk_exam *exam);

/* Tokens that a case comes to: of the prompt and, at most, after it. */
size_t qk_exam_cost(const struct qk_exam *exam, size_t i);

/* Of the longest case. */
size_t qk_exam_longest(const struct qk_exam *exam);

/* Told when the answers of some cases are there, while the others are worked on. */
struct qk_exam_watch {
    void *context;
    void (*done)(void *context, size_t n, const size_t *cases, const signed char *answer);
};

/* answer[i] = 1 or 0 for the case list[i], n of them. They are put to the network in groups, each as long as
 * its tokens fit: which cases make a group depends on the list alone, so that the same list always has the
 * same answers. progress counts tokens as qk_exam_cost. watch and progress may be NULL. */
enum qk_code qk_exam_take(const struct qk_exam *exam, struct qk_network *network, size_t n,
    const size_t *list, signed char *answer, const struct qk_exam_watch *watch, struct qk_progress *progress,
    struct qk_error *err);

#endif
