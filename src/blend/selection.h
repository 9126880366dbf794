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

/* Sets the choice of all heads of a role (role < 0: of both). A mode that acts on both roles at once is set for both,
 * and changing one role away from it sets the heads of the other in it to keep. QK_USAGE when the layer has no q and
 * k, has a problem, or the parameter is out of range. In a layer of q alone both roles are q, and QK_USAGE says why
 * when the choice needs k. QK_IO when there is no memory. */
enum qk_code qk_selection_set(struct qk_selection *selection, const struct qk_pair *pair, int layer, int role,
    struct qk_choice choice, struct qk_error *err);

/* Heads first to last of a layer: query heads, key heads, or key groups (a key head with its query heads). */
enum qk_head_kind { QK_HEAD_Q = QK_Q, QK_HEAD_K = QK_K, QK_HEAD_GROUP, QK_HEAD_KIND_COUNT };
struct qk_head_run {
    enum qk_head_kind of;
    int first, last;
};
/* The letter that stands for them in a spec: q, k or g. */
char qk_head_letter(enum qk_head_kind of);
/* How many of them the layer has: 0 without q and k, and of keys and groups in a layer of q alone. */
int qk_selection_heads(const struct qk_pair_layer *layer, enum qk_head_kind of);
/* QK_USAGE with the number of heads unless the layer has all heads of the run. */
enum qk_code qk_selection_check_run(
    const struct qk_pair_layer *layer, const struct qk_head_run *run, struct qk_error *err);

/* Sets the choice of the heads in n runs. A mode that acts on both roles at once is set for the whole key group of a
 * head, and changing one head away from it sets the rest of its group to keep. QK_USAGE as qk_selection_set, and when
 * the layer lacks a head; QK_IO when there is no memory. A failure changes nothing. */
enum qk_code qk_selection_set_heads(struct qk_selection *selection, const struct qk_pair *pair, int layer,
    const struct qk_head_run *run, size_t n, struct qk_choice choice, struct qk_error *err);

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
