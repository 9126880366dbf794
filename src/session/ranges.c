/* ranges.c - the attention ranges of a session, for the front end's thread. */
#include "session/ranges.h"
#include "session/choices.h"
#include "session/range_thread.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* --- starting, cancelling --- */

static enum qk_code fill_run(
    struct range_run *run, const struct qk_probe_options *options, struct qk_error *err)
{
    size_t n = (size_t)run->n_layers;
    const char **paths[] = {&run->options.text_path, &run->options.ids_path,
        &run->options.states_path[QK_PRE], &run->options.states_path[QK_POST]};
    if (options != NULL)
        run->options = *options;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        if (*paths[i] != NULL)
            QK_TRY(qk_strdup_to(&run->path[i], *paths[i], err));
        *paths[i] = run->path[i];
    }
    QK_TRY(qk_alloc(&run->layer, n, sizeof *run->layer, err));
    QK_TRY(qk_alloc(&run->ready, n, sizeof *run->ready, err));
    QK_TRY(qk_alloc(&run->profiled, n, sizeof *run->profiled, err));
    QK_TRY(qk_range_event_new(run, RANGE_DONE, &run->done, err));
    for (int i = 0; i < RANGE_THREADS; i++) {
        QK_TRY(qk_range_event_new(run, RANGE_ENDED, &run->last[i], err));
        run->last[i]->layer = i;
    }
    return QK_OK;
}

/* Frees replaced runs whose threads have ended. */
static void free_ended(struct qk_session *session)
{
    for (struct range_run **at = &session->ranges->next; *at != NULL;) {
        struct range_run *run = *at;
        if (run->n_ended < run->n_threads) {
            at = &run->next;
            continue;
        }
        *at = run->next;
        qk_range_run_free(run);
    }
}

enum qk_code qk_session_probe(
    struct qk_session *session, const struct qk_probe_options *options, struct qk_error *err)
{
    struct range_run *run;
    QK_TRY(qk_alloc(&run, 1, sizeof *run, err));
    run->session = session;
    run->serial = qk_session_serial(session);
    run->n_layers = session->pair->n_layers;
    qk_row_requests_init(&run->requests);
    clock_gettime(CLOCK_MONOTONIC, &run->start);
    enum qk_code code = qk_follow_init(&run->follow, session, err);
    if (code == QK_OK)
        code = fill_run(run, options, err);
    if (code == QK_OK)
        code = qk_range_run_start(run, err);
    if (code != QK_OK) {
        qk_range_run_stop(run);
        qk_range_run_free(run);
        return code;
    }
    run->state.stage = QK_PROBE_RUNNING;
    if (session->ranges != NULL)
        qk_range_run_stop(session->ranges);
    run->next = session->ranges;
    session->ranges = run;
    free_ended(session);
    return QK_OK;
}

enum qk_code qk_session_probe_again(struct qk_session *session, struct qk_error *err)
{
    return session->ranges == NULL ? QK_OK : qk_session_probe(session, &session->ranges->options, err);
}

void qk_session_probe_cancel(struct qk_session *session)
{
    if (session->ranges == NULL)
        return;
    atomic_store(&session->ranges->progress.cancel, true);
    atomic_store(&session->ranges->follow.exact_progress.cancel, true);
}

static void close_ranges(struct qk_session *session)
{
    for (struct range_run *run = session->ranges; run != NULL; run = run->next)
        qk_range_run_stop(run);
    while (session->ranges != NULL) {
        struct range_run *run = session->ranges;
        session->ranges = run->next;
        qk_range_run_free(run);
    }
}

static void follow_ranges(struct qk_session *session)
{
    if (session->ranges != NULL)
        qk_follow_choices(&session->ranges->follow, session);
}

/* --- publishing --- */

static void publish_opened(struct range_run *run, struct range_event *event)
{
    const struct qk_probe *probe = run->probe;
    (void)event;
    run->state.origin = probe->origin;
    run->state.ids = probe->ids;
    run->state.n_ids = probe->T;
    run->state.first_query = qk_range_first_query(&probe->range, probe->T);
    run->state.n_bins = qk_range_bins(probe->T);
    run->state.long_from = probe->range.long_from > 0 ? probe->range.long_from : QK_RANGE_LONG;
}

static void publish_side(struct range_run *run, struct range_event *event)
{
    run->state.doing = qk_side_name((enum qk_side)event->layer);
}

static void publish_layer(struct range_run *run, struct range_event *event)
{
    run->layer[event->layer].ready = true;
}

/* Also publishes what lost events, for which there was no memory, would have reported. */
static void publish_done(struct range_run *run, struct range_event *event)
{
    const struct qk_error *error = &event->error;
    run->state.estimated = event->estimated;
    run->state.stage = error->code == QK_OK          ? QK_PROBE_READY
                       : error->code == QK_CANCELLED ? QK_PROBE_CANCELLED
                                                     : QK_PROBE_FAILED;
    run->state.doing = NULL;
    run->state.done = atomic_load(&run->progress.done);
    run->state.total = atomic_load(&run->progress.total);
    run->state.seconds = qk_seconds_since(&run->start);
    run->error = *error;
    run->state.error = run->state.stage == QK_PROBE_FAILED ? run->error.text : NULL;
    if (error->code == QK_OK)
        publish_opened(run, event);
    pthread_mutex_lock(&run->follow.mutex);
    for (int i = 0; i < run->n_layers; i++)
        run->layer[i].ready = run->ready[i];
    pthread_mutex_unlock(&run->follow.mutex);
}

static void publish_same(struct range_run *run, struct range_event *event)
{
    struct range_layer *layer = &run->layer[event->layer];
    qk_layer_range_free(&layer->same);
    layer->same = event->range;
    event->range = (struct qk_layer_range){0};
    layer->has_same = true;
    layer->same_generation = event->generation;
    layer->error = event->error;
}

static void publish_exact_started(struct range_run *run, struct range_event *event)
{
    (void)event;
    run->state.exact_running = true;
}

static void publish_exact(struct range_run *run, struct range_event *event)
{
    run->state.exact_running = false;
    if (event->error.code == QK_CANCELLED)
        return;
    for (int i = 0; run->exact != NULL && i < run->n_layers; i++)
        qk_layer_range_free(&run->exact[i]);
    free(run->exact);
    run->exact = event->exact;
    run->exact_generation = event->generation;
    event->exact = NULL;
    run->exact_error = event->error;
    run->state.exact_error = event->error.code != QK_OK ? run->exact_error.text : NULL;
}

static void publish_rows(struct range_run *run, struct range_event *event)
{
    qk_row_requests_publish(&run->requests, &event->rows, &event->error);
}

static void publish_profile(struct range_run *run, struct range_event *event)
{
    struct range_layer *layer = &run->layer[event->layer];
    layer->error = event->error;
    if (event->error.code != QK_OK)
        return;
    memcpy(layer->profile, event->profile, sizeof layer->profile);
    memset(event->profile, 0, sizeof event->profile);
}

static void publish_ended(struct range_run *run, struct range_event *event)
{
    run->n_ended++;
    run->ended[event->layer] = event->error;
    if (event->layer != RANGE_PASSES || event->error.code == QK_OK)
        return;
    run->state.exact_running = false;
    run->state.exact_error = run->ended[RANGE_PASSES].text;
}

/* The newest run takes every event; replaced runs take only the end of their threads. */
void qk_ranges_publish(struct qk_session *session, struct event *event)
{
    static void (*const PUBLISH[RANGE_NEWS_COUNT])(struct range_run *, struct range_event *) = {
        [RANGE_OPENED] = publish_opened,
        [RANGE_SIDE] = publish_side,
        [RANGE_LAYER] = publish_layer,
        [RANGE_DONE] = publish_done,
        [RANGE_SAME] = publish_same,
        [RANGE_EXACT_STARTED] = publish_exact_started,
        [RANGE_EXACT] = publish_exact,
        [RANGE_ROWS] = publish_rows,
        [RANGE_PROFILE] = publish_profile,
        [RANGE_ENDED] = publish_ended};
    struct range_event *own = (struct range_event *)event;
    struct range_run *run = session->ranges;
    while (run != NULL && run->serial != own->serial)
        run = run->next;
    if (run != NULL && (run == session->ranges || own->news == RANGE_ENDED))
        PUBLISH[own->news](run, own);
    if (session->ranges != NULL)
        free_ended(session);
}

static bool watch_ranges(struct qk_session *session)
{
    struct range_run *run = session->ranges;
    if (run == NULL)
        return false;
    struct qk_probe_state *state = &run->state;
    bool running = state->stage == QK_PROBE_RUNNING;
    if (running) {
        state->seconds = qk_seconds_since(&run->start);
        state->done = atomic_load(&run->progress.done);
        state->total = atomic_load(&run->progress.total);
    }
    state->exact_done = atomic_load(&run->follow.exact_progress.done);
    state->exact_total = atomic_load(&run->follow.exact_progress.total);
    return running || state->exact_running;
}

const struct session_part qk_ranges_part = {
    .follow = follow_ranges, .watch = watch_ranges, .close = close_ranges};

/* --- asking --- */

const struct qk_probe_state *qk_session_probe_state(const struct qk_session *session)
{
    static const struct qk_probe_state off = {.stage = QK_PROBE_OFF};
    return session->ranges != NULL ? &session->ranges->state : &off;
}

const char *qk_session_probe_piece(const struct qk_session *session, size_t i, size_t *n)
{
    const struct range_run *run = session->ranges;
    *n = 0;
    if (run == NULL || i >= run->state.n_ids || run->piece == NULL || run->piece[i].text == NULL)
        return NULL;
    *n = run->piece[i].n;
    return run->piece[i].text;
}

static const char *text_of(const struct qk_error *error)
{
    return error->code != QK_OK ? error->text : NULL;
}

static void current_range(const struct range_run *run, int layer, struct qk_session_range *out)
{
    const struct range_layer *own = &run->layer[layer];
    bool fresh = own->has_same && own->same_generation == run->follow.asked[layer];
    out->current = out->side[QK_POST];
    out->current_is = QK_CURRENT_POST;
    if (qk_selection_count(&run->follow.selection) == 0)
        return;
    if (run->exact != NULL && run->exact_generation == run->follow.generation &&
        run->exact[layer].n_heads > 0) {
        out->current_is = QK_CURRENT_EXACT;
        out->current = &run->exact[layer];
    } else if (!qk_follow_chosen(&run->follow, layer)) { /* on the same states a kept layer is post's */
        out->current_is = QK_CURRENT_SAME;
    } else if (fresh && own->error.code == QK_OK) {
        out->current_is = QK_CURRENT_SAME;
        out->current = &own->same;
    } else {
        out->current_error = text_of(fresh ? &own->error : &run->ended[RANGE_FOLLOWS]);
        out->current_is = out->current_error != NULL ? QK_CURRENT_FAILED : QK_CURRENT_PENDING;
        out->current = NULL;
    }
}

bool qk_session_range(const struct qk_session *session, int layer, struct qk_session_range *out)
{
    const struct range_run *run = session->ranges;
    *out = (struct qk_session_range){0};
    if (run == NULL || !run->layer[layer].ready)
        return false;
    const struct qk_layer_ranges *ranges = &run->probe->layer[layer];
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        out->side[s] = &ranges->side[s];
    out->shift = ranges->shift;
    out->restored = ranges->restored.n_heads > 0 ? &ranges->restored : NULL;
    out->restored_shift = ranges->restored_shift;
    /* `asked`, `generation` and the selection are written by this thread alone. */
    current_range(run, layer, out);
    return true;
}

const char *qk_session_range_error(const struct qk_session *session, int layer)
{
    const struct qk_pair_layer *both = &session->pair->layer[layer];
    const struct range_run *run = session->ranges;
    if (both->kind != QK_FULL && both->kind != QK_WINDOW)
        return NULL;
    if (!qk_probe_has(session->pair, layer))
        return both->problem != NULL ? both->problem
               : both->no_k != NULL  ? both->no_k
                                     : "pre and post do not both have softmax attention here";
    if (run != NULL && run->state.stage == QK_PROBE_READY && !run->layer[layer].ready)
        return "its input is not in the states file";
    if (run != NULL && run->state.estimated)
        return text_of(
            run->layer[layer].error.code != QK_OK ? &run->layer[layer].error : &run->ended[RANGE_PASSES]);
    return NULL;
}

const struct qk_profile *qk_session_profile(const struct qk_session *session, int layer, enum qk_side side)
{
    const struct range_run *run = session->ranges;
    return run != NULL && run->layer[layer].profile[side].n_heads > 0 ? &run->layer[layer].profile[side]
                                                                      : NULL;
}

/* --- rows of attention --- */

const float *qk_session_attention_row(
    struct qk_session *session, int layer, int head, size_t query, enum qk_range_side side)
{
    struct range_run *run = session->ranges;
    if (run == NULL || !run->layer[layer].ready || query >= run->state.n_ids)
        return NULL;
    return qk_row_requests_get(&run->requests, &run->follow, layer, head, query, side);
}

const char *qk_session_attention_error(const struct qk_session *session)
{
    const struct range_run *run = session->ranges;
    if (run == NULL)
        return NULL;
    return text_of(run->requests.error.code != QK_OK ? &run->requests.error : &run->ended[RANGE_FOLLOWS]);
}
