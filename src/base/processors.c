/* processors.c - affinity and the quota of control groups. */
#include "base/processors.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The path of the group in the line "0::PATH"; false without such a line. */
static bool read_group(const char *groups, char *path, size_t size)
{
    FILE *file = fopen(groups, "r");
    bool found = false;
    while (file != NULL && !found && fgets(path, (int)size, file) != NULL)
        found = strncmp(path, "0::", 3) == 0;
    if (file != NULL)
        fclose(file);
    if (!found)
        return false;
    path[strcspn(path, "\n")] = '\0';
    memmove(path, path + 3, strlen(path + 3) + 1);
    return true;
}

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
    if (!read_group(groups, group, sizeof group))
        return 0;
    for (;;) {
        snprintf(path, sizeof path, "%s%s/cpu.max", root, group);
        int count = read_quota(path);
        least = count > 0 && (least == 0 || count < least) ? count : least;
        char *end = strrchr(group, '/');
        if (end == NULL)
            return least;
        *end = '\0';
    }
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
