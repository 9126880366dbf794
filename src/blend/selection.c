/* selection.c - the choices of all layers, and the log of edits behind undo and redo. */
#include "blend/selection.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

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
    if (from->n_layers > 0)
        memcpy(to->choice, from->choice, (size_t)from->n_layers * sizeof *from->choice);
    return QK_OK;
}

void qk_selection_free(struct qk_selection *selection)
{
    free(selection->choice);
    *selection = (struct qk_selection){0};
}

static bool layer_equal(const struct qk_selection *a, const struct qk_selection *b, int layer)
{
    return qk_choice_equal(a->choice[layer][QK_Q], b->choice[layer][QK_Q]) &&
           qk_choice_equal(a->choice[layer][QK_K], b->choice[layer][QK_K]);
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
        count += !qk_choices_keep(selection->choice[i]);
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
    struct qk_choice *slot = selection->choice[layer];
    if (target->no_k != NULL) {
        slot[QK_Q] = role == QK_K ? slot[QK_Q] : choice;
        return QK_OK;
    }
    if (role < 0 || info->both_roles) {
        slot[QK_Q] = slot[QK_K] = choice;
        return QK_OK;
    }
    int other = role == QK_Q ? QK_K : QK_Q;
    if (qk_mode_info(slot[other].mode)->both_roles)
        slot[other] = (struct qk_choice){QK_KEEP, 0};
    slot[role] = choice;
    return QK_OK;
}

/* --- history --- */

struct difference {
    int layer;
    struct qk_choice before[QK_ROLE_COUNT], after[QK_ROLE_COUNT];
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
        memcpy(difference->before, from->choice[i], sizeof difference->before);
        memcpy(difference->after, to->choice[i], sizeof difference->after);
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
    memcpy(history->current.choice, next->choice, (size_t)next->n_layers * sizeof *next->choice);
    return QK_OK;
}

bool qk_history_undo(struct qk_history *history, const char **label)
{
    if (history->done == 0)
        return false;
    const struct edit *edit = &history->edit[--history->done];
    for (size_t i = 0; i < edit->n; i++)
        memcpy(history->current.choice[edit->difference[i].layer], edit->difference[i].before,
            sizeof edit->difference[i].before);
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
        memcpy(history->current.choice[edit->difference[i].layer], edit->difference[i].after,
            sizeof edit->difference[i].after);
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
