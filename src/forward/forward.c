/* forward.c - the pass over all layers, and one layer's attention on given inputs. */
#include "forward/forward.h"

#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "forward/embedding.h"
#include "forward/layer.h"
#include "forward/weights.h"
#include "linalg/gemm.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static enum qk_code ask(const struct qk_model *model, const char *(*reason)(const struct qk_parts *),
    const char **why, struct qk_error *err)
{
    struct qk_parts parts;
    *why = NULL;
    QK_TRY(qk_parts_open(model, NULL, 0, &parts, err));
    *why = reason(&parts);
    qk_parts_close(&parts);
    return QK_OK;
}

enum qk_code qk_forward_missing(const struct qk_model *model, const char **why, struct qk_error *err)
{
    return ask(model, qk_parts_missing, why, err);
}

enum qk_code qk_forward_attention_missing(
    const struct qk_model *model, const char **why, struct qk_error *err)
{
    return ask(model, qk_parts_refused, why, err);
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
    struct qk_head head = {0};
    *n = 0;
    QK_TRY(qk_parts_open(model, NULL, 0, &parts, err));
    enum qk_code code = qk_parts_check(&parts, err);
    if (code == QK_OK)
        code = qk_head_find(&parts, &head, err);
    qk_parts_close(&parts);
    if (code == QK_OK)
        *n = head.vocabulary;
    qk_head_free(&head);
    return code;
}

/* The mixer without q and k of a layer, alone or with another; NULL: none. */
static const cJSON *other_mixer(const struct qk_parts *parts, int layer)
{
    const cJSON *mixer = qk_parts_mixer(parts, &parts->model->layer[layer]);
    const char *other = qk_json_string(mixer, "beside", qk_json_string(mixer, "then", NULL));
    if (other != NULL)
        return qk_layout_mixer(&parts->layout, other);
    return parts->model->layer[layer].kind == QK_NONE ? mixer : NULL;
}

/* Floats that a token has in the layer: the input, three times q, k and v, which are projected, convolved and mixed,
 * and as often what a mixer without them projects to. */
static uint64_t token_floats(const struct qk_parts *parts, int index)
{
    const struct qk_layer *layer = &parts->model->layer[index];
    const struct qk_tensor *in;
    uint64_t q = (uint64_t)layer->role[QK_Q].n_heads, k = (uint64_t)layer->role[QK_K].n_heads,
             floats = qk_model_width(parts->model) + 3 * (q + 2 * k) * (uint64_t)layer->head_dim;
    qk_parts_layer_tensor(parts, index, other_mixer(parts, index), "in", ".weight", false, &in, NULL);
    return floats + (in != NULL && in->n_dims == 2 ? 3 * in->shape[0] : 0);
}

/* Floats that a layer's mixer without q and k keeps of a sequence: a state, and the tail of a convolution. */
static uint64_t state_floats(const struct qk_parts *parts, int index)
{
    static const uint64_t MOST = 1 << 30;
    const struct qk_tensor *decay, *conv;
    const struct qk_config *config = &parts->model->config;
    const cJSON *mixer = other_mixer(parts, index);
    double rows = 1, columns = 1;
    qk_parts_layer_tensor(parts, index, mixer, "decay_log", "", false, &decay, NULL);
    qk_parts_layer_tensor(parts, index, mixer, "conv", ".weight", false, &conv, NULL);
    if (mixer == NULL || !qk_layout_value(mixer, "value_dim", config, &rows) ||
        !qk_layout_value(mixer, "head_dim", config, &columns))
        rows = columns = 1;
    double floats = decay != NULL ? (double)qk_tensor_values(decay) * rows * columns : 0;
    if (conv != NULL && conv->n_dims == 3 && conv->shape[2] > 0)
        floats += (double)conv->shape[0] * (double)(conv->shape[2] - 1);
    return floats >= 0 && floats < (double)MOST ? (uint64_t)floats : MOST;
}

enum qk_code qk_forward_state(const struct qk_model *model, size_t *floats, struct qk_error *err)
{
    struct qk_parts parts;
    *floats = 0;
    QK_TRY(qk_parts_open(model, NULL, 0, &parts, err));
    for (int i = 0; i < model->n_layers; i++)
        *floats += (size_t)state_floats(&parts, i);
    qk_parts_close(&parts);
    return QK_OK;
}

/* Bytes of the largest layer's weights, without its experts but for those of a turn. */
static uint64_t largest_layer(const struct qk_parts *parts)
{
    uint64_t most = 0;
    for (int i = 0; i < parts->model->n_layers; i++) {
        uint64_t of_turn, bytes = qk_weights_of_layer(parts, i, &of_turn) + of_turn;
        most = bytes > most ? bytes : most;
    }
    return most;
}

enum qk_code qk_forward_bytes(const struct qk_model *model, size_t T, size_t *bytes, struct qk_error *err)
{
    struct qk_parts parts;
    uint64_t floats = 0;
    QK_TRY(qk_parts_open(model, NULL, 0, &parts, err));
    for (int i = 0; i < model->n_layers; i++) {
        uint64_t of_token = token_floats(&parts, i);
        floats = of_token > floats ? of_token : floats;
    }
    *bytes = (size_t)(largest_layer(&parts) + T * floats * sizeof(float));
    qk_parts_close(&parts);
    return QK_OK;
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
    bool ahead; /* the next layer's weights are read beside this one's work */
};

static void pass_attention(void *context, size_t worker, const struct qk_attention_map *map)
{
    const struct pass *pass = context;
    pass->hooks->attention(pass->hooks->context, pass->layer, worker, map);
}

/* Shows what a layer's mixer sees: the rows without the layers' own inputs. */
static enum qk_code show_state(const struct pass *pass, int layer, struct qk_error *err)
{
    const struct qk_forward_hooks *hooks = pass->hooks;
    const struct qk_model *model = pass->parts->model;
    float *seen;
    if (hooks == NULL || hooks->state == NULL)
        return QK_OK;
    if (model->layer_input == 0 || pass->d == (size_t)qk_model_own_width(model))
        return hooks->state(hooks->context, layer, pass->x, pass->T, pass->d, err);
    QK_TRY(qk_alloc_aligned(&seen, pass->T * pass->d, sizeof *seen, err));
    memcpy(seen, pass->x, pass->T * pass->d * sizeof *seen);
    qk_rows_narrow(model, pass->T, seen);
    enum qk_code code =
        hooks->state(hooks->context, layer, seen, pass->T, (size_t)qk_model_own_width(model), err);
    free(seen);
    return code;
}

static enum qk_code read_layer(
    const struct pass *pass, int layer, struct qk_layer_weights *weights, struct qk_error *err)
{
    const struct qk_model *model = pass->parts->model;
    QK_TRY(qk_layer_weights_read(pass->parts, &model->layer[layer], true, weights, err));
    /* The system has the layer after it ready by its turn. */
    qk_weights_expect(pass->parts, layer + 1);
    if (weights->stream != pass->d)
        return qk_fail(err, QK_INPUT, "%s: layer %d has another width (found %zu, expected %zu)",
            model->checkpoint->path, layer, weights->stream, pass->d);
    return QK_OK;
}

/* True where another thread can read, and a second layer takes a small part of the memory. */
static bool may_read_ahead(const struct qk_parts *parts)
{
    enum { PART = 8 };
    return qk_parallel_workers(2) > 1 && largest_layer(parts) < qk_spare_memory() / PART;
}

/* A layer that runs while the weights of the next one are read. */
struct step {
    struct pass *pass;
    struct qk_layer_weights *now, *next;
};

static enum qk_code run_now(const struct step *step, struct qk_error *err)
{
    struct pass *pass = step->pass;
    const struct qk_sequence whole = {.n = pass->T};
    const struct qk_batch batch = {.sequence = &whole, .n = 1, .T = pass->T, .positions = pass->T};
    const struct qk_forward_hooks *hooks = pass->hooks;
    bool seen = hooks != NULL && hooks->attention != NULL;
    struct qk_attention_watch maps = {.context = pass};
    if (seen) {
        maps.from = hooks->attention_from;
        maps.most = hooks->attention_most;
        maps.seen = hooks->attended == NULL || hooks->attended[pass->layer] ? pass_attention : NULL;
    }
    const struct qk_layer_watch watch = {.maps = seen ? &maps : NULL};
    return qk_layer_run(step->now, pass->x, &batch, &pass->tables, &watch, pass->progress, err);
}

/* Item 0 runs the layer, item 1 reads the next one. */
static enum qk_code run_step_item(void *context, size_t item, size_t worker, struct qk_error *err)
{
    const struct step *step = context;
    (void)worker;
    return item == 0 ? run_now(step, err) : read_layer(step->pass, step->pass->layer + 1, step->next, err);
}

/* Runs the layer; `next`, which is empty before, receives the weights of the one behind it, if that is to run. */
static enum qk_code run_step(struct pass *pass, struct qk_layer_weights *now, struct qk_layer_weights *next,
    bool reads, struct qk_error *err)
{
    struct step step = {pass, now, next};
    size_t items = reads ? 2 : 1;
    enum qk_code code = qk_parallel_try(items, items, run_step_item, &step, pass->progress, err);
    qk_layer_weights_free(now);
    QK_TRY(code);
    qk_progress_add(pass->progress, 1);
    return QK_OK;
}

/* Item 0 reads the layer, item 1 chooses the products, which takes some time once. */
static enum qk_code read_first_item(void *context, size_t item, size_t worker, struct qk_error *err)
{
    const struct step *step = context;
    (void)worker;
    if (item == 0)
        return read_layer(step->pass, step->pass->layer, step->now, err);
    qk_gemm_choose();
    return QK_OK;
}

static enum qk_code read_first(struct pass *pass, struct qk_layer_weights *now, struct qk_error *err)
{
    struct step step = {pass, now, NULL};
    return qk_parallel_try(2, qk_parallel_workers(2), read_first_item, &step, pass->progress, err);
}

/* Runs layers 0 <= pass->layer < n. */
static enum qk_code run_layers(struct pass *pass, int n, struct qk_error *err)
{
    struct qk_layer_weights weights[2] = {{0}};
    enum qk_code code = QK_OK;
    for (pass->layer = 0; code == QK_OK && pass->layer < n; pass->layer++) {
        struct qk_layer_weights *now = &weights[pass->layer % 2], *next = &weights[1 - pass->layer % 2];
        code = qk_progress_check(pass->progress, err);
        if (code == QK_OK)
            code = show_state(pass, pass->layer, err);
        if (code == QK_OK && now->d == 0)
            code = pass->layer == 0 ? read_first(pass, now, err) : read_layer(pass, pass->layer, now, err);
        if (code == QK_OK)
            code = run_step(pass, now, next, pass->ahead && pass->layer + 1 < n, err);
    }
    qk_layer_weights_free(&weights[0]);
    qk_layer_weights_free(&weights[1]);
    return code;
}

static enum qk_code final_norm(struct pass *pass, struct qk_error *err)
{
    struct qk_layer_weights owner = {0};
    struct qk_norm norm;
    qk_rows_narrow(pass->parts->model, pass->T, pass->x);
    pass->d = (size_t)qk_model_own_width(pass->parts->model);
    enum qk_code code = qk_norm_read(pass->parts, NULL, -1, "final_norm", pass->d, &owner, &norm, err);
    if (code == QK_OK)
        qk_norm_apply(&norm, pass->T, pass->d, pass->x, pass->x);
    qk_layer_weights_free(&owner);
    return code == QK_OK ? show_state(pass, pass->parts->model->n_layers, err) : code;
}

static enum qk_code run_to_head(struct pass *pass, const int32_t *ids, const struct qk_head *head,
    float *logits, size_t n_logits, struct qk_error *err)
{
    const struct qk_forward_hooks *hooks = pass->hooks;
    QK_TRY(qk_embed(pass->parts, ids, 0, pass->T, pass->x, err));
    if (hooks != NULL && hooks->ends) {
        QK_TRY(run_layers(pass, hooks->last, err));
        return show_state(pass, hooks->last, err);
    }
    QK_TRY(run_layers(pass, pass->parts->model->n_layers, err));
    QK_TRY(final_norm(pass, err));
    if (logits == NULL || n_logits == 0)
        return QK_OK;
    return qk_head_logits(
        head, pass->parts, pass->x + (pass->T - n_logits) * pass->d, n_logits, logits, pass->progress, err);
}

static enum qk_code run_pass(
    struct pass *pass, const int32_t *ids, float *logits, size_t n_logits, struct qk_error *err)
{
    struct qk_head head = {0};
    enum qk_code code = QK_OK;
    if (logits != NULL) /* before the work of all the layers */
        code = qk_head_find(pass->parts, &head, err);
    if (code == QK_OK)
        code = run_to_head(pass, ids, &head, logits, n_logits, err);
    qk_head_free(&head);
    return code;
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
        .parts = &parts, .hooks = hooks, .progress = progress, .T = T, .d = (size_t)qk_model_width(model)};
    qk_progress_total(progress, (uint64_t)model->n_layers);
    enum qk_code code = qk_parts_check(&parts, err);
    if (code == QK_OK)
        code = qk_alloc_aligned(&pass.x, T * pass.d, sizeof *pass.x, err);
    if (code == QK_OK) {
        pass.ahead = may_read_ahead(&parts);
        code = run_pass(&pass, ids, logits, n_logits, err);
    }
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
    enum qk_code code = qk_layer_weights_read(parts, layer, false, &weights, err);
    if (code == QK_OK)
        code = qk_layer_look(&weights, x, T, out, parts->progress, err);
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
    if (of->kind == QK_NONE)
        return qk_fail(err, QK_INPUT, "%s: layer %d has no attention", model->checkpoint->path, layer);
    QK_TRY(qk_parts_open(model, patch, T, &parts, err));
    parts.progress = progress;
    const char *reason = qk_parts_refused(&parts);
    enum qk_code code = reason != NULL
                            ? qk_fail(err, QK_INPUT, "%s: the %s family's attention cannot be computed: %s",
                                  model->checkpoint->path, model->family, reason)
                            : qk_parts_check_tokens(&parts, err);
    if (code == QK_OK)
        code = make_attention(&parts, of, x, T, out, err);
    qk_parts_close(&parts);
    return code;
}

void qk_layer_attention_free(struct qk_layer_attention *attention)
{
    for (size_t i = 0; i < sizeof attention->owned / sizeof attention->owned[0]; i++)
        free(attention->owned[i]);
    free(attention->slope);
    *attention = (struct qk_layer_attention){0};
}

struct qk_row_past qk_layer_attention_past(const struct qk_layer_attention *attention)
{
    return (struct qk_row_past){.a = &attention->attention,
        .gates = attention->gates.g != NULL ? &attention->gates : NULL,
        .slope = attention->slope,
        .n = 1};
}
