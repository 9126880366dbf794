/* layers.c - drift of the layers of a session, and of the current model, for the front end's thread. */
#include "session/layers.h"
#include "session/session_internal.h"

#include <stdlib.h>
#include <string.h>

void qk_session_free_current(struct qk_current *current)
{
    if (current == NULL)
        return;
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        qk_layer_drift_free(&current->against[s]);
    free(current);
}

/* --- publishing --- */

void qk_session_publish_drift(struct qk_session *session, struct message *message)
{
    struct published *slot = &session->published[message->layer];
    qk_layer_drift_free(&session->drift[message->layer]);
    bool failed = message->error.code != QK_OK;
    slot->state = failed ? QK_LAYER_FAILED : message->drift.norms_only ? QK_LAYER_NORMS : QK_LAYER_READY;
    qk_session_replace_text(&slot->error, failed ? message->error.text : NULL);
    if (!failed) {
        session->drift[message->layer] = message->drift;
        memset(&message->drift, 0, sizeof message->drift);
    }
}

void qk_session_publish_current(struct qk_session *session, struct message *message)
{
    struct published *slot = &session->published[message->layer];
    qk_session_free_current(slot->current);
    slot->current = message->current;
    message->current = NULL;
    qk_session_replace_text(&slot->current_error, message->error.code != QK_OK ? message->error.text : NULL);
}

void qk_session_forget_current(struct qk_session *session, int layer)
{
    struct published *slot = &session->published[layer];
    qk_session_free_current(slot->current);
    slot->current = NULL;
    qk_session_replace_text(&slot->current_error, NULL);
}

/* --- asking --- */

enum qk_drift_state qk_session_layer_state(const struct qk_session *session, int layer)
{
    return session->published[layer].state;
}

const struct qk_layer_drift *qk_session_drift(const struct qk_session *session, int layer)
{
    enum qk_drift_state state = session->published[layer].state;
    return state == QK_LAYER_NORMS || state == QK_LAYER_READY ? &session->drift[layer] : NULL;
}

const char *qk_session_layer_error(const struct qk_session *session, int layer)
{
    return session->published[layer].error;
}

void qk_session_done(const struct qk_session *session, int *done, int *total)
{
    *done = *total = 0;
    for (int i = 0; i < session->pair->n_layers; i++) {
        if (!session->pair->layer[i].has_qk)
            continue;
        ++*total;
        *done += session->published[i].state >= QK_LAYER_READY;
    }
}

void qk_session_want(struct qk_session *session, int selected, const int *visible, int n)
{
    struct shared *shared = &session->shared;
    if (n > session->pair->n_layers)
        n = session->pair->n_layers;
    pthread_mutex_lock(&shared->mutex);
    shared->selected = selected;
    shared->n_visible = n;
    if (n > 0)
        memcpy(shared->visible, visible, (size_t)n * sizeof *visible);
    pthread_mutex_unlock(&shared->mutex);
}

void qk_session_recompute(struct qk_session *session, bool effective)
{
    struct shared *shared = &session->shared;
    session->effective = effective;
    session->generation++;
    pthread_mutex_lock(&shared->mutex);
    shared->effective = effective;
    shared->generation = session->generation;
    qk_session_ask_drift(session);
    for (int i = 0; i < session->pair->n_layers; i++) {
        qk_session_ask_current(session, i);
        qk_session_forget_current(session, i);
        session->published[i].state = QK_LAYER_WAITING;
        qk_session_replace_text(&session->published[i].error, NULL);
    }
    pthread_mutex_unlock(&shared->mutex);
}

bool qk_session_effective(const struct qk_session *session)
{
    return session->effective;
}

const struct qk_current *qk_session_current(const struct qk_session *session, int layer)
{
    return session->published[layer].current;
}

const char *qk_session_current_error(const struct qk_session *session, int layer)
{
    return session->published[layer].current_error;
}
