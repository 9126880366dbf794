/* run.c - the threads, events and lists of runs. */
#include "session/run.h"

#include "base/mem.h"
#include "base/thread.h"
#include "session/layers.h"

#include <stdlib.h>
#include <string.h>

/* --- events --- */

static void free_event(struct event *event)
{
    struct run_event *own = (struct run_event *)event;
    own->kind->free_event(own);
    qk_answered_rows_free(&own->rows);
    free(own);
}

/* Frees the runs behind the newest whose threads have ended, and which nobody uses. */
static void free_ended(struct run **list)
{
    for (struct run **at = &(*list)->next; *at != NULL;) {
        struct run *run = *at;
        if (run->n_ended < run->n_threads || run->borrowed > 0) {
            at = &run->next;
            continue;
        }
        *at = run->next;
        qk_run_free(run);
    }
}

static bool publish_done(struct run *run, struct run_event *event)
{
    run->error = event->error;
    return true;
}

static bool publish_same(struct run *run, struct run_event *event)
{
    run->same[event->layer] = (struct run_same){true, event->generation, event->error};
    return true;
}

static bool publish_exact_started(struct run *run, struct run_event *event)
{
    (void)event;
    run->exact->running = true;
    return true;
}

static bool publish_exact(struct run *run, struct run_event *event)
{
    run->exact->running = false;
    if (event->error.code == QK_CANCELLED)
        return false;
    run->exact_generation = event->generation;
    run->exact_error = event->error;
    run->exact->error = qk_error_text(&run->exact_error);
    return true;
}

static bool publish_rows(struct run *run, struct run_event *event)
{
    qk_row_requests_publish(&run->requests, &event->rows, &event->error);
    return true;
}

static bool publish_ended(struct run *run, struct run_event *event)
{
    run->n_ended++;
    run->ended[event->layer] = event->error;
    if (event->layer != RUN_PASSES || event->error.code == QK_OK)
        return true;
    run->exact->running = false;
    run->exact->error = run->ended[RUN_PASSES].text;
    return true;
}

/* The newest run takes every event; replaced runs take only the end of their threads. */
static void publish(struct qk_session *session, struct event *event)
{
    static bool (*const COMMON[RUN_NEWS])(struct run *, struct run_event *) = {[RUN_DONE] = publish_done,
        [RUN_SAME] = publish_same,
        [RUN_EXACT_STARTED] = publish_exact_started,
        [RUN_EXACT] = publish_exact,
        [RUN_ROWS] = publish_rows,
        [RUN_ENDED] = publish_ended};
    struct run_event *own = (struct run_event *)event;
    struct run **list = own->kind->list(session), *run = *list;
    while (run != NULL && run->serial != own->serial)
        run = run->next;
    if (run != NULL && (run == *list || own->news == RUN_ENDED)) {
        bool goes_on = own->news >= RUN_NEWS || COMMON[own->news](run, own);
        if (goes_on && own->kind->publish[own->news] != NULL)
            own->kind->publish[own->news](run, own);
    }
    if (*list != NULL)
        free_ended(list);
}

enum qk_code qk_run_event_new(const struct run *run, int news, void *out, struct qk_error *err)
{
    struct run_event *event;
    QK_TRY(qk_alloc(&event, 1, run->kind->event_bytes, err));
    event->event = (struct event){.publish = publish, .free = free_event};
    event->kind = run->kind;
    event->serial = run->serial;
    event->news = news;
    memcpy(out, &event, sizeof event);
    return QK_OK;
}

enum qk_code qk_run_post_news(struct run *run, int news, int layer, struct qk_error *err)
{
    struct run_event *event;
    QK_TRY(qk_run_event_new(run, news, &event, err));
    event->layer = layer;
    qk_session_post(run->session, &event->event);
    return QK_OK;
}

static void post_kept(struct run *run, struct run_event **kept, const struct qk_error *error)
{
    struct run_event *event = *kept;
    *kept = NULL;
    event->error = *error;
    qk_session_post(run->session, &event->event);
}

void qk_run_post_done(struct run *run, const struct qk_error *error)
{
    post_kept(run, &run->done, error);
}

void qk_run_post_end(struct run *run, enum run_thread thread, const struct qk_error *error)
{
    post_kept(run, &run->last[thread], error);
}

/* --- the first thread: exact runs --- */

/* Fails only without memory for its events; any other fault is in the event. */
static enum qk_code run_exact(void *context, const struct follow_job *job, struct qk_error *err)
{
    struct run *run = context;
    struct run_event *event;
    QK_TRY(qk_run_post_news(run, RUN_EXACT_STARTED, 0, err));
    QK_TRY(qk_run_event_new(run, RUN_EXACT, &event, err));
    event->generation = job->generation;
    run->kind->exact(run, job, event);
    qk_session_post(run->session, &event->event);
    return QK_OK;
}

enum qk_code qk_run_follow_exactly(struct run *run, struct qk_error *err)
{
    return qk_follow_exactly(&run->follow, run_exact, run, err);
}

/* --- the second thread: kept states, the present choices --- */

struct run_job {
    struct follow_job follow;
    bool rows; /* from this query, instead of numbers of the layer */
    size_t query;
};

static bool take_same(struct run *run, int layer, struct run_job *job)
{
    return layer >= 0 && layer < run->n_layers && run->kind->has_layer(run, layer) &&
           qk_follow_take(&run->follow, layer, &job->follow);
}

static bool take_rows(struct run *run, struct run_job *job)
{
    job->rows = run->requests.wanted && run->kind->has_rows(run, run->requests.layer) &&
                qk_row_requests_take(&run->requests, &run->follow, &job->follow, &job->query);
    return job->rows;
}

/* The order of work: the selected layer, then requests about tokens, then the rest. */
static bool take_job(struct run *run, struct run_job *job)
{
    if (take_same(run, qk_layers_selected(run->session), job) || take_rows(run, job))
        return true;
    for (int i = 0; i < run->n_layers; i++)
        if (take_same(run, i, job))
            return true;
    return false;
}

static enum qk_code compute_rows(
    struct run *run, const struct run_job *job, struct answered_rows *rows, struct qk_error *err)
{
    const struct run_kind *kind = run->kind;
    int layer = job->follow.layer;
    rows->layer = layer;
    rows->query = job->query;
    rows->generation = job->follow.generation;
    rows->n_heads = kind->row_heads(run, layer);
    QK_TRY(kind->rows(run, layer, QK_PRE, NULL, job->query, &rows->row[QK_RANGE_PRE], err));
    QK_TRY(kind->rows(run, layer, QK_POST, NULL, job->query, &rows->row[QK_RANGE_POST], err));
    if (!job->follow.chosen)
        return QK_OK;
    return kind->rows(run, layer, QK_POST, &job->follow, job->query, &rows->row[QK_RANGE_CURRENT], err);
}

/* Fails only without memory for its event; any other fault is in the event. */
static enum qk_code run_job(struct run *run, const struct run_job *job, struct qk_error *err)
{
    struct run_event *event;
    QK_TRY(qk_run_event_new(run, job->rows ? RUN_ROWS : RUN_SAME, &event, err));
    event->layer = job->follow.layer;
    event->generation = job->follow.generation;
    if (job->rows)
        compute_rows(run, job, &event->rows, &event->error);
    else
        run->kind->same(run, &job->follow, event);
    if (event->error.code == QK_CANCELLED)
        free_event(&event->event);
    else
        qk_session_post(run->session, &event->event);
    return QK_OK;
}

static void *follow_main(void *argument)
{
    struct run *run = argument;
    struct follow *follow = &run->follow;
    struct qk_error ended = {0};
    enum qk_code code = QK_OK;
    pthread_mutex_lock(&follow->mutex);
    while (!follow->stop && code == QK_OK) {
        struct run_job job = {0};
        if (!take_job(run, &job)) {
            pthread_cond_wait(&follow->work, &follow->mutex);
            continue;
        }
        code = qk_selection_copy(&job.follow.selection, &follow->selection, &ended);
        if (code != QK_OK)
            break;
        pthread_mutex_unlock(&follow->mutex);
        code = run_job(run, &job, &ended);
        qk_selection_free(&job.follow.selection);
        pthread_mutex_lock(&follow->mutex);
        follow->layer = -1;
    }
    pthread_mutex_unlock(&follow->mutex);
    qk_run_post_end(run, RUN_FOLLOWS, &ended);
    return NULL;
}

/* --- starting and ending --- */

enum qk_code qk_run_init(struct run *run, const struct run_kind *kind, struct qk_session *session,
    struct qk_exact_state *exact, struct qk_error *err)
{
    run->kind = kind;
    run->session = session;
    run->serial = qk_session_serial(session);
    run->n_layers = session->pair->n_layers;
    run->exact = exact;
    qk_row_requests_init(&run->requests);
    QK_TRY(qk_follow_init(&run->follow, session, err));
    QK_TRY(qk_alloc(&run->same, (size_t)run->n_layers, sizeof *run->same, err));
    QK_TRY(qk_run_event_new(run, RUN_DONE, &run->done, err));
    for (int i = 0; i < RUN_THREADS; i++) {
        QK_TRY(qk_run_event_new(run, RUN_ENDED, &run->last[i], err));
        run->last[i]->layer = i;
    }
    return QK_OK;
}

/* Asks the threads to end as soon as they can. */
static void stop(struct run *run)
{
    atomic_store(&run->progress.cancel, true);
    qk_follow_stop(&run->follow);
}

enum qk_code qk_run_start(struct run *run, struct qk_error *err)
{
    struct run **list = run->kind->list(run->session);
    void *(*const main_of[RUN_THREADS])(void *) = {
        [RUN_PASSES] = run->kind->passes, [RUN_FOLLOWS] = follow_main};
    for (; run->n_threads < RUN_THREADS; run->n_threads++)
        QK_TRY(qk_thread_start(&run->thread[run->n_threads], main_of[run->n_threads], run, err));
    if (*list != NULL)
        stop(*list);
    run->next = *list;
    *list = run;
    free_ended(list);
    return QK_OK;
}

void qk_run_free(struct run *run)
{
    stop(run);
    for (int i = 0; i < run->n_threads; i++)
        pthread_join(run->thread[i], NULL);
    run->kind->free(run);
    for (int i = 0; i < RUN_THREADS; i++)
        if (run->last[i] != NULL)
            free_event(&run->last[i]->event);
    if (run->done != NULL)
        free_event(&run->done->event);
    qk_row_requests_free(&run->requests);
    qk_follow_free(&run->follow);
    free(run->same);
    free(run);
}

void qk_run_cancel(struct run *run)
{
    atomic_store(&run->progress.cancel, true);
    atomic_store(&run->follow.exact_progress.cancel, true);
}

void qk_runs_close(struct run **list)
{
    for (struct run *run = *list; run != NULL; run = run->next)
        stop(run);
    while (*list != NULL) {
        struct run *run = *list;
        *list = run->next;
        qk_run_free(run);
    }
}

void qk_run_watch_exact(struct run *run)
{
    run->exact->done = atomic_load(&run->follow.exact_progress.done);
    run->exact->total = atomic_load(&run->follow.exact_progress.total);
}

/* --- asking --- */

bool qk_run_same_known(const struct run *run, int layer)
{
    const struct run_same *same = &run->same[layer];
    return same->known && same->generation == run->follow.asked[layer] && same->error.code == QK_OK;
}

enum qk_current_range qk_run_current(const struct run *run, int layer, bool has_exact, const char **why)
{
    const struct run_same *same = &run->same[layer];
    *why = NULL;
    if (qk_selection_count(&run->follow.selection) == 0)
        return QK_CURRENT_POST;
    if (has_exact && run->exact_generation == run->follow.generation)
        return QK_CURRENT_EXACT;
    if (!qk_follow_chosen(&run->follow, layer)) /* on the same states a kept layer is post's */
        return QK_CURRENT_SAME;
    bool fresh = same->known && same->generation == run->follow.asked[layer];
    *why = qk_error_text(fresh ? &same->error : &run->ended[RUN_FOLLOWS]);
    return *why != NULL ? QK_CURRENT_FAILED : fresh ? QK_CURRENT_SAME : QK_CURRENT_PENDING;
}

const char *qk_run_rows_error(const struct run *run)
{
    if (run == NULL)
        return NULL;
    return qk_error_text(run->requests.error.code != QK_OK ? &run->requests.error : &run->ended[RUN_FOLLOWS]);
}
