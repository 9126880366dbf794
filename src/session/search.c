/* search.c - a search in the thread of a session's evaluation: what it asks, tells and leaves. */
#include "session/evaluation_thread.h"

#include "base/mem.h"
#include "blend/spec.h"
#include "eval/search_internal.h"

#include <stdlib.h>
#include <string.h>

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
    news->effect = copy_effects(&s->search);
    make_points(&s->search, news, error->code == QK_OK ? &news->error : &unheard);
    qk_session_post(s->asking->session, message);
}

void qk_asking_search(struct asking *asking, const double *prior, double seconds, bool norms)
{
    struct searching s = {.asking = asking, .norms = norms};
    const struct qk_search_calls calls = {&s, answer, told};
    const struct qk_search_limits limits = {.seconds = seconds};
    struct qk_error error = {0};
    enum qk_code code = qk_search_run(
        &s.search, asking->session->pair, &asking->objectives.cases, prior, &limits, &calls, &error);
    if (code == QK_OK) /* what a trial failed with that the search did without */
        error = (struct qk_error){0};
    tell_end(&s, &error);
    qk_search_free(&s.search);
}
