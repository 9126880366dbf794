/* heads.c - head views of a stored checkpoint, with or without the gains of the q/k norms. */
#include "drift/heads.h"

#include "base/mem.h"
#include "drift/product.h"

#include <stdlib.h>

struct stored_heads {
    struct qk_heads base;
    const struct qk_model *model;
    const struct qk_layer *layer;
    double *gain; /* head_dim; NULL unless the gains are multiplied in */
};

static enum qk_code read_stored(
    struct qk_heads *heads, enum qk_role role, int head, double *out, struct qk_error *err)
{
    struct stored_heads *stored = (struct stored_heads *)heads;
    const struct qk_product_sources sources = qk_product_of(stored->model, stored->layer);
    if (stored->layer->role[role].down != NULL)
        QK_TRY(qk_product_read(&sources, role, head, out, err));
    else
        QK_TRY(qk_view_read(stored->model, stored->layer, role, head, out, err));
    if (stored->gain == NULL)
        return QK_OK;
    QK_TRY(qk_view_read_gain(stored->model, stored->layer, role, head, stored->gain, err));
    for (int i = 0; i < stored->layer->head_dim; i++)
        for (uint64_t j = 0; j < stored->layer->d; j++)
            out[(uint64_t)i * stored->layer->d + j] *= stored->gain[i];
    return QK_OK;
}

static enum qk_code read_bytes(struct qk_heads *heads, enum qk_role role, int head, size_t first, size_t n,
    void *bytes, struct qk_error *err)
{
    const struct stored_heads *stored = (const struct stored_heads *)heads;
    return qk_view_read_stored(stored->model, stored->layer, role, head, first, n, bytes, err);
}

/* True when the head views of both roles are stored rows. */
static bool is_stored(const struct qk_layer *layer, bool effective)
{
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        if (layer->role[r].down != NULL || layer->role[r].scale.tensor != NULL ||
            (effective && layer->role[r].norm != NULL))
            return false;
    return true;
}

static void free_stored(struct qk_heads *heads)
{
    free(((struct stored_heads *)heads)->gain);
    free(heads);
}

enum qk_code qk_heads_of_model(const struct qk_pair *pair, enum qk_side side, int layer, bool effective,
    struct qk_heads **out, struct qk_error *err)
{
    struct stored_heads *stored;
    *out = NULL;
    QK_TRY(qk_alloc(&stored, 1, sizeof *stored, err));
    stored->base = (struct qk_heads){.layer = &pair->layer[layer],
        .where = qk_side_name(side),
        .named = pair->layer[layer].side[side],
        .read = read_stored,
        .read_stored = is_stored(pair->layer[layer].side[side], effective) ? read_bytes : NULL,
        .free = free_stored};
    stored->model = pair->model[side];
    stored->layer = pair->layer[layer].side[side];
    *out = &stored->base;
    if (!effective)
        return QK_OK;
    enum qk_code code = qk_alloc(&stored->gain, (size_t)stored->layer->head_dim, sizeof(double), err);
    if (code != QK_OK) {
        free_stored(*out);
        *out = NULL;
    }
    return code;
}

void qk_heads_free(struct qk_heads *heads)
{
    if (heads != NULL)
        heads->free(heads);
}
