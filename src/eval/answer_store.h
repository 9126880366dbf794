/* answer_store.h - answers that a model gave, kept in the cache folder: an evaluation that is run again, or
 * was interrupted, goes on with what is not known.
 *
 * One file for each model (checkpoint, or pair with a selection), named by a digest of all that answers
 * depend on: CACHE/answers/DIGEST.answers. Each line is a case's digest, a space, and r or w. Lines are
 * appended; what is no such line (a run was killed while writing) is passed over. */
#ifndef QK_EVAL_ANSWER_STORE_H
#define QK_EVAL_ANSWER_STORE_H

#include "base/digest.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct qk_answer_store;

/* The files are kept to so much of the disk together: when one is made, those written longest ago go. */
enum { QK_ANSWER_CACHE_BYTES = 1 << 26 };

/* *out = the store of that digest; NULL when there is no cache folder, or its file cannot be read: then
 * nothing is known, which is no failure. Freed with qk_answer_store_close (NULL allowed). */
enum qk_code qk_answer_store_open(
    const char digest[QK_DIGEST_TEXT], struct qk_answer_store **out, struct qk_error *err);
void qk_answer_store_close(struct qk_answer_store *store);

/* 1 right, 0 wrong, -1 not known. store may be NULL. */
int qk_answer_store_find(const struct qk_answer_store *store, const char digest[QK_DIGEST_TEXT]);

/* Keeps n answers (1 right, 0 wrong), in one write. What was found at qk_answer_store_open is not changed by
 * it. A cache that cannot be written is no failure of an evaluation: callers may ignore the code. */
enum qk_code qk_answer_store_add(struct qk_answer_store *store, size_t n,
    const char (*digest)[QK_DIGEST_TEXT], const signed char *answer, struct qk_error *err);

#endif
