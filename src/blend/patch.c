/* patch.c - a selection applied to tensors as they are read. */
#include "blend/patch.h"

#include "blend/blend.h"

#include <stdlib.h>
#include <string.h>

static const struct qk_change *find_change(
    const struct qk_selection_patch *patch, const struct qk_tensor *tensor)
{
    for (size_t i = 0; i < patch->n; i++)
        if (patch->change[i].tensor == tensor)
            return &patch->change[i];
    return NULL;
}

static bool changes(void *context, const struct qk_tensor *tensor)
{
    return find_change(context, tensor) != NULL;
}

enum qk_code qk_selection_patch_apply(
    void *context, const struct qk_tensor *tensor, void *bytes, struct qk_error *err)
{
    const struct qk_selection_patch *patch = context;
    const struct qk_change *change = find_change(patch, tensor);
    if (change == NULL)
        return QK_OK;
    return qk_change_apply(patch->pair, &patch->selection, patch->norms, change, bytes, NULL, err);
}

/* True when one of the layers uses the tensors of the other. */
static bool same_tensors(const struct qk_pair *pair, int a, int b)
{
    const struct qk_layer *x = pair->layer[a].side[QK_POST], *y = pair->layer[b].side[QK_POST];
    return (x->shares || y->shares) && x->role[QK_Q].weight == y->role[QK_Q].weight;
}

enum qk_code qk_selection_patch_make(const struct qk_pair *pair, const struct qk_selection *selection,
    int layer, bool norms, struct qk_selection_patch *out, struct qk_error *err)
{
    *out = (struct qk_selection_patch){.pair = pair,
        .norms = norms,
        .patch = {.apply = qk_selection_patch_apply, .context = out, .changes = changes}};
    QK_TRY(qk_selection_copy(&out->selection, selection, err));
    for (int i = 0; layer >= 0 && i < selection->n_layers; i++)
        if (i != layer && !same_tensors(pair, i, layer))
            qk_layer_choice_free(&out->selection.choice[i]);
    return qk_changes_find(pair, &out->selection, norms, false, &out->change, &out->n, err);
}

bool qk_selection_patch_changes(const struct qk_selection_patch *patch, int layer)
{
    const struct qk_layer *post = patch->pair->layer[layer].side[QK_POST];
    for (size_t i = 0; i < patch->n; i++)
        if (qk_layer_holds(post, patch->change[i].tensor))
            return true;
    return false;
}

void qk_selection_patch_free(struct qk_selection_patch *patch)
{
    qk_selection_free(&patch->selection);
    free(patch->change);
    memset(patch, 0, sizeof *patch);
}
