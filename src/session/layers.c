/* layers.c - drift of the layers of a session, and of the current model, for the front end's thread. */
#include "session/layers.h"
#include "session/choices.h"
#include "session/layer_jobs.h"

#include "base/mem.h"
#include "base/processors.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>

/* --- requests --- */

void qk_current_free(struct qk_current *current)
{
    if (current == NULL)
        return;
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        qk_layer_drift_free(&current->against[s]);
    qk_layer_choice_free(&current->choice);
    free(current);
}

static const struct qk_error NO_ERROR = {.code = QK_OK};

/* Puts the work on the workers' list, in place of the earlier request, whose results are dropped. */
static enum qk_code ask(struct qk_session *session, int layer, enum layer_work work, struct qk_error *err)
{
    struct layers *layers = session->layers;
    struct published_layer *slot = &layers->published[layer];
    struct layer_job order = {.session = session,
        .work = work,
        .layer = layer,
        .serial = qk_session_serial(session),
        .stage = QK_DRIFT_NORMS,
        .effective = layers->effective,
        .norms = layers->norms};
    struct layer_job *job;
    order.choice = slot->choice; /* the job makes its copy */
    slot->serial[work] = order.serial;
    enum qk_code code = qk_layer_job_new(&order, &job, err);
    qk_layer_job_put(layers, layer, work, job);
    return code;
}

static void ask_drift(struct qk_session *session, int layer)
{
    struct published_layer *slot = &session->layers->published[layer];
    slot->state = QK_LAYER_WAITING;
    slot->error = NO_ERROR;
    if (session->pair->layer[layer].has_qk && ask(session, layer, WORK_DRIFT, &slot->error) != QK_OK)
        slot->state = QK_LAYER_FAILED;
}

/* Requests numbers for the present choices of the layer; none for a layer that is kept. */
static void ask_current(struct qk_session *session, int layer)
{
    struct published_layer *slot = &session->layers->published[layer];
    const struct qk_layer_choice *choice = &qk_session_selection(session)->choice[layer];
    qk_layer_choice_assign(&slot->choice, choice);
    qk_current_free(slot->current);
    slot->current = NULL;
    slot->current_error = NO_ERROR;
    if (!qk_layer_choice_keeps(choice) && session->pair->layer[layer].has_qk) {
        ask(session, layer, WORK_CURRENT, &slot->current_error);
        return;
    }
    slot->serial[WORK_CURRENT] = 0;
    qk_layer_job_put(session->layers, layer, WORK_CURRENT, NULL);
}

static void follow_layers(struct qk_session *session)
{
    struct layers *layers = session->layers;
    const struct qk_selection *now = qk_session_selection(session);
    bool norms = qk_session_norms(session);
    bool all = layers->effective && layers->norms != norms;
    layers->norms = norms;
    for (int i = 0; i < now->n_layers; i++)
        if (all || !qk_layer_choice_equal(&layers->published[i].choice, &now->choice[i]))
            ask_current(session, i);
}

/* --- opening and closing --- */

static enum qk_code start_workers(struct qk_session *session, struct qk_error *err)
{
    struct layers *layers = session->layers;
    int n = session->threads > 0 ? session->threads : qk_cpu_count();
    QK_TRY(qk_alloc(&layers->worker, (size_t)n, sizeof *layers->worker, err));
    for (; layers->n_workers < n; layers->n_workers++) {
        struct layer_worker *worker = &layers->worker[layers->n_workers];
        worker->session = session;
        QK_TRY(qk_drift_work_new(&worker->work, err));
        enum qk_code code = qk_thread_start(&worker->thread, qk_layer_worker_main, worker, err);
        if (code != QK_OK) {
            qk_drift_work_free(worker->work);
            return code;
        }
    }
    return QK_OK;
}

static enum qk_code open_layers(struct qk_session *session, struct qk_error *err)
{
    size_t n = (size_t)session->pair->n_layers;
    struct layers *layers;
    QK_TRY(qk_alloc(&layers, 1, sizeof *layers, err));
    session->layers = layers;
    layers->selected = -1;
    pthread_mutex_init(&layers->mutex, NULL);
    pthread_cond_init(&layers->work, NULL);
    QK_TRY(qk_alloc(&layers->job, n, sizeof *layers->job, err));
    QK_TRY(qk_alloc(&layers->visible, n, sizeof *layers->visible, err));
    QK_TRY(qk_alloc(&layers->drift, n, sizeof *layers->drift, err));
    QK_TRY(qk_alloc(&layers->published, n, sizeof *layers->published, err));
    for (int i = 0; i < session->pair->n_layers; i++)
        ask_drift(session, i);
    return start_workers(session, err);
}

static void stop_workers(struct qk_session *session)
{
    struct layers *layers = session->layers;
    pthread_mutex_lock(&layers->mutex);
    layers->stop = true;
    pthread_mutex_unlock(&layers->mutex);
    for (int i = 0; layers->job != NULL && i < session->pair->n_layers; i++)
        for (int w = 0; w < WORK_COUNT; w++)
            qk_layer_job_put(layers, i, (enum layer_work)w, NULL);
    for (int i = 0; i < layers->n_workers; i++) {
        pthread_join(layers->worker[i].thread, NULL);
        qk_drift_work_free(layers->worker[i].work);
    }
}

static void close_layers(struct qk_session *session)
{
    struct layers *layers = session->layers;
    if (layers == NULL)
        return;
    stop_workers(session);
    for (int i = 0; i < session->pair->n_layers; i++) {
        if (layers->drift != NULL)
            qk_layer_drift_free(&layers->drift[i]);
        if (layers->published == NULL)
            continue;
        qk_current_free(layers->published[i].current);
        qk_layer_choice_free(&layers->published[i].choice);
    }
    pthread_cond_destroy(&layers->work);
    pthread_mutex_destroy(&layers->mutex);
    free(layers->job);
    free(layers->visible);
    free(layers->worker);
    free(layers->drift);
    free(layers->published);
    free(layers);
}

const struct session_part qk_layers_part = {
    .open = open_layers, .follow = follow_layers, .close = close_layers};

/* --- publishing --- */

/* The slot of the event's layer; NULL when a newer request replaced it. */
static struct published_layer *slot_of(
    struct qk_session *session, const struct layer_event *event, enum layer_work work)
{
    struct published_layer *slot = &session->layers->published[event->layer];
    return slot->serial[work] == event->serial ? slot : NULL;
}

void qk_layers_publish_started(struct qk_session *session, struct event *event)
{
    struct published_layer *slot = slot_of(session, (struct layer_event *)event, WORK_DRIFT);
    if (slot != NULL && slot->state == QK_LAYER_WAITING)
        slot->state = QK_LAYER_RUNNING;
}

void qk_layers_publish_drift(struct qk_session *session, struct event *event)
{
    struct layer_event *own = (struct layer_event *)event;
    struct published_layer *slot = slot_of(session, own, WORK_DRIFT);
    if (slot == NULL)
        return;
    bool failed = own->error.code != QK_OK;
    slot->state = failed ? QK_LAYER_FAILED : own->drift.norms_only ? QK_LAYER_NORMS : QK_LAYER_READY;
    slot->error = own->error;
    struct qk_layer_drift *drift = &session->layers->drift[own->layer];
    qk_layer_drift_free(drift);
    *drift = own->drift;
    memset(&own->drift, 0, sizeof own->drift);
}

void qk_layers_publish_current(struct qk_session *session, struct event *event)
{
    struct layer_event *own = (struct layer_event *)event;
    struct published_layer *slot = slot_of(session, own, WORK_CURRENT);
    if (slot == NULL)
        return;
    qk_current_free(slot->current);
    slot->current = own->current;
    own->current = NULL;
    slot->current_error = own->error;
}

/* --- asking --- */

enum qk_drift_state qk_session_layer_state(const struct qk_session *session, int layer)
{
    return session->layers->published[layer].state;
}

const struct qk_layer_drift *qk_layers_drift(const struct qk_session *session)
{
    return session->layers->drift;
}

const struct qk_layer_drift *qk_session_drift(const struct qk_session *session, int layer)
{
    enum qk_drift_state state = qk_session_layer_state(session, layer);
    return state == QK_LAYER_NORMS || state == QK_LAYER_READY ? &session->layers->drift[layer] : NULL;
}

const char *qk_session_layer_error(const struct qk_session *session, int layer)
{
    return qk_error_text(&session->layers->published[layer].error);
}

void qk_session_done(const struct qk_session *session, int *done, int *total)
{
    *done = *total = 0;
    for (int i = 0; i < session->pair->n_layers; i++) {
        if (!session->pair->layer[i].has_qk)
            continue;
        ++*total;
        *done += qk_session_layer_state(session, i) >= QK_LAYER_READY;
    }
}

void qk_session_want(struct qk_session *session, int selected, const int *visible, int n)
{
    struct layers *layers = session->layers;
    if (n > session->pair->n_layers)
        n = session->pair->n_layers;
    pthread_mutex_lock(&layers->mutex);
    layers->selected = selected;
    layers->n_visible = n;
    if (n > 0)
        memcpy(layers->visible, visible, (size_t)n * sizeof *visible);
    pthread_mutex_unlock(&layers->mutex);
}

int qk_layers_selected(struct qk_session *session)
{
    struct layers *layers = session->layers;
    pthread_mutex_lock(&layers->mutex);
    int selected = layers->selected;
    pthread_mutex_unlock(&layers->mutex);
    return selected;
}

void qk_session_recompute(struct qk_session *session, bool effective)
{
    session->layers->effective = effective;
    for (int i = 0; i < session->pair->n_layers; i++) {
        ask_drift(session, i);
        ask_current(session, i);
    }
}

bool qk_session_effective(const struct qk_session *session)
{
    return session->layers->effective;
}

const struct qk_current *qk_session_current(const struct qk_session *session, int layer)
{
    return session->layers->published[layer].current;
}

const char *qk_session_current_error(const struct qk_session *session, int layer)
{
    return qk_error_text(&session->layers->published[layer].current_error);
}
