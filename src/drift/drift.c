/* drift.c - the numbers of one layer, made of those of its key groups. */
#include "drift/group.h"

#include "base/mem.h"
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Pre and post of a pair. */
struct stored_sides {
    const struct qk_pair *pair;
    int index;
    bool effective;
};

struct qk_drift_run {
    struct qk_drift_sides sides;
    struct stored_sides stored; /* the context of sides, unless the caller gave other ones */
    enum qk_drift_stage stage;
    int n_groups;
    struct qk_group_sums *sums; /* n_groups */
    struct qk_layer_drift drift;
};

/* --- the result --- */

static enum qk_code allocate_result(
    const struct qk_layer *shape, struct qk_layer_drift *out, struct qk_error *err)
{
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        int heads = shape->role[r].n_heads;
        QK_TRY(qk_alloc(&out->role[r].head, (size_t)heads, sizeof *out->role[r].head, err));
        out->role[r].n_heads = heads;
        for (int h = 0; h < heads; h++)
            QK_TRY(qk_alloc(&out->role[r].head[h].angle_deg, (size_t)shape->head_dim, sizeof(double), err));
    }
    out->n_routing = shape->role[QK_Q].n_heads;
    QK_TRY(qk_alloc(&out->routing_head, (size_t)out->n_routing, sizeof(double), err));
    out->has_qk = true;
    return QK_OK;
}

static void role_numbers(const struct qk_head_sums *sums, struct qk_role_drift *out)
{
    qk_head_sums_ratios(sums, &out->rel_fro, &out->cosine, &out->norm_ratio);
    out->angle_mean_deg = out->angle_max_deg = NAN;
    if (sums->undefined || sums->angle_heads == 0)
        return;
    out->angle_mean_deg = sums->angle_sum / sums->angle_heads;
    out->angle_max_deg = sums->angle_max;
}

/* Root of the summed squares of R_B - R_A over those of R_A, after bringing the groups to one scale. */
static double routing(const struct qk_group_sums *sums, int n, const struct qk_head_sums role[QK_ROLE_COUNT])
{
    double base = 0, moved = 0;
    int common = role[QK_Q].exponent + role[QK_K].exponent;
    for (int g = 0; g < n; g++) {
        double by = ldexp(1, 2 * (common - sums[g].role[QK_Q].exponent - sums[g].role[QK_K].exponent));
        if (sums[g].routing_base == 0) /* all zeros: it has no scale */
            continue;
        base += sums[g].routing_base * by;
        moved += sums[g].routing_moved * by;
    }
    return base > 0 ? sqrt(moved / base) : NAN;
}

static enum qk_code report_fault(const struct qk_group_sums *sums, int n, struct qk_heads *const side[2],
    struct qk_layer_drift *out, struct qk_error *err)
{
    const struct qk_group_sums *first = NULL;
    size_t all = 0;
    for (int g = n - 1; g >= 0; g--) {
        all += sums[g].not_finite;
        first = sums[g].not_finite > 0 ? &sums[g] : first;
    }
    if (first == NULL)
        return QK_OK;
    const struct qk_heads *heads = side[first->fault_side];
    char name[192], text[320];
    qk_printable(name, sizeof name, heads->named->role[first->fault_role].weight->name);
    snprintf(text, sizeof text,
        "%.16s: %s: head %d holds values that are not finite (%zu NaN or Inf in this layer)", heads->where,
        name, first->fault_head, all);
    return qk_strdup_to(&out->problem, text, err);
}

static enum qk_code put_together(const struct qk_group_sums *sums, int n, struct qk_heads *const side[2],
    struct qk_layer_drift *out, struct qk_error *err)
{
    struct qk_head_sums role[QK_ROLE_COUNT] = {{0}};
    for (int g = 0; g < n; g++)
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            qk_head_sums_add(&role[r], &sums[g].role[r]);
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        role_numbers(&role[r], &out->role[r]);
    out->routing_rel_fro = routing(sums, n, role);
    return report_fault(sums, n, side, out, err);
}

/* --- a layer, shared --- */

static enum qk_code open_stored(const void *context, struct qk_heads *side[2], struct qk_error *err)
{
    const struct stored_sides *stored = context;
    QK_TRY(qk_heads_of_model(stored->pair, QK_PRE, stored->index, stored->effective, &side[0], err));
    enum qk_code code =
        qk_heads_of_model(stored->pair, QK_POST, stored->index, stored->effective, &side[1], err);
    if (code != QK_OK)
        qk_heads_free(side[0]);
    return code;
}

enum qk_code qk_drift_run_of(const struct qk_pair_layer *layer, const struct qk_drift_sides *sides,
    enum qk_drift_stage stage, struct qk_drift_run **out, struct qk_error *err)
{
    struct qk_drift_run *run;
    *out = NULL;
    QK_TRY(qk_alloc(&run, 1, sizeof *run, err));
    run->sides = *sides;
    run->stage = stage;
    run->drift = (struct qk_layer_drift){
        .index = layer->index, .kind = layer->kind, .norms_only = stage == QK_DRIFT_NORMS};
    enum qk_code code = QK_OK;
    if (layer->has_qk) {
        run->n_groups = layer->side[QK_POST]->role[layer->no_k != NULL ? QK_Q : QK_K].n_heads;
        code = allocate_result(layer->side[QK_POST], &run->drift, err);
        if (code == QK_OK)
            code = qk_alloc(&run->sums, (size_t)run->n_groups, sizeof *run->sums, err);
    }
    if (code != QK_OK)
        qk_drift_run_free(run);
    else
        *out = run;
    return code;
}

enum qk_code qk_drift_run_new(const struct qk_pair *pair, int index, bool effective,
    enum qk_drift_stage stage, struct qk_drift_run **out, struct qk_error *err)
{
    const struct qk_drift_sides sides = {.open = open_stored};
    QK_TRY(qk_drift_run_of(&pair->layer[index], &sides, stage, out, err));
    (*out)->stored = (struct stored_sides){pair, index, effective};
    (*out)->sides.context = &(*out)->stored;
    return QK_OK;
}

int qk_drift_run_groups(const struct qk_drift_run *run)
{
    return run->n_groups;
}

enum qk_code qk_drift_run_group(struct qk_drift_run *run, int group, struct qk_drift_work *work,
    struct qk_progress *progress, struct qk_error *err)
{
    struct qk_heads *side[2];
    QK_TRY(run->sides.open(run->sides.context, side, err));
    enum qk_code code =
        qk_drift_group(side, group, run->stage, work, progress, &run->drift, &run->sums[group], err);
    qk_heads_free(side[0]);
    qk_heads_free(side[1]);
    return code;
}

enum qk_code qk_drift_run_take(struct qk_drift_run *run, struct qk_layer_drift *out, struct qk_error *err)
{
    struct qk_heads *side[2];
    enum qk_code code = QK_OK;
    if (run->n_groups > 0) {
        QK_TRY(run->sides.open(run->sides.context, side, err)); /* for their names */
        code = put_together(run->sums, run->n_groups, side, &run->drift, err);
        qk_heads_free(side[0]);
        qk_heads_free(side[1]);
    }
    if (code != QK_OK)
        return code;
    *out = run->drift;
    run->drift = (struct qk_layer_drift){0};
    return QK_OK;
}

void qk_drift_run_free(struct qk_drift_run *run)
{
    if (run == NULL)
        return;
    qk_layer_drift_free(&run->drift);
    free(run->sums);
    free(run);
}

/* --- a layer in one thread --- */

/* Frees the run. */
static enum qk_code run_all(
    struct qk_drift_run *run, struct qk_progress *progress, struct qk_layer_drift *out, struct qk_error *err)
{
    struct qk_drift_work *work;
    enum qk_code code = qk_drift_work_new(&work, err);
    for (int g = 0; code == QK_OK && g < run->n_groups; g++)
        code = qk_drift_run_group(run, g, work, progress, err);
    if (code == QK_OK)
        code = qk_drift_run_take(run, out, err);
    qk_drift_work_free(work);
    qk_drift_run_free(run);
    return code;
}

enum qk_code qk_drift_pair_layer(const struct qk_pair *pair, int index, bool effective,
    struct qk_progress *progress, struct qk_layer_drift *out, struct qk_error *err)
{
    struct qk_drift_run *run;
    *out = (struct qk_layer_drift){0};
    QK_TRY(qk_drift_run_new(pair, index, effective, QK_DRIFT_ALL, &run, err));
    return run_all(run, progress, out, err);
}

enum qk_code qk_drift_layer(const struct qk_pair_layer *layer, const struct qk_drift_sides *sides,
    struct qk_progress *progress, struct qk_layer_drift *out, struct qk_error *err)
{
    struct qk_drift_run *run;
    *out = (struct qk_layer_drift){0};
    QK_TRY(qk_drift_run_of(layer, sides, QK_DRIFT_ALL, &run, err));
    return run_all(run, progress, out, err);
}

void qk_layer_drift_free(struct qk_layer_drift *drift)
{
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        for (int h = 0; h < drift->role[r].n_heads; h++)
            free(drift->role[r].head[h].angle_deg);
        free(drift->role[r].head);
    }
    free(drift->routing_head);
    free(drift->problem);
    memset(drift, 0, sizeof *drift);
}
