/* decoder.h - a network over sequences that grow: keys and values of softmax layers and the states of linear
 * ones are kept, so that a new token costs one token. */
#ifndef QK_FORWARD_DECODER_H
#define QK_FORWARD_DECODER_H

#include "forward/network.h"

struct qk_decoder;

/* Of n sequences, of at most capacity[i] tokens each. The network is borrowed. Freed with qk_decoder_close
 * (NULL allowed). QK_INPUT when one is longer than the network takes. */
enum qk_code qk_decoder_open(struct qk_network *network, size_t n, const size_t *capacity,
    struct qk_decoder **out, struct qk_error *err);
void qk_decoder_close(struct qk_decoder *decoder);
/* Frees what is kept of a sequence, which takes no more tokens. */
void qk_decoder_end(struct qk_decoder *decoder, size_t sequence);

/* The next tokens of a sequence, n at least 1. */
struct qk_next_tokens {
    size_t sequence;
    const int32_t *ids;
    size_t n;
};
/* Moves n different sequences on. logits (n, vocabulary) are those of each one's last token; they do not hang
 * on the number of processors. progress (NULL allowed) counts tokens. After an error, and after a
 * cancellation, the decoder is good for nothing but to be closed. */
enum qk_code qk_decoder_step(struct qk_decoder *decoder, const struct qk_next_tokens *next, size_t n,
    float *logits, struct qk_progress *progress, struct qk_error *err);

#endif
