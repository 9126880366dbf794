/* range_thread.c - the two threads of a probe: passes, and what follows each choice. */
#include "session/range_thread.h"

#include "base/mem.h"
#include "base/thread.h"
#include "range/range_cache.h"
#include "range/restored.h"
#include "token/tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- news --- */

void qk_range_rows_free(struct range_rows *rows)
{
    for (int s = 0; s < QK_RANGE_SIDES; s++)
        free(rows->row[s]);
    memset(rows, 0, sizeof *rows);
}

void qk_session_free_news(struct range_news *news)
{
    if (news == NULL)
        return;
    qk_layer_range_free(&news->range);
    for (int i = 0; news->exact != NULL && i < news->n_exact; i++)
        qk_layer_range_free(&news->exact[i]);
    free(news->exact);
    qk_range_rows_free(&news->rows);
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        qk_profile_free(&news->profile[s]);
    free(news);
}

/* A message with news in it; NULL when memory ran out: then the front end does not learn of it. */
static struct message *new_message(struct range_run *run, enum news_kind kind)
{
    struct message *message = calloc(1, sizeof *message);
    struct range_news *news = calloc(1, sizeof *news);
    if (message == NULL || news == NULL) {
        free(message);
        free(news);
        return NULL;
    }
    message->kind = MESSAGE_RANGE;
    message->news = news;
    news->run = run;
    news->kind = kind;
    return message;
}

static void tell(struct range_run *run, enum news_kind kind, int layer)
{
    struct message *message = new_message(run, kind);
    if (message == NULL)
        return;
    message->news->layer = layer;
    qk_session_post(run->session, message);
}

bool qk_range_run_chosen(const struct range_run *run, int layer)
{
    return !qk_choices_keep(run->selection.choice[layer]);
}

/* --- the first thread: opening, the passes, exact runs --- */

static enum qk_code make_pieces(struct range_run *run, struct qk_error *err)
{
    const struct qk_probe *probe = run->probe;
    if (probe->tokenizer == NULL)
        return QK_OK;
    QK_TRY(qk_alloc(&run->piece, probe->T, sizeof *run->piece, err));
    for (size_t i = 0; i < probe->T; i++) { /* an id that the tokenizer does not know is shown as a number */
        struct qk_error unheard = {0};
        qk_tokenizer_piece(probe->tokenizer, probe->ids[i], &run->piece[i].text, &run->piece[i].n, &unheard);
    }
    return QK_OK;
}

static void on_side(void *context, enum qk_side side)
{
    tell(context, NEWS_SIDE, (int)side);
}

static void on_ready(void *context, int layer)
{
    struct range_run *run = context;
    pthread_mutex_lock(&run->mutex);
    run->ready[layer] = true;
    pthread_cond_broadcast(&run->work);
    pthread_mutex_unlock(&run->mutex);
    tell(run, NEWS_LAYER, layer);
}

static enum qk_code run_probe(struct range_run *run, struct qk_error *err)
{
    const struct qk_probe_watch watch = {.context = run, .side = on_side, .ready = on_ready};
    QK_TRY(qk_probe_open(run->session->pair, &run->options, &run->probe, err));
    QK_TRY(make_pieces(run, err));
    QK_TRY(qk_progress_check(&run->progress, err));
    tell(run, NEWS_OPENED, 0);
    if (run->options.cached)
        qk_range_cache_load(run->probe);
    return qk_probe_run_restored(run->probe, NULL, &watch, &run->progress, err);
}

static void run_exact(
    struct range_run *run, const struct qk_selection *selection, bool norms, unsigned generation)
{
    struct message *message = new_message(run, NEWS_EXACT);
    if (message == NULL)
        return;
    struct range_news *news = message->news;
    struct qk_selection_patch patch;
    tell(run, NEWS_EXACT_STARTED, 0);
    news->generation = generation;
    news->n_exact = run->n_layers;
    enum qk_code code = qk_alloc(&news->exact, (size_t)run->n_layers, sizeof *news->exact, &news->error);
    if (code == QK_OK) {
        code = qk_selection_patch_make(run->session->pair, selection, -1, norms, &patch, &news->error);
        if (code == QK_OK)
            code = qk_probe_exact(
                run->probe, &patch.patch, NULL, &run->exact_progress, news->exact, &news->error);
        qk_selection_patch_free(&patch);
    }
    if (code != QK_OK) {
        free(news->exact); /* its entries hold nothing then */
        news->exact = NULL;
    }
    qk_session_post(run->session, message);
}

/* True once the choices have rested; waits for a part of the time otherwise. */
static bool rested(struct range_run *run)
{
    struct timespec due = run->changed, now;
    due.tv_nsec += QK_EXACT_AFTER % 1000 * 1000000L;
    due.tv_sec += QK_EXACT_AFTER / 1000 + due.tv_nsec / 1000000000L;
    due.tv_nsec %= 1000000000L;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec > due.tv_sec || (now.tv_sec == due.tv_sec && now.tv_nsec >= due.tv_nsec))
        return true;
    pthread_cond_timedwait(&run->work, &run->mutex, &due);
    return false;
}

static void follow_exactly(struct range_run *run)
{
    pthread_mutex_lock(&run->mutex);
    while (!run->stop) {
        struct qk_selection selection;
        if (run->exact_tried == run->generation || qk_selection_count(&run->selection) == 0) {
            pthread_cond_wait(&run->work, &run->mutex);
            continue;
        }
        if (!rested(run))
            continue;
        unsigned generation = run->exact_tried = run->generation;
        bool norms = run->norms;
        if (qk_selection_copy(&selection, &run->selection, NULL) != QK_OK)
            continue;
        run->exact_busy = true;
        atomic_store(&run->exact_progress.cancel, false);
        atomic_store(&run->exact_progress.done, 0);
        pthread_mutex_unlock(&run->mutex);
        run_exact(run, &selection, norms, generation);
        qk_selection_free(&selection);
        pthread_mutex_lock(&run->mutex);
        run->exact_busy = false;
    }
    pthread_mutex_unlock(&run->mutex);
}

/* --- estimates, where nothing can be run --- */

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

static int selected_layer(struct range_run *run)
{
    struct shared *shared = &run->session->shared;
    pthread_mutex_lock(&shared->mutex);
    int selected = shared->selected;
    pthread_mutex_unlock(&shared->mutex);
    return selected;
}

static void run_profile(struct range_run *run, int layer)
{
    const struct qk_pair *pair = run->session->pair;
    struct message *message = new_message(run, NEWS_PROFILE);
    if (message == NULL)
        return;
    struct range_news *news = message->news;
    enum qk_code code = QK_OK;
    news->layer = layer;
    for (int s = 0; s < QK_SIDE_COUNT && code == QK_OK; s++)
        code = qk_profile_make(pair->model[s], pair->layer[layer].side[s],
            qk_probe_profile_points(&run->options), &news->profile[s], &news->error);
    qk_session_post(run->session, message);
}

/* The selected layer whenever it is not there yet, else the next. */
static void run_profiles(struct range_run *run)
{
    const struct qk_pair *pair = run->session->pair;
    bool *done;
    if (qk_alloc(&done, (size_t)run->n_layers, sizeof *done, NULL) != QK_OK)
        return;
    for (int next = 0; next < run->n_layers && qk_progress_check(&run->progress, NULL) == QK_OK;) {
        int selected = selected_layer(run);
        bool first = selected >= 0 && selected < run->n_layers && !done[selected];
        int layer = first ? selected : next++;
        if (!done[layer] && qk_probe_has_profile(pair, layer))
            run_profile(run, layer);
        done[layer] = true;
    }
    free(done);
}

static void tell_done(struct range_run *run, const struct qk_error *error, bool estimated)
{
    struct message *message = new_message(run, NEWS_DONE);
    if (message == NULL)
        return;
    message->news->error = *error;
    message->news->estimated = estimated;
    qk_session_post(run->session, message);
}

static void *pass_main(void *argument)
{
    struct range_run *run = argument;
    struct message *ended = new_message(run, NEWS_ENDED);
    struct qk_error error = {0};
    enum qk_code code = run_probe(run, &error);
    bool estimated = code == QK_INPUT && estimates(run);
    tell_done(run, &error, estimated);
    if (estimated)
        run_profiles(run);
    if (code == QK_OK && run->options.cached)
        qk_range_cache_store(run->probe, NULL); /* nothing is lost without it but time */
    if (code == QK_OK && run->probe->origin == QK_ORIGIN_PASS)
        follow_exactly(run);
    if (ended != NULL)
        qk_session_post(run->session, ended);
    return NULL;
}

/* --- the second thread: post's states, the present choices --- */

struct follow_job {
    int layer; /* -1: rows */
    unsigned generation;
    bool norms, chosen;
    size_t query;
    struct qk_selection selection;
};

static bool needs_same(const struct range_run *run, int layer)
{
    return run->ready[layer] && run->answered[layer] != run->asked[layer] && qk_range_run_chosen(run, layer);
}

static bool take_same(struct range_run *run, int layer, struct follow_job *job)
{
    if (layer < 0 || layer >= run->n_layers || !needs_same(run, layer) ||
        qk_selection_copy(&job->selection, &run->selection, NULL) != QK_OK)
        return false;
    job->layer = layer;
    job->generation = run->answered[layer] = run->asked[layer];
    job->norms = run->norms;
    run->same_layer = layer;
    atomic_store(&run->same_progress.cancel, false);
    return true;
}

static bool take_rows(struct range_run *run, struct follow_job *job)
{
    if (!run->rows_wanted || !run->ready[run->rows_layer] ||
        qk_selection_copy(&job->selection, &run->selection, NULL) != QK_OK)
        return false;
    run->rows_wanted = false;
    job->layer = -1 - run->rows_layer;
    job->query = run->rows_query;
    job->generation = run->asked[run->rows_layer];
    job->norms = run->norms;
    job->chosen = qk_range_run_chosen(run, run->rows_layer);
    return true;
}

/* The selected layer, then what is asked about tokens, then the rest. */
static bool take_job(struct range_run *run, struct follow_job *job)
{
    if (take_same(run, selected_layer(run), job) || take_rows(run, job))
        return true;
    for (int i = 0; i < run->n_layers; i++)
        if (take_same(run, i, job))
            return true;
    return false;
}

static enum qk_code compute_rows(
    struct range_run *run, const struct follow_job *job, struct range_rows *rows, struct qk_error *err)
{
    rows->layer = -1 - job->layer;
    rows->query = job->query;
    rows->generation = job->generation;
    rows->n_heads = run->probe->layer[rows->layer].side[QK_POST].n_heads;
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        QK_TRY(qk_probe_rows(run->probe, rows->layer, (enum qk_side)s, NULL, job->query,
            &rows->row[s == QK_PRE ? QK_RANGE_PRE : QK_RANGE_POST], err));
    if (!job->chosen)
        return QK_OK;
    struct qk_selection_patch patch;
    enum qk_code code =
        qk_selection_patch_make(run->session->pair, &job->selection, rows->layer, job->norms, &patch, err);
    if (code == QK_OK)
        code = qk_probe_rows(
            run->probe, rows->layer, QK_POST, &patch.patch, job->query, &rows->row[QK_RANGE_CURRENT], err);
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
        code = qk_probe_same(run->probe, job->layer, &patch.patch, &run->same_progress, out, err);
    qk_selection_patch_free(&patch);
    return code;
}

static void run_job(struct range_run *run, const struct follow_job *job)
{
    struct message *message = new_message(run, job->layer < 0 ? NEWS_ROWS : NEWS_SAME);
    if (message == NULL)
        return;
    struct range_news *news = message->news;
    news->layer = job->layer;
    news->generation = job->generation;
    if (job->layer < 0)
        compute_rows(run, job, &news->rows, &news->error);
    else
        compute_same(run, job, &news->range, &news->error);
    if (news->error.code == QK_CANCELLED)
        qk_session_free_message(message);
    else
        qk_session_post(run->session, message);
}

static void *follow_main(void *argument)
{
    struct range_run *run = argument;
    struct message *ended = new_message(run, NEWS_ENDED);
    pthread_mutex_lock(&run->mutex);
    while (!run->stop) {
        struct follow_job job = {0};
        if (!take_job(run, &job)) {
            pthread_cond_wait(&run->work, &run->mutex);
            continue;
        }
        pthread_mutex_unlock(&run->mutex);
        run_job(run, &job);
        qk_selection_free(&job.selection);
        pthread_mutex_lock(&run->mutex);
        run->same_layer = -1;
    }
    pthread_mutex_unlock(&run->mutex);
    if (ended != NULL)
        qk_session_post(run->session, ended);
    return NULL;
}

/* --- starting and ending --- */

enum qk_code qk_range_run_start(struct range_run *run, struct qk_error *err)
{
    void *(*const mains[2])(void *) = {pass_main, follow_main};
    for (; run->n_threads < 2; run->n_threads++)
        QK_TRY(qk_thread_start(&run->thread[run->n_threads], mains[run->n_threads], run, err));
    return QK_OK;
}

void qk_range_run_stop(struct range_run *run)
{
    pthread_mutex_lock(&run->mutex);
    run->stop = true;
    atomic_store(&run->progress.cancel, true);
    atomic_store(&run->same_progress.cancel, true);
    atomic_store(&run->exact_progress.cancel, true);
    pthread_cond_broadcast(&run->work);
    pthread_mutex_unlock(&run->mutex);
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
        free(run->layer[i].error);
    }
    for (int i = 0; run->exact != NULL && i < run->n_layers; i++)
        qk_layer_range_free(&run->exact[i]);
    for (size_t i = 0; i < sizeof run->path / sizeof run->path[0]; i++)
        free(run->path[i]);
    qk_range_rows_free(&run->rows);
    qk_selection_free(&run->selection);
    qk_probe_close(run->probe);
    pthread_cond_destroy(&run->work);
    pthread_mutex_destroy(&run->mutex);
    free(run->piece);
    free(run->layer);
    free(run->exact);
    free(run->ready);
    free(run->asked);
    free(run->answered);
    free(run->error);
    free(run->exact_error);
    free(run);
}
