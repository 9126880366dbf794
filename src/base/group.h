/* group.h - the control groups of a process (cgroup v2), from its own up to the root. */
#ifndef QK_BASE_GROUP_H
#define QK_BASE_GROUP_H

#include <stdbool.h>
#include <stddef.h>

/* Reads the path of the group below the root from a list of groups ("/proc/self/cgroup"): the line "0::PATH". False
 * without such a line. */
bool qk_group_read(const char *groups, char *path, size_t size);
/* Cuts the path to that of the group above; false at the root, whose path is empty. */
bool qk_group_up(char *path);

#endif
