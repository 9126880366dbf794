/* pair.c - the layers of pre and post, matched. */
#include "model/pair.h"

#include "base/mem.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

const char *qk_side_name(enum qk_side side)
{
    return side == QK_PRE ? "pre" : "post";
}

static bool same_scaling(const struct qk_scaling *a, const struct qk_scaling *b)
{
    if (a->tensor == NULL || b->tensor == NULL)
        return a->tensor == b->tensor;
    return a->rows == b->rows && a->columns == b->columns && a->height == b->height &&
           a->tensor->dtype == b->tensor->dtype;
}

/* True when the values of both are multiplied by scales of the same form, or by none. */
static bool same_scales(const struct qk_view *a, const struct qk_view *b)
{
    return same_scaling(&a->scale, &b->scale) && same_scaling(&a->down_scale, &b->down_scale);
}

/* False, with a sentence, when what a restore copies lies in other rows. */
static bool compare_slices(
    const struct qk_view *a, const struct qk_view *b, enum qk_role role, struct qk_text *text)
{
    if (a->n_slices != b->n_slices) {
        qk_text_add(text, "pre's %s has another latent (%s)", qk_role_name(role), a->weight->name);
        return false;
    }
    for (int p = 0; p < b->n_slices; p++)
        if (a->slice[p].first != b->slice[p].first || a->slice[p].length != b->slice[p].length ||
            a->slice[p].step != b->slice[p].step || a->slice[p].count != b->slice[p].count) {
            qk_text_add(
                text, "%s lies in other rows of pre's %s", qk_role_name(role), a->slice[p].tensor->name);
            return false;
        }
    return true;
}

/* "F8_E4M3 scaled by x.weight_scale, F32, one for 128 x 128 values" */
static void describe_format(const struct qk_view *view, struct qk_text *text)
{
    bool down = view->scale.tensor == NULL && view->down_scale.tensor != NULL;
    const struct qk_scaling *scale = down ? &view->down_scale : &view->scale;
    qk_text_add(text, "%s", (down ? view->down : view->weight)->dtype_text);
    if (scale->tensor != NULL)
        qk_text_add(text, " scaled by %s, %s, one for %llu x %llu values", scale->tensor->name,
            scale->tensor->dtype_text, (unsigned long long)scale->rows, (unsigned long long)scale->columns);
}

/* Writes why q and k of fitting layers can be compared, and not changed, as a sentence; an empty text when they can. */
static void compare_formats(const struct qk_layer *pre, const struct qk_layer *post, struct qk_text *text)
{
    const char *fixed = post->fixed != NULL || pre->shares ? post->fixed : pre->fixed;
    for (int r = 0; r < QK_ROLE_COUNT && fixed == NULL; r++) {
        const struct qk_view *a = &pre->role[r], *b = &post->role[r];
        bool scaled = b->scale.tensor != NULL || b->down_scale.tensor != NULL;
        if (b->weight == NULL || (same_scales(a, b) && (!scaled || a->weight->dtype == b->weight->dtype)))
            continue;
        qk_text_add(text,
            "pre and post store %s differently: it can be compared, but not restored or blended (",
            qk_role_name((enum qk_role)r));
        describe_format(a, text);
        qk_text_add(text, " in pre, ");
        describe_format(b, text);
        qk_text_add(text, " in post)");
        return;
    }
    if (fixed != NULL)
        qk_text_add(text, "%s", fixed);
}

/* Writes the first way in which the layers do not fit, as a sentence; an empty text when they do. */
static void compare_layers(const struct qk_layer *pre, const struct qk_layer *post, struct qk_text *text)
{
    if (pre->problem != NULL || post->problem != NULL) {
        qk_text_add(text, "%s: %s", pre->problem != NULL ? "pre" : "post",
            pre->problem != NULL ? pre->problem : post->problem);
        return;
    }
    /* The config alone may open or close a window; any other difference is another mixer. */
    bool softmax = qk_kind_softmax(pre->kind) && qk_kind_softmax(post->kind);
    if (pre->kind != post->kind && !softmax) {
        qk_text_add(text, "pre's layer is of kind %s, post's of kind %s", qk_kind_name(pre->kind),
            qk_kind_name(post->kind));
        return;
    }
    if (post->kind == QK_NONE)
        return;
    if (pre->head_dim != post->head_dim || pre->d != post->d) {
        qk_text_add(text, "the heads differ (pre has %d x %llu, post %d x %llu)", pre->head_dim,
            (unsigned long long)pre->d, post->head_dim, (unsigned long long)post->d);
        return;
    }
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        const struct qk_view *a = &pre->role[r], *b = &post->role[r];
        if ((a->weight == NULL) != (b->weight == NULL)) {
            qk_text_add(text, "only %s has keys of its own (%s)", a->weight != NULL ? "pre" : "post",
                a->weight != NULL ? post->no_k : pre->no_k);
            return;
        }
        if (a->n_heads != b->n_heads) {
            qk_text_add(
                text, "pre has %d %s heads, post %d", a->n_heads, r == QK_Q ? "query" : "key", b->n_heads);
            return;
        }
        if ((a->down == NULL) != (b->down == NULL) ||
            (a->down != NULL && a->weight->shape[1] != b->weight->shape[1])) {
            qk_text_add(text, "pre's %s has another latent (%s: found %llu columns, expected %llu)",
                qk_role_name((enum qk_role)r), a->weight->name, (unsigned long long)a->weight->shape[1],
                (unsigned long long)b->weight->shape[1]);
            return;
        }
        if (same_scales(a, b) && !compare_slices(a, b, (enum qk_role)r, text))
            return;
        if ((a->bias == NULL) != (b->bias == NULL)) {
            qk_text_add(text, "only %s has a bias (%s)", a->bias != NULL ? "pre" : "post",
                a->bias != NULL ? a->bias->name : b->bias->name);
            return;
        }
    }
}

/* Moves a text, which holds tensor names, to *out in printable form; NULL for an empty one. Frees it. */
static enum qk_code take_text(struct qk_text *text, char **out, struct qk_error *err)
{
    char printable[QK_ERROR_TEXT];
    bool failed = text->failed, empty = text->length == 0;
    if (!failed && !empty)
        qk_printable(printable, sizeof printable, text->s);
    qk_text_free(text);
    if (failed)
        return qk_fail_memory(err, sizeof(struct qk_error));
    return empty ? QK_OK : qk_strdup_to(out, printable, err);
}

static enum qk_code match(struct qk_pair *pair, int index, struct qk_error *err)
{
    struct qk_pair_layer *layer = &pair->layer[index];
    const struct qk_layer *pre = &pair->model[QK_PRE]->layer[index],
                          *post = &pair->model[QK_POST]->layer[index];
    layer->index = index;
    layer->kind = post->kind;
    layer->side[QK_PRE] = pre;
    layer->side[QK_POST] = post;
    layer->no_k = post->no_k;
    struct qk_text problem = {0}, fixed = {0};
    compare_layers(pre, post, &problem);
    QK_TRY(take_text(&problem, &layer->problem, err));
    layer->has_qk = layer->problem == NULL && post->kind != QK_NONE;
    if (!layer->has_qk)
        return QK_OK;
    compare_formats(pre, post, &fixed);
    return take_text(&fixed, &layer->fixed, err);
}

static enum qk_code open_pair(
    struct qk_pair *pair, const char *const paths[QK_SIDE_COUNT], struct qk_error *err)
{
    bool adapter;
    QK_TRY(qk_adapter_is(paths[QK_POST], &adapter, err));
    QK_TRY(qk_model_open(paths[QK_PRE], &pair->model[QK_PRE], err));
    QK_TRY(qk_model_open_adapted(adapter ? paths[QK_PRE] : paths[QK_POST], adapter ? paths[QK_POST] : NULL,
        &pair->model[QK_POST], err));
    int n = pair->model[QK_POST]->n_layers;
    if (pair->model[QK_PRE]->n_layers != n)
        return qk_fail(err, QK_INPUT, "%s: does not fit %s (found %d layers, expected %d)", paths[QK_POST],
            paths[QK_PRE], n, pair->model[QK_PRE]->n_layers);
    QK_TRY(qk_alloc(&pair->layer, (size_t)n, sizeof *pair->layer, err));
    pair->n_layers = n;
    const char *problem = NULL;
    bool any = false;
    for (int i = 0; i < n; i++) {
        QK_TRY(match(pair, i, err));
        any = any || pair->layer[i].has_qk;
        if (problem == NULL)
            problem = pair->layer[i].problem;
    }
    if (!any)
        return qk_fail(err, QK_INPUT, "%s: no layer has q and k that fit %s%s%s", paths[QK_POST],
            paths[QK_PRE], problem != NULL ? ": " : "", problem != NULL ? problem : "");
    return QK_OK;
}

enum qk_code qk_pair_open(const char *pre, const char *post, struct qk_pair **out, struct qk_error *err)
{
    *out = NULL;
    struct qk_pair *pair;
    QK_TRY(qk_alloc(&pair, 1, sizeof *pair, err));
    enum qk_code code = open_pair(pair, (const char *const[]){pre, post}, err);
    if (code != QK_OK) {
        qk_pair_close(pair);
        return code;
    }
    *out = pair;
    return QK_OK;
}

enum qk_code qk_pair_unchanged(const struct qk_pair *pair, struct qk_error *err)
{
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        QK_TRY(qk_checkpoint_unchanged(pair->model[s]->checkpoint, err));
    return QK_OK;
}

enum qk_code qk_pair_notes(const struct qk_pair *pair, struct qk_lines *out, struct qk_error *err)
{
    *out = (struct qk_lines){0};
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        const struct qk_lines *notes = &pair->model[s]->checkpoint->notes;
        for (size_t i = 0; i < notes->n; i++)
            if (!qk_lines_hold(out, notes->line[i]))
                QK_TRY(qk_lines_add(out, err, "%s", notes->line[i]));
    }
    return QK_OK;
}

void qk_pair_close(struct qk_pair *pair)
{
    if (pair == NULL)
        return;
    for (int i = 0; i < pair->n_layers; i++) {
        free(pair->layer[i].problem);
        free(pair->layer[i].fixed);
    }
    free(pair->layer);
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        qk_model_close(pair->model[s]);
    free(pair);
}
