/* layout_row.c - what a row of the layout table may hold, and the check that it does. */
#include "model/layout.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

enum shape { TEXT, TEXTS, VALUE, WORDS_WHEN, VALUES_WHEN, FLAG, NUMBER, MAP, MIXERS, RULES, OBJECT };

struct field {
    const char *key;
    enum shape shape;
    bool needed;
    const char *words; /* for TEXT and MAP: the words allowed, separated by blanks; NULL: any */
};

static const char ROWS[] = " separate gated block head3 grouped conv1d key_group quarters latent ";
static const char POSITIONS[] = " none fixed rope_half rope_inter ";

static const char REASONS[] = " mamba experts alibi convolutions bidirectional layer_scale ";

static const struct field ROW_FIELDS[] = {{"family", TEXT, true, NULL}, {"model_types", TEXTS, true, NULL},
    {"layer_count", VALUE, false, NULL}, {"kinds", RULES, true, NULL}, {"names", MAP, false, NULL},
    {"mixers", MIXERS, true, NULL}, {"forward", OBJECT, false, NULL}, {NULL, TEXT, false, NULL}};
static const struct field RULE_FIELDS[] = {
    {"rule", TEXT, true, " all list pattern cycle interval indexes from when second_half "},
    {"key", TEXT, false, NULL}, {"when", TEXT, false, NULL}, {"period", VALUE, false, NULL},
    {"offset", VALUE, false, NULL}, {"base", NUMBER, false, NULL}, {"beside", TEXT, false, NULL},
    {"at", VALUE, false, NULL}, {"rest", FLAG, false, NULL}, {"again", FLAG, false, NULL},
    {"plus", NUMBER, false, NULL}, {"mixer", TEXT, false, NULL}, {"otherwise", TEXT, false, NULL},
    {NULL, TEXT, false, NULL}};
static const struct field MIXER_FIELDS[] = {{"kind", TEXT, true, " full window linear none "},
    {"q", TEXTS, false, NULL}, {"k", TEXTS, false, NULL}, {"rows", TEXT, false, ROWS},
    {"rows_when", WORDS_WHEN, false, ROWS}, {"heads", VALUE, false, NULL}, {"key_heads", VALUE, false, NULL},
    {"key_heads_when", VALUES_WHEN, false, NULL}, {"head_dim", VALUE, false, NULL},
    {"value_heads", VALUE, false, NULL}, {"value_dim", VALUE, false, NULL}, {"q_norm", TEXTS, false, NULL},
    {"k_norm", TEXTS, false, NULL}, {"gain_plus_one", FLAG, false, NULL}, {"rope_dim", VALUE, false, NULL},
    {"q_down", TEXTS, false, NULL}, {"q_down_norm", TEXTS, false, NULL}, {"k_down", TEXTS, false, NULL},
    {"k_down_norm", TEXTS, false, NULL}, {"positions", TEXT, false, POSITIONS},
    {"positions_when", WORDS_WHEN, false, POSITIONS}, {"rope_layers", TEXT, false, NULL},
    {"rope_interval", VALUE, false, NULL}, {"borrows_k", VALUE, false, NULL},
    {"borrows_k_groups", TEXT, false, NULL}, {"more_rows", VALUE, false, NULL},
    {"k_is_v", VALUE, false, NULL}, {"shared_by", VALUE, false, NULL}, {"rotary", VALUE, false, NULL},
    {"rotary_fraction", VALUE, false, NULL}, {"theta", VALUE, false, NULL}, {"window", VALUE, false, NULL},
    {"rope", TEXTS, false, NULL}, {"qk_norm_if", VALUE, false, NULL}, {"score_dim", VALUE, false, NULL},
    {"softcap", VALUE, false, NULL}, {"query_scaling", TEXT, false, NULL}, {"v", TEXTS, false, NULL},
    {"o", TEXTS, false, NULL}, {"gate", TEXTS, false, NULL}, {"gate_if", VALUE, false, NULL},
    {"gate_activation", TEXT, false, " sigmoid silu "}, {"o_norm", TEXTS, false, NULL},
    {"o_norm_if", VALUE, false, NULL}, {"o_norm_eps", VALUE, false, NULL},
    {"recurrence", TEXT, false, " lightning delta "}, {"alpha", TEXTS, false, NULL},
    {"beta", TEXTS, false, NULL}, {"beta_alpha", TEXTS, false, NULL}, {"decay_log", TEXTS, false, NULL},
    {"decay_bias", TEXTS, false, NULL}, {"conv", TEXTS, false, NULL}, {"kernel_in", TEXTS, false, NULL},
    {"kernel_out", TEXTS, false, NULL}, {NULL, TEXT, false, NULL}};
static const struct field FORWARD_FIELDS[] = {{"missing", TEXT, false, REASONS},
    {"refuse", MAP, false, REASONS}, {"norm", TEXT, true, " rms layer "},
    {"norm_plus_one", FLAG, false, NULL}, {"eps", VALUE, true, NULL}, {"mixer_norm", TEXTS, false, NULL},
    {"mixer_post_norm", TEXTS, false, NULL}, {"mlp_norm", TEXTS, false, NULL},
    {"mlp_post_norm", TEXTS, false, NULL}, {"parallel", VALUE, false, NULL}, {"gate", TEXTS, false, NULL},
    {"up", TEXTS, false, NULL}, {"gate_up", TEXTS, false, NULL}, {"down", TEXTS, false, NULL},
    {"activation", TEXTS, false, NULL}, {"router", TEXTS, false, NULL}, {"embedding", TEXTS, false, NULL},
    {"embedding_root", VALUE, false, NULL}, {"position_embedding", TEXTS, false, NULL},
    {"final_norm", TEXTS, false, NULL}, {"head", TEXTS, false, NULL}, {"logit_softcap", VALUE, false, NULL},
    {NULL, TEXT, false, NULL}};

static bool is_word_of(const char *word, const char *words)
{
    char padded[64];
    if (strchr(word, ' ') != NULL)
        return false;
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

static bool all_words(const cJSON *object, const char *words)
{
    for (const cJSON *item = object->child; item != NULL; item = item->next)
        if (!is_word_of(item->valuestring, words))
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

static bool is_values_when(const cJSON *item)
{
    if (!cJSON_IsArray(item))
        return false;
    for (const cJSON *pair = item->child; pair != NULL; pair = pair->next)
        if (cJSON_GetArraySize(pair) != 2 || !cJSON_IsArray(pair) || !cJSON_IsString(pair->child) ||
            !is_value(pair->child->next))
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
    case VALUES_WHEN:
        return is_values_when(item);
    case FLAG:
        return cJSON_IsBool(item);
    case NUMBER:
        return cJSON_IsNumber(item);
    case MAP:
        return cJSON_IsObject(item) && all_strings(item) &&
               (field->words == NULL || all_words(item, field->words));
    case OBJECT:
        return cJSON_IsObject(item);
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
    const char *twice;
    QK_TRY(qk_json_duplicate(object, &twice, err));
    if (twice != NULL)
        return qk_fail(err, QK_INPUT, "%s: %s: key \"%s\" appears twice", file, where, twice);
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

static enum qk_code check_needed(const char *file, const char *where, const cJSON *object,
    const char *const *needed, size_t n, struct qk_error *err)
{
    for (size_t i = 0; i < n && needed[i] != NULL; i++)
        if (qk_json_get(object, needed[i]) == NULL)
            return qk_fail(err, QK_INPUT, "%s: %s: key \"%s\" is missing", file, where, needed[i]);
    return QK_OK;
}

/* What each rule cannot do without. */
static enum qk_code check_rule(const char *file, const cJSON *row, const cJSON *rule, struct qk_error *err)
{
    static const struct {
        const char *rule, *needed[3];
    } rules[] = {{"all", {"mixer"}}, {"list", {"key"}}, {"pattern", {"key"}}, {"cycle", {"key"}},
        {"interval", {"period", "mixer"}}, {"indexes", {"key", "mixer"}}, {"from", {"key", "when", "mixer"}},
        {"when", {"key", "mixer"}}, {"second_half", {"mixer"}}};
    QK_TRY(check_object(file, "kinds", rule, RULE_FIELDS, err));
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (strcmp(rules[i].rule, qk_json_string(rule, "rule", "")) == 0)
            QK_TRY(check_needed(file, "kinds", rule, rules[i].needed, 3, err));
    QK_TRY(check_mixer_name(file, row, "kinds", qk_json_string(rule, "mixer", NULL), err));
    return check_mixer_name(file, row, "kinds", qk_json_string(rule, "otherwise", NULL), err);
}

/* A family with a forward pass needs all of it: what a layer adds to its input, and both ends. */
static enum qk_code check_forward(const char *file, const cJSON *row, struct qk_error *err)
{
    static const char *const ends[] = {"embedding", "final_norm", "activation", "down"};
    static const char *const sums[] = {"v", "o"}, *const recurrent[] = {"recurrence"},
                             *const delta[] = {"alpha", "beta", "decay_log", "decay_bias"};
    const cJSON *forward = qk_json_get(row, "forward");
    if (forward == NULL)
        return QK_OK;
    QK_TRY(check_object(file, "forward", forward, FORWARD_FIELDS, err));
    if (qk_json_get(forward, "missing") != NULL)
        return QK_OK;
    QK_TRY(check_needed(file, "forward", forward, ends, 4, err));
    if ((qk_json_get(forward, "up") == NULL) == (qk_json_get(forward, "gate_up") == NULL))
        return qk_fail(err, QK_INPUT, "%s: forward: needs one of the keys \"up\" and \"gate_up\"", file);
    for (const cJSON *mixer = qk_json_get(row, "mixers")->child; mixer != NULL; mixer = mixer->next) {
        const char *kind = qk_json_string(mixer, "kind", ""), *rows = qk_json_string(mixer, "rows", "");
        if (strcmp(kind, "none") == 0)
            continue;
        bool separate = strcmp(rows, "separate") == 0 || strcmp(rows, "gated") == 0;
        QK_TRY(check_needed(file, mixer->string, mixer, separate ? sums : sums + 1, separate ? 2 : 1, err));
        if (strcmp(kind, "linear") == 0)
            QK_TRY(check_needed(file, mixer->string, mixer, recurrent, 1, err));
        bool fused = qk_json_get(mixer, "beta_alpha") != NULL;
        if (strcmp(qk_json_string(mixer, "recurrence", ""), "delta") == 0)
            QK_TRY(check_needed(file, mixer->string, mixer, fused ? delta + 2 : delta, fused ? 2 : 4, err));
    }
    return QK_OK;
}

enum qk_code qk_layout_check(const char *file, const cJSON *row, struct qk_error *err)
{
    QK_TRY(check_object(file, "row", row, ROW_FIELDS, err));
    for (const cJSON *rule = qk_json_get(row, "kinds")->child; rule != NULL; rule = rule->next)
        QK_TRY(check_rule(file, row, rule, err));
    for (const cJSON *mixer = qk_json_get(row, "mixers")->child; mixer != NULL; mixer = mixer->next) {
        QK_TRY(check_object(file, mixer->string, mixer, MIXER_FIELDS, err));
        static const char *const needed[] = {"q", "k", "rows", "heads", "head_dim", "positions"};
        static const char *const latent[] = {
            "rope_dim", "q_down", "q_down_norm", "k_down", "k_down_norm", "value_heads", "value_dim"};
        if (strcmp(qk_json_string(mixer, "kind", ""), "none") != 0)
            QK_TRY(check_needed(file, mixer->string, mixer, needed, sizeof needed / sizeof needed[0], err));
        if ((qk_json_get(mixer, "borrows_k") != NULL || qk_json_get(mixer, "borrows_k_groups") != NULL) &&
            !is_word_of(qk_json_string(mixer, "rows", ""), " separate gated block "))
            return qk_fail(err, QK_INPUT,
                "%s: %s: key \"borrows_k\" goes with separate, gated or block rows alone", file,
                mixer->string);
        if (strcmp(qk_json_string(mixer, "rows", ""), "latent") == 0)
            QK_TRY(check_needed(file, mixer->string, mixer, latent, sizeof latent / sizeof latent[0], err));
    }
    const cJSON *names = qk_json_get(row, "names");
    for (const cJSON *item = names != NULL ? names->child : NULL; item != NULL; item = item->next)
        QK_TRY(check_mixer_name(file, row, "names", item->valuestring, err));
    return check_forward(file, row, err);
}
