/* test_prefill.c - prompts that are read together, with common beginnings and with kept activations, against the same
 * prompts alone: every bit of the logits, for every family with a pass, in one, two and three threads. */
#include "models.h"

#include "base/blas.h"
#include "base/parallel.h"
#include "forward/decoder.h"
#include "forward/prefill.h"
#include "forward/prefill_plan.h"
#include "forward/row_products.h"
#include "tensor/float32.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* gpt2 has 256 positions, too few for a common beginning. */
static const char *const WITH_PASS[] = {"hypenet", "llama", "mistral", "qwen2", "qwen3", "gemma3_text",
    "phi3", "gpt_neox", "falcon", "qwen3_next", "qwen3_5_text", "jet_nemotron", "qwen3_moe", "mixtral4",
    "qwen3_next_moe", "glm4_moe", "nemotron_h", "bamba", "falcon_h1", "recurrent_gemma",
    "granitemoehybrid_moe", "jamba_moe", "lfm2_moe", "olmo_hybrid", "minimax_moe", "kimi_linear",
    "gemma4_text"};
enum { N_WITH_PASS = sizeof WITH_PASS / sizeof WITH_PASS[0], PLENTY = 1 << 30 };

/* --- products of few rows --- */

/* Weights in each format, and what they are in float32 and float64. */
struct some_weights {
    unsigned char stored[4 * 9 * 70];
    float wide[9 * 70];
    double exact[9 * 70];
};

static void make_weights(enum qk_dtype dtype, size_t n, struct some_weights *w)
{
    for (size_t j = 0; j < n; j++)
        w->exact[j] =
            cos((double)(3 * j) + 2) * (j % 5 == 0 ? 0x1p-20 : 1); /* some are subnormal in float16 */
    qk_dtype_from_f64(dtype, w->exact, n, w->stored);
    qk_dtype_to_f64(dtype, w->stored, n, w->exact);
    qk_dtype_to_f32(dtype, w->stored, n, w->wide);
}

/* Against sums in float64; a row has the same bits alone, among others, with its weights in two parts, and with these in
 * float32. */
static void check_row_products(enum qk_dtype dtype, size_t T, size_t k, const float *bias)
{
    enum { N = 9, MOST_T = 7 };
    static struct some_weights w;
    float x[MOST_T * 70], out[MOST_T * N], alone[N], wide[MOST_T * N];
    size_t row = k * (qk_dtype_bits(dtype) / 8);
    make_weights(dtype, N * k, &w);
    for (size_t j = 0; j < T * k; j++)
        x[j] = (float)sin((double)(j * j) + 1);
    qk_row_products(T, k, N, x, dtype, w.stored, bias, out, N);
    qk_row_products(T, k, N, x, QK_F32, w.wide, bias, wide, N);
    assert_memory_equal(wide, out, T * N * sizeof *out);
    for (size_t t = 0; t < T; t++) {
        for (size_t n = 0; n < N; n++) {
            double sum = bias != NULL ? (double)bias[n] : 0;
            for (size_t j = 0; j < k; j++)
                sum += (double)x[t * k + j] * w.exact[n * k + j];
            assert_true(fabs((double)out[t * N + n] - sum) < 2e-5); /* k roundings of values below 10 */
        }
        qk_row_products(1, k, 4, x + t * k, dtype, w.stored, bias, alone, N);
        qk_row_products(
            1, k, N - 4, x + t * k, dtype, w.stored + 4 * row, bias != NULL ? bias + 4 : NULL, alone + 4, N);
        assert_memory_equal(alone, out + t * N, sizeof alone);
    }
}

static void test_row_products(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 15, 16, 17, 70};
    static const enum qk_dtype dtypes[] = {QK_F32, QK_BF16, QK_F16};
    static const float bias[] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++)
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
            for (size_t T = 1; T <= 7; T += 2)
                check_row_products(dtypes[d], T, lengths[i], i % 2 == 0 ? bias : NULL);
}

/* --- prompts --- */

enum { PROMPTS = 8, LONGEST = 600 };

/* Sequences of tokens: 0 and 3 are equal; 1 leaves them behind 280 tokens; 2 has one token behind a border of tiles; 4
 * and 5 share two tiles, the first of them with 0; 6 is a single token; 7 begins like none. */
struct prompts {
    int32_t ids[PROMPTS][LONGEST];
    struct qk_prompt prompt[PROMPTS];
};

static void make_prompts(struct prompts *p)
{
    static const size_t length[PROMPTS] = {300, 290, 257, 300, LONGEST, 520, 1, 40};
    for (size_t i = 0; i < PROMPTS; i++) {
        for (size_t t = 0; t < LONGEST; t++)
            p->ids[i][t] = (int32_t)((t * t * 7 + 3 * t) % VOCABULARY);
        p->prompt[i] = (struct qk_prompt){p->ids[i], length[i], 1, i};
    }
    for (size_t t = 280; t < 290; t++)
        p->ids[1][t] ^= 1;
    for (size_t t = 400; t < LONGEST; t++)
        p->ids[4][t] ^= 3, p->ids[5][t] ^= 3;
    for (size_t t = 515; t < LONGEST; t++)
        p->ids[5][t] ^= 1;
    for (size_t t = 0; t < 40; t++)
        p->ids[7][t] ^= 2;
}

/* The logits (2 n, vocabulary) behind each prompt, and behind the token 5 that follows. */
static float *read_together(struct qk_network *network, const struct qk_prompt *const *prompt, size_t n,
    const struct qk_kept_run *kept)
{
    static const int32_t five = 5;
    size_t capacity[PROMPTS], sequence[PROMPTS], vocabulary = qk_network_vocabulary(network);
    struct qk_next_tokens next[PROMPTS];
    struct qk_decoder *decoder;
    struct qk_error err = {0};
    float *logits = malloc(2 * n * vocabulary * sizeof *logits);
    assert_non_null(logits);
    for (size_t i = 0; i < n; i++) {
        capacity[i] = prompt[i]->n + 1;
        sequence[i] = i;
        next[i] = (struct qk_next_tokens){i, &five, 1};
    }
    expect_ok(qk_decoder_open(network, n, capacity, &decoder, &err), &err);
    expect_ok(qk_prefill(decoder, prompt, sequence, n, kept, logits, NULL, &err), &err);
    expect_ok(qk_decoder_step(decoder, next, n, logits + n * vocabulary, NULL, &err), &err);
    qk_decoder_close(decoder);
    return logits;
}

/* The same for each prompt in a decoder of its own. */
static float *read_alone(struct qk_network *network, const struct prompts *p)
{
    size_t vocabulary = qk_network_vocabulary(network);
    float *all = malloc(2 * PROMPTS * vocabulary * sizeof *all);
    assert_non_null(all);
    for (size_t i = 0; i < PROMPTS; i++) {
        const struct qk_prompt *prompt = &p->prompt[i];
        float *one = read_together(network, &prompt, 1, NULL);
        memcpy(all + i * vocabulary, one, vocabulary * sizeof *all);
        memcpy(all + (PROMPTS + i) * vocabulary, one + vocabulary, vocabulary * sizeof *all);
        free(one);
    }
    return all;
}

static bool same_together(struct qk_network *network, const struct prompts *p, const struct qk_kept_run *kept,
    const float *expected)
{
    const struct qk_prompt *prompt[PROMPTS];
    for (size_t i = 0; i < PROMPTS; i++)
        prompt[i] = &p->prompt[i];
    float *found = read_together(network, prompt, PROMPTS, kept);
    bool same = memcmp(found, expected, 2 * PROMPTS * qk_network_vocabulary(network) * sizeof *found) == 0;
    free(found);
    return same;
}

static struct qk_network *open_network(const struct qk_model *model)
{
    struct qk_network *network;
    struct qk_error err = {0};
    expect_ok(qk_network_open(model, NULL, LONGEST + 1, PLENTY, &network, &err), &err);
    return network;
}

/* --- common beginnings --- */

static void test_plan(void **state)
{
    (void)state;
    struct prompts *p = malloc(sizeof *p);
    const struct qk_prompt *prompt[PROMPTS];
    size_t sequence[PROMPTS], start[PROMPTS] = {0};
    struct qk_plan plan;
    struct qk_error err = {0};
    make_prompts(p);
    for (size_t i = 0; i < PROMPTS; i++) {
        prompt[i] = &p->prompt[i];
        sequence[i] = i;
    }
    expect_ok(qk_plan_make(prompt, sequence, start, PROMPTS, &plan, &err), &err);
    /* 256 tokens of 0 to 5 once, 256 more of 4 and 5. */
    assert_int_equal(
        plan.rows, 256 + (300 - 256) + (290 - 256) + 1 + (300 - 256) + 256 + (600 - 512) + 8 + 1 + 40);
    assert_int_equal(plan.waves, 3);
    qk_plan_free(&plan);
    start[4] = 1; /* no longer beside 5 */
    expect_ok(qk_plan_make(prompt, sequence, start, PROMPTS, &plan, &err), &err);
    assert_int_equal(
        plan.rows, 256 + (300 - 256) + (290 - 256) + 1 + (300 - 256) + (520 - 256) + 1 + 40 + 600);
    qk_plan_free(&plan);
    free(p);
}

/* --- kept activations --- */

enum { MOST_LAYERS = 16, FIRST_OTHER = 100 };

struct keeping {
    size_t number[MOST_LAYERS + 1];
    bool keep[MOST_LAYERS + 1], inputs[MOST_LAYERS + 1];
    struct qk_kept_run run;
};

/* The numbers of a network that has the layers before `same` in common with the others. */
static void make_run(struct keeping *k, struct qk_kept *kept, size_t n_layers, size_t same)
{
    assert_true(n_layers <= MOST_LAYERS);
    for (size_t l = 0; l <= n_layers; l++) {
        k->number[l] = l <= same ? l : FIRST_OTHER * (same + 1) + l;
        k->keep[l] = true;
        k->inputs[l] = l % 3 != 2;
    }
    k->run = (struct qk_kept_run){kept, k->number, k->keep, k->inputs};
}

/* Passes that keep, that begin at each layer, and that find some of it kept. */
static void check_kept(
    struct qk_network *network, const struct prompts *p, size_t bytes, const float *expected)
{
    size_t n_layers = (size_t)qk_network_model(network)->n_layers;
    struct qk_kept *kept;
    struct keeping k;
    struct qk_error err = {0};
    expect_ok(qk_kept_open(PROMPTS, bytes, &kept, &err), &err);
    for (size_t same = 0; same <= n_layers; same += test_is_brief() ? n_layers : 1) {
        make_run(&k, kept, n_layers, same == 0 ? n_layers : same);
        assert_true(same_together(network, p, &k.run, expected));
        if (bytes == PLENTY)
            assert_non_null(qk_kept_find(kept, 1, n_layers - 1));
    }
    qk_kept_close(kept);
}

static void test_every_family(void **state)
{
    struct prompts *p = malloc(sizeof *p);
    make_prompts(p);
    for (size_t f = 0; f < N_WITH_PASS; f += test_is_brief() ? N_WITH_PASS - 1 : 1) {
        struct qk_model *model;
        struct qk_error err = {0};
        copy_model(WITH_PASS[f], "post", *state, NULL, NULL);
        expect_ok(qk_model_open(*state, &model, &err), &err);
        struct qk_network *network = open_network(model);
        float *expected = read_alone(network, p);
        print_message("# %s\n", WITH_PASS[f]);
        qk_parallel_limit(1 + f % 3);
        assert_true(same_together(network, p, NULL, expected));
        check_kept(network, p, PLENTY, expected);
        check_kept(network, p, 3 << 20, expected); /* some of it */
        qk_parallel_limit(0);
        free(expected);
        qk_network_close(network);
        qk_model_close(model);
    }
    free(p);
}

static enum qk_code halve_query(
    void *context, const struct qk_tensor *tensor, void *bytes, struct qk_error *err)
{
    (void)err;
    if (strstr(tensor->name, context) != NULL)
        halve_values(tensor, bytes);
    return QK_OK;
}

/* A network with a changed layer begins with what its base kept. Were more of it taken, the logits would differ. */
static void test_changed_layer(void **state)
{
    (void)state;
    struct prompts *p = malloc(sizeof *p);
    char path[PATH_SIZE];
    struct qk_model *model;
    struct qk_network *derived;
    struct qk_kept *kept;
    struct keeping k;
    struct qk_error err = {0};
    const struct qk_patch patch = {halve_query, (char[]){"layers.7.self_attn.q_proj"}, NULL};
    bool changed[MOST_LAYERS] = {[7] = true};
    make_prompts(p);
    expect_ok(qk_model_open(demo_path(path, "post"), &model, &err), &err);
    struct qk_network *base = open_network(model);
    expect_ok(qk_network_derive(base, &patch, changed, &derived, &err), &err);
    float *plain = read_alone(base, p), *expected = read_alone(derived, p);
    expect_ok(qk_kept_open(PROMPTS, PLENTY, &kept, &err), &err);
    make_run(&k, kept, (size_t)model->n_layers, (size_t)model->n_layers);
    assert_true(same_together(base, p, &k.run, plain));
    assert_false(same_together(derived, p, &k.run, expected));
    make_run(&k, kept, (size_t)model->n_layers, 7);
    assert_true(same_together(derived, p, &k.run, expected));
    assert_true(same_together(derived, p, &k.run, expected));
    qk_kept_close(kept);
    free(plain);
    free(expected);
    qk_network_close(derived);
    qk_network_close(base);
    qk_model_close(model);
    free(p);
}

/* A prompt over the positions where tiles grow, and the same one behind a common beginning that ends there. */
static void test_larger_tiles(void **state)
{
    (void)state;
    if (test_is_brief())
        return;
    enum { T = 4700, SAME = 4660 };
    char path[PATH_SIZE];
    struct qk_model *model;
    struct qk_network *network;
    struct qk_error err = {0};
    int32_t *ids = malloc(2 * T * sizeof *ids);
    for (size_t t = 0; t < T; t++)
        ids[t] = ids[T + t] = (int32_t)((t * t * 7 + 3 * t) % VOCABULARY);
    for (size_t t = SAME; t < T; t++)
        ids[T + t] ^= 1;
    const struct qk_prompt a = {ids, T, 1, 0},
                           b = {ids + T, T, 1, 1}, *const both[] = {&a, &b}, *const one = &b;
    expect_ok(qk_model_open(demo_path(path, "post"), &model, &err), &err);
    expect_ok(qk_network_open(model, NULL, T + 1, PLENTY, &network, &err), &err);
    size_t vocabulary = qk_network_vocabulary(network);
    float *together = read_together(network, both, 2, NULL), *alone = read_together(network, &one, 1, NULL);
    assert_memory_equal(together + vocabulary, alone, vocabulary * sizeof *alone);
    assert_memory_equal(together + 3 * vocabulary, alone + vocabulary, vocabulary * sizeof *alone);
    free(together);
    free(alone);
    free(ids);
    qk_network_close(network);
    qk_model_close(model);
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_row_products),
        cmocka_unit_test(test_plan),
        test_in_folder(test_every_family),
        cmocka_unit_test(test_changed_layer),
        cmocka_unit_test(test_larger_tiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
