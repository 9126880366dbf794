/* follow.h - the choices that a run's threads follow, and the layers that wait for numbers of them.
 *
 * The front end's thread hands over every change (qk_follow_choices). One thread of the run computes layers with new
 * choices on kept states, and one runs the whole model once the choices have rested. */
#ifndef QK_SESSION_FOLLOW_H
#define QK_SESSION_FOLLOW_H

#include "blend/selection.h"
#include "session/session_internal.h"

#include "base/progress.h"

struct follow {
    pthread_mutex_t mutex; /* guards the fields below, and what a run adds to them */
    pthread_cond_t work;   /* with CLOCK_MONOTONIC */
    bool stop;
    struct qk_selection selection;
    bool norms;
    unsigned generation, exact_tried; /* of the selection; from 1 on */
    struct timespec changed;
    bool exact_busy;
    unsigned *asked, *answered; /* n_layers: generation of the layer's choices; owned */
    int layer;                  /* being computed, or -1 */
    struct qk_progress layer_progress, exact_progress;
};

/* One request: the choices as they were when it was taken. */
struct follow_job {
    int layer;
    unsigned generation;
    bool norms, chosen;
    struct qk_selection selection; /* a copy, or zero; owned */
};

/* Takes the present choices. Freed with qk_follow_free, also after a failure. */
enum qk_code qk_follow_init(struct follow *follow, const struct qk_session *session, struct qk_error *err);
void qk_follow_free(struct follow *follow);
/* Takes over the choices after a change, cancels work on old ones, and wakes the threads. */
void qk_follow_choices(struct follow *follow, const struct qk_session *session);
/* Makes the threads end as soon as they can. */
void qk_follow_stop(struct follow *follow);

/* The caller of these holds the lock, or is the front end's thread, which alone writes the selection. */
bool qk_follow_chosen(const struct follow *follow, int layer);
/* True when the layer has a choice without an answer: then it becomes the job's. The caller copies the selection. */
bool qk_follow_take(struct follow *follow, int layer, struct follow_job *job);

/* Runs the whole model with the choices whenever they have rested for QK_EXACT_AFTER milliseconds, until the stop.
 * Returns the first failure of `run`, or QK_IO when there is no memory. */
enum qk_code qk_follow_exactly(struct follow *follow,
    enum qk_code (*run)(void *context, const struct follow_job *job, struct qk_error *err), void *context,
    struct qk_error *err);

#endif
