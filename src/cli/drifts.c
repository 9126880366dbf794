/* drifts.c - a pool of workers that take key group after key group. */
#include "cli/drifts.h"

#include "base/mem.h"
#include "cli/meter.h"
#include "cli/print.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct pool {
    const struct qk_pair *pair;
    struct qk_drift_run **run; /* a layer; NULL: not wanted */
    struct qk_progress *progress;
    pthread_mutex_t mutex; /* guards what follows */
    int layer, group;      /* the next one */
    int failed_layer;      /* of `error`; n_layers without one */
    struct qk_error error;
};

/* The next group that nobody took, in the order of the layers; false when there is none. */
static bool take_group(struct pool *pool, int *layer, int *group)
{
    pthread_mutex_lock(&pool->mutex);
    while (pool->layer < pool->pair->n_layers &&
           (pool->run[pool->layer] == NULL || pool->group >= qk_drift_run_groups(pool->run[pool->layer]))) {
        pool->layer++;
        pool->group = 0;
    }
    bool more = pool->error.code == QK_OK && pool->layer < pool->pair->n_layers;
    *layer = pool->layer;
    *group = pool->group++;
    pthread_mutex_unlock(&pool->mutex);
    return more;
}

/* A failure stops the other workers through the cancel flag, so a "cancelled" after it says nothing new. */
static void keep_error(struct pool *pool, int layer, const struct qk_error *error)
{
    pthread_mutex_lock(&pool->mutex);
    bool news =
        pool->error.code == QK_OK ||
        (error->code != QK_CANCELLED && (pool->error.code == QK_CANCELLED || layer < pool->failed_layer));
    if (news) {
        pool->error = *error;
        pool->failed_layer = layer;
    }
    atomic_store(&pool->progress->cancel, true);
    pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *argument)
{
    struct pool *pool = argument;
    struct qk_drift_work *work;
    struct qk_error error = {0};
    int layer = 0, group;
    if (qk_drift_work_new(&work, &error) != QK_OK)
        keep_error(pool, layer, &error);
    while (take_group(pool, &layer, &group)) {
        error.code = QK_OK;
        if (qk_drift_run_group(pool->run[layer], group, work, pool->progress, &error) != QK_OK)
            keep_error(pool, layer, &error);
    }
    qk_drift_work_free(work);
    return NULL;
}

static enum qk_code make_runs(
    struct pool *pool, const bool *wanted, bool effective, int *n_groups, struct qk_error *err)
{
    uint64_t heads = 0;
    *n_groups = 0;
    for (int i = 0; i < pool->pair->n_layers; i++) {
        const struct qk_pair_layer *layer = &pool->pair->layer[i];
        if (!layer->has_qk || (wanted != NULL && !wanted[i]))
            continue;
        QK_TRY(qk_drift_run_new(pool->pair, i, effective, QK_DRIFT_ALL, &pool->run[i], err));
        *n_groups += qk_drift_run_groups(pool->run[i]);
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            heads += 2 * (uint64_t)layer->side[QK_POST]->role[r].n_heads;
    }
    qk_progress_total(pool->progress, heads);
    return QK_OK;
}

/* The calling thread works too, so that a machine that refuses more threads still gets its numbers. */
static enum qk_code run_pool(struct pool *pool, int threads, struct qk_error *err)
{
    pthread_t *worker;
    int started = 0;
    QK_TRY(qk_alloc(&worker, (size_t)threads, sizeof *worker, err));
    while (started < threads - 1 && pthread_create(&worker[started], NULL, worker_main, pool) == 0)
        started++;
    worker_main(pool);
    for (int i = 0; i < started; i++)
        pthread_join(worker[i], NULL);
    free(worker);
    if (pool->error.code != QK_OK && err != NULL)
        *err = pool->error;
    return pool->error.code;
}

static enum qk_code compute(struct pool *pool, const bool *wanted, bool effective, int threads,
    struct qk_layer_drift *drift, struct qk_error *err)
{
    int n_groups;
    QK_TRY(make_runs(pool, wanted, effective, &n_groups, err));
    threads = threads <= 0 ? qk_cpu_count() : threads;
    threads = threads > n_groups ? n_groups : threads;
    if (n_groups > 0)
        QK_TRY(run_pool(pool, threads, err));
    for (int i = 0; i < pool->pair->n_layers; i++) {
        drift[i].index = pool->pair->layer[i].index;
        drift[i].kind = pool->pair->layer[i].kind;
        if (pool->run[i] != NULL)
            QK_TRY(qk_drift_run_take(pool->run[i], &drift[i], err));
    }
    return QK_OK;
}

enum qk_code qk_drifts_compute(const struct qk_pair *pair, const bool *wanted, bool effective, int threads,
    struct qk_layer_drift **out, struct qk_error *err)
{
    struct qk_meter meter;
    struct pool pool = {.pair = pair, .failed_layer = pair->n_layers};
    size_t n = (size_t)pair->n_layers;
    QK_TRY(qk_alloc(out, n, sizeof **out, err));
    enum qk_code code = qk_alloc(&pool.run, n, sizeof *pool.run, err);
    pthread_mutex_init(&pool.mutex, NULL);
    qk_meter_start(&meter, "comparing", false);
    pool.progress = &meter.progress;
    if (code == QK_OK)
        code = compute(&pool, wanted, effective, threads, *out, err);
    if (code == QK_OK)
        code = qk_pair_unchanged(pair, err);
    qk_meter_stop(&meter);
    pthread_mutex_destroy(&pool.mutex);
    for (int i = 0; pool.run != NULL && i < pair->n_layers; i++)
        qk_drift_run_free(pool.run[i]);
    free(pool.run);
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
