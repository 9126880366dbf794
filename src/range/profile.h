/* profile.h - an estimate, from the weights alone, of how far a layer with rotary positions would look.
 *
 * With x of unit covariance, the mean logit of a token with itself at distance tau is a sum over the rotated pairs j
 * (Su et al. 2021):
 *   f^2 (sum a_j cos(theta_j tau) + b_j sin(theta_j tau)) + c,
 *   a_j = <Q1, K1> + <Q2, K2>,   b_j = <Q1, K2> - <Q2, K1>,   c = sum <Q, K> over the rows that do not turn.
 * Q1, Q2, K1, K2 are the pair's rows of W_Q and W_K (a bias counts as one more column), all divided by sqrt(head_dim).
 * theta_j, the factor f of cosines and sines, and the factor of latent attention's scores are those of the config
 * (model/rope.h), for as many tokens as the farthest point needs. A q/k norm, and the norm of a latent, count as
 * division by the rows' expected length, and then their gains. The estimate leaves out the gain of the layer's own
 * norm, the bias of a latent, and what real tokens have in common. */
#ifndef QK_RANGE_PROFILE_H
#define QK_RANGE_PROFILE_H

#include "model/model.h"

struct qk_profile {
    int n_heads, n_points; /* point i is at distance qk_range_bin_first(i) */
    double *logit;         /* (n_heads, n_points), owned */
};

/* NULL when the layer has a profile, else why not (static). */
const char *qk_profile_missing(const struct qk_layer *layer);
/* Makes the profile of a layer that has one. QK_IO on read errors, QK_INPUT when the scaling of its frequencies is not
 * known; values that are not finite give NaN. */
enum qk_code qk_profile_make(const struct qk_model *model, const struct qk_layer *layer, int n_points,
    struct qk_profile *out, struct qk_error *err);
/* The value for a head, or with head -1 the mean over the heads; NaN when the profile has none. */
double qk_profile_value(const struct qk_profile *profile, int head, int point);
void qk_profile_free(struct qk_profile *profile);

#endif
