/* test_forward_refused.c - the refusals of a forward pass with their messages: files, configs, families,
 * layout rows. */
#include "models.h"

#include "base/blas.h"
#include "base/json.h"
#include "forward/parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        {"nemotron_h", "layers.0.mixer.D\"", "layers.0.mixer.E\"", "mixer.D is missing"},
        {"nemotron_h", "layers.0.mixer.A_log\"", "layers.0.mixer.B_log\"", "A_log is missing"},
        {"nemotron_h", "[160,1,4]", "[4,1,160]", "kernel for each channel"},
        {"nemotron_h", "[296,64]", "[64,296]", "in_proj.weight"},
        {"nemotron_h", "layers.2.mixer.up_proj", "layers.2.mixer.op_proj", "up_proj.weight is missing"},
        {"jamba", "layers.0.mamba.x_proj", "layers.0.mamba.y_proj", "x_proj.weight is missing"},
        {"jamba", "[128,8]", "[8,128]", "mamba"},
        {"lfm2_moe", "layers.0.conv.in_proj", "layers.0.conv.on_proj", "in_proj.weight is missing"},
        {"lfm2_moe", "[192,64]", "[64,192]", "in_proj.weight"},
        {"recurrent_gemma", "[4,16,16]", "[16,4,16]", "gates do not fit"},
        {"recurrent_gemma", "[64,1,4]", "[64,4,1]", "kernel for each channel"},
        {"jet_nemotron", "kernel_generator.w2.weight", "kernel_generator.w3.weight", "w2.weight is missing"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char folder[PATH_SIZE], name[16];
        snprintf(name, sizeof name, "%zu", i);
        path_in(folder, *state, name);
        copy_model(rows[i].family, "post", folder, rows[i].from, rows[i].to);
        expect_refused(folder, rows[i].words);
    }
}

static void test_hostile_configs(void **state)
{
    static const struct {
        const char *family, *key, *value, *words;
    } rows[] = {{"llama", "hidden_act", "\"relu\"", "activation \"relu\""},
        {"gemma3_text", "query_pre_attn_scalar", "0", "query_pre_attn_scalar is out of range (found 0"},
        {"gemma3_text", "query_pre_attn_scalar", "\"NaN\"",
            "query_pre_attn_scalar is not a number (found \"NaN\")"},
        {"llama", "rms_norm_eps", "null", "eps"}, {"llama", "rms_norm_eps", "-1", "eps"},
        {"gemma3_text", "sliding_window", "null", "window for layer 0"},
        {"gemma3_text", "use_bidirectional_attention", "true", "both ways"},
        {"hypenet", "attn_logits_scaling", "\"hype\"", "attn_logits_scaling"},
        {"hypenet", "attn_logits_scaling", "\"hype 1\"", "attn_logits_scaling"},
        {"hypenet", "attn_logits_scaling", "\"hype 5x\"", "attn_logits_scaling"},
        {"hypenet", "attn_logits_scaling", "\"hype nan\"", "attn_logits_scaling"},
        {"hypenet", "attn_logits_scaling", "true", "attn_logits_scaling"},
        {"hypenet", "lightning_use_short_conv", "true", "convolutions"}, {"falcon", "alibi", "true", "ALiBi"},
        {"gpt2", "scale_attn_by_inverse_layer_idx", "true", "scaled"},
        {"nemotron_h", "ssm_state_size", "0", "out of range (found 0"},
        {"nemotron_h", "ssm_state_size", "8", "in_proj.weight"},
        {"nemotron_h", "mamba_num_heads", "1e9", "out of range"},
        {"nemotron_h", "n_groups", "3", "groups do not divide its heads"},
        {"nemotron_h", "mlp_hidden_act", "\"relu\"", "activation \"relu\""},
        {"nemotron_h", "moe_latent_size", "64", "experts"},
        {"falcon_h1", "ssm_multipliers", "[1,2,3,4]", "five numbers"},
        {"falcon_h1", "ssm_multipliers", "{\"0\":1}", "five numbers"},
        {"falcon_h1", "key_multiplier", "1e300", "out of range"},
        {"granite", "attention_multiplier", "0", "attention_multiplier is out of range"},
        {"granite", "logits_scaling", "0", "out of range"},
        {"granite", "residual_multiplier", "1e300", "out of range"},
        {"recurrent_gemma", "num_attention_heads", "8", ""},
        {"qwen3_next", "linear_num_value_heads", "2", ""}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char folder[PATH_SIZE], name[16];
        struct qk_model *model;
        struct qk_error err = {0};
        snprintf(name, sizeof name, "%zu", i);
        path_in(folder, *state, name);
        copy_model(rows[i].family, "post", folder, NULL, NULL);
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
    const char *why;
    float x[64] = {0};
    copy_model("llama", "post", path_in(folder, *state, "unknown"), NULL, NULL);
    set_config(folder, "model_type", "\"new\"");
    expect_ok(qk_model_open(folder, &model, &err), &err);
    expect_ok(qk_forward_missing(model, &why, &err), &err);
    assert_string_equal(why, "its model type is not in the layout table");
    size_t n;
    expect_failure(
        qk_forward_vocabulary(model, &n, &err), &err, QK_INPUT, "its model type is not in the layout table");
    expect_failure(qk_layer_attention_make(model, NULL, 0, x, 1, NULL, &made, &err), &err, QK_INPUT,
        "attention|layout table");
    qk_model_close(model);
    /* A router beside the MLP: the name of one tensor, spelled with an escape so that it is as long. */
    copy_model("llama", "post", path_in(folder, *state, "experts"), "layers.3.mlp.gate_proj.weight",
        "layers.3.\\u006dlp.gate.weight");
    expect_ok(qk_model_open(folder, &model, &err), &err);
    expect_ok(qk_forward_missing(model, &why, &err), &err);
    assert_string_equal(why, "its mixtures of experts are not built in");
    qk_model_close(model);
}

/* --- rows --- */

#define WITH_EXPERTS(keys)                                                                                      \
    "{\"norm\":\"rms\",\"eps\":0,\"embedding\":\"e\",\"final_norm\":\"n\",\"activation\":\"a\",\"down\":\"d\"," \
    "\"up\":\"u\",\"experts\":{\"router\":\"r\",\"per_token\":2,\"scoring\":\"softmax\"," keys "}}"

static void test_rows(void **state)
{
    (void)state;
    static const char row[] = "{\"family\":\"x\",\"model_types\":\"x\",\"kinds\":[{\"rule\":\"all\","
                              "\"mixer\":\"a\"}],\"mixers\":{\"a\":{"
                              "\"kind\":\"%s\",\"q\":\"q\",\"k\":\"k\",\"rows\":\"separate\",\"heads\":1,"
                              "\"head_dim\":1,\"positions\":"
                              "\"none\"%s}},\"forward\":%s}";
    static const char whole[] = "{\"norm\":\"rms\",\"eps\":0,\"embedding\":\"e\",\"final_norm\":\"n\","
                                "\"activation\":\"a\",\"down\":\"d\",\"up\":\"u\"}";
    static const struct {
        const char *kind, *mixer, *forward, *words; /* words NULL: right */
    } rows[] = {{"full", ",\"v\":\"v\",\"o\":\"o\"", whole, NULL},
        {"full", ",\"o\":\"o\"", whole, "\"v\" is missing"},
        {"full", ",\"v\":\"v\"", whole, "\"o\" is missing"},
        {"linear", ",\"v\":\"v\",\"o\":\"o\"", whole, "\"recurrence\" is missing"}, {"none", "", whole, NULL},
        {"none", ",\"block\":\"mlp\"", whole, NULL},
        {"none", ",\"o\":\"o\",\"recurrence\":\"delta\"", whole, "does not go with kind \"none\""},
        {"full", ",\"v\":\"v\",\"o\":\"o\",\"recurrence\":\"mamba2\"", whole,
            "does not go with kind \"full\""},
        {"full", ",\"v\":\"v\",\"o\":\"o\",\"block\":\"mlp\"", whole, "needs kind \"none\""},
        {"full", ",\"v\":\"v\",\"o\":\"o\",\"beside\":\"b\"", whole, "there is no mixer \"b\""},
        {"full", ",\"v\":\"v\",\"o\":\"o\",\"beside\":\"a\"", whole, "key \"beside\" needs kind \"none\""},
        {"full", ",\"v\":\"v\",\"o\":\"o\",\"joined\":true", whole, "go together"},
        {"full", ",\"v\":\"v\",\"o\":\"o\",\"joined\":true,\"then_in\":\"l\",\"then\":\"a\"", whole,
            "key \"then\" needs kind \"none\""},
        {"none", ",\"o\":\"o\",\"recurrence\":\"short_conv\"", whole, "\"in\" is missing"},
        {"linear", ",\"v\":\"v\",\"o\":\"o\",\"recurrence\":\"delta\"", whole, "\"alpha\" is missing"},
        {"linear", ",\"v\":\"v\",\"o\":\"o\",\"recurrence\":\"delta\",\"beta_alpha\":\"b\"", whole,
            "\"decay_log\" is missing"},
        {"linear", ",\"v\":\"v\",\"o\":\"o\",\"recurrence\":\"gru\"", whole, "recurrence|lightning delta"},
        {"full", ",\"gate_activation\":\"relu\"", whole, "gate_activation"},
        {"full", "", "{\"norm\":\"rms\",\"eps\":0}", NULL}, /* attention on given states alone */
        {"full", "", "{\"norm\":\"rms\",\"eps\":0,\"final_norm\":\"n\"}", "embedding"},
        {"full", "", "{\"norm\":\"rms\",\"eps\":0,\"missing\":\"experts\"}", NULL},
        {"full", "", "{\"norm\":\"rms\",\"eps\":0,\"missing\":\"laziness\"}", "missing|experts"},
        {"full", "", "{\"norm\":\"rms\",\"eps\":0,\"missing\":\"experts\",\"refuse\":{\"x\":\"y\"}}",
            "refuse"},
        {"full", "", "{\"norm\":\"batch\",\"eps\":0}", "norm|rms layer"},
        {"full", "", "{\"norm\":\"rms\"}", "eps"}, {"full", "", "[]", "forward"},
        {"full", "", "{\"norm\":\"rms\",\"eps\":0,\"x\":1}", "unknown key \"x\""},
        {"full", ",\"v\":\"v\",\"o\":\"o\"",
            "{\"norm\":\"rms\",\"eps\":0,\"embedding\":\"e\",\"final_norm\":\"n\",\"activation\":\"a\","
            "\"down\":\"d\"}",
            "up|gate_up"},
        {"full", ",\"v\":\"v\",\"o\":\"o\"", WITH_EXPERTS("\"down\":\"x\",\"up\":\"x\""), NULL},
        {"full", "", WITH_EXPERTS("\"up\":\"x\""), "experts: key \"down\" is missing"},
        {"full", "", WITH_EXPERTS("\"down\":\"x\""), "experts: needs one of|gate_up"},
        {"full", "", WITH_EXPERTS("\"down\":\"x\",\"up\":\"x\",\"scoring_when\":[[\"a\",\"best\"]]"),
            "scoring_when|softmax sigmoid"},
        {"full", "", WITH_EXPERTS("\"down\":\"x\",\"up\":\"x\",\"shared\":{\"down\":\"x\"}"),
            "shared: needs one of"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[1024];
        struct qk_layout layout;
        struct qk_error err = {0};
        int n = snprintf(text, sizeof text, row, rows[i].kind, rows[i].mixer, rows[i].forward);
        enum qk_code code = qk_layout_parse("row", text, (size_t)n, &layout, &err);
        if (rows[i].words == NULL)
            expect_ok(code, &err);
        else
            expect_failure(code, &err, QK_INPUT, rows[i].words);
        qk_layout_free(&layout);
    }
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        test_in_folder(test_hostile_tensors),
        test_in_folder(test_hostile_configs),
        test_in_folder(test_missing),
        cmocka_unit_test(test_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
