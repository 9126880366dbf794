/* session_internal.h - the shared part of the session's files; callers use session.h.
 *
 * A session is an inbox and parts, one for each kind of work. A part owns its state, which no other part touches.
 * Within a part there are two sets of state:
 *   what its mutex guards, which its threads share: work to do, work that runs;
 *   the rest, which only the front end's thread touches: published results, history, records of work that runs.
 * A thread of a part never writes published state: it puts an event into the inbox. The front end never waits for
 * a thread except in close. */
#ifndef QK_SESSION_SESSION_INTERNAL_H
#define QK_SESSION_SESSION_INTERNAL_H

#include "blend/selection.h"
#include "session/session.h"

#include <pthread.h>
#include <time.h>

/* What a thread reports to the front end: the first member of a part's own struct, allocated by the part. The inbox
 * owns it until qk_session_poll publishes it; then it is freed. */
struct event {
    struct event *next;
    void (*publish)(struct qk_session *session, struct event *event); /* in the front end's thread */
    void (*free)(struct event *event);                                /* in any thread */
};

struct inbox {
    pthread_mutex_t mutex;
    struct event *first, **last;
    int fd; /* an eventfd: readable while there are events */
};

/* One kind of work. The front end's thread calls all of it; only `close` is never NULL. */
struct session_part {
    enum qk_code (*open)(struct qk_session *session, struct qk_error *err);
    /* Called after choices or norms changed: requests the numbers of the present choices. */
    void (*follow)(struct qk_session *session);
    /* Called at each poll, after the events: updates the record of work that runs; false without any. */
    bool (*watch)(struct qk_session *session);
    /* Ends the part's threads and frees its state; also after a failure of open, or without one. */
    void (*close)(struct qk_session *session);
};
extern const struct session_part qk_choices_part, qk_layers_part, qk_ranges_part, qk_needles_part,
    qk_evaluation_part, qk_task_part, qk_trials_part;

struct qk_session {
    struct qk_pair *pair;
    int threads; /* as given to qk_session_open; 0: as many as processors */
    struct inbox inbox;
    uint64_t last_serial;
    /* Each belongs to its part alone. */
    struct choices *choices;
    struct layers *layers;
    struct run *ranges, *needles;      /* the newest, then those that it replaced; NULL: not begun (run.h) */
    struct evaluation_run *evaluation; /* NULL: not begun */
    struct task_run *task;             /* the running or the last task; NULL: none yet */
    struct trials *trials;             /* NULL: nothing was tried yet */
};

/* --- session.c --- */
/* Puts an event into the inbox. Any thread; takes the inbox's lock, and no other. */
void qk_session_post(struct qk_session *session, struct event *event);
/* The serial number of a new run or job, from 1 on, unique in the session. An event carries that of its run, and is
 * dropped when there is another run now. */
uint64_t qk_session_serial(struct qk_session *session);
/* Calls `follow` of every part. */
void qk_session_follow(struct qk_session *session);

/* --- choices.c --- */
/* The selection was saved with these norms: takes it over. */
void qk_choices_saved(struct qk_session *session, struct qk_selection *selection, bool norms);

/* --- layers.c --- */
/* The drift of all n_layers layers, as far as it is known. */
const struct qk_layer_drift *qk_layers_drift(const struct qk_session *session);
/* The layer that the front end wants first (qk_session_want), or -1. Any thread; takes the lock of the layers. */
int qk_layers_selected(struct qk_session *session);

#endif
