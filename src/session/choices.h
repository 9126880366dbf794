/* choices.h - the choices of a session: every change is one edit that can be undone. */
#ifndef QK_SESSION_CHOICES_H
#define QK_SESSION_CHOICES_H

#include "blend/selection.h"
#include "session/session.h"

const struct qk_selection *qk_session_selection(const struct qk_session *session);
/* Sets role (-1 both) of the n layers, n >= 1. A layer that cannot be chosen is skipped when n > 1, and an error when
 * n == 1. *n_changed may be NULL. */
enum qk_code qk_session_choose(struct qk_session *session, const int *layers, int n, int role,
    struct qk_choice choice, int *n_changed, struct qk_error *err);
/* Sets heads of one layer (blend/selection.h); an error says which it lacks. *n_changed (may be NULL) is 1 or 0. */
enum qk_code qk_session_choose_heads(struct qk_session *session, int layer, const struct qk_head_run *run,
    size_t n, struct qk_choice choice, int *n_changed, struct qk_error *err);
/* *next = the selection that these would make; the caller frees it, also after a failure. */
enum qk_code qk_session_would_choose(const struct qk_session *session, const int *layers, int n, int role,
    struct qk_choice choice, struct qk_selection *next, struct qk_error *err);
enum qk_code qk_session_would_choose_heads(const struct qk_session *session, int layer,
    const struct qk_head_run *run, size_t n, struct qk_choice choice, struct qk_selection *next,
    struct qk_error *err);
/* Applies a --set text (one edit). QK_USAGE when a test is used before the numbers that it tests are known: all
 * drift, or needle masses. */
enum qk_code qk_session_set(
    struct qk_session *session, const char *spec, int *n_changed, struct qk_error *err);
/* Lists the *n layers that a SELECTOR of spec.h names, ascending, into layers (room for all). A layer whose number is
 * not known yet matches no test. QK_USAGE names the place of a fault. */
enum qk_code qk_session_find(
    const struct qk_session *session, const char *selector, int *layers, int *n, struct qk_error *err);
/* Replaces the whole selection; `label` is the name of the edit for undo. */
enum qk_code qk_session_select(struct qk_session *session, const struct qk_selection *selection,
    const char *label, struct qk_error *err);
/* Replaces the whole selection by a recipe's. */
enum qk_code qk_session_load_recipe(
    struct qk_session *session, const char *path, bool force, struct qk_error *err);
enum qk_code qk_session_save_recipe(struct qk_session *session, const char *path, struct qk_error *err);
/* True when the gains of q/k norms follow their role: as the last loaded recipe says, or as set after that. A saved
 * recipe stores it; an export follows its options. With the gains multiplied in (qk_session_recompute) the numbers of
 * the current model follow it. */
bool qk_session_norms(const struct qk_session *session);
void qk_session_set_norms(struct qk_session *session, bool norms);
bool qk_session_undo(struct qk_session *session, const char **label);
bool qk_session_redo(struct qk_session *session, const char **label);
int qk_session_undo_depth(const struct qk_session *session);
int qk_session_redo_depth(const struct qk_session *session);
/* True when the selection, or its norms, differ from those last exported or saved (at the start: all keep). The norms
 * of a selection without choices do not count. */
bool qk_session_unsaved(const struct qk_session *session);

#endif
