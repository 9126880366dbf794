/* embedding.c - both ends of a pass. */
#include "forward/embedding.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "forward/elementwise.h"
#include "forward/layer_inputs.h"
#include "forward/ops.h"
#include "forward/row_products.h"
#include "forward/weights.h"
#include "tensor/float32.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Finds the embedding (vocabulary, d), or the output head. */
static enum qk_code find_embedding(
    const struct qk_parts *parts, bool head, const struct qk_tensor **out, struct qk_error *err)
{
    const struct qk_config *config = &parts->model->config;
    const cJSON *tied = qk_config_path(config, "tie_word_embeddings");
    if (tied == NULL)
        tied = qk_json_get(config->root, "tie_word_embeddings");
    *out = NULL;
    if (head)
        QK_TRY(qk_parts_model_tensor(parts, "head", ".weight", false, out, err));
    /* A head that is stored beside a tied embedding is a copy; PEFT uses one that it trained. */
    if (*out != NULL && qk_config_true(tied) && (*out)->shard != QK_SHARD_ADAPTER)
        *out = NULL;
    if (head && *out == NULL && cJSON_IsFalse(tied))
        return qk_fail(err, QK_INPUT,
            "%s: the output head %s.weight is missing, and tie_word_embeddings is false",
            parts->model->checkpoint->path, qk_json_string(parts->forward, "head", "lm_head"));
    if (*out == NULL)
        QK_TRY(qk_parts_model_tensor(parts, "embedding", ".weight", true, out, err));
    return qk_weights_check(parts, *out, 0, qk_model_own_width(parts->model), err);
}

/* --- tokens --- */

static enum qk_code check_ids(const struct qk_parts *parts, const struct qk_tensor *embedding,
    const int32_t *ids, size_t T, struct qk_error *err)
{
    size_t t;
    if (qk_unknown_ids(ids, T, (size_t)embedding->shape[0], &t) == 0)
        return QK_OK;
    return qk_fail(err, QK_INPUT, "%s: token %zu is outside the vocabulary (found %d, expected 0 to %llu)",
        parts->model->checkpoint->path, t, ids[t], (unsigned long long)embedding->shape[0] - 1);
}

/* x += the learned positions t0 .. t0 + T - 1. */
static enum qk_code add_positions(
    const struct qk_parts *parts, size_t t0, float *x, size_t T, size_t d, struct qk_error *err)
{
    const struct qk_tensor *positions;
    float *rows;
    if (qk_json_get(parts->forward, "position_embedding") == NULL)
        return QK_OK;
    QK_TRY(qk_parts_model_tensor(parts, "position_embedding", ".weight", true, &positions, err));
    QK_TRY(qk_weights_check(parts, positions, 0, d, err));
    if (t0 + T > positions->shape[0])
        return qk_fail(err, QK_INPUT, "%s: %s: the model has %llu positions (found %zu tokens)",
            qk_checkpoint_file(parts->model->checkpoint, positions), positions->name,
            (unsigned long long)positions->shape[0], t0 + T);
    QK_TRY(qk_alloc_aligned(&rows, T * d, sizeof *rows, err));
    enum qk_code code = qk_weights_rows(parts, positions, t0, T, QK_F32, rows, err);
    for (size_t i = 0; code == QK_OK && i < T * d; i++)
        x[i] += rows[i];
    free(rows);
    return code;
}

/* The factor of embedded tokens, rounded as the family rounds it. */
static float root_of(const struct qk_parts *parts, double value)
{
    double root = sqrt(value);
    unsigned char bytes[2];
    if (!qk_json_bool(parts->forward, "embedding_root_bf16", false))
        return (float)root;
    qk_dtype_from_f64(QK_BF16, &root, 1, bytes);
    qk_dtype_to_f64(QK_BF16, bytes, 1, &root);
    return (float)root;
}

/* Makes rows x (T, d) to rows (T, 2 d), the same behind itself. */
static void double_rows(size_t T, size_t d, float *x)
{
    for (size_t t = T; t-- > 0;) {
        memmove(x + 2 * t * d, x + t * d, d * sizeof *x);
        memcpy(x + (2 * t + 1) * d, x + 2 * t * d, d * sizeof *x);
    }
}

void qk_rows_narrow(const struct qk_model *model, size_t n, float *x)
{
    size_t d = (size_t)qk_model_own_width(model), stream = (size_t)qk_model_width(model);
    for (size_t i = 1; stream > d && i < n; i++)
        memmove(x + i * d, x + i * stream, d * sizeof *x);
}

enum qk_code qk_embed(
    const struct qk_parts *parts, const int32_t *ids, size_t t0, size_t T, float *x, struct qk_error *err)
{
    const struct qk_tensor *embedding;
    size_t d = (size_t)qk_model_own_width(parts->model);
    double root;
    float factor;
    QK_TRY(find_embedding(parts, false, &embedding, err));
    QK_TRY(check_ids(parts, embedding, ids, T, err));
    for (size_t t = 0; t < T; t++)
        QK_TRY(qk_weights_rows(parts, embedding, (uint64_t)ids[t], 1, QK_F32, x + t * d, err));
    if (qk_layout_flag(parts->forward, "embedding_root_if", &parts->model->config, true) &&
        qk_layout_value(parts->forward, "embedding_root", &parts->model->config, &root) && root > 0)
        qk_scale(T * d, root_of(parts, root), x);
    QK_TRY(qk_parts_multiplier(parts, parts->forward, "embedding_multiplier", &factor, err));
    if (factor != 1.0f)
        qk_scale(T * d, factor, x);
    QK_TRY(add_positions(parts, t0, x, T, d, err));
    if (parts->model->joined)
        double_rows(T, d, x);
    return parts->model->layer_input > 0 ? qk_layer_inputs_add(parts, ids, t0, T, x, err) : QK_OK;
}

/* --- logits --- */

enum qk_code qk_head_find(const struct qk_parts *parts, struct qk_head *out, struct qk_error *err)
{
    double softcap;
    const struct qk_tensor *bias;
    *out = (struct qk_head){0};
    QK_TRY(find_embedding(parts, true, &out->tensor, err));
    QK_TRY(qk_parts_model_tensor(parts, "head", ".bias", false, &bias, err));
    if (bias != NULL)
        QK_TRY(qk_weights_read(parts, bias, out->tensor->shape[0], 0, &out->bias, err));
    out->vocabulary = (size_t)out->tensor->shape[0];
    out->d = (size_t)out->tensor->shape[1];
    out->dtype = qk_weights_dtype(parts, out->tensor);
    if (qk_layout_value(parts->forward, "logit_softcap", &parts->model->config, &softcap) && softcap > 0)
        out->softcap = (float)softcap;
    return qk_parts_multiplier(parts, parts->forward, "logit_multiplier", &out->factor, err);
}

static size_t row_bytes(const struct qk_head *head)
{
    return head->d * (qk_dtype_bits(head->dtype) / 8);
}

size_t qk_head_bytes(const struct qk_head *head)
{
    return head->vocabulary * row_bytes(head);
}

enum qk_code qk_head_hold(struct qk_head *head, const struct qk_parts *parts, struct qk_error *err)
{
    void *rows;
    if (head->rows != NULL)
        return QK_OK;
    QK_TRY(qk_alloc_aligned(&rows, head->vocabulary, row_bytes(head), err));
    enum qk_code code = qk_weights_rows(parts, head->tensor, 0, head->vocabulary, head->dtype, rows, err);
    if (code == QK_OK)
        head->rows = rows;
    else
        free(rows);
    return code;
}

void qk_head_free(struct qk_head *head)
{
    free(head->rows);
    free(head->bias);
    *head = (struct qk_head){0};
}

struct logits_job {
    const struct qk_head *head;
    const float *x;    /* (n, d) */
    const char *rows;  /* some rows of the head (n_rows, d) */
    const float *bias; /* of these rows, or NULL */
    float *out;        /* (n, vocabulary), at the first of these rows */
    size_t n, n_rows;
    float *wide; /* HEAD_SHARE rows a worker, where they are widened; else NULL */
};
enum { HEAD_SHARE = 256, HEAD_VALUES = 1 << 22, FEW = 128 };

/* out (n, m) = x rows^T + bias for rows first .. first + m. */
static void multiply_share(const struct logits_job *job, size_t first, size_t m, size_t worker)
{
    const struct qk_head *head = job->head;
    const void *rows = job->rows + first * row_bytes(head);
    const float *bias = job->bias != NULL ? job->bias + first : NULL;
    float *out = job->out + first;
    if (job->n <= FEW) {
        qk_row_products(job->n, head->d, m, job->x, head->dtype, rows, bias, out, head->vocabulary);
        return;
    }
    if (job->wide != NULL) {
        float *wide = job->wide + worker * HEAD_SHARE * head->d;
        qk_dtype_to_f32(head->dtype, rows, m * head->d, wide);
        rows = wide;
    }
    qk_linear(job->n, head->d, m, job->x, rows, bias, out, head->vocabulary);
}

/* out = factor (x rows^T + bias), c tanh(out / c) with a softcap, for HEAD_SHARE rows of the head. */
static void logits_share(void *context, size_t item, size_t worker)
{
    const struct logits_job *job = context;
    const struct qk_head *head = job->head;
    size_t first = item * HEAD_SHARE, m = job->n_rows - first < HEAD_SHARE ? job->n_rows - first : HEAD_SHARE;
    multiply_share(job, first, m, worker);
    for (size_t i = 0; i < job->n; i++) {
        float *out = job->out + i * head->vocabulary + first;
        if (head->factor != 1.0f)
            qk_scale(m, head->factor, out);
        for (size_t j = 0; head->softcap > 0 && j < m; j++)
            out[j] = head->softcap * tanhf(out[j] / head->softcap);
    }
}

static size_t shares_of(size_t rows)
{
    return (rows + HEAD_SHARE - 1) / HEAD_SHARE;
}

static enum qk_code make_logits(struct logits_job *job, struct qk_progress *progress, struct qk_error *err)
{
    qk_parallel_for(shares_of(job->n_rows), logits_share, job, progress);
    return qk_progress_check(progress, err);
}

/* Reads the head block by block. */
static enum qk_code make_blocks(struct logits_job *job, const struct qk_parts *parts, float *logits,
    struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_head *head = job->head;
    size_t all = head->vocabulary, block = head->d > HEAD_VALUES ? 1 : HEAD_VALUES / head->d;
    char *rows;
    block = block > all ? all : block;
    QK_TRY(qk_alloc_aligned(&rows, block, row_bytes(head), err));
    job->rows = rows;
    enum qk_code code = QK_OK;
    for (size_t first = 0; first < all && code == QK_OK; first += block) {
        job->n_rows = all - first < block ? all - first : block;
        job->out = logits + first;
        job->bias = head->bias != NULL ? head->bias + first : NULL;
        code = qk_weights_rows(parts, head->tensor, first, job->n_rows, head->dtype, rows, err);
        if (code == QK_OK)
            code = make_logits(job, progress, err);
    }
    free(rows);
    return code;
}

enum qk_code qk_head_logits(const struct qk_head *head, const struct qk_parts *parts, const float *x,
    size_t n, float *logits, struct qk_progress *progress, struct qk_error *err)
{
    struct logits_job job = {.head = head,
        .x = x,
        .n = n,
        .out = logits,
        .rows = head->rows,
        .bias = head->bias,
        .n_rows = head->vocabulary};
    if (n > FEW && head->dtype != QK_F32)
        QK_TRY(qk_alloc_aligned(&job.wide, qk_parallel_workers(shares_of(head->vocabulary)) * HEAD_SHARE,
            head->d * sizeof *job.wide, err));
    enum qk_code code = head->rows != NULL ? make_logits(&job, progress, err)
                                           : make_blocks(&job, parts, logits, progress, err);
    free(job.wide);
    return code;
}
