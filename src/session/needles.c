/* needles.c - the needle masses of a session, for the front end's thread. */
#include "session/needles.h"
#include "session/needle_thread.h"

#include "base/mem.h"

#include <stdlib.h>

static struct needle_run *newest(const struct qk_session *session)
{
    return (struct needle_run *)session->needles;
}

/* --- publishing --- */

static void publish_done(struct run *base, struct run_event *event)
{
    struct needle_run *run = (struct needle_run *)base;
    struct qk_needles_state *state = &run->state;
    (void)event;
    state->stage = base->error.code == QK_OK          ? QK_NEEDLES_READY
                   : base->error.code == QK_CANCELLED ? QK_NEEDLES_CANCELLED
                                                      : QK_NEEDLES_FAILED;
    state->error = state->stage == QK_NEEDLES_FAILED ? base->error.text : NULL;
    if (state->stage != QK_NEEDLES_READY)
        return;
    state->needles = &run->prompts.needles;
    state->n_skipped = run->prompts.n_skipped;
    state->kept = &run->states;
    state->fetches = qk_needle_fetches(&run->measured);
}

static void publish_same(struct run *base, struct run_event *event)
{
    struct qk_needle_layer *same = &((struct needle_run *)base)->same[event->layer];
    struct needle_event *own = (struct needle_event *)event;
    qk_needle_layer_free(same);
    *same = own->same;
    own->same = (struct qk_needle_layer){0};
}

static void publish_exact(struct run *base, struct run_event *event)
{
    struct needle_run *run = (struct needle_run *)base;
    struct needle_event *own = (struct needle_event *)event;
    qk_needle_layers_free(run->exact, base->n_layers);
    run->exact = own->exact;
    own->exact = NULL;
}

/* --- the kind --- */

static struct run **list_of(struct qk_session *session)
{
    return &session->needles;
}

static void free_event(struct run_event *event)
{
    struct needle_event *own = (struct needle_event *)event;
    qk_needle_layer_free(&own->same);
    qk_needle_layers_free(own->exact, own->n_exact);
}

static void free_run(struct run *base)
{
    struct needle_run *run = (struct needle_run *)base;
    qk_needle_layers_free(run->same, base->n_layers);
    qk_needle_layers_free(run->exact, base->n_layers);
    qk_needle_numbers_free(run->numbers, base->n_layers);
    qk_token_texts_free(&run->texts);
    qk_needle_states_free(&run->states);
    qk_needle_pair_free(&run->measured);
    qk_needle_prompts_free(&run->prompts);
    qk_suggestion_free(&run->suggestion);
    free(run->file);
}

static bool has_rows(const struct run *run, int layer)
{
    (void)layer; /* qk_session_needle_row asks for those that can be computed */
    return ((const struct needle_run *)run)->ready;
}

static int row_heads(const struct run *run, int layer)
{
    return ((const struct needle_run *)run)->measured.side[QK_POST][layer].n_heads;
}

static void (*const PUBLISH[RUN_NEWS])(struct run *, struct run_event *) = {
    [RUN_DONE] = publish_done, [RUN_SAME] = publish_same, [RUN_EXACT] = publish_exact};
static const struct run_kind KIND = {.event_bytes = sizeof(struct needle_event),
    .list = list_of,
    .free = free_run,
    .free_event = free_event,
    .passes = qk_needle_passes,
    .exact = qk_needle_exact,
    .has_layer = qk_needle_has_layer,
    .has_rows = has_rows,
    .same = qk_needle_choices,
    .row_heads = row_heads,
    .rows = qk_needle_side_rows,
    .publish = PUBLISH};

/* --- starting, cancelling, following --- */

enum qk_code qk_session_needles(struct qk_session *session, const char *file, struct qk_error *err)
{
    struct needle_run *run;
    QK_TRY(qk_alloc(&run, 1, sizeof *run, err));
    run->state.stage = QK_NEEDLES_RUNNING;
    enum qk_code code = qk_run_init(&run->base, &KIND, session, &run->state.exact, err);
    if (code == QK_OK)
        code = qk_alloc(&run->same, (size_t)run->base.n_layers, sizeof *run->same, err);
    if (code == QK_OK && file != NULL)
        code = qk_strdup_to(&run->file, file, err);
    run->state.file = run->file;
    if (code == QK_OK)
        code = qk_run_start(&run->base, err);
    if (code != QK_OK)
        qk_run_free(&run->base);
    return code;
}

void qk_session_needles_cancel(struct qk_session *session)
{
    if (session->needles != NULL)
        qk_run_cancel(session->needles);
}

static void close_needles(struct qk_session *session)
{
    qk_runs_close(&session->needles);
}

static void follow_needles(struct qk_session *session)
{
    if (session->needles != NULL)
        qk_follow_choices(&session->needles->follow, session);
}

static bool watch_needles(struct qk_session *session)
{
    struct needle_run *run = newest(session);
    if (run == NULL)
        return false;
    struct qk_needles_state *state = &run->state;
    state->done = atomic_load(&run->base.progress.done);
    state->total = atomic_load(&run->base.progress.total);
    qk_run_watch_exact(&run->base);
    return state->stage == QK_NEEDLES_RUNNING || state->exact.running;
}

const struct session_part qk_needles_part = {
    .follow = follow_needles, .watch = watch_needles, .close = close_needles};

/* --- asking --- */

const struct qk_needles_state *qk_session_needles_state(const struct qk_session *session)
{
    static const struct qk_needles_state off = {.stage = QK_NEEDLES_OFF};
    return session->needles != NULL ? &newest(session)->state : &off;
}

/* Without kept inputs the exact run alone has numbers of a layer with choices. */
static void wait_for_exact(const struct needle_run *run, struct qk_session_needle *out)
{
    out->current_error = run->state.exact.error;
    out->current_is = out->current_error != NULL ? QK_CURRENT_FAILED : QK_CURRENT_PENDING;
}

static void current_masses(const struct needle_run *run, int layer, struct qk_session_needle *out)
{
    bool has_exact = run->exact != NULL && run->exact[layer].n_heads > 0;
    bool chosen = qk_follow_chosen(&run->base.follow, layer);
    out->current_is = qk_run_current(&run->base, layer, has_exact, &out->current_error);
    out->current_needles = &run->prompts.needles;
    if (out->current_is == QK_CURRENT_EXACT) {
        out->current = &run->exact[layer];
    } else if (chosen && qk_needle_run_restored(run, layer)) { /* measured already */
        out->current_is = QK_CURRENT_SAME;
        out->current_error = NULL;
        out->current = &run->measured.restored[layer];
    } else if (chosen) {
        if (run->states.needles.n == 0)
            wait_for_exact(run, out);
        out->current_needles = &run->states.needles;
        out->current = out->current_is == QK_CURRENT_SAME ? &run->same[layer] : NULL;
    } else {
        out->current = out->side[QK_POST];
    }
}

bool qk_session_needle(const struct qk_session *session, int layer, struct qk_session_needle *out)
{
    const struct needle_run *run = newest(session);
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
    const struct needle_run *run = newest(session);
    return run != NULL && run->state.stage == QK_NEEDLES_READY ? run->numbers : NULL;
}

enum qk_code qk_session_suggest(
    struct qk_session *session, const struct qk_suggestion **out, struct qk_error *err)
{
    struct needle_run *run = newest(session);
    if (run == NULL || run->state.stage != QK_NEEDLES_READY)
        return qk_fail(err, QK_USAGE, "there are no needle masses to propose from");
    enum qk_code code = QK_OK;
    if (run->suggestion.verdict == NULL)
        code = qk_suggest(session->pair, &run->prompts.needles, &run->measured, &run->suggestion, err);
    if (code != QK_OK)
        qk_suggestion_free(&run->suggestion);
    *out = &run->suggestion;
    return code;
}

/* --- one prompt --- */

int qk_session_needle_shown(const struct qk_session *session)
{
    const struct needle_run *run = newest(session);
    return run != NULL && run->state.stage == QK_NEEDLES_READY ? qk_needle_run_shown(run) : -1;
}

const char *qk_session_needle_piece(const struct qk_session *session, size_t i, size_t *n)
{
    *n = 0;
    return qk_session_needle_shown(session) >= 0 ? qk_token_texts_at(&newest(session)->texts, i, n) : NULL;
}

const float *qk_session_needle_row(
    struct qk_session *session, int layer, int head, size_t query, enum qk_range_side side)
{
    int shown = qk_session_needle_shown(session);
    struct needle_run *run = newest(session);
    if (shown < 0 || query >= run->states.needles.item[shown].T || run->states.x[layer] == NULL)
        return NULL;
    return qk_row_requests_get(&run->base.requests, &run->base.follow, layer, head, query, side);
}

const char *qk_session_needle_row_error(const struct qk_session *session)
{
    return qk_run_rows_error(session->needles);
}
