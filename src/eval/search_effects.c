/* search_effects.c - the effects of single layers on the answers, from samples. */
#include "eval/search_steps.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

/* The least share of the cases for a trial, and the share where nothing limits the time. */
static const double LEAST_LEVEL = 0.05, USUAL_LEVEL = 0.25;

/* The share of the cases with which n trials fit between now and a share of the limits. */
static double fitting_level(const struct qk_search *search, double share, size_t n)
{
    double whole = qk_search_whole_seconds(search, QK_SEARCHED), left = qk_search_left(search, share);
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

enum qk_code qk_search_store_effects(struct qk_search *search, struct qk_error *err)
{
    for (int layer = 0; layer < search->pair->n_layers; layer++)
        for (int roles = 0; roles < QK_EFFECT_ROLES; roles++)
            QK_TRY(store_effect(search, layer, (enum qk_effect_roles)roles, err));
    return QK_OK;
}

/* Measures in or out of one layer. */
static enum qk_code find_effect(struct qk_search *search, int layer, enum qk_effect_roles roles, bool out,
    double level, struct qk_error *err)
{
    struct qk_effect_trials *trials = &search->parts->effect[layer];
    const struct qk_search_move move = {.layer = layer, .roles = roles};
    const struct qk_trial *from = out ? search->parts->all : search->trial[0];
    QK_TRY(qk_search_try(search, &from->selection, &move, !out, level, out ? "layer out" : "layer in",
        out ? &trials->out[roles] : &trials->in[roles], err));
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

/* --- what deserves a sample --- */

static bool is_limited(const struct qk_search *search)
{
    const struct qk_search_limits *limits = &search->parts->limits;
    return limits->seconds > 0 || limits->max_trials > 0;
}

/* True when the trial differs from post in an objective by more than the error of the difference. */
static bool is_clear(const struct qk_search *search, const struct qk_trial *trial)
{
    static const double CLEAR = 1.96; /* standard errors: 95 % of a normal distribution */
    for (size_t o = 0; o < search->cases.n_objectives; o++) {
        struct qk_estimate change = qk_search_difference(search, trial, search->trial[0], o);
        if (fabs(change.value) > CLEAR * change.error)
            return true;
    }
    return false;
}

/* Sets counts[kind]: single layers of the kind deserve a sample. Where the restore of all of them together changes
 * nothing that is clear, a sample of one of them would tell nothing. */
static enum qk_code find_kinds(struct qk_search *search, bool counts[QK_KIND_COUNT], struct qk_error *err)
{
    for (int kind = 0; kind < QK_KIND_COUNT; kind++) {
        struct qk_selection whole;
        counts[kind] = kind == QK_FULL || !is_limited(search);
        if (counts[kind])
            continue;
        QK_TRY(qk_selection_init(&whole, search->pair->n_layers, err));
        enum qk_code code = qk_search_set_kinds(
            search, &whole, 1u << kind, QK_EFFECT_BOTH, (struct qk_choice){QK_RESTORE, 0}, err);
        const struct qk_trial *trial = code == QK_OK ? qk_search_find(search, &whole) : NULL;
        counts[kind] = trial != NULL && is_clear(search, trial);
        qk_selection_free(&whole);
        QK_TRY(code);
    }
    return QK_OK;
}

/* One round: an effect of these roles of every layer that counts. */
static enum qk_code measure_round(struct qk_search *search, const bool counts[QK_KIND_COUNT],
    enum qk_effect_roles roles, bool out, double level, double share, struct qk_error *err)
{
    struct qk_search_parts *p = search->parts;
    for (int i = 0; i < p->n_used && qk_search_within(search, share); i++)
        if (counts[search->pair->layer[p->layer[i]].kind])
            QK_TRY(find_effect(search, p->layer[i], roles, out, level, err));
    return QK_OK;
}

static enum qk_code measure_all(struct qk_search *search, double level, struct qk_error *err)
{
    struct qk_selection restored;
    QK_TRY(qk_selection_init(&restored, search->pair->n_layers, err));
    enum qk_code code =
        qk_search_set_kinds(search, &restored, ~0u, QK_EFFECT_BOTH, (struct qk_choice){QK_RESTORE, 0}, err);
    if (code == QK_OK)
        code = qk_search_measure(search, &restored, level, "all", &search->parts->all, err);
    qk_selection_free(&restored);
    return code;
}

/* Measures whole layers first, on samples that leave a third of the time for the single roles. */
enum qk_code qk_search_effects(struct qk_search *search, double share, double *level, struct qk_error *err)
{
    struct qk_search_parts *p = search->parts;
    bool counts[QK_KIND_COUNT];
    size_t n = 0;
    QK_TRY(find_kinds(search, counts, err));
    for (int i = 0; i < p->n_used; i++)
        n += counts[search->pair->layer[p->layer[i]].kind];
    *level = fitting_level(search, share, 3 * n + 1);
    QK_TRY(measure_all(search, *level, err));
    for (int roles = 0; roles < QK_EFFECT_ROLES && p->all != NULL; roles++) {
        for (int out = 0; out < 2; out++)
            QK_TRY(measure_round(search, counts, (enum qk_effect_roles)roles, out == 1, *level, share, err));
        if (roles == QK_EFFECT_BOTH)
            order_by_effect(search);
    }
    return QK_OK;
}
