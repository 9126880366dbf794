/* session.c - background workers and undoable choices behind a front end; see session.h for the thread rule.
 *
 * Two sets of state:
 *   `shared`, guarded by its mutex: what is to be computed, what is running, the inbox of finished work;
 *   the rest, touched by the front end's thread alone: published results, history, the task's record.
 * A worker never writes published state, the front end never waits for a worker except in close. */
#include "restore/session.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum message_kind { MESSAGE_STARTED, MESSAGE_DRIFT, MESSAGE_CURRENT, MESSAGE_TASK_ENDED };

/* What a worker has to tell. Owned by whoever holds it. */
struct message {
    struct message *next;
    enum message_kind kind;
    int layer;
    unsigned generation;         /* of drift or of current: stale messages are dropped */
    struct qk_layer_drift drift; /* MESSAGE_DRIFT */
    struct qk_current *current;  /* MESSAGE_CURRENT; NULL on failure */
    struct qk_error error;
};

enum job_state { JOB_NONE, JOB_WAITING, JOB_RUNNING };

/* What one layer still needs; in `shared`. */
struct layer_jobs {
    enum job_state drift, current;
    unsigned current_generation; /* raised by each change of the layer's choices */
    struct qk_choice choice[QK_ROLE_COUNT];
    struct qk_progress *current_progress; /* of the worker that runs `current`, to cancel it */
    struct qk_progress *drift_progress;
};

struct shared {
    pthread_mutex_t mutex;
    pthread_cond_t work;
    bool stop;
    bool effective;
    unsigned generation; /* raised by recompute */
    struct layer_jobs *layer;
    int selected;
    int *visible;
    int n_visible;
    struct message *first, **last;
    bool signalled; /* a byte is in the pipe */
};

/* What the front end sees of one layer. */
struct published {
    enum qk_layer_state state;
    char *error, *current_error;
    struct qk_current *current;
};

struct qk_session {
    struct qk_pair *pair;
    struct shared shared;
    pthread_t *worker;
    int n_workers;
    int pipe_read, pipe_write;

    unsigned generation;
    bool effective;
    struct qk_layer_drift *drift; /* n_layers; valid where published.state is READY */
    struct published *published;
    struct qk_history *history;
    struct qk_selection saved;

    struct qk_task task;
    pthread_t task_thread;
    struct timespec task_start;
    struct qk_progress task_progress;
    struct qk_export_options task_options;
    struct qk_selection task_selection; /* becomes `saved` when the export succeeded */
    struct message *task_message; /* allocated before the thread starts, so that its end can always be told */
    char *task_comment;
};

static void free_current(struct qk_current *current)
{
    if (current == NULL)
        return;
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        qk_layer_drift_free(&current->against[s]);
    free(current);
}

static void free_message(struct message *message)
{
    qk_layer_drift_free(&message->drift);
    free_current(message->current);
    free(message);
}

/* --- workers --- */

static void post_message(struct qk_session *session, struct message *message)
{
    struct shared *shared = &session->shared;
    pthread_mutex_lock(&shared->mutex);
    message->next = NULL;
    *shared->last = message;
    shared->last = &message->next;
    if (!shared->signalled) {
        /* The pipe holds at most one byte, so this cannot block. */
        ssize_t written = write(session->pipe_write, "", 1);
        shared->signalled = written == 1;
    }
    pthread_mutex_unlock(&shared->mutex);
}

struct job {
    enum message_kind kind;
    int layer;
    unsigned generation;
    bool effective;
    struct qk_choice choice[QK_ROLE_COUNT];
    struct qk_progress progress;
};

static bool take_drift(struct shared *shared, int layer, struct job *job)
{
    struct layer_jobs *jobs = &shared->layer[layer];
    if (jobs->drift != JOB_WAITING)
        return false;
    jobs->drift = JOB_RUNNING;
    jobs->drift_progress = &job->progress;
    job->kind = MESSAGE_DRIFT;
    job->layer = layer;
    job->generation = shared->generation;
    return true;
}

static bool take_current(struct shared *shared, int layer, struct job *job)
{
    struct layer_jobs *jobs = &shared->layer[layer];
    if (jobs->current != JOB_WAITING)
        return false;
    jobs->current = JOB_RUNNING;
    jobs->current_progress = &job->progress;
    job->kind = MESSAGE_CURRENT;
    job->layer = layer;
    job->generation = jobs->current_generation;
    memcpy(job->choice, jobs->choice, sizeof job->choice);
    return true;
}

/* The selected layer first (its choice before its drift: that is what the user just asked), then what is in
 * view, then the rest. */
static bool take_job(struct shared *shared, int n_layers, struct job *job)
{
    memset(job, 0, sizeof *job);
    job->effective = shared->effective;
    if (shared->selected >= 0 && shared->selected < n_layers &&
        (take_current(shared, shared->selected, job) || take_drift(shared, shared->selected, job)))
        return true;
    for (int i = 0; i < shared->n_visible; i++)
        if (take_current(shared, shared->visible[i], job) || take_drift(shared, shared->visible[i], job))
            return true;
    for (int i = 0; i < n_layers; i++)
        if (take_current(shared, i, job) || take_drift(shared, i, job))
            return true;
    return false;
}

static enum qk_code drift_from(const struct qk_session *session, const struct job *job, enum qk_side side,
    struct qk_progress *progress, struct qk_layer_drift *out, struct qk_error *err)
{
    struct qk_heads *base = NULL, *blend = NULL;
    enum qk_code code = qk_heads_of_model(session->pair, side, job->layer, job->effective, &base, err);
    if (code == QK_OK)
        code = qk_heads_of_blend(session->pair, job->layer, job->choice, job->effective, &blend, err);
    if (code == QK_OK)
        code = qk_drift_layer(base, blend, progress, out, err);
    qk_heads_free(base);
    qk_heads_free(blend);
    return code;
}

static enum qk_code compute_current(
    const struct qk_session *session, struct job *job, struct qk_current **out, struct qk_error *err)
{
    QK_TRY(qk_alloc(out, 1, sizeof **out, err));
    struct qk_current *current = *out;
    memcpy(current->choice, job->choice, sizeof current->choice);
    enum qk_code code =
        qk_blend_rotation(session->pair, job->layer, &current->rotation, &current->rotation_why, err);
    for (int s = 0; s < QK_SIDE_COUNT && code == QK_OK; s++)
        code = drift_from(session, job, (enum qk_side)s, &job->progress, &current->against[s], err);
    if (code != QK_OK) {
        free_current(current);
        *out = NULL;
    }
    return code;
}

static struct message *new_message(enum message_kind kind, const struct job *job)
{
    struct message *message = calloc(1, sizeof *message);
    if (message == NULL)
        return NULL;
    message->kind = kind;
    message->layer = job->layer;
    message->generation = job->generation;
    return message;
}

static void run_job(struct qk_session *session, struct job *job)
{
    struct message *started = new_message(MESSAGE_STARTED, job);
    struct message *result = new_message(job->kind, job);
    if (result == NULL) { /* nothing can be told: the layer stays as it is until it is asked for again */
        free(started);
        return;
    }
    if (started != NULL && job->kind == MESSAGE_DRIFT)
        post_message(session, started);
    else
        free(started);
    if (job->kind == MESSAGE_DRIFT)
        qk_drift_pair_layer(
            session->pair, job->layer, job->effective, &job->progress, &result->drift, &result->error);
    else
        compute_current(session, job, &result->current, &result->error);
    if (result->error.code == QK_CANCELLED)
        free_message(result);
    else
        post_message(session, result);
}

/* Takes the job off its layer's books, unless the front end has put a newer one there meanwhile. */
static void finish_job(struct shared *shared, const struct job *job)
{
    struct layer_jobs *jobs = &shared->layer[job->layer];
    if (job->kind == MESSAGE_DRIFT && jobs->drift_progress == &job->progress) {
        jobs->drift = JOB_NONE;
        jobs->drift_progress = NULL;
    }
    if (job->kind == MESSAGE_CURRENT && jobs->current_progress == &job->progress) {
        jobs->current = JOB_NONE;
        jobs->current_progress = NULL;
    }
}

static void *worker_main(void *argument)
{
    struct qk_session *session = argument;
    struct shared *shared = &session->shared;
    pthread_mutex_lock(&shared->mutex);
    while (!shared->stop) {
        struct job job;
        if (!take_job(shared, session->pair->n_layers, &job)) {
            pthread_cond_wait(&shared->work, &shared->mutex);
            continue;
        }
        pthread_mutex_unlock(&shared->mutex);
        run_job(session, &job);
        pthread_mutex_lock(&shared->mutex);
        finish_job(shared, &job);
    }
    pthread_mutex_unlock(&shared->mutex);
    return NULL;
}

/* --- opening and closing --- */

static void ask_for_all(struct qk_session *session)
{
    struct shared *shared = &session->shared;
    for (int i = 0; i < session->pair->n_layers; i++) {
        if (!session->pair->layer[i].has_qk)
            continue;
        struct layer_jobs *jobs = &shared->layer[i];
        if (jobs->drift_progress != NULL)
            atomic_store(&jobs->drift_progress->cancel, true);
        jobs->drift = JOB_WAITING;
        jobs->drift_progress = NULL;
    }
    pthread_cond_broadcast(&shared->work);
}

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
    ask_for_all(session);
    if (threads <= 0)
        threads = qk_cpu_count();
    QK_TRY(qk_alloc(&session->worker, (size_t)threads, sizeof *session->worker, err));
    for (int i = 0; i < threads; i++) {
        int failure = pthread_create(&session->worker[i], NULL, worker_main, session);
        if (failure != 0)
            return qk_fail(err, QK_IO, "cannot start a worker thread: %s", strerror(failure));
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
    for (int i = 0; shared->layer != NULL && i < session->pair->n_layers; i++) {
        struct layer_jobs *jobs = &shared->layer[i];
        if (jobs->drift_progress != NULL)
            atomic_store(&jobs->drift_progress->cancel, true);
        if (jobs->current_progress != NULL)
            atomic_store(&jobs->current_progress->cancel, true);
    }
    pthread_cond_broadcast(&shared->work);
    pthread_mutex_unlock(&shared->mutex);
    for (int i = 0; i < session->n_workers; i++)
        pthread_join(session->worker[i], NULL);
}

static void free_task(struct qk_session *session)
{
    free(session->task.target);
    free(session->task_comment);
    qk_lines_free(&session->task.differences);
    qk_selection_free(&session->task_selection);
    memset(&session->task, 0, sizeof session->task);
    session->task_comment = NULL;
}

void qk_session_close(struct qk_session *session)
{
    if (session == NULL)
        return;
    stop_workers(session);
    if (session->task.running) {
        atomic_store(&session->task_progress.cancel, true);
        pthread_join(session->task_thread, NULL);
    }
    free_task(session);
    for (struct message *m = session->shared.first; m != NULL;) {
        struct message *next = m->next;
        free_message(m);
        m = next;
    }
    for (int i = 0; session->pair != NULL && i < session->pair->n_layers; i++) {
        if (session->drift != NULL)
            qk_layer_drift_free(&session->drift[i]);
        if (session->published == NULL)
            continue;
        free(session->published[i].error);
        free(session->published[i].current_error);
        free_current(session->published[i].current);
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

static void replace_text(char **text, const char *with)
{
    free(*text);
    *text = with != NULL ? strdup(with) : NULL; /* a missing explanation is no reason to stop */
}

static void publish_drift(struct qk_session *session, struct message *message)
{
    struct published *slot = &session->published[message->layer];
    qk_layer_drift_free(&session->drift[message->layer]);
    bool failed = message->error.code != QK_OK;
    slot->state = failed ? QK_LAYER_FAILED : QK_LAYER_READY;
    replace_text(&slot->error, failed ? message->error.text : NULL);
    if (!failed) {
        session->drift[message->layer] = message->drift;
        memset(&message->drift, 0, sizeof message->drift);
    }
}

static void publish_current(struct qk_session *session, struct message *message)
{
    struct published *slot = &session->published[message->layer];
    free_current(slot->current);
    slot->current = message->current;
    message->current = NULL;
    replace_text(&slot->current_error, message->error.code != QK_OK ? message->error.text : NULL);
}

static double seconds_since(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + 1e-9 * (double)(now.tv_nsec - start->tv_nsec);
}

static void end_task(struct qk_session *session, const struct message *message)
{
    pthread_join(session->task_thread, NULL);
    session->task_message = NULL; /* it is the message in hand */
    session->task.running = false;
    session->task.error = message->error;
    session->task.seconds = seconds_since(&session->task_start);
    if (session->task.kind != QK_TASK_EXPORT || message->error.code != QK_OK)
        return;
    qk_selection_free(&session->saved);
    session->saved = session->task_selection;
    memset(&session->task_selection, 0, sizeof session->task_selection);
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
            publish_drift(session, message);
        break;
    case MESSAGE_CURRENT:
        /* Only this thread raises the generation, so reading it needs no lock. */
        if (message->generation == session->shared.layer[message->layer].current_generation)
            publish_current(session, message);
        break;
    case MESSAGE_TASK_ENDED:
        end_task(session, message);
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
        free_message(message);
    }
    if (session->task.running) {
        session->task.done = atomic_load(&session->task_progress.done);
        session->task.total = atomic_load(&session->task_progress.total);
        session->task.seconds = seconds_since(&session->task_start);
        changed = true;
    }
    return changed;
}

/* --- drift --- */

enum qk_layer_state qk_session_layer_state(const struct qk_session *session, int layer)
{
    return session->published[layer].state;
}

const struct qk_layer_drift *qk_session_drift(const struct qk_session *session, int layer)
{
    return session->published[layer].state == QK_LAYER_READY ? &session->drift[layer] : NULL;
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

/* Puts the layer's present choices on the workers' list, or takes it off when it is kept. Lock held. */
static void ask_for_current(struct qk_session *session, int layer)
{
    struct layer_jobs *jobs = &session->shared.layer[layer];
    const struct qk_choice *choice = qk_history_current(session->history)->choice[layer];
    jobs->current_generation++;
    if (jobs->current_progress != NULL)
        atomic_store(&jobs->current_progress->cancel, true);
    jobs->current_progress = NULL;
    bool kept = true;
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        jobs->choice[r] = choice[r];
        kept = kept && choice[r].mode == QK_KEEP;
    }
    jobs->current = kept || !session->pair->layer[layer].has_qk ? JOB_NONE : JOB_WAITING;
}

static void forget_current(struct qk_session *session, int layer)
{
    struct published *slot = &session->published[layer];
    free_current(slot->current);
    slot->current = NULL;
    replace_text(&slot->current_error, NULL);
}

void qk_session_recompute(struct qk_session *session, bool effective)
{
    struct shared *shared = &session->shared;
    session->effective = effective;
    session->generation++;
    pthread_mutex_lock(&shared->mutex);
    shared->effective = effective;
    shared->generation = session->generation;
    ask_for_all(session);
    for (int i = 0; i < session->pair->n_layers; i++) {
        ask_for_current(session, i);
        forget_current(session, i);
        session->published[i].state = QK_LAYER_WAITING;
        replace_text(&session->published[i].error, NULL);
    }
    pthread_mutex_unlock(&shared->mutex);
}

bool qk_session_effective(const struct qk_session *session)
{
    return session->effective;
}

/* --- choices --- */

const struct qk_selection *qk_session_selection(const struct qk_session *session)
{
    return qk_history_current(session->history);
}

/* After the current selection went from `before` to what it is: asks for the numbers of what changed. */
static void selection_changed(struct qk_session *session, const struct qk_selection *before)
{
    const struct qk_selection *now = qk_history_current(session->history);
    pthread_mutex_lock(&session->shared.mutex);
    for (int i = 0; i < now->n_layers; i++) {
        bool same = true;
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            same = same && qk_choice_equal(now->choice[i][r], before->choice[i][r]);
        if (same)
            continue;
        ask_for_current(session, i);
        forget_current(session, i);
    }
    pthread_cond_broadcast(&session->shared.work);
    pthread_mutex_unlock(&session->shared.mutex);
}

/* Makes `next` current as one edit; frees nothing. *n_changed counts layers. */
static enum qk_code commit(struct qk_session *session, const struct qk_selection *next, const char *label,
    int *n_changed, struct qk_error *err)
{
    struct qk_selection before;
    QK_TRY(qk_selection_copy(&before, qk_history_current(session->history), err));
    enum qk_code code = qk_history_commit(session->history, next, label, err);
    if (code == QK_OK) {
        int changed = 0;
        for (int i = 0; i < next->n_layers; i++)
            changed += !qk_choice_equal(next->choice[i][QK_Q], before.choice[i][QK_Q]) ||
                       !qk_choice_equal(next->choice[i][QK_K], before.choice[i][QK_K]);
        if (n_changed != NULL)
            *n_changed = changed;
        selection_changed(session, &before);
    }
    qk_selection_free(&before);
    return code;
}

static enum qk_code edit_label(
    const int *layers, int n, int role, struct qk_choice choice, char **out, struct qk_error *err)
{
    char mode[QK_CHOICE_TEXT];
    struct qk_text text = {0};
    qk_text_add(&text, "%s %s of", qk_choice_text(mode, choice),
        role < 0 ? "q and k" : qk_role_name((enum qk_role)role));
    if (n == 1)
        qk_text_add(&text, " layer %d", layers[0]);
    else
        qk_text_add(&text, " %d layers", n);
    return qk_text_take(&text, out, err);
}

enum qk_code qk_session_choose(struct qk_session *session, const int *layers, int n, int role,
    struct qk_choice choice, int *n_changed, struct qk_error *err)
{
    struct qk_selection next;
    char *label = NULL;
    QK_TRY(qk_selection_copy(&next, qk_history_current(session->history), err));
    enum qk_code code = qk_choice_check(choice, err);
    for (int i = 0; i < n && code == QK_OK; i++) {
        if (n > 1 && !session->pair->layer[layers[i]].has_qk)
            continue;
        code = qk_selection_set(&next, session->pair, layers[i], role, choice, err);
    }
    if (code == QK_OK)
        code = edit_label(layers, n, role, choice, &label, err);
    if (code == QK_OK)
        code = commit(session, &next, label, n_changed, err);
    free(label);
    qk_selection_free(&next);
    return code;
}

enum qk_code qk_session_set(
    struct qk_session *session, const char *spec, int *n_changed, struct qk_error *err)
{
    struct qk_spec parsed;
    QK_TRY(qk_spec_parse(spec, &parsed, err));
    struct qk_selection next = {0};
    int done, total;
    qk_session_done(session, &done, &total);
    enum qk_code code = QK_OK;
    if (parsed.selector == QK_SELECT_TEST && done < total)
        code = qk_fail(err, QK_USAGE, "%s: the numbers it tests are not all known yet (%d of %d layers)",
            spec, done, total);
    if (code == QK_OK)
        code = qk_selection_copy(&next, qk_history_current(session->history), err);
    if (code == QK_OK)
        code = qk_spec_apply(&parsed, session->pair, session->drift, &next, NULL, err);
    if (code == QK_OK)
        code = commit(session, &next, spec, n_changed, err);
    qk_selection_free(&next);
    qk_spec_free(&parsed);
    return code;
}

enum qk_code qk_session_find(
    const struct qk_session *session, const char *selector, int *layers, int *n, struct qk_error *err)
{
    struct qk_spec parsed;
    *n = 0;
    QK_TRY(qk_spec_parse_selector(selector, &parsed, err));
    for (int i = 0; i < session->pair->n_layers; i++) {
        /* An old number is kept while the layer is computed again: it must not answer for the new one. */
        bool known = parsed.selector != QK_SELECT_TEST || session->published[i].state == QK_LAYER_READY;
        if (known && qk_spec_matches(&parsed, session->pair, session->drift, i))
            layers[(*n)++] = i;
    }
    qk_spec_free(&parsed);
    return QK_OK;
}

enum qk_code qk_session_load_recipe(
    struct qk_session *session, const char *path, bool force, struct qk_error *err)
{
    struct qk_recipe recipe;
    QK_TRY(qk_recipe_read(path, &recipe, err));
    struct qk_selection next = {0};
    struct qk_text label = {0};
    char *text = NULL;
    qk_text_add(&label, "recipe %s", path);
    enum qk_code code = qk_text_take(&label, &text, err);
    if (code == QK_OK)
        code = qk_recipe_replay(&recipe, session->pair, force, &next, err);
    if (code == QK_OK)
        code = commit(session, &next, text, NULL, err);
    free(text);
    qk_selection_free(&next);
    qk_recipe_free(&recipe);
    return code;
}

enum qk_code qk_session_save_recipe(struct qk_session *session, const char *path, struct qk_error *err)
{
    struct qk_recipe recipe;
    const struct qk_selection *now = qk_history_current(session->history);
    QK_TRY(qk_recipe_make(session->pair, now, false, NULL, &recipe, err));
    enum qk_code code = qk_recipe_write(&recipe, path, err);
    qk_recipe_free(&recipe);
    struct qk_selection saved;
    if (code == QK_OK && (code = qk_selection_copy(&saved, now, err)) == QK_OK) {
        qk_selection_free(&session->saved);
        session->saved = saved;
    }
    return code;
}

static bool step_history(
    struct qk_session *session, bool (*step)(struct qk_history *, const char **), const char **label)
{
    struct qk_selection before;
    if (qk_selection_copy(&before, qk_history_current(session->history), NULL) != QK_OK)
        return false;
    bool moved = step(session->history, label);
    if (moved)
        selection_changed(session, &before);
    qk_selection_free(&before);
    return moved;
}

bool qk_session_undo(struct qk_session *session, const char **label)
{
    return step_history(session, qk_history_undo, label);
}

bool qk_session_redo(struct qk_session *session, const char **label)
{
    return step_history(session, qk_history_redo, label);
}

int qk_session_undo_depth(const struct qk_session *session)
{
    return qk_history_undo_depth(session->history);
}

int qk_session_redo_depth(const struct qk_session *session)
{
    return qk_history_redo_depth(session->history);
}

bool qk_session_unsaved(const struct qk_session *session)
{
    return !qk_selection_equal(qk_history_current(session->history), &session->saved);
}

const struct qk_current *qk_session_current(const struct qk_session *session, int layer)
{
    return session->published[layer].current;
}

const char *qk_session_current_error(const struct qk_session *session, int layer)
{
    return session->published[layer].current_error;
}

/* --- export and verify --- */

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
    post_message(session, ended);
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
    int failure = pthread_create(&session->task_thread, NULL, task_main, session);
    if (failure != 0) {
        free(session->task_message);
        session->task_message = NULL;
        return qk_fail(err, QK_IO, "cannot start a thread: %s", strerror(failure));
    }
    session->task.running = true;
    return QK_OK;
}

static enum qk_code task_is_free(struct qk_session *session, struct qk_error *err)
{
    if (session->task.running)
        return qk_fail(err, QK_USAGE, "another export or verification is still running");
    free_task(session);
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

enum qk_code qk_session_export_plan(struct qk_session *session, const struct qk_export_options *options,
    struct qk_export_plan *plan, struct qk_error *err)
{
    return qk_export_plan(session->pair, qk_history_current(session->history), options, plan, err);
}
