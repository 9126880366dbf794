/* prefill.c - the pass over prompts, layer by layer, in each wave by wave. */
#include "forward/prefill.h"

#include "base/mem.h"
#include "forward/decoder_internal.h"
#include "forward/prefill_plan.h"

#include <stdlib.h>
#include <string.h>

struct prefill {
    struct qk_decoder *decoder;
    const struct qk_kept_run *kept; /* NULL: none */
    struct qk_plan plan;
    size_t layers, width, tokens; /* tokens: of all prompts */
    float *x;                     /* (plan.rows, width) */
    struct qk_sequence *sequence; /* of a wave; plan.n at most */
};

/* --- what is kept --- */

/* The last layer whose input is kept, with the states of all layers below; 0: none. */
static size_t kept_start(const struct prefill *p, const struct qk_prompt *prompt)
{
    size_t start = 0;
    for (size_t l = 1; p->kept != NULL && l < p->layers; l++) {
        const struct qk_kept_entry *entry = qk_kept_find(p->kept->kept, prompt->number, p->kept->number[l]);
        if (entry == NULL)
            break;
        start = entry->x != NULL ? l : start;
    }
    return start;
}

/* Copies the states of the layers that are left out. */
static enum qk_code take_states(struct prefill *p, const struct qk_reader *reader, struct qk_error *err)
{
    for (size_t l = 0; l < reader->start; l++) {
        const struct qk_kept_entry *entry =
            qk_kept_find(p->kept->kept, reader->prompt->number, p->kept->number[l + 1]);
        QK_TRY(qk_layer_state_copy(&entry->state, reader->prompt->n, p->decoder->capacity[reader->sequence],
            qk_decoder_state(p->decoder, reader->sequence, l), err));
    }
    return QK_OK;
}

/* Keeps the prompt's activations behind a layer. Without memory for them it does without. */
static void keep(struct prefill *p, size_t reader, size_t layer)
{
    const struct qk_reader *of = &p->plan.reader[reader];
    const struct qk_layer_state *state = qk_decoder_state(p->decoder, of->sequence, layer);
    size_t number = p->kept->number[layer + 1], n = of->prompt->n;
    size_t inputs = p->kept->inputs[layer + 1] ? n * p->width : 0;
    size_t bytes = inputs * sizeof(float) + qk_layer_state_bytes(state, n);
    struct qk_kept_entry entry = {0};
    struct qk_error unheard = {0};
    if (!p->kept->keep[layer + 1] || qk_kept_find(p->kept->kept, of->prompt->number, number) != NULL ||
        !qk_kept_room(p->kept->kept, bytes))
        return;
    enum qk_code code = qk_layer_state_copy(state, n, n, &entry.state, &unheard);
    if (code == QK_OK && inputs > 0)
        code = qk_alloc_aligned(&entry.x, inputs, sizeof *entry.x, &unheard);
    if (code == QK_OK && entry.x != NULL)
        qk_plan_gather(&p->plan, reader, p->x, p->width, entry.x);
    if (code != QK_OK || !qk_kept_put(p->kept->kept, of->prompt->number, number, bytes, &entry)) {
        free(entry.x);
        qk_layer_state_free(&entry.state);
    }
}

/* --- the pass --- */

static enum qk_code make_plan(struct prefill *p, const struct qk_prompt *const *prompt,
    const size_t *sequence, size_t n, struct qk_error *err)
{
    size_t *start;
    QK_TRY(qk_alloc(&start, n, sizeof *start, err));
    for (size_t i = 0; i < n; i++) {
        start[i] = kept_start(p, prompt[i]);
        p->tokens += prompt[i]->n;
    }
    enum qk_code code = qk_plan_make(prompt, sequence, start, n, &p->plan, err);
    free(start);
    return code;
}

/* Fills the rows of a piece: its tokens, or the kept input of its first layer. */
static enum qk_code fill_piece(struct prefill *p, const struct qk_piece *piece, struct qk_error *err)
{
    const struct qk_reader *reader = &p->plan.reader[piece->reader];
    float *x = p->x + piece->row * p->width;
    if (reader->start == 0)
        return qk_network_embed(
            p->decoder->network, reader->prompt->ids + piece->t0, piece->t0, piece->n, x, err);
    const struct qk_kept_entry *entry =
        qk_kept_find(p->kept->kept, reader->prompt->number, p->kept->number[reader->start]);
    memcpy(x, entry->x + piece->t0 * p->width, piece->n * p->width * sizeof *x);
    return QK_OK;
}

static enum qk_code begin_prefill(struct prefill *p, struct qk_error *err)
{
    QK_TRY(qk_alloc_aligned(&p->x, p->plan.rows * p->width, sizeof *p->x, err));
    QK_TRY(qk_alloc(&p->sequence, p->plan.n, sizeof *p->sequence, err));
    for (size_t i = 0; i < p->plan.n; i++) {
        const struct qk_reader *reader = &p->plan.reader[i];
        QK_TRY(qk_decoder_check(p->decoder, reader->sequence, reader->prompt->n, err));
        QK_TRY(take_states(p, reader, err));
    }
    for (size_t i = 0; i < p->plan.n_pieces; i++)
        QK_TRY(fill_piece(p, &p->plan.piece[i], err));
    return QK_OK;
}

/* The state before a piece. At the reader's first token that is its parent's, which stands there now. */
static enum qk_code state_before(struct prefill *p, const struct qk_layer_weights *weights,
    const struct qk_piece *piece, struct qk_layer_state **out, struct qk_error *err)
{
    const struct qk_reader *reader = &p->plan.reader[piece->reader];
    size_t layer = (size_t)weights->layer->index, sequence = reader->sequence;
    if (piece->t0 == 0 || piece->t0 != reader->from)
        return qk_decoder_make_state(p->decoder, weights, sequence, out, err);
    *out = qk_decoder_state(p->decoder, sequence, layer);
    return qk_layer_state_copy(qk_decoder_state(p->decoder, p->plan.reader[reader->parent].sequence, layer),
        piece->t0, p->decoder->capacity[sequence], *out, err);
}

/* Runs the layer over the pieces of a wave, from piece number `first` on, whose readers begin at it or before. */
static enum qk_code run_wave(struct prefill *p, const struct qk_layer_weights *weights, size_t first,
    struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_piece *piece = &p->plan.piece[first];
    size_t n = 0, most = p->plan.n_pieces - first, layer = (size_t)weights->layer->index;
    for (; n < most && piece[n].wave == piece->wave && p->plan.reader[piece[n].reader].start <= layer; n++) {
        struct qk_layer_state *state;
        QK_TRY(state_before(p, weights, &piece[n], &state, err));
        p->sequence[n] = (struct qk_sequence){piece[n].row - piece->row, piece[n].n, piece[n].t0, state};
    }
    return qk_decoder_run_layer(
        p->decoder, weights, p->x + piece->row * p->width, p->sequence, n, progress, err);
}

static enum qk_code run_layer(
    struct prefill *p, size_t layer, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_plan *plan = &p->plan;
    const struct qk_layer_weights *weights;
    if (plan->reader[0].start > layer)
        return QK_OK;
    QK_TRY(qk_network_layer(p->decoder->network, (int)layer, &weights, err));
    for (size_t i = 0; i < plan->n_pieces; i++)
        if (i == 0 || plan->piece[i].wave != plan->piece[i - 1].wave)
            QK_TRY(run_wave(p, weights, i, progress, err));
    for (size_t i = 0; p->kept != NULL && layer + 1 < p->layers && i < plan->n; i++)
        if (plan->reader[i].start <= layer)
            keep(p, i, layer);
    return QK_OK;
}

/* Computes the logits of the last tokens, whose rows are copied together. */
static enum qk_code finish_prefill(
    struct prefill *p, float *logits, struct qk_progress *progress, struct qk_error *err)
{
    float *last;
    QK_TRY(qk_alloc_aligned(&last, p->plan.n * p->width, sizeof *last, err));
    for (size_t i = 0; i < p->plan.n; i++) {
        const struct qk_reader *reader = &p->plan.reader[i];
        size_t row = qk_plan_row(&p->plan, i, reader->prompt->n - 1);
        memcpy(last + reader->place * p->width, p->x + row * p->width, p->width * sizeof *last);
        p->decoder->length[reader->sequence] = reader->prompt->n;
    }
    enum qk_code code = qk_network_logits(p->decoder->network, last, p->plan.n, logits, progress, err);
    free(last);
    return code;
}

static enum qk_code run_layers(struct prefill *p, struct qk_progress *progress, struct qk_error *err)
{
    for (size_t l = 0; l < p->layers; l++) {
        QK_TRY(qk_progress_check(progress, err));
        QK_TRY(run_layer(p, l, progress, err));
        qk_decoder_count(p->decoder, p->tokens, l, progress);
    }
    return QK_OK;
}

enum qk_code qk_prefill(struct qk_decoder *decoder, const struct qk_prompt *const *prompt,
    const size_t *sequence, size_t n, const struct qk_kept_run *kept, float *logits,
    struct qk_progress *progress, struct qk_error *err)
{
    struct prefill p = {.decoder = decoder,
        .kept = kept,
        .layers = qk_decoder_layers(decoder),
        .width = qk_network_width(decoder->network)};
    enum qk_code code = make_plan(&p, prompt, sequence, n, err);
    if (code == QK_OK)
        code = begin_prefill(&p, err);
    if (code == QK_OK)
        code = run_layers(&p, progress, err);
    if (code == QK_OK)
        code = finish_prefill(&p, logits, progress, err);
    qk_plan_free(&p.plan);
    free(p.sequence);
    free(p.x);
    return code;
}
