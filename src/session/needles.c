/* needles.c - the needle masses of a session, for the front end's thread. */
#include "session/needles.h"
#include "session/needle_thread.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* --- starting, cancelling, following --- */

/* Frees replaced runs whose threads have ended. */
static void free_ended(struct qk_session *session)
{
    for (struct needle_run **at = &session->needles->next; *at != NULL;) {
        struct needle_run *run = *at;
        if (run->n_ended < run->n_threads) {
            at = &run->next;
            continue;
        }
        *at = run->next;
        qk_needle_run_free(run);
    }
}

static enum qk_code fill_run(struct needle_run *run, struct qk_error *err)
{
    QK_TRY(qk_follow_init(&run->follow, run->session, err));
    QK_TRY(qk_alloc(&run->same, (size_t)run->n_layers, sizeof *run->same, err));
    QK_TRY(qk_needle_event_new(run, NEEDLE_DONE, &run->done, err));
    for (int i = 0; i < NEEDLE_THREADS; i++) {
        QK_TRY(qk_needle_event_new(run, NEEDLE_ENDED, &run->last[i], err));
        run->last[i]->layer = i;
    }
    return qk_needle_run_start(run, err);
}

enum qk_code qk_session_needles(struct qk_session *session, struct qk_error *err)
{
    struct needle_run *run;
    QK_TRY(qk_alloc(&run, 1, sizeof *run, err));
    run->session = session;
    run->serial = qk_session_serial(session);
    run->n_layers = session->pair->n_layers;
    qk_row_requests_init(&run->requests);
    enum qk_code code = fill_run(run, err);
    if (code != QK_OK) {
        qk_needle_run_stop(run);
        qk_needle_run_free(run);
        return code;
    }
    run->state.stage = QK_NEEDLES_RUNNING;
    if (session->needles != NULL)
        qk_needle_run_stop(session->needles);
    run->next = session->needles;
    session->needles = run;
    free_ended(session);
    return QK_OK;
}

void qk_session_needles_cancel(struct qk_session *session)
{
    if (session->needles == NULL)
        return;
    atomic_store(&session->needles->progress.cancel, true);
    atomic_store(&session->needles->follow.exact_progress.cancel, true);
}

static void close_needles(struct qk_session *session)
{
    for (struct needle_run *run = session->needles; run != NULL; run = run->next)
        qk_needle_run_stop(run);
    while (session->needles != NULL) {
        struct needle_run *run = session->needles;
        session->needles = run->next;
        qk_needle_run_free(run);
    }
}

static void follow_needles(struct qk_session *session)
{
    if (session->needles != NULL)
        qk_follow_choices(&session->needles->follow, session);
}

/* --- publishing --- */

static void publish_done(struct needle_run *run, struct needle_event *event)
{
    struct qk_needles_state *state = &run->state;
    run->error = event->error;
    state->stage = run->error.code == QK_OK          ? QK_NEEDLES_READY
                   : run->error.code == QK_CANCELLED ? QK_NEEDLES_CANCELLED
                                                     : QK_NEEDLES_FAILED;
    state->error = state->stage == QK_NEEDLES_FAILED ? run->error.text : NULL;
    if (state->stage != QK_NEEDLES_READY)
        return;
    state->needles = &run->prompts.needles;
    state->kept = &run->states;
    state->fetches = qk_needle_fetches(&run->measured);
}

static void publish_same(struct needle_run *run, struct needle_event *event)
{
    struct needle_same *same = &run->same[event->layer];
    qk_needle_layer_free(&same->masses);
    same->masses = event->same;
    event->same = (struct qk_needle_layer){0};
    same->known = true;
    same->generation = event->generation;
    same->error = event->error;
}

static void publish_exact_started(struct needle_run *run, struct needle_event *event)
{
    (void)event;
    run->state.exact_running = true;
}

static void publish_exact(struct needle_run *run, struct needle_event *event)
{
    run->state.exact_running = false;
    if (event->error.code == QK_CANCELLED)
        return;
    qk_needle_layers_free(run->exact, run->n_layers);
    run->exact = event->exact;
    run->exact_generation = event->generation;
    event->exact = NULL;
    run->exact_error = event->error;
    run->state.exact_error = event->error.code != QK_OK ? run->exact_error.text : NULL;
}

static void publish_rows(struct needle_run *run, struct needle_event *event)
{
    qk_row_requests_publish(&run->requests, &event->rows, &event->error);
}

static void publish_ended(struct needle_run *run, struct needle_event *event)
{
    run->n_ended++;
    run->ended[event->layer] = event->error;
    if (event->layer != NEEDLE_PASSES || event->error.code == QK_OK)
        return;
    run->state.exact_running = false;
    run->state.exact_error = run->ended[NEEDLE_PASSES].text;
}

/* The newest run takes every event; replaced runs take only the end of their threads. */
void qk_needles_publish(struct qk_session *session, struct event *event)
{
    static void (*const PUBLISH[NEEDLE_NEWS_COUNT])(struct needle_run *, struct needle_event *) = {
        [NEEDLE_DONE] = publish_done,
        [NEEDLE_SAME] = publish_same,
        [NEEDLE_EXACT_STARTED] = publish_exact_started,
        [NEEDLE_EXACT] = publish_exact,
        [NEEDLE_ROWS] = publish_rows,
        [NEEDLE_ENDED] = publish_ended};
    struct needle_event *own = (struct needle_event *)event;
    struct needle_run *run = session->needles;
    while (run != NULL && run->serial != own->serial)
        run = run->next;
    if (run != NULL && (run == session->needles || own->news == NEEDLE_ENDED))
        PUBLISH[own->news](run, own);
    if (session->needles != NULL)
        free_ended(session);
}

static bool watch_needles(struct qk_session *session)
{
    struct needle_run *run = session->needles;
    if (run == NULL)
        return false;
    struct qk_needles_state *state = &run->state;
    state->done = atomic_load(&run->progress.done);
    state->total = atomic_load(&run->progress.total);
    state->exact_done = atomic_load(&run->follow.exact_progress.done);
    state->exact_total = atomic_load(&run->follow.exact_progress.total);
    return state->stage == QK_NEEDLES_RUNNING || state->exact_running;
}

const struct session_part qk_needles_part = {
    .follow = follow_needles, .watch = watch_needles, .close = close_needles};

/* --- asking --- */

const struct qk_needles_state *qk_session_needles_state(const struct qk_session *session)
{
    static const struct qk_needles_state off = {.stage = QK_NEEDLES_OFF};
    return session->needles != NULL ? &session->needles->state : &off;
}

static const char *text_of(const struct qk_error *error)
{
    return error->code != QK_OK ? error->text : NULL;
}

/* The masses of a layer with a choice on the kept inputs; NULL: none yet, or *why. */
static const struct qk_needle_layer *same_masses(const struct needle_run *run, int layer, const char **why)
{
    const struct needle_same *same = &run->same[layer];
    bool fresh = same->known && same->generation == run->follow.asked[layer];
    *why = text_of(fresh ? &same->error : &run->ended[NEEDLE_FOLLOWS]);
    if (run->states.needles.n == 0) /* then the exact run alone has numbers */
        *why = run->state.exact_error;
    return fresh && *why == NULL ? &same->masses : NULL;
}

static void current_masses(const struct needle_run *run, int layer, struct qk_session_needle *out)
{
    out->current_is = QK_CURRENT_POST;
    out->current = out->side[QK_POST];
    out->current_needles = &run->prompts.needles;
    if (qk_selection_count(&run->follow.selection) == 0)
        return;
    out->current_is = QK_CURRENT_SAME;
    if (run->exact != NULL && run->exact_generation == run->follow.generation &&
        run->exact[layer].n_heads > 0) {
        out->current_is = QK_CURRENT_EXACT;
        out->current = &run->exact[layer];
    } else if (qk_needle_run_restored(run, layer)) {
        out->current = &run->measured.restored[layer];
    } else if (qk_follow_chosen(&run->follow, layer)) { /* on the same states a kept layer is post's */
        out->current = same_masses(run, layer, &out->current_error);
        out->current_needles = &run->states.needles;
        out->current_is = out->current != NULL         ? QK_CURRENT_SAME
                          : out->current_error != NULL ? QK_CURRENT_FAILED
                                                       : QK_CURRENT_PENDING;
    }
}

bool qk_session_needle(const struct qk_session *session, int layer, struct qk_session_needle *out)
{
    const struct needle_run *run = session->needles;
    *out = (struct qk_session_needle){.largest = -1, .largest_drop = -1};
    if (run == NULL || run->state.stage != QK_NEEDLES_READY || !session->pair->layer[layer].has_qk)
        return false;
    out->largest = qk_needle_largest(&run->measured, layer);
    out->largest_drop = qk_needle_largest_drop(&run->measured, layer);
    if (out->largest < 0)
        return false;
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        out->side[s] = &run->measured.side[s][layer];
    if (run->measured.restored[layer].n_heads > 0)
        out->restored = &run->measured.restored[layer];
    /* `asked`, `generation` and the selection are written by this thread alone. */
    current_masses(run, layer, out);
    return true;
}

const struct qk_head_numbers *qk_session_needle_numbers(const struct qk_session *session)
{
    const struct needle_run *run = session->needles;
    return run != NULL && run->state.stage == QK_NEEDLES_READY ? run->numbers : NULL;
}

/* --- one prompt --- */

int qk_session_needle_shown(const struct qk_session *session)
{
    const struct needle_run *run = session->needles;
    return run != NULL && run->state.stage == QK_NEEDLES_READY ? qk_needle_run_shown(run) : -1;
}

const char *qk_session_needle_piece(const struct qk_session *session, size_t i, size_t *n)
{
    int shown = qk_session_needle_shown(session);
    *n = 0;
    if (shown < 0 || i >= session->needles->states.needles.item[shown].T)
        return NULL;
    *n = session->needles->piece[i].n;
    return session->needles->piece[i].text;
}

const float *qk_session_needle_row(
    struct qk_session *session, int layer, int head, size_t query, enum qk_range_side side)
{
    int shown = qk_session_needle_shown(session);
    struct needle_run *run = session->needles;
    if (shown < 0 || query >= run->states.needles.item[shown].T || run->states.x[layer] == NULL)
        return NULL;
    return qk_row_requests_get(&run->requests, &run->follow, layer, head, query, side);
}

const char *qk_session_needle_row_error(const struct qk_session *session)
{
    const struct needle_run *run = session->needles;
    if (run == NULL)
        return NULL;
    return text_of(run->requests.error.code != QK_OK ? &run->requests.error : &run->ended[NEEDLE_FOLLOWS]);
}
