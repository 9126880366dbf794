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

/* The end of a task. */
struct task_event {
    struct event event;
    struct qk_error error;
    struct qk_lines differences;
};

struct task_run {
    struct qk_session *session;
    pthread_t thread;
    struct qk_progress progress;

    /* Written before the thread starts. */
    struct qk_export_options options;
    char *comment;
    struct qk_selection selection; /* becomes the saved one after a successful export */
    struct task_event *ended;      /* allocated at the start, so that the end can always be reported */

    /* --- the front end's --- */
    struct qk_task state;
    struct timespec start;
};

/* --- events --- */

static void free_event(struct event *event)
{
    struct task_event *ended = (struct task_event *)event;
    qk_lines_free(&ended->differences);
    free(ended);
}

/* The thread ends with this event, the only one of the task. */
static void publish_end(struct qk_session *session, struct event *event)
{
    struct task_event *ended = (struct task_event *)event;
    struct task_run *run = session->task;
    pthread_join(run->thread, NULL);
    run->state.running = false;
    run->state.error = ended->error;
    run->state.seconds = qk_seconds_since(&run->start);
    run->state.differences = ended->differences;
    ended->differences = (struct qk_lines){0};
    if (run->state.kind == QK_TASK_EXPORT && ended->error.code == QK_OK)
        qk_choices_saved(session, &run->selection, run->options.norms);
}

/* --- starting and ending --- */

static void free_run(struct task_run *run)
{
    if (run == NULL)
        return;
    if (run->ended != NULL)
        free_event(&run->ended->event);
    free(run->state.target);
    free(run->comment);
    qk_lines_free(&run->state.differences);
    qk_selection_free(&run->selection);
    free(run);
}

static void *task_main(void *argument)
{
    struct task_run *run = argument;
    struct task_event *ended = run->ended;
    run->ended = NULL;
    if (run->state.kind == QK_TASK_EXPORT)
        qk_export(run->session->pair, &run->selection, &run->options, &run->progress, &ended->error);
    else
        qk_verify(run->state.target, NULL, NULL, &run->progress, &ended->differences, &ended->error);
    qk_session_post(run->session, &ended->event);
    return NULL;
}

static enum qk_code fill_run(struct task_run *run, enum qk_task_kind kind, const char *target,
    const struct qk_export_options *options, struct qk_error *err)
{
    run->state.kind = kind;
    QK_TRY(qk_strdup_to(&run->state.target, target, err));
    QK_TRY(qk_alloc(&run->ended, 1, sizeof *run->ended, err));
    run->ended->event = (struct event){.publish = publish_end, .free = free_event};
    if (kind != QK_TASK_EXPORT)
        return QK_OK;
    run->options = *options;
    if (options->comment != NULL)
        QK_TRY(qk_strdup_to(&run->comment, options->comment, err));
    run->options.comment = run->comment;
    run->options.target = run->state.target;
    return qk_selection_copy(&run->selection, qk_session_selection(run->session), err);
}

/* The record of the task before stays when this one cannot start. */
static enum qk_code start(struct qk_session *session, enum qk_task_kind kind, const char *target,
    const struct qk_export_options *options, struct qk_error *err)
{
    struct task_run *run;
    if (qk_session_task(session)->running)
        return qk_fail(err, QK_USAGE, "another export or verification is still running");
    QK_TRY(qk_alloc(&run, 1, sizeof *run, err));
    run->session = session;
    clock_gettime(CLOCK_MONOTONIC, &run->start);
    run->state.running = true;
    enum qk_code code = fill_run(run, kind, target, options, err);
    if (code == QK_OK)
        code = qk_thread_start(&run->thread, task_main, run, err);
    if (code != QK_OK) {
        free_run(run);
        return code;
    }
    free_run(session->task);
    session->task = run;
    return QK_OK;
}

static bool watch_task(struct qk_session *session)
{
    struct task_run *run = session->task;
    if (run == NULL || !run->state.running)
        return false;
    run->state.done = atomic_load(&run->progress.done);
    run->state.total = atomic_load(&run->progress.total);
    run->state.seconds = qk_seconds_since(&run->start);
    return true;
}

static void close_task(struct qk_session *session)
{
    struct task_run *run = session->task;
    if (run != NULL && run->state.running) {
        atomic_store(&run->progress.cancel, true);
        pthread_join(run->thread, NULL);
    }
    free_run(run);
}

const struct session_part qk_task_part = {.watch = watch_task, .close = close_task};

/* --- for the front end --- */

enum qk_code qk_session_export(
    struct qk_session *session, const struct qk_export_options *options, struct qk_error *err)
{
    return start(session, QK_TASK_EXPORT, options->target, options, err);
}

enum qk_code qk_session_verify(struct qk_session *session, const char *folder, struct qk_error *err)
{
    return start(session, QK_TASK_VERIFY, folder, NULL, err);
}

const struct qk_task *qk_session_task(const struct qk_session *session)
{
    static const struct qk_task none = {.kind = QK_TASK_NONE};
    return session->task != NULL ? &session->task->state : &none;
}

void qk_session_cancel(struct qk_session *session)
{
    if (session->task != NULL)
        atomic_store(&session->task->progress.cancel, true);
}

enum qk_code qk_session_manifest(struct qk_session *session, const struct qk_export_options *options,
    struct qk_export_manifest *manifest, struct qk_error *err)
{
    return qk_export_manifest(session->pair, qk_session_selection(session), options, manifest, err);
}
