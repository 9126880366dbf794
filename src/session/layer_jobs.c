/* layer_jobs.c - the workers of a session, with the order of their work. */
#include "session/layer_jobs.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* The work of one worker: one group of a job. */
struct share {
    struct layer_job *job;
    int group;
};

/* --- events --- */

static void free_event(struct event *event)
{
    struct layer_event *own = (struct layer_event *)event;
    qk_layer_drift_free(&own->drift);
    qk_current_free(own->current);
    free(own);
}

static enum qk_code new_event(const struct layer_job *job,
    void (*publish)(struct qk_session *, struct event *), struct layer_event **out, struct qk_error *err)
{
    QK_TRY(qk_alloc(out, 1, sizeof **out, err));
    (*out)->event = (struct event){.publish = publish, .free = free_event};
    (*out)->layer = job->layer;
    (*out)->serial = job->serial;
    return QK_OK;
}

/* --- jobs --- */

static void free_job(struct layer_job *job)
{
    if (job == NULL)
        return;
    for (int i = 0; i < QK_SIDE_COUNT; i++)
        qk_drift_run_free(job->run[i]);
    if (job->result != NULL)
        free_event(&job->result->event);
    free_job(job->then);
    qk_layer_choice_free(&job->choice);
    free(job);
}

enum qk_code qk_layer_job_new(const struct layer_job *order, struct layer_job **out, struct qk_error *err)
{
    static void (*const PUBLISH[WORK_COUNT])(struct qk_session *, struct event *) = {
        [WORK_DRIFT] = qk_layers_publish_drift, [WORK_CURRENT] = qk_layers_publish_current};
    struct layer_job *job;
    QK_TRY(qk_alloc(&job, 1, sizeof *job, err));
    *job = *order;
    job->choice = qk_layer_choice_copy(&order->choice);
    enum qk_code code = new_event(job, PUBLISH[job->work], &job->result, err);
    if (code == QK_OK && job->work == WORK_DRIFT && job->stage == QK_DRIFT_NORMS) {
        struct layer_job second = *order;
        second.stage = QK_DRIFT_ALL;
        code = qk_layer_job_new(&second, &job->then, err);
    }
    if (code != QK_OK) {
        free_job(job);
        job = NULL;
    }
    *out = job;
    return code;
}

/* With the lock held. */
static void drop_job(struct layer_job *job)
{
    if (job == NULL)
        return;
    job->next = job->n_runs * job->n_groups; /* no worker takes any more of it */
    atomic_store(&job->progress.cancel, true);
    if (job->running == 0)
        free_job(job);
}

void qk_layer_job_put(struct layers *layers, int layer, enum layer_work work, struct layer_job *job)
{
    pthread_mutex_lock(&layers->mutex);
    drop_job(layers->job[layer][work]);
    layers->job[layer][work] = job;
    pthread_cond_broadcast(&layers->work);
    pthread_mutex_unlock(&layers->mutex);
}

/* --- beginning; with the lock held --- */

enum qk_code qk_current_open(const void *context, struct qk_heads *side[2], struct qk_error *err)
{
    const struct current_sides *s = context;
    enum qk_gains gains = !s->effective ? QK_GAINS_NONE : s->norms ? QK_GAINS_CHOSEN : QK_GAINS_POST;
    QK_TRY(qk_heads_of_model(s->pair, s->side, s->layer, s->effective, &side[0], err));
    enum qk_code code = qk_heads_of_blend(s->pair, s->layer, s->choice, gains, &side[1], err);
    if (code != QK_OK)
        qk_heads_free(side[0]);
    return code;
}

static enum qk_code make_runs(struct layer_job *job, struct qk_error *err)
{
    const struct qk_pair *pair = job->session->pair;
    if (job->work == WORK_DRIFT) {
        job->n_runs = 1;
        return qk_drift_run_new(pair, job->layer, job->effective, job->stage, &job->run[0], err);
    }
    job->n_runs = QK_SIDE_COUNT;
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        job->sides[s] = (struct current_sides){
            pair, (enum qk_side)s, job->layer, &job->choice, job->effective, job->norms};
        const struct qk_drift_sides sides = {qk_current_open, &job->sides[s]};
        QK_TRY(qk_drift_run_of(&pair->layer[job->layer], &sides, QK_DRIFT_ALL, &job->run[s], err));
    }
    return QK_OK;
}

/* A job that cannot begin has no groups: the worker that tried ends it. */
static void begin_job(struct layer_job *job)
{
    job->begun = true;
    if (make_runs(job, &job->error) == QK_OK)
        job->n_groups = qk_drift_run_groups(job->run[0]);
}

static bool take_share(struct layer_job *job, struct share *share)
{
    if (job == NULL || (job->begun && job->next >= job->n_runs * job->n_groups))
        return false;
    if (!job->begun)
        begin_job(job);
    share->job = job;
    share->group = job->next++;
    job->running++;
    return true;
}

static bool take_drift(struct layers *layers, int layer, enum qk_drift_stage stage, struct share *share)
{
    struct layer_job *job = layers->job[layer][WORK_DRIFT];
    return job != NULL && job->stage == stage && take_share(job, share);
}

static bool take_current(struct layers *layers, int layer, struct share *share)
{
    return take_share(layers->job[layer][WORK_CURRENT], share);
}

static bool take_stage(
    struct layers *layers, int n, enum qk_drift_stage stage, bool currents, struct share *share)
{
    if (layers->selected >= 0 && layers->selected < n && take_drift(layers, layers->selected, stage, share))
        return true;
    for (int i = 0; i < layers->n_visible + n; i++) {
        int layer = i < layers->n_visible ? layers->visible[i] : i - layers->n_visible;
        if ((currents && take_current(layers, layer, share)) || take_drift(layers, layer, stage, share))
            return true;
    }
    return false;
}

/* The order of work: the selected layer's choice, which the user just made; norms of all layers, which fill the list;
 * then the rest. In each the selected layer comes first, then the visible ones. */
static bool take_any(struct layers *layers, int n, struct share *share)
{
    if (layers->selected >= 0 && layers->selected < n && take_current(layers, layers->selected, share))
        return true;
    return take_stage(layers, n, QK_DRIFT_NORMS, false, share) ||
           take_stage(layers, n, QK_DRIFT_ALL, true, share);
}

/* --- ending; with the lock held --- */

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

/* Called after its result was posted, so that the result of the next job comes behind it. The books of its layer may
 * hold a newer job by now, or none. */
static void end_job(struct layers *layers, struct layer_job *job)
{
    struct layer_job **at = &layers->job[job->layer][job->work];
    if (*at == job) {
        *at = NULL;
        if (job->error.code == QK_OK) {
            *at = job->then;
            job->then = NULL;
            pthread_cond_broadcast(&layers->work);
        }
    }
    free_job(job);
}

/* --- running; without the lock --- */

static enum qk_code take_current_numbers(
    const struct layer_job *job, struct qk_current **out, struct qk_error *err)
{
    QK_TRY(qk_alloc(out, 1, sizeof **out, err));
    struct qk_current *current = *out;
    current->choice = qk_layer_choice_copy(&job->choice);
    enum qk_code code = QK_OK;
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        for (int h = 0; h < qk_layer_choice_count(&job->choice, (enum qk_role)r); h++)
            if (code == QK_OK && current->form.what == NULL)
                code = qk_blend_form(job->session->pair, job->layer,
                    qk_layer_choice_of(&job->choice, (enum qk_role)r, h).mode, &current->form, err);
    for (int s = 0; s < QK_SIDE_COUNT && code == QK_OK; s++)
        code = qk_drift_run_take(job->run[s], &current->against[s], err);
    if (code != QK_OK) {
        qk_current_free(current);
        *out = NULL;
    }
    return code;
}

/* Posts the job's numbers, or its error; nothing for a dropped job. */
static void publish_job(struct layer_job *job)
{
    struct layer_event *result = job->result;
    if (job->error.code == QK_OK && job->work == WORK_DRIFT)
        qk_drift_run_take(job->run[0], &result->drift, &job->error);
    else if (job->error.code == QK_OK)
        take_current_numbers(job, &result->current, &job->error);
    if (job->error.code == QK_CANCELLED)
        return;
    result->error = job->error;
    job->result = NULL;
    qk_session_post(job->session, &result->event);
}

/* Without memory for the event the layer is shown as waiting until it has numbers. */
static void post_started(struct layer_job *job)
{
    struct layer_event *started;
    if (new_event(job, qk_layers_publish_started, &started, NULL) == QK_OK)
        qk_session_post(job->session, &started->event);
}

static void run_share(const struct share *share, struct qk_drift_work *work)
{
    struct layer_job *job = share->job;
    struct layers *layers = job->session->layers;
    struct qk_error error = {0};
    if (job->work == WORK_DRIFT && share->group == 0)
        post_started(job);
    if (job->n_groups > 0)
        qk_drift_run_group(job->run[share->group / job->n_groups], share->group % job->n_groups, work,
            &job->progress, &error);
    pthread_mutex_lock(&layers->mutex);
    bool last = finish_share(job, &error);
    pthread_mutex_unlock(&layers->mutex);
    if (!last)
        return;
    publish_job(job);
    pthread_mutex_lock(&layers->mutex);
    end_job(layers, job);
    pthread_mutex_unlock(&layers->mutex);
}

void *qk_layer_worker_main(void *argument)
{
    const struct layer_worker *worker = argument;
    struct layers *layers = worker->session->layers;
    int n = worker->session->pair->n_layers;
    pthread_mutex_lock(&layers->mutex);
    while (!layers->stop) {
        struct share share;
        if (!take_any(layers, n, &share)) {
            pthread_cond_wait(&layers->work, &layers->mutex);
            continue;
        }
        pthread_mutex_unlock(&layers->mutex);
        run_share(&share, worker->work);
        pthread_mutex_lock(&layers->mutex);
    }
    pthread_mutex_unlock(&layers->mutex);
    return NULL;
}
