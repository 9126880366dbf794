/* emit.h - a selection in the language of another tool, where that tool can express it exactly. */
#ifndef QK_EXPORT_EMIT_H
#define QK_EXPORT_EMIT_H

#include "blend/selection.h"

/* The known tools, in the order of the words in the command's operands. */
enum qk_emit_tool { QK_EMIT_MERGEKIT, QK_EMIT_BRAINSURGERY };

/* *out = the file's text (YAML), for checkpoints where they are now; the caller frees.
 *   mergekit      a linear merge with a weight for each changed tensor, 0 and 1 for the others; summed in
 *                 float32, and not cast at all where every alpha is 1 and all dtypes agree. The other
 *                 model's weight is 0, not left out: -0 may become 0, and what is not finite in one model
 *                 would spread.
 *   brainsurgery  restored tensors are assigned, blended ones summed in float64 and cast once; of a tensor that
 *                 changes in part, the rows that change.
 * QK_USAGE when a choice is not linear (qk_choice_alpha), or nothing differs from post. QK_INPUT names the tensor
 * that makes this impossible. For mergekit that is one that does not change as a whole or not alike, that pre and
 * post do not share, or whose dtype it would lose; for brainsurgery one whose rows are at other places in pre, or
 * that latent attention or scales are made of. */
enum qk_code qk_emit_text(enum qk_emit_tool tool, const struct qk_pair *pair,
    const struct qk_selection *selection, bool norms, char **out, struct qk_error *err);

#endif
