/* range_thread.h - one probe of a session (run.h). Shared by ranges.c (the front end's thread: requests and publishing)
 * and range_thread.c (the threads). */
#ifndef QK_SESSION_RANGE_THREAD_H
#define QK_SESSION_RANGE_THREAD_H

#include "session/run.h"
#include "session/token_texts.h"

enum range_news { RANGE_OPENED = RUN_NEWS, RANGE_LAYER, RANGE_PROFILE, RANGE_NEWS };

struct range_event {
    struct run_event base;
    struct qk_layer_range range;  /* RUN_SAME */
    double shift;                 /* of it from pre */
    struct qk_layer_range *exact; /* RUN_EXACT: n_exact, or NULL on failure; owned */
    int n_exact;
    struct qk_profile profile[QK_SIDE_COUNT]; /* RANGE_PROFILE */
    bool estimated;                           /* RUN_DONE: profiles follow */
};

/* The front end's view of one layer. */
struct range_layer {
    bool ready;
    struct qk_layer_range same;
    double same_shift;                        /* of it from pre */
    struct qk_profile profile[QK_SIDE_COUNT]; /* n_heads 0: no numbers */
    struct qk_error error;                    /* of the profile */
};

struct range_run {
    struct run base;
    struct qk_probe_options options; /* its paths are `path` */
    char *path[4];                   /* owned */

    /* The first thread writes these before RANGE_OPENED; all read them after it. */
    struct qk_probe *probe;
    struct qk_token_texts texts; /* of all tokens; empty without a tokenizer */
    bool *profiled;              /* n_layers; the first thread's */

    bool *ready; /* n_layers; guarded by the follow's lock */

    /* --- the front end's --- */
    struct qk_probe_state state;
    struct timespec start;
    struct range_layer *layer;    /* n_layers */
    struct qk_layer_range *exact; /* n_layers, or NULL */
};

/* The threads' part of the kind (run.h). */
void *qk_range_passes(void *run);
void qk_range_exact(struct run *run, const struct follow_job *job, struct run_event *event);
void qk_range_same(struct run *run, const struct follow_job *job, struct run_event *event);
enum qk_code qk_range_rows(struct run *run, int layer, enum qk_side side, const struct follow_job *job,
    size_t query, float **out, struct qk_error *err);

#endif
