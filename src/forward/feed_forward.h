/* feed_forward.h - the MLP of a layer. */
#ifndef QK_FORWARD_FEED_FORWARD_H
#define QK_FORWARD_FEED_FORWARD_H

#include "forward/layer_internal.h"

/* Reads the weights of the layer's MLP. */
enum qk_code qk_feed_forward_read(struct qk_reading *r);
/* Values of a token that exist beside x while the MLP runs. */
size_t qk_feed_forward_width(const struct qk_layer_weights *w);
/* normed = the MLP of normed, for a group of rows. */
enum qk_code qk_feed_forward_run(
    struct qk_run *run, const struct qk_group *group, struct qk_progress *progress, struct qk_error *err);

#endif
