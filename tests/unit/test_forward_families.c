/* test_forward_families.c - the pass of every family with softmax attention beside transformers': small random models
 * of two layers; steps of decoding and pieces of a prompt beside the pass.
 *
 * transformers 5.17 made the fixtures' goldens in float32 (eager attention) of models in bfloat16. */
#include "golden.h"
#include "models.h"

#include "base/blas.h"
#include "base/parallel.h"
#include "forward/decoder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Both are float32: sums in another order differ by 1e-6 of the largest entry or so a layer. nemotron's activations
 * are squared and reach a hundred times the others': its maps have some 4e-5. */
static const double TOLERANCE = 1e-4;

static char *const FIXTURES[] = {"gemma", "gemma2", "cohere", "cohere_qk", "cohere2", "glm", "glm4",
    "exaone4", "exaone4_full", "stablelm", "stablelm_parallel", "phi", "starcoder2", "olmo", "gptj",
    "codegen", "gpt_bigcode", "gpt_bigcode_mha", "nemotron", "seed_oss", "helium", "ernie4_5", "hunyuan",
    "ministral3_plain", "deepseek_v2", "deepseek_v3_direct", "deepseek_v3_dense", "deepseek_v3_yarn",
    "ministral3", "olmo3", "glm4_moe_lite", "glm_moe_dsa", "gemma4_plain", "gemma4_shared", "deepseek_v2_moe",
    "deepseek_v32", "gpt_oss", "afmoe", "mimo_v2_flash"};
enum { N_FIXTURES = sizeof FIXTURES / sizeof FIXTURES[0] };

static void open_fixture(const char *name, struct qk_model **model, struct golden *golden)
{
    char folder[PATH_SIZE], path[PATH_SIZE];
    struct qk_error err = {0};
    snprintf(path, sizeof path, "fixtures/softmax/%s", name);
    data_path(folder, path);
    expect_ok(qk_model_open(folder, model, &err), &err);
    open_golden(path_in(path, folder, "golden.safetensors"), golden);
}

static void test_golden(void **state)
{
    const char *name = *state;
    struct comparison of = {0};
    struct qk_model *model;
    struct golden golden;
    open_fixture(name, &model, &golden);
    compare_golden(model, &golden, false, false, &of);
    print_message("# %-20s states %7.1e logits %7.1e maps %7.1e\n", name, of.state, of.logits, of.map);
    close_golden(&golden);
    qk_model_close(model);
    if (!(of.state < TOLERANCE && of.logits < TOLERANCE && of.map < TOLERANCE))
        fail_msg("%s: states %g, logits %g, maps %g", name, of.state, of.logits, of.map);
}

/* --- decoding --- */

enum { STEPS = 40, LONG = 300, BORDER = 256, PLENTY = 1 << 30, WORDS = 64 };

static struct qk_network *open_network(const struct qk_model *model, size_t tokens)
{
    struct qk_network *network;
    struct qk_error err = {0};
    expect_ok(qk_network_open(model, NULL, tokens, PLENTY, &network, &err), &err);
    return network;
}

/* Logits behind ids, which come in pieces of `first` tokens and then of `each`; *error is the largest difference from
 * `expected` (n, WORDS), NULL allowed. */
static void read_in_pieces(struct qk_network *network, const int32_t *ids, size_t n, size_t first,
    size_t each, const float *expected, double *error, float last[WORDS])
{
    struct qk_decoder *decoder;
    struct qk_error err = {0};
    assert_int_equal(qk_network_vocabulary(network), WORDS);
    expect_ok(qk_decoder_open(network, 1, &n, &decoder, &err), &err);
    for (size_t t = 0, piece = first; t < n; t += piece, piece = each) {
        piece = piece < n - t ? piece : n - t;
        const struct qk_next_tokens next = {0, ids + t, piece};
        expect_ok(qk_decoder_step(decoder, &next, 1, last, NULL, &err), &err);
        if (expected != NULL)
            *error = fmax(*error, worst(last, expected + (t + piece - 1) * WORDS, WORDS));
    }
    qk_decoder_close(decoder);
}

/* Single steps equal the pass; pieces that end at a border of tiles, and other numbers of threads, have its bits. */
static void test_steps(void **state)
{
    static const size_t limits[] = {1, 2, 5};
    const char *name = *state;
    int32_t ids[LONG];
    float expected[STEPS * WORDS], last[WORDS], found[WORDS];
    double error = 0;
    struct qk_model *model;
    struct golden golden;
    struct qk_error err = {0};
    open_fixture(name, &model, &golden);
    bool few = strncmp(name, "gpt_bigcode", 11) == 0 || strcmp(name, "glm_moe_dsa") == 0 ||
               strcmp(name, "deepseek_v32") == 0;
    size_t n = few ? STEPS : LONG; /* they take few tokens */
    for (size_t t = 0; t < n; t++)
        ids[t] = (int32_t)((t * t * 7 + 5 * t) % WORDS);
    expect_ok(qk_forward(model, NULL, ids, STEPS, NULL, expected, STEPS, NULL, &err), &err);
    struct qk_network *network = open_network(model, n);
    read_in_pieces(network, ids, STEPS, 3, 1, expected, &error, found);
    if (!(error < 2e-5)) /* the same products in another order */
        fail_msg("%s: steps differ from the pass by %g", name, error);
    read_in_pieces(network, ids, n, n, n, NULL, NULL, last);
    read_in_pieces(network, ids, n, BORDER, n, NULL, NULL, found);
    assert_memory_equal(found, last, sizeof last);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        qk_parallel_limit(limits[i]);
        read_in_pieces(network, ids, n, n, n, NULL, NULL, found);
        assert_memory_equal(found, last, sizeof last);
    }
    qk_parallel_limit(0);
    qk_network_close(network);
    close_golden(&golden);
    qk_model_close(model);
}

/* Beyond as many tokens as it attends to, a model with an index of keys is refused. */
static void test_too_long(void **state)
{
    int32_t ids[LONG] = {0};
    float logits[WORDS], x[32 * 65] = {0};
    struct qk_layer_attention made;
    struct qk_model *model;
    struct golden golden;
    struct qk_error err = {0};
    (void)state;
    open_fixture("glm_moe_dsa", &model, &golden);
    expect_ok(qk_forward(model, NULL, ids, 64, NULL, logits, 1, NULL, &err), &err);
    expect_failure(
        qk_forward(model, NULL, ids, 65, NULL, logits, 1, NULL, &err), &err, QK_INPUT, "64 tokens|65");
    expect_failure(
        qk_layer_attention_make(model, NULL, 0, x, 65, NULL, &made, &err), &err, QK_INPUT, "64 tokens|65");
    close_golden(&golden);
    qk_model_close(model);
}

int main(void)
{
    struct CMUnitTest tests[2 * N_FIXTURES + 1];
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    for (size_t i = 0; i < N_FIXTURES; i++)
        tests[i] = (struct CMUnitTest){FIXTURES[i], test_golden, NULL, NULL, FIXTURES[i]};
    for (size_t i = 0; i < N_FIXTURES; i++)
        tests[N_FIXTURES + i] = (struct CMUnitTest){FIXTURES[i], test_steps, NULL, NULL, FIXTURES[i]};
    tests[2 * N_FIXTURES] = (struct CMUnitTest)cmocka_unit_test(test_too_long);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
