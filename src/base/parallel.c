/* parallel.c - loops over independent items on several threads. */
#include "base/parallel.h"

#include "base/thread.h"

#include <pthread.h>
#include <stdatomic.h>

/* The default, and the limit when a caller asks for more. */
enum { USUAL_WORKERS = 64, MOST_WORKERS = 1024 };

struct loop {
    qk_parallel_item item;
    void *context;
    struct qk_progress *progress;
    size_t n;
    atomic_size_t next, worker;
};

static void *work(void *argument)
{
    struct loop *loop = argument;
    size_t worker = atomic_fetch_add(&loop->worker, 1);
    while (qk_progress_check(loop->progress, NULL) == QK_OK) {
        size_t i = atomic_fetch_add(&loop->next, 1);
        if (i >= loop->n)
            break;
        loop->item(loop->context, i, worker);
    }
    return NULL;
}

/* Runs the loop on so many threads, of which the caller's is one. */
static void run_loop(struct loop *loop, size_t workers)
{
    pthread_t thread[MOST_WORKERS];
    size_t started = 0;
    while (started + 1 < workers && qk_thread_start(&thread[started], work, loop, NULL) == QK_OK)
        started++;
    work(loop);
    while (started > 0)
        pthread_join(thread[--started], NULL);
}

static size_t limit(size_t workers, size_t most, size_t n)
{
    workers = workers > most ? most : workers;
    workers = workers > n ? n : workers;
    return workers < 1 ? 1 : workers;
}

size_t qk_parallel_workers(size_t n)
{
    return limit((size_t)qk_cpu_count(), USUAL_WORKERS, n);
}

void qk_parallel_for(size_t n, qk_parallel_item item, void *context, struct qk_progress *progress)
{
    struct loop loop = {.item = item, .context = context, .progress = progress, .n = n};
    run_loop(&loop, qk_parallel_workers(n));
}

/* --- items that can fail --- */

struct trial {
    qk_parallel_task task;
    void *context;
    pthread_mutex_t lock;
    size_t failed; /* the smallest item that failed, or n, with its message: under the lock */
    struct qk_error error;
};

static void try_item(void *context, size_t item, size_t worker)
{
    struct trial *trial = context;
    struct qk_error error = {0};
    pthread_mutex_lock(&trial->lock);
    bool wanted = item < trial->failed;
    pthread_mutex_unlock(&trial->lock);
    if (!wanted || trial->task(trial->context, item, worker, &error) == QK_OK)
        return;
    pthread_mutex_lock(&trial->lock);
    if (item < trial->failed) {
        trial->failed = item;
        trial->error = error;
    }
    pthread_mutex_unlock(&trial->lock);
}

enum qk_code qk_parallel_try(size_t n, size_t workers, qk_parallel_task task, void *context,
    struct qk_progress *progress, struct qk_error *err)
{
    struct trial trial = {.task = task, .context = context, .failed = n};
    struct loop loop = {.item = try_item, .context = &trial, .progress = progress, .n = n};
    pthread_mutex_init(&trial.lock, NULL);
    run_loop(&loop, limit(workers, MOST_WORKERS, n));
    pthread_mutex_destroy(&trial.lock);
    if (trial.failed == n)
        return qk_progress_check(progress, err);
    if (err != NULL)
        *err = trial.error;
    return trial.error.code;
}
