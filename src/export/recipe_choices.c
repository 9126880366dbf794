/* recipe_choices.c - the choices of a recipe, written and read. */
#include "export/recipe_choices.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LAYERS = 1 << 16, MAX_HEADS = 1 << 12, MOST_HEADS = 1 << 20 };

/* --- writing --- */

int qk_recipe_version(const struct qk_selection *selection)
{
    for (int i = 0; i < selection->n_layers; i++)
        if (qk_layer_choice_by_head(&selection->choice[i]))
            return QK_RECIPE_BY_HEAD;
    return QK_RECIPE_BY_LAYER;
}

/* The roles of a layer that share a choice: both, or the given one. */
enum { WHICH_BOTH = QK_ROLE_COUNT, WHICH_COUNT };

/* True when the layer has an entry for q, for k, or one for both; *choice is its choice. */
static bool layer_entry(const struct qk_selection *selection, int layer, int which, struct qk_choice *choice)
{
    const struct qk_layer_choice *slot = &selection->choice[layer];
    bool same = qk_choice_equal(slot->role[QK_Q], slot->role[QK_K]);
    *choice = slot->role[which == WHICH_BOTH ? QK_Q : which];
    return (which == WHICH_BOTH) == same && choice->mode != QK_KEEP;
}

static void add_mode(cJSON *entry, struct qk_choice choice)
{
    const struct qk_mode_info *info = qk_mode_info(choice.mode);
    cJSON_AddStringToObject(entry, "mode", info->name);
    if (info->has_param)
        qk_json_add_exact(entry, "param", choice.param);
}

static void add_entry(cJSON *choices, const struct qk_selection *selection, int first, int which)
{
    struct qk_choice choice, other;
    cJSON *entry = qk_json_append_object(choices), *layers = cJSON_AddArrayToObject(entry, "layers");
    layer_entry(selection, first, which, &choice);
    for (int i = first; i < selection->n_layers; i++)
        if (layer_entry(selection, i, which, &other) && qk_choice_equal(choice, other))
            qk_json_append(layers, cJSON_CreateNumber(i));
    cJSON *roles = cJSON_AddArrayToObject(entry, "roles");
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        if (which == WHICH_BOTH || which == r)
            qk_json_append(roles, cJSON_CreateString(qk_role_name((enum qk_role)r)));
    add_mode(entry, choice);
}

/* Adds an entry for each choice of whole roles that this layer has as the first one. */
static void add_roles(cJSON *choices, const struct qk_selection *selection, int layer)
{
    for (int which = 0; which < WHICH_COUNT; which++) {
        struct qk_choice choice, earlier;
        if (!layer_entry(selection, layer, which, &choice))
            continue;
        bool written = false;
        for (int j = 0; j < layer && !written; j++)
            written = layer_entry(selection, j, which, &earlier) && qk_choice_equal(choice, earlier);
        if (!written)
            add_entry(choices, selection, layer, which);
    }
}

/* True when the head is chosen by itself, in this way. */
static bool single(const struct qk_layer_choice *of, int role, int head, struct qk_choice choice)
{
    return head < qk_layer_choice_singles(of, (enum qk_role)role) &&
           qk_choice_equal(qk_layer_choice_of(of, (enum qk_role)role, head), choice);
}

/* True when both layers choose the same heads by themselves in this way. */
static bool same_heads(
    const struct qk_layer_choice *a, const struct qk_layer_choice *b, struct qk_choice choice)
{
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        int n_a = qk_layer_choice_singles(a, (enum qk_role)r),
            n_b = qk_layer_choice_singles(b, (enum qk_role)r);
        for (int h = 0; h < n_a || h < n_b; h++)
            if (single(a, r, h, choice) != single(b, r, h, choice))
                return false;
    }
    return true;
}

static void add_head_entry(
    cJSON *choices, const struct qk_selection *selection, int first, struct qk_choice choice)
{
    const struct qk_layer_choice *of = &selection->choice[first];
    cJSON *entry = qk_json_append_object(choices), *layers = cJSON_AddArrayToObject(entry, "layers");
    for (int i = first; i < selection->n_layers; i++)
        if (same_heads(of, &selection->choice[i], choice))
            qk_json_append(layers, cJSON_CreateNumber(i));
    cJSON *heads = cJSON_AddObjectToObject(entry, "heads");
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        cJSON *list = NULL;
        for (int h = 0; h < qk_layer_choice_singles(of, (enum qk_role)r); h++) {
            if (!single(of, r, h, choice))
                continue;
            if (list == NULL)
                list = cJSON_AddArrayToObject(heads, qk_role_name((enum qk_role)r));
            qk_json_append(list, cJSON_CreateNumber(h));
        }
    }
    add_mode(entry, choice);
}

/* True when an earlier layer chooses the same heads in this way. */
static bool was_written(const struct qk_selection *selection, int layer, struct qk_choice choice)
{
    for (int j = 0; j < layer; j++)
        if (same_heads(&selection->choice[j], &selection->choice[layer], choice))
            return true;
    return false;
}

/* The same for choices of single heads. */
static void add_heads(cJSON *choices, const struct qk_selection *selection, int layer)
{
    const struct qk_layer_choice *of = &selection->choice[layer];
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        for (int h = 0; h < qk_layer_choice_singles(of, (enum qk_role)r); h++) {
            struct qk_choice choice = qk_layer_choice_of(of, (enum qk_role)r, h);
            if (choice.mode != QK_KEEP && !qk_layer_choice_repeats(of, (enum qk_role)r, h) &&
                !was_written(selection, layer, choice))
                add_head_entry(choices, selection, layer, choice);
        }
}

void qk_recipe_add_choices(cJSON *root, const struct qk_selection *selection)
{
    cJSON *choices = cJSON_AddArrayToObject(root, "choices");
    for (int i = 0; i < selection->n_layers; i++) {
        add_roles(choices, selection, i);
        add_heads(choices, selection, i);
    }
}

/* --- reading --- */

/* The heads of a role that were read. */
struct head_list {
    struct qk_choice *of; /* n, owned */
    bool *named;          /* n, owned */
    int n;
};

/* What was read so far, for MAX_LAYERS layers. */
struct choices {
    const struct qk_recipe_reader *r;
    bool by_head;
    struct qk_selection all;
    bool (*named)[QK_ROLE_COUNT];             /* the whole role has a choice */
    struct head_list (*heads)[QK_ROLE_COUNT]; /* NULL unless by_head */
    int n_layers;                             /* one more than the last that is named */
    size_t n_heads;                           /* of all lists */
};

/* What one entry names. */
struct entry {
    struct qk_choice choice;
    bool roles[QK_ROLE_COUNT];
    const cJSON *heads[QK_ROLE_COUNT]; /* the first number of the list, or NULL */
};

static enum qk_code read_roles(
    const struct qk_recipe_reader *r, const cJSON *entry, bool roles[QK_ROLE_COUNT])
{
    const cJSON *item;
    size_t n;
    QK_TRY(qk_recipe_array(r, entry, "choices", "roles", &item, &n));
    for (; item != NULL; item = item->next) {
        int role = 0;
        while (role < QK_ROLE_COUNT &&
               !(cJSON_IsString(item) && strcmp(item->valuestring, qk_role_name((enum qk_role)role)) == 0))
            role++;
        if (role == QK_ROLE_COUNT || roles[role])
            return qk_recipe_wrong(r, "choices", "roles", "\"q\", \"k\" or both, each once");
        roles[role] = true;
    }
    return n > 0 ? QK_OK : qk_recipe_wrong(r, "choices", "roles", "\"q\", \"k\" or both, each once");
}

static enum qk_code read_heads(
    const struct qk_recipe_reader *r, const cJSON *entry, const cJSON *heads[QK_ROLE_COUNT])
{
    static const char *const keys[] = {"q", "k", NULL};
    const cJSON *object = qk_json_get(entry, "heads");
    size_t n;
    if (qk_json_get(entry, "roles") != NULL)
        return qk_recipe_wrong(r, "choices", "", "either roles or heads");
    QK_TRY(qk_recipe_keys(r, object, "choices.heads", keys));
    for (int role = 0; role < QK_ROLE_COUNT; role++) {
        if (qk_json_get(object, keys[role]) == NULL)
            continue;
        QK_TRY(qk_recipe_array(r, object, "choices.heads", keys[role], &heads[role], &n));
        if (n == 0)
            return qk_recipe_wrong(r, "choices.heads", keys[role], "at least one head");
    }
    return heads[QK_Q] != NULL || heads[QK_K] != NULL
               ? QK_OK
               : qk_recipe_wrong(r, "choices", "heads", "q, k or both");
}

static enum qk_code read_mode(const struct qk_recipe_reader *r, const cJSON *entry, struct qk_choice *choice)
{
    const char *name = qk_json_string(entry, "mode", "");
    char modes[QK_MODE_LIST];
    if (!qk_mode_parse(name, &choice->mode))
        return qk_fail(r->err, QK_INPUT, "%s: choices.mode: unknown mode (found \"%s\", expected %s)",
            r->path, name, qk_mode_list(modes, NULL, false));
    const struct qk_mode_info *info = qk_mode_info(choice->mode);
    const cJSON *param = qk_json_get(entry, "param");
    if (!info->has_param)
        return param == NULL || cJSON_IsNull(param) || (cJSON_IsNumber(param) && param->valuedouble == 0)
                   ? QK_OK
                   : qk_recipe_wrong(r, "choices", "param", "no value for this mode");
    if (!cJSON_IsNumber(param))
        return qk_recipe_wrong(r, "choices", "param", "a number");
    choice->param = param->valuedouble;
    if (qk_choice_check(*choice, NULL) != QK_OK)
        return qk_fail(r->err, QK_INPUT, "%s: choices.param: out of range for %s (found %g)", r->path, name,
            choice->param);
    return QK_OK;
}

static enum qk_code read_choice(const struct choices *c, const cJSON *item, struct entry *entry)
{
    static const char *const keys[] = {"layers", "roles", "mode", "param", NULL};
    static const char *const head_keys[] = {"layers", "roles", "heads", "mode", "param", NULL};
    const struct qk_recipe_reader *r = c->r;
    QK_TRY(qk_recipe_keys(r, item, "choices", c->by_head ? head_keys : keys));
    bool heads = qk_json_get(item, "heads") != NULL;
    QK_TRY(heads ? read_heads(r, item, entry->heads) : read_roles(r, item, entry->roles));
    QK_TRY(read_mode(r, item, &entry->choice));
    const struct qk_mode_info *info = qk_mode_info(entry->choice.mode);
    if (info->both_roles && !heads && !(entry->roles[QK_Q] && entry->roles[QK_K]))
        return qk_fail(r->err, QK_INPUT, "%s: choices.roles: missing or wrong (expected both q and k for %s)",
            r->path, info->name);
    return QK_OK;
}

static enum qk_code fail_twice(const struct choices *c, int layer, int role, const char *head)
{
    return qk_fail(c->r->err, QK_INPUT, "%s: choices.layers: layer %d has two choices for %s%s", c->r->path,
        layer, qk_role_name((enum qk_role)role), head);
}

/* Makes the list longer. */
static enum qk_code grow_list(struct choices *c, struct head_list *list, int n)
{
    c->n_heads += (size_t)(n - list->n);
    if (c->n_heads > MOST_HEADS)
        return qk_recipe_wrong(c->r, "choices", "heads", "fewer heads in all");
    struct head_list longer = {.n = n};
    QK_TRY(qk_alloc(&longer.of, (size_t)n, sizeof *longer.of, c->r->err));
    enum qk_code code = qk_alloc(&longer.named, (size_t)n, sizeof *longer.named, c->r->err);
    if (code != QK_OK) {
        free(longer.of);
        return code;
    }
    for (int h = 0; h < list->n; h++) {
        longer.of[h] = list->of[h];
        longer.named[h] = list->named[h];
    }
    free(list->of);
    free(list->named);
    *list = longer;
    return QK_OK;
}

static enum qk_code take_heads(struct choices *c, const struct entry *entry, int layer, int role)
{
    struct head_list *list = &c->heads[layer][role];
    if (c->named[layer][role])
        return fail_twice(c, layer, role, "");
    for (const cJSON *item = entry->heads[role]; item != NULL; item = item->next) {
        uint64_t head;
        char number[16];
        if (!qk_json_u64(item, &head) || head >= MAX_HEADS)
            return qk_recipe_wrong(c->r, "choices.heads", qk_role_name((enum qk_role)role), "head numbers");
        if ((int)head >= list->n)
            QK_TRY(grow_list(c, list, (int)head + 1));
        snprintf(number, sizeof number, "%d", (int)head);
        if (list->named[head])
            return fail_twice(c, layer, role, number);
        list->named[head] = true;
        list->of[head] = entry->choice;
    }
    return QK_OK;
}

static enum qk_code take_layer(struct choices *c, const struct entry *entry, int layer)
{
    if (layer >= c->n_layers)
        c->n_layers = layer + 1;
    for (int role = 0; role < QK_ROLE_COUNT; role++) {
        if (entry->heads[role] != NULL)
            QK_TRY(take_heads(c, entry, layer, role));
        if (!entry->roles[role])
            continue;
        if (c->named[layer][role] || (c->heads != NULL && c->heads[layer][role].n > 0))
            return fail_twice(c, layer, role, "");
        c->named[layer][role] = true;
        c->all.choice[layer].role[role] = entry->choice;
    }
    return QK_OK;
}

static enum qk_code read_entry(struct choices *c, const cJSON *item)
{
    struct entry entry = {0};
    const cJSON *layer;
    size_t n;
    QK_TRY(read_choice(c, item, &entry));
    QK_TRY(qk_recipe_array(c->r, item, "choices", "layers", &layer, &n));
    if (n == 0)
        return qk_recipe_wrong(c->r, "choices", "layers", "at least one layer");
    for (; layer != NULL; layer = layer->next) {
        uint64_t number;
        if (!qk_json_u64(layer, &number) || number >= MAX_LAYERS)
            return qk_recipe_wrong(c->r, "choices", "layers", "layer numbers");
        QK_TRY(take_layer(c, &entry, (int)number));
    }
    return QK_OK;
}

/* Sets the choices of the lists, each with one more head. */
static enum qk_code set_lists(struct choices *c)
{
    for (int i = 0; c->heads != NULL && i < c->n_layers; i++)
        for (int r = 0; r < QK_ROLE_COUNT; r++) {
            struct head_list *list = &c->heads[i][r];
            if (list->n == 0)
                continue;
            QK_TRY(grow_list(c, list, list->n + 1));
            QK_TRY(
                qk_layer_choice_set_heads(&c->all.choice[i], (enum qk_role)r, list->of, list->n, c->r->err));
        }
    return QK_OK;
}

static enum qk_code read_all(struct choices *c, const cJSON *entry)
{
    QK_TRY(qk_selection_init(&c->all, MAX_LAYERS, c->r->err));
    QK_TRY(qk_alloc(&c->named, MAX_LAYERS, sizeof *c->named, c->r->err));
    if (c->by_head)
        QK_TRY(qk_alloc(&c->heads, MAX_LAYERS, sizeof *c->heads, c->r->err));
    for (; entry != NULL; entry = entry->next)
        QK_TRY(read_entry(c, entry));
    return set_lists(c);
}

enum qk_code qk_recipe_read_choices(
    const struct qk_recipe_reader *r, const cJSON *root, bool by_head, struct qk_selection *out)
{
    struct choices c = {.r = r, .by_head = by_head};
    const cJSON *entry;
    size_t n;
    QK_TRY(qk_recipe_array(r, root, "", "choices", &entry, &n));
    enum qk_code code = read_all(&c, entry);
    for (int i = 0; c.heads != NULL && i < c.n_layers; i++)
        for (int role = 0; role < QK_ROLE_COUNT; role++) {
            free(c.heads[i][role].of);
            free(c.heads[i][role].named);
        }
    free(c.heads);
    free(c.named);
    if (code == QK_OK) {
        int all = c.all.n_layers;
        c.all.n_layers = c.n_layers;
        code = qk_selection_copy(out, &c.all, r->err);
        c.all.n_layers = all;
    }
    qk_selection_free(&c.all);
    return code;
}

/* --- replaying --- */

static struct qk_choice asked(const struct qk_layer_choice *choice, enum qk_role role, int head)
{
    bool beyond = choice->head[role] != NULL && head >= qk_layer_choice_count(choice, role);
    return beyond ? (struct qk_choice){QK_KEEP, 0} : qk_layer_choice_of(choice, role, head);
}

static enum qk_code replay_role(const struct qk_layer_choice *choice, const struct qk_pair *pair, int layer,
    enum qk_role role, struct qk_selection *selection, struct qk_error *err)
{
    if (choice->head[role] == NULL && choice->role[role].mode != QK_KEEP)
        return qk_selection_set(selection, pair, layer, (int)role, choice->role[role], err);
    for (int h = 0; h < qk_layer_choice_count(choice, role); h++) {
        const struct qk_head_run run = {(enum qk_head_kind)role, h, h};
        struct qk_choice one = qk_layer_choice_of(choice, role, h);
        if (one.mode != QK_KEEP)
            QK_TRY(qk_selection_set_heads(selection, pair, layer, &run, 1, one, err));
    }
    return QK_OK;
}

/* QK_USAGE unless every head is as the recipe says: a mode that acts on both roles may have set others. */
static enum qk_code check_replayed(const struct qk_layer_choice *choice, const struct qk_pair *pair,
    int layer, const struct qk_selection *selection, struct qk_error *err)
{
    char found[QK_CHOICE_TEXT], wanted[QK_CHOICE_TEXT];
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        for (int h = 0; h < qk_selection_heads(&pair->layer[layer], (enum qk_head_kind)r); h++) {
            struct qk_choice now = qk_layer_choice_of(&selection->choice[layer], (enum qk_role)r, h),
                             want = asked(choice, (enum qk_role)r, h);
            if (!qk_choice_equal(now, want))
                return qk_fail(err, QK_USAGE,
                    "layer %d names a part of the key group of %s%d (found %s there, expected %s as in the "
                    "rest)",
                    layer, qk_role_name((enum qk_role)r), h, qk_choice_text(wanted, want),
                    qk_choice_text(found, now));
        }
    return QK_OK;
}

static enum qk_code replay(const struct qk_layer_choice *choice, const struct qk_pair *pair, int layer,
    struct qk_selection *selection, struct qk_error *err)
{
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        QK_TRY(replay_role(choice, pair, layer, (enum qk_role)r, selection, err));
    return qk_layer_choice_by_head(choice) ? check_replayed(choice, pair, layer, selection, err) : QK_OK;
}

enum qk_code qk_recipe_replay_layer(const struct qk_recipe *recipe, const struct qk_pair *pair, int layer,
    struct qk_selection *selection, struct qk_error *err)
{
    const struct qk_layer_choice *choice = &recipe->selection.choice[layer];
    const char *place = recipe->source != NULL ? recipe->source : "recipe";
    if (qk_layer_choice_keeps(choice))
        return QK_OK;
    if (layer >= pair->n_layers)
        return qk_fail(
            err, QK_INPUT, "%s: the recipe chooses layer %d (found %d layers)", place, layer, pair->n_layers);
    struct qk_error reason = {0};
    enum qk_code code = replay(choice, pair, layer, selection, &reason);
    if (code == QK_USAGE) /* the fault is in the recipe, not in the command line */
        return qk_fail(err, QK_INPUT, "%s: the recipe does not fit: %s", place, reason.text);
    return code == QK_OK ? QK_OK : qk_fail(err, code, "%s", reason.text);
}
