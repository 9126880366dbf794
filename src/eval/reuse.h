/* reuse.h - the activations that post computed for the cases of an exam, for selections with the same first layers. */
#ifndef QK_EVAL_REUSE_H
#define QK_EVAL_REUSE_H

#include "eval/exam.h"
#include "eval/lineage.h"
#include "forward/kept.h"
#include "model/pair.h"

struct qk_reuse;

/* Opens it with room for `bytes` bytes. All is borrowed and must outlive it. Freed with qk_reuse_close (NULL
 * allowed). */
enum qk_code qk_reuse_open(const struct qk_pair *pair, const struct qk_exam *exam, size_t bytes,
    struct qk_reuse **out, struct qk_error *err);
void qk_reuse_close(struct qk_reuse *reuse);

/* *run = what is kept for a model (forward/kept.h), valid until the next call. `change` as qk_lineage_follow takes it;
 * NULL: post itself. Without `reuse` it does nothing. */
enum qk_code qk_reuse_begin(struct qk_reuse *reuse, const char (*change)[QK_DIGEST_TEXT],
    struct qk_kept_run *run, struct qk_error *err);

#endif
