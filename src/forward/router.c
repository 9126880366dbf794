/* router.c - scores of experts, and the choice of the best. */
#include "forward/router.h"

#include <math.h>
#include <string.h>

/* Puts i among the best so far, n of at most `most`, best first; returns their new number. */
static size_t place(const float *score, size_t i, size_t *best, size_t n, size_t most)
{
    if (n == most && !(score[i] > score[best[n - 1]]))
        return n;
    size_t at = n < most ? n : n - 1;
    for (; at > 0 && score[i] > score[best[at - 1]]; at--)
        best[at] = best[at - 1];
    best[at] = i;
    return n < most ? n + 1 : n;
}

static void make_scores(const struct qk_router *router, float *x)
{
    double sum = 0, most = -INFINITY;
    for (size_t i = 0; i < router->n; i++)
        most = (double)x[i] > most ? (double)x[i] : most;
    for (size_t i = 0; i < router->n && router->scoring == QK_SCORING_SOFTMAX; i++)
        sum += exp((double)x[i] - most);
    for (size_t i = 0; i < router->n; i++)
        x[i] = (float)(router->scoring == QK_SCORING_SOFTMAX ? exp((double)x[i] - most) / sum
                                                             : 1 / (1 + exp(-(double)x[i])));
}

/* allowed[g]: group g is among the best. */
static void choose_groups(const struct qk_router *router, const float *choice, bool allowed[QK_MOST_GROUPS])
{
    size_t each = router->n / router->groups, chosen[QK_MOST_GROUPS], n_chosen = 0;
    float score[QK_MOST_GROUPS];
    for (size_t g = 0; g < router->groups; g++) {
        size_t best[2] = {0}, n = 0;
        for (size_t i = 0; i < each; i++)
            n = place(choice + g * each, i, best, n, 2);
        score[g] = choice[g * each + best[0]];
        if (router->group_best == 2 && n == 2)
            score[g] += choice[g * each + best[1]];
        allowed[g] = false;
    }
    for (size_t g = 0; g < router->groups; g++)
        n_chosen = place(score, g, chosen, n_chosen, router->groups_chosen);
    for (size_t i = 0; i < n_chosen; i++)
        allowed[chosen[i]] = true;
}

/* Sets expert (chosen) by what they are chosen by: choice (n). */
static void choose(const struct qk_router *router, const float *choice, size_t *expert)
{
    bool allowed[QK_MOST_GROUPS];
    size_t each = router->n / router->groups, n = 0;
    choose_groups(router, choice, allowed);
    for (size_t i = 0; i < router->n; i++)
        if (allowed[i / each])
            n = place(choice, i, expert, n, router->chosen);
}

void qk_router_choose(
    const struct qk_router *router, float *logits, float *choice, size_t *expert, float *weight)
{
    double sum = (double)router->eps;
    make_scores(router, logits);
    for (size_t i = 0; i < router->n; i++)
        choice[i] = logits[i] + (router->correction != NULL ? router->correction[i] : 0.0f);
    choose(router, choice, expert);
    for (size_t i = 0; i < router->chosen; i++)
        sum += (double)logits[expert[i]];
    for (size_t i = 0; i < router->chosen; i++)
        weight[i] =
            (float)((double)logits[expert[i]] / (router->normalised ? sum : 1) * (double)router->factor);
}
