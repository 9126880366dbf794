/* change.h - the tensors that a selection changes, and their new bytes. */
#ifndef QK_BLEND_CHANGE_H
#define QK_BLEND_CHANGE_H

#include "base/progress.h"
#include "blend/selection.h"

struct qk_change {                      /* one changed tensor */
    const struct qk_tensor *tensor;     /* post's, or its adapter's; borrowed */
    const struct qk_addition *addition; /* NULL, or the weight whose factor B the tensor is */
    int layer;                          /* -1: no choice, but post's adapter changes it */
    char roles[4];                      /* "q", "k", "qk"; "" without a choice */
    uint64_t bytes_changed;             /* bytes of its rows that belong to chosen roles */
};

/* The checkpoint that an export copies: post, or with an adapter the adapter alone. Borrowed. */
const struct qk_checkpoint *qk_export_subject(const struct qk_pair *pair, bool adapter);

/* *out = the tensors of the export's subject that the selection or a merge changes, by shard and offset; the caller
 * frees. QK_INPUT when a choice cannot be computed (qk_blend_check). With `adapter`, QK_USAGE when post is not one or
 * a choice is not linear (qk_choice_alpha). */
enum qk_code qk_changes_find(const struct qk_pair *pair, const struct qk_selection *selection, bool norms,
    bool adapter, struct qk_change **out, size_t *n, struct qk_error *err);

/* Changes `bytes`, the subject's bytes of the changed tensor, to those of the export. */
enum qk_code qk_change_apply(const struct qk_pair *pair, const struct qk_selection *selection, bool norms,
    const struct qk_change *change, void *bytes, struct qk_progress *progress, struct qk_error *err);

/* The mode that made element `index` of the changed tensor: keep, restore, or a blend. */
enum qk_mode qk_change_mode(const struct qk_pair *pair, const struct qk_selection *selection, bool norms,
    const struct qk_change *change, uint64_t index);

/* Rows `first` to first + length of a changed tensor (columns when the view is transposed, entries of a vector), which
 * one choice makes from the rows in the same place of pre's tensor. */
struct qk_change_span {
    uint64_t first, length;
    bool columns;
    struct qk_choice choice; /* of qk_blend_effect; never keep */
};
struct qk_change_spans {
    struct qk_change_span *span; /* n, owned, in their order for each role */
    size_t n, capacity;
    const struct qk_tensor *pre; /* the tensor of pre */
    bool whole;                  /* one choice makes every element of the tensor */
};
/* *out = the spans that make up all that changes in the tensor; the caller frees `span`. n is 0 when the change is not
 * of this kind: rows at other places in pre, tensors of another shape, or slices. QK_IO when there is no memory. */
enum qk_code qk_change_spans(const struct qk_pair *pair, const struct qk_selection *selection, bool norms,
    const struct qk_change *change, struct qk_change_spans *out, struct qk_error *err);

#endif
