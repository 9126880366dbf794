/* blend_check.c - the check that a choice can be computed, before anything is written. */
#include "blend/blend_internal.h"

#include "model/scaling.h"

bool qk_blend_same_dtype(const struct qk_tensor *a, const struct qk_tensor *b)
{
    return a->dtype == b->dtype && a->dtype != QK_DTYPE_OTHER;
}

bool qk_blend_copies_weight(const struct qk_pair_layer *layer, enum qk_role role)
{
    const struct qk_view *pre = &layer->side[QK_PRE]->role[role], *post = &layer->side[QK_POST]->role[role];
    return qk_blend_same_dtype(pre->weight, post->weight) && pre->transposed == post->transposed;
}

/* Checks that a choice of mode `mode` from pre's tensor into post's can be computed. */
static enum qk_code check_tensor(const struct qk_pair *pair, const struct qk_tensor *pre,
    const struct qk_tensor *post, enum qk_mode mode, bool copied, struct qk_error *err)
{
    if (mode == QK_KEEP || (mode == QK_RESTORE && copied))
        return QK_OK;
    const struct qk_tensor *tensor[QK_SIDE_COUNT] = {pre, post};
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        if (!qk_dtype_readable(tensor[s]->dtype))
            return qk_blend_fail_unreadable(pair->model[s]->checkpoint, tensor[s], err);
    if (!qk_dtype_writable(post->dtype))
        return qk_fail(err, QK_INPUT,
            "%s: %s: results are not written as %s (expected F64, F32, F16 "
            "or BF16; restore copies bytes where pre has the same dtype)",
            qk_checkpoint_file(pair->model[QK_POST]->checkpoint, post), post->name, post->dtype_text);
    return QK_OK;
}

static enum qk_code check_gain(const struct qk_pair *pair, const struct qk_view *pre,
    const struct qk_view *post, enum qk_mode mode, struct qk_error *err)
{
    if (mode == QK_KEEP || post->norm == NULL)
        return QK_OK;
    const char *file = qk_checkpoint_file(pair->model[QK_POST]->checkpoint, post->norm);
    size_t found = pre->norm == NULL ? 0 : qk_blend_gain_values(pre->norm),
           expected = qk_blend_gain_values(post->norm);
    if (found != expected)
        return qk_fail(err, QK_INPUT, "%s: %s: pre has no gain of this size (found %zu, expected %zu)", file,
            post->norm->name, found, expected);
    return check_tensor(pair, pre->norm, post->norm, mode, qk_blend_same_dtype(pre->norm, post->norm), err);
}

/* With scaled blocks a head can be chosen alone when its blocks hold its rows alone. */
static enum qk_code check_blocks(
    const struct qk_pair *pair, int layer, enum qk_role role, int head, struct qk_error *err)
{
    const struct qk_layer *post = pair->layer[layer].side[QK_POST];
    const struct qk_view *view = &post->role[role];
    uint64_t first = view->first_row[head], n = (uint64_t)(post->head_dim - view->tail);
    if (view->scale.tensor == NULL || qk_scaling_covers(&view->scale, first, n, view->weight->shape[0]))
        return QK_OK;
    return qk_fail(err, QK_INPUT,
        "%s: %s: %s%d cannot be chosen alone: its blocks of scales hold other rows, too (found rows %llu-%llu, "
        "expected whole blocks of %llu)",
        qk_checkpoint_file(pair->model[QK_POST]->checkpoint, view->weight), view->weight->name,
        qk_role_name(role), head, (unsigned long long)first, (unsigned long long)(first + n) - 1,
        (unsigned long long)view->scale.rows);
}

/* A head of a view of slices can be restored or left alone: no blend is defined on factors or scales. */
static enum qk_code check_slices(const struct qk_pair *pair, int layer, enum qk_role role,
    const struct qk_layer_choice *choice, int head, struct qk_error *err)
{
    const struct qk_layer *post = pair->layer[layer].side[QK_POST];
    const struct qk_view *from = &pair->layer[layer].side[QK_PRE]->role[role], *to = &post->role[role];
    enum qk_mode mode = qk_choice_effect(qk_layer_choice_of(choice, role, head)).mode;
    char expected[QK_MODE_LIST];
    if (!qk_mode_copies(mode))
        return qk_fail(err, QK_INPUT, "%s: %s: %s %s cannot be blended (found %s, expected %s)",
            qk_checkpoint_file(pair->model[QK_POST]->checkpoint, to->weight), to->weight->name,
            qk_role_name(role), to->down != NULL ? "of latent attention" : "with scaled blocks",
            qk_mode_info(mode)->name, qk_mode_list(expected, qk_mode_copies, false));
    if (mode != QK_KEEP && qk_layer_choice_count(choice, role) > 1)
        QK_TRY(check_blocks(pair, layer, role, head, err));
    for (int i = 0; i < to->n_slices; i++)
        if (qk_blend_takes_slice(post, choice, role, &to->slice[i], head))
            QK_TRY(check_tensor(pair, from->slice[i].tensor, to->slice[i].tensor, QK_RESTORE,
                qk_blend_same_dtype(from->slice[i].tensor, to->slice[i].tensor), err));
    return QK_OK;
}

bool qk_blend_offers(const struct qk_layer *post, enum qk_mode mode)
{
    const struct qk_mode_info *info = qk_mode_info(mode);
    bool latent = post->role[QK_Q].down != NULL || post->role[QK_K].down != NULL;
    if (info->takes_latent || (post->no_k != NULL && info->needs_k))
        return info->takes_latent && latent;
    return !latent || info->copies;
}

static enum qk_code check_head(const struct qk_pair *pair, int layer, enum qk_role role,
    const struct qk_layer_choice *choice, bool norms, int head, struct qk_error *err)
{
    const struct qk_pair_layer *target = &pair->layer[layer];
    const struct qk_layer *post = target->side[QK_POST];
    const struct qk_view *from = &target->side[QK_PRE]->role[role], *to = &post->role[role];
    enum qk_mode mode[QK_PART_COUNT];
    bool kept = true;
    for (int part = 0; part < QK_PART_COUNT; part++)
        mode[part] = qk_blend_effect(post, choice, role, (enum qk_part)part, head).mode;
    for (int part = 0; part < QK_PART_COUNT; part++)
        kept = kept && mode[part] == QK_KEEP;
    if (target->fixed != NULL && !kept)
        return qk_fail(err, QK_INPUT, "%s: %s: layer %d cannot be chosen: %s",
            qk_checkpoint_file(pair->model[QK_POST]->checkpoint, to->weight), to->weight->name, layer,
            target->fixed);
    if (to->n_slices > 0)
        QK_TRY(check_slices(pair, layer, role, choice, head, err));
    else
        QK_TRY(check_tensor(
            pair, from->weight, to->weight, mode[QK_PART_WEIGHT], qk_blend_copies_weight(target, role), err));
    if (to->bias != NULL)
        QK_TRY(check_tensor(
            pair, from->bias, to->bias, mode[QK_PART_BIAS], qk_blend_same_dtype(from->bias, to->bias), err));
    return norms ? check_gain(pair, from, to, mode[QK_PART_GAIN], err) : QK_OK;
}

enum qk_code qk_blend_check(const struct qk_pair *pair, int layer, const struct qk_layer_choice *choice,
    bool norms, struct qk_error *err)
{
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        if (pair->layer[layer].side[QK_POST]->role[r].weight == NULL)
            continue; /* q alone; qk_selection_set takes no choice for k */
        for (int h = 0; h < qk_layer_choice_count(choice, (enum qk_role)r); h++)
            QK_TRY(check_head(pair, layer, (enum qk_role)r, choice, norms, h, err));
    }
    return QK_OK;
}
