/* search.c - a search of a session: its start by the front end, and its work in the evaluation's thread. */
#include "session/search.h"
#include "session/choices.h"
#include "session/evaluation_thread.h"
#include "session/layers.h"
#include "session/needles.h"
#include "session/ranges.h"

#include "base/mem.h"
#include "blend/spec.h"
#include "eval/search_trials.h"

#include <stdlib.h>
#include <string.h>

/* --- in the thread --- */

/* The step of a search before its first trial. */
#define SEARCH_BEGINS "post and pre"

/* One search, while it runs. */
struct searching {
    struct evaluation_run *run;
    const struct search_order *order;
    bool begun; /* a front has been posted */
    struct qk_search search;
};

/* Effects of restoring both roles of each layer in post as it is, as far as they are known. NULL without any, and
 * without memory. */
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

/* Answers of pre and post that cannot be reported here are asked again after the search. */
static enum qk_code answer(void *context, const struct qk_selection *selection, const size_t *cases, size_t n,
    signed char *out, double *cost, struct qk_error *err)
{
    struct searching *s = context;
    struct evaluation_run *run = s->run;
    bool pre = selection == NULL, post = !pre && qk_selection_count(selection) == 0;
    struct answers_watch watch = {.run = run, .who = pre ? QK_ASKED_PRE : QK_ASKED_POST};
    const struct qk_exam_watch answers = {&watch, qk_evaluation_answers};
    const struct qk_subject subject = {pre ? QK_PRE : QK_POST, selection, s->order->norms};
    QK_TRY(qk_progress_check(&run->search_progress, err));
    QK_TRY(qk_evaluation_serve_quick(run, err));
    return qk_evaluation_answer(run->evaluation, subject, n, cases, out, pre || post ? &answers : NULL,
        &run->search_progress, cost, err);
}

static enum qk_code make_point(const struct qk_search *search, const struct qk_trial *trial,
    struct qk_search_point *out, struct qk_error *err)
{
    QK_TRY(qk_selection_copy(&out->selection, &trial->selection, err));
    QK_TRY(qk_spec_text(&out->selection, search->pair, &out->text, err));
    for (int part = 0; part < QK_SEARCH_PARTS; part++) {
        QK_TRY(qk_alloc(&out->score[part], search->cases.n_objectives, sizeof *out->score[part], err));
        for (size_t o = 0; o < search->cases.n_objectives; o++)
            out->score[part][o] = qk_search_score(search, trial->answer, o, (enum qk_search_part)part);
    }
    return QK_OK;
}

/* Writes the front into the event, in the order that the front end numbers from 1. */
static enum qk_code make_points(
    const struct qk_search *search, struct evaluation_event *event, struct qk_error *err)
{
    const struct qk_trial **front;
    size_t n_front, n;
    QK_TRY(qk_search_points(search, &front, &n_front, &n, err));
    enum qk_code code = qk_alloc(&event->point, n, sizeof *event->point, err);
    for (size_t i = 0; i < n && code == QK_OK; i++) {
        code = make_point(search, front[i], &event->point[i], err);
        if (code == QK_OK)
            event->n_points++;
        else
            qk_search_point_free(&event->point[i]);
    }
    for (int part = 0; part < QK_SEARCH_PARTS; part++)
        event->n_at_once[part] = qk_search_count(search, (enum qk_search_part)part);
    free(front);
    return code;
}

/* Without memory the trial is not reported: its changes come with the next one, or with the end. */
static void on_trial(void *context, const char *stage, const struct qk_trial *trial)
{
    struct searching *s = context;
    struct evaluation_event *event;
    if (qk_evaluation_event_new(EVALUATION_TRIAL, &event, NULL) != QK_OK)
        return;
    /* Post is measured before pre is asked, and no trial reports that. */
    event->search = s->order->serial;
    event->stage = s->search.parts->differs != NULL ? stage : SEARCH_BEGINS;
    event->n_trials = s->search.n_trials;
    event->n_measured = s->search.parts->n_measured;
    event->effect = copy_effects(&s->search);
    /* There is a front once pre and post are known; only a trial with every answer changes it. */
    if (s->search.parts->differs != NULL &&
        (!s->begun || trial->n_asked == s->search.parts->n_cases[QK_SEARCHED]) &&
        qk_search_mark_front(&s->search, NULL) == QK_OK) {
        make_points(&s->search, event, NULL);
        s->begun = true;
    }
    qk_session_post(s->run->session, &event->event);
}

/* Also for a cancelled search: its results until then count. */
static void post_end(struct searching *s, const struct qk_error *error)
{
    struct evaluation_event *event = s->order->ended;
    event->search = s->order->serial;
    event->error = *error;
    event->complete = s->search.complete;
    event->n_trials = s->search.n_trials;
    event->n_measured = s->search.parts != NULL ? s->search.parts->n_measured : 0;
    event->effect = copy_effects(&s->search);
    make_points(&s->search, event, error->code == QK_OK ? &event->error : NULL);
    qk_session_post(s->run->session, &event->event);
}

void qk_search_serve(struct evaluation_run *run, struct search_order *order)
{
    struct searching s = {.run = run, .order = order};
    const struct qk_search_calls calls = {&s, answer, on_trial};
    const struct qk_search_hints hints = {order->prior, order->head, order->n_heads};
    struct qk_error error = {0};
    enum qk_code code = qk_search_run(
        &s.search, run->session->pair, &run->objectives.cases, &hints, &order->limits, &calls, &error);
    if (code == QK_OK) /* the error of a trial that the search skipped */
        error = (struct qk_error){0};
    post_end(&s, &error);
    order->ended = NULL;
    qk_search_order_free(order);
    qk_search_free(&s.search);
}

void qk_search_order_free(struct search_order *order)
{
    free(order->prior);
    qk_evaluation_event_free(order->ended);
    *order = (struct search_order){0};
}

/* --- publishing --- */

void qk_search_point_free(struct qk_search_point *point)
{
    qk_selection_free(&point->selection);
    free(point->text);
    for (int part = 0; part < QK_SEARCH_PARTS; part++)
        free(point->score[part]);
    *point = (struct qk_search_point){0};
}

static void free_points(struct search_record *found)
{
    for (size_t i = 0; i < found->state.n_points; i++)
        qk_search_point_free(&found->point[i]);
    free(found->point);
}

void qk_search_record_free(struct search_record *found)
{
    free_points(found);
    free(found->effect);
}

/* Takes effects and front; an event without them (of a search that was cancelled too soon) leaves the earlier
 * ones. */
static void take_found(struct search_record *found, struct evaluation_event *event)
{
    found->state.n_trials = event->n_trials;
    found->state.n_measured = event->n_measured;
    if (event->effect != NULL) {
        free(found->effect);
        found->state.effect = found->effect = event->effect;
        event->effect = NULL;
    }
    if (event->n_points == 0)
        return;
    free_points(found);
    found->state.point = found->point = event->point;
    found->state.n_points = event->n_points;
    memcpy(found->state.n_at_once, event->n_at_once, sizeof event->n_at_once);
    event->point = NULL;
    event->n_points = 0;
}

void qk_search_publish_trial(struct evaluation_run *run, struct evaluation_event *event)
{
    struct search_record *found = &run->found;
    if (event->search != found->serial)
        return;
    found->state.doing = event->stage;
    take_found(found, event);
}

void qk_search_publish_end(struct evaluation_run *run, struct evaluation_event *event)
{
    struct search_record *found = &run->found;
    enum qk_code code = event->error.code;
    if (event->search != found->serial)
        return;
    take_found(found, event);
    found->state.seconds = qk_seconds_since(&found->start);
    found->state.stage = code == QK_CANCELLED ? QK_SEARCH_CANCELLED
                         : code != QK_OK      ? QK_SEARCH_FAILED
                         : event->complete    ? QK_SEARCH_COMPLETE
                                              : QK_SEARCH_LIMITED;
    found->error = event->error;
    found->state.error = found->state.stage == QK_SEARCH_FAILED ? found->error.text : NULL;
}

void qk_search_give_up(struct evaluation_run *run)
{
    struct search_record *found = &run->found;
    if (found->state.stage != QK_SEARCH_RUNNING)
        return;
    found->state.stage = QK_SEARCH_FAILED;
    found->error = run->ended;
    found->state.error = found->error.text;
}

/* --- for the front end --- */

/* Ranks layers by their drift of routing, and softmax layers by the attention shift that a restore undoes, as far as
 * these are known. */
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
            bool known =
                qk_kind_softmax(session->pair->layer[i].kind) && qk_session_range(session, i, &range);
            value[i] = known ? range.restored_shift : 0;
        }
        qk_prior_add(sum, value, n);
    }
    free(value);
    *out = sum;
    return code;
}

static enum qk_code make_order(struct qk_session *session, const struct qk_search_limits *limits,
    struct search_order *order, struct qk_error *err)
{
    order->serial = qk_session_serial(session);
    order->limits = *limits;
    order->norms = qk_session_norms(session);
    const struct qk_suggestion *suggestion;
    struct qk_error no_heads; /* without needle masses the search begins without heads */
    if (qk_session_suggest(session, &suggestion, &no_heads) == QK_OK)
        order->n_heads = qk_hint_heads(&suggestion->recall, order->head);
    QK_TRY(qk_evaluation_event_new(EVALUATION_SEARCHED, &order->ended, err));
    return make_prior(session, &order->prior, err);
}

enum qk_code qk_session_search(
    struct qk_session *session, const struct qk_search_limits *limits, struct qk_error *err)
{
    struct evaluation_run *run = session->evaluation;
    struct search_order order = {0};
    if (run == NULL || run->found.state.n_objectives == 0)
        return qk_fail(err, QK_USAGE, "there are no cases to ask yet");
    if (run->found.state.stage == QK_SEARCH_RUNNING)
        return qk_fail(err, QK_USAGE, "a search is still running");
    if (run->ended.code != QK_OK)
        return qk_fail(err, run->ended.code, "%s", run->ended.text);
    enum qk_code code = make_order(session, limits, &order, err);
    if (code != QK_OK) {
        qk_search_order_free(&order);
        return code;
    }
    run->found.serial = order.serial;
    run->found.norms = order.norms;
    clock_gettime(CLOCK_MONOTONIC, &run->found.start);
    struct qk_search_state *state = &run->found.state;
    state->stage = QK_SEARCH_RUNNING;
    state->doing = SEARCH_BEGINS;
    state->n_trials = state->n_measured = 0;
    state->seconds = 0;
    state->limits = order.limits;
    pthread_mutex_lock(&run->mutex);
    run->search = order;
    atomic_store(&run->search_progress.cancel, false);
    qk_evaluation_wake(run);
    pthread_mutex_unlock(&run->mutex);
    return QK_OK;
}

void qk_session_search_cancel(struct qk_session *session)
{
    if (session->evaluation != NULL)
        atomic_store(&session->evaluation->search_progress.cancel, true);
}

const struct qk_search_state *qk_session_search_state(const struct qk_session *session)
{
    static const struct qk_search_state off = {.stage = QK_SEARCH_OFF};
    return session->evaluation != NULL ? &session->evaluation->found.state : &off;
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
    if (session->evaluation == NULL || session->evaluation->found.norms != qk_session_norms(session))
        return -1; /* they were measured with the other norms */
    for (size_t i = 0; i < found->n_points; i++)
        if (qk_selection_equal(&found->point[i].selection, qk_session_selection(session)))
            return (int)i;
    return -1;
}
