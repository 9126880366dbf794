/* range_thread.c - the two threads of a probe: one for passes, one for the work after each choice. */
#include "session/range_thread.h"

#include "base/mem.h"
#include "base/thread.h"
#include "range/range_cache.h"
#include "range/restored.h"
#include "token/tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- events --- */

static void free_event(struct event *event)
{
    struct range_event *own = (struct range_event *)event;
    qk_layer_range_free(&own->range);
    for (int i = 0; own->exact != NULL && i < own->n_exact; i++)
        qk_layer_range_free(&own->exact[i]);
    free(own->exact);
    qk_answered_rows_free(&own->rows);
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        qk_profile_free(&own->profile[s]);
    free(own);
}

enum qk_code qk_range_event_new(
    const struct range_run *run, enum range_news news, struct range_event **out, struct qk_error *err)
{
    QK_TRY(qk_alloc(out, 1, sizeof **out, err));
    (*out)->event = (struct event){.publish = qk_ranges_publish, .free = free_event};
    (*out)->serial = run->serial;
    (*out)->news = news;
    return QK_OK;
}

static enum qk_code post_news(struct range_run *run, enum range_news news, int layer, struct qk_error *err)
{
    struct range_event *event;
    QK_TRY(qk_range_event_new(run, news, &event, err));
    event->layer = layer;
    qk_session_post(run->session, &event->event);
    return QK_OK;
}

/* --- the first thread: opening, the passes, exact runs --- */

static enum qk_code make_pieces(struct range_run *run, struct qk_error *err)
{
    const struct qk_probe *probe = run->probe;
    if (probe->tokenizer == NULL)
        return QK_OK;
    QK_TRY(qk_alloc(&run->piece, probe->T, sizeof *run->piece, err));
    for (size_t i = 0; i < probe->T; i++) { /* an id unknown to the tokenizer is shown as a number */
        struct qk_error unheard = {0};
        qk_tokenizer_piece(probe->tokenizer, probe->ids[i], &run->piece[i].text, &run->piece[i].n, &unheard);
    }
    return QK_OK;
}

/* The reports of the passes are in the run, too: the event of their end replaces events for which there was no
 * memory. */
static void on_side(void *context, enum qk_side side)
{
    post_news(context, RANGE_SIDE, (int)side, NULL);
}

static void on_ready(void *context, int layer)
{
    struct range_run *run = context;
    pthread_mutex_lock(&run->follow.mutex);
    run->ready[layer] = true;
    pthread_cond_broadcast(&run->follow.work);
    pthread_mutex_unlock(&run->follow.mutex);
    post_news(run, RANGE_LAYER, layer, NULL);
}

static enum qk_code run_probe(struct range_run *run, struct qk_error *err)
{
    const struct qk_probe_watch watch = {.context = run, .side = on_side, .ready = on_ready};
    QK_TRY(qk_probe_open(run->session->pair, &run->options, &run->probe, err));
    QK_TRY(make_pieces(run, err));
    QK_TRY(qk_progress_check(&run->progress, err));
    post_news(run, RANGE_OPENED, 0, NULL);
    if (run->options.cached)
        qk_range_cache_load(run->probe);
    return qk_probe_run_restored(run->probe, NULL, &watch, &run->progress, err);
}

/* Fails only without memory for its events; any other fault is in the event. */
static enum qk_code run_exact(void *context, const struct follow_job *job, struct qk_error *err)
{
    struct range_run *run = context;
    struct range_event *event;
    struct qk_selection_patch patch;
    QK_TRY(post_news(run, RANGE_EXACT_STARTED, 0, err));
    QK_TRY(qk_range_event_new(run, RANGE_EXACT, &event, err));
    event->generation = job->generation;
    event->n_exact = run->n_layers;
    enum qk_code code = qk_alloc(&event->exact, (size_t)run->n_layers, sizeof *event->exact, &event->error);
    if (code == QK_OK) {
        code = qk_selection_patch_make(
            run->session->pair, &job->selection, -1, job->norms, &patch, &event->error);
        if (code == QK_OK)
            code = qk_probe_exact(
                run->probe, &patch.patch, NULL, &run->follow.exact_progress, event->exact, &event->error);
        qk_selection_patch_free(&patch);
    }
    if (code != QK_OK) {
        free(event->exact); /* its entries hold nothing then */
        event->exact = NULL;
    }
    qk_session_post(run->session, &event->event);
    return QK_OK;
}

/* --- estimates, without a forward pass --- */

static bool estimates(const struct range_run *run)
{
    const struct qk_pair *pair = run->session->pair;
    bool any = false;
    const char *why;
    for (int i = 0; i < run->n_layers; i++)
        any = any || qk_probe_has_profile(pair, i);
    return any && run->options.states_path[QK_POST] == NULL &&
           qk_probe_pass_missing(pair, &why, NULL) == QK_OK && why != NULL;
}

static enum qk_code run_profile(struct range_run *run, int layer, struct qk_error *err)
{
    const struct qk_pair *pair = run->session->pair;
    struct range_event *event;
    QK_TRY(qk_range_event_new(run, RANGE_PROFILE, &event, err));
    enum qk_code code = QK_OK;
    event->layer = layer;
    for (int s = 0; s < QK_SIDE_COUNT && code == QK_OK; s++)
        code = qk_profile_make(pair->model[s], pair->layer[layer].side[s],
            qk_probe_profile_points(&run->options), &event->profile[s], &event->error);
    qk_session_post(run->session, &event->event);
    return QK_OK;
}

/* The selected layer as long as it has no result, else the next. */
static enum qk_code run_profiles(struct range_run *run, struct qk_error *err)
{
    const struct qk_pair *pair = run->session->pair;
    for (int next = 0; next < run->n_layers && qk_progress_check(&run->progress, NULL) == QK_OK;) {
        int selected = qk_layers_selected(run->session);
        bool first = selected >= 0 && selected < run->n_layers && !run->profiled[selected];
        int layer = first ? selected : next++;
        if (!run->profiled[layer] && qk_probe_has_profile(pair, layer))
            QK_TRY(run_profile(run, layer, err));
        run->profiled[layer] = true;
    }
    return QK_OK;
}

static void post_last(struct range_run *run, struct range_event **last, const struct qk_error *error)
{
    struct range_event *event = *last;
    *last = NULL;
    event->error = *error;
    qk_session_post(run->session, &event->event);
}

static void *pass_main(void *argument)
{
    struct range_run *run = argument;
    struct qk_error error = {0}, ended = {0};
    enum qk_code code = run_probe(run, &error);
    bool estimated = code == QK_INPUT && estimates(run);
    run->done->estimated = estimated;
    post_last(run, &run->done, &error);
    if (estimated)
        run_profiles(run, &ended);
    if (code == QK_OK && run->options.cached)
        qk_range_cache_store(run->probe, NULL); /* without it only time is lost */
    if (code == QK_OK && run->probe->origin == QK_ORIGIN_PASS)
        qk_follow_exactly(&run->follow, run_exact, run, &ended);
    post_last(run, &run->last[RANGE_PASSES], &ended);
    return NULL;
}

/* --- the second thread: post's states, the present choices --- */

struct range_job {
    struct follow_job follow;
    bool rows; /* from this query, instead of ranges */
    size_t query;
};

static bool take_rows(struct range_run *run, struct range_job *job)
{
    job->rows = run->requests.wanted && run->ready[run->requests.layer] &&
                qk_row_requests_take(&run->requests, &run->follow, &job->follow, &job->query);
    return job->rows;
}

static bool take_same(struct range_run *run, int layer, struct range_job *job)
{
    return layer >= 0 && layer < run->n_layers && run->ready[layer] &&
           qk_follow_take(&run->follow, layer, &job->follow);
}

/* The order of work: the selected layer, then requests about tokens, then the rest. */
static bool take_job(struct range_run *run, struct range_job *job)
{
    if (take_same(run, qk_layers_selected(run->session), job) || take_rows(run, job))
        return true;
    for (int i = 0; i < run->n_layers; i++)
        if (take_same(run, i, job))
            return true;
    return false;
}

static enum qk_code compute_rows(
    struct range_run *run, const struct range_job *query, struct answered_rows *rows, struct qk_error *err)
{
    const struct follow_job *job = &query->follow;
    rows->layer = job->layer;
    rows->query = query->query;
    rows->generation = job->generation;
    rows->n_heads = run->probe->layer[rows->layer].side[QK_POST].n_heads;
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        QK_TRY(qk_probe_rows(run->probe, rows->layer, (enum qk_side)s, NULL, rows->query,
            &rows->row[s == QK_PRE ? QK_RANGE_PRE : QK_RANGE_POST], err));
    if (!job->chosen)
        return QK_OK;
    struct qk_selection_patch patch;
    enum qk_code code =
        qk_selection_patch_make(run->session->pair, &job->selection, rows->layer, job->norms, &patch, err);
    if (code == QK_OK)
        code = qk_probe_rows(
            run->probe, rows->layer, QK_POST, &patch.patch, rows->query, &rows->row[QK_RANGE_CURRENT], err);
    qk_selection_patch_free(&patch);
    return code;
}

static enum qk_code compute_same(
    struct range_run *run, const struct follow_job *job, struct qk_layer_range *out, struct qk_error *err)
{
    struct qk_selection_patch patch;
    enum qk_code code =
        qk_selection_patch_make(run->session->pair, &job->selection, job->layer, job->norms, &patch, err);
    if (code == QK_OK)
        code = qk_probe_same(run->probe, job->layer, &patch.patch, &run->follow.layer_progress, out, err);
    qk_selection_patch_free(&patch);
    return code;
}

/* Fails only without memory for its event; any other fault is in the event. */
static enum qk_code run_job(struct range_run *run, const struct range_job *range, struct qk_error *err)
{
    const struct follow_job *job = &range->follow;
    struct range_event *event;
    QK_TRY(qk_range_event_new(run, range->rows ? RANGE_ROWS : RANGE_SAME, &event, err));
    event->layer = job->layer;
    event->generation = job->generation;
    if (range->rows)
        compute_rows(run, range, &event->rows, &event->error);
    else
        compute_same(run, job, &event->range, &event->error);
    if (event->error.code == QK_CANCELLED)
        free_event(&event->event);
    else
        qk_session_post(run->session, &event->event);
    return QK_OK;
}

static void *follow_main(void *argument)
{
    struct range_run *run = argument;
    struct qk_error ended = {0};
    enum qk_code code = QK_OK;
    pthread_mutex_lock(&run->follow.mutex);
    while (!run->follow.stop && code == QK_OK) {
        struct range_job job = {0};
        if (!take_job(run, &job)) {
            pthread_cond_wait(&run->follow.work, &run->follow.mutex);
            continue;
        }
        code = qk_selection_copy(&job.follow.selection, &run->follow.selection, &ended);
        if (code != QK_OK)
            break;
        pthread_mutex_unlock(&run->follow.mutex);
        code = run_job(run, &job, &ended);
        qk_selection_free(&job.follow.selection);
        pthread_mutex_lock(&run->follow.mutex);
        run->follow.layer = -1;
    }
    pthread_mutex_unlock(&run->follow.mutex);
    post_last(run, &run->last[RANGE_FOLLOWS], &ended);
    return NULL;
}

/* --- starting and ending --- */

enum qk_code qk_range_run_start(struct range_run *run, struct qk_error *err)
{
    static void *(*const MAIN[RANGE_THREADS])(void *) = {
        [RANGE_PASSES] = pass_main, [RANGE_FOLLOWS] = follow_main};
    for (; run->n_threads < RANGE_THREADS; run->n_threads++)
        QK_TRY(qk_thread_start(&run->thread[run->n_threads], MAIN[run->n_threads], run, err));
    return QK_OK;
}

void qk_range_run_stop(struct range_run *run)
{
    atomic_store(&run->progress.cancel, true);
    qk_follow_stop(&run->follow);
}

void qk_range_run_free(struct range_run *run)
{
    for (int i = 0; i < run->n_threads; i++)
        pthread_join(run->thread[i], NULL);
    for (size_t i = 0; run->piece != NULL && i < run->probe->T; i++)
        free(run->piece[i].text);
    for (int i = 0; run->layer != NULL && i < run->n_layers; i++) {
        qk_layer_range_free(&run->layer[i].same);
        for (int s = 0; s < QK_SIDE_COUNT; s++)
            qk_profile_free(&run->layer[i].profile[s]);
    }
    for (int i = 0; run->exact != NULL && i < run->n_layers; i++)
        qk_layer_range_free(&run->exact[i]);
    for (size_t i = 0; i < sizeof run->path / sizeof run->path[0]; i++)
        free(run->path[i]);
    for (int i = 0; i < RANGE_THREADS; i++)
        if (run->last[i] != NULL)
            free_event(&run->last[i]->event);
    if (run->done != NULL)
        free_event(&run->done->event);
    qk_row_requests_free(&run->requests);
    qk_probe_close(run->probe);
    qk_follow_free(&run->follow);
    free(run->piece);
    free(run->layer);
    free(run->exact);
    free(run->ready);
    free(run->profiled);
    free(run);
}
