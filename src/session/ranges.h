/* ranges.h - attention ranges of a session: a probe text run in the background. */
#ifndef QK_SESSION_RANGES_H
#define QK_SESSION_RANGES_H

#include "range/probe.h"
#include "range/profile.h"
#include "session/session.h"

/* --- attention ranges ---
 * A probe text runs through pre and post in the background (probe.h lists the sources of ranges). Then every layer
 * with ranges (qk_probe_has) has those of pre and post, and current follows each choice: on post's states at once,
 * the selected layer first (qk_session_want). Where there is a forward pass, the whole model runs again with the
 * selection once no choice was made for QK_EXACT_AFTER milliseconds; its ranges are exact. */
enum { QK_EXACT_AFTER = 700 };

enum qk_probe_stage {
    QK_PROBE_OFF,
    QK_PROBE_RUNNING, /* ready layers already have numbers */
    QK_PROBE_READY,
    QK_PROBE_FAILED, /* why: error */
    QK_PROBE_CANCELLED,
};
/* The run of the whole model with the present choices. */
struct qk_exact_state {
    bool running;
    uint64_t done, total; /* layers, or tokens times layers */
    const char *error;    /* why the last one failed (one line), or NULL */
};
struct qk_probe_state {
    enum qk_probe_stage stage;
    uint64_t done, total; /* layers of both passes; total 0: not known yet */
    double seconds;       /* seconds since it started, or that it took */
    const char *error;    /* FAILED: one line, else NULL */
    bool estimated;       /* FAILED: the model cannot run; qk_session_profile has the estimate from weights */
    enum qk_range_origin origin;
    const char *pre_cannot; /* why pre's layers have post's inputs (range/probe.h), or NULL */
    struct qk_exact_state exact;
    /* The probe; 0 and NULL until it is known. */
    const int32_t *ids;
    size_t n_ids;
    size_t first_query;    /* the first that counts */
    size_t linear_queries; /* that count in linear layers (qk_range_blocks) */
    int n_bins;            /* their edges are those of qk_range_bin_first */
    size_t long_from;
};
/* Starts a probe (options are copied, NULL: the defaults). It cancels a running one and drops its numbers. It never
 * waits; the state FAILED reports a fault of a file. The front end starts the default probe itself. */
enum qk_code qk_session_probe(
    struct qk_session *session, const struct qk_probe_options *options, struct qk_error *err);
/* Starts the last probe again, from the files as they are now. Without an earlier one it does nothing. */
enum qk_code qk_session_probe_again(struct qk_session *session, struct qk_error *err);
void qk_session_probe_cancel(struct qk_session *session); /* also an exact run */
const struct qk_probe_state *qk_session_probe_state(const struct qk_session *session);
/* The text of token i of the probe, *n bytes (a token may be a part of a character). NULL without a tokenizer: show
 * the id then. */
const char *qk_session_probe_piece(const struct qk_session *session, size_t i, size_t *n);

enum qk_current_range {
    QK_CURRENT_POST,    /* no relevant choice: current is post's */
    QK_CURRENT_PENDING, /* being computed; current is NULL */
    QK_CURRENT_SAME,    /* on post's states */
    QK_CURRENT_EXACT,   /* the whole model run again */
    QK_CURRENT_FAILED,  /* why: current_error */
};
struct qk_session_range {
    const struct qk_layer_range *side[QK_SIDE_COUNT]; /* each on its own states */
    double shift; /* pre's whole layer against post's on post's states, nats, 0 to ln 2 */
    /* Of the layer restored, on post's states: the result of a restore. NULL and NaN when it cannot be restored. */
    const struct qk_layer_range *restored;
    double restored_shift; /* from post: as much of the shift as q and k make */
    const struct qk_layer_range *current;
    double current_shift; /* from pre, on post's states; NaN: not known */
    enum qk_current_range current_is;
    const char *current_error;
};
/* False while the layer has no numbers (still running, none of its kind, not in the states file). Pointers are
 * valid until the next poll. */
bool qk_session_range(const struct qk_session *session, int layer, struct qk_session_range *out);
/* Why this layer alone has no ranges although it should, or NULL. */
const char *qk_session_range_error(const struct qk_session *session, int layer);

/* An estimate of the side's layer from its weights alone, for layers with rotary positions (qk_probe_has_profile)
 * when the probe is `estimated`. It is computed in the background, the selected layer first. NULL until then, and
 * after a failure (qk_session_range_error). */
const struct qk_profile *qk_session_profile(const struct qk_session *session, int layer, enum qk_side side);

/* The attention of a head from one query: query + 1 values a(query, s), all three on post's states. NULL until
 * computed: then an event comes. Every request for a (layer, query) replaces the one before. All its heads and sides
 * are computed at once. */
enum qk_range_side { QK_RANGE_PRE, QK_RANGE_POST, QK_RANGE_CURRENT };
const float *qk_session_attention_row(
    struct qk_session *session, int layer, int head, size_t query, enum qk_range_side side);
/* Why the attention of the last request could not be computed, or NULL. */
const char *qk_session_attention_error(const struct qk_session *session);

#endif
