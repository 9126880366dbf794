/* test_model.c - the places of W_Q and W_K: every fixture and, on small made checkpoints, every row order, against the
 * formulas written out here again; odd and hostile configs and names. */
#include "helper.h"

#include "base/json.h"
#include "model/layout.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- the row orders, from the reference table --- */

struct geometry {
    int nh, nk, hd, nv, dv; /* query, key heads, head size; value heads and size of key groups */
};
typedef int (*first_row)(int h, const struct geometry *g);

static int packed(int h, const struct geometry *g) /* SEP; Q of BLK and C1D */
{
    return h * g->hd;
}
static int gated_q(int h, const struct geometry *g) /* GATEQ: query, then its gate */
{
    return 2 * h * g->hd;
}
static int block_k(int h, const struct geometry *g) /* BLK, C1D: all of Q, then all of K */
{
    return (g->nh + h) * g->hd;
}
static int head3_q(int h, const struct geometry *g) /* HD3: q, k, v of one head after the other */
{
    return 3 * h * g->hd;
}
static int head3_k(int h, const struct geometry *g)
{
    return (3 * h + 1) * g->hd;
}
static int grouped_q(int h, const struct geometry *g) /* GRP: r queries, a key, a value */
{
    int r = g->nh / g->nk;
    return (h / r * (r + 2) + h % r) * g->hd;
}
static int grouped_k(int h, const struct geometry *g)
{
    int r = g->nh / g->nk;
    return (h * (r + 2) + r) * g->hd;
}
static int key_group_q(int h, const struct geometry *g) /* KGRP: q, k, its values, its gates */
{
    int v = g->nv / g->nk;
    return h * (2 * g->hd + 2 * v * g->dv);
}
static int key_group_k(int h, const struct geometry *g)
{
    return key_group_q(h, g) + g->hd;
}

/* --- fixtures --- */

struct mixer {
    char letter; /* in the kinds of the fixture */
    enum qk_kind kind;
    struct geometry g;
    first_row q, k;
    enum qk_positions positions;
    int rotary;
    bool bias, norm, plus_one, transposed;
    int window;
};
struct fixture {
    const char *name, *family, *kinds;
    int d;
    double theta;
    struct mixer mixer[3];
};

static const struct fixture FIXTURES[] = {
    {"llama", "llama", "ffff", 64, 1e4,
        {{'f', QK_FULL, {4, 2, 16, 0, 0}, packed, packed, QK_POSITIONS_ROPE_HALF, 16, .window = 0}}},
    {"mistral", "mistral", "wwww", 64, 1e4,
        {{'w', QK_WINDOW, {4, 2, 16, 0, 0}, packed, packed, QK_POSITIONS_ROPE_HALF, 16, .window = 16}}},
    {"qwen2", "qwen2", "ffff", 64, 1e4,
        {{'f', QK_FULL, {4, 2, 16, 0, 0}, packed, packed, QK_POSITIONS_ROPE_HALF, 16, .bias = true}}},
    {"qwen3", "qwen3", "ffff", 64, 1e4,
        {{'f', QK_FULL, {4, 2, 16, 0, 0}, packed, packed, QK_POSITIONS_ROPE_HALF, 16, .norm = true}}},
    {"qwen3_next", "qwen3_next", "lllf", 64, 1e4,
        {{'f', QK_FULL, {4, 2, 16, 0, 0}, gated_q, packed, QK_POSITIONS_ROPE_HALF, 4, .norm = true,
             .plus_one = true},
            {'l', QK_LINEAR, {2, 2, 16, 4, 16}, key_group_q, key_group_k, QK_POSITIONS_FIXED, .rotary = 0}}},
    {"qwen3_5_text", "qwen3_5", "lllf", 64, 1e4,
        {{'f', QK_FULL, {4, 2, 16, 0, 0}, gated_q, packed, QK_POSITIONS_ROPE_HALF, 4, .norm = true,
             .plus_one = true},
            {'l', QK_LINEAR, {2, 2, 16, 4, 16}, packed, block_k, QK_POSITIONS_FIXED, .rotary = 0}}},
    {"jamba", "jamba", "nfnf", 64, 0,
        {{'f', QK_FULL, {4, 2, 16, 0, 0}, packed, packed, QK_POSITIONS_NONE, .rotary = 0}}},
    {"falcon", "falcon", "ffff", 64, 1e4,
        {{'f', QK_FULL, {4, 2, 16, 0, 0}, grouped_q, grouped_k, QK_POSITIONS_ROPE_HALF, .rotary = 16}}},
    {"gemma3_text", "gemma3", "wwww", 64, 1e4,
        {{'w', QK_WINDOW, {4, 2, 16, 0, 0}, packed, packed, QK_POSITIONS_ROPE_HALF, 16, .norm = true,
            .plus_one = true, .window = 16}}},
    {"gpt2", "gpt2", "ffff", 64, 0,
        {{'f', QK_FULL, {4, 4, 16, 0, 0}, packed, block_k, QK_POSITIONS_NONE, 0, .bias = true,
            .transposed = true}}},
    {"gpt_neox", "gpt_neox", "ffff", 64, 1e4,
        {{'f', QK_FULL, {4, 4, 16, 0, 0}, head3_q, head3_k, QK_POSITIONS_ROPE_HALF, 4, .bias = true}}},
    {"minimax", "minimax", "lflf", 64, 1e6,
        {{'f', QK_FULL, {4, 2, 16, 0, 0}, packed, packed, QK_POSITIONS_ROPE_HALF, .rotary = 16},
            {'l', QK_LINEAR, {4, 4, 16, 0, 0}, head3_q, head3_k, QK_POSITIONS_FIXED, .rotary = 0}}},
    {"phi3", "phi3", "ffff", 64, 1e4,
        {{'f', QK_FULL, {4, 2, 16, 0, 0}, packed, block_k, QK_POSITIONS_ROPE_HALF, .rotary = 16}}},
    {"jet_nemotron", "jet_nemotron", "llflwf", 64, 1e4,
        {{'f', QK_FULL, {4, 2, 16, 0, 0}, packed, packed, QK_POSITIONS_ROPE_HALF, 16, .bias = true},
            {'w', QK_WINDOW, {4, 2, 16, 0, 0}, packed, packed, QK_POSITIONS_ROPE_HALF, 16, .bias = true,
                .window = 16},
            {'l', QK_LINEAR, {4, 4, 12, 0, 0}, packed, packed, QK_POSITIONS_FIXED, .rotary = 0}}},
    {"../../../data/tiny-hypenet", "hypenet", "lfllfllfllfl", 128, 1e4,
        {{'f', QK_FULL, {4, 2, 32, 0, 0}, packed, packed, QK_POSITIONS_NONE, 0, .norm = true},
            {'l', QK_LINEAR, {4, 4, 32, 0, 0}, packed, packed, QK_POSITIONS_ROPE_HALF, 32, .norm = true}}},
};

static void check_layer(const struct fixture *fixture, const struct qk_layer *layer, const struct mixer *m)
{
    assert_int_equal(layer->kind, m->kind);
    assert_null(layer->problem);
    assert_int_equal(layer->head_dim, m->g.hd);
    assert_int_equal(layer->d, fixture->d);
    assert_int_equal(layer->positions, m->positions);
    assert_int_equal(layer->rotary_dims, m->rotary);
    assert_true(layer->rope_theta == (m->rotary > 0 ? fixture->theta : 0));
    assert_int_equal(layer->window, m->window);
    assert_int_equal(layer->gain_plus_one, m->plus_one);
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        const struct qk_view *view = &layer->role[r];
        assert_int_equal(view->n_heads, r == QK_Q ? m->g.nh : m->g.nk);
        assert_int_equal(view->bias != NULL, m->bias);
        assert_int_equal(view->norm != NULL, m->norm);
        assert_int_equal(view->transposed, m->transposed);
        for (int h = 0; h < view->n_heads; h++)
            assert_int_equal(view->first_row[h], (r == QK_Q ? m->q : m->k)(h, &m->g));
    }
}

static void check_fixture(const struct fixture *fixture, const char *side)
{
    char path[PATH_SIZE], name[256];
    struct qk_error err = {0};
    struct qk_model *model;
    snprintf(name, sizeof name, "fixtures/%s/%s", fixture->name, side);
    expect_ok(qk_model_open(data_path(path, name), &model, &err), &err);
    assert_string_equal(model->family, fixture->family);
    assert_false(model->guessed);
    assert_int_equal(model->n_layers, strlen(fixture->kinds));
    for (int i = 0; i < model->n_layers; i++) {
        assert_int_equal(model->layer[i].index, i);
        if (fixture->kinds[i] == 'n') {
            assert_int_equal(model->layer[i].kind, QK_NONE);
            assert_null(model->layer[i].role[QK_Q].weight);
            continue;
        }
        const struct mixer *mixer = fixture->mixer;
        while (mixer->letter != fixture->kinds[i])
            mixer++;
        check_layer(fixture, &model->layer[i], mixer);
    }
    qk_model_close(model);
}

static void test_fixtures(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof FIXTURES / sizeof FIXTURES[0]; i++) {
        check_fixture(&FIXTURES[i], "pre");
        check_fixture(&FIXTURES[i], "post");
    }
}

/* 4 heads of 16 rows and 8 that rotate; queries from a latent of 24, keys and values of 16 from one of 16. */
static void test_latent_attention(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_model *model;
    expect_ok(qk_model_open(data_path(path, "fixtures/deepseek_v3/pre"), &model, &err), &err);
    assert_int_equal(model->n_layers, 4);
    for (int i = 0; i < 4; i++) {
        const struct qk_layer *layer = &model->layer[i];
        const struct qk_view *q = &layer->role[QK_Q], *k = &layer->role[QK_K];
        assert_null(layer->problem);
        assert_int_equal(layer->kind, QK_FULL);
        assert_int_equal(layer->head_dim, 24);
        assert_int_equal(layer->d, 64);
        assert_int_equal(q->n_heads, 4);
        assert_int_equal(k->n_heads, 4);
        assert_int_equal(q->first_row[3], 72);
        assert_int_equal(k->first_row[3], 96);
        assert_int_equal(q->tail, 0);
        assert_int_equal(k->tail, 8);
        for (int p = 0; p < q->n_slices; p++)
            assert_false(q->slice[p].latent);
        int latent = 0;
        for (int p = 0; p < k->n_slices; p++)
            latent += k->slice[p].latent;
        assert_int_equal(latent, 2); /* of the projection and of its norm */
    }
    qk_model_close(model);
}

/* --- made checkpoints: element (i, j) of a weight is i, of a Conv1D j; element i of a bias is i + 0.5 --- */

enum { WIDTH = 6, MOST = 40000 };

static void write_model(const char *folder, const char *config, const struct test_tensor *tensors, size_t n)
{
    static double values[16][MOST];
    struct test_tensor filled[16];
    char path[PATH_SIZE];
    assert_true(n <= 16);
    for (size_t t = 0; t < n; t++) {
        bool conv1d = strstr(tensors[t].name, "c_attn") != NULL;
        uint64_t rows = tensors[t].shape[0], columns = tensors[t].n_dims == 2 ? tensors[t].shape[1] : 1;
        assert_true(rows * columns <= MOST);
        for (uint64_t i = 0; i < rows * columns; i++)
            values[t][i] =
                tensors[t].n_dims < 2 ? (double)i + 0.5 : (double)(conv1d ? i % columns : i / columns);
        filled[t] = tensors[t];
        if (filled[t].values == NULL)
            filled[t].values = values[t];
    }
    write_safetensors(path_in(path, folder, "model.safetensors"), filled, n, 1);
    if (config != NULL)
        write_text(path_in(path, folder, "config.json"), "%s", config);
}

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
    struct qk_model *model = (struct qk_model *)&err;
    expect_failure(qk_model_open(folder, &model, &err), &err, QK_INPUT, words);
    assert_null(model);
}

/* Reads every head of the role and compares each row with the number it was written with. */
static void check_role(const struct qk_model *model, const struct qk_layer *layer, enum qk_role role,
    first_row first, const struct geometry *g)
{
    const struct qk_view *view = &layer->role[role];
    struct qk_error err = {0};
    double out[64 * WIDTH], bias[64];
    assert_int_equal(view->n_heads, role == QK_Q ? g->nh : g->nk);
    for (int h = 0; h < view->n_heads; h++) {
        expect_ok(qk_view_read(model, layer, role, h, out, &err), &err);
        expect_ok(qk_view_read_bias(model, layer, role, h, bias, &err), &err);
        for (int i = 0; i < g->hd; i++) {
            for (int j = 0; j < WIDTH; j++)
                assert_true(out[i * WIDTH + j] == first(h, g) + i);
            assert_true(bias[i] == (view->bias != NULL ? first(h, g) + i + 0.5 : 0));
        }
    }
}

/* The ranges that export writes to are the elements that the view reads. */
static void check_ranges(
    const struct qk_layer *layer, enum qk_role role, first_row first, const struct geometry *g)
{
    const struct qk_view *view = &layer->role[role];
    uint64_t start, stride, length, count, rows = view->weight->shape[view->transposed ? 1 : 0];
    for (int h = 0; h < view->n_heads; h++) {
        qk_view_ranges(layer, role, h, &start, &stride, &length, &count);
        if (view->transposed) {
            assert_int_equal(count, WIDTH);
            assert_int_equal(start, 4 * first(h, g));
            assert_int_equal(stride, 4 * rows);
            assert_int_equal(length, 4 * g->hd);
        } else {
            assert_int_equal(count, 1);
            assert_int_equal(start, 4 * WIDTH * first(h, g));
            assert_int_equal(length, 4 * WIDTH * g->hd);
        }
        assert_true(start + (count - 1) * stride + length <= view->weight->bytes);
    }
}

static void check_made(const char *folder, const struct geometry *g, first_row q, first_row k)
{
    struct qk_model *model = open_made(folder);
    check_role(model, &model->layer[0], QK_Q, q, g);
    check_role(model, &model->layer[0], QK_K, k, g);
    check_ranges(&model->layer[0], QK_Q, q, g);
    check_ranges(&model->layer[0], QK_K, k, g);
    qk_model_close(model);
}

static void test_falcon_orders(void **state)
{
    const char *config = "{\"model_type\":\"falcon\",\"num_hidden_layers\":1,\"num_attention_heads\":6,"
                         "\"num_kv_heads\":%d,\"hidden_size\":24,\"bias\":true%s}";
    const char *weight = "transformer.h.0.self_attention.query_key_value.weight",
               *bias = "transformer.h.0.self_attention.query_key_value.bias";
    static const struct {
        int num_kv_heads; /* as saved: 6 in a multi-query model, which has one key head all the same */
        const char *flags;
        struct geometry g;
        first_row q, k;
        uint64_t rows;
    } rows[] = {{2, ",\"new_decoder_architecture\":true,\"multi_query\":true", {6, 2, 4, 0, 0}, grouped_q,
                    grouped_k, 40},
        {3, ",\"new_decoder_architecture\":true,\"alibi\":false", {6, 3, 4, 0, 0}, grouped_q, grouped_k, 48},
        {6, ",\"new_decoder_architecture\":false,\"multi_query\":true", {6, 1, 4, 0, 0}, packed, block_k, 32},
        {1, ",\"multi_query\":true", {6, 1, 4, 0, 0}, packed, block_k, 32},
        {6, ",\"multi_query\":false", {6, 6, 4, 0, 0}, head3_q, head3_k, 72},
        {6, "", {6, 6, 4, 0, 0}, head3_q, head3_k, 72}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[512];
        snprintf(text, sizeof text, config, rows[i].num_kv_heads, rows[i].flags);
        const struct test_tensor tensors[] = {
            {weight, "F32", 2, {rows[i].rows, WIDTH}, NULL}, {bias, "F32", 1, {rows[i].rows}, NULL}};
        write_model(*state, text, tensors, 2);
        check_made(*state, &rows[i].g, rows[i].q, rows[i].k);
    }
}

static void test_falcon_positions(void **state)
{
    const struct test_tensor tensors[] = {
        {"transformer.h.0.self_attention.query_key_value.weight", "F32", 2, {72, WIDTH}, NULL}};
    write_model(*state,
        "{\"model_type\":\"falcon\",\"num_hidden_layers\":1,\"num_attention_heads\":6,\"hidden_size\":24,"
        "\"alibi\":true}",
        tensors, 1);
    struct qk_model *model = open_made(*state);
    assert_int_equal(model->layer[0].positions, QK_POSITIONS_NONE);
    qk_model_close(model);
}

static void test_conv1d(void **state)
{
    const struct geometry g = {3, 3, 4, 0, 0};
    const char *config = "{\"model_type\":\"gpt2\",\"n_layer\":1,\"n_head\":3,\"n_embd\":12}";
    const struct test_tensor tensors[] = {{"h.0.attn.c_attn.weight", "F32", 2, {WIDTH, 36}, NULL},
        {"h.0.attn.c_attn.bias", "F32", 1, {36}, NULL}, {"h.0.attn.bias", "F32", 2, {8, 8}, NULL}};
    write_model(*state, config, tensors, 3);
    check_made(*state, &g, packed, block_k);
    const struct test_tensor prefixed[] = {
        {"transformer.h.0.attn.c_attn.weight", "F32", 2, {WIDTH, 36}, NULL}};
    write_model(*state, config, prefixed, 1);
    check_made(*state, &g, packed, block_k);
}

/* Wide enough that columns are read in several pieces: a row of 9,000 numbers is 36 kB, a piece a mebibyte. */
static void test_conv1d_in_slices(void **state)
{
    enum { D = 70, N = 3000 };
    char path[PATH_SIZE];
    struct qk_error err = {0};
    double *values = malloc((size_t)D * 3 * N * sizeof *values), out[1000 * D];
    assert_non_null(values);
    for (int i = 0; i < D * 3 * N; i++)
        values[i] = i % 30011;
    const struct test_tensor tensors[] = {{"h.0.attn.c_attn.weight", "F32", 2, {D, 3 * N}, values}};
    write_safetensors(path_in(path, *state, "model.safetensors"), tensors, 1, 1);
    write_text(path_in(path, *state, "config.json"),
        "{\"model_type\":\"gpt2\",\"n_layer\":1,\"n_head\":3,\"n_embd\":3000}");
    struct qk_model *model = open_made(*state);
    expect_ok(qk_view_read(model, &model->layer[0], QK_K, 2, out, &err), &err);
    for (int i = 0; i < 1000; i++)
        for (int j = 0; j < D; j++)
            assert_true(out[i * D + j] == (j * 3 * N + N + 2000 + i) % 30011);
    qk_model_close(model);
    free(values);
}

/* A latent that does not fit its heads. */
static void test_latent_shapes(void **state)
{
    static const struct {
        uint64_t k_b, rank, k_a, norm;
        const char *words; /* NULL: fits */
    } rows[] = {{14, 5, 7, 5, NULL}, {15, 5, 7, 5, "kv_b_proj.weight|found (15, 5), expected 14 rows"},
        {14, 6, 7, 5, "kv_a_proj_with_mqa.weight|found (7, 6), expected 8 rows"},
        {14, 5, 7, 4, "kv_a_layernorm.weight|found (4), expected 5 rows"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct test_tensor tensors[] = {
            {"model.layers.0.self_attn.q_proj.weight", "F32", 2, {10, WIDTH}, NULL},
            {"model.layers.0.self_attn.kv_b_proj.weight", "F32", 2, {rows[i].k_b, rows[i].rank}, NULL},
            {"model.layers.0.self_attn.kv_a_proj_with_mqa.weight", "F32", 2, {rows[i].k_a, WIDTH}, NULL},
            {"model.layers.0.self_attn.kv_a_layernorm.weight", "F32", 1, {rows[i].norm}, NULL}};
        write_model(*state,
            "{\"model_type\":\"deepseek_v2\",\"num_hidden_layers\":1,\"num_attention_heads\":2,"
            "\"qk_nope_head_dim\":3,\"qk_rope_head_dim\":2,\"v_head_dim\":4}",
            tensors, 4);
        if (rows[i].words != NULL)
            refuse(*state, rows[i].words);
        else
            qk_model_close(open_made(*state));
    }
}

static void test_key_groups(void **state)
{
    const struct geometry g = {2, 2, 4, 6, 3};
    const struct test_tensor tensors[] = {
        {"model.layers.0.linear_attn.in_proj_qkvz.weight", "F32", 2, {52, WIDTH}, NULL}};
    const char *config =
        "{\"model_type\":\"qwen3_next\",\"num_hidden_layers\":1,\"layer_types\":[\"linear_attention\"],"
        "\"linear_num_key_heads\":2,\"linear_key_head_dim\":4,\"linear_num_value_heads\":%d,"
        "\"linear_value_head_dim\":3}";
    char text[512];
    snprintf(text, sizeof text, config, 6);
    write_model(*state, text, tensors, 1);
    check_made(*state, &g, key_group_q, key_group_k);
    snprintf(text, sizeof text, config, 5);
    write_model(*state, text, tensors, 1);
    refuse(*state, "5 value heads cannot share 2 key heads");
    snprintf(text, sizeof text, config, 4);
    write_model(*state, text, tensors, 1);
    refuse(*state, "in_proj_qkvz.weight: its shape does not fit the config (found (52, 6), expected 40 rows");
}

/* K follows all of Q; how wide V is decides how many rows there must be, and no view may reach into V. */
static void test_blocks(void **state)
{
    const struct geometry phi = {4, 2, 4, 0, 0}, linear = {2, 2, 4, 0, 0};
    const struct test_tensor fused[] = {
        {"model.layers.0.self_attn.qkv_proj.weight", "F32", 2, {32, WIDTH}, NULL}};
    const char *config = "{\"model_type\":\"phi3\",\"num_hidden_layers\":1,\"num_attention_heads\":4,"
                         "\"num_key_value_heads\":%d,\"hidden_size\":16}";
    char text[512];
    snprintf(text, sizeof text, config, 2);
    write_model(*state, text, fused, 1);
    check_made(*state, &phi, packed, block_k);
    snprintf(text, sizeof text, config, 4); /* would still fit: 4 queries, 4 "keys" of which 2 are V */
    write_model(*state, text, fused, 1);
    refuse(*state, "found (32, 6), expected 48 rows");
    snprintf(text, sizeof text, config, 1);
    write_model(*state, text, fused, 1);
    refuse(*state, "found (32, 6), expected 24 rows");

    const struct test_tensor qkv[] = {
        {"model.layers.0.linear_attn.in_proj_qkv.weight", "F32", 2, {34, WIDTH}, NULL}};
    const char *hybrid =
        "{\"model_type\":\"qwen3_5_text\",\"num_hidden_layers\":1,\"layer_types\":[\"linear_attention\"],"
        "\"linear_num_key_heads\":2,\"linear_key_head_dim\":4,\"linear_num_value_heads\":%d,"
        "\"linear_value_head_dim\":3}";
    snprintf(text, sizeof text, hybrid, 6);
    write_model(*state, text, qkv, 1);
    check_made(*state, &linear, packed, block_k);
    snprintf(text, sizeof text, hybrid, 4);
    write_model(*state, text, qkv, 1);
    refuse(*state, "found (34, 6), expected 28 rows");
}

static void test_gated_rows_are_never_covered(void **state)
{
    const struct geometry g = {2, 1, 4, 0, 0};
    const struct test_tensor tensors[] = {
        {"model.layers.0.self_attn.q_proj.weight", "F32", 2, {16, WIDTH}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {4, WIDTH}, NULL}};
    write_model(*state,
        "{\"model_type\":\"qwen3_next\",\"num_hidden_layers\":1,\"full_attention_interval\":1,\"head_dim\":4,"
        "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"hidden_size\":6}",
        tensors, 2);
    check_made(*state, &g, gated_q, packed);
    struct qk_model *model = open_made(*state);
    const struct qk_view *q = &model->layer[0].role[QK_Q];
    for (int row = 0; row < 16; row++) {
        bool covered = false;
        for (int h = 0; h < 2; h++)
            covered = covered || (row >= (int)q->first_row[h] && row < (int)q->first_row[h] + 4);
        assert_int_equal(covered, row % 8 < 4);
    }
    qk_model_close(model);
}

/* --- gains --- */

static void check_gains(
    const char *folder, const struct test_tensor *norm, const char *type, double offset, bool per_head)
{
    const struct test_tensor tensors[] = {
        {"model.layers.0.self_attn.q_proj.weight", "F32", 2, {8, WIDTH}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {4, WIDTH}, NULL}, *norm};
    char config[256];
    struct qk_error err = {0};
    double gain[4];
    snprintf(config, sizeof config,
        "{\"model_type\":\"%s\",\"num_hidden_layers\":1,\"num_attention_heads\":2,\"num_key_value_heads\":1,"
        "\"head_dim\":4,\"hidden_size\":6,\"sliding_window_pattern\":1}",
        type);
    write_model(folder, config, tensors, 3);
    struct qk_model *model = open_made(folder);
    for (int h = 0; h < 2; h++) {
        expect_ok(qk_view_read_gain(model, &model->layer[0], QK_Q, h, gain, &err), &err);
        for (int i = 0; i < 4; i++)
            assert_true(gain[i] == norm->values[per_head ? i : 4 * h + i] + offset);
    }
    expect_ok(qk_view_read_gain(model, &model->layer[0], QK_K, 0, gain, &err), &err);
    assert_true(gain[0] == 1 && gain[3] == 1); /* no norm there */
    qk_model_close(model);
}

/* As many heads as rows in each: a matrix of gains must not be taken for one head's. */
static void test_square_gains(void **state)
{
    double values[16], gain[4];
    for (int i = 0; i < 16; i++)
        values[i] = i;
    const struct test_tensor tensors[] = {
        {"model.layers.0.self_attn.q_proj.weight", "F32", 2, {16, WIDTH}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {4, WIDTH}, NULL},
        {"model.layers.0.self_attn.q_norm.weight", "F32", 2, {4, 4}, values}};
    struct qk_error err = {0};
    write_model(*state, "{\"model_type\":\"qwen3\",\"num_attention_heads\":4,\"head_dim\":4}", tensors, 3);
    struct qk_model *model = open_made(*state);
    expect_ok(qk_view_read_gain(model, &model->layer[0], QK_Q, 2, gain, &err), &err);
    for (int i = 0; i < 4; i++)
        assert_true(gain[i] == 8 + i);
    qk_model_close(model);
}

static void test_gains(void **state)
{
    const double values[] = {1, 2, 3, 4, 5, 6, 7, 8};
    const char *name = "model.layers.0.self_attn.q_norm.weight";
    const struct test_tensor head = {name, "F32", 1, {4}, values}, whole = {name, "F32", 1, {8}, values},
                             matrix = {name, "F32", 2, {2, 4}, values}, odd = {name, "F32", 1, {5}, values};
    check_gains(*state, &head, "qwen3", 0, true);
    check_gains(*state, &head, "gemma3_text", 1, true); /* stored minus one */
    check_gains(*state, &whole, "olmo2", 0, false);
    check_gains(*state, &matrix, "qwen3", 0, false);
    check_gains(*state, &matrix, "unheard_of", 0, false);
    const struct test_tensor tensors[] = {
        {"model.layers.0.self_attn.q_proj.weight", "F32", 2, {8, WIDTH}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {4, WIDTH}, NULL}, odd};
    const char *config = "{\"model_type\":\"%s\",\"num_attention_heads\":2,\"head_dim\":4}";
    char text[256];
    snprintf(text, sizeof text, config, "qwen3");
    write_model(*state, text, tensors, 3);
    refuse(*state, "q_norm.weight: its shape does not fit the config (found (5), expected 4");
    snprintf(text, sizeof text, config, "unheard_of");
    write_model(*state, text, tensors, 3);
    struct qk_model *model = open_made(*state);
    assert_null(model->layer[0].role[QK_Q].norm);
    qk_model_close(model);
}

/* --- names --- */

static const struct geometry PLAIN = {2, 1, 4, 0, 0};
static const char LLAMA[] = "{\"model_type\":\"llama\",\"num_hidden_layers\":1,\"num_attention_heads\":2,"
                            "\"num_key_value_heads\":1,\"hidden_size\":8}";

/* One layer of a llama whose names are made by the format: %s is q_proj or k_proj. */
static void write_named(const char *folder, const char *format)
{
    char names[2][256];
    struct test_tensor tensors[2];
    for (int r = 0; r < 2; r++) {
        snprintf(names[r], sizeof names[r], format, r == 0 ? "q_proj" : "k_proj");
        tensors[r] = (struct test_tensor){names[r], "F32", 2, {r == 0 ? 8 : 4, WIDTH}, NULL};
    }
    write_model(folder, LLAMA, tensors, 2);
}

static void test_prefixes_and_wrappers(void **state)
{
    static const char *const formats[] = {"model.layers.0.self_attn.%s.weight",
        "model.language_model.layers.0.self_attn.%s.weight",
        "language_model.model.layers.0.self_attn.%s.weight",
        "language_model.backbone.layers.0.self_attn.%s.weight", "model.layers.layers.0.self_attn.%s.weight",
        "model.decoder.layers.0.self_attn.%s.weight", "backbone.layers.0.self_attn.%s.weight",
        "layers.0.self_attn.%s.weight", "transformer.h.0.self_attn.%s.weight",
        "base_model.model.model.layers.0.self_attn.%s.base_layer.weight",
        "base_model.model.backbone.layers.0.self_attn.%s.weight",
        "student_model.model.layers.0.self_attn.%s.weight",
        "student_model.model.model.layers.0.self_attn.%s.weight",
        "model.layers.0.student_layer.self_attn.%s.weight", "module.model.layers.0.self_attn.%s.weight",
        "_orig_mod.module.model.layers.0.self_attn.%s.weight",
        "module._orig_mod.model.layers.0.self_attn.%s.weight",
        "_fsdp_wrapped_module.model._fsdp_wrapped_module.layers.0._fsdp_wrapped_module.self_attn.%s.weight",
        "model.layers.0._checkpoint_wrapped_module.self_attn.%s.weight",
        "thinker.model.layers.0.self_attn.%s.weight", "a.b.c.0.self_attn.%s.weight"};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        write_named(*state, formats[i]);
        check_made(*state, &PLAIN, packed, packed);
    }
}

static void test_other_towers_are_left_alone(void **state)
{
    const struct test_tensor tensors[] = {
        {"model.language_model.layers.0.self_attn.q_proj.weight", "F32", 2, {8, WIDTH}, NULL},
        {"model.language_model.layers.0.self_attn.k_proj.weight", "F32", 2, {4, WIDTH}, NULL},
        {"model.language_model.layers.0.input_layernorm.weight", "F32", 1, {6}, NULL},
        {"model.visual.blocks.0.attn.qkv_proj.weight", "F32", 2, {9, WIDTH}, NULL},
        {"model.vision_tower.layers.7.self_attn.q_proj.weight", "F32", 2, {9, WIDTH}, NULL},
        {"mtp.layers.0.self_attn.q_proj.weight", "F32", 2, {9, WIDTH}, NULL},
        {"model.language_model.layers.1.self_attn.q_proj.weight", "F32", 2, {9, WIDTH}, NULL},
        {"teacher_model.model.layers.0.self_attn.q_proj.weight", "F32", 2, {9, WIDTH}, NULL},
        {"lm_head.weight", "F32", 2, {9, WIDTH}, NULL}};
    write_model(*state, LLAMA, tensors, 9);
    check_made(*state, &PLAIN, packed, packed);
    struct qk_model *model = open_made(*state);
    assert_int_equal(model->n_layers, 1); /* layer 1 lies beyond the config's count */
    bool beyond = false, left = false;
    for (size_t i = 0; i < model->remarks.n; i++) {
        beyond = beyond || strstr(model->remarks.line[i], "layers 1 to 1 lie beyond") != NULL;
        left = left ||
               strstr(model->remarks.line[i], "5 tensors look like q or k but belong to no layer") != NULL;
    }
    assert_true(beyond && left);
    qk_model_close(model);
}

/* Stages of a distillation hold a teacher's layers beside the student's; "module" is a wrapper in front alone. */
static void test_teachers_and_modules(void **state)
{
    const struct test_tensor tensors[] = {
        {"model.layers.0.student_layer.odd.q_proj.weight", "F32", 2, {8, WIDTH}, NULL},
        {"model.layers.0.student_layer.odd.k_proj.weight", "F32", 2, {4, WIDTH}, NULL},
        {"model.layers.0.teacher_layer.odd.q_proj.weight", "F32", 2, {8, WIDTH}, NULL},
        {"model.layers.0.teacher_layer.odd.k_proj.weight", "F32", 2, {4, WIDTH}, NULL}};
    write_model(*state,
        "{\"model_type\":\"unheard_of\",\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":4}",
        tensors, 4);
    check_made(*state, &PLAIN, packed, packed);
    const struct test_tensor inner[] = {
        {"model.layers.0.self_attn.q_proj.weight", "F32", 2, {8, WIDTH}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {4, WIDTH}, NULL},
        {"model.layers.0.module.self_attn.q_proj.weight", "F32", 2, {7, WIDTH}, NULL}};
    write_model(*state, LLAMA, inner, 3);
    check_made(*state, &PLAIN, packed, packed);
}

static void test_ambiguous_names(void **state)
{
    const struct test_tensor tensors[] = {
        {"model.layers.0.self_attn.q_proj.weight", "F32", 2, {8, WIDTH}, NULL},
        {"model.layers.0.self_attn.q_proj.base_layer.weight", "F32", 2, {8, WIDTH}, NULL}};
    write_model(*state, LLAMA, tensors, 2);
    refuse(*state,
        "model.layers.0.self_attn.q_proj.base_layer.weight|are both model.layers.0.self_attn.q_proj.weight");
    const struct test_tensor loose[] = {{"q_proj.weight", "F32", 2, {8, WIDTH}, NULL}};
    write_model(*state, LLAMA, loose, 1);
    refuse(*state, "no layers found");
}

static void test_missing_tensors(void **state)
{
    const struct test_tensor tensors[] = {
        {"model.layers.0.self_attn.q_proj.weight", "F32", 2, {8, WIDTH}, NULL},
        {"model.layers.1.self_attn.k_proj.weight", "F32", 2, {4, WIDTH}, NULL}};
    write_model(*state,
        "{\"model_type\":\"llama\",\"num_attention_heads\":2,\"num_key_value_heads\":1,\"hidden_size\":8}",
        tensors, 2);
    struct qk_model *model = open_made(*state);
    assert_string_equal(model->layer[0].problem, "model.layers.0.self_attn.k_proj.weight is missing");
    assert_string_equal(model->layer[1].problem, "model.layers.1.self_attn.q_proj.weight is missing");
    qk_model_close(model);
}

/* --- shapes --- */

static void refuse_shapes(
    const char *folder, uint64_t q, uint64_t k, uint64_t dq, uint64_t dk, const char *words)
{
    const struct test_tensor tensors[] = {{"model.layers.0.self_attn.q_proj.weight", "F32", 2, {q, dq}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {k, dk}, NULL}};
    write_model(folder, LLAMA, tensors, 2);
    refuse(folder, words);
}

static void test_shapes_that_do_not_fit(void **state)
{
    refuse_shapes(*state, 12, 4, 6, 6,
        "q_proj.weight: its shape does not fit the config (found (12, 6), expected 8 rows for 2 query heads of 4)");
    refuse_shapes(*state, 8, 3, 6, 6,
        "k_proj.weight: its shape does not fit the config (found (3, 6), expected 4 rows");
    refuse_shapes(*state, 8, 12, 6, 6, "layer 0: 2 query heads cannot share 3 key heads");
    refuse_shapes(*state, 8, 4, 6, 5, "k_proj.weight: q and k have different widths (found 5, expected 6)");
    refuse_shapes(*state, 8, 4, 0, 0, "q_proj.weight: its shape does not fit the config (found (8, 0)");
    refuse_shapes(*state, 0, 4, 6, 6, "found (0, 6)");
    refuse_shapes(*state, 8, 0, 6, 6, "found (0, 6)");
    const struct test_tensor flat[] = {{"model.layers.0.self_attn.q_proj.weight", "F32", 1, {8}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {4, WIDTH}, NULL}};
    write_model(*state, LLAMA, flat, 2);
    refuse(*state, "q_proj.weight: its shape does not fit the config (found (8), expected 8 rows");
    const struct test_tensor biased[] = {
        {"model.layers.0.self_attn.q_proj.weight", "F32", 2, {8, WIDTH}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {4, WIDTH}, NULL},
        {"model.layers.0.self_attn.q_proj.bias", "F32", 1, {4}, NULL}};
    write_model(*state, LLAMA, biased, 3);
    refuse(*state, "q_proj.bias: its shape does not fit the config (found (4), expected 8 rows");
}

static void test_key_heads_by_the_tensor(void **state)
{
    const struct geometry g = {2, 2, 4, 0, 0};
    const struct test_tensor tensors[] = {
        {"model.layers.0.self_attn.q_proj.weight", "F32", 2, {8, WIDTH}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {8, WIDTH}, NULL}};
    write_model(*state, LLAMA, tensors, 2);
    check_made(*state, &g, packed, packed);
    struct qk_model *model = open_made(*state);
    assert_string_equal(
        model->remarks.line[model->remarks.n - 1], "layer 0: 2 key heads by its tensor, 1 by the config");
    qk_model_close(model);
}

static void test_formats_that_are_no_numbers(void **state)
{
    const struct test_tensor ints[] = {{"model.layers.0.self_attn.q_proj.weight", "I8", 2, {8, WIDTH}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "I8", 2, {4, WIDTH}, NULL}};
    write_model(*state, LLAMA, ints, 2);
    struct qk_model *model = open_made(*state);
    assert_string_equal(model->layer[0].problem,
        "model.layers.0.self_attn.q_proj.weight is stored as I8, which is not read as numbers");
    qk_model_close(model);
    const struct test_tensor scaled[] = {
        {"model.layers.0.self_attn.q_proj.weight", "F8_E4M3", 2, {8, WIDTH}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F8_E4M3", 2, {4, WIDTH}, NULL},
        {"model.layers.0.self_attn.q_proj.weight_scale_inv", "F32", 2, {2, 1}, NULL},
        {"model.layers.0.self_attn.q_proj.weight_scale", "F32", 1, {1}, NULL},
        {"model.layers.0.self_attn.q_proj.other_scale", "F32", 1, {1}, NULL},
        {"model.layers.0.self_attn.q_proj.input_scale", "F32", 1, {1}, NULL}};
    write_model(*state, LLAMA, scaled, 3);
    model = open_made(*state);
    assert_string_equal(model->layer[0].problem,
        "model.layers.0.self_attn.q_proj.weight_scale_inv does not hold one scale, one for each row or one for "
        "each block of 128 x 128 of model.layers.0.self_attn.q_proj.weight: give checkpoints with weights of 16 "
        "bits");
    qk_model_close(model);
    const struct test_tensor whole[] = {scaled[0], scaled[1], scaled[3], scaled[5]};
    write_model(*state, LLAMA, whole, 4);
    model = open_made(*state);
    assert_null(model->layer[0].problem);
    assert_string_equal(model->layer[0].role[QK_Q].scale.tensor->name, scaled[3].name);
    assert_int_equal(model->layer[0].role[QK_Q].scale.rows, 8);
    assert_null(model->layer[0].role[QK_K].scale.tensor);
    qk_model_close(model);
    const struct test_tensor two[] = {scaled[0], scaled[1], scaled[3], scaled[4]};
    write_model(*state, LLAMA, two, 4);
    model = open_made(*state);
    assert_string_equal(model->layer[0].problem,
        "its weights are scaled by model.layers.0.self_attn.q_proj.other_scale (no quant_method in its config), "
        "which is not supported");
    qk_model_close(model);
    write_model(*state, LLAMA, scaled, 2); /* without scales they are numbers */
    model = open_made(*state);
    assert_null(model->layer[0].problem);
    qk_model_close(model);
}

/* The rows of MiMo-V2.5 and MiMo-V2.5-Pro in their true number: a full layer, and one of a window. Published files hold
 * 4 and 8 parts (vllm-project/vllm#57508, sgl-project/sglang#23808), files saved again one. */
static void test_fused_in_parts(void **state)
{
    static const struct {
        long heads, key_heads;
        uint64_t rows[2], scales[2];
        enum qk_fused fused;
        const char *fixed[2]; /* NULL: not */
        uint64_t q17, k1;     /* first rows of the full layer's heads */
    } made[] = {
        {64, 4, {13568, 14848}, {108, 116}, QK_FUSED_PARTS, {"hold rows of its heads", NULL}, 3392 + 192,
            3392 + 3072},
        {64, 4, {13568, 14848}, {106, 116}, QK_FUSED_WHOLE, {NULL, NULL}, 17 * 192, 12288 + 192},
        {128, 8, {27136, 27136}, {216, 216}, QK_FUSED_PARTS,
            {"hold rows of its heads", "hold rows of its heads"}, 3392 + 192, 3392 + 3072},
        {128, 8, {27136, 27136}, {212, 212}, QK_FUSED_WHOLE, {NULL, NULL}, 17 * 192, 24576 + 192},
        {64, 4, {13568, 14848}, {108, 115}, QK_FUSED_PARTS, {"hold rows of its heads", NULL}, 3392 + 192,
            3392 + 3072},
        {128, 8, {27136, 27136}, {216, 212}, QK_FUSED_BOTH, {NULL, NULL}, 0, 0},
    };
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        char config[640];
        snprintf(config, sizeof config,
            "{\"model_type\":\"mimo_v2\",\"num_hidden_layers\":2,\"num_attention_heads\":%ld,"
            "\"num_key_value_heads\":%ld,\"head_dim\":192,\"v_head_dim\":128,\"swa_num_attention_heads\":%ld,"
            "\"swa_num_key_value_heads\":8,\"swa_head_dim\":192,\"swa_v_head_dim\":128,\"sliding_window\":128,"
            "\"hybrid_layer_pattern\":[0,1],\"attention_projection_layout\":\"fused_qkv\"}",
            made[i].heads, made[i].key_heads, made[i].heads);
        const struct test_tensor tensors[] = {
            {"model.layers.0.self_attn.qkv_proj.weight", "F8_E4M3", 2, {made[i].rows[0], 1}, NULL},
            {"model.layers.0.self_attn.qkv_proj.weight_scale_inv", "F32", 2, {made[i].scales[0], 1}, NULL},
            {"model.layers.1.self_attn.qkv_proj.weight", "F8_E4M3", 2, {made[i].rows[1], 1}, NULL},
            {"model.layers.1.self_attn.qkv_proj.weight_scale_inv", "F32", 2, {made[i].scales[1], 1}, NULL}};
        write_model(*state, config, tensors, 4);
        struct qk_model *model = open_made(*state);
        const struct qk_layer *full = &model->layer[0];
        assert_int_equal(model->fused, made[i].fused);
        if (made[i].fused == QK_FUSED_BOTH) {
            assert_non_null(
                strstr(full->problem, "the scales of some layers say the one, those of others the other"));
        } else {
            assert_int_equal(full->role[QK_Q].first_row[17], made[i].q17);
            assert_int_equal(full->role[QK_K].first_row[1], made[i].k1);
        }
        for (int l = 0; l < 2 && made[i].scales[1] != 115; l++)
            assert_int_equal(model->layer[l].fixed != NULL, made[i].fixed[l] != NULL);
        if (made[i].scales[1] == 115) /* neither one nor the other */
            assert_non_null(strstr(model->layer[1].problem, "does not hold one scale"));
        qk_model_close(model);
    }
}

/* 130,000 heads a layer in no bytes at all: a format that is not known has no size to be checked against. */
static void test_heads_need_bytes(void **state)
{
    enum { LAYERS = 2000 };
    char path[PATH_SIZE];
    char *header;
    size_t length;
    FILE *text = open_memstream(&header, &length);
    assert_non_null(text);
    for (int i = 0; i < 2 * LAYERS; i++)
        fprintf(text,
            "%c\"model.layers.%d.self_attn.%c_proj.weight\":{\"dtype\":\"X\",\"shape\":[65536,1],"
            "\"data_offsets\":[0,0]}",
            i == 0 ? '{' : ',', i / 2, i % 2 == 0 ? 'q' : 'k');
    fputc('}', text);
    fclose(text);
    write_header(path_in(path, *state, "model.safetensors"), header, 0);
    free(header);
    write_text(path_in(path, *state, "config.json"),
        "{\"model_type\":\"llama\",\"num_attention_heads\":65536,\"head_dim\":1}");
    struct qk_model *model = open_made(*state);
    assert_int_equal(model->n_layers, LAYERS);
    assert_null(model->layer[7].role[QK_Q].first_row);
    assert_non_null(model->layer[7].problem);
    qk_model_close(model);
}

/* --- families that are not in the table --- */

static void test_generic_rule(void **state)
{
    static const char *const formats[] = {"model.layers.0.self_attn.%s.weight",
        "model.layers.0.attn.%s.weight", "model.layers.0.attention.%s.weight",
        "model.layers.0.mixer.%s.weight", "transformer.h.0.attn.attention.%s.weight",
        "model.layers.0.temporal_block.%s.weight"};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        write_named(*state, formats[i]);
        char path[PATH_SIZE];
        write_text(path_in(path, *state, "config.json"),
            "{\"model_type\":\"unheard_of\",\"num_attention_heads\":2,"
            "\"num_key_value_heads\":1,\"hidden_size\":8}");
        check_made(*state, &PLAIN, packed, packed);
        struct qk_model *model = open_made(*state);
        assert_true(model->guessed);
        assert_string_equal(model->family, "generic");
        assert_int_equal(model->layer[0].kind, QK_FULL);
        assert_int_equal(model->layer[0].positions, QK_POSITIONS_FIXED); /* unknown: nothing may be turned */
        assert_non_null(strstr(model->remarks.line[0], "\"unheard_of\" is not in the layout table"));
        qk_model_close(model);
    }
}

static void test_generic_gate(void **state)
{
    const struct geometry g = {2, 1, 4, 0, 0};
    const struct test_tensor tensors[] = {
        {"model.layers.0.self_attn.q_proj.weight", "F32", 2, {16, WIDTH}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {4, WIDTH}, NULL}};
    const char *config =
        "{\"model_type\":\"%s\",\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":4}";
    char text[256];
    snprintf(text, sizeof text, config, "unheard_of");
    write_model(*state, text, tensors, 2);
    check_made(*state, &g, gated_q, packed);
    snprintf(text, sizeof text, config, "llama"); /* a family that is known has no gate */
    write_model(*state, text, tensors, 2);
    refuse(*state, "q_proj.weight: its shape does not fit the config (found (16, 6), expected 8 rows");
}

/* A hybrid that is not in the table: its other mixer does not fit the guess, and keeps to itself. */
static void test_generic_hybrid(void **state)
{
    const struct test_tensor tensors[] = {
        {"model.layers.0.self_attn.q_proj.weight", "F32", 2, {8, WIDTH}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {4, WIDTH}, NULL},
        {"model.layers.1.linear_attn.q_proj.weight", "F32", 2, {9, WIDTH}, NULL},
        {"model.layers.1.linear_attn.k_proj.weight", "F32", 2, {9, WIDTH}, NULL},
        {"model.layers.2.cross.q_proj.weight", "F32", 2, {8, WIDTH}, NULL},
        {"model.layers.2.own.q_proj.weight", "F32", 2, {8, WIDTH}, NULL},
        {"model.layers.2.own.k_proj.weight", "F32", 2, {4, WIDTH}, NULL}};
    write_model(*state,
        "{\"model_type\":\"unheard_of\",\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":4}",
        tensors, 7);
    check_made(*state, &PLAIN, packed, packed);
    struct qk_model *model = open_made(*state);
    assert_null(model->layer[0].problem);
    assert_non_null(
        strstr(model->layer[1].problem, "layers.1.linear_attn.q_proj.weight: its shape does not fit"));
    assert_int_equal(model->layer[2].kind, QK_NONE); /* which of two q_proj is meant is not guessed */
    qk_model_close(model);
    write_model(*state,
        "{\"model_type\":\"unheard_of\",\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":5}",
        tensors, 4);
    refuse(*state,
        "layers.0.self_attn.q_proj.weight: its shape does not fit the config (found (8, 6), expected 10");
}

static void test_generic_without_config(void **state)
{
    const struct geometry g = {3, 1, 4, 0, 0};
    const struct test_tensor tensors[] = {
        {"model.layers.0.self_attn.q_proj.weight", "F32", 2, {12, WIDTH}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {4, WIDTH}, NULL},
        {"model.layers.0.self_attn.q_norm.weight", "F32", 1, {4}, NULL},
        {"model.layers.2.mlp.weight", "F32", 1, {4}, NULL}};
    write_model(*state, NULL, tensors, 4);
    check_made(*state, &g, packed, packed);
    struct qk_model *model = open_made(*state);
    assert_int_equal(model->n_layers, 3);
    assert_int_equal(model->layer[2].kind, QK_NONE);
    assert_non_null(strstr(model->remarks.line[0], "there is no config.json"));
    qk_model_close(model);
    write_model(*state, NULL, tensors, 2);
    refuse(*state, "/config.json: no such file, and head_dim is not known without it (key \"head_dim\")");
}

static void test_generic_refuses_fused(void **state)
{
    static const char *const names[] = {"self_attn.qkv_proj", "attention.query_key_value", "attn.Wqkv",
        "attention.wqkv", "attn.c_attn", "self_attn.W_pack", "linear_attn.in_proj_qkvz",
        "linear_attn.in_proj_qkv"};
    char name[128];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(name, sizeof name, "model.layers.0.%s.weight", names[i]);
        const struct test_tensor tensors[] = {{name, "F32", 2, {16, WIDTH}, NULL}};
        write_model(*state, "{\"model_type\":\"unheard_of\"}", tensors, 1);
        refuse(*state, name);
        refuse(*state, "needs a row for model type \"unheard_of\"");
    }
    const struct test_tensor bare[] = {{"model.layers.0.mlp.weight", "F32", 2, {16, WIDTH}, NULL}};
    write_model(*state, "{\"model_type\":\"unheard_of\"}", bare, 1);
    refuse(*state, "no layer has a q_proj and a k_proj (model type \"unheard_of\"");
}

/* --- configs --- */

/* Lists of millions of entries in a config for tens of thousands of layers are passed over once. */
static void test_long_lists(void **state)
{
    enum { ENTRIES = 1000000, LAYERS = 65536 };
    char path[PATH_SIZE];
    const struct test_tensor tensors[] = {{"model.layers.65535.mlp.weight", "F32", 1, {4}, NULL}};
    write_model(*state, NULL, tensors, 1);
    FILE *file = fopen(path_in(path, *state, "config.json"), "w");
    assert_non_null(file);
    fprintf(file, "{\"model_type\":\"jet_nemotron\",\"layer_types\":\"[");
    for (int i = 0; i < ENTRIES; i++)
        fprintf(file, "%s'jet'", i > 0 ? "," : "");
    fprintf(file, "]\"}");
    fclose(file);
    struct qk_model *model = open_made(*state);
    assert_int_equal(model->n_layers, LAYERS);
    assert_int_equal(model->layer[LAYERS - 1].kind, QK_LINEAR);
    assert_non_null(model->layer[LAYERS - 1].problem);
    qk_model_close(model);
}

static void test_nested_config(void **state)
{
    static const char *const configs[] = {"{\"model_type\":\"qwen3_5\",\"text_config\":%s}",
        "{\"model_type\":\"outer\",\"language_config\":%s}", "{\"llm_config\":%s}",
        "{\"thinker_config\":{\"text_config\":%s}}", "{\"text_config\":3,\"llm_config\":%s}"};
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
        char text[1024];
        write_named(*state, "model.language_model.layers.0.self_attn.%s.weight");
        char path[PATH_SIZE];
        snprintf(text, sizeof text, configs[i], LLAMA);
        write_text(path_in(path, *state, "config.json"), "%s", text);
        check_made(*state, &PLAIN, packed, packed);
    }
    char path[PATH_SIZE]; /* the inner object may leave the type to the outer one */
    write_text(path_in(path, *state, "config.json"),
        "{\"model_type\":\"llama\",\"text_config\":{\"num_attention_heads\":2,\"head_dim\":4}}");
    struct qk_model *model = open_made(*state);
    assert_string_equal(model->family, "llama");
    qk_model_close(model);
}

static void test_rope(void **state)
{
    static const struct {
        const char *type, *keys;
        enum qk_positions positions;
        int rotary;
        double theta;
    } rows[] = {{"llama", "\"rope_theta\":5e5", QK_POSITIONS_ROPE_HALF, 4, 5e5},
        {"llama", "\"rope_parameters\":{\"rope_theta\":1e6}", QK_POSITIONS_ROPE_HALF, 4, 1e6},
        {"llama", "", QK_POSITIONS_ROPE_HALF, 4, 1e4},
        {"llama", "\"rope_theta\":null", QK_POSITIONS_ROPE_HALF, 4, 1e4},
        /* the order of transformers 5: rope_scaling, else rope_parameters, else the key beside them */
        {"llama", "\"rope_theta\":7,\"rope_parameters\":{\"rope_theta\":1e6}", QK_POSITIONS_ROPE_HALF, 4,
            1e6},
        {"llama", "\"rope_theta\":7,\"rope_parameters\":{\"factor\":2}", QK_POSITIONS_ROPE_HALF, 4, 7},
        {"llama", "\"rope_theta\":7,\"rope_scaling\":{\"rope_theta\":9},\"rope_parameters\":{}",
            QK_POSITIONS_ROPE_HALF, 4, 9},
        {"llama", "\"rope_theta\":7,\"rope_scaling\":null", QK_POSITIONS_ROPE_HALF, 4, 7},
        /* what no key gives is the default of the family's class */
        {"gemma3_text", "\"sliding_window_pattern\":1", QK_POSITIONS_ROPE_HALF, 4, 1e6},
        {"gemma3_text", "\"sliding_window_pattern\":2", QK_POSITIONS_ROPE_HALF, 4, 1e4},
        {"hypenet", "", QK_POSITIONS_NONE, 0, 0},
        {"hypenet", "\"attn_use_rope\":true,\"rope_theta\":9", QK_POSITIONS_ROPE_HALF, 4, 9},
        {"smollm3", "\"no_rope_layers\":[0]", QK_POSITIONS_NONE, 0, 0},
        {"smollm3", "\"no_rope_layers\":[1]", QK_POSITIONS_ROPE_HALF, 4, 1e4},
        {"smollm3", "\"no_rope_layers\":[]", QK_POSITIONS_ROPE_HALF, 4, 1e4},
        {"smollm3", "\"no_rope_layers\":null", QK_POSITIONS_ROPE_HALF, 4, 1e4}};
    char path[PATH_SIZE];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        write_named(*state, "model.layers.0.self_attn.%s.weight");
        write_text(path_in(path, *state, "config.json"),
            "{\"model_type\":\"%s\",\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":4%s%s}",
            rows[i].type, rows[i].keys[0] != '\0' ? "," : "", rows[i].keys);
        struct qk_model *model = open_made(*state);
        const struct qk_layer *layer = &model->layer[0];
        if (layer->positions != rows[i].positions || layer->rotary_dims != rows[i].rotary ||
            layer->rope_theta != rows[i].theta)
            fail_msg("%s {%s}: positions %d, %d dims, theta %g", rows[i].type, rows[i].keys, layer->positions,
                layer->rotary_dims, layer->rope_theta);
        qk_model_close(model);
    }
}

/* Partial rotation: the fraction's rows, cut as by int() in transformers 5.17, and one more where they are odd: there
 * pair j of 5 rows has the frequency theta^(-2j / 5). */
static void test_partial_rotation(void **state)
{
    static const struct {
        const char *fraction;
        int rotary;
    } rows[] = {{"0.25", 2}, {"0.5", 4}, {"0.7", 6}, {"1", 8}, {"0", 0}, {"0.1", 0}, {"null", 8}};
    const struct test_tensor tensors[] = {
        {"model.layers.0.self_attn.qkv_proj.weight", "F32", 2, {24, WIDTH}, NULL}};
    char config[256];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(config, sizeof config,
            "{\"model_type\":\"phi3\",\"num_attention_heads\":1,\"head_dim\":8,\"partial_rotary_factor\":%s}",
            rows[i].fraction);
        write_model(*state, config, tensors, 1);
        struct qk_model *model = open_made(*state);
        assert_int_equal(model->layer[0].rotary_dims, rows[i].rotary);
        qk_model_close(model);
    }
}

/* --- hostile configs --- */

#define HEADS "{\"model_type\":\"llama\",\"num_attention_heads\":2,\"head_dim\":4"
#define PHI "{\"model_type\":\"stablelm\",\"num_attention_heads\":2,\"head_dim\":4"
#define LIST                                                                                                 \
    "{\"model_type\":\"qwen3\",\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":4,"          \
    "\"num_hidden_layers\":1,\"layer_types\":"
static void test_hostile_configs(void **state)
{
    static const struct {
        const char *config, *words;
    } rows[] = {{"", "config.json: not valid JSON"}, {"[]", "config.json: not a JSON object"},
        {"null", "config.json: not a JSON object"}, {"{\"a\\u0000\":1}", "config.json: a NUL"},
        {"{\"model_type\":\"llama\"}", "config.json: head_dim is missing (key \"head_dim\")"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":0,\"hidden_size\":8}",
            "head_dim is out of range (found inf"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":0,\"head_dim\":4}",
            "heads is out of range (found 0"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":-2,\"head_dim\":4}",
            "heads is out of range (found -2"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":1e300,\"head_dim\":4}",
            "heads is out of range (found 1e+300"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":1e999,\"head_dim\":4}",
            "heads is out of range (found inf"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":2.5,\"head_dim\":4}",
            "heads is out of range (found 2.5"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":2,\"head_dim\":0}",
            "head_dim is out of range (found 0"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":2,\"head_dim\":-4}",
            "head_dim is out of range (found -4"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":2,\"head_dim\":1e300}",
            "head_dim is out of range"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":2,\"head_dim\":65537}",
            "expected a whole number from 1 to 4096"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":2,\"head_dim\":3}",
            "expected 6 rows for 2 query heads of 3"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":3,\"hidden_size\":8}",
            "head_dim is out of range (found 2.66667"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":2,\"head_dim\":4,\"num_key_value_heads\":0}",
            "key_heads is out of range"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":\"2\",\"head_dim\":\"4\"}",
            "config.json: head_dim is not a number (found \"4\")"},
        {HEADS ",\"num_key_value_heads\":\"2\"}",
            "config.json: num_key_value_heads is not a number (found \"2\")"},
        {HEADS ",\"num_key_value_heads\":NaN}", "num_key_value_heads is not a number (found \"NaN\")"},
        {HEADS ",\"num_key_value_heads\":{\"a\":1}}",
            "num_key_value_heads is not a number (found {\"a\":1})"},
        {HEADS ",\"num_hidden_layers\":\"1\"}", "num_hidden_layers is not a number (found \"1\")"},
        {HEADS ",\"num_hidden_layers\":true}", "num_hidden_layers is not a number (found true)"},
        {HEADS ",\"rope_theta\":0}",
            "config.json: rope_theta is out of range (found 0, expected a number above 0)"},
        {HEADS ",\"rope_theta\":-3}", "rope_theta is out of range (found -3"},
        {HEADS ",\"rope_theta\":1e999}", "rope_theta is out of range (found inf"},
        {HEADS ",\"rope_theta\":Infinity}", "rope_theta is not a number (found \"Infinity\")"},
        {HEADS ",\"rope_theta\":\"big\"}", "rope_theta is not a number (found \"big\")"},
        {HEADS ",\"rope_parameters\":{\"rope_theta\":0}}",
            "rope_parameters.rope_theta is out of range (found 0"},
        {PHI ",\"partial_rotary_factor\":2}",
            "partial_rotary_factor is out of range (found 2, expected 0 to 1)"},
        {PHI ",\"partial_rotary_factor\":-1}", "partial_rotary_factor is out of range (found -1"},
        {LIST "[\"full_attention\",\"full_attention\"]}",
            "config.json: layer_types is not a list of 1 entries (found 2)"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":2,\"head_dim\":4,\"num_hidden_layers\":7}",
            "the config has 7 layers (found tensors of 1)"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":2,\"head_dim\":4,\"num_hidden_layers\":0}",
            "the config has 0 layers"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":2,\"head_dim\":4,\"num_hidden_layers\":-1}",
            "the config has -1 layers"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":2,\"head_dim\":4,\"num_hidden_layers\":1e300}",
            "the config has 1e+300 layers"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":2,\"head_dim\":4,\"num_hidden_layers\":0.5}",
            "the config has 0.5 layers"}};
    char path[PATH_SIZE];
    write_named(*state, "model.layers.0.self_attn.%s.weight");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        write_text(path_in(path, *state, "config.json"), "%s", rows[i].config);
        refuse(*state, rows[i].words);
    }
    remove_all(path);
    assert_int_equal(symlink("nowhere", path), 0);
    struct qk_error err = {0};
    struct qk_model *model;
    expect_failure(qk_model_open(*state, &model, &err), &err, QK_IO, "config.json: cannot open");
}

/* Model types, like tensor names, may hold anything; a type of another kind is no type. */
static void test_odd_model_types(void **state)
{
    static const char *const types[] = {"\"\"", "\"*\"", "3", "null", "[\"llama\"]", "\"\\u001b[2J\"", "{}"};
    char path[PATH_SIZE];
    write_named(*state, "model.layers.0.self_attn.%s.weight");
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        write_text(path_in(path, *state, "config.json"),
            "{\"model_type\":%s,\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":4}",
            types[i]);
        struct qk_model *model = open_made(*state);
        assert_true(model->guessed);
        qk_model_close(model);
    }
}

/* Nobody's own rows may reach these tests. */
static int hide_user_rows(void **state)
{
    (void)state;
    return setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixtures),
        cmocka_unit_test(test_latent_attention),
        test_in_folder(test_latent_shapes),
        test_in_folder(test_falcon_orders),
        test_in_folder(test_falcon_positions),
        test_in_folder(test_conv1d),
        test_in_folder(test_conv1d_in_slices),
        test_in_folder(test_key_groups),
        test_in_folder(test_fused_in_parts),
        test_in_folder(test_blocks),
        test_in_folder(test_gated_rows_are_never_covered),
        test_in_folder(test_gains),
        test_in_folder(test_square_gains),
        test_in_folder(test_prefixes_and_wrappers),
        test_in_folder(test_other_towers_are_left_alone),
        test_in_folder(test_teachers_and_modules),
        test_in_folder(test_ambiguous_names),
        test_in_folder(test_missing_tensors),
        test_in_folder(test_shapes_that_do_not_fit),
        test_in_folder(test_key_heads_by_the_tensor),
        test_in_folder(test_formats_that_are_no_numbers),
        test_in_folder(test_heads_need_bytes),
        test_in_folder(test_generic_rule),
        test_in_folder(test_generic_gate),
        test_in_folder(test_generic_hybrid),
        test_in_folder(test_generic_without_config),
        test_in_folder(test_generic_refuses_fused),
        test_in_folder(test_long_lists),
        test_in_folder(test_nested_config),
        test_in_folder(test_rope),
        test_in_folder(test_partial_rotation),
        test_in_folder(test_hostile_configs),
        test_in_folder(test_odd_model_types),
    };
    return cmocka_run_group_tests(tests, hide_user_rows, NULL);
}
