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
    struct drift_job *drift; /* MESSAGE_DRIFT */
    int group;
    struct qk_choice choice[QK_ROLE_COUNT];
    struct qk_progress progress;
};

/* --- taking, with the lock held --- */

static void free_drift(struct drift_job *drift)
{
    qk_drift_run_free(drift->run);
    free(drift);
}

void qk_session_drop_drift(struct layer_jobs *jobs)
{
    struct drift_job *drift = jobs->drift;
    if (drift == NULL)
        return;
    jobs->drift = NULL;
    drift->next = drift->n_groups; /* nobody takes any more of it */
    atomic_store(&drift->progress.cancel, true);
    if (drift->running == 0)
        free_drift(drift);
}

/* NULL when memory ran out: the layer waits until something else was freed. */
static struct drift_job *begin_drift(const struct qk_session *session, int layer)
{
    const struct shared *shared = &session->shared;
    struct drift_job *drift = calloc(1, sizeof *drift);
    if (drift == NULL)
        return NULL;
    drift->layer = layer;
    drift->stage = shared->layer[layer].drift_stage;
    drift->generation = shared->generation;
    struct qk_error unheard = {0};
    if (qk_drift_run_new(session->pair, layer, shared->effective, drift->stage, &drift->run, &unheard) !=
        QK_OK) {
        free(drift);
        return NULL;
    }
    drift->n_groups = qk_drift_run_groups(drift->run);
    return drift;
}

static bool take_drift(struct qk_session *session, int layer, enum qk_drift_stage stage, struct job *job)
{
    struct layer_jobs *jobs = &session->shared.layer[layer];
    if (!jobs->drift_due || jobs->drift_stage != stage)
        return false;
    if (jobs->drift == NULL)
        jobs->drift = begin_drift(session, layer);
    if (jobs->drift == NULL || jobs->drift->next >= jobs->drift->n_groups)
        return false;
    job->kind = MESSAGE_DRIFT;
    job->layer = layer;
    job->drift = jobs->drift;
    job->group = job->drift->next++;
    job->generation = job->drift->generation;
    job->drift->running++;
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

static bool take_stage(struct qk_session *session, enum qk_drift_stage stage, bool currents, struct job *job)
{
    struct shared *shared = &session->shared;
    int n = session->pair->n_layers;
    if (shared->selected >= 0 && shared->selected < n && take_drift(session, shared->selected, stage, job))
        return true;
    for (int i = 0; i < shared->n_visible + n; i++) {
        int layer = i < shared->n_visible ? shared->visible[i] : i - shared->n_visible;
        if ((currents && take_current(shared, layer, job)) || take_drift(session, layer, stage, job))
            return true;
    }
    return false;
}

/* The selected layer's choice, which the user just made; norms of all layers, which fill the list; then the
 * rest. In each the selected layer is the first, then what is in view. */
static bool take_job(struct qk_session *session, struct job *job)
{
    struct shared *shared = &session->shared;
    memset(job, 0, sizeof *job);
    job->effective = shared->effective;
    job->norms = shared->norms;
    if (shared->selected >= 0 && shared->selected < session->pair->n_layers &&
        take_current(shared, shared->selected, job))
        return true;
    return take_stage(session, QK_DRIFT_NORMS, false, job) || take_stage(session, QK_DRIFT_ALL, true, job);
}

/* --- running, without it --- */

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

static void run_current(struct qk_session *session, struct job *job)
{
    struct message *result = new_message(job->kind, job);
    if (result == NULL) /* nothing can be told: the layer stays as it is until it is asked for again */
        return;
    compute_current(session, job, &result->current, &result->error);
    if (result->error.code == QK_CANCELLED)
        qk_session_free_message(result);
    else
        qk_session_post(session, result);
}

/* Nothing of this stage is left: its numbers, or why there are none. */
static void publish_drift(struct qk_session *session, const struct job *job)
{
    struct drift_job *drift = job->drift;
    struct message *result = new_message(job->kind, job);
    if (result == NULL)
        return;
    result->error = drift->error;
    if (drift->error.code == QK_OK)
        qk_drift_run_take(drift->run, &result->drift, &result->error);
    if (result->error.code == QK_CANCELLED)
        qk_session_free_message(result);
    else
        qk_session_post(session, result);
}

/* With the lock held: true for the worker that ends the stage, which still counts as running. */
static bool finish_group(struct drift_job *drift, const struct qk_error *error)
{
    if (error->code != QK_OK && drift->error.code == QK_OK) {
        drift->error = *error;
        drift->next = drift->n_groups;
        atomic_store(&drift->progress.cancel, true);
    }
    if (drift->running == 1 && drift->next >= drift->n_groups)
        return true;
    drift->running--;
    return false;
}

/* With the lock held, after its numbers were posted: so the next stage's come behind them. */
static void end_drift(struct shared *shared, struct drift_job *drift)
{
    struct layer_jobs *jobs = &shared->layer[drift->layer];
    if (jobs->drift == drift) { /* and not one that was asked for meanwhile */
        jobs->drift = NULL;
        jobs->drift_due = drift->stage == QK_DRIFT_NORMS && drift->error.code == QK_OK;
        jobs->drift_stage = QK_DRIFT_ALL;
        pthread_cond_broadcast(&shared->work);
    }
    free_drift(drift);
}

static void run_group(struct qk_session *session, const struct job *job, struct qk_drift_work *work)
{
    struct shared *shared = &session->shared;
    struct drift_job *drift = job->drift;
    struct qk_error error = {0};
    struct message *started = job->group == 0 ? new_message(MESSAGE_STARTED, job) : NULL;
    if (started != NULL)
        qk_session_post(session, started);
    qk_drift_run_group(drift->run, job->group, work, &drift->progress, &error);
    pthread_mutex_lock(&shared->mutex);
    bool last = finish_group(drift, &error);
    pthread_mutex_unlock(&shared->mutex);
    if (!last)
        return;
    publish_drift(session, job);
    pthread_mutex_lock(&shared->mutex);
    end_drift(shared, drift);
    pthread_mutex_unlock(&shared->mutex);
}

/* Takes the job off its layer's books, unless the front end has put a newer one there meanwhile. */
static void finish_current(struct shared *shared, const struct job *job)
{
    struct layer_jobs *jobs = &shared->layer[job->layer];
    if (jobs->current_progress == &job->progress) {
        jobs->current = JOB_NONE;
        jobs->current_progress = NULL;
    }
}

static void work_until_stopped(struct qk_session *session, struct qk_drift_work *work)
{
    struct shared *shared = &session->shared;
    pthread_mutex_lock(&shared->mutex);
    while (!shared->stop) {
        struct job job;
        if (!take_job(session, &job)) {
            pthread_cond_wait(&shared->work, &shared->mutex);
            continue;
        }
        pthread_mutex_unlock(&shared->mutex);
        if (job.kind == MESSAGE_DRIFT)
            run_group(session, &job, work);
        else
            run_current(session, &job);
        pthread_mutex_lock(&shared->mutex);
        if (job.kind == MESSAGE_CURRENT)
            finish_current(shared, &job);
    }
    pthread_mutex_unlock(&shared->mutex);
}

void *qk_session_worker(void *argument)
{
    struct qk_session *session = argument;
    struct qk_drift_work *work;
    struct qk_error unheard = {0};
    if (qk_drift_work_new(&work, &unheard) != QK_OK) /* some dozen bytes: the other workers go on */
        return NULL;
    work_until_stopped(session, work);
    qk_drift_work_free(work);
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
        qk_session_drop_drift(jobs);
        jobs->drift_due = true;
        jobs->drift_stage = QK_DRIFT_NORMS;
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
