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
    return layer->has_qk && !layer->side[QK_POST]->shares && layer->problem == NULL &&
           refused_without_k(layer, role, choice) == NULL;
}

/* QK_USAGE unless the layer can be chosen at all, and the choice is one. */
static enum qk_code check_choosable(const struct qk_selection *selection, const struct qk_pair *pair,
    int layer, int role, struct qk_choice choice, struct qk_error *err)
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
    if (target->fixed != NULL && qk_choice_effect(choice).mode != QK_KEEP)
        return qk_fail(err, QK_USAGE, "layer %d cannot be chosen: %s", layer, target->fixed);
    const char *refused = refused_without_k(target, role, choice);
    if (refused != NULL)
        return qk_fail(err, QK_USAGE, "layer %d cannot be chosen for %s: %s (%s)", layer,
            qk_mode_info(choice.mode)->name, refused, target->no_k);
    return QK_OK;
}

/* The choice without a parameter that means nothing, and without -0, which would be shown and saved as such. */
static struct qk_choice plain(struct qk_choice choice)
{
    if (!qk_mode_info(choice.mode)->has_param || choice.param == 0)
        choice.param = 0;
    return choice;
}

static bool acts_on_both(struct qk_choice choice)
{
    return qk_mode_info(choice.mode)->both_roles;
}

/* Keeps the heads of the role whose mode acts on both roles. */
static enum qk_code keep_both(struct qk_layer_choice *slot, enum qk_role role, struct qk_error *err)
{
    int n = qk_layer_choice_count(slot, role);
    struct qk_choice *of;
    QK_TRY(qk_alloc(&of, (size_t)n, sizeof *of, err));
    for (int h = 0; h < n; h++) {
        struct qk_choice choice = qk_layer_choice_of(slot, role, h);
        of[h] = acts_on_both(choice) ? (struct qk_choice){QK_KEEP, 0} : choice;
    }
    enum qk_code code = qk_layer_choice_set_heads(slot, role, of, n, err);
    free(of);
    return code;
}

enum qk_code qk_selection_set(struct qk_selection *selection, const struct qk_pair *pair, int layer, int role,
    struct qk_choice choice, struct qk_error *err)
{
    QK_TRY(check_choosable(selection, pair, layer, role, choice, err));
    choice = plain(choice);
    struct qk_layer_choice *slot = &selection->choice[layer];
    if (pair->layer[layer].no_k != NULL) {
        if (role != QK_K)
            qk_layer_choice_set(slot, QK_Q, choice);
        return QK_OK;
    }
    enum qk_role first = role == QK_K ? QK_K : QK_Q, other = first == QK_Q ? QK_K : QK_Q;
    if (role < 0 || acts_on_both(choice))
        qk_layer_choice_set(slot, other, choice);
    else
        QK_TRY(keep_both(slot, other, err));
    qk_layer_choice_set(slot, first, choice);
    return QK_OK;
}

/* --- heads --- */

char qk_head_letter(enum qk_head_kind of)
{
    static const char LETTER[QK_HEAD_KIND_COUNT] = {
        [QK_HEAD_Q] = 'q', [QK_HEAD_K] = 'k', [QK_HEAD_GROUP] = 'g'};
    return LETTER[of];
}

int qk_selection_heads(const struct qk_pair_layer *layer, enum qk_head_kind of)
{
    if (!layer->has_qk || layer->problem != NULL || (of != QK_HEAD_Q && layer->no_k != NULL))
        return 0;
    return layer->side[QK_POST]->role[of == QK_HEAD_Q ? QK_Q : QK_K].n_heads;
}

enum qk_code qk_selection_check_run(
    const struct qk_pair_layer *layer, const struct qk_head_run *run, struct qk_error *err)
{
    static const char *const WHAT[] = {
        [QK_HEAD_Q] = "query head", [QK_HEAD_K] = "key head", [QK_HEAD_GROUP] = "key group"};
    int n = qk_selection_heads(layer, run->of);
    if (run->first >= 0 && run->last < n)
        return QK_OK;
    if (n == 0)
        return qk_fail(err, QK_USAGE, "layer %d has no %ss (%s)", layer->index, WHAT[run->of],
            layer->no_k != NULL ? layer->no_k : "it has no q and k");
    return qk_fail(err, QK_USAGE, "layer %d has %d %ss (found %d, expected 0 to %d)", layer->index, n,
        WHAT[run->of], run->first < 0 ? run->first : run->last, n - 1);
}

/* The choices of all heads of a layer, to be changed one by one. */
struct heads {
    struct qk_choice *of[QK_ROLE_COUNT]; /* n of each role; one block, which of[QK_Q] owns */
    int n[QK_ROLE_COUNT], per_group;
};

static enum qk_code spread_heads(const struct qk_layer_choice *slot, const struct qk_pair_layer *layer,
    struct heads *heads, struct qk_error *err)
{
    int q = qk_selection_heads(layer, QK_HEAD_Q), k = qk_selection_heads(layer, QK_HEAD_K);
    *heads = (struct heads){.n = {q, k}, .per_group = k > 0 ? q / k : 1};
    QK_TRY(qk_alloc(&heads->of[QK_Q], (size_t)(q + k), sizeof *heads->of[QK_Q], err));
    heads->of[QK_K] = heads->of[QK_Q] + q;
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        for (int h = 0; h < heads->n[r]; h++)
            heads->of[r][h] = qk_layer_choice_of(slot, (enum qk_role)r, h);
    return QK_OK;
}

static void set_group(struct heads *heads, int group, struct qk_choice choice)
{
    for (int i = 0; i < heads->per_group && heads->n[QK_K] > 0; i++)
        heads->of[QK_Q][group * heads->per_group + i] = choice;
    if (heads->n[QK_K] > 0)
        heads->of[QK_K][group] = choice;
}

static void set_head(struct heads *heads, enum qk_role role, int head, struct qk_choice choice)
{
    int group = role == QK_K ? head : head / heads->per_group;
    if (acts_on_both(choice)) {
        set_group(heads, group, choice);
        return;
    }
    if (acts_on_both(heads->of[role][head]))
        set_group(heads, group, (struct qk_choice){QK_KEEP, 0});
    heads->of[role][head] = choice;
}

static void set_run(struct heads *heads, const struct qk_head_run *run, struct qk_choice choice)
{
    for (int i = run->first; i <= run->last; i++) {
        if (run->of == QK_HEAD_GROUP)
            set_group(heads, i, choice);
        else
            set_head(heads, (enum qk_role)run->of, i, choice);
    }
}

enum qk_code qk_selection_set_heads(struct qk_selection *selection, const struct qk_pair *pair, int layer,
    const struct qk_head_run *run, size_t n, struct qk_choice choice, struct qk_error *err)
{
    QK_TRY(check_choosable(selection, pair, layer, -1, choice, err));
    for (size_t i = 0; i < n; i++)
        QK_TRY(qk_selection_check_run(&pair->layer[layer], &run[i], err));
    struct heads heads;
    struct qk_layer_choice next = {0};
    QK_TRY(spread_heads(&selection->choice[layer], &pair->layer[layer], &heads, err));
    for (size_t i = 0; i < n; i++)
        set_run(&heads, &run[i], plain(choice));
    enum qk_code code = QK_OK;
    for (int r = 0; r < QK_ROLE_COUNT && code == QK_OK; r++)
        if (heads.n[r] > 0)
            code = qk_layer_choice_set_heads(&next, (enum qk_role)r, heads.of[r], heads.n[r], err);
    if (code == QK_OK)
        qk_layer_choice_assign(&selection->choice[layer], &next);
    qk_layer_choice_free(&next);
    free(heads.of[QK_Q]);
    return code;
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
