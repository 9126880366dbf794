/* parallel.c - loops over independent items on several threads. */
#include "base/parallel.h"

#include "base/processors.h"
#include "base/thread.h"

#include <pthread.h>
#include <stdatomic.h>

/* The default, and the limit when a caller asks for more. */
enum { USUAL_WORKERS = 64, MOST_WORKERS = 1024 };

/* Workers that loops may have; 0: as many as processors. */
static size_t allowed;

struct loop {
    qk_parallel_item item;
    void *context;
    struct qk_progress *progress;
    size_t n;
    atomic_size_t next;
    /* --- under the pool's lock --- */
    size_t workers, joined; /* threads that may join, and that have: the caller's is number 0 */
    size_t inside;          /* threads of the pool that are at work */
    struct loop *after;
};

/* The threads of the process that wait for loops. They are started when a loop first wants them, and stay. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t posted, left;
    struct loop *loops; /* that want more threads, the oldest first */
    size_t threads;
} pool = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .posted = PTHREAD_COND_INITIALIZER, .left = PTHREAD_COND_INITIALIZER};

static void work(struct loop *loop, size_t worker)
{
    struct qk_timing *timing = qk_progress_timing(loop->progress);
    uint64_t since = qk_timing_start(timing);
    while (qk_progress_check(loop->progress, NULL) == QK_OK) {
        size_t i = atomic_fetch_add(&loop->next, 1);
        if (i >= loop->n)
            break;
        loop->item(loop->context, i, worker);
    }
    if (timing != NULL)
        timing->items += qk_timing_clock() - since;
}

static void remove_loop(struct loop *loop)
{
    struct loop **at = &pool.loops;
    while (*at != NULL && *at != loop)
        at = &(*at)->after;
    if (*at != NULL)
        *at = loop->after;
}

static void *serve(void *argument)
{
    (void)argument;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        struct loop *loop = pool.loops;
        if (loop == NULL) {
            pthread_cond_wait(&pool.posted, &pool.lock);
            continue;
        }
        size_t worker = loop->joined++;
        loop->inside++;
        if (loop->joined == loop->workers)
            remove_loop(loop);
        pthread_mutex_unlock(&pool.lock);
        work(loop, worker);
        pthread_mutex_lock(&pool.lock);
        if (--loop->inside == 0)
            pthread_cond_broadcast(&pool.left);
    }
    return NULL;
}

/* Called under the lock. A thread that cannot start is done without. */
static void want_threads(size_t n)
{
    pthread_t thread;
    while (pool.threads < n && qk_thread_start(&thread, serve, NULL, NULL) == QK_OK) {
        pthread_detach(thread);
        pool.threads++;
    }
}

/* Runs the loop on at most so many threads, of which the caller's is one. */
static void run_loop(struct loop *loop, size_t workers)
{
    struct qk_timing *timing = qk_progress_timing(loop->progress);
    uint64_t since = qk_timing_start(timing);
    loop->workers = workers;
    loop->joined = 1;
    if (workers > 1) {
        struct loop **last = &pool.loops;
        pthread_mutex_lock(&pool.lock);
        want_threads(workers - 1);
        while (*last != NULL)
            last = &(*last)->after;
        *last = loop;
        for (size_t i = 1; i < workers; i++)
            pthread_cond_signal(&pool.posted);
        pthread_mutex_unlock(&pool.lock);
    }
    work(loop, 0);
    if (workers > 1) {
        pthread_mutex_lock(&pool.lock);
        remove_loop(loop);
        while (loop->inside > 0)
            pthread_cond_wait(&pool.left, &pool.lock);
        pthread_mutex_unlock(&pool.lock);
    }
    if (timing != NULL)
        timing->loops += qk_timing_clock() - since;
}

static size_t limit(size_t workers, size_t most, size_t n)
{
    workers = workers > most ? most : workers;
    workers = workers > n ? n : workers;
    return workers < 1 ? 1 : workers;
}

void qk_parallel_limit(size_t workers)
{
    allowed = workers;
}

size_t qk_parallel_workers(size_t n)
{
    return allowed > 0 ? limit(allowed, MOST_WORKERS, n) : limit((size_t)qk_cpu_count(), USUAL_WORKERS, n);
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
