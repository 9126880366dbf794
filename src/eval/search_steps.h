/* search_steps.h - steps: search_usual.c, search_effects.c, search_walk.c, search_refine.c, search_confirm.c. */
#ifndef QK_EVAL_SEARCH_STEPS_H
#define QK_EVAL_SEARCH_STEPS_H

#include "eval/search_moves.h"

/* Asks the selections that are known to be good in full, best known first, up to a share of the limits: the paper's,
 * its keys or queries alone, the heads that carry recall, blends of both, and each kind of layers. */
enum qk_code qk_search_usual(struct qk_search *search, double share, struct qk_error *err);

/* Asks strengths beside those of the best trials so far in full, up to a share of the limits. */
enum qk_code qk_search_strengths(struct qk_search *search, double share, struct qk_error *err);

/* Measures the effects of single layers on samples, up to a share of the limits. *level = the share of the cases in a
 * sample. Layers of a kind whose restore has no clear effect as a whole are left out where time is limited. */
enum qk_code qk_search_effects(struct qk_search *search, double share, double *level, struct qk_error *err);
/* Computes all effects anew from the answers so far. */
enum qk_code qk_search_store_effects(struct qk_search *search, struct qk_error *err);

/* Walks greedily from post and from all restored, for all objectives equally and for each most of all, up to a share
 * of the limits. */
enum qk_code qk_search_walk(struct qk_search *search, double level, double share, struct qk_error *err);

/* Successive halving (Jamieson & Talwalkar 2016) of what is there; then blends, strengths and neighbours of the best
 * trials, halved again, until nothing new comes up. */
enum qk_code qk_search_refine(struct qk_search *search, double level, struct qk_error *err);

/* Asks pre, post and the points of the front the cases that were held out, until the limits are used up. Then it asks
 * the nearest of the other trials that lie in the interval of one of these points: the usual ones first. */
enum qk_code qk_search_confirm(struct qk_search *search, struct qk_error *err);

#endif
