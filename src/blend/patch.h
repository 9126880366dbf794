/* patch.h - a selection as a patch of a forward pass (forward/forward.h), which changes post's bytes as export
 * would. */
#ifndef QK_BLEND_PATCH_H
#define QK_BLEND_PATCH_H

#include "blend/change.h"
#include "blend/selection.h"
#include "forward/forward.h"

struct qk_selection_patch {
    const struct qk_pair *pair; /* borrowed */
    struct qk_selection selection;
    bool norms;
    struct qk_change *change; /* n; by shard and offset */
    size_t n;
    struct qk_patch patch; /* the patch for the pass; its context is this struct, which must not move */
};

/* Makes the patch from a copy of the selection. `layer` >= 0: its choices alone. QK_INPUT when a choice cannot be
 * computed. Freed with qk_selection_patch_free, also after a failure. */
enum qk_code qk_selection_patch_make(const struct qk_pair *pair, const struct qk_selection *selection,
    int layer, bool norms, struct qk_selection_patch *out, struct qk_error *err);
/* The function patch.apply: new bytes for a changed tensor. `context` is the struct qk_selection_patch. */
enum qk_code qk_selection_patch_apply(
    void *context, const struct qk_tensor *tensor, void *bytes, struct qk_error *err);
/* True when a tensor that the patch changes holds q or k of this layer: a pass must read the layer anew. */
bool qk_selection_patch_changes(const struct qk_selection_patch *patch, int layer);
void qk_selection_patch_free(struct qk_selection_patch *patch);

#endif
