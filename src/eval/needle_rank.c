/* needle_rank.c - the list of heads behind reports and suggestions. */
#include "eval/needle_rank.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

/* The largest drop first, unknown ones last; equal ones by layer and head. */
static int by_drop(const void *a, const void *b)
{
    const struct qk_needle_head *x = a, *y = b;
    double left = isnan(x->drop.mean) ? -INFINITY : x->drop.mean,
           right = isnan(y->drop.mean) ? -INFINITY : y->drop.mean;
    if (left != right)
        return left > right ? -1 : 1;
    return x->layer != y->layer ? x->layer - y->layer : x->head - y->head;
}

enum qk_code qk_needle_rank(const struct qk_pair *pair, const struct qk_needle_pair *measured,
    struct qk_needle_head **out, size_t *n, struct qk_error *err)
{
    size_t most = 0;
    *n = 0;
    for (int i = 0; i < measured->n_layers; i++)
        most += (size_t)measured->side[QK_POST][i].n_heads;
    QK_TRY(qk_alloc(out, most, sizeof **out, err));
    for (int i = 0; i < measured->n_layers; i++) {
        const struct qk_needle_layer *pre = &measured->side[QK_PRE][i], *post = &measured->side[QK_POST][i];
        if (!pair->layer[i].has_qk || pre->n_heads != post->n_heads)
            continue;
        for (int q = 0; q < post->n_heads; q++)
            (*out)[(*n)++] = (struct qk_needle_head){
                i, q, {qk_needle_mass(pre, q), qk_needle_mass(post, q)}, qk_needle_drop(pre, post, q)};
    }
    if (*n > 1)
        qsort(*out, *n, sizeof **out, by_drop);
    return QK_OK;
}
