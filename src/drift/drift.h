/* drift.h - the numbers of one layer (drift.c) and their names (metric.c): how far W_Q, W_K and the routing
 * W_Q^T W_K moved from A to B.
 *
 * All sums in float64. An undefined value (norm of A is 0, a tensor holds NaN) is NaN here, null in JSON and "-" in
 * tables. */
#ifndef QK_DRIFT_DRIFT_H
#define QK_DRIFT_DRIFT_H

#include "base/progress.h"
#include "drift/heads.h"

struct qk_head_drift {
    double rel_fro;                       /* |B - A|_F / |A|_F */
    double cosine;                        /* <A, B> / (|A| |B|) */
    double norm_ratio;                    /* |B|_F / |A|_F */
    double angle_mean_deg, angle_max_deg; /* principal angles of the row spaces (Bjorck & Golub 1973) */
    int rank[2];                          /* numerical rank of A and of B */
    int n_angles;                         /* min of the ranks */
    double *angle_deg;                    /* n_angles, ascending; owned by the layer's block */
};

struct qk_role_drift {
    double rel_fro, cosine, norm_ratio, angle_mean_deg, angle_max_deg; /* over all heads' rows */
    int n_heads;
    struct qk_head_drift *head;
};

struct qk_layer_drift {
    int index;
    enum qk_kind kind;
    bool has_qk; /* false: nothing below is set; a layer of q alone has no k heads and NaN for routing */
    struct qk_role_drift role[QK_ROLE_COUNT];
    double routing_rel_fro;
    int n_routing;        /* query heads */
    double *routing_head; /* |R_B - R_A|_F / |R_A|_F per query head */
    bool norms_only;      /* angles and routing are not computed (NaN, no rank) */
    char *problem;        /* NULL, or which tensor holds values that are not finite; owned */
};

/* What to compute: the numbers that reading alone gives (rel_fro, cosine, norm_ratio), bound by memory; or all. */
enum qk_drift_stage { QK_DRIFT_NORMS, QK_DRIFT_ALL };

/* Scratch of one worker, which grows with its heads. For (m, d) heads it takes about 20 m d bytes, and about 100 m d
 * where many need float64. */
struct qk_drift_work;
enum qk_code qk_drift_work_new(struct qk_drift_work **out, struct qk_error *err);
void qk_drift_work_free(struct qk_drift_work *work); /* NULL allowed */

/* The source of a layer's heads A and B. A worker opens it anew, in its thread, for every group that it takes. */
struct qk_drift_sides {
    enum qk_code (*open)(
        const void *context, struct qk_heads *side[2], struct qk_error *err); /* both or none */
    const void *context; /* borrowed: it outlives the run */
};

/* One layer that any number of workers compare key group by key group. Each of the groups 0 .. qk_drift_run_groups -
 * 1 is computed once, by any thread, in any order; then qk_drift_run_take is called once. The numbers do not depend
 * on the threads. qk_drift_run_new compares pre with post; with `effective` the q/k norm gains are multiplied in. */
struct qk_drift_run;
enum qk_code qk_drift_run_new(const struct qk_pair *pair, int index, bool effective,
    enum qk_drift_stage stage, struct qk_drift_run **out, struct qk_error *err);
enum qk_code qk_drift_run_of(const struct qk_pair_layer *layer, const struct qk_drift_sides *sides,
    enum qk_drift_stage stage, struct qk_drift_run **out, struct qk_error *err);
int qk_drift_run_groups(
    const struct qk_drift_run *run); /* 0: the layer has no q and k; for q alone, its heads */
/* Only reading can fail (QK_IO, QK_CANCELLED). NaN and Inf are no failure: they give drift.problem, and NaN where
 * they reach. progress counts head views read, 2 (n_q + n_k) a layer. */
enum qk_code qk_drift_run_group(struct qk_drift_run *run, int group, struct qk_drift_work *work,
    struct qk_progress *progress, struct qk_error *err);
/* Moves the numbers to *out, freed with qk_layer_drift_free. */
enum qk_code qk_drift_run_take(struct qk_drift_run *run, struct qk_layer_drift *out, struct qk_error *err);
void qk_drift_run_free(struct qk_drift_run *run); /* NULL allowed */

/* All groups of one layer in this thread. */
enum qk_code qk_drift_pair_layer(const struct qk_pair *pair, int index, bool effective,
    struct qk_progress *progress, struct qk_layer_drift *out, struct qk_error *err);
enum qk_code qk_drift_layer(const struct qk_pair_layer *layer, const struct qk_drift_sides *sides,
    struct qk_progress *progress, struct qk_layer_drift *out, struct qk_error *err);
void qk_layer_drift_free(struct qk_layer_drift *drift);

/* The metrics that tables, sorting, --set tests and the screen's heat map know, in one table.
 * Keys are those of `diff --json`. `angle` is short for angle_mean_deg. */
enum qk_metric {
    QK_METRIC_REL_FRO,
    QK_METRIC_COSINE,
    QK_METRIC_NORM_RATIO,
    QK_METRIC_ANGLE_MEAN,
    QK_METRIC_ANGLE_MAX,
    QK_METRIC_ROUTING,
    QK_METRIC_COUNT
};
struct qk_metric_info {
    const char *key;   /* "rel_fro", ... "routing" */
    const char *label; /* column heading, at most 7 cells */
    const char *help;  /* one sentence */
    bool percent;      /* shown as per cent */
    bool degrees;      /* shown in degrees */
    bool falls;        /* smaller means more drift (cosine) */
};
const struct qk_metric_info *qk_metric_info(enum qk_metric metric);
bool qk_metric_parse(const char *key, enum qk_metric *metric);
/* Takes "q." or "k." from the front of a key: *role is that role, else -1. Returns the rest. */
const char *qk_metric_role(const char *key, int *role);
/* The value for a role, or for the layer as a whole where the metric has no role (routing). role < 0 means the
 * stronger drift of q and k. NaN when unknown. */
double qk_metric_layer(const struct qk_layer_drift *drift, enum qk_metric metric, int role);
/* Value of one head; routing is defined for query heads alone. NaN when unknown. */
double qk_metric_head(const struct qk_layer_drift *drift, enum qk_metric metric, enum qk_role role, int head);

#endif
