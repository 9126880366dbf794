/* search.c - a search from both ends to the confirmed front. */
#include "eval/search.h"

#include "base/mem.h"
#include "blend/blend.h"
#include "eval/search_steps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Shares at which each step ends: of what is left after both ends, after the usual ones, and after their strengths. */
static const double USUAL_END = 0.5, STRENGTHS_END = 0.15, EFFECTS_END = 0.3, GREEDY_END = 0.45;
/* Share of the limits kept to confirm the front and what is near it, at most, and the points for which it is kept. */
static const double CONFIRM_MOST = 0.3, CONFIRM_POINTS = 18;

/* --- both ends --- */

static enum qk_code find_layers(struct qk_search *search, struct qk_error *err)
{
    static const struct qk_layer_choice RESTORED = {.role = {{QK_RESTORE, 0}, {QK_RESTORE, 0}}};
    struct qk_search_parts *p = search->parts;
    const struct qk_pair *pair = search->pair;
    const double *prior = p->hints.layer;
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

static enum qk_code measure_ends(struct qk_search *search, struct qk_error *err)
{
    struct qk_selection none;
    struct qk_trial *post;
    QK_TRY(qk_selection_init(&none, search->pair->n_layers, err));
    enum qk_code code = qk_search_measure(search, &none, 1, "post", &post, err);
    qk_selection_free(&none);
    if (code == QK_OK)
        code = qk_search_ask_pre(search, QK_SEARCHED, err);
    return code == QK_OK ? qk_search_order(search, err) : code;
}

/* Keeps a share of the limits for the cases that were held out. */
static void keep_for_confirming(struct qk_search *search)
{
    struct qk_search_parts *p = search->parts;
    double seconds = p->limits.seconds, each = qk_search_whole_seconds(search, QK_CONFIRMED), share = 0;
    if (p->n_cases[QK_CONFIRMED] == 0)
        return;
    if (seconds > 0)
        share = each > 0 ? (CONFIRM_POINTS + 2) * each / seconds : CONFIRM_MOST;
    if (p->limits.max_trials > 0)
        share = fmax(share, (CONFIRM_POINTS + 1) / (double)p->limits.max_trials);
    p->end = 1 - fmin(share, CONFIRM_MOST);
}

/* --- the whole --- */

/* The share of the limits at which a share of what is left now is used up. */
static double share_of_rest(const struct qk_search *search, double share)
{
    double spent = qk_search_spent(search);
    return spent + (1 - spent) * share;
}

/* Remembers when a step left something out. */
static void note_cut(struct qk_search *search, double share)
{
    search->parts->cut |= !qk_search_within(search, share);
}

static enum qk_code run(struct qk_search *search, struct qk_error *err)
{
    double level, share;
    QK_TRY(find_layers(search, err));
    QK_TRY(measure_ends(search, err));
    keep_for_confirming(search);
    share = share_of_rest(search, USUAL_END);
    QK_TRY(qk_search_usual(search, share, err));
    note_cut(search, share);
    for (size_t i = 1; i < search->n_trials; i++)
        search->trial[i]->usual = true;
    share = share_of_rest(search, STRENGTHS_END);
    QK_TRY(qk_search_strengths(search, share, err));
    note_cut(search, share);
    share = share_of_rest(search, EFFECTS_END);
    double greedy = share_of_rest(search, GREEDY_END);
    QK_TRY(qk_search_effects(search, share, &level, err));
    note_cut(search, share);
    QK_TRY(qk_search_walk(search, level, greedy, err));
    note_cut(search, greedy);
    QK_TRY(qk_search_refine(search, level, err));
    note_cut(search, 1);
    QK_TRY(qk_search_confirm(search, err));
    search->complete = !search->parts->cut;
    return QK_OK;
}

static enum qk_code make_parts(struct qk_search *search, struct qk_error *err)
{
    const struct qk_search_cases *cases = &search->cases;
    struct qk_search_parts *p;
    QK_TRY(qk_alloc(&p, 1, sizeof *p, err));
    search->parts = p;
    clock_gettime(CLOCK_MONOTONIC, &p->start);
    p->end = 1;
    for (size_t i = 0; i < cases->n; i++) {
        enum qk_search_part part = qk_search_has(search, i, QK_SEARCHED) ? QK_SEARCHED : QK_CONFIRMED;
        p->whole_cost[part] += cases->cost[i];
        p->n_cases[part]++;
    }
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
    const struct qk_search_cases *cases, const struct qk_search_hints *hints,
    const struct qk_search_limits *limits, const struct qk_search_calls *calls, struct qk_error *err)
{
    *search = (struct qk_search){.pair = pair, .cases = *cases};
    QK_TRY(make_parts(search, err));
    search->parts->hints = *hints;
    search->parts->limits = *limits;
    search->parts->calls = *calls;
    enum qk_code code = run(search, err);
    struct qk_error unheard = {0};
    enum qk_code stored = QK_OK;
    if (search->parts->differs != NULL) { /* also of a search that was stopped */
        stored = qk_search_store_effects(search, code == QK_OK ? err : &unheard);
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
