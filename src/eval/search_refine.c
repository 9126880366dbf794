/* search_refine.c - steps of a search from its best trials on: halving, blends, strengths, neighbours. */
#include "eval/search_steps.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

/* --- selections to halve --- */

/* Blends the restored roles of a trial instead. A layer with only one restored role takes no blend of both. */
static enum qk_code add_blend(struct qk_search *search, const struct qk_trial *trial, struct qk_choice choice,
    double level, const char *stage, struct qk_error *err)
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
        code = qk_search_measure(search, &next, level, stage, &made, &why);
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
                    QK_TRY(add_blend(search, trial, choice, level, "blend", err));
            }
        }
    }
    return QK_OK;
}

/* --- strengths --- */

/* A strength as a number from 0 to 1, and back: p / (1 + p) where it has no upper bound. */
static double to_unit(const struct qk_mode_info *info, double param)
{
    return isinf(info->high) ? param / (1 + param) : (param - info->low) / (info->high - info->low);
}

static double from_unit(const struct qk_mode_info *info, double unit)
{
    return isinf(info->high) ? unit / (1 - unit) : info->low + unit * (info->high - info->low);
}

/* True when every role is kept in both selections, or has that mode in both; *param = its strength in b where it is
 * the same everywhere. A selection of single heads has no strength. */
static bool has_strength(
    const struct qk_selection *a, const struct qk_selection *b, enum qk_mode mode, double *param)
{
    bool any = false;
    for (int i = 0; i < a->n_layers; i++)
        for (int r = 0; r < QK_ROLE_COUNT; r++) {
            const struct qk_choice of[] = {a->choice[i].role[r], b->choice[i].role[r]};
            bool alone = a->choice[i].head[r] != NULL || b->choice[i].head[r] != NULL;
            if (of[0].mode == QK_KEEP && of[1].mode == QK_KEEP && !alone)
                continue;
            if (alone || of[0].mode != mode || of[1].mode != mode || (any && of[1].param != *param))
                return false;
            *param = of[1].param;
            any = true;
        }
    return any;
}

/* The mode of the first role that is not kept. */
static enum qk_mode first_mode(const struct qk_selection *selection)
{
    for (int i = 0; i < selection->n_layers; i++)
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            if (selection->choice[i].role[r].mode != QK_KEEP)
                return selection->choice[i].role[r].mode;
    return QK_KEEP;
}

/* Tries the strength of a trial between those tried so far, by golden section (Kiefer 1953): each time that a trial is
 * among the best, the gaps on both of its sides are cut at 0.382 of their length. */
static enum qk_code add_strengths_until(
    struct qk_search *search, const struct qk_trial *trial, double level, double share, struct qk_error *err)
{
    static const double SECTION = 0.381966, LEAST_GAP = 0.06;
    enum qk_mode mode = first_mode(&trial->selection);
    const struct qk_mode_info *info = qk_mode_info(mode);
    double param = 0, other = 0, edge[2] = {0, 1};
    if (!info->has_param || !has_strength(&trial->selection, &trial->selection, mode, &param))
        return QK_OK;
    double at = to_unit(info, param);
    for (size_t i = 0; i < search->n_trials; i++)
        if (has_strength(&trial->selection, &search->trial[i]->selection, mode, &other)) {
            double unit = to_unit(info, other);
            edge[0] = unit < at ? fmax(edge[0], unit) : edge[0];
            edge[1] = unit > at ? fmin(edge[1], unit) : edge[1];
        }
    for (int side = 0; side < 2 && qk_search_within(search, share); side++) {
        double gap = edge[side] - at;
        const struct qk_choice choice = {mode, from_unit(info, at + SECTION * gap)};
        if (fabs(gap) >= LEAST_GAP)
            QK_TRY(add_blend(search, trial, choice, level, "strength", err));
    }
    return QK_OK;
}

static enum qk_code add_strengths(
    struct qk_search *search, const struct qk_trial *trial, double level, struct qk_error *err)
{
    return add_strengths_until(search, trial, level, 1, err);
}

/* --- neighbours --- */

/* Makes a move the other way round: restored where it is kept, else kept. */
static enum qk_code add_move(struct qk_search *search, const struct qk_trial *trial,
    const struct qk_search_move *move, double level, struct qk_error *err)
{
    struct qk_trial *made;
    return qk_search_try(search, &trial->selection, move, qk_search_is(&trial->selection, move, QK_KEEP),
        level, "neighbour", &made, err);
}

/* Tries the neighbours of a trial: one role of a head that carries recall, then one role of a layer. */
static enum qk_code add_neighbours(
    struct qk_search *search, const struct qk_trial *trial, double level, struct qk_error *err)
{
    const struct qk_search_hints *hints = &search->parts->hints;
    for (size_t i = 0; i < hints->n_heads; i++)
        for (int roles = QK_EFFECT_Q; roles < QK_EFFECT_ROLES && qk_search_within(search, 1); roles++) {
            const struct qk_search_head *head = &hints->head[i];
            const struct qk_search_move move = {head->layer, (enum qk_effect_roles)roles, head, 0};
            if (roles == QK_EFFECT_Q || head->k >= 0)
                QK_TRY(add_move(search, trial, &move, level, err));
        }
    for (int i = 0; i < search->parts->n_used; i++)
        for (int roles = QK_EFFECT_Q; roles < QK_EFFECT_ROLES && qk_search_within(search, 1); roles++) {
            const struct qk_search_move move = {
                .layer = search->parts->layer[i], .roles = (enum qk_effect_roles)roles};
            QK_TRY(add_move(search, trial, &move, level, err));
        }
    return QK_OK;
}

/* --- successive halving (Jamieson & Talwalkar 2016) --- */

static bool has_sample(const struct qk_search *search, const struct qk_trial *trial, double level)
{
    return (double)trial->n_asked >= level * (double)search->parts->n_cases[QK_SEARCHED];
}

/* *list = the trials measured at a level or more; the caller frees. */
static enum qk_code list_trials(
    const struct qk_search *search, double level, struct qk_trial ***list, size_t *n, struct qk_error *err)
{
    QK_TRY(qk_alloc(list, search->n_trials, sizeof **list, err));
    *n = 0;
    for (size_t i = 0; i < search->n_trials; i++)
        if (has_sample(search, search->trial[i], level))
            (*list)[(*n)++] = search->trial[i];
    return QK_OK;
}

enum qk_code qk_search_strengths(struct qk_search *search, double share, struct qk_error *err)
{
    enum { PARENTS = 8 };
    struct qk_trial **list;
    size_t n;
    QK_TRY(list_trials(search, 1, &list, &n, err));
    enum qk_code code = qk_search_rank(search, list, n, err);
    for (size_t i = 0; i < n && i < PARENTS && code == QK_OK && qk_search_within(search, share); i++)
        code = add_strengths_until(search, list[i], 1, share, err);
    free(list);
    return code;
}

/* Each sample is so many times as large as the one before, and takes this part of the limits that are left. The last
 * takes all. */
static const double GROWTH = 4, PART = 0.4;

/* The number of trials that go on from a sample to the next. */
static size_t may_go_on(const struct qk_search *search, double from, double level)
{
    enum { LEAST = 2, MOST = 64 };
    const struct qk_search_parts *p = search->parts;
    double whole = qk_search_whole_seconds(search, QK_SEARCHED), left = qk_search_left(search, 1),
           most = MOST;
    double share = level < 1 ? PART : 1;
    if (p->limits.max_trials > 0)
        most = fmin(most, share * (double)(p->limits.max_trials - p->n_measured));
    if (isfinite(left) && whole > 0)
        most = fmin(most, share * left / ((level - from) * whole));
    return most < LEAST ? LEAST : (size_t)most;
}

/* True when the trial gave the same answer to every case that it was asked. */
static bool same_answers(const struct qk_search *search, const struct qk_trial *a, const struct qk_trial *b)
{
    for (size_t i = 0; i < search->cases.n; i++)
        if (a->answer[i] >= 0 && b->answer[i] >= 0 && a->answer[i] != b->answer[i])
            return false;
    return true;
}

/* True when a trial with every answer is as good in each objective as this one would be with some luck, or gives the
 * same answers: more cases would be wasted on it. */
static bool is_hopeless(const struct qk_search *search, const struct qk_trial *trial)
{
    static const double LUCK = 0.5; /* standard errors */
    const size_t all = search->parts->n_cases[QK_SEARCHED];
    for (size_t i = 0; i < search->n_trials; i++) {
        const struct qk_trial *other = search->trial[i];
        bool better = true;
        if (other->n_asked < all || other == trial || trial->n_asked == all)
            continue;
        for (size_t o = 0; o < search->cases.n_objectives && better; o++) {
            struct qk_estimate rate = qk_search_rate(search, trial, o);
            better = qk_search_rate(search, other, o).value >= fmin(rate.value + LUCK * rate.error, 1);
        }
        if (better || same_answers(search, trial, other))
            return true;
    }
    return false;
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
        for (size_t i = 0, taken = 0; i < n && taken < most && code == QK_OK && qk_search_within(search, 1);
             i++) {
            if (has_sample(search, list[i], level) || is_hopeless(search, list[i]))
                continue;
            taken++;
            code = qk_search_measure(search, &list[i]->selection, level, list[i]->origin, &measured, err);
        }
        free(list);
        QK_TRY(code);
    }
    return QK_OK;
}

/* The steps from the best trials to better ones, in turn, and how many of the best each takes. */
static const struct step {
    enum qk_code (*add)(
        struct qk_search *search, const struct qk_trial *trial, double level, struct qk_error *err);
    size_t parents;
} STEPS[] = {{add_blends, 3}, {add_strengths, 8}, {add_neighbours, 3}};
enum { N_STEPS = sizeof STEPS / sizeof STEPS[0] };

enum qk_code qk_search_refine(struct qk_search *search, double level, struct qk_error *err)
{
    enum { ROUNDS = 4 * N_STEPS };
    size_t idle = 0; /* steps in a row that found nothing new */
    QK_TRY(halve(search, level, err));
    for (size_t round = 0; round < ROUNDS && idle < N_STEPS && qk_search_within(search, 1); round++) {
        const struct step *step = &STEPS[round % N_STEPS];
        struct qk_trial **list;
        size_t n, before = search->n_trials;
        QK_TRY(list_trials(search, 1, &list, &n, err));
        enum qk_code code = qk_search_rank(search, list, n, err);
        for (size_t i = 0; i < n && i < step->parents && code == QK_OK; i++)
            code = step->add(search, list[i], level, err);
        free(list);
        QK_TRY(code);
        QK_TRY(halve(search, level, err));
        idle = search->n_trials == before ? idle + 1 : 0;
    }
    return QK_OK;
}
