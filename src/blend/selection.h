/* selection.h - the choices of all layers, with undo and redo without limit. */
#ifndef QK_BLEND_SELECTION_H
#define QK_BLEND_SELECTION_H

#include "blend/layer_choice.h"
#include "model/pair.h"

struct qk_selection {
    int n_layers;
    struct qk_layer_choice *choice; /* n_layers, owned */
};

enum qk_code qk_selection_init(
    struct qk_selection *selection, int n_layers, struct qk_error *err); /* all keep */
enum qk_code qk_selection_copy(
    struct qk_selection *to, const struct qk_selection *from, struct qk_error *err); /* to uninitialised */
/* Makes `to` equal to `from`, which has as many layers. */
void qk_selection_assign(struct qk_selection *to, const struct qk_selection *from);
void qk_selection_free(struct qk_selection *selection);
bool qk_selection_equal(const struct qk_selection *a, const struct qk_selection *b);
/* Layers with at least one role not kept. */
int qk_selection_count(const struct qk_selection *selection);

/* True when qk_selection_set takes a valid choice; edits of many layers skip the others. */
bool qk_selection_takes(const struct qk_pair_layer *layer, int role, struct qk_choice choice);

/* Sets the choice of a role (role < 0: both). A mode that acts on both roles at once is set for both, and changing
 * one role away from it sets the other to keep. QK_USAGE when the layer has no q and k, has a problem, or the
 * parameter is out of range. In a layer of q alone both roles are q, and QK_USAGE says why when the choice needs
 * k. */
enum qk_code qk_selection_set(struct qk_selection *selection, const struct qk_pair *pair, int layer, int role,
    struct qk_choice choice, struct qk_error *err);

/* A log of whole edits. An edit is the change of one key press or one command, over any number of layers. */
struct qk_history;
enum qk_code qk_history_new(int n_layers, struct qk_history **out, struct qk_error *err);
void qk_history_free(struct qk_history *history);
/* The current selection; borrowed, never changed except through the functions below. */
const struct qk_selection *qk_history_current(const struct qk_history *history);
/* Makes `next` current, with a label for messages ("restore q of layers 4-7"), and drops edits that could be redone.
 * It records no edit when nothing differs. */
enum qk_code qk_history_commit(
    struct qk_history *history, const struct qk_selection *next, const char *label, struct qk_error *err);
/* False without an edit to undo or redo; *label (may be NULL) is the edit's, borrowed. */
bool qk_history_undo(struct qk_history *history, const char **label);
bool qk_history_redo(struct qk_history *history, const char **label);
int qk_history_undo_depth(const struct qk_history *history);
int qk_history_redo_depth(const struct qk_history *history);

#endif
