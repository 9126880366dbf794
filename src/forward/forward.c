/* forward.c - the pass over all layers, and one layer's attention on given inputs. */
#include "forward/forward.h"

#include "base/mem.h"
#include "forward/embedding.h"
#include "forward/layer.h"

#include <limits.h>
#include <stdlib.h>

enum qk_code qk_forward_missing(const struct qk_model *model, const char **why, struct qk_error *err)
{
    struct qk_parts parts;
    *why = NULL;
    QK_TRY(qk_parts_open(model, NULL, 0, &parts, err));
    *why = qk_parts_missing(&parts);
    qk_parts_close(&parts);
    return QK_OK;
}

enum qk_code qk_forward_check(const struct qk_model *model, struct qk_error *err)
{
    struct qk_parts parts;
    QK_TRY(qk_parts_open(model, NULL, 0, &parts, err));
    enum qk_code code = qk_parts_check(&parts, err);
    qk_parts_close(&parts);
    return code;
}

enum qk_code qk_forward_vocabulary(const struct qk_model *model, size_t *n, struct qk_error *err)
{
    struct qk_parts parts;
    struct qk_head head;
    *n = 0;
    QK_TRY(qk_parts_open(model, NULL, 0, &parts, err));
    enum qk_code code = qk_parts_check(&parts, err);
    if (code == QK_OK)
        code = qk_head_find(&parts, &head, err);
    qk_parts_close(&parts);
    if (code == QK_OK)
        *n = head.vocabulary;
    return code;
}

size_t qk_unknown_ids(const int32_t *ids, size_t n, size_t vocabulary, size_t *first)
{
    size_t found = 0;
    *first = n;
    for (size_t i = n; i-- > 0;)
        if (ids[i] < 0 || (size_t)ids[i] >= vocabulary) {
            *first = i;
            found++;
        }
    return found;
}

/* --- the pass --- */

struct pass {
    const struct qk_parts *parts;
    const struct qk_forward_hooks *hooks; /* NULL: none */
    struct qk_progress *progress;
    struct qk_rope_tables tables;
    float *x;
    size_t T, d;
    int layer;
};

static void pass_attention(void *context, size_t worker, const struct qk_attention_map *map)
{
    const struct pass *pass = context;
    pass->hooks->attention(pass->hooks->context, pass->layer, worker, map);
}

static enum qk_code show_state(const struct pass *pass, int layer, struct qk_error *err)
{
    if (pass->hooks == NULL || pass->hooks->state == NULL)
        return QK_OK;
    return pass->hooks->state(pass->hooks->context, layer, pass->x, pass->T, pass->d, err);
}

static enum qk_code run_one_layer(struct pass *pass, struct qk_error *err)
{
    const struct qk_layer *layer = &pass->parts->model->layer[pass->layer];
    struct qk_layer_weights weights;
    const struct qk_sequence whole = {.n = pass->T};
    const struct qk_batch batch = {.sequence = &whole, .n = 1, .T = pass->T, .positions = pass->T};
    bool seen = pass->hooks != NULL && pass->hooks->attention != NULL;
    const struct qk_attention_watch maps = {pass_attention, pass, seen ? pass->hooks->attention_from : 0};
    const struct qk_layer_watch watch = {.maps = seen ? &maps : NULL};
    QK_TRY(qk_progress_check(pass->progress, err));
    QK_TRY(show_state(pass, pass->layer, err));
    enum qk_code code = qk_layer_weights_read(pass->parts, layer, true, &weights, err);
    if (code == QK_OK && weights.d != pass->d)
        code = qk_fail(err, QK_INPUT, "%s: layer %d has another width (found %zu, expected %zu)",
            pass->parts->model->checkpoint->path, pass->layer, weights.d, pass->d);
    /* The system reads the next layer beside this one's work. */
    qk_names_expect(&pass->parts->names, pass->parts->model->checkpoint, pass->layer + 1);
    if (code == QK_OK)
        code = qk_layer_run(&weights, pass->x, &batch, &pass->tables, &watch, pass->progress, err);
    qk_layer_weights_free(&weights);
    qk_progress_add(pass->progress, 1);
    return code;
}

static enum qk_code final_norm(struct pass *pass, struct qk_error *err)
{
    struct qk_layer_weights owner = {0};
    struct qk_norm norm;
    enum qk_code code = qk_norm_read(pass->parts, -1, "final_norm", pass->d, &owner, &norm, err);
    if (code == QK_OK)
        qk_norm_apply(&norm, pass->T, pass->d, pass->x, pass->x);
    qk_layer_weights_free(&owner);
    return code == QK_OK ? show_state(pass, pass->parts->model->n_layers, err) : code;
}

static enum qk_code run_pass(
    struct pass *pass, const int32_t *ids, float *logits, size_t n_logits, struct qk_error *err)
{
    int n_layers = pass->parts->model->n_layers;
    struct qk_head head;
    if (logits != NULL) /* before the work of all the layers */
        QK_TRY(qk_head_find(pass->parts, &head, err));
    QK_TRY(qk_embed(pass->parts, ids, 0, pass->T, pass->x, err));
    for (pass->layer = 0; pass->layer < n_layers; pass->layer++)
        QK_TRY(run_one_layer(pass, err));
    QK_TRY(final_norm(pass, err));
    if (logits == NULL || n_logits == 0)
        return QK_OK;
    return qk_head_logits(
        &head, pass->parts, pass->x + (pass->T - n_logits) * pass->d, n_logits, logits, pass->progress, err);
}

enum qk_code qk_forward(const struct qk_model *model, const struct qk_patch *patch, const int32_t *ids,
    size_t T, const struct qk_forward_hooks *hooks, float *logits, size_t n_logits,
    struct qk_progress *progress, struct qk_error *err)
{
    struct qk_parts parts;
    if (T == 0 || T > INT_MAX || (logits != NULL && n_logits > T))
        return qk_fail(err, QK_INPUT, "%s: wrong number of tokens (found %zu, with logits of the last %zu)",
            model->checkpoint->path, T, logits != NULL ? n_logits : 0);
    QK_TRY(qk_parts_open(model, patch, T, &parts, err));
    parts.progress = progress;
    struct pass pass = {
        .parts = &parts, .hooks = hooks, .progress = progress, .T = T, .d = (size_t)model->layer[0].d};
    qk_progress_total(progress, (uint64_t)model->n_layers);
    enum qk_code code = qk_parts_check(&parts, err);
    if (code == QK_OK)
        code = qk_alloc_aligned(&pass.x, T * pass.d, sizeof *pass.x, err);
    if (code == QK_OK)
        code = run_pass(&pass, ids, logits, n_logits, err);
    free(pass.x);
    qk_rope_tables_free(&pass.tables);
    qk_parts_close(&parts);
    return code;
}

/* --- one layer's attention --- */

static enum qk_code make_attention(const struct qk_parts *parts, const struct qk_layer *layer, const float *x,
    size_t T, struct qk_layer_attention *out, struct qk_error *err)
{
    struct qk_layer_weights weights;
    struct qk_rope_tables tables = {0};
    struct qk_projected projected = {0};
    const struct qk_sequence whole = {.n = T};
    const struct qk_batch batch = {.sequence = &whole, .n = 1, .T = T, .positions = T};
    enum qk_code code = qk_layer_weights_read(parts, layer, false, &weights, err);
    if (code == QK_OK)
        code = qk_layer_project(&weights, x, &batch, &tables, &projected, parts->progress, err);
    if (code == QK_OK) {
        out->attention = qk_layer_attention_of(&weights, projected.qkv, T);
        out->buffer = projected.qkv;
        projected.qkv = NULL;
    }
    qk_projected_free(&projected);
    qk_rope_tables_free(&tables);
    qk_layer_weights_free(&weights);
    return code;
}

enum qk_code qk_layer_attention_make(const struct qk_model *model, const struct qk_patch *patch, int layer,
    const float *x, size_t T, struct qk_progress *progress, struct qk_layer_attention *out,
    struct qk_error *err)
{
    struct qk_parts parts;
    *out = (struct qk_layer_attention){0};
    if (layer < 0 || layer >= model->n_layers || T == 0 || T > INT_MAX)
        return qk_fail(
            err, QK_INPUT, "%s: there is no layer %d, or no token", model->checkpoint->path, layer);
    const struct qk_layer *of = &model->layer[layer];
    if (!qk_kind_softmax(of->kind))
        return qk_fail(err, QK_INPUT, "%s: layer %d is a %s layer: it has no attention map",
            model->checkpoint->path, layer, qk_kind_name(of->kind));
    QK_TRY(qk_parts_open(model, patch, T, &parts, err));
    parts.progress = progress;
    const char *reason = qk_parts_refused(&parts);
    enum qk_code code = reason != NULL
                            ? qk_fail(err, QK_INPUT, "%s: the %s family's attention cannot be computed: %s",
                                  model->checkpoint->path, model->family, reason)
                            : make_attention(&parts, of, x, T, out, err);
    qk_parts_close(&parts);
    return code;
}

void qk_layer_attention_free(struct qk_layer_attention *attention)
{
    free(attention->buffer);
    *attention = (struct qk_layer_attention){0};
}
