/* feed_forward.c - the MLP of a layer. */
#include "forward/feed_forward.h"

#include "base/json.h"
#include "base/mem.h"
#include "forward/weights.h"

#include <string.h>

static enum qk_code split_gate_up(struct qk_reading *r)
{
    struct qk_layer_weights *out = r->out;
    struct qk_projection both = {0};
    QK_TRY(qk_read_projection(r, r->parts->forward, "gate_up", 0, out->d, true, &both));
    if (both.n % 2 != 0)
        return qk_fail_row(r, "gate and up have an odd number of rows together");
    size_t n = both.n / 2;
    out->mlp_gate = (struct qk_projection){both.weight, both.bias, n, out->d};
    out->mlp_up =
        (struct qk_projection){both.weight + n * out->d, both.bias != NULL ? both.bias + n : NULL, n, out->d};
    return QK_OK;
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
    if (qk_json_get(forward, "gate_up") != NULL) {
        QK_TRY(split_gate_up(r));
    } else {
        QK_TRY(qk_read_projection(r, forward, "up", 0, out->d, true, &out->mlp_up));
        QK_TRY(qk_read_projection(
            r, forward, "gate", out->mlp_up.n, out->d, qk_json_get(forward, "gate") != NULL, &out->mlp_gate));
    }
    QK_TRY(qk_read_projection(r, forward, "down", out->d, out->mlp_up.n, true, &out->mlp_down));
    float gate, down;
    QK_TRY(qk_read_multiplier(r, forward, "gate_multiplier", &gate));
    QK_TRY(qk_read_multiplier(r, forward, "down_multiplier", &down));
    qk_scale_projection(&out->mlp_gate, gate, gate);
    qk_scale_projection(&out->mlp_down, down, down);
    return QK_OK;
}

size_t qk_feed_forward_width(const struct qk_layer_weights *w)
{
    return w->mlp_up.n;
}

enum qk_code qk_feed_forward_run(
    struct qk_run *run, const struct qk_group *group, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    size_t n = w->mlp_up.n;
    float *normed = run->normed, *hidden = run->hidden;
    bool gated = w->mlp_gate.weight != NULL;
    const struct qk_product gate = {&w->mlp_gate, normed, hidden, n, QK_PRODUCT_GATE, w->activation, NULL},
                            up = {&w->mlp_up, normed, hidden, n, gated ? QK_PRODUCT_SET : QK_PRODUCT_ACTIVATE,
                                w->activation, gated ? &gate : NULL},
                            down = {.p = &w->mlp_down, .x = hidden, .out = normed, .ld = w->d};
    QK_TRY(qk_run_products(run, group, &up, 1, progress, err));
    return qk_run_products(run, group, &down, 1, progress, err);
}
