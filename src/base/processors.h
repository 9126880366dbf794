/* processors.h - the number of processors that this process may use. */
#ifndef QK_BASE_PROCESSORS_H
#define QK_BASE_PROCESSORS_H

/* Processors that the process may run on (sched_getaffinity), at most those that its control group pays for, at least
 * 1. The number of the first call stays, for arrays are made for it. */
int qk_cpu_count(void);

/* Processors for the quota of a control group (cgroup v2), rounded up; 0 without a quota. `groups` is the list of a
 * process's groups ("/proc/self/cgroup"), `root` the folder where the tree of groups is mounted. The smallest quota
 * from the group to the root counts. */
int qk_cpu_quota(const char *groups, const char *root);

#endif
