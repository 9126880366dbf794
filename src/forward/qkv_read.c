/* qkv_read.c - the weights around q, k and v of a mixer, cut out of fused tensors. */
#include "forward/mixer.h"

#include "base/json.h"
#include "base/mem.h"
#include "forward/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- norms --- */

/* A norm of each head, of n values, whose gains are 1. */
static enum qk_code make_plain_norm(const struct qk_reading *r, size_t n, struct qk_norm *norm)
{
    norm->n = n;
    QK_TRY(qk_parts_eps(r->parts, NULL, NULL, &norm->eps, r->err));
    return qk_make_ones(r->out, n, &norm->gain, r->err);
}

/* Reads the gain of q or k: one head's (n = head_dim), or all heads' (n = heads * head_dim), normalised together. The
 * gain of a layer norm is (heads, head_dim), and each head is normalised. */
static enum qk_code read_qk_norm(const struct qk_reading *r, enum qk_role role, struct qk_norm *norm)
{
    const struct qk_view *view = &r->layer->role[role];
    const char *key = role == QK_Q ? "q_norm" : "k_norm";
    const struct qk_config *config = &r->parts->model->config;
    if (qk_layout_flag(r->mixer, "qk_norm_plain", config, false))
        return make_plain_norm(r, r->out->head_dim, norm);
    if (qk_json_get(r->mixer, key) == NULL || !qk_layout_flag(r->mixer, "qk_norm_if", config, true))
        return QK_OK;
    const struct qk_tensor *gain;
    QK_TRY(qk_parts_layer_tensor(r->parts, r->layer->index, r->mixer, key, ".weight", true, &gain, r->err));
    size_t hd = r->out->head_dim, n = (size_t)view->n_heads * hd;
    norm->n = gain->n_dims == 1 && gain->shape[0] == n ? n : hd;
    norm->layer = strcmp(qk_json_string(r->mixer, "qk_norm_kind", "rms"), "layer") == 0;
    norm->offset = r->layer->gain_plus_one ? 1.0f : 0.0f;
    QK_TRY(qk_parts_eps(r->parts, NULL, NULL, &norm->eps, r->err));
    if (norm->layer)
        return qk_read_owned(r->parts, gain, n / hd, hd, r->out, &norm->gain, r->err);
    return qk_read_owned(r->parts, gain, norm->n, 0, r->out, &norm->gain, r->err);
}

/* Sets into how many parts the norm divides the heads' output together. */
static enum qk_code read_groups(const struct qk_reading *r, struct qk_norm *norm)
{
    long groups;
    if (qk_json_get(r->mixer, "o_norm_groups") == NULL)
        return QK_OK;
    QK_TRY(qk_layout_count(r->mixer, "o_norm_groups", &r->parts->model->config, 1 << 16, &groups, r->err));
    norm->groups = (size_t)groups;
    return norm->n % norm->groups == 0 ? QK_OK
                                       : qk_fail_row(r, "the groups of o_norm do not divide its gain");
}

/* The norm of each value head: it has gains of 1. */
static enum qk_code make_v_norm(const struct qk_reading *r)
{
    return qk_json_bool(r->mixer, "v_norm_plain", false)
               ? make_plain_norm(r, r->out->value_dim, &r->out->v_norm)
               : QK_OK;
}

static enum qk_code read_o_norm(const struct qk_reading *r)
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
    QK_TRY(read_groups(r, norm));
    return qk_read_owned(r->parts, gain, norm->n, 0, out, &norm->gain, r->err);
}

/* --- projections --- */

/* Reads a tensor as (rows, d), transposed when it is stored (d, rows), in the format r->dtype. */
static enum qk_code hold(struct qk_reading *r, const struct qk_tensor *tensor, uint64_t rows, bool transposed)
{
    if (r->held == tensor)
        return QK_OK;
    free(r->values);
    r->values = NULL;
    r->held = NULL;
    if (transposed) {
        float *values;
        QK_TRY(qk_weights_turned(r->parts, tensor, rows, r->layer->d, &values, r->err));
        r->values = values;
    } else {
        QK_TRY(qk_weights_keep(r->parts, tensor, rows, r->layer->d, r->dtype, &r->values, r->err));
    }
    r->held = tensor;
    r->held_rows = rows;
    return QK_OK;
}

/* First row of head h of v, or of a gate, in the tensor that holds q and k too (orders: model/rows.c). */
static uint64_t value_row(const struct qk_reading *r, size_t h)
{
    const struct qk_view *k = &r->layer->role[QK_K];
    uint64_t hd = r->out->head_dim, vd = r->out->value_dim;
    if (strcmp(r->rows, "head3") == 0 || strcmp(r->rows, "grouped") == 0)
        return k->first_row[h] + hd;
    if (strcmp(r->rows, "key_group") == 0) {
        size_t each = r->out->n_v / r->out->n_k;
        return k->first_row[h / each] + hd + (h % each) * vd;
    }
    if (strcmp(r->rows, "quarters") == 0) { /* each part holds q, v and k of its heads */
        size_t each = r->out->n_k / 4;
        return k->first_row[h] - each * hd;
    }
    if (strcmp(r->rows, "parts") == 0) { /* each part holds q, k and v of its heads */
        size_t n = (size_t)r->parts->model->n_parts, keys = r->out->n_k / n, values = r->out->n_v / n;
        return k->first_row[h / values * keys] + keys * hd + h % values * vd;
    }
    return k->first_row[k->n_heads - 1] + hd + h * vd; /* block, conv1d */
}

static uint64_t gate_row(const struct qk_reading *r, size_t h)
{
    if (strcmp(r->rows, "gated") == 0)
        return r->layer->role[QK_Q].first_row[h] + r->out->head_dim;
    return value_row(r, h) + r->out->n_v / r->out->n_k * r->out->value_dim; /* key_group: z follows v */
}

/* Copies n rows of the held tensor, and of its bias, to row `to` of a projection. */
static enum qk_code copy_rows(const struct qk_reading *r, uint64_t from, size_t n, const float *bias,
    struct qk_projection *projection, size_t to)
{
    if (from > r->held_rows || n > r->held_rows - from || to > projection->n || n > projection->n - to)
        return qk_fail_row(r, "the heads of v or of the gate do not fit their tensor");
    size_t bytes = projection->k * (qk_dtype_bits(r->dtype) / 8);
    memcpy(qk_projection_row(projection, to), (const char *)r->values + from * bytes, n * bytes);
    if (projection->bias != NULL)
        for (size_t i = 0; i < n; i++)
            projection->bias[to + i] = bias != NULL ? bias[from + i] : 0.0f;
    return QK_OK;
}

/* Copies the rows of the heads of q or k. */
static enum qk_code take_role(struct qk_reading *r, enum qk_role role, size_t to)
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

static bool is_separate(const struct qk_reading *r)
{
    return strcmp(r->rows, "separate") == 0 || strcmp(r->rows, "gated") == 0;
}

/* Copies the rows of the heads of v: those of its own tensor, or those beside q and k in q's tensor. */
static enum qk_code take_values(
    struct qk_reading *r, const struct qk_tensor *weight, const struct qk_tensor *bias_tensor, size_t to)
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
    struct qk_reading *r, const struct qk_tensor **weight, const struct qk_tensor **bias)
{
    struct qk_layer_weights *out = r->out;
    const struct qk_config *config = &r->parts->model->config;
    long value;
    out->n_v = out->mixer->value_heads ? out->n_q : out->n_k;
    out->value_dim = out->head_dim;
    bool own_values = is_separate(r) && qk_kind_softmax(r->layer->kind); /* their tensor decides */
    if (qk_json_get(r->mixer, "value_heads") != NULL && !own_values) {
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
    out->n_out = out->mixer->value_heads ? out->n_v : out->n_q;
    bool by_key = strcmp(r->rows, "head3") == 0 || strcmp(r->rows, "grouped") == 0;
    if ((out->mixer->value_heads && out->n_q != out->n_k) ||
        ((!out->mixer->value_heads || by_key) && out->n_v != out->n_k) || out->n_out % out->n_k != 0)
        return qk_fail_row(r, "its numbers of query, key and value heads do not fit together");
    return QK_OK;
}

/* Multiplies rows first .. first + n of q, k and v. */
static enum qk_code scale_rows(struct qk_reading *r, size_t first, size_t n, float factor)
{
    struct qk_projection *all = &r->out->qkv;
    if (factor != 1.0f)
        QK_TRY(qk_widen_projection(r->out, all, r->err)); /* the whole, of which the rows are a part */
    struct qk_projection rows = qk_projection_rows(all, first, n);
    return qk_scale_projection(r, &rows, factor);
}

/* Multiplies rows first .. first + n, those of v, by the family's factor. */
static enum qk_code scale_values(struct qk_reading *r, size_t first, size_t n)
{
    static const char *const numbers[] = {"value_scale", NULL};
    static const struct qk_bounds any = {-1e6, 1e6, "-1e6 to 1e6"};
    const struct qk_config *config = &r->parts->model->config;
    double scale = 1;
    bool found;
    QK_TRY(qk_layout_check_values(r->mixer, numbers, config, r->err));
    QK_TRY(qk_layout_number(r->mixer, "value_scale", config, any, &found, &scale, r->err));
    return scale_rows(r, first, n, (float)scale);
}

/* Adds the layer's own adapters to rows of q, k and v, of which the first two have n rows. */
static enum qk_code add_adapters(struct qk_reading *r, size_t n)
{
    static const char *const keys[] = {"q_adapter", "k_adapter", "v_adapter"};
    struct qk_projection *qkv = &r->out->qkv;
    size_t k = r->out->n_k * r->out->head_dim;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (qk_json_get(r->mixer, keys[i]) != NULL)
            QK_TRY(qk_widen_projection(r->out, qkv, r->err));
    struct qk_projection part[] = {qk_projection_rows(qkv, 0, n - k), qk_projection_rows(qkv, n - k, k),
        qk_projection_rows(qkv, n, qkv->n - n)};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        QK_TRY(qk_add_adapter(r, r->mixer, keys[i], &part[i]));
    return QK_OK;
}

/* The format of q, k and v (NULL: left out), and of a gate beside q: that of the file where they share it. */
static enum qk_dtype common_dtype(const struct qk_reading *r, const struct qk_tensor *v)
{
    const struct qk_view *q = &r->layer->role[QK_Q], *k = &r->layer->role[QK_K];
    enum qk_dtype dtype = qk_weights_dtype(r->parts, q->weight);
    bool same = qk_weights_dtype(r->parts, k->weight) == dtype &&
                (v == NULL || qk_weights_dtype(r->parts, v) == dtype);
    return same && !q->transposed && !k->transposed ? dtype : QK_F32;
}

static enum qk_code read_projections(struct qk_reading *r, bool all)
{
    struct qk_layer_weights *out = r->out;
    const struct qk_tensor *weight = NULL, *bias = NULL;
    size_t n = (out->n_q + out->n_k) * out->head_dim;
    out->n_v = out->n_k;
    if (all || out->mixer->value_heads) {
        QK_TRY(find_values(r, &weight, &bias));
        /* The query heads of a delta rule are its key heads. */
        n = ((out->mixer->value_heads ? out->n_k : out->n_q) + out->n_k) * out->head_dim;
    }
    size_t n_values = all ? out->n_v * out->value_dim : 0;
    bool biased = r->layer->role[QK_Q].bias != NULL || r->layer->role[QK_K].bias != NULL || bias != NULL;
    r->dtype = common_dtype(r, all ? weight : NULL);
    QK_TRY(qk_new_projection(r, &out->qkv, n + n_values, out->d, r->dtype, biased));
    QK_TRY(take_role(r, QK_Q, 0));
    QK_TRY(take_role(r, QK_K, n - out->n_k * out->head_dim));
    if (all)
        QK_TRY(take_values(r, weight, bias, n));
    QK_TRY(add_adapters(r, n));
    if (!all)
        return QK_OK;
    return scale_values(r, n, n_values);
}

/* Reads the gate of the mixer's output: a tensor of its own, or rows of q's. */
static enum qk_code read_gate(struct qk_reading *r)
{
    struct qk_layer_weights *out = r->out;
    const char *word = qk_json_string(r->mixer, "gate_activation", "sigmoid");
    size_t vd = out->value_dim, n = out->n_out * vd;
    qk_activation_parse(word, &out->gate_activation);
    if (qk_json_get(r->mixer, "gate") != NULL) {
        if (!qk_layout_flag(r->mixer, "gate_if", &r->parts->model->config, true))
            return QK_OK;
        bool low = qk_json_get(r->mixer, "gate_in") != NULL;
        QK_TRY(qk_read_projection(r, r->mixer, "gate_in", 0, out->d, low, &out->gate_in));
        return qk_read_projection(r, r->mixer, "gate", n, low ? out->gate_in.n : out->d, true, &out->gate);
    }
    if (strcmp(r->rows, "gated") != 0 && strcmp(r->rows, "key_group") != 0)
        return QK_OK;
    const struct qk_view *q = &r->layer->role[QK_Q];
    float *bias = NULL;
    if (out->n_out != (strcmp(r->rows, "gated") == 0 ? out->n_q : out->n_v))
        return qk_fail_row(r, "it does not have one gate for each head");
    QK_TRY(qk_new_projection(r, &out->gate, n, out->d, r->dtype, q->bias != NULL));
    QK_TRY(hold(r, q->weight, q->weight->shape[0], false));
    if (q->bias != NULL)
        QK_TRY(qk_weights_read(r->parts, q->bias, q->weight->shape[0], 0, &bias, r->err));
    enum qk_code code = QK_OK;
    for (size_t h = 0; h < out->n_out && code == QK_OK; h++)
        code = copy_rows(r, gate_row(r, h), vd, bias, &out->gate, h * vd);
    free(bias);
    return code;
}

/* --- scales --- */

static enum qk_code read_query_scaling(struct qk_reading *r)
{
    const struct qk_config *config = &r->parts->model->config;
    const char *path = qk_json_string(r->mixer, "query_scaling", NULL);
    const cJSON *item = path != NULL ? qk_config_path(config, path) : NULL;
    r->out->query.factor = 1.0f;
    if (item == NULL || cJSON_IsNull(item))
        return QK_OK;
    if (cJSON_IsNumber(item) && isfinite(item->valuedouble)) {
        r->out->query.factor = (float)item->valuedouble;
        return QK_OK;
    }
    double a;
    char rest;
    if (cJSON_IsString(item) && sscanf(item->valuestring, "hype %lf%c", &a, &rest) == 1 && a > 1 &&
        a < 1e12) {
        r->out->query.log = (float)a;
        return QK_OK;
    }
    return qk_fail(
        r->err, QK_INPUT, "%s: %s is not known (expected null, a number, or \"hype A\")", config->path, path);
}

/* Reads beta and its period; without beta, or with 0, queries are not scaled by their position. */
static enum qk_code read_query_beta(struct qk_reading *r)
{
    static const char *const numbers[] = {"query_beta", "query_period", "query_shift", NULL};
    static const struct qk_bounds any = {0, 1e9, "0 to 1e9"};
    const struct qk_config *config = &r->parts->model->config;
    struct qk_query_scaling *query = &r->out->query;
    bool found;
    if (!qk_layout_flag(r->mixer, "query_if", config, true))
        return QK_OK;
    QK_TRY(qk_layout_check_values(r->mixer, numbers, config, r->err));
    QK_TRY(qk_layout_number(r->mixer, "query_shift", config, any, &found, &query->shift, r->err));
    QK_TRY(qk_layout_number(r->mixer, "query_beta", config, any, &found, &query->beta, r->err));
    if (query->beta == 0)
        return QK_OK;
    QK_TRY(qk_layout_number(r->mixer, "query_period", config, qk_above_zero, &found, &query->period, r->err));
    return found
               ? QK_OK
               : qk_fail(r->err, QK_INPUT, "%s: the config scales queries by their position without a period",
                     r->parts->model->checkpoint->path);
}

static enum qk_code read_sinks(struct qk_reading *r)
{
    const struct qk_tensor *sinks;
    if (qk_json_get(r->mixer, "sinks") == NULL)
        return QK_OK;
    QK_TRY(qk_parts_layer_tensor(r->parts, r->layer->index, r->mixer, "sinks", "", true, &sinks, r->err));
    return qk_read_owned(r->parts, sinks, r->out->n_q, 0, r->out, &r->out->sinks, r->err);
}

enum qk_code qk_read_scales(struct qk_reading *r)
{
    const struct qk_config *config = &r->parts->model->config;
    struct qk_layer_weights *out = r->out;
    static const char *const numbers[] = {"score_dim", "softcap", NULL};
    double number = (double)out->head_dim;
    bool found;
    QK_TRY(qk_layout_check_values(r->mixer, numbers, config, r->err));
    QK_TRY(qk_layout_number(r->mixer, "score_dim", config, qk_above_zero, &found, &number, r->err));
    out->scale = (float)(1.0 / sqrt(number));
    QK_TRY(qk_layout_number(r->mixer, "score_scale", config, qk_above_zero, &found, &number, r->err));
    if (found)
        out->scale = (float)number;
    if (qk_layout_value(r->mixer, "softcap", config, &number) && number > 0 && isfinite(number))
        out->softcap = (float)number;
    if (r->layer->kind == QK_WINDOW && r->layer->window <= 0)
        return qk_fail(r->err, QK_INPUT, "%s: the config has no window for layer %d",
            r->parts->model->checkpoint->path, r->layer->index);
    if (r->layer->rotary_dims > 0) {
        QK_TRY(qk_new_array(out, (size_t)r->layer->rotary_dims / 2, &out->frequency, r->err));
        float score;
        QK_TRY(qk_rope_frequencies(r->parts, r->layer, out->frequency, &out->rope_factor, &score, r->err));
        out->scale *= score;
    }
    QK_TRY(read_query_scaling(r));
    QK_TRY(read_query_beta(r));
    return read_sinks(r);
}

/* Multiplies the keys by their factor. */
static enum qk_code scale_keys(struct qk_reading *r)
{
    struct qk_layer_weights *w = r->out;
    size_t n = w->n_k * w->head_dim, first = (w->mixer->value_heads ? w->n_k : w->n_q) * w->head_dim;
    float factor;
    QK_TRY(qk_parts_multiplier(r->parts, r->mixer, "key_multiplier", &factor, r->err));
    return scale_rows(r, first, n, factor);
}

/* --- all of it --- */

enum qk_code qk_read_output(struct qk_reading *r)
{
    struct qk_layer_weights *out = r->out;
    float factor;
    QK_TRY(read_gate(r));
    QK_TRY(read_o_norm(r));
    out->gate_first = !qk_layout_flag(r->mixer, "norm_first", &r->parts->model->config, true);
    QK_TRY(qk_read_projection(r, r->mixer, "o", out->width, out->n_out * out->value_dim, true, &out->o));
    QK_TRY(qk_parts_multiplier(r->parts, r->mixer, "out_multiplier", &factor, r->err));
    return qk_scale_projection(r, &out->o, factor);
}

enum qk_code qk_read_qkv(struct qk_reading *r, bool all)
{
    struct qk_layer_weights *out = r->out;
    QK_TRY(read_projections(r, all));
    QK_TRY(scale_keys(r));
    QK_TRY(read_qk_norm(r, QK_Q, &out->q_norm));
    QK_TRY(read_qk_norm(r, QK_K, &out->k_norm));
    QK_TRY(qk_read_scales(r));
    if (!all)
        return QK_OK;
    QK_TRY(make_v_norm(r));
    return qk_read_output(r);
}
