/* evaluation_thread.c - the thread of a session's evaluation, which reads the cases and asks the model with the
 * fewest answers. */
#include "session/evaluation_thread.h"

#include "base/folder.h"
#include "base/mem.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/* --- events --- */

void qk_evaluation_event_free(struct evaluation_event *event)
{
    if (event == NULL)
        return;
    free(event->list);
    free(event->answer);
    free(event->effect);
    for (size_t i = 0; i < event->n_points; i++)
        qk_search_point_free(&event->point[i]);
    free(event->point);
    free(event);
}

static void free_event(struct event *event)
{
    qk_evaluation_event_free((struct evaluation_event *)event);
}

enum qk_code qk_evaluation_event_new(
    enum evaluation_news news, struct evaluation_event **out, struct qk_error *err)
{
    QK_TRY(qk_alloc(out, 1, sizeof **out, err));
    (*out)->event = (struct event){.publish = qk_evaluation_publish, .free = free_event};
    (*out)->news = news;
    return QK_OK;
}

static enum qk_code post_news(struct evaluation_run *run, enum evaluation_news news, enum qk_asked who,
    unsigned generation, struct qk_error *err)
{
    struct evaluation_event *event;
    QK_TRY(qk_evaluation_event_new(news, &event, err));
    event->who = who;
    event->generation = generation;
    qk_session_post(run->session, &event->event);
    return QK_OK;
}

/* --- the cases --- */

/* Lists the .jsonl files of FOLDER/../cases, in the order of their names; none when the folder cannot be read. */
static enum qk_code list_beside(const char *folder, struct qk_lines *files, struct qk_error *err)
{
    char *path;
    struct qk_lines names;
    enum qk_code code = QK_OK;
    QK_TRY(qk_path_join(folder, "../cases", &path, err));
    qk_folder_names(path, NULL, &names, NULL);
    for (size_t i = 0; i < names.n && code == QK_OK; i++)
        if (names.line[i][0] != '.' && qk_ends_with(names.line[i], ".jsonl"))
            code = qk_lines_add(files, err, "%s/%s", path, names.line[i]);
    qk_lines_free(&names);
    free(path);
    return code;
}

static enum qk_code read_beside(struct evaluation_run *run, struct qk_error *err)
{
    struct qk_lines files = {0};
    enum qk_code code = QK_OK;
    for (int s = QK_SIDE_COUNT - 1; s >= 0 && files.n == 0 && code == QK_OK; s--)
        code = list_beside(run->session->pair->model[s]->checkpoint->folder, &files, err);
    for (size_t i = 0; i < files.n && code == QK_OK; i++)
        code = qk_cases_read(files.line[i], &run->cases, err);
    qk_lines_free(&files);
    return code;
}

/* Finds the places of the cases in their tasks, which decide the order of asking. */
static enum qk_code make_lists(struct evaluation_run *run, struct qk_error *err)
{
    size_t n = run->cases.n;
    QK_TRY(qk_alloc(&run->list, n, sizeof *run->list, err));
    QK_TRY(qk_alloc(&run->got, n, 1, err));
    QK_TRY(qk_alloc(&run->place, n, sizeof *run->place, err));
    QK_TRY(qk_alloc(&run->size, run->cases.n_tasks, sizeof *run->size, err));
    for (size_t i = 0; i < n; i++)
        run->place[i] = run->size[run->cases.item[i].task]++;
    for (int who = 0; who < QK_ASKED_COUNT; who++) {
        QK_TRY(qk_alloc(&run->answer[who], n, 1, err));
        memset(run->answer[who], -1, n);
    }
    return QK_OK;
}

static enum qk_code open_run(struct evaluation_run *run, struct qk_error *err)
{
    const struct qk_evaluation_options options = {.no_cache = run->no_cache, .reuse = true};
    for (size_t i = 0; i < run->n_named; i++)
        QK_TRY(qk_cases_read(run->named[i], &run->cases, err));
    if (run->n_named == 0)
        QK_TRY(read_beside(run, err));
    if (run->cases.n == 0)
        return QK_OK;
    QK_TRY(make_lists(run, err));
    QK_TRY(qk_evaluation_open(run->session->pair, NULL, &run->cases, &options, &run->evaluation, err));
    QK_TRY(qk_objectives_make(&run->cases, run->evaluation, &run->objectives, err));
    return qk_objectives_hold_out(&run->objectives, QK_USUAL_HELD_OUT, 0, err);
}

/* --- the order of the questions --- */

struct model_job {
    enum qk_asked who;
    unsigned generation;
    bool norms;
    struct qk_selection selection; /* current's */
};

/* True for the cases of a level: some of each task, evenly spread over it. Each level contains the one before. */
static bool in_level(const struct evaluation_run *run, size_t i, int level)
{
    static const size_t MOST[QK_ASKING_LEVELS] = {8, 64, SIZE_MAX};
    size_t n = run->size[run->cases.item[i].task], at = run->place[i], most = MOST[level];
    return n <= most || at == 0 || at * most / n != (at - 1) * most / n;
}

static bool is_due(const struct evaluation_run *run, enum qk_asked who)
{
    return run->level[who] < QK_ASKING_LEVELS &&
           (who != QK_ASKED_CURRENT || qk_selection_count(&run->selection) > 0);
}

static void forget_current(struct evaluation_run *run)
{
    memset(run->answer[QK_ASKED_CURRENT], -1, run->cases.n);
    run->level[QK_ASKED_CURRENT] = 0;
    run->answered = run->generation;
}

/* The model at the lowest level, current before post before pre; called with the lock held. `quick`: only the first
 * level of current. */
static bool take_job(struct evaluation_run *run, bool quick, struct model_job *job)
{
    int least = -1;
    if (run->answered != run->generation)
        forget_current(run);
    for (int who = QK_ASKED_COUNT - 1; who >= 0; who--)
        if (is_due(run, (enum qk_asked)who) && (least < 0 || run->level[who] < run->level[least]))
            least = who;
    if (!run->on || least < 0 || (quick && (least != QK_ASKED_CURRENT || run->level[least] > 0)))
        return false;
    job->who = (enum qk_asked)least;
    job->generation = run->generation;
    job->norms = run->norms;
    run->busy = true;
    atomic_store(&run->progress.cancel, false);
    return true;
}

/* --- asking --- */

void qk_evaluation_answers(void *context, size_t n, const size_t *list, const signed char *answer)
{
    struct answers_watch *watch = context;
    signed char *known = watch->run->answer[watch->who];
    struct evaluation_event *event;
    if (qk_evaluation_event_new(EVALUATION_ANSWERS, &event, &watch->error) != QK_OK)
        return;
    event->who = watch->who;
    event->generation = watch->generation;
    if (qk_alloc(&event->list, n, sizeof *event->list, &watch->error) != QK_OK ||
        qk_alloc(&event->answer, n, 1, &watch->error) != QK_OK) {
        qk_evaluation_event_free(event);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (known[list[i]] >= 0)
            continue;
        known[list[i]] = event->answer[event->n] = answer[i];
        event->list[event->n++] = list[i];
    }
    qk_session_post(watch->run->session, &event->event);
}

/* Lists the cases of the model's level that it has not answered in run->list; returns their number. */
static size_t list_cases(struct evaluation_run *run, enum qk_asked who)
{
    uint64_t total = 0;
    size_t n = 0;
    for (size_t i = 0; i < run->cases.n; i++)
        if (run->answer[who][i] < 0 && in_level(run, i, run->level[who])) {
            run->list[n++] = i;
            total += qk_evaluation_cost(run->evaluation, i);
        }
    atomic_store(&run->progress.done, 0);
    qk_progress_total(&run->progress, total);
    return n;
}

/* Fails only without memory for its events; any other fault is the model's error. */
static enum qk_code run_job(struct evaluation_run *run, const struct model_job *job, struct qk_error *err)
{
    struct answers_watch watch = {.run = run, .who = job->who, .generation = job->generation};
    const struct qk_exam_watch answers = {&watch, qk_evaluation_answers};
    const struct qk_subject subject = {.side = job->who == QK_ASKED_PRE ? QK_PRE : QK_POST,
        .selection = job->who == QK_ASKED_CURRENT ? &job->selection : NULL,
        .norms = job->norms};
    struct evaluation_event *stopped;
    QK_TRY(qk_evaluation_event_new(EVALUATION_STOPPED, &stopped, err));
    stopped->who = job->who;
    stopped->generation = job->generation;
    size_t n = list_cases(run, job->who);
    enum qk_code code = post_news(run, EVALUATION_STARTED, job->who, job->generation, err);
    if (code != QK_OK) {
        qk_evaluation_event_free(stopped);
        return code;
    }
    code = qk_evaluation_answer(
        run->evaluation, subject, n, run->list, run->got, &answers, &run->progress, NULL, &stopped->error);
    if (code == QK_CANCELLED)
        stopped->error = (struct qk_error){0};
    else if (code != QK_OK)
        run->level[job->who] = QK_ASKING_LEVELS;
    else if (watch.error.code == QK_OK)
        run->level[job->who]++;
    qk_session_post(run->session, &stopped->event);
    if (watch.error.code != QK_OK && err != NULL)
        *err = watch.error;
    return watch.error.code;
}

/* Takes a job and does it; *taken: there was one. The caller holds the lock before and after. */
static enum qk_code do_job(struct evaluation_run *run, bool quick, bool *taken, struct qk_error *err)
{
    struct model_job job = {0};
    *taken = take_job(run, quick, &job);
    if (!*taken)
        return QK_OK;
    enum qk_code code = qk_selection_copy(&job.selection, &run->selection, err);
    if (code == QK_OK) {
        pthread_mutex_unlock(&run->mutex);
        code = run_job(run, &job, err);
        pthread_mutex_lock(&run->mutex);
        qk_selection_free(&job.selection);
    }
    run->busy = false;
    return code;
}

enum qk_code qk_evaluation_serve_quick(struct evaluation_run *run, struct qk_error *err)
{
    enum qk_code code = QK_OK;
    bool taken = true;
    pthread_mutex_lock(&run->mutex);
    while (!run->stop && taken && code == QK_OK)
        code = do_job(run, true, &taken, err);
    pthread_mutex_unlock(&run->mutex);
    return code;
}

/* The caller holds the lock before and after; false when no search is requested. */
static bool do_search(struct evaluation_run *run)
{
    struct search_order order = run->search;
    if (order.serial == 0)
        return false;
    run->search = (struct search_order){0};
    pthread_mutex_unlock(&run->mutex);
    qk_search_serve(run, &order);
    pthread_mutex_lock(&run->mutex);
    return true;
}

static enum qk_code serve(struct evaluation_run *run, struct qk_error *err)
{
    enum qk_code code = QK_OK;
    pthread_mutex_lock(&run->mutex);
    while (!run->stop && code == QK_OK) {
        bool taken = do_search(run);
        if (!taken)
            code = do_job(run, false, &taken, err);
        if (taken || code != QK_OK)
            continue;
        if (run->on)
            code = post_news(run, EVALUATION_COMPLETE, QK_ASKED_CURRENT, run->generation, err);
        if (code == QK_OK)
            pthread_cond_wait(&run->work, &run->mutex);
    }
    pthread_mutex_unlock(&run->mutex);
    return code;
}

void *qk_evaluation_main(void *argument)
{
    struct evaluation_run *run = argument;
    struct evaluation_event *last = run->last;
    run->last = NULL;
    enum qk_code code = open_run(run, &last->error);
    if (code == QK_OK && run->cases.n > 0)
        code = post_news(run, EVALUATION_OPENED, QK_ASKED_POST, 0, &last->error);
    if (code == QK_OK && run->cases.n > 0)
        serve(run, &last->error);
    qk_session_post(run->session, &last->event);
    return NULL;
}
