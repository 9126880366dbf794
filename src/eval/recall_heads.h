/* recall_heads.h - the query heads that carry recall, by their needle masses, and how sure that is.
 *
 * A bound is a mean less `margin` standard errors. The margin is Student's t for n - 1 degrees of freedom (n needles),
 * such that all bounds of all heads hold at once with a probability of 1 - QK_RECALL_LEVEL (Bonferroni's rule, two
 * bounds a head). A head
 *   fetches  when its mass in pre has a bound above background + QK_NEEDLE_FETCHES, and it is in the upper of the two
 *            groups into which the masses of all heads fall. These have the least sum of squares about their means
 *            (Fisher 1958; Otsu 1979), so each mass is nearer to its own group's mean;
 *   lost     when its drop has a bound above QK_NEEDLE_FETCHES.
 * Either makes it a recall head. The background is the mass of an even attention. The bound alone would let in heads
 * that look at the needle now and then; the groups alone would split noise. */
#ifndef QK_EVAL_RECALL_HEADS_H
#define QK_EVAL_RECALL_HEADS_H

#include "eval/needle_rank.h"

#define QK_RECALL_LEVEL 0.05

enum qk_recall_verdict {
    QK_RECALL_FOUND,  /* there are recall heads */
    QK_RECALL_UNSURE, /* a mass is above background + QK_NEEDLE_FETCHES, but no bound */
    QK_RECALL_NONE,   /* no mass is */
};

struct qk_recall_head {
    struct qk_needle_head of;
    int key; /* the key head that it reads; -1: the layer has no keys of its own */
    bool fetches, lost;
    bool unsure; /* it would fetch if its mass were certain: more needles decide */
};

struct qk_recall {
    enum qk_recall_verdict verdict;
    size_t n_needles;
    double background; /* mass of an even attention over the prompts */
    double margin;     /* standard errors in a bound; infinite with a single needle */
    double split;      /* masses of the upper group are above it; NaN where all masses are equal */
    struct qk_recall_head
        *head; /* n: recall heads first, largest drop first; the others by mass in pre. Owned */
    size_t n, n_recall, n_unsure;
    /* The least mass of a recall head less the largest of another head, over the same needles; NaN without both. */
    struct qk_needle_mean gap;
    bool clear; /* the gap's bound is above QK_NEEDLE_FETCHES */
};

/* The mass of an even attention: the mean over needles and answer tokens j of 2 / (t_j + 1). */
double qk_recall_background(const struct qk_needles *needles);

/* Fills *out from the masses of pre and post; it runs nothing. Freed with qk_recall_free, also after a failure. QK_IO
 * when there is no memory. */
enum qk_code qk_recall_find(const struct qk_pair *pair, const struct qk_needle_pair *measured,
    double background, struct qk_recall *out, struct qk_error *err);
void qk_recall_free(struct qk_recall *recall);

/* The bound: mean - margin * error; NaN when it is unknown. */
double qk_recall_bound(const struct qk_recall *recall, struct qk_needle_mean mean);

#endif
