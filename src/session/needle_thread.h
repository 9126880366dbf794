/* needle_thread.h - one measurement of needles in a session, with its two threads and their results. Shared by
 * needles.c (the front end's thread: requests and publishing) and needle_thread.c (the threads).
 *
 * The first thread makes the prompts and runs pre and post. Afterwards it runs the current model exactly whenever the
 * choices have rested. The second follows each choice on post's kept inputs and computes rows of attention. Events are
 * as in range_thread.h: those that report ends are there before the threads start. */
#ifndef QK_SESSION_NEEDLE_THREAD_H
#define QK_SESSION_NEEDLE_THREAD_H

#include "session/needles.h"
#include "session/row_requests.h"

enum needle_thread { NEEDLE_PASSES, NEEDLE_FOLLOWS, NEEDLE_THREADS };

enum needle_news {
    NEEDLE_DONE, /* error: how the passes ended */
    NEEDLE_SAME,
    NEEDLE_EXACT_STARTED,
    NEEDLE_EXACT,
    NEEDLE_ROWS,
    NEEDLE_ENDED, /* a thread ended; error: why */
    NEEDLE_NEWS_COUNT
};
struct needle_event {
    struct event event;
    uint64_t serial; /* of the run, which may be gone */
    enum needle_news news;
    int layer; /* NEEDLE_ENDED: the thread */
    unsigned generation;
    struct qk_needle_layer same;   /* NEEDLE_SAME */
    struct qk_needle_layer *exact; /* NEEDLE_EXACT: n_exact, or NULL on failure; owned */
    int n_exact;
    struct answered_rows rows; /* NEEDLE_ROWS */
    struct qk_error error;
};

struct needle_piece {
    char *text; /* owned */
    size_t n;
};

/* The front end's view of one layer: what its choices came to on kept inputs. */
struct needle_same {
    bool known;
    unsigned generation; /* of the masses or of the error */
    struct qk_needle_layer masses;
    struct qk_error error;
};

struct needle_run {
    struct needle_run *next; /* that it replaced */
    uint64_t serial;
    struct qk_session *session;
    int n_layers;
    pthread_t thread[NEEDLE_THREADS];
    int n_threads, n_ended;                           /* the front end's */
    struct needle_event *done, *last[NEEDLE_THREADS]; /* owned until they are posted */

    /* The first thread writes these before `ready`; all read them after it. */
    struct qk_needle_prompts prompts;
    struct qk_needle_pair measured;
    struct qk_needle_states states;
    struct qk_head_numbers *numbers; /* n_layers */
    struct needle_piece *piece;      /* of the shown needle, or NULL */

    struct qk_progress progress;
    struct follow follow; /* its lock guards the fields below */
    bool ready;
    struct row_requests requests;

    /* --- the front end's --- */
    struct qk_needles_state state;
    struct qk_error error, exact_error, ended[NEEDLE_THREADS];
    struct needle_same *same;      /* n_layers */
    struct qk_needle_layer *exact; /* n_layers, or NULL */
    unsigned exact_generation;
};

/* Makes an event of the run; the holder owns it. */
enum qk_code qk_needle_event_new(
    const struct needle_run *run, enum needle_news news, struct needle_event **out, struct qk_error *err);
/* Starts the threads. */
enum qk_code qk_needle_run_start(struct needle_run *run, struct qk_error *err);
/* Asks them to end as soon as they can. */
void qk_needle_run_stop(struct needle_run *run);
/* Joins the threads and frees everything. Events that were posted stay in the inbox. */
void qk_needle_run_free(struct needle_run *run);

/* Number of the shown needle among those that are kept, or -1. */
int qk_needle_run_shown(const struct needle_run *run);
/* True when the layer's choices are a plain restore, whose masses are measured already. The caller holds the lock, or
 * is the front end's thread. */
bool qk_needle_run_restored(const struct needle_run *run, int layer);

/* Publishes the events of a run (needles.c). */
void qk_needles_publish(struct qk_session *session, struct event *event);

#endif
