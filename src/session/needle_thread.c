/* needle_thread.c - the two threads of a measurement of needles. */
#include "session/needle_thread.h"

#include "base/mem.h"
#include "base/thread.h"
#include "range/probe.h"
#include "session/layers.h"
#include "token/tokenizer.h"

#include <stdlib.h>

/* --- events --- */

static void free_event(struct event *event)
{
    struct needle_event *own = (struct needle_event *)event;
    qk_needle_layer_free(&own->same);
    qk_needle_layers_free(own->exact, own->n_exact);
    qk_answered_rows_free(&own->rows);
    free(own);
}

enum qk_code qk_needle_event_new(
    const struct needle_run *run, enum needle_news news, struct needle_event **out, struct qk_error *err)
{
    QK_TRY(qk_alloc(out, 1, sizeof **out, err));
    (*out)->event = (struct event){.publish = qk_needles_publish, .free = free_event};
    (*out)->serial = run->serial;
    (*out)->news = news;
    return QK_OK;
}

static void post_last(struct needle_run *run, struct needle_event **last, const struct qk_error *error)
{
    struct needle_event *event = *last;
    *last = NULL;
    event->error = *error;
    qk_session_post(run->session, &event->event);
}

/* --- the first thread: prompts, the passes, exact runs --- */

/* Prompts for which both sides stay within the work, each number of post counted once for each token. */
static size_t affordable(const struct qk_model *model)
{
    double numbers = 1;
    for (size_t i = 0; i < model->checkpoint->n_tensors; i++) {
        double elements = 1;
        for (int k = 0; k < model->checkpoint->by_name[i]->n_dims; k++)
            elements *= (double)model->checkpoint->by_name[i]->shape[k];
        numbers += elements;
    }
    double prompts = QK_NEEDLE_WORK / numbers / QK_SIDE_COUNT / QK_NEEDLE_LENGTH;
    return prompts >= QK_NEEDLE_PROMPTS ? QK_NEEDLE_PROMPTS
           : prompts <= QK_NEEDLE_LEAST ? QK_NEEDLE_LEAST
                                        : (size_t)prompts;
}

int qk_needle_run_shown(const struct needle_run *run)
{
    return (int)run->states.needles.n > 0 ? (int)(run->states.needles.n / 2) : -1;
}

static enum qk_code make_pieces(
    struct needle_run *run, const struct qk_tokenizer *tokenizer, struct qk_error *err)
{
    int shown = qk_needle_run_shown(run);
    if (shown < 0)
        return QK_OK;
    const struct qk_needle *needle = &run->states.needles.item[shown];
    QK_TRY(qk_alloc(&run->piece, needle->T, sizeof *run->piece, err));
    for (size_t i = 0; i < needle->T; i++) { /* an id unknown to the tokenizer is shown as a number */
        struct qk_error unknown = {0};
        qk_tokenizer_piece(tokenizer, needle->ids[i], &run->piece[i].text, &run->piece[i].n, &unknown);
    }
    return QK_OK;
}

static enum qk_code measure(
    struct needle_run *run, const struct qk_tokenizer *tokenizer, struct qk_error *err)
{
    const struct qk_pair *pair = run->session->pair;
    QK_TRY(qk_needle_prompts_make(
        affordable(pair->model[QK_POST]), QK_NEEDLE_LENGTH, tokenizer, &run->prompts, err));
    QK_TRY(qk_progress_check(&run->progress, err));
    QK_TRY(qk_needle_measure_sides(
        pair, &run->prompts.needles, 0, QK_NEEDLE_KEPT, &run->progress, &run->measured, &run->states, err));
    QK_TRY(qk_needle_numbers(&run->measured, &run->numbers, err));
    return make_pieces(run, tokenizer, err);
}

static enum qk_code run_passes(struct needle_run *run, struct qk_error *err)
{
    const struct qk_pair *pair = run->session->pair;
    const struct qk_model *post = pair->model[QK_POST];
    const char *why;
    struct qk_tokenizer *tokenizer;
    QK_TRY(qk_probe_pass_missing(pair, &why, err));
    if (why != NULL)
        return qk_fail(err, QK_INPUT, "%s: the %s family has no forward pass here: %s",
            post->checkpoint->path, post->family, why);
    QK_TRY(qk_tokenizer_open(post->checkpoint->folder, &tokenizer, err));
    enum qk_code code = measure(run, tokenizer, err);
    qk_tokenizer_free(tokenizer);
    return code;
}

/* Fails only without memory for its events; any other fault is in the event. */
static enum qk_code run_exact(void *context, const struct follow_job *job, struct qk_error *err)
{
    struct needle_run *run = context;
    struct needle_event *started, *event;
    QK_TRY(qk_needle_event_new(run, NEEDLE_EXACT_STARTED, &started, err));
    qk_session_post(run->session, &started->event);
    QK_TRY(qk_needle_event_new(run, NEEDLE_EXACT, &event, err));
    event->generation = job->generation;
    event->n_exact = run->n_layers;
    qk_needle_measure_current(run->session->pair, &run->prompts.needles, &job->selection, job->norms, 0,
        &run->follow.exact_progress, &event->exact, &event->error);
    qk_session_post(run->session, &event->event);
    return QK_OK;
}

static void *pass_main(void *argument)
{
    struct needle_run *run = argument;
    struct qk_error error = {0}, ended = {0};
    enum qk_code code = run_passes(run, &error);
    pthread_mutex_lock(&run->follow.mutex);
    run->ready = code == QK_OK;
    pthread_cond_broadcast(&run->follow.work);
    pthread_mutex_unlock(&run->follow.mutex);
    post_last(run, &run->done, &error);
    if (code == QK_OK)
        qk_follow_exactly(&run->follow, run_exact, run, &ended);
    post_last(run, &run->last[NEEDLE_PASSES], &ended);
    return NULL;
}

/* --- the second thread: kept inputs, the present choices --- */

struct needle_job {
    struct follow_job follow;
    bool rows; /* from this query, instead of masses */
    size_t query;
};

bool qk_needle_run_restored(const struct needle_run *run, int layer)
{
    const struct qk_layer_choice *choice = &run->follow.selection.choice[layer];
    bool q_alone = run->session->pair->layer[layer].no_k != NULL;
    if (run->follow.norms || run->measured.restored == NULL || run->measured.restored[layer].n_heads == 0)
        return false;
    for (int r = 0; r < (q_alone ? 1 : QK_ROLE_COUNT); r++)
        if (choice->head[r] != NULL || choice->role[r].mode != QK_RESTORE)
            return false;
    return true;
}

static bool take_same(struct needle_run *run, int layer, struct needle_job *job)
{
    return layer >= 0 && layer < run->n_layers && run->states.x[layer] != NULL &&
           !qk_needle_run_restored(run, layer) && qk_follow_take(&run->follow, layer, &job->follow);
}

static bool take_rows(struct needle_run *run, struct needle_job *job)
{
    job->rows = qk_row_requests_take(&run->requests, &run->follow, &job->follow, &job->query);
    return job->rows;
}

/* The order of work: the selected layer, then requests about tokens, then the rest. */
static bool take_job(struct needle_run *run, struct needle_job *job)
{
    if (!run->ready || run->states.needles.n == 0)
        return false;
    if (take_same(run, qk_layers_selected(run->session), job) || take_rows(run, job))
        return true;
    for (int i = 0; i < run->n_layers; i++)
        if (take_same(run, i, job))
            return true;
    return false;
}

static enum qk_code compute_rows(
    struct needle_run *run, const struct needle_job *job, struct answered_rows *rows, struct qk_error *err)
{
    const struct follow_job *follow = &job->follow;
    size_t shown = (size_t)qk_needle_run_shown(run);
    rows->layer = follow->layer;
    rows->query = job->query;
    rows->generation = follow->generation;
    rows->n_heads = run->measured.side[QK_POST][rows->layer].n_heads;
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        QK_TRY(qk_needle_rows(run->session->pair, &run->states, shown, rows->layer, (enum qk_side)s, NULL,
            false, job->query, &rows->row[s == QK_PRE ? QK_RANGE_PRE : QK_RANGE_POST], err));
    if (!follow->chosen)
        return QK_OK;
    return qk_needle_rows(run->session->pair, &run->states, shown, rows->layer, QK_POST, &follow->selection,
        follow->norms, job->query, &rows->row[QK_RANGE_CURRENT], err);
}

/* Fails only without memory for its event; any other fault is in the event. */
static enum qk_code run_job(struct needle_run *run, const struct needle_job *job, struct qk_error *err)
{
    const struct follow_job *follow = &job->follow;
    struct needle_event *event;
    QK_TRY(qk_needle_event_new(run, job->rows ? NEEDLE_ROWS : NEEDLE_SAME, &event, err));
    event->layer = follow->layer;
    event->generation = follow->generation;
    if (job->rows)
        compute_rows(run, job, &event->rows, &event->error);
    else
        qk_needle_follow(run->session->pair, &run->states, follow->layer, &follow->selection, follow->norms,
            &run->follow.layer_progress, &event->same, &event->error);
    if (event->error.code == QK_CANCELLED)
        free_event(&event->event);
    else
        qk_session_post(run->session, &event->event);
    return QK_OK;
}

static void *follow_main(void *argument)
{
    struct needle_run *run = argument;
    struct follow *follow = &run->follow;
    struct qk_error ended = {0};
    enum qk_code code = QK_OK;
    pthread_mutex_lock(&follow->mutex);
    while (!follow->stop && code == QK_OK) {
        struct needle_job job = {0};
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
    post_last(run, &run->last[NEEDLE_FOLLOWS], &ended);
    return NULL;
}

/* --- starting and ending --- */

enum qk_code qk_needle_run_start(struct needle_run *run, struct qk_error *err)
{
    static void *(*const MAIN[NEEDLE_THREADS])(void *) = {
        [NEEDLE_PASSES] = pass_main, [NEEDLE_FOLLOWS] = follow_main};
    for (; run->n_threads < NEEDLE_THREADS; run->n_threads++)
        QK_TRY(qk_thread_start(&run->thread[run->n_threads], MAIN[run->n_threads], run, err));
    return QK_OK;
}

void qk_needle_run_stop(struct needle_run *run)
{
    atomic_store(&run->progress.cancel, true);
    qk_follow_stop(&run->follow);
}

void qk_needle_run_free(struct needle_run *run)
{
    for (int i = 0; i < run->n_threads; i++)
        pthread_join(run->thread[i], NULL);
    int shown = qk_needle_run_shown(run);
    for (size_t i = 0; run->piece != NULL && i < run->states.needles.item[shown].T; i++)
        free(run->piece[i].text);
    for (int i = 0; run->same != NULL && i < run->n_layers; i++)
        qk_needle_layer_free(&run->same[i].masses);
    for (int i = 0; i < NEEDLE_THREADS; i++)
        if (run->last[i] != NULL)
            free_event(&run->last[i]->event);
    if (run->done != NULL)
        free_event(&run->done->event);
    qk_needle_layers_free(run->exact, run->n_layers);
    qk_needle_numbers_free(run->numbers, run->n_layers);
    qk_needle_states_free(&run->states);
    qk_needle_pair_free(&run->measured);
    qk_needle_prompts_free(&run->prompts);
    qk_row_requests_free(&run->requests);
    qk_follow_free(&run->follow);
    free(run->piece);
    free(run->same);
    free(run);
}
