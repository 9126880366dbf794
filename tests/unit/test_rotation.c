/* test_rotation.c - the rotation that brings post nearest to pre: orthogonal, of the form that leaves
 * attention alone, and better than any other of that form.
 *
 * Tolerances: matrices of order one and at most 16 rows, so 1e-12 covers some hundred roundings; a random
 * competitor may not be better by more than 1e-12 of the distance itself. */
#include "helper.h"

#include "base/blas.h"
#include "blend/rotation.h"
#include "linalg/linalg.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 16, WIDTH = 40 };

static uint64_t seed = 11;

static struct qk_layer layer_of(int head_dim, enum qk_positions positions, int rotary)
{
    return (struct qk_layer){.head_dim = head_dim, .positions = positions, .rotary_dims = rotary};
}

static void fill(double *a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        a[i] = random_uniform(&seed);
}

/* c (m, m) = a (m, m) b (m, m). */
static void multiply(int m, const double *a, const double *b, double *c)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < m; j++) {
            c[i * m + j] = 0;
            for (int k = 0; k < m; k++)
                c[i * m + j] += a[i * m + k] * b[k * m + j];
        }
}

static void expect_orthogonal(int m, const double *r)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < m; j++) {
            double sum = 0;
            for (int k = 0; k < m; k++)
                sum += r[i * m + k] * r[j * m + k];
            assert_true(fabs(sum - (i == j)) < 1e-12);
        }
}

static double distance(int m, const double *pre, const double *r, const double *post)
{
    double sum = 0;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < WIDTH; j++) {
            double turned = 0;
            for (int k = 0; k < m; k++)
                turned += r[i * m + k] * post[k * WIDTH + j];
            sum += (pre[i * WIDTH + j] - turned) * (pre[i * WIDTH + j] - turned);
        }
    return sqrt(sum);
}

/* An orthogonal matrix of rows and columns [first, m): Gram-Schmidt of random rows, twice. */
static void random_block(int m, int first, double *r)
{
    for (int i = first; i < m; i++) {
        for (int j = first; j < m; j++)
            r[i * m + j] = random_uniform(&seed);
        for (int pass = 0; pass < 2; pass++)
            for (int k = first; k < i; k++) {
                double dot = 0;
                for (int j = first; j < m; j++)
                    dot += r[i * m + j] * r[k * m + j];
                for (int j = first; j < m; j++)
                    r[i * m + j] -= dot * r[k * m + j];
            }
        double norm = 0;
        for (int j = first; j < m; j++)
            norm += r[i * m + j] * r[i * m + j];
        for (int j = first; j < m; j++)
            r[i * m + j] /= sqrt(norm);
    }
}

/* Another matrix of the form: random planes and a random tail, or the best one turned a little further. */
static void random_competitor(
    enum qk_rotation form, const struct qk_layer *layer, const double *best, double *r)
{
    int m = layer->head_dim, rotary = form == QK_ROTATION_PLANES ? layer->rotary_dims : 0;
    double turn[MOST * MOST] = {0};
    bool near = random_bits(&seed) % 2 == 0;
    for (int p = 0; p < rotary / 2; p++) {
        int i, j;
        qk_rotation_pair(layer, p, &i, &j);
        double angle = random_uniform(&seed) * (near ? 1e-3 : 3.2);
        turn[i * m + i] = turn[j * m + j] = cos(angle);
        turn[i * m + j] = -sin(angle);
        turn[j * m + i] = sin(angle);
    }
    random_block(m, rotary, turn);
    if (near) /* the tail, too: a plane rotation of two of its rows by a thousandth */
        for (int i = rotary; i < m; i++)
            for (int j = rotary; j < m; j++)
                turn[i * m + j] = i == j;
    if (near && m - rotary >= 2) {
        turn[rotary * m + rotary] = turn[(rotary + 1) * m + rotary + 1] = cos(1e-3);
        turn[rotary * m + rotary + 1] = -sin(1e-3);
        turn[(rotary + 1) * m + rotary] = sin(1e-3);
    }
    if (near)
        multiply(m, turn, best, r);
    else
        memcpy(r, turn, (size_t)(m * m) * sizeof *r);
}

static void check_best(enum qk_rotation form, const struct qk_layer *layer)
{
    int m = layer->head_dim;
    double pre[MOST * WIDTH], post[MOST * WIDTH], product[MOST * MOST], r[MOST * MOST], other[MOST * MOST];
    struct qk_error err = {0};
    fill(pre, (size_t)(m * WIDTH));
    fill(post, (size_t)(m * WIDTH));
    qk_product_abt((size_t)m, WIDTH, pre, post, product);
    expect_ok(qk_rotation_solve(form, layer, product, r, &err), &err);
    expect_orthogonal(m, r);
    double best = distance(m, pre, r, post);
    for (int t = 0; t < 200; t++) {
        random_competitor(form, layer, r, other);
        expect_orthogonal(m, other);
        assert_true(distance(m, pre, other, post) >= best * (1 - 1e-12));
    }
}

static void test_best_of_its_form(void **state)
{
    (void)state;
    static const struct {
        enum qk_rotation form;
        struct qk_layer layer;
    } rows[] = {{QK_ROTATION_FULL, {.head_dim = 8}}, {QK_ROTATION_FULL, {.head_dim = 1}},
        {QK_ROTATION_FULL, {.head_dim = 16}},
        {QK_ROTATION_PLANES, {.head_dim = 8, .positions = QK_POSITIONS_ROPE_HALF, .rotary_dims = 8}},
        {QK_ROTATION_PLANES, {.head_dim = 8, .positions = QK_POSITIONS_ROPE_INTER, .rotary_dims = 8}},
        {QK_ROTATION_PLANES, {.head_dim = 16, .positions = QK_POSITIONS_ROPE_HALF, .rotary_dims = 4}},
        {QK_ROTATION_PLANES, {.head_dim = 16, .positions = QK_POSITIONS_ROPE_INTER, .rotary_dims = 10}},
        {QK_ROTATION_PLANES, {.head_dim = 9, .positions = QK_POSITIONS_ROPE_HALF, .rotary_dims = 8}},
        {QK_ROTATION_PLANES, {.head_dim = 6, .positions = QK_POSITIONS_ROPE_HALF, .rotary_dims = 0}}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_best(rows[i].form, &rows[i].layer);
}

/* Where post is pre turned by a matrix of the form, exactly that matrix comes back (transposed). */
static void check_recovers(enum qk_rotation form, const struct qk_layer *layer)
{
    int m = layer->head_dim;
    double pre[MOST * WIDTH], post[MOST * WIDTH], product[MOST * MOST], turn[MOST * MOST], r[MOST * MOST];
    const double zero[MOST * MOST] = {0};
    struct qk_error err = {0};
    fill(pre, (size_t)(m * WIDTH));
    do
        random_competitor(form, layer, zero, turn);
    while (turn[0] == 0); /* the near kind of nothing is nothing: draw again */
    for (int i = 0; i < m; i++)
        for (int j = 0; j < WIDTH; j++) {
            post[i * WIDTH + j] = 0;
            for (int k = 0; k < m; k++)
                post[i * WIDTH + j] += turn[k * m + i] * pre[k * WIDTH + j];
        }
    qk_product_abt((size_t)m, WIDTH, pre, post, product);
    expect_ok(qk_rotation_solve(form, layer, product, r, &err), &err);
    for (int i = 0; i < m * m; i++)
        assert_true(fabs(r[i] - turn[i]) < 1e-12);
    assert_true(distance(m, pre, r, post) < 1e-12);
}

static void test_recovers_a_rotation(void **state)
{
    (void)state;
    const struct qk_layer half = layer_of(12, QK_POSITIONS_ROPE_HALF, 12),
                          part = layer_of(12, QK_POSITIONS_ROPE_HALF, 6),
                          inter = layer_of(12, QK_POSITIONS_ROPE_INTER, 8),
                          none = layer_of(12, QK_POSITIONS_NONE, 0);
    for (int t = 0; t < 20; t++) {
        check_recovers(QK_ROTATION_PLANES, &half);
        check_recovers(QK_ROTATION_PLANES, &part);
        check_recovers(QK_ROTATION_PLANES, &inter);
        check_recovers(QK_ROTATION_FULL, &none);
    }
}

/* The formula of the design, block by block: angle atan2(M10 - M01, M00 + M11), nothing between the pairs. */
static void test_planes_formula(void **state)
{
    (void)state;
    static const enum qk_positions positions[] = {QK_POSITIONS_ROPE_HALF, QK_POSITIONS_ROPE_INTER};
    enum { M = 10, ROTARY = 6 };
    for (int t = 0; t < 2; t++) {
        const struct qk_layer layer = layer_of(M, positions[t], ROTARY);
        double product[M * M], r[M * M];
        struct qk_error err = {0};
        fill(product, M * M);
        expect_ok(qk_rotation_solve(QK_ROTATION_PLANES, &layer, product, r, &err), &err);
        for (int i = 0; i < M; i++) {
            for (int j = 0; j < M; j++) {
                bool paired =
                    t == 0 ? i < ROTARY && j < ROTARY && i % 3 == j % 3 : i < ROTARY && i / 2 == j / 2;
                bool tail = i >= ROTARY && j >= ROTARY;
                if (!paired && !tail)
                    assert_true(r[i * M + j] == 0);
            }
        }
        for (int p = 0; p < ROTARY / 2; p++) {
            int i = t == 0 ? p : 2 * p, j = t == 0 ? p + 3 : 2 * p + 1;
            double angle =
                atan2(product[j * M + i] - product[i * M + j], product[i * M + i] + product[j * M + j]);
            assert_true(fabs(r[i * M + i] - cos(angle)) < 1e-15 && fabs(r[j * M + j] - cos(angle)) < 1e-15);
            assert_true(fabs(r[j * M + i] - sin(angle)) < 1e-15 && fabs(r[i * M + j] + sin(angle)) < 1e-15);
        }
    }
}

/* A rotation of the planes commutes with RoPE at every position: so q and k turned alike attend alike. */
static void test_planes_commute_with_rope(void **state)
{
    (void)state;
    static const enum qk_positions positions[] = {QK_POSITIONS_ROPE_HALF, QK_POSITIONS_ROPE_INTER};
    enum { M = 12, ROTARY = 8 };
    for (int t = 0; t < 2; t++) {
        const struct qk_layer layer = layer_of(M, positions[t], ROTARY);
        double product[M * M], r[M * M], rope[M * M] = {0}, left[M * M], right[M * M];
        struct qk_error err = {0};
        fill(product, M * M);
        expect_ok(qk_rotation_solve(QK_ROTATION_PLANES, &layer, product, r, &err), &err);
        for (int i = ROTARY; i < M; i++)
            rope[i * M + i] = 1;
        for (int p = 0; p < ROTARY / 2; p++) {
            int i, j;
            double angle = 17 * pow(1e4, -2.0 * p / ROTARY);
            qk_rotation_pair(&layer, p, &i, &j);
            rope[i * M + i] = rope[j * M + j] = cos(angle);
            rope[i * M + j] = -sin(angle);
            rope[j * M + i] = sin(angle);
        }
        multiply(M, r, rope, left);
        multiply(M, rope, r, right);
        for (int i = 0; i < M * M; i++)
            assert_true(fabs(left[i] - right[i]) < 1e-14);
    }
}

static void test_none_and_degenerate(void **state)
{
    (void)state;
    enum { M = 6 };
    const struct qk_layer layer = layer_of(M, QK_POSITIONS_ROPE_HALF, 4);
    static const enum qk_rotation forms[] = {QK_ROTATION_NONE, QK_ROTATION_FULL, QK_ROTATION_PLANES};
    double product[M * M], r[M * M];
    struct qk_error err = {0};
    fill(product, M * M);
    expect_ok(qk_rotation_solve(QK_ROTATION_NONE, &layer, product, r, &err), &err);
    for (int i = 0; i < M * M; i++)
        assert_true(r[i] == (i % (M + 1) == 0));
    memset(product, 0, sizeof product); /* heads of zeros: any rotation is as good, but it must be one */
    for (size_t f = 0; f < 3; f++) {
        expect_ok(qk_rotation_solve(forms[f], &layer, product, r, &err), &err);
        expect_orthogonal(M, r);
    }
    for (int i = 0; i < M; i++) /* rank one */
        for (int j = 0; j < M; j++)
            product[i * M + j] = (i + 1) * (j - 2) * 1e-200;
    for (size_t f = 0; f < 3; f++) {
        expect_ok(qk_rotation_solve(forms[f], &layer, product, r, &err), &err);
        expect_orthogonal(M, r);
    }
    product[7] = NAN;
    expect_failure(qk_rotation_solve(QK_ROTATION_FULL, &layer, product, r, &err), &err, QK_INPUT,
        "singular value decomposition of a 6 x 6 block");
}

static void test_pairs(void **state)
{
    (void)state;
    const struct qk_layer half = layer_of(16, QK_POSITIONS_ROPE_HALF, 8),
                          inter = layer_of(16, QK_POSITIONS_ROPE_INTER, 8);
    for (int p = 0; p < 4; p++) {
        int i, j;
        qk_rotation_pair(&half, p, &i, &j);
        assert_true(i == p && j == p + 4);
        qk_rotation_pair(&inter, p, &i, &j);
        assert_true(i == 2 * p && j == 2 * p + 1);
    }
}

/* --- which form a layer takes --- */

/* One layer of a family with these q and k gains (NULL: no such norm). */
static void expect_form(const char *folder, const char *config, const double *q, const double *k,
    enum qk_rotation form, const char *why)
{
    char path[PATH_SIZE];
    struct test_tensor tensors[4] = {{"model.layers.0.self_attn.q_proj.weight", "F32", 2, {16, 6}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {8, 6}, NULL}};
    size_t n = 2;
    if (q != NULL)
        tensors[n++] = (struct test_tensor){"model.layers.0.self_attn.q_norm.weight", "F32", 1, {8}, q};
    if (k != NULL)
        tensors[n++] = (struct test_tensor){"model.layers.0.self_attn.k_norm.weight", "F32", 1, {8}, k};
    struct qk_error err = {0};
    struct qk_pair *pair;
    enum qk_rotation found;
    const char *reason;
    write_safetensors(path_in(path, folder, "model.safetensors"), tensors, n, 1);
    write_text(path_in(path, folder, "config.json"),
        "{%s,\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":8,\"lightning_nh\":2,"
        "\"lightning_nkv\":1}",
        config);
    expect_ok(qk_pair_open(folder, folder, &pair, &err), &err);
    expect_ok(qk_rotation_find(pair, 0, &found, &reason, &err), &err);
    assert_int_equal(found, form);
    assert_string_equal(reason, why);
    qk_pair_close(pair);
}

static void test_forms(void **state)
{
    static const double alike[] = {2, 2, 2, 2, 2, 2, 2, 2}, pairs[] = {1, 2, 3, 4, 1, 2, 3, 4},
                        mixed[] = {1, 2, 3, 4, 5, 6, 7, 8};
    const char *nope = "\"model_type\":\"hypenet\"", *rope = "\"model_type\":\"qwen3\"",
               *linear = "\"model_type\":\"hypenet\",\"mixer_types\":[\"lightning-attn\"],\"lightning_use_"
                         "short_conv\":true";
    const char *differ = "q/k norm gains differ within what would turn";
    expect_form(*state, nope, NULL, NULL, QK_ROTATION_FULL, "no positions in q and k");
    expect_form(*state, nope, alike, alike, QK_ROTATION_FULL, "no positions in q and k");
    expect_form(*state, nope, pairs, NULL, QK_ROTATION_NONE, differ);
    expect_form(*state, nope, alike, mixed, QK_ROTATION_NONE, differ);
    expect_form(*state, rope, NULL, NULL, QK_ROTATION_PLANES, "RoPE");
    expect_form(*state, rope, pairs, pairs, QK_ROTATION_PLANES, "RoPE"); /* alike within each pair */
    expect_form(*state, rope, pairs, mixed, QK_ROTATION_NONE, differ);
    expect_form(*state, linear, NULL, NULL, QK_ROTATION_NONE, "an elementwise map follows q and k");
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best_of_its_form),
        cmocka_unit_test(test_recovers_a_rotation),
        cmocka_unit_test(test_planes_formula),
        cmocka_unit_test(test_planes_commute_with_rope),
        cmocka_unit_test(test_none_and_degenerate),
        cmocka_unit_test(test_pairs),
        test_in_folder(test_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
