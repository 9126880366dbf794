/* cmd_info.c - qkscope info: the parts of a checkpoint, and what the program can do with it. */
#include "base/json.h"
#include "cli/arguments.h"
#include "cli/folders.h"
#include "cli/inputs.h"
#include "cli/print.h"

#include "base/mem.h"
#include "blend/blend.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Counts over all tensors, by dtype; OTHER holds every unknown dtype. */
struct dtype_count {
    uint64_t tensors, values, bytes;
};
struct counts {
    struct dtype_count of[QK_DTYPE_COUNT], all;
};

static void add_tensor(struct dtype_count *count, const struct qk_tensor *tensor)
{
    count->tensors++;
    count->values += qk_tensor_values(tensor);
    count->bytes += tensor->bytes;
}

static void count_tensors(const struct qk_checkpoint *checkpoint, struct counts *counts)
{
    memset(counts, 0, sizeof *counts);
    for (size_t i = 0; i < checkpoint->n_tensors; i++) {
        add_tensor(&counts->of[checkpoint->by_name[i]->dtype], checkpoint->by_name[i]);
        add_tensor(&counts->all, checkpoint->by_name[i]);
    }
}

/* --- words for a layer --- */

static const char *positions_word(enum qk_positions positions)
{
    static const char *const words[] = {
        [QK_POSITIONS_NONE] = "none",
        [QK_POSITIONS_ROPE_HALF] = "rope_half",
        [QK_POSITIONS_ROPE_INTER] = "rope_inter",
        [QK_POSITIONS_FIXED] = "fixed",
    };
    return words[positions];
}

static bool usable(const struct qk_layer *layer)
{
    return layer->kind != QK_NONE && layer->problem == NULL;
}

static bool same_view(const struct qk_view *a, const struct qk_view *b)
{
    return a->n_heads == b->n_heads && a->n_slices == b->n_slices && a->scale.rows == b->scale.rows &&
           a->scale.columns == b->scale.columns && (a->bias == NULL) == (b->bias == NULL) &&
           (a->norm == NULL) == (b->norm == NULL);
}

/* Layers that one line of the table can stand for. */
static bool same_geometry(const struct qk_layer *a, const struct qk_layer *b)
{
    return a->kind == b->kind && strcmp(a->mixer, b->mixer) == 0 && usable(a) == usable(b) &&
           a->head_dim == b->head_dim && a->d == b->d && same_view(&a->role[QK_Q], &b->role[QK_Q]) &&
           same_view(&a->role[QK_K], &b->role[QK_K]) && a->positions == b->positions &&
           a->rotary_dims == b->rotary_dims && a->rope_theta == b->rope_theta && a->window == b->window;
}

static void print_positions(const struct qk_layer *layer)
{
    switch (layer->positions) {
    case QK_POSITIONS_NONE:
        qk_print(", no positions");
        break;
    case QK_POSITIONS_FIXED:
        qk_print(", an elementwise map after q and k");
        break;
    default:
        qk_print(", RoPE on %d of %d dims (%s, theta %g)", layer->rotary_dims, layer->head_dim,
            layer->positions == QK_POSITIONS_ROPE_HALF ? "halves" : "pairs", layer->rope_theta);
    }
}

static void print_scaling(const struct qk_layer *layer)
{
    const struct qk_scaling *scale = &layer->role[QK_Q].scale;
    if (scale->tensor == NULL)
        return;
    uint64_t rows = layer->role[QK_Q].weight->shape[0], columns = layer->role[QK_Q].weight->shape[1];
    if (scale->rows >= rows && scale->columns >= columns)
        qk_print(", scaled by one number");
    else if (scale->rows == 1 && scale->columns >= columns)
        qk_print(", scaled by row");
    else
        qk_print(", scaled in blocks of %" PRIu64 " x %" PRIu64, scale->rows, scale->columns);
}

static void print_geometry(const struct qk_layer *layer)
{
    if (layer->kind == QK_NONE) {
        qk_print("no q and k");
        return;
    }
    if (layer->problem != NULL) {
        qk_print("cannot be used: ");
        qk_print_name(layer->problem);
        return;
    }
    if (layer->no_k != NULL)
        qk_print("%d query heads of %d x %" PRIu64 ", no keys (%s)", layer->role[QK_Q].n_heads,
            layer->head_dim, layer->d, layer->no_k);
    else
        qk_print("%d query heads, %d key heads of %d x %" PRIu64, layer->role[QK_Q].n_heads,
            layer->role[QK_K].n_heads, layer->head_dim, layer->d);
    if (layer->role[QK_K].down != NULL)
        qk_print(", keys and values from a latent of %" PRIu64, layer->role[QK_K].weight->shape[1]);
    print_positions(layer);
    print_scaling(layer);
    if (layer->window > 0)
        qk_print(", window %d", layer->window);
    if (layer->role[QK_Q].norm != NULL || layer->role[QK_K].norm != NULL)
        qk_print(", q/k norm");
    if (layer->role[QK_Q].bias != NULL || layer->role[QK_K].bias != NULL)
        qk_print(", biases");
}

static enum qk_code print_layers(const struct qk_model *model, struct qk_error *err)
{
    int *number;
    QK_TRY(qk_alloc(&number, (size_t)model->n_layers, sizeof *number, err));
    for (int i = 0; i < model->n_layers; i++) {
        const struct qk_layer *layer = &model->layer[i];
        int first = 0, n = 0;
        while (!same_geometry(&model->layer[first], layer))
            first++;
        if (first < i)
            continue;
        for (int j = i; j < model->n_layers; j++)
            if (same_geometry(&model->layer[j], layer))
                number[n++] = j;
        qk_print("  %-8s%d: ", qk_kind_name(layer->kind), n);
        qk_print_ranges(number, n);
        qk_print("\n          ");
        qk_print_name(layer->mixer);
        qk_print(": ");
        print_geometry(layer);
        qk_print("\n");
    }
    free(number);
    return QK_OK;
}

/* --- the possible choices --- */

/* Blends are not defined on factors, nor on values that share scales. */
static bool only_restored(const struct qk_layer *layer)
{
    return layer->role[QK_Q].n_slices > 0 || layer->role[QK_K].n_slices > 0;
}

/* Layers with which the program can do the same. */
enum ability { ABLE_FIXED, ABLE_LATENT, ABLE_SCALED, ABLE_Q_ALONE, ABLE_ALL, ABLE_COUNT };

static enum ability ability_of(const struct qk_layer *layer)
{
    if (layer->fixed != NULL)
        return ABLE_FIXED;
    if (layer->role[QK_Q].down != NULL || layer->role[QK_K].down != NULL)
        return ABLE_LATENT;
    return only_restored(layer) ? ABLE_SCALED : layer->no_k != NULL ? ABLE_Q_ALONE : ABLE_ALL;
}

/* Modes that take a form of their own in each layer have lines of their own (print_forms). */
static void print_modes(const struct qk_layer *layer)
{
    qk_print("  compare");
    for (int m = 0; m < QK_MODE_COUNT; m++) {
        const struct qk_mode_info *info = qk_mode_info((enum qk_mode)m);
        bool can = layer->fixed == NULL && qk_blend_offers(layer, (enum qk_mode)m) &&
                   (info->copies || !only_restored(layer));
        if (m != QK_KEEP && can && !qk_blend_has_forms((enum qk_mode)m))
            qk_print(", %s", info->name);
    }
}

static void print_counts_of_abilities(const struct qk_model *model)
{
    static const char *const REMARKS[ABLE_COUNT] = {[ABLE_FIXED] = " (scales that other rows share)",
        [ABLE_LATENT] = "",
        [ABLE_SCALED] = " (scaled values)",
        [ABLE_Q_ALONE] = " of q alone",
        [ABLE_ALL] = ""};
    static const struct qk_layer PLAIN = {0};
    const struct qk_layer *like[ABLE_COUNT] = {[ABLE_ALL] = &PLAIN};
    int count[ABLE_COUNT] = {0}, all = 0;
    for (int i = 0; i < model->n_layers; i++)
        if (usable(&model->layer[i])) {
            enum ability ability = ability_of(&model->layer[i]);
            like[ability] = &model->layer[i];
            count[ability]++;
            all++;
        }
    qk_print("\ncan do\n");
    for (int i = 0; i < ABLE_COUNT; i++)
        if (count[i] > 0 || (i == ABLE_ALL && all == 0)) {
            print_modes(like[i]);
            qk_print("%s: %d of %d layers\n", REMARKS[i], count[i], model->n_layers);
        }
}

/* "procrustes turns whole heads: 12 layers (RoPE)", a line for each form that the mode takes. */
static enum qk_code print_forms(const struct qk_pair *pair, enum qk_mode mode, struct qk_error *err)
{
    int count[QK_MODE_FORMS] = {0};
    struct qk_mode_form of[QK_MODE_FORMS] = {0}, form;
    for (int i = 0; i < pair->n_layers; i++) {
        const struct qk_layer *post = pair->layer[i].side[QK_POST];
        if (!pair->layer[i].has_qk || pair->layer[i].fixed != NULL || only_restored(post) ||
            !qk_blend_offers(post, mode))
            continue;
        QK_TRY(qk_blend_form(pair, i, mode, &form, err));
        count[form.index]++;
        of[form.index] = form;
    }
    for (int i = 0; i < QK_MODE_FORMS; i++)
        if (count[i] > 0)
            qk_print("  %s %s: %d layers (%s)\n", qk_mode_info(mode)->name, of[i].what, count[i], of[i].why);
    return QK_OK;
}

static enum qk_code print_abilities(const struct qk_model *model, struct qk_error *err)
{
    struct qk_pair *pair;
    struct qk_error reason = {0};
    print_counts_of_abilities(model);
    /* The rule needs a pair; the checkpoint makes one with itself, if a layer can be used. */
    enum qk_code code = qk_pair_open(model->checkpoint->path, model->checkpoint->path, &pair, &reason);
    if (code == QK_INPUT)
        return QK_OK;
    for (int m = 0; code == QK_OK && m < QK_MODE_COUNT; m++) {
        if (!qk_blend_has_forms((enum qk_mode)m))
            continue;
        code = print_forms(pair, (enum qk_mode)m, &reason);
        if (code == QK_INPUT) { /* for example gains that are not numbers; the rest is still printed */
            qk_print("  not %s: ", qk_mode_info((enum qk_mode)m)->name);
            qk_print_name(reason.text);
            qk_print("\n");
            code = QK_OK;
        }
    }
    qk_pair_close(pair);
    return code == QK_OK ? QK_OK : qk_fail(err, code, "%s", reason.text);
}

/* --- text --- */

static void print_counts(const struct qk_checkpoint *checkpoint, const struct counts *counts)
{
    char bytes[QK_BYTES_TEXT];
    double millions = (double)counts->all.values / 1e6;
    qk_print("\nfiles\n  %zu file%s, %s, %zu tensors, %.2f %s parameters\n", checkpoint->n_shards,
        checkpoint->n_shards == 1 ? "" : "s", qk_format_bytes(bytes, checkpoint->file_bytes),
        checkpoint->n_tensors, millions < 1000 ? millions : millions / 1000,
        millions < 1000 ? "million" : "billion");
    for (int i = 0; i < QK_DTYPE_COUNT; i++)
        if (counts->of[i].tensors > 0)
            qk_print("  %-8s %6" PRIu64 " tensors  %9s\n",
                i == QK_DTYPE_OTHER ? "other" : qk_dtype_name((enum qk_dtype)i), counts->of[i].tensors,
                qk_format_bytes(bytes, counts->of[i].bytes));
    for (size_t i = 0; i < checkpoint->n_shards && checkpoint->n_shards > 1; i++) {
        qk_print("  %9s  ", qk_format_bytes(bytes, checkpoint->shard[i].file.source.size));
        qk_print_name(checkpoint->shard[i].name);
        qk_print("\n");
    }
}

static enum qk_code print_text(const struct qk_model *model, struct qk_error *err)
{
    struct counts counts;
    count_tensors(model->checkpoint, &counts);
    qk_print_name(model->checkpoint->path);
    qk_print("\n  family ");
    qk_print_name(model->family);
    qk_print(", model type \"");
    qk_print_name(model->config.model_type);
    qk_print(
        "\"%s\n\n%d layers\n", model->guessed ? " (not in the layout table: guessed)" : "", model->n_layers);
    QK_TRY(print_layers(model, err));
    print_counts(model->checkpoint, &counts);
    QK_TRY(print_abilities(model, err));
    if (model->remarks.n > 0)
        qk_print("\nremarks\n");
    for (size_t i = 0; i < model->remarks.n; i++) {
        qk_print("  ");
        qk_print_name(model->remarks.line[i]);
        qk_print("\n");
    }
    qk_print("\nfolders\n");
    return qk_folders_print(err);
}

/* --- JSON --- */

static void json_layer(cJSON *layers, const struct qk_layer *layer)
{
    cJSON *object = qk_json_append_object(layers);
    cJSON_AddNumberToObject(object, "index", layer->index);
    cJSON_AddStringToObject(object, "kind", qk_kind_name(layer->kind));
    qk_json_add_text(object, "mixer", layer->mixer);
    if (layer->problem != NULL)
        qk_json_add_text(object, "problem", layer->problem);
    if (!usable(layer))
        return;
    cJSON_AddNumberToObject(object, "query_heads", layer->role[QK_Q].n_heads);
    cJSON_AddNumberToObject(object, "key_heads", layer->role[QK_K].n_heads);
    cJSON_AddNumberToObject(object, "head_dim", layer->head_dim);
    cJSON_AddNumberToObject(object, "width", (double)layer->d);
    cJSON_AddStringToObject(object, "positions", positions_word(layer->positions));
    cJSON_AddNumberToObject(object, "rotary_dims", layer->rotary_dims);
    cJSON_AddNumberToObject(object, "rope_theta", layer->rope_theta);
    cJSON_AddNumberToObject(object, "window", layer->window);
    if (layer->no_k != NULL)
        qk_json_add_text(object, "no_k", layer->no_k);
    for (int r = 0; r < QK_ROLE_COUNT && layer->role[r].weight != NULL; r++) {
        cJSON *role = cJSON_AddObjectToObject(object, qk_role_name((enum qk_role)r));
        const struct qk_view *view = &layer->role[r];
        qk_json_add_text(role, "weight", view->weight->name);
        cJSON_AddStringToObject(role, "dtype", view->weight->dtype_text);
        if (view->bias != NULL)
            qk_json_add_text(role, "bias", view->bias->name);
        if (view->norm != NULL)
            qk_json_add_text(role, "norm", view->norm->name);
        if (view->down != NULL)
            qk_json_add_text(role, "latent", view->down->name);
    }
}

static void json_files(cJSON *root, const struct qk_checkpoint *checkpoint)
{
    struct counts counts;
    count_tensors(checkpoint, &counts);
    cJSON_AddNumberToObject(root, "tensors", (double)checkpoint->n_tensors);
    cJSON_AddNumberToObject(root, "parameters", (double)counts.all.values);
    cJSON_AddNumberToObject(root, "bytes", (double)checkpoint->file_bytes);
    cJSON *dtypes = cJSON_AddArrayToObject(root, "dtypes"), *shards = cJSON_AddArrayToObject(root, "shards");
    for (int i = 0; i < QK_DTYPE_COUNT; i++) {
        if (counts.of[i].tensors == 0)
            continue;
        cJSON *object = qk_json_append_object(dtypes);
        cJSON_AddStringToObject(
            object, "dtype", i == QK_DTYPE_OTHER ? "other" : qk_dtype_name((enum qk_dtype)i));
        cJSON_AddNumberToObject(object, "tensors", (double)counts.of[i].tensors);
        cJSON_AddNumberToObject(object, "parameters", (double)counts.of[i].values);
        cJSON_AddNumberToObject(object, "bytes", (double)counts.of[i].bytes);
    }
    for (size_t i = 0; i < checkpoint->n_shards; i++) {
        cJSON *object = qk_json_append_object(shards);
        qk_json_add_text(object, "name", checkpoint->shard[i].name);
        cJSON_AddNumberToObject(object, "bytes", (double)checkpoint->shard[i].file.source.size);
    }
}

static enum qk_code print_json(const struct qk_model *model, struct qk_error *err)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "qkscope", PACKAGE_VERSION);
    qk_json_add_text(root, "path", model->checkpoint->path);
    qk_json_add_text(root, "model_type", model->config.model_type);
    qk_json_add_text(root, "family", model->family);
    cJSON_AddBoolToObject(root, "guessed", model->guessed);
    json_files(root, model->checkpoint);
    cJSON *layers = cJSON_AddArrayToObject(root, "layers");
    for (int i = 0; i < model->n_layers; i++)
        json_layer(layers, &model->layer[i]);
    cJSON *remarks = cJSON_AddArrayToObject(root, "remarks");
    for (size_t i = 0; i < model->remarks.n; i++)
        qk_json_append(remarks, cJSON_CreateString(model->remarks.line[i]));
    return qk_print_json(root, err);
}

static enum qk_code run_info(const struct qk_arguments *arguments, struct qk_error *err)
{
    struct qk_model *model;
    QK_TRY(qk_inputs_remote(arguments, err));
    QK_TRY(qk_inputs_model(arguments->operand[0], &model, err));
    enum qk_code code = qk_arguments_has(arguments, "json") ? print_json(model, err) : print_text(model, err);
    qk_model_close(model);
    return code;
}

static const struct qk_option_info *const OPTIONS[] = {
    &qk_option_json,
    &qk_option_remote,
    NULL,
};

const struct qk_command qk_info_command = {
    .name = "info",
    .operands = "CKPT",
    .summary = "Shows the parts of a checkpoint and what the program can do with it",
    .options = OPTIONS,
    .kernels = QK_KERNELS_UNUSED,
    .run = run_info,
};
