/* selection.c - the choices of all layers, and the log of edits behind undo and redo. */
#include "blend/selection.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>

enum qk_code qk_selection_init(struct qk_selection *selection, int n_layers, struct qk_error *err)
{
    *selection = (struct qk_selection){0};
    QK_TRY(qk_alloc(&selection->choice, (size_t)n_layers, sizeof *selection->choice, err));
    selection->n_layers = n_layers;
    return QK_OK;
}

enum qk_code qk_selection_copy(struct qk_selection *to, const struct qk_selection *from, struct qk_error *err)
{
    QK_TRY(qk_selection_init(to, from->n_layers, err));
    qk_selection_assign(to, from);
    return QK_OK;
}

void qk_selection_assign(struct qk_selection *to, const struct qk_selection *from)
{
    assert(to->n_layers == from->n_layers);
    for (int i = 0; i < from->n_layers; i++)
        qk_layer_choice_assign(&to->choice[i], &from->choice[i]);
}

void qk_selection_free(struct qk_selection *selection)
{
    for (int i = 0; i < selection->n_layers; i++)
        qk_layer_choice_free(&selection->choice[i]);
    free(selection->choice);
    *selection = (struct qk_selection){0};
}

static bool layer_equal(const struct qk_selection *a, const struct qk_selection *b, int layer)
{
    return qk_layer_choice_equal(&a->choice[layer], &b->choice[layer]);
}

bool qk_selection_equal(const struct qk_selection *a, const struct qk_selection *b)
{
    if (a->n_layers != b->n_layers)
        return false;
    for (int i = 0; i < a->n_layers; i++)
        if (!layer_equal(a, b, i))
            return false;
    return true;
}

int qk_selection_count(const struct qk_selection *selection)
{
    int count = 0;
    for (int i = 0; i < selection->n_layers; i++)
        count += !qk_layer_choice_keeps(&selection->choice[i]);
    return count;
}

/* Why a layer of q alone does not take a choice, or NULL when it does. A choice for both roles is q's. */
static const char *refused_without_k(const struct qk_pair_layer *layer, int role, struct qk_choice choice)
{
    enum qk_mode mode = qk_choice_effect(choice).mode;
    if (layer->no_k == NULL || mode == QK_KEEP)
        return NULL;
    if (role == QK_K)
        return "it has no k";
    return qk_mode_info(choice.mode)->needs_k ? "that needs k, too" : NULL;
}

bool qk_selection_takes(const struct qk_pair_layer *layer, int role, struct qk_choice choice)
{
    return layer->has_qk && layer->problem == NULL && refused_without_k(layer, role, choice) == NULL;
}

enum qk_code qk_selection_set(struct qk_selection *selection, const struct qk_pair *pair, int layer, int role,
    struct qk_choice choice, struct qk_error *err)
{
    QK_TRY(qk_choice_check(choice, err));
    if (layer < 0 || layer >= pair->n_layers || layer >= selection->n_layers)
        return qk_fail(
            err, QK_USAGE, "no such layer (found %d, expected 0 to %d)", layer, pair->n_layers - 1);
    const struct qk_pair_layer *target = &pair->layer[layer];
    if (target->problem != NULL)
        return qk_fail(err, QK_USAGE, "layer %d cannot be chosen: %s", layer, target->problem);
    if (!target->has_qk)
        return qk_fail(err, QK_USAGE, "layer %d cannot be chosen: it has no q and k", layer);

    const char *refused = refused_without_k(target, role, choice);
    if (refused != NULL)
        return qk_fail(err, QK_USAGE, "layer %d cannot be chosen for %s: %s (%s)", layer,
            qk_mode_info(choice.mode)->name, refused, target->no_k);

    const struct qk_mode_info *info = qk_mode_info(choice.mode);
    if (!info->has_param || choice.param == 0) /* and no -0, which would be shown and saved as such */
        choice.param = 0;
    struct qk_layer_choice *slot = &selection->choice[layer];
    if (target->no_k != NULL) {
        if (role != QK_K)
            qk_layer_choice_set(slot, QK_Q, choice);
        return QK_OK;
    }
    enum qk_role first = role == QK_K ? QK_K : QK_Q, other = first == QK_Q ? QK_K : QK_Q;
    if (role < 0 || info->both_roles)
        qk_layer_choice_set(slot, other, choice);
    else if (qk_mode_info(slot->role[other].mode)->both_roles)
        qk_layer_choice_set(slot, other, (struct qk_choice){QK_KEEP, 0});
    qk_layer_choice_set(slot, first, choice);
    return QK_OK;
}

/* --- history --- */

struct difference {
    int layer;
    struct qk_layer_choice before, after;
};

struct edit {
    char *label;
    struct difference *difference;
    size_t n;
};

/* Edits [0, done) are in effect, [done, n) can be redone. */
struct qk_history {
    struct qk_selection current;
    struct edit *edit;
    size_t n, capacity, done;
};

enum qk_code qk_history_new(int n_layers, struct qk_history **out, struct qk_error *err)
{
    QK_TRY(qk_alloc(out, 1, sizeof **out, err));
    enum qk_code code = qk_selection_init(&(*out)->current, n_layers, err);
    if (code != QK_OK) {
        free(*out);
        *out = NULL;
    }
    return code;
}

static void free_edit(struct edit *edit)
{
    for (size_t i = 0; i < edit->n; i++) {
        qk_layer_choice_free(&edit->difference[i].before);
        qk_layer_choice_free(&edit->difference[i].after);
    }
    free(edit->label);
    free(edit->difference);
    *edit = (struct edit){0};
}

static void drop_redo(struct qk_history *history)
{
    while (history->n > history->done)
        free_edit(&history->edit[--history->n]);
}

void qk_history_free(struct qk_history *history)
{
    if (history == NULL)
        return;
    history->done = 0;
    drop_redo(history);
    free(history->edit);
    qk_selection_free(&history->current);
    free(history);
}

const struct qk_selection *qk_history_current(const struct qk_history *history)
{
    return &history->current;
}

static enum qk_code make_edit(const struct qk_selection *from, const struct qk_selection *to,
    const char *label, struct edit *edit, struct qk_error *err)
{
    size_t n = 0;
    for (int i = 0; i < from->n_layers; i++)
        n += layer_equal(from, to, i) ? 0u : 1u;
    QK_TRY(qk_strdup_to(&edit->label, label, err));
    QK_TRY(qk_alloc(&edit->difference, n, sizeof *edit->difference, err));
    for (int i = 0; i < from->n_layers; i++) {
        if (layer_equal(from, to, i))
            continue;
        struct difference *difference = &edit->difference[edit->n++];
        difference->layer = i;
        difference->before = qk_layer_choice_copy(&from->choice[i]);
        difference->after = qk_layer_choice_copy(&to->choice[i]);
    }
    return QK_OK;
}

enum qk_code qk_history_commit(
    struct qk_history *history, const struct qk_selection *next, const char *label, struct qk_error *err)
{
    assert(next->n_layers == history->current.n_layers);
    if (qk_selection_equal(&history->current, next))
        return QK_OK;
    /* Everything that can fail comes before the first change. */
    struct edit edit = {0};
    enum qk_code code =
        qk_grow(&history->edit, &history->capacity, history->done + 1, sizeof *history->edit, err);
    if (code == QK_OK)
        code = make_edit(&history->current, next, label, &edit, err);
    if (code != QK_OK) {
        free_edit(&edit);
        return code;
    }
    drop_redo(history);
    history->edit[history->n++] = edit;
    history->done = history->n;
    qk_selection_assign(&history->current, next);
    return QK_OK;
}

bool qk_history_undo(struct qk_history *history, const char **label)
{
    if (history->done == 0)
        return false;
    const struct edit *edit = &history->edit[--history->done];
    for (size_t i = 0; i < edit->n; i++)
        qk_layer_choice_assign(
            &history->current.choice[edit->difference[i].layer], &edit->difference[i].before);
    if (label != NULL)
        *label = edit->label;
    return true;
}

bool qk_history_redo(struct qk_history *history, const char **label)
{
    if (history->done == history->n)
        return false;
    const struct edit *edit = &history->edit[history->done++];
    for (size_t i = 0; i < edit->n; i++)
        qk_layer_choice_assign(
            &history->current.choice[edit->difference[i].layer], &edit->difference[i].after);
    if (label != NULL)
        *label = edit->label;
    return true;
}

int qk_history_undo_depth(const struct qk_history *history)
{
    return (int)history->done;
}

int qk_history_redo_depth(const struct qk_history *history)
{
    return (int)(history->n - history->done);
}
