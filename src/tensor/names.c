/* names.c - plain tensor names, and the prefix that stands before the layer numbers. */
#include "tensor/names.h"

#include "base/mem.h"
#include "base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- plain names --- */

static bool is_part(const char *part, size_t n, const char *word)
{
    return strlen(word) == n && strncmp(part, word, n) == 0;
}

static bool is_one_of(const char *part, size_t n, const char *const *words)
{
    for (; *words != NULL; words++)
        if (is_part(part, n, *words))
            return true;
    return false;
}

static bool is_wrapper(const char *part, size_t n, bool leading)
{
    static const char *const anywhere[] = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module",
        "_forward_module", "base_layer", "student_model", "student_layer", "modules_to_save", NULL};
    return is_one_of(part, n, anywhere) || (leading && is_part(part, n, "module"));
}

/* The length of an adapter's own name behind a part that such a name may follow, with its dot, or 0: "default." in
 * "lora_A.default.weight". */
static size_t adapter_name(const char *part, size_t n, const char *rest)
{
    static const char *const modules[] = {"lora_A", "lora_B", "modules_to_save", NULL},
                             *const tensors[] = {"lora_embedding_A", "lora_embedding_B", NULL};
    size_t length = strcspn(rest, ".");
    if (is_one_of(part, n, tensors) || (rest[length] == '.' && is_one_of(part, n, modules)))
        return length + (rest[length] == '.');
    return 0;
}

/* True for a part of names that do not belong to the model: a teacher's, and what an adapter replaces. */
static bool is_aside(const char *part, size_t n)
{
    return strncmp(part, "teacher_", 8) == 0 || is_part(part, n, "original_module");
}

/* Writes the plain name over `name`; false when the tensor does not belong to the model. */
static bool make_plain(char *name)
{
    char *to = name;
    bool keep = true, leading = true;
    for (const char *part = name; *part != '\0';) {
        size_t n = strcspn(part, "."), step = n + (part[n] == '.');
        size_t skip = adapter_name(part, n, part + step);
        keep = keep && !is_aside(part, n);
        if (leading && strncmp(part, "base_model.model.", 17) == 0)
            step = 17;
        else if (!is_wrapper(part, n, leading)) {
            memmove(to, part, step);
            to += step;
            leading = false;
        }
        part += step + skip;
    }
    if (to > name && to[-1] == '.')
        to--;
    *to = '\0';
    while (strncmp(name, "model.model.", 12) == 0)
        memmove(name, name + 6, strlen(name + 6) + 1);
    return keep;
}

static int compare_plain(const void *a, const void *b)
{
    const struct qk_name *x = a, *y = b;
    int order = strcmp(x->plain, y->plain);
    return order != 0 ? order : strcmp(x->tensor->name, y->tensor->name);
}

static enum qk_code make_table(
    const struct qk_checkpoint *checkpoint, struct qk_names *names, struct qk_error *err)
{
    QK_TRY(qk_alloc(&names->name, checkpoint->n_tensors, sizeof *names->name, err));
    for (size_t i = 0; i < checkpoint->n_tensors; i++) {
        struct qk_name *name = &names->name[names->n];
        name->tensor = checkpoint->by_name[i];
        QK_TRY(qk_strdup_to(&name->plain, name->tensor->name, err));
        if (make_plain(name->plain))
            names->n++;
        else
            free(name->plain);
    }
    if (names->n > 1)
        qsort(names->name, names->n, sizeof *names->name, compare_plain);
    for (size_t i = 1; i < names->n; i++)
        if (strcmp(names->name[i - 1].plain, names->name[i].plain) == 0)
            return qk_fail(err, QK_INPUT, "%s: %s and %s are both %s", checkpoint->path,
                names->name[i - 1].tensor->name, names->name[i].tensor->name, names->name[i].plain);
    return QK_OK;
}

/* --- where the layers are --- */

static const char *const PREFIXES[] = {"model.language_model.layers.", "language_model.model.layers.",
    "thinker.model.layers.", "language_model.backbone.layers.", "model.layers.layers.",
    "model.decoder.layers.", "backbone.layers.", "gpt_neox.layers.", "transformer.encoder.layers.",
    "transformer.blocks.", "transformer.layers.", "transformer.h.", "model.layers.", "layers.", "h."};

/* The layer number of a name that starts with these n characters, or -1. */
static int layer_number(const char *name, const char *prefix, size_t n)
{
    if (strncmp(name, prefix, n) != 0 || !isdigit((unsigned char)name[n]))
        return -1;
    char *end;
    unsigned long number = strtoul(name + n, &end, 10);
    return *end == '.' && number < QK_MAX_LAYERS ? (int)number : -1;
}

/* Takes the prefix when more tensors than *best have a layer number behind it. */
static enum qk_code try_prefix(
    struct qk_names *names, const char *prefix, size_t n, size_t *best, struct qk_error *err)
{
    size_t found = 0;
    int highest = -1;
    for (size_t i = 0; i < names->n; i++) {
        int number = layer_number(names->name[i].plain, prefix, n);
        found += number >= 0;
        highest = number > highest ? number : highest;
    }
    if (found <= *best)
        return QK_OK;
    *best = found;
    names->n_layers = highest + 1;
    free(names->prefix);
    return qk_strndup_to(&names->prefix, prefix, n, err);
}

/* True for towers and heads that hold q_proj and k_proj but are not the language model. */
static bool is_elsewhere(const char *name)
{
    static const char *const words[] = {"vision", "visual", "audio", "mtp", "multi_modal", "talker"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strstr(name, words[i]) != NULL)
            return true;
    return false;
}

/* Length of the text before the first number between dots, or 0. */
static size_t numbered_prefix(const char *name)
{
    for (const char *part = name; *part != '\0';) {
        size_t n = strcspn(part, ".");
        if (n > 0 && part != name && strspn(part, "0123456789") == n)
            return (size_t)(part - name);
        part += n + (part[n] == '.');
    }
    return 0;
}

/* Guesses a prefix that is in no list: the text before the number of a q_proj. */
static enum qk_code guess_prefix(struct qk_names *names, size_t *best, struct qk_error *err)
{
    enum { MOST = 32 }; /* every try passes over all names */
    const char *tried = "";
    size_t n_tried = 0;
    for (size_t i = 0, tries = 0; i < names->n && tries < MOST; i++) {
        const char *name = names->name[i].plain;
        size_t n = strstr(name, ".q_proj.") != NULL && !is_elsewhere(name) ? numbered_prefix(name) : 0;
        if (n == 0 || (n == n_tried && strncmp(name, tried, n) == 0))
            continue;
        tried = name; /* names are sorted: those of one prefix follow each other */
        n_tried = n;
        tries++;
        QK_TRY(try_prefix(names, name, n, best, err));
    }
    return QK_OK;
}

static enum qk_code find_prefix(struct qk_names *names, struct qk_error *err)
{
    size_t best = 0;
    for (size_t p = 0; p < sizeof PREFIXES / sizeof PREFIXES[0]; p++)
        QK_TRY(try_prefix(names, PREFIXES[p], strlen(PREFIXES[p]), &best, err));
    return names->prefix == NULL ? guess_prefix(names, &best, err) : QK_OK;
}

int qk_names_layer(const struct qk_names *names, const char *plain)
{
    return names->prefix == NULL ? -1 : layer_number(plain, names->prefix, strlen(names->prefix));
}

enum qk_code qk_names_open_any(
    const struct qk_checkpoint *checkpoint, struct qk_names *names, struct qk_error *err)
{
    *names = (struct qk_names){0};
    enum qk_code code = make_table(checkpoint, names, err);
    if (code == QK_OK)
        code = find_prefix(names, err);
    if (code != QK_OK)
        qk_names_close(names);
    return code;
}

enum qk_code qk_names_open(
    const struct qk_checkpoint *checkpoint, struct qk_names *names, struct qk_error *err)
{
    QK_TRY(qk_names_open_any(checkpoint, names, err));
    if (names->prefix != NULL)
        return QK_OK;
    qk_names_close(names);
    return qk_fail(
        err, QK_INPUT, "%s: no layers found (no tensor is named like model.layers.0...)", checkpoint->path);
}

void qk_names_close(struct qk_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->name[i].plain);
    free(names->name);
    free(names->prefix);
    *names = (struct qk_names){0};
}

/* --- finding --- */

/* Index of the first name that is not less than `wanted`. */
static size_t lower_bound(const struct qk_names *names, const char *wanted)
{
    size_t low = 0, high = names->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(names->name[middle].plain, wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct qk_tensor *qk_names_plain(const struct qk_names *names, const char *plain)
{
    size_t i = lower_bound(names, plain);
    return i < names->n && strcmp(names->name[i].plain, plain) == 0 ? names->name[i].tensor : NULL;
}

static const struct qk_tensor *find_ending(const struct qk_names *names, const char *start, const char *end)
{
    const struct qk_tensor *found = NULL;
    size_t n = strlen(start);
    for (size_t i = lower_bound(names, start); i < names->n; i++) {
        const char *name = names->name[i].plain;
        if (strncmp(name, start, n) != 0)
            break;
        if (!qk_ends_with(name + n, end))
            continue;
        if (found != NULL)
            return NULL;
        found = names->name[i].tensor;
    }
    return found;
}

const struct qk_tensor *qk_names_find(
    const struct qk_names *names, int layer, const char *below, const char *suffix)
{
    char name[512], end[512];
    bool any = strncmp(below, "*.", 2) == 0;
    if (snprintf(name, sizeof name, "%s%d.%s%s", names->prefix, layer, any ? "" : below, any ? "" : suffix) >=
            (int)sizeof name ||
        snprintf(end, sizeof end, "%s%s", below + 1, suffix) >= (int)sizeof end)
        return NULL;
    if (any)
        return find_ending(names, name, end);
    return qk_names_plain(names, name);
}

const struct qk_name *qk_names_of_layer(const struct qk_names *names, int layer, size_t *n)
{
    char start[512];
    int length = snprintf(start, sizeof start, "%s%d.", names->prefix, layer);
    *n = 0;
    if (length >= (int)sizeof start)
        return NULL;
    size_t first = lower_bound(names, start);
    while (first + *n < names->n && strncmp(names->name[first + *n].plain, start, (size_t)length) == 0)
        ++*n;
    return names->name + first;
}

size_t qk_names_outer(const char *prefix, size_t n)
{
    if (n > 0)
        n--;
    while (n > 0 && prefix[n - 1] != '.')
        n--;
    return n;
}

const struct qk_tensor *qk_names_outwards(const struct qk_names *names, const char *name, const char *suffix)
{
    const struct qk_tensor *found = NULL;
    size_t n = strlen(names->prefix);
    char full[512];
    do {
        n = qk_names_outer(names->prefix, n);
        if (snprintf(full, sizeof full, "%.*s%s%s", (int)n, names->prefix, name, suffix) < (int)sizeof full)
            found = qk_names_plain(names, full);
    } while (found == NULL && n > 0);
    return found;
}

const char *qk_names_inner(const struct qk_names *names, const char *plain)
{
    size_t n = names->prefix == NULL ? 0 : strlen(names->prefix);
    do {
        n = qk_names_outer(names->prefix, n);
        if (n > 0 && strncmp(plain, names->prefix, n) == 0)
            return plain + n;
    } while (n > 0);
    return plain;
}

const struct qk_tensor *qk_names_match(
    const struct qk_names *names, const struct qk_names *from, const char *plain)
{
    const struct qk_tensor *found = qk_names_plain(names, plain);
    const char *dot = strchr(plain, '.');
    char full[512];
    if (found != NULL || names->prefix == NULL)
        return found;
    if (from->prefix == NULL) /* nothing says what the names of `from` begin with, or that it is one part */
        return dot == NULL ? NULL : qk_names_plain(names, dot + 1);
    if (qk_names_layer(from, plain) < 0)
        return qk_names_outwards(names, qk_names_inner(from, plain), "");
    if (snprintf(full, sizeof full, "%s%s", names->prefix, plain + strlen(from->prefix)) >= (int)sizeof full)
        return NULL;
    return qk_names_plain(names, full);
}
