/* processors.c - affinity and the quota of control groups. */
#include "base/processors.h"

#include "base/group.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* "QUOTA PERIOD" in microseconds, or "max PERIOD"; 0 without a quota. */
static int read_quota(const char *path)
{
    long long quota, period;
    int count = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0)
        count = (int)((quota - 1) / period < INT_MAX - 1 ? (quota - 1) / period + 1 : 0);
    fclose(file);
    return count;
}

int qk_cpu_quota(const char *groups, const char *root)
{
    char group[PATH_MAX], path[2 * PATH_MAX];
    int least = 0;
    if (!qk_group_read(groups, group, sizeof group))
        return 0;
    do {
        snprintf(path, sizeof path, "%s%s/cpu.max", root, group);
        int count = read_quota(path);
        least = count > 0 && (least == 0 || count < least) ? count : least;
    } while (qk_group_up(group));
    return least;
}

static int count;

static void read_once(void)
{
    cpu_set_t set;
    int quota = qk_cpu_quota("/proc/self/cgroup", "/sys/fs/cgroup");
    count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    count = quota > 0 && quota < count ? quota : count;
    count = count < 1 ? 1 : count;
}

int qk_cpu_count(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_once);
    return count;
}
