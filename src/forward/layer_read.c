/* layer_read.c - the weights of one layer: norms, projections, and what its parts read. */
#include "forward/experts.h"
#include "forward/feed_forward.h"
#include "forward/mixer.h"

#include "base/blas.h"
#include "base/json.h"
#include "base/mem.h"
#include "forward/bfloat16.h"
#include "forward/layer_inputs.h"
#include "forward/weights.h"
#include "model/fused.h"
#include "tensor/float32.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- memory --- */

enum qk_code qk_own(struct qk_layer_weights *out, void *array, size_t bytes, struct qk_error *err)
{
    enum qk_code code = qk_grow(&out->owned, &out->capacity, out->n_owned + 1, sizeof *out->owned, err);
    if (code == QK_OK)
        out->owned[out->n_owned++] = array;
    else
        free(array);
    out->bytes += bytes;
    return code;
}

enum qk_code qk_new_array(struct qk_layer_weights *out, size_t n, float **array, struct qk_error *err)
{
    QK_TRY(qk_alloc_aligned(array, n, sizeof **array, err));
    return qk_own(out, *array, n * sizeof **array, err);
}

enum qk_code qk_make_ones(struct qk_layer_weights *out, size_t n, float **array, struct qk_error *err)
{
    QK_TRY(qk_new_array(out, n, array, err));
    for (size_t i = 0; i < n; i++)
        (*array)[i] = 1.0f;
    return QK_OK;
}

void qk_layer_weights_free(struct qk_layer_weights *weights)
{
    for (size_t i = 0; i < weights->n_owned; i++)
        free(weights->owned[i]);
    free(weights->owned);
    if (weights->beside != NULL)
        qk_layer_weights_free(weights->beside);
    if (weights->then != NULL)
        qk_layer_weights_free(weights->then);
    free(weights->beside);
    free(weights->then);
    qk_experts_free(weights->experts);
    *weights = (struct qk_layer_weights){0};
}

enum qk_code qk_read_owned(const struct qk_parts *parts, const struct qk_tensor *tensor, uint64_t rows,
    uint64_t columns, struct qk_layer_weights *out, float **array, struct qk_error *err)
{
    QK_TRY(qk_weights_read(parts, tensor, rows, columns, array, err));
    return qk_own(out, *array, (size_t)qk_tensor_values(tensor) * sizeof **array, err);
}

/* --- norms --- */

/* A layer norm has no offset: a stored gain w that acts as 1 + w becomes that. */
static void add_offset(struct qk_norm *norm)
{
    for (size_t i = 0; norm->layer && i < norm->n; i++)
        norm->gain[i] += norm->offset;
}

enum qk_code qk_norm_read(const struct qk_parts *parts, const cJSON *mixer, int layer, const char *key,
    size_t n, struct qk_layer_weights *owner, struct qk_norm *norm, struct qk_error *err)
{
    const struct qk_tensor *gain, *bias;
    const cJSON *forward = parts->forward, *owns = qk_json_get(mixer, key) != NULL ? mixer : forward;
    *norm = (struct qk_norm){.n = n};
    if (qk_json_get(owns, key) == NULL)
        return QK_OK;
    norm->layer = strcmp(qk_json_string(forward, "norm", ""), "layer") == 0;
    norm->offset = qk_json_bool(forward, "norm_plus_one", false) ? 1.0f : 0.0f;
    QK_TRY(qk_parts_eps(parts, NULL, NULL, &norm->eps, err));
    if (qk_json_bool(forward, "norm_plain", false)) {
        norm->offset = 0;
        return qk_make_ones(owner, n, &norm->gain, err);
    }
    if (layer >= 0) {
        QK_TRY(qk_parts_layer_tensor(parts, layer, owns, key, ".weight", true, &gain, err));
        QK_TRY(qk_parts_layer_tensor(parts, layer, owns, key, ".bias", false, &bias, err));
    } else {
        QK_TRY(qk_parts_model_tensor(parts, key, ".weight", true, &gain, err));
        QK_TRY(qk_parts_model_tensor(parts, key, ".bias", false, &bias, err));
    }
    if (norm->layer && bias != NULL)
        QK_TRY(qk_read_owned(parts, bias, n, 0, owner, &norm->bias, err));
    QK_TRY(qk_read_owned(parts, gain, n, 0, owner, &norm->gain, err));
    add_offset(norm);
    return QK_OK;
}

/* What the norm makes, times a factor. */
static void scale_norm(struct qk_norm *norm, float factor)
{
    for (size_t i = 0; i < norm->n; i++)
        norm->gain[i] = (norm->gain[i] + norm->offset) * factor;
    norm->offset = 0;
    for (size_t i = 0; norm->bias != NULL && i < norm->n; i++)
        norm->bias[i] *= factor;
}

/* --- projections --- */

enum qk_code qk_fail_row(const struct qk_reading *r, const char *what)
{
    return qk_fail(
        r->err, QK_INPUT, "%s: layer %d: %s", r->parts->model->checkpoint->path, r->layer->index, what);
}

static enum qk_code new_weights(
    struct qk_layer_weights *out, size_t n, enum qk_dtype dtype, void **weight, struct qk_error *err)
{
    size_t size = qk_dtype_bits(dtype) / 8;
    QK_TRY(qk_alloc_aligned(weight, n, size, err));
    return qk_own(out, *weight, n * size, err);
}

enum qk_code qk_new_projection(struct qk_reading *r, struct qk_projection *projection, size_t n, size_t k,
    enum qk_dtype dtype, bool bias)
{
    *projection = (struct qk_projection){.n = n, .k = k, .dtype = dtype};
    QK_TRY(new_weights(r->out, n * k, dtype, &projection->weight, r->err));
    return bias ? qk_new_array(r->out, n, &projection->bias, r->err) : QK_OK;
}

/* What it had stays with the layer: other projections may be rows of it. */
enum qk_code qk_widen_projection(struct qk_layer_weights *out, struct qk_projection *p, struct qk_error *err)
{
    void *wide;
    if (p->weight == NULL || p->dtype == QK_F32)
        return QK_OK;
    QK_TRY(new_weights(out, p->n * p->k, QK_F32, &wide, err));
    qk_dtype_to_f32(p->dtype, p->weight, p->n * p->k, wide);
    p->weight = wide;
    p->dtype = QK_F32;
    return QK_OK;
}

enum qk_code qk_read_weight(struct qk_reading *r, const struct qk_tensor *tensor, size_t n, size_t k,
    struct qk_projection *projection)
{
    enum qk_dtype dtype = qk_weights_dtype(r->parts, tensor);
    *projection = (struct qk_projection){.n = n, .k = k, .dtype = dtype};
    QK_TRY(qk_weights_keep(r->parts, tensor, n, k, dtype, &projection->weight, r->err));
    return qk_own(r->out, projection->weight, n * k * (qk_dtype_bits(dtype) / 8), r->err);
}

/* Reads a tensor (k, n) as weights (n, k) in float32. */
static enum qk_code read_transposed(struct qk_reading *r, const struct qk_tensor *tensor, size_t n, size_t k,
    struct qk_projection *projection)
{
    float *weight;
    QK_TRY(qk_weights_turned(r->parts, tensor, n, k, &weight, r->err));
    *projection = (struct qk_projection){.weight = weight, .n = n, .k = k, .dtype = QK_F32};
    return qk_own(r->out, weight, n * k * sizeof *weight, r->err);
}

enum qk_code qk_read_projection(struct qk_reading *r, const cJSON *object, const char *key, size_t n,
    size_t k, bool needed, struct qk_projection *projection)
{
    const struct qk_tensor *weight, *bias;
    bool transposed = r->layer->role[QK_Q].transposed;
    int layer = r->layer->index;
    QK_TRY(qk_parts_layer_tensor(r->parts, layer, object, key, ".weight", needed, &weight, r->err));
    QK_TRY(qk_parts_layer_tensor(r->parts, layer, object, key, ".bias", false, &bias, r->err));
    if (weight == NULL)
        return QK_OK;
    if (n == 0 && weight->n_dims == 2)
        n = (size_t)weight->shape[transposed ? 1 : 0];
    QK_TRY((transposed ? read_transposed : qk_read_weight)(r, weight, n, k, projection));
    return bias != NULL ? qk_read_owned(r->parts, bias, n, 0, r->out, &projection->bias, r->err) : QK_OK;
}

enum qk_code qk_add_adapter(
    struct qk_reading *r, const cJSON *object, const char *key, struct qk_projection *projection)
{
    const struct qk_tensor *low, *high;
    size_t use = qk_parts_use(r->parts, r->layer), n = projection->n, k = projection->k;
    int layer = r->layer->index;
    float *below, *above;
    QK_TRY(qk_parts_expert_tensor(r->parts, layer, object, key, use, ".0.weight", false, &low, NULL, r->err));
    if (low == NULL || projection->weight == NULL)
        return QK_OK;
    QK_TRY(qk_parts_expert_tensor(r->parts, layer, object, key, use, ".1.weight", true, &high, NULL, r->err));
    size_t rank = low->n_dims == 2 ? (size_t)low->shape[0] : 0;
    QK_TRY(qk_widen_projection(r->out, projection, r->err));
    QK_TRY(qk_weights_read(r->parts, low, rank, k, &below, r->err));
    enum qk_code code = qk_weights_read(r->parts, high, n, rank, &above, r->err);
    if (code == QK_OK)
        qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)k, (int)rank, 1.0f, above,
            (int)rank, below, (int)k, 1.0f, projection->weight, (int)k);
    free(above);
    free(below);
    return code;
}

enum qk_code qk_read_named(
    struct qk_reading *r, const char *key, uint64_t rows, uint64_t columns, float **out)
{
    const struct qk_tensor *tensor;
    QK_TRY(qk_parts_layer_tensor(r->parts, r->layer->index, r->mixer, key, "", true, &tensor, r->err));
    return qk_read_owned(r->parts, tensor, rows, columns, r->out, out, r->err);
}

enum qk_code qk_scale_projection(struct qk_reading *r, struct qk_projection *projection, float factor)
{
    if (factor == 1.0f || projection->weight == NULL)
        return QK_OK;
    QK_TRY(qk_widen_projection(r->out, projection, r->err));
    float *weight = projection->weight;
    for (size_t i = 0; i < projection->n * projection->k; i++)
        weight[i] *= factor;
    for (size_t i = 0; projection->bias != NULL && i < projection->n; i++)
        projection->bias[i] *= factor;
    return QK_OK;
}

/* --- the layer --- */

static enum qk_code read_layer_scale(struct qk_reading *r)
{
    const struct qk_tensor *tensor;
    float *value;
    r->out->layer_scale = 1.0f;
    if (qk_json_get(r->parts->forward, "layer_scale") == NULL)
        return QK_OK;
    QK_TRY(qk_parts_layer_tensor(
        r->parts, r->layer->index, r->parts->forward, "layer_scale", "", true, &tensor, r->err));
    QK_TRY(qk_read_owned(r->parts, tensor, 1, 0, r->out, &value, r->err));
    r->out->layer_scale = *value;
    return QK_OK;
}

/* Reads the factors of the residual sums: those of the mixer's row, else those of all layers. */
static enum qk_code read_residuals(struct qk_reading *r)
{
    struct qk_layer_weights *out = r->out;
    const cJSON *forward = r->parts->forward;
    const struct {
        const char *key;
        float *to;
    } factors[] = {{"mixer_alpha", &out->mixer_alpha}, {"mixer_beta", &out->mixer_beta},
        {"mlp_alpha", &out->mlp_alpha}, {"mlp_beta", &out->mlp_beta}};
    float both;
    double root = 1;
    bool found;
    for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
        const cJSON *owns = qk_json_get(r->mixer, factors[i].key) != NULL ? r->mixer : forward;
        QK_TRY(qk_parts_multiplier(r->parts, owns, factors[i].key, factors[i].to, r->err));
    }
    QK_TRY(qk_parts_multiplier(r->parts, forward, "residual_multiplier", &both, r->err));
    QK_TRY(qk_layout_number(
        forward, "residual_root", &r->parts->model->config, qk_above_zero, &found, &root, r->err));
    both /= (float)sqrt(root);
    out->mixer_beta *= both;
    out->mlp_beta *= both;
    out->normed_residual = qk_layout_flag(forward, "normed_residual", &r->parts->model->config, false);
    return QK_OK;
}

/* Reads the norms around the mixer and the MLP, and the MLP. */
static enum qk_code read_rest(struct qk_reading *r)
{
    struct qk_layer_weights *out = r->out;
    int i = r->layer->index;
    QK_TRY(read_residuals(r));
    if (out->mixer != NULL)
        QK_TRY(qk_norm_read(
            r->parts, r->mixer, i, "mixer_post_norm", out->width, out, &out->mixer_post_norm, r->err));
    if (strcmp(qk_json_string(r->mixer, "block", ""), "mixer") == 0)
        return QK_OK;
    QK_TRY(qk_norm_read(r->parts, r->mixer, i, "mlp_norm", out->width, out, &out->mlp_norm, r->err));
    QK_TRY(
        qk_norm_read(r->parts, r->mixer, i, "mlp_post_norm", out->width, out, &out->mlp_post_norm, r->err));
    QK_TRY(read_layer_scale(r));
    QK_TRY(qk_layer_inputs_read(r));
    return qk_feed_forward_read(r);
}

static void set_widths(const struct qk_reading *r)
{
    struct qk_layer_weights *out = r->out;
    out->stream = (size_t)qk_model_width(r->parts->model);
    out->width = (size_t)qk_model_own_width(r->parts->model);
    out->d = qk_json_bool(r->mixer, "joined", false) ? out->stream : out->width;
}

/* Reads the norm of the mixer's input, and the mixer. */
static enum qk_code read_mixer(struct qk_reading *r, bool all)
{
    struct qk_layer_weights *out = r->out;
    const char *rows = r->rows != NULL && strcmp(r->rows, "latent") == 0 ? r->rows : NULL,
               *word = qk_json_string(r->mixer, "recurrence", rows);
    float factor;
    set_widths(r);
    out->mixer = qk_mixer_find(word);
    if (out->mixer == NULL || (word == NULL && r->layer->kind == QK_LINEAR))
        return qk_fail_row(r, "its recurrence is not built in");
    QK_TRY(qk_norm_read(
        r->parts, r->mixer, r->layer->index, "mixer_norm", out->d, out, &out->mixer_norm, r->err));
    QK_TRY(qk_parts_multiplier(r->parts, r->mixer, "in_multiplier", &factor, r->err));
    if (factor != 1.0f && out->mixer_norm.gain == NULL)
        return qk_fail_row(r, "there is no norm of the mixer's input, which in_multiplier needs");
    if (factor != 1.0f)
        scale_norm(&out->mixer_norm, factor);
    return out->mixer->read(r, all);
}

/* Reads the mixer that the row names at this key; *to stays NULL without the key. */
static enum qk_code read_other(struct qk_reading *r, const char *key, struct qk_layer_weights **to)
{
    const char *name = qk_json_string(r->mixer, key, NULL);
    if (name == NULL)
        return QK_OK;
    struct qk_reading other = *r;
    other.mixer = qk_layout_mixer(&r->parts->layout, name);
    QK_TRY(qk_alloc(to, 1, sizeof **to, r->err));
    other.out = *to;
    other.out->layer = r->layer;
    QK_TRY(read_mixer(&other, true));
    r->out->bytes += other.out->bytes;
    return QK_OK;
}

/* Reads the mixer of what this one and the MLP make. */
static enum qk_code read_then(struct qk_reading *r)
{
    struct qk_layer_weights *out = r->out;
    QK_TRY(read_other(r, "then", &out->then));
    if (out->then == NULL)
        return QK_OK;
    out->then->mixer_beta = out->then->layer_scale = 1.0f;
    return qk_read_projection(r, r->mixer, "then_in", out->width, out->width, true, &out->then_in);
}

static enum qk_code read_layer(struct qk_reading *r, bool all)
{
    set_widths(r);
    if (strcmp(qk_json_string(r->mixer, "block", ""), "mlp") != 0)
        QK_TRY(read_mixer(r, all));
    if (!all)
        return QK_OK;
    QK_TRY(read_other(r, "beside", &r->out->beside));
    QK_TRY(read_then(r));
    return read_rest(r);
}

enum qk_code qk_layer_weights_read(const struct qk_parts *parts, const struct qk_layer *layer, bool all,
    struct qk_layer_weights *out, struct qk_error *err)
{
    *out = (struct qk_layer_weights){.layer = layer};
    const char *why = layer->problem != NULL ? layer->problem : layer->no_k;
    if (!qk_parts_runs(parts, layer) || why != NULL)
        return qk_fail(err, QK_INPUT, "%s: layer %d: %s", parts->model->checkpoint->path, layer->index,
            why != NULL ? why : "it has no attention");
    struct qk_reading r = {.parts = parts, .layer = layer, .out = out, .err = err, .dtype = QK_F32};
    r.mixer = qk_parts_mixer(parts, layer);
    r.rows = qk_fused_rows(parts->model, r.mixer, &parts->model->config);
    out->n_q = (size_t)layer->role[QK_Q].n_heads;
    out->n_k = (size_t)layer->role[QK_K].n_heads;
    out->head_dim = (size_t)layer->head_dim;
    enum qk_code code = read_layer(&r, all);
    if (code == QK_OK)
        code = qk_layer_to_bfloat16(out, parts->progress, err);
    free(r.values);
    return code;
}
