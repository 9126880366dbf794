/* restored.c - a probe of pre and post that restores every layer, one at a time. */
#include "range/restored.h"

#include "blend/blend.h"

static const struct qk_layer_choice RESTORED = {.role = {{QK_RESTORE, 0}, {QK_RESTORE, 0}}};

/* Refuses a layer that cannot be restored at its own turn, so that the others run. */
static enum qk_code apply_restored(
    void *context, const struct qk_tensor *tensor, void *bytes, struct qk_error *err)
{
    const struct qk_selection_patch *patch = context;
    const struct qk_pair *pair = patch->pair;
    for (int i = 0; i < pair->n_layers; i++)
        if (pair->layer[i].has_qk && !pair->layer[i].side[QK_POST]->shares &&
            qk_layer_holds(pair->layer[i].side[QK_POST], tensor))
            QK_TRY(qk_blend_check(pair, i, &RESTORED, false, err));
    return qk_selection_patch_apply(context, tensor, bytes, err);
}

enum qk_code qk_restored_patch_make(
    const struct qk_pair *pair, struct qk_selection_patch *out, struct qk_error *err)
{
    struct qk_selection all;
    *out = (struct qk_selection_patch){0}; /* callers free it after a failure, too */
    QK_TRY(qk_selection_init(&all, pair->n_layers, err));
    for (int i = 0; i < pair->n_layers; i++) {
        struct qk_error refused = {0};
        if (pair->layer[i].has_qk && qk_blend_check(pair, i, &RESTORED, false, &refused) == QK_OK)
            for (int r = 0; r < (pair->layer[i].no_k != NULL ? 1 : QK_ROLE_COUNT); r++)
                all.choice[i].role[r] = RESTORED.role[r];
    }
    enum qk_code code = qk_selection_patch_make(pair, &all, -1, false, out, err);
    out->patch.apply = apply_restored;
    qk_selection_free(&all);
    return code;
}

enum qk_code qk_probe_run_restored(struct qk_probe *probe, const bool *wanted,
    const struct qk_probe_watch *watch, struct qk_progress *progress, struct qk_error *err)
{
    struct qk_selection_patch patch;
    enum qk_code code = qk_restored_patch_make(probe->pair, &patch, err);
    if (code == QK_OK)
        code = qk_probe_run(probe, &patch.patch, wanted, watch, progress, err);
    qk_selection_patch_free(&patch);
    return code;
}
