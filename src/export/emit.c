/* emit.c - a selection written as a file for mergekit or brainsurgery. */
#include "export/emit.h"

#include "base/mem.h"
#include "base/text.h"
#include "blend/change.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* One tensor that changes as a whole, or rows of it: (1 - alpha) post + alpha pre; alpha is 1 for restore. */
struct edit {
    const struct qk_tensor *side[QK_SIDE_COUNT];
    double alpha;
    struct qk_change_span *span; /* n_spans, owned; none: the whole tensor */
    size_t n_spans;
};

struct emitter {
    const char *tool;
    bool slices; /* the tool can change rows of a tensor */
    const struct qk_pair *pair;
    struct edit *edit; /* n, in the order of post's files */
    size_t n, capacity;
    char path[QK_SIDE_COUNT][PATH_MAX]; /* absolute */
    struct qk_text text;
    struct qk_error *err;
};

static const struct qk_checkpoint *checkpoint(const struct emitter *e, enum qk_side side)
{
    return e->pair->model[side]->checkpoint;
}

static enum qk_code refuse(
    const struct emitter *e, enum qk_side side, const struct qk_tensor *tensor, const char *what)
{
    return qk_fail(e->err, QK_INPUT, "%s: %s: %s cannot express this selection: %s",
        qk_checkpoint_file(checkpoint(e, side), tensor), tensor->name, e->tool, what);
}

/* --- what changes --- */

static enum qk_code check_role(
    const struct emitter *e, const struct qk_selection *selection, int layer, enum qk_role role)
{
    const struct qk_layer_choice *choice = &selection->choice[layer];
    char text[QK_CHOICE_TEXT], expected[QK_MODE_LIST];
    double alpha;
    for (int h = 0; h < qk_layer_choice_count(choice, role); h++)
        if (!qk_choice_alpha(qk_choice_effect(qk_layer_choice_of(choice, role, h)), &alpha))
            return qk_fail(e->err, QK_USAGE,
                "layer %d: %s cannot express this choice (found %s, expected %s)", layer, e->tool,
                qk_choice_text(text, qk_layer_choice_of(choice, role, h)),
                qk_mode_list(expected, qk_mode_is_linear, false));
    return QK_OK;
}

static enum qk_code check_choices(const struct emitter *e, const struct qk_selection *selection)
{
    for (int i = 0; i < selection->n_layers; i++)
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            QK_TRY(check_role(e, selection, i, (enum qk_role)r));
    return QK_OK;
}

/* Adds an edit for the spans with the choice of the first, which leave the list. */
static enum qk_code take_alike(struct emitter *e, struct qk_change_spans *spans, const struct qk_tensor *post)
{
    const struct qk_choice choice = spans->span[0].choice;
    double alpha = 0;
    size_t left = 0;
    qk_choice_alpha(choice, &alpha); /* check_choices has seen that it is linear */
    QK_TRY(qk_grow(&e->edit, &e->capacity, e->n + 1, sizeof *e->edit, e->err));
    struct edit *edit = &e->edit[e->n++];
    *edit = (struct edit){.side = {spans->pre, post}, .alpha = alpha};
    if (spans->whole) {
        spans->n = 0;
        return QK_OK;
    }
    QK_TRY(qk_alloc(&edit->span, spans->n, sizeof *edit->span, e->err));
    for (size_t i = 0; i < spans->n; i++) {
        if (qk_choice_equal(spans->span[i].choice, choice))
            edit->span[edit->n_spans++] = spans->span[i];
        else
            spans->span[left++] = spans->span[i];
    }
    spans->n = left;
    return QK_OK;
}

/* Takes a changed tensor as a whole or by rows, or says why the tool cannot. */
static enum qk_code take_change(
    struct emitter *e, const struct qk_selection *selection, bool norms, const struct qk_change *change)
{
    struct qk_change_spans spans;
    enum qk_code code = qk_change_spans(e->pair, selection, norms, change, &spans, e->err);
    if (code == QK_OK && (spans.n == 0 || (!spans.whole && !e->slices)))
        code = refuse(e, QK_POST, change->tensor,
            change->bytes_changed < change->tensor->bytes
                ? "it changes only in part, and whole tensors are blended there"
                : "its parts do not change alike");
    while (code == QK_OK && spans.n > 0)
        code = take_alike(e, &spans, change->tensor);
    free(spans.span);
    return code;
}

static enum qk_code take_changes(struct emitter *e, const struct qk_selection *selection, bool norms,
    const struct qk_change *change, size_t n)
{
    if (n == 0)
        return qk_fail(e->err, QK_USAGE, "emit: this selection changes nothing in post");
    for (size_t i = 0; i < n; i++)
        QK_TRY(take_change(e, selection, norms, &change[i]));
    return QK_OK;
}

/* Refuses adapters: names of files do not say that an adapter is merged first. */
static enum qk_code check_adapter(const struct emitter *e)
{
    const struct qk_checkpoint *post = checkpoint(e, QK_POST);
    return post->adapter == NULL
               ? QK_OK
               : qk_fail(e->err, QK_INPUT, "%s: an adapter: %s reads whole checkpoints (export it first)",
                     post->path, e->tool);
}

static enum qk_code find_edits(struct emitter *e, const struct qk_selection *selection, bool norms)
{
    struct qk_change *change;
    size_t n;
    QK_TRY(check_adapter(e));
    QK_TRY(check_choices(e, selection));
    QK_TRY(qk_changes_find(e->pair, selection, norms, false, &change, &n, e->err));
    enum qk_code code = take_changes(e, selection, norms, change, n);
    free(change);
    return code;
}

/* --- YAML --- */

static enum qk_code check_printable(const struct emitter *e, const char *text)
{
    char *printable;
    size_t n = 4 * strlen(text) + 1;
    QK_TRY(qk_alloc(&printable, n, 1, e->err));
    bool plain = strcmp(qk_printable(printable, n, text), text) == 0;
    enum qk_code code =
        plain ? QK_OK
              : qk_fail(e->err, QK_INPUT, "%s: %s cannot express this name (found control characters)", text,
                    e->tool);
    free(printable);
    return code;
}

/* Writes both texts as one single-quoted scalar, in which a backslash is a plain character. Each character of the
 * second text that is in `special` gets a backslash before it. `slice` follows as it is. */
static void add_quoted(
    struct emitter *e, const char *prefix, const char *text, const char *special, const char *slice)
{
    qk_text_add(&e->text, "'%s", prefix);
    for (const char *p = text; *p != '\0'; p++) {
        if (strchr(special, *p) != NULL)
            qk_text_add(&e->text, "\\");
        qk_text_add_bytes(&e->text, p, 1);
        if (*p == '\'')
            qk_text_add(&e->text, "'");
    }
    qk_text_add(&e->text, "%s'", slice);
}

/* Writes the shortest digits that give the number back, with a point: YAML 1.1 reads 1e-05 as a text. */
static void add_number(struct emitter *e, double value)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%.15g", value);
    if (strtod(digits, NULL) != value)
        snprintf(digits, sizeof digits, "%.17g", value);
    size_t n = strcspn(digits, "e");
    const char *point = digits[n] != '\0' && strchr(digits, '.') == NULL ? ".0" : "";
    qk_text_add(&e->text, "%.*s%s%s", (int)n, digits, point, digits + n);
}

static const char *torch_dtype(enum qk_dtype dtype)
{
    switch (dtype) {
    case QK_F64:
        return "float64";
    case QK_F32:
        return "float32";
    case QK_F16:
        return "float16";
    case QK_BF16:
        return "bfloat16";
    default:
        return NULL;
    }
}

/* Finds the absolute path of a side. With `whole_folder`, QK_USAGE where it is not a folder. */
static enum qk_code find_path(struct emitter *e, enum qk_side side, bool whole_folder)
{
    struct stat info;
    const struct qk_checkpoint *c = checkpoint(e, side);
    const char *path = qk_ends_with(c->path, ".index.json") ? c->folder : c->path;
    if (realpath(path, e->path[side]) == NULL || stat(path, &info) != 0)
        return qk_fail_errno(e->err, path, "resolve");
    if (whole_folder && !S_ISDIR(info.st_mode))
        return qk_fail(e->err, QK_USAGE, "%s: %s reads folders (found a file)", path, e->tool);
    return check_printable(e, e->path[side]);
}

static enum qk_code check_names(const struct emitter *e)
{
    for (size_t i = 0; i < e->n; i++)
        for (int s = 0; s < QK_SIDE_COUNT; s++)
            QK_TRY(check_printable(e, e->edit[i].side[s]->name));
    return QK_OK;
}

/* --- mergekit --- */

/* A linear merge takes every tensor, so each must exist on both sides. */
static enum qk_code check_shared(const struct emitter *e, bool *same_dtypes)
{
    const struct qk_checkpoint *pre = checkpoint(e, QK_PRE), *post = checkpoint(e, QK_POST);
    size_t i = 0, j = 0;
    *same_dtypes = true;
    while (i < pre->n_tensors || j < post->n_tensors) {
        int order = i == pre->n_tensors    ? 1
                    : j == post->n_tensors ? -1
                                           : strcmp(pre->by_name[i]->name, post->by_name[j]->name);
        if (order < 0)
            return refuse(e, QK_PRE, pre->by_name[i], "only pre has it, and every tensor is merged there");
        if (order > 0)
            return refuse(e, QK_POST, post->by_name[j], "only post has it, and every tensor is merged there");
        const struct qk_tensor *a = pre->by_name[i++], *b = post->by_name[j++];
        if (!qk_tensor_same_shape(a, b))
            return refuse(e, QK_POST, b, "it has another shape in pre, and every tensor is merged there");
        *same_dtypes = *same_dtypes && a->dtype == b->dtype;
    }
    return QK_OK;
}

/* A filter applies to every tensor whose name contains it. */
static enum qk_code check_filters(const struct emitter *e)
{
    const struct qk_checkpoint *post = checkpoint(e, QK_POST);
    for (size_t i = 0; i < e->n; i++) {
        const struct qk_tensor *tensor = e->edit[i].side[QK_POST];
        if (strcmp(e->edit[i].side[QK_PRE]->name, tensor->name) != 0)
            return refuse(e, QK_POST, tensor, "it has another name in pre");
        for (size_t k = 0; k < post->n_tensors; k++)
            if (post->by_name[k] != tensor && strstr(post->by_name[k]->name, tensor->name) != NULL)
                return refuse(
                    e, QK_POST, post->by_name[k], "the name of a changed tensor is part of its name");
    }
    return QK_OK;
}

static enum qk_code check_uniform(const struct emitter *e)
{
    const struct qk_checkpoint *post = checkpoint(e, QK_POST);
    enum qk_dtype dtype = e->edit[0].side[QK_POST]->dtype;
    for (size_t k = 0; k < post->n_tensors; k++)
        if (post->by_name[k]->dtype != dtype || dtype == QK_F64 || torch_dtype(dtype) == NULL)
            return refuse(e, QK_POST, post->by_name[k],
                "mergekit casts all tensors to float32 and back to one dtype (bfloat16, float16 or float32)");
    return QK_OK;
}

static bool any_blend(const struct emitter *e)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->edit[i].alpha < 1)
            return true;
    return false;
}

static void add_mergekit_model(struct emitter *e, enum qk_side side)
{
    qk_text_add(&e->text, "  - model: ");
    add_quoted(e, "", e->path[side], "", "");
    qk_text_add(&e->text, "\n    parameters:\n      weight:\n");
    for (size_t i = 0; i < e->n; i++) {
        double alpha = e->edit[i].alpha;
        qk_text_add(&e->text, "        - filter: ");
        add_quoted(e, "", e->edit[i].side[side]->name, "", "");
        qk_text_add(&e->text, "\n          value: ");
        add_number(e, side == QK_PRE ? alpha : 1 - alpha);
        qk_text_add(&e->text, "\n");
    }
    qk_text_add(&e->text, "        - value: %d\n", side == QK_POST ? 1 : 0);
}

static enum qk_code emit_mergekit(struct emitter *e)
{
    bool same_dtypes;
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        QK_TRY(find_path(e, (enum qk_side)s, true));
        if (strpbrk(e->path[s], "+@") != NULL)
            return qk_fail(e->err, QK_INPUT,
                "%s: mergekit cannot express this path (found + or @, which mean an adapter or a revision "
                "there)",
                e->path[s]);
    }
    QK_TRY(check_shared(e, &same_dtypes));
    QK_TRY(check_filters(e));
    bool cast = !same_dtypes || any_blend(e);
    if (cast)
        QK_TRY(check_uniform(e));
    qk_text_add(&e->text, "# Run: mergekit-yaml THIS_FILE OUTPUT_FOLDER\n# The configuration and the "
                          "tokenizer come from base_model.\nmerge_method: linear\nbase_model: ");
    add_quoted(e, "", e->path[QK_POST], "", "");
    qk_text_add(&e->text, "\nmodels:\n");
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        add_mergekit_model(e, (enum qk_side)s);
    qk_text_add(&e->text, "parameters:\n  normalize: false\n");
    if (cast)
        qk_text_add(
            &e->text, "dtype: float32\nout_dtype: %s\n", torch_dtype(e->edit[0].side[QK_POST]->dtype));
    return QK_OK;
}

/* --- brainsurgery --- */

/* A reference is a regular expression where it finds tensors, and a template where it names the written ones. */
#define REGEX_SPECIAL "\\.^$*+?{}[]|()"
#define TEMPLATE_SPECIAL "\\"

static void add_found(
    struct emitter *e, const char *key, enum qk_side side, const char *name, const char *slice)
{
    qk_text_add(&e->text, "%s: ", key);
    add_quoted(e, side == QK_PRE ? "pre::" : "post::", name, REGEX_SPECIAL, slice);
}

static void add_written(struct emitter *e, const char *name, const char *slice)
{
    qk_text_add(&e->text, ", to: ");
    add_quoted(e, "post::", name, TEMPLATE_SPECIAL, slice);
}

/* All written tensors have one alias, which is the one that brainsurgery saves. */
static const char *const WORK[QK_SIDE_COUNT] = {"qkscope.pre", "qkscope.post"};

static void add_work_copy(struct emitter *e, const struct edit *edit, enum qk_side side, const char *dtype)
{
    qk_text_add(&e->text, "  - cast: { ");
    add_found(e, "from", side, edit->side[side]->name, "");
    add_written(e, WORK[side], "");
    qk_text_add(&e->text, ", dtype: %s }\n", dtype);
}

static void add_assign_of(
    struct emitter *e, const struct edit *edit, enum qk_side side, const char *from, const char *slice)
{
    qk_text_add(&e->text, "  - assign: { ");
    add_found(e, "from", side, from, slice);
    add_written(e, edit->side[QK_POST]->name, slice);
    qk_text_add(&e->text, " }\n");
}

/* Assigns the whole tensor, or each span of rows: "::[0:32, :]". */
static void add_assign(struct emitter *e, const struct edit *edit, enum qk_side side, const char *from)
{
    if (edit->n_spans == 0)
        add_assign_of(e, edit, side, from, "");
    for (size_t i = 0; i < edit->n_spans; i++) {
        const struct qk_change_span *span = &edit->span[i];
        char slice[64];
        snprintf(slice, sizeof slice, "::[%s%llu:%llu%s]", span->columns ? ":, " : "",
            (unsigned long long)span->first, (unsigned long long)(span->first + span->length),
            span->columns || edit->side[QK_POST]->n_dims == 1 ? "" : ", :");
        add_assign_of(e, edit, side, from, slice);
    }
}

static void add_delete(struct emitter *e, enum qk_side side)
{
    qk_text_add(&e->text, "  - delete: { ");
    add_found(e, "target", QK_POST, WORK[side], "");
    qk_text_add(&e->text, " }\n");
}

static void add_blend(struct emitter *e, const struct edit *edit)
{
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        add_work_copy(e, edit, (enum qk_side)s, "float64");
        qk_text_add(&e->text, "  - scale_: { ");
        add_found(e, "target", QK_POST, WORK[s], "");
        qk_text_add(&e->text, ", by: ");
        add_number(e, s == QK_PRE ? edit->alpha : 1 - edit->alpha);
        qk_text_add(&e->text, " }\n");
    }
    qk_text_add(&e->text, "  - add_: { ");
    add_found(e, "from", QK_POST, WORK[QK_PRE], "");
    add_written(e, WORK[QK_POST], "");
    qk_text_add(&e->text, " }\n  - cast_: { ");
    add_found(e, "target", QK_POST, WORK[QK_POST], "");
    qk_text_add(&e->text, ", to: %s }\n", torch_dtype(edit->side[QK_POST]->dtype));
    add_assign(e, edit, QK_POST, WORK[QK_POST]);
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        add_delete(e, (enum qk_side)s);
}

static enum qk_code add_edit(struct emitter *e, const struct edit *edit)
{
    const struct qk_tensor *pre = edit->side[QK_PRE], *post = edit->side[QK_POST];
    if (strstr(pre->name, "::") != NULL || strstr(post->name, "::") != NULL)
        return refuse(e, QK_POST, post, ":: separates alias and name there");
    if (edit->alpha < 1) {
        add_blend(e, edit);
    } else if (pre->dtype == post->dtype) {
        add_assign(e, edit, QK_PRE, pre->name);
    } else {
        add_work_copy(e, edit, QK_PRE, torch_dtype(post->dtype));
        add_assign(e, edit, QK_POST, WORK[QK_PRE]);
        add_delete(e, QK_PRE);
    }
    return QK_OK;
}

static enum qk_code emit_brainsurgery(struct emitter *e)
{
    qk_text_add(&e->text, "# Run: brainsurgery THIS_FILE [output.path=FOLDER]\n# It writes weights alone: "
                          "configuration and tokenizer are post's.\ninputs:\n");
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        QK_TRY(find_path(e, (enum qk_side)s, false));
        qk_text_add(&e->text, "  - ");
        add_quoted(e, s == QK_PRE ? "pre::" : "post::", e->path[s], "", "");
        qk_text_add(&e->text, "\n");
    }
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        const struct qk_tensor *taken = qk_checkpoint_find(checkpoint(e, QK_POST), WORK[s]);
        if (taken != NULL)
            return refuse(e, QK_POST, taken, "its name is needed for a temporary tensor");
    }
    qk_text_add(&e->text, "transforms:\n");
    for (size_t i = 0; i < e->n; i++)
        QK_TRY(add_edit(e, &e->edit[i]));
    qk_text_add(&e->text, "output: { path: merged, format: safetensors }\n");
    return QK_OK;
}

/* --- */

static const struct {
    const char *name;
    bool slices;
    enum qk_code (*emit)(struct emitter *e);
} TOOLS[] = {{"mergekit", false, emit_mergekit}, {"brainsurgery", true, emit_brainsurgery}};

enum qk_code qk_emit_text(enum qk_emit_tool tool, const struct qk_pair *pair,
    const struct qk_selection *selection, bool norms, char **out, struct qk_error *err)
{
    struct emitter e = {.tool = TOOLS[tool].name, .slices = TOOLS[tool].slices, .pair = pair, .err = err};
    *out = NULL;
    enum qk_code code = find_edits(&e, selection, norms);
    if (code == QK_OK)
        code = check_names(&e);
    if (code == QK_OK)
        code = TOOLS[tool].emit(&e);
    if (code == QK_OK)
        code = qk_text_take(&e.text, out, err);
    qk_text_free(&e.text);
    for (size_t i = 0; i < e.n; i++)
        free(e.edit[i].span);
    free(e.edit);
    return code;
}
