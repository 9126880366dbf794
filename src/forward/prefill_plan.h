/* prefill_plan.h - the rows that a pass over prompts with common beginnings computes, and their order. */
#ifndef QK_FORWARD_PREFILL_PLAN_H
#define QK_FORWARD_PREFILL_PLAN_H

#include "forward/prefill.h"

/* A prompt of the plan. It computes its tokens from `from` on; those before are tokens of its parent. Parents come
 * before their children. */
struct qk_reader {
    const struct qk_prompt *prompt;
    size_t sequence, place; /* place: in the list of the prompts */
    size_t start;           /* the first layer that is computed */
    size_t from, parent;
};

/* Rows row .. row + n of the pass: tokens t0 .. t0 + n of a reader. A piece ends where a child begins, for the child
 * takes the reader's state there. So a child's first piece has a later wave. */
struct qk_piece {
    size_t reader, t0, n, wave, row;
};

struct qk_plan {
    struct qk_reader *reader; /* n */
    struct qk_piece *piece;   /* n_pieces, by wave, in each by their reader's start */
    size_t n, n_pieces, capacity, rows, waves;
};

/* Makes a plan; start[i] is the layer at which prompt i begins. Only prompts that begin at the same layer share.
 * Freed with qk_plan_free, also after a failure. */
enum qk_code qk_plan_make(const struct qk_prompt *const *prompt, const size_t *sequence, const size_t *start,
    size_t n, struct qk_plan *out, struct qk_error *err);
void qk_plan_free(struct qk_plan *plan);

/* The row of a reader's own token. */
size_t qk_plan_row(const struct qk_plan *plan, size_t reader, size_t t);
/* out (n, width) = the rows of all the reader's tokens, also its parents'. */
void qk_plan_gather(const struct qk_plan *plan, size_t reader, const float *x, size_t width, float *out);

#endif
