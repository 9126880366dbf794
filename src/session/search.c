/* search.c - a search of a session: how the front end starts it, and what it does in the evaluation's thread. */
#include "session/choices.h"
#include "session/evaluation_thread.h"
#include "session/layers.h"
#include "session/ranges.h"

#include "base/mem.h"
#include "blend/spec.h"
#include "eval/search_internal.h"

#include <stdlib.h>
#include <string.h>

/* --- in the thread --- */

/* One search, while it runs. */
struct searching {
    struct asking *asking;
    bool norms;
    bool begun; /* a front has been told */
    struct qk_search search;
};

/* Effects of restoring both roles of each layer in post as it is, as far as they are known; NULL when
 * none is, and without memory. */
static struct qk_estimate *copy_effects(const struct qk_search *search)
{
    size_t n = search->cases.n_objectives;
    struct qk_estimate *effect = NULL;
    int known = 0;
    for (int i = 0; search->effect != NULL && i < search->pair->n_layers; i++)
        known += search->effect[i].in[QK_EFFECT_BOTH] != NULL;
    if (known == 0 || qk_alloc(&effect, (size_t)search->pair->n_layers * n, sizeof *effect, NULL) != QK_OK)
        return NULL;
    for (int i = 0; i < search->pair->n_layers; i++)
        if (search->effect[i].in[QK_EFFECT_BOTH] != NULL)
            memcpy(effect + (size_t)i * n, search->effect[i].in[QK_EFFECT_BOTH], n * sizeof *effect);
    return effect;
}

static enum qk_code answer(void *context, const struct qk_selection *selection, const size_t *cases, size_t n,
    signed char *out, double *cost, struct qk_error *err)
{
    struct searching *s = context;
    struct asking *asking = s->asking;
    bool pre = selection == NULL, post = !pre && qk_selection_count(selection) == 0;
    struct asking_watch watch = {asking, pre ? QK_ASKED_PRE : QK_ASKED_POST, 0};
    const struct qk_exam_watch heard = {&watch, qk_asking_heard};
    const struct qk_subject subject = {pre ? QK_PRE : QK_POST, selection, s->norms};
    QK_TRY(qk_progress_check(&asking->search_progress, err));
    qk_asking_serve_quick(asking);
    return qk_evaluation_answer(asking->evaluation, subject, n, cases, out, pre || post ? &heard : NULL,
        &asking->search_progress, cost, err);
}

/* --- the front --- */

static enum qk_code make_point(const struct qk_search *search, const struct qk_trial *trial,
    struct qk_search_point *out, struct qk_error *err)
{
    QK_TRY(qk_selection_copy(&out->selection, &trial->selection, err));
    QK_TRY(qk_spec_text(&out->selection, search->pair, &out->text, err));
    QK_TRY(qk_alloc(&out->score, search->cases.n_objectives, sizeof *out->score, err));
    for (size_t i = 0; i < search->cases.n; i++) {
        struct qk_score *score = &out->score[search->cases.objective[search->cases.task[i]]];
        score->total += trial->answer[i] >= 0;
        score->right += trial->answer[i] > 0;
    }
    return QK_OK;
}

/* The front into news, in the order that the front end numbers from 1. */
static enum qk_code make_points(
    const struct qk_search *search, struct asking_news *news, struct qk_error *err)
{
    const struct qk_trial **front;
    size_t n;
    QK_TRY(qk_search_front(search, &front, &n, err));
    enum qk_code code = qk_alloc(&news->point, n, sizeof *news->point, err);
    for (size_t i = 0; i < n && code == QK_OK; i++) {
        code = make_point(search, front[i], &news->point[i], err);
        if (code == QK_OK)
            news->n_points++;
        else
            qk_search_point_free(&news->point[i]);
    }
    free(front);
    return code;
}

/* --- telling --- */

static void told(void *context, const char *stage, const struct qk_trial *trial)
{
    struct searching *s = context;
    struct message *message = qk_asking_message(ASKING_TRIAL, QK_ASKED_POST, 0);
    struct qk_error unheard = {0};
    if (message == NULL)
        return;
    /* Post is told before pre has been asked, which no trial tells of. */
    message->asking->stage = s->search.parts->differs != NULL ? stage : QK_SEARCH_BEGINS;
    message->asking->n_trials = s->search.n_trials;
    message->asking->n_measured = s->search.parts->n_measured;
    message->asking->effect = copy_effects(&s->search);
    /* There is a front once pre and post are known; only a trial with every answer changes it. */
    if (s->search.parts->differs != NULL && (!s->begun || trial->n_asked == s->search.cases.n) &&
        qk_search_mark_front(&s->search, &unheard) == QK_OK) {
        make_points(&s->search, message->asking, &unheard);
        s->begun = true;
    }
    qk_session_post(s->asking->session, message);
}

/* Of a search that was cancelled, too: what it found until then counts. */
static void tell_end(struct searching *s, const struct qk_error *error)
{
    struct message *message = qk_asking_message(ASKING_SEARCHED, QK_ASKED_POST, 0);
    if (message == NULL)
        return;
    struct asking_news *news = message->asking;
    struct qk_error unheard = {0};
    news->error = *error;
    news->complete = s->search.complete;
    news->n_trials = s->search.n_trials;
    news->n_measured = s->search.parts != NULL ? s->search.parts->n_measured : 0;
    news->effect = copy_effects(&s->search);
    make_points(&s->search, news, error->code == QK_OK ? &news->error : &unheard);
    qk_session_post(s->asking->session, message);
}

void qk_asking_search(
    struct asking *asking, const double *prior, const struct qk_search_limits *limits, bool norms)
{
    struct searching s = {.asking = asking, .norms = norms};
    const struct qk_search_calls calls = {&s, answer, told};
    struct qk_error error = {0};
    enum qk_code code = qk_search_run(
        &s.search, asking->session->pair, &asking->objectives.cases, prior, limits, &calls, &error);
    if (code == QK_OK) /* what a trial failed with that the search did without */
        error = (struct qk_error){0};
    tell_end(&s, &error);
    qk_search_free(&s.search);
}

/* --- the front end's side --- */

void qk_search_point_free(struct qk_search_point *point)
{
    qk_selection_free(&point->selection);
    free(point->text);
    free(point->score);
    *point = (struct qk_search_point){0};
}

/* By how far each layer's routing drifted and how much attention shift its restore undoes, as far
 * as that is known by now. */
static enum qk_code make_prior(const struct qk_session *session, double **out, struct qk_error *err)
{
    int n = session->pair->n_layers;
    double *value, *sum = NULL;
    QK_TRY(qk_alloc(&value, (size_t)n, sizeof *value, err));
    enum qk_code code = qk_alloc(&sum, (size_t)n, sizeof *sum, err);
    if (code == QK_OK) {
        for (int i = 0; i < n; i++) {
            const struct qk_layer_drift *drift = qk_session_drift(session, i);
            value[i] = drift != NULL ? qk_metric_layer(drift, QK_METRIC_ROUTING, -1) : 0;
        }
        qk_prior_add(sum, value, n);
        for (int i = 0; i < n; i++) {
            struct qk_session_range range;
            value[i] = qk_session_range(session, i, &range) ? range.restored_shift : 0;
        }
        qk_prior_add(sum, value, n);
    }
    free(value);
    *out = sum;
    return code;
}

enum qk_code qk_session_search(
    struct qk_session *session, const struct qk_search_limits *limits, struct qk_error *err)
{
    struct asking *asking = session->asking;
    double *prior;
    if (asking == NULL || asking->found.n_objectives == 0)
        return qk_fail(err, QK_USAGE, "no cases have been read that could be asked");
    if (asking->found.stage == QK_SEARCH_RUNNING)
        return qk_fail(err, QK_USAGE, "a search is still running");
    QK_TRY(make_prior(session, &prior, err));
    pthread_mutex_lock(&asking->mutex);
    asking->prior = prior;
    asking->search_limits = *limits;
    asking->search_norms = session->norms;
    asking->search_wanted = true;
    atomic_store(&asking->search_progress.cancel, false);
    qk_asking_wake(asking);
    pthread_mutex_unlock(&asking->mutex);
    clock_gettime(CLOCK_MONOTONIC, &asking->search_start);
    asking->found.stage = QK_SEARCH_RUNNING;
    asking->found.doing = QK_SEARCH_BEGINS;
    asking->found.n_trials = asking->found.n_measured = 0;
    asking->found.seconds = 0;
    asking->found.limits = *limits;
    return QK_OK;
}

void qk_session_search_cancel(struct qk_session *session)
{
    if (session->asking != NULL)
        atomic_store(&session->asking->search_progress.cancel, true);
}

const struct qk_search_state *qk_session_search_state(const struct qk_session *session)
{
    static const struct qk_search_state off = {.stage = QK_SEARCH_OFF};
    return session->asking != NULL ? &session->asking->found : &off;
}

enum qk_code qk_session_take_point(struct qk_session *session, size_t point, struct qk_error *err)
{
    const struct qk_search_state *found = qk_session_search_state(session);
    if (point >= found->n_points)
        return qk_fail(
            err, QK_USAGE, "no such point (found %zu, expected 1 to %zu)", point + 1, found->n_points);
    return qk_session_select(session, &found->point[point].selection, found->point[point].text, err);
}

int qk_session_point(const struct qk_session *session)
{
    const struct qk_search_state *found = qk_session_search_state(session);
    if (session->asking == NULL || session->asking->search_norms != session->norms)
        return -1; /* they were measured with the other norms */
    for (size_t i = 0; i < found->n_points; i++)
        if (qk_selection_equal(&found->point[i].selection, qk_session_selection(session)))
            return (int)i;
    return -1;
}
