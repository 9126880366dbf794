/* decoder.h - a network over sequences that grow. It keeps keys and values of softmax layers and the states of linear
 * ones, so that a new token costs one token. */
#ifndef QK_FORWARD_DECODER_H
#define QK_FORWARD_DECODER_H

#include "forward/network.h"

struct qk_decoder;

/* Makes a decoder for n sequences of at most capacity[i] tokens each. The network is borrowed. Freed with
 * qk_decoder_close (NULL allowed). QK_INPUT when a sequence is longer than the network takes. */
enum qk_code qk_decoder_open(struct qk_network *network, size_t n, const size_t *capacity,
    struct qk_decoder **out, struct qk_error *err);
void qk_decoder_close(struct qk_decoder *decoder);
/* Frees the states of a sequence, which then takes no more tokens. */
void qk_decoder_end(struct qk_decoder *decoder, size_t sequence);

/* The next tokens of a sequence, n at least 1. */
struct qk_next_tokens {
    size_t sequence;
    const int32_t *ids;
    size_t n;
};
/* Moves n different sequences on. logits (n, vocabulary) are those of each one's last token; they do not depend on
 * the number of processors. progress (NULL allowed) counts tokens. After an error or a cancellation, the only valid
 * call is qk_decoder_close. */
enum qk_code qk_decoder_step(struct qk_decoder *decoder, const struct qk_next_tokens *next, size_t n,
    float *logits, struct qk_progress *progress, struct qk_error *err);

#endif
