/* parallel.c - a loop over independent items on all processors (parallel.h). */
#include "base/parallel.h"

#include <pthread.h>
#include <stdatomic.h>

enum { MAX_WORKERS = 64 };

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

size_t qk_parallel_workers(size_t n)
{
    size_t workers = (size_t)qk_cpu_count();
    workers = workers > MAX_WORKERS ? MAX_WORKERS : workers;
    workers = workers > n ? n : workers;
    return workers < 1 ? 1 : workers;
}

void qk_parallel_for(size_t n, qk_parallel_item item, void *context, struct qk_progress *progress)
{
    struct loop loop = {.item = item, .context = context, .progress = progress, .n = n};
    pthread_t thread[MAX_WORKERS];
    size_t started = 0, wanted = qk_parallel_workers(n) - 1;
    while (started < wanted && pthread_create(&thread[started], NULL, work, &loop) == 0)
        started++;
    work(&loop);
    while (started > 0)
        pthread_join(thread[--started], NULL);
}
