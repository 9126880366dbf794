/* progress.c - progress, cancelling, and how many processors there are. */
#include "base/progress.h"

void qk_progress_add(struct qk_progress *progress, uint64_t amount)
{
    if (progress != NULL)
        atomic_fetch_add_explicit(&progress->done, amount, memory_order_relaxed);
}

void qk_progress_total(struct qk_progress *progress, uint64_t total)
{
    if (progress != NULL)
        atomic_store_explicit(&progress->total, total, memory_order_relaxed);
}

enum qk_code qk_progress_check(struct qk_progress *progress, struct qk_error *err)
{
    if (progress != NULL && atomic_load_explicit(&progress->cancel, memory_order_relaxed))
        return qk_fail_cancelled(err);
    return QK_OK;
}

double qk_seconds_since(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + 1e-9 * (double)(now.tv_nsec - start->tv_nsec);
}
