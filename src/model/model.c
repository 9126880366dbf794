/* model.c - the layers that a row of the layout table finds in a checkpoint, what is left over, and refusals. */
#include "model/build.h"

#include "base/json.h"
#include "base/mem.h"
#include "model/fused.h"
#include "tensor/quantised.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
        ".kv_b_proj.", ".indexer.wq_b.", ".indexer.wk.", "_q_adapter_list.", "_k_adapter_list."};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strstr(name, words[i]) != NULL)
            return true;
    return false;
}

/* Remarks on tensors that look like q or k and belong to no view: extra heads, towers, adapters that were not
 * merged. */
static enum qk_code remark_left_over(struct qk_builder *b, struct qk_error *err)
{
    struct qk_model *model = b->model;
    const struct qk_tensor **used;
    size_t n_used = 0, left = 0, first = 0;
    QK_TRY(qk_alloc(&used, (6 + 2 * QK_MAX_SLICES) * (size_t)model->n_layers, sizeof *used, err));
    for (int i = 0; i < model->n_layers; i++) {
        for (int r = 0; r < QK_ROLE_COUNT; r++) {
            const struct qk_view *view = &model->layer[i].role[r];
            if (view->weight != NULL)
                used[n_used++] = view->weight;
            if (view->bias != NULL)
                used[n_used++] = view->bias;
            if (view->scale.tensor != NULL)
                used[n_used++] = view->scale.tensor;
            for (int p = 0; p < view->n_slices; p++)
                used[n_used++] = view->slice[p].tensor;
        }
    }
    if (n_used > 1)
        qsort(used, n_used, sizeof *used, compare_pointers);
    const struct qk_tensor *const *all = model->checkpoint->by_name;
    for (size_t i = 0; i < model->checkpoint->n_tensors; i++) {
        if (!looks_like_qk(all[i]->name) || qk_scale_is_aside(all[i]->name) ||
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

/* The generic rule found nothing: the message says what is there instead. */
static enum qk_code refuse_unknown(const struct qk_builder *b, struct qk_error *err)
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
                "%s: %s: q and k are fused in an unknown order; the layout table needs a row for model type "
                "\"%s\" (man qkscope-layout), or give checkpoints with a q_proj and a k_proj of their own",
                c->path, name, type);
        }
    }
    return qk_fail(err, QK_INPUT,
        "%s: no layer has a q_proj and a k_proj (model type \"%s\" is not in the layout table)", c->path,
        type);
}

/* --- opening --- */

static enum qk_code count_layers(struct qk_builder *b, int found, struct qk_error *err)
{
    struct qk_model *model = b->model;
    static const char *const count[] = {"layer_count", NULL};
    double number;
    model->n_layers = found;
    QK_TRY(qk_layout_check_values(b->layout.row, count, &model->config, err));
    if (!qk_layout_value(b->layout.row, "layer_count", &model->config, &number))
        return QK_OK;
    if (!(number >= 1 && number <= found) || number != floor(number))
        return qk_fail(err, QK_INPUT, "%s: the config has %g layers (found tensors of %d)",
            model->checkpoint->path, number, found);
    model->n_layers = (int)number;
    if (model->n_layers < found)
        QK_TRY(qk_lines_add(&model->remarks, err,
            "layers %d to %d lie beyond the config's layer count and are left alone", model->n_layers,
            found - 1));
    return QK_OK;
}

static enum qk_code remark_origin(const struct qk_builder *b, struct qk_error *err)
{
    struct qk_model *model = b->model;
    if (model->config.root == NULL)
        QK_TRY(qk_lines_add(&model->remarks, err, "there is no config.json: shapes and names must suffice"));
    if (model->guessed)
        QK_TRY(qk_lines_add(&model->remarks, err,
            "model type \"%s\" is not in the layout table: separate "
            "q_proj and k_proj or latent attention are assumed, layer kinds are guessed",
            model->config.model_type));
    for (size_t i = 0; i < model->checkpoint->notes.n; i++)
        QK_TRY(qk_lines_add(&model->remarks, err, "%s", model->checkpoint->notes.line[i]));
    return qk_lines_add(&model->remarks, err, "layers are named %s0 ...", b->names.prefix);
}

/* A layer that contradicts a row of the table contradicts all that is known of the family. A layer that contradicts a
 * guess (a hybrid's other mixer, say) gets a problem, if the guess holds for another layer. */
static enum qk_code build_layers(struct qk_builder *b, struct qk_error *err)
{
    struct qk_model *model = b->model;
    struct qk_error first = {0};
    bool any = false, usable = false;
    for (int i = 0; i < model->n_layers; i++) {
        struct qk_layer *layer = &model->layer[i];
        struct qk_error fault = {0};
        layer->index = i;
        enum qk_code code = qk_layer_build(b, layer, &fault);
        if (code == QK_INPUT && model->guessed)
            QK_TRY(qk_layer_problem(layer, err, "%s", fault.text));
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

/* Reads how many values each layer has of its own for a token. */
static enum qk_code read_layer_input(struct qk_builder *b, struct qk_error *err)
{
    const cJSON *forward = qk_json_get(b->layout.row, "forward");
    double n;
    if (!qk_layout_value(forward, "layer_input", &b->model->config, &n) || n == 0)
        return QK_OK;
    return qk_layout_count(forward, "layer_input", &b->model->config, 1 << 16, &b->model->layer_input, err);
}

/* Remarks on what a choice for k of latent attention does. */
static enum qk_code remark_latent(struct qk_model *model, struct qk_error *err)
{
    int first = 0;
    while (first < model->n_layers && model->layer[first].role[QK_K].down == NULL)
        first++;
    if (first == model->n_layers)
        return QK_OK;
    const struct qk_view *k = &model->layer[first].role[QK_K];
    return qk_lines_add(&model->remarks, err,
        "keys and values have one latent (%s, rows 0 to %llu): restore keeps post's, restore-latent takes "
        "pre's and moves the values, too",
        k->down->name, (unsigned long long)k->weight->shape[1] - 1);
}

static enum qk_code build(struct qk_builder *b, struct qk_error *err)
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
    QK_TRY(qk_layout_kinds(&b->layout, &model->config, &b->names, model->n_layers, b->mixer, err));
    QK_TRY(read_layer_input(b, err));
    QK_TRY(qk_fused_read(b, err));
    QK_TRY(build_layers(b, err));
    QK_TRY(remark_latent(model, err));
    return remark_left_over(b, err);
}

/* Refuses an adapter alone: the tensors that it adds to are elsewhere. */
static enum qk_code refuse_adapter(const char *path, struct qk_error *err)
{
    bool adapter;
    QK_TRY(qk_adapter_is(path, &adapter, err));
    if (!adapter)
        return QK_OK;
    return qk_fail(err, QK_INPUT,
        "%s: an adapter: give it as POST, with the checkpoint that it was trained on as PRE", path);
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
    struct qk_builder b = {0};
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
        free(model->layer[i].no_k);
        free(model->layer[i].fixed);
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
