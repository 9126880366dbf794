/* search.h - a search in the background for the selections that answer most cases of the evaluation. */
#ifndef QK_SESSION_SEARCH_H
#define QK_SESSION_SEARCH_H

#include "blend/selection.h"
#include "eval/score.h"
#include "eval/search.h"
#include "session/session.h"

enum qk_search_stage {
    QK_SEARCH_OFF,
    QK_SEARCH_RUNNING,
    QK_SEARCH_COMPLETE,
    QK_SEARCH_LIMITED,   /* a limit ended it early */
    QK_SEARCH_CANCELLED, /* its results until then are there */
    QK_SEARCH_FAILED     /* likewise; why: error */
};

/* A selection on the front. */
struct qk_search_point {
    struct qk_selection selection;
    char *text; /* as --set takes it */
    /* n_objectives of each part of the cases; of those held out, a total of 0 until the front is confirmed. */
    struct qk_score *score[QK_SEARCH_PARTS];
};
void qk_search_point_free(struct qk_search_point *point);

struct qk_search_state {
    enum qk_search_stage stage;
    const char *doing; /* static: the step that proposed the last trial; "post and pre" before the first */
    size_t n_trials;   /* selections measured */
    size_t n_measured; /* in the limit's units: a selection once for each size of its sample */
    double seconds;    /* seconds since it began, or that it took */
    struct qk_search_limits limits;
    const char *error;
    size_t n_objectives; /* known once the cases are read */
    const char *const *objective;
    /* (n_layers, n_objectives): the effect on post of restoring q and k of the layer, in shares of 1. An entry with n
     * 0 is unknown. NULL: all are. */
    const struct qk_estimate *effect;
    /* The Pareto front as far as it is known, or that of the search before; best in the first objective first. */
    const struct qk_search_point *point;
    size_t n_points;
    size_t n_at_once[QK_SEARCH_PARTS]; /* qk_search_count: as many intervals of a part hold at once */
};
/* Starts a search within limits over the cases of the evaluation; half of them are held out and confirm its front. The
 * drift, ranges and needle masses known by now order its trials. Meanwhile a new choice gets the few first cases, and
 * the rest afterwards. QK_USAGE while a search runs and before the cases are read. Effects and front of an earlier one
 * stay until there are new ones. */
enum qk_code qk_session_search(
    struct qk_session *session, const struct qk_search_limits *limits, struct qk_error *err);
void qk_session_search_cancel(struct qk_session *session);
const struct qk_search_state *qk_session_search_state(const struct qk_session *session);
/* Makes the selection of a point current, as one edit. */
enum qk_code qk_session_take_point(struct qk_session *session, size_t point, struct qk_error *err);
/* The point whose selection is the current one, or -1. */
int qk_session_point(const struct qk_session *session);

#endif
