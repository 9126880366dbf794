/* report_data.c - the drift as CSV and as JSON. */
#include "base/json.h"
#include "cli/print.h"
#include "cli/report.h"

#include <math.h>

/* The metrics of a role, by the keys of `diff --json`. */
static const struct {
    enum qk_metric metric;
    const char *key;
} KEYS[] = {
    {QK_METRIC_REL_FRO, "rel_fro"},
    {QK_METRIC_COSINE, "cosine"},
    {QK_METRIC_NORM_RATIO, "norm_ratio"},
    {QK_METRIC_ANGLE_MEAN, "angle_mean_deg"},
    {QK_METRIC_ANGLE_MAX, "angle_max_deg"},
};
enum { N_KEYS = sizeof KEYS / sizeof KEYS[0] };

/* --- CSV --- */

static void csv_layers(const struct qk_report *report)
{
    qk_print("layer,kind");
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        for (size_t i = 0; i < N_KEYS; i++)
            qk_print(",%s_%s", qk_role_name((enum qk_role)r), KEYS[i].key);
    qk_print(",routing_rel_fro\n");
    for (int i = 0; i < report->n; i++) {
        const struct qk_layer_drift *drift = &report->drift[report->order[i]];
        qk_print("%d,%s", drift->index, qk_kind_name(drift->kind));
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            for (size_t k = 0; k < N_KEYS; k++)
                qk_print_csv_number(qk_metric_layer(drift, KEYS[k].metric, r));
        qk_print_csv_number(qk_metric_layer(drift, QK_METRIC_ROUTING, -1));
        qk_print("\n");
    }
}

static void csv_heads_of(const struct qk_layer_drift *drift, enum qk_role role)
{
    for (int h = 0; h < drift->role[role].n_heads; h++) {
        const int *rank = drift->role[role].head[h].rank;
        qk_print("%d,%s,%s,%d", drift->index, qk_kind_name(drift->kind), qk_role_name(role), h);
        for (size_t k = 0; k < N_KEYS; k++)
            qk_print_csv_number(qk_metric_head(drift, KEYS[k].metric, role, h));
        qk_print(",%d,%d", rank[0], rank[1]);
        qk_print_csv_number(qk_metric_head(drift, QK_METRIC_ROUTING, role, h));
        qk_print("\n");
    }
}

void qk_report_csv(const struct qk_report *report)
{
    if (!report->heads) {
        csv_layers(report);
        return;
    }
    qk_print("layer,kind,role,head");
    for (size_t i = 0; i < N_KEYS; i++)
        qk_print(",%s", KEYS[i].key);
    qk_print(",rank_pre,rank_post,routing_rel_fro\n");
    for (int i = 0; i < report->n; i++)
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            csv_heads_of(&report->drift[report->order[i]], (enum qk_role)r);
}

/* --- JSON --- */

void qk_report_json_side(cJSON *root, const struct qk_pair *pair, enum qk_side side)
{
    cJSON *object = cJSON_AddObjectToObject(root, qk_side_name(side));
    qk_json_add_text(object, "path", pair->model[side]->checkpoint->path);
    qk_json_add_text(object, "model_type", pair->model[side]->config.model_type);
}

static void json_role(cJSON *layer, const struct qk_layer_drift *drift, enum qk_role role)
{
    cJSON *object = cJSON_AddObjectToObject(layer, qk_role_name(role));
    for (size_t k = 0; k < N_KEYS; k++)
        qk_json_add_number(object, KEYS[k].key, qk_metric_layer(drift, KEYS[k].metric, (int)role));
    cJSON *heads = cJSON_AddArrayToObject(object, "heads");
    for (int h = 0; h < drift->role[role].n_heads; h++) {
        const int *rank = drift->role[role].head[h].rank;
        cJSON *head = qk_json_append_object(heads);
        for (size_t k = 0; k < N_KEYS; k++)
            qk_json_add_number(head, KEYS[k].key, qk_metric_head(drift, KEYS[k].metric, role, h));
        cJSON_AddNumberToObject(head, "rank", rank[0] < rank[1] ? rank[0] : rank[1]);
    }
}

static void json_routing(cJSON *layer, const struct qk_layer_drift *drift)
{
    cJSON *object = cJSON_AddObjectToObject(layer, "routing");
    qk_json_add_number(object, "rel_fro", drift->routing_rel_fro);
    cJSON *heads = cJSON_AddArrayToObject(object, "heads");
    for (int h = 0; h < drift->n_routing; h++) {
        cJSON *head = qk_json_append_object(heads);
        qk_json_add_number(head, "rel_fro", drift->routing_head[h]);
    }
}

static void json_layer(cJSON *layers, const struct qk_report *report, int index)
{
    const struct qk_layer_drift *drift = &report->drift[index];
    cJSON *layer = qk_json_append_object(layers);
    cJSON_AddNumberToObject(layer, "index", drift->index);
    cJSON_AddStringToObject(layer, "kind", qk_kind_name(drift->kind));
    if (report->pair->layer[index].problem != NULL)
        qk_json_add_text(layer, "problem", report->pair->layer[index].problem);
    if (!drift->has_qk)
        return;
    if (report->pair->layer[index].no_k != NULL)
        qk_json_add_text(layer, "no_k", report->pair->layer[index].no_k);
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        json_role(layer, drift, (enum qk_role)r);
    json_routing(layer, drift);
}

enum qk_code qk_report_json(const struct qk_report *report, struct qk_error *err)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "qkscope", PACKAGE_VERSION);
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        qk_report_json_side(root, report->pair, (enum qk_side)s);
    cJSON *layers = cJSON_AddArrayToObject(root, "layers");
    for (int i = 0; i < report->n; i++)
        json_layer(layers, report, report->order[i]);
    return qk_print_json(root, err);
}
