/* layer_jobs.c - the workers of a session: what is computed next, and how. */
#include "session/session_internal.h"

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

/* What a worker took: one group of a job. */
struct share {
    struct layer_job *job;
    int group;
};

/* --- jobs; with the lock held --- */

static void free_job(struct layer_job *job)
{
    for (int i = 0; i < QK_SIDE_COUNT; i++)
        qk_drift_run_free(job->run[i]);
    free(job);
}

static void drop_job(struct layer_job **at)
{
    struct layer_job *job = *at;
    *at = NULL;
    if (job == NULL)
        return;
    job->next = job->n_runs * job->n_groups; /* nobody takes any more of it */
    atomic_store(&job->progress.cancel, true);
    if (job->running == 0)
        free_job(job);
}

void qk_session_drop_jobs(struct layer_jobs *jobs)
{
    drop_job(&jobs->drift);
    drop_job(&jobs->current);
    jobs->drift_due = jobs->current_due = false;
}

/* One side of the pair, and the current model. */
static enum qk_code open_current(const void *context, struct qk_heads *side[2], struct qk_error *err)
{
    const struct job_sides *sides = context;
    const struct layer_job *job = sides->job;
    const struct qk_pair *pair = job->session->pair;
    QK_TRY(qk_heads_of_model(pair, sides->side, job->layer, job->effective, &side[0], err));
    enum qk_code code = qk_heads_of_blend(pair, job->layer, job->choice,
        !job->effective ? QK_GAINS_NONE
        : job->norms    ? QK_GAINS_CHOSEN
                        : QK_GAINS_POST,
        &side[1], err);
    if (code != QK_OK)
        qk_heads_free(side[0]);
    return code;
}

static enum qk_code make_runs(struct layer_job *job, struct qk_error *err)
{
    const struct qk_pair *pair = job->session->pair;
    if (job->kind == MESSAGE_DRIFT) {
        job->n_runs = 1;
        return qk_drift_run_new(pair, job->layer, job->effective, job->stage, &job->run[0], err);
    }
    job->n_runs = QK_SIDE_COUNT;
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        job->sides[s] = (struct job_sides){job, (enum qk_side)s};
        const struct qk_drift_sides sides = {open_current, &job->sides[s]};
        QK_TRY(qk_drift_run_of(&pair->layer[job->layer], &sides, QK_DRIFT_ALL, &job->run[s], err));
    }
    return QK_OK;
}

/* NULL when memory ran out: the layer waits until something else was freed. */
static struct layer_job *begin_job(const struct qk_session *session, int layer, enum message_kind kind)
{
    const struct shared *shared = &session->shared;
    const struct layer_jobs *jobs = &shared->layer[layer];
    struct layer_job *job = calloc(1, sizeof *job);
    struct qk_error unheard = {0};
    if (job == NULL)
        return NULL;
    job->kind = kind;
    job->session = session;
    job->layer = layer;
    job->generation = kind == MESSAGE_DRIFT ? shared->generation : jobs->current_generation;
    job->stage = jobs->drift_stage;
    job->effective = shared->effective;
    job->norms = shared->norms;
    memcpy(job->choice, jobs->choice, sizeof job->choice);
    if (make_runs(job, &unheard) != QK_OK) {
        free_job(job);
        return NULL;
    }
    job->n_groups = qk_drift_run_groups(job->run[0]);
    return job;
}

static bool take_share(struct layer_job *job, struct share *share)
{
    if (job == NULL || job->next >= job->n_runs * job->n_groups)
        return false;
    share->job = job;
    share->group = job->next++;
    job->running++;
    return true;
}

static bool take_drift(struct qk_session *session, int layer, enum qk_drift_stage stage, struct share *share)
{
    struct layer_jobs *jobs = &session->shared.layer[layer];
    if (!jobs->drift_due || jobs->drift_stage != stage)
        return false;
    if (jobs->drift == NULL)
        jobs->drift = begin_job(session, layer, MESSAGE_DRIFT);
    return take_share(jobs->drift, share);
}

static bool take_current(struct qk_session *session, int layer, struct share *share)
{
    struct layer_jobs *jobs = &session->shared.layer[layer];
    if (!jobs->current_due)
        return false;
    if (jobs->current == NULL)
        jobs->current = begin_job(session, layer, MESSAGE_CURRENT);
    return take_share(jobs->current, share);
}

static bool take_stage(
    struct qk_session *session, enum qk_drift_stage stage, bool currents, struct share *share)
{
    const struct shared *shared = &session->shared;
    int n = session->pair->n_layers;
    if (shared->selected >= 0 && shared->selected < n && take_drift(session, shared->selected, stage, share))
        return true;
    for (int i = 0; i < shared->n_visible + n; i++) {
        int layer = i < shared->n_visible ? shared->visible[i] : i - shared->n_visible;
        if ((currents && take_current(session, layer, share)) || take_drift(session, layer, stage, share))
            return true;
    }
    return false;
}

/* The selected layer's choice, which the user just made; norms of all layers, which fill the list; then the
 * rest. In each the selected layer is the first, then what is in view. */
static bool take_any(struct qk_session *session, struct share *share)
{
    int selected = session->shared.selected;
    if (selected >= 0 && selected < session->pair->n_layers && take_current(session, selected, share))
        return true;
    return take_stage(session, QK_DRIFT_NORMS, false, share) ||
           take_stage(session, QK_DRIFT_ALL, true, share);
}

/* True for the worker that ends the job, which still counts as running. */
static bool finish_share(struct layer_job *job, const struct qk_error *error)
{
    int all = job->n_runs * job->n_groups;
    if (error->code != QK_OK && job->error.code == QK_OK) {
        job->error = *error;
        job->next = all;
        atomic_store(&job->progress.cancel, true);
    }
    if (job->running == 1 && job->next >= all)
        return true;
    job->running--;
    return false;
}

/* After its numbers were posted, so that the next stage's come behind them. Its layer's books may hold a
 * newer one meanwhile, or none. */
static void end_job(struct shared *shared, struct layer_job *job)
{
    struct layer_jobs *jobs = &shared->layer[job->layer];
    if (jobs->drift == job) {
        jobs->drift = NULL;
        jobs->drift_due = job->stage == QK_DRIFT_NORMS && job->error.code == QK_OK;
        jobs->drift_stage = QK_DRIFT_ALL;
        pthread_cond_broadcast(&shared->work);
    }
    if (jobs->current == job) {
        jobs->current = NULL;
        jobs->current_due = false;
    }
    free_job(job);
}

/* --- running; without it --- */

static struct message *new_message(enum message_kind kind, const struct layer_job *job)
{
    struct message *message = calloc(1, sizeof *message);
    if (message == NULL)
        return NULL;
    message->kind = kind;
    message->layer = job->layer;
    message->generation = job->generation;
    return message;
}

static enum qk_code take_current_numbers(
    const struct layer_job *job, struct qk_current **out, struct qk_error *err)
{
    QK_TRY(qk_alloc(out, 1, sizeof **out, err));
    struct qk_current *current = *out;
    memcpy(current->choice, job->choice, sizeof current->choice);
    enum qk_code code = QK_OK;
    for (int r = 0; r < QK_ROLE_COUNT && code == QK_OK && current->form.what == NULL; r++)
        code = qk_blend_form(job->session->pair, job->layer, job->choice[r].mode, &current->form, err);
    for (int s = 0; s < QK_SIDE_COUNT && code == QK_OK; s++)
        code = qk_drift_run_take(job->run[s], &current->against[s], err);
    if (code != QK_OK) {
        qk_session_free_current(current);
        *out = NULL;
    }
    return code;
}

/* The job's numbers, or why there are none. Nothing can be told without memory: the layer stays as it is
 * until it is asked for again. */
static void publish_job(struct qk_session *session, const struct layer_job *job)
{
    struct message *result = new_message(job->kind, job);
    if (result == NULL)
        return;
    result->error = job->error;
    if (job->error.code == QK_OK && job->kind == MESSAGE_DRIFT)
        qk_drift_run_take(job->run[0], &result->drift, &result->error);
    else if (job->error.code == QK_OK)
        take_current_numbers(job, &result->current, &result->error);
    if (result->error.code == QK_CANCELLED)
        qk_session_free_message(result);
    else
        qk_session_post(session, result);
}

static void run_share(struct qk_session *session, const struct share *share, struct qk_drift_work *work)
{
    struct shared *shared = &session->shared;
    struct layer_job *job = share->job;
    struct qk_error error = {0};
    bool begins = job->kind == MESSAGE_DRIFT && share->group == 0;
    struct message *started = begins ? new_message(MESSAGE_STARTED, job) : NULL;
    if (started != NULL)
        qk_session_post(session, started);
    qk_drift_run_group(
        job->run[share->group / job->n_groups], share->group % job->n_groups, work, &job->progress, &error);
    pthread_mutex_lock(&shared->mutex);
    bool last = finish_share(job, &error);
    pthread_mutex_unlock(&shared->mutex);
    if (!last)
        return;
    publish_job(session, job);
    pthread_mutex_lock(&shared->mutex);
    end_job(shared, job);
    pthread_mutex_unlock(&shared->mutex);
}

static void work_until_stopped(struct qk_session *session, struct qk_drift_work *work)
{
    struct shared *shared = &session->shared;
    pthread_mutex_lock(&shared->mutex);
    while (!shared->stop) {
        struct share share;
        if (!take_any(session, &share)) {
            pthread_cond_wait(&shared->work, &shared->mutex);
            continue;
        }
        pthread_mutex_unlock(&shared->mutex);
        run_share(session, &share, work);
        pthread_mutex_lock(&shared->mutex);
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
        drop_job(&jobs->drift);
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
    drop_job(&jobs->current);
    memcpy(jobs->choice, choice, sizeof jobs->choice);
    jobs->current_due = !qk_choices_keep(choice) && session->pair->layer[layer].has_qk;
}
