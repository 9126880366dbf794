/* follow.c - choices on their way from the front end's thread to those that compute with them. */
#include "session/follow.h"

#include "base/mem.h"
#include "session/choices.h"
#include "session/ranges.h"

#include <stdlib.h>

enum qk_code qk_follow_init(struct follow *follow, const struct qk_session *session, struct qk_error *err)
{
    const struct qk_selection *now = qk_session_selection(session);
    size_t n = (size_t)now->n_layers;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&follow->mutex, NULL);
    pthread_cond_init(&follow->work, &attributes);
    pthread_condattr_destroy(&attributes);
    clock_gettime(CLOCK_MONOTONIC, &follow->changed);
    follow->layer = -1;
    follow->generation = 1;
    follow->norms = qk_session_norms(session);
    QK_TRY(qk_alloc(&follow->asked, n, sizeof *follow->asked, err));
    QK_TRY(qk_alloc(&follow->answered, n, sizeof *follow->answered, err));
    for (size_t i = 0; i < n; i++)
        follow->asked[i] = 1;
    return qk_selection_copy(&follow->selection, now, err);
}

void qk_follow_free(struct follow *follow)
{
    qk_selection_free(&follow->selection);
    free(follow->asked);
    free(follow->answered);
    pthread_cond_destroy(&follow->work);
    pthread_mutex_destroy(&follow->mutex);
}

void qk_follow_stop(struct follow *follow)
{
    pthread_mutex_lock(&follow->mutex);
    follow->stop = true;
    atomic_store(&follow->layer_progress.cancel, true);
    atomic_store(&follow->exact_progress.cancel, true);
    pthread_cond_broadcast(&follow->work);
    pthread_mutex_unlock(&follow->mutex);
}

bool qk_follow_chosen(const struct follow *follow, int layer)
{
    return !qk_layer_choice_keeps(&follow->selection.choice[layer]);
}

/* With the lock held: copies the choices; false when no relevant choice changed. */
static bool copy_choices(struct follow *follow, const struct qk_selection *now, bool norms)
{
    bool changed = false;
    for (int i = 0; i < now->n_layers; i++) {
        bool same = follow->norms == norms || !qk_follow_chosen(follow, i);
        same = same && qk_layer_choice_equal(&follow->selection.choice[i], &now->choice[i]);
        qk_layer_choice_assign(&follow->selection.choice[i], &now->choice[i]);
        if (same)
            continue;
        changed = true;
        follow->asked[i]++;
        if (follow->layer == i)
            atomic_store(&follow->layer_progress.cancel, true);
    }
    follow->norms = norms;
    return changed;
}

void qk_follow_choices(struct follow *follow, const struct qk_session *session)
{
    pthread_mutex_lock(&follow->mutex);
    if (copy_choices(follow, qk_session_selection(session), qk_session_norms(session))) {
        follow->generation++;
        clock_gettime(CLOCK_MONOTONIC, &follow->changed);
        atomic_store(&follow->exact_progress.cancel, follow->exact_busy);
        pthread_cond_broadcast(&follow->work);
    }
    pthread_mutex_unlock(&follow->mutex);
}

bool qk_follow_take(struct follow *follow, int layer, struct follow_job *job)
{
    if (follow->answered[layer] == follow->asked[layer] || !qk_follow_chosen(follow, layer))
        return false;
    job->layer = follow->layer = layer;
    job->generation = follow->answered[layer] = follow->asked[layer];
    job->norms = follow->norms;
    job->chosen = true;
    atomic_store(&follow->layer_progress.cancel, false);
    return true;
}

/* True once the choices have rested; otherwise waits for a part of the time. */
static bool rested(struct follow *follow)
{
    struct timespec due = follow->changed, now;
    due.tv_nsec += QK_EXACT_AFTER % 1000 * 1000000L;
    due.tv_sec += QK_EXACT_AFTER / 1000 + due.tv_nsec / 1000000000L;
    due.tv_nsec %= 1000000000L;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec > due.tv_sec || (now.tv_sec == due.tv_sec && now.tv_nsec >= due.tv_nsec))
        return true;
    pthread_cond_timedwait(&follow->work, &follow->mutex, &due);
    return false;
}

enum qk_code qk_follow_exactly(struct follow *follow,
    enum qk_code (*run)(void *context, const struct follow_job *job, struct qk_error *err), void *context,
    struct qk_error *err)
{
    enum qk_code code = QK_OK;
    pthread_mutex_lock(&follow->mutex);
    while (!follow->stop && code == QK_OK) {
        if (follow->exact_tried == follow->generation || qk_selection_count(&follow->selection) == 0) {
            pthread_cond_wait(&follow->work, &follow->mutex);
            continue;
        }
        if (!rested(follow))
            continue;
        struct follow_job job = {.layer = -1, .generation = follow->generation, .norms = follow->norms};
        follow->exact_tried = follow->generation;
        code = qk_selection_copy(&job.selection, &follow->selection, err);
        if (code != QK_OK)
            break;
        follow->exact_busy = true;
        atomic_store(&follow->exact_progress.cancel, false);
        atomic_store(&follow->exact_progress.done, 0);
        pthread_mutex_unlock(&follow->mutex);
        code = run(context, &job, err);
        qk_selection_free(&job.selection);
        pthread_mutex_lock(&follow->mutex);
        follow->exact_busy = false;
    }
    pthread_mutex_unlock(&follow->mutex);
    return code;
}
