/* progress.h - the progress of a long function: done, total, and "stop". */
#ifndef QK_BASE_PROGRESS_H
#define QK_BASE_PROGRESS_H

#include "base/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Zero-initialise. Written by the worker (done, total), read by a front end at any time; `cancel` is the
 * other way round. Units are bytes unless the function says otherwise. */
struct qk_progress {
    _Atomic uint64_t done, total;
    _Atomic bool cancel;
};

/* All three take NULL: then there is nobody to tell, and nobody cancels. */
void qk_progress_add(struct qk_progress *progress, uint64_t amount);
void qk_progress_total(struct qk_progress *progress, uint64_t total);
/* QK_OK, or QK_CANCELLED with its message when the flag is set. */
enum qk_code qk_progress_check(struct qk_progress *progress, struct qk_error *err);

/* Since a moment that clock_gettime(CLOCK_MONOTONIC) told. */
double qk_seconds_since(const struct timespec *start);

/* Processors this process may run on (sched_getaffinity), at least 1. */
int qk_cpu_count(void);

#endif
