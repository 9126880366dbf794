/* progress.h - the progress of a long function, and the flag that cancels it. */
#ifndef QK_BASE_PROGRESS_H
#define QK_BASE_PROGRESS_H

#include "base/error.h"
#include "base/timing.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Zero-initialise. The worker writes done and total, and a front end reads them at any time. The front end writes
 * `cancel`, and the worker reads it. Units are bytes unless the function says otherwise. */
struct qk_progress {
    _Atomic uint64_t done, total;
    _Atomic bool cancel;
    struct qk_timing *timing; /* where the time goes (base/timing.h), or NULL: nobody asks */
};

/* All three take NULL: then no one sees the progress, and no one cancels. */
void qk_progress_add(struct qk_progress *progress, uint64_t amount);
void qk_progress_total(struct qk_progress *progress, uint64_t total);
/* Returns QK_OK, or QK_CANCELLED with its message when the flag is set. */
enum qk_code qk_progress_check(struct qk_progress *progress, struct qk_error *err);

/* Its timing, or NULL. */
static inline struct qk_timing *qk_progress_timing(const struct qk_progress *progress)
{
    return progress != NULL ? progress->timing : NULL;
}

/* Seconds since a time of clock_gettime(CLOCK_MONOTONIC). */
double qk_seconds_since(const struct timespec *start);

#endif
