/* prefill.h - the prompts of a decoder's sequences, read together.
 *
 * Prompts that begin with the same tokens compute them once, up to a border of tiles (forward/products.h). Layers
 * whose outputs are kept (forward/kept.h) are left out. Neither changes a bit of the logits. */
#ifndef QK_FORWARD_PREFILL_H
#define QK_FORWARD_PREFILL_H

#include "forward/decoder.h"
#include "forward/kept.h"

struct qk_prompt {
    const int32_t *ids; /* n, at least 1; borrowed */
    size_t n, limit;    /* limit: the most tokens to generate */
    size_t number;      /* of the prompt among those that are kept */
};

/* The tokens of b that are computed once when a and b are read together: up to the last border of tiles in what both
 * begin with. The last token is always b's own. */
size_t qk_prompt_shared(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b);

/* Reads the n prompts into new sequences of the decoder: prompt i into sequence[i]. logits (n, vocabulary) are those
 * behind each one's last token. They depend on neither the other prompts nor `kept` (NULL allowed) nor the number of
 * processors. progress (NULL allowed) counts tokens. After an error or a cancellation, the only valid call is
 * qk_decoder_close. */
enum qk_code qk_prefill(struct qk_decoder *decoder, const struct qk_prompt *const *prompt,
    const size_t *sequence, size_t n, const struct qk_kept_run *kept, float *logits,
    struct qk_progress *progress, struct qk_error *err);

#endif
