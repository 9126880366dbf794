/* evaluation.h - the answers of pre, post and the current model of a session to cases, in the background.
 *
 * A few cases of each task come first, spread over it, then more, then all. The model with the fewest answers is
 * asked next, so that after a choice the current model has figures soon. Answers of pre and post stay. A choice drops
 * those of current; answers given once come from the cache. Only the front end's thread calls these functions, as all
 * of session.h, and none of them waits. */
#ifndef QK_SESSION_EVALUATION_H
#define QK_SESSION_EVALUATION_H

#include "eval/score.h"
#include "session/session.h"

enum qk_asked { QK_ASKED_PRE, QK_ASKED_POST, QK_ASKED_CURRENT, QK_ASKED_COUNT };

enum qk_evaluation_stage {
    QK_EVALUATION_OFF,      /* not begun */
    QK_EVALUATION_OPENING,  /* cases and tokenizer are being read */
    QK_EVALUATION_NO_CASES, /* no file was named, and there is no folder of cases beside the pair */
    QK_EVALUATION_FAILED,   /* why: error */
    QK_EVALUATION_RUNNING,
    QK_EVALUATION_PAUSED,
    QK_EVALUATION_READY, /* every model that can be asked has answered all */
};

/* One model's answers so far. */
struct qk_evaluated {
    struct qk_score *score; /* n_tasks; only known answers are in the total of a task */
    size_t n_known;         /* cases, of n_cases */
    bool running;           /* it is being asked */
    uint64_t done, total;   /* tokens of the cases in work */
    bool is_post;           /* current: nothing is chosen, post's scores are its */
    const char *error;      /* NULL, or one line: why it is asked no more (current: until the next choice) */
};

/* In FAILED, NO_CASES and the states before them there are no tasks. */
struct qk_evaluation_state {
    enum qk_evaluation_stage stage;
    const char *error;
    size_t n_cases, n_tasks, n_files;
    const char *const *task; /* n_tasks names */
    const size_t *n_of_task; /* n_tasks: cases */
    const char *const *file; /* n_files paths */
    struct qk_evaluated model[QK_ASKED_COUNT];
};

/* Begins the evaluation, or continues it. The first call reads the n case files (copied; 0: every .jsonl of the
 * folder `cases` beside post's folder, else beside pre's). Later calls do not read them again. `no_cache` (of the
 * first call): neither store answers nor use stored ones. It fails only without memory or a thread; the state reports
 * all other faults. */
enum qk_code qk_session_evaluate(
    struct qk_session *session, const char *const *file, size_t n, bool no_cache, struct qk_error *err);
/* Asks nothing more until qk_session_evaluate; a search goes on. */
void qk_session_evaluate_pause(struct qk_session *session);
const struct qk_evaluation_state *qk_session_evaluation(const struct qk_session *session);

/* The known figures of an objective for pre, post or current (those of post where nothing is chosen). */
struct qk_score qk_session_objective(const struct qk_session *session, enum qk_asked who, size_t objective);

#endif
