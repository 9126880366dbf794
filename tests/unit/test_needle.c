/* test_needle.c - needle masses against rows of attention that PyTorch computed in float64 for both trained pairs, and
 * needles made from cases. */
#include "helper.h"

#include "base/blas.h"
#include "eval/needle_measure.h"
#include "eval/needle_prompt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The rows are float64 rounded to float32 (6e-8); the pass is float32, whose sums over twelve layers differ by a few
 * 1e-6 of the largest entry. */
static const double TOLERANCE = 1e-5;

static const char *const PAIRS[] = {"tiny-hypenet", "tiny-jet-nemotron"};

static struct qk_pair *open_trained(const char *name)
{
    char pre[PATH_SIZE], post[PATH_SIZE];
    struct qk_pair *pair;
    struct qk_error err = {0};
    expect_ok(
        qk_pair_open(trained_path(pre, name, "pre"), trained_path(post, name, "post"), &pair, &err), &err);
    return pair;
}

static struct qk_tokenizer *tokenizer_of(const struct qk_pair *pair)
{
    struct qk_tokenizer *tokenizer;
    struct qk_error err = {0};
    expect_ok(qk_tokenizer_open(pair->model[QK_POST]->checkpoint->folder, &tokenizer, &err), &err);
    return tokenizer;
}

static void read_prompts(
    const char *path, const struct qk_tokenizer *tokenizer, struct qk_needle_prompts *prompts)
{
    struct qk_cases cases = {0};
    struct qk_error err = {0};
    expect_ok(qk_cases_read(path, &cases, &err), &err);
    expect_ok(qk_needle_prompts_read(&cases, tokenizer, prompts, &err), &err);
    qk_cases_free(&cases);
}

/* --- goldens --- */

static float *golden_rows(const struct qk_checkpoint *golden, size_t needle, int layer, uint64_t shape[3])
{
    char name[64];
    struct qk_error err = {0};
    snprintf(name, sizeof name, "rows.%zu.%d", needle, layer);
    const struct qk_tensor *tensor = qk_checkpoint_find(golden, name);
    if (tensor == NULL)
        return NULL;
    float *rows = malloc((size_t)tensor->bytes);
    assert_non_null(rows);
    memcpy(shape, tensor->shape, 3 * sizeof *shape);
    expect_ok(qk_checkpoint_read(golden, tensor, 0, rows, (size_t)tensor->bytes, &err), &err);
    return rows;
}

/* The definition, in float64 from the golden's rows (heads, answer tokens, T). */
static double expected_mass(
    const float *rows, const uint64_t shape[3], size_t head, const struct qk_needle *needle)
{
    double sum = 0;
    for (size_t j = 0; j < needle->n_answer; j++) {
        const float *row = rows + (head * shape[1] + j) * shape[2];
        sum += (double)row[needle->place[j]] + (double)row[needle->place[j] - 1];
    }
    return sum / (double)needle->n_answer;
}

/* Returns how many heads were compared. */
static size_t compare_side(const char *name, const char *side, const struct qk_needles *needles,
    const struct qk_needle_layer *layers, int n_layers)
{
    char file[128], path[PATH_SIZE];
    struct qk_checkpoint *golden;
    struct qk_error err = {0};
    size_t compared = 0;
    snprintf(file, sizeof file, "needle/%s-%s.safetensors", name, side);
    expect_ok(qk_checkpoint_open(data_path(path, file), &golden, &err), &err);
    for (size_t i = 0; i < needles->n; i++)
        for (int layer = 0; layer < n_layers; layer++) {
            uint64_t shape[3];
            float *rows = golden_rows(golden, i, layer, shape);
            if (rows == NULL)
                continue;
            assert_int_equal(layers[layer].n_heads, shape[0]);
            assert_int_equal(needles->item[i].n_answer, shape[1]);
            assert_int_equal(needles->item[i].T, shape[2]);
            for (size_t h = 0; h < shape[0]; h++, compared++) {
                double expected = expected_mass(rows, shape, h, &needles->item[i]);
                double found = layers[layer].mass[h * layers[layer].n_needles + i];
                if (!(fabs(found - expected) <= TOLERANCE))
                    fail_msg("%s %s: needle %zu, layer %d, head %zu: found %.8f, expected %.8f", name, side,
                        i, layer, h, found, expected);
            }
            free(rows);
        }
    qk_checkpoint_close(golden);
    return compared;
}

static void test_masses(void **state)
{
    (void)state;
    for (size_t p = 0; p < sizeof PAIRS / sizeof PAIRS[0]; p++) {
        struct qk_pair *pair = open_trained(PAIRS[p]);
        struct qk_tokenizer *tokenizer = tokenizer_of(pair);
        struct qk_needle_prompts prompts = {0};
        struct qk_needle_pair measured;
        struct qk_error err = {0};
        char file[128], path[PATH_SIZE];
        snprintf(file, sizeof file, "needle/%s.jsonl", PAIRS[p]);
        read_prompts(data_path(path, file), tokenizer, &prompts);
        assert_int_equal(prompts.needles.n, 2);
        expect_ok(
            qk_needle_measure(pair, &prompts.needles, NULL, false, (size_t)1 << 30, NULL, &measured, &err),
            &err);
        size_t compared = 0;
        for (int s = 0; s < QK_SIDE_COUNT; s++)
            compared += compare_side(
                PAIRS[p], qk_side_name((enum qk_side)s), &prompts.needles, measured.side[s], pair->n_layers);
        assert_true(compared >= 2 * 4 * 8);
        qk_needle_pair_free(&measured);
        qk_needle_prompts_free(&prompts);
        qk_tokenizer_free(tokenizer);
        qk_pair_close(pair);
    }
}

/* --- what follows from the definition --- */

/* The two heads of the one layer that recalls, by what other software measured on both pairs. */
static void test_ranking(void **state)
{
    (void)state;
    static const struct {
        const char *pair;
        int layer, head[2];
    } EXPECTED[] = {{"tiny-hypenet", 7, {1, 2}}, {"tiny-jet-nemotron", 10, {0, 1}}};
    for (size_t p = 0; p < sizeof EXPECTED / sizeof EXPECTED[0]; p++) {
        struct qk_pair *pair = open_trained(EXPECTED[p].pair);
        struct qk_tokenizer *tokenizer = tokenizer_of(pair);
        struct qk_needle_prompts prompts = {0};
        struct qk_needle_pair m;
        struct qk_error err = {0};
        expect_ok(qk_needle_prompts_make(6, 256, tokenizer, &prompts, &err), &err);
        expect_ok(
            qk_needle_measure(pair, &prompts.needles, NULL, false, (size_t)1 << 30, NULL, &m, &err), &err);
        for (int s = 0; s < QK_SIDE_COUNT; s++)
            for (int l = 0; l < pair->n_layers; l++)
                for (int h = 0; h < m.side[s][l].n_heads; h++) {
                    double mass = qk_needle_mass(&m.side[s][l], h).mean;
                    bool named =
                        l == EXPECTED[p].layer && (h == EXPECTED[p].head[0] || h == EXPECTED[p].head[1]);
                    assert_true(named ? mass > 0.5 : mass < 0.4);
                }
        qk_needle_pair_free(&m);
        qk_needle_prompts_free(&prompts);
        qk_tokenizer_free(tokenizer);
        qk_pair_close(pair);
    }
}

/* Post restored on the inputs of a pre that is post: the same numbers, on every layer that can be restored. */
static void test_restored_of_same(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    const char *root = getenv("QK_DATA");
    struct qk_pair *pair;
    struct qk_needle_prompts prompts = {0};
    struct qk_needle_pair m;
    struct qk_error err = {0};
    assert_non_null(root);
    snprintf(path, sizeof path, "%s/tiny-jet-nemotron/post", root);
    expect_ok(qk_pair_open(path, path, &pair, &err), &err);
    struct qk_tokenizer *tokenizer = tokenizer_of(pair);
    expect_ok(qk_needle_prompts_make(3, 200, tokenizer, &prompts, &err), &err);
    expect_ok(qk_needle_measure(pair, &prompts.needles, NULL, false, 0, NULL, &m, &err), &err);
    for (int l = 0; l < pair->n_layers; l++) {
        assert_int_equal(m.restored[l].n_heads, m.side[QK_POST][l].n_heads);
        for (int h = 0; h < m.restored[l].n_heads; h++) {
            struct qk_needle_mean drop = qk_needle_drop(&m.side[QK_POST][l], &m.restored[l], h);
            assert_true(fabs(drop.mean) < TOLERANCE && drop.error < TOLERANCE);
        }
    }
    qk_needle_pair_free(&m);
    qk_needle_prompts_free(&prompts);
    qk_tokenizer_free(tokenizer);
    qk_pair_close(pair);
}

static void test_means(void **state)
{
    (void)state;
    double mass[] = {0.5, 0.7, 0.9}, less[] = {0.4, 0.7, 0.5}, none[] = {0, 0, 0};
    const struct qk_needle_layer a = {1, 3, mass, none}, b = {1, 3, less, none};
    struct qk_needle_mean mean = qk_needle_mass(&a, 0), drop = qk_needle_drop(&a, &b, 0);
    assert_true(fabs(mean.mean - 0.7) < 1e-15 && fabs(mean.error - 0.2 / sqrt(3.0)) < 1e-15);
    /* differences 0.1, 0, 0.4: mean 1/6, sum of squares 0.13 / 1.5 */
    assert_true(fabs(drop.mean - 0.5 / 3) < 1e-15 && fabs(drop.error - sqrt(0.26 / 3 / 2 / 3)) < 1e-15);
}

/* --- cases --- */

static void test_cases(void **state)
{
    char path[PATH_SIZE];
    struct qk_pair *pair = open_trained("tiny-hypenet");
    struct qk_tokenizer *tokenizer = tokenizer_of(pair);
    struct qk_needle_prompts prompts = {0};
    path_in(path, *state, "cases.jsonl");
    write_text(path, "{\"prompt\": \"The code is 4711. What is it? It is \", \"answer\": \"4711\"}\n"
                     "{\"prompt\": \"Two and two make \", \"answer\": \"4\"}\n"
                     "{\"prompt\": \"7 and 7 and \", \"answer\": \"7\"}\n");
    read_prompts(path, tokenizer, &prompts);
    assert_int_equal(prompts.needles.n, 1);
    const struct qk_needle *needle = &prompts.needles.item[0];
    assert_int_equal(needle->n_answer, 4);
    assert_int_equal(needle->place[0], 1 + 12); /* behind BOS, one token a byte */
    assert_int_equal(needle->query[0], needle->T - 4);
    assert_int_equal(prompts.n_skipped, 2);
    assert_non_null(strstr(prompts.skipped.line[0], "cases.jsonl:2: the answer is not in the prompt"));
    assert_non_null(
        strstr(prompts.skipped.line[1], "cases.jsonl:3: the answer's tokens are in the prompt more"));
    qk_needle_prompts_free(&prompts);
    qk_tokenizer_free(tokenizer);
    qk_pair_close(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_masses),
        cmocka_unit_test(test_ranking),
        cmocka_unit_test(test_restored_of_same),
        cmocka_unit_test(test_means),
        test_in_folder(test_cases),
    };
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
