/* identity.h - the identity of a checkpoint, for whatever is kept of it between runs.
 *
 * Headers and sizes alone (a recipe's fingerprints) would take pre for post, and another training run of the
 * same shape for this one: here a file is known by inode and change time as well. */
#ifndef QK_MODEL_IDENTITY_H
#define QK_MODEL_IDENTITY_H

#include "base/digest.h"
#include "model/model.h"

/* Adds all that a computation on the model depends on: the program's version, the config, the layout row, and
 * every shard's header and which file it is (and those of an adapter). *known is false when nothing may be
 * kept, for a file was written to since it was opened: it is read as it is now, but known as it was. */
enum qk_code qk_identity_add(
    struct qk_digest *digest, const struct qk_model *model, bool *known, struct qk_error *err);

#endif
