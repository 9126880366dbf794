/* rope_tables.c - the angles of rotary positions, made once for the layers that share them. */
#include "forward/rope_tables.h"

#include "base/mem.h"
#include "forward/layer.h"

#include <stdlib.h>
#include <string.h>

void qk_rope_tables_free(struct qk_rope_tables *tables)
{
    for (size_t i = 0; i < tables->n; i++) {
        free(tables->table[i].frequency);
        free(tables->table[i].cosines);
        free(tables->table[i].sines);
    }
    *tables = (struct qk_rope_tables){0};
}

static enum qk_code make_table(struct qk_rope_tables *tables, size_t i,
    const struct qk_layer_weights *weights, size_t positions, struct qk_error *err)
{
    size_t pairs = (size_t)weights->layer->rotary_dims / 2;
    float *cosines, *sines;
    memset(&tables->table[i], 0, sizeof tables->table[i]);
    tables->n = i + 1;
    QK_TRY(qk_alloc_aligned(&tables->table[i].frequency, pairs, sizeof(float), err));
    QK_TRY(qk_alloc_aligned(&cosines, positions * pairs, sizeof(float), err));
    tables->table[i].cosines = cosines;
    QK_TRY(qk_alloc_aligned(&sines, positions * pairs, sizeof(float), err));
    tables->table[i].sines = sines;
    tables->table[i].pairs = pairs;
    tables->table[i].positions = positions;
    tables->table[i].factor = weights->rope_factor;
    memcpy(tables->table[i].frequency, weights->frequency, pairs * sizeof(float));
    qk_rope_table(positions, pairs, weights->frequency, weights->rope_factor, cosines, sines);
    return QK_OK;
}

enum qk_code qk_rope_tables_find(struct qk_rope_tables *tables, const struct qk_layer_weights *weights,
    size_t positions, const float **cosines, const float **sines, struct qk_error *err)
{
    size_t pairs = (size_t)weights->layer->rotary_dims / 2, i = 0;
    *cosines = *sines = NULL;
    if (weights->frequency == NULL)
        return QK_OK;
    while (i < tables->n &&
           (tables->table[i].pairs != pairs || tables->table[i].positions < positions ||
               tables->table[i].factor != weights->rope_factor ||
               memcmp(tables->table[i].frequency, weights->frequency, pairs * sizeof(float)) != 0))
        i++;
    if (i == sizeof tables->table / sizeof tables->table[0]) {
        qk_rope_tables_free(tables);
        i = 0;
    }
    if (i == tables->n)
        QK_TRY(make_table(tables, i, weights, positions, err));
    *cosines = tables->table[i].cosines;
    *sines = tables->table[i].sines;
    return QK_OK;
}
