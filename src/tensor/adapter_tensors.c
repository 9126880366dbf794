/* adapter_tensors.c - the base's tensors that an adapter's tensors change, found by their plain names. */
#include "tensor/adapter_internal.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "tensor/names.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* The tensors of one kind that do not change the base as others do. */
struct aside {
    size_t n;
    const struct qk_tensor *first, *base; /* base: what the first stands for, or NULL */
};

struct finder {
    struct qk_adapter_reader *reader;
    struct qk_adapter *adapter;
    struct qk_error *err;
    struct qk_names base, own;
    struct aside stray, grown, head, unknown;
    bool plain, transposed; /* some factors fit the base only so */
};

static const char *path_of(const struct finder *f)
{
    return qk_adapter_file(f->adapter)->source.path;
}

static void set_aside(struct aside *aside, const struct qk_tensor *tensor, const struct qk_tensor *base)
{
    if (aside->n++ == 0)
        *aside = (struct aside){1, tensor, base};
}

/* --- refusals --- */

static enum qk_code fail_shape(
    const struct finder *f, const struct qk_tensor *tensor, const char *what, const struct qk_tensor *other)
{
    char found[QK_SHAPE_TEXT], expected[QK_SHAPE_TEXT];
    return qk_fail(f->err, QK_INPUT, "%s: %s: %s (found %s, %s has %s)", path_of(f), tensor->name, what,
        qk_shape_text(found, tensor), other->name, qk_shape_text(expected, other));
}

static enum qk_code missing(const struct finder *f, const struct qk_tensor *tensor, const char *name)
{
    return qk_fail(f->err, QK_INPUT, "%s: %s: missing, though there is %s", path_of(f), name, tensor->name);
}

static enum qk_code no_base(const struct finder *f, const struct qk_tensor *tensor, const char *name)
{
    return qk_fail(f->err, QK_INPUT, "%s: %s: not supported, or made for another model (%s has no %s)",
        path_of(f), tensor->name, f->reader->base->path, name);
}

static enum qk_code check_readable(const struct finder *f, const struct qk_tensor *tensor)
{
    if (qk_dtype_readable(tensor->dtype))
        return QK_OK;
    return qk_fail(
        f->err, QK_INPUT, "%s: %s: %s is not read as numbers", path_of(f), tensor->name, tensor->dtype_text);
}

static enum qk_code check_dtypes(
    const struct finder *f, const struct qk_tensor *from, const struct qk_tensor *to)
{
    QK_TRY(check_readable(f, from));
    if (!qk_dtype_writable(to->dtype))
        return qk_fail(f->err, QK_INPUT, "%s: %s: an adapter cannot be merged into %s",
            qk_checkpoint_file(f->reader->base, to), to->name, to->dtype_text);
    return QK_OK;
}

/* --- tensors without a place in the base --- */

/* True for the parts of a layer that have nothing to do with q and k. */
static bool is_feed_forward(const char *plain)
{
    static const char *const parts[] = {
        ".mlp.", ".experts.", ".block_sparse_moe.", ".feed_forward.", ".ffn.", ".moe."};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strstr(plain, parts[i]) != NULL)
            return true;
    return false;
}

/* Sets a tensor aside that has no place in the base. One beside q and k of a layer is refused: without it, their
 * numbers would be wrong. `name` is what the base lacks. */
static enum qk_code add_stray(
    struct finder *f, const struct qk_name *own, const struct qk_tensor *tensor, const char *name)
{
    int layer = qk_names_layer(&f->own, own->plain);
    if (layer >= 0 && !is_feed_forward(own->plain))
        return no_base(f, tensor, name);
    f->adapter->partial = f->adapter->partial || layer >= 0;
    set_aside(&f->stray, tensor, NULL);
    return QK_OK;
}

/* --- tensors of other shapes --- */

/* Puts a tensor into the base's table: for `old`, or beside the others when that is NULL. */
static enum qk_code put_in_table(struct qk_checkpoint *base, const struct qk_tensor *tensor,
    const struct qk_tensor *old, struct qk_error *err)
{
    const struct qk_tensor **table;
    size_t at = 0, n = base->n_tensors;
    while (at < n && strcmp(base->by_name[at]->name, tensor->name) < 0)
        at++;
    if (old != NULL) {
        base->by_name[at] = tensor;
        return QK_OK;
    }
    QK_TRY(qk_alloc(&table, n + 1, sizeof *table, err));
    memcpy(table, base->by_name, at * sizeof *table);
    table[at] = tensor;
    memcpy(table + at + 1, base->by_name + at, (n - at) * sizeof *table);
    free(base->by_name);
    base->by_name = table;
    base->n_tensors++;
    return QK_OK;
}

/* The base then has the adapter's tensor under `name`. */
static enum qk_code take_whole(
    struct finder *f, const struct qk_tensor *tensor, const char *name, const struct qk_tensor *old)
{
    struct qk_adapter *adapter = f->adapter;
    struct qk_tensor *taken = &adapter->taken[adapter->n_taken];
    QK_TRY(check_readable(f, tensor));
    *taken = *tensor;
    taken->shard = QK_SHARD_ADAPTER;
    QK_TRY(qk_strdup_to(&taken->name, name, f->err));
    adapter->n_taken++;
    return put_in_table(f->reader->base, taken, old, f->err);
}

/* The tensor that the base now has for the one that it had. */
static const struct qk_tensor *now(const struct finder *f, const struct qk_tensor *base)
{
    for (size_t i = 0; base != NULL && i < f->adapter->n_taken; i++)
        if (strcmp(f->adapter->taken[i].name, base->name) == 0)
            return &f->adapter->taken[i];
    return base;
}

/* True for a tensor of more or fewer rows: an embedding or a head of another vocabulary. */
static bool is_resized(const struct qk_tensor *tensor, const struct qk_tensor *base)
{
    return tensor->n_dims == base->n_dims && tensor->n_dims >= 1 && tensor->bytes > 0 &&
           memcmp(tensor->shape + 1, base->shape + 1, (size_t)(base->n_dims - 1) * sizeof *base->shape) == 0;
}

/* ZeRO-3 leaves this of a weight that is not gathered before it is saved. */
static bool is_empty(const struct qk_tensor *tensor)
{
    return tensor->n_dims == 1 && tensor->shape[0] == 0;
}

/* --- what changes --- */

static struct qk_addition *next_addition(struct finder *f, const struct qk_tensor *base)
{
    struct qk_addition *addition = &f->adapter->addition[f->adapter->n_additions++];
    *addition = (struct qk_addition){.base = base};
    return addition;
}

static void add_unknown(
    struct finder *f, const struct qk_tensor *tensor, const struct qk_tensor *base, const char *why)
{
    struct qk_addition *addition = next_addition(f, base);
    addition->unknown = why;
    addition->instead = tensor;
    set_aside(&f->unknown, tensor, base);
}

static const char EMPTY[] = "it is empty, as ZeRO-3 saves a weight that was not gathered",
                  TOKENS[] = "trainable_token_indices is not supported";

static enum qk_code add_whole(struct finder *f, const struct qk_name *own)
{
    const struct qk_tensor *tensor = own->tensor, *base = qk_names_match(&f->base, &f->own, own->plain);
    if (base == NULL && strcmp(qk_names_inner(&f->own, own->plain), "lm_head.weight") == 0 &&
        f->base.prefix != NULL && tensor->n_dims == 2 && tensor->bytes > 0) {
        set_aside(&f->head, tensor, NULL);
        return take_whole(f, tensor, "lm_head.weight", NULL);
    }
    if (base == NULL)
        return add_stray(f, own, tensor, own->plain);
    if (is_empty(tensor) && !is_empty(base)) {
        add_unknown(f, tensor, base, EMPTY);
        return QK_OK;
    }
    if (qk_tensor_same_shape(tensor, base)) {
        QK_TRY(check_dtypes(f, tensor, base));
        next_addition(f, base)->instead = tensor;
        return QK_OK;
    }
    if (qk_names_layer(&f->own, own->plain) >= 0 || !is_resized(tensor, base))
        return fail_shape(f, tensor, "it does not fit the base", base);
    if (now(f, base) != base)
        return qk_fail(f->err, QK_INPUT, "%s: changes %s twice", path_of(f), base->name);
    set_aside(&f->grown, tensor, base);
    return take_whole(f, tensor, base->name, base);
}

/* --- factors --- */

/* The ends of the names of factors, and of their like. */
struct ends {
    const char *a, *b;
    bool transposed; /* W is (in, out), as that of an embedding */
};
static const struct ends ENDS[] = {
    {".lora_A.weight", ".lora_B.weight", false},
    {".lora_embedding_A", ".lora_embedding_B", true},
};
static const char TOKENS_END[] = ".trainable_tokens_delta", TOKENS_PART[] = ".token_adapter";

/* *out = `plain` with another end; the caller frees. */
static enum qk_code rename_end(
    const struct finder *f, const char *plain, const char *end, const char *other, char **out)
{
    struct qk_text text = {0};
    qk_text_add(&text, "%.*s%s", (int)(strlen(plain) - strlen(end)), plain, other);
    return qk_text_take(&text, out, f->err);
}

static bool fits(const struct qk_addition *addition, bool transposed)
{
    const struct qk_tensor *a = addition->a, *b = addition->b, *w = addition->base;
    return b->shape[0] == w->shape[transposed ? 1 : 0] && a->shape[1] == w->shape[transposed ? 0 : 1];
}

static enum qk_code check_shapes(const struct finder *f, const struct qk_addition *addition)
{
    const struct qk_tensor *a = addition->a, *b = addition->b, *w = addition->base;
    if (a->n_dims != 2 || b->n_dims != 2 || a->shape[0] != b->shape[1] || a->shape[0] == 0)
        return fail_shape(f, b, "the factors do not fit each other", a);
    if (w->n_dims != 2 || w->bytes == 0 || b->shape[0] != w->shape[addition->transposed ? 1 : 0])
        return fail_shape(f, b, "it does not fit the base", w);
    if (!fits(addition, addition->transposed))
        return fail_shape(f, a, "it does not fit the base", w);
    if (a->shape[0] > INT_MAX || a->shape[1] > INT_MAX || b->shape[0] > INT_MAX)
        return fail_shape(f, b, "it is too large for BLAS", a);
    QK_TRY(check_dtypes(f, a, w));
    return check_dtypes(f, b, w);
}

/* The config may be wrong about how W is stored; PEFT goes by the kind of the module. */
static void find_orientation(struct finder *f, const struct ends *ends, struct qk_addition *addition)
{
    addition->transposed = ends->transposed || qk_json_bool(f->reader->config, "fan_in_fan_out", false);
    if (ends->transposed || addition->a->n_dims != 2 || addition->b->n_dims != 2 ||
        addition->base->n_dims != 2)
        return;
    bool plain = fits(addition, false), transposed = fits(addition, true);
    addition->square = plain && transposed;
    if (plain == transposed)
        return;
    addition->transposed = transposed;
    f->plain = f->plain || plain;
    f->transposed = f->transposed || transposed;
}

static enum qk_code add_pair(struct finder *f, const struct qk_name *own, const struct ends *ends,
    const struct qk_tensor *b, const char *module)
{
    const struct qk_tensor *a = own->tensor;
    char *weight;
    QK_TRY(rename_end(f, own->plain, ends->a, ".weight", &weight));
    const struct qk_tensor *base = qk_names_match(&f->base, &f->own, weight);
    enum qk_code code = base == NULL ? add_stray(f, own, a, weight) : QK_OK;
    free(weight);
    if (code != QK_OK || base == NULL)
        return code;
    if (is_empty(a) || is_empty(b)) {
        add_unknown(f, is_empty(a) ? a : b, base, EMPTY);
        return QK_OK;
    }
    struct qk_addition *addition = next_addition(f, now(f, base));
    addition->a = a;
    addition->b = b;
    find_orientation(f, ends, addition);
    QK_TRY(check_shapes(f, addition));
    return qk_adapter_scale(f->reader, module, a, &addition->scale);
}

static enum qk_code add_factors(struct finder *f, const struct qk_name *own, const struct ends *ends)
{
    char *b_name, *module = NULL;
    QK_TRY(rename_end(f, own->plain, ends->a, ends->b, &b_name));
    enum qk_code code = rename_end(f, own->plain, ends->a, "", &module);
    const struct qk_tensor *b = qk_names_plain(&f->own, b_name);
    if (code == QK_OK)
        code = b == NULL ? missing(f, own->tensor, b_name) : add_pair(f, own, ends, b, module);
    free(module);
    free(b_name);
    return code;
}

/* A lora_B comes with its lora_A. */
static enum qk_code check_has_a(struct finder *f, const struct qk_name *own, const struct ends *ends)
{
    char *a_name;
    QK_TRY(rename_end(f, own->plain, ends->b, ends->a, &a_name));
    enum qk_code code = qk_names_plain(&f->own, a_name) != NULL ? QK_OK : missing(f, own->tensor, a_name);
    free(a_name);
    return code;
}

static enum qk_code add_tokens(struct finder *f, const struct qk_name *own)
{
    char *module, *weight;
    QK_TRY(rename_end(f, own->plain, TOKENS_END, "", &module));
    if (qk_ends_with(module, TOKENS_PART))
        module[strlen(module) - strlen(TOKENS_PART)] = '\0';
    enum qk_code code = rename_end(f, module, "", ".weight", &weight);
    free(module);
    QK_TRY(code);
    const struct qk_tensor *base = qk_names_match(&f->base, &f->own, weight);
    free(weight);
    if (base == NULL)
        return add_stray(f, own, own->tensor, own->plain);
    add_unknown(f, own->tensor, now(f, base), TOKENS);
    return QK_OK;
}

/* Adds a tensor: the whole ones with `wholes`, else what adds to others. */
static enum qk_code add_tensor(struct finder *f, const struct qk_name *own, bool wholes)
{
    for (size_t i = 0; i < sizeof ENDS / sizeof ENDS[0]; i++) {
        if (qk_ends_with(own->plain, ENDS[i].b))
            return wholes ? QK_OK : check_has_a(f, own, &ENDS[i]);
        if (qk_ends_with(own->plain, ENDS[i].a))
            return wholes ? QK_OK : add_factors(f, own, &ENDS[i]);
    }
    if (qk_ends_with(own->plain, TOKENS_END))
        return wholes ? QK_OK : add_tokens(f, own);
    return wholes ? add_whole(f, own) : QK_OK;
}

/* --- all of them --- */

/* Makes one addition of a whole tensor and the factors that add to it. */
static bool join(struct qk_addition *to, const struct qk_addition *from)
{
    const struct qk_addition *factors = from->a != NULL ? from : to, *whole = from->a != NULL ? to : from;
    if (to->unknown != NULL || from->unknown != NULL) {
        *to = to->unknown != NULL ? *to : *from;
        return true;
    }
    if (factors->a == NULL || factors->instead != NULL || whole->a != NULL)
        return false;
    struct qk_addition both = *factors;
    both.instead = whole->instead;
    *to = both;
    return true;
}

static enum qk_code order_additions(struct finder *f)
{
    struct qk_adapter *adapter = f->adapter;
    size_t kept = 0;
    if (adapter->n_additions > 1)
        qsort(adapter->addition, adapter->n_additions, sizeof *adapter->addition, qk_addition_order);
    for (size_t i = 0; i < adapter->n_additions; i++) {
        struct qk_addition *addition = &adapter->addition[i];
        if (addition->square && f->plain != f->transposed)
            addition->transposed = f->transposed;
        if (kept == 0 || qk_addition_order(&adapter->addition[kept - 1], addition) != 0)
            adapter->addition[kept++] = *addition;
        else if (!join(&adapter->addition[kept - 1], addition))
            return qk_fail(f->err, QK_INPUT, "%s: changes %s twice", path_of(f), addition->base->name);
    }
    adapter->n_additions = kept;
    return QK_OK;
}

/* Adds a note on the tensors of one kind. The first one stands for why a merged checkpoint cannot be written. */
static enum qk_code add_note(struct finder *f, const struct aside *aside, const char *what)
{
    char found[QK_SHAPE_TEXT], expected[QK_SHAPE_TEXT];
    struct qk_text text = {0};
    if (aside->n == 0)
        return QK_OK;
    qk_text_add(&text, "%s: %s", path_of(f), aside->first->name);
    if (aside->n > 1)
        qk_text_add(&text, " and %zu more", aside->n - 1);
    qk_text_add(&text, ": %s", what);
    if (aside->base != NULL && aside == &f->grown)
        qk_text_add(&text, " (found %s, %s has %s)", qk_shape_text(found, aside->first), aside->base->name,
            qk_shape_text(expected, aside->base));
    char *note;
    QK_TRY(qk_text_take(&text, &note, f->err));
    enum qk_code code = qk_lines_add(&f->reader->base->notes, f->err, "%s", note);
    if (f->adapter->unmerged == NULL)
        f->adapter->unmerged = note;
    else
        free(note);
    return code;
}

static enum qk_code add_notes(struct finder *f)
{
    QK_TRY(add_note(f, &f->grown, "trained with another number of rows than the base has"));
    QK_TRY(add_note(f, &f->head, "a head of its own, which the base ties to its embedding"));
    QK_TRY(add_note(f, &f->stray, "left out, for the base has no such tensor"));
    const struct qk_addition *first = NULL;
    for (size_t i = 0; i < f->adapter->n_additions && first == NULL; i++)
        first = f->adapter->addition[i].unknown != NULL ? &f->adapter->addition[i] : NULL;
    return first == NULL ? QK_OK : add_note(f, &f->unknown, first->unknown);
}

static enum qk_code find_all(struct finder *f)
{
    struct qk_adapter *adapter = f->adapter;
    size_t n = qk_adapter_file(adapter)->n_tensors;
    if (n == 0)
        return qk_fail(f->err, QK_INPUT, "%s: holds no tensors", path_of(f));
    QK_TRY(qk_alloc(&adapter->addition, n, sizeof *adapter->addition, f->err));
    QK_TRY(qk_alloc(&adapter->taken, n, sizeof *adapter->taken, f->err));
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < f->own.n; i++)
            QK_TRY(add_tensor(f, &f->own.name[i], pass == 0));
    if (adapter->n_additions == 0 && f->stray.n > 0)
        return no_base(f, f->stray.first, "tensor that it changes");
    QK_TRY(order_additions(f));
    return add_notes(f);
}

enum qk_code qk_adapter_find_additions(struct qk_adapter_reader *r)
{
    struct finder f = {.reader = r, .adapter = r->adapter, .err = r->err};
    enum qk_code code = qk_names_open_any(r->base, &f.base, r->err);
    if (code == QK_OK)
        code = qk_names_open_any(r->adapter->own, &f.own, r->err);
    if (code == QK_OK)
        code = find_all(&f);
    qk_names_close(&f.base);
    qk_names_close(&f.own);
    return code;
}
