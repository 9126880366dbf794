/* task.c - export and verification in a thread of their own. */
#include "session/task.h"
#include "session/choices.h"
#include "session/session_internal.h"

#include "base/mem.h"
#include "base/thread.h"
#include "export/export.h"
#include "export/verify.h"

#include <stdlib.h>
#include <string.h>

bool qk_session_watch_task(struct qk_session *session)
{
    if (!session->task.running)
        return false;
    session->task.done = atomic_load(&session->task_progress.done);
    session->task.total = atomic_load(&session->task_progress.total);
    session->task.seconds = qk_seconds_since(&session->task_start);
    return true;
}

void qk_session_free_task(struct qk_session *session)
{
    free(session->task.target);
    free(session->task_comment);
    qk_lines_free(&session->task.differences);
    qk_selection_free(&session->task_selection);
    memset(&session->task, 0, sizeof session->task);
    session->task_comment = NULL;
}

void qk_session_end_task(struct qk_session *session, const struct message *message)
{
    pthread_join(session->task_thread, NULL);
    session->task_message = NULL; /* it is the message in hand */
    session->task.running = false;
    session->task.error = message->error;
    session->task.seconds = qk_seconds_since(&session->task_start);
    if (session->task.kind != QK_TASK_EXPORT || message->error.code != QK_OK)
        return;
    qk_selection_free(&session->saved);
    session->saved = session->task_selection;
    memset(&session->task_selection, 0, sizeof session->task_selection);
}

static void *task_main(void *argument)
{
    struct qk_session *session = argument;
    struct message *ended = session->task_message;
    if (session->task.kind == QK_TASK_EXPORT)
        qk_export(session->pair, &session->task_selection, &session->task_options, &session->task_progress,
            &ended->error);
    else
        qk_verify(session->task.target, NULL, NULL, &session->task_progress, &session->task.differences,
            &ended->error);
    qk_session_post(session, ended);
    return NULL;
}

/* Starts the thread of a task whose kind and selection are set; target is copied. */
static enum qk_code start_task(struct qk_session *session, const char *target, struct qk_error *err)
{
    QK_TRY(qk_strdup_to(&session->task.target, target, err));
    session->task_options.target = session->task.target;
    QK_TRY(qk_alloc(&session->task_message, 1, sizeof *session->task_message, err));
    session->task_message->kind = MESSAGE_TASK_ENDED;
    memset(&session->task_progress, 0, sizeof session->task_progress);
    clock_gettime(CLOCK_MONOTONIC, &session->task_start);
    enum qk_code code = qk_thread_start(&session->task_thread, task_main, session, err);
    if (code != QK_OK) {
        free(session->task_message);
        session->task_message = NULL;
    }
    session->task.running = code == QK_OK;
    return code;
}

static enum qk_code task_is_free(struct qk_session *session, struct qk_error *err)
{
    if (session->task.running)
        return qk_fail(err, QK_USAGE, "another export or verification is still running");
    qk_session_free_task(session);
    return QK_OK;
}

enum qk_code qk_session_export(
    struct qk_session *session, const struct qk_export_options *options, struct qk_error *err)
{
    QK_TRY(task_is_free(session, err));
    session->task_options = *options;
    if (options->comment != NULL)
        QK_TRY(qk_strdup_to(&session->task_comment, options->comment, err));
    session->task_options.comment = session->task_comment;
    QK_TRY(qk_selection_copy(&session->task_selection, qk_history_current(session->history), err));
    session->task.kind = QK_TASK_EXPORT;
    return start_task(session, options->target, err);
}

enum qk_code qk_session_verify(struct qk_session *session, const char *folder, struct qk_error *err)
{
    QK_TRY(task_is_free(session, err));
    session->task.kind = QK_TASK_VERIFY;
    return start_task(session, folder, err);
}

const struct qk_task *qk_session_task(const struct qk_session *session)
{
    return &session->task;
}

void qk_session_cancel(struct qk_session *session)
{
    atomic_store(&session->task_progress.cancel, true);
}

enum qk_code qk_session_manifest(struct qk_session *session, const struct qk_export_options *options,
    struct qk_export_manifest *manifest, struct qk_error *err)
{
    return qk_export_manifest(session->pair, qk_history_current(session->history), options, manifest, err);
}
