/* needle_from_states.h - needle masses from hidden states in files (range/states.h), without a forward pass. */
#ifndef QK_EVAL_NEEDLE_FROM_STATES_H
#define QK_EVAL_NEEDLE_FROM_STATES_H

#include "eval/needle_measure.h"

/* The files of one side: each has the states of one needle, whose tokens begin its input_ids. Borrowed. */
struct qk_needle_files {
    const char *const *path;
    size_t n;
};

/* Fills *out as qk_needle_measure does, for layers whose states are there. Each side runs on its own states, or
 * pre on post's where it has no files. The selection (NULL: none) applies to post's layers on post's states. `needles`
 * keeps those whose states are there. progress (NULL allowed) counts files. QK_INPUT when a file holds no needle, the
 * states of one that another file holds, or other layers than the first one, and when the two sides hold different
 * needles; QK_IO, QK_CANCELLED. *out is freed with qk_needle_pair_free, also after a failure. */
enum qk_code qk_needle_measure_states(const struct qk_pair *pair, struct qk_needles *needles,
    const struct qk_needle_files files[QK_SIDE_COUNT], const struct qk_selection *selection, bool norms,
    struct qk_progress *progress, struct qk_needle_pair *out, struct qk_error *err);

#endif
