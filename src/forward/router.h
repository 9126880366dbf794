/* router.h - the choice of a token's experts from the router's output.
 *
 * The scores are a softmax over all experts, or a sigmoid of each. The best of them are chosen, where there are groups
 * among the experts of the best groups (DeepSeek-V3: Liu et al. 2024). */
#ifndef QK_FORWARD_ROUTER_H
#define QK_FORWARD_ROUTER_H

#include <stdbool.h>
#include <stddef.h>

enum qk_scoring { QK_SCORING_SOFTMAX, QK_SCORING_SIGMOID };

enum { QK_MOST_GROUPS = 64 };
struct qk_router {
    size_t n, chosen; /* experts, and those of a token: 1 <= chosen <= n */
    /* Groups of n / groups experts each, 1 <= groups_chosen <= groups; chosen <= n / groups * groups_chosen. */
    size_t groups, groups_chosen;
    size_t group_best; /* the score of a group is the sum of so many best ones of its experts: 1 or 2 */
    enum qk_scoring scoring;
    const float *correction; /* (n) added to a score for the choice alone, or NULL */
    bool normalised;         /* weights are divided by their sum + eps */
    float eps, factor;       /* and multiplied by factor */
};

/* Chooses the experts of a token. logits (n) becomes the scores, and choice (n) what the experts are chosen by. Sets
 * expert and weight (chosen each), the best first; of equals the one with the smaller number. Any logits give `chosen`
 * different experts. */
void qk_router_choose(
    const struct qk_router *router, float *logits, float *choice, size_t *expert, float *weight);

#endif
