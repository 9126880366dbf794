/* product.h - head views of latent attention (model.h: a view with `down`), multiplied out by BLAS. */
#ifndef QK_DRIFT_PRODUCT_H
#define QK_DRIFT_PRODUCT_H

#include "model/model.h"

/* Fills out with head view h of a role with `down`, as float64, row-major (head_dim, d). The latent's rows and gain
 * come from `latent_layer` of `latent`, the rest from `layer` of `model`; both have the same shapes. It holds about
 * (head_dim - tail) rank + 256 d numbers beside out. QK_IO on read errors. Values that are not finite stay as they
 * are. Thread-safe. */
enum qk_code qk_product_read(const struct qk_model *model, const struct qk_layer *layer,
    const struct qk_model *latent, const struct qk_layer *latent_layer, enum qk_role role, int h, double *out,
    struct qk_error *err);

#endif
