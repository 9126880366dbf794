/* trials.h - trials of selections on some layers, in the background, before any of them is chosen. */
#ifndef QK_SESSION_TRIALS_H
#define QK_SESSION_TRIALS_H

#include "blend/selection.h"
#include "session/session.h"

/* The numbers of one selection, as means over the layers. NaN: not known yet, or not defined. */
struct qk_tried {
    double
        routing; /* QK_METRIC_ROUTING of the current model from pre, with the norms' gains as the session has them */
    double shift; /* of pre's whole layer from the current one's, on post's inputs, in nats (range/range.h) */
};

struct qk_trials {
    size_t n, n_done;             /* selections, and those whose numbers are there as far as they can be */
    bool ranges;                  /* the layers have attention ranges, so that there are shifts */
    const struct qk_tried *trial; /* n */
    const char *error;            /* why the first of them that failed did, or NULL */
};

/* Begins with the n selections (copied); an earlier request ends, and its numbers are dropped. n 0 only ends it. The
 * routing of all comes first, then the shifts. It never waits. QK_IO when there is no memory or no thread. */
enum qk_code qk_session_try(struct qk_session *session, const int *layers, int n_layers,
    const struct qk_selection *selection, size_t n, struct qk_error *err);
const struct qk_trials *qk_session_trials(const struct qk_session *session);

#endif
