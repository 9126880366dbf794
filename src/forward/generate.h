/* generate.h - greedy continuations of prompts. */
#ifndef QK_FORWARD_GENERATE_H
#define QK_FORWARD_GENERATE_H

#include "forward/network.h"

struct qk_prompt {
    const int32_t *ids; /* n, at least 1; borrowed */
    size_t n, limit;    /* limit: the most tokens to generate */
};

/* Receives each token of a sequence (an index into the prompts) as it comes; false ends the sequence. */
typedef bool (*qk_token_taken)(void *context, size_t sequence, int32_t id);

/* Continues n prompts together. The next token is the one with the largest logit, of equal ones the lowest. The same
 * prompts in the same order always have the same continuations, on any number of processors. progress (NULL allowed)
 * counts n + limit tokens a prompt, also for one that ends early. QK_INPUT when the model's logits are not
 * numbers. */
enum qk_code qk_generate(struct qk_network *network, const struct qk_prompt *prompt, size_t n,
    qk_token_taken taken, void *context, struct qk_progress *progress, struct qk_error *err);

#endif
