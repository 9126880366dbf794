/* feed_forward.c - the MLP of a layer: its kind, and the dense one. */
#include "forward/feed_forward.h"

#include "base/json.h"
#include "base/mem.h"
#include "forward/weights.h"

#include <string.h>

/* --- reading --- */

static enum qk_code split_gate_up(
    struct qk_reading *r, const cJSON *object, size_t k, bool needed, struct qk_mlp *mlp)
{
    struct qk_projection both = {0};
    QK_TRY(qk_read_projection(r, object, "gate_up", 0, k, needed, &both));
    QK_TRY(qk_add_adapter(r, object, "gate_up_adapter", &both));
    if (both.n % 2 != 0)
        return qk_fail_row(r, "gate and up have an odd number of rows together");
    size_t n = both.n / 2;
    if (both.weight == NULL)
        return QK_OK;
    mlp->gate = qk_projection_rows(&both, 0, n);
    mlp->up = qk_projection_rows(&both, n, n);
    return QK_OK;
}

enum qk_code qk_mlp_read(struct qk_reading *r, const cJSON *object, size_t k, bool needed, struct qk_mlp *mlp)
{
    bool alone = qk_json_get(object, "up") == NULL;
    if (qk_json_get(object, "gate_up") != NULL)
        QK_TRY(split_gate_up(r, object, k, needed && alone, mlp));
    if (mlp->up.weight == NULL && needed && alone)
        return qk_fail_row(r, "its layout row does not describe its MLP");
    if (mlp->up.weight == NULL && !alone) {
        bool gated = qk_json_get(object, "gate") != NULL;
        QK_TRY(qk_read_projection(r, object, "up", 0, k, needed, &mlp->up));
        if (mlp->up.weight != NULL)
            QK_TRY(qk_read_projection(r, object, "gate", mlp->up.n, k, gated, &mlp->gate));
    }
    return mlp->up.weight != NULL ? qk_read_projection(r, object, "down", k, mlp->up.n, true, &mlp->down)
                                  : QK_OK;
}

static enum qk_code read_dense(struct qk_reading *r)
{
    const cJSON *forward = r->parts->forward;
    struct qk_mlp *mlp = &r->out->mlp;
    float gate, down;
    QK_TRY(qk_mlp_read(r, forward, r->out->width, true, mlp));
    QK_TRY(qk_parts_multiplier(r->parts, forward, "gate_multiplier", &gate, r->err));
    QK_TRY(qk_parts_multiplier(r->parts, forward, "down_multiplier", &down, r->err));
    QK_TRY(qk_scale_projection(r, &mlp->gate, gate));
    return qk_scale_projection(r, &mlp->down, down);
}

enum qk_code qk_feed_forward_read(struct qk_reading *r)
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
    out->feed_forward = qk_parts_experts(r->parts, r->layer->index) != NULL ? &qk_experts_mlp : &qk_dense_mlp;
    return out->feed_forward->read(r);
}

/* --- running --- */

size_t qk_feed_forward_width(const struct qk_layer_weights *w)
{
    return w->feed_forward->width(w);
}

enum qk_code qk_feed_forward_run(
    struct qk_run *run, const struct qk_group *group, struct qk_progress *progress, struct qk_error *err)
{
    return run->w->feed_forward->run(run, group, progress, err);
}

enum qk_code qk_mlp_run(const struct qk_run *run, const struct qk_group *group, const struct qk_mlp *mlp,
    const float *x, float *hidden, float *out, struct qk_progress *progress, struct qk_error *err)
{
    bool gated = mlp->gate.weight != NULL;
    enum qk_activation f = run->w->activation;
    size_t n = mlp->up.n;
    const struct qk_product gate = {&mlp->gate, x, hidden, n, QK_PRODUCT_GATE, f, NULL},
                            up = {&mlp->up, x, hidden, n, gated ? QK_PRODUCT_SET : QK_PRODUCT_ACTIVATE, f,
                                gated ? &gate : NULL},
                            down = {.p = &mlp->down, .x = hidden, .out = out, .ld = mlp->down.n};
    QK_TRY(qk_run_products(run, group, &up, 1, progress, err));
    return qk_run_products(run, group, &down, 1, progress, err);
}

static size_t dense_width(const struct qk_layer_weights *w)
{
    return w->mlp.up.n;
}

static enum qk_code run_dense(
    struct qk_run *run, const struct qk_group *group, struct qk_progress *progress, struct qk_error *err)
{
    return qk_mlp_run(run, group, &run->w->mlp, run->normed, run->hidden, run->normed, progress, err);
}

const struct qk_feed_forward_ops qk_dense_mlp = {
    .read = read_dense,
    .width = dense_width,
    .run = run_dense,
};
