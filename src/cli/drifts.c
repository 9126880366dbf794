/* drifts.c - a pool of workers that take layer after layer. */
#include "cli/drifts.h"

#include "base/mem.h"
#include "cli/meter.h"
#include "cli/print.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct pool {
    const struct qk_pair *pair;
    const bool *wanted;
    bool effective;
    struct qk_layer_drift *drift; /* each entry is written by the worker that took it */
    struct qk_progress *progress;
    pthread_mutex_t mutex; /* guards what follows */
    int next;
    int failed_layer; /* of `error`; n_layers without one */
    struct qk_error error;
};

static int take_layer(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    int layer = pool->next;
    while (layer < pool->pair->n_layers && pool->wanted != NULL && !pool->wanted[layer])
        layer++;
    if (pool->error.code != QK_OK)
        layer = pool->pair->n_layers;
    pool->next = layer + 1;
    pthread_mutex_unlock(&pool->mutex);
    return layer;
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
    for (int layer = take_layer(pool); layer < pool->pair->n_layers; layer = take_layer(pool)) {
        struct qk_error error = {0};
        if (qk_drift_pair_layer(
                pool->pair, layer, pool->effective, pool->progress, &pool->drift[layer], &error) != QK_OK)
            keep_error(pool, layer, &error);
    }
    return NULL;
}

static uint64_t heads_to_read(const struct pool *pool)
{
    uint64_t n = 0;
    for (int i = 0; i < pool->pair->n_layers; i++) {
        const struct qk_pair_layer *layer = &pool->pair->layer[i];
        if (layer->has_qk && (pool->wanted == NULL || pool->wanted[i]))
            for (int r = 0; r < QK_ROLE_COUNT; r++)
                n += 2 * (uint64_t)layer->side[QK_POST]->role[r].n_heads;
    }
    return n;
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

enum qk_code qk_drifts_compute(const struct qk_pair *pair, const bool *wanted, bool effective, int threads,
    struct qk_layer_drift **out, struct qk_error *err)
{
    struct qk_meter meter;
    struct pool pool = {
        .pair = pair, .wanted = wanted, .effective = effective, .failed_layer = pair->n_layers};
    *out = NULL;
    QK_TRY(qk_alloc(&pool.drift, (size_t)pair->n_layers, sizeof *pool.drift, err));
    for (int i = 0; i < pair->n_layers; i++) {
        pool.drift[i].index = pair->layer[i].index;
        pool.drift[i].kind = pair->layer[i].kind;
    }
    if (threads <= 0)
        threads = qk_cpu_count();
    if (threads > pair->n_layers)
        threads = pair->n_layers;
    pthread_mutex_init(&pool.mutex, NULL);
    qk_meter_start(&meter, "comparing", false);
    pool.progress = &meter.progress;
    qk_progress_total(pool.progress, heads_to_read(&pool));
    enum qk_code code = run_pool(&pool, threads, err);
    qk_meter_stop(&meter);
    pthread_mutex_destroy(&pool.mutex);
    if (code != QK_OK)
        qk_drifts_free(pool.drift, pair->n_layers);
    else
        *out = pool.drift;
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
