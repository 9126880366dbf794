/* rotation.c - the rotations that leave a layer's attention unchanged, and the best one of them. */
#include "blend/rotation.h"

#include "base/blas.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void qk_rotation_pair(const struct qk_layer *layer, int p, int *i, int *j)
{
    bool half = layer->positions == QK_POSITIONS_ROPE_HALF;
    *i = half ? p : 2 * p;
    *j = half ? p + layer->rotary_dims / 2 : 2 * p + 1;
}

/* --- which form --- */

static bool all_equal(const double *gain, int n)
{
    for (int i = 1; i < n; i++)
        if (gain[i] != gain[0])
            return false;
    return true;
}

/* Gains are applied after R and before positions. R commutes with them only where they scale the rows that it mixes
 * alike. */
static bool gains_allow(const struct qk_layer *layer, enum qk_rotation rotation, const double *gain)
{
    if (rotation == QK_ROTATION_FULL)
        return all_equal(gain, layer->head_dim);
    for (int p = 0; p < layer->rotary_dims / 2; p++) {
        int i, j;
        qk_rotation_pair(layer, p, &i, &j);
        if (gain[i] != gain[j])
            return false;
    }
    return all_equal(gain + layer->rotary_dims, layer->head_dim - layer->rotary_dims);
}

static enum qk_code check_gains(const struct qk_model *model, const struct qk_layer *layer,
    enum qk_rotation rotation, double *gain, bool *allowed, struct qk_error *err)
{
    *allowed = true;
    for (int r = 0; r < QK_ROLE_COUNT && *allowed; r++) {
        if (layer->role[r].norm == NULL)
            continue;
        for (int h = 0; h < layer->role[r].n_heads && *allowed; h++) {
            QK_TRY(qk_view_read_gain(model, layer, (enum qk_role)r, h, gain, err));
            *allowed = gains_allow(layer, rotation, gain);
        }
    }
    return QK_OK;
}

enum qk_code qk_rotation_find(
    const struct qk_pair *pair, int layer, enum qk_rotation *rotation, const char **why, struct qk_error *err)
{
    const struct qk_layer *post = pair->layer[layer].side[QK_POST];
    *rotation = QK_ROTATION_NONE;
    if (post->role[QK_K].down != NULL) {
        *why = "all heads share a part of their keys";
        return QK_OK;
    }
    switch (post->positions) {
    case QK_POSITIONS_FIXED:
        *why = "an elementwise map follows q and k";
        return QK_OK;
    case QK_POSITIONS_NONE:
        *rotation = QK_ROTATION_FULL;
        *why = "no positions in q and k";
        break;
    default:
        *rotation = QK_ROTATION_PLANES;
        *why = post->rotary_dims < post->head_dim ? "RoPE on part of each head" : "RoPE";
        break;
    }
    double *gain;
    bool allowed;
    QK_TRY(qk_alloc(&gain, (size_t)post->head_dim, sizeof *gain, err));
    enum qk_code code = check_gains(pair->model[QK_POST], post, *rotation, gain, &allowed, err);
    free(gain);
    if (code == QK_OK && !allowed) {
        *rotation = QK_ROTATION_NONE;
        *why = "q/k norm gains differ within what would turn";
    }
    return code;
}

/* --- the best rotation --- */

/* Sets the (n, n) block of r at row and column `first` to U V^T of the same block of product. */
static enum qk_code solve_block(
    size_t m, size_t first, size_t n, const double *product, double *r, struct qk_error *err)
{
    if (n == 0)
        return QK_OK;
    double *work;
    size_t area = n * n;
    QK_TRY(qk_alloc(&work, 3 * area + 2 * n, sizeof *work, err));
    double *a = work, *u = a + area, *vt = u + area, *values = vt + area, *superb = values + n;
    for (size_t i = 0; i < n; i++)
        memcpy(a + i * n, product + (first + i) * m + first, n * sizeof *a);
    lapack_int ln = (lapack_int)n;
    lapack_int failure =
        qk_lapack.dgesvd(LAPACK_ROW_MAJOR, 'A', 'A', ln, ln, a, ln, values, u, ln, vt, ln, superb);
    if (failure == 0) {
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++) {
                double sum = 0;
                for (size_t k = 0; k < n; k++)
                    sum += u[i * n + k] * vt[k * n + j];
                r[(first + i) * m + first + j] = sum;
            }
    }
    free(work);
    if (failure != 0)
        return qk_fail(
            err, QK_INPUT, "the singular value decomposition of a %zu x %zu block does not converge", n, n);
    return QK_OK;
}

enum qk_code qk_rotation_solve(enum qk_rotation rotation, const struct qk_layer *layer, const double *product,
    double *r, struct qk_error *err)
{
    size_t m = (size_t)layer->head_dim;
    memset(r, 0, m * m * sizeof *r);
    if (rotation == QK_ROTATION_NONE) {
        for (size_t i = 0; i < m; i++)
            r[i * m + i] = 1;
        return QK_OK;
    }
    if (rotation == QK_ROTATION_FULL)
        return solve_block(m, 0, m, product, r, err);
    for (int p = 0; p < layer->rotary_dims / 2; p++) {
        int first, second;
        qk_rotation_pair(layer, p, &first, &second);
        size_t i = (size_t)first, j = (size_t)second;
        double angle =
            atan2(product[j * m + i] - product[i * m + j], product[i * m + i] + product[j * m + j]);
        r[i * m + i] = r[j * m + j] = cos(angle);
        r[i * m + j] = -sin(angle);
        r[j * m + i] = sin(angle);
    }
    size_t rotary = (size_t)layer->rotary_dims;
    return solve_block(m, rotary, m - rotary, product, r, err);
}
