/* test_pair.c - pre and post side by side: pairs that fit, and the reasons of those that do not. */
#include "helper.h"

#include "drift/heads.h"
#include "model/pair.h"

#include <stdio.h>
#include <string.h>

struct folders {
    char pre[PATH_SIZE], post[PATH_SIZE];
};

static struct folders folders_in(const char *folder)
{
    struct folders f;
    make_folder(path_in(f.pre, folder, "pre"));
    make_folder(path_in(f.post, folder, "post"));
    return f;
}

static struct qk_pair *open_pair(const struct folders *f)
{
    struct qk_error err = {0};
    struct qk_pair *pair;
    expect_ok(qk_pair_open(f->pre, f->post, &pair, &err), &err);
    return pair;
}

static void refuse(const struct folders *f, const char *words)
{
    struct qk_error err = {0};
    struct qk_pair *pair = (struct qk_pair *)&err;
    expect_failure(qk_pair_open(f->pre, f->post, &pair, &err), &err, QK_INPUT, words);
    assert_null(pair);
}

static void test_every_fixture_pairs(void **state)
{
    (void)state;
    static const char *const names[] = {"falcon", "gemma3_text", "gpt2", "gpt_neox", "jamba", "jet_nemotron",
        "llama", "minimax", "mistral", "phi3", "qwen2", "qwen3", "qwen3_5_text", "qwen3_next"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct folders f;
        char name[64];
        snprintf(name, sizeof name, "fixtures/%s/pre", names[i]);
        data_path(f.pre, name);
        snprintf(name, sizeof name, "fixtures/%s/post", names[i]);
        data_path(f.post, name);
        struct qk_pair *pair = open_pair(&f);
        for (int k = 0; k < pair->n_layers; k++) {
            const struct qk_pair_layer *layer = &pair->layer[k];
            assert_int_equal(layer->index, k);
            assert_null(layer->problem);
            assert_int_equal(layer->has_qk, layer->kind != QK_NONE);
            assert_ptr_equal(layer->side[QK_PRE], &pair->model[QK_PRE]->layer[k]);
            assert_ptr_equal(layer->side[QK_POST], &pair->model[QK_POST]->layer[k]);
        }
        qk_pair_close(pair);
    }
}

/* The base model of a family with vision against its text-only fine-tune: another prefix, the same layers. */
static void test_prefix_changes(void **state)
{
    struct folders f = folders_in(*state);
    write_llama(f.pre, "model.language_model.layers.", 3, 1);
    write_llama(f.post, "model.layers.", 3, 2);
    struct qk_pair *pair = open_pair(&f);
    assert_int_equal(pair->n_layers, 3);
    for (int i = 0; i < 3; i++) {
        assert_true(pair->layer[i].has_qk);
        assert_string_not_equal(pair->layer[i].side[QK_PRE]->role[QK_Q].weight->name,
            pair->layer[i].side[QK_POST]->role[QK_Q].weight->name);
    }
    qk_pair_close(pair);
}

static void test_layer_counts_differ(void **state)
{
    struct folders f = folders_in(*state);
    write_llama(f.pre, "model.layers.", 3, 1);
    write_llama(f.post, "model.layers.", 2, 2);
    refuse(&f, "post: does not fit |pre (found 2 layers, expected 3)");
}

static void test_cannot_open(void **state)
{
    struct folders f = folders_in(*state);
    struct qk_error err = {0};
    struct qk_pair *pair;
    write_llama(f.post, "model.layers.", 2, 2);
    refuse(&f, "pre: no .safetensors file and no pytorch_model.bin here");
    expect_failure(
        qk_pair_open("/nonexistent", f.post, &pair, &err), &err, QK_IO, "/nonexistent: cannot open");
}

/* Two layers of which the second has post's q and k in these shapes. */
static void write_second_layer(
    const char *folder, const char *dtype, uint64_t q, uint64_t k, uint64_t d, bool bias)
{
    char path[PATH_SIZE];
    const struct test_tensor tensors[] = {{"model.layers.0.self_attn.q_proj.weight", "F32", 2, {8, 6}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {4, 6}, NULL},
        {"model.layers.1.self_attn.q_proj.weight", dtype, 2, {q, d}, NULL},
        {"model.layers.1.self_attn.k_proj.weight", dtype, 2, {k, d}, NULL},
        {"model.layers.1.self_attn.q_proj.bias", "F32", 1, {q}, NULL}};
    write_llama(folder, "model.layers.", 2, 1);
    write_safetensors(path_in(path, folder, "model.safetensors"), tensors, bias ? 5 : 4, 2);
}

static void expect_problem(const char *folder, const char *words)
{
    struct folders f = folders_in(folder);
    struct qk_pair *pair = open_pair(&f);
    assert_true(pair->layer[0].has_qk);
    assert_null(pair->layer[0].problem);
    assert_false(pair->layer[1].has_qk);
    assert_non_null(pair->layer[1].problem);
    if (strstr(pair->layer[1].problem, words) == NULL)
        fail_msg("\"%s\" is not in the problem: %s", words, pair->layer[1].problem);
    qk_pair_close(pair);
}

static void test_one_layer_does_not_fit(void **state)
{
    struct folders f = folders_in(*state);
    write_llama(f.pre, "model.layers.", 2, 1);
    write_second_layer(f.post, "F32", 8, 8, 6, false);
    expect_problem(*state, "pre has 1 key heads, post 2");
    write_second_layer(f.post, "F32", 8, 4, 5, false);
    expect_problem(*state, "the heads differ (pre has 4 x 6, post 4 x 5)");
    write_second_layer(f.post, "F32", 8, 4, 6, true);
    expect_problem(*state, "only post has a bias (model.layers.1.self_attn.q_proj.bias)");
    write_second_layer(f.post, "I8", 8, 4, 6, false);
    expect_problem(*state, "post: model.layers.1.self_attn.q_proj.weight is stored as I8");
    write_second_layer(f.post, "BF16", 8, 4, 6, false); /* another format of numbers is no problem */
    struct qk_pair *pair = open_pair(&f);
    assert_true(pair->layer[1].has_qk);
    qk_pair_close(pair);
}

static void write_kinds(const char *folder, const char *type, const char *keys)
{
    char path[PATH_SIZE];
    write_llama(folder, "model.layers.", 2, 1);
    write_text(path_in(path, folder, "config.json"),
        "{\"model_type\":\"%s\",\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":4,"
        "\"lightning_nh\":2,\"lightning_nkv\":1,%s}",
        type, keys);
}

static void test_kinds_differ(void **state)
{
    struct folders f = folders_in(*state);
    write_kinds(f.pre, "hypenet", "\"mixer_types\":[\"attn\",\"attn\"]");
    write_kinds(f.post, "hypenet", "\"mixer_types\":[\"attn\",\"lightning-attn\"]");
    expect_problem(*state, "pre's layer is of kind full, post's of kind linear");
    write_kinds(f.pre, "jamba", "\"layers_block_type\":[\"attention\",\"attention\"]");
    write_kinds(f.post, "jamba", "\"layers_block_type\":[\"attention\",\"mamba\"]");
    expect_problem(*state, "pre's layer is of kind full, post's of kind none");
    /* a window opened by the config alone: the same weights mean the same */
    write_kinds(f.pre, "mistral", "\"sliding_window\":8");
    write_kinds(f.post, "mistral", "\"sliding_window\":null");
    struct qk_pair *pair = open_pair(&f);
    assert_true(pair->layer[1].has_qk);
    assert_int_equal(pair->layer[1].kind, QK_FULL); /* post's */
    qk_pair_close(pair);
}

static void test_nothing_fits(void **state)
{
    struct folders f = folders_in(*state);
    write_kinds(f.pre, "hypenet", "\"mixer_types\":[\"attn\",\"attn\"]");
    write_kinds(f.post, "hypenet", "\"mixer_types\":[\"lightning-attn\",\"lightning-attn\"]");
    refuse(
        &f, "post: no layer has q and k that fit |pre: pre's layer is of kind full, post's of kind linear");
    write_kinds(f.pre, "jamba", "\"layers_block_type\":[\"mamba\",\"mamba\"]");
    write_kinds(f.post, "jamba", "\"layers_block_type\":[\"mamba\",\"mamba\"]");
    refuse(&f, "post: no layer has q and k that fit ");
}

/* A layer's problem goes to the screen: what a terminal would obey is made visible. */
static void test_problems_are_printable(void **state)
{
    char path[PATH_SIZE];
    struct folders f = folders_in(*state);
    const char *name = "model.layers.1.\\u001b[31m.q_proj.weight",
               *other = "model.layers.1.\\u001b[31m.k_proj.weight";
    const struct test_tensor tensors[] = {{"model.layers.0.self_attn.q_proj.weight", "F32", 2, {8, 6}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {4, 6}, NULL}, {name, "I8", 2, {8, 6}, NULL},
        {other, "I8", 2, {4, 6}, NULL}};
    for (int s = 0; s < 2; s++) {
        const char *folder = s == 0 ? f.pre : f.post;
        write_safetensors(path_in(path, folder, "model.safetensors"), tensors, 4, 1);
        write_text(path_in(path, folder, "config.json"),
            "{\"model_type\":\"unheard_of\",\"num_attention_heads\":2,"
            "\"num_key_value_heads\":1,\"head_dim\":4}");
    }
    expect_problem(*state, "\\x1b[31m.q_proj.weight is stored as I8");
}

/* --- head views --- */

static void test_heads_of_both_sides(void **state)
{
    struct folders f;
    struct qk_error err = {0};
    demo_path(f.pre, "pre");
    demo_path(f.post, "post");
    struct qk_pair *pair = open_pair(&f);
    (void)state;
    enum { AREA = 32 * 128 };
    double plain[AREA], direct[AREA], effective[AREA], gain[32];
    for (int side = 0; side < QK_SIDE_COUNT; side++) {
        struct qk_heads *heads, *scaled;
        const struct qk_model *model = pair->model[side];
        expect_ok(qk_heads_of_model(pair, (enum qk_side)side, 7, false, &heads, &err), &err);
        expect_ok(qk_heads_of_model(pair, (enum qk_side)side, 7, true, &scaled, &err), &err);
        assert_string_equal(heads->where, side == QK_PRE ? "pre" : "post");
        expect_ok(heads->read(heads, QK_Q, 3, plain, &err), &err);
        expect_ok(qk_view_read(model, &model->layer[7], QK_Q, 3, direct, &err), &err);
        assert_memory_equal(plain, direct, sizeof plain);
        expect_ok(scaled->read(scaled, QK_Q, 3, effective, &err), &err);
        expect_ok(qk_view_read_gain(model, &model->layer[7], QK_Q, 3, gain, &err), &err);
        for (int i = 0; i < AREA; i++)
            assert_true(effective[i] == plain[i] * gain[i / 128]);
        qk_heads_free(heads);
        qk_heads_free(scaled);
    }
    qk_heads_free(NULL);
    qk_pair_close(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_fixture_pairs),
        test_in_folder(test_prefix_changes),
        test_in_folder(test_layer_counts_differ),
        test_in_folder(test_cannot_open),
        test_in_folder(test_one_layer_does_not_fit),
        test_in_folder(test_kinds_differ),
        test_in_folder(test_nothing_fits),
        test_in_folder(test_problems_are_printable),
        cmocka_unit_test(test_heads_of_both_sides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
