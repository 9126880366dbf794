/* profile.c - the mean logit over distance, from weights alone. */
#include "range/profile.h"

#include "base/mem.h"
#include "linalg/linalg.h"
#include "range/range.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *qk_profile_missing(const struct qk_layer *layer)
{
    if (!qk_kind_softmax(layer->kind))
        return "it is not a softmax attention layer";
    if (layer->problem != NULL)
        return "its queries and keys cannot be used";
    if (layer->no_k != NULL)
        return "its keys are those of an earlier layer";
    if ((layer->positions != QK_POSITIONS_ROPE_HALF && layer->positions != QK_POSITIONS_ROPE_INTER) ||
        layer->rotary_dims < 2 || layer->rotary_dims > layer->head_dim || !(layer->rope_theta > 0))
        return "it has no rotary positions";
    return NULL;
}

/* Reads the rows of one head with the bias as a last column, (head_dim, d + 1), as they enter the logit. */
static enum qk_code read_rows(const struct qk_model *model, const struct qk_layer *layer, enum qk_role role,
    int head, double *rows, double *column, struct qk_error *err)
{
    size_t n = (size_t)layer->head_dim, d = (size_t)layer->d, width = d + 1;
    QK_TRY(qk_view_read(model, layer, role, head, rows, err));
    for (size_t i = n; i-- > 0;) /* from the end: rows move up */
        memmove(rows + i * width, rows + i * d, d * sizeof *rows);
    QK_TRY(qk_view_read_bias(model, layer, role, head, column, err));
    for (size_t i = 0; i < n; i++)
        rows[i * width + d] = column[i];
    if (layer->role[role].norm == NULL)
        return QK_OK;
    QK_TRY(qk_view_read_gain(model, layer, role, head, column, err));
    double length = sqrt(qk_dot(n * width, rows, rows));
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < width; j++)
            rows[i * width + j] *= column[i] * sqrt((double)n) / length;
    return QK_OK;
}

static void fill_points(
    const struct qk_layer *layer, const double *q, const double *k, int n_points, double *logit)
{
    size_t n = (size_t)layer->head_dim, rotary = (size_t)layer->rotary_dims, width = (size_t)layer->d + 1;
    bool half = layer->positions == QK_POSITIONS_ROPE_HALF;
    double still = 0, scale = 1 / sqrt((double)n);
    for (size_t i = rotary - rotary % 2; i < n; i++)
        still += qk_dot(width, q + i * width, k + i * width);
    for (int point = 0; point < n_points; point++)
        logit[point] = still * scale;
    for (size_t j = 0; j < rotary / 2; j++) {
        size_t one = width * (half ? j : 2 * j), two = width * (half ? j + rotary / 2 : 2 * j + 1);
        double a = qk_dot(width, q + one, k + one) + qk_dot(width, q + two, k + two);
        double b = qk_dot(width, q + one, k + two) - qk_dot(width, q + two, k + one);
        double theta = pow(layer->rope_theta, -2.0 * (double)j / (double)rotary);
        for (int point = 0; point < n_points; point++) {
            double angle = theta * (double)qk_range_bin_first(point);
            logit[point] += (a * cos(angle) + b * sin(angle)) * scale;
        }
    }
}

static enum qk_code make_heads(const struct qk_model *model, const struct qk_layer *layer, double *rows,
    struct qk_profile *out, struct qk_error *err)
{
    size_t size = (size_t)layer->head_dim * ((size_t)layer->d + 1);
    double *q = rows, *k = rows + size, *column = rows + 2 * size;
    int group = layer->role[QK_Q].n_heads / layer->role[QK_K].n_heads;
    for (int h = 0; h < out->n_heads; h++) {
        if (h % group == 0)
            QK_TRY(read_rows(model, layer, QK_K, h / group, k, column, err));
        QK_TRY(read_rows(model, layer, QK_Q, h, q, column, err));
        fill_points(layer, q, k, out->n_points, out->logit + h * out->n_points);
    }
    return QK_OK;
}

enum qk_code qk_profile_make(const struct qk_model *model, const struct qk_layer *layer, int n_points,
    struct qk_profile *out, struct qk_error *err)
{
    size_t n = (size_t)layer->head_dim;
    *out = (struct qk_profile){.n_heads = layer->role[QK_Q].n_heads, .n_points = n_points};
    double *rows;
    QK_TRY(qk_alloc(&rows, 2 * n * ((size_t)layer->d + 1) + n, sizeof *rows, err));
    enum qk_code code =
        qk_alloc(&out->logit, (size_t)out->n_heads * (size_t)n_points, sizeof *out->logit, err);
    if (code == QK_OK)
        code = make_heads(model, layer, rows, out, err);
    free(rows);
    if (code != QK_OK)
        qk_profile_free(out);
    return code;
}

double qk_profile_value(const struct qk_profile *profile, int head, int point)
{
    double sum = 0;
    if (head >= profile->n_heads || profile->n_heads == 0)
        return NAN;
    if (head >= 0)
        return profile->logit[head * profile->n_points + point];
    for (int h = 0; h < profile->n_heads; h++)
        sum += profile->logit[h * profile->n_points + point];
    return sum / profile->n_heads;
}

void qk_profile_free(struct qk_profile *profile)
{
    free(profile->logit);
    memset(profile, 0, sizeof *profile);
}
