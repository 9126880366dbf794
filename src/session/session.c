/* session.c - a live pair: opening, closing, and the inbox that threads fill and the front end empties. */
#include "session/session_internal.h"

#include "base/mem.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* The parts in the order in which they open, follow choices and record what runs. They close in reverse order,
 * because each may use those before it. */
static const struct session_part *const PARTS[] = {&qk_choices_part, &qk_layers_part, &qk_ranges_part,
    &qk_needles_part, &qk_evaluation_part, &qk_task_part, &qk_trials_part};
enum { N_PARTS = sizeof PARTS / sizeof PARTS[0] };

/* --- opening and closing --- */

static enum qk_code open_inbox(struct inbox *inbox, struct qk_error *err)
{
    inbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return inbox->fd >= 0 ? QK_OK : qk_fail_errno(err, "eventfd", "create");
}

static void free_events(struct event *event)
{
    while (event != NULL) {
        struct event *next = event->next;
        event->free(event);
        event = next;
    }
}

static void close_inbox(struct inbox *inbox)
{
    free_events(inbox->first);
    if (inbox->fd >= 0)
        close(inbox->fd);
    pthread_mutex_destroy(&inbox->mutex);
}

enum qk_code qk_session_open(
    const char *pre, const char *post, int threads, struct qk_session **out, struct qk_error *err)
{
    struct qk_session *session;
    QK_TRY(qk_alloc(&session, 1, sizeof *session, err));
    session->threads = threads;
    session->inbox.fd = -1;
    session->inbox.last = &session->inbox.first;
    pthread_mutex_init(&session->inbox.mutex, NULL);
    enum qk_code code = qk_pair_open(pre, post, &session->pair, err);
    if (code == QK_OK)
        code = open_inbox(&session->inbox, err);
    for (int i = 0; i < N_PARTS && code == QK_OK; i++)
        if (PARTS[i]->open != NULL)
            code = PARTS[i]->open(session, err);
    if (code != QK_OK) {
        qk_session_close(session);
        session = NULL;
    }
    *out = session;
    return code;
}

void qk_session_close(struct qk_session *session)
{
    if (session == NULL)
        return;
    for (int i = N_PARTS - 1; i >= 0; i--)
        PARTS[i]->close(session);
    close_inbox(&session->inbox);
    qk_pair_close(session->pair);
    free(session);
}

const struct qk_pair *qk_session_pair(const struct qk_session *session)
{
    return session->pair;
}

/* --- the inbox --- */

int qk_session_event_fd(const struct qk_session *session)
{
    return session->inbox.fd;
}

void qk_session_post(struct qk_session *session, struct event *event)
{
    struct inbox *inbox = &session->inbox;
    const uint64_t one = 1;
    pthread_mutex_lock(&inbox->mutex);
    event->next = NULL;
    *inbox->last = event;
    inbox->last = &event->next;
    /* It can only fail, or block, after 2^64 - 2 unfetched events. */
    ssize_t written = write(inbox->fd, &one, sizeof one);
    (void)written;
    pthread_mutex_unlock(&inbox->mutex);
}

static struct event *take_events(struct inbox *inbox)
{
    uint64_t count;
    pthread_mutex_lock(&inbox->mutex);
    struct event *list = inbox->first;
    inbox->first = NULL;
    inbox->last = &inbox->first;
    ssize_t n = read(inbox->fd, &count, sizeof count); /* none: there is no event */
    (void)n;
    pthread_mutex_unlock(&inbox->mutex);
    return list;
}

bool qk_session_poll(struct qk_session *session)
{
    struct event *list = take_events(&session->inbox);
    bool changed = list != NULL;
    for (struct event *event = list; event != NULL; event = event->next)
        event->publish(session, event);
    free_events(list);
    for (int i = 0; i < N_PARTS; i++)
        if (PARTS[i]->watch != NULL && PARTS[i]->watch(session))
            changed = true;
    return changed;
}

uint64_t qk_session_serial(struct qk_session *session)
{
    return ++session->last_serial;
}

void qk_session_follow(struct qk_session *session)
{
    for (int i = 0; i < N_PARTS; i++)
        if (PARTS[i]->follow != NULL)
            PARTS[i]->follow(session);
}
