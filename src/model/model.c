/* model.c - laying a row of the layout table over a checkpoint: layers, kinds, and the views of q and k. */
#include "model/model.h"

#include "base/json.h"
#include "base/mem.h"
#include "model/layout.h"
#include "model/names.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADS = 1 << 16, MAX_HEAD_DIM = 1 << 16 };

const char *qk_kind_name(enum qk_kind kind)
{
    static const char *const names[QK_KIND_COUNT] = {"full", "window", "linear", "none"};
    return names[kind];
}

bool qk_kind_parse(const char *name, enum qk_kind *kind)
{
    for (int i = 0; i < QK_KIND_COUNT; i++) {
        if (strcmp(name, qk_kind_name((enum qk_kind)i)) == 0) {
            *kind = (enum qk_kind)i;
            return true;
        }
    }
    return false;
}

const char *qk_role_name(enum qk_role role)
{
    return role == QK_Q ? "q" : "k";
}

/* --- views --- */

struct builder {
    struct qk_model *model;
    struct qk_layout layout;
    struct qk_names names;
    const char **mixer;      /* name of each layer's mixer, from the row */
    struct qk_config config; /* the model's, as the layer that is being built sees it */
};

/* The tensor for the first name of the mixer's key that exists. */
static const struct qk_tensor *layer_tensor(
    const struct builder *b, int layer, const cJSON *names, const char *suffix)
{
    if (cJSON_IsString(names))
        return qk_names_find(&b->names, layer, names->valuestring, suffix);
    const struct qk_tensor *tensor = NULL;
    for (const cJSON *item = names != NULL ? names->child : NULL; item != NULL && tensor == NULL;
         item = item->next)
        tensor = qk_names_find(&b->names, layer, item->valuestring, suffix);
    return tensor;
}

static enum qk_code set_problem(struct qk_layer *layer, struct qk_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum qk_code set_problem(struct qk_layer *layer, struct qk_error *err, const char *format, ...)
{
    /* The same cutting and escaping as for errors: tensor names are a stranger's. */
    struct qk_error text;
    char raw[QK_ERROR_TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(raw, sizeof raw, format, arguments);
    va_end(arguments);
    qk_fail(&text, QK_INPUT, "%s", raw);
    free(layer->problem);
    return qk_strdup_to(&layer->problem, text.text, err);
}

struct geometry {
    long heads, key_heads, head_dim, value_heads, value_dim;
    long rope_dim; /* of latent rows */
};

/* Rows between the starts of neighbouring heads, and where the first one starts, per role. The heads of a
 * group (per_group of them) follow each other at `step`; groups follow at `group_step`. */
struct row_order {
    uint64_t base, step, group_step;
    int per_group;
};

/* layouts: reference formulas of each code; hd = head_dim, r = heads / key_heads. */
static struct row_order order_of(const char *rows, enum qk_role role, const struct geometry *g)
{
    uint64_t hd = (uint64_t)g->head_dim, nh = (uint64_t)g->heads;
    int all = 1 << 30;
    if (strcmp(rows, "gated") == 0 && role == QK_Q)
        return (struct row_order){0, 2 * hd, 0, all};
    if ((strcmp(rows, "block") == 0 || strcmp(rows, "conv1d") == 0) && role == QK_K)
        return (struct row_order){nh * hd, hd, 0, all};
    if (strcmp(rows, "head3") == 0)
        return (struct row_order){role == QK_K ? hd : 0, 3 * hd, 0, all};
    if (strcmp(rows, "grouped") == 0) {
        uint64_t r = nh / (uint64_t)g->key_heads;
        if (role == QK_Q)
            return (struct row_order){0, hd, (r + 2) * hd, (int)r};
        return (struct row_order){r * hd, (r + 2) * hd, 0, all};
    }
    if (strcmp(rows, "quarters") == 0) /* each of four parts holds q, v, k of a quarter of the heads */
        return (struct row_order){role == QK_K ? nh / 2 * hd : 0, hd, 3 * (nh / 4) * hd, (int)(nh / 4)};
    if (strcmp(rows, "key_group") == 0) {
        uint64_t per_key = (uint64_t)(g->value_heads / g->key_heads) * (uint64_t)g->value_dim;
        return (struct row_order){role == QK_K ? hd : 0, 2 * hd + 2 * per_key, 0, all};
    }
    if (strcmp(rows, "latent") == 0 && role == QK_K)
        return (struct row_order){0, hd - (uint64_t)g->rope_dim + (uint64_t)g->value_dim, 0, all};
    return (struct row_order){0, hd, 0, all};
}

/* Rows that the tensor must have. Never "at least": a config that tells of too few heads would make the views
 * cover rows of V. */
static uint64_t rows_expected(const char *rows, enum qk_role role, const struct geometry *g)
{
    uint64_t hd = (uint64_t)g->head_dim, nh = (uint64_t)g->heads, nk = (uint64_t)g->key_heads;
    uint64_t values = (uint64_t)g->value_heads * (uint64_t)g->value_dim;
    if (strcmp(rows, "gated") == 0)
        return role == QK_Q ? 2 * nh * hd : nk * hd;
    if (strcmp(rows, "block") == 0)
        return (nh + nk) * hd + (values > 0 ? values : nk * hd);
    if (strcmp(rows, "grouped") == 0)
        return (nh + 2 * nk) * hd;
    if (strcmp(rows, "head3") == 0 || strcmp(rows, "conv1d") == 0 || strcmp(rows, "quarters") == 0)
        return 3 * nh * hd;
    if (strcmp(rows, "key_group") == 0)
        return 2 * nk * hd + 2 * values;
    if (strcmp(rows, "latent") == 0 && role == QK_K)
        return nk * (hd - (uint64_t)g->rope_dim) + values;
    return (role == QK_Q ? nh : nk) * hd;
}

static enum qk_code shape_error(const struct builder *b, const struct qk_tensor *tensor, uint64_t rows,
    const struct geometry *g, enum qk_role role, struct qk_error *err)
{
    char shape[QK_SHAPE_TEXT];
    return qk_fail(err, QK_INPUT,
        "%s: %s: its shape does not fit the config (found %s, expected %llu rows for %ld %s heads of %ld)",
        qk_checkpoint_file(b->model->checkpoint, tensor), tensor->name, qk_shape_text(shape, tensor),
        (unsigned long long)rows, role == QK_Q ? g->heads : g->key_heads, role == QK_Q ? "query" : "key",
        g->head_dim);
}

static enum qk_code place_heads(
    struct qk_view *view, enum qk_role role, const char *rows, const struct geometry *g, struct qk_error *err)
{
    struct row_order order = order_of(rows, role, g);
    QK_TRY(qk_alloc(&view->first_row, (size_t)view->n_heads, sizeof *view->first_row, err));
    for (int h = 0; h < view->n_heads; h++)
        view->first_row[h] = order.base + (uint64_t)(h / order.per_group) * order.group_step +
                             (uint64_t)(h % order.per_group) * order.step;
    return QK_OK;
}

/* The gain must be one head's or all heads'. Where the family is only guessed, one that is neither belongs to
 * something else. */
static enum qk_code check_norm(struct builder *b, const struct qk_layer *layer, struct qk_view *view,
    enum qk_role role, const struct geometry *g, struct qk_error *err)
{
    const struct qk_tensor *norm = view->norm;
    uint64_t hd = (uint64_t)g->head_dim, n = (uint64_t)view->n_heads;
    bool fits = (norm->n_dims == 1 && (norm->shape[0] == hd || norm->shape[0] == hd * n)) ||
                (norm->n_dims == 2 && norm->shape[0] == n && norm->shape[1] == hd);
    if (fits)
        return QK_OK;
    if (!b->model->guessed)
        return shape_error(b, norm, hd, g, role, err);
    view->norm = NULL;
    return qk_lines_add(&b->model->remarks, err, "layer %d: %s does not fit its heads and is left out",
        layer->index, norm->name);
}

/* Runs that follow each other without a gap are one. */
static void add_slice(struct qk_view *view, const struct qk_tensor *tensor, uint64_t first, uint64_t length,
    uint64_t step, uint64_t count, bool latent)
{
    bool dense = step == length;
    if (tensor != NULL && length > 0)
        view->slice[view->n_slices++] = (struct qk_slice){tensor, first, dense ? length * count : length,
            dense ? length * count : step, dense ? 1 : count, latent};
}

static enum qk_code down_error(const struct builder *b, const struct qk_tensor *tensor, uint64_t rows,
    const char *what, struct qk_error *err)
{
    char shape[QK_SHAPE_TEXT];
    return qk_fail(err, QK_INPUT, "%s: %s: its shape does not fit %s (found %s, expected %llu rows)",
        qk_checkpoint_file(b->model->checkpoint, tensor), tensor->name, what, qk_shape_text(shape, tensor),
        (unsigned long long)rows);
}

/* What makes the latent, and the slices that a restore copies. Of k the last rows of `down` are its own, the
 * others make values, too; q's latent is q's alone. */
static enum qk_code build_down(struct builder *b, struct qk_view *view, enum qk_role role,
    const struct row_order *order, const struct geometry *g, struct qk_error *err)
{
    const struct qk_tensor *down = view->down, *norm = view->down_norm;
    uint64_t rank = view->weight->shape[1], tail = role == QK_K ? (uint64_t)g->rope_dim : 0,
             rows = (uint64_t)g->head_dim - tail;
    bool shared = role == QK_K;
    view->tail = (int)tail;
    if (rank == 0 || rank > 1u << 24 || down->n_dims != 2 || down->shape[0] != rank + tail)
        return down_error(b, down, rank + tail, view->weight->name, err);
    if (norm->n_dims != 1 || norm->shape[0] != rank)
        return down_error(b, norm, rank, down->name, err);
    if (view->down_bias != NULL && (view->down_bias->n_dims != 1 || view->down_bias->shape[0] != rank + tail))
        return down_error(b, view->down_bias, rank + tail, down->name, err);
    add_slice(view, view->weight, 0, rows, order->step, (uint64_t)view->n_heads, false);
    add_slice(view, norm, 0, rank, rank, 1, shared);
    const struct qk_tensor *const whole[] = {down, view->down_bias};
    for (int i = 0; i < 2; i++) {
        add_slice(view, whole[i], 0, rank, rank, 1, shared);
        add_slice(view, whole[i], rank, tail, tail, 1, false);
    }
    return QK_OK;
}

/* The scales of a slice's blocks, as a slice of their own. False when some of its blocks hold other rows,
 * too: then neither can be restored without the other. */
static bool add_scales(struct qk_view *view, const struct qk_slice *of, const struct qk_tensor *scale)
{
    uint64_t block = (uint64_t)view->block, rows = of->tensor->shape[0];
    bool whole = of->length % block == 0 || (of->count == 1 && of->first + of->length == rows);
    if (!whole || of->first % block != 0 || (of->count > 1 && of->step % block != 0))
        return false;
    add_slice(view, scale, of->first / block, (of->length + block - 1) / block,
        of->count > 1 ? of->step / block : 1, of->count, of->latent);
    return true;
}

static bool fits_blocks(const struct qk_tensor *tensor, const struct qk_tensor *scale, uint64_t block)
{
    return scale->n_dims == 2 && qk_dtype_readable(scale->dtype) &&
           scale->shape[0] == (tensor->shape[0] + block - 1) / block &&
           scale->shape[1] == (tensor->shape[1] + block - 1) / block;
}

/* What a restore copies of values with scales: both. */
static enum qk_code build_scales(struct builder *b, struct qk_layer *layer, struct qk_view *view,
    const struct row_order *order, const struct geometry *g, struct qk_error *err)
{
    const struct qk_tensor *const of[] = {view->weight, view->down};
    const struct qk_tensor *const scale[] = {view->scale, view->down_scale};
    const cJSON *size =
        qk_json_get(qk_json_get(b->model->config.root, "quantization_config"), "weight_block_size");
    double told = cJSON_IsArray(size) && cJSON_IsNumber(size->child) ? size->child->valuedouble : 128;
    if (view->scale == NULL && view->down_scale == NULL)
        return QK_OK;
    view->block = told >= 1 && told <= 1 << 20 ? (int)told : 128;
    if (view->down == NULL && (view->transposed || order->per_group < view->n_heads))
        return set_problem(layer, err,
            "its weights are scaled by %s, which is not supported in this order of rows", view->scale->name);
    if (view->down == NULL)
        add_slice(view, view->weight, order->base, (uint64_t)g->head_dim, order->step,
            (uint64_t)view->n_heads, false);
    for (int i = 0, slices = view->n_slices; i < 2 * slices; i++) {
        const struct qk_slice slice = view->slice[i / 2];
        if (scale[i % 2] == NULL || slice.tensor != of[i % 2])
            continue;
        if (!fits_blocks(slice.tensor, scale[i % 2], (uint64_t)view->block))
            return set_problem(layer, err, "%s does not hold a scale for each block of %d x %d of %s",
                scale[i % 2]->name, view->block, view->block, slice.tensor->name);
        if (!add_scales(view, &slice, scale[i % 2]))
            return set_problem(
                layer, err, "blocks of %s hold rows of its heads and others", scale[i % 2]->name);
    }
    return QK_OK;
}

static enum qk_code build_view(struct builder *b, struct qk_layer *layer, enum qk_role role, const char *rows,
    const struct geometry *g, struct qk_error *err)
{
    struct qk_view *view = &layer->role[role];
    const struct qk_tensor *weight = view->weight;
    view->transposed = strcmp(rows, "conv1d") == 0;
    view->n_heads = (int)(role == QK_Q ? g->heads : g->key_heads);
    uint64_t needed = rows_expected(rows, role, g);
    if (weight->n_dims != 2)
        return shape_error(b, weight, needed, g, role, err);
    uint64_t have = weight->shape[view->transposed ? 1 : 0], d = weight->shape[view->transposed ? 0 : 1];
    if (have != needed || d == 0 || d > 1u << 24)
        return shape_error(b, weight, needed, g, role, err);
    if (view->bias != NULL && (view->bias->n_dims != 1 || view->bias->shape[0] != have))
        return shape_error(b, view->bias, have, g, role, err);
    struct row_order order = order_of(rows, role, g);
    if (view->down != NULL) {
        QK_TRY(build_down(b, view, role, &order, g, err));
        d = view->down->shape[1];
    }
    if (d == 0 || d > 1u << 24)
        return shape_error(b, view->down, needed, g, role, err);
    if (layer->d != 0 && layer->d != d)
        return qk_fail(err, QK_INPUT, "%s: %s: q and k have different widths (found %llu, expected %llu)",
            qk_checkpoint_file(b->model->checkpoint, weight), weight->name, (unsigned long long)d,
            (unsigned long long)layer->d);
    layer->d = d;
    QK_TRY(build_scales(b, layer, view, &order, g, err));
    if (view->norm != NULL)
        QK_TRY(check_norm(b, layer, view, role, g, err));
    const struct qk_tensor *const numbers[] = {weight, view->down, view->down_norm};
    for (int i = 0; i < 3; i++) /* nor are their bytes known to match their shape: no memory for heads */
        if (numbers[i] != NULL && !qk_dtype_readable(numbers[i]->dtype))
            return set_problem(layer, err, "%s is stored as %s, which is not read as numbers",
                numbers[i]->name, numbers[i]->dtype_text);
    return place_heads(view, role, rows, g, err);
}

static enum qk_code read_head_dim(const struct builder *b, const struct qk_layer *layer, const cJSON *mixer,
    struct geometry *g, struct qk_error *err)
{
    const struct qk_tensor *norm = layer->role[QK_Q].norm;
    double ignored;
    if (!qk_layout_value(mixer, "head_dim", &b->config, &ignored) && norm != NULL && norm->n_dims >= 1) {
        uint64_t n = norm->shape[norm->n_dims - 1];
        if (n > 0 && n <= MAX_HEAD_DIM) {
            g->head_dim = (long)n;
            return QK_OK;
        }
    }
    return qk_layout_count(mixer, "head_dim", &b->config, MAX_HEAD_DIM, &g->head_dim, err);
}

static bool whole_heads(const struct qk_tensor *tensor, uint64_t hd)
{
    return tensor->n_dims == 2 && tensor->shape[0] > 0 && tensor->shape[0] % hd == 0 &&
           tensor->shape[0] / hd <= MAX_HEADS;
}

/* K heads vary by layer inside one model: believe the tensor where it holds whole heads. */
static enum qk_code believe_key_tensor(
    struct builder *b, const struct qk_layer *layer, struct geometry *g, struct qk_error *err)
{
    const struct qk_tensor *k = layer->role[QK_K].weight;
    uint64_t hd = (uint64_t)g->head_dim;
    if (!whole_heads(k, hd) || k->shape[0] == (uint64_t)g->key_heads * hd)
        return QK_OK;
    long found = (long)(k->shape[0] / hd);
    QK_TRY(qk_lines_add(&b->model->remarks, err, "layer %d: %ld key heads by its tensor, %ld by the config",
        layer->index, found, g->key_heads));
    g->key_heads = found;
    return QK_OK;
}

static enum qk_code check_sharing(const struct builder *b, const struct qk_layer *layer, const char *rows,
    const struct geometry *g, struct qk_error *err)
{
    if (strcmp(rows, "quarters") == 0 && g->heads % 4 != 0)
        return qk_fail(err, QK_INPUT, "%s: layer %d: %ld heads cannot be divided among four parts",
            b->model->checkpoint->path, layer->index, g->heads);
    bool values = g->value_heads % g->key_heads != 0;
    if (!values && g->heads % g->key_heads == 0)
        return QK_OK;
    return qk_fail(err, QK_INPUT, "%s: layer %d: %ld %s heads cannot share %ld key heads",
        b->model->checkpoint->path, layer->index, values ? g->value_heads : g->heads,
        values ? "value" : "query", g->key_heads);
}

/* Head counts from the config, corrected by the tensors: shapes are what the model computes with. */
static enum qk_code read_geometry(struct builder *b, const struct qk_layer *layer, const cJSON *mixer,
    const char *rows, struct geometry *g, struct qk_error *err)
{
    const struct qk_config *config = &b->config;
    double ignored;
    *g = (struct geometry){0};
    QK_TRY(read_head_dim(b, layer, mixer, g, err));
    bool separate = strcmp(rows, "separate") == 0;
    const struct qk_tensor *q = layer->role[QK_Q].weight;
    if (separate && !qk_layout_value(mixer, "heads", config, &ignored) &&
        whole_heads(q, (uint64_t)g->head_dim))
        g->heads = (long)(q->shape[0] / (uint64_t)g->head_dim);
    else
        QK_TRY(qk_layout_count(mixer, "heads", config, MAX_HEADS, &g->heads, err));
    if (!qk_layout_value(mixer, "key_heads", config, &ignored) && separate)
        g->key_heads = g->heads;
    else
        QK_TRY(qk_layout_count(mixer, "key_heads", config, MAX_HEADS, &g->key_heads, err));
    if (strcmp(rows, "key_group") == 0 || qk_json_get(mixer, "value_heads") != NULL) {
        QK_TRY(qk_layout_count(mixer, "value_heads", config, MAX_HEADS, &g->value_heads, err));
        QK_TRY(qk_layout_count(mixer, "value_dim", config, MAX_HEAD_DIM, &g->value_dim, err));
    }
    if (strcmp(rows, "latent") == 0)
        QK_TRY(qk_layout_count(mixer, "rope_dim", config, g->head_dim - 1, &g->rope_dim, err));
    if (separate || strcmp(rows, "gated") == 0)
        QK_TRY(believe_key_tensor(b, layer, g, err));
    return check_sharing(b, layer, rows, g, err);
}

/* In a family that is not in the table, twice the rows mean that every head's query is followed by a gate. */
static enum qk_code guess_gate(struct builder *b, const struct qk_layer *layer, const struct geometry *g,
    const char **rows, struct qk_error *err)
{
    const struct qk_tensor *q = layer->role[QK_Q].weight;
    if (!b->model->guessed || strcmp(*rows, "separate") != 0 || q->n_dims != 2 ||
        q->shape[0] != 2 * (uint64_t)g->heads * (uint64_t)g->head_dim)
        return QK_OK;
    *rows = "gated";
    return qk_lines_add(&b->model->remarks, err,
        "layer %d: q has twice the rows of its %ld heads: every second block is taken for a gate",
        layer->index, g->heads);
}

/* The entry of this layer in the list that "rope_layers" names says no. */
static bool has_no_rope(const struct builder *b, const struct qk_layer *layer, const cJSON *mixer)
{
    const char *key = qk_json_string(mixer, "rope_layers", NULL);
    const cJSON *list = key != NULL ? qk_config_path(&b->config, key) : NULL;
    const cJSON *item = cJSON_IsArray(list) ? cJSON_GetArrayItem(list, layer->index) : NULL;
    double interval;
    if (item == NULL && qk_layout_value(mixer, "rope_interval", &b->config, &interval) && interval >= 1)
        return fmod(layer->index + 1, interval) == 0;
    return item != NULL && !qk_config_true(item);
}

static enum qk_positions parse_positions(const char *word)
{
    return strcmp(word, "rope_half") == 0    ? QK_POSITIONS_ROPE_HALF
           : strcmp(word, "rope_inter") == 0 ? QK_POSITIONS_ROPE_INTER
           : strcmp(word, "none") == 0       ? QK_POSITIONS_NONE
                                             : QK_POSITIONS_FIXED;
}

static void read_positions(const struct builder *b, struct qk_layer *layer, const cJSON *mixer)
{
    const struct qk_config *config = &b->config;
    double number;
    layer->positions = parse_positions(qk_layout_word(mixer, "positions", config));
    bool rope = layer->positions == QK_POSITIONS_ROPE_HALF || layer->positions == QK_POSITIONS_ROPE_INTER;
    if (rope && has_no_rope(b, layer, mixer)) {
        layer->positions = QK_POSITIONS_NONE;
    } else if (rope) {
        int dims = layer->head_dim;
        if (qk_layout_value(mixer, "rotary", config, &number) && number >= 0 && number <= dims)
            dims = (int)number;
        else if (qk_layout_value(mixer, "rotary_fraction", config, &number) && number >= 0 && number <= 1)
            dims = (int)(number * dims);
        layer->rotary_dims = dims - dims % 2;
        bool told = qk_layout_value(mixer, "theta", config, &number) && number > 0 && isfinite(number);
        layer->rope_theta = told ? number : 10000.0;
    }
    if (layer->kind == QK_WINDOW && qk_layout_value(mixer, "window", config, &number) && number >= 1 &&
        number < 1e9)
        layer->window = (int)number;
}

static enum qk_code set_missing(
    const struct builder *b, struct qk_layer *layer, const cJSON *names, struct qk_error *err)
{
    return set_problem(layer, err, "%s%d.%s.weight is missing", b->names.prefix, layer->index,
        cJSON_IsArray(names) ? names->child->valuestring : names->valuestring);
}

static enum qk_code find_tensors(
    const struct builder *b, struct qk_layer *layer, const cJSON *mixer, struct qk_error *err)
{
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        const cJSON *names = qk_json_get(mixer, r == QK_Q ? "q" : "k");
        layer->role[r].weight = layer_tensor(b, layer->index, names, ".weight");
        layer->role[r].bias = layer_tensor(b, layer->index, names, ".bias");
        const cJSON *norm = qk_json_get(mixer, r == QK_Q ? "q_norm" : "k_norm");
        layer->role[r].norm = layer_tensor(b, layer->index, norm, ".weight");
        if (layer->role[r].norm == NULL)
            layer->role[r].norm = layer_tensor(b, layer->index, norm, "");
        if (layer->role[r].weight == NULL && !b->model->guessed)
            QK_TRY(set_missing(b, layer, names, err));
        const cJSON *down = qk_json_get(mixer, r == QK_Q ? "q_down" : "k_down"),
                    *down_norm = qk_json_get(mixer, r == QK_Q ? "q_down_norm" : "k_down_norm");
        layer->role[r].down = layer_tensor(b, layer->index, down, ".weight");
        layer->role[r].down_bias = layer_tensor(b, layer->index, down, ".bias");
        layer->role[r].down_norm = layer_tensor(b, layer->index, down_norm, ".weight");
        if (layer->role[r].weight != NULL && qk_dtype_bits(layer->role[r].weight->dtype) == 8)
            layer->role[r].scale = layer_tensor(b, layer->index, names, ".weight_scale_inv");
        if (layer->role[r].down != NULL && qk_dtype_bits(layer->role[r].down->dtype) == 8)
            layer->role[r].down_scale = layer_tensor(b, layer->index, down, ".weight_scale_inv");
        if (layer->role[r].down == NULL && down != NULL && r == QK_K)
            QK_TRY(set_missing(b, layer, down, err));
        if (layer->role[r].down != NULL && layer->role[r].down_norm == NULL)
            QK_TRY(set_missing(b, layer, down_norm, err));
    }
    return QK_OK;
}

/* Weights in 8 bits with scales of another kind than those of blocks, which would have to be restored along
 * with them. */
static const struct qk_tensor *find_scale(
    const struct builder *b, const struct qk_layer *layer, const cJSON *mixer)
{
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        const struct qk_tensor *scale =
            layer_tensor(b, layer->index, qk_json_get(mixer, r == QK_Q ? "q" : "k"), ".weight_scale");
        if (scale != NULL && qk_dtype_bits(layer->role[r].weight->dtype) == 8)
            return scale;
    }
    return NULL;
}

/* Layers whose tensors are those of an earlier one of the same mixer: files hold them once, and a choice for
 * one is a choice for all. */
static enum qk_code note_shared(
    struct builder *b, struct qk_layer *layer, const cJSON *mixer, bool *shared, struct qk_error *err)
{
    double number;
    *shared = false;
    if (!qk_layout_value(mixer, "shared_by", &b->config, &number) ||
        !(number >= 1 && number <= QK_MAX_LAYERS))
        return QK_OK;
    int blocks = (int)number, before = 0, first = -1;
    for (int i = 0; i < layer->index; i++)
        before += strcmp(b->mixer[i], layer->mixer) == 0;
    if (before < blocks)
        return QK_OK;
    for (int i = 0, nth = 0; i < layer->index && first < 0; i++)
        if (strcmp(b->mixer[i], layer->mixer) == 0 && nth++ == before % blocks)
            first = i;
    *shared = true;
    QK_TRY(qk_lines_add(&b->model->remarks, err,
        "layer %d uses the q and k of layer %d: a choice there acts on both", layer->index, first));
    return set_problem(layer, err, "it uses the q and k of layer %d, and is chosen there", first);
}

/* Layers that compute with an earlier layer's keys have queries alone. */
static bool borrows_keys(const struct builder *b, const struct qk_layer *layer, const cJSON *mixer)
{
    double number;
    return qk_layout_value(mixer, "borrows_k", &b->config, &number) &&
           layer->index >= (double)b->model->n_layers - number;
}

static enum qk_code build_layer(struct builder *b, struct qk_layer *layer, struct qk_error *err)
{
    const char *name = b->mixer[layer->index];
    const cJSON *mixer = qk_layout_mixer(&b->layout, name);
    b->config = b->model->config;
    b->config.layer = layer->index + 1;
    QK_TRY(qk_strdup_to(&layer->mixer, name, err));
    qk_kind_parse(qk_json_string(mixer, "kind", ""), &layer->kind);
    if (layer->kind == QK_NONE)
        return QK_OK;
    bool shared;
    QK_TRY(note_shared(b, layer, mixer, &shared, err));
    if (shared)
        return QK_OK;
    if (borrows_keys(b, layer, mixer))
        return set_problem(layer, err, "its keys are those of an earlier layer, so it has q alone");
    QK_TRY(find_tensors(b, layer, mixer, err));
    if (layer->problem != NULL || layer->role[QK_Q].weight == NULL || layer->role[QK_K].weight == NULL) {
        if (b->model->guessed)
            layer->kind = QK_NONE;
        return QK_OK;
    }
    const char *rows = qk_layout_word(mixer, "rows", &b->config);
    struct geometry g;
    QK_TRY(read_geometry(b, layer, mixer, rows, &g, err));
    QK_TRY(guess_gate(b, layer, &g, &rows, err));
    layer->head_dim = (int)g.head_dim;
    layer->gain_plus_one = qk_json_bool(mixer, "gain_plus_one", false);
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        QK_TRY(build_view(b, layer, (enum qk_role)r, rows, &g, err));
    read_positions(b, layer, mixer);
    if (qk_layout_flag(mixer, "k_is_v", &b->config, false))
        QK_TRY(qk_lines_add(&b->model->remarks, err,
            "layer %d: its keys' tensor is its values', too: restoring k moves v", layer->index));
    const struct qk_tensor *scale = find_scale(b, layer, mixer);
    if (scale != NULL && layer->problem == NULL)
        return set_problem(layer, err, "its weights are scaled by %s, which is not supported", scale->name);
    return QK_OK;
}

/* --- what is left over --- */

static int compare_pointers(const void *a, const void *b)
{
    const struct qk_tensor *x = *(const struct qk_tensor *const *)a, *y = *(const struct qk_tensor *const *)b;
    return x < y ? -1 : x > y;
}

static bool looks_like_qk(const char *name)
{
    static const char *const words[] = {".q_proj.", ".k_proj.", ".qkv_proj.", ".query_key_value.", ".Wqkv.",
        ".wqkv.", ".c_attn.", ".in_proj_qkv", ".q_a_proj.", ".q_b_proj.", ".kv_a_proj_with_mqa.",
        ".kv_b_proj.", ".indexer.wq_b.", ".indexer.wk."};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strstr(name, words[i]) != NULL)
            return true;
    return false;
}

/* Tensors that look like q or k and belong to no view: extra heads, towers, adapters that were not merged. */
static enum qk_code remark_left_over(struct builder *b, struct qk_error *err)
{
    struct qk_model *model = b->model;
    const struct qk_tensor **used;
    size_t n_used = 0, left = 0, first = 0;
    QK_TRY(qk_alloc(&used, (4 + 2 * QK_MAX_SLICES) * (size_t)model->n_layers, sizeof *used, err));
    for (int i = 0; i < model->n_layers; i++) {
        for (int r = 0; r < QK_ROLE_COUNT; r++) {
            const struct qk_view *view = &model->layer[i].role[r];
            if (view->weight != NULL)
                used[n_used++] = view->weight;
            if (view->bias != NULL)
                used[n_used++] = view->bias;
            for (int p = 0; p < view->n_slices; p++)
                used[n_used++] = view->slice[p].tensor;
        }
    }
    if (n_used > 1)
        qsort(used, n_used, sizeof *used, compare_pointers);
    const struct qk_tensor *const *all = model->checkpoint->by_name;
    for (size_t i = 0; i < model->checkpoint->n_tensors; i++) {
        if (!looks_like_qk(all[i]->name) ||
            (n_used > 0 && bsearch(&all[i], used, n_used, sizeof *used, compare_pointers) != NULL))
            continue;
        first = left++ == 0 ? i : first;
    }
    free(used);
    if (left == 0)
        return QK_OK;
    return qk_lines_add(&model->remarks, err, "%zu tensors look like q or k but belong to no layer: %s%s",
        left, all[first]->name, left > 1 ? " ..." : "");
}

/* --- the generic rule's refusals --- */

/* Nothing was found by the generic rule: say what is there instead. */
static enum qk_code refuse_unknown(const struct builder *b, struct qk_error *err)
{
    static const char *const fused[] = {"qkv_proj.weight", "query_key_value.weight", "Wqkv.weight",
        "wqkv.weight", "c_attn.weight", "W_pack.weight", "in_proj_qkvz.weight", "in_proj_qkv.weight",
        "kv_a_proj_with_mqa.weight"};
    const struct qk_checkpoint *c = b->model->checkpoint;
    const char *type = b->model->config.model_type;
    for (size_t i = 0; i < c->n_tensors; i++) {
        const char *name = c->by_name[i]->name;
        size_t n = strlen(name);
        for (size_t k = 0; k < sizeof fused / sizeof fused[0]; k++) {
            size_t m = strlen(fused[k]);
            if (n < m || strcmp(name + n - m, fused[k]) != 0)
                continue;
            if (k == sizeof fused / sizeof fused[0] - 1)
                return qk_fail(err, QK_INPUT,
                    "%s: %s: latent attention (MLA) has no W_K of its own; the layout table needs a row of "
                    "\"latent\" rows for model type \"%s\"",
                    c->path, name, type);
            return qk_fail(err, QK_INPUT,
                "%s: %s: q and k are fused in an order that model type \"%s\" does not tell; the layout "
                "table needs a row for it",
                c->path, name, type);
        }
    }
    return qk_fail(err, QK_INPUT,
        "%s: no layer has a q_proj and a k_proj (model type \"%s\" is not in the layout table)", c->path,
        type);
}

/* --- opening --- */

static enum qk_code count_layers(struct builder *b, int found, struct qk_error *err)
{
    struct qk_model *model = b->model;
    double number;
    model->n_layers = found;
    if (!qk_layout_value(b->layout.row, "layer_count", &model->config, &number))
        return QK_OK;
    if (!(number >= 1 && number <= found) || number != floor(number))
        return qk_fail(err, QK_INPUT, "%s: the config tells of %g layers (found tensors of %d)",
            model->checkpoint->path, number, found);
    model->n_layers = (int)number;
    if (model->n_layers < found)
        QK_TRY(qk_lines_add(&model->remarks, err,
            "layers %d to %d lie beyond the config's layer count and are left alone", model->n_layers,
            found - 1));
    return QK_OK;
}

static enum qk_code remark_origin(const struct builder *b, struct qk_error *err)
{
    struct qk_model *model = b->model;
    if (model->config.root == NULL)
        QK_TRY(qk_lines_add(&model->remarks, err, "there is no config.json: shapes and names have to do"));
    if (model->guessed)
        QK_TRY(qk_lines_add(&model->remarks, err,
            "model type \"%s\" is not in the layout table: separate q_proj and k_proj are assumed, layer "
            "kinds are guessed",
            model->config.model_type));
    return qk_lines_add(&model->remarks, err, "layers are named %s0 ...", b->names.prefix);
}

/* A layer that contradicts a row of the table contradicts all that is known of the family. One that
 * contradicts a guess (a hybrid's other mixer, say) is that layer's problem, as long as the guess holds for
 * another. */
static enum qk_code build_layers(struct builder *b, struct qk_error *err)
{
    struct qk_model *model = b->model;
    struct qk_error first = {0};
    bool any = false, usable = false;
    for (int i = 0; i < model->n_layers; i++) {
        struct qk_layer *layer = &model->layer[i];
        struct qk_error fault = {0};
        layer->index = i;
        enum qk_code code = build_layer(b, layer, &fault);
        if (code == QK_INPUT && model->guessed)
            QK_TRY(set_problem(layer, err, "%s", fault.text));
        else if (code != QK_OK)
            return qk_fail(err, code, "%s", fault.text);
        if (first.code == QK_OK)
            first = fault;
        any = any || layer->kind != QK_NONE;
        usable = usable || (layer->kind != QK_NONE && layer->problem == NULL);
    }
    if (model->guessed && !any)
        return refuse_unknown(b, err);
    return first.code != QK_OK && !usable ? qk_fail(err, first.code, "%s", first.text) : QK_OK;
}

/* What a choice for k of latent attention comes to. */
static enum qk_code remark_latent(struct qk_model *model, struct qk_error *err)
{
    int first = 0;
    while (first < model->n_layers && model->layer[first].role[QK_K].down == NULL)
        first++;
    if (first == model->n_layers)
        return QK_OK;
    const struct qk_view *k = &model->layer[first].role[QK_K];
    return qk_lines_add(&model->remarks, err,
        "keys and values are made of one latent (%s, rows 0 to %llu): restore leaves it as it is in post, "
        "restore-latent takes pre's, which moves the values, too",
        k->down->name, (unsigned long long)k->weight->shape[1] - 1);
}

static enum qk_code build(struct builder *b, struct qk_error *err)
{
    struct qk_model *model = b->model;
    QK_TRY(qk_config_open(model->checkpoint->folder, &model->config, err));
    QK_TRY(qk_names_open(model->checkpoint, &b->names, err));
    QK_TRY(qk_layout_find(model->config.model_type, &b->layout, err));
    model->guessed = b->layout.guessed;
    QK_TRY(qk_strdup_to(&model->family, b->layout.family, err));
    QK_TRY(remark_origin(b, err));
    QK_TRY(count_layers(b, b->names.n_layers, err));
    QK_TRY(qk_alloc(&model->layer, (size_t)model->n_layers, sizeof *model->layer, err));
    QK_TRY(qk_alloc(&b->mixer, (size_t)model->n_layers, sizeof *b->mixer, err));
    QK_TRY(qk_layout_kinds(&b->layout, &model->config, model->n_layers, b->mixer, err));
    QK_TRY(build_layers(b, err));
    QK_TRY(remark_latent(model, err));
    return remark_left_over(b, err);
}

/* An adapter alone is no model: the tensors that it adds to are elsewhere. */
static enum qk_code refuse_adapter(const char *path, struct qk_error *err)
{
    if (!qk_adapter_is(path))
        return QK_OK;
    return qk_fail(
        err, QK_INPUT, "%s: an adapter: it is read as POST, over the checkpoint that is PRE", path);
}

enum qk_code qk_model_open(const char *path, struct qk_model **out, struct qk_error *err)
{
    return qk_model_open_adapted(path, NULL, out, err);
}

enum qk_code qk_model_open_adapted(
    const char *path, const char *adapter, struct qk_model **out, struct qk_error *err)
{
    *out = NULL;
    QK_TRY(refuse_adapter(path, err));
    struct builder b = {0};
    QK_TRY(qk_alloc(&b.model, 1, sizeof *b.model, err));
    b.model->config.model_type = "";
    enum qk_code code = qk_checkpoint_open(path, &b.model->checkpoint, err);
    if (code == QK_OK && adapter != NULL)
        code = qk_adapter_attach(b.model->checkpoint, adapter, err);
    if (code == QK_OK)
        code = build(&b, err);
    qk_layout_free(&b.layout);
    qk_names_close(&b.names);
    free(b.mixer);
    if (code != QK_OK) {
        qk_model_close(b.model);
        return code;
    }
    *out = b.model;
    return QK_OK;
}

void qk_model_close(struct qk_model *model)
{
    if (model == NULL)
        return;
    for (int i = 0; model->layer != NULL && i < model->n_layers; i++) {
        free(model->layer[i].mixer);
        free(model->layer[i].problem);
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            free(model->layer[i].role[r].first_row);
    }
    free(model->layer);
    free(model->family);
    qk_lines_free(&model->remarks);
    qk_config_close(&model->config);
    qk_checkpoint_close(model->checkpoint);
    free(model);
}
