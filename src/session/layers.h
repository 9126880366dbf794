/* layers.h - drift of each layer and of its current model (layers.c), computed by background workers (layer_jobs.c). */
#ifndef QK_SESSION_LAYERS_H
#define QK_SESSION_LAYERS_H

#include "blend/blend.h"
#include "drift/drift.h"
#include "session/session.h"

/* --- drift of pre against post --- */
/* In two stages: norms of all layers first, which takes little more than reading, then angles and routing. */
enum qk_drift_state {
    QK_LAYER_WAITING,
    QK_LAYER_RUNNING, /* no numbers yet */
    QK_LAYER_NORMS,   /* drift.norms_only: the rest is to come */
    QK_LAYER_READY,
    QK_LAYER_FAILED
};
enum qk_drift_state qk_session_layer_state(const struct qk_session *session, int layer);
/* NULL until NORMS. */
const struct qk_layer_drift *qk_session_drift(const struct qk_session *session, int layer);
/* Why a layer FAILED (read error), or NULL. */
const char *qk_session_layer_error(const struct qk_session *session, int layer);
/* Layers ready or failed, of all that have q and k. */
void qk_session_done(const struct qk_session *session, int *done, int *total);
/* Sets what to compute first: `selected`, then first..last (layer numbers, in list order of n entries). */
void qk_session_want(struct qk_session *session, int selected, const int *visible, int n);
/* Computes all drift again from the files. With `effective` the q/k norm gains are multiplied in. */
void qk_session_recompute(struct qk_session *session, bool effective);
bool qk_session_effective(const struct qk_session *session);

/* --- the current model --- */
struct qk_current {
    struct qk_layer_choice choice; /* that these numbers belong to */
    /* Current against pre, and against post (post -> current). */
    struct qk_layer_drift against[QK_SIDE_COUNT];
    struct qk_mode_form form; /* of the first mode with forms, q's heads first; `what` is NULL without one */
};
/* The numbers for exactly the present choices of the layer, or NULL until they are computed; earlier numbers do not
 * count. A layer that is kept has current = post and NULL, too: use qk_session_drift. Only layers with a choice are
 * computed, the selected one first. */
const struct qk_current *qk_session_current(const struct qk_session *session, int layer);
/* Why computing the current numbers of the layer failed, or NULL. */
const char *qk_session_current_error(const struct qk_session *session, int layer);

#endif
