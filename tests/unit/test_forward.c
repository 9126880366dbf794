/* test_forward.c - the forward pass against other software's: hidden states, logits and attention maps of
 * every family that there is a golden of; attention from given inputs; patches; and what is refused. */
#include "helper.h"

#include "base/json.h"
#include "linalg/linalg.h"
#include "probe/forward.h"
#include "probe/layer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- goldens --- */

/* Goldens are float32 and so is the pass: sums in another order differ by 1e-6 of the largest entry or so a
 * layer. */
static const double TOLERANCE = 2e-4;

struct golden {
    struct qk_checkpoint *file;
    int32_t *ids;
    size_t T;
};

static const struct qk_tensor *golden_tensor(const struct golden *golden, const char *name, int i)
{
    char full[64];
    snprintf(full, sizeof full, "%s.%d", name, i);
    return qk_checkpoint_find(golden->file, i < 0 ? name : full);
}

static float *golden_values(const struct golden *golden, const struct qk_tensor *tensor)
{
    struct qk_error err = {0};
    float *values = malloc((size_t)tensor->bytes);
    assert_non_null(values);
    assert_int_equal(tensor->dtype, QK_F32);
    expect_ok(qk_checkpoint_read(golden->file, tensor, 0, values, (size_t)tensor->bytes, &err), &err);
    return values;
}

static void open_golden(const char *path, struct golden *golden)
{
    struct qk_error err = {0};
    expect_ok(qk_checkpoint_open(path, &golden->file, &err), &err);
    const struct qk_tensor *ids = golden_tensor(golden, "input_ids", -1);
    assert_non_null(ids);
    golden->T = (size_t)ids->shape[0];
    char *raw = malloc((size_t)ids->bytes);
    golden->ids = calloc(golden->T, sizeof *golden->ids);
    expect_ok(qk_checkpoint_read(golden->file, ids, 0, raw, (size_t)ids->bytes, &err), &err);
    size_t size = qk_dtype_bits(ids->dtype) / 8;
    for (size_t t = 0; t < golden->T; t++)
        memcpy(&golden->ids[t], raw + t * size, sizeof *golden->ids);
    free(raw);
}

static void close_golden(struct golden *golden)
{
    free(golden->ids);
    qk_checkpoint_close(golden->file);
}

/* The fixtures' goldens come of models that were cast to bfloat16 and back, and their rotary frequencies with
 * them: 0.4 % off what the same software computes for a checkpoint that it loads. So that the goldens can be
 * met, a copy of the fixture has a config that asks for those frequencies (longrope, a divisor for each
 * pair). The demo pair's and jet_nemotron's goldens have the frequencies of their configs. */
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

static void open_side(
    const char *family, const char *side, const char *folder, struct qk_model **model, struct golden *golden)
{
    char name[PATH_SIZE], path[PATH_SIZE];
    struct qk_error err = {0};
    if (strcmp(family, "hypenet") == 0) {
        expect_ok(qk_model_open(demo_path(path, side), model, &err), &err);
        snprintf(name, sizeof name, "golden-%s.safetensors", side);
        demo_path(path, name);
    } else {
        snprintf(name, sizeof name, "fixtures/%s/%s", family, side);
        open_rounded(data_path(path, name), folder, model);
        snprintf(name, sizeof name, "fixtures/%s/%s/golden.safetensors", family, side);
        data_path(path, name);
    }
    open_golden(path, golden);
}

/* The largest difference, as a part of the largest entry. */
static double worst(const float *found, const float *expected, size_t n)
{
    double difference = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        difference = fmax(difference, fabs((double)found[i] - (double)expected[i]));
        difference = isfinite(found[i]) ? difference : INFINITY;
        largest = fmax(largest, fabs((double)expected[i]));
    }
    return difference / largest;
}

/* --- the pass --- */

struct comparison {
    const struct qk_model *model;
    const struct golden *golden;
    double state, logits, map;
    int n_states, n_maps, layer;
    float *expected; /* of the map that is being seen */
};

/* The demo goldens' last state is the output of the last layer, the others' follows the final norm. */
static void norm_last(const struct comparison *c, size_t T, size_t d, float *x)
{
    struct qk_parts parts;
    struct qk_layer_weights owner = {0};
    struct qk_norm norm;
    struct qk_error err = {0};
    expect_ok(qk_parts_open(c->model, NULL, 0, &parts, &err), &err);
    expect_ok(qk_norm_read(&parts, -1, "final_norm", d, &owner, &norm, &err), &err);
    qk_norm_apply(&norm, T, d, x, x);
    qk_layer_weights_free(&owner);
    qk_parts_close(&parts);
}

static enum qk_code see_state(
    void *context, int layer, const float *x, size_t T, size_t d, struct qk_error *err)
{
    (void)err;
    struct comparison *c = context;
    const struct qk_tensor *tensor = golden_tensor(c->golden, "hidden_states", layer);
    assert_non_null(tensor);
    assert_int_equal(tensor->shape[0], T);
    assert_int_equal(tensor->shape[1], d);
    float *expected = golden_values(c->golden, tensor);
    if (layer == c->model->n_layers && strcmp(c->model->family, "hypenet") == 0)
        norm_last(c, T, d, expected);
    c->state = fmax(c->state, worst(x, expected, T * d));
    c->n_states++;
    free(expected);
    return QK_OK;
}

static void see_attention(
    void *context, int layer, size_t head, size_t t0, size_t n, const float *p, size_t ld)
{
    struct comparison *c = context;
    size_t T = c->golden->T;
    if (c->layer != layer) {
        const struct qk_tensor *tensor = golden_tensor(c->golden, "attentions", layer);
        assert_non_null(tensor);
        free(c->expected);
        c->expected = golden_values(c->golden, tensor);
        c->layer = layer;
        c->n_maps++;
    }
    for (size_t i = 0; i < n; i++)
        c->map = fmax(c->map, worst(p + i * ld, c->expected + (head * T + t0 + i) * T, t0 + n));
}

static void compare_pass(const char *family, const char *side, const char *folder, struct comparison *total)
{
    struct qk_model *model;
    struct golden golden;
    struct qk_error err = {0};
    open_side(family, side, folder, &model, &golden);
    struct comparison c = {.model = model, .golden = &golden, .layer = -1};
    const struct qk_forward_hooks hooks = {&c, see_state, see_attention};
    const char *missing = qk_forward_missing(model);
    if (missing != NULL)
        fail_msg("%s: %s", family, missing);
    const struct qk_tensor *tensor = golden_tensor(&golden, "logits", -1);
    size_t vocabulary = qk_forward_vocabulary(model);
    assert_int_equal(vocabulary, tensor->shape[1]);
    float *logits = malloc(golden.T * vocabulary * sizeof *logits),
          *expected = golden_values(&golden, tensor);
    expect_ok(qk_forward(model, NULL, golden.ids, golden.T, &hooks, logits, golden.T, NULL, &err), &err);
    int maps = 0;
    for (int i = 0; i < model->n_layers; i++)
        maps += golden_tensor(&golden, "attentions", i) != NULL;
    assert_int_equal(c.n_states, model->n_layers + 1);
    assert_int_equal(c.n_maps, maps);
    total->state = fmax(total->state, c.state);
    total->map = fmax(total->map, c.map);
    total->logits = fmax(total->logits, worst(logits, expected, golden.T * vocabulary));
    free(c.expected);
    free(logits);
    free(expected);
    close_golden(&golden);
    qk_model_close(model);
}

static const char *const PASSES[] = {"hypenet", "llama", "mistral", "qwen2", "qwen3", "gemma3_text", "phi3",
    "gpt_neox", "gpt2", "falcon", "qwen3_next", "qwen3_5_text", "jet_nemotron"};
enum { N_PASSES = sizeof PASSES / sizeof PASSES[0] };

static void test_goldens(void **state)
{
    struct comparison of[N_PASSES] = {0};
    print_message("# %-13s %9s %9s %9s   (worst error, pre and post, of the largest entry)\n", "family",
        "states", "logits", "maps");
    for (size_t i = 0; i < N_PASSES; i++) {
        compare_pass(PASSES[i], "pre", *state, &of[i]);
        compare_pass(PASSES[i], "post", *state, &of[i]);
        print_message("# %-13s %9.1e %9.1e %9.1e\n", PASSES[i], of[i].state, of[i].logits, of[i].map);
    }
    for (size_t i = 0; i < N_PASSES; i++)
        if (!(of[i].state < TOLERANCE && of[i].logits < TOLERANCE && of[i].map < TOLERANCE))
            fail_msg("%s: states %g, logits %g, maps %g", PASSES[i], of[i].state, of[i].logits, of[i].map);
}

/* --- attention from given inputs --- */

static double compare_attention(const struct qk_model *model, const struct golden *golden, int layer)
{
    struct qk_layer_attention made;
    struct qk_error err = {0};
    size_t T = golden->T, B = 7; /* blocks that do not divide T */
    float *x = golden_values(golden, golden_tensor(golden, "hidden_states", layer));
    float *expected = golden_values(golden, golden_tensor(golden, "attentions", layer));
    float *p = malloc(B * T * sizeof *p);
    double error = 0;
    expect_ok(qk_layer_attention_make(model, NULL, layer, x, T, &made, &err), &err);
    assert_null(made.attention.v);
    for (size_t h = 0; h < made.attention.n_q; h++) {
        for (size_t t0 = 0; t0 < T; t0 += B) {
            size_t n = T - t0 < B ? T - t0 : B;
            qk_attention_block(&made.attention, h, t0, n, p, T);
            for (size_t i = 0; i < n; i++)
                error = fmax(error, worst(p + i * T, expected + (h * T + t0 + i) * T, t0 + n));
        }
    }
    qk_layer_attention_free(&made);
    free(p);
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

/* --- models made of fixtures --- */

/* FOLDER with a copy of a fixture's side whose tensor file has `from` replaced by `to`, of the same length,
 * once. */
static void copy_fixture(
    const char *family, const char *side, const char *folder, const char *from, const char *to)
{
    char name[PATH_SIZE], fixture[PATH_SIZE], path[PATH_SIZE];
    size_t n;
    make_folder(folder);
    snprintf(name, sizeof name, "fixtures/%s/%s", family, side);
    data_path(fixture, name);
    char *bytes = read_bytes(path_in(path, fixture, "model.safetensors"), &n);
    if (from != NULL) {
        char *at = memmem(bytes, n, from, strlen(from));
        assert_non_null(at);
        assert_int_equal(strlen(from), strlen(to));
        memcpy(at, to, strlen(to));
    }
    write_bytes(path_in(path, folder, "model.safetensors"), bytes, n);
    free(bytes);
    bytes = read_bytes(path_in(path, fixture, "config.json"), &n);
    write_bytes(path_in(path, folder, "config.json"), bytes, n);
    free(bytes);
}

/* Sets a key of FOLDER/config.json to a JSON text. */
static void set_config(const char *folder, const char *key, const char *value)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    cJSON *config, *item = cJSON_Parse(value);
    assert_non_null(item);
    expect_ok(qk_json_read(path_in(path, folder, "config.json"), 1 << 20, &config, &err), &err);
    cJSON_DeleteItemFromObject(config, key);
    cJSON_AddItemToObject(config, key, item);
    char *text = cJSON_Print(config);
    write_text(path, "%s", text);
    free(text);
    cJSON_Delete(config);
}

enum { N_IDS = 40, VOCABULARY = 128 };
static const struct qk_progress NO_PROGRESS = {0};

static void make_ids(int32_t ids[N_IDS])
{
    for (int t = 0; t < N_IDS; t++)
        ids[t] = (t * t * 7 + 3) % VOCABULARY;
}

/* Logits (N_IDS, VOCABULARY) of the model at FOLDER; the caller frees. */
static float *logits_of(const char *folder, const struct qk_patch *patch)
{
    struct qk_model *model;
    struct qk_error err = {0};
    int32_t ids[N_IDS];
    float *logits = malloc(N_IDS * VOCABULARY * sizeof *logits);
    make_ids(ids);
    expect_ok(qk_model_open(folder, &model, &err), &err);
    expect_ok(qk_forward(model, patch, ids, N_IDS, NULL, logits, N_IDS, NULL, &err), &err);
    qk_model_close(model);
    return logits;
}

/* The pass over FOLDER fails with these words. */
static void expect_refused(const char *folder, const char *words)
{
    struct qk_model *model;
    struct qk_error err = {0};
    int32_t ids[N_IDS];
    float logits[VOCABULARY];
    make_ids(ids);
    expect_ok(qk_model_open(folder, &model, &err), &err);
    expect_failure(qk_forward(model, NULL, ids, N_IDS, NULL, logits, 1, NULL, &err), &err, QK_INPUT, words);
    qk_model_close(model);
}

/* --- patches --- */

struct swap {
    const struct qk_checkpoint *from;
    const char *name;
    int tensors, swapped;
};

static enum qk_code swap_bytes(
    void *context, const struct qk_tensor *tensor, void *bytes, struct qk_error *err)
{
    struct swap *swap = context;
    swap->tensors++;
    if (strcmp(tensor->name, swap->name) != 0)
        return QK_OK;
    swap->swapped++;
    const struct qk_tensor *other = qk_checkpoint_find(swap->from, tensor->name);
    assert_int_equal(other->bytes, tensor->bytes);
    return qk_checkpoint_read(swap->from, other, 0, bytes, (size_t)other->bytes, err);
}

/* post with pre's q of layer 2, as a patch and as a file. */
static void test_patch(void **state)
{
    static const char name[] = "model.layers.2.self_attn.q_proj.weight";
    char post[PATH_SIZE], path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_checkpoint *pre;
    path_in(post, *state, "post");
    copy_fixture("llama", "post", post, NULL, NULL);
    expect_ok(qk_checkpoint_open(data_path(path, "fixtures/llama/pre"), &pre, &err), &err);
    struct swap swap = {.from = pre, .name = name};
    const struct qk_patch patch = {swap_bytes, &swap};
    float *plain = logits_of(post, NULL), *patched = logits_of(post, &patch);
    assert_int_equal(swap.swapped, 1);
    assert_int_equal(swap.tensors, 4 * 9 + 1); /* the final norm's gain */
    size_t n;
    char *bytes = read_bytes(path_in(path, post, "model.safetensors"), &n);
    const struct qk_tensor *tensor = qk_checkpoint_find(pre, name);
    expect_ok(qk_checkpoint_read(pre, tensor, 0, bytes + tensor->offset, (size_t)tensor->bytes, &err), &err);
    write_bytes(path, bytes, n);
    free(bytes);
    float *stored = logits_of(post, NULL);
    assert_memory_equal(patched, stored, N_IDS * VOCABULARY * sizeof *stored);
    assert_memory_not_equal(patched, plain, N_IDS * VOCABULARY * sizeof *stored);
    free(plain);
    free(patched);
    free(stored);
    qk_checkpoint_close(pre);
}

/* --- positions --- */

/* A layer whose rope_layers entry is 0 is one whose angles are 0. */
static void test_no_rope_layers(void **state)
{
    const char *folder = *state;
    copy_fixture("llama", "post", folder, NULL, NULL);
    float *llama = logits_of(folder, NULL);
    set_config(folder, "rope_parameters", "{\"rope_theta\":10000,\"rope_type\":\"linear\",\"factor\":1e30}");
    float *still = logits_of(folder, NULL);
    set_config(folder, "model_type", "\"smollm3\"");
    set_config(folder, "no_rope_layers", "[0,0,0,0]");
    set_config(folder, "rope_parameters", "{\"rope_theta\":10000}");
    float *none = logits_of(folder, NULL);
    set_config(folder, "no_rope_layers", "[1,1,1,1]");
    float *all = logits_of(folder, NULL);
    set_config(folder, "no_rope_layers", "[1,1,0,1]");
    float *most = logits_of(folder, NULL);
    assert_true(worst(none, still, N_IDS * VOCABULARY) < 1e-6);
    assert_memory_equal(all, llama, N_IDS * VOCABULARY * sizeof *all);
    assert_true(worst(most, none, N_IDS * VOCABULARY) > 1e-3 && worst(most, all, N_IDS * VOCABULARY) > 1e-3);
    free(llama);
    free(still);
    free(none);
    free(all);
    free(most);
}

static void frequencies(const char *folder, size_t T, float found[8], float *factor)
{
    struct qk_model *model;
    struct qk_parts parts;
    struct qk_error err = {0};
    expect_ok(qk_model_open(folder, &model, &err), &err);
    expect_ok(qk_parts_open(model, NULL, T, &parts, &err), &err);
    const struct qk_layer *layer = &model->layer[0];
    assert_int_equal(layer->rotary_dims, 16);
    expect_ok(qk_rope_frequencies(&parts, qk_parts_mixer(&parts, layer), layer, found, factor, &err), &err);
    qk_parts_close(&parts);
    qk_model_close(model);
}

static void test_rope_scaling(void **state)
{
    const char *folder = *state;
    float plain[8], scaled[8], factor;
    copy_fixture("llama", "post", folder, NULL, NULL);
    frequencies(folder, 9, plain, &factor);
    for (int j = 0; j < 8; j++)
        assert_true(fabs((double)plain[j] / pow(10000, -j / 8.0) - 1) < 1e-7);
    set_config(folder, "rope_scaling",
        "{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,"
        "\"original_max_position_embeddings\":256}");
    set_config(folder, "rope_parameters", "null");
    set_config(folder, "rope_theta", "10000");
    frequencies(folder, 9, scaled, &factor);
    for (int j = 0; j < 8; j++) { /* in wavelengths, as its authors write it */
        double f = (double)plain[j], wave = 2 * 3.14159265358979 / f, smooth = (256 / wave - 1) / 3;
        double expected = wave < 64 ? f : wave > 256 ? f / 8 : (1 - smooth) * f / 8 + smooth * f;
        assert_true(fabs((double)scaled[j] / expected - 1) < 1e-6);
    }
    assert_true(scaled[0] == plain[0] && scaled[7] == plain[7] / 8 && factor == 1);
    set_config(folder, "rope_scaling",
        "{\"type\":\"longrope\",\"short_factor\":[1,1,1,1,2,2,2,2],\"long_factor\":[4,4,4,4,4,4,4,4]}");
    set_config(folder, "original_max_position_embeddings", "64");
    frequencies(folder, 64, scaled, &factor);
    assert_true(scaled[3] == plain[3] && scaled[4] == plain[4] / 2);
    assert_true(fabs((double)factor - sqrt(1 + log(4) / log(64))) < 1e-6); /* 256 positions of 64 */
    frequencies(folder, 65, scaled, &factor);
    assert_true(scaled[0] == plain[0] / 4);
    static const char *const refused[][2] = {{"{\"rope_type\":\"yarn\",\"factor\":4}", "yarn|not built in"},
        {"{\"rope_type\":\"linear\"}", "factor|missing"},
        {"{\"rope_type\":\"linear\",\"factor\":0}", "factor"},
        {"{\"rope_type\":\"llama3\",\"factor\":8}", "low_freq_factor"},
        {"{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":2,\"high_freq_factor\":2,"
         "\"original_max_position_embeddings\":9}",
            "high_freq_factor"},
        {"{\"rope_type\":\"longrope\",\"short_factor\":[1]}", "short_factor|8"},
        {"{\"rope_type\":\"longrope\",\"short_factor\":[1,1,1,1,0,1,1,1]}", "short_factor[4]"}};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        set_config(folder, "rope_scaling", refused[i][0]);
        expect_refused(folder, refused[i][1]);
    }
}

/* A linear layer sees no absolute position, and zeros before a text leave no trace in it: moved over the
 * boundary of two blocks of tokens it makes the same of the text. */
static void test_moved_in_time(void **state)
{
    static const char *const families[] = {"qwen3_next", "qwen3_5_text", "jet_nemotron", "hypenet"};
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
        struct qk_model *model;
        struct golden golden;
        struct qk_parts parts;
        struct qk_layer_weights weights;
        struct qk_rope_tables tables = {0};
        struct qk_error err = {0};
        open_side(families[f], "post", *state, &model, &golden);
        size_t before = QK_TOKEN_BLOCK - 5, T = before + golden.T, d = (size_t)model->layer[0].d,
               n = golden.T * d;
        float *in = golden_values(&golden, golden_tensor(&golden, "hidden_states", 0)),
              *out = golden_values(&golden, golden_tensor(&golden, "hidden_states", 1)),
              *x = calloc(T * d, sizeof *x);
        memcpy(x + before * d, in, n * sizeof *x);
        assert_int_equal(model->layer[0].kind, QK_LINEAR);
        expect_ok(qk_parts_open(model, NULL, T, &parts, &err), &err);
        expect_ok(qk_layer_weights_read(&parts, &model->layer[0], true, &weights, &err), &err);
        expect_ok(qk_layer_run(&weights, x, T, &tables, NULL, NULL, NULL, &err), &err);
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

/* --- short texts, cancelling, what is refused --- */

static void test_short(void **state)
{
    char path[PATH_SIZE];
    struct qk_model *model;
    struct qk_error err = {0};
    struct qk_layer_attention made;
    int32_t ids[N_IDS];
    float all[N_IDS * VOCABULARY], one[VOCABULARY], last[VOCABULARY], x[64] = {1}, p;
    (void)state;
    make_ids(ids);
    expect_ok(qk_model_open(data_path(path, "fixtures/llama/post"), &model, &err), &err);
    expect_ok(qk_forward(model, NULL, ids, N_IDS, NULL, all, N_IDS, NULL, &err), &err);
    expect_ok(qk_forward(model, NULL, ids, 1, NULL, one, 1, NULL, &err), &err);
    expect_ok(qk_forward(model, NULL, ids, N_IDS, NULL, last, 1, NULL, &err), &err);
    assert_true(worst(one, all, VOCABULARY) < 1e-5); /* nothing looks ahead */
    assert_true(worst(last, all + (N_IDS - 1) * VOCABULARY, VOCABULARY) < 1e-5);
    expect_failure(qk_forward(model, NULL, ids, 0, NULL, NULL, 0, NULL, &err), &err, QK_INPUT, "0 tokens");
    expect_failure(
        qk_forward(model, NULL, ids, 1, NULL, all, 2, NULL, &err), &err, QK_INPUT, "1 tokens|2 logits");
    ids[7] = VOCABULARY;
    expect_failure(
        qk_forward(model, NULL, ids, N_IDS, NULL, NULL, 0, NULL, &err), &err, QK_INPUT, "token 7|128|127");
    ids[7] = -1;
    expect_failure(
        qk_forward(model, NULL, ids, N_IDS, NULL, NULL, 0, NULL, &err), &err, QK_INPUT, "token 7|-1");
    expect_ok(qk_layer_attention_make(model, NULL, 3, x, 1, &made, &err), &err);
    qk_attention_block(&made.attention, 0, 0, 1, &p, 1);
    assert_true(p == 1);
    qk_layer_attention_free(&made);
    expect_failure(qk_layer_attention_make(model, NULL, 4, x, 1, &made, &err), &err, QK_INPUT, "layer 4");
    expect_failure(qk_layer_attention_make(model, NULL, 0, x, 0, &made, &err), &err, QK_INPUT, "no token");
    qk_model_close(model);
}

struct stop {
    struct qk_progress progress;
    int states;
};

static enum qk_code stop_at_two(
    void *context, int layer, const float *x, size_t T, size_t d, struct qk_error *err)
{
    struct stop *stop = context;
    (void)x;
    (void)T;
    (void)d;
    stop->states++;
    if (layer == 2)
        atomic_store(&stop->progress.cancel, true);
    return layer == 3 ? qk_fail(err, QK_DIFFERS, "enough") : QK_OK;
}

static void test_cancel(void **state)
{
    char path[PATH_SIZE];
    struct qk_model *model;
    struct qk_error err = {0};
    struct stop stop = {.progress = NO_PROGRESS};
    const struct qk_forward_hooks hooks = {.context = &stop, .state = stop_at_two};
    int32_t ids[N_IDS];
    (void)state;
    make_ids(ids);
    expect_ok(qk_model_open(data_path(path, "fixtures/llama/post"), &model, &err), &err);
    assert_int_equal(
        qk_forward(model, NULL, ids, N_IDS, &hooks, NULL, 0, &stop.progress, &err), QK_CANCELLED);
    assert_int_equal(stop.states, 3);
    assert_int_equal(atomic_load(&stop.progress.total), 4);
    assert_int_equal(qk_forward(model, NULL, ids, N_IDS, &hooks, NULL, 0, NULL, &err), QK_DIFFERS);
    assert_int_equal(stop.states, 7);
    qk_model_close(model);
}

static void test_hostile_tensors(void **state)
{
    static const struct {
        const char *family, *from, *to, *words;
    } rows[] = {
        {"llama", "layers.1.mlp.up_proj", "layers.1.mlp.ap_proj",
            "model.layers.1.mlp.up_proj.weight is missing"},
        {"llama", "layers.0.self_attn.v_proj", "layers.0.self_attn.w_proj", "v_proj.weight is missing"},
        {"llama", "model.norm.weight", "model.horm.weight", "model.norm.weight is missing"},
        {"llama", "\"lm_head.weight", "\"lm_tail.weight", "lm_head.weight is missing"},
        {"llama", "model.embed_tokens", "model.umbed_tokens", "embed_tokens.weight is missing"},
        {"llama", "[64,96]", "[96,64]", "down_proj|found (96, 64)|expected (64, 96)"},
        {"qwen3", "layers.2.self_attn.k_norm", "layers.2.self_attn.q_nurm", "k_norm.weight is missing"},
        {"gpt2", "transformer.wpe", "transformer.wpo", "wpe.weight is missing"},
        {"gpt2", "[256,64]", "[64,256]", "found (64, 256)"},
        {"qwen3_5_text", "layers.1.linear_attn.A_log", "layers.1.linear_attn.B_log", "A_log is missing"},
        {"qwen3_5_text", "[128,1,4]", "[4,1,128]", "convolution|kernel"},
        {"qwen3_next", "layers.0.linear_attn.conv1d", "layers.0.linear_attn.conv2d",
            "conv1d.weight is missing"},
        {"jet_nemotron", "kernel_generator.w2.weight", "kernel_generator.w3.weight", "w2.weight is missing"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char folder[PATH_SIZE], name[16];
        snprintf(name, sizeof name, "%zu", i);
        path_in(folder, *state, name);
        copy_fixture(rows[i].family, "post", folder, rows[i].from, rows[i].to);
        expect_refused(folder, rows[i].words);
    }
}

static void test_hostile_configs(void **state)
{
    static const struct {
        const char *family, *key, *value, *words;
    } rows[] = {{"llama", "hidden_act", "\"relu\"", "activation \"relu\""},
        {"llama", "rms_norm_eps", "null", "eps"}, {"llama", "rms_norm_eps", "-1", "eps"},
        {"gemma3_text", "sliding_window", "null", "window of layer 0"},
        {"gemma3_text", "use_bidirectional_attention", "true", "both ways"},
        {"falcon", "alibi", "true", "ALiBi"}, {"gpt2", "scale_attn_by_inverse_layer_idx", "true", "scaled"},
        {"qwen3_next", "linear_num_value_heads", "2", ""}, {"jamba", "x", "1", "Mamba"},
        {"minimax", "x", "1", "experts"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char folder[PATH_SIZE], name[16];
        struct qk_model *model;
        struct qk_error err = {0};
        snprintf(name, sizeof name, "%zu", i);
        path_in(folder, *state, name);
        copy_fixture(rows[i].family, "post", folder, NULL, NULL);
        set_config(folder, rows[i].key, rows[i].value);
        if (rows[i].words[0] != '\0')
            expect_refused(folder, rows[i].words);
        else /* refused earlier: the tensors contradict it */
            assert_int_equal(qk_model_open(folder, &model, &err), QK_INPUT);
    }
}

/* Which families say why they have none. */
static void test_missing(void **state)
{
    char folder[PATH_SIZE];
    struct qk_model *model;
    struct qk_layer_attention made;
    struct qk_error err = {0};
    float x[64] = {0};
    copy_fixture("llama", "post", path_in(folder, *state, "unknown"), NULL, NULL);
    set_config(folder, "model_type", "\"new\"");
    expect_ok(qk_model_open(folder, &model, &err), &err);
    assert_string_equal(qk_forward_missing(model), "its model type is not in the layout table");
    assert_int_equal(qk_forward_vocabulary(model), 0);
    expect_failure(
        qk_layer_attention_make(model, NULL, 0, x, 1, &made, &err), &err, QK_INPUT, "attention|layout table");
    qk_model_close(model);
}

int main(void)
{
    qk_linalg_init();
    const struct CMUnitTest tests[] = {
        test_in_folder(test_goldens),
        test_in_folder(test_attention_from_states),
        test_in_folder(test_patch),
        test_in_folder(test_no_rope_layers),
        test_in_folder(test_rope_scaling),
        test_in_folder(test_moved_in_time),
        cmocka_unit_test(test_short),
        cmocka_unit_test(test_cancel),
        test_in_folder(test_hostile_tensors),
        test_in_folder(test_hostile_configs),
        test_in_folder(test_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
