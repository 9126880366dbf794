/* row_pass.c - sequences that pass through a network layer by layer, and rows of one layer on given inputs. */
#include "forward/row_pass.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct run {
    const struct qk_row_batch *batch;
    const struct qk_row_watch *watch;
    struct qk_progress *progress;
    struct qk_rope_tables tables;
    struct qk_sequence *sequence; /* n */
    struct qk_row_query *query;   /* n_queries of the part at work, with sequences counted from its first */
    size_t T, longest;
    int layer;
    size_t first_query; /* number of the part's first query */
};

static void show(void *context, size_t head, size_t i, const float *row)
{
    const struct run *run = context;
    run->watch->row(run->watch->context, run->layer, head, run->first_query + i, row);
}

static enum qk_code begin_run(struct run *run, struct qk_error *err)
{
    const struct qk_row_batch *batch = run->batch;
    QK_TRY(qk_alloc(&run->sequence, batch->n, sizeof *run->sequence, err));
    QK_TRY(qk_alloc(&run->query, batch->n_queries, sizeof *run->query, err));
    for (size_t i = 0; i < batch->n; i++) {
        run->sequence[i] = (struct qk_sequence){.first = run->T, .n = batch->length[i]};
        run->T += batch->length[i];
        run->longest = batch->length[i] > run->longest ? batch->length[i] : run->longest;
    }
    return QK_OK;
}

static void end_run(struct run *run)
{
    qk_rope_tables_free(&run->tables);
    free(run->query);
    free(run->sequence);
}

/* Finds the *n queries of sequences first <= i < end, from number run->first_query on. */
static void pick_queries(struct run *run, size_t first, size_t end, size_t *n)
{
    const struct qk_row_batch *batch = run->batch;
    size_t at = 0;
    while (at < batch->n_queries && batch->query[at].sequence < first)
        at++;
    run->first_query = at;
    for (*n = 0; at < batch->n_queries && batch->query[at].sequence < end; at++, ++*n)
        run->query[*n] = (struct qk_row_query){batch->query[at].sequence - first, batch->query[at].t};
}

/* Works on x of a part (T, d) from sequence `first` on: it becomes the next layer's (changed not NULL), or is only
 * shown. */
static enum qk_code run_part(struct run *run, const struct qk_layer_weights *weights, size_t first,
    const struct qk_batch *part, const float *x, float *changed, struct qk_error *err)
{
    struct qk_rows rows = {.query = run->query, .show = show};
    pick_queries(run, first, first + part->n, &rows.n);
    const struct qk_layer_watch watch = {.rows = rows.n > 0 ? &rows : NULL, .context = run};
    if (changed != NULL)
        return qk_layer_run(weights, changed, part, &run->tables, &watch, run->progress, err);
    if (rows.n == 0)
        return QK_OK;
    return qk_layer_show_rows(weights, x, part, &run->tables, &rows, run, run->progress, err);
}

/* Takes as many sequences at a time as QK_PART_VALUES allows. */
static enum qk_code run_parts(struct run *run, const struct qk_layer_weights *weights, const float *x,
    float *changed, struct qk_error *err)
{
    size_t width = changed != NULL ? weights->stream : weights->d;
    for (size_t i = 0, end; i < run->batch->n; i = end) {
        struct qk_batch part;
        size_t row;
        end = qk_batch_cut(run->sequence, run->batch->n, i, width, run->longest, &part, &row);
        QK_TRY(run_part(
            run, weights, i, &part, x + row * width, changed != NULL ? changed + row * width : NULL, err));
        qk_batch_put_back(run->sequence, i, end, row);
        if (changed != NULL)
            qk_progress_add(run->progress, part.T);
    }
    return QK_OK;
}

/* --- the pass --- */

/* Shows what the layer's mixer sees: the rows x (T, width) without the layers' own inputs. */
static enum qk_code show_state(
    const struct run *run, const struct qk_model *model, const float *x, size_t width, struct qk_error *err)
{
    const struct qk_row_watch *watch = run->watch;
    size_t own = (size_t)qk_model_own_width(model);
    float *seen;
    if (watch->state == NULL)
        return QK_OK;
    if (model->layer_input == 0)
        return watch->state(watch->context, run->layer, x, width, err);
    QK_TRY(qk_alloc_aligned(&seen, run->T * own, sizeof *seen, err));
    for (size_t t = 0; t < run->T; t++)
        memcpy(seen + t * own, x + t * width, own * sizeof *seen);
    enum qk_code code = watch->state(watch->context, run->layer, seen, own, err);
    free(seen);
    return code;
}

static enum qk_code run_layers(
    struct run *run, struct qk_network *network, const int32_t *ids, float *x, struct qk_error *err)
{
    size_t width = qk_network_width(network);
    for (size_t i = 0; i < run->batch->n; i++) {
        size_t first = run->sequence[i].first;
        QK_TRY(qk_network_embed(network, ids + first, 0, run->sequence[i].n, x + first * width, err));
    }
    for (run->layer = 0; run->layer < qk_network_model(network)->n_layers; run->layer++) {
        const struct qk_layer_weights *weights;
        QK_TRY(qk_progress_check(run->progress, err));
        QK_TRY(show_state(run, qk_network_model(network), x, width, err));
        QK_TRY(qk_network_layer(network, run->layer, &weights, err));
        QK_TRY(run_parts(run, weights, x, x, err));
    }
    return QK_OK;
}

enum qk_code qk_row_pass_run(struct qk_network *network, const int32_t *ids, const struct qk_row_batch *batch,
    const struct qk_row_watch *watch, struct qk_progress *progress, struct qk_error *err)
{
    struct run run = {.batch = batch, .watch = watch, .progress = progress};
    float *x = NULL;
    enum qk_code code = begin_run(&run, err);
    if (code == QK_OK)
        code = qk_alloc_aligned(&x, run.T * qk_network_width(network), sizeof *x, err);
    if (code == QK_OK)
        code = run_layers(&run, network, ids, x, err);
    free(x);
    end_run(&run);
    return code;
}

/* --- one layer --- */

/* Reads what the layer's attention needs. */
static enum qk_code read_layer(const struct qk_parts *parts, const struct qk_layer *layer,
    struct qk_layer_weights *weights, struct qk_error *err)
{
    const char *reason = qk_parts_refused(parts);
    if (reason != NULL)
        return qk_fail(err, QK_INPUT, "%s: the %s family's attention cannot be computed: %s",
            parts->model->checkpoint->path, parts->model->family, reason);
    return qk_layer_weights_read(parts, layer, false, weights, err);
}

enum qk_code qk_row_pass_layer(const struct qk_model *model, const struct qk_patch *patch, int layer,
    const float *x, const struct qk_row_batch *batch, const struct qk_row_watch *watch,
    struct qk_progress *progress, struct qk_error *err)
{
    struct run run = {.batch = batch, .watch = watch, .progress = progress, .layer = layer};
    struct qk_parts parts;
    struct qk_layer_weights weights = {0};
    enum qk_code code = begin_run(&run, err);
    if (code == QK_OK)
        code = qk_parts_open(model, patch, run.longest, &parts, err);
    if (code == QK_OK) {
        code = read_layer(&parts, &model->layer[layer], &weights, err);
        if (code == QK_OK)
            code = run_parts(&run, &weights, x, NULL, err);
        qk_layer_weights_free(&weights);
        qk_parts_close(&parts);
    }
    end_run(&run);
    return code;
}
