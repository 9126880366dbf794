/* profile.c - the mean logit over distance, from weights alone. */
#include "range/profile.h"

#include "base/mem.h"
#include "drift/product.h"
#include "linalg/linalg.h"
#include "model/rope.h"
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
        layer->rotary_dims < 2 || layer->rotary_first + layer->rotary_dims > layer->head_dim ||
        !(layer->rope_theta > 0))
        return "it has no rotary positions";
    return NULL;
}

/* What a layer's heads have in common, and the rows of one head. A bias is one more column of all rows. */
struct work {
    const struct qk_model *model;
    const struct qk_layer *layer;
    size_t n, width;      /* rows of a head, d + 1 */
    size_t rotary, first; /* rows that rotate, and the first of them */
    double factor, score; /* of cosines and sines, and of scores (model/rope.h) */
    double *frequency;    /* (rotary / 2) */
    double *rows[QK_ROLE_COUNT], *gain[QK_ROLE_COUNT]; /* (n, width), (n) */
    double latent[QK_ROLE_COUNT]; /* what the norm of a latent multiplies its entries by; 1 without one */
    double *a, *b;                /* (rotary / 2): of cosines and of sines */
};

/* --- rows of a head --- */

/* Sets what the norm of a role's latent multiplies its entries by, on average: their number over their square sum. */
static enum qk_code measure_latent(struct work *w, enum qk_role role, struct qk_error *err)
{
    const struct qk_view *view = &w->layer->role[role];
    w->latent[role] = 1;
    if (view->down == NULL)
        return QK_OK;
    size_t rank = (size_t)view->weight->shape[1], d = (size_t)w->layer->d;
    double *below;
    QK_TRY(qk_alloc(&below, rank * d, sizeof *below, err));
    enum qk_code code = qk_view_read_down(w->model, w->layer, role, 0, rank, below, err);
    if (code == QK_OK)
        w->latent[role] = sqrt((double)rank / qk_dot(rank * d, below, below));
    free(below);
    return code;
}

/* Reads the rows of a head, (n, d). */
static enum qk_code read_weights(const struct work *w, enum qk_role role, int head, struct qk_error *err)
{
    const struct qk_view *view = &w->layer->role[role];
    double *rows = w->rows[role];
    if (view->down == NULL)
        return qk_view_read(w->model, w->layer, role, head, rows, err);
    const struct qk_product_sources from = qk_product_of(w->model, w->layer);
    QK_TRY(qk_product_read(&from, role, head, rows, err));
    for (size_t i = 0; i < (w->n - (size_t)view->tail) * (size_t)w->layer->d; i++)
        rows[i] *= w->latent[role];
    return QK_OK;
}

/* Reads the rows of a head with the bias as a last column, and the gains. With a norm, the rows are divided by their
 * expected length. */
static enum qk_code read_rows(const struct work *w, enum qk_role role, int head, struct qk_error *err)
{
    const struct qk_view *view = &w->layer->role[role];
    double *rows = w->rows[role], *column = w->gain[role];
    size_t d = w->width - 1;
    QK_TRY(read_weights(w, role, head, err));
    for (size_t i = w->n; i-- > 0;) /* from the end: rows move up */
        memmove(rows + i * w->width, rows + i * d, d * sizeof *rows);
    memset(column, 0, w->n * sizeof *column);
    if (view->down == NULL)
        QK_TRY(qk_view_read_bias(w->model, w->layer, role, head, column, err));
    for (size_t i = 0; i < w->n; i++)
        rows[i * w->width + d] = column[i];
    QK_TRY(qk_view_read_gain(w->model, w->layer, role, head, column, err));
    if (view->norm == NULL)
        return QK_OK;
    double length = sqrt(qk_dot(w->n * w->width, rows, rows));
    for (size_t i = 0; i < w->n * w->width; i++)
        rows[i] *= sqrt((double)w->n) / length;
    return QK_OK;
}

/* --- logits --- */

/* The product of row i of q and row j of k, with their gains. A norm behind the rotation scales what it finds there:
 * over all positions, both rows of a pair then have the mean of their gains. */
static double product_of(const struct work *w, size_t i, size_t j, double mean)
{
    double gains = w->layer->norm_after_rope ? mean : w->gain[QK_Q][i] * w->gain[QK_K][j];
    return gains * qk_dot(w->width, w->rows[QK_Q] + i * w->width, w->rows[QK_K] + j * w->width);
}

/* Fills a and b of the head whose rows are read. Returns the sum over the rows that do not turn. */
static double sum_rows(const struct work *w)
{
    const double *gq = w->gain[QK_Q], *gk = w->gain[QK_K];
    bool half = w->layer->positions == QK_POSITIONS_ROPE_HALF;
    double still = 0;
    for (size_t i = 0; i < w->n; i++)
        if (i < w->first || i >= w->first + w->rotary)
            still += product_of(w, i, i, gq[i] * gk[i]);
    for (size_t j = 0; j < w->rotary / 2; j++) {
        size_t one = w->first + (half ? j : 2 * j), two = w->first + (half ? j + w->rotary / 2 : 2 * j + 1);
        double mean = (gq[one] * gk[one] + gq[two] * gk[two]) / 2;
        w->a[j] = product_of(w, one, one, mean) + product_of(w, two, two, mean);
        w->b[j] = product_of(w, one, two, mean) - product_of(w, two, one, mean);
    }
    return still;
}

static void fill_points(const struct work *w, int n_points, double *logit)
{
    double still = sum_rows(w), scale = w->score / sqrt((double)w->n), turned = scale * w->factor * w->factor;
    for (int point = 0; point < n_points; point++) {
        double tau = (double)qk_range_bin_first(point), sum = 0;
        for (size_t j = 0; j < w->rotary / 2; j++)
            sum += w->a[j] * cos(w->frequency[j] * tau) + w->b[j] * sin(w->frequency[j] * tau);
        logit[point] = still * scale + sum * turned;
    }
}

/* --- a layer --- */

static enum qk_code make_heads(struct work *w, struct qk_profile *out, struct qk_error *err)
{
    int group = w->layer->role[QK_Q].n_heads / w->layer->role[QK_K].n_heads;
    size_t farthest = qk_range_bin_first(out->n_points - 1);
    QK_TRY(
        qk_rope_scaled(&w->model->config, w->layer, farthest + 1, w->frequency, &w->factor, &w->score, err));
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        QK_TRY(measure_latent(w, (enum qk_role)r, err));
    for (int h = 0; h < out->n_heads; h++) {
        if (h % group == 0)
            QK_TRY(read_rows(w, QK_K, h / group, err));
        QK_TRY(read_rows(w, QK_Q, h, err));
        fill_points(w, out->n_points, out->logit + h * out->n_points);
    }
    return QK_OK;
}

enum qk_code qk_profile_make(const struct qk_model *model, const struct qk_layer *layer, int n_points,
    struct qk_profile *out, struct qk_error *err)
{
    struct work w = {.model = model,
        .layer = layer,
        .n = (size_t)layer->head_dim,
        .width = (size_t)layer->d + 1,
        .rotary = (size_t)layer->rotary_dims,
        .first = (size_t)layer->rotary_first};
    double *numbers;
    *out = (struct qk_profile){.n_heads = layer->role[QK_Q].n_heads, .n_points = n_points};
    QK_TRY(qk_alloc(&numbers, 2 * w.n * (w.width + 1) + 3 * (w.rotary / 2), sizeof *numbers, err));
    w.rows[QK_Q] = numbers;
    w.rows[QK_K] = w.rows[QK_Q] + w.n * w.width;
    w.gain[QK_Q] = w.rows[QK_K] + w.n * w.width;
    w.gain[QK_K] = w.gain[QK_Q] + w.n;
    w.frequency = w.gain[QK_K] + w.n;
    w.a = w.frequency + w.rotary / 2;
    w.b = w.a + w.rotary / 2;
    enum qk_code code =
        qk_alloc(&out->logit, (size_t)out->n_heads * (size_t)n_points, sizeof *out->logit, err);
    if (code == QK_OK)
        code = make_heads(&w, out, err);
    free(numbers);
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
