/* rows.c - the rows of the heads of q and k in their tensors, and the slices that a restore copies. */
#include "model/build.h"

#include "base/mem.h"
#include "model/scaling.h"

#include <string.h>

/* --- orders of rows --- */

/* Rows between the starts of neighbouring heads, and where the first one starts, per role. The heads of a
 * group (per_group of them) follow each other at `step`; groups follow at `group_step`. */
struct row_order {
    uint64_t base, step, group_step;
    int per_group;
};

/* Rows that the tensor must have. Never "at least": with too few heads in the config, the views would cover rows of
 * V. */
static uint64_t rows_expected(const char *rows, enum qk_role role, const struct qk_geometry *g)
{
    uint64_t hd = (uint64_t)g->head_dim, nh = (uint64_t)g->heads, nk = (uint64_t)g->key_heads;
    uint64_t values = (uint64_t)g->value_heads * (uint64_t)g->value_dim;
    if (strcmp(rows, "gated") == 0)
        return role == QK_Q ? 2 * nh * hd : nk * hd;
    if (strcmp(rows, "block") == 0 || strcmp(rows, "parts") == 0)
        return (nh + nk) * hd + (values > 0 ? values : nk * hd) + (uint64_t)g->more;
    if (strcmp(rows, "grouped") == 0)
        return (nh + 2 * nk) * hd;
    if (strcmp(rows, "head3") == 0 || strcmp(rows, "conv1d") == 0 || strcmp(rows, "quarters") == 0)
        return 3 * nh * hd;
    if (strcmp(rows, "key_group") == 0)
        return 2 * nk * hd + 2 * values;
    if (strcmp(rows, "latent") == 0 && role == QK_K)
        return nk * (hd - (uint64_t)g->rope_dim) + values;
    return (role == QK_Q ? nh : nk) * hd;
}

/* layouts: reference formulas of each code; hd = head_dim, r = heads / key_heads. */
static struct row_order order_of(const char *rows, enum qk_role role, const struct qk_geometry *g)
{
    uint64_t hd = (uint64_t)g->head_dim, nh = (uint64_t)g->heads;
    int all = 1 << 30;
    if (strcmp(rows, "gated") == 0 && role == QK_Q)
        return (struct row_order){0, 2 * hd, 0, all};
    if ((strcmp(rows, "block") == 0 || strcmp(rows, "conv1d") == 0) && role == QK_K)
        return (struct row_order){nh * hd, hd, 0, all};
    if (strcmp(rows, "head3") == 0)
        return (struct row_order){role == QK_K ? hd : 0, 3 * hd, 0, all};
    if (strcmp(rows, "grouped") == 0) {
        uint64_t r = nh / (uint64_t)g->key_heads;
        if (role == QK_Q)
            return (struct row_order){0, hd, (r + 2) * hd, (int)r};
        return (struct row_order){r * hd, (r + 2) * hd, 0, all};
    }
    if (strcmp(rows, "quarters") == 0) /* each of four parts holds q, v, k of a quarter of the heads */
        return (struct row_order){role == QK_K ? nh / 2 * hd : 0, hd, 3 * (nh / 4) * hd, (int)(nh / 4)};
    if (strcmp(rows, "parts") == 0) { /* each part holds q, k and v of its heads */
        uint64_t n = (uint64_t)g->parts, queries = nh / n * hd, each = rows_expected(rows, role, g) / n;
        return (struct row_order){
            role == QK_K ? queries : 0, hd, each, (int)((role == QK_K ? (uint64_t)g->key_heads : nh) / n)};
    }
    if (strcmp(rows, "key_group") == 0) {
        uint64_t per_key = (uint64_t)(g->value_heads / g->key_heads) * (uint64_t)g->value_dim;
        return (struct row_order){role == QK_K ? hd : 0, 2 * hd + 2 * per_key, 0, all};
    }
    if (strcmp(rows, "latent") == 0 && role == QK_K)
        return (struct row_order){0, hd - (uint64_t)g->rope_dim + (uint64_t)g->value_dim, 0, all};
    return (struct row_order){0, hd, 0, all};
}

static enum qk_code shape_error(const struct qk_builder *b, const struct qk_tensor *tensor, uint64_t rows,
    const struct qk_geometry *g, enum qk_role role, struct qk_error *err)
{
    char shape[QK_SHAPE_TEXT];
    return qk_fail(err, QK_INPUT,
        "%s: %s: its shape does not fit the config (found %s, expected %llu rows for %ld %s heads of %ld)",
        qk_checkpoint_file(b->model->checkpoint, tensor), tensor->name, qk_shape_text(shape, tensor),
        (unsigned long long)rows, role == QK_Q ? g->heads : g->key_heads, role == QK_Q ? "query" : "key",
        g->head_dim);
}

static enum qk_code place_heads(struct qk_view *view, enum qk_role role, const char *rows,
    const struct qk_geometry *g, struct qk_error *err)
{
    struct row_order order = order_of(rows, role, g);
    QK_TRY(qk_alloc(&view->first_row, (size_t)view->n_heads, sizeof *view->first_row, err));
    for (int h = 0; h < view->n_heads; h++)
        view->first_row[h] = order.base + (uint64_t)(h / order.per_group) * order.group_step +
                             (uint64_t)(h % order.per_group) * order.step;
    return QK_OK;
}

/* The gain must be one head's or all heads'. In a guessed family, a gain that is neither belongs to something
 * else. */
static enum qk_code check_norm(struct qk_builder *b, const struct qk_layer *layer, struct qk_view *view,
    enum qk_role role, const struct qk_geometry *g, struct qk_error *err)
{
    const struct qk_tensor *norm = view->norm;
    uint64_t hd = (uint64_t)g->head_dim, n = (uint64_t)view->n_heads;
    bool fits = (norm->n_dims == 1 && (norm->shape[0] == hd || norm->shape[0] == hd * n)) ||
                (norm->n_dims == 2 && norm->shape[0] == n && norm->shape[1] == hd);
    if (fits)
        return QK_OK;
    if (!b->model->guessed)
        return shape_error(b, norm, hd, g, role, err);
    view->norm = NULL;
    return qk_lines_add(&b->model->remarks, err, "layer %d: %s does not fit its heads and is left out",
        layer->index, norm->name);
}

/* Adds a slice; runs that follow each other without a gap become one. */
static void add_slice(struct qk_view *view, const struct qk_tensor *tensor, uint64_t first, uint64_t length,
    uint64_t step, uint64_t count, bool latent)
{
    bool dense = step == length;
    if (tensor != NULL && length > 0)
        view->slice[view->n_slices++] = (struct qk_slice){tensor, first, dense ? length * count : length,
            dense ? length * count : step, dense ? 1 : count, latent};
}

static enum qk_code down_error(const struct qk_builder *b, const struct qk_tensor *tensor, uint64_t rows,
    const char *what, struct qk_error *err)
{
    char shape[QK_SHAPE_TEXT];
    return qk_fail(err, QK_INPUT, "%s: %s: its shape does not fit %s (found %s, expected %llu rows)",
        qk_checkpoint_file(b->model->checkpoint, tensor), tensor->name, what, qk_shape_text(shape, tensor),
        (unsigned long long)rows);
}

/* Fills in what makes the latent, and the slices that a restore copies. For k the last rows of `down` are its own,
 * and the others make values, too. For q the latent is q's alone. */
static enum qk_code build_down(struct qk_builder *b, struct qk_view *view, enum qk_role role,
    const struct row_order *order, const struct qk_geometry *g, struct qk_error *err)
{
    const struct qk_tensor *down = view->down, *norm = view->down_norm;
    uint64_t rank = view->weight->shape[1], tail = role == QK_K ? (uint64_t)g->rope_dim : 0,
             rows = (uint64_t)g->head_dim - tail;
    bool shared = role == QK_K;
    view->tail = (int)tail;
    if (rank == 0 || rank > 1u << 24 || down->n_dims != 2 || down->shape[0] != rank + tail)
        return down_error(b, down, rank + tail, view->weight->name, err);
    if (norm->n_dims != 1 || norm->shape[0] != rank)
        return down_error(b, norm, rank, down->name, err);
    if (view->down_bias != NULL && (view->down_bias->n_dims != 1 || view->down_bias->shape[0] != rank + tail))
        return down_error(b, view->down_bias, rank + tail, down->name, err);
    add_slice(view, view->weight, 0, rows, order->step, (uint64_t)view->n_heads, false);
    add_slice(view, norm, 0, rank, rank, 1, shared);
    const struct qk_tensor *const whole[] = {down, view->down_bias};
    for (int i = 0; i < 2; i++) {
        add_slice(view, whole[i], 0, rank, rank, 1, shared);
        add_slice(view, whole[i], rank, tail, tail, 1, false);
    }
    return QK_OK;
}

/* Adds the scales of a slice's blocks as a slice of their own. False when some of its blocks hold other rows, too:
 * the slice cannot be restored without those. */
static bool add_scales(struct qk_view *view, const struct qk_slice *of, const struct qk_scaling *scale)
{
    uint64_t rows = of->tensor->shape[0], last = of->first + of->length - 1,
             first = qk_scaling_row(scale, of->first),
             step = of->count > 1 ? qk_scaling_row(scale, of->first + of->step) - first : 1;
    for (uint64_t i = 0; i < of->count; i++)
        if (!qk_scaling_covers(scale, of->first + i * of->step, of->length, rows) ||
            qk_scaling_row(scale, of->first + i * of->step) != first + i * step)
            return false;
    add_slice(
        view, scale->tensor, first, qk_scaling_row(scale, last) + 1 - first, step, of->count, of->latent);
    return true;
}

/* Fits the scales of both tensors. */
static enum qk_code fit_scales(
    struct qk_builder *b, struct qk_layer *layer, struct qk_view *view, struct qk_error *err)
{
    const struct qk_tensor *const of[] = {view->weight, view->down};
    struct qk_scaling *const scale[] = {&view->scale, &view->down_scale};
    for (int i = 0; i < 2; i++)
        if (scale[i]->tensor != NULL && !qk_scaling_fit(b->model, of[i], scale[i]))
            return qk_layer_problem(layer, err,
                "%s does not hold one scale, one for each row or one for each block of %llu x %llu of %s: give "
                "checkpoints with weights of 16 bits",
                scale[i]->tensor->name, (unsigned long long)qk_scaling_block(&b->model->config, 0),
                (unsigned long long)qk_scaling_block(&b->model->config, 1), of[i]->name);
    return QK_OK;
}

/* Adds the slices of values with scales: a restore copies both. */
static enum qk_code build_scales(struct qk_builder *b, struct qk_layer *layer, struct qk_view *view,
    const struct row_order *order, const struct qk_geometry *g, struct qk_error *err)
{
    const struct qk_tensor *const of[] = {view->weight, view->down};
    const struct qk_scaling *const scale[] = {&view->scale, &view->down_scale};
    if (view->scale.tensor == NULL && view->down_scale.tensor == NULL)
        return QK_OK;
    QK_TRY(fit_scales(b, layer, view, err));
    if (layer->problem != NULL)
        return QK_OK;
    if (view->down == NULL && view->transposed)
        return qk_layer_problem(layer, err,
            "its weights are scaled by %s, which is not supported in this order of rows",
            view->scale.tensor->name);
    uint64_t heads = (uint64_t)view->n_heads, hd = (uint64_t)g->head_dim, group = (uint64_t)order->per_group;
    if (view->down == NULL && group >= heads)
        add_slice(view, view->weight, order->base, hd, order->step, heads, false);
    else if (view->down == NULL) /* the heads of a group lie without a gap */
        add_slice(view, view->weight, order->base, group * hd, order->group_step, heads / group, false);
    for (int i = 0, slices = view->n_slices; i < 2 * slices; i++) {
        const struct qk_slice slice = view->slice[i / 2];
        if (scale[i % 2]->tensor == NULL || slice.tensor != of[i % 2])
            continue;
        if (!add_scales(view, &slice, scale[i % 2]))
            return qk_layer_fix(layer, err,
                "blocks of %s hold rows of its heads and others: give checkpoints with weights of 16 bits",
                scale[i % 2]->tensor->name);
    }
    return QK_OK;
}

enum qk_code qk_rows_build(struct qk_builder *b, struct qk_layer *layer, enum qk_role role, const char *rows,
    const struct qk_geometry *g, struct qk_error *err)
{
    struct qk_view *view = &layer->role[role];
    const struct qk_tensor *weight = view->weight;
    view->transposed = strcmp(rows, "conv1d") == 0;
    view->n_heads = (int)(role == QK_Q ? g->heads : g->key_heads);
    uint64_t needed = rows_expected(rows, role, g);
    if (weight->n_dims != 2)
        return shape_error(b, weight, needed, g, role, err);
    uint64_t have = weight->shape[view->transposed ? 1 : 0], d = weight->shape[view->transposed ? 0 : 1];
    if (have != needed || d == 0 || d > 1u << 24)
        return shape_error(b, weight, needed, g, role, err);
    if (view->bias != NULL && (view->bias->n_dims != 1 || view->bias->shape[0] != have))
        return shape_error(b, view->bias, have, g, role, err);
    struct row_order order = order_of(rows, role, g);
    if (view->down != NULL) {
        QK_TRY(build_down(b, view, role, &order, g, err));
        d = view->down->shape[1];
    }
    if (d == 0 || d > 1u << 24)
        return shape_error(b, view->down, needed, g, role, err);
    if (layer->d != 0 && layer->d != d)
        return qk_fail(err, QK_INPUT, "%s: %s: q and k have different widths (found %llu, expected %llu)",
            qk_checkpoint_file(b->model->checkpoint, weight), weight->name, (unsigned long long)d,
            (unsigned long long)layer->d);
    layer->d = d;
    QK_TRY(build_scales(b, layer, view, &order, g, err));
    if (layer->problem != NULL)
        return QK_OK;
    if (view->norm != NULL)
        QK_TRY(check_norm(b, layer, view, role, g, err));
    const struct qk_tensor *const numbers[] = {weight, view->down, view->down_norm};
    for (int i = 0; i < 3; i++) /* their bytes may not match their shape: no memory for heads */
        if (numbers[i] != NULL && !qk_dtype_readable(numbers[i]->dtype))
            return qk_layer_problem(layer, err, "%s is stored as %s, which is not read as numbers",
                numbers[i]->name, numbers[i]->dtype_text);
    return place_heads(view, role, rows, g, err);
}
