/* needle_measure.c - the passes of a pair over needles, one model at a time. */
#include "eval/needle_measure.h"

#include "base/mem.h"
#include "blend/patch.h"
#include "range/restored.h"

#include <stdlib.h>
#include <string.h>

/* --- results --- */

void qk_needle_layers_free(struct qk_needle_layer *layers, int n_layers)
{
    for (int i = 0; layers != NULL && i < n_layers; i++)
        qk_needle_layer_free(&layers[i]);
    free(layers);
}

void qk_needle_pair_free(struct qk_needle_pair *measured)
{
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        qk_needle_layers_free(measured->side[s], measured->n_layers);
    qk_needle_layers_free(measured->restored, measured->n_layers);
    qk_needle_layers_free(measured->current, measured->n_layers);
    *measured = (struct qk_needle_pair){0};
}

void qk_needle_states_free(struct qk_needle_states *states)
{
    for (int i = 0; states->x != NULL && i < states->n_layers; i++)
        free(states->x[i]);
    free(states->x);
    free(states->item);
    free(states->needles.item);
    *states = (struct qk_needle_states){0};
}

/* The number of heads with masses on both sides. */
static int heads_on_both(const struct qk_needle_pair *measured, int layer)
{
    int n = measured->side[QK_POST][layer].n_heads;
    return measured->side[QK_PRE][layer].n_heads == n ? n : 0;
}

int qk_needle_largest(const struct qk_needle_pair *measured, int layer)
{
    const struct qk_needle_layer *pre = &measured->side[QK_PRE][layer];
    int largest = -1;
    for (int h = 0; h < heads_on_both(measured, layer); h++)
        if (largest < 0 || qk_needle_mass(pre, h).mean > qk_needle_mass(pre, largest).mean)
            largest = h;
    return largest;
}

int qk_needle_largest_drop(const struct qk_needle_pair *measured, int layer)
{
    const struct qk_needle_layer *pre = &measured->side[QK_PRE][layer],
                                 *post = &measured->side[QK_POST][layer];
    int largest = -1;
    for (int h = 0; h < heads_on_both(measured, layer); h++)
        if (largest < 0 || qk_needle_drop(pre, post, h).mean > qk_needle_drop(pre, post, largest).mean)
            largest = h;
    return largest;
}

bool qk_needle_fetches(const struct qk_needle_pair *measured)
{
    for (int i = 0; i < measured->n_layers; i++) {
        int head = qk_needle_largest(measured, i);
        if (head >= 0 && qk_needle_mass(&measured->side[QK_PRE][i], head).mean >= QK_NEEDLE_FETCHES)
            return true;
    }
    return false;
}

/* A block of both numbers of each head, which value[0] owns. */
static enum qk_code take_numbers(
    const struct qk_needle_pair *measured, int layer, struct qk_head_numbers *out, struct qk_error *err)
{
    const struct qk_needle_layer *pre = &measured->side[QK_PRE][layer],
                                 *post = &measured->side[QK_POST][layer];
    size_t n = (size_t)heads_on_both(measured, layer);
    double *values;
    if (n == 0)
        return QK_OK;
    QK_TRY(qk_alloc(&values, QK_HEAD_METRICS * n, sizeof *values, err));
    for (size_t h = 0; h < n; h++) {
        values[QK_HEAD_NEEDLE * n + h] = qk_needle_mass(pre, (int)h).mean;
        values[QK_HEAD_DROP * n + h] = qk_needle_drop(pre, post, (int)h).mean;
    }
    out->n_heads = (int)n;
    for (size_t m = 0; m < QK_HEAD_METRICS; m++)
        out->value[m] = values + m * n;
    return QK_OK;
}

enum qk_code qk_needle_numbers(
    const struct qk_needle_pair *measured, struct qk_head_numbers **out, struct qk_error *err)
{
    QK_TRY(qk_alloc(out, (size_t)measured->n_layers, sizeof **out, err));
    enum qk_code code = QK_OK;
    for (int i = 0; i < measured->n_layers && code == QK_OK; i++)
        code = take_numbers(measured, i, &(*out)[i], err);
    if (code != QK_OK) {
        qk_needle_numbers_free(*out, measured->n_layers);
        *out = NULL;
    }
    return code;
}

void qk_needle_numbers_free(struct qk_head_numbers *numbers, int n_layers)
{
    for (int i = 0; numbers != NULL && i < n_layers; i++)
        free((void *)numbers[i].value[0]);
    free(numbers);
}

/* --- kept inputs --- */

/* Chooses the needles whose inputs fit: n of them, evenly among all, or all. */
static enum qk_code choose_kept(struct qk_needle_states *states, const struct qk_pair *pair,
    const struct qk_needles *needles, size_t budget, size_t d, struct qk_error *err)
{
    size_t longest = 1, layers = 0, n = needles->n;
    for (size_t i = 0; i < n; i++)
        longest = needles->item[i].T > longest ? needles->item[i].T : longest;
    for (int i = 0; i < pair->n_layers; i++)
        layers += pair->layer[i].has_qk;
    size_t fit = layers > 0 ? budget / sizeof(float) / d / longest / layers : 0;
    size_t kept = fit < n ? fit : n;
    states->n_layers = pair->n_layers;
    states->d = d;
    QK_TRY(qk_alloc(&states->x, (size_t)pair->n_layers, sizeof *states->x, err));
    QK_TRY(qk_alloc(&states->item, kept, sizeof *states->item, err));
    QK_TRY(qk_alloc(&states->needles.item, kept, sizeof *states->needles.item, err));
    for (; states->needles.n < kept; states->needles.n++) {
        size_t k = states->needles.n, item = (2 * k + 1) * n / (2 * kept);
        states->item[k] = item;
        states->needles.item[k] = needles->item[item];
        states->T += needles->item[item].T;
    }
    return QK_OK;
}

/* Copies the rows of kept needles out of x, the layer's input of the needles first <= i < first + n. */
static enum qk_code keep_inputs(struct qk_needle_states *states, const struct qk_needles *needles, int layer,
    size_t first, size_t n, const float *x, struct qk_error *err)
{
    if (states->T == 0)
        return QK_OK;
    if (states->x[layer] == NULL)
        QK_TRY(qk_alloc_aligned(&states->x[layer], states->T * states->d, sizeof(float), err));
    size_t k = 0, to = 0;
    for (; k < states->needles.n && states->item[k] < first; k++)
        to += states->needles.item[k].T;
    for (size_t i = first, from = 0; i < first + n; from += needles->item[i++].T)
        if (k < states->needles.n && states->item[k] == i) {
            memcpy(states->x[layer] + to * states->d, x + from * states->d,
                needles->item[i].T * states->d * sizeof *x);
            to += needles->item[i].T;
            k++;
        }
    return QK_OK;
}

/* --- passes --- */

struct measure {
    const struct qk_pair *pair;
    const struct qk_needles *needles;
    size_t memory, budget;
    struct qk_progress *progress;
    struct qk_needle_pair *out;
    struct qk_needle_states *states; /* NULL: nothing is kept */
    struct qk_selection_patch restored;
};

enum qk_code qk_needle_restored(const struct qk_pair *pair, const struct qk_patch *restored, int layer,
    const struct qk_needles *needles, size_t first, size_t n, const float *x, struct qk_progress *progress,
    struct qk_needle_layer *out, struct qk_error *err)
{
    struct qk_error refused = {0};
    enum qk_code code =
        qk_needle_same(pair->model[QK_POST], restored, layer, needles, first, n, x, progress, out, &refused);
    if (code == QK_INPUT) {
        qk_needle_layer_free(out);
        return QK_OK;
    }
    return code == QK_OK ? QK_OK : qk_fail(err, code, "%s", refused.text);
}

static enum qk_code take_inputs(
    void *context, int layer, size_t first, size_t n, const float *x, size_t d, struct qk_error *err)
{
    struct measure *m = context;
    if (m->states != NULL && m->states->x == NULL)
        QK_TRY(choose_kept(m->states, m->pair, m->needles, m->budget, d, err));
    if (!m->pair->layer[layer].has_qk)
        return QK_OK;
    if (m->states != NULL)
        QK_TRY(keep_inputs(m->states, m->needles, layer, first, n, x, err));
    return qk_needle_restored(m->pair, &m->restored.patch, layer, m->needles, first, n, x, m->progress,
        &m->out->restored[layer], err);
}

static enum qk_code measure_model(struct measure *m, enum qk_side side, const struct qk_patch *patch,
    const struct qk_needle_watch *watch, struct qk_needle_layer **out, struct qk_error *err)
{
    struct qk_network *network;
    size_t longest = 0;
    for (size_t i = 0; i < m->needles->n; i++)
        longest = m->needles->item[i].T > longest ? m->needles->item[i].T : longest;
    QK_TRY(qk_alloc(out, (size_t)m->pair->n_layers, sizeof **out, err));
    QK_TRY(qk_network_open(m->pair->model[side], patch, longest, m->memory, &network, err));
    enum qk_code code = qk_needle_run(network, m->needles, watch, m->progress, *out, err);
    qk_network_close(network);
    return code;
}

static enum qk_code measure_sides(struct measure *m, struct qk_error *err)
{
    const struct qk_needle_watch watch = {.context = m, .state = take_inputs};
    QK_TRY(qk_alloc(&m->out->restored, (size_t)m->pair->n_layers, sizeof *m->out->restored, err));
    QK_TRY(measure_model(m, QK_PRE, NULL, NULL, &m->out->side[QK_PRE], err));
    enum qk_code code = qk_restored_patch_make(m->pair, &m->restored, err);
    if (code == QK_OK)
        code = measure_model(m, QK_POST, NULL, &watch, &m->out->side[QK_POST], err);
    qk_selection_patch_free(&m->restored);
    return code;
}

/* Tokens times layers of one model. */
static uint64_t work_of(const struct qk_pair *pair, const struct qk_needles *needles)
{
    uint64_t tokens = 0;
    for (size_t i = 0; i < needles->n; i++)
        tokens += needles->item[i].T;
    return tokens * (uint64_t)pair->n_layers;
}

static enum qk_code measure_current(struct measure *m, const struct qk_selection *selection, bool norms,
    struct qk_needle_layer **out, struct qk_error *err)
{
    struct qk_selection_patch patch;
    enum qk_code code = qk_selection_patch_make(m->pair, selection, -1, norms, &patch, err);
    if (code == QK_OK)
        code = measure_model(m, QK_POST, &patch.patch, NULL, out, err);
    qk_selection_patch_free(&patch);
    return code;
}

enum qk_code qk_needle_measure(const struct qk_pair *pair, const struct qk_needles *needles,
    const struct qk_selection *selection, bool norms, size_t memory, struct qk_progress *progress,
    struct qk_needle_pair *out, struct qk_error *err)
{
    struct measure m = {.pair = pair, .needles = needles, .memory = memory, .progress = progress, .out = out};
    *out = (struct qk_needle_pair){.n_layers = pair->n_layers};
    qk_progress_total(progress, work_of(pair, needles) * (selection != NULL ? 3 : 2));
    QK_TRY(measure_sides(&m, err));
    return selection != NULL ? measure_current(&m, selection, norms, &out->current, err) : QK_OK;
}

enum qk_code qk_needle_measure_sides(const struct qk_pair *pair, const struct qk_needles *needles,
    size_t memory, size_t budget, struct qk_progress *progress, struct qk_needle_pair *out,
    struct qk_needle_states *states, struct qk_error *err)
{
    struct measure m = {.pair = pair,
        .needles = needles,
        .memory = memory,
        .budget = budget,
        .progress = progress,
        .out = out,
        .states = states};
    *out = (struct qk_needle_pair){.n_layers = pair->n_layers};
    qk_progress_total(progress, work_of(pair, needles) * 2);
    return measure_sides(&m, err);
}

enum qk_code qk_needle_measure_current(const struct qk_pair *pair, const struct qk_needles *needles,
    const struct qk_selection *selection, bool norms, size_t memory, struct qk_progress *progress,
    struct qk_needle_layer **out, struct qk_error *err)
{
    struct measure m = {.pair = pair, .needles = needles, .memory = memory, .progress = progress};
    *out = NULL;
    qk_progress_total(progress, work_of(pair, needles));
    enum qk_code code = measure_current(&m, selection, norms, out, err);
    if (code != QK_OK) {
        qk_needle_layers_free(*out, pair->n_layers);
        *out = NULL;
    }
    return code;
}

/* --- on kept inputs --- */

enum qk_code qk_needle_follow(const struct qk_pair *pair, const struct qk_needle_states *states, int layer,
    const struct qk_selection *selection, bool norms, struct qk_progress *progress,
    struct qk_needle_layer *out, struct qk_error *err)
{
    struct qk_selection_patch patch;
    *out = (struct qk_needle_layer){0};
    enum qk_code code = qk_selection_patch_make(pair, selection, layer, norms, &patch, err);
    if (code == QK_OK)
        code = qk_needle_same(pair->model[QK_POST], &patch.patch, layer, &states->needles, 0,
            states->needles.n, states->x[layer], progress, out, err);
    qk_selection_patch_free(&patch);
    return code;
}

enum qk_code qk_needle_rows(const struct qk_pair *pair, const struct qk_needle_states *states, size_t kept,
    int layer, enum qk_side side, const struct qk_selection *selection, bool norms, size_t query,
    float **rows, struct qk_error *err)
{
    struct qk_selection_patch patch = {0};
    size_t before = 0;
    *rows = NULL;
    for (size_t i = 0; i < kept; i++)
        before += states->needles.item[i].T;
    enum qk_code code = QK_OK;
    if (selection != NULL)
        code = qk_selection_patch_make(pair, selection, layer, norms, &patch, err);
    if (code == QK_OK)
        code = qk_needle_attention(pair->model[side], selection != NULL ? &patch.patch : NULL, layer,
            states->x[layer] + before * states->d, query, rows, err);
    qk_selection_patch_free(&patch);
    return code;
}
