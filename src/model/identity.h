/* identity.h - the identity of a checkpoint, for what caches keep between runs.
 *
 * Headers and sizes alone (a recipe's fingerprints) cannot distinguish pre from post, or two training runs of the
 * same shape. So the identity of a file includes its inode and change time. */
#ifndef QK_MODEL_IDENTITY_H
#define QK_MODEL_IDENTITY_H

#include "base/digest.h"
#include "model/model.h"

/* Adds all that a computation on the model depends on. That is the program's version, the config, the layout row, and
 * the header and identity of every shard (and those of an adapter). *known is false when a file was written to after
 * it was opened. Nothing may be kept then: the values are those of now, the header is that of before. */
enum qk_code qk_identity_add(
    struct qk_digest *digest, const struct qk_model *model, bool *known, struct qk_error *err);

/* Adds which file of this name lies beside the weights, and when it was last changed; nothing without one. */
void qk_identity_add_beside(struct qk_digest *digest, const struct qk_model *model, const char *name);

#endif
