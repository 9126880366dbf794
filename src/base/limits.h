/* limits.h - the limits that the system sets for this process. */
#ifndef QK_BASE_LIMITS_H
#define QK_BASE_LIMITS_H

/* Raises the soft limit of open files to the hard one: a checkpoint may have more shards than 1,024, the usual soft
 * limit. Where that cannot be done, the limit stays. */
void qk_raise_open_files(void);

#endif
