/* test_recipe.c - a selection in a file: reading and replaying give the written one, and a message names every wrong
 * key. */
#include "helper.h"

#include "base/json.h"
#include "export/recipe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct qk_pair *open_pair(const char *pre, const char *post)
{
    struct qk_error err = {0};
    struct qk_pair *pair;
    expect_ok(qk_pair_open(pre, post, &pair, &err), &err);
    return pair;
}

static struct qk_pair *open_demo(void)
{
    char pre[PATH_SIZE], post[PATH_SIZE];
    return open_pair(demo_path(pre, "pre"), demo_path(post, "post"));
}

static void set(struct qk_selection *selection, const struct qk_pair *pair, int layer, int role,
    enum qk_mode mode, double param)
{
    struct qk_error err = {0};
    expect_ok(qk_selection_set(selection, pair, layer, role, (struct qk_choice){mode, param}, &err), &err);
}

static struct qk_selection new_selection(const struct qk_pair *pair)
{
    struct qk_error err = {0};
    struct qk_selection selection;
    expect_ok(qk_selection_init(&selection, pair->n_layers, &err), &err);
    return selection;
}

/* The recipe as a file FOLDER/r.json. */
static void write_recipe(const char *folder, const struct qk_pair *pair, const struct qk_selection *selection,
    bool norms, const char *comment)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_recipe recipe;
    expect_ok(qk_recipe_make(pair, selection, norms, comment, &recipe, &err), &err);
    expect_ok(qk_recipe_write(&recipe, path_in(path, folder, "r.json"), &err), &err);
    qk_recipe_free(&recipe);
}

static struct qk_recipe read_recipe(const char *folder)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_recipe recipe;
    expect_ok(qk_recipe_read(path_in(path, folder, "r.json"), &recipe, &err), &err);
    return recipe;
}

/* --- writing and reading --- */

static void test_fields(void **state)
{
    struct qk_pair *pair = open_demo();
    struct qk_selection selection = new_selection(pair);
    set(&selection, pair, 7, -1, QK_RESTORE, 0);
    write_recipe(*state, pair, &selection, true, "why not");
    struct qk_recipe recipe = read_recipe(*state);
    char resolved[PATH_SIZE], given[PATH_SIZE];
    assert_non_null(realpath(demo_path(given, "post"), resolved));
    assert_string_equal(recipe.path[QK_POST], resolved);
    assert_string_equal(recipe.model_type[QK_PRE], "hypenet");
    assert_true(recipe.norms);
    assert_string_equal(recipe.comment, "why not");
    assert_int_equal(recipe.n_outputs, 0);
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        const struct qk_shard *shard = &pair->model[s]->checkpoint->shard[0];
        assert_int_equal(recipe.n_files[s], 1);
        assert_string_equal(recipe.file[s][0].name, "model.safetensors");
        assert_int_equal(recipe.file[s][0].bytes, shard->file.source.size);
        assert_string_equal(recipe.file[s][0].header_digest, shard->file.header_digest);
    }
    qk_recipe_free(&recipe);
    write_recipe(*state, pair, &selection, false, NULL);
    recipe = read_recipe(*state);
    assert_false(recipe.norms);
    assert_null(recipe.comment);
    qk_recipe_free(&recipe);
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

static void set_heads(struct qk_selection *selection, const struct qk_pair *pair, int layer,
    enum qk_head_kind of, int first, int last, enum qk_mode mode, double param)
{
    struct qk_error err = {0};
    const struct qk_head_run run = {of, first, last};
    expect_ok(
        qk_selection_set_heads(selection, pair, layer, &run, 1, (struct qk_choice){mode, param}, &err), &err);
}

/* Random selections; parameters of all 53 bits come back as they were. */
static void test_round_trip(void **state)
{
    struct qk_pair *pair = open_demo();
    uint64_t seed = 3;
    for (int t = 0; t < 60; t++) {
        struct qk_error err = {0};
        struct qk_selection selection = new_selection(pair), replayed;
        for (int n = 0; n < t; n++) {
            uint64_t bits = random_bits(&seed);
            set(&selection, pair, (int)(bits % 12), (int)(bits / 16 % 3) - 1,
                (enum qk_mode)(bits / 64 % QK_MODE_COUNT), n % 2 == 0 ? 0.3 : fabs(random_uniform(&seed)));
            if (t % 3 == 0)
                set_heads(&selection, pair, (int)(bits / 4096 % 12), (enum qk_head_kind)(bits / 65536 % 3), 0,
                    (int)(bits / 1048576 % 2), (enum qk_mode)(bits >> 24 & 3), 0.25);
        }
        write_recipe(*state, pair, &selection, t % 2 == 0, NULL);
        struct qk_recipe recipe = read_recipe(*state);
        expect_ok(qk_recipe_replay(&recipe, pair, false, &replayed, &err), &err);
        assert_true(qk_selection_equal(&selection, &replayed));
        qk_selection_free(&replayed);
        qk_selection_free(&selection);
        qk_recipe_free(&recipe);
    }
    qk_pair_close(pair);
}

static void test_equal_choices_share_an_entry(void **state)
{
    (void)state;
    struct qk_pair *pair = open_demo();
    struct qk_selection selection = new_selection(pair);
    struct qk_error err = {0};
    struct qk_recipe recipe;
    char *text;
    set(&selection, pair, 1, -1, QK_RESTORE, 0);
    set(&selection, pair, 4, QK_Q, QK_LERP, 0.5);
    set(&selection, pair, 7, -1, QK_RESTORE, 0);
    set(&selection, pair, 10, -1, QK_QKPRO, 0.3);
    set(&selection, pair, 11, QK_Q, QK_LERP, 0.5);
    set(&selection, pair, 11, QK_K, QK_RESTORE, 0);
    expect_ok(qk_recipe_make(pair, &selection, false, NULL, &recipe, &err), &err);
    expect_ok(qk_recipe_text(&recipe, &text, &err), &err);
    cJSON *root = cJSON_Parse(text);
    char *choices = cJSON_PrintUnformatted(qk_json_get(root, "choices"));
    assert_string_equal(choices,
        "[{\"layers\":[1,7],\"roles\":[\"q\",\"k\"],\"mode\":\"restore\"},"
        "{\"layers\":[4,11],\"roles\":[\"q\"],\"mode\":\"lerp\",\"param\":0.5},"
        "{\"layers\":[10],\"roles\":[\"q\",\"k\"],\"mode\":\"qk-pro\",\"param\":0.3},"
        "{\"layers\":[11],\"roles\":[\"k\"],\"mode\":\"restore\"}]");
    assert_int_equal(text[strlen(text) - 1], '\n');
    cJSON_free(choices);
    cJSON_Delete(root);
    free(text);
    qk_recipe_free(&recipe);
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

/* Heads make it version 2; without them it is version 1, as it always was. */
static void test_heads(void **state)
{
    char path[PATH_SIZE];
    struct qk_pair *pair = open_demo();
    struct qk_selection selection = new_selection(pair), replayed;
    struct qk_error err = {0};
    set(&selection, pair, 3, QK_Q, QK_RESTORE, 0);
    write_recipe(*state, pair, &selection, false, NULL);
    char *text = read_bytes(path_in(path, *state, "r.json"), NULL);
    assert_non_null(strstr(text, "\"version\":\t1,"));
    free(text);
    set_heads(&selection, pair, 7, QK_HEAD_Q, 1, 2, QK_RESTORE, 0);
    set_heads(&selection, pair, 7, QK_HEAD_K, 0, 0, QK_RESTORE, 0);
    set_heads(&selection, pair, 7, QK_HEAD_Q, 3, 3, QK_LERP, 0.5);
    set_heads(&selection, pair, 3, QK_HEAD_K, 0, 0, QK_RESTORE, 0);
    write_recipe(*state, pair, &selection, false, NULL);
    text = read_bytes(path, NULL);
    cJSON *root = cJSON_Parse(text);
    assert_int_equal(cJSON_GetObjectItem(root, "version")->valueint, 2);
    char *choices = cJSON_PrintUnformatted(cJSON_GetObjectItem(root, "choices"));
    assert_string_equal(choices, "[{\"layers\":[3],\"roles\":[\"q\"],\"mode\":\"restore\"},"
                                 "{\"layers\":[3],\"heads\":{\"k\":[0]},\"mode\":\"restore\"},"
                                 "{\"layers\":[7],\"heads\":{\"q\":[1,2],\"k\":[0]},\"mode\":\"restore\"},"
                                 "{\"layers\":[7],\"heads\":{\"q\":[3]},\"mode\":\"lerp\",\"param\":0.5}]");
    struct qk_recipe recipe = read_recipe(*state);
    expect_ok(qk_recipe_replay(&recipe, pair, false, &replayed, &err), &err);
    assert_true(qk_selection_equal(&selection, &replayed));
    cJSON_free(choices);
    cJSON_Delete(root);
    free(text);
    qk_recipe_free(&recipe);
    qk_selection_free(&replayed);
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

/* Replaces the choices of a recipe for the demo pair. */
static void write_choices(const char *folder, const struct qk_pair *pair, int version, const char *choices)
{
    char path[PATH_SIZE];
    struct qk_selection selection = new_selection(pair);
    write_recipe(folder, pair, &selection, false, NULL);
    char *text = read_bytes(path_in(path, folder, "r.json"), NULL);
    cJSON *root = cJSON_Parse(text), *given = cJSON_Parse(choices);
    assert_non_null(given);
    cJSON_SetNumberValue(cJSON_GetObjectItem(root, "version"), version);
    cJSON_ReplaceItemInObject(root, "choices", given);
    char *changed = cJSON_Print(root);
    write_text(path, "%s", changed);
    cJSON_free(changed);
    cJSON_Delete(root);
    free(text);
    qk_selection_free(&selection);
}

static void test_wrong_heads(void **state)
{
    char path[PATH_SIZE];
    struct qk_pair *pair = open_demo();
    static const struct {
        int version;
        const char *choices, *words;
    } rows[] = {{1, "[{\"layers\":[7],\"heads\":{\"q\":[0]},\"mode\":\"restore\"}]",
                    "choices: unknown key \"heads\""},
        {2, "[{\"layers\":[7],\"heads\":[0],\"mode\":\"restore\"}]",
            "choices.heads: missing or wrong (expected an object)"},
        {2, "[{\"layers\":[7],\"heads\":{},\"mode\":\"restore\"}]",
            "choices.heads: missing or wrong (expected q, k or both)"},
        {2, "[{\"layers\":[7],\"heads\":{\"g\":[0]},\"mode\":\"restore\"}]",
            "choices.heads: unknown key \"g\""},
        {2, "[{\"layers\":[7],\"heads\":{\"q\":[]},\"mode\":\"restore\"}]",
            "choices.heads.q: missing or wrong (expected at least one head)"},
        {2, "[{\"layers\":[7],\"heads\":{\"q\":[-1]},\"mode\":\"restore\"}]",
            "choices.heads.q: missing or wrong (expected head numbers)"},
        {2, "[{\"layers\":[7],\"heads\":{\"k\":[4096]},\"mode\":\"restore\"}]",
            "choices.heads.k: missing or wrong"},
        {2, "[{\"layers\":[7],\"heads\":{\"q\":[0,0]},\"mode\":\"restore\"}]",
            "layer 7 has two choices for q0"},
        {2,
            "[{\"layers\":[7],\"roles\":[\"q\"],\"mode\":\"restore\"},"
            "{\"layers\":[7],\"heads\":{\"q\":[0]},\"mode\":\"keep\"}]",
            "layer 7 has two choices for q"},
        {2,
            "[{\"layers\":[7],\"heads\":{\"q\":[0]},\"mode\":\"keep\"},"
            "{\"layers\":[7],\"roles\":[\"q\",\"k\"],\"mode\":\"restore\"}]",
            "layer 7 has two choices for q"},
        {2, "[{\"layers\":[7],\"heads\":{\"q\":[0]},\"roles\":[\"q\"],\"mode\":\"restore\"}]",
            "choices: missing or wrong (expected either roles or heads)"},
        {2, "[{\"layers\":[7],\"mode\":\"restore\"}]", "choices.roles: missing or wrong (expected a list)"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_error err = {0};
        struct qk_recipe recipe;
        write_choices(*state, pair, rows[i].version, rows[i].choices);
        expect_failure(
            qk_recipe_read(path_in(path, *state, "r.json"), &recipe, &err), &err, QK_INPUT, rows[i].words);
    }
    qk_pair_close(pair);
}

static void test_heads_that_lack(void **state)
{
    struct qk_pair *pair = open_demo();
    static const struct {
        const char *choices, *words;
    } rows[] = {{"[{\"layers\":[7],\"heads\":{\"q\":[0,4]},\"mode\":\"restore\"}]",
                    "r.json: the recipe does not fit: layer 7 has 4 query heads (found 4, expected 0 to 3)"},
        {"[{\"layers\":[7],\"heads\":{\"k\":[2]},\"mode\":\"restore\"}]",
            "layer 7 has 2 key heads (found 2, expected 0 to 1)"},
        {"[{\"layers\":[7],\"heads\":{\"q\":[0]},\"mode\":\"qk-pro\",\"param\":0.5}]",
            "layer 7 names a part of the key group of q1 (found keep there, expected qk-pro 0.5"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_error err = {0};
        struct qk_selection selection;
        write_choices(*state, pair, 2, rows[i].choices);
        struct qk_recipe recipe = read_recipe(*state);
        expect_failure(
            qk_recipe_replay(&recipe, pair, false, &selection, &err), &err, QK_INPUT, rows[i].words);
        qk_recipe_free(&recipe);
    }
    qk_pair_close(pair);
}

static void test_outputs(void **state)
{
    char path[PATH_SIZE];
    struct qk_pair *pair = open_demo();
    struct qk_selection selection = new_selection(pair);
    struct qk_error err = {0};
    struct qk_recipe recipe;
    expect_ok(qk_recipe_make(pair, &selection, false, NULL, &recipe, &err), &err);
    recipe.output = calloc(2, sizeof *recipe.output);
    recipe.output[0].tensor = strdup("a \"b\"\n\\");
    recipe.output[1].tensor = strdup("λ");
    memset(recipe.output[0].digest, 'a', 64);
    memset(recipe.output[1].digest, '0', 64);
    recipe.n_outputs = 2;
    expect_ok(qk_recipe_write(&recipe, path_in(path, *state, "r.json"), &err), &err);
    struct qk_recipe again = read_recipe(*state);
    assert_int_equal(again.n_outputs, 2);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(again.output[i].tensor, recipe.output[i].tensor);
        assert_string_equal(again.output[i].digest, recipe.output[i].digest);
    }
    qk_recipe_free(&again);
    qk_recipe_free(&recipe);
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

/* Names and comments of any bytes: JSON holds them, and the fingerprints still match. */
static void test_odd_names(void **state)
{
    char pre[PATH_SIZE], post[PATH_SIZE], from[PATH_SIZE], to[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_selection replayed;
    write_llama(path_in(pre, *state, "p\"r\\e \n\xff"), "model.layers.", 1, 1);
    write_llama(path_in(post, *state, "λ post"), "model.layers.", 1, 2);
    static const char *const names[] = {
        "b \"quoted\".safetensors", "broken\xfe.safetensors", "\x1b[2J.safetensors"};
    for (size_t i = 0; i < 3; i++) {
        path_in(from, pre, i == 0 ? "model.safetensors" : names[i - 1]);
        assert_int_equal(rename(from, path_in(to, pre, names[i])), 0);
        struct qk_pair *pair = open_pair(pre, post);
        struct qk_selection selection = new_selection(pair);
        set(&selection, pair, 0, -1, QK_RESTORE, 0);
        write_recipe(*state, pair, &selection, false, "say \"hi\"\n\x01\xff");
        struct qk_recipe recipe = read_recipe(*state);
        expect_ok(qk_recipe_replay(&recipe, pair, false, &replayed, &err), &err);
        assert_true(qk_selection_equal(&replayed, &selection));
        assert_string_equal(recipe.comment, "say \"hi\"\\x0a\\x01\\xff");
        assert_non_null(strstr(recipe.path[QK_POST], "λ post"));
        qk_selection_free(&replayed);
        qk_selection_free(&selection);
        qk_recipe_free(&recipe);
        qk_pair_close(pair);
    }
}

/* --- fingerprints and layers --- */

/* Pre and post of three layers below the folder, and a recipe in it that restores layers 0 and 2. */
static void write_case(const char *folder, char pre[PATH_SIZE], char post[PATH_SIZE])
{
    write_llama(path_in(pre, folder, "pre"), "model.layers.", 3, 1);
    write_llama(path_in(post, folder, "post"), "model.layers.", 3, 2);
    struct qk_pair *pair = open_pair(pre, post);
    struct qk_selection selection = new_selection(pair);
    set(&selection, pair, 0, -1, QK_RESTORE, 0);
    set(&selection, pair, 2, QK_K, QK_LERP, 0.5);
    write_recipe(folder, pair, &selection, false, NULL);
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

static void expect_replay(
    const char *folder, const char *pre, const char *post, bool force, const char *words)
{
    struct qk_error err = {0};
    struct qk_selection selection;
    struct qk_pair *pair = open_pair(pre, post);
    struct qk_recipe recipe = read_recipe(folder);
    enum qk_code code = qk_recipe_replay(&recipe, pair, force, &selection, &err);
    if (words == NULL) {
        expect_ok(code, &err);
        assert_int_equal(qk_selection_count(&selection), 2);
        qk_selection_free(&selection);
    } else {
        expect_failure(code, &err, QK_INPUT, words);
        assert_null(selection.choice);
    }
    qk_recipe_free(&recipe);
    qk_pair_close(pair);
}

static void test_fingerprints(void **state)
{
    char pre[PATH_SIZE], post[PATH_SIZE], from[PATH_SIZE], to[PATH_SIZE];
    write_case(*state, pre, post);
    expect_replay(*state, pre, post, false, NULL);
    write_llama(post, "model.layers.", 3, 9); /* other weights under the same header: not read */
    expect_replay(*state, pre, post, false, NULL);
    write_llama(post, "backbone.layers.", 3, 2); /* another header, another length */
    expect_replay(*state, pre, post, false,
        "post: model.safetensors: the recipe was made for another checkpoint (post has |bytes, expected");
    expect_replay(*state, pre, post, true, NULL);
    char path[PATH_SIZE];
    path_in(path, post, "model.safetensors");
    size_t n;
    write_llama(post, "model.layers.", 3, 2);
    char *bytes = read_bytes(path, &n);
    char *space = strstr(bytes + 8, "\"F32\",\"shape\"");
    assert_non_null(space);
    memcpy(space, "\"I32\"", 5); /* the same length, another header */
    write_bytes(path, bytes, n);
    free(bytes);
    struct qk_error err = {0};
    struct qk_pair *pair;
    expect_ok(qk_pair_open(pre, post, &pair, &err), &err); /* that layer has a problem now */
    qk_pair_close(pair);
    expect_replay(
        *state, pre, post, false, "the recipe was made for another checkpoint (post's header has SHA-256");
    write_llama(post, "model.layers.", 3, 2);
    path_in(from, pre, "model.safetensors");
    assert_int_equal(rename(from, path_in(to, pre, "other.safetensors")), 0);
    expect_replay(*state, pre, post, false, "pre: model.safetensors: missing in pre");
    write_llama(path_in(from, *state, "more"), "extra.layers.", 1, 1);
    assert_int_equal(rename(to, path_in(from, pre, "model-1.safetensors")), 0);
    expect_replay(*state, pre, post, false, "pre: model-1.safetensors: not in the recipe's pre");
}

static void test_layers_that_lack(void **state)
{
    char pre[PATH_SIZE], post[PATH_SIZE], path[PATH_SIZE];
    write_case(*state, pre, post);
    write_llama(pre, "model.layers.", 2, 1);
    write_llama(post, "model.layers.", 2, 2);
    expect_replay(*state, pre, post, true, "the recipe chooses layer 2 (found 2 layers)");
    write_llama(pre, "model.layers.", 3, 1);
    write_llama(post, "model.layers.", 3, 2);
    write_text(path_in(path, pre, "config.json"),
        "{\"model_type\":\"jamba\",\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":4,"
        "\"layers_block_type\":[\"mamba\",\"attention\",\"attention\"]}");
    expect_replay(*state, pre, post, true,
        "the recipe does not fit: layer 0 cannot be chosen: pre's layer is of kind none");
}

/* --- every key that can be wrong --- */

/* Reads the case's recipe with `from` replaced by `to` (which must occur). */
static void expect_wrong(
    const char *folder, const char *text, const char *from, const char *to, const char *words)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_recipe recipe;
    const char *at = strstr(text, from);
    if (at == NULL)
        fail_msg("\"%s\" is not in the recipe", from);
    write_text(
        path_in(path, folder, "wrong.json"), "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    expect_failure(qk_recipe_read(path, &recipe, &err), &err, QK_INPUT, "wrong.json: ");
    expect_failure(err.code, &err, QK_INPUT, words);
    assert_null(recipe.selection.choice);
    assert_null(recipe.path[QK_PRE]);
}

static void test_wrong_keys(void **state)
{
    char pre[PATH_SIZE], post[PATH_SIZE], path[PATH_SIZE];
    write_case(*state, pre, post);
    char *pretty = read_bytes(path_in(path, *state, "r.json"), NULL);
    cJSON *root = cJSON_Parse(pretty);
    cJSON_AddStringToObject(root, "comment", "c");
    cJSON *outputs = cJSON_AddArrayToObject(root, "outputs"), *output = cJSON_CreateObject();
    cJSON_AddStringToObject(output, "tensor", "t");
    cJSON_AddStringToObject(
        output, "sha256", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    cJSON_AddItemToArray(outputs, output);
    char *text = cJSON_PrintUnformatted(root);
    static const struct {
        const char *from, *to, *words;
    } rows[] = {{"{\"format\"", "x{\"format\"", "not valid JSON"},
        {"\"format\":\"qkscope-recipe\"", "\"format\":\"other\"", "not a qkscope recipe"},
        {"\"format\":\"qkscope-recipe\",", "", "not a qkscope recipe"},
        {"\"version\":1", "\"version\":3", "version: this program does not read it (expected 1 or 2)"},
        {"\"version\":1", "\"version\":\"1\"", "version: this program does not read it"},
        {"\"version\":1,", "", "version: this program does not read it"},
        {"\"version\":1", "\"version\":1.5", "version: this program does not read it"},
        {"\"version\":1", "\"version\":1,\"version\":1", "the key \"version\" appears twice"},
        {"\"version\":1", "\"version\":1,\"verison\":1", "recipe: unknown key \"verison\""},
        {"\"comment\":\"c\"", "\"comment\":3", "comment: missing or wrong (expected a text)"},
        {"\"pre\":{", "\"prae\":{", "unknown key \"prae\""},
        {"\"pre\":{", "\"pre\":{\"x\":1,", "pre: unknown key \"x\""},
        {"\"path\":", "\"path\":3,\"pfad\":", "pre: unknown key \"pfad\""},
        {"\"model_type\":\"llama\"", "\"model_type\":null",
            "pre.model_type: missing or wrong (expected a text)"},
        {"\"files\":[", "\"files\":3,\"x\":[", "pre: unknown key \"x\""},
        {"\"files\":[{", "\"files\":[3,{", "pre.files: missing or wrong (expected an object)"},
        {"\"name\":", "\"nom\":", "pre.files: unknown key \"nom\""},
        {"\"name\":\"model.safetensors\"", "\"name\":[]",
            "pre.files.name: missing or wrong (expected a text)"},
        {"\"bytes\":", "\"bytes\":-1,\"b\":", "unknown key \"b\""},
        {"\"bytes\":", "\"bytes\":-", "pre.files.bytes: missing or wrong (expected a whole number)"},
        {"\"header_sha256\":\"", "\"header_sha256\":\"A",
            "pre.files.header_sha256: missing or wrong (expected 64 lower-case"},
        {"\"options\":{\"norms\":false}", "\"options\":{\"norms\":0}",
            "options.norms: missing or wrong (expected true or false)"},
        {"\"options\":{\"norms\":false}", "\"options\":{\"norm\":true}", "options: unknown key \"norm\""},
        {"\"options\":{\"norms\":false}", "\"options\":[]", "options: missing or wrong (expected an object)"},
        {"\"choices\":[", "\"choices\":{},\"x\":[", "unknown key \"x\""},
        {"\"choices\":[{", "\"choices\":[null,{", "choices: missing or wrong (expected an object)"},
        {"\"layers\":[0]", "\"layers\":[]", "choices.layers: missing or wrong (expected at least one layer)"},
        {"\"layers\":[0]", "\"layers\":0", "choices.layers: missing or wrong (expected a list)"},
        {"\"layers\":[0]", "\"layers\":[-1]", "choices.layers: missing or wrong (expected layer numbers)"},
        {"\"layers\":[0]", "\"layers\":[0.5]", "expected layer numbers"},
        {"\"layers\":[0]", "\"layers\":[\"0\"]", "expected layer numbers"},
        {"\"layers\":[0]", "\"layers\":[65536]", "expected layer numbers"},
        {"\"layers\":[0]", "\"layers\":[1e300]", "expected layer numbers"},
        {"\"layers\":[0]", "\"layers\":[0,0]", "choices.layers: layer 0 has two choices for q"},
        {"\"layers\":[0]", "\"layers\":[0,2]", "layer 2 has two choices for k"},
        {"\"roles\":[\"q\",\"k\"]", "\"roles\":[]", "choices.roles: missing or wrong"},
        {"\"roles\":[\"q\",\"k\"]", "\"roles\":[\"q\",\"q\"]",
            "choices.roles: missing or wrong (expected \"q\", \"k\" or both"},
        {"\"roles\":[\"q\",\"k\"]", "\"roles\":[\"v\"]", "choices.roles: missing or wrong"},
        {"\"roles\":[\"q\",\"k\"]", "\"roles\":[1]", "choices.roles: missing or wrong"},
        {"\"roles\":[\"q\",\"k\"]", "\"roles\":\"qk\"", "choices.roles: missing or wrong (expected a list)"},
        {"\"mode\":\"restore\"", "\"mode\":\"revert\"",
            "choices.mode: unknown mode (found \"revert\", expected keep, restore|restore-latent"},
        {"\"mode\":\"restore\"", "\"mode\":1", "choices.mode: unknown mode"},
        {"\"mode\":\"restore\"", "\"mode\":\"restore\",\"param\":1",
            "choices.param: missing or wrong (expected no value for this mode)"},
        {"\"mode\":\"restore\"", "\"mode\":\"restore\",\"alpha\":1", "choices: unknown key \"alpha\""},
        {"\"mode\":\"restore\"", "\"mode\":\"lerp\"", "choices.param: missing or wrong (expected a number)"},
        {"\"param\":0.5", "\"param\":\"0.5\"", "choices.param: missing or wrong (expected a number)"},
        {"\"param\":0.5", "\"param\":1.5", "choices.param: out of range for lerp (found 1.5)"},
        {"\"param\":0.5", "\"param\":1e999", "choices.param: out of range for lerp"},
        {"\"roles\":[\"k\"],\"mode\":\"lerp\"", "\"roles\":[\"k\"],\"mode\":\"qk-pro\"",
            "choices.roles: missing or wrong (expected both q and k"},
        {"\"outputs\":[{", "\"outputs\":[3,{", "outputs: missing or wrong (expected an object)"},
        {"\"tensor\":\"t\"", "\"tensor\":3", "outputs.tensor: missing or wrong (expected a text)"},
        {"\"sha256\":\"0123", "\"sha256\":\"012", "outputs.sha256: missing or wrong (expected 64"},
        {"\"sha256\":\"0123", "\"sha256\":\"g123", "outputs.sha256: missing or wrong"},
        {"\"tensor\":\"t\"", "\"tensor\":\"t\",\"x\":1", "outputs: unknown key \"x\""}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_wrong(*state, text, rows[i].from, rows[i].to, rows[i].words);
    cJSON_free(text);
    cJSON_Delete(root);
    free(pretty);
}

/* Whole members taken away or replaced by something of another type. */
static void test_missing_members(void **state)
{
    char pre[PATH_SIZE], post[PATH_SIZE], path[PATH_SIZE];
    write_case(*state, pre, post);
    static const struct {
        const char *object, *key, *words;
    } rows[] = {{NULL, "pre", "pre: missing or wrong (expected an object)"},
        {NULL, "post", "post: missing or wrong (expected an object)"},
        {NULL, "choices", "choices: missing or wrong (expected a list)"},
        {"pre", "path", "pre.path: missing or wrong"},
        {"post", "model_type", "post.model_type: missing or wrong"},
        {"post", "files", "post.files: missing or wrong (expected a list)"}};
    char *text = read_bytes(path_in(path, *state, "r.json"), NULL);
    path_in(path, *state, "wrong.json");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int how = 0; how < 2; how++) {
            struct qk_error err = {0};
            struct qk_recipe recipe;
            cJSON *root = cJSON_Parse(text);
            cJSON *object = rows[i].object == NULL ? root : cJSON_GetObjectItem(root, rows[i].object);
            if (how == 0)
                cJSON_DeleteItemFromObject(object, rows[i].key);
            else
                cJSON_ReplaceItemInObject(object, rows[i].key, cJSON_CreateTrue());
            char *changed = cJSON_Print(root);
            write_text(path, "%s", changed);
            expect_failure(qk_recipe_read(path, &recipe, &err), &err, QK_INPUT, rows[i].words);
            cJSON_free(changed);
            cJSON_Delete(root);
        }
    }
    free(text);
}

static void test_not_recipes(void **state)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_recipe recipe;
    path_in(path, *state, "r.json");
    expect_failure(qk_recipe_read(path, &recipe, &err), &err, QK_IO, "r.json: cannot open");
    static const char *const texts[] = {
        "[]", "3", "null", "\"qkscope-recipe\"", "{}", "{\"format\":[\"qkscope-recipe\"]}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        write_text(path, "%s", texts[i]);
        expect_failure(qk_recipe_read(path, &recipe, &err), &err, QK_INPUT, "r.json: not a qkscope recipe");
    }
    write_text(path, "%s", "");
    expect_failure(qk_recipe_read(path, &recipe, &err), &err, QK_INPUT, "not valid JSON");
    expect_failure(qk_recipe_read(*state, &recipe, &err), &err, QK_INPUT, "not a regular file");
}

/* Inputs never change: no recipe goes into a checkpoint's folder, nor over a file beside one. */
static void test_write_refuses(void **state)
{
    char pre[PATH_SIZE], post[PATH_SIZE], path[PATH_SIZE], file[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_recipe recipe;
    write_case(*state, pre, post);
    struct qk_pair *pair = open_pair(pre, post);
    struct qk_selection selection = new_selection(pair);
    expect_ok(qk_recipe_make(pair, &selection, false, NULL, &recipe, &err), &err);
    expect_failure(qk_recipe_write(&recipe, path_in(path, pre, "r.json"), &err), &err, QK_USAGE,
        "it is in pre's folder");
    expect_failure(qk_recipe_write(&recipe, path_in(path, post, "config.json"), &err), &err, QK_USAGE,
        "it is in post's folder");
    expect_failure(
        qk_recipe_write(&recipe, path_in(path, *state, "no/r.json"), &err), &err, QK_IO, "no: cannot");
    qk_recipe_free(&recipe);
    qk_pair_close(pair);
    pair = open_pair(path_in(file, pre, "model.safetensors"), post);
    expect_ok(qk_recipe_make(pair, &selection, false, NULL, &recipe, &err), &err);
    expect_failure(qk_recipe_write(&recipe, file, &err), &err, QK_USAGE, "it is beside pre and not a recipe");
    expect_ok(qk_recipe_write(&recipe, path_in(path, pre, "r.json"), &err), &err);
    expect_ok(qk_recipe_write(&recipe, path, &err), &err); /* a recipe may replace a recipe */
    qk_recipe_free(&recipe);
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_folder(test_fields),
        test_in_folder(test_round_trip),
        cmocka_unit_test(test_equal_choices_share_an_entry),
        test_in_folder(test_outputs),
        test_in_folder(test_heads),
        test_in_folder(test_wrong_heads),
        test_in_folder(test_heads_that_lack),
        test_in_folder(test_odd_names),
        test_in_folder(test_fingerprints),
        test_in_folder(test_layers_that_lack),
        test_in_folder(test_wrong_keys),
        test_in_folder(test_missing_members),
        test_in_folder(test_not_recipes),
        test_in_folder(test_write_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
