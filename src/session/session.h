/* session.h - a live pair for a front end: drift computed by background workers, choices with undo, the drift
 * of the current model, export and verification as background tasks. Knows nothing of any screen.
 *
 * Threads: every function is called from one thread (the front end's). Workers put finished results into an
 * inbox; qk_session_poll moves them to where the getters find them. So what a getter returned stays valid
 * until the next qk_session_poll, and drawing never takes a lock or waits. */
#ifndef QK_SESSION_SESSION_H
#define QK_SESSION_SESSION_H

#include "blend/blend.h"
#include "blend/selection.h"
#include "blend/spec.h"
#include "drift/drift.h"
#include "export/export.h"
#include "range/probe.h"
#include "range/profile.h"

struct qk_session;

/* Opens the pair (headers only) and starts `threads` workers (0: as many as processors). */
enum qk_code qk_session_open(
    const char *pre, const char *post, int threads, struct qk_session **out, struct qk_error *err);
/* Stops the workers (within one head's work) and frees everything; a running task is cancelled. NULL allowed. */
void qk_session_close(struct qk_session *session);

const struct qk_pair *qk_session_pair(const struct qk_session *session);

/* A descriptor that is readable whenever qk_session_poll has something to fetch: for poll(2). */
int qk_session_event_fd(const struct qk_session *session);
/* Fetches finished results; true when anything changed. Never blocks. */
bool qk_session_poll(struct qk_session *session);

/* --- drift of pre against post --- */
/* In two stages: norms of all layers first, which takes little more than reading, then angles and routing. */
enum qk_drift_state {
    QK_LAYER_WAITING,
    QK_LAYER_RUNNING, /* nothing is known yet */
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
/* What to compute first: `selected`, then first..last (layer numbers, in list order of n entries). */
void qk_session_want(struct qk_session *session, int selected, const int *visible, int n);
/* Computes all drift again from the files. With `effective` the q/k norm gains are multiplied in. */
void qk_session_recompute(struct qk_session *session, bool effective);
bool qk_session_effective(const struct qk_session *session);

/* --- choices; every change is one undoable edit --- */
const struct qk_selection *qk_session_selection(const struct qk_session *session);
/* Sets role (-1 both) of the n layers; layers that cannot be chosen are passed over when n > 1 (n >= 1) and
 * an error when n == 1. *n_changed (may be NULL). */
enum qk_code qk_session_choose(struct qk_session *session, const int *layers, int n, int role,
    struct qk_choice choice, int *n_changed, struct qk_error *err);
/* Applies a --set text (one edit). QK_USAGE when a metric test is used before all drift is known. */
enum qk_code qk_session_set(
    struct qk_session *session, const char *spec, int *n_changed, struct qk_error *err);
/* The layers that a SELECTOR of spec.h names, ascending into layers (room for all), *n of them; a layer whose
 * number is not known yet matches no test. QK_USAGE tells the place of a fault. */
enum qk_code qk_session_find(
    const struct qk_session *session, const char *selector, int *layers, int *n, struct qk_error *err);
/* Replaces the whole selection; `label` is what undo calls the edit. */
enum qk_code qk_session_select(struct qk_session *session, const struct qk_selection *selection,
    const char *label, struct qk_error *err);
/* Replaces the whole selection by a recipe's. */
enum qk_code qk_session_load_recipe(
    struct qk_session *session, const char *path, bool force, struct qk_error *err);
enum qk_code qk_session_save_recipe(struct qk_session *session, const char *path, struct qk_error *err);
/* Whether the gains of q/k norms go with their role: what a recipe says that was loaded, until it is set. A
 * recipe that is saved says so, too; of an export its options decide. With the gains multiplied in
 * (qk_session_recompute) the numbers of the current model follow it. */
bool qk_session_norms(const struct qk_session *session);
void qk_session_set_norms(struct qk_session *session, bool norms);
bool qk_session_undo(struct qk_session *session, const char **label);
bool qk_session_redo(struct qk_session *session, const char **label);
int qk_session_undo_depth(const struct qk_session *session);
int qk_session_redo_depth(const struct qk_session *session);
/* True when the selection differs from the one last exported or saved (and from all-keep at the start). */
bool qk_session_unsaved(const struct qk_session *session);

/* --- the current model --- */
struct qk_current {
    struct qk_choice choice[QK_ROLE_COUNT]; /* the choices that these numbers belong to */
    struct qk_layer_drift
        against[QK_SIDE_COUNT]; /* current against pre, and against post (post -> current) */
    enum qk_rotation rotation;  /* which form procrustes takes here */
    const char *rotation_why;
};
/* NULL until computed for exactly the present choices of the layer (the previous numbers are not shown as if
 * they were these). A layer that is kept has current = post: NULL too; use qk_session_drift. Only layers with
 * a choice are computed, the selected one first. */
const struct qk_current *qk_session_current(const struct qk_session *session, int layer);
/* Why computing the current numbers of the layer failed, or NULL. */
const char *qk_session_current_error(const struct qk_session *session, int layer);

/* --- attention range --- A probe text runs through pre and post in the background (probe.h tells the sources);
 * then every full and window layer has ranges of pre and post, and current follows each choice: on post's states
 * at once, the selected layer first (qk_session_want), and, where there is a forward pass, exactly (the whole
 * model run again with the selection) once no choice was made for QK_EXACT_AFTER milliseconds. */
enum { QK_EXACT_AFTER = 700 };

enum qk_probe_stage {
    QK_PROBE_OFF,
    QK_PROBE_RUNNING, /* layers that are ready have numbers already */
    QK_PROBE_READY,
    QK_PROBE_FAILED, /* why: error */
    QK_PROBE_CANCELLED,
};
struct qk_probe_state {
    enum qk_probe_stage stage;
    const char *doing;    /* static: "pre", "post", for "running PRE"; NULL unless running */
    uint64_t done, total; /* layers of both passes; total 0: not known yet */
    double seconds;       /* since it started, or that it took */
    const char *error;    /* FAILED: one line, else NULL */
    bool estimated;       /* FAILED because nothing can be run: qk_session_profile has what weights tell */
    enum qk_range_origin origin;
    bool exact_running;               /* current is being run exactly */
    uint64_t exact_done, exact_total; /* layers */
    const char *exact_error;          /* why the last exact run failed (one line), or NULL */
    /* The probe; 0 and NULL until it is known. */
    const int32_t *ids;
    size_t n_ids;
    size_t first_query; /* the first that counts */
    int n_bins;         /* qk_range_bin_first tells their edges */
    size_t long_from;
};
/* Starts a probe (options are copied, NULL: the defaults); one that runs is cancelled, its numbers
 * are dropped. Never waits; what is wrong with a file is told by the state, FAILED. The front end
 * starts the default one itself. */
enum qk_code qk_session_probe(
    struct qk_session *session, const struct qk_probe_options *options, struct qk_error *err);
/* Starts the last one again, from the files as they are now. Nothing happens when there was none. */
enum qk_code qk_session_probe_again(struct qk_session *session, struct qk_error *err);
void qk_session_probe_cancel(struct qk_session *session); /* also an exact run */
const struct qk_probe_state *qk_session_probe_state(const struct qk_session *session);
/* The text of token i of the probe, *n bytes of it (a token may be a part of a character); NULL when no
 * tokenizer is known for it (show the id then). */
const char *qk_session_probe_piece(const struct qk_session *session, size_t i, size_t *n);

enum qk_current_range {
    QK_CURRENT_POST,    /* nothing chosen that could matter: current is post's */
    QK_CURRENT_PENDING, /* being computed; current is NULL */
    QK_CURRENT_SAME,    /* on post's states */
    QK_CURRENT_EXACT,   /* the whole model run again */
    QK_CURRENT_FAILED,  /* why: current_error */
};
struct qk_session_range {
    const struct qk_layer_range *side[QK_SIDE_COUNT]; /* each on its own states */
    double shift; /* pre's whole layer against post's on post's states, nats, 0 to ln 2 */
    /* Of the layer restored, on post's states: where a restore leads to. NULL and NaN: it cannot be. */
    const struct qk_layer_range *restored;
    double restored_shift; /* from post: as much of the shift as q and k make */
    const struct qk_layer_range *current;
    enum qk_current_range current_is;
    const char *current_error;
};
/* False while the layer has no numbers (still running, a linear layer, not in the states file). Pointers are
 * valid until the next poll. */
bool qk_session_range(const struct qk_session *session, int layer, struct qk_session_range *out);
/* Why a layer that should have ranges has none (the reason of that layer alone), or NULL. */
const char *qk_session_range_error(const struct qk_session *session, int layer);

/* An estimate of the side's layer from its weights alone, for layers with rotary positions
 * (qk_probe_has_profile) when the probe is `estimated`; computed in the background, the selected layer first.
 * NULL until then, and when it failed (qk_session_range_error). */
const struct qk_profile *qk_session_profile(const struct qk_session *session, int layer, enum qk_side side);

/* Where the attention of a head goes from one query: query + 1 values a(query, s), all three on post's
 * states. NULL until computed: then an event comes. Every (layer, query) that is asked for replaces what was
 * asked before; all heads and sides of it are computed at once. */
enum qk_range_side { QK_RANGE_PRE, QK_RANGE_POST, QK_RANGE_CURRENT };
const float *qk_session_attention_row(
    struct qk_session *session, int layer, int head, size_t query, enum qk_range_side side);

/* --- export and verify, one at a time --- */
enum qk_task_kind { QK_TASK_NONE, QK_TASK_EXPORT, QK_TASK_VERIFY };
struct qk_task {
    enum qk_task_kind kind;
    bool running;
    uint64_t done, total;        /* bytes */
    double seconds;              /* since it started, or that it took */
    char *target;                /* owned by the session */
    struct qk_error error;       /* code QK_OK: succeeded (when not running) */
    struct qk_lines differences; /* verify */
};
/* QK_USAGE while another task runs. The present selection is copied: later choices do not reach the task. */
enum qk_code qk_session_export(
    struct qk_session *session, const struct qk_export_options *options, struct qk_error *err);
enum qk_code qk_session_verify(struct qk_session *session, const char *folder, struct qk_error *err);
/* The running or the last task (kind NONE when there was none yet). */
const struct qk_task *qk_session_task(const struct qk_session *session);
void qk_session_cancel(struct qk_session *session);
/* What an export of the present selection would do (qk_export_manifest: reads no tensor data). */
enum qk_code qk_session_manifest(struct qk_session *session, const struct qk_export_options *options,
    struct qk_export_manifest *manifest, struct qk_error *err);

#endif
