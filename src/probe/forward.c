/* forward.c - the pass over all layers, both its ends, and one layer's attention on given inputs (forward.h).
 */
#include "probe/forward.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "probe/layer.h"
#include "probe/weights.h"

#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>

const char *qk_forward_missing(const struct qk_model *model)
{
    struct qk_parts parts;
    if (qk_parts_open(model, NULL, 0, &parts, NULL) != QK_OK)
        return "its layout row cannot be read";
    const char *reason = qk_parts_missing(&parts);
    qk_parts_close(&parts);
    return reason;
}

/* --- both ends --- */

/* The embedding (vocabulary, d), or the output head, which is the embedding where they are tied. */
static enum qk_code find_embedding(
    const struct qk_parts *parts, bool head, const struct qk_tensor **out, struct qk_error *err)
{
    const struct qk_config *config = &parts->model->config;
    const cJSON *tied = qk_config_path(config, "tie_word_embeddings");
    if (tied == NULL)
        tied = qk_json_get(config->root, "tie_word_embeddings");
    *out = NULL;
    if (head && !qk_config_true(tied))
        QK_TRY(qk_parts_model_tensor(parts, "head", ".weight", cJSON_IsFalse(tied), out, err));
    if (*out == NULL)
        QK_TRY(qk_parts_model_tensor(parts, "embedding", ".weight", true, out, err));
    return qk_weights_check(parts, *out, 0, parts->model->layer[0].d, err);
}

size_t qk_forward_vocabulary(const struct qk_model *model)
{
    struct qk_parts parts;
    const struct qk_tensor *head;
    if (qk_parts_open(model, NULL, 0, &parts, NULL) != QK_OK)
        return 0;
    size_t n = find_embedding(&parts, true, &head, NULL) == QK_OK ? (size_t)head->shape[0] : 0;
    qk_parts_close(&parts);
    return n;
}

static enum qk_code check_ids(const struct qk_parts *parts, const struct qk_tensor *embedding,
    const int32_t *ids, size_t T, struct qk_error *err)
{
    for (size_t t = 0; t < T; t++)
        if (ids[t] < 0 || (uint64_t)ids[t] >= embedding->shape[0])
            return qk_fail(err, QK_INPUT,
                "%s: token %zu is outside the vocabulary (found %d, expected 0 to %llu)",
                parts->model->checkpoint->path, t, ids[t], (unsigned long long)embedding->shape[0] - 1);
    return QK_OK;
}

/* x += the learned positions 0 .. T - 1. */
static enum qk_code add_positions(
    const struct qk_parts *parts, float *x, size_t T, size_t d, struct qk_error *err)
{
    const struct qk_tensor *positions;
    float *rows;
    if (qk_json_get(parts->forward, "position_embedding") == NULL)
        return QK_OK;
    QK_TRY(qk_parts_model_tensor(parts, "position_embedding", ".weight", true, &positions, err));
    QK_TRY(qk_weights_check(parts, positions, 0, d, err));
    if (T > positions->shape[0])
        return qk_fail(err, QK_INPUT, "%s: %s: the model has %llu positions (found %zu tokens)",
            qk_checkpoint_file(parts->model->checkpoint, positions), positions->name,
            (unsigned long long)positions->shape[0], T);
    QK_TRY(qk_alloc_aligned(&rows, T * d, sizeof *rows, err));
    enum qk_code code = qk_weights_rows(parts, positions, 0, T, rows, err);
    for (size_t i = 0; code == QK_OK && i < T * d; i++)
        x[i] += rows[i];
    free(rows);
    return code;
}

/* x (T, d) = rows of the embedding, read one by one: no more of it than is needed. */
static enum qk_code embed(
    const struct qk_parts *parts, const int32_t *ids, size_t T, float *x, struct qk_error *err)
{
    const struct qk_tensor *embedding;
    size_t d = (size_t)parts->model->layer[0].d;
    double root;
    QK_TRY(find_embedding(parts, false, &embedding, err));
    QK_TRY(check_ids(parts, embedding, ids, T, err));
    for (size_t t = 0; t < T; t++)
        QK_TRY(qk_weights_rows(parts, embedding, (uint64_t)ids[t], 1, x + t * d, err));
    if (qk_layout_value(parts->forward, "embedding_root", &parts->model->config, &root) && root > 0)
        for (size_t i = 0; i < T * d; i++)
            x[i] *= (float)sqrt(root);
    return add_positions(parts, x, T, d, err);
}

struct logits_job {
    const float *x, *head; /* (n, d), rows of the head (rows, d) */
    float *out;            /* (n, vocabulary), at the first of these rows */
    size_t n, d, rows, vocabulary;
    float softcap;
};
enum { HEAD_SHARE = 256, HEAD_VALUES = 1 << 22 };

/* out = x head^T, c tanh(out / c) with a softcap, for HEAD_SHARE rows of the head. */
static void logits_share(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct logits_job *job = context;
    size_t first = item * HEAD_SHARE, m = job->rows - first < HEAD_SHARE ? job->rows - first : HEAD_SHARE;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)job->n, (int)m, (int)job->d, 1.0f, job->x,
        (int)job->d, job->head + first * job->d, (int)job->d, 0.0f, job->out + first, (int)job->vocabulary);
    for (size_t i = 0; job->softcap > 0 && i < job->n; i++)
        for (size_t j = first; j < first + m; j++)
            job->out[i * job->vocabulary + j] =
                job->softcap * tanhf(job->out[i * job->vocabulary + j] / job->softcap);
}

/* logits (n, vocabulary) of x (n, d), after the final norm, in blocks of the head's rows. */
static enum qk_code make_logits(const struct qk_parts *parts, const float *x, size_t n, float *logits,
    struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_tensor *head;
    double softcap;
    QK_TRY(find_embedding(parts, true, &head, err));
    size_t d = (size_t)head->shape[1], all = (size_t)head->shape[0],
           block = d > HEAD_VALUES ? 1 : HEAD_VALUES / d;
    block = block > all ? all : block;
    struct logits_job job = {.x = x, .n = n, .d = d, .vocabulary = all};
    if (qk_layout_value(parts->forward, "logit_softcap", &parts->model->config, &softcap) && softcap > 0)
        job.softcap = (float)softcap;
    float *rows;
    QK_TRY(qk_alloc_aligned(&rows, block * d, sizeof *rows, err));
    job.head = rows;
    enum qk_code code = QK_OK;
    for (size_t first = 0; first < all && code == QK_OK; first += block) {
        job.rows = all - first < block ? all - first : block;
        job.out = logits + first;
        code = qk_weights_rows(parts, head, first, job.rows, rows, err);
        if (code == QK_OK)
            qk_parallel_for((job.rows + HEAD_SHARE - 1) / HEAD_SHARE, logits_share, &job, progress);
        if (code == QK_OK)
            code = qk_progress_check(progress, err);
    }
    free(rows);
    return code;
}

/* --- the pass --- */

struct pass {
    const struct qk_parts *parts;
    const struct qk_forward_hooks *hooks; /* NULL: none */
    struct qk_progress *progress;
    struct qk_rope_tables tables;
    float *x;
    size_t T, d;
    int layer;
};

static void pass_attention(void *context, size_t head, size_t t0, size_t n, const float *p, size_t ld)
{
    const struct pass *pass = context;
    pass->hooks->attention(pass->hooks->context, pass->layer, head, t0, n, p, ld);
}

static enum qk_code show_state(const struct pass *pass, int layer, struct qk_error *err)
{
    if (pass->hooks == NULL || pass->hooks->state == NULL)
        return QK_OK;
    return pass->hooks->state(pass->hooks->context, layer, pass->x, pass->T, pass->d, err);
}

static enum qk_code run_one_layer(struct pass *pass, struct qk_error *err)
{
    const struct qk_layer *layer = &pass->parts->model->layer[pass->layer];
    struct qk_layer_weights weights;
    const struct qk_sequence whole = {.n = pass->T};
    const struct qk_batch batch = {&whole, 1, pass->T, pass->T};
    bool seen = pass->hooks != NULL && pass->hooks->attention != NULL;
    QK_TRY(qk_progress_check(pass->progress, err));
    QK_TRY(show_state(pass, pass->layer, err));
    enum qk_code code = qk_layer_weights_read(pass->parts, layer, true, &weights, err);
    if (code == QK_OK && weights.d != pass->d)
        code = qk_fail(err, QK_INPUT, "%s: layer %d has another width (found %zu, expected %zu)",
            pass->parts->model->checkpoint->path, pass->layer, weights.d, pass->d);
    if (code == QK_OK)
        code = qk_layer_run(&weights, pass->x, &batch, &pass->tables, seen ? pass_attention : NULL, pass,
            pass->progress, err);
    qk_layer_weights_free(&weights);
    qk_progress_add(pass->progress, 1);
    return code;
}

static enum qk_code final_norm(struct pass *pass, struct qk_error *err)
{
    struct qk_layer_weights owner = {0};
    struct qk_norm norm;
    enum qk_code code = qk_norm_read(pass->parts, -1, "final_norm", pass->d, &owner, &norm, err);
    if (code == QK_OK)
        qk_norm_apply(&norm, pass->T, pass->d, pass->x, pass->x);
    qk_layer_weights_free(&owner);
    return code == QK_OK ? show_state(pass, pass->parts->model->n_layers, err) : code;
}

static enum qk_code run_pass(
    struct pass *pass, const int32_t *ids, float *logits, size_t n_logits, struct qk_error *err)
{
    int n_layers = pass->parts->model->n_layers;
    const struct qk_tensor *head;
    if (logits != NULL) /* before the work of all the layers */
        QK_TRY(find_embedding(pass->parts, true, &head, err));
    QK_TRY(embed(pass->parts, ids, pass->T, pass->x, err));
    for (pass->layer = 0; pass->layer < n_layers; pass->layer++)
        QK_TRY(run_one_layer(pass, err));
    QK_TRY(final_norm(pass, err));
    if (logits == NULL || n_logits == 0)
        return QK_OK;
    return make_logits(
        pass->parts, pass->x + (pass->T - n_logits) * pass->d, n_logits, logits, pass->progress, err);
}

enum qk_code qk_forward(const struct qk_model *model, const struct qk_patch *patch, const int32_t *ids,
    size_t T, const struct qk_forward_hooks *hooks, float *logits, size_t n_logits,
    struct qk_progress *progress, struct qk_error *err)
{
    struct qk_parts parts;
    if (T == 0 || T > INT_MAX || (logits != NULL && n_logits > T))
        return qk_fail(err, QK_INPUT, "%s: %zu tokens, of which %zu logits are wanted",
            model->checkpoint->path, T, logits != NULL ? n_logits : 0);
    QK_TRY(qk_parts_open(model, patch, T, &parts, err));
    const char *reason = qk_parts_missing(&parts);
    struct pass pass = {
        .parts = &parts, .hooks = hooks, .progress = progress, .T = T, .d = (size_t)model->layer[0].d};
    qk_progress_total(progress, (uint64_t)model->n_layers);
    enum qk_code code = reason != NULL
                            ? qk_fail(err, QK_INPUT, "%s: there is no forward pass for the %s family: %s",
                                  model->checkpoint->path, model->family, reason)
                            : qk_alloc_aligned(&pass.x, T * pass.d, sizeof *pass.x, err);
    if (code == QK_OK)
        code = run_pass(&pass, ids, logits, n_logits, err);
    free(pass.x);
    qk_rope_tables_free(&pass.tables);
    qk_parts_close(&parts);
    return code;
}

/* --- one layer's attention --- */

static enum qk_code make_attention(const struct qk_parts *parts, const struct qk_layer *layer, const float *x,
    size_t T, struct qk_layer_attention *out, struct qk_error *err)
{
    struct qk_layer_weights weights;
    struct qk_rope_tables tables = {0};
    struct qk_projected projected = {0};
    const struct qk_sequence whole = {.n = T};
    const struct qk_batch batch = {&whole, 1, T, T};
    enum qk_code code = qk_layer_weights_read(parts, layer, false, &weights, err);
    if (code == QK_OK)
        code = qk_layer_project(&weights, x, &batch, &tables, &projected, NULL, err);
    if (code == QK_OK) {
        out->attention = qk_layer_attention_of(&weights, projected.qkv, T);
        out->buffer = projected.qkv;
        projected.qkv = NULL;
    }
    qk_projected_free(&projected);
    qk_rope_tables_free(&tables);
    qk_layer_weights_free(&weights);
    return code;
}

enum qk_code qk_layer_attention_make(const struct qk_model *model, const struct qk_patch *patch, int layer,
    const float *x, size_t T, struct qk_layer_attention *out, struct qk_error *err)
{
    struct qk_parts parts;
    *out = (struct qk_layer_attention){0};
    if (layer < 0 || layer >= model->n_layers || T == 0 || T > INT_MAX)
        return qk_fail(
            err, QK_INPUT, "%s: there is no layer %d, or no token", model->checkpoint->path, layer);
    const struct qk_layer *of = &model->layer[layer];
    if (of->kind != QK_FULL && of->kind != QK_WINDOW)
        return qk_fail(err, QK_INPUT, "%s: layer %d is a %s layer: it has no attention map",
            model->checkpoint->path, layer, qk_kind_name(of->kind));
    QK_TRY(qk_parts_open(model, patch, T, &parts, err));
    const char *reason = qk_parts_refused(&parts);
    enum qk_code code = reason != NULL
                            ? qk_fail(err, QK_INPUT, "%s: the %s family's attention cannot be computed: %s",
                                  model->checkpoint->path, model->family, reason)
                            : make_attention(&parts, of, x, T, out, err);
    qk_parts_close(&parts);
    return code;
}

void qk_layer_attention_free(struct qk_layer_attention *attention)
{
    free(attention->buffer);
    *attention = (struct qk_layer_attention){0};
}
