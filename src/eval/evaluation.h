/* evaluation.h - the answers of pre, post, and post with selections to cases, kept between runs. */
#ifndef QK_EVAL_EVALUATION_H
#define QK_EVAL_EVALUATION_H

#include "eval/engine/engine.h"
#include "eval/score.h"

struct qk_evaluation;

/* Opens an evaluation of a pair, or of one checkpoint alone (`pair` NULL, `alone` not), by the engine of the options.
 * All are borrowed and must outlive it, except the options. The built-in engine reads a model's weights when it is
 * first asked. QK_INPUT as qk_exam_open, and when post knows the tokens of no case; the codes of another engine's
 * start. Freed with qk_evaluation_close (NULL allowed). Not for two threads at once. */
enum qk_code qk_evaluation_open(const struct qk_pair *pair, const struct qk_model *alone,
    const struct qk_cases *cases, const struct qk_evaluation_options *options, struct qk_evaluation **out,
    struct qk_error *err);
void qk_evaluation_close(struct qk_evaluation *evaluation);

/* answer[i] = 1 right, 0 wrong, for the n cases list[i]. The watch gets known answers first, and the others as they
 * come; these are stored. *cost (NULL allowed) is the sum of qk_evaluation_cost over the unknown cases. progress counts
 * the same over all n, and the caller sets its total. QK_INPUT when a choice cannot be computed. Answers reported
 * before an error are valid. */
enum qk_code qk_evaluation_answer(struct qk_evaluation *evaluation, struct qk_subject subject, size_t n,
    const size_t *list, signed char *answer, const struct qk_exam_watch *watch, struct qk_progress *progress,
    double *cost, struct qk_error *err);

/* True when the engine has tasks of its own. Then the cases are empty until qk_evaluation_learn has run them on a
 * subject, whose answers are known from then on. Each case is one question of a task; a number of right answers makes
 * the first so many of them right. All cases of a subject cost one run together. */
bool qk_evaluation_whole(const struct qk_evaluation *evaluation);
/* Fills `cases`, those that the evaluation was opened with. */
enum qk_code qk_evaluation_learn(struct qk_evaluation *evaluation, struct qk_subject subject,
    struct qk_cases *cases, struct qk_progress *progress, struct qk_error *err);

/* *n = the cases with tokens that a side does not know, which count as wrong; what the first has (one line, borrowed),
 * or NULL. The side must have been asked. */
const char *qk_evaluation_foreign(const struct qk_evaluation *evaluation, enum qk_side side, size_t *n);
/* How many cases the tokenizers of pre and post turn into other tokens; *first is the first of them. 0 unless both
 * sides have been asked. */
size_t qk_evaluation_unlike(const struct qk_evaluation *evaluation, size_t *first);

/* The cost of case i, in tokens; for engines without the tokens of a case, in bytes. */
size_t qk_evaluation_cost(const struct qk_evaluation *evaluation, size_t i);

/* Adds the answers of n cases (below 0: no answer) to the scores (n_tasks) of their tasks. */
void qk_evaluation_score(const struct qk_cases *cases, size_t n, const size_t *list,
    const signed char *answer, struct qk_score *score);

#endif
