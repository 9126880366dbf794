/* blend_effect.c - the choice that acts on a part of a head, and the rows of a slice that a head owns. */
#include "blend/blend_internal.h"

#include "model/scaling.h"

static struct qk_choice effect_of(struct qk_choice choice, enum qk_role role, enum qk_part part)
{
    struct qk_choice effect = qk_choice_effect(choice);
    const struct qk_mode_ops *ops = qk_mode_ops(effect.mode);
    return ops->part != NULL ? qk_choice_effect(ops->part(effect, role, part)) : effect;
}

bool qk_blend_shares_gain(const struct qk_layer *post, enum qk_role role)
{
    const struct qk_tensor *norm = post->role[role].norm;
    return norm != NULL && qk_blend_gain_values(norm) == (size_t)post->head_dim;
}

struct qk_choice qk_blend_effect(const struct qk_layer *post, const struct qk_layer_choice *choice,
    enum qk_role role, enum qk_part part, int head)
{
    if (part != QK_PART_GAIN || !qk_blend_shares_gain(post, role))
        return effect_of(qk_layer_choice_of(choice, role, head), role, part);
    struct qk_choice shared = effect_of(qk_layer_choice_of(choice, role, 0), role, part);
    for (int h = 1; h < qk_layer_choice_count(choice, role); h++)
        if (!qk_choice_equal(shared, effect_of(qk_layer_choice_of(choice, role, h), role, part)))
            return (struct qk_choice){QK_KEEP, 0};
    return shared;
}

/* --- slices --- */

bool qk_blend_slice_rows(const struct qk_layer *post, enum qk_role role, const struct qk_slice *slice,
    int head, uint64_t *first, uint64_t *length)
{
    const struct qk_view *view = &post->role[role];
    if (slice->tensor != view->weight && slice->tensor != view->scale.tensor)
        return false;
    uint64_t row = view->first_row[head], rows = (uint64_t)(post->head_dim - view->tail);
    bool values = slice->tensor == view->weight;
    *first = values ? row : qk_scaling_row(&view->scale, row);
    *length = values ? rows : qk_scaling_row(&view->scale, row + rows - 1) + 1 - *first;
    return true;
}

bool qk_blend_splits_slice(const struct qk_layer *post, const struct qk_layer_choice *choice,
    enum qk_role role, const struct qk_slice *slice)
{
    uint64_t first, length;
    return choice->head[role] != NULL && qk_blend_slice_rows(post, role, slice, 0, &first, &length);
}

static bool takes(struct qk_choice choice, enum qk_role role, bool latent)
{
    return effect_of(choice, role, QK_PART_WEIGHT).mode == QK_RESTORE &&
           (!latent || qk_mode_info(choice.mode)->takes_latent);
}

bool qk_blend_takes_shared(const struct qk_layer_choice *choice, enum qk_role role, bool latent)
{
    for (int h = 0; h < qk_layer_choice_count(choice, role); h++)
        if (!takes(qk_layer_choice_of(choice, role, h), role, latent))
            return false;
    return true;
}

bool qk_blend_takes_slice(const struct qk_layer *post, const struct qk_layer_choice *choice,
    enum qk_role role, const struct qk_slice *slice, int head)
{
    uint64_t first, length;
    if (!qk_blend_slice_rows(post, role, slice, head, &first, &length))
        return qk_blend_takes_shared(choice, role, slice->latent);
    return takes(qk_layer_choice_of(choice, role, head), role, slice->latent);
}
