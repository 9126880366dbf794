/* parallel.h - loops over independent items on several threads: the one way in which work is shared out.
 *
 * Scratch is the caller's, one a worker. What threads there are is this file's business alone: callers see numbers of
 * workers. */
#ifndef QK_BASE_PARALLEL_H
#define QK_BASE_PARALLEL_H

#include "base/progress.h"

#include <stddef.h>

/* Works on one item. worker < qk_parallel_workers(n); no two calls at once have the same worker. */
typedef void (*qk_parallel_item)(void *context, size_t item, size_t worker);

/* The number of workers of a loop over n items: the processors of the process, at most n, at least 1. */
size_t qk_parallel_workers(size_t n);

/* Calls `item` for 0 <= i < n, each once, the smaller first, on qk_parallel_workers(n) threads, of which the caller's
 * is one. It returns when all are done. Other threads take the share of a thread that cannot start. With `progress`
 * (NULL allowed) no item begins once it is cancelled. */
void qk_parallel_for(size_t n, qk_parallel_item item, void *context, struct qk_progress *progress);

/* Does one item; worker < `workers` of the loop. */
typedef enum qk_code (*qk_parallel_task)(void *context, size_t item, size_t worker, struct qk_error *err);

/* The same on `workers` threads (at most n of them are started) for items that can fail. The failure of the smallest
 * item that fails is the loop's, however many workers there are: what stands before it is done in any case, and what
 * stands behind it does not begin any more. QK_CANCELLED when no item failed and progress is cancelled. */
enum qk_code qk_parallel_try(size_t n, size_t workers, qk_parallel_task task, void *context,
    struct qk_progress *progress, struct qk_error *err);

#endif
