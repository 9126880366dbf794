/* suggest.h - selections worth a try, from needle masses alone: no cases are asked.
 *
 * careful       the keys that the recall heads read, so that every query stays as post has it
 * recall heads  q of the recall heads, and the keys that they read
 * QK-Restore    q and k of every softmax layer, as in the paper (arXiv 2606.11052)
 * A selection that changes nothing, or the same as an earlier one, is left out. Without recall heads QK-Restore alone
 * is left. Masses do not show the loss of other skills, so nothing is said about it. */
#ifndef QK_EVAL_SUGGEST_H
#define QK_EVAL_SUGGEST_H

#include "eval/recall_heads.h"

enum { QK_PROPOSALS = 3 };

struct qk_proposal {
    const char *name, *slug; /* "recall heads", "recall-heads"; static */
    char *reason;            /* one sentence; owned */
    struct qk_selection selection;
    char *set;                    /* its --set texts, with a space between them (qk_spec_text); owned */
    int layers;                   /* with a head that is not kept */
    int heads[QK_ROLE_COUNT];     /* heads that are not kept */
    uint64_t bytes;               /* of post's tensors that change */
    bool measured;                /* qk_proposal_measure set the two below */
    struct qk_needle_mean mass;   /* of the recall heads, by post with the selection */
    struct qk_needle_mean gained; /* the same less post's, on the same needles */
};

struct qk_suggestion {
    struct qk_recall recall;
    char *verdict;                             /* the recall heads, or why they cannot be known; owned */
    struct qk_needle_mean mass[QK_SIDE_COUNT]; /* of the recall heads: mean over them; NaN without any */
    struct qk_needle_mean drop;                /* of pre to post, on the same needles */
    struct qk_proposal proposal[QK_PROPOSALS]; /* n */
    int n;
};

/* Fills *out from measured masses (qk_needle_measure) of these needles; it runs no model. Freed with
 * qk_suggestion_free, also after a failure. QK_INPUT when a choice cannot be computed; QK_IO. */
enum qk_code qk_suggest(const struct qk_pair *pair, const struct qk_needles *needles,
    const struct qk_needle_pair *measured, struct qk_suggestion *out, struct qk_error *err);
void qk_suggestion_free(struct qk_suggestion *suggestion);

/* Runs the needles through post with proposal i, and sets its `mass` and `gained`. Without recall heads it does
 * nothing. memory and progress as for qk_needle_measure. QK_INPUT, QK_IO, QK_CANCELLED. */
enum qk_code qk_proposal_measure(const struct qk_pair *pair, const struct qk_needles *needles,
    const struct qk_needle_pair *measured, size_t memory, struct qk_progress *progress,
    struct qk_suggestion *suggestion, int i, struct qk_error *err);

/* The share of the drop that a measured proposal gives back; NaN where the drop's bound is not above 0, because the
 * quotient of two numbers of noise says nothing. */
double qk_proposal_share(const struct qk_suggestion *suggestion, const struct qk_proposal *proposal);

#endif
