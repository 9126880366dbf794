/* fused.c - the order of fused rows, decided by the number of rows of their scales. */
#include "model/fused.h"

#include "base/json.h"
#include "model/scaling.h"
#include "tensor/quantised.h"

#include <string.h>

enum { MAX_PARTS = 1 << 10 };

const char *qk_fused_rows(const struct qk_model *model, const cJSON *mixer, const struct qk_config *config)
{
    const char *word = qk_layout_word(mixer, "rows", config);
    if (strcmp(word, "by_scales") != 0)
        return word;
    return model->fused == QK_FUSED_WHOLE ? "block" : model->fused == QK_FUSED_PARTS ? "parts" : NULL;
}

/* What the scales over one tensor say. */
static enum qk_fused judge(const struct qk_builder *b, const struct qk_tensor *tensor)
{
    bool known;
    const struct qk_tensor *scale =
        tensor != NULL ? qk_scale_find(b->model->checkpoint, tensor, &known) : NULL;
    if (scale == NULL || !known || tensor->n_dims != 2 || scale->n_dims != 2)
        return QK_FUSED_UNKNOWN;
    bool whole = qk_scaling_counts(&b->model->config, tensor, scale, 1),
         parts = qk_scaling_counts(&b->model->config, tensor, scale, (uint64_t)b->model->n_parts);
    return whole == parts ? QK_FUSED_UNKNOWN : whole ? QK_FUSED_WHOLE : QK_FUSED_PARTS;
}

enum qk_code qk_fused_read(struct qk_builder *b, struct qk_error *err)
{
    struct qk_model *model = b->model;
    struct qk_config config = model->config;
    double ignored;
    model->n_parts = 1;
    if (qk_layout_value(b->layout.row, "parts", &config, &ignored))
        QK_TRY(qk_layout_count(b->layout.row, "parts", &config, MAX_PARTS, &model->n_parts, err));
    for (int i = 0; i < model->n_layers; i++) {
        const cJSON *mixer = qk_layout_mixer(&b->layout, b->mixer[i]);
        config.layer = i + 1;
        const char *rows = qk_layout_word(mixer, "rows", &config);
        enum qk_fused found = QK_FUSED_UNKNOWN;
        if (strcmp(rows, "parts") == 0)
            found = QK_FUSED_PARTS;
        else if (strcmp(rows, "by_scales") == 0)
            found = judge(b, qk_layer_tensor(b, i, qk_json_get(mixer, "q"), ".weight"));
        if (found != QK_FUSED_UNKNOWN)
            model->fused = model->fused == QK_FUSED_UNKNOWN || model->fused == found ? found : QK_FUSED_BOTH;
    }
    return QK_OK;
}

enum qk_code qk_fused_refuse(
    const struct qk_builder *b, struct qk_layer *layer, const cJSON *mixer, struct qk_error *err)
{
    const struct qk_tensor *tensor = qk_layer_tensor(b, b->stored, qk_json_get(mixer, "q"), ".weight");
    bool both = b->model->fused == QK_FUSED_BOTH;
    return qk_layer_problem(layer, err,
        "%s holds [q; k; v] once, or in each of %ld parts, and %s: write \"rows\": \"block\" or \"parts\" into "
        "a layout row of your own (man qkscope-layout)",
        tensor->name, b->model->n_parts,
        both ? "the scales of some layers say the one, those of others the other" : "no scales tell which");
}
