/* test_experts.c - mixtures of experts: the choice of a router, every form in which experts are stored, what is read of
 * them and what is held, and models whose experts do not fit. */
#include "models.h"

#include "base/blas.h"
#include "base/parallel.h"
#include "forward/decoder.h"
#include "forward/experts.h"
#include "forward/network.h"
#include "forward/weights.h"
#include "tensor/mxfp4.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- the router --- */

enum { MOST = 8 };

/* The experts chosen, best first, and their weights. */
static void expect_choice(const struct qk_router *router, const float *logits, const size_t *expected,
    const double *expected_weight)
{
    float x[MOST], choice[MOST], weight[MOST];
    size_t expert[MOST];
    memcpy(x, logits, router->n * sizeof *x);
    qk_router_choose(router, x, choice, expert, weight);
    for (size_t i = 0; i < router->chosen; i++) {
        assert_int_equal(expert[i], expected[i]);
        if (!(fabs((double)weight[i] - expected_weight[i]) < 1e-6)) /* float32 */
            fail_msg("weight %zu: %g, not %g", i, (double)weight[i], expected_weight[i]);
    }
}

/* The logit of a sigmoid. */
static float logit(double p)
{
    return (float)log(p / (1 - p));
}

static void test_choices(void **state)
{
    (void)state;
    const float four[] = {0, logf(2), logf(4), 0};
    struct qk_router router = {.n = 4, .chosen = 2, .groups = 1, .groups_chosen = 1, .factor = 1};
    expect_choice(&router, four, (size_t[]){2, 1}, (double[]){0.5, 0.25});
    router.normalised = true;
    expect_choice(&router, four, (size_t[]){2, 1}, (double[]){2.0 / 3, 1.0 / 3});
    router.factor = 3;
    expect_choice(&router, four, (size_t[]){2, 1}, (double[]){2, 1});
    router.eps = 0.25;
    expect_choice(&router, four, (size_t[]){2, 1}, (double[]){1.5, 0.75});
    router = (struct qk_router){.n = 4, .chosen = 3, .groups = 1, .groups_chosen = 1, .factor = 1};
    expect_choice(&router, (float[]){0, 0, 0, 0}, (size_t[]){0, 1, 2}, (double[]){0.25, 0.25, 0.25});
    /* A correction changes the choice and not the weights. */
    const float correction[] = {0, 0, 0, 0.5f};
    router = (struct qk_router){.n = 4, .chosen = 2, .groups = 1, .groups_chosen = 1, .factor = 1};
    router.scoring = QK_SCORING_SIGMOID;
    router.correction = correction;
    const float sigmoids[] = {logit(0.1), logit(0.6), logit(0.5), logit(0.3)};
    expect_choice(&router, sigmoids, (size_t[]){3, 1}, (double[]){0.3, 0.6});
}

/* Group 0 has the best expert; groups 1 and 2 have the best pairs. */
static void test_groups(void **state)
{
    (void)state;
    const float zeros[MOST] = {0}, logits[MOST] = {logit(0.9), logit(0.1), logit(0.7), logit(0.6), logit(0.8),
                                       logit(0.4), logit(0.3), logit(0.2)};
    struct qk_router router = {.n = 8, .chosen = 2, .groups = 4, .groups_chosen = 1, .factor = 1};
    router.scoring = QK_SCORING_SIGMOID;
    expect_choice(&router, logits, (size_t[]){0, 1}, (double[]){0.9, 0.1});
    router.correction = zeros;
    router.group_best = 2;
    expect_choice(&router, logits, (size_t[]){2, 3}, (double[]){0.7, 0.6});
    router.groups_chosen = 2;
    expect_choice(&router, logits, (size_t[]){4, 2}, (double[]){0.8, 0.7});
    router.groups_chosen = 4;
    expect_choice(&router, logits, (size_t[]){0, 4}, (double[]){0.9, 0.8});
}

/* Whatever the logits are, there are as many experts as asked for, and no one twice. */
static void test_any_logits(void **state)
{
    (void)state;
    static const float values[] = {NAN, INFINITY, -INFINITY, 0, 1e30f};
    enum { N = sizeof values / sizeof values[0] };
    const float zeros[MOST] = {0};
    for (unsigned form = 0; form < N * N * N * N; form++) {
        struct qk_router router = {
            .n = 8, .chosen = 4, .groups = 4, .groups_chosen = 2 + form % 3, .factor = 1};
        float x[MOST], choice[MOST], weight[MOST];
        size_t expert[MOST], seen = 0;
        router.scoring = form % 2 == 0 ? QK_SCORING_SIGMOID : QK_SCORING_SOFTMAX;
        router.correction = form % 5 == 0 ? zeros : NULL;
        router.group_best = 1 + form % 2;
        for (unsigned i = 0, rest = form; i < MOST; i++, rest = rest / N + rest % N * 7)
            x[i] = values[rest % N];
        qk_router_choose(&router, x, choice, expert, weight);
        for (size_t i = 0; i < router.chosen; i++) {
            assert_in_range(expert[i], 0, MOST - 1);
            assert_int_equal(seen >> expert[i] & 1, 0);
            seen |= (size_t)1 << expert[i];
        }
    }
}

/* --- forms --- */

/* A tensor file that is being written. */
struct writing {
    char *header, *data;
    size_t n_header, n_data;
};

static void put(struct writing *w, const char *name, const struct qk_tensor *like, const uint64_t *shape,
    int n_dims, const char *bytes, size_t n)
{
    char text[512], *at = text;
    at += sprintf(
        at, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", w->n_header == 0 ? "{" : ",", name, like->dtype_text);
    for (int i = 0; i < n_dims; i++)
        at += sprintf(at, "%s%llu", i > 0 ? "," : "", (unsigned long long)shape[i]);
    at += sprintf(at, "],\"data_offsets\":[%zu,%zu]}", w->n_data, w->n_data + n);
    w->header = realloc(w->header, w->n_header + (size_t)(at - text) + 2);
    memcpy(w->header + w->n_header, text, (size_t)(at - text));
    w->n_header += (size_t)(at - text);
    w->data = realloc(w->data, w->n_data + n);
    memcpy(w->data + w->n_data, bytes, n);
    w->n_data += n;
}

static void finish(struct writing *w, const char *path)
{
    uint64_t length = w->n_header + 1;
    w->header[w->n_header] = '}';
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(&length, 8, 1, file), 1);
    assert_int_equal(fwrite(w->header, 1, (size_t)length, file), length);
    assert_int_equal(fwrite(w->data, 1, w->n_data, file), w->n_data);
    assert_int_equal(fclose(file), 0);
    free(w->header);
    free(w->data);
}

enum form { ROWS, COLUMNS, TURNS }; /* (experts, n, k); (experts, k, n); that, gate and up by turns */

/* Value (row, column) of gate and up together goes to its place in the form. */
static size_t place_of(enum form form, size_t row, size_t column, size_t n, size_t k)
{
    if (form == ROWS)
        return row * k + column;
    if (form == TURNS)
        row = row < n / 2 ? 2 * row : 2 * (row - n / 2) + 1;
    return column * n + row;
}

/* Appends the matrices of all experts as one tensor: first those of `names[0]`, then of `names[1]` (NULL: none). */
static void put_fused(struct writing *w, const struct qk_checkpoint *c, int layer, enum form form,
    const char *fused, const char *const *names)
{
    enum { EXPERTS = 4, BYTES = 2 };
    char name[128];
    const struct qk_tensor *first = NULL;
    char *all = NULL, *bytes = NULL;
    size_t n = 0, k = 0, parts = names[1] != NULL ? 2 : 1;
    for (size_t e = 0; e < EXPERTS; e++) {
        for (size_t p = 0; p < parts; p++) {
            struct qk_error err = {0};
            snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%zu.%s.weight", layer, e, names[p]);
            const struct qk_tensor *tensor = qk_checkpoint_find(c, name);
            assert_non_null(tensor);
            if (first == NULL) {
                first = tensor;
                n = parts * (size_t)tensor->shape[0];
                k = (size_t)tensor->shape[1];
                all = malloc(EXPERTS * n * k * BYTES);
                bytes = malloc(n * k * BYTES);
            }
            expect_ok(qk_checkpoint_read(c, tensor, 0, bytes, (size_t)tensor->bytes, &err), &err);
            for (size_t i = 0; i < n / parts * k; i++)
                memcpy(all + (e * n * k + place_of(form, p * n / parts + i / k, i % k, n, k)) * BYTES,
                    bytes + i * BYTES, BYTES);
        }
    }
    const uint64_t shape[] = {EXPERTS, form == ROWS ? n : k, form == ROWS ? k : n};
    snprintf(name, sizeof name, "model.layers.%d.%s", layer, fused);
    put(w, name, first, shape, 3, all, EXPERTS * n * k * BYTES);
    free(all);
    free(bytes);
}

/* FOLDER with qwen3_moe in another form. */
static void write_form(const char *folder, enum form form)
{
    static const char *const gate_up[] = {"gate_proj", "up_proj"}, *const down[] = {"down_proj", NULL};
    char path[PATH_SIZE], original[PATH_SIZE];
    struct qk_checkpoint *c;
    struct qk_error err = {0};
    struct writing w = {0};
    copy_model("qwen3_moe", "post", folder, NULL, NULL);
    expect_ok(qk_checkpoint_open(data_path(original, "fixtures/qwen3_moe/post"), &c, &err), &err);
    for (size_t i = 0; i < c->n_tensors; i++) {
        const struct qk_tensor *tensor = c->by_name[i];
        if (strstr(tensor->name, ".experts.") != NULL)
            continue;
        char *bytes = malloc((size_t)tensor->bytes);
        expect_ok(qk_checkpoint_read(c, tensor, 0, bytes, (size_t)tensor->bytes, &err), &err);
        put(&w, tensor->name, tensor, tensor->shape, tensor->n_dims, bytes, (size_t)tensor->bytes);
        free(bytes);
    }
    for (int layer = 0; layer < 4; layer++) {
        put_fused(&w, c, layer, form, "mlp.experts.gate_up_proj", gate_up);
        put_fused(&w, c, layer, form == TURNS ? COLUMNS : form, "mlp.experts.down_proj", down);
    }
    finish(&w, path_in(path, folder, "model.safetensors"));
    qk_checkpoint_close(c);
}

/* A row of the user's: that of qwen3, with gate and up by turns. */
static void write_row_of_turns(const char *home)
{
    char folder[PATH_SIZE], path[PATH_SIZE];
    static const char from[] = "\"gate_up\":";
    char *text = read_bytes(data_path(path, "../../data/layouts/qwen3.json"), NULL), *at = strstr(text, from);
    assert_non_null(at);
    make_folder(path_in(folder, home, "qkscope"));
    make_folder(path_in(folder, home, "qkscope/layouts"));
    *at = '\0';
    write_text(
        path_in(path, folder, "qwen3.json"), "%s\"interleaved\": true, %s%s", text, from, at + strlen(from));
    free(text);
}

/* The same experts in every form give the same bits. The row of turns is the last: other rows would not fit it. */
static void test_forms(void **state)
{
    char original[PATH_SIZE], folder[PATH_SIZE];
    float *expected = logits_of(data_path(original, "fixtures/qwen3_moe/post"), NULL);
    make_folder(path_in(folder, *state, "home"));
    assert_int_equal(setenv("XDG_CONFIG_HOME", folder, 1), 0);
    for (enum form form = ROWS; form <= TURNS; form++) {
        if (form == TURNS)
            write_row_of_turns(folder);
        char model[PATH_SIZE], name[16];
        snprintf(name, sizeof name, "form%d", (int)form);
        write_form(path_in(model, *state, name), form);
        float *found = logits_of(model, NULL);
        assert_memory_equal(found, expected, N_IDS * VOCABULARY * sizeof *found);
        free(found);
    }
    assert_int_equal(unsetenv("XDG_CONFIG_HOME"), 0);
    free(expected);
}

/* Values by their bits, and the scales of the format's ends. */
static void test_packed_values(void **state)
{
    (void)state;
    static const double expected[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    unsigned char blocks[3 * QK_MXFP4_BYTES], scales[] = {127, 130, 255};
    float values[3 * QK_MXFP4_VALUES];
    for (size_t i = 0; i < sizeof blocks; i++)
        blocks[i] = (unsigned char)(i % 8 | (15 - i % 8) << 4);
    qk_mxfp4_to_f32(blocks, scales, 3, values);
    for (size_t i = 0; i < QK_MXFP4_VALUES; i++) {
        size_t bits = i % 2 == 0 ? i / 2 % 8 : 7 - i / 2 % 8;
        double value = i % 2 == 0 ? expected[bits] : -expected[bits];
        assert_true((double)values[i] == value && (double)values[QK_MXFP4_VALUES + i] == 8 * value);
        assert_true(isnan(values[2 * QK_MXFP4_VALUES + i]));
    }
}

/* FOLDER with a qwen3_moe whose experts are numbers that MXFP4 has: packed, or as they are (in form ROWS). */
static void write_packed(const char *folder, bool packed)
{
    enum { EXPERTS = 4, ROWS_OF_ALL = 64, F = 32 };
    static const char *const names[] = {"gate_up_proj", "down_proj"};
    char path[PATH_SIZE], original[PATH_SIZE], name[128];
    struct qk_checkpoint *c;
    struct qk_error err = {0};
    struct writing w = {0};
    copy_model("qwen3_moe", "post", folder, NULL, NULL);
    expect_ok(qk_checkpoint_open(data_path(original, "fixtures/qwen3_moe/post"), &c, &err), &err);
    const struct qk_tensor *bf16 = c->by_name[0];
    struct qk_tensor u8 = *bf16;
    snprintf(u8.dtype_text, sizeof u8.dtype_text, "U8");
    for (size_t i = 0; i < c->n_tensors; i++) {
        const struct qk_tensor *tensor = c->by_name[i];
        char *bytes = malloc((size_t)tensor->bytes);
        expect_ok(qk_checkpoint_read(c, tensor, 0, bytes, (size_t)tensor->bytes, &err), &err);
        if (strstr(tensor->name, ".experts.") == NULL)
            put(&w, tensor->name, tensor, tensor->shape, tensor->n_dims, bytes, (size_t)tensor->bytes);
        free(bytes);
    }
    for (int at = 0; at < 2 * 4; at++) {
        uint64_t k = at % 2 == 0 ? 64 : F, n = EXPERTS * ROWS_OF_ALL * k, random = (uint64_t)at;
        unsigned char *blocks = malloc(n / 2), *scales = malloc(n / QK_MXFP4_VALUES);
        for (size_t i = 0; i < n / 2; i++)
            blocks[i] = (unsigned char)random_bits(&random);
        for (size_t i = 0; i < n / QK_MXFP4_VALUES; i++)
            scales[i] = (unsigned char)(121 + random_bits(&random) % 3);
        const uint64_t shape[] = {EXPERTS, ROWS_OF_ALL, k / QK_MXFP4_VALUES, QK_MXFP4_BYTES},
                       plain[] = {EXPERTS, ROWS_OF_ALL, k};
        int length = snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%s", at / 2, names[at % 2]);
        if (packed) {
            snprintf(name + length, sizeof name - (size_t)length, "_blocks");
            put(&w, name, &u8, shape, 4, (char *)blocks, n / 2);
            snprintf(name + length, sizeof name - (size_t)length, "_scales");
            put(&w, name, &u8, shape, 3, (char *)scales, n / QK_MXFP4_VALUES);
        } else {
            float *values = malloc(n * sizeof *values);
            double *wide = malloc(n * sizeof *wide);
            char *bytes = malloc(2 * n);
            qk_mxfp4_to_f32(blocks, scales, n / QK_MXFP4_VALUES, values);
            for (size_t i = 0; i < n; i++)
                wide[i] = (double)values[i];
            qk_dtype_from_f64(QK_BF16, wide, n, bytes);
            put(&w, name, bf16, plain, 3, bytes, 2 * n);
            free(bytes);
            free(wide);
            free(values);
        }
        free(blocks);
        free(scales);
    }
    finish(&w, path_in(path, folder, "model.safetensors"));
    qk_checkpoint_close(c);
}

/* Packed experts give the bits of the same numbers in bfloat16, which holds them exactly. */
static void test_packed(void **state)
{
    char folder[PATH_SIZE];
    float *logits[2];
    for (int packed = 0; packed < 2; packed++) {
        write_packed(path_in(folder, *state, packed ? "packed" : "plain"), packed);
        logits[packed] = logits_of(folder, NULL);
    }
    assert_memory_equal(logits[0], logits[1], N_IDS * VOCABULARY * sizeof(float));
    free(logits[0]);
    free(logits[1]);
}

/* --- what is read --- */

/* Bytes that this process has read so far; 0 where the system does not say. */
static uint64_t bytes_so_far(void)
{
    unsigned long long bytes = 0;
    FILE *file = fopen("/proc/self/io", "r");
    if (file == NULL || fscanf(file, "rchar: %llu", &bytes) != 1)
        bytes = 0;
    if (file != NULL)
        fclose(file);
    return bytes;
}

enum { EXPERT_BYTES = 3 * 32 * 64 * 2, OTHER_READS = EXPERT_BYTES / 2 }; /* /proc, and folders of rows */

/* Bytes of the model but for experts, of which a pass over a text of n tokens reads all: of the embedding n rows. */
static uint64_t bytes_besides(const struct qk_model *model, size_t n)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < model->checkpoint->n_tensors; i++) {
        const struct qk_tensor *tensor = model->checkpoint->by_name[i];
        bool embedding = strstr(tensor->name, "embed_tokens") != NULL;
        if (strstr(tensor->name, ".experts.") == NULL)
            bytes += embedding ? n * tensor->bytes / tensor->shape[0] : tensor->bytes;
    }
    return bytes;
}

static void expect_bytes(uint64_t found, uint64_t expected)
{
    if (found < expected || found > expected + OTHER_READS)
        fail_msg("%llu bytes read, not %llu", (unsigned long long)found, (unsigned long long)expected);
}

/* One token has two experts of four in each of four layers. A text has each of them once at most, in any form. */
static void test_bytes_read(void **state)
{
    char folder[PATH_SIZE];
    int32_t ids[N_IDS];
    make_ids(ids);
    if (bytes_so_far() == 0)
        not_here("the system does not count bytes read");
    for (int i = 0; i < 3; i++) {
        struct qk_model *model;
        struct qk_error err = {0};
        float logits[VOCABULARY];
        if (i == 0) /* a tensor each */
            data_path(folder, "fixtures/qwen3_moe/post");
        else
            write_form(path_in(folder, *state, i == 1 ? "rows" : "columns"), i == 1 ? ROWS : COLUMNS);
        expect_ok(qk_model_open(folder, &model, &err), &err);
        uint64_t before = bytes_so_far();
        expect_ok(qk_forward(model, NULL, ids, 1, NULL, logits, 1, NULL, &err), &err);
        uint64_t after = bytes_so_far();
        expect_bytes(after - before, bytes_besides(model, 1) + 4 * 2 * EXPERT_BYTES);
        expect_ok(qk_forward(model, NULL, ids, N_IDS, NULL, logits, 1, NULL, &err), &err);
        expect_bytes(bytes_so_far() - after, bytes_besides(model, N_IDS) + 4 * 4 * EXPERT_BYTES);
        qk_model_close(model);
    }
}

static bool changes_q(void *context, const struct qk_tensor *tensor)
{
    (void)context;
    return strcmp(tensor->name, "model.layers.1.self_attn.q_proj.weight") == 0;
}

static enum qk_code halve_q(void *context, const struct qk_tensor *tensor, void *bytes, struct qk_error *err)
{
    (void)err;
    if (changes_q(context, tensor))
        halve_values(tensor, bytes);
    return QK_OK;
}

/* Bytes that a step over these tokens reads. */
static uint64_t bytes_of_step(struct qk_network *network, const int32_t *ids, size_t n, float *logits)
{
    struct qk_decoder *decoder;
    struct qk_error err = {0};
    const size_t capacity = N_IDS;
    const struct qk_next_tokens next = {0, ids, n};
    expect_ok(qk_decoder_open(network, 1, &capacity, &decoder, &err), &err);
    uint64_t before = bytes_so_far();
    expect_ok(qk_decoder_step(decoder, &next, 1, logits, NULL, &err), &err);
    uint64_t bytes = bytes_so_far() - before;
    qk_decoder_close(decoder);
    return bytes;
}

/* A network reads an expert once where it has room, and lends it to another network that changes the layer. Without
 * room it reads the chosen ones each time. Both give the same bits. */
static void test_held(void **state)
{
    (void)state;
    enum { PLENTY = 1 << 30, LAYERS = 4 };
    char path[PATH_SIZE];
    int32_t ids[N_IDS];
    struct qk_model *model;
    struct qk_network *network, *changed, *poor;
    struct qk_error err = {0};
    const struct qk_patch patch = {.apply = halve_q, .changes = changes_q};
    const bool changes[LAYERS] = {false, true, false, false};
    float logits[VOCABULARY], again[VOCABULARY];
    make_ids(ids);
    if (bytes_so_far() == 0)
        not_here("the system does not count bytes read");
    expect_ok(qk_model_open(data_path(path, "fixtures/qwen3_moe/post"), &model, &err), &err);
    expect_ok(qk_network_open(model, NULL, N_IDS, PLENTY, &network, &err), &err);
    bytes_of_step(network, ids, N_IDS, logits);
    expect_bytes(bytes_of_step(network, ids, N_IDS, logits), N_IDS * 128);
    expect_ok(qk_network_derive(network, &patch, changes, &changed, &err), &err);
    uint64_t bytes = bytes_of_step(changed, ids, 8, again);
    assert_true(bytes < bytes_besides(model, 8)); /* of a layer without its experts */
    qk_network_close(changed);
    qk_network_close(network);
    expect_ok(qk_network_open(model, NULL, N_IDS, 0, &poor, &err), &err);
    for (int i = 0; i < 2; i++)
        expect_bytes(
            bytes_of_step(poor, ids, 1, again), bytes_besides(model, 1) - 128 + LAYERS * 2 * EXPERT_BYTES);
    bytes_of_step(poor, ids, N_IDS, again);
    assert_memory_equal(again, logits, sizeof logits);
    qk_network_close(poor);
    qk_model_close(model);
}

/* The names of experts are known, so that they are neither counted nor read ahead. */
static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *family;
        int first; /* layer with experts */
    } families[] = {{"qwen3_moe", 0}, {"mixtral4", 0}, {"qwen3_next_moe", 0}, {"glm4_moe", 1}};
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
        char name[64], path[PATH_SIZE];
        struct qk_model *model;
        struct qk_parts parts;
        struct qk_error err = {0};
        snprintf(name, sizeof name, "fixtures/%s/post", families[f].family);
        expect_ok(qk_model_open(data_path(path, name), &model, &err), &err);
        expect_ok(qk_parts_open(model, NULL, 0, &parts, &err), &err);
        for (int layer = 0; layer < model->n_layers; layer++) {
            size_t n, experts = 0;
            const struct qk_name *names = qk_names_of_layer(&parts.names, layer, &n);
            for (size_t i = 0; i < n; i++)
                experts += qk_parts_is_expert(&parts, layer, &names[i]);
            assert_int_equal(experts, layer >= families[f].first ? 12 : 0);
            assert_int_equal(qk_parts_experts(&parts, layer) != NULL, layer >= families[f].first);
        }
        qk_parts_close(&parts);
        qk_model_close(model);
    }
}

/* A layer of 512 experts of 3 MiB of values each: a pass holds some of them. The file is a hole. */
static void test_estimate(void **state)
{
    enum { EXPERTS = 512, D = 2048, F = 512 };
    char path[PATH_SIZE], *header = malloc(1 << 20), *at = header;
    struct qk_model *model;
    struct qk_error err = {0};
    uint64_t end = 0;
    size_t bytes;
    static const struct {
        const char *name;
        int rows, columns;
    } tensors[] = {{"self_attn.q_proj", 256, D}, {"self_attn.k_proj", 256, D}, {"mlp.gate", EXPERTS, D},
        {"mlp.experts.gate_up_proj", 2 * F, D}, {"mlp.experts.down_proj", D, F}};
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        bool fused = strstr(tensors[i].name, "experts") != NULL;
        uint64_t n = (uint64_t)tensors[i].rows * (uint64_t)tensors[i].columns * (fused ? 2 * EXPERTS : 2);
        at += sprintf(at, "%s\"model.layers.0.%s%s\":{\"dtype\":\"BF16\",\"shape\":[%s%d,%d],",
            i == 0 ? "{" : ",", tensors[i].name, fused ? "" : ".weight", fused ? "512," : "", tensors[i].rows,
            tensors[i].columns);
        at += sprintf(
            at, "\"data_offsets\":[%llu,%llu]}", (unsigned long long)end, (unsigned long long)(end + n));
        end += n;
    }
    strcpy(at, "}");
    write_header(path_in(path, *state, "model.safetensors"), header, 0);
    assert_int_equal(truncate(path, (off_t)(8 + strlen(header) + end)), 0);
    write_text(path_in(path, *state, "config.json"),
        "{\"model_type\":\"qwen3_moe\",\"num_hidden_layers\":1,\"hidden_size\":2048,\"head_dim\":128,"
        "\"num_attention_heads\":2,\"num_key_value_heads\":2}");
    expect_ok(qk_model_open(*state, &model, &err), &err);
    expect_ok(qk_forward_bytes(model, 1, &bytes, &err), &err);
    size_t besides = (size_t)(256 + 256 + EXPERTS) * D * 2; /* as the file has them */
    assert_in_range(bytes, besides + QK_TURN_VALUES * sizeof(float),
        besides + QK_TURN_VALUES * sizeof(float) + (1 << 20));
    qk_model_close(model);
    free(header);
}

/* --- models that do not fit --- */

static void test_refused(void **state)
{
    static const struct {
        const char *family, *key, *value, *from, *to, *words;
    } rows[] = {{"qwen3_moe", "num_experts_per_tok", "5", NULL, NULL, "per_token is out of range (found 5"},
        {"qwen3_moe", "num_experts_per_tok", "0", NULL, NULL, "per_token is out of range"},
        {"qwen3_moe", "num_experts_per_tok", "null", NULL, NULL, "per_token is missing"},
        {"qwen3_moe", "x", "1", "layers.2.mlp.experts.3.up_proj", "layers.2.mlp.experts.9.up_proj",
            "layers.2.mlp.experts.3.up_proj.weight is missing"},
        {"qwen3_moe", "x", "1", "layers.2.mlp.experts.0.down_proj", "layers.2.mlp.experts.9.down_proj",
            "layers.2.mlp.experts.0.down_proj.weight is missing"},
        {"glm4_moe", "n_group", "3", NULL, NULL, "groups"},
        {"glm4_moe", "n_group", "65", NULL, NULL, "groups is out of range"},
        {"glm4_moe", "n_group", "4", NULL, NULL, "groups"}, /* one of one expert, for two of a token */
        {"glm4_moe", "topk_group", "2", NULL, NULL, "groups_chosen is out of range"},
        {"glm4_moe", "routed_scaling_factor", "-1", NULL, NULL, "routed_scaling_factor is out of range"},
        {"glm4_moe", "x", "1", "\"shape\":[4,64]", "\"shape\":[64,4]", ""}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char folder[PATH_SIZE], name[16];
        snprintf(name, sizeof name, "%zu", i);
        path_in(folder, *state, name);
        copy_model(rows[i].family, "post", folder, rows[i].from, rows[i].to);
        set_config(folder, rows[i].key, rows[i].value);
        expect_refused(folder, rows[i].words);
    }
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_any_logits),
        test_in_folder(test_forms),
        cmocka_unit_test(test_packed_values),
        test_in_folder(test_packed),
        test_in_folder(test_bytes_read),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_names),
        test_in_folder(test_estimate),
        test_in_folder(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
