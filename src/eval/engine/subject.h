/* subject.h - a model to ask: pre, post, or post with a selection. */
#ifndef QK_EVAL_ENGINE_SUBJECT_H
#define QK_EVAL_ENGINE_SUBJECT_H

#include "base/digest.h"
#include "blend/selection.h"
#include "model/pair.h"

#include <stdbool.h>

/* A side of the pair, or post with a selection (selection not NULL, and side QK_POST). With `norms` the gains of q/k
 * norms follow their role. One checkpoint alone is QK_POST. */
struct qk_subject {
    enum qk_side side;
    const struct qk_selection *selection;
    bool norms;
};

/* True when no choice of the selection has an effect: post with it is post. */
bool qk_subject_plain(const struct qk_selection *selection);

/* Adds the effects of all choices of a selection. */
void qk_subject_add(const struct qk_subject *subject, struct qk_digest *digest);

/* change[l] = the digest of what changes layer l, "" where changed[l] is false. */
void qk_subject_changes(
    const struct qk_subject *subject, const bool *changed, char (*change)[QK_DIGEST_TEXT]);

#endif
