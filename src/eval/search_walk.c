/* search_walk.c - greedy walks of a search from both ends. */
#include "eval/search_steps.h"

#include "base/mem.h"

#include <stdlib.h>

/* What a selection lacks to the least shares weighs more than any gain. */
static const double LACKS = 10;

/* The aim of a walk: objectives by weight. */
static double score(const struct qk_search *search, const struct qk_trial *trial, const double *weight)
{
    double sum = 0;
    for (size_t o = 0; o < search->cases.n_objectives; o++)
        sum += weight[o] * qk_search_rate(search, trial, o).value;
    return sum - LACKS * qk_search_lack(search, trial);
}

static int by_gain(const void *a, const void *b)
{
    const struct qk_search_move *x = a, *y = b;
    if (x->gain != y->gain)
        return x->gain > y->gain ? -1 : 1;
    return x->layer != y->layer ? x->layer - y->layer : (int)x->roles - (int)y->roles;
}

/* Lists the possible moves from a selection, most promising first; list has room for all. */
static size_t find_moves(const struct qk_search *search, const struct qk_selection *from, enum qk_mode mode,
    const double *weight, struct qk_search_move *list)
{
    size_t n = 0;
    for (int i = 0; i < search->parts->n_used; i++)
        for (int roles = 0; roles < QK_EFFECT_ROLES; roles++) {
            struct qk_search_move move = {
                .layer = search->parts->layer[i], .roles = (enum qk_effect_roles)roles};
            const struct qk_effect *effect = &search->effect[move.layer];
            const struct qk_estimate *known = mode == QK_RESTORE ? effect->in[roles] : effect->out[roles];
            if (known == NULL || qk_search_is(from, &move, mode))
                continue;
            for (size_t o = 0; o < search->cases.n_objectives; o++)
                move.gain += (mode == QK_RESTORE ? weight[o] : -weight[o]) * known[o].value;
            list[n++] = move;
        }
    qsort(list, n, sizeof *list, by_gain);
    return n;
}

/* The size of the samples of a walk, and the share of the limits at which it ends. */
struct walk {
    double level, share;
};

/* *next = the best of the most promising neighbours of `trial`, or NULL when no neighbour is better. */
static enum qk_code walk_step(struct qk_search *search, const struct qk_trial *trial, enum qk_mode mode,
    const double *weight, const struct walk *walk, struct qk_search_move *list, struct qk_trial **next,
    struct qk_error *err)
{
    enum { LOOK_AT = 4 };
    size_t n = find_moves(search, &trial->selection, mode, weight, list);
    double best = score(search, trial, weight);
    *next = NULL;
    for (size_t i = 0; i < n && i < LOOK_AT && qk_search_within(search, walk->share); i++) {
        struct qk_trial *tried;
        QK_TRY(qk_search_try(
            search, &trial->selection, &list[i], mode == QK_RESTORE, walk->level, "greedy", &tried, err));
        if (tried != NULL && score(search, tried, weight) > best) {
            best = score(search, tried, weight);
            *next = tried;
        }
    }
    return QK_OK;
}

static enum qk_code walk_from(struct qk_search *search, struct qk_trial *from, enum qk_mode mode,
    const double *weight, const struct walk *walk, struct qk_error *err)
{
    struct qk_trial *at;
    struct qk_search_move *list;
    QK_TRY(qk_search_measure(search, &from->selection, walk->level, "greedy", &at, err));
    QK_TRY(qk_alloc(&list, (size_t)search->parts->n_used * QK_EFFECT_ROLES, sizeof *list, err));
    enum qk_code code = QK_OK;
    while (at != NULL && code == QK_OK)
        code = walk_step(search, at, mode, weight, walk, list, &at, err);
    free(list);
    return code;
}

enum qk_code qk_search_walk(struct qk_search *search, double level, double share, struct qk_error *err)
{
    static const double MOST = 4;
    const struct walk walk = {level, share};
    size_t n = search->cases.n_objectives;
    double *weight;
    QK_TRY(qk_alloc(&weight, n, sizeof *weight, err));
    enum qk_code code = QK_OK;
    for (size_t favourite = 0; favourite <= n && code == QK_OK && n > 0; favourite++) {
        for (size_t o = 0; o < n; o++)
            weight[o] = o + 1 == favourite ? MOST : 1;
        code = walk_from(search, search->trial[0], QK_RESTORE, weight, &walk, err);
        if (code == QK_OK && search->parts->all != NULL)
            code = walk_from(search, search->parts->all, QK_KEEP, weight, &walk, err);
    }
    free(weight);
    return code;
}
