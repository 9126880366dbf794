/* session_jobs.c - the workers of a session: what is computed next, and how. */
#include "restore/session_parts.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void qk_session_post(struct qk_session *session, struct message *message)
{
    struct shared *shared = &session->shared;
    pthread_mutex_lock(&shared->mutex);
    message->next = NULL;
    *shared->last = message;
    shared->last = &message->next;
    if (!shared->signalled) {
        /* The pipe holds at most one byte, so this cannot block. */
        ssize_t written = write(session->pipe_write, "", 1);
        shared->signalled = written == 1;
    }
    pthread_mutex_unlock(&shared->mutex);
}

struct job {
    enum message_kind kind;
    int layer;
    unsigned generation;
    bool effective, norms;
    struct qk_choice choice[QK_ROLE_COUNT];
    struct qk_progress progress;
};

static bool take_drift(struct shared *shared, int layer, struct job *job)
{
    struct layer_jobs *jobs = &shared->layer[layer];
    if (jobs->drift != JOB_WAITING)
        return false;
    jobs->drift = JOB_RUNNING;
    jobs->drift_progress = &job->progress;
    job->kind = MESSAGE_DRIFT;
    job->layer = layer;
    job->generation = shared->generation;
    return true;
}

static bool take_current(struct shared *shared, int layer, struct job *job)
{
    struct layer_jobs *jobs = &shared->layer[layer];
    if (jobs->current != JOB_WAITING)
        return false;
    jobs->current = JOB_RUNNING;
    jobs->current_progress = &job->progress;
    job->kind = MESSAGE_CURRENT;
    job->layer = layer;
    job->generation = jobs->current_generation;
    memcpy(job->choice, jobs->choice, sizeof job->choice);
    return true;
}

/* The selected layer first (its choice before its drift: that is what the user just asked), then what is in
 * view, then the rest. */
static bool take_job(struct shared *shared, int n_layers, struct job *job)
{
    memset(job, 0, sizeof *job);
    job->effective = shared->effective;
    job->norms = shared->norms;
    if (shared->selected >= 0 && shared->selected < n_layers &&
        (take_current(shared, shared->selected, job) || take_drift(shared, shared->selected, job)))
        return true;
    for (int i = 0; i < shared->n_visible; i++)
        if (take_current(shared, shared->visible[i], job) || take_drift(shared, shared->visible[i], job))
            return true;
    for (int i = 0; i < n_layers; i++)
        if (take_current(shared, i, job) || take_drift(shared, i, job))
            return true;
    return false;
}

static enum qk_code drift_from(const struct qk_session *session, const struct job *job, enum qk_side side,
    struct qk_progress *progress, struct qk_layer_drift *out, struct qk_error *err)
{
    struct qk_heads *base = NULL, *blend = NULL;
    enum qk_code code = qk_heads_of_model(session->pair, side, job->layer, job->effective, &base, err);
    if (code == QK_OK)
        code = qk_heads_of_blend(session->pair, job->layer, job->choice,
            !job->effective ? QK_GAINS_NONE
            : job->norms    ? QK_GAINS_CHOSEN
                            : QK_GAINS_POST,
            &blend, err);
    if (code == QK_OK)
        code = qk_drift_layer(base, blend, progress, out, err);
    qk_heads_free(base);
    qk_heads_free(blend);
    return code;
}

static enum qk_code compute_current(
    const struct qk_session *session, struct job *job, struct qk_current **out, struct qk_error *err)
{
    QK_TRY(qk_alloc(out, 1, sizeof **out, err));
    struct qk_current *current = *out;
    memcpy(current->choice, job->choice, sizeof current->choice);
    enum qk_code code =
        qk_blend_rotation(session->pair, job->layer, &current->rotation, &current->rotation_why, err);
    for (int s = 0; s < QK_SIDE_COUNT && code == QK_OK; s++)
        code = drift_from(session, job, (enum qk_side)s, &job->progress, &current->against[s], err);
    if (code != QK_OK) {
        qk_session_free_current(current);
        *out = NULL;
    }
    return code;
}

static struct message *new_message(enum message_kind kind, const struct job *job)
{
    struct message *message = calloc(1, sizeof *message);
    if (message == NULL)
        return NULL;
    message->kind = kind;
    message->layer = job->layer;
    message->generation = job->generation;
    return message;
}

static void run_job(struct qk_session *session, struct job *job)
{
    struct message *started = new_message(MESSAGE_STARTED, job);
    struct message *result = new_message(job->kind, job);
    if (result == NULL) { /* nothing can be told: the layer stays as it is until it is asked for again */
        free(started);
        return;
    }
    if (started != NULL && job->kind == MESSAGE_DRIFT)
        qk_session_post(session, started);
    else
        free(started);
    if (job->kind == MESSAGE_DRIFT)
        qk_drift_pair_layer(
            session->pair, job->layer, job->effective, &job->progress, &result->drift, &result->error);
    else
        compute_current(session, job, &result->current, &result->error);
    if (result->error.code == QK_CANCELLED)
        qk_session_free_message(result);
    else
        qk_session_post(session, result);
}

/* Takes the job off its layer's books, unless the front end has put a newer one there meanwhile. */
static void finish_job(struct shared *shared, const struct job *job)
{
    struct layer_jobs *jobs = &shared->layer[job->layer];
    if (job->kind == MESSAGE_DRIFT && jobs->drift_progress == &job->progress) {
        jobs->drift = JOB_NONE;
        jobs->drift_progress = NULL;
    }
    if (job->kind == MESSAGE_CURRENT && jobs->current_progress == &job->progress) {
        jobs->current = JOB_NONE;
        jobs->current_progress = NULL;
    }
}

void *qk_session_worker(void *argument)
{
    struct qk_session *session = argument;
    struct shared *shared = &session->shared;
    pthread_mutex_lock(&shared->mutex);
    while (!shared->stop) {
        struct job job;
        if (!take_job(shared, session->pair->n_layers, &job)) {
            pthread_cond_wait(&shared->work, &shared->mutex);
            continue;
        }
        pthread_mutex_unlock(&shared->mutex);
        run_job(session, &job);
        pthread_mutex_lock(&shared->mutex);
        finish_job(shared, &job);
    }
    pthread_mutex_unlock(&shared->mutex);
    return NULL;
}

/* --- asking --- */

void qk_session_ask_drift(struct qk_session *session)
{
    struct shared *shared = &session->shared;
    for (int i = 0; i < session->pair->n_layers; i++) {
        if (!session->pair->layer[i].has_qk)
            continue;
        struct layer_jobs *jobs = &shared->layer[i];
        if (jobs->drift_progress != NULL)
            atomic_store(&jobs->drift_progress->cancel, true);
        jobs->drift = JOB_WAITING;
        jobs->drift_progress = NULL;
    }
    pthread_cond_broadcast(&shared->work);
}

void qk_session_ask_current(struct qk_session *session, int layer)
{
    struct layer_jobs *jobs = &session->shared.layer[layer];
    const struct qk_choice *choice = qk_history_current(session->history)->choice[layer];
    jobs->current_generation++;
    if (jobs->current_progress != NULL)
        atomic_store(&jobs->current_progress->cancel, true);
    jobs->current_progress = NULL;
    bool kept = true;
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        jobs->choice[r] = choice[r];
        kept = kept && choice[r].mode == QK_KEEP;
    }
    jobs->current = kept || !session->pair->layer[layer].has_qk ? JOB_NONE : JOB_WAITING;
}
