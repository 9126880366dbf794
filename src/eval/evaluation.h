/* evaluation.h - pre, post, and post with selections put to cases, with answers kept between runs. */
#ifndef QK_EVAL_EVALUATION_H
#define QK_EVAL_EVALUATION_H

#include "blend/selection.h"
#include "eval/exam.h"
#include "eval/score.h"
#include "model/pair.h"

struct qk_evaluation;

/* Zero-initialised: the defaults. */
struct qk_evaluation_options {
    bool no_cache; /* keep no answers, take none that are kept */
    size_t memory; /* bytes of weights to hold (forward/network.h); 0: half of the machine's memory */
};

/* Of a pair, or of one checkpoint alone (`pair` NULL, `alone` not). All are borrowed and must outlive it; the
 * models' weights are read when they are first asked. QK_INPUT as qk_exam_open. Freed with
 * qk_evaluation_close (NULL allowed). Not for two threads at once. */
enum qk_code qk_evaluation_open(const struct qk_pair *pair, const struct qk_model *alone,
    const struct qk_cases *cases, const struct qk_evaluation_options *options, struct qk_evaluation **out,
    struct qk_error *err);
void qk_evaluation_close(struct qk_evaluation *evaluation);

/* Who is asked: a side of the pair, or (selection not NULL; then side is QK_POST) post with a selection, with
 * `norms` the gains of q/k norms among it. One checkpoint alone is QK_POST. */
struct qk_subject {
    enum qk_side side;
    const struct qk_selection *selection;
    bool norms;
};

/* answer[i] = 1 right, 0 wrong, for the case list[i], n of them. Those that are known are told first (watch),
 * the others as they come, and kept. *cost (NULL allowed) is what qk_exam_cost says of the cases that were
 * not known. progress counts the same, of all n, and its total is the caller's. QK_INPUT when a choice cannot
 * be computed; what was told before an error is valid. */
enum qk_code qk_evaluation_answer(struct qk_evaluation *evaluation, struct qk_subject subject, size_t n,
    const size_t *list, signed char *answer, const struct qk_exam_watch *watch, struct qk_progress *progress,
    double *cost, struct qk_error *err);

/* What case i costs, in tokens. */
size_t qk_evaluation_cost(const struct qk_evaluation *evaluation, size_t i);

/* Adds the answers of n cases (those below 0 are none) to the scores (n_tasks) of their tasks. */
void qk_evaluation_score(const struct qk_cases *cases, size_t n, const size_t *list,
    const signed char *answer, struct qk_score *score);

#endif
