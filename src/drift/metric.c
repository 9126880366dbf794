/* metric.c - the one table of metrics, with their names in tables, sorting, --set tests and heat maps. */
#include "drift/drift.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static const struct qk_metric_info METRICS[] = {
    [QK_METRIC_REL_FRO] = {.key = "rel_fro",
        .label = "rel.",
        .help = "Frobenius distance, relative to pre",
        .percent = true},
    [QK_METRIC_COSINE] = {.key = "cosine",
        .label = "cosine",
        .help = "cosine between the weights",
        .falls = true},
    [QK_METRIC_NORM_RATIO] = {.key = "norm_ratio",
        .label = "norm",
        .help = "Frobenius norm, relative to pre"},
    [QK_METRIC_ANGLE_MEAN] = {.key = "angle",
        .label = "angle",
        .help = "mean principal angle of the row spaces",
        .degrees = true},
    [QK_METRIC_ANGLE_MAX] = {.key = "angle_max",
        .label = "max",
        .help = "largest principal angle of the row spaces",
        .degrees = true},
    [QK_METRIC_ROUTING] = {.key = "routing",
        .label = "routing",
        .help = "drift of what attention sees, W_Q^T W_K",
        .percent = true},
};
static_assert(sizeof METRICS / sizeof METRICS[0] == QK_METRIC_COUNT, "a row for every metric");

/* Keys of `diff --json` that differ from the short ones above. */
static const struct {
    const char *key;
    enum qk_metric metric;
} LONG_KEYS[] = {
    {"angle_mean_deg", QK_METRIC_ANGLE_MEAN},
    {"angle_max_deg", QK_METRIC_ANGLE_MAX},
    {"angle_mean", QK_METRIC_ANGLE_MEAN},
};

const struct qk_metric_info *qk_metric_info(enum qk_metric metric)
{
    return &METRICS[metric];
}

bool qk_metric_parse(const char *key, enum qk_metric *metric)
{
    for (int i = 0; i < QK_METRIC_COUNT; i++) {
        if (strcmp(key, METRICS[i].key) == 0) {
            *metric = (enum qk_metric)i;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof LONG_KEYS / sizeof LONG_KEYS[0]; i++) {
        if (strcmp(key, LONG_KEYS[i].key) == 0) {
            *metric = LONG_KEYS[i].metric;
            return true;
        }
    }
    return false;
}

const char *qk_metric_role(const char *key, int *role)
{
    *role = strncmp(key, "q.", 2) == 0 ? QK_Q : strncmp(key, "k.", 2) == 0 ? QK_K : -1;
    return *role >= 0 ? key + 2 : key;
}

/* The distance of a value from "no drift", which says which of two is the stronger. */
static double strength(enum qk_metric metric, double value)
{
    switch (metric) {
    case QK_METRIC_COSINE:
        return -value;
    case QK_METRIC_NORM_RATIO:
        return fabs(log(value));
    default:
        return value;
    }
}

static double role_value(const struct qk_role_drift *role, enum qk_metric metric)
{
    switch (metric) {
    case QK_METRIC_REL_FRO:
        return role->rel_fro;
    case QK_METRIC_COSINE:
        return role->cosine;
    case QK_METRIC_NORM_RATIO:
        return role->norm_ratio;
    case QK_METRIC_ANGLE_MEAN:
        return role->angle_mean_deg;
    case QK_METRIC_ANGLE_MAX:
        return role->angle_max_deg;
    default:
        return NAN;
    }
}

double qk_metric_layer(const struct qk_layer_drift *drift, enum qk_metric metric, int role)
{
    if (!drift->has_qk)
        return NAN;
    if (metric == QK_METRIC_ROUTING)
        return drift->routing_rel_fro;
    if (role >= 0)
        return role_value(&drift->role[role], metric);
    double q = role_value(&drift->role[QK_Q], metric), k = role_value(&drift->role[QK_K], metric);
    if (isnan(q) || isnan(k))
        return isnan(q) ? k : q;
    return strength(metric, q) >= strength(metric, k) ? q : k;
}

double qk_metric_head(const struct qk_layer_drift *drift, enum qk_metric metric, enum qk_role role, int head)
{
    if (!drift->has_qk || head < 0 || head >= drift->role[role].n_heads)
        return NAN;
    const struct qk_head_drift *h = &drift->role[role].head[head];
    switch (metric) {
    case QK_METRIC_REL_FRO:
        return h->rel_fro;
    case QK_METRIC_COSINE:
        return h->cosine;
    case QK_METRIC_NORM_RATIO:
        return h->norm_ratio;
    case QK_METRIC_ANGLE_MEAN:
        return h->angle_mean_deg;
    case QK_METRIC_ANGLE_MAX:
        return h->angle_max_deg;
    case QK_METRIC_ROUTING:
        return role == QK_Q ? drift->routing_head[head] : NAN;
    default:
        return NAN;
    }
}
