/* feed_forward.h - the kinds of MLPs of a layer: a dense one (feed_forward.c), and a mixture of experts (experts.c). */
#ifndef QK_FORWARD_FEED_FORWARD_H
#define QK_FORWARD_FEED_FORWARD_H

#include "forward/layer_internal.h"

/* A kind of MLP. */
struct qk_feed_forward_ops {
    bool whole; /* it runs over all rows of a batch at once */
    enum qk_code (*read)(struct qk_reading *r);
    size_t (*width)(const struct qk_layer_weights *w); /* values of a token that run->hidden holds */
    enum qk_code (*run)(
        struct qk_run *run, const struct qk_group *group, struct qk_progress *progress, struct qk_error *err);
};
extern const struct qk_feed_forward_ops qk_dense_mlp, qk_experts_mlp;

/* Reads the weights of the layer's MLP: a mixture of experts where the layer has the tensor of a router. */
enum qk_code qk_feed_forward_read(struct qk_reading *r);
/* Values of a token that run->hidden holds. */
size_t qk_feed_forward_width(const struct qk_layer_weights *w);
/* run->normed = the MLP of it, for a group of rows. */
enum qk_code qk_feed_forward_run(
    struct qk_run *run, const struct qk_group *group, struct qk_progress *progress, struct qk_error *err);

/* Reads a dense MLP by the keys gate, up, gate_up and down of an object of the row; (k) is the width of its input and
 * output. Without `needed` it is empty where there are no tensors. */
enum qk_code qk_mlp_read(
    struct qk_reading *r, const cJSON *object, size_t k, bool needed, struct qk_mlp *mlp);
/* out = the MLP of x for a group of rows; hidden (rows, mlp->up.n). All begin at the group's first row. out may be
 * x. */
enum qk_code qk_mlp_run(const struct qk_run *run, const struct qk_group *group, const struct qk_mlp *mlp,
    const float *x, float *hidden, float *out, struct qk_progress *progress, struct qk_error *err);

#endif
