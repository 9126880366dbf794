/* generate.h - greedy continuations of prompts. */
#ifndef QK_FORWARD_GENERATE_H
#define QK_FORWARD_GENERATE_H

#include "forward/prefill.h"

/* Receives each token of a sequence (an index into the prompts) as it comes; false ends the sequence. */
typedef bool (*qk_token_taken)(void *context, size_t sequence, int32_t id);

/* Continues n prompts together. The next token is the one with the largest logit, of equal ones the lowest. A prompt's
 * continuation depends on neither the others nor what is kept (`kept` may be NULL) nor the number of processors.
 * progress (NULL allowed) counts n + limit tokens a prompt, also for one that ends early. QK_INPUT when the model's
 * logits are not numbers. */
enum qk_code qk_generate(struct qk_network *network, const struct qk_prompt *prompt, size_t n,
    const struct qk_kept_run *kept, qk_token_taken taken, void *context, struct qk_progress *progress,
    struct qk_error *err);

#endif
