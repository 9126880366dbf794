/* layout.c - checking rows of the layout table and answering what they say of a config. */
#include "model/layout.h"

#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- what a row may hold --- */

enum shape { TEXT, TEXTS, VALUE, WORDS_WHEN, FLAG, NUMBER, MAP, MIXERS, RULES };

struct field {
    const char *key;
    enum shape shape;
    bool needed;
    const char *words; /* for TEXT: the words allowed, separated by blanks; NULL: any */
};

static const char ROWS[] = " separate gated block head3 grouped conv1d key_group ";
static const char POSITIONS[] = " none fixed rope_half rope_inter ";

static const struct field ROW_FIELDS[] = {{"family", TEXT, true, NULL}, {"model_types", TEXTS, true, NULL},
    {"layer_count", VALUE, false, NULL}, {"kinds", RULES, true, NULL}, {"names", MAP, false, NULL},
    {"mixers", MIXERS, true, NULL}, {NULL, TEXT, false, NULL}};
static const struct field RULE_FIELDS[] = {
    {"rule", TEXT, true, " all list pattern cycle interval indexes from when "}, {"key", TEXT, false, NULL},
    {"when", TEXT, false, NULL}, {"period", VALUE, false, NULL}, {"offset", VALUE, false, NULL},
    {"base", NUMBER, false, NULL}, {"mixer", TEXT, false, NULL}, {"otherwise", TEXT, false, NULL},
    {NULL, TEXT, false, NULL}};
static const struct field MIXER_FIELDS[] = {{"kind", TEXT, true, " full window linear none "},
    {"q", TEXTS, false, NULL}, {"k", TEXTS, false, NULL}, {"rows", TEXT, false, ROWS},
    {"rows_when", WORDS_WHEN, false, ROWS}, {"heads", VALUE, false, NULL}, {"key_heads", VALUE, false, NULL},
    {"head_dim", VALUE, false, NULL}, {"value_heads", VALUE, false, NULL}, {"value_dim", VALUE, false, NULL},
    {"q_norm", TEXTS, false, NULL}, {"k_norm", TEXTS, false, NULL}, {"gain_plus_one", FLAG, false, NULL},
    {"positions", TEXT, false, POSITIONS}, {"positions_when", WORDS_WHEN, false, POSITIONS},
    {"rotary", VALUE, false, NULL}, {"rotary_fraction", VALUE, false, NULL}, {"theta", VALUE, false, NULL},
    {"window", VALUE, false, NULL}, {NULL, TEXT, false, NULL}};

static bool is_word_of(const char *word, const char *words)
{
    char padded[64];
    snprintf(padded, sizeof padded, " %s ", word);
    return strstr(words, padded) != NULL;
}

static bool all_strings(const cJSON *array)
{
    for (const cJSON *item = array->child; item != NULL; item = item->next)
        if (!cJSON_IsString(item))
            return false;
    return true;
}

static bool is_value(const cJSON *item)
{
    if (cJSON_IsArray(item)) {
        for (const cJSON *part = item->child; part != NULL; part = part->next)
            if (!cJSON_IsString(part) && !cJSON_IsNumber(part))
                return false;
        return item->child != NULL;
    }
    return cJSON_IsString(item) || cJSON_IsNumber(item);
}

static bool is_words_when(const cJSON *item, const char *words)
{
    if (!cJSON_IsArray(item))
        return false;
    for (const cJSON *pair = item->child; pair != NULL; pair = pair->next)
        if (!cJSON_IsArray(pair) || cJSON_GetArraySize(pair) != 2 || !all_strings(pair) ||
            !is_word_of(pair->child->next->valuestring, words))
            return false;
    return true;
}

static bool fits(const cJSON *item, const struct field *field)
{
    switch (field->shape) {
    case TEXT:
        return cJSON_IsString(item) && (field->words == NULL || is_word_of(item->valuestring, field->words));
    case TEXTS:
        return cJSON_IsString(item) || (cJSON_IsArray(item) && item->child != NULL && all_strings(item));
    case VALUE:
        return is_value(item);
    case WORDS_WHEN:
        return is_words_when(item, field->words);
    case FLAG:
        return cJSON_IsBool(item);
    case NUMBER:
        return cJSON_IsNumber(item);
    case MAP:
        return cJSON_IsObject(item) && all_strings(item);
    case MIXERS:
        return cJSON_IsObject(item) && item->child != NULL;
    case RULES:
        return cJSON_IsArray(item) && item->child != NULL;
    }
    return false;
}

static enum qk_code check_object(const char *file, const char *where, const cJSON *object,
    const struct field *fields, struct qk_error *err)
{
    if (!cJSON_IsObject(object))
        return qk_fail(err, QK_INPUT, "%s: %s: not an object", file, where);
    for (const cJSON *item = object->child; item != NULL; item = item->next) {
        const struct field *field = fields;
        while (field->key != NULL && strcmp(field->key, item->string) != 0)
            field++;
        if (field->key == NULL)
            return qk_fail(err, QK_INPUT, "%s: %s: unknown key \"%s\"", file, where, item->string);
        if (!fits(item, field))
            return qk_fail(err, QK_INPUT, "%s: %s: key \"%s\" has a wrong value%s%s", file, where,
                item->string, field->words != NULL ? ", expected one of" : "",
                field->words != NULL ? field->words : "");
    }
    for (const struct field *field = fields; field->key != NULL; field++)
        if (field->needed && qk_json_get(object, field->key) == NULL)
            return qk_fail(err, QK_INPUT, "%s: %s: key \"%s\" is missing", file, where, field->key);
    return QK_OK;
}

static enum qk_code check_mixer_name(
    const char *file, const cJSON *row, const char *where, const char *name, struct qk_error *err)
{
    if (name != NULL && qk_json_get(qk_json_get(row, "mixers"), name) == NULL)
        return qk_fail(err, QK_INPUT, "%s: %s: there is no mixer \"%s\"", file, where, name);
    return QK_OK;
}

static enum qk_code check_row(const char *file, const cJSON *row, struct qk_error *err)
{
    QK_TRY(check_object(file, "row", row, ROW_FIELDS, err));
    for (const cJSON *rule = qk_json_get(row, "kinds")->child; rule != NULL; rule = rule->next) {
        QK_TRY(check_object(file, "kinds", rule, RULE_FIELDS, err));
        QK_TRY(check_mixer_name(file, row, "kinds", qk_json_string(rule, "mixer", NULL), err));
        QK_TRY(check_mixer_name(file, row, "kinds", qk_json_string(rule, "otherwise", NULL), err));
    }
    for (const cJSON *mixer = qk_json_get(row, "mixers")->child; mixer != NULL; mixer = mixer->next) {
        QK_TRY(check_object(file, mixer->string, mixer, MIXER_FIELDS, err));
        static const char *const needed[] = {"q", "k", "rows", "heads", "head_dim", "positions"};
        bool none = strcmp(qk_json_string(mixer, "kind", ""), "none") == 0;
        for (size_t i = 0; !none && i < sizeof needed / sizeof needed[0]; i++)
            if (qk_json_get(mixer, needed[i]) == NULL)
                return qk_fail(
                    err, QK_INPUT, "%s: %s: key \"%s\" is missing", file, mixer->string, needed[i]);
    }
    const cJSON *names = qk_json_get(row, "names");
    for (const cJSON *item = names != NULL ? names->child : NULL; item != NULL; item = item->next)
        QK_TRY(check_mixer_name(file, row, "names", item->valuestring, err));
    return QK_OK;
}

enum qk_code qk_layout_parse(
    const char *file, const char *text, size_t n, struct qk_layout *layout, struct qk_error *err)
{
    *layout = (struct qk_layout){.file = file};
    QK_TRY(qk_json_parse(file, text, n, &layout->row, err));
    enum qk_code code = check_row(file, layout->row, err);
    if (code != QK_OK) {
        qk_layout_free(layout);
        return code;
    }
    layout->family = qk_json_string(layout->row, "family", "");
    return QK_OK;
}

void qk_layout_free(struct qk_layout *layout)
{
    cJSON_Delete(layout->row);
    *layout = (struct qk_layout){0};
}

static bool names_type(const cJSON *types, const char *model_type)
{
    if (cJSON_IsString(types))
        return strcmp(types->valuestring, model_type) == 0;
    for (const cJSON *item = types->child; item != NULL; item = item->next)
        if (strcmp(item->valuestring, model_type) == 0)
            return true;
    return false;
}

static enum qk_code find_row(const char *model_type, struct qk_layout *layout, struct qk_error *err)
{
    for (size_t i = 0; i < qk_n_embedded_layouts; i++) {
        const struct qk_embedded_layout *row = &qk_embedded_layouts[i];
        QK_TRY(qk_layout_parse(row->file, row->text, row->length, layout, err));
        if (names_type(qk_json_get(layout->row, "model_types"), model_type))
            return QK_OK;
        qk_layout_free(layout);
    }
    return QK_OK;
}

enum qk_code qk_layout_find(const char *model_type, struct qk_layout *layout, struct qk_error *err)
{
    *layout = (struct qk_layout){0};
    QK_TRY(find_row(model_type, layout, err));
    if (layout->row != NULL)
        return QK_OK;
    QK_TRY(find_row("*", layout, err)); /* generic.json */
    layout->guessed = true;
    return QK_OK;
}

enum qk_code qk_layout_families(void (*visit)(void *context, const char *family, const char *model_type),
    void *context, struct qk_error *err)
{
    for (size_t i = 0; i < qk_n_embedded_layouts; i++) {
        const struct qk_embedded_layout *row = &qk_embedded_layouts[i];
        struct qk_layout layout;
        QK_TRY(qk_layout_parse(row->file, row->text, row->length, &layout, err));
        const cJSON *types = qk_json_get(layout.row, "model_types");
        for (const cJSON *item = cJSON_IsArray(types) ? types->child : types; item != NULL;
             item = item->next) {
            visit(context, layout.family, item->valuestring);
            if (!cJSON_IsArray(types))
                break;
        }
        qk_layout_free(&layout);
    }
    return QK_OK;
}

/* --- values --- */

const cJSON *qk_config_path(const struct qk_config *config, const char *path)
{
    const cJSON *at = config->text;
    char part[64];
    while (at != NULL && *path != '\0') {
        size_t n = strcspn(path, ".");
        if (n >= sizeof part)
            return NULL;
        memcpy(part, path, n);
        part[n] = '\0';
        at = cJSON_IsObject(at) ? qk_json_get(at, part) : NULL;
        path += n + (path[n] == '.');
    }
    return at;
}

static bool path_number(const struct qk_config *config, const char *path, size_t n, double *out)
{
    char part[128];
    if (n >= sizeof part)
        return false;
    memcpy(part, path, n);
    part[n] = '\0';
    const cJSON *item = qk_config_path(config, part);
    if (!cJSON_IsNumber(item))
        return false;
    *out = item->valuedouble;
    return true;
}

static bool one_value(const cJSON *item, const struct qk_config *config, double *out)
{
    if (cJSON_IsNumber(item)) {
        *out = item->valuedouble;
        return true;
    }
    const char *text = item->valuestring;
    size_t n = strcspn(text, "/*");
    double left, right;
    if (!path_number(config, text, n, &left))
        return false;
    if (text[n] == '\0') {
        *out = left;
        return true;
    }
    if (!path_number(config, text + n + 1, strlen(text + n + 1), &right))
        return false;
    *out = text[n] == '/' ? left / right : left * right;
    return true;
}

bool qk_layout_value(const cJSON *object, const char *key, const struct qk_config *config, double *out)
{
    const cJSON *item = qk_json_get(object, key);
    if (item == NULL)
        return false;
    if (!cJSON_IsArray(item))
        return one_value(item, config, out);
    for (const cJSON *part = item->child; part != NULL; part = part->next)
        if (one_value(part, config, out))
            return true;
    return false;
}

enum qk_code qk_layout_count(const cJSON *object, const char *key, const struct qk_config *config, long limit,
    long *out, struct qk_error *err)
{
    const char *path = config->path != NULL ? config->path : "config.json";
    double value;
    if (!qk_layout_value(object, key, config, &value)) {
        const cJSON *item = qk_json_get(object, key);
        const cJSON *first = cJSON_IsArray(item) ? item->child : item;
        return qk_fail(err, QK_INPUT, "%s: %s is missing (key \"%s\")", path, key,
            cJSON_IsString(first) ? first->valuestring : key);
    }
    if (!(value >= 1 && value <= (double)limit) || value != floor(value))
        return qk_fail(err, QK_INPUT,
            "%s: %s makes no sense (found %g, expected a whole number from 1 to %ld)", path, key, value,
            limit);
    *out = (long)value;
    return QK_OK;
}

static bool is_true(const cJSON *item)
{
    if (cJSON_IsNumber(item))
        return item->valuedouble != 0;
    return item != NULL && !cJSON_IsNull(item) && !cJSON_IsFalse(item);
}

const char *qk_layout_word(const cJSON *object, const char *key, const struct qk_config *config)
{
    char when[64];
    snprintf(when, sizeof when, "%s_when", key);
    const cJSON *list = qk_json_get(object, when);
    for (const cJSON *pair = list != NULL ? list->child : NULL; pair != NULL; pair = pair->next)
        if (is_true(qk_config_path(config, pair->child->valuestring)))
            return pair->child->next->valuestring;
    return qk_json_string(object, key, "");
}

/* --- rules --- */

/* Element i of a list that may be stored as a string which holds a list. *parsed is freed by the caller. */
static const cJSON *as_list(const cJSON *item, cJSON **parsed)
{
    *parsed = NULL;
    if (!cJSON_IsString(item))
        return cJSON_IsArray(item) ? item : NULL;
    /* Python's repr of a list of strings is JSON but for the quotes. */
    char *text = strdup(item->valuestring);
    for (char *c = text; c != NULL && *c != '\0'; c++)
        *c = *c == '\'' ? '"' : *c;
    *parsed = text != NULL ? cJSON_Parse(text) : NULL;
    free(text);
    return cJSON_IsArray(*parsed) ? *parsed : NULL;
}

static const char *mapped(const struct qk_layout *layout, const char *word)
{
    return qk_json_string(qk_json_get(layout->row, "names"), word, NULL);
}

static enum qk_code word_of_list(const struct qk_layout *layout, const struct qk_config *config,
    const cJSON *rule, const cJSON *value, int i, int n, const char **name, struct qk_error *err)
{
    const char *key = qk_json_string(rule, "key", "");
    bool cycle = strcmp(qk_json_string(rule, "rule", ""), "cycle") == 0;
    cJSON *parsed;
    const cJSON *list = as_list(value, &parsed);
    int length = list != NULL ? cJSON_GetArraySize(list) : 0;
    enum qk_code code = QK_OK;
    if (list == NULL || length == 0 || (!cycle && length < n)) {
        code = qk_fail(
            err, QK_INPUT, "%s: %s is not a list of %d entries (found %d)", config->path, key, n, length);
    } else {
        const cJSON *item = cJSON_GetArrayItem(list, cycle ? i % length : i);
        char word[64] = "";
        if (cJSON_IsString(item))
            snprintf(word, sizeof word, "%s", item->valuestring);
        else if (cJSON_IsNumber(item))
            snprintf(word, sizeof word, "%g", item->valuedouble);
        *name = mapped(layout, word);
        if (*name == NULL)
            code = qk_fail(err, QK_INPUT, "%s: %s[%d]: \"%s\" is no layer kind that the %s family knows",
                config->path, key, i, word, layout->family);
    }
    cJSON_Delete(parsed);
    return code;
}

static enum qk_code word_of_pattern(const struct qk_layout *layout, const struct qk_config *config,
    const char *key, const char *pattern, int i, const char **name, struct qk_error *err)
{
    char word[2] = {(int)strlen(pattern) > i ? pattern[i] : '\0', '\0'};
    *name = mapped(layout, word);
    if (*name == NULL)
        return qk_fail(err, QK_INPUT,
            "%s: %s: character %d (\"%s\") is no layer kind that the %s family knows", config->path, key, i,
            word, layout->family);
    return QK_OK;
}

/* Applies one rule to layer i; *name stays NULL when the rule does not apply. */
static enum qk_code apply_rule(const struct qk_layout *layout, const struct qk_config *config,
    const cJSON *rule, int i, int n, const char **name, struct qk_error *err)
{
    const char *kind = qk_json_string(rule, "rule", ""), *key = qk_json_string(rule, "key", "");
    const char *mixer = qk_json_string(rule, "mixer", NULL),
               *otherwise = qk_json_string(rule, "otherwise", NULL);
    const cJSON *value = key[0] != '\0' ? qk_config_path(config, key) : NULL;
    if (strcmp(kind, "all") == 0) {
        *name = mixer;
    } else if (strcmp(kind, "when") == 0) {
        *name = is_true(value) ? mixer : NULL;
    } else if (strcmp(kind, "interval") == 0) {
        long period, offset = 0;
        double number;
        if (!qk_layout_value(rule, "period", config, &number))
            return QK_OK;
        QK_TRY(qk_layout_count(rule, "period", config, 1 << 20, &period, err));
        if (qk_layout_value(rule, "offset", config, &number))
            offset = number >= 0 && number < (double)period ? (long)number : period - 1;
        *name = i % period == offset ? mixer : otherwise;
    } else if (strcmp(kind, "from") == 0) {
        bool on = is_true(qk_config_path(config, qk_json_string(rule, "when", "")));
        *name = on && cJSON_IsNumber(value) && i >= value->valuedouble ? mixer : otherwise;
    } else if (strcmp(kind, "indexes") == 0) {
        if (!cJSON_IsArray(value))
            return QK_OK;
        *name = otherwise;
        for (const cJSON *item = value->child; item != NULL; item = item->next)
            if (cJSON_IsNumber(item) && item->valuedouble == i + qk_json_number(rule, "base", 0))
                *name = mixer;
    } else if (value != NULL && !cJSON_IsNull(value)) { /* list, cycle, pattern */
        if (strcmp(kind, "pattern") == 0 && cJSON_IsString(value))
            return word_of_pattern(layout, config, key, value->valuestring, i, name, err);
        if (cJSON_IsArray(value) && value->child == NULL) /* an empty list says nothing */
            return QK_OK;
        return word_of_list(layout, config, rule, value, i, n, name, err);
    }
    return QK_OK;
}

enum qk_code qk_layout_mixer(const struct qk_layout *layout, const struct qk_config *config, int i, int n,
    const cJSON **mixer, const char **name, struct qk_error *err)
{
    *name = NULL;
    for (const cJSON *rule = qk_json_get(layout->row, "kinds")->child; rule != NULL && *name == NULL;
         rule = rule->next)
        QK_TRY(apply_rule(layout, config, rule, i, n, name, err));
    if (*name == NULL)
        return qk_fail(err, QK_INPUT, "%s: nothing tells the kind of layer %d of a %s model",
            config->path != NULL ? config->path : "config.json", i, layout->family);
    *mixer = qk_json_get(qk_json_get(layout->row, "mixers"), *name);
    return QK_OK;
}
