/* search_confirm.c - the answers of the front, and of the trials near it, to the cases that were held out. */
#include "eval/search_steps.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

/* Standard errors around a difference that hold 95 % of a normal distribution, and the most trials near the front. */
static const double NEAR = 1.959964;
enum { MOST_NEAR = 12 };

/* *list = the trials on the front, those farthest from their neighbours first, as time may not suffice for all. */
static enum qk_code list_front(
    const struct qk_search *search, struct qk_trial ***list, size_t *n, struct qk_error *err)
{
    QK_TRY(qk_alloc(list, search->n_trials, sizeof **list, err));
    *n = 0;
    for (size_t i = 0; i < search->n_trials; i++)
        if (search->trial[i]->front)
            (*list)[(*n)++] = search->trial[i];
    return qk_search_rank(search, *list, *n, err);
}

/* --- near the front --- */

struct candidate {
    struct qk_trial *trial;
    double distance;
    size_t index;
};

/* What the trial lacks to the point in the worst objective, in standard errors of their difference. */
static double distance_to(
    const struct qk_search *search, const struct qk_trial *trial, const struct qk_trial *point)
{
    double distance = 0;
    for (size_t o = 0; o < search->cases.n_objectives; o++) {
        struct qk_estimate lack = qk_search_difference(search, point, trial, o);
        if (lack.value > 0)
            distance = fmax(distance, lack.error > 0 ? lack.value / lack.error : HUGE_VAL);
    }
    return distance;
}

/* The distance to the nearest point of the front. */
static double distance_of(const struct qk_search *search, const struct qk_trial *trial,
    struct qk_trial *const *front, size_t n_front)
{
    double least = HUGE_VAL;
    for (size_t i = 0; i < n_front; i++)
        least = fmin(least, distance_to(search, trial, front[i]));
    return least;
}

static int by_distance(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->trial->usual != y->trial->usual)
        return x->trial->usual ? -1 : 1;
    if (x->distance != y->distance)
        return x->distance < y->distance ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

/* Confirms the trials that one answer more or less might have put on the front. */
static enum qk_code confirm_near(
    struct qk_search *search, struct qk_trial *const *front, size_t n_front, struct qk_error *err)
{
    struct candidate *near;
    size_t n = 0;
    QK_TRY(qk_alloc(&near, search->n_trials, sizeof *near, err));
    for (size_t i = 1; i < search->n_trials; i++) {
        struct candidate c = {search->trial[i], HUGE_VAL, i};
        if (!c.trial->front && c.trial->n_asked == search->parts->n_cases[QK_SEARCHED])
            c.distance = distance_of(search, c.trial, front, n_front);
        if (c.distance <= NEAR)
            near[n++] = c;
    }
    if (n > 1)
        qsort(near, n, sizeof *near, by_distance);
    enum qk_code code = QK_OK;
    for (size_t i = 0; i < n && i < MOST_NEAR && code == QK_OK; i++)
        code = qk_search_ask_held_out(search, near[i].trial, "confirm", err);
    free(near);
    return code;
}

enum qk_code qk_search_confirm(struct qk_search *search, struct qk_error *err)
{
    struct qk_trial **list = NULL;
    size_t n;
    if (search->parts->n_cases[QK_CONFIRMED] == 0)
        return QK_OK;
    search->parts->end = 1;
    QK_TRY(qk_search_mark_front(search, err));
    QK_TRY(qk_search_ask_held_out(search, search->trial[0], "confirm", err));
    QK_TRY(qk_search_ask_pre(search, QK_CONFIRMED, err));
    enum qk_code code = list_front(search, &list, &n, err);
    for (size_t i = 0; i < n && code == QK_OK; i++)
        code = qk_search_ask_held_out(search, list[i], "confirm", err);
    if (code == QK_OK)
        code = confirm_near(search, list, n, err);
    free(list);
    return code;
}
