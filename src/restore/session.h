/* session.h - a live pair for a front end: drift computed by background workers, choices with undo, the drift
 * of the current model, export and verification as background tasks. Knows nothing of any screen.
 *
 * Threads: every function is called from one thread (the front end's). Workers put finished results into an
 * inbox; qk_session_poll moves them to where the getters find them. So what a getter returned stays valid
 * until the next qk_session_poll, and drawing never takes a lock or waits. */
#ifndef QK_RESTORE_SESSION_H
#define QK_RESTORE_SESSION_H

#include "drift/drift.h"
#include "restore/blend.h"
#include "restore/export.h"
#include "restore/selection.h"
#include "restore/spec.h"

struct qk_session;

/* Opens the pair (headers only) and starts `threads` workers (0: as many as processors). */
enum qk_code qk_session_open(
    const char *pre, const char *post, int threads, struct qk_session **out, struct qk_error *err);
/* Stops the workers (within one head's work) and frees everything; a running task is cancelled. NULL allowed.
 */
void qk_session_close(struct qk_session *session);

const struct qk_pair *qk_session_pair(const struct qk_session *session);

/* A descriptor that is readable whenever qk_session_poll has something to fetch: for poll(2). */
int qk_session_event_fd(const struct qk_session *session);
/* Fetches finished results; true when anything changed. Never blocks. */
bool qk_session_poll(struct qk_session *session);

/* --- drift of pre against post --- */
enum qk_layer_state { QK_LAYER_WAITING, QK_LAYER_RUNNING, QK_LAYER_READY, QK_LAYER_FAILED };
enum qk_layer_state qk_session_layer_state(const struct qk_session *session, int layer);
/* NULL until READY. */
const struct qk_layer_drift *qk_session_drift(const struct qk_session *session, int layer);
/* Why a layer FAILED (read error), or NULL. */
const char *qk_session_layer_error(const struct qk_session *session, int layer);
/* Layers ready or failed, of all that have q and k. */
void qk_session_done(const struct qk_session *session, int *done, int *total);
/* What to compute first: `selected`, then first..last (layer numbers, in list order of n entries). */
void qk_session_want(struct qk_session *session, int selected, const int *visible, int n);
/* Computes everything again from the files (r key). With `effective` the q/k norm gains are multiplied in. */
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
/* What an export of the present selection would do (qk_export_plan: reads no tensor data). */
enum qk_code qk_session_export_plan(struct qk_session *session, const struct qk_export_options *options,
    struct qk_export_plan *plan, struct qk_error *err);

#endif
