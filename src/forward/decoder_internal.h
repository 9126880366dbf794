/* decoder_internal.h - the parts of a decoder that decoder.c (steps) and prefill.c (prompts) share. */
#ifndef QK_FORWARD_DECODER_INTERNAL_H
#define QK_FORWARD_DECODER_INTERNAL_H

#include "forward/decoder.h"

struct qk_decoder {
    struct qk_network *network;
    struct qk_rope_tables tables;
    size_t n, longest;
    size_t *capacity, *length;    /* tokens, n each */
    struct qk_layer_state *state; /* (n, n_layers); capacity 0: not made yet */
};

size_t qk_decoder_layers(const struct qk_decoder *decoder);
/* The state of a sequence in a layer, made or not. */
struct qk_layer_state *qk_decoder_state(struct qk_decoder *decoder, size_t sequence, size_t layer);
/* Makes it when the sequence first needs it. */
enum qk_code qk_decoder_make_state(struct qk_decoder *decoder, const struct qk_layer_weights *weights,
    size_t sequence, struct qk_layer_state **out, struct qk_error *err);
/* QK_INPUT unless n more tokens, at least 1, fit into the sequence. */
enum qk_code qk_decoder_check(
    const struct qk_decoder *decoder, size_t sequence, size_t n, struct qk_error *err);
/* Runs the layer over rows x of n sequences, as many sequences at a time as QK_PART_VALUES allows. Of the last layer
 * only the last row of each sequence is valid. */
enum qk_code qk_decoder_run_layer(struct qk_decoder *decoder, const struct qk_layer_weights *weights,
    float *x, struct qk_sequence *sequence, size_t n, struct qk_progress *progress, struct qk_error *err);
/* Counts a layer of a pass over so many tokens: each layer has an equal share of them. */
void qk_decoder_count(
    const struct qk_decoder *decoder, size_t tokens, size_t layer, struct qk_progress *progress);

#endif
