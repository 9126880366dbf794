/* test_layout.c - the table of families: kinds of layers, values, mistakes in rows, and users' own rows. */
#include "helper.h"

#include "base/json.h"
#include "model/layout.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- configs: which layer is what --- */

/* Letters of the kinds of `n` layers of a family with this config (without model_type). */
static const char *kinds_of(const char *type, const char *keys, int n)
{
    static char letters[64];
    char text[1024];
    struct qk_error err = {0};
    struct qk_layout layout;
    const char *mixer[64];
    snprintf(text, sizeof text, "{%s}", keys);
    cJSON *root = cJSON_Parse(text);
    assert_non_null(root);
    const struct qk_config config = {(char *)"config.json", root, root, type, 0, NULL, 0};
    expect_ok(qk_layout_find(type, &layout, &err), &err);
    enum qk_code code = qk_layout_kinds(&layout, &config, NULL, n, mixer, &err);
    memset(letters, 0, sizeof letters);
    for (int i = 0; i < n && code == QK_OK; i++)
        letters[i] = qk_json_string(qk_layout_mixer(&layout, mixer[i]), "kind", "?")[0];
    qk_layout_free(&layout);
    cJSON_Delete(root);
    return code == QK_OK ? letters : "refused";
}

static void test_kind_rules(void **state)
{
    (void)state;
    static const struct {
        const char *type, *keys;
        int n;
        const char *kinds;
    } rows[] = {{"jet_nemotron", "\"layer_types\":\"['attn', 'jet', 'swa']\"", 3,
                    "flw"}, /* a list as Python prints it */
        {"jet_nemotron", "\"layer_types\":[\"attn\",\"jet\",\"swa\"]", 3, "flw"},
        {"jet_nemotron", "\"layer_types\":\"[\\\"jet\\\"]\"", 1, "l"}, {"jet_nemotron", "", 2, "ff"},
        {"jet_nemotron", "\"layer_types\":null", 2, "ff"}, {"jet_nemotron", "\"layer_types\":[]", 2, "ff"},
        {"jet_nemotron", "\"layer_types\":[\"jet\"]", 2, "refused"},
        {"jet_nemotron", "\"layer_types\":[\"jet\",\"swa\",\"attn\"]", 2, "lw"},
        {"jet_nemotron", "\"layer_types\":[\"jet\",\"mamba\"]", 2, "refused"},
        {"jet_nemotron", "\"layer_types\":\"attn\"", 1, "refused"},
        {"jet_nemotron", "\"layer_types\":{\"0\":\"attn\"}", 1, "refused"},
        {"jet_nemotron", "\"layer_types\":7", 1, "refused"},
        {"jet_nemotron", "\"layer_types\":[null]", 1, "refused"},
        {"hypenet", "\"mixer_types\":[\"attn\",\"lightning-attn\",\"lightning_attn\"]", 3, "fll"},
        {"hypenet", "\"mixer_types\":[]", 2, "ff"}, {"qwen3_next", "", 8, "lllflllf"},
        {"qwen3_next", "\"full_attention_interval\":2", 5, "lflfl"},
        {"qwen3_next", "\"full_attention_interval\":0", 5, "refused"},
        {"qwen3_next", "\"full_attention_interval\":1.5", 5, "refused"},
        {"qwen3_5", "\"layer_types\":[\"full_attention\",\"linear_attention\"]", 2, "fl"},
        {"qwen3_5", "\"num_hidden_layers\":1,\"layer_types\":[\"full_attention\",\"linear_attention\"]", 1,
            "refused"},
        {"qwen3_5",
            "\"num_hidden_layers\":1,\"num_nextn_predict_layers\":1,"
            "\"layer_types\":[\"full_attention\",\"linear_attention\"]",
            1, "f"},
        {"minimax", "\"attn_type_list\":[0,1,0]", 3, "lfl"},
        {"minimax", "\"attn_type_list\":[0,2]", 2, "refused"}, {"minimax", "", 1, "refused"},
        {"jamba", "", 9, "nnnnfnnnn"},
        {"jamba", "\"attn_layer_period\":3,\"attn_layer_offset\":0", 4, "fnnf"},
        {"jamba", "\"layers_block_type\":[\"mamba\",\"attention\"]", 2, "nf"},
        {"jamba", "\"layers_block_type\":[\"linear_attention\",\"full_attention\"]", 2, "nf"},
        {"gemma3", "", 7, "wwwwwfw"}, {"gemma3", "\"sliding_window_pattern\":2", 4, "wfwf"},
        {"gemma3", "\"_sliding_window_pattern\":3", 3, "wwf"},
        {"mistral", "\"sliding_window\":null", 2, "ff"}, {"mistral", "\"sliding_window\":4096", 2, "ww"},
        {"mistral", "", 2, "ff"}, {"mistral", "\"sliding_window\":0", 2, "ff"},
        {"mistral", "\"layer_types\":[\"full_attention\",\"sliding_attention\"],\"sliding_window\":9", 2,
            "fw"},
        {"qwen2", "\"use_sliding_window\":true,\"max_window_layers\":2", 4, "ffww"},
        {"qwen2", "\"use_sliding_window\":false,\"max_window_layers\":2", 4, "ffff"},
        {"qwen2", "\"max_window_layers\":0", 2, "ff"}, {"qwen2", "\"use_sliding_window\":true", 2, "ff"},
        {"smollm3", "\"layer_types\":[\"full_attention\",\"sliding_attention\"]", 2, "fw"},
        {"kimi_linear", "\"linear_attn_config\":{\"full_attn_layers\":[4],\"kda_layers\":[1,2,3]}", 4,
            "lllf"},
        {"kimi_linear", "\"linear_attn_config\":{\"full_attn_layers\":[3],\"kda_layers\":[0,1,2]}", 4,
            "lllf"},
        {"kimi_linear", "\"linear_attn_config\":{\"full_attn_layers\":[0,3],\"kda_layers\":[1,2]}", 4,
            "fllf"},
        {"kimi_linear", "\"layer_types\":[\"linear_attention\",\"full_attention\"]", 2, "lf"},
        {"bailing2_5_moe", "\"layer_group_size\":4", 5, "lllfl"},
        {"minicpm_sala", "\"mixer_types\":[\"minicpm4\",\"lightning-attn\"]", 2, "fl"},
        {"bamba", "\"attn_layer_indices\":[1,3]", 4, "nfnf"},
        {"bamba", "\"layer_types\":[\"mamba\",\"attention\"]", 2, "nf"},
        {"granitemoehybrid", "\"layer_types\":[\"mamba\",\"attention\"]", 2, "nf"},
        {"granitemoehybrid", "", 2, "nn"},
        {"zamba2", "\"layers_block_type\":[\"mamba\",\"hybrid\",\"mamba\"]", 3, "nfn"},
        {"nemotron_h", "\"hybrid_override_pattern\":\"M-*EM\"", 5, "nnfnn"},
        {"nemotron_h", "\"layers_block_type\":[\"mamba\",\"moe\",\"attention\"]", 3, "nnf"},
        {"nemotron_h", "\"hybrid_override_pattern\":\"MX\"", 2, "refused"}, {"falcon_h1", "", 2, "ff"},
        {"lfm2", "\"layer_types\":[\"conv\",\"full_attention\"]", 2, "nf"},
        {"lfm2_moe", "\"full_attn_idxs\":[2]", 4, "nnfn"},
        {"recurrent_gemma", "\"block_types\":[\"recurrent\",\"recurrent\",\"attention\"]", 7, "nnwnnwn"},
        {"recurrent_gemma", "\"_block_types\":[\"attention\",\"recurrent\"]", 3, "wnw"},
        {"olmo_hybrid", "", 8, "lllflllf"},
        {"bailing_moe_linear", "\"layer_group_size\":4", 10, "lllflllfff"},
        {"bailing_moe_linear", "\"layer_group_size\":4", 8, "lllflllf"},
        {"phi4flash", "\"mb_per_layer\":2", 8, "nwnwnfnf"}, {"phi4flash", "", 12, "nwnwnwnfnfnf"},
        {"plamo2", "\"mamba_step\":2", 4, "nfnf"}, {"plamo2", "\"mamba_step\":4", 8, "nnfnnnfn"},
        {"gla", "\"attn\":{\"layers\":[1]}", 3, "lfl"}, {"gated_deltanet", "\"attn\":null", 2, "ll"},
        {"mimo_v2_flash", "\"hybrid_layer_pattern\":[0,1,1]", 3, "fww"}, {"cohere2", "", 5, "wwwfw"},
        {"cohere2", "\"layer_types\":[\"full_attention\",\"sliding_attention\"]", 2, "fw"},
        {"gemma2", "", 4, "wfwf"}, {"gemma3n_text", "", 6, "wwwwfw"},
        {"gemma4_text", "\"layer_types\":[\"sliding_attention\",\"full_attention\"]", 2, "wf"},
        {"step3p5", "", 3, "wfw"},
        {"exaone4", "\"layer_types\":[\"sliding_attention\",\"full_attention\"]", 2, "wf"},
        {"llama4_text", "\"layer_types\":[\"chunked_attention\",\"full_attention\"]", 2, "wf"},
        {"gpt_oss", "\"layer_types\":[\"sliding_attention\",\"full_attention\"],\"sliding_window\":128", 2,
            "wf"},
        {"granite", "", 2, "ff"}, {"phimoe", "\"sliding_window\":64", 2, "ww"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *found = kinds_of(rows[i].type, rows[i].keys, rows[i].n);
        if (strcmp(found, rows[i].kinds) != 0)
            fail_msg("%s {%s}: found %s, expected %s", rows[i].type, rows[i].keys, found, rows[i].kinds);
    }
}

/* Rules that no built-in family uses. */
static void test_other_rules(void **state)
{
    (void)state;
    static const char start[] =
        "{\"family\":\"x\",\"model_types\":\"x\",\"mixers\":{\"a\":{\"kind\":\"none\"},"
        "\"b\":{\"kind\":\"none\"}},\"names\":{\"M\":\"a\",\"*\":\"b\"},\"kinds\":[";
    static const struct {
        const char *rule, *config;
        int n;
        const char *mixers; /* NULL: refused */
    } rows[] = {{"{\"rule\":\"pattern\",\"key\":\"p\"}", "{\"p\":\"M*MM\"}", 4, "abaa"},
        {"{\"rule\":\"pattern\",\"key\":\"p\"}", "{\"p\":\"M*\"}", 3, NULL},
        {"{\"rule\":\"pattern\",\"key\":\"p\"}", "{\"p\":\"M?\"}", 2, NULL},
        {"{\"rule\":\"cycle\",\"key\":\"c\"}", "{\"c\":[\"M\",\"M\",\"*\"]}", 7, "aabaaba"},
        {"{\"rule\":\"list\",\"key\":\"c\",\"otherwise\":\"b\"}", "{\"c\":[\"M\",\"new\",7]}", 3, "abb"},
        {"{\"rule\":\"list\",\"key\":\"c\"}", "{\"c\":[\"M\",\"new\",7]}", 3, NULL},
        {"{\"rule\":\"indexes\",\"key\":\"i\",\"mixer\":\"a\",\"otherwise\":\"b\"}",
            "{\"i\":[0,2,9,-1,\"x\",1.5]}", 4, "abab"},
        {"{\"rule\":\"indexes\",\"key\":\"i\",\"base\":1,\"mixer\":\"a\",\"otherwise\":\"b\"}",
            "{\"i\":[1,4]}", 4, "abba"},
        {"{\"rule\":\"indexes\",\"key\":\"i\",\"mixer\":\"a\"},{\"rule\":\"all\",\"mixer\":\"b\"}",
            "{\"i\":[1]}", 3, "bab"},
        {"{\"rule\":\"indexes\",\"key\":\"i\",\"mixer\":\"a\"},{\"rule\":\"all\",\"mixer\":\"b\"}", "{}", 2,
            "bb"},
        {"{\"rule\":\"when\",\"key\":\"deep.flag\",\"mixer\":\"a\"},{\"rule\":\"all\",\"mixer\":\"b\"}",
            "{\"deep\":{\"flag\":true}}", 2, "aa"},
        {"{\"rule\":\"when\",\"key\":\"deep.flag\",\"mixer\":\"a\"}", "{\"deep\":3}", 2, NULL},
        {"{\"rule\":\"interval\",\"period\":3,\"offset\":-1,\"mixer\":\"a\",\"otherwise\":\"b\"}", "{}", 4,
            "bbab"},
        {"{\"rule\":\"interval\",\"period\":3,\"offset\":5,\"mixer\":\"a\",\"otherwise\":\"b\"}", "{}", 3,
            "bba"},
        {"{\"rule\":\"interval\",\"period\":2,\"when\":\"k=w\",\"mixer\":\"a\",\"otherwise\":\"b\"},"
         "{\"rule\":\"all\",\"mixer\":\"a\"}",
            "{\"k\":\"w\"}", 3, "aba"},
        {"{\"rule\":\"interval\",\"period\":2,\"when\":\"k=w\",\"mixer\":\"a\",\"otherwise\":\"b\"},"
         "{\"rule\":\"all\",\"mixer\":\"a\"}",
            "{\"k\":\"wide\"}", 3, "aaa"},
        {"{\"rule\":\"second_half\",\"plus\":1,\"mixer\":\"a\",\"otherwise\":\"b\"}", "{}", 5, "bbbaa"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[1024], found[16] = "";
        struct qk_error err = {0};
        struct qk_layout layout;
        const char *mixer[16];
        int n = snprintf(text, sizeof text, "%s%s]}", start, rows[i].rule);
        expect_ok(qk_layout_parse("x.json", text, (size_t)n, &layout, &err), &err);
        cJSON *root = cJSON_Parse(rows[i].config);
        const struct qk_config config = {(char *)"config.json", root, root, "x", 0, NULL, 0};
        enum qk_code code = qk_layout_kinds(&layout, &config, NULL, rows[i].n, mixer, &err);
        assert_int_equal(code, rows[i].mixers == NULL ? QK_INPUT : QK_OK);
        for (int k = 0; k < rows[i].n && code == QK_OK; k++)
            strcat(found, mixer[k]);
        if (code == QK_OK && strcmp(found, rows[i].mixers) != 0)
            fail_msg("%s: found %s, expected %s", rows[i].rule, found, rows[i].mixers);
        cJSON_Delete(root);
        qk_layout_free(&layout);
    }
}

/* --- the table itself, and users' rows --- */

struct count {
    int n;
    char first[64], own[64];
};

static void count_rows(void *context, const struct qk_layout *row)
{
    struct count *count = context;
    char *types = cJSON_PrintUnformatted(qk_json_get(row->row, "model_types"));
    if (count->n++ == 0)
        snprintf(count->first, sizeof count->first, "%s", row->family);
    if (strstr(types, "my_model") != NULL)
        snprintf(count->own, sizeof count->own, "%s", row->family);
    cJSON_free(types);
}

#define ROW(family, types, mixer)                                                                            \
    "{\"family\":\"" family "\",\"model_types\":" types ",\"kinds\":[{\"rule\":\"all\",\"mixer\":\"m\"}],"   \
    "\"mixers\":{\"m\":" mixer "}}"
#define MIXER(rows)                                                                                          \
    "{\"kind\":\"linear\",\"q\":\"self_attn.q_proj\",\"k\":\"self_attn.k_proj\",\"rows\":\"" rows "\","      \
    "\"heads\":2,\"head_dim\":4,\"key_heads\":1,\"positions\":\"none\"}"

static struct qk_model *open_made(const char *folder)
{
    struct qk_error err = {0};
    struct qk_model *model;
    expect_ok(qk_model_open(folder, &model, &err), &err);
    return model;
}

static void refuse(const char *folder, const char *words)
{
    struct qk_error err = {0};
    struct qk_model *model;
    expect_failure(qk_model_open(folder, &model, &err), &err, QK_INPUT, words);
}

static void test_user_rows(void **state)
{
    char folder[PATH_SIZE], path[PATH_SIZE];
    struct qk_error err = {0};
    make_folder(path_in(folder, *state, "config/qkscope/layouts"));
    path_in(path, *state, "config");
    assert_int_equal(setenv("XDG_CONFIG_HOME", path, 1), 0);
    struct count before = {0}, after = {0};
    expect_ok(qk_layout_rows(count_rows, &before, &err), &err);
    assert_true(before.n > 20);
    assert_string_equal(before.own, "");

    write_text(
        path_in(path, folder, "a.json"), "%s", ROW("mine", "[\"my_model\",\"llama\"]", MIXER("separate")));
    write_text(path_in(path, folder, "notes.txt"), "not a row");
    write_text(path_in(path, folder, ".hidden.json"), "not a row");
    expect_ok(qk_layout_rows(count_rows, &after, &err), &err);
    assert_int_equal(after.n, before.n + 1);
    assert_string_equal(after.first, "mine");
    assert_string_equal(after.own, "mine");
    char model_folder[PATH_SIZE];
    write_llama(path_in(model_folder, *state, "model"), "model.layers.", 1,
        1); /* the user's row goes before the built-in one */
    struct qk_model *model = open_made(model_folder);
    assert_string_equal(model->family, "mine");
    assert_int_equal(model->layer[0].kind, QK_LINEAR);
    assert_false(model->guessed);
    qk_model_close(model);

    /* a "*" row of the user stands in for the generic one, and is still a guess */
    write_text(path_in(path, folder, "b.json"), "%s", ROW("fallback", "\"*\"", MIXER("separate")));
    write_text(path_in(path, model_folder, "config.json"), "{\"model_type\":\"unheard_of\"}");
    model = open_made(model_folder);
    assert_string_equal(model->family, "fallback");
    assert_true(model->guessed);
    qk_model_close(model);

    /* a broken row is reported for any model */
    write_text(path_in(path, folder, "c.json"), "%s", ROW("broken", "\"other\"", MIXER("sideways")));
    refuse(model_folder, "qkscope/layouts/c.json: m: key \"rows\" has a wrong value, expected one of");
    write_text(path, "{");
    refuse(model_folder, "qkscope/layouts/c.json: not valid JSON");
    remove_all(path);
    make_folder(path);
    refuse(model_folder, "c.json: not a regular file");
    remove_all(path);
    assert_int_equal(unsetenv("XDG_CONFIG_HOME"), 0);
}

static void test_user_folder(void **state)
{
    char folder[PATH_SIZE], path[PATH_SIZE];
    struct qk_error err = {0};
    const char *home = getenv("HOME");
    char *kept = home != NULL ? strdup(home) : NULL;
    make_folder(path_in(folder, *state, ".config/qkscope/layouts"));
    write_text(path_in(path, folder, "a.json"), "%s", ROW("mine", "\"my_model\"", MIXER("separate")));
    static const char *const configs[] = {NULL, "", "relative/folder"}; /* each: the default below HOME */
    assert_int_equal(setenv("HOME", *state, 1), 0);
    for (size_t i = 0; i < 3; i++) {
        struct count count = {0};
        assert_int_equal(
            configs[i] == NULL ? unsetenv("XDG_CONFIG_HOME") : setenv("XDG_CONFIG_HOME", configs[i], 1), 0);
        expect_ok(qk_layout_rows(count_rows, &count, &err), &err);
        assert_string_equal(count.own, "mine");
    }
    assert_int_equal(unsetenv("HOME"), 0);
    assert_int_equal(unsetenv("XDG_CONFIG_HOME"), 0);
    struct count count = {0};
    expect_ok(qk_layout_rows(count_rows, &count, &err), &err);
    assert_string_equal(count.own, "");
    if (kept != NULL)
        assert_int_equal(setenv("HOME", kept, 1), 0);
    free(kept);
}

static void test_broken_rows(void **state)
{
    (void)state;
#define HEAD "{\"family\":\"x\",\"model_types\":\"x\","
#define KINDS "\"kinds\":[{\"rule\":\"all\",\"mixer\":\"m\"}]"
#define MIXERS "\"mixers\":{\"m\":{\"kind\":\"none\"}}"
    static const struct {
        const char *row, *words;
    } rows[] = {{"[]", "x.json: row: not an object"}, {"{}", "row: key \"family\" is missing"},
        {HEAD KINDS "}", "row: key \"mixers\" is missing"},
        {HEAD MIXERS "}", "row: key \"kinds\" is missing"},
        {HEAD KINDS "," MIXERS ",\"kind\":1}", "row: unknown key \"kind\""},
        {HEAD KINDS "," MIXERS "," MIXERS "}", "row: key \"mixers\" appears twice"},
        {"{\"family\":3,\"model_types\":\"x\"," KINDS "," MIXERS "}",
            "row: key \"family\" has a wrong value"},
        {"{\"family\":\"x\",\"model_types\":[]," KINDS "," MIXERS "}",
            "key \"model_types\" has a wrong value"},
        {"{\"family\":\"x\",\"model_types\":[1]," KINDS "," MIXERS "}",
            "key \"model_types\" has a wrong value"},
        {HEAD "\"layer_count\":{}," KINDS "," MIXERS "}", "key \"layer_count\" has a wrong value"},
        {HEAD "\"layer_count\":[]," KINDS "," MIXERS "}", "key \"layer_count\" has a wrong value"},
        {HEAD "\"kinds\":[]," MIXERS "}", "key \"kinds\" has a wrong value"},
        {HEAD "\"kinds\":[3]," MIXERS "}", "kinds: not an object"},
        {HEAD "\"kinds\":[{\"rule\":\"some\"}]," MIXERS "}",
            "kinds: key \"rule\" has a wrong value, expected one of"},
        {HEAD "\"kinds\":[{\"rule\":\"all\"}]," MIXERS "}", "kinds: key \"mixer\" is missing"},
        {HEAD "\"kinds\":[{\"rule\":\"list\"}]," MIXERS "}", "kinds: key \"key\" is missing"},
        {HEAD "\"kinds\":[{\"rule\":\"interval\",\"mixer\":\"m\"}]," MIXERS "}",
            "kinds: key \"period\" is missing"},
        {HEAD "\"kinds\":[{\"rule\":\"from\",\"key\":\"a\",\"mixer\":\"m\"}]," MIXERS "}",
            "kinds: key \"when\" is missing"},
        {HEAD "\"kinds\":[{\"rule\":\"all\",\"mixer\":\"z\"}]," MIXERS "}", "kinds: there is no mixer \"z\""},
        {HEAD KINDS ",\"names\":{\"a\":\"z\"}," MIXERS "}", "names: there is no mixer \"z\""},
        {HEAD KINDS ",\"names\":[]," MIXERS "}", "key \"names\" has a wrong value"},
        {HEAD KINDS ",\"mixers\":{}}", "key \"mixers\" has a wrong value"},
        {HEAD KINDS ",\"mixers\":{\"m\":3}}", "m: not an object"},
        {HEAD KINDS ",\"mixers\":{\"m\":{\"kind\":\"half\"}}}", "m: key \"kind\" has a wrong value"},
        {HEAD KINDS ",\"mixers\":{\"m\":{\"kind\":\"full window\"}}}", "m: key \"kind\" has a wrong value"},
        {HEAD KINDS ",\"mixers\":{\"m\":{\"kind\":\"full\"}}}", "m: key \"q\" is missing"},
        {ROW("x", "\"x\"", MIXER("diagonal")), "m: key \"rows\" has a wrong value"},
        {HEAD KINDS ",\"mixers\":{\"m\":{\"kind\":\"none\",\"rows_when\":[[\"a\",\"diagonal\"]]}}}",
            "m: key \"rows_when\" has a wrong value"},
        {HEAD KINDS ",\"mixers\":{\"m\":{\"kind\":\"none\",\"rows_when\":[[\"a\"]]}}}",
            "\"rows_when\" has a wrong value"},
        {HEAD KINDS ",\"mixers\":{\"m\":{\"kind\":\"none\",\"key_heads_when\":[[1,2]]}}}",
            "\"key_heads_when\" has a wrong value"},
        {HEAD KINDS ",\"mixers\":{\"m\":{\"kind\":\"none\",\"key_heads_when\":[{}]}}}",
            "\"key_heads_when\" has a wrong value"},
        {HEAD KINDS ",\"mixers\":{\"m\":{\"kind\":\"none\",\"gain_plus_one\":1}}}",
            "\"gain_plus_one\" has a wrong value"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_error err = {0};
        struct qk_layout layout;
        expect_failure(qk_layout_parse("x.json", rows[i].row, strlen(rows[i].row), &layout, &err), &err,
            QK_INPUT, rows[i].words);
        assert_null(layout.row);
    }
}

/* Values: numbers, paths, quotients, products, and the first of a list that exists. */
static void test_values(void **state)
{
    (void)state;
    cJSON *root =
        cJSON_Parse("{\"a\":6,\"b\":{\"c\":3,\"d\":\"text\"},\"zero\":0,\"yes\":true,\"each\":[7,9,\"x\"]}");
    const struct qk_config config = {(char *)"config.json", root, root, "", 2, NULL, 0};
    static const struct {
        const char *value;
        double expected; /* NaN: nothing is there */
    } rows[] = {{"5", 5}, {"\"a\"", 6}, {"\"b.c\"", 3}, {"\"a/b.c\"", 2}, {"\"a*b.c\"", 18}, {"\"b\"", NAN},
        {"\"b.d\"", NAN}, {"\"b.c.e\"", NAN}, {"\"x\"", NAN}, {"\"x/a\"", NAN}, {"\"a/x\"", NAN},
        {"\"a/zero\"", HUGE_VAL}, {"[\"x\",\"b.c\",7]", 3}, {"[\"x\",7]", 7}, {"[\"x\",\"y\"]", NAN},
        {"\"yes\"", NAN}, {"\"a/2\"", 3}, {"\"2*a/b.c\"", 4}, {"\"a+b.c\"", 9}, {"\"a+b.c*2\"", 18},
        {"\"each\"", 9}, {"\"each*2\"", 18}, {"\"a+\"", NAN}, {"\"+a\"", NAN}, {"\"a2\"", NAN}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[128];
        double found = NAN;
        snprintf(text, sizeof text, "{\"v\":%s}", rows[i].value);
        cJSON *object = cJSON_Parse(text);
        bool there = qk_layout_value(object, "v", &config, &found);
        assert_int_equal(there, !isnan(rows[i].expected));
        assert_true(!there || found == rows[i].expected);
        assert_false(qk_layout_value(object, "w", &config, &found));
        cJSON_Delete(object);
    }
    cJSON *when = cJSON_Parse("{\"v\":1,\"v_when\":[[\"zero\",2],[\"yes\",\"a\"],[\"a\",4]]}");
    double found;
    assert_true(qk_layout_value(when, "v", &config, &found) && found == 6);
    cJSON_Delete(when);
    cJSON_Delete(root);
}

/* Nobody's own rows may reach these tests. */
static int hide_user_rows(void **state)
{
    (void)state;
    return setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
}

/* Every key that the manual lists is one that the check knows: null fits none of them. */
#define WITH_FORWARD(experts)                                                                                        \
    "{\"family\": \"x\", \"model_types\": \"x\", \"mixers\": {\"m\": {\"kind\": \"none\"}}, \"kinds\": [{\"rule\": " \
    "\"all\", \"mixer\": \"m\"}], \"forward\": {\"norm\": \"rms\", \"eps\": 0, \"experts\": " experts "}}"

static void test_every_key(void **state)
{
    (void)state;
    static const struct {
        const char *object, *row;
    } places[] = {
        {"row", "{\"%s\": null}"},
        {"rule", "{\"family\": \"x\", \"model_types\": \"x\", \"mixers\": {\"m\": {\"kind\": \"none\"}},"
                 " \"kinds\": [{\"%s\": null}]}"},
        {"mixer", "{\"family\": \"x\", \"model_types\": \"x\", \"mixers\": {\"m\": {\"%s\": null}},"
                  " \"kinds\": [{\"rule\": \"all\", \"mixer\": \"m\"}]}"},
        {"forward", "{\"family\": \"x\", \"model_types\": \"x\", \"mixers\": {\"m\": {\"kind\": \"none\"}},"
                    " \"kinds\": [{\"rule\": \"all\", \"mixer\": \"m\"}], \"forward\": {\"%s\": null}}"},
        {"experts", WITH_FORWARD("{\"%s\": null}")},
        {"shared",
            WITH_FORWARD("{\"router\": \"r\", \"per_token\": 1, \"scoring\": \"softmax\", \"up\": \"u\", "
                         "\"down\": \"d\", \"shared\": {\"%s\": null}}")},
    };
    struct qk_layout_key key;
    size_t n = 0;
    for (; qk_layout_key(n, &key); n++) {
        char text[512], wanted[128];
        struct qk_layout layout;
        struct qk_error err = {0};
        size_t p = 0;
        while (strcmp(places[p].object, key.object) != 0)
            p++;
        snprintf(text, sizeof text, places[p].row, key.key);
        snprintf(wanted, sizeof wanted, "key \"%s\" has a wrong value", key.key);
        assert_int_equal(qk_layout_parse("row", text, strlen(text), &layout, &err), QK_INPUT);
        if (strstr(err.text, wanted) == NULL)
            fail_msg("%s of %s: found %s", key.key, key.object, err.text);
        assert_non_null(key.type);
    }
    assert_true(n > 90);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kind_rules),
        cmocka_unit_test(test_other_rules),
        cmocka_unit_test(test_broken_rows),
        cmocka_unit_test(test_every_key),
        cmocka_unit_test(test_values),
        test_in_folder(test_user_rows),
        test_in_folder(test_user_folder),
    };
    return cmocka_run_group_tests(tests, hide_user_rows, NULL);
}
