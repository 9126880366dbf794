/* search.c - the stages of a search: both ends, effects of single layers, greedy walks, successive halving. */
#include "eval/search_internal.h"

#include "base/mem.h"
#include "blend/blend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Shares of the limits that are left after both ends, at which each stage ends. */
static const double EFFECTS_END = 0.35, GREEDY_END = 0.5;
/* The least share of the cases for a trial, and the share where nothing limits the time. */
static const double LEAST_LEVEL = 0.05, USUAL_LEVEL = 0.25;

/* --- moves --- */

/* A move: one or both roles of a layer restored, or kept. */
struct move {
    int layer;
    enum qk_effect_roles roles;
    double gain; /* expected */
};

static enum qk_code set_roles(const struct qk_search *search, struct qk_selection *selection, int layer,
    enum qk_effect_roles roles, enum qk_mode mode, struct qk_error *err)
{
    int role = roles == QK_EFFECT_BOTH ? -1 : roles == QK_EFFECT_Q ? QK_Q : QK_K;
    struct qk_choice choice = {mode, qk_mode_info(mode)->start};
    return qk_selection_set(selection, search->pair, layer, role, choice, err);
}

/* Measures `from` with one move made. */
static enum qk_code try_move(struct qk_search *search, const struct qk_selection *from,
    const struct move *move, enum qk_mode mode, double level, const char *stage, struct qk_trial **out,
    struct qk_error *err)
{
    struct qk_selection next;
    *out = NULL;
    QK_TRY(qk_selection_copy(&next, from, err));
    enum qk_code code = set_roles(search, &next, move->layer, move->roles, mode, err);
    if (code == QK_OK)
        code = qk_search_measure(search, &next, level, stage, out, err);
    qk_selection_free(&next);
    return code;
}

/* True when the whole role has this mode; the search leaves choices of single heads alone. */
static bool has_mode(const struct qk_layer_choice *choice, enum qk_role role, enum qk_mode mode)
{
    return choice->head[role] == NULL && choice->role[role].mode == mode;
}

static bool role_is(const struct qk_selection *selection, const struct move *move, enum qk_mode mode)
{
    const struct qk_layer_choice *choice = &selection->choice[move->layer];
    bool q = has_mode(choice, QK_Q, mode), k = has_mode(choice, QK_K, mode);
    return move->roles == QK_EFFECT_BOTH ? q && k : move->roles == QK_EFFECT_Q ? q : k;
}

/* --- both ends --- */

static enum qk_code find_layers(struct qk_search *search, const double *prior, struct qk_error *err)
{
    static const struct qk_layer_choice RESTORED = {.role = {{QK_RESTORE, 0}, {QK_RESTORE, 0}}};
    struct qk_search_parts *p = search->parts;
    const struct qk_pair *pair = search->pair;
    struct qk_error why = {0};
    for (int i = 0; i < pair->n_layers; i++) {
        if (!pair->layer[i].has_qk || pair->layer[i].problem != NULL ||
            qk_blend_check(pair, i, &RESTORED, false, &why) != QK_OK)
            continue;
        int at = p->n_used++;
        for (; prior != NULL && at > 0 && prior[p->layer[at - 1]] < prior[i]; at--)
            p->layer[at] = p->layer[at - 1];
        p->layer[at] = i;
    }
    if (p->n_used == 0)
        return qk_fail(err, QK_INPUT, "no layer can be restored: there is nothing to search");
    return QK_OK;
}

static enum qk_code restore_all(
    const struct qk_search *search, struct qk_selection *out, struct qk_error *err)
{
    enum qk_code code = qk_selection_init(out, search->pair->n_layers, err);
    for (int i = 0; i < search->parts->n_used && code == QK_OK; i++)
        code = set_roles(search, out, search->parts->layer[i], QK_EFFECT_BOTH, QK_RESTORE, err);
    if (code != QK_OK)
        qk_selection_free(out);
    return code;
}

static enum qk_code ask_pre(struct qk_search *search, struct qk_error *err)
{
    const struct qk_search_calls *calls = &search->parts->calls;
    size_t n = search->cases.n, *list;
    double cost;
    QK_TRY(qk_alloc(&list, n, sizeof *list, err));
    for (size_t i = 0; i < n; i++)
        list[i] = i;
    enum qk_code code = calls->answer(calls->context, NULL, list, n, search->pre, &cost, err);
    free(list);
    return code;
}

static enum qk_code measure_ends(struct qk_search *search, struct qk_error *err)
{
    struct qk_selection none;
    struct qk_trial *post;
    QK_TRY(qk_selection_init(&none, search->pair->n_layers, err));
    enum qk_code code = qk_search_measure(search, &none, 1, "post", &post, err);
    qk_selection_free(&none);
    if (code == QK_OK)
        code = ask_pre(search, err);
    return code == QK_OK ? qk_search_order(search, err) : code;
}

/* --- effects --- */

/* The share of the limits at which a share of the rest after both ends is used up. */
static double stage_end(const struct qk_search *search, double share)
{
    double spent = search->parts->spent;
    return spent + (1 - spent) * share;
}

/* The share of the cases with which n trials fit between now and a share of the limits. */
static double fitting_level(const struct qk_search *search, double share, size_t n)
{
    double whole = qk_search_whole_seconds(search), left = qk_search_left(search, share);
    if (isinf(left) || whole <= 0)
        return USUAL_LEVEL;
    double level = left / ((double)n * whole);
    return level < LEAST_LEVEL ? LEAST_LEVEL : level > 1 ? 1 : level;
}

static enum qk_code keep_effect(struct qk_search *search, const struct qk_trial *trial,
    const struct qk_trial *base, struct qk_estimate **out, struct qk_error *err)
{
    if (trial == NULL || base == NULL)
        return QK_OK;
    if (*out == NULL)
        QK_TRY(qk_alloc(out, search->cases.n_objectives, sizeof **out, err));
    for (size_t o = 0; o < search->cases.n_objectives; o++)
        (*out)[o] = qk_search_difference(search, trial, base, o);
    return QK_OK;
}

/* Computes the effects from all answers so far. */
static enum qk_code store_effect(
    struct qk_search *search, int layer, enum qk_effect_roles roles, struct qk_error *err)
{
    struct qk_effect *effect = &search->effect[layer];
    const struct qk_effect_trials *trials = &search->parts->effect[layer];
    QK_TRY(keep_effect(search, trials->in[roles], search->trial[0], &effect->in[roles], err));
    return trials->out[roles] != NULL
               ? keep_effect(search, search->parts->all, trials->out[roles], &effect->out[roles], err)
               : QK_OK;
}

static enum qk_code store_effects(struct qk_search *search, struct qk_error *err)
{
    for (int layer = 0; layer < search->pair->n_layers; layer++)
        for (int roles = 0; roles < QK_EFFECT_ROLES; roles++)
            QK_TRY(store_effect(search, layer, (enum qk_effect_roles)roles, err));
    return QK_OK;
}

/* Measures in and out of one layer. */
static enum qk_code find_effect(
    struct qk_search *search, int layer, enum qk_effect_roles roles, double level, struct qk_error *err)
{
    struct qk_effect_trials *trials = &search->parts->effect[layer];
    const struct move move = {layer, roles, 0};
    QK_TRY(try_move(
        search, &search->trial[0]->selection, &move, QK_RESTORE, level, "layer in", &trials->in[roles], err));
    QK_TRY(try_move(search, &search->parts->all->selection, &move, QK_KEEP, level, "layer out",
        &trials->out[roles], err));
    return store_effect(search, layer, roles, err);
}

/* Layers with the largest known effect, in or out, come first: the effects of their roles are measured first. */
static void order_by_effect(struct qk_search *search)
{
    struct qk_search_parts *p = search->parts;
    for (int i = 1; i < p->n_used; i++)
        for (int at = i; at > 0; at--) {
            double size[2] = {0, 0};
            for (int side = 0; side < 2; side++) {
                const struct qk_effect *effect = &search->effect[p->layer[at - side]];
                for (size_t o = 0; o < search->cases.n_objectives; o++)
                    size[side] +=
                        (effect->in[QK_EFFECT_BOTH] != NULL ? fabs(effect->in[QK_EFFECT_BOTH][o].value) : 0) +
                        (effect->out[QK_EFFECT_BOTH] != NULL ? fabs(effect->out[QK_EFFECT_BOTH][o].value)
                                                             : 0);
            }
            if (size[0] <= size[1])
                break;
            int layer = p->layer[at];
            p->layer[at] = p->layer[at - 1];
            p->layer[at - 1] = layer;
        }
}

/* Measures whole layers first, on samples that leave a third of the time for the single roles. */
static enum qk_code find_effects(struct qk_search *search, double *level, struct qk_error *err)
{
    struct qk_search_parts *p = search->parts;
    struct qk_selection restored;
    *level = fitting_level(search, stage_end(search, EFFECTS_END), 3 * (size_t)p->n_used + 1);
    QK_TRY(restore_all(search, &restored, err));
    enum qk_code code = qk_search_measure(search, &restored, *level, "all", &p->all, err);
    qk_selection_free(&restored);
    for (int roles = 0; roles < QK_EFFECT_ROLES && p->all != NULL; roles++) {
        for (int i = 0;
             i < p->n_used && code == QK_OK && qk_search_within(search, stage_end(search, EFFECTS_END)); i++)
            code = find_effect(search, p->layer[i], (enum qk_effect_roles)roles, *level, err);
        if (roles == QK_EFFECT_BOTH)
            order_by_effect(search);
    }
    return code;
}

/* --- greedy walks --- */

/* The aim of a walk: objectives by weight. */
static double score(const struct qk_search *search, const struct qk_trial *trial, const double *weight)
{
    double sum = 0;
    for (size_t o = 0; o < search->cases.n_objectives; o++)
        sum += weight[o] * qk_search_rate(search, trial, o).value;
    return sum;
}

static int by_gain(const void *a, const void *b)
{
    const struct move *x = a, *y = b;
    if (x->gain != y->gain)
        return x->gain > y->gain ? -1 : 1;
    return x->layer != y->layer ? x->layer - y->layer : (int)x->roles - (int)y->roles;
}

/* Lists the possible moves from a selection, most promising first; list has room for all. */
static size_t find_moves(const struct qk_search *search, const struct qk_selection *from, enum qk_mode mode,
    const double *weight, struct move *list)
{
    size_t n = 0;
    for (int i = 0; i < search->parts->n_used; i++)
        for (int roles = 0; roles < QK_EFFECT_ROLES; roles++) {
            struct move move = {search->parts->layer[i], (enum qk_effect_roles)roles, 0};
            const struct qk_effect *effect = &search->effect[move.layer];
            const struct qk_estimate *known = mode == QK_RESTORE ? effect->in[roles] : effect->out[roles];
            if (known == NULL || role_is(from, &move, mode))
                continue;
            for (size_t o = 0; o < search->cases.n_objectives; o++)
                move.gain += (mode == QK_RESTORE ? weight[o] : -weight[o]) * known[o].value;
            list[n++] = move;
        }
    qsort(list, n, sizeof *list, by_gain);
    return n;
}

/* *next = the best of the most promising neighbours of `trial`, or NULL when no neighbour is better. */
static enum qk_code walk_step(struct qk_search *search, const struct qk_trial *trial, enum qk_mode mode,
    const double *weight, double level, struct move *list, struct qk_trial **next, struct qk_error *err)
{
    enum { LOOK_AT = 4 };
    size_t n = find_moves(search, &trial->selection, mode, weight, list);
    double best = score(search, trial, weight);
    *next = NULL;
    for (size_t i = 0; i < n && i < LOOK_AT && qk_search_within(search, stage_end(search, GREEDY_END)); i++) {
        struct qk_trial *tried;
        QK_TRY(try_move(search, &trial->selection, &list[i], mode, level, "greedy", &tried, err));
        if (tried != NULL && score(search, tried, weight) > best) {
            best = score(search, tried, weight);
            *next = tried;
        }
    }
    return QK_OK;
}

static enum qk_code walk(struct qk_search *search, struct qk_trial *from, enum qk_mode mode,
    const double *weight, double level, struct qk_error *err)
{
    struct qk_trial *at;
    struct move *list;
    QK_TRY(qk_search_measure(search, &from->selection, level, "greedy", &at, err));
    QK_TRY(qk_alloc(&list, (size_t)search->parts->n_used * QK_EFFECT_ROLES, sizeof *list, err));
    enum qk_code code = QK_OK;
    while (at != NULL && code == QK_OK)
        code = walk_step(search, at, mode, weight, level, list, &at, err);
    free(list);
    return code;
}

/* Walks forwards from post and backwards from all restored, for all objectives equally and for each most of all. */
static enum qk_code walk_all(struct qk_search *search, double level, struct qk_error *err)
{
    static const double MOST = 4;
    size_t n = search->cases.n_objectives;
    double *weight;
    QK_TRY(qk_alloc(&weight, n, sizeof *weight, err));
    enum qk_code code = QK_OK;
    for (size_t favourite = 0; favourite <= n && code == QK_OK && n > 0; favourite++) {
        for (size_t o = 0; o < n; o++)
            weight[o] = o + 1 == favourite ? MOST : 1;
        code = walk(search, search->trial[0], QK_RESTORE, weight, level, err);
        if (code == QK_OK && search->parts->all != NULL)
            code = walk(search, search->parts->all, QK_KEEP, weight, level, err);
    }
    free(weight);
    return code;
}

/* --- selections to halve --- */

/* Tries all layers of a kind restored, if there are any. */
static enum qk_code add_kind(struct qk_search *search, enum qk_kind kind, enum qk_effect_roles roles,
    double level, struct qk_error *err)
{
    struct qk_selection next;
    struct qk_trial *trial;
    QK_TRY(qk_selection_init(&next, search->pair->n_layers, err));
    enum qk_code code = QK_OK;
    for (int i = 0; i < search->parts->n_used && code == QK_OK; i++)
        if (search->pair->layer[search->parts->layer[i]].kind == kind)
            code = set_roles(search, &next, search->parts->layer[i], roles, QK_RESTORE, err);
    if (code == QK_OK && qk_selection_count(&next) > 0)
        code = qk_search_measure(search, &next, level, "kind", &trial, err);
    qk_selection_free(&next);
    return code;
}

static enum qk_code add_kinds(struct qk_search *search, double level, struct qk_error *err)
{
    static const enum qk_kind KINDS[] = {QK_FULL, QK_WINDOW, QK_LINEAR};
    for (size_t k = 0; k < sizeof KINDS / sizeof KINDS[0]; k++)
        for (int roles = 0; roles < QK_EFFECT_ROLES; roles++)
            QK_TRY(add_kind(search, KINDS[k], (enum qk_effect_roles)roles, level, err));
    return QK_OK;
}

/* Blends the restored roles of a trial instead. A layer with only one restored role takes no blend of both. */
static enum qk_code add_blend(struct qk_search *search, const struct qk_trial *trial, struct qk_choice choice,
    double level, struct qk_error *err)
{
    struct qk_selection next;
    struct qk_trial *made;
    bool both = qk_mode_info(choice.mode)->both_roles;
    QK_TRY(qk_selection_copy(&next, &trial->selection, err));
    struct qk_error why = {0};
    enum qk_code code = QK_OK;
    for (int i = 0; i < search->parts->n_used && code == QK_OK; i++) {
        int layer = search->parts->layer[i];
        bool q = next.choice[layer].role[QK_Q].mode != QK_KEEP,
             k = next.choice[layer].role[QK_K].mode != QK_KEEP;
        if (both ? !q || !k : !q && !k)
            continue;
        code = qk_selection_set(&next, search->pair, layer, q && k ? -1 : q ? QK_Q : QK_K, choice, &why);
    }
    if (code == QK_OK)
        code = qk_search_measure(search, &next, level, "blend", &made, &why);
    qk_selection_free(&next);
    /* Skips a blend that a layer does not take (its weights have scales, say). */
    if (code == QK_OK || code == QK_USAGE || code == QK_INPUT)
        return QK_OK;
    if (err != NULL)
        *err = why;
    return code;
}

/* Tries what the table of modes has for searches, round after round. */
static enum qk_code add_blends(
    struct qk_search *search, const struct qk_trial *trial, double level, struct qk_error *err)
{
    bool more = true;
    for (int round = 0; more; round++) {
        more = false;
        for (int mode = 0; mode < QK_MODE_COUNT; mode++) {
            const struct qk_mode_info *info = qk_mode_info((enum qk_mode)mode);
            for (int i = 0; i < info->n_trials; i++) {
                struct qk_choice choice = {(enum qk_mode)mode, info->trial[i].param};
                more = more || info->trial[i].round > round;
                if (info->trial[i].round == round && qk_search_within(search, 1))
                    QK_TRY(add_blend(search, trial, choice, level, err));
            }
        }
    }
    return QK_OK;
}

/* Tries the neighbours of a trial: one role of one layer changed between restored and kept. */
static enum qk_code add_neighbours(
    struct qk_search *search, const struct qk_trial *trial, double level, struct qk_error *err)
{
    for (int i = 0; i < search->parts->n_used; i++)
        for (int roles = QK_EFFECT_Q; roles < QK_EFFECT_ROLES && qk_search_within(search, 1); roles++) {
            const struct move move = {search->parts->layer[i], (enum qk_effect_roles)roles, 0};
            struct qk_trial *made;
            QK_TRY(try_move(search, &trial->selection, &move,
                role_is(&trial->selection, &move, QK_KEEP) ? QK_RESTORE : QK_KEEP, level, "neighbour", &made,
                err));
        }
    return QK_OK;
}

/* --- successive halving (Jamieson & Talwalkar 2016) --- */

/* *list = the trials measured at a level or more; the caller frees. */
static enum qk_code list_trials(
    const struct qk_search *search, double level, struct qk_trial ***list, size_t *n, struct qk_error *err)
{
    QK_TRY(qk_alloc(list, search->n_trials, sizeof **list, err));
    *n = 0;
    for (size_t i = 0; i < search->n_trials; i++)
        if ((double)search->trial[i]->n_asked >= level * (double)search->cases.n)
            (*list)[(*n)++] = search->trial[i];
    return QK_OK;
}

/* Each sample is so many times as large as the one before, and takes this part of the limits that are left. The last
 * takes all. */
static const double GROWTH = 4, PART = 0.4;

/* The number of trials that go on from a sample to the next. */
static size_t may_go_on(const struct qk_search *search, double from, double level)
{
    enum { LEAST = 2, MOST = 64 };
    const struct qk_search_parts *p = search->parts;
    double whole = qk_search_whole_seconds(search), left = qk_search_left(search, 1), most = MOST;
    double share = level < 1 ? PART : 1;
    if (p->limits.max_trials > 0)
        most = fmin(most, share * (double)(p->limits.max_trials - p->n_measured));
    if (isfinite(left) && whole > 0)
        most = fmin(most, share * left / ((level - from) * whole));
    return most < LEAST ? LEAST : (size_t)most;
}

static enum qk_code halve(struct qk_search *search, double level, struct qk_error *err)
{
    while (level < 1 && qk_search_within(search, 1)) {
        struct qk_trial **list, *measured;
        size_t n, most;
        double from = level;
        QK_TRY(list_trials(search, level, &list, &n, err));
        enum qk_code code = qk_search_rank(search, list, n, err);
        level = level * GROWTH < 0.5 ? level * GROWTH : 1;
        most = may_go_on(search, from, level);
        most = n / 2 > most ? most : (n + 1) / 2;
        for (size_t i = 0; i < most && code == QK_OK; i++)
            code = qk_search_measure(search, &list[i]->selection, level, list[i]->origin, &measured, err);
        free(list);
        QK_TRY(code);
    }
    return QK_OK;
}

/* Tries blends, then neighbours, of the best trials and halves them again, until nothing new comes up. */
static enum qk_code refine(struct qk_search *search, double level, struct qk_error *err)
{
    enum { ROUNDS = 8, PARENTS = 3 };
    for (int round = 0; round < ROUNDS && qk_search_within(search, 1); round++) {
        struct qk_trial **list;
        size_t n, before = search->n_trials;
        QK_TRY(list_trials(search, 1, &list, &n, err));
        enum qk_code code = qk_search_rank(search, list, n, err);
        for (size_t i = 0; i < n && i < PARENTS && code == QK_OK; i++)
            code = round % 2 == 0 ? add_blends(search, list[i], level, err)
                                  : add_neighbours(search, list[i], level, err);
        free(list);
        QK_TRY(code);
        QK_TRY(halve(search, level, err));
        if (search->n_trials == before && round > 0)
            break;
    }
    return QK_OK;
}

/* --- the whole --- */

static enum qk_code run(struct qk_search *search, const double *prior, struct qk_error *err)
{
    double level;
    QK_TRY(find_layers(search, prior, err));
    QK_TRY(measure_ends(search, err));
    /* Measures the usual choice on every case: other trials are compared with it. */
    QK_TRY(add_kind(search, QK_FULL, QK_EFFECT_BOTH, 1, err));
    search->parts->spent = qk_search_spent(search);
    QK_TRY(find_effects(search, &level, err));
    search->parts->cut |= !qk_search_within(search, stage_end(search, EFFECTS_END));
    QK_TRY(add_kinds(search, level, err));
    QK_TRY(walk_all(search, level, err));
    search->parts->cut |= !qk_search_within(search, stage_end(search, GREEDY_END));
    QK_TRY(halve(search, level, err));
    QK_TRY(refine(search, level, err));
    search->complete = qk_search_within(search, 1) && !search->parts->cut;
    return QK_OK;
}

static enum qk_code make_parts(struct qk_search *search, struct qk_error *err)
{
    const struct qk_search_cases *cases = &search->cases;
    struct qk_search_parts *p;
    QK_TRY(qk_alloc(&p, 1, sizeof *p, err));
    search->parts = p;
    clock_gettime(CLOCK_MONOTONIC, &p->start);
    for (size_t i = 0; i < cases->n; i++)
        p->whole_cost += cases->cost[i];
    QK_TRY(qk_alloc(&p->order, cases->n, sizeof *p->order, err));
    QK_TRY(qk_alloc(&p->first, cases->n_tasks + 1, sizeof *p->first, err));
    QK_TRY(qk_alloc(&p->layer, (size_t)search->pair->n_layers, sizeof *p->layer, err));
    QK_TRY(qk_alloc(&p->alike, cases->n_objectives, sizeof *p->alike, err));
    QK_TRY(qk_alloc(&p->turned, cases->n_objectives, sizeof *p->turned, err));
    QK_TRY(qk_alloc(&p->effect, (size_t)search->pair->n_layers, sizeof *p->effect, err));
    QK_TRY(qk_alloc(&search->pre, cases->n, 1, err));
    memset(search->pre, -1, cases->n);
    return qk_alloc(&search->effect, (size_t)search->pair->n_layers, sizeof *search->effect, err);
}

enum qk_code qk_search_run(struct qk_search *search, const struct qk_pair *pair,
    const struct qk_search_cases *cases, const double *prior, const struct qk_search_limits *limits,
    const struct qk_search_calls *calls, struct qk_error *err)
{
    *search = (struct qk_search){.pair = pair, .cases = *cases};
    QK_TRY(make_parts(search, err));
    search->parts->limits = *limits;
    search->parts->calls = *calls;
    enum qk_code code = run(search, prior, err);
    struct qk_error unheard = {0};
    enum qk_code stored = QK_OK;
    if (search->parts->differs != NULL) { /* also of a search that was stopped */
        stored = store_effects(search, code == QK_OK ? err : &unheard);
        if (stored == QK_OK)
            stored = qk_search_mark_front(search, code == QK_OK ? err : &unheard);
    }
    return code != QK_OK ? code : stored;
}

void qk_search_free(struct qk_search *search)
{
    qk_search_free_trials(search);
    for (int i = 0; search->effect != NULL && i < search->pair->n_layers; i++)
        for (int roles = 0; roles < QK_EFFECT_ROLES; roles++) {
            free(search->effect[i].in[roles]);
            free(search->effect[i].out[roles]);
        }
    if (search->parts != NULL) {
        free(search->parts->differs);
        free(search->parts->order);
        free(search->parts->first);
        free(search->parts->layer);
        free(search->parts->alike);
        free(search->parts->turned);
        free(search->parts->effect);
        free(search->parts);
    }
    free(search->pre);
    free(search->effect);
    *search = (struct qk_search){0};
}
