/* search_moves.c - moves of a search: roles of a layer, of a head, and of all layers of a kind. */
#include "eval/search_moves.h"

static enum qk_code set_heads(const struct qk_search *search, struct qk_selection *selection,
    const struct qk_search_move *move, struct qk_choice choice, struct qk_error *err)
{
    struct qk_head_run run[QK_ROLE_COUNT];
    size_t n = 0;
    if (move->roles != QK_EFFECT_K)
        run[n++] = (struct qk_head_run){QK_HEAD_Q, move->head->q, move->head->q};
    if (move->roles != QK_EFFECT_Q && move->head->k >= 0)
        run[n++] = (struct qk_head_run){QK_HEAD_K, move->head->k, move->head->k};
    return n > 0 ? qk_selection_set_heads(selection, search->pair, move->layer, run, n, choice, err) : QK_OK;
}

enum qk_code qk_search_set(const struct qk_search *search, struct qk_selection *selection,
    const struct qk_search_move *move, struct qk_choice choice, struct qk_error *err)
{
    int role = move->roles == QK_EFFECT_BOTH ? -1 : move->roles == QK_EFFECT_Q ? QK_Q : QK_K;
    if (move->head != NULL)
        return set_heads(search, selection, move, choice, err);
    return qk_selection_set(selection, search->pair, move->layer, role, choice, err);
}

enum qk_code qk_search_try(struct qk_search *search, const struct qk_selection *from,
    const struct qk_search_move *move, bool restore, double level, const char *stage, struct qk_trial **out,
    struct qk_error *err)
{
    const struct qk_choice choice = {restore ? QK_RESTORE : QK_KEEP, 0};
    struct qk_selection next;
    *out = NULL;
    QK_TRY(qk_selection_copy(&next, from, err));
    enum qk_code code = qk_search_set(search, &next, move, choice, err);
    if (code == QK_OK)
        code = qk_search_measure(search, &next, level, stage, out, err);
    qk_selection_free(&next);
    return code;
}

/* True when one head of a role (head < 0: each of them) has the mode. */
static bool has_mode(const struct qk_layer_choice *choice, enum qk_role role, int head, enum qk_mode mode)
{
    int first = head >= 0 ? head : 0, end = head >= 0 ? head + 1 : qk_layer_choice_count(choice, role);
    for (int h = first; h < end; h++)
        if (qk_layer_choice_of(choice, role, h).mode != mode)
            return false;
    return true;
}

bool qk_search_is(const struct qk_selection *selection, const struct qk_search_move *move, enum qk_mode mode)
{
    const struct qk_layer_choice *choice = &selection->choice[move->layer];
    bool whole = move->head == NULL, q = has_mode(choice, QK_Q, whole ? -1 : move->head->q, mode),
         k = has_mode(choice, QK_K, whole ? -1 : move->head->k, mode);
    return move->roles == QK_EFFECT_BOTH ? q && k : move->roles == QK_EFFECT_Q ? q : k;
}

enum qk_code qk_search_set_kinds(const struct qk_search *search, struct qk_selection *selection,
    unsigned kinds, enum qk_effect_roles roles, struct qk_choice choice, struct qk_error *err)
{
    for (int i = 0; i < search->parts->n_used; i++) {
        const struct qk_search_move move = {.layer = search->parts->layer[i], .roles = roles};
        const struct qk_pair_layer *layer = &search->pair->layer[move.layer];
        int role = roles == QK_EFFECT_BOTH ? -1 : roles == QK_EFFECT_Q ? QK_Q : QK_K;
        if ((kinds >> layer->kind & 1u) != 0 && qk_selection_takes(layer, role, choice))
            QK_TRY(qk_search_set(search, selection, &move, choice, err));
    }
    return QK_OK;
}
