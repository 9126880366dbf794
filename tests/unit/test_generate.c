/* test_generate.c - sequences that grow token by token against the pass over all their tokens, for every
 * family with a pass; greedy continuations; networks that share layers; memory, threads, refusals. */
#include "models.h"

#include "base/blas.h"
#include "base/parallel.h"
#include "forward/decoder.h"
#include "forward/generate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const FAMILIES_WITH_PASS[] = {"hypenet", "llama", "mistral", "qwen2", "qwen3",
    "gemma3_text", "phi3", "gpt_neox", "gpt2", "falcon", "qwen3_next", "qwen3_5_text", "jet_nemotron",
    "qwen3_moe", "mixtral4", "qwen3_next_moe", "qwen3_5_moe_text", "glm4_moe", "nemotron_h", "bamba",
    "falcon_h1", "recurrent_gemma", "granitemoehybrid_moe", "jamba_moe", "lfm2_moe", "granite", "olmo_hybrid",
    "minimax_moe", "kimi_linear", "gemma4_text"};
enum { N_FAMILIES_WITH_PASS = sizeof FAMILIES_WITH_PASS / sizeof FAMILIES_WITH_PASS[0], PLENTY = 1 << 30 };

/* Both are float32 and add the same products in another order. */
static const double TOLERANCE = 2e-5;

static void make_long(int32_t *ids, size_t n)
{
    for (size_t t = 0; t < n; t++)
        ids[t] = (int32_t)((t * t * 7 + 3 * t) % VOCABULARY);
}

static struct qk_network *open_network(
    const struct qk_model *model, const struct qk_patch *patch, size_t tokens, size_t memory)
{
    struct qk_network *network;
    struct qk_error err = {0};
    expect_ok(qk_network_open(model, patch, tokens, memory, &network, &err), &err);
    return network;
}

static float *whole_pass(
    const struct qk_model *model, const struct qk_patch *patch, const int32_t *ids, size_t T)
{
    struct qk_error err = {0};
    float *logits = malloc(T * vocabulary_of(model) * sizeof *logits);
    assert_non_null(logits);
    expect_ok(qk_forward(model, patch, ids, T, NULL, logits, T, NULL, &err), &err);
    return logits;
}

/* --- steps --- */

/* Sequences that are the same tokens from 0 on, at first of these lengths; then a token each at a time, the
 * one before the last in a step of two tokens, until the first ends. */
static double compare_steps(struct qk_network *network, const int32_t *ids, size_t T, const size_t *first,
    size_t n, const float *expected)
{
    enum { MOST = 4 };
    struct qk_decoder *decoder;
    struct qk_error err = {0};
    size_t vocabulary = qk_network_vocabulary(network), capacity[MOST], length[MOST] = {0};
    struct qk_next_tokens next[MOST];
    float *logits = malloc(n * vocabulary * sizeof *logits);
    double error = 0;
    for (size_t i = 0; i < n; i++)
        capacity[i] = T;
    expect_ok(qk_decoder_open(network, n, capacity, &decoder, &err), &err);
    for (size_t step = 0, live = n; live > 0; step++) {
        live = 0;
        for (size_t i = 0; i < n; i++) {
            size_t more = step == 0 ? first[i] : n > 2 && i == n - 2 ? 2 : 1;
            more = more > T - length[i] ? T - length[i] : more;
            if (more == 0)
                continue;
            next[live++] = (struct qk_next_tokens){i, ids + length[i], more};
            length[i] += more;
        }
        if (live == 0)
            break;
        expect_ok(qk_decoder_step(decoder, next, live, logits, NULL, &err), &err);
        for (size_t k = 0; k < live; k++)
            error = fmax(error, worst(logits + k * vocabulary,
                                    expected + (length[next[k].sequence] - 1) * vocabulary, vocabulary));
    }
    qk_decoder_close(decoder);
    free(logits);
    return error;
}

/* Behind each other's ends, over the windows of the fixtures (8 tokens and more). */
static void test_steps_of_every_family(void **state)
{
    static const size_t first[] = {1, 31, 17, 5};
    int32_t ids[N_IDS];
    make_ids(ids);
    for (size_t f = 0; f < N_FAMILIES_WITH_PASS; f++) {
        struct qk_model *model;
        struct qk_error err = {0};
        copy_model(FAMILIES_WITH_PASS[f], "post", *state, NULL, NULL);
        expect_ok(qk_model_open(*state, &model, &err), &err);
        struct qk_network *network = open_network(model, NULL, N_IDS, PLENTY);
        float *expected = whole_pass(model, NULL, ids, N_IDS);
        double error = compare_steps(network, ids, N_IDS, first, 4, expected);
        print_message("# %-13s %9.1e\n", FAMILIES_WITH_PASS[f], error);
        if (!(error < TOLERANCE))
            fail_msg("%s: %g", FAMILIES_WITH_PASS[f], error);
        free(expected);
        qk_network_close(network);
        qk_model_close(model);
    }
}

static struct qk_model *open_demo(const char *side)
{
    char path[PATH_SIZE];
    struct qk_model *model;
    struct qk_error err = {0};
    expect_ok(qk_model_open(demo_path(path, side), &model, &err), &err);
    return model;
}

/* Over the ends of blocks of tokens (128) and of queries (64). */
static void test_long_sequences(void **state)
{
    enum { T = 300 };
    static const char *const families[] = {"hypenet", "nemotron_h", "falcon_h1", "recurrent_gemma"};
    static const size_t first[] = {127, 129, 256};
    int32_t ids[T];
    make_long(ids, T);
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
        struct qk_model *model;
        struct qk_error err = {0};
        copy_model(families[f], "post", *state, NULL, NULL);
        expect_ok(qk_model_open(*state, &model, &err), &err);
        struct qk_network *network = open_network(model, NULL, T, PLENTY);
        float *expected = whole_pass(model, NULL, ids, T);
        double error = compare_steps(network, ids, T, first, 3, expected);
        if (!(error < TOLERANCE))
            fail_msg("%s: %g", families[f], error);
        free(expected);
        qk_network_close(network);
        qk_model_close(model);
    }
}

/* --- greedy continuations --- */

enum { PROMPTS = 3, MADE = 12 };

struct record {
    int32_t id[PROMPTS][MADE];
    size_t n[PROMPTS], stop_after[PROMPTS];
};

static bool record_token(void *context, size_t sequence, int32_t id)
{
    struct record *record = context;
    assert_true(record->n[sequence] < MADE);
    record->id[sequence][record->n[sequence]++] = id;
    return record->n[sequence] != record->stop_after[sequence];
}

static void generate(
    struct qk_network *network, const int32_t *ids, struct record *record, struct qk_progress *progress)
{
    static const size_t length[PROMPTS] = {200, 3, 77};
    struct qk_prompt prompt[PROMPTS];
    struct qk_error err = {0};
    for (size_t i = 0; i < PROMPTS; i++)
        prompt[i] = (struct qk_prompt){ids, length[i], i == 1 ? 5 : MADE, i};
    expect_ok(qk_generate(network, prompt, PROMPTS, NULL, record_token, record, progress, &err), &err);
}

/* The largest logit of a pass over all that was there before is each token that is made. */
static void test_greedy(void **state)
{
    (void)state;
    int32_t ids[256], all[256];
    struct record record = {.stop_after = {0, 0, 4}};
    struct qk_progress progress = {0};
    make_long(ids, 256);
    struct qk_model *model = open_demo("post");
    struct qk_network *network = open_network(model, NULL, 256, PLENTY);
    size_t vocabulary = qk_network_vocabulary(network);
    generate(network, ids, &record, &progress);
    assert_int_equal(record.n[0], MADE);
    assert_int_equal(record.n[1], 5);
    assert_int_equal(record.n[2], 4);
    assert_int_equal(progress.done, 200 + MADE + 3 + 5 + 77 + MADE);
    static const size_t length[PROMPTS] = {200, 3, 77};
    for (size_t i = 0; i < PROMPTS; i++) {
        size_t T = length[i] + record.n[i];
        memcpy(all, ids, length[i] * sizeof *all);
        memcpy(all + length[i], record.id[i], record.n[i] * sizeof *all);
        float *logits = whole_pass(model, NULL, all, T);
        for (size_t k = 0; k < record.n[i]; k++) {
            const float *row = logits + (length[i] + k - 1) * vocabulary;
            float best = row[record.id[i][k]];
            for (size_t v = 0; v < vocabulary; v++) /* as good, but for rounding */
                assert_true(row[v] <= best + 1e-4f);
        }
        free(logits);
    }
    qk_network_close(network);
    qk_model_close(model);
}

static void last_logits(struct qk_network *network, const int32_t *ids, size_t T, float *logits)
{
    struct qk_decoder *decoder;
    struct qk_error err = {0};
    const struct qk_next_tokens next = {0, ids, T};
    expect_ok(qk_decoder_open(network, 1, &T, &decoder, &err), &err);
    expect_ok(qk_decoder_step(decoder, &next, 1, logits, NULL, &err), &err);
    qk_decoder_close(decoder);
}

/* The tokens of all prompts, and the logits behind a long one, are the same in any number of threads. */
static void compare_threads(const struct qk_model *model)
{
    static const size_t limits[] = {1, 2, 5};
    int32_t ids[256];
    struct record expected = {0};
    make_long(ids, 256);
    struct qk_network *network = open_network(model, NULL, 256, PLENTY);
    size_t vocabulary = qk_network_vocabulary(network);
    float *logits = malloc(2 * vocabulary * sizeof *logits);
    generate(network, ids, &expected, NULL);
    last_logits(network, ids, 256, logits);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct record found = {0};
        qk_parallel_limit(limits[i]);
        generate(network, ids, &found, NULL);
        last_logits(network, ids, 256, logits + vocabulary);
        assert_memory_equal(&found, &expected, sizeof found);
        assert_memory_equal(logits, logits + vocabulary, vocabulary * sizeof *logits);
    }
    qk_parallel_limit(0);
    free(logits);
    qk_network_close(network);
}

static void test_same_in_threads(void **state)
{
    static const char *const families[] = {
        "hypenet", "falcon_h1", "jamba_moe", "lfm2_moe", "recurrent_gemma"};
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
        struct qk_model *model;
        struct qk_error err = {0};
        copy_model(families[f], "post", *state, NULL, NULL);
        expect_ok(qk_model_open(*state, &model, &err), &err);
        compare_threads(model);
        qk_model_close(model);
    }
}

/* --- networks --- */

/* Halves layer 7's q, and spoils the layers that are none of the patch's. */
struct scaling {
    int seen, layer;
};

static enum qk_code scale_layer(
    void *context, const struct qk_tensor *tensor, void *bytes, struct qk_error *err)
{
    (void)err;
    struct scaling *scaling = context;
    char prefix[32];
    snprintf(prefix, sizeof prefix, "layers.%d.", scaling->layer);
    scaling->seen++;
    if (strstr(tensor->name, prefix) != NULL && strstr(tensor->name, "q_proj") != NULL)
        halve_values(tensor, bytes);
    return QK_OK;
}

/* A derived network is the model with the patch, reads nothing but its own layers, and leaves the base as it
 * was; and what is held makes no difference. */
static void test_derived(void **state)
{
    (void)state;
    enum { T = 150 };
    int32_t ids[T];
    make_long(ids, T);
    struct qk_model *model = open_demo("post");
    struct scaling scaling = {.layer = 7};
    const struct qk_patch patch = {scale_layer, &scaling, NULL};
    bool *changed = calloc((size_t)model->n_layers, sizeof *changed);
    changed[7] = true;
    static const size_t memories[] = {0, 3 << 20, PLENTY};
    size_t vocabulary = vocabulary_of(model);
    float *plain = malloc(vocabulary * sizeof *plain), *found = malloc(vocabulary * sizeof *found),
          *halved = malloc(vocabulary * sizeof *halved), *all = whole_pass(model, &patch, ids, T);
    for (size_t m = 0; m < sizeof memories / sizeof memories[0]; m++) {
        struct qk_network *base = open_network(model, NULL, T, memories[m]), *derived;
        struct qk_error err = {0};
        expect_ok(qk_network_derive(base, &patch, changed, &derived, &err), &err);
        last_logits(derived, ids, T, m == 0 ? halved : found);
        assert_true(worst(m == 0 ? halved : found, all + (T - 1) * vocabulary, vocabulary) < TOLERANCE);
        if (m > 0)
            assert_memory_equal(found, halved, vocabulary * sizeof *found);
        scaling.seen = 0;
        last_logits(derived, ids, T, found);
        assert_true(memories[m] == PLENTY ? scaling.seen == 0 : memories[m] > 0 || scaling.seen > 0);
        qk_network_close(derived);
        last_logits(base, ids, T, m == 0 ? plain : found);
        if (m > 0)
            assert_memory_equal(found, plain, vocabulary * sizeof *found);
        assert_memory_not_equal(plain, halved, vocabulary * sizeof *plain);
        qk_network_close(base);
    }
    free(changed);
    free(plain);
    free(found);
    free(halved);
    free(all);
    qk_model_close(model);
}

static enum qk_code spoil_gain(
    void *context, const struct qk_tensor *tensor, void *bytes, struct qk_error *err)
{
    (void)err;
    double value = NAN;
    if (strcmp(tensor->name, context) == 0)
        qk_dtype_from_f64(tensor->dtype, &value, 1, bytes);
    return QK_OK;
}

static bool want_all(void *context, size_t sequence, int32_t id)
{
    (void)context;
    (void)sequence;
    (void)id;
    return true;
}

static void test_refused(void **state)
{
    (void)state;
    int32_t ids[20], outside[] = {1, MOST_VOCABULARY};
    struct qk_error err = {0};
    make_long(ids, 20);
    struct qk_model *model = open_demo("post");
    const struct qk_patch patch = {spoil_gain, (char[]){"model.norm.weight"}, NULL};
    struct qk_network *network = open_network(model, &patch, 20, PLENTY);
    struct qk_prompt prompt = {ids, 10, 5, 0};
    expect_failure(qk_generate(network, &prompt, 1, NULL, want_all, NULL, NULL, &err), &err, QK_INPUT,
        "logits are not numbers|10 tokens");
    qk_network_close(network);
    network = open_network(model, NULL, 20, PLENTY);
    prompt = (struct qk_prompt){ids, 16, 5, 0};
    expect_failure(qk_generate(network, &prompt, 1, NULL, want_all, NULL, NULL, &err), &err, QK_INPUT,
        "too long|found 21|most 20");
    prompt = (struct qk_prompt){outside, 2, 5, 0};
    expect_failure(qk_generate(network, &prompt, 1, NULL, want_all, NULL, NULL, &err), &err, QK_INPUT,
        "outside the vocabulary");
    prompt = (struct qk_prompt){ids, 10, 0, 0}; /* nothing is asked for */
    expect_ok(qk_generate(network, &prompt, 1, NULL, want_all, NULL, NULL, &err), &err);
    struct qk_progress progress = {.cancel = true};
    prompt.limit = 5;
    expect_failure(
        qk_generate(network, &prompt, 1, NULL, want_all, NULL, &progress, &err), &err, QK_CANCELLED, "");
    qk_network_close(network);
    qk_model_close(model);
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        test_in_folder(test_steps_of_every_family),
        test_in_folder(test_long_sequences),
        cmocka_unit_test(test_greedy),
        test_in_folder(test_same_in_threads),
        cmocka_unit_test(test_derived),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
