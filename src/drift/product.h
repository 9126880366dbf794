/* product.h - head views of latent attention (model.h: a view with `down`), multiplied out by BLAS. */
#ifndef QK_DRIFT_PRODUCT_H
#define QK_DRIFT_PRODUCT_H

#include "model/model.h"

/* The layer from which a part of a product is read. All parts' layers have the same shapes. */
struct qk_product_source {
    const struct qk_model *model;
    const struct qk_layer *layer;
};
struct qk_product_sources {
    struct qk_product_source up;     /* the head's own rows */
    struct qk_product_source latent; /* the rows of the latent, and its gain */
    struct qk_product_source tail;   /* the last rows, which the heads share */
};
/* All parts from one layer. */
struct qk_product_sources qk_product_of(const struct qk_model *model, const struct qk_layer *layer);

/* Fills out with head view h of a role with `down`, as float64, row-major (head_dim, d). It holds about (head_dim -
 * tail) rank + 256 d numbers beside out. QK_IO on read errors. Values that are not finite stay as they are.
 * Thread-safe. */
enum qk_code qk_product_read(
    const struct qk_product_sources *from, enum qk_role role, int h, double *out, struct qk_error *err);

#endif
