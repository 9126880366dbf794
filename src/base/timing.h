/* timing.h - the time of a forward pass, part by part.
 *
 * Items of parallel loops measure their parts; the loops measure themselves (base/parallel.h). The rest is "other":
 * what items do beside the parts, and what one thread does between the loops. So the parts of one thread add up to the
 * wall clock. Those of several threads add up to less than its product with their number, by what they waited. */
#ifndef QK_BASE_TIMING_H
#define QK_BASE_TIMING_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum qk_time {
    QK_TIME_READ,
    QK_TIME_CONVERT,
    QK_TIME_PRODUCTS,
    QK_TIME_ATTENTION,
    QK_TIME_RECURRENCE,
    QK_TIME_STATISTICS,
    QK_TIME_OTHER,
    QK_TIMES
};

/* Zero-initialise. Any thread may add, in nanoseconds. */
struct qk_timing {
    _Atomic uint64_t part[QK_TIME_OTHER];
    _Atomic uint64_t items; /* of all workers of all loops */
    _Atomic uint64_t loops; /* on the clock of the thread that calls them */
};

/* The word of a part in tables and JSON ("read"), and what belongs to it; static. */
const char *qk_time_name(enum qk_time part);
const char *qk_time_meaning(enum qk_time part);

/* Nanoseconds of a clock that never goes back. */
uint64_t qk_timing_clock(void);
/* The beginning of a part: the clock, or 0 where timing is NULL. */
static inline uint64_t qk_timing_start(const struct qk_timing *timing)
{
    return timing != NULL ? qk_timing_clock() : 0;
}
/* Adds the time since `since` to the part and returns the clock; nothing, and 0, where timing is NULL. */
static inline uint64_t qk_timing_lap(struct qk_timing *timing, enum qk_time part, uint64_t since)
{
    if (timing == NULL)
        return 0;
    uint64_t now = qk_timing_clock();
    atomic_fetch_add_explicit(&timing->part[part], now - since, memory_order_relaxed);
    return now;
}

/* seconds[QK_TIMES] of a run that took so many seconds of the wall clock. No loop may run. */
void qk_timing_seconds(const struct qk_timing *timing, double wall, double seconds[QK_TIMES]);

#endif
