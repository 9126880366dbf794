/* fuzz_model.c - any bytes as a checkpoint's config.json and, behind a NUL, its header: refused with a
 * message, or a model all of whose head views can be read.
 *
 * The file is as long as the header's last offset says, and sparse. */
#include "fuzz.h"

#include "base/mem.h"
#include "drift/product.h"

#include <stdlib.h>

const char fuzz_name[] = "model";
#define TENSOR(name, shape, offsets)                                                                         \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define LAYER "model.layers.0.self_attn."
const struct fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("{\"model_type\":\"llama\",\"num_attention_heads\":2,\"num_key_value_heads\":1,\"hidden_size\":"
              "4}\0{" TENSOR(LAYER "q_proj.weight", "[4,3]", "[0,48]") "," TENSOR(
                  LAYER "k_proj.weight", "[2,3]", "[48,72]") "}"),
    FUZZ_SEED("{\"model_type\":\"phi3\",\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":2}"
              "\0{" TENSOR(LAYER "qkv_proj.weight", "[8,3]", "[0,96]") "}"),
    FUZZ_SEED("{\"model_type\":\"gpt2\",\"n_head\":2,\"n_embd\":4}\0{" TENSOR("h.0.attn.c_attn.weight",
        "[3,12]", "[0,144]") "," TENSOR("h.0.attn.c_attn.bias", "[12]", "[144,192]") "}"),
    FUZZ_SEED(
        "{\"model_type\":\"qwen3_next\",\"layer_types\":[\"linear_attention\"],\"linear_num_key_heads\":2,"
        "\"linear_key_head_dim\":2,\"linear_num_value_heads\":2,\"linear_value_head_dim\":2}\0{" TENSOR(
            "model.layers.0.linear_attn.in_proj_qkvz.weight", "[16,3]", "[0,192]") "}"),
    FUZZ_SEED("{\"model_type\":\"new\",\"num_attention_heads\":1,\"head_dim\":2}\0{" TENSOR(
        "model.layers.0.attn.q_proj.weight", "[4,3]",
        "[0,48]") "," TENSOR("model.layers.0.attn.k_proj.weight", "[2,3]",
        "[48,72]") "," TENSOR("model.layers.0.attn.q_norm.weight", "[2]", "[72,80]") "}"),
    FUZZ_SEED("{\"model_type\":\"falcon\",\"new_decoder_architecture\":true,\"num_attention_heads\":2,\"num_"
              "kv_heads\":1,"
              "\"hidden_size\":4}\0{" TENSOR(
                  "transformer.h.0.self_attention.query_key_value.weight", "[8,3]", "[0,96]") "}")};
const size_t n_fuzz_seeds = sizeof fuzz_seeds / sizeof fuzz_seeds[0];
const char *const fuzz_words[] = {"\"num_hidden_layers\":1",
    "\"head_dim\":", "\"num_key_value_heads\":", "\"hidden_size\":", "\"layer_types\":", "\"text_config\":{",
    "\"model_type\":\"qwen3\"", "\"rope_theta\":", "model.layers.1.", ".base_layer", "module.",
    "student_layer.", "65535", "self_attn.q_norm.weight", "BF16", "I8", "Q4", NULL};

static void read_views(const struct qk_model *model, const struct qk_layer *layer)
{
    double *out;
    struct qk_error err = {0};
    const struct qk_product_sources sources = qk_product_of(model, layer);
    if (layer->kind == QK_NONE || layer->problem != NULL)
        return;
    fuzz_check(
        layer->head_dim > 0 && layer->d > 0 && layer->rotary_dims <= layer->head_dim, "sizes make sense");
    fuzz_check(qk_alloc(&out, (size_t)layer->head_dim * layer->d, sizeof *out, &err) == QK_OK,
        "a head fits into memory");
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        for (int h = 0; h < layer->role[r].n_heads; h++) {
            enum qk_code code = layer->role[r].down != NULL
                                    ? qk_product_read(&sources, (enum qk_role)r, h, out, &err)
                                    : qk_view_read(model, layer, (enum qk_role)r, h, out, &err);
            fuzz_check(code == QK_OK, "views can be read");
            (void)qk_view_read_bias(
                model, layer, (enum qk_role)r, h, out, &err); /* its format may be unknown */
            (void)qk_view_read_gain(model, layer, (enum qk_role)r, h, out, &err);
        }
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qk_model *model;
    struct qk_error err = {0};
    fuzz_write_pair("config.json", "model.safetensors", (const char *)data, size);
    enum qk_code code = qk_model_open(fuzz_folder(), &model, &err);
    fuzz_check(code == QK_OK || (code == QK_INPUT && err.text[0] != '\0'), "refused with a message");
    for (int i = 0; code == QK_OK && i < model->n_layers; i++)
        read_views(model, &model->layer[i]);
    qk_model_close(model);
    return 0;
}
