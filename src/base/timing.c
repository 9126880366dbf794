/* timing.c - the names and the sums of the parts. */
#include "base/timing.h"

#include <time.h>

static const struct {
    const char *name, *meaning;
} PART[QK_TIMES] = {
    [QK_TIME_READ] = {"read", "bytes of weights from the files"},
    [QK_TIME_CONVERT] = {"convert", "weights to float32"},
    [QK_TIME_PRODUCTS] = {"products", "projections and MLPs"},
    [QK_TIME_ATTENTION] = {"attention", "softmax attention"},
    [QK_TIME_RECURRENCE] = {"recurrence", "states of linear layers"},
    [QK_TIME_STATISTICS] = {"statistics", "histograms and shifts"},
    [QK_TIME_OTHER] = {"other", "norms, positions, memory, what one thread does alone"},
};

const char *qk_time_name(enum qk_time part)
{
    return PART[part].name;
}

const char *qk_time_meaning(enum qk_time part)
{
    return PART[part].meaning;
}

uint64_t qk_timing_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void qk_timing_seconds(const struct qk_timing *timing, double wall, double seconds[QK_TIMES])
{
    double other = wall - 1e-9 * (double)timing->loops + 1e-9 * (double)timing->items;
    for (int i = 0; i < QK_TIME_OTHER; i++) {
        seconds[i] = 1e-9 * (double)timing->part[i];
        other -= seconds[i];
    }
    seconds[QK_TIME_OTHER] = other > 0 ? other : 0;
}
