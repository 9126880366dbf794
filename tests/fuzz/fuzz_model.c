/* fuzz_model.c - any bytes as a checkpoint's config.json and, behind a NUL, its header: refused with a
 * message, or a model all of whose head views can be read.
 *
 * The file is as long as the header's last offset says, and sparse. */
#include "fuzz.h"

#include "base/mem.h"
#include "model/model.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* One folder for all inputs; removed when the process ends as it should. */
static char folder[] = "/tmp/qkscope-fuzz-XXXXXX";

static void remove_folder(void)
{
    char path[64];
    snprintf(path, sizeof path, "%s/config.json", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    unlink(path);
    rmdir(folder);
}

static void write_file(const char *name, const void *bytes, size_t n, uint64_t length)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_check(fd >= 0 && write(fd, bytes, n) == (ssize_t)n && ftruncate(fd, (off_t)length) == 0, "write");
    close(fd);
}

/* The greatest number that stands before "]}", up to a mebibyte. */
static uint64_t data_length(const char *text, size_t n)
{
    uint64_t greatest = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        uint64_t value = 0, place = 1;
        if (text[i] != ']' || text[i + 1] != '}')
            continue;
        for (size_t k = i; k > 0 && text[k - 1] >= '0' && text[k - 1] <= '9' && place < 1000000;
             k--, place *= 10)
            value += place * (uint64_t)(text[k - 1] - '0');
        greatest = value > greatest ? value : greatest;
    }
    return greatest;
}

static void write_checkpoint(const char *text, size_t size)
{
    const char *end = size > 0 ? memchr(text, '\0', size) : NULL;
    size_t n = end != NULL ? (size_t)(end - text) : size, header = n < size ? size - n - 1 : 0;
    char *bytes = malloc(8 + header);
    fuzz_check(bytes != NULL, "memory");
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)((uint64_t)header >> (8 * i));
    if (header > 0)
        memcpy(bytes + 8, text + n + 1, header);
    write_file("config.json", text, n, n);
    write_file("model.safetensors", bytes, 8 + header, 8 + header + data_length(bytes + 8, header));
    free(bytes);
}

static void read_views(const struct qk_model *model, const struct qk_layer *layer)
{
    double *out;
    struct qk_error err = {0};
    if (layer->kind == QK_NONE || layer->problem != NULL)
        return;
    fuzz_check(
        layer->head_dim > 0 && layer->d > 0 && layer->rotary_dims <= layer->head_dim, "sizes make sense");
    fuzz_check(qk_alloc(&out, (size_t)layer->head_dim * layer->d, sizeof *out, &err) == QK_OK,
        "a head fits into memory");
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        for (int h = 0; h < layer->role[r].n_heads; h++) {
            fuzz_check(
                qk_view_read(model, layer, (enum qk_role)r, h, out, &err) == QK_OK, "views can be read");
            (void)qk_view_read_bias(
                model, layer, (enum qk_role)r, h, out, &err); /* its format may be unknown */
            (void)qk_view_read_gain(model, layer, (enum qk_role)r, h, out, &err);
        }
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int made;
    if (!made) {
        fuzz_check(mkdtemp(folder) != NULL && atexit(remove_folder) == 0, "a folder");
        setenv("XDG_CONFIG_HOME", folder, 1); /* no rows of the user's own */
        made = 1;
    }
    struct qk_model *model;
    struct qk_error err = {0};
    write_checkpoint((const char *)data, size);
    enum qk_code code = qk_model_open(folder, &model, &err);
    fuzz_check(code == QK_OK || (code == QK_INPUT && err.text[0] != '\0'), "refused with a message");
    for (int i = 0; code == QK_OK && i < model->n_layers; i++)
        read_views(model, &model->layer[i]);
    qk_model_close(model);
    return 0;
}
