/* needles.h - needle masses of a session: which heads fetch a needle, measured in the background. */
#ifndef QK_SESSION_NEEDLES_H
#define QK_SESSION_NEEDLES_H

#include "eval/needle_measure.h"
#include "eval/needle_prompt.h"
#include "eval/suggest.h"
#include "session/ranges.h"

/* --- needle masses ---
 * Made prompts (eval/needle_prompt.h), or those of a file, run through pre and post in the background. Then every layer
 * with q and k has masses (range/needle.h) of pre, post and post restored, and current follows each choice: at once on
 * post's kept inputs, the selected layer first (qk_session_want), then exactly, as ranges do. A pass takes all prompts
 * of a file. Made prompts are QK_NEEDLE_PROMPTS of QK_NEEDLE_LENGTH tokens, or fewer where both sides together would
 * take more than QK_NEEDLE_WORK multiplications; QK_NEEDLE_LEAST at least. Inputs of as many prompts are kept as fit
 * into QK_NEEDLE_KEPT bytes. */
enum { QK_NEEDLE_LEAST = 4, QK_NEEDLE_KEPT = 512 << 20 };
#define QK_NEEDLE_WORK 1e13

enum qk_needles_stage {
    QK_NEEDLES_OFF,
    QK_NEEDLES_RUNNING,
    QK_NEEDLES_READY,
    QK_NEEDLES_FAILED, /* why: error */
    QK_NEEDLES_CANCELLED,
};
struct qk_needles_state {
    enum qk_needles_stage stage;
    const char *file;     /* of cases; NULL: made prompts */
    uint64_t done, total; /* tokens times layers of both passes; total 0: not known yet */
    const char *error;    /* FAILED: one line, else NULL */
    struct qk_exact_state exact;
    /* READY; NULL otherwise. */
    const struct qk_needles *needles;
    size_t n_skipped; /* cases of the file that are no needles */
    const struct qk_needle_states *kept;
    bool fetches; /* a head of pre fetches needles (qk_needle_fetches) */
};
/* Starts the passes over the prompts of a file of cases (copied; NULL: made prompts), and drops the numbers of earlier
 * ones. It never waits. The state FAILED gives the reason why there can be no numbers, such as a family without a
 * forward pass, or no tokenizer. */
enum qk_code qk_session_needles(struct qk_session *session, const char *file, struct qk_error *err);
void qk_session_needles_cancel(struct qk_session *session); /* also an exact run */
const struct qk_needles_state *qk_session_needles_state(const struct qk_session *session);

struct qk_session_needle {
    const struct qk_needle_layer *side[QK_SIDE_COUNT]; /* each on its own inputs; as many heads */
    const struct qk_needle_layer *restored;            /* on post's inputs; NULL when it cannot be restored */
    const struct qk_needle_layer *current;             /* NULL: PENDING or FAILED */
    const struct qk_needles *current_needles;          /* its columns: all, or those whose inputs are kept */
    enum qk_current_range current_is;
    const char *current_error;
    int largest;      /* head with the largest mass in pre */
    int largest_drop; /* head with the largest drop */
};
/* False without numbers of the layer: not READY, or no q and k on both sides. Pointers are valid until the next
 * poll. */
bool qk_session_needle(const struct qk_session *session, int layer, struct qk_session_needle *out);
/* What selectors test, n_layers entries, or NULL until it is known. */
const struct qk_head_numbers *qk_session_needle_numbers(const struct qk_session *session);

/* *out = the proposals that these masses lead to (eval/suggest.h), not measured; valid until the next poll. It runs no
 * model. QK_USAGE unless READY; QK_INPUT, QK_IO. */
enum qk_code qk_session_suggest(
    struct qk_session *session, const struct qk_suggestion **out, struct qk_error *err);

/* The kept needle to look at, number of `kept`: the one in the middle. -1 without any. */
int qk_session_needle_shown(const struct qk_session *session);
/* The text of its token i, as qk_session_probe_piece. */
const char *qk_session_needle_piece(const struct qk_session *session, size_t i, size_t *n);
/* The attention of a head from one of its tokens, as qk_session_attention_row: query + 1 values on post's inputs, or
 * NULL until computed. */
const float *qk_session_needle_row(
    struct qk_session *session, int layer, int head, size_t query, enum qk_range_side side);
/* Why the attention of the last request could not be computed, or NULL. */
const char *qk_session_needle_row_error(const struct qk_session *session);

#endif
