/* evaluation_thread.h - the evaluation of a session: one thread, what it is to do, and what it found. Shared by
 * evaluation.c (the front end's thread: asking and publishing), evaluation_thread.c (the thread) and search.c (both).
 *
 * The event that reports the end of the thread is there before it starts, and that of a search before the search. A
 * thread that has no memory for another event ends, and its last event says why. */
#ifndef QK_SESSION_EVALUATION_THREAD_H
#define QK_SESSION_EVALUATION_THREAD_H

#include "eval/evaluation.h"
#include "eval/objectives.h"
#include "session/evaluation.h"
#include "session/search.h"
#include "session/session_internal.h"

enum evaluation_news {
    EVALUATION_OPENED,
    EVALUATION_STARTED,
    EVALUATION_ANSWERS,
    EVALUATION_STOPPED,  /* no model is asked now; error: what went wrong, or NULL */
    EVALUATION_COMPLETE, /* all requested cases are answered, as far as possible */
    EVALUATION_TRIAL,
    EVALUATION_SEARCHED, /* a search ended; error: how */
    EVALUATION_ENDED,    /* the thread ended; error: why. Before OPENED: nothing can be asked */
    EVALUATION_NEWS_COUNT
};
struct evaluation_event {
    struct event event;
    enum evaluation_news news;
    enum qk_asked who;
    unsigned generation; /* of the selection */
    size_t n;            /* EVALUATION_ANSWERS: cases and their answers; owned */
    size_t *list;
    signed char *answer;
    uint64_t search;   /* EVALUATION_TRIAL and SEARCHED: its serial number */
    const char *stage; /* EVALUATION_TRIAL: static */
    size_t n_trials, n_measured;
    struct qk_estimate *effect; /* as in qk_search_state, or NULL; owned */
    struct qk_search_point *point;
    size_t n_points, n_at_once[QK_SEARCH_PARTS];
    bool complete;
    struct qk_error error;
};

/* The search that the front end requests from the thread. */
struct search_order {
    uint64_t serial; /* 0: nothing */
    struct qk_search_limits limits;
    bool norms;
    double *prior; /* n_layers; owned */
    struct qk_search_head head[QK_SEARCH_HEADS];
    size_t n_heads;
    struct evaluation_event *ended; /* reports its end; owned */
};

/* The front end's view of the last search. */
struct search_record {
    struct qk_search_state state;
    uint64_t serial;
    bool norms;
    struct qk_estimate *effect;    /* the state's; owned */
    struct qk_search_point *point; /* likewise */
    struct qk_error error;
    struct timespec start;
};

struct evaluation_run {
    struct qk_session *session;
    char **named; /* n_named paths; owned */
    size_t n_named;
    bool no_cache;
    pthread_t thread;
    struct evaluation_event *last; /* EVALUATION_ENDED, owned until it is posted */

    /* The thread writes these before EVALUATION_OPENED; all read them after it. */
    struct qk_cases cases;
    struct qk_evaluation *evaluation; /* the thread's alone */
    struct qk_objectives objectives;

    struct qk_progress progress, search_progress; /* of the model that is asked, of the search */
    pthread_mutex_t mutex;                        /* guards the fields below */
    pthread_cond_t work;
    bool stop, on;
    bool busy; /* a model is asked, outside of a search */
    struct search_order search;
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
    struct qk_error error, model_error[QK_ASKED_COUNT];
    struct qk_error ended; /* why the thread ended early */
    struct search_record found;
};

enum { QK_ASKING_LEVELS = 3 };

/* --- evaluation_thread.c --- */
void *qk_evaluation_main(void *run); /* the thread's main */
enum qk_code qk_evaluation_event_new(
    enum evaluation_news news, struct evaluation_event **out, struct qk_error *err);
void qk_evaluation_event_free(struct evaluation_event *event); /* NULL allowed */
/* A qk_exam_watch with such a context keeps answers and reports those that are new. */
struct answers_watch {
    struct evaluation_run *run;
    enum qk_asked who;
    unsigned generation;
    struct qk_error error; /* set when some answers could not be reported: they stay unknown */
};
void qk_evaluation_answers(void *context, size_t n, const size_t *list, const signed char *answer);
/* Asks the first cases of a current model without answers. */
enum qk_code qk_evaluation_serve_quick(struct evaluation_run *run, struct qk_error *err);

/* --- evaluation.c --- */
/* With the lock held: makes the thread leave the model that it asks, and look for work. */
void qk_evaluation_wake(struct evaluation_run *run);
void qk_evaluation_publish(struct qk_session *session, struct event *event);

/* --- search.c --- */
/* Runs the search in the thread, posts its end, and frees the request. */
void qk_search_serve(struct evaluation_run *run, struct search_order *order);
void qk_search_order_free(struct search_order *order);
void qk_search_record_free(struct search_record *found);
void qk_search_publish_trial(struct evaluation_run *run, struct evaluation_event *event);
void qk_search_publish_end(struct evaluation_run *run, struct evaluation_event *event);
/* Called after the thread ended early: a search that it did not begin fails for the same reason. */
void qk_search_give_up(struct evaluation_run *run);

#endif
