/* evaluation.h - cases put to pre, post and the current model of a session, in the background.
 *
 * Of each task a few cases come first, spread over it, then more, then all: whoever knows least is asked
 * next, so that after a choice the current model has figures soon. What is known of pre and post stays; a
 * choice drops what was known of current, and answers that were given once come from the cache. As everything
 * of session.h these are the front end's thread's, and none of them waits. */
#ifndef QK_SESSION_EVALUATION_H
#define QK_SESSION_EVALUATION_H

#include "eval/score.h"
#include "session/session.h"

enum qk_asked { QK_ASKED_PRE, QK_ASKED_POST, QK_ASKED_CURRENT, QK_ASKED_COUNT };

enum qk_evaluation_stage {
    QK_EVALUATION_OFF,      /* not begun */
    QK_EVALUATION_OPENING,  /* cases and tokenizer are being read */
    QK_EVALUATION_NO_CASES, /* none were named, and there is no folder of them beside the pair */
    QK_EVALUATION_FAILED,   /* why: error */
    QK_EVALUATION_RUNNING,
    QK_EVALUATION_PAUSED,
    QK_EVALUATION_READY, /* all was asked of all that can be */
};

/* One model's answers so far. */
struct qk_evaluated {
    struct qk_score *score; /* n_tasks; what is not known of a task is not in its total */
    size_t n_known;         /* cases, of n_cases */
    bool running;           /* it is being asked; */
    uint64_t done, total;   /* tokens of the cases that it is being asked */
    bool is_post;           /* current: nothing is chosen, post's scores are its */
    const char *error;      /* one line, or NULL: why it is asked no more (current: until the next choice) */
};

/* From FAILED and NO_CASES back there are no tasks. */
struct qk_evaluation_state {
    enum qk_evaluation_stage stage;
    const char *error;
    size_t n_cases, n_tasks, n_files;
    const char *const *task; /* n_tasks names */
    const size_t *n_of_task; /* n_tasks: cases */
    const char *const *file; /* n_files paths */
    struct qk_evaluated model[QK_ASKED_COUNT];
};

/* Begins, or goes on: reads the case files (n of them, copied; 0: every .jsonl of the folder `cases` beside
 * post's folder, else beside pre's) where this is the first call, and asks. Later calls do not look at the
 * files. `no_cache` (of the first call): keep no answers, take none that are kept. Fails only when there is
 * no memory or thread; all else is told by the state. */
enum qk_code qk_session_evaluate(
    struct qk_session *session, const char *const *file, size_t n, bool no_cache, struct qk_error *err);
/* Asks nothing more until qk_session_evaluate; a search goes on. */
void qk_session_evaluate_pause(struct qk_session *session);
const struct qk_evaluation_state *qk_session_evaluation(const struct qk_session *session);

/* What is known of an objective of pre, post or current (which is post's where nothing is chosen). */
struct qk_score qk_session_objective(const struct qk_session *session, enum qk_asked who, size_t objective);

#endif
