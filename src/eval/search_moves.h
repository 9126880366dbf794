/* search_moves.h - the changes of a selection that a search tries. */
#ifndef QK_EVAL_SEARCH_MOVES_H
#define QK_EVAL_SEARCH_MOVES_H

#include "eval/search_trials.h"

/* One or both roles of a layer get a choice, or with `head` one of its heads alone (both: the key head with the query
 * head). */
struct qk_search_move {
    int layer;
    enum qk_effect_roles roles;
    const struct qk_search_head *head; /* NULL: all heads */
    double gain;                       /* expected */
};

/* Makes a move: sets the choice. */
enum qk_code qk_search_set(const struct qk_search *search, struct qk_selection *selection,
    const struct qk_search_move *move, struct qk_choice choice, struct qk_error *err);
/* Measures `from` with one move made: restored, or with `restore` false kept. */
enum qk_code qk_search_try(struct qk_search *search, const struct qk_selection *from,
    const struct qk_search_move *move, bool restore, double level, const char *stage, struct qk_trial **out,
    struct qk_error *err);
/* True when all that the move sets has this mode. */
bool qk_search_is(const struct qk_selection *selection, const struct qk_search_move *move, enum qk_mode mode);

/* Sets the choice for those roles of every layer of the kinds (bits 1 << enum qk_kind) that takes it. */
enum qk_code qk_search_set_kinds(const struct qk_search *search, struct qk_selection *selection,
    unsigned kinds, enum qk_effect_roles roles, struct qk_choice choice, struct qk_error *err);

#endif
