/* trials.c - selections that are tried on some layers: the front end's part, and the thread. */
#include "session/trials.h"
#include "session/choices.h"
#include "session/layer_jobs.h"
#include "session/range_thread.h"

#include "base/mem.h"
#include "base/thread.h"
#include "blend/patch.h"

#include <math.h>
#include <stdlib.h>

/* One request. It is the front end's until the thread takes it, and again once its end was published. */
struct order {
    uint64_t serial;
    int *layer; /* n_layers; owned */
    int n_layers;
    struct qk_selection *selection; /* n; owned */
    size_t n;
    bool effective, norms;
    struct range_run *ranges; /* borrowed: it stays until then (run.h); NULL: there are none */
    struct trials_event *end; /* reports that the thread is done with it; owned until then */
};

enum trials_news { TRIALS_ROUTING, TRIALS_SHIFT, TRIALS_END };
struct trials_event {
    struct event event;
    enum trials_news news;
    uint64_t serial;
    size_t trial;
    double value;
    struct order *order; /* TRIALS_END; owned */
    struct qk_error error;
};

struct trials {
    struct qk_session *session;
    pthread_t thread;
    struct qk_progress progress;
    pthread_mutex_t mutex; /* guards the fields below */
    pthread_cond_t work;
    bool stop;
    struct order *order; /* waits; owned */

    /* --- the front end's --- */
    bool started;
    uint64_t serial; /* of the request whose numbers count */
    struct qk_trials state;
    struct qk_tried *trial; /* the state's; owned */
    struct qk_error error;
};

/* --- requests and events --- */

static void free_order(struct order *order)
{
    if (order == NULL)
        return;
    for (size_t i = 0; order->selection != NULL && i < order->n; i++)
        qk_selection_free(&order->selection[i]);
    free(order->selection);
    free(order->layer);
    free(order->end);
    free(order);
}

static void free_event(struct event *event)
{
    struct trials_event *own = (struct trials_event *)event;
    free_order(own->order);
    free(own);
}

/* Gives the ranges back. In the front end's thread. */
static void end_order(struct order *order)
{
    if (order != NULL && order->ranges != NULL)
        order->ranges->base.borrowed--;
    free_order(order);
}

static void publish(struct qk_session *session, struct event *event)
{
    struct trials_event *own = (struct trials_event *)event;
    struct trials *trials = session->trials;
    if (own->news == TRIALS_END) {
        end_order(own->order);
        own->order = NULL;
    }
    if (own->serial != trials->serial)
        return;
    if (own->error.code != QK_OK && trials->error.code == QK_OK) {
        trials->error = own->error;
        trials->state.error = trials->error.text;
    }
    if (own->news == TRIALS_ROUTING)
        trials->trial[own->trial].routing = own->value;
    if (own->news == TRIALS_SHIFT)
        trials->trial[own->trial].shift = own->value;
    bool last = own->news == (trials->state.ranges ? TRIALS_SHIFT : TRIALS_ROUTING);
    if (own->news == TRIALS_END)
        trials->state.n_done = trials->state.n;
    else if (last)
        trials->state.n_done++;
}

static enum qk_code new_event(
    enum trials_news news, uint64_t serial, struct trials_event **out, struct qk_error *err)
{
    QK_TRY(qk_alloc(out, 1, sizeof **out, err));
    (*out)->event = (struct event){.publish = publish, .free = free_event};
    (*out)->news = news;
    (*out)->serial = serial;
    return QK_OK;
}

/* --- the thread --- */

static enum qk_code routing_of(struct trials *trials, const struct order *order, size_t trial, int layer,
    double *out, struct qk_error *err)
{
    const struct qk_pair *pair = trials->session->pair;
    const struct current_sides context = {
        pair, QK_PRE, layer, &order->selection[trial].choice[layer], order->effective, order->norms};
    const struct qk_drift_sides sides = {qk_current_open, &context};
    struct qk_layer_drift drift;
    QK_TRY(qk_drift_layer(&pair->layer[layer], &sides, &trials->progress, &drift, err));
    *out = qk_metric_layer(&drift, QK_METRIC_ROUTING, -1);
    qk_layer_drift_free(&drift);
    return QK_OK;
}

static enum qk_code shift_of(struct trials *trials, const struct order *order, size_t trial, int layer,
    double *out, struct qk_error *err)
{
    const struct qk_pair *pair = trials->session->pair;
    struct qk_selection_patch patch;
    enum qk_code code =
        qk_selection_patch_make(pair, &order->selection[trial], layer, order->norms, &patch, err);
    if (code == QK_OK)
        code = qk_probe_shift(order->ranges->probe, layer, &patch.patch, &trials->progress, out, err);
    qk_selection_patch_free(&patch);
    return code;
}

/* Fills the event's value: the mean over the layers. */
static void run_trial(struct trials *trials, const struct order *order, struct trials_event *event)
{
    double sum = 0, value = NAN;
    enum qk_code code = QK_OK;
    for (int i = 0; i < order->n_layers && code == QK_OK; i++) {
        code = (event->news == TRIALS_ROUTING ? routing_of : shift_of)(
            trials, order, event->trial, order->layer[i], &value, &event->error);
        sum += value;
    }
    event->value = code == QK_OK ? sum / order->n_layers : NAN;
}

/* Posts one number after the other; it ends early when it is cancelled, or without memory. */
static void run_order(struct trials *trials, const struct order *order)
{
    for (int news = TRIALS_ROUTING; news <= (order->ranges != NULL ? TRIALS_SHIFT : TRIALS_ROUTING); news++)
        for (size_t i = 0; i < order->n; i++) {
            struct trials_event *event;
            if (qk_progress_check(&trials->progress, NULL) != QK_OK ||
                new_event((enum trials_news)news, order->serial, &event, NULL) != QK_OK)
                return;
            event->trial = i;
            run_trial(trials, order, event);
            if (event->error.code == QK_CANCELLED)
                free_event(&event->event);
            else
                qk_session_post(trials->session, &event->event);
        }
}

static void *trials_main(void *argument)
{
    struct trials *trials = argument;
    pthread_mutex_lock(&trials->mutex);
    while (!trials->stop) {
        struct order *order = trials->order;
        if (order == NULL) {
            pthread_cond_wait(&trials->work, &trials->mutex);
            continue;
        }
        trials->order = NULL;
        atomic_store(&trials->progress.cancel, false);
        pthread_mutex_unlock(&trials->mutex);
        run_order(trials, order);
        struct trials_event *end = order->end;
        order->end = NULL;
        end->order = order;
        qk_session_post(trials->session, &end->event);
        pthread_mutex_lock(&trials->mutex);
    }
    pthread_mutex_unlock(&trials->mutex);
    return NULL;
}

/* --- the front end's thread --- */

/* The newest ranges, when they have all these layers. */
static struct range_run *ranges_of(const struct qk_session *session, const int *layers, int n)
{
    struct range_run *run = (struct range_run *)session->ranges;
    for (int i = 0; run != NULL && i < n; i++)
        if (!run->layer[layers[i]].ready)
            run = NULL;
    return run;
}

static enum qk_code fill_order(
    struct order *order, const int *layers, const struct qk_selection *selection, struct qk_error *err)
{
    size_t n = order->n;
    order->n = 0;
    QK_TRY(qk_alloc(&order->layer, (size_t)order->n_layers, sizeof *order->layer, err));
    for (int i = 0; i < order->n_layers; i++)
        order->layer[i] = layers[i];
    QK_TRY(qk_alloc(&order->selection, n, sizeof *order->selection, err));
    for (; order->n < n; order->n++)
        QK_TRY(qk_selection_copy(&order->selection[order->n], &selection[order->n], err));
    QK_TRY(new_event(TRIALS_END, order->serial, &order->end, err));
    return QK_OK;
}

static enum qk_code start_trials(struct qk_session *session, struct qk_error *err)
{
    struct trials *trials = session->trials;
    if (trials == NULL) {
        QK_TRY(qk_alloc(&trials, 1, sizeof *trials, err));
        trials->session = session;
        pthread_mutex_init(&trials->mutex, NULL);
        pthread_cond_init(&trials->work, NULL);
        session->trials = trials;
    }
    if (!trials->started)
        QK_TRY(qk_thread_start(&trials->thread, trials_main, trials, err));
    trials->started = true;
    return QK_OK;
}

/* Hands the request (NULL: none) to the thread, in place of the one before. */
static void hand_over(struct trials *trials, struct order *order)
{
    pthread_mutex_lock(&trials->mutex);
    struct order *before = trials->order;
    trials->order = order;
    atomic_store(&trials->progress.cancel, true);
    pthread_cond_signal(&trials->work);
    pthread_mutex_unlock(&trials->mutex);
    end_order(before);
}

static enum qk_code reset(struct trials *trials, const struct order *order, struct qk_error *err)
{
    free(trials->trial);
    trials->state = (struct qk_trials){.n = 0};
    trials->error = (struct qk_error){.code = QK_OK};
    trials->serial = order->serial;
    QK_TRY(qk_alloc(&trials->trial, order->n, sizeof *trials->trial, err));
    for (size_t i = 0; i < order->n; i++)
        trials->trial[i] = (struct qk_tried){NAN, NAN};
    trials->state.n = order->n;
    trials->state.ranges = order->ranges != NULL;
    trials->state.trial = trials->trial;
    return QK_OK;
}

enum qk_code qk_session_try(struct qk_session *session, const int *layers, int n_layers,
    const struct qk_selection *selection, size_t n, struct qk_error *err)
{
    struct order *order;
    QK_TRY(start_trials(session, err));
    struct trials *trials = session->trials;
    QK_TRY(qk_alloc(&order, 1, sizeof *order, err));
    *order = (struct order){.serial = qk_session_serial(session),
        .n_layers = n_layers,
        .n = n,
        .effective = qk_session_effective(session),
        .norms = qk_session_norms(session),
        .ranges = n > 0 ? ranges_of(session, layers, n_layers) : NULL};
    if (order->ranges != NULL)
        order->ranges->base.borrowed++;
    enum qk_code code = n > 0 ? fill_order(order, layers, selection, err) : QK_OK;
    if (code == QK_OK)
        code = reset(trials, order, err);
    bool runs = code == QK_OK && n > 0;
    hand_over(trials, runs ? order : NULL);
    if (!runs)
        end_order(order);
    return code;
}

const struct qk_trials *qk_session_trials(const struct qk_session *session)
{
    static const struct qk_trials none = {.n = 0};
    return session->trials != NULL ? &session->trials->state : &none;
}

static void close_trials(struct qk_session *session)
{
    struct trials *trials = session->trials;
    if (trials == NULL)
        return;
    pthread_mutex_lock(&trials->mutex);
    trials->stop = true;
    atomic_store(&trials->progress.cancel, true);
    pthread_cond_signal(&trials->work);
    pthread_mutex_unlock(&trials->mutex);
    if (trials->started)
        pthread_join(trials->thread, NULL);
    end_order(trials->order);
    pthread_cond_destroy(&trials->work);
    pthread_mutex_destroy(&trials->mutex);
    free(trials->trial);
    free(trials);
}

const struct session_part qk_trials_part = {.close = close_trials};
