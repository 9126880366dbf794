/* fuzz_adapter.c - any bytes as an adapter's config and, behind a NUL, its header: refused with a message, or
 * laid over a small checkpoint all of whose tensors can then be read, or are refused with a message. */
#include "fuzz.h"

#include "base/mem.h"
#include "tensor/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char fuzz_name[] = "adapter";
#define TENSOR(name, shape, offsets)                                                                         \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define Q "model.layers.0.self_attn.q_proj"
#define C "h.0.attn.c_attn"
static const char BASE[] = "{" TENSOR(Q ".weight", "[4,3]", "[0,48]") "," TENSOR(
    Q ".bias", "[4]", "[48,64]") "," TENSOR(C ".weight", "[3,12]", "[64,208]") "}";
#define FACTORS(module, a, b, ab)                                                                            \
    TENSOR("base_model.model." module ".lora_A.weight", a, "[0,24]")                                         \
    "," TENSOR("base_model.model." module ".lora_B.weight", b, "[24," ab "]")
const struct fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4}\0{" FACTORS(Q, "[2,3]", "[4,2]", "56") "}"),
    FUZZ_SEED("{\"peft_type\":\"LORA\",\"r\":9,\"lora_alpha\":4,\"use_rslora\":true,\"rank_pattern\":{"
              "\"q_proj\":2},\"alpha_pattern\":{\"layers\\\\.[0-9]+\\\\..*\":3}}\0{" FACTORS(
                  Q, "[2,3]", "[4,2]", "56") "," TENSOR("base_model.model." Q ".bias", "[4]", "[56,72]") "}"),
    FUZZ_SEED("{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"fan_in_fan_out\":true}\0{" FACTORS(
        "transformer." C, "[2,3]", "[12,2]", "120") "}")};
const size_t n_fuzz_seeds = sizeof fuzz_seeds / sizeof fuzz_seeds[0];
const char *const fuzz_words[] = {"\"use_dora\":", "\"bias\":\"all\"", "\"rank_pattern\":{",
    "\"alpha_pattern\":{", "\"init_lora_weights\":\"pissa\"", "\"lora_alpha\":1e300", "(.*)+", "[0-9]",
    "lora_A", "lora_B", "lora_embedding_A", "base_model.model.", ".weight", "BF16", "I8", NULL};

static void check_refusal(enum qk_code code, const struct qk_error *err)
{
    fuzz_check(code == QK_OK || (code == QK_INPUT && err->text[0] != '\0'), "refused with a message");
}

/* Whole, and from the middle of a row on. */
static void read_tensor(const struct qk_checkpoint *checkpoint, const struct qk_tensor *tensor)
{
    char *bytes;
    struct qk_error err = {0};
    uint64_t skipped = tensor->bytes > 8 ? 8 : 0;
    fuzz_check(qk_alloc(&bytes, (size_t)tensor->bytes, 1, &err) == QK_OK, "memory");
    check_refusal(qk_checkpoint_read(checkpoint, tensor, 0, bytes, (size_t)tensor->bytes, &err), &err);
    check_refusal(
        qk_checkpoint_read(checkpoint, tensor, skipped, bytes, (size_t)(tensor->bytes - skipped), &err),
        &err);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[128];
    struct qk_checkpoint *checkpoint;
    struct qk_error err = {0};
    fuzz_write_weights("base.safetensors", BASE, sizeof BASE - 1);
    fuzz_write_pair("adapter_config.json", "adapter_model.safetensors", (const char *)data, size);
    snprintf(path, sizeof path, "%s/base.safetensors", fuzz_folder());
    fuzz_check(qk_checkpoint_open(path, &checkpoint, &err) == QK_OK, "the base can be read");
    enum qk_code code = qk_adapter_attach(checkpoint, fuzz_folder(), &err);
    check_refusal(code, &err);
    for (size_t i = 0; code == QK_OK && i < checkpoint->n_tensors; i++)
        read_tensor(checkpoint, checkpoint->by_name[i]);
    qk_checkpoint_close(checkpoint);
    return 0;
}
