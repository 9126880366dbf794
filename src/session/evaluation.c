/* evaluation.c - the evaluation of a session, for the front end's thread. */
#include "session/evaluation.h"
#include "session/choices.h"
#include "session/evaluation_thread.h"

#include "base/mem.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>

/* --- starting and ending --- */

static void free_asking(struct asking *asking)
{
    for (size_t i = 0; asking->named != NULL && i < asking->n_named; i++)
        free(asking->named[i]);
    for (int who = 0; who < QK_ASKED_COUNT; who++) {
        free(asking->answer[who]);
        free(asking->state.model[who].score);
        free(asking->model_error[who]);
    }
    for (size_t i = 0; i < asking->found.n_points; i++)
        qk_search_point_free(&asking->point[i]);
    qk_objectives_free(&asking->objectives);
    qk_evaluation_close(asking->evaluation);
    qk_cases_free(&asking->cases);
    qk_selection_free(&asking->selection);
    pthread_cond_destroy(&asking->work);
    pthread_mutex_destroy(&asking->mutex);
    free(asking->named);
    free(asking->list);
    free(asking->got);
    free(asking->place);
    free(asking->size);
    free(asking->n_of_task);
    free(asking->error);
    free(asking->prior);
    free(asking->effect);
    free(asking->point);
    free(asking->search_error);
    free(asking);
}

static enum qk_code fill_asking(
    struct asking *asking, const char *const *file, size_t n, struct qk_error *err)
{
    const struct qk_session *session = asking->session;
    QK_TRY(qk_alloc(&asking->named, n, sizeof *asking->named, err));
    for (; asking->n_named < n; asking->n_named++)
        QK_TRY(qk_strdup_to(&asking->named[asking->n_named], file[asking->n_named], err));
    asking->norms = session->norms;
    asking->generation = asking->answered = 1;
    return qk_selection_copy(&asking->selection, qk_session_selection(session), err);
}

static enum qk_code begin(struct qk_session *session, const char *const *file, size_t n, bool no_cache,
    struct asking **out, struct qk_error *err)
{
    struct asking *asking;
    QK_TRY(qk_alloc(&asking, 1, sizeof *asking, err));
    asking->session = session;
    asking->no_cache = no_cache;
    asking->on = true;
    asking->state.stage = QK_EVALUATION_OPENING;
    pthread_mutex_init(&asking->mutex, NULL);
    pthread_cond_init(&asking->work, NULL);
    enum qk_code code = fill_asking(asking, file, n, err);
    if (code == QK_OK)
        code = qk_thread_start(&asking->thread, qk_asking_main, asking, err);
    if (code == QK_OK)
        *out = asking;
    else
        free_asking(asking);
    return code;
}

void qk_asking_wake(struct asking *asking)
{
    if (asking->busy)
        atomic_store(&asking->progress.cancel, true);
    pthread_cond_broadcast(&asking->work);
}

enum qk_code qk_session_evaluate(
    struct qk_session *session, const char *const *file, size_t n, bool no_cache, struct qk_error *err)
{
    struct asking *asking = session->asking;
    if (asking == NULL)
        return begin(session, file, n, no_cache, &session->asking, err);
    pthread_mutex_lock(&asking->mutex);
    asking->on = true;
    pthread_cond_broadcast(&asking->work);
    pthread_mutex_unlock(&asking->mutex);
    if (asking->state.stage == QK_EVALUATION_PAUSED)
        asking->state.stage = QK_EVALUATION_RUNNING;
    return QK_OK;
}

void qk_session_evaluate_pause(struct qk_session *session)
{
    struct asking *asking = session->asking;
    if (asking == NULL)
        return;
    pthread_mutex_lock(&asking->mutex);
    asking->on = false;
    qk_asking_wake(asking);
    pthread_mutex_unlock(&asking->mutex);
    if (asking->state.stage == QK_EVALUATION_RUNNING)
        asking->state.stage = QK_EVALUATION_PAUSED;
}

void qk_session_close_asking(struct qk_session *session)
{
    struct asking *asking = session->asking;
    if (asking == NULL)
        return;
    pthread_mutex_lock(&asking->mutex);
    asking->stop = true;
    atomic_store(&asking->progress.cancel, true);
    atomic_store(&asking->search_progress.cancel, true);
    pthread_cond_broadcast(&asking->work);
    pthread_mutex_unlock(&asking->mutex);
    pthread_join(asking->thread, NULL);
    free_asking(asking);
    session->asking = NULL;
}

/* --- following choices --- */

static void forget_current(struct asking *asking)
{
    struct qk_evaluated *current = &asking->state.model[QK_ASKED_CURRENT];
    if (current->score != NULL)
        memset(current->score, 0, asking->state.n_tasks * sizeof *current->score);
    current->n_known = 0;
    current->is_post = qk_selection_count(&asking->selection) == 0;
    qk_session_replace_text(&asking->model_error[QK_ASKED_CURRENT], NULL);
    current->error = NULL;
}

void qk_session_ask_anew(struct qk_session *session)
{
    struct asking *asking = session->asking;
    const struct qk_selection *now = qk_session_selection(session);
    if (asking == NULL || (asking->norms == session->norms && qk_selection_equal(&asking->selection, now)))
        return;
    pthread_mutex_lock(&asking->mutex);
    for (int i = 0; i < now->n_layers; i++)
        memcpy(asking->selection.choice[i], now->choice[i], sizeof now->choice[i]);
    asking->norms = session->norms;
    asking->generation++;
    qk_asking_wake(asking);
    pthread_mutex_unlock(&asking->mutex);
    forget_current(asking);
    if (asking->state.stage == QK_EVALUATION_READY)
        asking->state.stage = asking->on ? QK_EVALUATION_RUNNING : QK_EVALUATION_PAUSED;
}

/* --- publishing --- */

static enum qk_code publish_opened(struct asking *asking, struct qk_error *err)
{
    struct qk_evaluation_state *state = &asking->state;
    const struct qk_cases *cases = &asking->cases;
    QK_TRY(qk_alloc(&asking->n_of_task, cases->n_tasks, sizeof *asking->n_of_task, err));
    for (size_t i = 0; i < cases->n; i++)
        asking->n_of_task[cases->item[i].task]++;
    for (int who = 0; who < QK_ASKED_COUNT; who++)
        QK_TRY(qk_alloc(&state->model[who].score, cases->n_tasks, sizeof *state->model[who].score, err));
    asking->found.n_objectives = asking->objectives.cases.n_objectives;
    asking->found.objective = (const char *const *)asking->objectives.name;
    state->n_cases = cases->n;
    state->n_tasks = cases->n_tasks;
    state->n_files = cases->n_files;
    state->task = (const char *const *)cases->task;
    state->file = (const char *const *)cases->file;
    state->n_of_task = asking->n_of_task;
    /* `on` and the selection are written by this thread alone. */
    state->stage = asking->on ? QK_EVALUATION_RUNNING : QK_EVALUATION_PAUSED;
    forget_current(asking);
    return QK_OK;
}

static void publish_failed(struct asking *asking, const struct qk_error *error)
{
    asking->state.stage = error->code == QK_OK ? QK_EVALUATION_NO_CASES : QK_EVALUATION_FAILED;
    qk_session_replace_text(&asking->error, error->code != QK_OK ? error->text : NULL);
    asking->state.error = asking->error;
}

static void publish_stopped(struct asking *asking, const struct asking_news *news)
{
    struct qk_evaluated *model = &asking->state.model[news->who];
    model->running = false;
    if (news->error.code == QK_OK ||
        (news->who == QK_ASKED_CURRENT && news->generation != asking->generation))
        return;
    qk_session_replace_text(&asking->model_error[news->who], news->error.text);
    model->error = asking->model_error[news->who];
}

/* Effects and front; a message without (a search may have been cancelled too soon) leaves those before it. */
static void publish_found(struct asking *asking, struct asking_news *news)
{
    struct qk_search_state *found = &asking->found;
    found->n_trials = news->n_trials;
    found->n_measured = news->n_measured;
    if (news->effect != NULL) {
        free(asking->effect);
        found->effect = asking->effect = news->effect;
        news->effect = NULL;
    }
    if (news->n_points == 0)
        return;
    for (size_t i = 0; i < found->n_points; i++)
        qk_search_point_free(&asking->point[i]);
    free(asking->point);
    found->point = asking->point = news->point;
    found->n_points = news->n_points;
    news->point = NULL;
    news->n_points = 0;
}

static void publish_searched(struct asking *asking, struct asking_news *news)
{
    struct qk_search_state *found = &asking->found;
    enum qk_code code = news->error.code;
    publish_found(asking, news);
    found->seconds = qk_seconds_since(&asking->search_start);
    found->stage = code == QK_CANCELLED ? QK_SEARCH_CANCELLED
                   : code != QK_OK      ? QK_SEARCH_FAILED
                   : news->complete     ? QK_SEARCH_COMPLETE
                                        : QK_SEARCH_LIMITED;
    qk_session_replace_text(
        &asking->search_error, found->stage == QK_SEARCH_FAILED ? news->error.text : NULL);
    found->error = asking->search_error;
}

void qk_session_take_asking_news(struct qk_session *session, struct asking_news *news)
{
    struct asking *asking = session->asking;
    struct qk_evaluated *model = &asking->state.model[news->who];
    bool stale = news->who == QK_ASKED_CURRENT && news->generation != asking->generation;
    struct qk_error error = {0};
    switch (news->kind) {
    case ASKING_OPENED:
        if (publish_opened(asking, &error) != QK_OK)
            publish_failed(asking, &error);
        break;
    case ASKING_FAILED:
        publish_failed(asking, &news->error);
        break;
    case ASKING_STARTED:
        model->running = true;
        break;
    case ASKING_ANSWERS:
        if (stale || model->score == NULL)
            break;
        qk_evaluation_score(&asking->cases, news->n, news->list, news->answer, model->score);
        model->n_known += news->n;
        break;
    case ASKING_STOPPED:
        publish_stopped(asking, news);
        break;
    case ASKING_COMPLETE:
        if (!stale && asking->state.stage == QK_EVALUATION_RUNNING)
            asking->state.stage = QK_EVALUATION_READY;
        break;
    case ASKING_TRIAL:
        asking->found.doing = news->stage;
        publish_found(asking, news);
        break;
    case ASKING_SEARCHED:
        publish_searched(asking, news);
        break;
    }
}

bool qk_session_watch_asking(struct qk_session *session)
{
    struct asking *asking = session->asking;
    bool running = asking != NULL && asking->found.stage == QK_SEARCH_RUNNING;
    if (running)
        asking->found.seconds = qk_seconds_since(&asking->search_start);
    for (int who = 0; asking != NULL && who < QK_ASKED_COUNT; who++) {
        struct qk_evaluated *model = &asking->state.model[who];
        if (!model->running)
            continue;
        running = true;
        model->done = atomic_load(&asking->progress.done);
        model->total = atomic_load(&asking->progress.total);
    }
    return running;
}

const struct qk_evaluation_state *qk_session_evaluation(const struct qk_session *session)
{
    static const struct qk_evaluation_state off = {.stage = QK_EVALUATION_OFF};
    return session->asking != NULL ? &session->asking->state : &off;
}

struct qk_score qk_session_objective(const struct qk_session *session, enum qk_asked who, size_t objective)
{
    const struct asking *asking = session->asking;
    struct qk_score sum = {0};
    if (asking == NULL || asking->state.n_tasks == 0)
        return sum;
    if (asking->state.model[who].is_post)
        who = QK_ASKED_POST;
    for (size_t t = 0; t < asking->state.n_tasks; t++)
        if (asking->objectives.objective[t] == objective) {
            sum.right += asking->state.model[who].score[t].right;
            sum.total += asking->state.model[who].score[t].total;
        }
    return sum;
}
