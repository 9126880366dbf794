/* limits.h - the limits that the system sets for this process. */
#ifndef QK_BASE_LIMITS_H
#define QK_BASE_LIMITS_H

#include <stddef.h>

/* Raises the soft limit of open files to the hard one: a checkpoint may have more shards than 1,024, the usual soft
 * limit. Where that cannot be done, the limit stays. */
void qk_raise_open_files(void);

/* The bytes that control groups (cgroup v2) leave: the least from the group to the root; SIZE_MAX without a limit.
 * Pages of files count as free: the kernel gives them up, and whoever has read a checkpoint has many.
 * `groups` and `root` as in qk_cpu_quota. */
size_t qk_group_memory(const char *groups, const char *root);

/* The bytes that the process may still take: what the system calls available, what its control groups and the limit of
 * its address space leave. SIZE_MAX where none of them is known. */
size_t qk_spare_memory(void);

#endif
