/* drifts.c - the drift of many layers, key group by key group. */
#include "cli/drifts.h"

#include "base/mem.h"
#include "base/parallel.h"
#include "base/processors.h"
#include "cli/meter.h"
#include "cli/print.h"

#include <math.h>
#include <stdlib.h>

struct group {
    int layer, number;
};

struct comparison {
    const struct qk_pair *pair;
    struct qk_drift_run **run;   /* a layer; NULL: not wanted */
    struct group *group;         /* n, in the order of the layers */
    struct qk_drift_work **work; /* a worker; NULL before its first group */
    size_t n, capacity, n_workers;
    struct qk_progress *progress;
};

static enum qk_code make_runs(struct comparison *c, const bool *wanted, bool effective, struct qk_error *err)
{
    uint64_t heads = 0;
    QK_TRY(qk_alloc(&c->run, (size_t)c->pair->n_layers, sizeof *c->run, err));
    for (int i = 0; i < c->pair->n_layers; i++) {
        const struct qk_pair_layer *layer = &c->pair->layer[i];
        if (!layer->has_qk || (wanted != NULL && !wanted[i]))
            continue;
        QK_TRY(qk_drift_run_new(c->pair, i, effective, QK_DRIFT_ALL, &c->run[i], err));
        for (int g = 0; g < qk_drift_run_groups(c->run[i]); g++) {
            QK_TRY(qk_grow(&c->group, &c->capacity, c->n + 1, sizeof *c->group, err));
            c->group[c->n++] = (struct group){i, g};
        }
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            heads += 2 * (uint64_t)layer->side[QK_POST]->role[r].n_heads;
    }
    qk_progress_total(c->progress, heads);
    return QK_OK;
}

static enum qk_code compare_group(void *context, size_t item, size_t worker, struct qk_error *err)
{
    struct comparison *c = context;
    const struct group *group = &c->group[item];
    if (c->work[worker] == NULL)
        QK_TRY(qk_drift_work_new(&c->work[worker], err));
    return qk_drift_run_group(c->run[group->layer], group->number, c->work[worker], c->progress, err);
}

static enum qk_code compare(struct comparison *c, const bool *wanted, bool effective, int threads,
    struct qk_layer_drift *drift, struct qk_error *err)
{
    QK_TRY(make_runs(c, wanted, effective, err));
    c->n_workers = (size_t)(threads > 0 ? threads : qk_cpu_count());
    QK_TRY(qk_alloc(&c->work, c->n_workers, sizeof *c->work, err));
    QK_TRY(qk_parallel_try(c->n, c->n_workers, compare_group, c, c->progress, err));
    for (int i = 0; i < c->pair->n_layers; i++) {
        drift[i].index = c->pair->layer[i].index;
        drift[i].kind = c->pair->layer[i].kind;
        if (c->run[i] != NULL)
            QK_TRY(qk_drift_run_take(c->run[i], &drift[i], err));
    }
    return qk_pair_unchanged(c->pair, err);
}

static void free_comparison(struct comparison *c)
{
    for (size_t i = 0; c->work != NULL && i < c->n_workers; i++)
        qk_drift_work_free(c->work[i]);
    for (int i = 0; c->run != NULL && i < c->pair->n_layers; i++)
        qk_drift_run_free(c->run[i]);
    free(c->work);
    free(c->group);
    free(c->run);
}

enum qk_code qk_drifts_compute(const struct qk_pair *pair, const bool *wanted, bool effective, int threads,
    struct qk_layer_drift **out, struct qk_error *err)
{
    struct qk_meter meter;
    struct comparison c = {.pair = pair, .progress = &meter.progress};
    QK_TRY(qk_alloc(out, (size_t)pair->n_layers, sizeof **out, err));
    qk_meter_start(&meter, "comparing", false);
    enum qk_code code = compare(&c, wanted, effective, threads, *out, err);
    qk_meter_stop(&meter);
    free_comparison(&c);
    if (code != QK_OK) {
        qk_drifts_free(*out, pair->n_layers);
        *out = NULL;
    }
    return code;
}

void qk_drifts_free(struct qk_layer_drift *drift, int n_layers)
{
    for (int i = 0; drift != NULL && i < n_layers; i++)
        qk_layer_drift_free(&drift[i]);
    free(drift);
}

void qk_drifts_warn(const struct qk_pair *pair, const struct qk_layer_drift *drift, const bool *wanted)
{
    for (int i = 0; i < pair->n_layers; i++) {
        if (wanted != NULL && !wanted[i])
            continue;
        if (pair->layer[i].problem != NULL)
            qk_print_note("layer %d cannot be compared: %s", i, pair->layer[i].problem);
        if (drift[i].problem != NULL)
            qk_print_note("%s", drift[i].problem);
    }
}

static bool is_less(double a, double b)
{
    return a < b || (isnan(a) && !isnan(b));
}

/* Insertion sort: stable, and models have tens of layers. */
void qk_order_by(int *order, int n, const double *key)
{
    for (int i = 1; i < n; i++) {
        int layer = order[i], j = i;
        for (; j > 0 && is_less(key[order[j - 1]], key[layer]); j--)
            order[j] = order[j - 1];
        order[j] = layer;
    }
}
