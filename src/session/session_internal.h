/* session_internal.h - what the files of the session share; session.h is for everybody else.
 *
 * Two sets of state:
 *   `shared`, guarded by its mutex: what is to be computed, what is running, the inbox of finished work;
 *   the rest, touched by the front end's thread alone: published results, history, the task's record.
 * A worker never writes published state, the front end never waits for a worker except in close. */
#ifndef QK_SESSION_SESSION_INTERNAL_H
#define QK_SESSION_SESSION_INTERNAL_H

#include "session/layers.h"
#include "session/session.h"
#include "session/task.h"

#include <pthread.h>
#include <time.h>

enum message_kind {
    MESSAGE_STARTED,
    MESSAGE_DRIFT,
    MESSAGE_CURRENT,
    MESSAGE_TASK_ENDED,
    MESSAGE_RANGE,
    MESSAGE_ASKING
};

/* What a worker has to tell. Owned by whoever holds it. */
struct message {
    struct message *next;
    enum message_kind kind;
    int layer;
    unsigned generation;         /* of drift or of current: stale messages are dropped */
    struct qk_layer_drift drift; /* MESSAGE_DRIFT */
    struct qk_current *current;  /* MESSAGE_CURRENT; NULL on failure */
    struct range_news *news;     /* MESSAGE_RANGE (range_thread.h) */
    struct asking_news *asking;  /* MESSAGE_ASKING (evaluation_thread.h) */
    struct qk_error error;
};

/* Work on one layer whose key groups the workers share: a stage of its drift, or the drift of the current model
 * from pre and from post. It ends with the last worker that is in it, once no group is left to be taken. */
struct layer_job {
    enum message_kind kind; /* MESSAGE_DRIFT or MESSAGE_CURRENT */
    const struct qk_session *session;
    int layer;
    unsigned generation;
    enum qk_drift_stage stage;
    bool effective, norms;
    struct qk_choice choice[QK_ROLE_COUNT];
    struct job_sides {
        const struct layer_job *job;
        enum qk_side side;
    } sides[QK_SIDE_COUNT]; /* of the current model: what each run opens */
    struct qk_drift_run *run[QK_SIDE_COUNT];
    int n_runs, n_groups; /* groups of each run */
    int next;             /* those before it are taken: of the first run, then of the second */
    int running;          /* workers */
    struct qk_progress progress;
    struct qk_error error; /* the first */
};

/* What one layer still needs; in `shared`. */
struct layer_jobs {
    bool drift_due, current_due; /* the former of drift_stage, and of what comes after it */
    enum qk_drift_stage drift_stage;
    struct layer_job *drift, *current; /* under way; NULL: not begun */
    unsigned current_generation;       /* raised by each change of the layer's choices */
    struct qk_choice choice[QK_ROLE_COUNT];
};

struct shared {
    pthread_mutex_t mutex;
    pthread_cond_t work;
    bool stop;
    bool effective, norms;
    unsigned generation; /* raised by recompute */
    struct layer_jobs *layer;
    int selected;
    int *visible;
    int n_visible;
    struct message *first, **last;
    bool signalled; /* a byte is in the pipe */
};

/* What the front end sees of one layer. */
struct published {
    enum qk_drift_state state;
    char *error, *current_error;
    struct qk_current *current;
};

struct qk_session {
    struct qk_pair *pair;
    struct shared shared;
    pthread_t *worker;
    int n_workers;
    int pipe_read, pipe_write;

    unsigned generation;
    bool effective;
    struct qk_layer_drift *drift; /* n_layers; valid where published.state is READY */
    struct published *published;
    struct qk_history *history;
    struct qk_selection saved;
    bool norms;

    struct qk_task task;
    pthread_t task_thread;
    struct timespec task_start;
    struct qk_progress task_progress;
    struct qk_export_options task_options;
    struct qk_selection task_selection; /* becomes `saved` when the export succeeded */
    struct message *task_message; /* allocated before the thread starts, so that its end can always be told */
    char *task_comment;

    struct range_run *run;      /* the probe; NULL: none yet */
    struct range_run *old_runs; /* replaced, not yet at an end */

    struct asking *asking; /* the evaluation; NULL: not begun */
};

/* session.c */
void qk_session_free_message(struct message *message);

/* Puts a copy of `with` (NULL: nothing) in the place of *text, which it frees; nothing, too, where
 * there is no memory for it. */
void qk_session_replace_text(char **text, const char *with);

/* layers.c */
void qk_session_free_current(struct qk_current *current); /* NULL allowed */
void qk_session_publish_drift(struct qk_session *session, struct message *message);
void qk_session_publish_current(struct qk_session *session, struct message *message);
/* Drops the published numbers of the layer's current choices. */
void qk_session_forget_current(struct qk_session *session, int layer);

/* layer_jobs.c: the first two with the lock held */
void qk_session_ask_drift(struct qk_session *session); /* of all layers, anew */
void qk_session_drop_jobs(struct layer_jobs *jobs);    /* what is due or under way: workers leave it */
/* Puts the layer's present choices on the workers' list, or takes it off when it is kept. */
void qk_session_ask_current(struct qk_session *session, int layer);
/* Puts a message into the inbox and makes the event descriptor readable. Any thread; takes the lock. */
void qk_session_post(struct qk_session *session, struct message *message);
void *qk_session_worker(void *session); /* a worker thread's main */

/* task.c */
void qk_session_end_task(struct qk_session *session, const struct message *message);
void qk_session_free_task(struct qk_session *session);
/* Brings the record of a running task up to date; false when none runs. */
bool qk_session_watch_task(struct qk_session *session);

/* ranges.c */
void qk_session_take_news(struct qk_session *session, struct range_news *news);
void qk_session_free_news(struct range_news *news); /* NULL allowed */
/* After choices or norms changed: asks for the ranges of the current model. */
void qk_session_follow_choices(struct qk_session *session);
/* Brings the record of a running probe up to date; false when none runs. */
bool qk_session_watch_ranges(struct qk_session *session);
void qk_session_close_ranges(struct qk_session *session);

/* evaluation.c and evaluation_thread.c */
void qk_session_take_asking_news(struct qk_session *session, struct asking_news *news);
void qk_session_free_asking_news(struct asking_news *news); /* NULL allowed */
/* After choices or norms changed: asks the current model anew. */
void qk_session_ask_anew(struct qk_session *session);
/* Brings the record of what is being asked up to date; false when nobody is. */
bool qk_session_watch_asking(struct qk_session *session);
void qk_session_close_asking(struct qk_session *session);

#endif
