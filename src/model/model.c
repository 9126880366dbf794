/* model.c - laying a row of the layout table over a checkpoint: layers, kinds, and the views of q and k. */
#include "model/model.h"

#include "base/json.h"
#include "base/mem.h"
#include "model/layout.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADS = 1 << 16, MAX_HEAD_DIM = 1 << 16, MAX_LAYERS = 1 << 16, NAME_SIZE = 512 };

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

/* --- where the layers are --- */

/* Text before the layer number. Wrappers that trainers and adapters put in front are passed over. */
static const char *const WRAPPERS[] = {
    "base_model.model.", "student_model.", "_orig_mod.", "module.", "_fsdp_wrapped_module."};
static const char *const PREFIXES[] = {"model.language_model.layers.", "language_model.model.layers.",
    "language_model.backbone.layers.", "model.layers.layers.", "model.decoder.layers.", "backbone.layers.",
    "gpt_neox.layers.", "transformer.encoder.layers.", "transformer.blocks.", "transformer.layers.",
    "transformer.h.", "model.layers.", "layers.", "h."};

static size_t wrapper_length(const char *name)
{
    size_t at = 0;
    for (size_t i = 0; i < sizeof WRAPPERS / sizeof WRAPPERS[0];) {
        size_t n = strlen(WRAPPERS[i]);
        if (strncmp(name + at, WRAPPERS[i], n) == 0) {
            at += n;
            i = 0;
        } else {
            i++;
        }
    }
    return at;
}

/* The layer number of a tensor name behind prefix p, -1 when it has none. *length: prefix and wrappers. */
static int layer_number(const char *name, size_t p, size_t *length)
{
    size_t at = wrapper_length(name), n = strlen(PREFIXES[p]);
    if (strncmp(name + at, PREFIXES[p], n) != 0 || !isdigit((unsigned char)name[at + n]))
        return -1;
    char *end;
    unsigned long number = strtoul(name + at + n, &end, 10);
    *length = at + n;
    return *end == '.' && number < MAX_LAYERS ? (int)number : -1;
}

/* Finds the prefix under which most tensors have a layer number; *count is the highest number plus one. */
static enum qk_code find_prefix(
    const struct qk_checkpoint *c, char **prefix, int *count, struct qk_error *err)
{
    size_t best = 0;
    *count = 0;
    *prefix = NULL;
    for (size_t p = 0; p < sizeof PREFIXES / sizeof PREFIXES[0]; p++) {
        size_t found = 0, length = 0, first_length = 0;
        const char *first = NULL;
        int highest = -1;
        for (size_t i = 0; i < c->n_tensors; i++) {
            int number = layer_number(c->by_name[i]->name, p, &length);
            if (number < 0)
                continue;
            found++;
            highest = number > highest ? number : highest;
            if (first == NULL) {
                first = c->by_name[i]->name;
                first_length = length;
            }
        }
        if (found <= best)
            continue;
        best = found;
        *count = highest + 1;
        free(*prefix);
        QK_TRY(qk_strndup_to(prefix, first, first_length, err));
    }
    if (*prefix == NULL)
        return qk_fail(
            err, QK_INPUT, "%s: no layers found (no tensor is named like model.layers.0...)", c->path);
    return QK_OK;
}

/* --- views --- */

struct builder {
    struct qk_model *model;
    struct qk_layout layout;
    char *prefix;
};

/* The tensor "PREFIX I. NAME SUFFIX" for the first name of the mixer's key that exists. */
static const struct qk_tensor *layer_tensor(
    const struct builder *b, int layer, const cJSON *names, const char *suffix)
{
    char name[NAME_SIZE];
    for (const cJSON *item = cJSON_IsArray(names) ? names->child : names; item != NULL; item = item->next) {
        snprintf(name, sizeof name, "%s%d.%s%s", b->prefix, layer, item->valuestring, suffix);
        const struct qk_tensor *tensor = qk_checkpoint_find(b->model->checkpoint, name);
        if (tensor != NULL || !cJSON_IsArray(names))
            return tensor;
    }
    return NULL;
}

static enum qk_code set_problem(struct qk_layer *layer, struct qk_error *err, const char *text)
{
    free(layer->problem);
    return qk_strdup_to(&layer->problem, text, err);
}

struct geometry {
    long heads, key_heads, head_dim, value_heads, value_dim;
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
    if (strcmp(rows, "key_group") == 0) {
        uint64_t per_key = (uint64_t)(g->value_heads / g->key_heads) * (uint64_t)g->value_dim;
        return (struct row_order){role == QK_K ? hd : 0, 2 * hd + 2 * per_key, 0, all};
    }
    return (struct row_order){0, hd, 0, all};
}

/* Rows that the tensor must have; 0: anything that the views fit into (block: V may be wider). */
static uint64_t rows_expected(const char *rows, enum qk_role role, const struct geometry *g)
{
    uint64_t hd = (uint64_t)g->head_dim, nh = (uint64_t)g->heads, nk = (uint64_t)g->key_heads;
    if (strcmp(rows, "separate") == 0)
        return (role == QK_Q ? nh : nk) * hd;
    if (strcmp(rows, "gated") == 0)
        return role == QK_Q ? 2 * nh * hd : nk * hd;
    if (strcmp(rows, "grouped") == 0)
        return (nh + 2 * nk) * hd;
    if (strcmp(rows, "head3") == 0 || strcmp(rows, "conv1d") == 0)
        return 3 * nh * hd;
    if (strcmp(rows, "key_group") == 0)
        return 2 * nk * hd + 2 * (uint64_t)g->value_heads * (uint64_t)g->value_dim;
    return 0;
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

static enum qk_code build_view(struct builder *b, struct qk_layer *layer, enum qk_role role, const char *rows,
    const struct geometry *g, struct qk_error *err)
{
    struct qk_view *view = &layer->role[role];
    const struct qk_tensor *weight = view->weight;
    view->transposed = strcmp(rows, "conv1d") == 0;
    view->n_heads = (int)(role == QK_Q ? g->heads : g->key_heads);
    if (weight->n_dims != 2)
        return shape_error(b, weight, rows_expected(rows, role, g), g, role, err);
    uint64_t have = weight->shape[view->transposed ? 1 : 0], d = weight->shape[view->transposed ? 0 : 1];
    struct row_order order = order_of(rows, role, g);
    QK_TRY(qk_alloc(&view->first_row, (size_t)view->n_heads, sizeof *view->first_row, err));
    uint64_t needed = rows_expected(rows, role, g), end = 0;
    for (int h = 0; h < view->n_heads; h++) {
        view->first_row[h] = order.base + (uint64_t)(h / order.per_group) * order.group_step +
                             (uint64_t)(h % order.per_group) * order.step;
        uint64_t last = view->first_row[h] + (uint64_t)g->head_dim;
        end = last > end ? last : end;
    }
    if ((needed != 0 && have != needed) || end > have || d == 0 || d > 1u << 24)
        return shape_error(b, weight, needed != 0 ? needed : end, g, role, err);
    if (view->bias != NULL && (view->bias->n_dims != 1 || view->bias->shape[0] != have))
        return shape_error(b, view->bias, have, g, role, err);
    if (layer->d != 0 && layer->d != d)
        return qk_fail(err, QK_INPUT, "%s: %s: q and k have different widths (found %llu, expected %llu)",
            qk_checkpoint_file(b->model->checkpoint, weight), weight->name, (unsigned long long)d,
            (unsigned long long)layer->d);
    layer->d = d;
    if (view->norm != NULL) {
        uint64_t n = view->norm->n_dims == 1 ? view->norm->shape[0] : 0, hd = (uint64_t)g->head_dim;
        if (n != hd && n != hd * (uint64_t)view->n_heads)
            return shape_error(b, view->norm, hd, g, role, err);
    }
    return QK_OK;
}

static enum qk_code check_dtype(const struct builder *b, struct qk_layer *layer, struct qk_error *err)
{
    char text[NAME_SIZE + 64];
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        const struct qk_tensor *weight = layer->role[r].weight;
        if (qk_dtype_readable(weight->dtype))
            continue;
        snprintf(text, sizeof text, "%s is stored as %s, which is not read as numbers", weight->name,
            weight->dtype_text);
        QK_TRY(set_problem(layer, err, text));
    }
    (void)b;
    return QK_OK;
}

/* Head counts from the config, corrected by the tensors: shapes are what the model computes with. */
static enum qk_code read_geometry(struct builder *b, const struct qk_layer *layer, const cJSON *mixer,
    const char *rows, struct geometry *g, struct qk_error *err)
{
    const struct qk_config *config = &b->model->config;
    double ignored;
    *g = (struct geometry){0};
    if (!qk_layout_value(mixer, "head_dim", config, &ignored) && layer->role[QK_Q].norm != NULL &&
        layer->role[QK_Q].norm->n_dims == 1 && layer->role[QK_Q].norm->shape[0] <= MAX_HEAD_DIM &&
        layer->role[QK_Q].norm->shape[0] > 0)
        g->head_dim = (long)layer->role[QK_Q].norm->shape[0];
    else
        QK_TRY(qk_layout_count(mixer, "head_dim", config, MAX_HEAD_DIM, &g->head_dim, err));
    bool separate = strcmp(rows, "separate") == 0;
    const struct qk_tensor *q = layer->role[QK_Q].weight, *k = layer->role[QK_K].weight;
    uint64_t hd = (uint64_t)g->head_dim;
    if (separate && !qk_layout_value(mixer, "heads", config, &ignored) && q->n_dims == 2 &&
        q->shape[0] % hd == 0 && q->shape[0] / hd - 1 < MAX_HEADS)
        g->heads = (long)(q->shape[0] / hd);
    else
        QK_TRY(qk_layout_count(mixer, "heads", config, MAX_HEADS, &g->heads, err));
    if (!qk_layout_value(mixer, "key_heads", config, &ignored) && separate)
        g->key_heads = g->heads;
    else
        QK_TRY(qk_layout_count(mixer, "key_heads", config, MAX_HEADS, &g->key_heads, err));
    if (strcmp(rows, "key_group") == 0) {
        QK_TRY(qk_layout_count(mixer, "value_heads", config, MAX_HEADS, &g->value_heads, err));
        QK_TRY(qk_layout_count(mixer, "value_dim", config, MAX_HEAD_DIM, &g->value_dim, err));
    }
    /* K heads vary by layer inside one model: believe the tensor where it holds whole heads. */
    bool k_alone = separate || strcmp(rows, "gated") == 0;
    if (k_alone && k->n_dims == 2 && k->shape[0] != (uint64_t)g->key_heads * hd && k->shape[0] % hd == 0 &&
        k->shape[0] / hd - 1 < MAX_HEADS) {
        long found = (long)(k->shape[0] / hd);
        QK_TRY(qk_lines_add(&b->model->remarks, err,
            "layer %d: %ld key heads by its tensor, %ld by the config", layer->index, found, g->key_heads));
        g->key_heads = found;
    }
    if (g->heads % g->key_heads != 0)
        return qk_fail(err, QK_INPUT, "%s: layer %d: %ld query heads cannot share %ld key heads",
            b->model->checkpoint->path, layer->index, g->heads, g->key_heads);
    if (g->value_heads % g->key_heads != 0)
        return qk_fail(err, QK_INPUT, "%s: layer %d: %ld value heads cannot share %ld key heads",
            b->model->checkpoint->path, layer->index, g->value_heads, g->key_heads);
    return QK_OK;
}

static void read_positions(const struct builder *b, struct qk_layer *layer, const cJSON *mixer)
{
    const struct qk_config *config = &b->model->config;
    const char *word = qk_layout_word(mixer, "positions", config);
    double number;
    layer->positions = strcmp(word, "rope_half") == 0    ? QK_POSITIONS_ROPE_HALF
                       : strcmp(word, "rope_inter") == 0 ? QK_POSITIONS_ROPE_INTER
                       : strcmp(word, "none") == 0       ? QK_POSITIONS_NONE
                                                         : QK_POSITIONS_FIXED;
    bool rope = layer->positions == QK_POSITIONS_ROPE_HALF || layer->positions == QK_POSITIONS_ROPE_INTER;
    if (rope) {
        int dims = layer->head_dim;
        if (qk_layout_value(mixer, "rotary", config, &number) && number >= 0 && number <= dims)
            dims = (int)number;
        else if (qk_layout_value(mixer, "rotary_fraction", config, &number) && number >= 0 && number <= 1)
            dims = (int)(number * dims);
        layer->rotary_dims = dims - dims % 2;
        layer->rope_theta = qk_layout_value(mixer, "theta", config, &number) ? number : 10000.0;
    }
    if (layer->kind == QK_WINDOW && qk_layout_value(mixer, "window", config, &number) && number >= 1 &&
        number < 1e9)
        layer->window = (int)number;
}

static enum qk_code build_layer(struct builder *b, struct qk_layer *layer, struct qk_error *err)
{
    const cJSON *mixer;
    const char *name;
    struct qk_model *model = b->model;
    QK_TRY(qk_layout_mixer(&b->layout, &model->config, layer->index, model->n_layers, &mixer, &name, err));
    QK_TRY(qk_strdup_to(&layer->mixer, name, err));
    qk_kind_parse(qk_json_string(mixer, "kind", ""), &layer->kind);
    if (layer->kind == QK_NONE)
        return QK_OK;
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        const cJSON *names = qk_json_get(mixer, r == QK_Q ? "q" : "k");
        const cJSON *norm = qk_json_get(mixer, r == QK_Q ? "q_norm" : "k_norm");
        layer->role[r].weight = layer_tensor(b, layer->index, names, ".weight");
        layer->role[r].bias = layer_tensor(b, layer->index, names, ".bias");
        layer->role[r].norm = norm != NULL ? layer_tensor(b, layer->index, norm, ".weight") : NULL;
        if (layer->role[r].weight == NULL && !model->guessed) {
            char text[NAME_SIZE + 64];
            snprintf(text, sizeof text, "%s%d.%s.weight is missing", b->prefix, layer->index,
                cJSON_IsArray(names) ? names->child->valuestring : names->valuestring);
            QK_TRY(set_problem(layer, err, text));
        }
    }
    if (layer->role[QK_Q].weight == NULL || layer->role[QK_K].weight == NULL) {
        if (model->guessed)
            layer->kind = QK_NONE;
        return QK_OK;
    }
    const char *rows = qk_layout_word(mixer, "rows", &model->config);
    struct geometry g;
    QK_TRY(read_geometry(b, layer, mixer, rows, &g, err));
    layer->head_dim = (int)g.head_dim;
    layer->gain_plus_one = qk_json_bool(mixer, "gain_plus_one", false);
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        QK_TRY(build_view(b, layer, (enum qk_role)r, rows, &g, err));
    read_positions(b, layer, mixer);
    return check_dtype(b, layer, err);
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
                    "%s: %s: latent attention (MLA) has no W_K of its own; model type \"%s\" is not "
                    "supported",
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
    if (!(number >= 1 && number <= found))
        return qk_fail(err, QK_INPUT, "%s: the config tells of %g layers (found tensors of %d)",
            model->checkpoint->path, number, found);
    model->n_layers = (int)number;
    if (model->n_layers < found)
        QK_TRY(qk_lines_add(&model->remarks, err,
            "layers %d to %d lie beyond the config's layer count and are left alone", model->n_layers,
            found - 1));
    return QK_OK;
}

static enum qk_code build(struct builder *b, struct qk_error *err)
{
    struct qk_model *model = b->model;
    QK_TRY(qk_config_open(model->checkpoint->folder, &model->config, err));
    int found;
    QK_TRY(find_prefix(model->checkpoint, &b->prefix, &found, err));
    QK_TRY(qk_layout_find(model->config.model_type, &b->layout, err));
    model->guessed = b->layout.guessed;
    QK_TRY(qk_strdup_to(&model->family, b->layout.family, err));
    if (model->config.root == NULL)
        QK_TRY(qk_lines_add(&model->remarks, err, "there is no config.json: shapes and names have to do"));
    if (model->guessed)
        QK_TRY(qk_lines_add(&model->remarks, err,
            "model type \"%s\" is not in the layout table: separate q_proj and k_proj are assumed, layer "
            "kinds are guessed",
            model->config.model_type));
    QK_TRY(qk_lines_add(&model->remarks, err, "layers are named %s0 ...", b->prefix));
    QK_TRY(count_layers(b, found, err));
    QK_TRY(qk_alloc(&model->layer, (size_t)model->n_layers, sizeof *model->layer, err));
    bool any = false;
    for (int i = 0; i < model->n_layers; i++) {
        model->layer[i].index = i;
        QK_TRY(build_layer(b, &model->layer[i], err));
        any = any || model->layer[i].kind != QK_NONE;
    }
    return any || !model->guessed ? QK_OK : refuse_unknown(b, err);
}

enum qk_code qk_model_open(const char *path, struct qk_model **out, struct qk_error *err)
{
    *out = NULL;
    struct builder b = {0};
    QK_TRY(qk_alloc(&b.model, 1, sizeof *b.model, err));
    b.model->config.model_type = "";
    enum qk_code code = qk_checkpoint_open(path, &b.model->checkpoint, err);
    if (code == QK_OK)
        code = build(&b, err);
    qk_layout_free(&b.layout);
    free(b.prefix);
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
