/* layout.c - the table of families, and the values that a row gives for a config. */
#include "model/layout.h"

#include "base/folder.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "tensor/names.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROW_BYTES = 1 << 20 };

/* Checks a parsed row, and frees it when it has a mistake. */
static enum qk_code finish_row(const char *file, struct qk_layout *layout, struct qk_error *err)
{
    enum qk_code code = qk_layout_check(file, layout->row, err);
    if (code == QK_OK)
        code = qk_strdup_to(&layout->file, file, err);
    if (code != QK_OK)
        qk_layout_free(layout);
    else
        layout->family = qk_json_string(layout->row, "family", "");
    return code;
}

enum qk_code qk_layout_parse(
    const char *file, const char *text, size_t n, struct qk_layout *layout, struct qk_error *err)
{
    *layout = (struct qk_layout){0};
    QK_TRY(qk_json_parse(file, text, n, &layout->row, err));
    return finish_row(file, layout, err);
}

void qk_layout_free(struct qk_layout *layout)
{
    cJSON_Delete(layout->row);
    free(layout->file);
    *layout = (struct qk_layout){0};
}

/* --- the table: the user's rows, then the built-in ones --- */

static bool names_type(const cJSON *types, const char *model_type)
{
    if (cJSON_IsString(types))
        return strcmp(types->valuestring, model_type) == 0;
    for (const cJSON *item = types->child; item != NULL; item = item->next)
        if (strcmp(item->valuestring, model_type) == 0)
            return true;
    return false;
}

enum qk_code qk_layout_folder(char **out, struct qk_error *err)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    struct qk_text text = {0};
    *out = NULL;
    if (config != NULL && config[0] == '/') /* the specification ignores relative paths */
        qk_text_add(&text, "%s/qkscope/layouts", config);
    else if (home != NULL && home[0] != '\0')
        qk_text_add(&text, "%s/.config/qkscope/layouts", home);
    else
        return QK_OK;
    return qk_text_take(&text, out, err);
}

/* Paths of the user's rows, sorted; none when there is no such folder. */
static enum qk_code list_user_rows(struct qk_lines *paths, struct qk_error *err)
{
    char *folder;
    bool found;
    struct qk_lines names = {0};
    QK_TRY(qk_layout_folder(&folder, err));
    enum qk_code code = folder != NULL ? qk_folder_names(folder, &found, &names, err) : QK_OK;
    for (size_t i = 0; i < names.n && code == QK_OK; i++)
        if (names.line[i][0] != '.' && qk_ends_with(names.line[i], ".json"))
            code = qk_lines_add(paths, err, "%s/%s", folder, names.line[i]);
    qk_lines_free(&names);
    free(folder);
    return code;
}

static enum qk_code read_user_row(const char *path, struct qk_layout *layout, struct qk_error *err)
{
    *layout = (struct qk_layout){0};
    QK_TRY(qk_json_read(path, MAX_ROW_BYTES, &layout->row, err));
    return finish_row(path, layout, err);
}

typedef void take_row(void *context, struct qk_layout *row); /* may keep the row by clearing it */

static enum qk_code each_user_row(take_row *take, void *context, struct qk_error *err)
{
    struct qk_lines paths = {0};
    struct qk_layout row;
    enum qk_code code = list_user_rows(&paths, err);
    for (size_t i = 0; i < paths.n && code == QK_OK; i++) {
        code = read_user_row(paths.line[i], &row, err);
        if (code == QK_OK)
            take(context, &row);
        qk_layout_free(&row);
    }
    qk_lines_free(&paths);
    return code;
}

/* Parses the rows that hold the word (NULL: all). Built-in rows spell model types without escapes, so a lookup need
 * not parse all hundred of them. */
static enum qk_code each_built_in_row(const char *word, take_row *take, void *context, struct qk_error *err)
{
    struct qk_layout row;
    enum qk_code code = QK_OK;
    for (size_t i = 0; i < qk_n_embedded_layouts && code == QK_OK; i++) {
        const struct qk_embedded_layout *built_in = &qk_embedded_layouts[i];
        if (word != NULL && memmem(built_in->text, built_in->length, word, strlen(word)) == NULL)
            continue;
        code = qk_layout_parse(built_in->file, built_in->text, built_in->length, &row, err);
        if (code == QK_OK)
            take(context, &row);
        qk_layout_free(&row);
    }
    return code;
}

struct search {
    const char *model_type;
    struct qk_layout exact, any; /* the first of each */
};

static void take_match(void *context, struct qk_layout *row)
{
    struct search *search = context;
    const cJSON *types = qk_json_get(row->row, "model_types");
    bool star = strcmp(search->model_type, "*") == 0; /* a config may hold any text */
    struct qk_layout *slot = !star && names_type(types, search->model_type) ? &search->exact
                             : names_type(types, "*")                       ? &search->any
                                                                            : NULL;
    if (slot == NULL || slot->row != NULL)
        return;
    *slot = *row;
    *row = (struct qk_layout){0};
}

enum qk_code qk_layout_find(const char *model_type, struct qk_layout *layout, struct qk_error *err)
{
    struct search search = {.model_type = model_type};
    *layout = (struct qk_layout){0};
    enum qk_code code = each_user_row(take_match, &search, err);
    if (code == QK_OK)
        code = each_built_in_row(model_type, take_match, &search, err);
    if (code == QK_OK && search.exact.row == NULL && search.any.row == NULL)
        code = each_built_in_row("\"*\"", take_match, &search, err);
    if (code == QK_OK) {
        struct qk_layout *found = search.exact.row != NULL ? &search.exact : &search.any;
        found->guessed = found == &search.any; /* generic.json at least */
        *layout = *found;
        *found = (struct qk_layout){0};
    }
    qk_layout_free(&search.exact);
    qk_layout_free(&search.any);
    return code;
}

struct visitor {
    void (*visit)(void *context, const struct qk_layout *row);
    void *context;
};

static void visit_row(void *context, struct qk_layout *row)
{
    const struct visitor *visitor = context;
    row->guessed = names_type(qk_json_get(row->row, "model_types"), "*");
    visitor->visit(visitor->context, row);
}

enum qk_code qk_layout_rows(
    void (*visit)(void *context, const struct qk_layout *row), void *context, struct qk_error *err)
{
    struct visitor visitor = {visit, context};
    QK_TRY(each_user_row(visit_row, &visitor, err));
    return each_built_in_row(NULL, visit_row, &visitor, err);
}

/* --- values --- */

bool qk_config_true(const cJSON *item)
{
    if (cJSON_IsNumber(item))
        return item->valuedouble != 0;
    return item != NULL && !cJSON_IsNull(item) && !cJSON_IsFalse(item);
}

/* The first object of the list whose own list "layers" names the layer in question. */
static const cJSON *object_of_layer(const struct qk_config *config, const cJSON *list)
{
    int looked_at = 0; /* a valid list does not name more layers than there can be */
    for (const cJSON *object = list->child; object != NULL && config->layer > 0; object = object->next) {
        const cJSON *layers = qk_json_get(object, "layers");
        for (const cJSON *item = cJSON_IsArray(layers) ? layers->child : NULL; item != NULL;
             item = item->next) {
            if (cJSON_IsNumber(item) && item->valuedouble == config->layer - 1)
                return object;
            if (++looked_at > QK_MAX_LAYERS)
                return NULL;
        }
    }
    return NULL;
}

/* What the layer in question sets itself, where it sets the key, else what the model sets. */
static const cJSON *holder_of(const struct qk_config *config, const char *key)
{
    const cJSON *own =
        config->layer > 0 && config->layer <= config->n_own ? config->own[config->layer - 1] : NULL;
    return qk_json_get(own, key) != NULL ? own : config->text;
}

const cJSON *qk_config_path(const struct qk_config *config, const char *path)
{
    const cJSON *at = config->text;
    const char *const first = path;
    char part[64];
    while (at != NULL && *path != '\0') {
        size_t n = strcspn(path, ".");
        if (n >= sizeof part)
            return NULL;
        memcpy(part, path, n);
        part[n] = '\0';
        if (path == first)
            at = holder_of(config, part);
        const char *digits = part + strspn(part, "0123456789");
        if (cJSON_IsArray(at) && n > 0 && *digits == '\0') {
            at = n < 6 ? cJSON_GetArrayItem(at, atoi(part)) : NULL;
            path += n + (path[n] == '.');
            continue;
        }
        if (cJSON_IsArray(at))
            at = object_of_layer(config, at);
        at = cJSON_IsObject(at) ? qk_json_get(at, part) : NULL;
        path += n + (path[n] == '.');
    }
    return at;
}

/* The item at the path, or that of the layer in question in the list there. */
static const cJSON *path_item(const struct qk_config *config, const char *path)
{
    const cJSON *item = qk_config_path(config, path);
    return cJSON_IsArray(item) && config->layer > 0 ? cJSON_GetArrayItem(item, config->layer - 1) : item;
}

static bool path_number(const struct qk_config *config, const char *path, size_t n, double *out)
{
    char part[128];
    if (n >= sizeof part)
        return false;
    memcpy(part, path, n);
    part[n] = '\0';
    const cJSON *item = path_item(config, part);
    if (!cJSON_IsNumber(item))
        return false;
    *out = item->valuedouble;
    return true;
}

/* Computes an expression from left to right; its operands are numbers or paths. */
static bool one_value(const cJSON *item, const struct qk_config *config, double *out)
{
    if (cJSON_IsNumber(item)) {
        *out = item->valuedouble;
        return true;
    }
    char sign = '\0';
    for (const char *text = item->valuestring;; text++) {
        size_t n = strcspn(text, "/*+");
        char *end;
        double operand = strtod(text, &end);
        if ((end != text + n || n == 0) && !path_number(config, text, n, &operand))
            return false;
        if (sign == '/')
            *out /= operand;
        else if (sign == '*')
            *out *= operand;
        else
            *out = sign == '+' ? *out + operand : operand;
        text += n;
        sign = *text;
        if (sign == '\0')
            return true;
    }
}

bool qk_layout_holds(const struct qk_config *config, const char *condition)
{
    const char *word = strchr(condition, '=');
    char key[128];
    if (word == NULL)
        return qk_config_true(qk_config_path(config, condition));
    if ((size_t)(word - condition) >= sizeof key)
        return false;
    memcpy(key, condition, (size_t)(word - condition));
    key[word - condition] = '\0';
    const char *found = cJSON_GetStringValue(qk_config_path(config, key));
    return found != NULL && strcmp(found, word + 1) == 0;
}

/* The second element of the first pair of KEY_when whose condition holds, else the value of KEY. */
static const cJSON *chosen(const cJSON *object, const char *key, const struct qk_config *config)
{
    char when[64];
    snprintf(when, sizeof when, "%s_when", key);
    const cJSON *list = qk_json_get(object, when);
    for (const cJSON *pair = list != NULL ? list->child : NULL; pair != NULL; pair = pair->next)
        if (qk_layout_holds(config, pair->child->valuestring))
            return pair->child->next;
    return qk_json_get(object, key);
}

/* The first entry of the value, which may be a list; the next one is its `next` in a list, else NULL. */
static const cJSON *first_entry(const cJSON *value)
{
    return cJSON_IsArray(value) ? value->child : value;
}

/* The entry of the value that counts, or NULL. */
static const cJSON *entry_of(
    const cJSON *object, const char *key, const struct qk_config *config, double *out)
{
    const cJSON *value = chosen(object, key, config);
    for (const cJSON *entry = first_entry(value); entry != NULL;
         entry = cJSON_IsArray(value) ? entry->next : NULL)
        if (one_value(entry, config, out))
            return entry;
    return NULL;
}

bool qk_layout_value(const cJSON *object, const char *key, const struct qk_config *config, double *out)
{
    return entry_of(object, key, config, out) != NULL;
}

/* Refuses an operand of the expression that is in the config and is no number. null and false mean that it is not
 * there, and so does a list where no layer is in question. */
static enum qk_code check_operands(
    const char *expression, const struct qk_config *config, struct qk_error *err)
{
    char path[128];
    for (size_t n; *expression != '\0'; expression += n + (expression[n] != '\0')) {
        n = strcspn(expression, "/*+");
        snprintf(path, sizeof path, "%.*s", (int)n, expression);
        const cJSON *item = path_item(config, path);
        if (item == NULL || cJSON_IsNull(item) || cJSON_IsFalse(item) || cJSON_IsNumber(item) ||
            (cJSON_IsArray(item) && config->layer == 0))
            continue;
        char *text = cJSON_PrintUnformatted(item);
        enum qk_code code = qk_fail(err, QK_INPUT, "%s: %s is not a number (found %.40s)", config->path, path,
            text != NULL ? text : "something else");
        cJSON_free(text);
        return code;
    }
    return QK_OK;
}

enum qk_code qk_layout_check_values(
    const cJSON *object, const char *const *keys, const struct qk_config *config, struct qk_error *err)
{
    double ignored;
    for (; *keys != NULL; keys++) {
        const cJSON *value = chosen(object, *keys, config);
        for (const cJSON *entry = first_entry(value); entry != NULL && !one_value(entry, config, &ignored);
             entry = cJSON_IsArray(value) ? entry->next : NULL)
            QK_TRY(check_operands(entry->valuestring, config, err));
    }
    return QK_OK;
}

const struct qk_bounds qk_above_zero = {DBL_MIN, DBL_MAX, "a number above 0"};

enum qk_code qk_layout_number(const cJSON *object, const char *key, const struct qk_config *config,
    struct qk_bounds bounds, bool *found, double *out, struct qk_error *err)
{
    double value;
    const cJSON *entry = entry_of(object, key, config, &value);
    *found = entry != NULL;
    if (entry == NULL)
        return QK_OK;
    if (!(value >= bounds.least && value <= bounds.most))
        return qk_fail(err, QK_INPUT, "%s: %s is out of range (found %g, expected %s)", config->path,
            cJSON_IsString(entry) ? entry->valuestring : key, value, bounds.text);
    *out = value;
    return QK_OK;
}

enum qk_code qk_layout_count(const cJSON *object, const char *key, const struct qk_config *config, long limit,
    long *out, struct qk_error *err)
{
    const char *path = config->path;
    double value;
    if (!qk_layout_value(object, key, config, &value)) {
        const cJSON *item = chosen(object, key, config);
        const cJSON *first = cJSON_IsArray(item) ? item->child : item;
        const char *name = cJSON_IsString(first) ? first->valuestring : key;
        if (config->root == NULL)
            return qk_fail(err, QK_INPUT, "%s: no such file, and %s is not known without it (key \"%s\")",
                path, key, name);
        return qk_fail(err, QK_INPUT, "%s: %s is missing (key \"%s\")", path, key, name);
    }
    if (!(value >= 1 && value <= (double)limit) || value != floor(value))
        return qk_fail(err, QK_INPUT,
            "%s: %s is out of range (found %g, expected a whole number from 1 to %ld)", path, key, value,
            limit);
    *out = (long)value;
    return QK_OK;
}

bool qk_layout_flag(const cJSON *object, const char *key, const struct qk_config *config, bool fallback)
{
    const cJSON *item = qk_json_get(object, key);
    if (item == NULL)
        return fallback;
    for (const cJSON *part = cJSON_IsArray(item) ? item->child : item; part != NULL;
         part = cJSON_IsArray(item) ? part->next : NULL) {
        const cJSON *found = cJSON_IsString(part) ? qk_config_path(config, part->valuestring) : part;
        if (found != NULL && !cJSON_IsNull(found))
            return qk_config_true(found);
    }
    return fallback;
}

const char *qk_layout_word(const cJSON *object, const char *key, const struct qk_config *config)
{
    const cJSON *item = chosen(object, key, config);
    return cJSON_IsString(item) ? item->valuestring : "";
}

/* --- rules --- */

/* The layers of a model while the rules apply: name[i] is NULL until a rule names the mixer of layer i. */
struct kinds {
    const struct qk_layout *layout;
    const struct qk_config *config;
    const struct qk_names *names; /* NULL: of no checkpoint */
    int n;
    const char **name;
    struct qk_error *err;
};

/* The list at item, which may be a string that holds a list. The caller frees *parsed. */
static const cJSON *as_list(const cJSON *item, cJSON **parsed)
{
    *parsed = NULL;
    if (!cJSON_IsString(item))
        return cJSON_IsArray(item) ? item : NULL;
    /* Python prints a list of strings as JSON with other quotes. */
    char *text = strdup(item->valuestring);
    for (char *c = text; c != NULL && *c != '\0'; c++)
        *c = *c == '\'' ? '"' : *c;
    if (text == NULL || qk_json_parse("list", text, strlen(text), parsed, NULL) != QK_OK)
        *parsed = NULL;
    free(text);
    return cJSON_IsArray(*parsed) ? *parsed : NULL;
}

/* The mixer that the config calls by this word, else `otherwise`. */
static const char *mapped(const struct kinds *k, const char *word, const char *otherwise)
{
    return qk_json_string(qk_json_get(k->layout->row, "names"), word, otherwise);
}

/* otherwise: the mixer of words without a name, or NULL: they are errors. */
static enum qk_code name_entry(
    const struct kinds *k, const char *key, const cJSON *item, const char *otherwise, int i)
{
    char word[64] = "";
    if (cJSON_IsString(item))
        snprintf(word, sizeof word, "%s", item->valuestring);
    else if (cJSON_IsNumber(item))
        snprintf(word, sizeof word, "%g", item->valuedouble);
    k->name[i] = mapped(k, word, otherwise);
    if (k->name[i] == NULL)
        return qk_fail(k->err, QK_INPUT, "%s: %s[%d]: \"%s\" is not a layer kind of the %s family",
            k->config->path, key, i, word, k->layout->family);
    return QK_OK;
}

/* True for a list of an entry a layer. Some go on with the layers that predict later tokens. Without a number of layers
 * in the config, the list may be of a larger model. */
static bool fits_layers(const struct kinds *k, int length)
{
    double count;
    if (!qk_layout_value(k->layout->row, "layer_count", k->config, &count))
        return length >= k->n;
    return length == k->n || length - k->n == qk_json_int(k->config->text, "num_nextn_predict_layers", 0);
}

static enum qk_code name_by_list(const struct kinds *k, const cJSON *rule, const cJSON *value)
{
    const char *key = qk_json_string(rule, "key", ""), *otherwise = qk_json_string(rule, "otherwise", NULL);
    bool cycle = strcmp(qk_json_string(rule, "rule", ""), "cycle") == 0;
    cJSON *parsed;
    const cJSON *list = as_list(value, &parsed);
    int length = list != NULL ? cJSON_GetArraySize(list) : 0;
    enum qk_code code = QK_OK;
    if (list == NULL || length == 0 || (!cycle && !fits_layers(k, length)))
        code = qk_fail(k->err, QK_INPUT, "%s: %s is not a list of %d entries (found %d)", k->config->path,
            key, k->n, length);
    const cJSON *item = code == QK_OK ? list->child : NULL;
    for (int i = 0; i < k->n && code == QK_OK; i++, item = item->next) {
        if (item == NULL) /* begin again */
            item = list->child;
        if (k->name[i] == NULL)
            code = name_entry(k, key, item, otherwise, i);
    }
    cJSON_Delete(parsed);
    return code;
}

static enum qk_code name_by_pattern(const struct kinds *k, const char *key, const char *pattern, bool cycle)
{
    int length = (int)strnlen(pattern, (size_t)k->n);
    for (int i = 0; i < k->n; i++) {
        int at = cycle && length > 0 ? i % length : i;
        const char word[2] = {at < length ? pattern[at] : '\0', '\0'};
        if (k->name[i] == NULL && (k->name[i] = mapped(k, word, NULL)) == NULL)
            return qk_fail(k->err, QK_INPUT,
                "%s: %s: character %d (\"%s\") is not a layer kind of the %s family", k->config->path, key, i,
                word, k->layout->family);
    }
    return QK_OK;
}

static bool has_zero(const cJSON *list)
{
    for (const cJSON *item = cJSON_IsArray(list) ? list->child : NULL; item != NULL; item = item->next)
        if (cJSON_IsNumber(item) && item->valuedouble == 0)
            return true;
    return false;
}

static enum qk_code name_by_indexes(const struct kinds *k, const cJSON *rule, const cJSON *list)
{
    const char *mixer = qk_json_string(rule, "mixer", NULL),
               *otherwise = qk_json_string(rule, "otherwise", NULL);
    const cJSON *beside = qk_config_path(k->config, qk_json_string(rule, "beside", "."));
    double base = has_zero(list) || has_zero(beside) ? 0 : qk_json_number(rule, "base", 0);
    bool *listed;
    if (list == NULL)
        return QK_OK;
    QK_TRY(qk_alloc(&listed, (size_t)k->n, sizeof *listed, k->err));
    for (const cJSON *item = list->child; item != NULL; item = item->next) {
        double i = cJSON_IsNumber(item) ? item->valuedouble - base : -1;
        if (i >= 0 && i < k->n && i == floor(i))
            listed[(int)i] = true;
    }
    for (int i = 0; i < k->n; i++)
        if (k->name[i] == NULL)
            k->name[i] = listed[i] ? mixer : otherwise;
    free(listed);
    return QK_OK;
}

/* Names the mixer by a key that leads through a list of objects, where each layer has a list of its own or none. */
static void name_by_objects(const struct kinds *k, const cJSON *rule)
{
    const char *key = qk_json_string(rule, "key", ""), *when = qk_json_string(rule, "when", NULL);
    struct qk_config config = *k->config;
    for (int i = 0; i < k->n; i++) {
        config.layer = i + 1;
        if (k->name[i] == NULL && cJSON_IsArray(qk_config_path(&config, key)) &&
            (when == NULL || qk_layout_holds(&config, when)))
            k->name[i] = qk_json_string(rule, "mixer", NULL);
    }
}

static enum qk_code name_by_interval(const struct kinds *k, const cJSON *rule)
{
    const char *mixer = qk_json_string(rule, "mixer", NULL),
               *otherwise = qk_json_string(rule, "otherwise", NULL);
    long period, offset = 0;
    double number;
    if (!qk_layout_value(rule, "period", k->config, &number))
        return QK_OK;
    QK_TRY(qk_layout_count(rule, "period", k->config, 1 << 20, &period, k->err));
    if (qk_layout_value(rule, "offset", k->config, &number))
        offset = number >= 0 && number < (double)period ? (long)number : period - 1;
    long rest = qk_json_bool(rule, "rest", false) ? k->n / period * period : k->n;
    for (int i = 0; i < k->n; i++)
        if (k->name[i] == NULL)
            k->name[i] = i % period == offset || i >= rest ? mixer : otherwise;
    return QK_OK;
}

static void name_from(const struct kinds *k, double first, const char *mixer, const char *otherwise)
{
    for (int i = 0; i < k->n; i++)
        if (k->name[i] == NULL)
            k->name[i] = i >= first ? mixer : otherwise;
}

/* Names the mixer of the layers that have a tensor of that name. */
static void name_stored(const struct kinds *k, const char *tensor, const char *mixer)
{
    for (int i = 0; i < k->n && k->names != NULL; i++)
        if (k->name[i] == NULL && qk_names_find(k->names, i, tensor, ".weight") != NULL)
            k->name[i] = mixer;
}

/* Applies one rule to the layers that no rule before it has named. */
static enum qk_code apply_rule(const struct kinds *k, const cJSON *rule)
{
    const char *kind = qk_json_string(rule, "rule", ""), *key = qk_json_string(rule, "key", "");
    const char *mixer = qk_json_string(rule, "mixer", NULL);
    const cJSON *value = key[0] != '\0' ? qk_config_path(k->config, key) : NULL;
    const char *when = qk_json_string(rule, "when", NULL);
    if (strcmp(kind, "stored") == 0) {
        name_stored(k, key, mixer);
        return QK_OK;
    }
    if (strcmp(kind, "indexes") == 0 && value == NULL)
        name_by_objects(k, rule);
    if (when != NULL && (strcmp(kind, "interval") == 0 || strcmp(kind, "indexes") == 0) &&
        !qk_layout_holds(k->config, when))
        return QK_OK;
    if (strcmp(kind, "all") == 0 || (strcmp(kind, "when") == 0 && qk_config_true(value)))
        name_from(k, 0, mixer, NULL);
    else if (strcmp(kind, "from") == 0) {
        bool on = qk_config_true(qk_config_path(k->config, qk_json_string(rule, "when", "")));
        double first = on && cJSON_IsNumber(value) ? value->valuedouble : HUGE_VAL;
        name_from(k, first, mixer, qk_json_string(rule, "otherwise", NULL));
    } else if (strcmp(kind, "second_half") == 0)
        name_from(
            k, k->n / 2 + qk_json_number(rule, "plus", 0), mixer, qk_json_string(rule, "otherwise", NULL));
    else if (strcmp(kind, "interval") == 0)
        return name_by_interval(k, rule);
    else if (strcmp(kind, "indexes") == 0)
        return name_by_indexes(k, rule, cJSON_IsArray(value) ? value : qk_json_get(rule, "at"));
    else if (strcmp(kind, "when") == 0 || value == NULL || cJSON_IsNull(value))
        return QK_OK;
    else if (strcmp(kind, "pattern") == 0 && cJSON_IsNumber(value)) /* a period, which is for another rule */
        return QK_OK;
    else if (strcmp(kind, "pattern") == 0 && cJSON_IsString(value))
        return name_by_pattern(k, key, value->valuestring, qk_json_bool(rule, "again", false));
    else if (!cJSON_IsArray(value) || value->child != NULL) /* an empty list names nothing */
        return name_by_list(k, rule, value);
    return QK_OK;
}

enum qk_code qk_layout_kinds(const struct qk_layout *layout, const struct qk_config *config,
    const struct qk_names *names, int n, const char **mixer, struct qk_error *err)
{
    const struct kinds k = {layout, config, names, n, mixer, err};
    for (int i = 0; i < n; i++)
        mixer[i] = NULL;
    for (const cJSON *rule = qk_json_get(layout->row, "kinds")->child; rule != NULL; rule = rule->next)
        QK_TRY(apply_rule(&k, rule));
    for (int i = 0; i < n; i++)
        if (mixer[i] == NULL)
            return qk_fail(err, QK_INPUT, "%s: no rule names the kind of layer %d of a %s model",
                config->path, i, layout->family);
    return QK_OK;
}

const cJSON *qk_layout_mixer(const struct qk_layout *layout, const char *name)
{
    return qk_json_get(qk_json_get(layout->row, "mixers"), name);
}
