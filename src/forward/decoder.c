/* decoder.c - a network over sequences that grow. */
#include "forward/decoder_internal.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

size_t qk_decoder_layers(const struct qk_decoder *decoder)
{
    return (size_t)qk_network_model(decoder->network)->n_layers;
}

enum qk_code qk_decoder_open(struct qk_network *network, size_t n, const size_t *capacity,
    struct qk_decoder **out, struct qk_error *err)
{
    struct qk_decoder *decoder;
    *out = NULL;
    QK_TRY(qk_alloc(&decoder, 1, sizeof *decoder, err));
    decoder->network = network;
    decoder->n = n;
    enum qk_code code = qk_alloc(&decoder->capacity, n, sizeof *decoder->capacity, err);
    if (code == QK_OK)
        code = qk_alloc(&decoder->length, n, sizeof *decoder->length, err);
    if (code == QK_OK)
        code = qk_alloc(&decoder->state, n * qk_decoder_layers(decoder), sizeof *decoder->state, err);
    for (size_t i = 0; code == QK_OK && i < n; i++) {
        decoder->capacity[i] = capacity[i];
        decoder->longest = capacity[i] > decoder->longest ? capacity[i] : decoder->longest;
    }
    if (code == QK_OK && decoder->longest > qk_network_tokens(network))
        code = qk_fail(err, QK_INPUT, "%s: a sequence is too long (found %zu tokens, expected at most %zu)",
            qk_network_model(network)->checkpoint->path, decoder->longest, qk_network_tokens(network));
    if (code == QK_OK)
        *out = decoder;
    else
        qk_decoder_close(decoder);
    return code;
}

void qk_decoder_end(struct qk_decoder *decoder, size_t sequence)
{
    size_t layers = qk_decoder_layers(decoder);
    for (size_t l = 0; l < layers; l++)
        qk_layer_state_free(&decoder->state[sequence * layers + l]);
}

void qk_decoder_close(struct qk_decoder *decoder)
{
    if (decoder == NULL)
        return;
    for (size_t i = 0; decoder->state != NULL && i < decoder->n; i++)
        qk_decoder_end(decoder, i);
    qk_rope_tables_free(&decoder->tables);
    free(decoder->capacity);
    free(decoder->length);
    free(decoder->state);
    free(decoder);
}

/* --- layers --- */

struct qk_layer_state *qk_decoder_state(struct qk_decoder *decoder, size_t sequence, size_t layer)
{
    return &decoder->state[sequence * qk_decoder_layers(decoder) + layer];
}

enum qk_code qk_decoder_make_state(struct qk_decoder *decoder, const struct qk_layer_weights *weights,
    size_t sequence, struct qk_layer_state **out, struct qk_error *err)
{
    *out = qk_decoder_state(decoder, sequence, (size_t)weights->layer->index);
    if ((*out)->capacity > 0)
        return QK_OK;
    return qk_layer_state_make(weights, decoder->capacity[sequence], *out, err);
}

enum qk_code qk_decoder_check(
    const struct qk_decoder *decoder, size_t sequence, size_t n, struct qk_error *err)
{
    size_t t0 = decoder->length[sequence], most = decoder->capacity[sequence];
    if (n > 0 && n <= most - t0)
        return QK_OK;
    return qk_fail(err, QK_INPUT, "%s: %zu tokens behind %zu of a sequence of at most %zu",
        qk_network_model(decoder->network)->checkpoint->path, n, t0, most);
}

enum qk_code qk_decoder_run_layer(struct qk_decoder *decoder, const struct qk_layer_weights *weights,
    float *x, struct qk_sequence *sequence, size_t n, struct qk_progress *progress, struct qk_error *err)
{
    for (size_t i = 0, end; i < n; i = end) {
        struct qk_batch part;
        size_t row;
        end = qk_batch_cut(sequence, n, i, weights->stream, decoder->longest, &part, &row);
        part.ends = (size_t)weights->layer->index + 1 == qk_decoder_layers(decoder);
        QK_TRY(
            qk_layer_run(weights, x + row * weights->stream, &part, &decoder->tables, NULL, progress, err));
        qk_batch_put_back(sequence, i, end, row);
    }
    return QK_OK;
}

void qk_decoder_count(
    const struct qk_decoder *decoder, size_t tokens, size_t layer, struct qk_progress *progress)
{
    size_t layers = qk_decoder_layers(decoder);
    qk_progress_add(progress, tokens * (layer + 1) / layers - tokens * layer / layers);
}

/* --- a step --- */

struct step {
    struct qk_decoder *decoder;
    const struct qk_next_tokens *next;
    size_t n, T;
    float *x; /* (T, width) */
    struct qk_sequence *sequence;
};

static enum qk_code begin_step(struct step *step, struct qk_error *err)
{
    struct qk_decoder *decoder = step->decoder;
    size_t width = qk_network_width(decoder->network);
    for (size_t i = 0; i < step->n; i++) {
        QK_TRY(qk_decoder_check(decoder, step->next[i].sequence, step->next[i].n, err));
        step->T += step->next[i].n;
    }
    QK_TRY(qk_alloc_aligned(&step->x, step->T * width, sizeof *step->x, err));
    QK_TRY(qk_alloc(&step->sequence, step->n, sizeof *step->sequence, err));
    for (size_t i = 0, first = 0; i < step->n; first += step->next[i++].n) {
        const struct qk_next_tokens *next = &step->next[i];
        step->sequence[i] = (struct qk_sequence){first, next->n, decoder->length[next->sequence], NULL};
        QK_TRY(qk_network_embed(
            decoder->network, next->ids, step->sequence[i].t0, next->n, step->x + first * width, err));
    }
    return QK_OK;
}

static enum qk_code set_states(
    struct step *step, const struct qk_layer_weights *weights, struct qk_error *err)
{
    for (size_t i = 0; i < step->n; i++)
        QK_TRY(qk_decoder_make_state(
            step->decoder, weights, step->next[i].sequence, &step->sequence[i].state, err));
    return QK_OK;
}

static enum qk_code run_layers(struct step *step, struct qk_progress *progress, struct qk_error *err)
{
    size_t layers = qk_decoder_layers(step->decoder);
    for (size_t l = 0; l < layers; l++) {
        const struct qk_layer_weights *weights;
        QK_TRY(qk_progress_check(progress, err));
        QK_TRY(qk_network_layer(step->decoder->network, (int)l, &weights, err));
        QK_TRY(set_states(step, weights, err));
        QK_TRY(qk_decoder_run_layer(step->decoder, weights, step->x, step->sequence, step->n, progress, err));
        qk_decoder_count(step->decoder, step->T, l, progress);
    }
    return QK_OK;
}

/* Computes the logits of each sequence's last token, whose rows move to the front of x. */
static enum qk_code finish_step(
    struct step *step, float *logits, struct qk_progress *progress, struct qk_error *err)
{
    size_t width = qk_network_width(step->decoder->network);
    for (size_t i = 0; i < step->n; i++) {
        const struct qk_sequence *s = &step->sequence[i];
        memmove(step->x + i * width, step->x + (s->first + s->n - 1) * width, width * sizeof *step->x);
        step->decoder->length[step->next[i].sequence] += s->n;
    }
    return qk_network_logits(step->decoder->network, step->x, step->n, logits, progress, err);
}

enum qk_code qk_decoder_step(struct qk_decoder *decoder, const struct qk_next_tokens *next, size_t n,
    float *logits, struct qk_progress *progress, struct qk_error *err)
{
    struct step step = {.decoder = decoder, .next = next, .n = n};
    enum qk_code code = begin_step(&step, err);
    if (code == QK_OK)
        code = run_layers(&step, progress, err);
    if (code == QK_OK)
        code = finish_step(&step, logits, progress, err);
    free(step.sequence);
    free(step.x);
    return code;
}
