/* ranges.c - the attention ranges of a session, for the front end's thread. */
#include "session/ranges.h"
#include "session/choices.h"
#include "session/range_thread.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct range_run *newest(const struct qk_session *session)
{
    return (struct range_run *)session->ranges;
}

/* --- publishing --- */

static void publish_opened(struct run *base, struct run_event *event)
{
    struct range_run *run = (struct range_run *)base;
    const struct qk_probe *probe = run->probe;
    (void)event;
    run->state.origin = probe->origin;
    run->state.pre_cannot = probe->pre_cannot;
    run->state.ids = probe->ids;
    run->state.n_ids = probe->T;
    run->state.first_query = qk_range_first_query(&probe->range, probe->T);
    const struct qk_block_choice linear = qk_range_blocks(&probe->range, QK_LINEAR, probe->T);
    run->state.linear_queries = qk_chosen_queries(&linear);
    run->state.n_bins = qk_range_bins(probe->T);
    run->state.long_from = probe->range.long_from > 0 ? probe->range.long_from : QK_RANGE_LONG;
}

static void publish_layer(struct run *base, struct run_event *event)
{
    struct range_run *run = (struct range_run *)base;
    run->layer[event->layer].ready = true;
}

/* Also publishes what lost events, for which there was no memory, would have reported. */
static void publish_done(struct run *base, struct run_event *event)
{
    struct range_run *run = (struct range_run *)base;
    const struct qk_error *error = &base->error;
    run->state.estimated = ((struct range_event *)event)->estimated;
    run->state.stage = error->code == QK_OK          ? QK_PROBE_READY
                       : error->code == QK_CANCELLED ? QK_PROBE_CANCELLED
                                                     : QK_PROBE_FAILED;
    run->state.done = atomic_load(&base->progress.done);
    run->state.total = atomic_load(&base->progress.total);
    run->state.seconds = qk_seconds_since(&run->start);
    run->state.error = run->state.stage == QK_PROBE_FAILED ? error->text : NULL;
    if (error->code == QK_OK)
        publish_opened(base, event);
    pthread_mutex_lock(&base->follow.mutex);
    for (int i = 0; i < base->n_layers; i++)
        run->layer[i].ready = run->ready[i];
    pthread_mutex_unlock(&base->follow.mutex);
}

static void publish_same(struct run *base, struct run_event *event)
{
    struct range_layer *layer = &((struct range_run *)base)->layer[event->layer];
    struct qk_layer_range *range = &((struct range_event *)event)->range;
    qk_layer_range_free(&layer->same);
    layer->same = *range;
    layer->same_shift = ((struct range_event *)event)->shift;
    *range = (struct qk_layer_range){0};
}

static void free_layers(struct qk_layer_range *ranges, int n)
{
    for (int i = 0; ranges != NULL && i < n; i++)
        qk_layer_range_free(&ranges[i]);
    free(ranges);
}

static void publish_exact(struct run *base, struct run_event *event)
{
    struct range_run *run = (struct range_run *)base;
    struct range_event *own = (struct range_event *)event;
    free_layers(run->exact, base->n_layers);
    run->exact = own->exact;
    own->exact = NULL;
}

static void publish_profile(struct run *base, struct run_event *event)
{
    struct range_layer *layer = &((struct range_run *)base)->layer[event->layer];
    struct range_event *own = (struct range_event *)event;
    layer->error = event->error;
    if (event->error.code != QK_OK)
        return;
    memcpy(layer->profile, own->profile, sizeof layer->profile);
    memset(own->profile, 0, sizeof own->profile);
}

/* --- the kind --- */

static struct run **list_of(struct qk_session *session)
{
    return &session->ranges;
}

static void free_event(struct run_event *event)
{
    struct range_event *own = (struct range_event *)event;
    qk_layer_range_free(&own->range);
    free_layers(own->exact, own->n_exact);
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        qk_profile_free(&own->profile[s]);
}

static void free_run(struct run *base)
{
    struct range_run *run = (struct range_run *)base;
    for (int i = 0; run->layer != NULL && i < base->n_layers; i++) {
        qk_layer_range_free(&run->layer[i].same);
        for (int s = 0; s < QK_SIDE_COUNT; s++)
            qk_profile_free(&run->layer[i].profile[s]);
    }
    free_layers(run->exact, base->n_layers);
    for (size_t i = 0; i < sizeof run->path / sizeof run->path[0]; i++)
        free(run->path[i]);
    qk_token_texts_free(&run->texts);
    qk_probe_close(run->probe);
    free(run->layer);
    free(run->ready);
    free(run->profiled);
}

static bool is_ready(const struct run *run, int layer)
{
    return ((const struct range_run *)run)->ready[layer];
}

static int row_heads(const struct run *run, int layer)
{
    return ((const struct range_run *)run)->probe->layer[layer].side[QK_POST].n_heads;
}

static void (*const PUBLISH[RANGE_NEWS])(struct run *, struct run_event *) = {[RUN_DONE] = publish_done,
    [RUN_SAME] = publish_same,
    [RUN_EXACT] = publish_exact,
    [RANGE_OPENED] = publish_opened,
    [RANGE_LAYER] = publish_layer,
    [RANGE_PROFILE] = publish_profile};
static const struct run_kind KIND = {.event_bytes = sizeof(struct range_event),
    .list = list_of,
    .free = free_run,
    .free_event = free_event,
    .passes = qk_range_passes,
    .exact = qk_range_exact,
    .has_layer = is_ready,
    .has_rows = is_ready,
    .same = qk_range_same,
    .row_heads = row_heads,
    .rows = qk_range_rows,
    .publish = PUBLISH};

/* --- starting, cancelling --- */

static enum qk_code fill_run(
    struct range_run *run, const struct qk_probe_options *options, struct qk_error *err)
{
    size_t n = (size_t)run->base.n_layers;
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
    return qk_alloc(&run->profiled, n, sizeof *run->profiled, err);
}

enum qk_code qk_session_probe(
    struct qk_session *session, const struct qk_probe_options *options, struct qk_error *err)
{
    struct range_run *run;
    QK_TRY(qk_alloc(&run, 1, sizeof *run, err));
    clock_gettime(CLOCK_MONOTONIC, &run->start);
    run->state.stage = QK_PROBE_RUNNING;
    enum qk_code code = qk_run_init(&run->base, &KIND, session, &run->state.exact, err);
    if (code == QK_OK)
        code = fill_run(run, options, err);
    if (code == QK_OK)
        code = qk_run_start(&run->base, err);
    if (code != QK_OK)
        qk_run_free(&run->base);
    return code;
}

enum qk_code qk_session_probe_again(struct qk_session *session, struct qk_error *err)
{
    return session->ranges == NULL ? QK_OK : qk_session_probe(session, &newest(session)->options, err);
}

void qk_session_probe_cancel(struct qk_session *session)
{
    if (session->ranges != NULL)
        qk_run_cancel(session->ranges);
}

static void close_ranges(struct qk_session *session)
{
    qk_runs_close(&session->ranges);
}

static void follow_ranges(struct qk_session *session)
{
    if (session->ranges != NULL)
        qk_follow_choices(&session->ranges->follow, session);
}

static bool watch_ranges(struct qk_session *session)
{
    struct range_run *run = newest(session);
    if (run == NULL)
        return false;
    struct qk_probe_state *state = &run->state;
    bool running = state->stage == QK_PROBE_RUNNING;
    if (running) {
        state->seconds = qk_seconds_since(&run->start);
        state->done = atomic_load(&run->base.progress.done);
        state->total = atomic_load(&run->base.progress.total);
    }
    qk_run_watch_exact(&run->base);
    return running || state->exact.running;
}

const struct session_part qk_ranges_part = {
    .follow = follow_ranges, .watch = watch_ranges, .close = close_ranges};

/* --- asking --- */

const struct qk_probe_state *qk_session_probe_state(const struct qk_session *session)
{
    static const struct qk_probe_state off = {.stage = QK_PROBE_OFF};
    return session->ranges != NULL ? &newest(session)->state : &off;
}

const char *qk_session_probe_piece(const struct qk_session *session, size_t i, size_t *n)
{
    const struct range_run *run = newest(session);
    *n = 0;
    return run != NULL && i < run->state.n_ids ? qk_token_texts_at(&run->texts, i, n) : NULL;
}

/* The shift of current from pre, on post's states: that of the newest choice, or post's of a layer without one. */
static double current_shift(const struct range_run *run, int layer)
{
    if (!qk_follow_chosen(&run->base.follow, layer))
        return run->probe->layer[layer].shift;
    return qk_run_same_known(&run->base, layer) ? run->layer[layer].same_shift : NAN;
}

static void current_range(const struct range_run *run, int layer, struct qk_session_range *out)
{
    bool has_exact = run->exact != NULL && run->exact[layer].n_heads > 0;
    out->current_is = qk_run_current(&run->base, layer, has_exact, &out->current_error);
    if (out->current_is == QK_CURRENT_EXACT)
        out->current = &run->exact[layer];
    else if (out->current_is == QK_CURRENT_SAME && qk_follow_chosen(&run->base.follow, layer))
        out->current = &run->layer[layer].same;
    else if (out->current_is == QK_CURRENT_SAME || out->current_is == QK_CURRENT_POST)
        out->current = out->side[QK_POST];
}

bool qk_session_range(const struct qk_session *session, int layer, struct qk_session_range *out)
{
    const struct range_run *run = newest(session);
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
    out->current_shift = current_shift(run, layer);
    return true;
}

const char *qk_session_range_error(const struct qk_session *session, int layer)
{
    const struct qk_pair_layer *both = &session->pair->layer[layer];
    const struct range_run *run = newest(session);
    if (both->kind == QK_NONE)
        return NULL;
    if (!qk_probe_has(session->pair, layer))
        return both->problem != NULL ? both->problem
               : both->no_k != NULL  ? both->no_k
                                     : "its recurrence is not built in";
    if (run != NULL && run->state.stage == QK_PROBE_READY && !run->layer[layer].ready)
        return "its input is not in the states file";
    if (run != NULL && run->state.estimated)
        return qk_error_text(
            run->layer[layer].error.code != QK_OK ? &run->layer[layer].error : &run->base.ended[RUN_PASSES]);
    return NULL;
}

const struct qk_profile *qk_session_profile(const struct qk_session *session, int layer, enum qk_side side)
{
    const struct range_run *run = newest(session);
    return run != NULL && run->layer[layer].profile[side].n_heads > 0 ? &run->layer[layer].profile[side]
                                                                      : NULL;
}

/* --- rows of attention --- */

const float *qk_session_attention_row(
    struct qk_session *session, int layer, int head, size_t query, enum qk_range_side side)
{
    struct range_run *run = newest(session);
    if (run == NULL || !run->layer[layer].ready || query >= run->state.n_ids)
        return NULL;
    return qk_row_requests_get(&run->base.requests, &run->base.follow, layer, head, query, side);
}

const char *qk_session_attention_error(const struct qk_session *session)
{
    return qk_run_rows_error(session->ranges);
}
