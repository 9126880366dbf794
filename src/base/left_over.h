/* left_over.h - temporary siblings (copy.h) of programs that were killed: told apart from those
 * in use, listed, removed.
 *
 * Who makes a sibling holds a lock on it (flock) for as long as it is one; the system lets go of the lock when the
 * program ends, however it ends. So a left-over is what has exactly a sibling's name, is a folder or a regular
 * file of the same user, and can be locked. Where a file system has no locks nothing is ever taken for one. */
#ifndef QK_BASE_LEFT_OVER_H
#define QK_BASE_LEFT_OVER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct qk_left_over {
    char *name; /* ".NAME.qkscope-PID-N", NAME being what it would have become; owned */
    bool is_folder;
    uint64_t bytes; /* of the disk, all that is in it */
    time_t changed; /* when it was last written to */
};

struct qk_left_overs {
    struct qk_left_over *entry; /* by strcmp of name */
    size_t n, capacity;
    size_t n_held; /* siblings that are none: in use, or no lock can be had */
};

/* The left-overs in `folder`. QK_IO: it cannot be read. Freed with qk_left_overs_free. */
enum qk_code qk_left_overs_find(const char *folder, struct qk_left_overs *out, struct qk_error *err);

/* Those in the folder that `target` stands in or would stand in, but for those of its own name, which the
 * next export to it removes (qk_left_overs_clear). */
enum qk_code qk_left_overs_beside(const char *target, struct qk_left_overs *out, struct qk_error *err);

void qk_left_overs_free(struct qk_left_overs *left);

/* The bytes of all of them. */
uint64_t qk_left_overs_bytes(const struct qk_left_overs *left);

/* Removes the left-over of that name, holding its lock. QK_IO when it cannot be removed, or is none any more. */
enum qk_code qk_left_over_remove(const char *folder, const char *name, struct qk_error *err);

/* Removes the left-overs of the name that `target` has; one that cannot be removed stays: it does no harm. */
enum qk_code qk_left_overs_clear(const char *target, struct qk_error *err);

#endif
