/* test_forward_models.c - the forward pass of models that differ in one thing: a patch, positions, a setting,
 * a family without a fixture, the length of the text, a cancelled pass. */
#include "models.h"

#include "base/blas.h"
#include "base/json.h"
#include "forward/layer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    copy_model("llama", "post", post, NULL, NULL);
    expect_ok(qk_checkpoint_open(data_path(path, "fixtures/llama/pre"), &pre, &err), &err);
    struct swap swap = {.from = pre, .name = name};
    const struct qk_patch patch = {swap_bytes, &swap, NULL};
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
    copy_model("llama", "post", folder, NULL, NULL);
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
    float score;
    expect_ok(qk_rope_frequencies(&parts, layer, found, factor, &score, &err), &err);
    assert_true(score == 1);
    qk_parts_close(&parts);
    qk_model_close(model);
}

static void test_rope_scaling(void **state)
{
    const char *folder = *state;
    float plain[8], scaled[8], factor;
    copy_model("llama", "post", folder, NULL, NULL);
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
    /* numpy in float64, by the formula of transformers 5.17: 64 tokens stretched to 256. float32 keeps 6e-8 of each. */
    static const double yarn[8] = {1.00000000e+00, 2.37170825e-01, 5.00000000e-02, 7.90569415e-03,
        2.50000000e-03, 7.90569415e-04, 2.50000000e-04, 7.90569415e-05};
    set_config(folder, "rope_scaling",
        "{\"rope_type\":\"yarn\",\"factor\":4,\"original_max_position_embeddings\":64}");
    frequencies(folder, 9, scaled, &factor);
    for (int j = 0; j < 8; j++)
        assert_true(fabs((double)scaled[j] / yarn[j] - 1) < 1e-7);
    assert_true(fabs((double)factor - 1.138629436111989) < 1e-7);
    set_config(folder, "rope_scaling",
        "{\"rope_type\":\"yarn\",\"factor\":4,\"original_max_position_embeddings\":64,\"mscale\":1,"
        "\"mscale_all_dim\":1}");
    frequencies(folder, 9, scaled, &factor);
    assert_true(factor == 1); /* DeepSeek's latent attention scales its scores in its place */
    /* Hunyuan: theta 10000 * 1000^(16/14) */
    set_config(folder, "rope_scaling", "{\"type\":\"dynamic\",\"alpha\":1000,\"factor\":1}");
    frequencies(folder, 9, scaled, &factor);
    for (int j = 0; j < 8; j++)
        assert_true(fabs((double)scaled[j] / pow(10000 * pow(1000, 16.0 / 14), -j / 8.0) - 1) < 1e-7);
    /* Gemma 4: a quarter of the pairs turns, with the frequencies of the whole head */
    set_config(folder, "rope_scaling", "{\"rope_type\":\"proportional\",\"partial_rotary_factor\":0.25}");
    frequencies(folder, 9, scaled, &factor);
    assert_true(scaled[0] == plain[0] && scaled[1] == plain[1] && scaled[2] == 0 && scaled[7] == 0);
    static const char *const refused[][2] = {
        {"{\"rope_type\":\"unheard\",\"factor\":4}", "unheard|not built in"},
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

/* --- olmo2, of which there is no fixture: its layer written out in float64 --- */

enum { D = 8, HEAD_DIM = 4, WIDE = 6, WORDS = 10, SHORT = 5 };

static void times(const double *weight, size_t rows, size_t columns, const double *x, double *out)
{
    for (size_t i = 0; i < rows; i++) {
        out[i] = 0;
        for (size_t j = 0; j < columns; j++)
            out[i] += weight[i * columns + j] * x[j];
    }
}

static void normalise(size_t n, const double *gain, double *x)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += x[i] * x[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        x[i] *= gain[i] / sqrt(squares + 1e-5);
}

static void turn(int t, double *x)
{
    for (int j = 0; j < 2; j++) {
        double angle = t * pow(10000, -j / 2.0), a = x[j], b = x[j + 2];
        x[j] = a * cos(angle) - b * sin(angle);
        x[j + 2] = b * cos(angle) + a * sin(angle);
    }
}

/* Its tensors by number, below. */
enum { EMBED, NORM, HEAD, WQ, WK, WV, WO, GAIN_Q, GAIN_K, GAIN_MIXER, GAIN_MLP, GATE, UP, DOWN, N_OLMO };

static void add_to(const double *added, double *x)
{
    for (int i = 0; i < D; i++)
        x[i] += added[i];
}

/* x (SHORT, D): norms of q and k over all heads, norms of what is added, none of the input. */
static void olmo2_layer(double *const w[N_OLMO], double x[SHORT][D])
{
    double q[SHORT][2 * HEAD_DIM], k[SHORT][HEAD_DIM], v[SHORT][HEAD_DIM];
    for (int t = 0; t < SHORT; t++) {
        times(w[WQ], 2 * HEAD_DIM, D, x[t], q[t]);
        times(w[WK], HEAD_DIM, D, x[t], k[t]);
        times(w[WV], HEAD_DIM, D, x[t], v[t]);
        normalise(2 * HEAD_DIM, w[GAIN_Q], q[t]);
        normalise(HEAD_DIM, w[GAIN_K], k[t]);
        turn(t, q[t]);
        turn(t, q[t] + HEAD_DIM);
        turn(t, k[t]);
    }
    for (int t = 0; t < SHORT; t++) {
        double mixed[2 * HEAD_DIM] = {0}, added[D], gate[WIDE], up[WIDE];
        for (int h = 0; h < 2; h++) {
            double p[SHORT], sum = 0;
            for (int s = 0; s <= t; s++) {
                double logit = 0;
                for (int i = 0; i < HEAD_DIM; i++)
                    logit += q[t][h * HEAD_DIM + i] * k[s][i] / 2;
                sum += p[s] = exp(logit);
            }
            for (int s = 0; s <= t; s++)
                for (int i = 0; i < HEAD_DIM; i++)
                    mixed[h * HEAD_DIM + i] += p[s] / sum * v[s][i];
        }
        times(w[WO], D, 2 * HEAD_DIM, mixed, added);
        normalise(D, w[GAIN_MIXER], added);
        add_to(added, x[t]);
        times(w[GATE], WIDE, D, x[t], gate);
        times(w[UP], WIDE, D, x[t], up);
        for (int i = 0; i < WIDE; i++)
            up[i] *= gate[i] / (1 + exp(-gate[i]));
        times(w[DOWN], D, WIDE, up, added);
        normalise(D, w[GAIN_MLP], added);
        add_to(added, x[t]);
    }
}

static const struct test_tensor OLMO[N_OLMO] = {
    [EMBED] = {"model.embed_tokens.weight", "F32", 2, {WORDS, D}, NULL},
    [NORM] = {"model.norm.weight", "F32", 1, {D}, NULL},
    [HEAD] = {"lm_head.weight", "F32", 2, {WORDS, D}, NULL},
    [WQ] = {"model.layers.0.self_attn.q_proj.weight", "F32", 2, {2 * HEAD_DIM, D}, NULL},
    [WK] = {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {HEAD_DIM, D}, NULL},
    [WV] = {"model.layers.0.self_attn.v_proj.weight", "F32", 2, {HEAD_DIM, D}, NULL},
    [WO] = {"model.layers.0.self_attn.o_proj.weight", "F32", 2, {D, 2 * HEAD_DIM}, NULL},
    [GAIN_Q] = {"model.layers.0.self_attn.q_norm.weight", "F32", 1, {2 * HEAD_DIM}, NULL},
    [GAIN_K] = {"model.layers.0.self_attn.k_norm.weight", "F32", 1, {HEAD_DIM}, NULL},
    [GAIN_MIXER] = {"model.layers.0.post_attention_layernorm.weight", "F32", 1, {D}, NULL},
    [GAIN_MLP] = {"model.layers.0.post_feedforward_layernorm.weight", "F32", 1, {D}, NULL},
    [GATE] = {"model.layers.0.mlp.gate_proj.weight", "F32", 2, {WIDE, D}, NULL},
    [UP] = {"model.layers.0.mlp.up_proj.weight", "F32", 2, {WIDE, D}, NULL},
    [DOWN] = {"model.layers.0.mlp.down_proj.weight", "F32", 2, {D, WIDE}, NULL},
};

/* FOLDER with an olmo2 of random values, which are the caller's to free. */
static void write_olmo2(const char *folder, double *values[N_OLMO])
{
    struct test_tensor tensors[N_OLMO];
    char path[PATH_SIZE];
    uint64_t seed = 5;
    for (int i = 0; i < N_OLMO; i++) {
        tensors[i] = OLMO[i];
        uint64_t n = OLMO[i].shape[0] * (OLMO[i].n_dims == 2 ? OLMO[i].shape[1] : 1);
        values[i] = malloc(n * sizeof *values[i]);
        for (uint64_t j = 0; j < n; j++)
            values[i][j] = (double)(float)random_uniform(&seed);
        tensors[i].values = values[i];
    }
    write_safetensors(path_in(path, folder, "model.safetensors"), tensors, N_OLMO, 1);
    write_text(path_in(path, folder, "config.json"),
        "{\"model_type\":\"olmo2\",\"num_hidden_layers\":1,\"num_attention_heads\":2,\"num_key_value_heads\":"
        "1,"
        "\"hidden_size\":8,\"rms_norm_eps\":1e-5,\"rope_theta\":10000,\"hidden_act\":\"silu\","
        "\"tie_word_embeddings\":false}");
}

static void test_olmo2(void **state)
{
    static const int32_t ids[SHORT] = {3, 1, 4, 1, 9};
    double *values[N_OLMO], x[SHORT][D], logits[WORDS];
    float found[SHORT * WORDS], expected[SHORT * WORDS];
    struct qk_model *model;
    struct qk_error err = {0};
    write_olmo2(*state, values);
    for (int t = 0; t < SHORT; t++)
        memcpy(x[t], values[EMBED] + ids[t] * D, sizeof x[t]);
    olmo2_layer(values, x);
    for (int t = 0; t < SHORT; t++) {
        normalise(D, values[NORM], x[t]);
        times(values[HEAD], WORDS, D, x[t], logits);
        for (int i = 0; i < WORDS; i++)
            expected[t * WORDS + i] = (float)logits[i];
    }
    expect_ok(qk_model_open(*state, &model, &err), &err);
    assert_int_equal(vocabulary_of(model), WORDS);
    expect_ok(qk_forward(model, NULL, ids, SHORT, NULL, found, SHORT, NULL, &err), &err);
    assert_true(worst(found, expected, SHORT * WORDS) < 2e-6);
    qk_model_close(model);
    for (int i = 0; i < N_OLMO; i++)
        free(values[i]);
}

/* --- hypenet's settings --- */

/* q of layer 1 for a given setting, beside q without one. */
static void test_query_scaling(void **state)
{
    static const struct {
        const char *value;
        double first, last;                                     /* factors at positions 0 and 99 */
    } rows[] = {{"3", 3, 3}, {"\"hype 10\"", 1, 2.0374264979}}; /* ln(109) / ln(10) */
    enum { T = 100, WIDTH = 128 };
    const char *folder = *state;
    float *x = malloc((size_t)T * WIDTH * sizeof *x);
    uint64_t seed = 3;
    for (int i = 0; i < T * WIDTH; i++)
        x[i] = (float)random_uniform(&seed);
    struct qk_error err = {0};
    struct qk_model *model;
    struct qk_layer_attention plain, scaled;
    copy_model("hypenet", "pre", folder, NULL, NULL);
    set_config(folder, "attn_logits_scaling", "null");
    expect_ok(qk_model_open(folder, &model, &err), &err);
    expect_ok(qk_layer_attention_make(model, NULL, 1, x, T, NULL, &plain, &err), &err);
    qk_model_close(model);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        set_config(folder, "attn_logits_scaling", rows[i].value);
        expect_ok(qk_model_open(folder, &model, &err), &err);
        expect_ok(qk_layer_attention_make(model, NULL, 1, x, T, NULL, &scaled, &err), &err);
        const float *p = plain.attention.q, *q = scaled.attention.q;
        size_t last = (T - 1) * plain.attention.q_stride;
        assert_true(fabs((double)(q[5] / p[5]) - rows[i].first) < 1e-6);
        assert_true(fabs((double)(q[last + 5] / p[last + 5]) - rows[i].last) < 1e-6);
        assert_true(scaled.attention.k[7] == plain.attention.k[7]);
        qk_layer_attention_free(&scaled);
        qk_model_close(model);
    }
    qk_layer_attention_free(&plain);
    free(x);
}

/* A gate or a norm that the config turns off is left out. */
static void test_gates_off(void **state)
{
    static const char *const keys[] = {"attn_use_output_gate", "lightning_use_output_gate",
        "lightning_use_output_norm", "lightning_use_qk_norm"};
    const char *folder = *state;
    copy_model("hypenet", "pre", folder, NULL, NULL);
    float *on = logits_of(folder, NULL);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        set_config(folder, keys[i], "false");
        float *off = logits_of(folder, NULL);
        assert_true(worst(off, on, N_IDS * VOCABULARY) > 1e-3);
        free(off);
        set_config(folder, keys[i], "true");
    }
    float *again = logits_of(folder, NULL);
    assert_memory_equal(again, on, N_IDS * VOCABULARY * sizeof *on);
    free(again);
    free(on);
}

/* --- states of layers without q and k --- */

/* The estimate for a sequence is what a decoder keeps: everything but keys. */
static void test_states_of_none(void **state)
{
    static const char *const families[] = {"nemotron_h", "falcon_h1", "jamba", "lfm2_moe", "recurrent_gemma"};
    (void)state;
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
        char name[64], path[PATH_SIZE];
        struct qk_model *model;
        struct qk_parts parts;
        struct qk_error err = {0};
        size_t estimate, kept = 0;
        snprintf(name, sizeof name, "fixtures/%s/post", families[f]);
        expect_ok(qk_model_open(data_path(path, name), &model, &err), &err);
        expect_ok(qk_parts_open(model, NULL, 9, &parts, &err), &err);
        for (int i = 0; i < model->n_layers; i++) {
            struct qk_layer_weights weights;
            struct qk_layer_state made;
            expect_ok(qk_layer_weights_read(&parts, &model->layer[i], true, &weights, &err), &err);
            expect_ok(qk_layer_state_make(&weights, 9, &made, &err), &err);
            kept += made.recurrent_values + made.tail_values;
            qk_layer_state_free(&made);
            qk_layer_weights_free(&weights);
        }
        expect_ok(qk_forward_state(model, &estimate, &err), &err);
        assert_true(kept > 0);
        assert_int_equal(estimate, kept);
        qk_parts_close(&parts);
        qk_model_close(model);
    }
}

/* --- short texts, cancelling, refusals --- */

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
    expect_failure(qk_forward(model, NULL, ids, 0, NULL, NULL, 0, NULL, &err), &err, QK_INPUT, "found 0");
    expect_failure(
        qk_forward(model, NULL, ids, 1, NULL, all, 2, NULL, &err), &err, QK_INPUT, "found 1|last 2");
    ids[7] = VOCABULARY;
    expect_failure(
        qk_forward(model, NULL, ids, N_IDS, NULL, NULL, 0, NULL, &err), &err, QK_INPUT, "token 7|128|127");
    ids[7] = -1;
    expect_failure(
        qk_forward(model, NULL, ids, N_IDS, NULL, NULL, 0, NULL, &err), &err, QK_INPUT, "token 7|-1");
    expect_ok(qk_layer_attention_make(model, NULL, 3, x, 1, NULL, &made, &err), &err);
    qk_attention_row(&made.attention, 0, 0, &p);
    assert_true(p == 1);
    qk_layer_attention_free(&made);
    expect_failure(
        qk_layer_attention_make(model, NULL, 4, x, 1, NULL, &made, &err), &err, QK_INPUT, "layer 4");
    expect_failure(
        qk_layer_attention_make(model, NULL, 0, x, 0, NULL, &made, &err), &err, QK_INPUT, "no token");
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
    struct stop stop = {.states = 0};
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

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        test_in_folder(test_patch),
        test_in_folder(test_no_rope_layers),
        test_in_folder(test_rope_scaling),
        test_in_folder(test_olmo2),
        test_in_folder(test_query_scaling),
        test_in_folder(test_gates_off),
        cmocka_unit_test(test_states_of_none),
        cmocka_unit_test(test_short),
        cmocka_unit_test(test_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
