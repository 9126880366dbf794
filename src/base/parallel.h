/* parallel.h - loops over independent items on several threads, the one way to share work.
 *
 * The threads are made once, when a loop first wants them, and wait for the next loop. Loops of several callers at once
 * share them.
 * Callers have scratch of their own, one for each worker. Only this file knows threads: callers see numbers of
 * workers. */
#ifndef QK_BASE_PARALLEL_H
#define QK_BASE_PARALLEL_H

#include "base/progress.h"

#include <stddef.h>

/* Works on one item. worker < qk_parallel_workers(n); no two calls at once have the same worker. */
typedef void (*qk_parallel_item)(void *context, size_t item, size_t worker);

/* The number of workers of a loop over n items: the processors of the process, or what a limit says, at most n, at
 * least 1. */
size_t qk_parallel_workers(size_t n);
/* Sets that limit for all later loops; 0: none. For the start of the process, since callers size their arrays by it. */
void qk_parallel_limit(size_t workers);

/* Calls `item` for 0 <= i < n, each once, the smaller first, on qk_parallel_workers(n) threads, of which the caller's
 * is one. It returns when all are done. Other threads take the share of a thread that cannot start. With `progress`
 * (NULL allowed) no item begins once it is cancelled, and its timing gets the time of the loop and of its items. */
void qk_parallel_for(size_t n, qk_parallel_item item, void *context, struct qk_progress *progress);

/* Works on one item; worker < `workers` of the loop. */
typedef enum qk_code (*qk_parallel_task)(void *context, size_t item, size_t worker, struct qk_error *err);

/* The same on `workers` threads (at most n start) for items that can fail. The loop returns the failure of the
 * smallest item that fails, with any number of workers. All items before it are done, and no item behind it begins
 * any more. QK_CANCELLED when no item failed and progress is cancelled. */
enum qk_code qk_parallel_try(size_t n, size_t workers, qk_parallel_task task, void *context,
    struct qk_progress *progress, struct qk_error *err);

#endif
