/* needle_measure.c - the passes of a pair over needles, one model at a time. */
#include "eval/needle_measure.h"

#include "base/mem.h"
#include "blend/patch.h"
#include "range/restored.h"

#include <stdlib.h>

static void free_layers(struct qk_needle_layer **layers, int n)
{
    for (int i = 0; *layers != NULL && i < n; i++)
        qk_needle_layer_free(&(*layers)[i]);
    free(*layers);
    *layers = NULL;
}

void qk_needle_pair_free(struct qk_needle_pair *measured)
{
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        free_layers(&measured->side[s], measured->n_layers);
    free_layers(&measured->restored, measured->n_layers);
    free_layers(&measured->current, measured->n_layers);
}

struct measure {
    const struct qk_pair *pair;
    const struct qk_needles *needles;
    size_t memory, longest, tokens;
    struct qk_progress *progress;
    struct qk_needle_pair *out;
    struct qk_selection_patch restored;
};

/* Runs post's layer restored on the given inputs; a layer that cannot be restored has no numbers. */
static enum qk_code measure_restored(
    void *context, int layer, size_t first, size_t n, const float *x, size_t d, struct qk_error *err)
{
    struct measure *m = context;
    struct qk_error refused = {0};
    (void)d;
    if (!m->pair->layer[layer].has_qk)
        return QK_OK;
    enum qk_code code = qk_needle_same(m->pair->model[QK_POST], &m->restored.patch, layer, m->needles, first,
        n, x, m->progress, &m->out->restored[layer], &refused);
    if (code == QK_INPUT) {
        qk_needle_layer_free(&m->out->restored[layer]);
        return QK_OK;
    }
    return code == QK_OK ? QK_OK : qk_fail(err, code, "%s", refused.text);
}

static enum qk_code measure_model(struct measure *m, enum qk_side side, const struct qk_patch *patch,
    const struct qk_needle_watch *watch, struct qk_needle_layer **out, struct qk_error *err)
{
    struct qk_network *network;
    QK_TRY(qk_alloc(out, (size_t)m->pair->n_layers, sizeof **out, err));
    QK_TRY(qk_network_open(m->pair->model[side], patch, m->longest, m->memory, &network, err));
    enum qk_code code = qk_needle_run(network, m->needles, watch, m->progress, *out, err);
    qk_network_close(network);
    return code;
}

static enum qk_code measure_sides(struct measure *m, struct qk_error *err)
{
    const struct qk_needle_watch watch = {.context = m, .state = measure_restored};
    QK_TRY(qk_alloc(&m->out->restored, (size_t)m->pair->n_layers, sizeof *m->out->restored, err));
    QK_TRY(measure_model(m, QK_PRE, NULL, NULL, &m->out->side[QK_PRE], err));
    enum qk_code code = qk_restored_patch_make(m->pair, &m->restored, err);
    if (code == QK_OK)
        code = measure_model(m, QK_POST, NULL, &watch, &m->out->side[QK_POST], err);
    qk_selection_patch_free(&m->restored);
    return code;
}

static enum qk_code measure_current(
    struct measure *m, const struct qk_selection *selection, bool norms, struct qk_error *err)
{
    struct qk_selection_patch patch;
    enum qk_code code = qk_selection_patch_make(m->pair, selection, -1, norms, &patch, err);
    if (code == QK_OK)
        code = measure_model(m, QK_POST, &patch.patch, NULL, &m->out->current, err);
    qk_selection_patch_free(&patch);
    return code;
}

/* Counts the needles for the passes to come. */
static void count_needles(struct measure *m, uint64_t passes)
{
    for (size_t i = 0; i < m->needles->n; i++) {
        m->tokens += m->needles->item[i].T;
        m->longest = m->needles->item[i].T > m->longest ? m->needles->item[i].T : m->longest;
    }
    qk_progress_total(m->progress, (uint64_t)m->tokens * (uint64_t)m->pair->n_layers * passes);
}

enum qk_code qk_needle_measure(const struct qk_pair *pair, const struct qk_needles *needles,
    const struct qk_selection *selection, bool norms, size_t memory, struct qk_progress *progress,
    struct qk_needle_pair *out, struct qk_error *err)
{
    struct measure m = {.pair = pair, .needles = needles, .memory = memory, .progress = progress, .out = out};
    *out = (struct qk_needle_pair){.n_layers = pair->n_layers};
    count_needles(&m, selection != NULL ? 3 : 2);
    QK_TRY(measure_sides(&m, err));
    return selection != NULL ? measure_current(&m, selection, norms, err) : QK_OK;
}

enum qk_code qk_needle_measure_current(const struct qk_pair *pair, const struct qk_needles *needles,
    const struct qk_selection *selection, bool norms, size_t memory, struct qk_progress *progress,
    struct qk_needle_pair *out, struct qk_error *err)
{
    struct measure m = {.pair = pair, .needles = needles, .memory = memory, .progress = progress, .out = out};
    *out = (struct qk_needle_pair){.n_layers = pair->n_layers};
    count_needles(&m, 1);
    return measure_current(&m, selection, norms, err);
}
