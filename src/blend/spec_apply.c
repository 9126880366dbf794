/* spec_apply.c - the layers and heads that a --set names in a pair, and its choice set for them. */
#include "blend/spec.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>

static bool holds(const struct qk_spec *spec, double value)
{
    switch (spec->compare) { /* an unknown number is NaN, and every comparison with NaN is false */
    case QK_GREATER:
        return value > spec->bound;
    case QK_GREATER_EQUAL:
        return value >= spec->bound;
    case QK_LESS:
        return value < spec->bound;
    default:
        return value <= spec->bound;
    }
}

/* The layer's query heads with a number of a test of heads. */
static int tested_heads(
    const struct qk_spec *spec, const struct qk_pair_layer *layer, const struct qk_spec_numbers *numbers)
{
    if (numbers == NULL || numbers->heads == NULL)
        return 0;
    const struct qk_head_numbers *of = &numbers->heads[layer->index];
    int n = qk_selection_heads(layer, QK_HEAD_Q);
    return of->value[spec->head_metric] != NULL && of->n_heads == n ? n : 0;
}

static bool head_holds(const struct qk_spec *spec, const struct qk_spec_numbers *numbers, int layer, int head)
{
    return holds(spec, numbers->heads[layer].value[spec->head_metric][head]);
}

bool qk_spec_matches(
    const struct qk_spec *spec, const struct qk_pair *pair, const struct qk_spec_numbers *numbers, int layer)
{
    const struct qk_pair_layer *candidate = &pair->layer[layer];
    if (spec->selector == QK_SELECT_LIST) {
        for (size_t i = 0; i < spec->n_ranges; i++)
            if (layer >= spec->range[i][0] && layer <= spec->range[i][1])
                return true;
        return false;
    }
    if (!candidate->has_qk || candidate->problem != NULL)
        return false;
    if (spec->selector == QK_SELECT_KIND)
        return candidate->kind == spec->kind;
    if (spec->selector == QK_SELECT_TEST)
        return holds(spec, qk_metric_layer(&numbers->drift[layer], spec->metric, spec->metric_role));
    for (int h = 0; spec->selector == QK_SELECT_HEADS && h < tested_heads(spec, candidate, numbers); h++)
        if (head_holds(spec, numbers, layer, h))
            return true;
    return spec->selector == QK_SELECT_ALL;
}

/* --- applying --- */

/* run (room for as many as the spec has, or the layer has query heads) = the heads that it names in a layer. A list of
 * layers means what it says; other selectors pass over heads that a layer does not have. */
static size_t find_runs(const struct qk_spec *spec, const struct qk_pair_layer *layer,
    const struct qk_spec_numbers *numbers, struct qk_head_run *run)
{
    size_t n = 0;
    if (spec->selector == QK_SELECT_HEADS) {
        int k = qk_selection_heads(layer, QK_HEAD_K), tested = tested_heads(spec, layer, numbers);
        int per_group = k > 0 ? tested / k : 1;
        if (spec->heads_of != QK_HEAD_Q && k == 0)
            return 0;
        for (int h = 0; h < tested; h++) {
            int at = spec->heads_of == QK_HEAD_Q ? h : h / per_group;
            if (head_holds(spec, numbers, layer->index, h))
                run[n++] = (struct qk_head_run){spec->heads_of, at, at};
        }
        return n;
    }
    for (size_t i = 0; i < spec->n_runs; i++) {
        run[n] = spec->run[i];
        int has = qk_selection_heads(layer, run[n].of);
        if (spec->selector != QK_SELECT_LIST && run[n].last >= has)
            run[n].last = has - 1;
        n += run[n].first <= run[n].last;
    }
    return n;
}

/* Sets the choice in one matching layer; *n_matched counts it unless it is passed over. */
static enum qk_code apply_to(const struct qk_spec *spec, const struct qk_pair *pair,
    const struct qk_spec_numbers *numbers, int layer, struct qk_selection *selection, int *n_matched,
    struct qk_error *err)
{
    const struct qk_pair_layer *target = &pair->layer[layer];
    bool by_head = spec->n_runs > 0 || spec->selector == QK_SELECT_HEADS;
    if (spec->selector != QK_SELECT_LIST && !qk_selection_takes(target, spec->role, spec->choice))
        return QK_OK; /* it has q alone: "all" does not mean it */
    if (!by_head) {
        ++*n_matched;
        return qk_selection_set(selection, pair, layer, spec->role, spec->choice, err);
    }
    struct qk_head_run *run;
    size_t room = spec->n_runs + (size_t)qk_selection_heads(target, QK_HEAD_Q);
    QK_TRY(qk_alloc(&run, room, sizeof *run, err));
    size_t n = find_runs(spec, target, numbers, run);
    enum qk_code code = QK_OK;
    if (n > 0)
        code = qk_selection_set_heads(selection, pair, layer, run, n, spec->choice, err);
    *n_matched += n > 0;
    free(run);
    return code;
}

static enum qk_code check_numbers(
    const struct qk_spec *spec, const struct qk_spec_numbers *numbers, struct qk_error *err)
{
    if (spec->selector == QK_SELECT_HEADS && (numbers == NULL || numbers->heads == NULL))
        return qk_fail(err, QK_USAGE,
            "the needle mass of the heads is not known, which needle and drop test (expected a measurement, as "
            "`qkscope heads` makes)");
    return QK_OK;
}

enum qk_code qk_spec_apply(const struct qk_spec *spec, const struct qk_pair *pair,
    const struct qk_spec_numbers *numbers, struct qk_selection *selection, int *n_matched,
    struct qk_error *err)
{
    QK_TRY(check_numbers(spec, numbers, err));
    for (size_t i = 0; i < spec->n_ranges; i++)
        if (spec->range[i][1] >= pair->n_layers)
            return qk_fail(err, QK_USAGE, "no such layer (found %d, expected 0 to %d)", spec->range[i][1],
                pair->n_layers - 1);
    struct qk_selection next;
    QK_TRY(qk_selection_copy(&next, selection, err));
    int matched = 0;
    enum qk_code code = QK_OK;
    for (int i = 0; i < pair->n_layers && code == QK_OK; i++)
        if (qk_spec_matches(spec, pair, numbers, i))
            code = apply_to(spec, pair, numbers, i, &next, &matched, err);
    if (code != QK_OK) {
        qk_selection_free(&next);
        return code;
    }
    qk_selection_free(selection);
    *selection = next;
    if (n_matched != NULL)
        *n_matched = matched;
    return QK_OK;
}
