/* generate.c - greedy continuations of prompts. */
#include "forward/generate.h"

#include "base/mem.h"
#include "forward/decoder.h"

#include <math.h>
#include <stdlib.h>

struct generation {
    struct qk_network *network;
    struct qk_decoder *decoder;
    const struct qk_prompt *prompt;
    size_t n;
    size_t *made;                /* tokens generated, n */
    int32_t *last;               /* of them, n */
    struct qk_next_tokens *next; /* n_next: the sequences that continue */
    size_t n_next;
    float *logits; /* (n, vocabulary) */
};

/* Index of the largest of n values, the first of equal ones; n when one is not a number. */
static size_t place_of_largest(size_t n, const float *x)
{
    size_t best = 0;
    bool numbers = true;
    for (size_t i = 0; i < n; i++) {
        best = x[i] > x[best] ? i : best;
        numbers &= !isnan(x[i]);
    }
    return numbers ? best : n;
}

static enum qk_code begin(struct generation *g, struct qk_progress *progress, struct qk_error *err)
{
    size_t *capacity;
    QK_TRY(qk_alloc(&g->made, g->n, sizeof *g->made, err));
    QK_TRY(qk_alloc(&g->last, g->n, sizeof *g->last, err));
    QK_TRY(qk_alloc(&g->next, g->n, sizeof *g->next, err));
    QK_TRY(qk_alloc_aligned(&g->logits, g->n * qk_network_vocabulary(g->network), sizeof *g->logits, err));
    QK_TRY(qk_alloc(&capacity, g->n, sizeof *capacity, err));
    for (size_t i = 0; i < g->n; i++) {
        const struct qk_prompt *prompt = &g->prompt[i];
        capacity[i] = prompt->n + prompt->limit;
        if (prompt->limit > 0)
            g->next[g->n_next++].sequence = i;
        else
            qk_progress_add(progress, prompt->n);
    }
    enum qk_code code = qk_decoder_open(g->network, g->n, capacity, &g->decoder, err);
    free(capacity);
    return code;
}

/* Takes each sequence's token; `next` lists those that continue. A token counts as the step that follows it, so the
 * last one is counted here. */
static enum qk_code take(struct generation *g, qk_token_taken taken, void *context,
    struct qk_progress *progress, struct qk_error *err)
{
    size_t vocabulary = qk_network_vocabulary(g->network), left = 0;
    for (size_t k = 0; k < g->n_next; k++) {
        size_t i = g->next[k].sequence, id = place_of_largest(vocabulary, g->logits + k * vocabulary);
        const struct qk_prompt *prompt = &g->prompt[i];
        if (id == vocabulary)
            return qk_fail(err, QK_INPUT, "%s: its logits are not numbers after %zu tokens",
                qk_network_model(g->network)->checkpoint->path, prompt->n + g->made[i]);
        g->last[i] = (int32_t)id;
        g->made[i]++;
        bool goes_on = taken(context, i, g->last[i]) && g->made[i] < prompt->limit;
        if (goes_on) {
            g->next[left++] = (struct qk_next_tokens){i, &g->last[i], 1};
        } else {
            qk_progress_add(progress, prompt->limit - g->made[i] + 1);
            qk_decoder_end(g->decoder, i);
        }
    }
    g->n_next = left;
    return QK_OK;
}

static enum qk_code read_prompts(
    struct generation *g, const struct qk_kept_run *kept, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_prompt **prompt;
    size_t *sequence = NULL;
    if (g->n_next == 0)
        return QK_OK;
    QK_TRY(qk_alloc(&prompt, g->n_next, sizeof(const struct qk_prompt *), err));
    enum qk_code code = qk_alloc(&sequence, g->n_next, sizeof *sequence, err);
    for (size_t i = 0; code == QK_OK && i < g->n_next; i++) {
        sequence[i] = g->next[i].sequence;
        prompt[i] = &g->prompt[sequence[i]];
    }
    if (code == QK_OK)
        code = qk_prefill(g->decoder, prompt, sequence, g->n_next, kept, g->logits, progress, err);
    free(prompt);
    free(sequence);
    return code;
}

enum qk_code qk_generate(struct qk_network *network, const struct qk_prompt *prompt, size_t n,
    const struct qk_kept_run *kept, qk_token_taken taken, void *context, struct qk_progress *progress,
    struct qk_error *err)
{
    struct generation g = {.network = network, .prompt = prompt, .n = n};
    enum qk_code code = begin(&g, progress, err);
    if (code == QK_OK)
        code = read_prompts(&g, kept, progress, err);
    if (code == QK_OK)
        code = take(&g, taken, context, progress, err);
    while (code == QK_OK && g.n_next > 0) {
        code = qk_decoder_step(g.decoder, g.next, g.n_next, g.logits, progress, err);
        if (code == QK_OK)
            code = take(&g, taken, context, progress, err);
    }
    qk_decoder_close(g.decoder);
    free(g.made);
    free(g.last);
    free(g.next);
    free(g.logits);
    return code;
}
