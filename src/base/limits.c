/* limits.c - the limits of open files and of memory. */
#include "base/limits.h"

#include "base/group.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

void qk_raise_open_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* --- memory --- */

/* Reads the number behind `key` in a file, in bytes of `unit`; SIZE_MAX when the file does not have it. */
static size_t read_bytes(const char *path, const char *key, size_t unit)
{
    char line[256];
    unsigned long long value;
    size_t found = SIZE_MAX, length = strlen(key);
    FILE *file = fopen(path, "r");
    while (file != NULL && found == SIZE_MAX && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, length) == 0 && sscanf(line + length, "%llu", &value) == 1 &&
            value < SIZE_MAX / unit)
            found = (size_t)value * unit;
    if (file != NULL)
        fclose(file);
    return found;
}

static size_t less(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* What a limit leaves; SIZE_MAX without a limit. */
static size_t left(size_t limit, size_t used)
{
    return limit == SIZE_MAX || used == SIZE_MAX ? SIZE_MAX : limit > used ? limit - used : 0;
}

/* What the processes of a group hold: all that counts against its limit but the pages of files, which the kernel gives
 * up for them. SIZE_MAX where it is not known. */
static size_t group_holds(const char *root, const char *group)
{
    static const char *const PAGES[] = {"inactive_file ", "active_file "};
    char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s%s/memory.current", root, group);
    size_t held = read_bytes(path, "", 1);
    snprintf(path, sizeof path, "%s%s/memory.stat", root, group);
    for (size_t i = 0; held != SIZE_MAX && i < sizeof PAGES / sizeof PAGES[0]; i++) {
        size_t pages = read_bytes(path, PAGES[i], 1);
        held -= pages == SIZE_MAX ? 0 : less(pages, held);
    }
    return held;
}

size_t qk_group_memory(const char *groups, const char *root)
{
    char group[PATH_MAX], most[2 * PATH_MAX];
    size_t least = SIZE_MAX;
    if (!qk_group_read(groups, group, sizeof group))
        return least;
    do {
        snprintf(most, sizeof most, "%s%s/memory.max", root, group);
        least = less(least, left(read_bytes(most, "", 1), group_holds(root, group)));
    } while (qk_group_up(group));
    return least;
}

size_t qk_spare_memory(void)
{
    struct rlimit limit;
    long page = sysconf(_SC_PAGESIZE);
    size_t spare = less(read_bytes("/proc/meminfo", "MemAvailable:", 1024),
        qk_group_memory("/proc/self/cgroup", "/sys/fs/cgroup"));
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && page > 0)
        spare = less(spare, left((size_t)limit.rlim_cur, read_bytes("/proc/self/statm", "", (size_t)page)));
    return spare;
}
