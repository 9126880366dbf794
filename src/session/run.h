/* run.h - a piece of background work that follows choices, with two threads and their events. A probe of ranges and a
 * measurement of needles are runs.
 *
 * The first thread runs pre and post. Afterwards it runs the current model exactly whenever the choices have rested.
 * The second follows each choice on post's kept states and computes rows of attention. A replaced run ends by itself,
 * and the next poll joins it.
 *
 * The events that report the end of the passes and of each thread are there before the threads start. A thread that
 * has no memory for another event ends, and its last event says why. */
#ifndef QK_SESSION_RUN_H
#define QK_SESSION_RUN_H

#include "session/ranges.h"
#include "session/row_requests.h"
#include "session/session_internal.h"

enum run_thread { RUN_PASSES, RUN_FOLLOWS, RUN_THREADS };

/* What an event reports. A kind of run has more from RUN_NEWS on. */
enum run_news {
    RUN_DONE, /* error: how the passes ended */
    RUN_SAME,
    RUN_EXACT_STARTED,
    RUN_EXACT,
    RUN_ROWS,
    RUN_ENDED, /* a thread ended; error: why */
    RUN_NEWS
};

struct run_kind;
struct run_event {
    struct event event;
    const struct run_kind *kind;
    uint64_t serial; /* of the run, which may be gone */
    int news;
    int layer;                 /* RUN_ENDED: the thread */
    unsigned generation;       /* of the choices */
    struct answered_rows rows; /* RUN_ROWS */
    struct qk_error error;
};

/* What the choices of a layer came to on kept states, for the front end; the numbers are the kind's. */
struct run_same {
    bool known;
    unsigned generation; /* of the numbers or of the error */
    struct qk_error error;
};

struct run {
    struct run *next; /* that it replaced */
    const struct run_kind *kind;
    uint64_t serial;
    struct qk_session *session;
    int n_layers;
    pthread_t thread[RUN_THREADS];
    int n_threads, n_ended;                     /* the front end's */
    int borrowed;                               /* the front end's: others that use it, which it outlives */
    struct run_event *done, *last[RUN_THREADS]; /* owned until they are posted */

    struct qk_progress progress;
    struct follow follow; /* its lock guards the requests, and what a kind says */
    struct row_requests requests;

    /* --- the front end's --- */
    struct qk_error error, exact_error, ended[RUN_THREADS];
    struct qk_exact_state *exact; /* in the kind's state; borrowed */
    unsigned exact_generation;
    struct run_same *same; /* n_layers; owned */
};

/* One kind of run. Its struct begins with a struct run, and that of its events with a struct run_event. */
struct run_kind {
    size_t event_bytes;
    struct run **(*list)(struct qk_session *session); /* the newest, then those that it replaced */

    /* Free what the kind adds. The threads have ended. */
    void (*free)(struct run *run);
    void (*free_event)(struct run_event *event);

    /* The first thread's main. It posts both ends (qk_run_post_done, qk_run_post_end). */
    void *(*passes)(void *run);
    /* Computes the whole model with the job's choices into a RUN_EXACT. It sets event->error when it fails. */
    void (*exact)(struct run *run, const struct follow_job *job, struct run_event *event);

    /* With the lock held: true when `same` can compute the layer, and `rows` its rows. */
    bool (*has_layer)(const struct run *run, int layer);
    bool (*has_rows)(const struct run *run, int layer);
    /* Computes the job's layer with its choices into a RUN_SAME. It sets event->error when it fails. */
    void (*same)(struct run *run, const struct follow_job *job, struct run_event *event);
    int (*row_heads)(const struct run *run, int layer);
    /* *out (row_heads, query + 1) = the attention of a side's layer from a token; the caller frees. With a job, post
     * has its choices. */
    enum qk_code (*rows)(struct run *run, int layer, enum qk_side side, const struct follow_job *job,
        size_t query, float **out, struct qk_error *err);

    /* Publishes an event to the newest run; by news, NULL: nothing to do. What every kind does is done before. A
     * cancelled RUN_EXACT does not come. */
    void (*const *publish)(struct run *run, struct run_event *event);
};

/* --- the front end's thread --- */

/* Sets up a zeroed run that is not started. Then it can be freed with qk_run_free, also after a failure. */
enum qk_code qk_run_init(struct run *run, const struct run_kind *kind, struct qk_session *session,
    struct qk_exact_state *exact, struct qk_error *err);
/* Starts the threads, and makes the run the newest: the one before ends as soon as it can. After a failure the caller
 * frees the run. */
enum qk_code qk_run_start(struct run *run, struct qk_error *err);
void qk_run_free(struct run *run); /* joins its threads; events that were posted stay in the inbox */
/* Cancels the passes and an exact run. */
void qk_run_cancel(struct run *run);
/* Ends and frees all runs of a list. */
void qk_runs_close(struct run **list);
/* Updates the exact run's progress. */
void qk_run_watch_exact(struct run *run);

/* True when the numbers of the layer's present choices on kept states are there. */
bool qk_run_same_known(const struct run *run, int layer);
/* Where the current numbers of a layer come from: POST without choices; EXACT when `has_exact`, that is when the last
 * exact run has the layer, and it ran with the present choices; else SAME for a layer that keeps post's, and when the
 * numbers of its present choices are there; else PENDING, or FAILED with *why. */
enum qk_current_range qk_run_current(const struct run *run, int layer, bool has_exact, const char **why);
/* Why the last request for rows failed, or NULL; run may be NULL. */
const char *qk_run_rows_error(const struct run *run);

/* --- the threads --- */

/* Makes an event of the run; the holder owns it. */
enum qk_code qk_run_event_new(const struct run *run, int news, void *out, struct qk_error *err);
enum qk_code qk_run_post_news(struct run *run, int news, int layer, struct qk_error *err);
void qk_run_post_done(struct run *run, const struct qk_error *error);
void qk_run_post_end(struct run *run, enum run_thread thread, const struct qk_error *error);
/* Runs the whole model whenever the choices have rested, until the stop (qk_follow_exactly). */
enum qk_code qk_run_follow_exactly(struct run *run, struct qk_error *err);

#endif
