/* range_thread.c - the work of a probe's threads: passes, estimates, and what choices ask for. */
#include "session/range_thread.h"

#include "base/mem.h"
#include "blend/patch.h"
#include "range/range_cache.h"
#include "range/restored.h"
#include "session/layers.h"

#include <stdlib.h>

/* --- the first thread: opening, the passes, exact runs --- */

/* The reports of the passes are in the run, too: the event of their end replaces events for which there was no
 * memory. */
static void on_ready(void *context, int layer)
{
    struct range_run *run = context;
    struct follow *follow = &run->base.follow;
    pthread_mutex_lock(&follow->mutex);
    run->ready[layer] = true;
    pthread_cond_broadcast(&follow->work);
    pthread_mutex_unlock(&follow->mutex);
    qk_run_post_news(&run->base, RANGE_LAYER, layer, NULL);
}

static enum qk_code run_probe(struct range_run *run, struct qk_error *err)
{
    const struct qk_probe_watch watch = {.context = run, .ready = on_ready};
    QK_TRY(qk_probe_open(run->base.session->pair, &run->options, &run->probe, err));
    const struct qk_probe *probe = run->probe;
    if (probe->tokenizer != NULL)
        QK_TRY(qk_token_texts_make(probe->tokenizer, probe->ids, probe->T, &run->texts, err));
    QK_TRY(qk_progress_check(&run->base.progress, err));
    qk_run_post_news(&run->base, RANGE_OPENED, 0, NULL);
    if (run->options.cached)
        qk_range_cache_load(run->probe);
    return qk_probe_run_restored(run->probe, NULL, &watch, &run->base.progress, err);
}

void qk_range_exact(struct run *base, const struct follow_job *job, struct run_event *event)
{
    struct range_run *run = (struct range_run *)base;
    struct range_event *own = (struct range_event *)event;
    struct qk_error *err = &event->error;
    struct qk_selection_patch patch;
    own->n_exact = base->n_layers;
    enum qk_code code = qk_alloc(&own->exact, (size_t)base->n_layers, sizeof *own->exact, err);
    if (code == QK_OK) {
        code = qk_selection_patch_make(base->session->pair, &job->selection, -1, job->norms, &patch, err);
        if (code == QK_OK)
            code =
                qk_probe_exact(run->probe, &patch.patch, NULL, &base->follow.exact_progress, own->exact, err);
        qk_selection_patch_free(&patch);
    }
    if (code != QK_OK) {
        free(own->exact); /* its entries hold nothing then */
        own->exact = NULL;
    }
}

/* --- estimates, without a forward pass --- */

static bool estimates(const struct range_run *run)
{
    const struct qk_pair *pair = run->base.session->pair;
    bool any = false;
    const char *why;
    for (int i = 0; i < run->base.n_layers; i++)
        any = any || qk_probe_has_profile(pair, i);
    return any && run->options.states_path[QK_POST] == NULL &&
           qk_probe_pass_missing(pair, &why, NULL) == QK_OK && why != NULL;
}

static enum qk_code run_profile(struct range_run *run, int layer, struct qk_error *err)
{
    const struct qk_pair *pair = run->base.session->pair;
    struct range_event *event;
    QK_TRY(qk_run_event_new(&run->base, RANGE_PROFILE, &event, err));
    enum qk_code code = QK_OK;
    event->base.layer = layer;
    for (int s = 0; s < QK_SIDE_COUNT && code == QK_OK; s++)
        code = qk_profile_make(pair->model[s], pair->layer[layer].side[s],
            qk_probe_profile_points(&run->options), &event->profile[s], &event->base.error);
    qk_session_post(run->base.session, &event->base.event);
    return QK_OK;
}

/* The selected layer as long as it has no result, else the next. */
static enum qk_code run_profiles(struct range_run *run, struct qk_error *err)
{
    struct run *base = &run->base;
    const struct qk_pair *pair = base->session->pair;
    for (int next = 0; next < base->n_layers && qk_progress_check(&base->progress, NULL) == QK_OK;) {
        int selected = qk_layers_selected(base->session);
        bool first = selected >= 0 && selected < base->n_layers && !run->profiled[selected];
        int layer = first ? selected : next++;
        if (!run->profiled[layer] && qk_probe_has_profile(pair, layer))
            QK_TRY(run_profile(run, layer, err));
        run->profiled[layer] = true;
    }
    return QK_OK;
}

void *qk_range_passes(void *argument)
{
    struct range_run *run = argument;
    struct qk_error error = {0}, ended = {0};
    enum qk_code code = run_probe(run, &error);
    bool estimated = code == QK_INPUT && estimates(run);
    ((struct range_event *)run->base.done)->estimated = estimated;
    qk_run_post_done(&run->base, &error);
    if (estimated)
        run_profiles(run, &ended);
    if (code == QK_OK && run->options.cached)
        qk_range_cache_store(run->probe, NULL); /* without it only time is lost */
    if (code == QK_OK && run->probe->origin == QK_ORIGIN_PASS)
        qk_run_follow_exactly(&run->base, &ended);
    qk_run_post_end(&run->base, RUN_PASSES, &ended);
    return NULL;
}

/* --- the second thread: post's states, the present choices --- */

enum qk_code qk_range_rows(struct run *base, int layer, enum qk_side side, const struct follow_job *job,
    size_t query, float **out, struct qk_error *err)
{
    const struct qk_probe *probe = ((struct range_run *)base)->probe;
    struct qk_selection_patch patch;
    if (job == NULL)
        return qk_probe_rows(probe, layer, side, NULL, query, out, err);
    enum qk_code code =
        qk_selection_patch_make(base->session->pair, &job->selection, layer, job->norms, &patch, err);
    if (code == QK_OK)
        code = qk_probe_rows(probe, layer, side, &patch.patch, query, out, err);
    qk_selection_patch_free(&patch);
    return code;
}

void qk_range_same(struct run *base, const struct follow_job *job, struct run_event *event)
{
    struct range_run *run = (struct range_run *)base;
    struct qk_selection_patch patch;
    enum qk_code code = qk_selection_patch_make(
        base->session->pair, &job->selection, job->layer, job->norms, &patch, &event->error);
    if (code == QK_OK)
        qk_probe_same(run->probe, job->layer, &patch.patch, &base->follow.layer_progress,
            &((struct range_event *)event)->range, &((struct range_event *)event)->shift, &event->error);
    qk_selection_patch_free(&patch);
}
