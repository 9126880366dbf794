/* layer_jobs.h - jobs on the layers of a session, which its workers share (layer_jobs.c).
 *
 * The front end makes a job, and with it the event that reports its end, so a worker needs no memory for that. A job
 * waits in the books of its layer, workers take its key groups, and the last of them publishes its result. */
#ifndef QK_SESSION_LAYER_JOBS_H
#define QK_SESSION_LAYER_JOBS_H

#include "session/layers.h"
#include "session/session_internal.h"

/* The kinds of work on a layer: its drift, and the drift of its current model from pre and from post. */
enum layer_work { WORK_DRIFT, WORK_CURRENT, WORK_COUNT };

struct layer_event {
    struct event event;
    int layer;
    uint64_t serial;             /* of the job */
    struct qk_layer_drift drift; /* WORK_DRIFT */
    struct qk_current *current;  /* WORK_CURRENT; NULL on failure */
    struct qk_error error;
};

/* What a drift of a model with a choice compares: one side of the pair, and post's layer with the choice. */
struct current_sides {
    const struct qk_pair *pair;
    enum qk_side side;
    int layer;
    const struct qk_layer_choice *choice;
    bool effective, norms;
};
/* Opens them: `open` of struct qk_drift_sides, whose context they are. */
enum qk_code qk_current_open(const void *context, struct qk_heads *side[2], struct qk_error *err);

struct layer_job {
    struct qk_session *session;
    enum layer_work work;
    int layer;
    uint64_t serial;
    enum qk_drift_stage stage;
    bool effective, norms;
    struct qk_layer_choice choice; /* WORK_CURRENT's; owned */
    struct layer_event *result;    /* owned until it is posted */
    struct layer_job *then;        /* the job that follows: the second stage of drift; owned, or NULL */

    /* The workers' part: guarded by the mutex, except what a group's own run holds. */
    bool begun;
    struct current_sides sides[QK_SIDE_COUNT]; /* of the current model: what each run opens */
    struct qk_drift_run *run[QK_SIDE_COUNT];
    int n_runs, n_groups; /* groups of each run; none when the runs could not be made */
    int next;             /* those before it are taken: of the first run, then of the second */
    int running;          /* workers */
    struct qk_progress progress;
    struct qk_error error; /* the first */
};

struct layer_worker {
    pthread_t thread;
    struct qk_session *session;
    struct qk_drift_work *work;
};

/* The front end's view of one layer. */
struct published_layer {
    enum qk_drift_state state;
    struct qk_error error, current_error;
    struct qk_current *current;
    uint64_t serial[WORK_COUNT];   /* of the job whose results count; 0: none */
    struct qk_layer_choice choice; /* that the current model was computed for; owned */
};

struct layers {
    pthread_mutex_t mutex; /* guards the fields below */
    pthread_cond_t work;
    bool stop;
    struct layer_job *(*job)[WORK_COUNT]; /* n_layers: waiting or in work; NULL: no job */
    int selected;
    int *visible; /* n_visible, room for n_layers */
    int n_visible;

    /* --- the front end's --- */
    struct layer_worker *worker;
    int n_workers;
    bool effective, norms;
    struct qk_layer_drift *drift; /* n_layers; valid where the state is NORMS or READY */
    struct published_layer *published;
};

/* --- layer_jobs.c --- */
/* *out = a copy of `order`, whose first lines are filled in, with its result, and what follows it. */
enum qk_code qk_layer_job_new(const struct layer_job *order, struct layer_job **out, struct qk_error *err);
/* Puts the job (NULL: none) into the books of the layer. It replaces the present one, which workers leave as soon as
 * they can. */
void qk_layer_job_put(struct layers *layers, int layer, enum layer_work work, struct layer_job *job);
void *qk_layer_worker_main(void *worker);

/* --- layers.c: what events do --- */
void qk_layers_publish_started(struct qk_session *session, struct event *event);
void qk_layers_publish_drift(struct qk_session *session, struct event *event);
void qk_layers_publish_current(struct qk_session *session, struct event *event);
void qk_current_free(struct qk_current *current); /* NULL allowed */

#endif
