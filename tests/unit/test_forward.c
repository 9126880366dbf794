/* test_forward.c - the forward pass against other software's: hidden states, logits and attention maps of every
 * family with a golden; attention from given inputs; patches; and refusals. */
#include "golden.h"
#include "models.h"

#include "base/blas.h"
#include "base/json.h"
#include "forward/forward.h"
#include "forward/layer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- goldens --- */

/* Goldens are float32 and so is the pass: sums in another order differ by 1e-6 of the largest entry or so a layer. */
static const double TOLERANCE = 2e-4;

/* The fixtures' goldens come of models that were cast to bfloat16 and back, and their rotary frequencies with
 * them: 0.4 % off what the same software computes for a checkpoint that it loads. So that the goldens can be
 * met, a copy of the fixture has a config that asks for those frequencies (longrope, a divisor for each
 * pair). The trained pairs' and jet_nemotron's goldens have the frequencies of their configs. */
static double rounded_to_bf16(double value)
{
    unsigned char bytes[2];
    double rounded;
    qk_dtype_from_f64(QK_BF16, &value, 1, bytes);
    qk_dtype_to_f64(QK_BF16, bytes, 1, &rounded);
    return rounded;
}

static void ask_for_rounded(const cJSON *config, cJSON *rope)
{
    cJSON *nested;
    if (qk_json_get(rope, "rope_theta") == NULL) { /* one object for each kind of layer */
        cJSON_ArrayForEach(nested, rope) ask_for_rounded(config, nested);
        return;
    }
    double head_dim =
               qk_json_number(config, "hidden_size", 0) / qk_json_number(config, "num_attention_heads", 1),
           theta = qk_json_number(rope, "rope_theta", 0);
    int dims = (int)(qk_json_number(config, "head_dim", head_dim) *
                     qk_json_number(rope, "partial_rotary_factor", 1));
    cJSON *divisors = cJSON_AddArrayToObject(rope, "short_factor");
    for (int j = 0; j < dims; j += 2) {
        double frequency = (double)(float)pow(theta, -(double)j / dims);
        char number[32];
        snprintf(number, sizeof number, "%.17g", frequency / rounded_to_bf16(frequency));
        cJSON_AddItemToArray(divisors, cJSON_CreateRaw(number));
    }
    cJSON_ReplaceItemInObject(rope, "rope_type", cJSON_CreateString("longrope"));
    cJSON_AddNumberToObject(rope, "original_max_position_embeddings", 4096);
    cJSON_AddNumberToObject(rope, "attention_factor", 1);
}

static void open_rounded(const char *fixture, const char *folder, struct qk_model **model)
{
    char path[PATH_SIZE], link[PATH_SIZE], absolute[PATH_SIZE];
    struct qk_error err = {0};
    cJSON *config;
    expect_ok(qk_json_read(path_in(path, fixture, "config.json"), 1 << 20, &config, &err), &err);
    cJSON *rope = cJSON_GetObjectItem(config, "rope_parameters");
    if (rope != NULL)
        ask_for_rounded(config, rope);
    if (qk_json_get(config, "max_position_embeddings") == NULL)
        cJSON_AddNumberToObject(config, "max_position_embeddings", 4096);
    char *text = cJSON_Print(config);
    remove(path_in(path, folder, "config.json"));
    write_text(path, "%s", text);
    assert_non_null(realpath(path_in(path, fixture, "model.safetensors"), absolute));
    remove(path_in(link, folder, "model.safetensors"));
    assert_int_equal(symlink(absolute, link), 0);
    expect_ok(qk_model_open(folder, model, &err), &err);
    free(text);
    cJSON_Delete(config);
}

static const char JET_PAIR[] = "tiny-jet-nemotron";
/* Goldens with the frequencies of their configs. There is one side of each. */
static const char *const EXACT[] = {"qwen3_moe", "mixtral4", "qwen3_next_moe", "qwen3_5_moe_text", "glm4_moe",
    "nemotron_h", "bamba", "granite", "falcon_h1", "recurrent_gemma", "granitemoehybrid_moe", "jamba_moe",
    "lfm2_moe", "olmo_hybrid", "minimax_moe", "kimi_linear", "gemma4_text"};
enum { N_EXACT = sizeof EXACT / sizeof EXACT[0] };

static bool is_exact(const char *family)
{
    for (size_t i = 0; i < N_EXACT; i++)
        if (strcmp(EXACT[i], family) == 0)
            return true;
    return false;
}

static void open_side(
    const char *family, const char *side, const char *folder, struct qk_model **model, struct golden *golden)
{
    char name[PATH_SIZE], path[PATH_SIZE];
    struct qk_error err = {0};
    if (strcmp(family, "hypenet") == 0) {
        expect_ok(qk_model_open(demo_path(path, side), model, &err), &err);
        snprintf(name, sizeof name, "golden-%s.safetensors", side);
        demo_path(path, name);
    } else if (strcmp(family, JET_PAIR) == 0) {
        expect_ok(qk_model_open(trained_path(path, family, side), model, &err), &err);
        snprintf(name, sizeof name, "golden-%s.safetensors", side);
        trained_path(path, family, name);
    } else {
        snprintf(name, sizeof name, "fixtures/%s/%s", family, side);
        if (is_exact(family))
            expect_ok(qk_model_open(data_path(path, name), model, &err), &err);
        else
            open_rounded(data_path(path, name), folder, model);
        snprintf(name, sizeof name, "fixtures/%s/%s/golden.safetensors", family, side);
        data_path(path, name);
    }
    open_golden(path, golden);
}

/* --- the pass --- */

static void compare_pass(const char *family, const char *side, const char *folder, struct comparison *total)
{
    struct qk_model *model;
    struct golden golden;
    bool thinned = strcmp(family, JET_PAIR) == 0, trained = thinned || strcmp(family, "hypenet") == 0;
    open_side(family, side, folder, &model, &golden);
    compare_golden(model, &golden, trained, thinned, total);
    close_golden(&golden);
    qk_model_close(model);
}

static const char *const PASSES[] = {"hypenet", "llama", "mistral", "qwen2", "qwen3", "gemma3_text", "phi3",
    "gpt_neox", "gpt2", "falcon", "qwen3_next", "qwen3_5_text", "jet_nemotron", JET_PAIR, "jamba"};
enum { TILE_ROWS = 256 }; /* of a product (forward/products.c) */
enum { N_PASSES = sizeof PASSES / sizeof PASSES[0], N_GOLDENS = N_PASSES + N_EXACT };

static void test_goldens(void **state)
{
    struct comparison of[N_GOLDENS] = {0};
    print_message("# %-17s %9s %9s %9s   (worst error, pre and post, of the largest entry)\n", "family",
        "states", "logits", "maps");
    for (size_t i = 0; i < N_GOLDENS; i++) {
        const char *family = i < N_PASSES ? PASSES[i] : EXACT[i - N_PASSES];
        if (i < N_PASSES)
            compare_pass(family, "pre", *state, &of[i]);
        compare_pass(family, "post", *state, &of[i]);
        print_message("# %-17s %9.1e %9.1e %9.1e\n", family, of[i].state, of[i].logits, of[i].map);
    }
    for (size_t i = 0; i < N_GOLDENS; i++)
        if (!(of[i].state < TOLERANCE && of[i].logits < TOLERANCE && of[i].map < TOLERANCE))
            fail_msg("%s: states %g, logits %g, maps %g", i < N_PASSES ? PASSES[i] : EXACT[i - N_PASSES],
                of[i].state, of[i].logits, of[i].map);
}

/* --- attention from given inputs --- */

static double compare_attention(const struct qk_model *model, const struct golden *golden, int layer)
{
    struct qk_layer_attention made;
    struct qk_error err = {0};
    size_t T = golden->T;
    float *x = golden_values(golden, golden_tensor(golden, "hidden_states", layer));
    float *expected = golden_values(golden, golden_tensor(golden, "attentions", layer));
    float *row = malloc(T * sizeof *row), *values = malloc(qk_attention_map_values(T) * sizeof *values);
    double error = 0;
    expect_ok(qk_layer_attention_make(model, NULL, layer, x, T, NULL, &made, &err), &err);
    assert_null(made.attention.v);
    for (size_t h = 0; h < made.attention.n_q; h++) {
        for (size_t t = 0; t < T; t++) {
            qk_attention_row(&made.attention, h, t, row);
            error = fmax(error, worst(row, expected + (h * T + t) * T, t + 1));
        }
        for (size_t t0 = 0; t0 < T; t0 += QK_ATTENTION_BLOCK) {
            size_t n = T - t0 < QK_ATTENTION_BLOCK ? T - t0 : QK_ATTENTION_BLOCK;
            struct qk_attention_map map = qk_attention_map_make(&made.attention, h, t0, n, values);
            for (size_t i = 0; i < n; i++) {
                map_row(&map, i, row);
                error = fmax(error, worst(row, expected + (h * T + t0 + i) * T, t0 + i + 1));
            }
        }
    }
    qk_layer_attention_free(&made);
    free(row);
    free(values);
    free(x);
    free(expected);
    return error;
}

static void test_attention_from_states(void **state)
{
    for (size_t f = 0; f < N_FAMILIES; f++) {
        for (int s = 0; s < QK_SIDE_COUNT; s++) {
            struct qk_model *model;
            struct golden golden;
            int maps = 0;
            open_side(FAMILIES[f], qk_side_name((enum qk_side)s), *state, &model, &golden);
            for (int i = 0; i < model->n_layers; i++) {
                if (golden_tensor(&golden, "attentions", i) == NULL)
                    continue;
                double error = compare_attention(model, &golden, i);
                if (!(error < TOLERANCE))
                    fail_msg("%s %s layer %d: %g", FAMILIES[f], qk_side_name((enum qk_side)s), i, error);
                maps++;
            }
            assert_true(maps > 0);
            close_golden(&golden);
            qk_model_close(model);
        }
    }
}

/* A linear layer sees no absolute position, and zeros before a text leave no trace in it: moved over the
 * boundary of two blocks of tokens it makes the same of the text. */
static void test_moved_in_time(void **state)
{
    static const char *const families[] = {
        "qwen3_next", "qwen3_5_text", "jet_nemotron", "hypenet", "olmo_hybrid", "kimi_linear"};
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
        struct qk_model *model;
        struct golden golden;
        struct qk_parts parts;
        struct qk_layer_weights weights;
        struct qk_rope_tables tables = {0};
        struct qk_error err = {0};
        open_side(families[f], "post", *state, &model, &golden);
        size_t before = TILE_ROWS - 5, T = before + golden.T, d = (size_t)model->layer[0].d, n = golden.T * d;
        float *in = golden_values(&golden, golden_tensor(&golden, "hidden_states", 0)),
              *out = golden_values(&golden, golden_tensor(&golden, "hidden_states", 1)),
              *x = calloc(T * d, sizeof *x);
        memcpy(x + before * d, in, n * sizeof *x);
        assert_int_equal(model->layer[0].kind, QK_LINEAR);
        expect_ok(qk_parts_open(model, NULL, T, &parts, &err), &err);
        expect_ok(qk_layer_weights_read(&parts, &model->layer[0], true, &weights, &err), &err);
        const struct qk_sequence whole = {.n = T};
        const struct qk_batch batch = {.sequence = &whole, .n = 1, .T = T, .positions = T};
        expect_ok(qk_layer_run(&weights, x, &batch, &tables, NULL, NULL, &err), &err);
        double error = worst(x + before * d, out, n);
        if (!(error < TOLERANCE))
            fail_msg("%s: %g", families[f], error);
        qk_rope_tables_free(&tables);
        qk_layer_weights_free(&weights);
        qk_parts_close(&parts);
        free(in);
        free(out);
        free(x);
        close_golden(&golden);
        qk_model_close(model);
    }
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        test_in_folder(test_goldens),
        test_in_folder(test_attention_from_states),
        test_in_folder(test_moved_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
