/* evaluation_thread.c - the thread of a session's evaluation: reads the cases, then puts
 * them to whoever knows least. */
#include "session/evaluation_thread.h"

#include "base/folder.h"
#include "base/mem.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/* --- news --- */

void qk_session_free_asking_news(struct asking_news *news)
{
    if (news == NULL)
        return;
    free(news->list);
    free(news->answer);
    free(news->effect);
    for (size_t i = 0; i < news->n_points; i++)
        qk_search_point_free(&news->point[i]);
    free(news->point);
    free(news);
}

struct message *qk_asking_message(enum asking_kind kind, enum qk_asked who, unsigned generation)
{
    struct message *message = calloc(1, sizeof *message);
    struct asking_news *news = calloc(1, sizeof *news);
    if (message == NULL || news == NULL) {
        free(message);
        free(news);
        return NULL;
    }
    message->kind = MESSAGE_ASKING;
    message->asking = news;
    news->kind = kind;
    news->who = who;
    news->generation = generation;
    return message;
}

static void tell(struct asking *asking, enum asking_kind kind, enum qk_asked who, unsigned generation,
    const struct qk_error *error)
{
    struct message *message = qk_asking_message(kind, who, generation);
    if (message == NULL)
        return;
    if (error != NULL)
        message->asking->error = *error;
    qk_session_post(asking->session, message);
}

/* --- the cases --- */

/* The .jsonl files of FOLDER/../cases, in the order of their names; none when it cannot be read. */
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

static enum qk_code read_beside(struct asking *asking, struct qk_error *err)
{
    struct qk_lines files = {0};
    enum qk_code code = QK_OK;
    for (int s = QK_SIDE_COUNT - 1; s >= 0 && files.n == 0 && code == QK_OK; s--)
        code = list_beside(asking->session->pair->model[s]->checkpoint->folder, &files, err);
    for (size_t i = 0; i < files.n && code == QK_OK; i++)
        code = qk_cases_read(files.line[i], &asking->cases, err);
    qk_lines_free(&files);
    return code;
}

/* Places of the cases in their tasks, which tell what is asked first. */
static enum qk_code make_lists(struct asking *asking, struct qk_error *err)
{
    size_t n = asking->cases.n;
    QK_TRY(qk_alloc(&asking->list, n, sizeof *asking->list, err));
    QK_TRY(qk_alloc(&asking->got, n, 1, err));
    QK_TRY(qk_alloc(&asking->place, n, sizeof *asking->place, err));
    QK_TRY(qk_alloc(&asking->size, asking->cases.n_tasks, sizeof *asking->size, err));
    for (size_t i = 0; i < n; i++)
        asking->place[i] = asking->size[asking->cases.item[i].task]++;
    for (int who = 0; who < QK_ASKED_COUNT; who++) {
        QK_TRY(qk_alloc(&asking->answer[who], n, 1, err));
        memset(asking->answer[who], -1, n);
    }
    return QK_OK;
}

static enum qk_code open_asking(struct asking *asking, struct qk_error *err)
{
    const struct qk_evaluation_options options = {.no_cache = asking->no_cache};
    for (size_t i = 0; i < asking->n_named; i++)
        QK_TRY(qk_cases_read(asking->named[i], &asking->cases, err));
    if (asking->n_named == 0)
        QK_TRY(read_beside(asking, err));
    if (asking->cases.n == 0)
        return QK_OK;
    QK_TRY(make_lists(asking, err));
    QK_TRY(
        qk_evaluation_open(asking->session->pair, NULL, &asking->cases, &options, &asking->evaluation, err));
    return qk_objectives_make(&asking->cases, asking->evaluation, &asking->objectives, err);
}

/* --- whom to ask what --- */

struct asking_job {
    enum qk_asked who;
    unsigned generation;
    bool norms;
    struct qk_selection selection; /* current's */
};

/* True for the cases of a level: so many of each task, evenly spread over it. Each level has
 * those of the one before. */
static bool in_level(const struct asking *asking, size_t i, int level)
{
    static const size_t MOST[QK_ASKING_LEVELS] = {8, 64, SIZE_MAX};
    size_t n = asking->size[asking->cases.item[i].task], at = asking->place[i], most = MOST[level];
    return n <= most || at == 0 || at * most / n != (at - 1) * most / n;
}

static bool is_due(const struct asking *asking, enum qk_asked who)
{
    return asking->level[who] < QK_ASKING_LEVELS &&
           (who != QK_ASKED_CURRENT || qk_selection_count(&asking->selection) > 0);
}

static void forget_current(struct asking *asking)
{
    memset(asking->answer[QK_ASKED_CURRENT], -1, asking->cases.n);
    asking->level[QK_ASKED_CURRENT] = 0;
    asking->answered = asking->generation;
}

/* Whoever is at the lowest level, current before post before pre; with the lock held. `quick`: only
 * the first level of current. */
static bool take_job(struct asking *asking, bool quick, struct asking_job *job)
{
    int least = -1;
    if (asking->answered != asking->generation)
        forget_current(asking);
    for (int who = QK_ASKED_COUNT - 1; who >= 0; who--)
        if (is_due(asking, (enum qk_asked)who) && (least < 0 || asking->level[who] < asking->level[least]))
            least = who;
    if (!asking->on || least < 0 || (quick && (least != QK_ASKED_CURRENT || asking->level[least] > 0)))
        return false;
    job->who = (enum qk_asked)least;
    job->generation = asking->generation;
    job->norms = asking->norms;
    asking->busy = true;
    atomic_store(&asking->progress.cancel, false);
    return qk_selection_copy(&job->selection, &asking->selection, NULL) == QK_OK;
}

/* --- asking --- */

void qk_asking_heard(void *context, size_t n, const size_t *list, const signed char *answer)
{
    const struct asking_watch *watch = context;
    signed char *known = watch->asking->answer[watch->who];
    struct message *message = qk_asking_message(ASKING_ANSWERS, watch->who, watch->generation);
    struct asking_news *news = message != NULL ? message->asking : NULL;
    if (news == NULL)
        return;
    if (qk_alloc(&news->list, n, sizeof *news->list, NULL) != QK_OK ||
        qk_alloc(&news->answer, n, 1, NULL) != QK_OK) {
        qk_session_free_message(message);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (known[list[i]] >= 0)
            continue;
        known[list[i]] = news->answer[news->n] = answer[i];
        news->list[news->n++] = list[i];
    }
    qk_session_post(watch->asking->session, message);
}

static void run_job(struct asking *asking, const struct asking_job *job)
{
    struct asking_watch watch = {asking, job->who, job->generation};
    const struct qk_exam_watch heard = {&watch, qk_asking_heard};
    const struct qk_subject subject = {.side = job->who == QK_ASKED_PRE ? QK_PRE : QK_POST,
        .selection = job->who == QK_ASKED_CURRENT ? &job->selection : NULL,
        .norms = job->norms};
    struct qk_error error = {0};
    uint64_t total = 0;
    size_t n = 0;
    for (size_t i = 0; i < asking->cases.n; i++)
        if (asking->answer[job->who][i] < 0 && in_level(asking, i, asking->level[job->who])) {
            asking->list[n++] = i;
            total += qk_evaluation_cost(asking->evaluation, i);
        }
    atomic_store(&asking->progress.done, 0);
    qk_progress_total(&asking->progress, total);
    tell(asking, ASKING_STARTED, job->who, job->generation, NULL);
    enum qk_code code = qk_evaluation_answer(
        asking->evaluation, subject, n, asking->list, asking->got, &heard, &asking->progress, NULL, &error);
    if (code == QK_OK)
        asking->level[job->who]++;
    else if (code != QK_CANCELLED)
        asking->level[job->who] = QK_ASKING_LEVELS;
    tell(asking, ASKING_STOPPED, job->who, job->generation,
        code != QK_OK && code != QK_CANCELLED ? &error : NULL);
}

/* Takes a job and does it; false when there is none. Called and left with the lock held. */
static bool do_job(struct asking *asking, bool quick)
{
    struct asking_job job = {0};
    bool taken = take_job(asking, quick, &job);
    if (taken) {
        pthread_mutex_unlock(&asking->mutex);
        run_job(asking, &job);
        pthread_mutex_lock(&asking->mutex);
    }
    qk_selection_free(&job.selection);
    asking->busy = false;
    return taken;
}

void qk_asking_serve_quick(struct asking *asking)
{
    pthread_mutex_lock(&asking->mutex);
    while (!asking->stop && do_job(asking, true))
        ;
    pthread_mutex_unlock(&asking->mutex);
}

/* Called and left with the lock held; false when no search is wanted. */
static bool do_search(struct asking *asking)
{
    if (!asking->search_wanted)
        return false;
    double *prior = asking->prior;
    const struct qk_search_limits limits = asking->search_limits;
    bool norms = asking->search_norms;
    asking->search_wanted = false;
    asking->prior = NULL;
    pthread_mutex_unlock(&asking->mutex);
    qk_asking_search(asking, prior, &limits, norms);
    free(prior);
    pthread_mutex_lock(&asking->mutex);
    return true;
}

static void serve(struct asking *asking)
{
    pthread_mutex_lock(&asking->mutex);
    while (!asking->stop) {
        if (do_search(asking) || do_job(asking, false))
            continue;
        if (asking->on)
            tell(asking, ASKING_COMPLETE, QK_ASKED_CURRENT, asking->generation, NULL);
        pthread_cond_wait(&asking->work, &asking->mutex);
    }
    pthread_mutex_unlock(&asking->mutex);
}

void *qk_asking_main(void *argument)
{
    struct asking *asking = argument;
    struct qk_error error = {0};
    enum qk_code code = open_asking(asking, &error);
    if (code != QK_OK || asking->cases.n == 0) {
        tell(asking, ASKING_FAILED, QK_ASKED_POST, 0, &error);
        return NULL;
    }
    tell(asking, ASKING_OPENED, QK_ASKED_POST, 0, NULL);
    serve(asking);
    return NULL;
}
