/* range_thread.h - one probe of a session: two threads and what they found. Shared by ranges.c (the
 * front end's thread: asking and publishing) and range_thread.c (the threads).
 *
 * The first thread opens the probe, runs it, and afterwards runs the current model exactly whenever the
 * choices have rested; the second follows each choice on post's states and computes rows of attention. A run
 * that was replaced ends by itself; whoever polls joins it then. */
#ifndef QK_SESSION_RANGE_THREAD_H
#define QK_SESSION_RANGE_THREAD_H

#include "blend/patch.h"
#include "session/ranges.h"
#include "session/session_internal.h"

enum { QK_RANGE_SIDES = QK_RANGE_CURRENT + 1 };

/* The attention of all heads of a layer from one query; in news and published. */
struct range_rows {
    int layer;
    size_t query;
    unsigned generation; /* of the layer's choices; for `current` */
    int n_heads;
    float *row[QK_RANGE_SIDES]; /* (n_heads, query + 1), owned */
};

enum news_kind {
    NEWS_OPENED,
    NEWS_SIDE,
    NEWS_LAYER,
    NEWS_DONE, /* error: how it ended */
    NEWS_SAME,
    NEWS_EXACT_STARTED,
    NEWS_EXACT,
    NEWS_ROWS,
    NEWS_PROFILE,
    NEWS_ENDED, /* a thread: nothing follows from it */
};
struct range_news {
    struct range_run *run; /* may be gone: to be compared before it is looked at */
    enum news_kind kind;
    int layer; /* NEWS_SIDE: the side */
    unsigned generation;
    struct qk_layer_range range;  /* NEWS_SAME */
    struct qk_layer_range *exact; /* NEWS_EXACT: n_exact, or NULL on failure; owned */
    int n_exact;
    struct range_rows rows;                   /* NEWS_ROWS */
    struct qk_profile profile[QK_SIDE_COUNT]; /* NEWS_PROFILE */
    bool estimated;                           /* NEWS_DONE: profiles follow */
    struct qk_error error;
};

struct range_piece {
    char *text; /* owned */
    size_t n;
};

/* What the front end sees of one layer. */
struct range_layer {
    bool ready;
    bool has_same;
    unsigned same_generation; /* of same or of the error */
    struct qk_layer_range same;
    struct qk_profile profile[QK_SIDE_COUNT]; /* n_heads 0: not there */
    char *error;                              /* of the current numbers, or of the profile */
};

struct range_run {
    struct range_run *next; /* among those that were replaced */
    struct qk_session *session;
    struct qk_probe_options options; /* its paths are `path` */
    char *path[4];                   /* owned */
    int n_layers;
    pthread_t thread[2];
    int n_threads, n_ended; /* the front end's */

    /* Written by the first thread before NEWS_OPENED, read by all behind it. */
    struct qk_probe *probe;
    struct range_piece *piece; /* T, or NULL */

    struct qk_progress progress, same_progress, exact_progress;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t work;
    bool stop;
    struct qk_selection selection;
    bool norms;
    unsigned generation, exact_tried; /* of the selection */
    struct timespec changed;
    bool exact_busy;
    bool *ready;                /* n_layers */
    unsigned *asked, *answered; /* n_layers: generation of the layer's choices */
    int same_layer;             /* being computed, or -1 */
    bool rows_wanted;
    int rows_layer;
    size_t rows_query;

    /* --- the front end's --- */
    struct qk_probe_state state;
    struct timespec start;
    char *error, *exact_error;
    struct range_layer *layer;    /* n_layers */
    struct qk_layer_range *exact; /* n_layers, or NULL */
    unsigned exact_generation;
    struct range_rows rows, rows_asked;
};

/* Starts the threads. */
enum qk_code qk_range_run_start(struct range_run *run, struct qk_error *err);
/* Asks them to end as soon as they can. */
void qk_range_run_stop(struct range_run *run);
/* Joins the threads and frees everything. */
void qk_range_run_free(struct range_run *run);
void qk_range_rows_free(struct range_rows *rows);
/* True when the layer has a choice. The caller holds the lock, or is the thread that writes the selection. */
bool qk_range_run_chosen(const struct range_run *run, int layer);

#endif
