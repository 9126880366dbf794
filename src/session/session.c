/* session.c - a live pair: opening, closing, and fetching what the workers found. */
#include "session/session_internal.h"

#include "base/mem.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void qk_session_free_message(struct message *message)
{
    qk_layer_drift_free(&message->drift);
    qk_session_free_current(message->current);
    qk_session_free_news(message->news);
    qk_session_free_asking_news(message->asking);
    free(message);
}

/* --- opening and closing --- */

static enum qk_code open_parts(struct qk_session *session, int threads, struct qk_error *err)
{
    size_t n = (size_t)session->pair->n_layers;
    QK_TRY(qk_alloc(&session->drift, n, sizeof *session->drift, err));
    QK_TRY(qk_alloc(&session->published, n, sizeof *session->published, err));
    QK_TRY(qk_alloc(&session->shared.layer, n, sizeof *session->shared.layer, err));
    QK_TRY(qk_alloc(&session->shared.visible, n, sizeof *session->shared.visible, err));
    QK_TRY(qk_history_new((int)n, &session->history, err));
    QK_TRY(qk_selection_init(&session->saved, (int)n, err));
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return qk_fail_errno(err, "pipe", "create");
    session->pipe_read = ends[0];
    session->pipe_write = ends[1];
    qk_session_ask_drift(session);
    if (threads <= 0)
        threads = qk_cpu_count();
    QK_TRY(qk_alloc(&session->worker, (size_t)threads, sizeof *session->worker, err));
    for (int i = 0; i < threads; i++) {
        QK_TRY(qk_thread_start(&session->worker[i], qk_session_worker, session, err));
        session->n_workers++;
    }
    return QK_OK;
}

enum qk_code qk_session_open(
    const char *pre, const char *post, int threads, struct qk_session **out, struct qk_error *err)
{
    struct qk_session *session;
    QK_TRY(qk_alloc(&session, 1, sizeof *session, err));
    session->pipe_read = session->pipe_write = -1;
    session->shared.selected = -1;
    session->shared.last = &session->shared.first;
    pthread_mutex_init(&session->shared.mutex, NULL);
    pthread_cond_init(&session->shared.work, NULL);
    enum qk_code code = qk_pair_open(pre, post, &session->pair, err);
    if (code == QK_OK)
        code = open_parts(session, threads, err);
    if (code != QK_OK) {
        qk_session_close(session);
        session = NULL;
    }
    *out = session;
    return code;
}

static void stop_workers(struct qk_session *session)
{
    struct shared *shared = &session->shared;
    pthread_mutex_lock(&shared->mutex);
    shared->stop = true;
    for (int i = 0; shared->layer != NULL && i < session->pair->n_layers; i++)
        qk_session_drop_jobs(&shared->layer[i]);
    pthread_cond_broadcast(&shared->work);
    pthread_mutex_unlock(&shared->mutex);
    for (int i = 0; i < session->n_workers; i++)
        pthread_join(session->worker[i], NULL);
}

void qk_session_close(struct qk_session *session)
{
    if (session == NULL)
        return;
    stop_workers(session);
    qk_session_close_ranges(session);
    qk_session_close_asking(session);
    if (session->task.running) {
        atomic_store(&session->task_progress.cancel, true);
        pthread_join(session->task_thread, NULL);
    }
    qk_session_free_task(session);
    for (struct message *m = session->shared.first; m != NULL;) {
        struct message *next = m->next;
        qk_session_free_message(m);
        m = next;
    }
    for (int i = 0; session->pair != NULL && i < session->pair->n_layers; i++) {
        if (session->drift != NULL)
            qk_layer_drift_free(&session->drift[i]);
        if (session->published == NULL)
            continue;
        free(session->published[i].error);
        free(session->published[i].current_error);
        qk_session_free_current(session->published[i].current);
    }
    free(session->drift);
    free(session->published);
    free(session->shared.layer);
    free(session->shared.visible);
    free(session->worker);
    qk_history_free(session->history);
    qk_selection_free(&session->saved);
    if (session->pipe_read >= 0)
        close(session->pipe_read);
    if (session->pipe_write >= 0)
        close(session->pipe_write);
    pthread_cond_destroy(&session->shared.work);
    pthread_mutex_destroy(&session->shared.mutex);
    qk_pair_close(session->pair);
    free(session);
}

const struct qk_pair *qk_session_pair(const struct qk_session *session)
{
    return session->pair;
}

int qk_session_event_fd(const struct qk_session *session)
{
    return session->pipe_read;
}

/* --- fetching results --- */

void qk_session_replace_text(char **text, const char *with)
{
    free(*text);
    *text = with != NULL ? strdup(with) : NULL; /* a missing explanation is no reason to stop */
}

static void publish(struct qk_session *session, struct message *message)
{
    switch (message->kind) {
    case MESSAGE_STARTED:
        if (message->generation == session->generation &&
            session->published[message->layer].state == QK_LAYER_WAITING)
            session->published[message->layer].state = QK_LAYER_RUNNING;
        break;
    case MESSAGE_DRIFT:
        if (message->generation == session->generation)
            qk_session_publish_drift(session, message);
        break;
    case MESSAGE_CURRENT:
        /* Only this thread raises the generation, so reading it needs no lock. */
        if (message->generation == session->shared.layer[message->layer].current_generation)
            qk_session_publish_current(session, message);
        break;
    case MESSAGE_TASK_ENDED:
        qk_session_end_task(session, message);
        break;
    case MESSAGE_RANGE:
        qk_session_take_news(session, message->news);
        break;
    case MESSAGE_ASKING:
        qk_session_take_asking_news(session, message->asking);
        break;
    }
}

bool qk_session_poll(struct qk_session *session)
{
    struct shared *shared = &session->shared;
    pthread_mutex_lock(&shared->mutex);
    struct message *list = shared->first;
    shared->first = NULL;
    shared->last = &shared->first;
    if (shared->signalled) {
        char byte;
        while (read(session->pipe_read, &byte, 1) == 1)
            ;
        shared->signalled = false;
    }
    pthread_mutex_unlock(&shared->mutex);

    bool changed = list != NULL;
    while (list != NULL) {
        struct message *message = list;
        list = message->next;
        publish(session, message);
        qk_session_free_message(message);
    }
    bool task = qk_session_watch_task(session), ranges = qk_session_watch_ranges(session);
    bool asking = qk_session_watch_asking(session);
    return task || ranges || asking || changed;
}
