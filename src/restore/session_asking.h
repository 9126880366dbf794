/* session_asking.h - the evaluation of a session: one thread, what it is to do, and what it found. Shared by
 * session_evaluation.c (the front end's thread: asking and publishing) and session_asking.c (the thread). */
#ifndef QK_RESTORE_SESSION_ASKING_H
#define QK_RESTORE_SESSION_ASKING_H

#include "restore/evaluation.h"
#include "restore/session_evaluation.h"
#include "restore/session_parts.h"

enum asking_kind {
    ASKING_OPENED,
    ASKING_FAILED, /* error; QK_OK: there are no cases */
    ASKING_STARTED,
    ASKING_ANSWERS,
    ASKING_STOPPED, /* nobody is asked just now: error tells what went wrong, if anything did */
    ASKING_COMPLETE /* all that was known to be wanted is answered */
};
struct asking_news {
    enum asking_kind kind;
    enum qk_asked who;
    unsigned generation; /* of the selection */
    size_t n;            /* ASKING_ANSWERS: cases and their answers; owned */
    size_t *list;
    signed char *answer;
    struct qk_error error;
};

struct asking {
    struct qk_session *session;
    char **named; /* n_named paths; owned */
    size_t n_named;
    bool no_cache;
    pthread_t thread;

    /* Written by the thread before ASKING_OPENED, read by all behind it. */
    struct qk_cases cases;
    struct qk_evaluation *evaluation; /* the thread's alone */

    struct qk_progress progress; /* of the model that is asked */
    pthread_mutex_t mutex;       /* guards what follows */
    pthread_cond_t work;
    bool stop, on;
    bool busy; /* a model is asked, outside of a search */
    struct qk_selection selection;
    bool norms;
    unsigned generation; /* of selection and norms */

    /* --- the thread's --- */
    signed char *answer[QK_ASKED_COUNT]; /* n cases: -1 not known */
    int level[QK_ASKED_COUNT];           /* the next; QK_ASKING_LEVELS: done */
    unsigned answered;                   /* generation that `answer` of current belongs to */
    size_t *list;                        /* room for every case */
    signed char *got;                    /* likewise */
    size_t *place, *size;                /* of each case in its task, of each task */

    /* --- the front end's --- */
    struct qk_evaluation_state state;
    size_t *n_of_task;
    char *error, *model_error[QK_ASKED_COUNT];
};

enum { QK_ASKING_LEVELS = 3 };

void *qk_asking_main(void *asking); /* the thread's main */

#endif
