/* evaluation.c - the evaluation of a session, for the front end's thread. */
#include "session/evaluation.h"
#include "session/choices.h"
#include "session/evaluation_thread.h"

#include "base/mem.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>

/* --- starting and ending --- */

static void free_run(struct evaluation_run *run)
{
    for (size_t i = 0; run->named != NULL && i < run->n_named; i++)
        free(run->named[i]);
    for (int who = 0; who < QK_ASKED_COUNT; who++) {
        free(run->answer[who]);
        free(run->state.model[who].score);
    }
    qk_search_order_free(&run->search);
    qk_search_record_free(&run->found);
    qk_evaluation_event_free(run->last);
    qk_objectives_free(&run->objectives);
    qk_evaluation_close(run->evaluation);
    qk_cases_free(&run->cases);
    qk_selection_free(&run->selection);
    pthread_cond_destroy(&run->work);
    pthread_mutex_destroy(&run->mutex);
    free(run->named);
    free(run->list);
    free(run->got);
    free(run->place);
    free(run->size);
    free(run->n_of_task);
    free(run);
}

static enum qk_code fill_run(
    struct evaluation_run *run, const char *const *file, size_t n, struct qk_error *err)
{
    const struct qk_session *session = run->session;
    QK_TRY(qk_alloc(&run->named, n, sizeof *run->named, err));
    for (; run->n_named < n; run->n_named++)
        QK_TRY(qk_strdup_to(&run->named[run->n_named], file[run->n_named], err));
    run->norms = qk_session_norms(session);
    run->generation = run->answered = 1;
    QK_TRY(qk_evaluation_event_new(EVALUATION_ENDED, &run->last, err));
    return qk_selection_copy(&run->selection, qk_session_selection(session), err);
}

static enum qk_code begin(struct qk_session *session, const char *const *file, size_t n, bool no_cache,
    struct evaluation_run **out, struct qk_error *err)
{
    struct evaluation_run *run;
    QK_TRY(qk_alloc(&run, 1, sizeof *run, err));
    run->session = session;
    run->no_cache = no_cache;
    run->on = true;
    run->state.stage = QK_EVALUATION_OPENING;
    pthread_mutex_init(&run->mutex, NULL);
    pthread_cond_init(&run->work, NULL);
    enum qk_code code = fill_run(run, file, n, err);
    if (code == QK_OK)
        code = qk_thread_start(&run->thread, qk_evaluation_main, run, err);
    if (code == QK_OK)
        *out = run;
    else
        free_run(run);
    return code;
}

void qk_evaluation_wake(struct evaluation_run *run)
{
    if (run->busy)
        atomic_store(&run->progress.cancel, true);
    pthread_cond_broadcast(&run->work);
}

enum qk_code qk_session_evaluate(
    struct qk_session *session, const char *const *file, size_t n, bool no_cache, struct qk_error *err)
{
    struct evaluation_run *run = session->evaluation;
    if (run == NULL)
        return begin(session, file, n, no_cache, &session->evaluation, err);
    pthread_mutex_lock(&run->mutex);
    run->on = true;
    pthread_cond_broadcast(&run->work);
    pthread_mutex_unlock(&run->mutex);
    if (run->state.stage == QK_EVALUATION_PAUSED)
        run->state.stage = QK_EVALUATION_RUNNING;
    return QK_OK;
}

void qk_session_evaluate_pause(struct qk_session *session)
{
    struct evaluation_run *run = session->evaluation;
    if (run == NULL)
        return;
    pthread_mutex_lock(&run->mutex);
    run->on = false;
    qk_evaluation_wake(run);
    pthread_mutex_unlock(&run->mutex);
    if (run->state.stage == QK_EVALUATION_RUNNING)
        run->state.stage = QK_EVALUATION_PAUSED;
}

static void close_evaluation(struct qk_session *session)
{
    struct evaluation_run *run = session->evaluation;
    if (run == NULL)
        return;
    pthread_mutex_lock(&run->mutex);
    run->stop = true;
    atomic_store(&run->progress.cancel, true);
    atomic_store(&run->search_progress.cancel, true);
    pthread_cond_broadcast(&run->work);
    pthread_mutex_unlock(&run->mutex);
    pthread_join(run->thread, NULL);
    free_run(run);
}

/* --- the state --- */

static void set_model_error(struct evaluation_run *run, enum qk_asked who, const struct qk_error *error)
{
    run->model_error[who] = *error;
    run->state.model[who].error = error->code != QK_OK ? run->model_error[who].text : NULL;
}

/* After the end of the thread, the remaining cases are not asked any more. */
static void give_up(struct evaluation_run *run)
{
    for (int who = 0; who < QK_ASKED_COUNT; who++) {
        struct qk_evaluated *model = &run->state.model[who];
        model->running = false;
        if (model->error == NULL && !model->is_post && model->n_known < run->state.n_cases)
            set_model_error(run, (enum qk_asked)who, &run->ended);
    }
    run->state.stage = QK_EVALUATION_READY;
    qk_search_give_up(run);
}

static void forget_current(struct evaluation_run *run)
{
    struct qk_evaluated *current = &run->state.model[QK_ASKED_CURRENT];
    if (current->score != NULL)
        memset(current->score, 0, run->state.n_tasks * sizeof *current->score);
    current->n_known = 0;
    current->is_post = qk_selection_count(&run->selection) == 0;
    set_model_error(run, QK_ASKED_CURRENT, &(struct qk_error){.code = QK_OK});
}

static void follow_evaluation(struct qk_session *session)
{
    struct evaluation_run *run = session->evaluation;
    const struct qk_selection *now = qk_session_selection(session);
    bool norms = qk_session_norms(session);
    if (run == NULL || (run->norms == norms && qk_selection_equal(&run->selection, now)))
        return;
    pthread_mutex_lock(&run->mutex);
    qk_selection_assign(&run->selection, now);
    run->norms = norms;
    run->generation++;
    qk_evaluation_wake(run);
    pthread_mutex_unlock(&run->mutex);
    forget_current(run);
    if (run->ended.code != QK_OK)
        give_up(run);
    else if (run->state.stage == QK_EVALUATION_READY)
        run->state.stage = run->on ? QK_EVALUATION_RUNNING : QK_EVALUATION_PAUSED;
}

/* --- publishing --- */

static enum qk_code fill_state(struct evaluation_run *run, struct qk_error *err)
{
    struct qk_evaluation_state *state = &run->state;
    const struct qk_cases *cases = &run->cases;
    QK_TRY(qk_alloc(&run->n_of_task, cases->n_tasks, sizeof *run->n_of_task, err));
    for (size_t i = 0; i < cases->n; i++)
        run->n_of_task[cases->item[i].task]++;
    for (int who = 0; who < QK_ASKED_COUNT; who++)
        QK_TRY(qk_alloc(&state->model[who].score, cases->n_tasks, sizeof *state->model[who].score, err));
    run->found.state.n_objectives = run->objectives.cases.n_objectives;
    run->found.state.objective = (const char *const *)run->objectives.name;
    state->n_cases = cases->n;
    state->n_tasks = cases->n_tasks;
    state->n_files = cases->n_files;
    state->task = (const char *const *)cases->task;
    state->file = (const char *const *)cases->file;
    state->n_of_task = run->n_of_task;
    /* `on` and the selection are written by this thread alone. */
    state->stage = run->on ? QK_EVALUATION_RUNNING : QK_EVALUATION_PAUSED;
    forget_current(run);
    return QK_OK;
}

static void set_failed(struct evaluation_run *run, const struct qk_error *error)
{
    run->state.stage = error->code == QK_OK ? QK_EVALUATION_NO_CASES : QK_EVALUATION_FAILED;
    run->error = *error;
    run->state.error = error->code != QK_OK ? run->error.text : NULL;
}

static void publish_opened(struct evaluation_run *run, struct evaluation_event *event)
{
    if (fill_state(run, &event->error) != QK_OK)
        set_failed(run, &event->error);
}

static void publish_started(struct evaluation_run *run, struct evaluation_event *event)
{
    run->state.model[event->who].running = true;
}

/* The event is about an earlier selection. */
static bool is_stale(const struct evaluation_run *run, const struct evaluation_event *event)
{
    return event->who == QK_ASKED_CURRENT && event->generation != run->generation;
}

static void publish_answers(struct evaluation_run *run, struct evaluation_event *event)
{
    struct qk_evaluated *model = &run->state.model[event->who];
    if (is_stale(run, event) || model->score == NULL)
        return;
    qk_evaluation_score(&run->cases, event->n, event->list, event->answer, model->score);
    model->n_known += event->n;
}

static void publish_stopped(struct evaluation_run *run, struct evaluation_event *event)
{
    run->state.model[event->who].running = false;
    if (event->error.code != QK_OK && !is_stale(run, event))
        set_model_error(run, event->who, &event->error);
}

static void publish_complete(struct evaluation_run *run, struct evaluation_event *event)
{
    if (!is_stale(run, event) && run->state.stage == QK_EVALUATION_RUNNING)
        run->state.stage = QK_EVALUATION_READY;
}

static void publish_ended(struct evaluation_run *run, struct evaluation_event *event)
{
    if (run->state.stage == QK_EVALUATION_OPENING) {
        set_failed(run, &event->error);
    } else if (run->state.n_tasks > 0) {
        run->ended = event->error;
        give_up(run);
    }
}

void qk_evaluation_publish(struct qk_session *session, struct event *event)
{
    static void (*const PUBLISH[EVALUATION_NEWS_COUNT])(
        struct evaluation_run *, struct evaluation_event *) = {[EVALUATION_OPENED] = publish_opened,
        [EVALUATION_STARTED] = publish_started,
        [EVALUATION_ANSWERS] = publish_answers,
        [EVALUATION_STOPPED] = publish_stopped,
        [EVALUATION_COMPLETE] = publish_complete,
        [EVALUATION_TRIAL] = qk_search_publish_trial,
        [EVALUATION_SEARCHED] = qk_search_publish_end,
        [EVALUATION_ENDED] = publish_ended};
    struct evaluation_event *own = (struct evaluation_event *)event;
    PUBLISH[own->news](session->evaluation, own);
}

static bool watch_evaluation(struct qk_session *session)
{
    struct evaluation_run *run = session->evaluation;
    bool running = run != NULL && run->found.state.stage == QK_SEARCH_RUNNING;
    if (running)
        run->found.state.seconds = qk_seconds_since(&run->found.start);
    for (int who = 0; run != NULL && who < QK_ASKED_COUNT; who++) {
        struct qk_evaluated *model = &run->state.model[who];
        if (!model->running)
            continue;
        running = true;
        model->done = atomic_load(&run->progress.done);
        model->total = atomic_load(&run->progress.total);
    }
    return running;
}

const struct session_part qk_evaluation_part = {
    .follow = follow_evaluation, .watch = watch_evaluation, .close = close_evaluation};

/* --- for the front end --- */

const struct qk_evaluation_state *qk_session_evaluation(const struct qk_session *session)
{
    static const struct qk_evaluation_state off = {.stage = QK_EVALUATION_OFF};
    return session->evaluation != NULL ? &session->evaluation->state : &off;
}

struct qk_score qk_session_objective(const struct qk_session *session, enum qk_asked who, size_t objective)
{
    const struct evaluation_run *run = session->evaluation;
    struct qk_score sum = {0};
    if (run == NULL || run->state.n_tasks == 0)
        return sum;
    if (run->state.model[who].is_post)
        who = QK_ASKED_POST;
    for (size_t t = 0; t < run->state.n_tasks; t++)
        if (run->objectives.objective[t] == objective) {
            sum.right += run->state.model[who].score[t].right;
            sum.total += run->state.model[who].score[t].total;
        }
    return sum;
}
