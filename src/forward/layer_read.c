/* layer_read.c - the weights of one layer as float32, with q, k, v and gates cut out of fused tensors. */
#include "forward/layer.h"

#include "base/json.h"
#include "base/mem.h"
#include "forward/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reading {
    const struct qk_parts *parts;
    const struct qk_layer *layer;
    const cJSON *mixer;
    const char *rows; /* the row order of q's tensor */
    struct qk_layer_weights *out;
    struct qk_error *err;
    /* The tensor read last, as (rows, d): q, k, v and a gate may be in one. */
    const struct qk_tensor *held;
    uint64_t held_rows;
    float *values;
};

/* --- memory --- */

/* Takes ownership of an array of n values. */
static enum qk_code own(struct qk_layer_weights *out, void *array, size_t n, struct qk_error *err)
{
    enum qk_code code = qk_grow(&out->owned, &out->capacity, out->n_owned + 1, sizeof *out->owned, err);
    if (code == QK_OK)
        out->owned[out->n_owned++] = array;
    else
        free(array);
    out->values += n;
    return code;
}

static enum qk_code new_array(struct qk_layer_weights *out, size_t n, float **array, struct qk_error *err)
{
    QK_TRY(qk_alloc_aligned(array, n, sizeof **array, err));
    return own(out, *array, n, err);
}

void qk_layer_weights_free(struct qk_layer_weights *weights)
{
    for (size_t i = 0; i < weights->n_owned; i++)
        free(weights->owned[i]);
    free(weights->owned);
    *weights = (struct qk_layer_weights){0};
}

static enum qk_code read_owned(const struct qk_parts *parts, const struct qk_tensor *tensor, uint64_t rows,
    uint64_t columns, struct qk_layer_weights *out, float **array, struct qk_error *err)
{
    QK_TRY(qk_weights_read(parts, tensor, rows, columns, array, err));
    return own(out, *array, (size_t)(tensor->bytes / (qk_dtype_bits(tensor->dtype) / 8)), err);
}

/* --- norms --- */

enum qk_code qk_norm_read(const struct qk_parts *parts, int layer, const char *key, size_t n,
    struct qk_layer_weights *owner, struct qk_norm *norm, struct qk_error *err)
{
    const struct qk_tensor *gain, *bias;
    const cJSON *forward = parts->forward;
    *norm = (struct qk_norm){.n = n};
    if (qk_json_get(forward, key) == NULL)
        return QK_OK;
    norm->layer = strcmp(qk_json_string(forward, "norm", ""), "layer") == 0;
    norm->offset = qk_json_bool(forward, "norm_plus_one", false) ? 1.0f : 0.0f;
    if (!qk_layout_value(forward, "eps", &parts->model->config, &norm->eps) || !(norm->eps >= 0))
        return qk_fail(
            err, QK_INPUT, "%s: the config has no eps for its norms", parts->model->checkpoint->path);
    if (layer >= 0) {
        QK_TRY(qk_parts_layer_tensor(parts, layer, forward, key, ".weight", true, &gain, err));
        QK_TRY(qk_parts_layer_tensor(parts, layer, forward, key, ".bias", false, &bias, err));
    } else {
        QK_TRY(qk_parts_model_tensor(parts, key, ".weight", true, &gain, err));
        QK_TRY(qk_parts_model_tensor(parts, key, ".bias", false, &bias, err));
    }
    if (norm->layer && bias != NULL)
        QK_TRY(read_owned(parts, bias, n, 0, owner, &norm->bias, err));
    return read_owned(parts, gain, n, 0, owner, &norm->gain, err);
}

/* Reads the gain of q or k: one head's (n = head_dim), or all heads' (n = heads * head_dim), normalised together. */
static enum qk_code read_qk_norm(const struct reading *r, enum qk_role role, struct qk_norm *norm)
{
    const struct qk_view *view = &r->layer->role[role];
    const char *key = role == QK_Q ? "q_norm" : "k_norm";
    const struct qk_config *config = &r->parts->model->config;
    if (qk_json_get(r->mixer, key) == NULL || !qk_layout_flag(r->mixer, "qk_norm_if", config, true))
        return QK_OK;
    const struct qk_tensor *gain;
    QK_TRY(qk_parts_layer_tensor(r->parts, r->layer->index, r->mixer, key, ".weight", true, &gain, r->err));
    size_t hd = r->out->head_dim, n = (size_t)view->n_heads * hd;
    norm->n = gain->n_dims == 1 && gain->shape[0] == n ? n : hd;
    norm->offset = r->layer->gain_plus_one ? 1.0f : 0.0f;
    if (!qk_layout_value(r->parts->forward, "eps", config, &norm->eps) || !(norm->eps >= 0))
        return qk_fail(
            r->err, QK_INPUT, "%s: the config has no eps for its norms", r->parts->model->checkpoint->path);
    return read_owned(r->parts, gain, norm->n, 0, r->out, &norm->gain, r->err);
}

static enum qk_code read_o_norm(const struct reading *r)
{
    struct qk_layer_weights *out = r->out;
    struct qk_norm *norm = &out->o_norm;
    const struct qk_config *config = &r->parts->model->config;
    if (qk_json_get(r->mixer, "o_norm") == NULL || !qk_layout_flag(r->mixer, "o_norm_if", config, true))
        return QK_OK;
    const struct qk_tensor *gain;
    QK_TRY(
        qk_parts_layer_tensor(r->parts, r->layer->index, r->mixer, "o_norm", ".weight", true, &gain, r->err));
    size_t n = out->n_out * out->value_dim;
    norm->n = gain->n_dims == 1 && gain->shape[0] == n ? n : out->value_dim;
    if (!qk_layout_value(r->mixer, "o_norm_eps", config, &norm->eps) &&
        !qk_layout_value(r->parts->forward, "eps", config, &norm->eps))
        norm->eps = 0;
    return read_owned(r->parts, gain, norm->n, 0, out, &norm->gain, r->err);
}

/* --- projections --- */

/* Reads a tensor as (rows, d), transposed when it is stored (d, rows). */
static enum qk_code hold(struct reading *r, const struct qk_tensor *tensor, uint64_t rows, bool transposed)
{
    if (r->held == tensor)
        return QK_OK;
    free(r->values);
    r->values = NULL;
    r->held = NULL;
    uint64_t d = r->layer->d;
    float *stored;
    QK_TRY(qk_weights_read(r->parts, tensor, transposed ? d : rows, transposed ? rows : d, &stored, r->err));
    if (transposed) {
        enum qk_code code = qk_alloc_aligned(&r->values, (size_t)(rows * d), sizeof *r->values, r->err);
        for (size_t i = 0; code == QK_OK && i < d; i++)
            for (size_t j = 0; j < rows; j++)
                r->values[j * d + i] = stored[i * rows + j];
        free(stored);
        QK_TRY(code);
    } else {
        r->values = stored;
    }
    r->held = tensor;
    r->held_rows = rows;
    return QK_OK;
}

/* First row of head h of v, or of a gate, in the tensor that holds q and k too (orders: model/rows.c). */
static uint64_t value_row(const struct reading *r, size_t h)
{
    const struct qk_view *k = &r->layer->role[QK_K];
    uint64_t hd = r->out->head_dim, vd = r->out->value_dim;
    if (strcmp(r->rows, "head3") == 0 || strcmp(r->rows, "grouped") == 0)
        return k->first_row[h] + hd;
    if (strcmp(r->rows, "key_group") == 0) {
        size_t each = r->out->n_v / r->out->n_k;
        return k->first_row[h / each] + hd + (h % each) * vd;
    }
    return k->first_row[k->n_heads - 1] + hd + h * vd; /* block, conv1d */
}

static uint64_t gate_row(const struct reading *r, size_t h)
{
    if (strcmp(r->rows, "gated") == 0)
        return r->layer->role[QK_Q].first_row[h] + r->out->head_dim;
    return value_row(r, h) + r->out->n_v / r->out->n_k * r->out->value_dim; /* key_group: z follows v */
}

/* Reports a row of the layout table that contradicts itself or the tensors. */
static enum qk_code fail_row(const struct reading *r, const char *what)
{
    return qk_fail(
        r->err, QK_INPUT, "%s: layer %d: %s", r->parts->model->checkpoint->path, r->layer->index, what);
}

/* Copies n rows of the held tensor, and of its bias, to row `to` of a projection. */
static enum qk_code copy_rows(const struct reading *r, uint64_t from, size_t n, const float *bias,
    struct qk_projection *projection, size_t to)
{
    if (from > r->held_rows || n > r->held_rows - from || to > projection->n || n > projection->n - to)
        return fail_row(r, "the heads of v or of the gate do not fit their tensor");
    memcpy(projection->weight + to * projection->k, r->values + from * projection->k,
        n * projection->k * sizeof *projection->weight);
    if (projection->bias != NULL)
        for (size_t i = 0; i < n; i++)
            projection->bias[to + i] = bias != NULL ? bias[from + i] : 0.0f;
    return QK_OK;
}

static enum qk_code new_projection(
    struct reading *r, struct qk_projection *projection, size_t n, size_t k, bool bias)
{
    *projection = (struct qk_projection){.n = n, .k = k};
    QK_TRY(new_array(r->out, n * k, &projection->weight, r->err));
    return bias ? new_array(r->out, n, &projection->bias, r->err) : QK_OK;
}

/* Copies the rows of the heads of q or k. */
static enum qk_code take_role(struct reading *r, enum qk_role role, size_t to)
{
    const struct qk_view *view = &r->layer->role[role];
    uint64_t rows = view->weight->shape[view->transposed ? 1 : 0];
    float *bias = NULL;
    QK_TRY(hold(r, view->weight, rows, view->transposed));
    if (view->bias != NULL)
        QK_TRY(qk_weights_read(r->parts, view->bias, rows, 0, &bias, r->err));
    enum qk_code code = QK_OK;
    for (int h = 0; h < view->n_heads && code == QK_OK; h++)
        code = copy_rows(
            r, view->first_row[h], r->out->head_dim, bias, &r->out->qkv, to + (size_t)h * r->out->head_dim);
    free(bias);
    return code;
}

static bool is_separate(const struct reading *r)
{
    return strcmp(r->rows, "separate") == 0 || strcmp(r->rows, "gated") == 0;
}

/* Copies the rows of the heads of v: those of its own tensor, or those beside q and k in q's tensor. */
static enum qk_code take_values(
    struct reading *r, const struct qk_tensor *weight, const struct qk_tensor *bias_tensor, size_t to)
{
    const struct qk_view *k = &r->layer->role[QK_K];
    size_t vd = r->out->value_dim, n = r->out->n_v * vd;
    uint64_t rows = is_separate(r) ? n : k->weight->shape[k->transposed ? 1 : 0];
    float *bias = NULL;
    QK_TRY(hold(r, weight, rows, k->transposed));
    if (bias_tensor != NULL)
        QK_TRY(qk_weights_read(r->parts, bias_tensor, rows, 0, &bias, r->err));
    enum qk_code code = is_separate(r) ? copy_rows(r, 0, n, bias, &r->out->qkv, to) : QK_OK;
    for (size_t h = 0; !is_separate(r) && h < r->out->n_v && code == QK_OK; h++)
        code = copy_rows(r, value_row(r, h), vd, bias, &r->out->qkv, to + h * vd);
    free(bias);
    return code;
}

/* Finds the tensor of v, its heads and their width. */
static enum qk_code find_values(
    struct reading *r, const struct qk_tensor **weight, const struct qk_tensor **bias)
{
    struct qk_layer_weights *out = r->out;
    const struct qk_config *config = &r->parts->model->config;
    long value;
    out->n_v = out->delta ? out->n_q : out->n_k;
    out->value_dim = out->head_dim;
    if (qk_json_get(r->mixer, "value_heads") != NULL) {
        QK_TRY(qk_layout_count(r->mixer, "value_heads", config, 1 << 16, &value, r->err));
        out->n_v = (size_t)value;
        QK_TRY(qk_layout_count(r->mixer, "value_dim", config, 1 << 16, &value, r->err));
        out->value_dim = (size_t)value;
    }
    *weight = r->layer->role[QK_K].weight;
    *bias = r->layer->role[QK_K].bias;
    if (is_separate(r)) {
        QK_TRY(
            qk_parts_layer_tensor(r->parts, r->layer->index, r->mixer, "v", ".weight", true, weight, r->err));
        QK_TRY(qk_parts_layer_tensor(r->parts, r->layer->index, r->mixer, "v", ".bias", false, bias, r->err));
        uint64_t rows = (*weight)->n_dims == 2 ? (*weight)->shape[0] : 0;
        if (rows == 0 || rows % out->n_v != 0)
            return qk_weights_check(r->parts, *weight, out->n_v * out->head_dim, r->layer->d, r->err);
        out->value_dim = (size_t)(rows / out->n_v);
    }
    out->n_out = out->delta ? out->n_v : out->n_q;
    bool by_key = strcmp(r->rows, "head3") == 0 || strcmp(r->rows, "grouped") == 0;
    if ((out->delta && out->n_q != out->n_k) || ((!out->delta || by_key) && out->n_v != out->n_k) ||
        out->n_out % out->n_k != 0)
        return fail_row(r, "its numbers of query, key and value heads do not fit together");
    return QK_OK;
}

static enum qk_code read_qkv(struct reading *r, bool all)
{
    struct qk_layer_weights *out = r->out;
    const struct qk_tensor *weight = NULL, *bias = NULL;
    size_t n = (out->n_q + out->n_k) * out->head_dim;
    out->n_v = out->n_k;
    if (all) {
        QK_TRY(find_values(r, &weight, &bias));
        /* The query heads of a delta rule are its key heads. */
        n = ((out->delta ? out->n_k : out->n_q) + out->n_k) * out->head_dim;
    }
    size_t n_values = all ? out->n_v * out->value_dim : 0;
    bool biased = r->layer->role[QK_Q].bias != NULL || r->layer->role[QK_K].bias != NULL || bias != NULL;
    QK_TRY(new_projection(r, &out->qkv, n + n_values, out->d, biased));
    QK_TRY(take_role(r, QK_Q, 0));
    QK_TRY(take_role(r, QK_K, n - out->n_k * out->head_dim));
    return all ? take_values(r, weight, bias, n) : QK_OK;
}

/* Reads a projection (n, k) with a tensor of its own; transposed as the mixer's q is (Conv1D). n 0: any number of
 * rows. */
static enum qk_code read_projection(struct reading *r, const cJSON *object, const char *key, size_t n,
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
    *projection = (struct qk_projection){.n = n, .k = k};
    float *stored;
    QK_TRY(read_owned(r->parts, weight, transposed ? k : n, transposed ? n : k, r->out, &stored, r->err));
    projection->weight = stored;
    if (transposed) {
        QK_TRY(new_array(r->out, n * k, &projection->weight, r->err));
        for (size_t i = 0; i < k; i++)
            for (size_t j = 0; j < n; j++)
                projection->weight[j * k + i] = stored[i * n + j];
    }
    return bias != NULL ? read_owned(r->parts, bias, n, 0, r->out, &projection->bias, r->err) : QK_OK;
}

/* Reads the gate of the mixer's output: a tensor of its own, or rows of q's. */
static enum qk_code read_gate(struct reading *r)
{
    struct qk_layer_weights *out = r->out;
    const char *word = qk_json_string(r->mixer, "gate_activation", "sigmoid");
    size_t vd = out->value_dim, n = out->n_out * vd;
    qk_activation_parse(word, &out->gate_activation);
    if (qk_json_get(r->mixer, "gate") != NULL) {
        if (!qk_layout_flag(r->mixer, "gate_if", &r->parts->model->config, true))
            return QK_OK;
        return read_projection(r, r->mixer, "gate", n, out->d, true, &out->gate);
    }
    if (strcmp(r->rows, "gated") != 0 && strcmp(r->rows, "key_group") != 0)
        return QK_OK;
    const struct qk_view *q = &r->layer->role[QK_Q];
    float *bias = NULL;
    if (out->n_out != (strcmp(r->rows, "gated") == 0 ? out->n_q : out->n_v))
        return fail_row(r, "it does not have one gate for each head");
    QK_TRY(new_projection(r, &out->gate, n, out->d, q->bias != NULL));
    QK_TRY(hold(r, q->weight, q->weight->shape[0], false));
    if (q->bias != NULL)
        QK_TRY(qk_weights_read(r->parts, q->bias, q->weight->shape[0], 0, &bias, r->err));
    enum qk_code code = QK_OK;
    for (size_t h = 0; h < out->n_out && code == QK_OK; h++)
        code = copy_rows(r, gate_row(r, h), vd, bias, &out->gate, h * vd);
    free(bias);
    return code;
}

/* Reads beta and alpha from one tensor, by key group: [beta of its value heads; alpha of its value heads]. */
static enum qk_code split_beta_alpha(struct reading *r)
{
    struct qk_layer_weights *out = r->out;
    struct qk_projection both = {0};
    size_t each = out->n_v / out->n_k, d = out->d;
    QK_TRY(read_projection(r, r->mixer, "beta_alpha", 2 * out->n_v, d, true, &both));
    QK_TRY(new_projection(r, &out->beta, out->n_v, d, false));
    QK_TRY(new_projection(r, &out->alpha, out->n_v, d, false));
    for (size_t h = 0; h < out->n_v; h++) {
        size_t row = h / each * 2 * each + h % each;
        memcpy(out->beta.weight + h * d, both.weight + row * d, d * sizeof(float));
        memcpy(out->alpha.weight + h * d, both.weight + (row + each) * d, d * sizeof(float));
    }
    return QK_OK;
}

static enum qk_code read_conv(struct reading *r)
{
    struct qk_layer_weights *out = r->out;
    const struct qk_tensor *conv;
    size_t values = out->n_v * out->value_dim;
    if (qk_json_get(r->mixer, "kernel_in") != NULL) {
        QK_TRY(read_projection(r, r->mixer, "kernel_in", 0, out->d, true, &out->kernel_in));
        QK_TRY(read_projection(r, r->mixer, "kernel_out", 0, out->kernel_in.n, true, &out->kernel_out));
        out->conv_width = out->kernel_out.n / values;
        if (out->conv_width > 0 && out->kernel_out.n % values == 0)
            return QK_OK;
        return fail_row(r, "the kernels of its convolution do not fit the values");
    }
    if (qk_json_get(r->mixer, "conv") == NULL)
        return QK_OK;
    QK_TRY(
        qk_parts_layer_tensor(r->parts, r->layer->index, r->mixer, "conv", ".weight", true, &conv, r->err));
    if (conv->n_dims != 3 || conv->shape[0] != out->qkv.n || conv->shape[1] != 1 || conv->bytes == 0)
        return fail_row(r, "its convolution does not have one kernel for each row of q, k and v");
    out->conv_width = (size_t)conv->shape[2];
    QK_TRY(qk_weights_values(r->parts, conv, &out->conv, r->err));
    return own(out, out->conv, (size_t)conv->shape[0] * out->conv_width, r->err);
}

static enum qk_code read_delta(struct reading *r)
{
    struct qk_layer_weights *out = r->out;
    const struct qk_tensor *log_tensor, *bias;
    int layer = r->layer->index;
    if (qk_json_get(r->mixer, "beta_alpha") != NULL) {
        QK_TRY(split_beta_alpha(r));
    } else {
        QK_TRY(read_projection(r, r->mixer, "beta", out->n_v, out->d, true, &out->beta));
        QK_TRY(read_projection(r, r->mixer, "alpha", out->n_v, out->d, true, &out->alpha));
    }
    QK_TRY(qk_parts_layer_tensor(r->parts, layer, r->mixer, "decay_log", "", true, &log_tensor, r->err));
    QK_TRY(qk_parts_layer_tensor(r->parts, layer, r->mixer, "decay_bias", "", true, &bias, r->err));
    QK_TRY(read_owned(r->parts, log_tensor, out->n_v, 0, out, &out->decay_log, r->err));
    QK_TRY(read_owned(r->parts, bias, out->n_v, 0, out, &out->decay_bias, r->err));
    return read_conv(r);
}

/* --- scales --- */

static enum qk_code read_query_scaling(struct reading *r)
{
    const struct qk_config *config = &r->parts->model->config;
    const char *path = qk_json_string(r->mixer, "query_scaling", NULL);
    const cJSON *item = path != NULL ? qk_config_path(config, path) : NULL;
    r->out->query_factor = 1.0f;
    if (item == NULL || cJSON_IsNull(item))
        return QK_OK;
    if (cJSON_IsNumber(item) && isfinite(item->valuedouble)) {
        r->out->query_factor = (float)item->valuedouble;
        return QK_OK;
    }
    double a;
    char rest;
    if (cJSON_IsString(item) && sscanf(item->valuestring, "hype %lf%c", &a, &rest) == 1 && a > 1 &&
        a < 1e12) {
        r->out->query_log = (float)a;
        return QK_OK;
    }
    return qk_fail(
        r->err, QK_INPUT, "%s: %s is not known (expected null, a number, or \"hype A\")", config->path, path);
}

static enum qk_code read_scales(struct reading *r)
{
    const struct qk_config *config = &r->parts->model->config;
    struct qk_layer_weights *out = r->out;
    static const char *const numbers[] = {"score_dim", "softcap", NULL};
    double number = (double)out->head_dim;
    bool found;
    QK_TRY(qk_layout_check_values(r->mixer, numbers, config, r->err));
    QK_TRY(qk_layout_number(r->mixer, "score_dim", config, qk_above_zero, &found, &number, r->err));
    out->scale = (float)(1.0 / sqrt(number));
    if (qk_layout_value(r->mixer, "softcap", config, &number) && number > 0 && isfinite(number))
        out->softcap = (float)number;
    if (r->layer->kind == QK_WINDOW && r->layer->window <= 0)
        return qk_fail(r->err, QK_INPUT, "%s: the config has no window for layer %d",
            r->parts->model->checkpoint->path, r->layer->index);
    if (r->layer->rotary_dims > 0) {
        QK_TRY(new_array(out, (size_t)r->layer->rotary_dims / 2, &out->frequency, r->err));
        QK_TRY(qk_rope_frequencies(r->parts, r->mixer, r->layer, out->frequency, &out->rope_factor, r->err));
    }
    return read_query_scaling(r);
}

/* --- the MLP --- */

static enum qk_code split_gate_up(struct reading *r)
{
    struct qk_layer_weights *out = r->out;
    struct qk_projection both = {0};
    QK_TRY(read_projection(r, r->parts->forward, "gate_up", 0, out->d, true, &both));
    if (both.n % 2 != 0)
        return fail_row(r, "gate and up have an odd number of rows together");
    size_t n = both.n / 2;
    out->mlp_gate = (struct qk_projection){both.weight, both.bias, n, out->d};
    out->mlp_up =
        (struct qk_projection){both.weight + n * out->d, both.bias != NULL ? both.bias + n : NULL, n, out->d};
    return QK_OK;
}

static enum qk_code read_mlp(struct reading *r)
{
    struct qk_layer_weights *out = r->out;
    const struct qk_config *config = &r->parts->model->config;
    const cJSON *forward = r->parts->forward, *paths = qk_json_get(forward, "activation");
    const char *word = NULL;
    for (const cJSON *path = cJSON_IsArray(paths) ? paths->child : paths; path != NULL && word == NULL;
         path = cJSON_IsArray(paths) ? path->next : NULL)
        word = cJSON_GetStringValue(qk_config_path(config, path->valuestring));
    if (!qk_activation_parse(word != NULL ? word : "silu", &out->activation))
        return qk_fail(r->err, QK_INPUT, "%s: the activation \"%s\" is not built in", config->path, word);
    out->parallel = qk_layout_flag(forward, "parallel", config, false);
    if (qk_json_get(forward, "gate_up") != NULL) {
        QK_TRY(split_gate_up(r));
    } else {
        QK_TRY(read_projection(r, forward, "up", 0, out->d, true, &out->mlp_up));
        QK_TRY(read_projection(
            r, forward, "gate", out->mlp_up.n, out->d, qk_json_get(forward, "gate") != NULL, &out->mlp_gate));
    }
    return read_projection(r, forward, "down", out->d, out->mlp_up.n, true, &out->mlp_down);
}

/* --- the layer --- */

static enum qk_code read_rest(struct reading *r)
{
    struct qk_layer_weights *out = r->out;
    int i = r->layer->index;
    QK_TRY(read_gate(r));
    QK_TRY(read_o_norm(r));
    QK_TRY(read_projection(r, r->mixer, "o", out->d, out->n_out * out->value_dim, true, &out->o));
    if (out->delta)
        QK_TRY(read_delta(r));
    QK_TRY(qk_norm_read(r->parts, i, "mixer_post_norm", out->d, out, &out->mixer_post_norm, r->err));
    QK_TRY(qk_norm_read(r->parts, i, "mlp_norm", out->d, out, &out->mlp_norm, r->err));
    QK_TRY(qk_norm_read(r->parts, i, "mlp_post_norm", out->d, out, &out->mlp_post_norm, r->err));
    return read_mlp(r);
}

enum qk_code qk_layer_weights_read(const struct qk_parts *parts, const struct qk_layer *layer, bool all,
    struct qk_layer_weights *out, struct qk_error *err)
{
    *out = (struct qk_layer_weights){.layer = layer};
    const char *why = layer->problem != NULL ? layer->problem : layer->no_k;
    if (layer->kind == QK_NONE || why != NULL)
        return qk_fail(err, QK_INPUT, "%s: layer %d: %s", parts->model->checkpoint->path, layer->index,
            why != NULL ? why : "it has no attention");
    struct reading r = {.parts = parts, .layer = layer, .out = out, .err = err};
    r.mixer = qk_parts_mixer(parts, layer);
    r.rows = qk_layout_word(r.mixer, "rows", &parts->model->config);
    out->d = (size_t)layer->d;
    out->n_q = (size_t)layer->role[QK_Q].n_heads;
    out->n_k = (size_t)layer->role[QK_K].n_heads;
    out->head_dim = (size_t)layer->head_dim;
    out->delta = strcmp(qk_json_string(r.mixer, "recurrence", ""), "delta") == 0;
    enum qk_code code = qk_norm_read(parts, layer->index, "mixer_norm", out->d, out, &out->mixer_norm, err);
    if (code == QK_OK)
        code = read_qkv(&r, all);
    if (code == QK_OK)
        code = read_qk_norm(&r, QK_Q, &out->q_norm);
    if (code == QK_OK)
        code = read_qk_norm(&r, QK_K, &out->k_norm);
    if (code == QK_OK)
        code = read_scales(&r);
    if (code == QK_OK && all)
        code = read_rest(&r);
    free(r.values);
    return code;
}
