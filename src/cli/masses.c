/* masses.c - needle masses for selectors. */
#include "cli/masses.h"

#include "base/mem.h"
#include "cli/needle_work.h"

#include <stdlib.h>

/* A block of both numbers of each head, which value[0] owns. */
static enum qk_code take_layer(const struct qk_needle_layer *pre, const struct qk_needle_layer *post,
    struct qk_head_numbers *out, struct qk_error *err)
{
    double *values;
    if (pre->n_heads != post->n_heads || post->n_heads == 0)
        return QK_OK;
    size_t n = (size_t)post->n_heads;
    QK_TRY(qk_alloc(&values, QK_HEAD_METRICS * n, sizeof *values, err));
    for (size_t h = 0; h < n; h++) {
        values[QK_HEAD_NEEDLE * n + h] = qk_needle_mass(pre, (int)h).mean;
        values[QK_HEAD_DROP * n + h] = qk_needle_drop(pre, post, (int)h).mean;
    }
    out->n_heads = post->n_heads;
    for (size_t m = 0; m < QK_HEAD_METRICS; m++)
        out->value[m] = values + m * n;
    return QK_OK;
}

enum qk_code qk_masses_compute(const struct qk_pair *pair, struct qk_head_numbers **out, struct qk_error *err)
{
    struct qk_needle_work work = {.length = QK_NEEDLE_LENGTH, .n_prompts = QK_NEEDLE_PROMPTS};
    const struct qk_needle_pair *measured = &work.measured;
    *out = NULL;
    enum qk_code code = qk_needle_work_prompts(pair, &work, err);
    if (code == QK_OK)
        code = qk_alloc(out, (size_t)pair->n_layers, sizeof **out, err);
    if (code == QK_OK)
        code = qk_needle_work_measure(pair, NULL, false, &work, err);
    for (int i = 0; i < pair->n_layers && code == QK_OK; i++)
        code = take_layer(&measured->side[QK_PRE][i], &measured->side[QK_POST][i], &(*out)[i], err);
    if (code != QK_OK) {
        qk_masses_free(*out, pair->n_layers);
        *out = NULL;
    }
    qk_needle_work_free(&work);
    return code;
}

void qk_masses_free(struct qk_head_numbers *masses, int n_layers)
{
    for (int i = 0; masses != NULL && i < n_layers; i++)
        free((void *)masses[i].value[0]);
    free(masses);
}
