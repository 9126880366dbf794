/* answer_store.h - the answers of a model, kept in the cache folder, so that a repeated or interrupted evaluation
 * goes on where it was.
 *
 * One file for each model (checkpoint, or pair with a selection), named by a digest of all that answers depend on:
 * CACHE/answers/DIGEST.answers. Each line is a case's digest, a space, and r or w. Lines are appended; other lines
 * (of a run that was killed while it wrote) are skipped. */
#ifndef QK_EVAL_ANSWER_STORE_H
#define QK_EVAL_ANSWER_STORE_H

#include "base/digest.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct qk_answer_store;

/* The limit on disk for all files: when a new one is made, those written longest ago go. */
enum { QK_ANSWER_CACHE_BYTES = 1 << 26 };

/* *out = the store of that digest, or NULL when there is no cache folder or its file cannot be read. Then no answer
 * is known, which is no failure. Freed with qk_answer_store_close (NULL allowed). */
enum qk_code qk_answer_store_open(
    const char digest[QK_DIGEST_TEXT], struct qk_answer_store **out, struct qk_error *err);
void qk_answer_store_close(struct qk_answer_store *store);

/* 1 right, 0 wrong, -1 not known. store may be NULL. */
int qk_answer_store_find(const struct qk_answer_store *store, const char digest[QK_DIGEST_TEXT]);

/* Appends n answers (1 right, 0 wrong) to the file, in one write. The answers found by qk_answer_store_open stay as
 * they are. A cache that cannot be written is no failure of an evaluation: callers may ignore the code. */
enum qk_code qk_answer_store_add(struct qk_answer_store *store, size_t n,
    const char (*digest)[QK_DIGEST_TEXT], const signed char *answer, struct qk_error *err);

#endif
