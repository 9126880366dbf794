/* evaluation_thread.h - the evaluation of a session: one thread, what it is to do, and what it found. Shared by
 * evaluation.c (the front end's thread: asking and publishing), and the thread: evaluation_thread.c and search.c. */
#ifndef QK_SESSION_EVALUATION_THREAD_H
#define QK_SESSION_EVALUATION_THREAD_H

#include "eval/evaluation.h"
#include "eval/objectives.h"
#include "session/evaluation.h"
#include "session/search.h"
#include "session/session_internal.h"

enum asking_kind {
    ASKING_OPENED,
    ASKING_FAILED, /* error; QK_OK: there are no cases */
    ASKING_STARTED,
    ASKING_ANSWERS,
    ASKING_STOPPED,  /* nobody is asked just now: error tells what went wrong, if anything did */
    ASKING_COMPLETE, /* all that was known to be wanted is answered */
    ASKING_TRIAL,
    ASKING_SEARCHED /* a search ended: error tells how */
};
struct asking_news {
    enum asking_kind kind;
    enum qk_asked who;
    unsigned generation; /* of the selection */
    size_t n;            /* ASKING_ANSWERS: cases and their answers; owned */
    size_t *list;
    signed char *answer;
    struct qk_error error;
    const char *stage; /* ASKING_TRIAL: static */
    size_t n_trials, n_measured;
    struct qk_estimate *effect; /* as in qk_search_state, or NULL; owned */
    struct qk_search_point *point;
    size_t n_points;
    bool complete;
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
    struct qk_objectives objectives;

    struct qk_progress progress, search_progress; /* of the model that is asked, of the search */
    pthread_mutex_t mutex;                        /* guards what follows */
    pthread_cond_t work;
    bool stop, on;
    bool busy; /* a model is asked for its own sake */
    bool search_wanted, search_norms;
    struct qk_search_limits search_limits;
    double *prior; /* n_layers; owned */
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
    struct qk_search_state found;
    struct qk_estimate *effect;    /* found's */
    struct qk_search_point *point; /* likewise */
    char *search_error;
    struct timespec search_start;
};

enum { QK_ASKING_LEVELS = 3 };

/* What a search is doing before it has any effect. */
#define QK_SEARCH_BEGINS "post and pre"

void *qk_asking_main(void *asking); /* the thread's main */

/* evaluation_thread.c, for the thread. */
struct asking_watch {
    struct asking *asking;
    enum qk_asked who;
    unsigned generation;
};
/* A qk_exam_watch with such a context: keeps answers and tells those that are new. */
void qk_asking_heard(void *context, size_t n, const size_t *list, const signed char *answer);
/* A message with news in it; NULL when memory ran out: then the front end does not learn of it. */
struct message *qk_asking_message(enum asking_kind kind, enum qk_asked who, unsigned generation);
/* Puts the first cases to a current model of which nothing is known. */
void qk_asking_serve_quick(struct asking *asking);

/* evaluation.c: with the lock held: what is asked is given up, what is known of it stays. */
void qk_asking_wake(struct asking *asking);

/* search.c: searches, and tells. */
void qk_asking_search(
    struct asking *asking, const double *prior, const struct qk_search_limits *limits, bool norms);

#endif
