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
    "deepseek_v32", "gpt_oss", "afmoe", "mimo_v2_flash", "zamba2", "mistral4", "gated_deltanet", "kda",
    "bailing_moe", "bailing_moe_v2", "chatglm", "minicpm_sala", "bailing2_5", "llama4", "arcee", "minicpm",
    "olmoe", "minimax_m2", "dots1"};
enum { N_FIXTURES = sizeof FIXTURES / sizeof FIXTURES[0] };

static void open_fixture(const char *name, struct qk_model **model, struct golden *golden)
{
    char folder[PATH_SIZE], path[PATH_SIZE];
    struct qk_error err = {0};
    snprintf(path, sizeof path, "softmax/%s", name);
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

/* --- FP8 --- */

/* A file that grows: the header's text and the data. */
struct file {
    char *header, *data;
    size_t header_size, n;
    FILE *text;
};

static void add_tensor(struct file *file, const char *name, const char *suffix, const char *dtype,
    const uint64_t *shape, int n_dims, const void *bytes, size_t n)
{
    fprintf(file->text, "%c\"%s%s\":{\"dtype\":\"%s\",\"shape\":[", file->n == 0 ? '{' : ',', name, suffix,
        dtype);
    for (int i = 0; i < n_dims; i++)
        fprintf(file->text, "%s%llu", i > 0 ? "," : "", (unsigned long long)shape[i]);
    fprintf(file->text, "],\"data_offsets\":[%zu,%zu]}", file->n, file->n + n);
    file->data = realloc(file->data, file->n + n);
    assert_non_null(file->data);
    memcpy(file->data + file->n, bytes, n);
    file->n += n;
}

static void write_file(struct file *file, const char *path)
{
    fputc('}', file->text);
    fclose(file->text);
    size_t n = strlen(file->header);
    uint64_t length = n;
    char *bytes = malloc(sizeof length + n + file->n);
    memcpy(bytes, &length, sizeof length);
    memcpy(bytes + sizeof length, file->header, n);
    memcpy(bytes + sizeof length + n, file->data, file->n);
    write_bytes(path, bytes, sizeof length + n + file->n);
    free(bytes);
    free(file->header);
    free(file->data);
}

enum { SQUARE = 16 };

/* Adds a matrix of random FP8 values below 2, or one an expert, in squares whose scales are powers of 2 from 1/32 to
 * 1/4: so bfloat16 holds every product. Down projections of all experts have one scale an expert. Coded it is FP8 and
 * its scales, else these products. */
static void add_matrix(struct file *file, const struct qk_tensor *tensor, bool coded, uint64_t *seed)
{
    int first = tensor->n_dims - 2;
    bool single = first > 0 && strstr(tensor->name, "down") != NULL;
    uint64_t each = first > 0 ? tensor->shape[0] : 1, rows = tensor->shape[first],
             columns = tensor->shape[first + 1], high = single ? rows : SQUARE,
             wide = single ? columns : SQUARE, across = (columns + wide - 1) / wide,
             down = (rows + high - 1) / high, n = each * rows * columns, n_scales = each * down * across;
    const uint64_t of_scales[] = {each, down, across};
    unsigned char *codes = malloc(n), *plain = malloc(2 * n);
    float *scales = malloc(n_scales * sizeof *scales);
    for (uint64_t i = 0; i < n_scales; i++)
        scales[i] = ldexpf(1.0f, -2 - (int)(random_bits(seed) % 4));
    for (uint64_t i = 0; i < n; i++) {
        double value;
        uint64_t bits = random_bits(seed), row = i / columns % rows;
        codes[i] = (unsigned char)((bits & 0x80) | (bits >> 8) % 0x40);
        qk_dtype_to_f64(QK_F8_E4M3, &codes[i], 1, &value);
        value *= (double)scales[(i / columns / rows * down + row / high) * across + i % columns / wide];
        qk_dtype_from_f64(QK_BF16, &value, 1, plain + 2 * i);
    }
    if (coded) {
        add_tensor(file, tensor->name, "", "F8_E4M3", tensor->shape, tensor->n_dims, codes, n);
        add_tensor(file, tensor->name, "_scale_inv", "F32", of_scales + (first > 0 ? 0 : 1), tensor->n_dims,
            scales, n_scales * sizeof *scales);
    } else {
        add_tensor(file, tensor->name, "", "BF16", tensor->shape, tensor->n_dims, plain, 2 * n);
    }
    free(codes);
    free(plain);
    free(scales);
}

/* FOLDER with the fixture's model, in which every matrix of a layer but routers is replaced by add_matrix's. */
static void write_coded(const char *fixture, const char *folder, bool coded)
{
    char from[PATH_SIZE], path[PATH_SIZE], name[PATH_SIZE];
    struct qk_checkpoint *c;
    struct qk_error err = {0};
    struct file file = {0};
    uint64_t seed = 11;
    size_t n;
    snprintf(name, sizeof name, "softmax/%s", fixture);
    data_path(from, name);
    make_folder(folder);
    char *config = read_bytes(path_in(path, from, "config.json"), &n);
    write_bytes(path_in(path, folder, "config.json"), config, n);
    free(config);
    set_config(folder, "quantization_config", "{\"quant_method\":\"fp8\",\"weight_block_size\":[16,16]}");
    expect_ok(qk_checkpoint_open(from, &c, &err), &err);
    file.text = open_memstream(&file.header, &file.header_size);
    for (size_t i = 0; i < c->n_tensors; i++) {
        const struct qk_tensor *tensor = c->by_name[i];
        if (tensor->n_dims >= 2 &&
            (strstr(tensor->name, ".layers.") != NULL || strstr(tensor->name, ".h.") != NULL) &&
            strstr(tensor->name, "mlp.gate.weight") == NULL) {
            add_matrix(&file, tensor, coded, &seed);
            continue;
        }
        char *bytes = malloc((size_t)tensor->bytes);
        expect_ok(qk_checkpoint_read(c, tensor, 0, bytes, (size_t)tensor->bytes, &err), &err);
        add_tensor(&file, tensor->name, "", tensor->dtype_text, tensor->shape, tensor->n_dims, bytes,
            (size_t)tensor->bytes);
        free(bytes);
    }
    write_file(&file, path_in(path, folder, "model.safetensors"));
    qk_checkpoint_close(c);
}

/* FP8 with scales makes every bit of the logits that the same numbers in bfloat16 make: with latent attention and
 * experts, whose matrices have squares that are cut off, with q, k and v of their own, and with experts in one tensor,
 * which has scales for each. */
static void test_fp8(void **state)
{
    static const char *const fixtures[] = {"glm4_moe_lite", "glm4", "codegen", "mistral4"};
    int32_t ids[STEPS];
    for (int t = 0; t < STEPS; t++)
        ids[t] = (t * t * 7 + 5 * t) % WORDS;
    for (size_t i = 0; i < sizeof fixtures / sizeof fixtures[0]; i++) {
        float logits[2][STEPS * WORDS];
        for (int coded = 0; coded < 2; coded++) {
            char folder[PATH_SIZE], name[PATH_SIZE];
            struct qk_model *model;
            struct qk_error err = {0};
            snprintf(name, sizeof name, "%s-%d", fixtures[i], coded);
            write_coded(fixtures[i], path_in(folder, *state, name), coded == 1);
            expect_ok(qk_model_open(folder, &model, &err), &err);
            assert_true((model->layer[1].role[QK_Q].scale.tensor != NULL) == (coded == 1));
            expect_ok(qk_forward(model, NULL, ids, STEPS, NULL, logits[coded], STEPS, NULL, &err), &err);
            qk_model_close(model);
        }
        assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
        assert_true(isfinite(logits[0][5]));
    }
}

/* --- families of the same computation under other names --- */

/* In exaone (3) and internlm2 a layer computes what llama's does, as their modeling code shows. */
static const struct {
    const char *llama, *exaone, *internlm2; /* internlm2 NULL: in wqkv */
} NAMES[] = {{"model.embed_tokens", "transformer.wte", "model.tok_embeddings"},
    {"model.norm", "transformer.ln_f", "model.norm"}, {"lm_head", "lm_head", "output"},
    {"input_layernorm", "ln_1", "attention_norm"}, {"post_attention_layernorm", "ln_2", "ffn_norm"},
    {"self_attn.q_proj", "attn.attention.q_proj", NULL}, {"self_attn.k_proj", "attn.attention.k_proj", NULL},
    {"self_attn.v_proj", "attn.attention.v_proj", NULL},
    {"self_attn.o_proj", "attn.attention.out_proj", "attention.wo"},
    {"mlp.gate_proj", "mlp.c_fc_0", "feed_forward.w1"}, {"mlp.up_proj", "mlp.c_fc_1", "feed_forward.w3"},
    {"mlp.down_proj", "mlp.c_proj", "feed_forward.w2"}};

enum { LLAMA_HEADS = 4, LLAMA_KEY_HEADS = 2, LLAMA_ROWS = 16, LLAMA_WIDTH = 64, LLAMA_LAYERS = 4 };

static char *values_at(const struct qk_checkpoint *c, int layer, const char *name, size_t *n)
{
    char full[96];
    struct qk_error err = {0};
    if (layer < 0)
        snprintf(full, sizeof full, "%s.weight", name);
    else
        snprintf(full, sizeof full, "model.layers.%d.%s.weight", layer, name);
    const struct qk_tensor *tensor = qk_checkpoint_find(c, full);
    assert_non_null(tensor);
    assert_int_equal(tensor->dtype, QK_BF16);
    char *bytes = malloc((size_t)tensor->bytes);
    expect_ok(qk_checkpoint_read(c, tensor, 0, bytes, (size_t)tensor->bytes, &err), &err);
    *n = (size_t)tensor->bytes;
    return bytes;
}

/* wqkv: for each key head its query heads, its keys and its values. */
static void add_grouped(struct file *file, const struct qk_checkpoint *c, int layer)
{
    size_t n, head = 2 * LLAMA_ROWS * LLAMA_WIDTH, each = LLAMA_HEADS / LLAMA_KEY_HEADS, at = 0;
    char *q = values_at(c, layer, "self_attn.q_proj", &n), *k = values_at(c, layer, "self_attn.k_proj", &n),
         *v = values_at(c, layer, "self_attn.v_proj", &n),
         *all = malloc((LLAMA_HEADS + 2 * LLAMA_KEY_HEADS) * head), name[64];
    for (size_t g = 0; g < LLAMA_KEY_HEADS; g++) {
        memcpy(all + at, q + g * each * head, each * head);
        memcpy(all + at + each * head, k + g * head, head);
        memcpy(all + at + (each + 1) * head, v + g * head, head);
        at += (each + 2) * head;
    }
    snprintf(name, sizeof name, "model.layers.%d.attention.wqkv", layer);
    const uint64_t shape[] = {(LLAMA_HEADS + 2 * LLAMA_KEY_HEADS) * LLAMA_ROWS, LLAMA_WIDTH};
    add_tensor(file, name, ".weight", "BF16", shape, 2, all, at);
    free(q);
    free(k);
    free(v);
    free(all);
}

static void write_renamed(const struct qk_checkpoint *c, bool exaone, const char *folder)
{
    char path[PATH_SIZE], name[96];
    struct file file = {0};
    file.text = open_memstream(&file.header, &file.header_size);
    for (int layer = -1; layer < LLAMA_LAYERS; layer++) {
        for (size_t i = layer < 0 ? 0 : 3; i < (layer < 0 ? 3 : sizeof NAMES / sizeof NAMES[0]); i++) {
            const char *to = exaone ? NAMES[i].exaone : NAMES[i].internlm2;
            size_t n, columns = strstr(NAMES[i].llama, "norm") != NULL ? 0 : LLAMA_WIDTH;
            char *bytes = values_at(c, layer, NAMES[i].llama, &n);
            columns = strcmp(NAMES[i].llama, "mlp.down_proj") == 0 ? n / 2 / LLAMA_WIDTH : columns;
            if (layer < 0)
                snprintf(name, sizeof name, "%s", to != NULL ? to : "");
            else
                snprintf(name, sizeof name, "%s.%d.%s", exaone ? "transformer.h" : "model.layers", layer,
                    to != NULL ? to : "");
            const uint64_t shape[] = {n / 2 / (columns > 0 ? columns : 1), columns};
            if (to != NULL)
                add_tensor(&file, name, ".weight", "BF16", shape, columns > 0 ? 2 : 1, bytes, n);
            free(bytes);
        }
        if (layer >= 0 && !exaone)
            add_grouped(&file, c, layer);
    }
    write_file(&file, path_in(path, folder, "model.safetensors"));
}

static void test_renamed(void **state)
{
    char folder[PATH_SIZE], path[PATH_SIZE];
    struct qk_checkpoint *c;
    struct qk_error err = {0};
    copy_model("llama", "post", path_in(folder, *state, "llama"), NULL, NULL);
    float *expected = logits_of(folder, NULL);
    expect_ok(qk_checkpoint_open(data_path(path, "fixtures/llama/post"), &c, &err), &err);
    for (int exaone = 0; exaone < 2; exaone++) {
        write_renamed(c, exaone == 1, folder);
        set_config(folder, "model_type", exaone == 1 ? "\"exaone\"" : "\"internlm2\"");
        set_config(folder, "activation_function", "\"silu\"");
        set_config(folder, "layer_norm_epsilon", "1e-6"); /* llama's rms_norm_eps */
        float *found = logits_of(folder, NULL);
        assert_memory_equal(found, expected, N_IDS * VOCABULARY * sizeof *found);
        free(found);
    }
    free(expected);
    qk_checkpoint_close(c);
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

/* Attention on given inputs has sinks of its own: the weights are gone by then. */
static void test_own_sinks(void **state)
{
    struct qk_layer_attention made;
    struct qk_model *model;
    struct golden golden;
    struct qk_error err = {0};
    (void)state;
    open_fixture("gpt_oss", &model, &golden);
    float *x = golden_values(&golden, golden_tensor(&golden, "hidden_states", 1)),
          *expected = golden_values(&golden, golden_tensor(&golden, "attentions", 1)),
          *row = malloc(golden.T * sizeof *row);
    expect_ok(qk_layer_attention_make(model, NULL, 1, x, golden.T, NULL, &made, &err), &err);
    assert_non_null(made.attention.sinks);
    assert_ptr_equal(made.attention.sinks, made.owned[3]);
    for (size_t h = 0; h < made.attention.n_q; h++) {
        size_t t = golden.T - 1;
        qk_attention_row(&made.attention, h, t, row);
        assert_true(worst(row, expected + (h * golden.T + t) * golden.T, t + 1) < TOLERANCE);
    }
    qk_layer_attention_free(&made);
    free(row);
    free(expected);
    free(x);
    close_golden(&golden);
    qk_model_close(model);
}

int main(void)
{
    struct CMUnitTest tests[2 * N_FIXTURES + 4];
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    for (size_t i = 0; i < N_FIXTURES; i++)
        tests[i] = (struct CMUnitTest){FIXTURES[i], test_golden, NULL, NULL, FIXTURES[i]};
    for (size_t i = 0; i < N_FIXTURES; i++)
        tests[N_FIXTURES + i] = (struct CMUnitTest){FIXTURES[i], test_steps, NULL, NULL, FIXTURES[i]};
    tests[2 * N_FIXTURES] = (struct CMUnitTest)cmocka_unit_test(test_too_long);
    tests[2 * N_FIXTURES + 1] = (struct CMUnitTest)test_in_folder(test_fp8);
    tests[2 * N_FIXTURES + 2] = (struct CMUnitTest)test_in_folder(test_renamed);
    tests[2 * N_FIXTURES + 3] = (struct CMUnitTest)cmocka_unit_test(test_own_sinks);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
