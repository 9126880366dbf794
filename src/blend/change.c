/* change.c - the tensors that a selection changes, with their new bytes. */
#include "blend/change.h"

#include "base/mem.h"
#include "base/text.h"
#include "blend/blend.h"

#include <stdlib.h>
#include <string.h>

/* --- parts of a role --- */

/* Parts of a role are numbered: those of enum qk_part, then its slices. */
static int n_parts(const struct qk_view *view)
{
    return QK_PART_COUNT + view->n_slices;
}

static const struct qk_tensor *part_tensor(const struct qk_view *view, int part)
{
    if (part >= QK_PART_COUNT)
        return view->slice[part - QK_PART_COUNT].tensor;
    if (part == QK_PART_WEIGHT && view->n_slices > 0)
        return NULL;
    return part == QK_PART_WEIGHT ? view->weight : part == QK_PART_BIAS ? view->bias : view->norm;
}

/* True when the choices take post's bytes for a head's share of the part, or for what the heads share. */
static bool keeps_head(
    const struct qk_layer *post, const struct qk_layer_choice *choice, enum qk_role role, int part, int head)
{
    if (part < QK_PART_COUNT)
        return qk_blend_effect(post, choice, role, (enum qk_part)part, head).mode == QK_KEEP;
    return !qk_blend_takes_slice(post, choice, role, &post->role[role].slice[part - QK_PART_COUNT], head);
}

/* The tensor that this part of the role's choices changes, or NULL. */
static const struct qk_tensor *changed_tensor(const struct qk_pair *pair,
    const struct qk_selection *selection, bool norms, int layer, enum qk_role role, int part)
{
    const struct qk_layer *post = pair->layer[layer].side[QK_POST];
    const struct qk_layer_choice *choice = &selection->choice[layer];
    if (part == QK_PART_GAIN && !norms)
        return NULL;
    for (int h = 0; h < qk_layer_choice_count(choice, role); h++)
        if (!keeps_head(post, choice, role, part, h))
            return part_tensor(&post->role[role], part);
    return NULL;
}

static uint64_t rows_of_slice(const struct qk_layer *post, const struct qk_layer_choice *choice,
    enum qk_role role, const struct qk_slice *slice)
{
    uint64_t rows = 0, first, length;
    if (!qk_blend_splits_slice(post, choice, role, slice))
        return slice->length * slice->count;
    for (int h = 0; h < post->role[role].n_heads; h++)
        if (qk_blend_takes_slice(post, choice, role, slice, h) &&
            qk_blend_slice_rows(post, role, slice, h, &first, &length))
            rows += length;
    return rows;
}

/* How many heads of the role are not kept in this part. */
static uint64_t changed_heads(
    const struct qk_layer *post, const struct qk_layer_choice *choice, enum qk_role role, int part)
{
    uint64_t n = 0;
    for (int h = 0; h < post->role[role].n_heads; h++)
        n += !keeps_head(post, choice, role, part, h);
    return n;
}

/* Bytes of a part's tensor that belong to chosen heads. */
static uint64_t part_bytes(
    const struct qk_layer *layer, const struct qk_layer_choice *choice, enum qk_role role, int part)
{
    const struct qk_view *view = &layer->role[role];
    const struct qk_tensor *tensor = part_tensor(view, part);
    if (part >= QK_PART_COUNT)
        return rows_of_slice(layer, choice, role, &view->slice[part - QK_PART_COUNT]) *
               (tensor->bytes / (tensor->n_dims > 0 ? tensor->shape[0] : 1));
    if (part == QK_PART_GAIN && qk_blend_shares_gain(layer, role))
        return tensor->bytes;
    uint64_t rows = changed_heads(layer, choice, role, part) * (uint64_t)layer->head_dim;
    return rows * (part == QK_PART_WEIGHT ? layer->d : 1) * (qk_dtype_bits(tensor->dtype) / 8);
}

/* --- finding --- */

struct finder {
    const struct qk_pair *pair;
    const struct qk_selection *selection;
    bool norms, adapter;
    struct qk_change *change;
    size_t n, capacity;
    struct qk_error *err;
};

static enum qk_code note_change(struct finder *f, int layer, enum qk_role role,
    const struct qk_tensor *tensor, uint64_t bytes, struct qk_change **out)
{
    struct qk_change *change = NULL;
    for (size_t i = 0; i < f->n; i++) /* one tensor may hold q and k of a layer */
        if (f->change[i].tensor == tensor)
            change = &f->change[i];
    if (change == NULL) {
        QK_TRY(qk_grow(&f->change, &f->capacity, f->n + 1, sizeof *f->change, f->err));
        change = &f->change[f->n++];
        change->tensor = tensor;
        change->layer = layer;
    }
    if (strstr(change->roles, qk_role_name(role)) == NULL)
        strcat(change->roles, qk_role_name(role));
    change->bytes_changed += bytes;
    *out = change;
    return QK_OK;
}

static const struct qk_checkpoint *post_checkpoint(const struct qk_pair *pair)
{
    return pair->model[QK_POST]->checkpoint;
}

/* Factors can only be scaled. */
static enum qk_code check_factor_mode(const struct finder *f, int layer, enum qk_role role, enum qk_part part)
{
    char text[QK_CHOICE_TEXT], expected[QK_MODE_LIST];
    const struct qk_layer_choice *choice = &f->selection->choice[layer];
    const struct qk_layer *post = f->pair->layer[layer].side[QK_POST];
    double alpha;
    for (int h = 0; h < qk_layer_choice_count(choice, role); h++)
        if (!qk_choice_alpha(qk_blend_effect(post, choice, role, part, h), &alpha))
            return qk_fail(f->err, QK_USAGE,
                "layer %d: an adapter cannot hold this choice (found %s, expected %s)", layer,
                qk_choice_text(text, qk_layer_choice_of(choice, role, h)),
                qk_mode_list(expected, qk_mode_is_linear, false));
    return QK_OK;
}

/* Adds the rows of lora_B for the role's rows of the weight. Without their product, that weight is pre's. */
static enum qk_code add_factor(
    struct finder *f, int layer, enum qk_role role, int part, const struct qk_tensor *tensor)
{
    const struct qk_adapter *adapter = post_checkpoint(f->pair)->adapter;
    if (part < QK_PART_COUNT)
        QK_TRY(check_factor_mode(f, layer, role, (enum qk_part)part));
    const struct qk_addition *addition = qk_adapter_addition(adapter, tensor);
    if (addition == NULL)
        return QK_OK;
    const char *path = qk_adapter_file(adapter)->source.path;
    if (addition->instead != NULL)
        return qk_fail(f->err, QK_INPUT,
            "%s: %s: trained as a whole, while only factors are changed in an adapter", path,
            addition->instead->name);
    if (part >= QK_PART_COUNT)
        return qk_fail(f->err, QK_USAGE,
            "layer %d: %s is a product of stored tensors (latent attention), and an adapter holds no choice "
            "for it: export the merged checkpoint, without --adapter",
            layer, qk_role_name(role));
    const struct qk_tensor *b = addition->b;
    if (!qk_dtype_writable(b->dtype))
        return qk_fail(
            f->err, QK_INPUT, "%s: %s: a choice cannot be rounded to %s", path, b->name, b->dtype_text);
    const struct qk_layer *post = f->pair->layer[layer].side[QK_POST];
    uint64_t rows = changed_heads(post, &f->selection->choice[layer], role, part) * (uint64_t)post->head_dim;
    struct qk_change *change;
    QK_TRY(note_change(f, layer, role, b, rows * b->shape[1] * (qk_dtype_bits(b->dtype) / 8), &change));
    change->addition = addition;
    return QK_OK;
}

static enum qk_code add_part(struct finder *f, int layer, enum qk_role role, int part)
{
    struct qk_change *change;
    const struct qk_tensor *tensor = changed_tensor(f->pair, f->selection, f->norms, layer, role, part);
    if (tensor == NULL)
        return QK_OK;
    if (f->adapter)
        return add_factor(f, layer, role, part, tensor);
    uint64_t bytes =
        part_bytes(f->pair->layer[layer].side[QK_POST], &f->selection->choice[layer], role, part);
    return note_change(f, layer, role, tensor, bytes, &change);
}

static enum qk_code find_layer(struct finder *f, int layer)
{
    const struct qk_layer_choice *choice = &f->selection->choice[layer];
    if (qk_layer_choice_keeps(choice))
        return QK_OK;
    if (!f->pair->layer[layer].has_qk)
        return qk_fail(f->err, QK_INPUT, "layer %d cannot be exported with a choice: %s", layer,
            f->pair->layer[layer].problem != NULL ? f->pair->layer[layer].problem : "it has no q and k");
    QK_TRY(qk_blend_check(f->pair, layer, choice, f->norms, f->err));
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        for (int part = 0; part < n_parts(&f->pair->layer[layer].side[QK_POST]->role[r]); part++)
            QK_TRY(add_part(f, layer, (enum qk_role)r, part));
    return QK_OK;
}

/* Adds what an adapter changes: it differs from the copied files, chosen or not. */
static enum qk_code add_merged(struct finder *f)
{
    const struct qk_checkpoint *post = post_checkpoint(f->pair);
    size_t n = f->n, n_merged = post->adapter != NULL && !f->adapter ? post->adapter->n_additions : 0;
    for (size_t i = 0; i < n_merged; i++) {
        const struct qk_tensor *tensor = post->adapter->addition[i].base;
        size_t k = 0;
        while (k < n && f->change[k].tensor != tensor)
            k++;
        if (k < n)
            continue;
        QK_TRY(qk_grow(&f->change, &f->capacity, f->n + 1, sizeof *f->change, f->err));
        f->change[f->n++] = (struct qk_change){.tensor = tensor, .layer = -1, .bytes_changed = tensor->bytes};
    }
    return QK_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct qk_tensor *x = ((const struct qk_change *)a)->tensor,
                           *y = ((const struct qk_change *)b)->tensor;
    if (x->shard != y->shard)
        return x->shard < y->shard ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Tensors of a PyTorch file may be views of the same bytes: a change of one would change the other. Of a name in two
 * shards, programs differ in which one they read. */
static enum qk_code check_alone(
    const struct qk_checkpoint *post, const struct qk_tensor *tensor, struct qk_error *err)
{
    const struct qk_tensor_file *file = &post->shard[tensor->shard].file;
    for (size_t i = 0; i < file->n_tensors && file->tensor[i].offset < tensor->offset + tensor->bytes; i++) {
        const struct qk_tensor *other = &file->tensor[i];
        if (other != tensor && other->offset + other->bytes > tensor->offset && other->bytes > 0)
            return qk_fail(err, QK_INPUT,
                "%s: %s: shares its bytes with %s, so it cannot be changed alone: convert to safetensors first",
                file->source.path, tensor->name, other->name);
    }
    for (size_t k = 0; k < post->n_shards; k++)
        for (size_t i = 0; (int)k != tensor->shard && i < post->shard[k].file.n_tensors; i++)
            if (strcmp(post->shard[k].file.tensor[i].name, tensor->name) == 0)
                return qk_fail(err, QK_INPUT, "%s: %s: is also in %s, so it cannot be changed alone",
                    file->source.path, tensor->name, post->shard[k].name);
    return QK_OK;
}

static enum qk_code find_all(struct finder *f)
{
    for (int i = 0; i < f->selection->n_layers; i++)
        QK_TRY(find_layer(f, i));
    QK_TRY(add_merged(f));
    for (size_t i = 0; i < f->n && !f->adapter; i++)
        QK_TRY(check_alone(post_checkpoint(f->pair), f->change[i].tensor, f->err));
    return QK_OK;
}

const struct qk_checkpoint *qk_export_subject(const struct qk_pair *pair, bool adapter)
{
    const struct qk_checkpoint *post = post_checkpoint(pair);
    return adapter && post->adapter != NULL ? post->adapter->own : post;
}

enum qk_code qk_changes_find(const struct qk_pair *pair, const struct qk_selection *selection, bool norms,
    bool adapter, struct qk_change **out, size_t *n, struct qk_error *err)
{
    struct finder f = {.pair = pair, .selection = selection, .norms = norms, .adapter = adapter, .err = err};
    *out = NULL;
    *n = 0;
    if (adapter && post_checkpoint(pair)->adapter == NULL)
        return qk_fail(
            err, QK_USAGE, "%s: post is not an adapter, so none can be written", post_checkpoint(pair)->path);
    enum qk_code code = find_all(&f);
    if (code != QK_OK) {
        free(f.change);
        return code;
    }
    if (f.n > 1)
        qsort(f.change, f.n, sizeof *f.change, by_place);
    *out = f.change;
    *n = f.n;
    return QK_OK;
}

/* --- applying --- */

/* The head of the view to which `row` of the stored tensor belongs, or -1. */
static int head_of_row(const struct qk_layer *layer, const struct qk_view *view, uint64_t row)
{
    for (int h = 0; h < view->n_heads; h++)
        if (row >= view->first_row[h] && row < view->first_row[h] + (uint64_t)layer->head_dim)
            return h;
    return -1;
}

/* The choice that applies to a row of the factor lora_B. */
static struct qk_choice factor_choice(const struct qk_pair *pair, const struct qk_selection *selection,
    const struct qk_change *change, uint64_t row)
{
    const struct qk_layer *layer = pair->layer[change->layer].side[QK_POST];
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        int head =
            layer->role[r].weight == change->addition->base ? head_of_row(layer, &layer->role[r], row) : -1;
        if (head >= 0)
            return qk_blend_effect(
                layer, &selection->choice[change->layer], (enum qk_role)r, QK_PART_WEIGHT, head);
    }
    return (struct qk_choice){.mode = QK_KEEP};
}

/* (1 - alpha) (W + s B A) + alpha W = W + s ((1 - alpha) B) A. */
static enum qk_code scale_factor(const struct qk_pair *pair, const struct qk_selection *selection,
    const struct qk_change *change, char *bytes, struct qk_error *err)
{
    const struct qk_tensor *b = change->tensor;
    size_t rank = (size_t)b->shape[1], width = rank * (qk_dtype_bits(b->dtype) / 8);
    double *values;
    QK_TRY(qk_alloc(&values, rank, sizeof *values, err));
    for (uint64_t row = 0; row < b->shape[0]; row++, bytes += width) {
        double alpha = 0;
        if (!qk_choice_alpha(factor_choice(pair, selection, change, row), &alpha) || alpha == 0)
            continue;
        qk_dtype_to_f64(b->dtype, bytes, rank, values);
        for (size_t k = 0; k < rank; k++)
            values[k] *= 1 - alpha;
        qk_dtype_from_f64(b->dtype, values, rank, bytes);
    }
    free(values);
    return QK_OK;
}

enum qk_code qk_change_apply(const struct qk_pair *pair, const struct qk_selection *selection, bool norms,
    const struct qk_change *change, void *bytes, struct qk_progress *progress, struct qk_error *err)
{
    int layer = change->layer;
    if (layer < 0)
        return QK_OK;
    if (change->addition != NULL)
        return scale_factor(pair, selection, change, bytes, err);
    const struct qk_layer_choice *choice = &selection->choice[layer];
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        enum qk_role role = (enum qk_role)r;
        bool hit[QK_PART_COUNT + QK_MAX_SLICES] = {false};
        int parts = n_parts(&pair->layer[layer].side[QK_POST]->role[r]);
        for (int part = 0; part < parts; part++)
            hit[part] = changed_tensor(pair, selection, norms, layer, role, part) == change->tensor;
        if (hit[QK_PART_WEIGHT] || hit[QK_PART_BIAS])
            QK_TRY(qk_blend_role(pair, layer, role, choice, hit[QK_PART_WEIGHT] ? bytes : NULL,
                hit[QK_PART_BIAS] ? bytes : NULL, progress, err));
        if (hit[QK_PART_GAIN])
            QK_TRY(qk_blend_gain(pair, layer, role, choice, bytes, err));
        for (int part = QK_PART_COUNT; part < parts; part++)
            if (hit[part])
                QK_TRY(qk_blend_slice(pair, layer, role, choice, part - QK_PART_COUNT, bytes, err));
    }
    return QK_OK;
}

static bool holds_row(const struct qk_slice *slice, uint64_t row)
{
    uint64_t behind = row - slice->first;
    return row >= slice->first && behind / slice->step < slice->count && behind % slice->step < slice->length;
}

/* True when the choices take `row` of a slice's tensor with the slice. */
static bool takes_row(const struct qk_layer *layer, const struct qk_layer_choice *choice, enum qk_role role,
    const struct qk_slice *slice, uint64_t row)
{
    uint64_t first, length;
    if (!qk_blend_splits_slice(layer, choice, role, slice))
        return holds_row(slice, row) && qk_blend_takes_slice(layer, choice, role, slice, 0);
    for (int h = 0; h < layer->role[role].n_heads; h++)
        if (qk_blend_slice_rows(layer, role, slice, h, &first, &length) && row >= first &&
            row < first + length)
            return qk_blend_takes_slice(layer, choice, role, slice, h);
    return false;
}

/* *mode = what made element `index` of the changed tensor, if it is in this part of the role. */
static bool mode_in_part(const struct qk_layer *layer, const struct qk_layer_choice *choice,
    enum qk_role role, int part, const struct qk_tensor *tensor, uint64_t index, enum qk_mode *mode)
{
    const struct qk_view *view = &layer->role[role];
    if (part >= QK_PART_COUNT) {
        const struct qk_slice *slice = &view->slice[part - QK_PART_COUNT];
        uint64_t width = slice->tensor->n_dims == 2 ? slice->tensor->shape[1] : 1;
        *mode = QK_RESTORE;
        return takes_row(layer, choice, role, slice, index / width);
    }
    uint64_t row = part != QK_PART_WEIGHT ? index
                   : view->transposed     ? index % tensor->shape[1]
                                          : index / layer->d;
    int head = part != QK_PART_GAIN                ? head_of_row(layer, view, row)
               : qk_blend_shares_gain(layer, role) ? 0
                                                   : (int)(index / (uint64_t)layer->head_dim);
    if (head < 0)
        return false;
    *mode = qk_blend_effect(layer, choice, role, (enum qk_part)part, head).mode;
    return true;
}

enum qk_mode qk_change_mode(const struct qk_pair *pair, const struct qk_selection *selection, bool norms,
    const struct qk_change *change, uint64_t index)
{
    enum qk_mode mode;
    if (change->layer < 0)
        return QK_KEEP;
    if (change->addition != NULL)
        return factor_choice(pair, selection, change, index / change->tensor->shape[1]).mode;
    const struct qk_layer *layer = pair->layer[change->layer].side[QK_POST];
    const struct qk_layer_choice *choice = &selection->choice[change->layer];
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        for (int part = 0; part < n_parts(&layer->role[r]); part++)
            if (changed_tensor(pair, selection, norms, change->layer, (enum qk_role)r, part) ==
                    change->tensor &&
                mode_in_part(layer, choice, (enum qk_role)r, part, change->tensor, index, &mode))
                return mode;
    return QK_KEEP;
}

static bool same_rows(const struct qk_view *a, const struct qk_view *b)
{
    return a->transposed == b->transposed && a->n_heads == b->n_heads &&
           memcmp(a->first_row, b->first_row, (size_t)a->n_heads * sizeof *a->first_row) == 0;
}

/* The rows of a head in the tensor of a part. */
static struct qk_change_span span_of(
    const struct qk_layer *layer, enum qk_role role, enum qk_part part, int head, struct qk_choice choice)
{
    const struct qk_view *view = &layer->role[role];
    uint64_t m = (uint64_t)layer->head_dim;
    if (part != QK_PART_GAIN)
        return (struct qk_change_span){
            view->first_row[head], m, part == QK_PART_WEIGHT && view->transposed, choice};
    if (qk_blend_shares_gain(layer, role))
        return (struct qk_change_span){0, view->norm->shape[0], false, choice};
    if (view->norm->n_dims == 2)
        return (struct qk_change_span){(uint64_t)head, 1, false, choice};
    return (struct qk_change_span){(uint64_t)head * m, m, false, choice};
}

/* Adds a span, or makes the last one longer. */
static enum qk_code add_span(struct qk_change_spans *spans, struct qk_change_span span, struct qk_error *err)
{
    struct qk_change_span *last = spans->n > 0 ? &spans->span[spans->n - 1] : NULL;
    bool alike = last == NULL || qk_choice_equal(last->choice, span.choice);
    spans->whole = spans->whole && alike;
    if (last != NULL && alike && last->first + last->length == span.first) {
        last->length += span.length;
        return QK_OK;
    }
    QK_TRY(qk_grow(&spans->span, &spans->capacity, spans->n + 1, sizeof *spans->span, err));
    spans->span[spans->n++] = span;
    return QK_OK;
}

static enum qk_code add_spans(struct qk_change_spans *spans, const struct qk_layer *post,
    const struct qk_layer_choice *choice, enum qk_role role, enum qk_part part, struct qk_error *err)
{
    bool shared = part == QK_PART_GAIN && qk_blend_shares_gain(post, role);
    for (int h = 0; h < (shared ? 1 : post->role[role].n_heads); h++) {
        struct qk_choice effect = qk_blend_effect(post, choice, role, part, h);
        if (effect.mode != QK_KEEP)
            QK_TRY(add_span(spans, span_of(post, role, part, h, effect), err));
        else
            spans->whole = false;
    }
    return QK_OK;
}

enum qk_code qk_change_spans(const struct qk_pair *pair, const struct qk_selection *selection, bool norms,
    const struct qk_change *change, struct qk_change_spans *out, struct qk_error *err)
{
    const struct qk_pair_layer *layer = &pair->layer[change->layer];
    const struct qk_layer *post = layer->side[QK_POST];
    enum qk_code code = QK_OK;
    bool fits = true;
    *out = (struct qk_change_spans){.whole = change->bytes_changed == change->tensor->bytes};
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        for (int part = QK_PART_WEIGHT; part <= QK_PART_GAIN && fits && code == QK_OK; part++) {
            if (changed_tensor(pair, selection, norms, change->layer, (enum qk_role)r, part) !=
                change->tensor)
                continue;
            const struct qk_view *view = &layer->side[QK_PRE]->role[r];
            const struct qk_tensor *source = part_tensor(view, part);
            fits = source != NULL && same_rows(view, &post->role[r]) &&
                   (out->pre == NULL || source == out->pre) && qk_tensor_same_shape(source, change->tensor);
            out->pre = source;
            if (fits)
                code = add_spans(
                    out, post, &selection->choice[change->layer], (enum qk_role)r, (enum qk_part)part, err);
        }
    if (!fits || code != QK_OK)
        out->n = 0;
    return code;
}
