/* layout_row.c - the keys of a row of the layout table, and the check of a row. */
#include "model/layout.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

/* What a value must be. Some shapes are checked alike and differ in what they mean to the reader of the manual. */
enum shape {
    TEXT,
    TEXTS,
    WORD,
    MIXER,
    PATH,
    PATHS,
    NAMES,
    VALUE,
    FLAG,
    SWITCH,
    NUMBER,
    WORDS_WHEN,
    VALUES_WHEN,
    WORD_MAP,
    MIXER_MAP,
    MIXERS,
    RULES,
    OBJECT
};

struct field {
    const char *key;
    enum shape shape;
    bool needed;
    const char *words; /* the words allowed, separated by blanks; NULL: any */
};

static const char ROWS[] =
    " separate gated block head3 grouped conv1d key_group quarters latent parts by_scales ";
static const char POSITIONS[] = " none fixed rope_half rope_inter ";
static const char SCORINGS[] = " softmax sigmoid ";
static const char REASONS[] =
    " experts alibi convolutions bidirectional layer_scale qk_layer_norm clipped sinks variant ";

static const struct field ROW_FIELDS[] = {
    {"family", TEXT, true, NULL},
    {"model_types", TEXTS, true, NULL},
    {"layer_count", VALUE, false, NULL},
    {"parts", VALUE, false, NULL},
    {"kinds", RULES, true, NULL},
    {"names", MIXER_MAP, false, NULL},
    {"mixers", MIXERS, true, NULL},
    {"forward", OBJECT, false, NULL},
    {NULL, TEXT, false, NULL},
};
static const struct field RULE_FIELDS[] = {
    {"rule", WORD, true, " all list pattern cycle interval indexes from when second_half stored "},
    {"mixer", MIXER, false, NULL},
    {"otherwise", MIXER, false, NULL},
    {"key", PATH, false, NULL},
    {"when", PATH, false, NULL},
    {"again", SWITCH, false, NULL},
    {"period", VALUE, false, NULL},
    {"offset", VALUE, false, NULL},
    {"rest", SWITCH, false, NULL},
    {"base", NUMBER, false, NULL},
    {"beside", PATH, false, NULL},
    {"at", VALUE, false, NULL},
    {"plus", NUMBER, false, NULL},
    {NULL, TEXT, false, NULL},
};
static const struct field MIXER_FIELDS[] = {
    {"kind", WORD, true, " full window linear none "},
    {"q", NAMES, false, NULL},
    {"k", NAMES, false, NULL},
    {"rows", WORD, false, ROWS},
    {"rows_when", WORDS_WHEN, false, ROWS},
    {"heads", VALUE, false, NULL},
    {"key_heads", VALUE, false, NULL},
    {"key_heads_when", VALUES_WHEN, false, NULL},
    {"head_dim", VALUE, false, NULL},
    {"value_heads", VALUE, false, NULL},
    {"value_dim", VALUE, false, NULL},
    {"more_rows", VALUE, false, NULL},
    {"q_norm", NAMES, false, NULL},
    {"k_norm", NAMES, false, NULL},
    {"gain_plus_one", SWITCH, false, NULL},
    {"k_is_v", FLAG, false, NULL},
    {"shared_by", VALUE, false, NULL},
    {"borrows_k", VALUE, false, NULL},
    {"borrows_k_groups", PATH, false, NULL},
    {"q_down", NAMES, false, NULL},
    {"q_down_norm", NAMES, false, NULL},
    {"k_down", NAMES, false, NULL},
    {"k_down_norm", NAMES, false, NULL},
    {"rope_dim", VALUE, false, NULL},
    {"positions", WORD, false, POSITIONS},
    {"positions_when", WORDS_WHEN, false, POSITIONS},
    {"rotary", VALUE, false, NULL},
    {"rotary_fraction", VALUE, false, NULL},
    {"theta", VALUE, false, NULL},
    {"interleaved", FLAG, false, NULL},
    {"rope_layers", PATH, false, NULL},
    {"rope_interval", VALUE, false, NULL},
    {"window", VALUE, false, NULL},
    {"rope", PATHS, false, NULL},
    {"rope_scores", SWITCH, false, NULL},
    {"norm_after_rope", SWITCH, false, NULL},
    {"qk_norm_if", FLAG, false, NULL},
    {"down_norm_eps", VALUE, false, NULL},
    {"qk_norm_kind", WORD, false, " rms layer "},
    {"qk_norm_plain", FLAG, false, NULL},
    {"score_dim", VALUE, false, NULL},
    {"score_scale", VALUE, false, NULL},
    {"softcap", VALUE, false, NULL},
    {"query_scaling", PATH, false, NULL},
    {"query_beta", VALUE, false, NULL},
    {"query_period", VALUE, false, NULL},
    {"query_shift", VALUE, false, NULL},
    {"query_if", FLAG, false, NULL},
    {"sinks", NAMES, false, NULL},
    {"value_scale", VALUE, false, NULL},
    {"v_norm_plain", SWITCH, false, NULL},
    {"v", NAMES, false, NULL},
    {"o", NAMES, false, NULL},
    {"gate", NAMES, false, NULL},
    {"gate_in", NAMES, false, NULL},
    {"gate_if", FLAG, false, NULL},
    {"gate_activation", WORD, false, " sigmoid silu gelu_pytorch_tanh "},
    {"o_norm", NAMES, false, NULL},
    {"o_norm_if", FLAG, false, NULL},
    {"o_norm_eps", VALUE, false, NULL},
    {"o_norm_groups", VALUE, false, NULL},
    {"norm_first", FLAG, false, NULL},
    {"block", WORD, false, " both mixer mlp "},
    {"beside", MIXER, false, NULL},
    {"joined", SWITCH, false, NULL},
    {"then", MIXER, false, NULL},
    {"then_in", NAMES, false, NULL},
    {"q_adapter", NAMES, false, NULL},
    {"k_adapter", NAMES, false, NULL},
    {"v_adapter", NAMES, false, NULL},
    {"in_multiplier", VALUE, false, NULL},
    {"key_multiplier", VALUE, false, NULL},
    {"part_multipliers", PATH, false, NULL},
    {"out_multiplier", VALUE, false, NULL},
    {"recurrence", WORD, false, " lightning delta channel_delta mamba2 mamba lru short_conv "},
    {"alpha_in", NAMES, false, NULL},
    {"alpha", NAMES, false, NULL},
    {"beta", NAMES, false, NULL},
    {"beta_alpha", NAMES, false, NULL},
    {"decay_log", NAMES, false, NULL},
    {"decay_bias", NAMES, false, NULL},
    {"negative", FLAG, false, NULL},
    {"in", NAMES, false, NULL},
    {"skip", NAMES, false, NULL},
    {"selection", NAMES, false, NULL},
    {"step", NAMES, false, NULL},
    {"step_norm", NAMES, false, NULL},
    {"input_gate", NAMES, false, NULL},
    {"input_gate_bias", NAMES, false, NULL},
    {"decay_gate", NAMES, false, NULL},
    {"decay_gate_bias", NAMES, false, NULL},
    {"step_limits", PATH, false, NULL},
    {"conv", NAMES, false, NULL},
    {"conv_if", FLAG, false, NULL},
    {"q_conv", NAMES, false, NULL},
    {"k_conv", NAMES, false, NULL},
    {"v_conv", NAMES, false, NULL},
    {"kernel_in", NAMES, false, NULL},
    {"kernel_out", NAMES, false, NULL},
    {"qkv_silu", FLAG, false, NULL},
    {"slope_layer", WORD, false, " this before "},
    {"mixer_norm", NAMES, false, NULL},
    {"mixer_post_norm", NAMES, false, NULL},
    {"mlp_norm", NAMES, false, NULL},
    {"mlp_post_norm", NAMES, false, NULL},
    {"mixer_alpha", VALUE, false, NULL},
    {"mixer_beta", VALUE, false, NULL},
    {"mlp_alpha", VALUE, false, NULL},
    {"mlp_beta", VALUE, false, NULL},
    {NULL, TEXT, false, NULL},
};
static const struct field FORWARD_FIELDS[] = {
    {"missing", WORD, false, REASONS},
    {"refuse", WORD_MAP, false, REASONS},
    {"norm", WORD, true, " rms layer "},
    {"norm_plus_one", SWITCH, false, NULL},
    {"norm_plain", SWITCH, false, NULL},
    {"eps", VALUE, true, NULL},
    {"mixer_norm", NAMES, false, NULL},
    {"mixer_post_norm", NAMES, false, NULL},
    {"mlp_norm", NAMES, false, NULL},
    {"mlp_post_norm", NAMES, false, NULL},
    {"mixer_alpha", VALUE, false, NULL},
    {"mixer_beta", VALUE, false, NULL},
    {"mlp_alpha", VALUE, false, NULL},
    {"mlp_beta", VALUE, false, NULL},
    {"normed_residual", FLAG, false, NULL},
    {"layer_scale", NAMES, false, NULL},
    {"parallel", FLAG, false, NULL},
    {"gate", NAMES, false, NULL},
    {"up", NAMES, false, NULL},
    {"gate_up", NAMES, false, NULL},
    {"gate_up_adapter", NAMES, false, NULL},
    {"down", NAMES, false, NULL},
    {"activation", PATHS, false, NULL},
    {"gate_multiplier", VALUE, false, NULL},
    {"down_multiplier", VALUE, false, NULL},
    {"residual_multiplier", VALUE, false, NULL},
    {"residual_root", VALUE, false, NULL},
    {"router", NAMES, false, NULL},
    {"experts", OBJECT, false, NULL},
    {"embedding", NAMES, false, NULL},
    {"embedding_root", VALUE, false, NULL},
    {"embedding_root_bf16", SWITCH, false, NULL},
    {"embedding_multiplier", VALUE, false, NULL},
    {"embedding_root_if", FLAG, false, NULL},
    {"position_embedding", NAMES, false, NULL},
    {"layer_input", VALUE, false, NULL},
    {"layer_input_embedding", NAMES, false, NULL},
    {"layer_input_in", NAMES, false, NULL},
    {"layer_input_in_norm", NAMES, false, NULL},
    {"layer_input_gate", NAMES, false, NULL},
    {"layer_input_out", NAMES, false, NULL},
    {"layer_input_norm", NAMES, false, NULL},
    {"final_norm", NAMES, false, NULL},
    {"head", NAMES, false, NULL},
    {"logit_multiplier", VALUE, false, NULL},
    {"most_tokens", VALUE, false, NULL},
    {"logit_softcap", VALUE, false, NULL},
    {NULL, TEXT, false, NULL},
};

static const struct field EXPERTS_FIELDS[] = {
    {"router", NAMES, true, NULL},
    {"correction", NAMES, false, NULL},
    {"per_token", VALUE, true, NULL},
    {"scoring", WORD, true, SCORINGS},
    {"scoring_when", WORDS_WHEN, false, SCORINGS},
    {"groups", VALUE, false, NULL},
    {"groups_chosen", VALUE, false, NULL},
    {"group_best", VALUE, false, NULL},
    {"normalised", FLAG, false, NULL},
    {"normalised_eps", VALUE, false, NULL},
    {"factor", VALUE, false, NULL},
    {"gate", NAMES, false, NULL},
    {"up", NAMES, false, NULL},
    {"gate_up", NAMES, false, NULL},
    {"interleaved", SWITCH, false, NULL},
    {"down", NAMES, true, NULL},
    {"input_scaled", SWITCH, false, NULL},
    {"limit", VALUE, false, NULL},
    {"alpha", VALUE, false, NULL},
    {"up_plus", VALUE, false, NULL},
    {"latent_in", NAMES, false, NULL},
    {"latent_out", NAMES, false, NULL},
    {"shared", OBJECT, false, NULL},
    {NULL, TEXT, false, NULL},
};
static const struct field SHARED_FIELDS[] = {
    {"gate", NAMES, false, NULL},
    {"up", NAMES, false, NULL},
    {"gate_up", NAMES, false, NULL},
    {"down", NAMES, true, NULL},
    {"weight", NAMES, false, NULL},
    {NULL, TEXT, false, NULL},
};

/* --- shapes --- */

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

static bool is_text(const cJSON *item, const char *words)
{
    return cJSON_IsString(item) && (words == NULL || is_word_of(item->valuestring, words));
}

static bool is_texts(const cJSON *item, const char *words)
{
    return is_text(item, words) || (cJSON_IsArray(item) && item->child != NULL && all_strings(item));
}

static bool is_number(const cJSON *item, const char *words)
{
    (void)words;
    return cJSON_IsNumber(item);
}

static bool is_switch(const cJSON *item, const char *words)
{
    (void)words;
    return cJSON_IsBool(item);
}

static bool is_value(const cJSON *item, const char *words)
{
    (void)words;
    if (!cJSON_IsArray(item))
        return cJSON_IsString(item) || cJSON_IsNumber(item);
    for (const cJSON *part = item->child; part != NULL; part = part->next)
        if (!cJSON_IsString(part) && !cJSON_IsNumber(part))
            return false;
    return item->child != NULL;
}

/* A list of pairs [condition, what holds then]. */
static bool is_pairs(const cJSON *item, const char *words, bool (*fits)(const cJSON *, const char *))
{
    if (!cJSON_IsArray(item))
        return false;
    for (const cJSON *pair = item->child; pair != NULL; pair = pair->next)
        if (!cJSON_IsArray(pair) || cJSON_GetArraySize(pair) != 2 || !cJSON_IsString(pair->child) ||
            !fits(pair->child->next, words))
            return false;
    return true;
}

static bool is_words_when(const cJSON *item, const char *words)
{
    return is_pairs(item, words, is_text);
}

static bool is_values_when(const cJSON *item, const char *words)
{
    return is_pairs(item, words, is_value);
}

static bool is_map(const cJSON *item, const char *words)
{
    if (!cJSON_IsObject(item))
        return false;
    for (const cJSON *entry = item->child; entry != NULL; entry = entry->next)
        if (!is_text(entry, words))
            return false;
    return true;
}

static bool is_object(const cJSON *item, const char *words)
{
    (void)words;
    return cJSON_IsObject(item);
}

static bool is_full_object(const cJSON *item, const char *words)
{
    (void)words;
    return cJSON_IsObject(item) && item->child != NULL;
}

static bool is_full_list(const cJSON *item, const char *words)
{
    (void)words;
    return cJSON_IsArray(item) && item->child != NULL;
}

static const struct {
    const char *type; /* what the manual calls it */
    bool (*fits)(const cJSON *item, const char *words);
} SHAPES[] = {
    [TEXT] = {"text", is_text},
    [TEXTS] = {"text, or list of texts", is_texts},
    [WORD] = {"word", is_text},
    [MIXER] = {"name of a mixer", is_text},
    [PATH] = {"config path", is_text},
    [PATHS] = {"config path, or list of them", is_texts},
    [NAMES] = {"tensor name, or list of them", is_texts},
    [VALUE] = {"value", is_value},
    [FLAG] = {"flag", is_value},
    [SWITCH] = {"true or false", is_switch},
    [NUMBER] = {"number", is_number},
    [WORDS_WHEN] = {"list of pairs [condition, word]", is_words_when},
    [VALUES_WHEN] = {"list of pairs [condition, value]", is_values_when},
    [WORD_MAP] = {"object of config paths and words", is_map},
    [MIXER_MAP] = {"object of texts and names of mixers", is_map},
    [MIXERS] = {"object of names and mixers", is_full_object},
    [RULES] = {"list of rules", is_full_list},
    [OBJECT] = {"object", is_object},
};

bool qk_layout_key(size_t i, struct qk_layout_key *out)
{
    static const struct {
        const char *object;
        const struct field *fields;
    } objects[] = {{"row", ROW_FIELDS}, {"rule", RULE_FIELDS}, {"mixer", MIXER_FIELDS},
        {"forward", FORWARD_FIELDS}, {"experts", EXPERTS_FIELDS}, {"shared", SHARED_FIELDS}};
    for (size_t o = 0; o < sizeof objects / sizeof objects[0]; o++)
        for (const struct field *field = objects[o].fields; field->key != NULL; field++)
            if (i-- == 0) {
                *out = (struct qk_layout_key){
                    objects[o].object, field->key, SHAPES[field->shape].type, field->words, field->needed};
                return true;
            }
    return false;
}

/* --- the check --- */

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
        if (!SHAPES[field->shape].fits(item, field->words))
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

/* Checks that a rule has the keys it needs, and names mixers that exist. */
static enum qk_code check_rule(const char *file, const cJSON *row, const cJSON *rule, struct qk_error *err)
{
    static const struct {
        const char *rule, *needed[3];
    } rules[] = {{"all", {"mixer"}}, {"list", {"key"}}, {"pattern", {"key"}}, {"cycle", {"key"}},
        {"interval", {"period", "mixer"}}, {"indexes", {"key", "mixer"}}, {"from", {"key", "when", "mixer"}},
        {"when", {"key", "mixer"}}, {"second_half", {"mixer"}}, {"stored", {"key", "mixer"}}};
    QK_TRY(check_object(file, "kinds", rule, RULE_FIELDS, err));
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (strcmp(rules[i].rule, qk_json_string(rule, "rule", "")) == 0)
            QK_TRY(check_needed(file, "kinds", rule, rules[i].needed, 3, err));
    QK_TRY(check_mixer_name(file, row, "kinds", qk_json_string(rule, "mixer", NULL), err));
    return check_mixer_name(file, row, "kinds", qk_json_string(rule, "otherwise", NULL), err);
}

/* Checks that a mixer of a family with a forward pass has all that it computes with. */
static enum qk_code check_mixing(const char *file, const cJSON *mixer, struct qk_error *err)
{
    static const struct {
        const char *recurrence, *needed[10];
    } recurrences[] = {{"delta", {"decay_log", "decay_bias"}}, {"channel_delta", {"decay_log", "decay_bias"}},
        {"mamba2", {"in", "conv", "decay_log", "decay_bias", "skip", "value_heads", "value_dim", "key_heads",
                       "head_dim"}},
        {"mamba", {"in", "conv", "selection", "step", "decay_log", "skip"}},
        {"lru", {"in", "conv", "gate", "input_gate", "input_gate_bias", "decay_gate", "decay_gate_bias",
                    "decay_log", "value_heads"}},
        {"short_conv", {"in", "conv"}}};
    static const char *const sums[] = {"v", "o"}, *const recurrent[] = {"recurrence"},
                             *const gates[] = {"alpha", "beta"};
    const char *kind = qk_json_string(mixer, "kind", ""), *rows = qk_json_string(mixer, "rows", ""),
               *word = qk_json_string(mixer, "recurrence", "");
    bool none = strcmp(kind, "none") == 0, separate = is_word_of(rows, " separate gated ");
    if (none && *word == '\0')
        return QK_OK;
    QK_TRY(check_needed(
        file, mixer->string, mixer, separate && !none ? sums : sums + 1, separate && !none ? 2 : 1, err));
    if (strcmp(kind, "linear") == 0)
        QK_TRY(check_needed(file, mixer->string, mixer, recurrent, 1, err));
    if (is_word_of(word, " delta channel_delta ") && qk_json_get(mixer, "beta_alpha") == NULL)
        QK_TRY(check_needed(file, mixer->string, mixer, gates, 2, err));
    for (size_t i = 0; i < sizeof recurrences / sizeof recurrences[0]; i++)
        if (strcmp(word, recurrences[i].recurrence) == 0)
            QK_TRY(check_needed(file, mixer->string, mixer, recurrences[i].needed, 10, err));
    return QK_OK;
}

/* True when the row describes more than attention on given inputs. */
static bool has_pass(const cJSON *forward)
{
    static const char *const parts[] = {"embedding", "final_norm", "activation", "down", "up", "gate_up",
        "gate", "mlp_norm", "mlp_post_norm", "mixer_post_norm", "head", NULL};
    bool any = false;
    for (size_t i = 0; parts[i] != NULL && !any; i++)
        any = qk_json_get(forward, parts[i]) != NULL;
    return any && qk_json_get(forward, "missing") == NULL;
}

static enum qk_code check_up(const char *file, const char *where, const cJSON *object, struct qk_error *err)
{
    if (qk_json_get(object, "up") != NULL || qk_json_get(object, "gate_up") != NULL)
        return QK_OK;
    return qk_fail(err, QK_INPUT, "%s: %s: needs one of the keys \"up\" and \"gate_up\"", file, where);
}

static enum qk_code check_experts(const char *file, const cJSON *experts, struct qk_error *err)
{
    const cJSON *shared = qk_json_get(experts, "shared");
    if (experts == NULL)
        return QK_OK;
    QK_TRY(check_object(file, "experts", experts, EXPERTS_FIELDS, err));
    QK_TRY(check_up(file, "experts", experts, err));
    if (shared == NULL)
        return QK_OK;
    QK_TRY(check_object(file, "shared", shared, SHARED_FIELDS, err));
    return check_up(file, "shared", shared, err);
}

/* Checks that a family with a forward pass has all of it: what a layer adds to its input, and both ends. */
static enum qk_code check_forward(const char *file, const cJSON *row, struct qk_error *err)
{
    static const char *const ends[] = {"embedding", "final_norm", "activation"}, *const mlp[] = {"down"},
                             *const inputs[] = {"layer_input_embedding", "layer_input_in",
                                 "layer_input_in_norm", "layer_input_gate", "layer_input_out",
                                 "layer_input_norm"};
    const cJSON *forward = qk_json_get(row, "forward");
    if (forward == NULL)
        return QK_OK;
    QK_TRY(check_object(file, "forward", forward, FORWARD_FIELDS, err));
    QK_TRY(check_experts(file, qk_json_get(forward, "experts"), err));
    if (!has_pass(forward))
        return QK_OK;
    QK_TRY(check_needed(file, "forward", forward, ends, 3, err));
    if (qk_json_get(forward, "layer_input") != NULL)
        QK_TRY(check_needed(file, "forward", forward, inputs, 6, err));
    if (qk_json_get(forward, "experts") == NULL || qk_json_get(forward, "down") != NULL) {
        QK_TRY(check_needed(file, "forward", forward, mlp, 1, err));
        QK_TRY(check_up(file, "forward", forward, err));
    }
    for (const cJSON *mixer = qk_json_get(row, "mixers")->child; mixer != NULL; mixer = mixer->next)
        QK_TRY(check_mixing(file, mixer, err));
    return QK_OK;
}

/* Checks that the mixer that a key names has neither q nor k. */
static enum qk_code check_other(
    const char *file, const cJSON *row, const cJSON *mixer, const char *key, struct qk_error *err)
{
    const char *name = qk_json_string(mixer, key, NULL);
    if (name == NULL)
        return QK_OK;
    QK_TRY(check_mixer_name(file, row, mixer->string, name, err));
    const cJSON *other = qk_json_get(qk_json_get(row, "mixers"), name);
    if (strcmp(qk_json_string(other, "kind", ""), "none") == 0 && qk_json_get(other, "recurrence") != NULL)
        return QK_OK;
    return qk_fail(err, QK_INPUT, "%s: %s: the mixer of its key \"%s\" needs kind \"none\" and a recurrence",
        file, mixer->string, key);
}

/* Checks that a mixer computes what its kind can, and what goes with it. */
static enum qk_code check_kind(const char *file, const cJSON *row, const cJSON *mixer, struct qk_error *err)
{
    static const char WITHOUT_QK[] = " mamba2 mamba lru short_conv ";
    const char *word = qk_json_string(mixer, "recurrence", NULL);
    bool none = strcmp(qk_json_string(mixer, "kind", ""), "none") == 0,
         then = qk_json_get(mixer, "then") != NULL;
    if (word != NULL && none != is_word_of(word, WITHOUT_QK))
        return qk_fail(err, QK_INPUT, "%s: %s: recurrence \"%s\" does not go with kind \"%s\"", file,
            mixer->string, word, qk_json_string(mixer, "kind", ""));
    if (!none && strcmp(qk_json_string(mixer, "block", ""), "mlp") == 0)
        return qk_fail(err, QK_INPUT, "%s: %s: block \"mlp\" needs kind \"none\"", file, mixer->string);
    if (then != (qk_json_get(mixer, "then_in") != NULL) || then != qk_json_bool(mixer, "joined", false))
        return qk_fail(err, QK_INPUT, "%s: %s: the keys \"joined\", \"then\" and \"then_in\" go together",
            file, mixer->string);
    QK_TRY(check_other(file, row, mixer, "then", err));
    return check_other(file, row, mixer, "beside", err);
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
            return qk_fail(err, QK_INPUT, "%s: %s: key \"borrows_k\" needs separate, gated or block rows",
                file, mixer->string);
        QK_TRY(check_kind(file, row, mixer, err));
        if (strcmp(qk_json_string(mixer, "rows", ""), "latent") == 0)
            QK_TRY(check_needed(file, mixer->string, mixer, latent, sizeof latent / sizeof latent[0], err));
    }
    const cJSON *names = qk_json_get(row, "names");
    for (const cJSON *item = names != NULL ? names->child : NULL; item != NULL; item = item->next)
        QK_TRY(check_mixer_name(file, row, "names", item->valuestring, err));
    return check_forward(file, row, err);
}
