/* layer.c - the tensors of one layer, how many heads they hold, and its positions. */
#include "model/build.h"

#include "base/json.h"
#include "base/mem.h"
#include "model/fused.h"
#include "tensor/quantised.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MORE_ROWS = 1 << 24 };

/* Replaces *text. qk_fail cuts and escapes it: tensor names come from strangers. */
static enum qk_code set_text(char **text, struct qk_error *err, const char *format, va_list arguments)
{
    struct qk_error printable;
    char raw[QK_ERROR_TEXT];
    vsnprintf(raw, sizeof raw, format, arguments);
    qk_fail(&printable, QK_INPUT, "%s", raw);
    free(*text);
    return qk_strdup_to(text, printable.text, err);
}

enum qk_code qk_layer_problem(struct qk_layer *layer, struct qk_error *err, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    enum qk_code code = set_text(&layer->problem, err, format, arguments);
    va_end(arguments);
    return code;
}

enum qk_code qk_layer_fix(struct qk_layer *layer, struct qk_error *err, const char *format, ...)
{
    va_list arguments;
    if (layer->fixed != NULL)
        return QK_OK;
    va_start(arguments, format);
    enum qk_code code = set_text(&layer->fixed, err, format, arguments);
    va_end(arguments);
    return code;
}

const struct qk_tensor *qk_layer_tensor(
    const struct qk_builder *b, int layer, const cJSON *names, const char *suffix)
{
    if (cJSON_IsString(names))
        return qk_names_find(&b->names, layer, names->valuestring, suffix);
    const struct qk_tensor *tensor = NULL;
    for (const cJSON *item = names != NULL ? names->child : NULL; item != NULL && tensor == NULL;
         item = item->next)
        tensor = qk_names_find(&b->names, layer, item->valuestring, suffix);
    return tensor;
}

static enum qk_code read_head_dim(const struct qk_builder *b, const struct qk_layer *layer,
    const cJSON *mixer, struct qk_geometry *g, struct qk_error *err)
{
    const struct qk_tensor *norm = layer->role[QK_Q].norm;
    double ignored;
    if (!qk_layout_value(mixer, "head_dim", &b->config, &ignored) && norm != NULL && norm->n_dims >= 1) {
        uint64_t n = norm->shape[norm->n_dims - 1];
        if (n > 0 && n <= QK_MAX_HEAD_DIM) {
            g->head_dim = (long)n;
            return QK_OK;
        }
    }
    return qk_layout_count(mixer, "head_dim", &b->config, QK_MAX_HEAD_DIM, &g->head_dim, err);
}

static bool whole_heads(const struct qk_tensor *tensor, uint64_t hd)
{
    return tensor->n_dims == 2 && tensor->shape[0] > 0 && tensor->shape[0] % hd == 0 &&
           tensor->shape[0] / hd <= QK_MAX_HEADS;
}

/* The number of K heads may vary by layer: the tensor decides where it holds whole heads. */
static enum qk_code believe_key_tensor(
    struct qk_builder *b, const struct qk_layer *layer, struct qk_geometry *g, struct qk_error *err)
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

/* Each part of a tensor holds as many heads. */
static enum qk_code check_division(const struct qk_builder *b, const struct qk_layer *layer, const char *rows,
    const struct qk_geometry *g, struct qk_error *err)
{
    long parts = strcmp(rows, "quarters") == 0 ? 4 : strcmp(rows, "parts") == 0 ? g->parts : 1;
    if (g->heads % parts == 0 && g->key_heads % parts == 0)
        return QK_OK;
    return qk_fail(err, QK_INPUT,
        "%s: layer %d: %ld query and %ld key heads cannot be divided among %ld parts",
        b->model->checkpoint->path, layer->index, g->heads, g->key_heads, parts);
}

static enum qk_code check_sharing(const struct qk_builder *b, const struct qk_layer *layer,
    const struct qk_geometry *g, struct qk_error *err)
{
    bool values = g->value_heads % g->key_heads != 0;
    if (!values && g->heads % g->key_heads == 0)
        return QK_OK;
    return qk_fail(err, QK_INPUT, "%s: layer %d: %ld %s heads cannot share %ld key heads",
        b->model->checkpoint->path, layer->index, values ? g->value_heads : g->heads,
        values ? "value" : "query", g->key_heads);
}

/* Rows of a latent head that rotate; a model without positions in its latent layers says 0. */
static enum qk_code read_rope_dim(
    const cJSON *mixer, const struct qk_config *config, struct qk_geometry *g, struct qk_error *err)
{
    double rows;
    if (qk_layout_value(mixer, "rope_dim", config, &rows) && rows == 0)
        return QK_OK;
    return qk_layout_count(mixer, "rope_dim", config, g->head_dim - 1, &g->rope_dim, err);
}

/* Head counts from the config, corrected by the tensors: shapes are what the model computes with. */
static enum qk_code read_geometry(struct qk_builder *b, const struct qk_layer *layer, const cJSON *mixer,
    const char *rows, struct qk_geometry *g, struct qk_error *err)
{
    const struct qk_config *config = &b->config;
    double ignored;
    *g = (struct qk_geometry){.parts = b->model->n_parts};
    QK_TRY(read_head_dim(b, layer, mixer, g, err));
    bool separate = strcmp(rows, "separate") == 0;
    const struct qk_tensor *q = layer->role[QK_Q].weight;
    if (separate && !qk_layout_value(mixer, "heads", config, &ignored) &&
        whole_heads(q, (uint64_t)g->head_dim))
        g->heads = (long)(q->shape[0] / (uint64_t)g->head_dim);
    else
        QK_TRY(qk_layout_count(mixer, "heads", config, QK_MAX_HEADS, &g->heads, err));
    if (qk_json_get(mixer, "more_rows") != NULL)
        QK_TRY(qk_layout_count(mixer, "more_rows", config, MAX_MORE_ROWS, &g->more, err));
    if (layer->no_k != NULL) /* it has no values either: key_heads stays 0 */
        return check_division(b, layer, rows, g, err);
    if (!qk_layout_value(mixer, "key_heads", config, &ignored) && separate)
        g->key_heads = g->heads;
    else
        QK_TRY(qk_layout_count(mixer, "key_heads", config, QK_MAX_HEADS, &g->key_heads, err));
    bool own_values = separate && qk_kind_softmax(layer->kind); /* their tensor decides */
    if (strcmp(rows, "key_group") == 0 || (qk_json_get(mixer, "value_heads") != NULL && !own_values)) {
        QK_TRY(qk_layout_count(mixer, "value_heads", config, QK_MAX_HEADS, &g->value_heads, err));
        QK_TRY(qk_layout_count(mixer, "value_dim", config, QK_MAX_HEAD_DIM, &g->value_dim, err));
    }
    if (strcmp(rows, "latent") == 0)
        QK_TRY(read_rope_dim(mixer, config, g, err));
    if (separate || strcmp(rows, "gated") == 0)
        QK_TRY(believe_key_tensor(b, layer, g, err));
    QK_TRY(check_division(b, layer, rows, g, err));
    return check_sharing(b, layer, g, err);
}

/* In a family that is not in the table, twice the rows mean that a gate follows every head's query. */
static enum qk_code guess_gate(struct qk_builder *b, const struct qk_layer *layer,
    const struct qk_geometry *g, const char **rows, struct qk_error *err)
{
    const struct qk_tensor *q = layer->role[QK_Q].weight;
    if (!b->model->guessed || strcmp(*rows, "separate") != 0 || q->n_dims != 2 ||
        q->shape[0] != 2 * (uint64_t)g->heads * (uint64_t)g->head_dim)
        return QK_OK;
    *rows = "gated";
    return qk_lines_add(&b->model->remarks, err,
        "layer %d: q has twice the rows of its %ld heads: every second block is read as a gate", layer->index,
        g->heads);
}

/* True when the entry of this layer in the list of "rope_layers" is false. */
static bool has_no_rope(const struct qk_builder *b, const struct qk_layer *layer, const cJSON *mixer)
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

/* An empty object counts as none. */
static const cJSON *filled(const cJSON *item)
{
    return cJSON_IsObject(item) && item->child != NULL ? item : NULL;
}

/* The object in which the config describes the scaling of the frequencies, or NULL. */
static const cJSON *find_scaling(const struct qk_config *config, const cJSON *mixer)
{
    static const char *const usual[] = {"rope_scaling", "rope_parameters"};
    const cJSON *names = qk_json_get(mixer, "rope"), *found = NULL;
    for (size_t i = 0; names == NULL && found == NULL && i < sizeof usual / sizeof usual[0]; i++)
        found = filled(qk_config_path(config, usual[i]));
    for (const cJSON *name = cJSON_IsArray(names) ? names->child : names; name != NULL && found == NULL;
         name = cJSON_IsArray(names) ? name->next : NULL)
        found = filled(qk_config_path(config, name->valuestring));
    return found;
}

/* Reads the rotary dimensions and the base of the angles. Of an odd number of dimensions the last pair borrows a row,
 * as in transformers. */
static enum qk_code read_rope(const struct qk_builder *b, struct qk_layer *layer, const cJSON *mixer,
    const struct qk_geometry *g, struct qk_error *err)
{
    const struct qk_config *config = &b->config;
    bool latent = layer->role[QK_K].down != NULL, found;
    double dims = latent ? (double)g->rope_dim : layer->head_dim, fraction = 1;
    char text[64];
    snprintf(text, sizeof text, "0 to %d", (int)dims);
    const struct qk_bounds any_dims = {0, dims, text}, any_fraction = {0, 1, "0 to 1"};
    QK_TRY(qk_layout_number(mixer, "rotary", config, any_dims, &found, &dims, err));
    if (!found)
        QK_TRY(qk_layout_number(mixer, "rotary_fraction", config, any_fraction, &found, &fraction, err));
    layer->rope_width = (int)(fraction * dims);
    int pairs = layer->rope_width / 2 + (layer->rope_width % 2 != 0 && layer->rope_width < layer->head_dim);
    layer->rotary_dims = 2 * pairs;
    layer->rotary_first = latent ? layer->head_dim - (int)g->rope_dim : 0;
    layer->rope = find_scaling(config, mixer);
    layer->plain_scores = !qk_json_bool(mixer, "rope_scores", true);
    layer->rope_theta = 10000.0;
    return qk_layout_number(mixer, "theta", config, qk_above_zero, &found, &layer->rope_theta, err);
}

static enum qk_code read_positions(const struct qk_builder *b, struct qk_layer *layer, const cJSON *mixer,
    const struct qk_geometry *g, struct qk_error *err)
{
    const struct qk_config *config = &b->config;
    double number;
    layer->positions = parse_positions(qk_layout_word(mixer, "positions", config));
    bool rope = layer->positions == QK_POSITIONS_ROPE_HALF || layer->positions == QK_POSITIONS_ROPE_INTER;
    layer->turn = rope ? layer->positions : QK_POSITIONS_NONE;
    if (qk_json_get(mixer, "interleaved") != NULL)
        layer->turn = qk_layout_flag(mixer, "interleaved", config, false) ? QK_POSITIONS_ROPE_INTER
                                                                          : QK_POSITIONS_ROPE_HALF;
    if (rope)
        layer->positions = layer->turn;
    bool turns = layer->turn != QK_POSITIONS_NONE;
    if (turns && (has_no_rope(b, layer, mixer) || (layer->role[QK_K].down != NULL && g->rope_dim == 0))) {
        layer->positions = rope ? QK_POSITIONS_NONE : layer->positions;
        layer->turn = QK_POSITIONS_NONE;
    } else if (turns) {
        QK_TRY(read_rope(b, layer, mixer, g, err));
        layer->norm_after_rope = qk_json_bool(mixer, "norm_after_rope", false);
    }
    if (layer->kind == QK_WINDOW && qk_layout_value(mixer, "window", config, &number) && number >= 1 &&
        number < 1e9)
        layer->window = (int)number;
    return QK_OK;
}

/* Sets a problem where the values of q or k are not known: an adapter changes them in an unknown way, or lies beside
 * them without having been merged. */
static enum qk_code check_known(
    const struct qk_builder *b, struct qk_layer *layer, const cJSON *mixer, struct qk_error *err)
{
    const struct qk_adapter *adapter = b->model->checkpoint->adapter;
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        const struct qk_view *view = &layer->role[r];
        const struct qk_tensor *const parts[] = {view->weight, view->bias, view->down};
        const cJSON *names = qk_json_get(mixer, r == QK_Q ? "q" : "k");
        const struct qk_tensor *factor = qk_layer_tensor(b, b->stored, names, ".lora_A.weight");
        if (factor != NULL)
            return qk_layer_problem(
                layer, err, "%s: an adapter that is not merged into the weights", factor->name);
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            const struct qk_addition *addition =
                parts[i] != NULL ? qk_adapter_addition(adapter, parts[i]) : NULL;
            if (addition != NULL && addition->unknown != NULL)
                return qk_layer_problem(layer, err, "%s: %s: %s", qk_adapter_file(adapter)->source.path,
                    addition->instead->name, addition->unknown);
        }
    }
    return QK_OK;
}

static void find_tensors(const struct qk_builder *b, struct qk_layer *layer, const cJSON *mixer)
{
    for (int r = 0; r < (layer->no_k != NULL ? 1 : QK_ROLE_COUNT); r++) {
        struct qk_view *view = &layer->role[r];
        const cJSON *names = qk_json_get(mixer, r == QK_Q ? "q" : "k"),
                    *norm = qk_json_get(mixer, r == QK_Q ? "q_norm" : "k_norm"),
                    *down = qk_json_get(mixer, r == QK_Q ? "q_down" : "k_down"),
                    *down_norm = qk_json_get(mixer, r == QK_Q ? "q_down_norm" : "k_down_norm");
        view->weight = qk_layer_tensor(b, b->stored, names, ".weight");
        view->bias = qk_layer_tensor(b, b->stored, names, ".bias");
        view->norm = qk_layer_tensor(b, b->stored, norm, ".weight");
        if (view->norm == NULL)
            view->norm = qk_layer_tensor(b, b->stored, norm, "");
        view->down = qk_layer_tensor(b, b->stored, down, ".weight");
        view->down_bias = qk_layer_tensor(b, b->stored, down, ".bias");
        view->down_norm = qk_layer_tensor(b, b->stored, down_norm, ".weight");
    }
}

static enum qk_code set_missing(
    const struct qk_builder *b, struct qk_layer *layer, const cJSON *names, struct qk_error *err)
{
    return qk_layer_problem(layer, err, "%s%d.%s.weight is missing", b->names.prefix, b->stored,
        cJSON_IsArray(names) ? names->child->valuestring : names->valuestring);
}

/* Sets a problem when q, k or what makes their latent is not there. */
static enum qk_code check_there(
    const struct qk_builder *b, struct qk_layer *layer, const cJSON *mixer, struct qk_error *err)
{
    for (int r = 0; r < (layer->no_k != NULL ? 1 : QK_ROLE_COUNT); r++) {
        const struct qk_view *view = &layer->role[r];
        const cJSON *down = qk_json_get(mixer, r == QK_Q ? "q_down" : "k_down");
        if (view->weight == NULL && !b->model->guessed)
            QK_TRY(set_missing(b, layer, qk_json_get(mixer, r == QK_Q ? "q" : "k"), err));
        if (view->down == NULL && down != NULL && r == QK_K)
            QK_TRY(set_missing(b, layer, down, err));
        if (view->down != NULL && view->down_norm == NULL)
            QK_TRY(set_missing(b, layer, qk_json_get(mixer, r == QK_Q ? "q_down_norm" : "k_down_norm"), err));
    }
    return QK_OK;
}

/* --- formats of numbers --- */

/* One stored tensor of a role, with the key of its module in the layout row. */
struct part {
    const char *key;
    const struct qk_tensor *tensor;
    struct qk_scaling *scale;
};

/* Sets a problem when the module's values are packed. */
static enum qk_code check_packed(const struct qk_builder *b, struct qk_layer *layer, const cJSON *mixer,
    const struct part *part, struct qk_error *err)
{
    const cJSON *names = qk_json_get(mixer, part->key);
    const struct qk_tensor *sign = NULL;
    const char *method = NULL;
    if (part->tensor != NULL && qk_dtype_bits(part->tensor->dtype) > 8 &&
        qk_dtype_readable(part->tensor->dtype))
        return QK_OK;
    for (const cJSON *item = cJSON_IsArray(names) ? names->child : names; item != NULL && sign == NULL;
         item = cJSON_IsArray(names) ? item->next : NULL)
        sign = qk_packed_find(&b->names, b->stored, item->valuestring, &method);
    if (sign == NULL)
        return QK_OK;
    return qk_layer_problem(layer, err,
        "its weights are packed by quantisation (%s, found %s): give a checkpoint with weights of 16 bits",
        method, sign->name);
}

/* Finds the scales of an 8-bit tensor. Sets a problem when nobody can tell what they do, or when the values are not
 * read as numbers. */
static enum qk_code check_numbers(
    const struct qk_builder *b, struct qk_layer *layer, const struct part *part, struct qk_error *err)
{
    bool known;
    const struct qk_tensor *tensor = part->tensor;
    const cJSON *quantised = qk_json_get(b->model->config.root, "quantization_config");
    const char *method = qk_json_string(quantised, "quant_method", "no quant_method in its config");
    part->scale->tensor = qk_scale_find(b->model->checkpoint, tensor, &known);
    if (!qk_dtype_readable(tensor->dtype) && part->scale->tensor != NULL)
        return qk_layer_problem(layer, err,
            "%s is stored as %s, scaled by %s (%s), which is not read as numbers", tensor->name,
            tensor->dtype_text, part->scale->tensor->name, method);
    if (!qk_dtype_readable(tensor->dtype))
        return qk_layer_problem(
            layer, err, "%s is stored as %s, which is not read as numbers", tensor->name, tensor->dtype_text);
    if (!known)
        return qk_layer_problem(layer, err, "its weights are scaled by %s (%s), which is not supported",
            part->scale->tensor->name, method);
    if (tensor->bytes == 0 && tensor->n_dims == 1)
        return qk_layer_problem(layer, err,
            "%s holds no values, as ZeRO-3 leaves a tensor whose values are elsewhere", tensor->name);
    return QK_OK;
}

/* Sets a problem where q or k are not stored as numbers, before anybody looks at their shapes: packed values have
 * others. */
static enum qk_code find_formats(
    const struct qk_builder *b, struct qk_layer *layer, const cJSON *mixer, struct qk_error *err)
{
    for (int r = 0; r < (layer->no_k != NULL ? 1 : QK_ROLE_COUNT); r++) {
        struct qk_view *view = &layer->role[r];
        const struct part parts[] = {{r == QK_Q ? "q" : "k", view->weight, &view->scale},
            {r == QK_Q ? "q_down" : "k_down", view->down, &view->down_scale}};
        for (int i = 0; i < 2 && layer->problem == NULL; i++) {
            QK_TRY(check_packed(b, layer, mixer, &parts[i], err));
            if (layer->problem == NULL && parts[i].tensor != NULL)
                QK_TRY(check_numbers(b, layer, &parts[i], err));
        }
    }
    return QK_OK;
}

/* Finds the layer whose tensors a layer uses: files hold them once, and a choice there acts on both. A file may also
 * hold a copy for each layer, and each is then read for itself. */
static enum qk_code find_stored(
    struct qk_builder *b, struct qk_layer *layer, const cJSON *mixer, struct qk_error *err)
{
    double number;
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
    if (qk_layer_tensor(b, layer->index, qk_json_get(mixer, "q"), ".weight") != NULL)
        return qk_lines_add(&b->model->remarks, err,
            "layers %d and %d hold copies of the same q and k: choose the same for both", first,
            layer->index);
    b->stored = layer->stored = first;
    layer->shares = true;
    QK_TRY(qk_lines_add(&b->model->remarks, err,
        "layer %d uses the q and k of layer %d: a choice there acts on both", layer->index, first));
    return qk_layer_fix(layer, err, "it uses the q and k of layer %d: choose there", first);
}

/* True when the layer is in one of the groups and is not its first. */
static bool follows_in_group(const cJSON *groups, int layer)
{
    for (const cJSON *group = cJSON_IsArray(groups) ? groups->child : NULL; group != NULL;
         group = group->next)
        for (const cJSON *item = group->child != NULL ? group->child->next : NULL; item != NULL;
             item = item->next)
            if (cJSON_IsNumber(item) && item->valuedouble == layer)
                return true;
    return false;
}

/* True when the layer computes with the keys of an earlier one: it has queries alone. */
static bool borrows_keys(const struct qk_builder *b, const struct qk_layer *layer, const cJSON *mixer)
{
    double number;
    const char *groups = qk_json_string(mixer, "borrows_k_groups", NULL);
    if (groups != NULL && follows_in_group(qk_config_path(&b->config, groups), layer->index))
        return true;
    return qk_layout_value(mixer, "borrows_k", &b->config, &number) &&
           layer->index >= (double)b->model->n_layers - number;
}

/* What this file and rows.c read; the others matter to a forward pass alone. */
static const char *const NUMBERS[] = {"head_dim", "heads", "key_heads", "value_heads", "value_dim",
    "rope_dim", "more_rows", "rotary", "rotary_fraction", "theta", "rope_interval", "window", "shared_by",
    "borrows_k", NULL};

enum qk_code qk_layer_build(struct qk_builder *b, struct qk_layer *layer, struct qk_error *err)
{
    const char *name = b->mixer[layer->index];
    const cJSON *mixer = qk_layout_mixer(&b->layout, name);
    b->config = b->model->config;
    b->config.layer = layer->index + 1;
    QK_TRY(qk_layout_check_values(mixer, NUMBERS, &b->config, err));
    QK_TRY(qk_strdup_to(&layer->mixer, name, err));
    b->model->joined = b->model->joined || qk_json_bool(mixer, "joined", false);
    layer->stored = layer->index;
    qk_kind_parse(qk_json_string(mixer, "kind", ""), &layer->kind);
    if (layer->kind == QK_NONE)
        return QK_OK;
    layer->recurs = layer->kind == QK_LINEAR && qk_json_get(mixer, "recurrence") != NULL;
    b->stored = layer->index;
    QK_TRY(find_stored(b, layer, mixer, err));
    if (borrows_keys(b, layer, mixer))
        QK_TRY(qk_strdup_to(&layer->no_k, "its keys are those of an earlier layer", err));
    find_tensors(b, layer, mixer);
    QK_TRY(find_formats(b, layer, mixer, err));
    if (layer->problem != NULL)
        return QK_OK;
    QK_TRY(check_there(b, layer, mixer, err));
    if (layer->problem == NULL)
        QK_TRY(check_known(b, layer, mixer, err));
    bool found =
        layer->role[QK_Q].weight != NULL && (layer->role[QK_K].weight != NULL || layer->no_k != NULL);
    if (layer->problem != NULL || !found) {
        if (b->model->guessed)
            layer->kind = QK_NONE;
        return QK_OK;
    }
    const char *rows = qk_fused_rows(b->model, mixer, &b->config);
    if (rows == NULL)
        return qk_fused_refuse(b, layer, mixer, err);
    struct qk_geometry g;
    QK_TRY(read_geometry(b, layer, mixer, rows, &g, err));
    QK_TRY(guess_gate(b, layer, &g, &rows, err));
    layer->head_dim = (int)g.head_dim;
    layer->gain_plus_one = qk_json_bool(mixer, "gain_plus_one", false);
    for (int r = 0; r < QK_ROLE_COUNT && layer->role[r].weight != NULL && layer->problem == NULL; r++)
        QK_TRY(qk_rows_build(b, layer, (enum qk_role)r, rows, &g, err));
    QK_TRY(read_positions(b, layer, mixer, &g, err));
    if (layer->no_k == NULL && qk_layout_flag(mixer, "k_is_v", &b->config, false))
        QK_TRY(qk_lines_add(&b->model->remarks, err,
            "layer %d: one tensor holds its keys and its values: restoring k moves v", layer->index));
    return QK_OK;
}
