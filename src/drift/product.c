/* product.c - head views of latent attention, multiplied out. */
#include "drift/product.h"

#include "base/blas.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Rows of the latent at a time: enough for BLAS. The whole latent of a large model takes 100 MB a thread. */
enum { AT_ONCE = 256 };

/* out (rows, d) = up (rows, rank) times the latent's rows (rank, d). */
static enum qk_code multiply(const struct qk_model *latent, const struct qk_layer *layer, enum qk_role role,
    size_t rows, size_t rank, const double *up, double *down, double *out, struct qk_error *err)
{
    size_t d = (size_t)layer->d;
    for (size_t first = 0; first < rank; first += AT_ONCE) {
        size_t n = rank - first < AT_ONCE ? rank - first : AT_ONCE;
        QK_TRY(qk_view_read_down(latent, layer, role, first, n, down, err));
        qk_blas.dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)d, (int)n, 1.0, up + first,
            (int)rank, down, (int)d, first == 0 ? 0.0 : 1.0, out, (int)d);
    }
    return QK_OK;
}

struct qk_product_sources qk_product_of(const struct qk_model *model, const struct qk_layer *layer)
{
    const struct qk_product_source source = {model, layer};
    return (struct qk_product_sources){source, source, source};
}

enum qk_code qk_product_read(
    const struct qk_product_sources *from, enum qk_role role, int h, double *out, struct qk_error *err)
{
    const struct qk_layer *layer = from->up.layer;
    const struct qk_view *view = &layer->role[role];
    size_t d = (size_t)layer->d, rank = (size_t)view->weight->shape[1], tail = (size_t)view->tail,
           rows = (size_t)layer->head_dim - tail, at_once = rank < AT_ONCE ? rank : AT_ONCE;
    double *up;
    QK_TRY(qk_alloc_aligned(&up, (rows + 1) * rank + at_once * d, sizeof *up, err));
    double *gain = up + rows * rank, *down = gain + rank;
    enum qk_code code = qk_view_read_up(from->up.model, layer, role, h, up, err);
    if (code == QK_OK)
        code = qk_view_read_latent_gain(from->latent.model, from->latent.layer, role, gain, err);
    for (size_t i = 0; code == QK_OK && i < rows * rank; i++)
        up[i] *= gain[i % rank];
    if (code == QK_OK)
        code = multiply(from->latent.model, from->latent.layer, role, rows, rank, up, down, out, err);
    if (code == QK_OK && tail > 0)
        code = qk_view_read_down(from->tail.model, from->tail.layer, role, rank, tail, out + rows * d, err);
    free(up);
    return code;
}
