/* range_thread.h - one probe of a session, with its two threads and their results. Shared by ranges.c (the front
 * end's thread: requests and publishing) and range_thread.c (the threads).
 *
 * The first thread opens the probe and runs it. Afterwards it runs the current model exactly whenever the choices
 * have rested. The second follows each choice on post's states and computes rows of attention. A replaced run ends by
 * itself, and the next poll joins it.
 *
 * The events that report the end of the passes and of each thread are there before the threads start. A thread that
 * has no memory for another event ends, and its last event says why. */
#ifndef QK_SESSION_RANGE_THREAD_H
#define QK_SESSION_RANGE_THREAD_H

#include "blend/patch.h"
#include "session/ranges.h"
#include "session/row_requests.h"
#include "session/session_internal.h"

enum range_thread { RANGE_PASSES, RANGE_FOLLOWS, RANGE_THREADS };

enum range_news {
    RANGE_OPENED,
    RANGE_SIDE,
    RANGE_LAYER,
    RANGE_DONE, /* error: how the passes ended */
    RANGE_SAME,
    RANGE_EXACT_STARTED,
    RANGE_EXACT,
    RANGE_ROWS,
    RANGE_PROFILE,
    RANGE_ENDED, /* a thread ended; error: why */
    RANGE_NEWS_COUNT
};
struct range_event {
    struct event event;
    uint64_t serial; /* of the run, which may be gone */
    enum range_news news;
    int layer; /* RANGE_SIDE: the side; RANGE_ENDED: the thread */
    unsigned generation;
    struct qk_layer_range range;  /* RANGE_SAME */
    struct qk_layer_range *exact; /* RANGE_EXACT: n_exact, or NULL on failure; owned */
    int n_exact;
    struct answered_rows rows;                /* RANGE_ROWS */
    struct qk_profile profile[QK_SIDE_COUNT]; /* RANGE_PROFILE */
    bool estimated;                           /* RANGE_DONE: profiles follow */
    struct qk_error error;
};

struct range_piece {
    char *text; /* owned */
    size_t n;
};

/* The front end's view of one layer. */
struct range_layer {
    bool ready;
    bool has_same;
    unsigned same_generation; /* of same or of the error */
    struct qk_layer_range same;
    struct qk_profile profile[QK_SIDE_COUNT]; /* n_heads 0: no numbers */
    struct qk_error error;                    /* of the current numbers, or of the profile */
};

struct range_run {
    struct range_run *next; /* that it replaced */
    uint64_t serial;
    struct qk_session *session;
    struct qk_probe_options options; /* its paths are `path` */
    char *path[4];                   /* owned */
    int n_layers;
    pthread_t thread[RANGE_THREADS];
    int n_threads, n_ended;                         /* the front end's */
    struct range_event *done, *last[RANGE_THREADS]; /* owned until they are posted */

    /* The first thread writes these before NEWS_OPENED; all read them after it. */
    struct qk_probe *probe;
    struct range_piece *piece; /* T, or NULL */
    bool *profiled;            /* n_layers; the first thread's */

    struct qk_progress progress;
    struct follow follow; /* its lock guards the fields below */
    bool *ready;          /* n_layers */
    struct row_requests requests;

    /* --- the front end's --- */
    struct qk_probe_state state;
    struct timespec start;
    struct qk_error error, exact_error, ended[RANGE_THREADS];
    struct range_layer *layer;    /* n_layers */
    struct qk_layer_range *exact; /* n_layers, or NULL */
    unsigned exact_generation;
};

/* Makes an event of the run; the holder owns it. */
enum qk_code qk_range_event_new(
    const struct range_run *run, enum range_news news, struct range_event **out, struct qk_error *err);
/* Starts the threads. */
enum qk_code qk_range_run_start(struct range_run *run, struct qk_error *err);
/* Asks them to end as soon as they can. */
void qk_range_run_stop(struct range_run *run);
/* Joins the threads and frees everything. Events that were posted stay in the inbox. */
void qk_range_run_free(struct range_run *run);
/* Publishes the events of a run (ranges.c). */
void qk_ranges_publish(struct qk_session *session, struct event *event);

#endif
