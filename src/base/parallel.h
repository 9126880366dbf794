/* parallel.h - a loop over independent items on all processors; scratch is the caller's, one a worker. */
#ifndef QK_BASE_PARALLEL_H
#define QK_BASE_PARALLEL_H

#include "base/progress.h"

#include <stddef.h>

/* Does one item; worker < qk_parallel_workers(n) is the same for no two calls at once. */
typedef void (*qk_parallel_item)(void *context, size_t item, size_t worker);

/* Workers of a loop over n items: the processors of the process, at most n, at least 1. */
size_t qk_parallel_workers(size_t n);

/* Calls `item` for 0 <= i < n, each once, the smaller first, on qk_parallel_workers(n) threads, the caller's
 * among them, and returns when all are done. A thread that cannot be started leaves its share to the others.
 * With `progress` (NULL allowed) no item begins once it is cancelled. */
void qk_parallel_for(size_t n, qk_parallel_item item, void *context, struct qk_progress *progress);

#endif
