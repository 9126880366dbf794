/* test_blend.c - the bytes of a blended role: the identities between the modes on every family, and inputs that cannot
 * be blended. tests/cli/test_blend.sh compares the formulas with numpy. */
#include "helper.h"

#include "base/blas.h"
#include "blend/blend.h"
#include "blend/blend_bf16.h"
#include "blend/mode.h"
#include "drift/product.h"
#include "model/pair.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *tensor_bytes(const struct qk_pair *pair, enum qk_side side, const struct qk_tensor *tensor)
{
    struct qk_error err = {0};
    char *bytes = malloc(tensor->bytes + 1);
    assert_non_null(bytes);
    expect_ok(
        qk_checkpoint_read(pair->model[side]->checkpoint, tensor, 0, bytes, (size_t)tensor->bytes, &err),
        &err);
    return bytes;
}

/* The whole weight of the role after q's and k's choices; the caller frees. */
static char *blended(
    const struct qk_pair *pair, int layer, enum qk_role role, struct qk_choice q, struct qk_choice k)
{
    struct qk_error err = {0};
    const struct qk_layer_choice choice = {.role = {q, k}};
    char *bytes = tensor_bytes(pair, QK_POST, pair->layer[layer].side[QK_POST]->role[role].weight);
    expect_ok(qk_blend_role(pair, layer, role, &choice, bytes, NULL, NULL, &err), &err);
    return bytes;
}

static char *blended_alike(const struct qk_pair *pair, int layer, enum qk_role role, struct qk_choice both)
{
    return blended(pair, layer, role, both, both);
}

/* Every view of the role's weight as numbers of post's dtype, from bytes of the whole tensor. */
static void expect_close(const struct qk_tensor *tensor, const char *found, const char *expected,
    double relative, const char *what)
{
    size_t n = (size_t)tensor->bytes / (qk_dtype_bits(tensor->dtype) / 8);
    double *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b);
    qk_dtype_to_f64(tensor->dtype, found, n, a);
    qk_dtype_to_f64(tensor->dtype, expected, n, b);
    for (size_t i = 0; i < n; i++)
        if (!(fabs(a[i] - b[i]) <= relative * fabs(b[i]) + 1e-9))
            fail_msg("%s: element %zu: found %.9g, expected %.9g", what, i, a[i], b[i]);
    free(a);
    free(b);
}

/* Bytes that no head of the role owns are post's. */
static void expect_others_kept(const struct qk_pair *pair, int layer, enum qk_role role, const char *bytes)
{
    const struct qk_layer *post = pair->layer[layer].side[QK_POST];
    const struct qk_tensor *weight = post->role[role].weight;
    char *kept = tensor_bytes(pair, QK_POST, weight), *owned = calloc(1, weight->bytes);
    for (int h = 0; h < post->role[role].n_heads; h++) {
        uint64_t first, stride, length, count;
        qk_view_ranges(post, role, h, &first, &stride, &length, &count);
        for (uint64_t i = 0; i < count; i++)
            memset(owned + first + i * stride, 1, length);
    }
    for (uint64_t i = 0; i < weight->bytes; i++)
        if (!owned[i] && kept[i] != bytes[i])
            fail_msg("layer %d %s: byte %llu belongs to no head and changed", layer, qk_role_name(role),
                (unsigned long long)i);
    free(owned);
    free(kept);
}

static void expect_heads_of_pre(const struct qk_pair *pair, int layer, enum qk_role role, const char *bytes)
{
    const struct qk_layer *pre = pair->layer[layer].side[QK_PRE], *post = pair->layer[layer].side[QK_POST];
    char *before = tensor_bytes(pair, QK_PRE, pre->role[role].weight);
    for (int h = 0; h < post->role[role].n_heads; h++) {
        uint64_t from, to, stride, length, count;
        qk_view_ranges(pre, role, h, &from, &stride, &length, &count);
        qk_view_ranges(post, role, h, &to, &stride, &length, &count);
        for (uint64_t i = 0; i < count; i++)
            assert_memory_equal(bytes + to + i * stride, before + from + i * stride, length);
    }
    free(before);
}

static void check_identities(const struct qk_pair *pair, int layer, enum qk_role role)
{
    const struct qk_tensor *weight = pair->layer[layer].side[QK_POST]->role[role].weight;
    char *post = tensor_bytes(pair, QK_POST, weight);
    char *restored = blended_alike(pair, layer, role, (struct qk_choice){QK_RESTORE, 0});
    expect_heads_of_pre(pair, layer, role, restored);
    expect_others_kept(pair, layer, role, restored);

    static const struct {
        struct qk_choice choice;
        bool is_restore;
    } exact[] = {{{QK_KEEP, 0}, false}, {{QK_LERP, 0}, false}, {{QK_LERP, 1}, true},
        {{QK_PROCRUSTES, 1}, true}, {{QK_QKPRO, 0}, true}};
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++) {
        char *bytes = blended_alike(pair, layer, role, exact[i].choice);
        assert_memory_equal(bytes, exact[i].is_restore ? restored : post, weight->bytes);
        free(bytes);
    }
    /* To rounding: half a unit in the last place of bfloat16 (2^-8) on each side. */
    char *bytes = blended_alike(pair, layer, role, (struct qk_choice){QK_QKPRO, 1e-9});
    expect_close(weight, bytes, restored, 0x1p-7, "qk-pro 1e-9 against restore");
    free(bytes);
    bytes = blended_alike(pair, layer, role, (struct qk_choice){QK_QKPRO, 1e12});
    if (role == QK_Q)
        expect_close(weight, bytes, post, 0x1p-7, "q of qk-pro 1e12 against post");
    else
        assert_memory_equal(bytes, restored, weight->bytes);
    free(bytes);
    bytes = blended_alike(pair, layer, role, (struct qk_choice){QK_PROCRUSTES, 0.5});
    expect_others_kept(pair, layer, role, bytes);
    free(bytes);
    free(restored);
    free(post);
}

static void test_identities(void **state)
{
    (void)state;
    for (size_t f = 0; f < N_FAMILIES; f++) {
        struct qk_pair *pair = open_family(FAMILIES[f]);
        int checked = 0;
        for (int i = 0; i < pair->n_layers; i++)
            for (int r = 0; pair->layer[i].has_qk && r < QK_ROLE_COUNT; r++, checked++)
                check_identities(pair, i, (enum qk_role)r);
        assert_true(checked > 0);
        qk_pair_close(pair);
    }
}

/* The required fields of every row of the table. */
static void test_operations(void **state)
{
    const struct qk_layer post = {0};
    (void)state;
    for (int m = 0; m < QK_MODE_COUNT; m++) {
        const struct qk_mode_ops *ops = qk_mode_ops((enum qk_mode)m);
        struct qk_choice both = {(enum qk_mode)m, ops->info.start};
        const struct qk_layer_choice choice = {.role = {both, both}};
        assert_int_equal(ops->prepare != NULL, ops->prepare_group != NULL);
        assert_int_equal(qk_choice_effect(both).mode, m); /* it starts at no edge */
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            for (int part = 0; part < QK_PART_COUNT; part++) {
                struct qk_choice effect =
                    qk_blend_effect(&post, &choice, (enum qk_role)r, (enum qk_part)part, 0);
                const struct qk_mode_ops *acting = qk_mode_ops(effect.mode);
                if (effect.mode == QK_KEEP || effect.mode == QK_RESTORE)
                    continue;
                assert_false(ops->info.copies);
                assert_true(part == QK_PART_GAIN ? acting->gain != NULL : acting->blend != NULL);
            }
    }
}

/* What the screen measures is what an export would hold: the views of a blend are the bytes of its tensor. */
static void test_views_are_the_exported_bytes(void **state)
{
    (void)state;
    static const struct qk_choice choices[] = {
        {QK_RESTORE, 0}, {QK_LERP, 0.3}, {QK_QKPRO, 0.3}, {QK_PROCRUSTES, 0.6}};
    for (size_t f = 0; f < N_FAMILIES; f++) {
        struct qk_pair *pair = open_family(FAMILIES[f]);
        struct qk_error err = {0};
        int layer = 0;
        while (!pair->layer[layer].has_qk)
            layer++;
        const struct qk_layer *post = pair->layer[layer].side[QK_POST];
        size_t m = (size_t)post->head_dim, n = post->d;
        double *view = malloc(m * n * sizeof *view), *stored = malloc(m * n * sizeof *stored);
        for (size_t c = 0; c < sizeof choices / sizeof choices[0]; c++) {
            const struct qk_layer_choice both = {.role = {choices[c], choices[c]}};
            struct qk_heads *heads;
            expect_ok(qk_heads_of_blend(pair, layer, &both, QK_GAINS_NONE, &heads, &err), &err);
            for (int r = 0; r < QK_ROLE_COUNT; r++) {
                const struct qk_view *where = &post->role[r];
                size_t size = qk_dtype_bits(where->weight->dtype) / 8;
                char *bytes = blended_alike(pair, layer, (enum qk_role)r, choices[c]);
                for (int h = 0; h < where->n_heads; h++) {
                    expect_ok(heads->read(heads, (enum qk_role)r, h, view, &err), &err);
                    for (size_t i = 0; i < m; i++)
                        for (size_t j = 0; j < n; j++) {
                            size_t row = where->first_row[h] + i;
                            size_t at = where->transposed ? j * where->weight->shape[1] + row : row * n + j;
                            qk_dtype_to_f64(where->weight->dtype, bytes + at * size, 1, &stored[i * n + j]);
                        }
                    assert_memory_equal(view, stored, m * n * sizeof *view);
                }
                free(bytes);
            }
            qk_heads_free(heads);
        }
        free(view);
        free(stored);
        qk_pair_close(pair);
    }
}

/* Keys of latent attention: restore-latent is pre; restore has pre's factor and rotating rows, and post's
 * latent. Blends of the factors are no blends of the heads. */
static void test_latent_attention(void **state)
{
    (void)state;
    struct qk_pair *pair = open_family("deepseek_v3");
    const struct qk_layer *pre = pair->layer[2].side[QK_PRE], *post = pair->layer[2].side[QK_POST];
    size_t m = (size_t)post->head_dim, n = post->d, tail = (size_t)post->role[QK_K].tail;
    double *old = malloc(m * n * sizeof *old), *now = malloc(m * n * sizeof *now);
    struct qk_error err = {0};
    struct qk_heads *heads;
    const struct qk_product_sources sources = qk_product_of(pair->model[QK_PRE], pre);
    expect_ok(qk_product_read(&sources, QK_K, 3, old, &err), &err);
    struct qk_layer_choice choice = {.role = {{QK_KEEP, 0}, {QK_RESTORE_LATENT, 0}}};
    expect_ok(qk_heads_of_blend(pair, 2, &choice, QK_GAINS_NONE, &heads, &err), &err);
    expect_ok(heads->read(heads, QK_K, 3, now, &err), &err);
    qk_heads_free(heads);
    assert_memory_equal(old, now, m * n * sizeof *old);
    choice.role[QK_K].mode = QK_RESTORE;
    expect_ok(qk_heads_of_blend(pair, 2, &choice, QK_GAINS_NONE, &heads, &err), &err);
    expect_ok(heads->read(heads, QK_K, 3, now, &err), &err);
    qk_heads_free(heads);
    assert_memory_equal(old + (m - tail) * n, now + (m - tail) * n, tail * n * sizeof *old);
    assert_memory_not_equal(old, now, n * sizeof *old);
    static const enum qk_mode modes[] = {QK_LERP, QK_QKPRO, QK_PROCRUSTES};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        choice.role[QK_Q] = choice.role[QK_K] = (struct qk_choice){modes[i], 0.5};
        expect_failure(qk_heads_of_blend(pair, 2, &choice, QK_GAINS_NONE, &heads, &err), &err, QK_INPUT,
            "self_attn.q_b_proj.weight: q of latent attention cannot be blended|expected keep, restore or");
    }
    free(old);
    free(now);
    qk_pair_close(pair);
}

static void test_gains(void **state)
{
    (void)state;
    struct qk_pair *pair = open_family("hypenet");
    const struct qk_tensor *norm = pair->layer[1].side[QK_POST]->role[QK_Q].norm;
    assert_non_null(norm);
    char *before = tensor_bytes(pair, QK_PRE, pair->layer[1].side[QK_PRE]->role[QK_Q].norm),
         *after = tensor_bytes(pair, QK_POST, norm), *bytes = tensor_bytes(pair, QK_POST, norm),
         *again = tensor_bytes(pair, QK_POST, norm);
    struct qk_error err = {0};
    struct qk_layer_choice choice = {.role = {{QK_QKPRO, 0.5}, {QK_QKPRO, 0.5}}};
    expect_ok(qk_blend_gain(pair, 1, QK_Q, &choice, bytes, &err), &err);
    assert_memory_equal(bytes, after, norm->bytes);             /* qk-pro leaves q's */
    choice.role[QK_Q] = (struct qk_choice){QK_PROCRUSTES, 0.5}; /* a gain cannot be turned: it is blended */
    expect_ok(qk_blend_gain(pair, 1, QK_Q, &choice, bytes, &err), &err);
    choice.role[QK_Q] = (struct qk_choice){QK_LERP, 0.5};
    expect_ok(qk_blend_gain(pair, 1, QK_Q, &choice, again, &err), &err);
    assert_memory_equal(bytes, again, norm->bytes);
    choice.role[QK_Q] = (struct qk_choice){QK_RESTORE, 0};
    expect_ok(qk_blend_gain(pair, 1, QK_Q, &choice, bytes, &err), &err);
    assert_memory_equal(bytes, before, norm->bytes);
    free(before);
    free(after);
    free(bytes);
    free(again);
    qk_pair_close(pair);
}

/* With all restored, gains too, nothing is left between pre and the current model as attention sees them;
 * with post's gains something is. */
static void test_chosen_gains_in_the_effective_view(void **state)
{
    (void)state;
    static const char *const families[] = {"hypenet", "qwen3_next"}; /* plain gains, and 1 + w */
    const struct qk_layer_choice restore = {.role = {{QK_RESTORE, 0}, {QK_RESTORE, 0}}};
    for (size_t f = 0; f < 2; f++) {
        struct qk_pair *pair = open_family(families[f]);
        struct qk_error err = {0};
        int layer = 0;
        while (pair->layer[layer].kind != QK_FULL)
            layer++;
        size_t area =
            (size_t)pair->layer[layer].side[QK_POST]->head_dim * pair->layer[layer].side[QK_POST]->d;
        double *expected = malloc(area * sizeof *expected), *found = malloc(area * sizeof *found);
        for (int gains = QK_GAINS_POST; gains <= QK_GAINS_CHOSEN; gains++) {
            struct qk_heads *pre, *now;
            expect_ok(qk_heads_of_model(pair, QK_PRE, layer, true, &pre, &err), &err);
            expect_ok(qk_heads_of_blend(pair, layer, &restore, (enum qk_gains)gains, &now, &err), &err);
            expect_ok(pre->read(pre, QK_Q, 1, expected, &err), &err);
            expect_ok(now->read(now, QK_Q, 1, found, &err), &err);
            bool same = memcmp(expected, found, area * sizeof *found) == 0;
            /* the fixtures' gains did not drift, the trained pair's did */
            assert_int_equal(same, gains == QK_GAINS_CHOSEN || f == 1);
            qk_heads_free(pre);
            qk_heads_free(now);
        }
        free(expected);
        free(found);
        qk_pair_close(pair);
    }
}

/* --- small models made here: one layer, one head of 4 rows over 8 columns --- */

enum { ROWS = 4, WIDTH = 8, AREA = ROWS * WIDTH };

static void write_side(const char *folder, const char *q_dtype, const char *k_dtype, const double *q,
    const double *k, uint64_t seed)
{
    char path[PATH_SIZE];
    make_folder(folder);
    write_text(path_in(path, folder, "config.json"),
        "{\"model_type\": \"llama\", \"num_hidden_layers\": 1, \"num_attention_heads\": 1, "
        "\"num_key_value_heads\": 1, \"head_dim\": %d, \"hidden_size\": %d}",
        ROWS, WIDTH);
    const struct test_tensor tensors[] = {
        {"model.layers.0.self_attn.q_proj.weight", q_dtype, 2, {ROWS, WIDTH}, q},
        {"model.layers.0.self_attn.k_proj.weight", k_dtype, 2, {ROWS, WIDTH}, k},
        {"model.layers.0.self_attn.q_proj.bias", q_dtype, 1, {ROWS}, NULL},
        {"model.layers.0.self_attn.k_proj.bias", k_dtype, 1, {ROWS}, NULL},
    };
    write_safetensors(path_in(path, folder, "model.safetensors"), tensors, 4, seed);
}

static struct qk_pair *open_small(const char *folder)
{
    char pre[PATH_SIZE], post[PATH_SIZE];
    struct qk_pair *pair;
    struct qk_error err = {0};
    expect_ok(qk_pair_open(path_in(pre, folder, "pre"), path_in(post, folder, "post"), &pair, &err), &err);
    return pair;
}

static void write_small(const char *folder, const char *pre_dtype, const char *post_dtype,
    const double *pre_q, const double *pre_k, const double *post_q)
{
    char path[PATH_SIZE];
    write_side(path_in(path, folder, "pre"), pre_dtype, pre_dtype, pre_q, pre_k, 1);
    write_side(path_in(path, folder, "post"), post_dtype, post_dtype, post_q, NULL, 2);
}

static void test_biases_follow_their_rows(void **state)
{
    write_small(*state, "BF16", "BF16", NULL, NULL, NULL);
    struct qk_pair *pair = open_small(*state);
    const struct qk_layer *pre = pair->layer[0].side[QK_PRE], *post = pair->layer[0].side[QK_POST];
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        const struct qk_tensor *bias = post->role[r].bias;
        assert_non_null(bias);
        char *before = tensor_bytes(pair, QK_PRE, pre->role[r].bias),
             *after = tensor_bytes(pair, QK_POST, bias), *bytes = tensor_bytes(pair, QK_POST, bias);
        struct qk_error err = {0};
        assert_memory_not_equal(before, after, bias->bytes);

        struct qk_layer_choice choice = {.role = {{QK_QKPRO, 0.3}, {QK_QKPRO, 0.3}}};
        expect_ok(qk_blend_role(pair, 0, (enum qk_role)r, &choice, NULL, bytes, NULL, &err), &err);
        assert_memory_equal(bytes, r == QK_K ? before : after, bias->bytes);

        choice.role[QK_Q] = choice.role[QK_K] = (struct qk_choice){QK_LERP, 0.25};
        memcpy(bytes, after, bias->bytes);
        expect_ok(qk_blend_role(pair, 0, (enum qk_role)r, &choice, NULL, bytes, NULL, &err), &err);
        size_t n = (size_t)bias->shape[0];
        double *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b);
        qk_dtype_to_f64(bias->dtype, before, n, a);
        qk_dtype_to_f64(bias->dtype, after, n, b);
        for (size_t i = 0; i < n; i++)
            b[i] = 0.75 * b[i] + 0.25 * a[i];
        qk_dtype_from_f64(bias->dtype, b, n, after);
        assert_memory_equal(bytes, after, bias->bytes); /* the same operations: to the bit */
        free(a);
        free(b);

        choice.role[QK_Q] = choice.role[QK_K] = (struct qk_choice){QK_RESTORE, 0};
        expect_ok(qk_blend_role(pair, 0, (enum qk_role)r, &choice, NULL, bytes, NULL, &err), &err);
        assert_memory_equal(bytes, before, bias->bytes);
        free(before);
        free(after);
        free(bytes);
    }
    qk_pair_close(pair);
}

static void test_other_dtype_is_converted(void **state)
{
    double values[AREA];
    uint64_t random = 7;
    for (int i = 0; i < AREA; i++)
        values[i] = random_uniform(&random);
    write_small(*state, "F64", "BF16", values, NULL, NULL);
    struct qk_pair *pair = open_small(*state);
    char *bytes = blended_alike(pair, 0, QK_Q, (struct qk_choice){QK_RESTORE, 0}), rounded[2 * AREA];
    qk_dtype_from_f64(QK_BF16, values, AREA, rounded);
    assert_memory_equal(bytes, rounded, sizeof rounded);
    free(bytes);
    qk_pair_close(pair);
}

static void test_too_large_for_the_dtype(void **state)
{
    double values[AREA] = {1e6};
    struct qk_error err = {0};
    write_small(*state, "F32", "F16", values, NULL, NULL);
    struct qk_pair *pair = open_small(*state);
    const struct qk_layer_choice choice = {.role = {{QK_LERP, 0.5}, {QK_KEEP, 0}}};
    char bytes[2 * AREA] = {0};
    expect_failure(qk_blend_role(pair, 0, QK_Q, &choice, bytes, NULL, NULL, &err), &err, QK_INPUT,
        "q_proj.weight|too large for F16");
    qk_pair_close(pair);
}

static void test_not_finite_is_refused_by_name(void **state)
{
    double values[AREA] = {0};
    values[5] = NAN;
    struct qk_error err = {0};
    write_small(*state, "F32", "F32", values, NULL, NULL);
    struct qk_pair *pair = open_small(*state);
    char bytes[4 * AREA] = {0};
    static const enum qk_mode modes[] = {QK_LERP, QK_QKPRO, QK_PROCRUSTES};
    for (int i = 0; i < 3; i++) {
        const struct qk_layer_choice choice = {.role = {{modes[i], 0.5}, {modes[i], 0.5}}};
        expect_failure(qk_blend_role(pair, 0, QK_Q, &choice, bytes, NULL, NULL, &err), &err, QK_INPUT,
            "pre|q_proj.weight|q head 0|not finite");
    }
    /* restore copies any bytes */
    char *restored = blended_alike(pair, 0, QK_Q, (struct qk_choice){QK_RESTORE, 0});
    double back[AREA];
    qk_dtype_to_f64(QK_F32, restored, AREA, back);
    assert_true(isnan(back[5]));
    free(restored);
    qk_pair_close(pair);
}

/* The same of biases and of gains, which would otherwise carry a NaN into the export. */
static void test_not_finite_beside_the_weights(void **state)
{
    char path[PATH_SIZE];
    double bias[ROWS] = {0, 0, NAN, 0}, gain[ROWS] = {1, INFINITY, 1, 1};
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        const char *side = qk_side_name((enum qk_side)s);
        make_folder(path_in(path, *state, side));
        const struct test_tensor tensors[] = {
            {"model.layers.0.self_attn.q_proj.weight", "F32", 2, {ROWS, WIDTH}, NULL},
            {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {ROWS, WIDTH}, NULL},
            {"model.layers.0.self_attn.q_proj.bias", "F32", 1, {ROWS}, s == QK_PRE ? bias : NULL},
            {"model.layers.0.self_attn.q_norm.weight", "F32", 1, {ROWS}, s == QK_POST ? gain : NULL},
        };
        char file[PATH_SIZE];
        write_safetensors(path_in(file, path, "model.safetensors"), tensors, 4, (uint64_t)s);
        write_text(path_in(file, path, "config.json"),
            "{\"model_type\":\"qwen3\",\"num_attention_heads\":1,\"head_dim\":%d,\"hidden_size\":%d}", ROWS,
            WIDTH);
    }
    struct qk_pair *pair = open_small(*state);
    const struct qk_view *q = &pair->layer[0].side[QK_POST]->role[QK_Q];
    char *bias_bytes = tensor_bytes(pair, QK_POST, q->bias),
         *gain_bytes = tensor_bytes(pair, QK_POST, q->norm);
    static const enum qk_mode modes[] = {QK_LERP, QK_PROCRUSTES};
    struct qk_error err = {0};
    for (int i = 0; i < 2; i++) {
        const struct qk_layer_choice choice = {.role = {{modes[i], 0.5}, {modes[i], 0.5}}};
        expect_failure(qk_blend_role(pair, 0, QK_Q, &choice, NULL, bias_bytes, NULL, &err), &err, QK_INPUT,
            "pre|q_proj.bias|q head 0|not finite");
        expect_failure(qk_blend_gain(pair, 0, QK_Q, &choice, gain_bytes, &err), &err, QK_INPUT,
            "post|q_norm.weight|not finite");
    }
    const struct qk_layer_choice restore = {.role = {{QK_RESTORE, 0}, {QK_RESTORE, 0}}};
    expect_ok(qk_blend_role(pair, 0, QK_Q, &restore, NULL, bias_bytes, NULL, &err), &err);
    expect_ok(qk_blend_gain(pair, 0, QK_Q, &restore, gain_bytes, &err), &err);
    free(bias_bytes);
    free(gain_bytes);
    qk_pair_close(pair);
}

static void test_unwritable_dtype(void **state)
{
    char path[PATH_SIZE], bytes[AREA] = {0};
    struct qk_error err = {0};
    write_side(path_in(path, *state, "pre"), "F8_E4M3", "F8_E4M3", NULL, NULL, 1);
    write_side(path_in(path, *state, "post"), "F8_E4M3", "F8_E4M3", NULL, NULL, 2);
    struct qk_pair *pair = open_small(*state);
    struct qk_layer_choice choice = {.role = {{QK_LERP, 0.5}, {QK_KEEP, 0}}};
    expect_failure(qk_blend_role(pair, 0, QK_Q, &choice, bytes, NULL, NULL, &err), &err, QK_INPUT,
        "q_proj.weight|F8_E4M3");
    choice.role[QK_Q].mode = QK_RESTORE;
    expect_ok(qk_blend_role(pair, 0, QK_Q, &choice, bytes, NULL, NULL, &err), &err);
    expect_heads_of_pre(pair, 0, QK_Q, bytes);
    qk_pair_close(pair);
}

static void test_no_keys_keep_the_queries(void **state)
{
    double zeros[AREA] = {0};
    write_small(*state, "F32", "F32", NULL, zeros, NULL);
    struct qk_pair *pair = open_small(*state);
    const struct qk_tensor *weight = pair->layer[0].side[QK_POST]->role[QK_Q].weight;
    char *post = tensor_bytes(pair, QK_POST, weight),
         *bytes = blended_alike(pair, 0, QK_Q, (struct qk_choice){QK_QKPRO, 0.3});
    assert_memory_equal(bytes, post, weight->bytes);
    free(post);
    free(bytes);
    qk_pair_close(pair);
}

/* One key direction alone, and the extremes of lambda: no NaN, no failure of a factorisation. */
static void test_singular_keys_and_extreme_lambda(void **state)
{
    double one[AREA] = {0};
    static const double lambda[] = {5e-324, 1e-300, 1e-20, 1, 1e20, 1e300};
    one[0] = one[WIDTH] = 1e-30; /* rows 0 and 1 are the same tiny vector, the others zero */
    write_small(*state, "F64", "F64", NULL, one, NULL);
    struct qk_pair *pair = open_small(*state);
    for (size_t i = 0; i < sizeof lambda / sizeof lambda[0]; i++) {
        char *bytes = blended_alike(pair, 0, QK_Q, (struct qk_choice){QK_QKPRO, lambda[i]});
        double values[AREA];
        qk_dtype_to_f64(QK_F64, bytes, AREA, values);
        for (int j = 0; j < AREA; j++)
            assert_true(isfinite(values[j]) && fabs(values[j]) < 2);
        free(bytes);
    }
    qk_pair_close(pair);
}

/* --- bfloat16 by way of float32 --- */

enum { BF16_M = 40, BF16_N = 300, BF16_AREA = BF16_M * BF16_N }; /* more than a block of columns */

struct bf16_case {
    double matrix[BF16_M * BF16_M];
    double pre[BF16_AREA], post[BF16_AREA], expected[BF16_AREA];
    uint16_t raw[3][BF16_AREA], rounded[BF16_AREA];
};

/* The way by float32 against the formula in float64, as plain loops: the same bits. */
static void check_bf16(struct bf16_case *c, struct qk_bf16_blend blend)
{
    struct qk_bf16_work work = {0};
    expect_ok(qk_bf16_work_reserve(&work, BF16_M, NULL), NULL);
    qk_dtype_from_f64(QK_BF16, c->pre, BF16_AREA, c->raw[0]);
    qk_dtype_from_f64(QK_BF16, c->post, BF16_AREA, c->raw[1]);
    qk_dtype_to_f64(QK_BF16, c->raw[0], BF16_AREA, c->pre);
    qk_dtype_to_f64(QK_BF16, c->raw[1], BF16_AREA, c->post);
    for (size_t i = 0; i < BF16_M; i++)
        for (size_t j = 0; j < BF16_N; j++) {
            double sum = 0;
            for (size_t k = 0; k < BF16_M; k++) {
                size_t at = k * BF16_N + j;
                double x = blend.difference ? c->pre[at] - c->post[at] : c->post[at];
                if (blend.matrix != NULL)
                    sum += blend.matrix[i * BF16_M + k] * x;
                else if (i == k)
                    sum = x; /* not added to 0, which would lose the sign of -0 */
            }
            c->expected[i * BF16_N + j] = blend.weight * c->pre[i * BF16_N + j] + blend.factor * sum;
        }
    assert_int_equal(qk_dtype_from_f64(QK_BF16, c->expected, BF16_AREA, c->rounded), 0);
    assert_true(qk_bf16_blend(&blend, BF16_N, c->raw[0], c->raw[1], c->raw[2], &work));
    for (size_t i = 0; i < BF16_AREA; i++)
        if (c->raw[2][i] != c->rounded[i])
            fail_msg("element %zu: found 0x%04x, expected 0x%04x of %.17g", i, c->raw[2][i], c->rounded[i],
                c->expected[i]);
    assert_true(qk_bf16_blend(&blend, BF16_N, c->raw[0], c->raw[1], c->raw[0], &work)); /* in place */
    assert_memory_equal(c->raw[0], c->raw[2], sizeof c->raw[0]);
    qk_bf16_work_free(&work);
}

/* Sizes from normal weights down to bfloat16's subnormals, which leave most results to float64. */
static void test_bf16_has_the_bits_of_float64(void **state)
{
    (void)state;
    struct bf16_case *c = calloc(1, sizeof *c);
    uint64_t random = 11;
    static const int spreads[] = {0, 20, 130};
    for (size_t s = 0; s < 3; s++) {
        for (size_t i = 0; i < BF16_M * BF16_M; i++)
            c->matrix[i] = random_uniform(&random) / (i % (BF16_M + 1) == 0 ? 2 : 10);
        const struct qk_bf16_blend blends[] = {
            {1, -1, c->matrix, true}, {0.3, 0.7, c->matrix, false}, {0.3, 0.7, NULL, false}};
        for (size_t b = 0; b < 3; b++) {
            for (size_t i = 0; i < BF16_AREA; i++) {
                int exponent = (int)(spreads[s] * random_uniform(&random));
                c->pre[i] = ldexp(random_uniform(&random), exponent > 0 ? -exponent : exponent);
                c->post[i] = i % 7 == 0 ? c->pre[i] : c->pre[i] * (1 + 0.3 * random_uniform(&random));
                if (i % 11 == 0)
                    c->pre[i] = c->post[i] = i % 2 == 0 ? 0.0 : -0.0;
            }
            check_bf16(c, blends[b]);
        }
    }
    free(c);
}

/* Results on a tie (1 + 2^-8, to even: 1) and 2^-47 beside it, which are equal in float32. */
static void test_bf16_beside_ties(void **state)
{
    (void)state;
    struct bf16_case *c = calloc(1, sizeof *c);
    for (size_t i = 0; i < BF16_M; i++) {
        c->matrix[i * BF16_M + i] = 0.5;
        c->matrix[i * BF16_M + (i + 1) % BF16_M] = ((double)(i % 3) - 1) * 0x1p-40;
    }
    for (size_t i = 0; i < BF16_AREA; i++) {
        c->pre[i] = 1 + 0x1p-7;
        c->post[i] = 1;
    }
    check_bf16(c, (struct qk_bf16_blend){1, -1, c->matrix, true});
    for (size_t i = 0; i < BF16_AREA; i++) /* minus the negative part: above the tie */
        assert_int_equal(c->raw[2][i], i / BF16_N % 3 == 0 ? 0x3f81 : 0x3f80);
    for (int side = -1; side <= 1; side++) {
        double a = 0.5 + side * 0x1p-40;
        for (size_t i = 0; i < BF16_AREA; i++)
            c->pre[i] = 1 + 0x1p-7;
        check_bf16(c, (struct qk_bf16_blend){a, 1 - a, NULL, false});
        for (size_t i = 0; i < BF16_AREA; i++)
            assert_int_equal(c->raw[2][i], side > 0 ? 0x3f81 : 0x3f80);
    }
    free(c);
}

/* What float64 has to refuse is handed to it. */
static void test_bf16_leaves_what_is_no_number(void **state)
{
    (void)state;
    enum { AT = 5 * BF16_N + 280 };
    static const double values[] = {NAN, INFINITY, -INFINITY};
    struct bf16_case *c = calloc(1, sizeof *c);
    struct qk_bf16_work work = {0};
    expect_ok(qk_bf16_work_reserve(&work, BF16_M, NULL), NULL);
    for (size_t i = 0; i < BF16_M; i++)
        c->matrix[i * BF16_M + i] = 1;
    const struct qk_bf16_blend blends[] = {
        {1, -1, c->matrix, true}, {0.3, 0.7, c->matrix, false}, {0.3, 0.7, NULL, false}};
    for (size_t b = 0; b < 3; b++) {
        for (int s = 0; s < QK_SIDE_COUNT; s++)
            for (size_t v = 0; v < 3; v++) {
                qk_dtype_from_f64(QK_BF16, &values[v], 1, &c->raw[s][AT]);
                assert_false(qk_bf16_blend(&blends[b], BF16_N, c->raw[0], c->raw[1], c->raw[2], &work));
                c->raw[s][AT] = 0;
            }
        assert_true(qk_bf16_blend(&blends[b], BF16_N, c->raw[0], c->raw[1], c->raw[2], &work));
    }
    qk_bf16_work_free(&work);
    free(c);
}

/* --- gains that are matrices, one row a head --- */

static void write_matrix_of_gains(const char *folder, const char *dtype, const double *q_gain, uint64_t seed)
{
    char path[PATH_SIZE];
    make_folder(folder);
    write_text(path_in(path, folder, "config.json"),
        "{\"model_type\": \"unheard_of\", \"num_attention_heads\": 8, \"num_key_value_heads\": 4, "
        "\"head_dim\": 4, \"hidden_size\": %d}",
        WIDTH);
    const struct test_tensor tensors[] = {
        {"model.layers.0.self_attn.q_proj.weight", "F32", 2, {8 * ROWS, WIDTH}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {4 * ROWS, WIDTH}, NULL},
        {"model.layers.0.self_attn.q_norm.weight", dtype, 2, {8, ROWS}, q_gain},
        {"model.layers.0.self_attn.k_norm.weight", dtype, 2, {4, ROWS}, NULL}, /* as many heads as rows */
    };
    write_safetensors(path_in(path, folder, "model.safetensors"), tensors, 4, seed);
}

static struct qk_pair *open_matrix_of_gains(const char *folder, const char *post_dtype)
{
    double q_gain[QK_SIDE_COUNT][8 * ROWS];
    char path[PATH_SIZE];
    for (int i = 0; i < 8 * ROWS; i++) {
        q_gain[QK_PRE][i] = i;
        q_gain[QK_POST][i] = 1000 + 3 * i;
    }
    bool numbers = strcmp(post_dtype, "F64") == 0;
    write_matrix_of_gains(path_in(path, folder, "pre"), "F64", q_gain[QK_PRE], 1);
    write_matrix_of_gains(path_in(path, folder, "post"), post_dtype, numbers ? q_gain[QK_POST] : NULL, 2);
    return open_small(folder);
}

static void test_matrix_of_gains_is_blended(void **state)
{
    struct qk_pair *pair = open_matrix_of_gains(*state, "F64");
    const struct qk_tensor *norm = pair->layer[0].side[QK_POST]->role[QK_Q].norm;
    const struct qk_layer_choice choice = {.role = {{QK_LERP, 0.5}, {QK_LERP, 0.5}}};
    struct qk_error err = {0};
    char *bytes = tensor_bytes(pair, QK_POST, norm);
    double values[8 * ROWS];
    expect_ok(qk_blend_gain(pair, 0, QK_Q, &choice, bytes, &err), &err);
    qk_dtype_to_f64(QK_F64, bytes, 8 * ROWS, values);
    for (int i = 0; i < 8 * ROWS; i++)
        assert_true(values[i] == 500 + 2 * i);
    free(bytes);
    qk_pair_close(pair);
}

/* Every head of the current model has its own row of gains: with all restored, pre's. */
static void test_matrix_of_gains_in_the_effective_view(void **state)
{
    struct qk_pair *pair = open_matrix_of_gains(*state, "F64");
    const struct qk_layer_choice restore = {.role = {{QK_RESTORE, 0}, {QK_RESTORE, 0}}};
    struct qk_heads *pre, *now;
    struct qk_error err = {0};
    double expected[AREA], found[AREA];
    expect_ok(qk_heads_of_model(pair, QK_PRE, 0, true, &pre, &err), &err);
    expect_ok(qk_heads_of_blend(pair, 0, &restore, QK_GAINS_CHOSEN, &now, &err), &err);
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        for (int h = 0; h < pair->layer[0].side[QK_POST]->role[r].n_heads; h++) {
            expect_ok(pre->read(pre, (enum qk_role)r, h, expected, &err), &err);
            expect_ok(now->read(now, (enum qk_role)r, h, found, &err), &err);
            assert_memory_equal(expected, found, sizeof found);
        }
    qk_heads_free(pre);
    qk_heads_free(now);
    qk_pair_close(pair);
}

static void test_unreadable_gains_are_refused_by_name(void **state)
{
    struct qk_pair *pair = open_matrix_of_gains(*state, "I32");
    const struct qk_layer_choice lerp = {.role = {{QK_LERP, 0.5}, {QK_LERP, 0.5}}};
    struct qk_heads *now;
    for (int gains = QK_GAINS_POST; gains <= QK_GAINS_CHOSEN; gains++) {
        struct qk_error err = {0};
        expect_failure(qk_heads_of_blend(pair, 0, &lerp, (enum qk_gains)gains, &now, &err), &err, QK_INPUT,
            "post|q_norm.weight|I32 is not read as numbers");
    }
    qk_pair_close(pair);
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identities),
        cmocka_unit_test(test_views_are_the_exported_bytes),
        test_in_folder(test_biases_follow_their_rows),
        cmocka_unit_test(test_operations),
        cmocka_unit_test(test_latent_attention),
        cmocka_unit_test(test_gains),
        cmocka_unit_test(test_chosen_gains_in_the_effective_view),
        test_in_folder(test_other_dtype_is_converted),
        test_in_folder(test_too_large_for_the_dtype),
        test_in_folder(test_not_finite_is_refused_by_name),
        test_in_folder(test_not_finite_beside_the_weights),
        test_in_folder(test_unwritable_dtype),
        test_in_folder(test_no_keys_keep_the_queries),
        test_in_folder(test_singular_keys_and_extreme_lambda),
        cmocka_unit_test(test_bf16_has_the_bits_of_float64),
        cmocka_unit_test(test_bf16_beside_ties),
        cmocka_unit_test(test_bf16_leaves_what_is_no_number),
        test_in_folder(test_matrix_of_gains_is_blended),
        test_in_folder(test_matrix_of_gains_in_the_effective_view),
        test_in_folder(test_unreadable_gains_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
