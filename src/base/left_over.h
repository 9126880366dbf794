/* left_over.h - temporary siblings (atomic_file.h) of programs that were killed: distinguished from those in use,
 * listed, removed.
 *
 * A program holds a lock (flock) on a sibling until it is renamed; the system releases the lock when the program ends
 * in any way. So a left-over has exactly a sibling's name, is a folder or a regular file of the same user, and can be
 * locked. Where a file system has no locks, nothing counts as a left-over. */
#ifndef QK_BASE_LEFT_OVER_H
#define QK_BASE_LEFT_OVER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct qk_left_over {
    char *name; /* ".NAME.qkscope-PID-N", with the NAME that it would have become; owned */
    bool is_folder;
    uint64_t bytes; /* bytes of the disk that it takes */
    time_t changed; /* time of the last write */
};

struct qk_left_overs {
    struct qk_left_over *entry; /* by strcmp of name */
    size_t n, capacity;
    size_t n_held; /* siblings that are no left-overs: in use, or without locks */
};

/* Lists the left-overs in `folder`. QK_IO: it cannot be read. Freed with qk_left_overs_free. */
enum qk_code qk_left_overs_find(const char *folder, struct qk_left_overs *out, struct qk_error *err);

/* Lists those in the (future) folder of `target`, except those of its own name, which the next export to it removes
 * (qk_left_overs_clear). */
enum qk_code qk_left_overs_beside(const char *target, struct qk_left_overs *out, struct qk_error *err);

/* Lists those of its own name. */
enum qk_code qk_left_overs_of(const char *target, struct qk_left_overs *out, struct qk_error *err);

void qk_left_overs_free(struct qk_left_overs *left);

/* The bytes of all of them. */
uint64_t qk_left_overs_bytes(const struct qk_left_overs *left);

/* Removes the left-over of that name while holding its lock. QK_IO when it cannot be removed, or is no left-over any
 * more. */
enum qk_code qk_left_over_remove(const char *folder, const char *name, struct qk_error *err);

/* Removes the left-overs of the name of `target`. One that cannot be removed stays: it does no harm. */
enum qk_code qk_left_overs_clear(const char *target, struct qk_error *err);

#endif
