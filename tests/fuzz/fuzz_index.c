/* fuzz_index.c - any bytes as a model.safetensors.index.json and, behind NULs, the headers of two shards
 * beside it: refused with a message, or a table that is sound and that the index names whole.
 *
 * The shards are as long as their headers' last offsets say, and sparse. */
#include "fuzz.h"

#include "tensor/checkpoint.h"

#include <stdio.h>
#include <string.h>

const char fuzz_name[] = "index";
#define TENSOR(name, shape, offsets)                                                                         \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define A "a.safetensors"
#define B "b.safetensors"
#define MAP(entries) "{\"metadata\":{\"total_size\":16},\"weight_map\":{" entries "}}"
const struct fuzz_seed fuzz_seeds[] = {FUZZ_SEED(MAP("\"x\":\"" A "\",\"y\":\"" B "\"") "\0{" TENSOR(
                                           "x", "[2]", "[0,8]") "}\0{" TENSOR("y", "[2]", "[0,8]") "}"),
    FUZZ_SEED(MAP("\"y\":\"" A "\",\"x\":\"" A "\"") "\0{" TENSOR("x", "[2]", "[0,8]") "," TENSOR(
        "y", "[2]", "[8,16]") ",\"__metadata__\":{\"format\":\"pt\"}}"),
    FUZZ_SEED(MAP("\"x\":\"" B "\"") "\0{}\0{" TENSOR("x", "[]", "[0,4]") "}"),
    FUZZ_SEED(MAP("\"x\":\"" A "\",\"x\":\"" B "\"") "\0{" TENSOR("x", "[2]", "[0,8]") "}\0{" TENSOR(
        "x", "[2]", "[0,8]") "}"),
    FUZZ_SEED("{\"weight_map\":{\"x\":\"../" A "\"}}\0{" TENSOR("x", "[2]", "[0,8]") "}")};
const size_t n_fuzz_seeds = sizeof fuzz_seeds / sizeof fuzz_seeds[0];
const char *const fuzz_words[] = {"\"weight_map\":{", "\"metadata\":{}", "\"x\":", "\"y\":", "\"" A "\"",
    "\"" B "\"", "model.safetensors", "/", "..", TENSOR("z", "[1]", "[0,4]"), "\\u0000", "\\ud800", "{", "}",
    "[", "]", ",", ":", NULL};

/* Cuts the next part off, which ends before a NUL or with the input. */
static const char *next_part(const char **text, size_t *size, size_t *n)
{
    const char *part = *text, *end = *size > 0 ? memchr(part, '\0', *size) : NULL;
    *n = end != NULL ? (size_t)(end - part) : *size;
    size_t used = *n + (end != NULL);
    *text = part + used;
    *size -= used;
    return part;
}

static void write_checkpoint(const char *text, size_t size)
{
    size_t n;
    const char *index = next_part(&text, &size, &n);
    fuzz_write_file("model.safetensors.index.json", index, n);
    const char *header = next_part(&text, &size, &n);
    fuzz_write_weights(A, header, n);
    header = next_part(&text, &size, &n);
    fuzz_write_weights(B, header, n);
}

static void check_tensor(const struct qk_checkpoint *checkpoint, size_t i)
{
    const struct qk_tensor *tensor = checkpoint->by_name[i];
    struct qk_error err = {0};
    char byte;
    fuzz_check(i == 0 || strcmp(checkpoint->by_name[i - 1]->name, tensor->name) < 0, "sorted, none twice");
    fuzz_check(qk_checkpoint_find(checkpoint, tensor->name) == tensor, "found by its name");
    fuzz_check(tensor->shard >= 0 && (size_t)tensor->shard < checkpoint->n_shards, "in one of the shards");
    const struct qk_tensor_file *file = &checkpoint->shard[tensor->shard].file;
    fuzz_check(tensor->offset <= file->source.size && tensor->bytes <= file->source.size - tensor->offset,
        "tensors lie in their files");
    if (tensor->bytes >
        0) /* fuzz_write_weights made the file of zeros; any dtype has whole bytes at its end */
        fuzz_check(qk_checkpoint_read(checkpoint, tensor, tensor->bytes - 1, &byte, 1, &err) == QK_OK,
            "the last byte is there");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qk_checkpoint *checkpoint;
    struct qk_error err = {0};
    write_checkpoint((const char *)data, size);
    enum qk_code code = qk_checkpoint_open(fuzz_folder(), &checkpoint, &err);
    fuzz_check(code == QK_OK || ((code == QK_INPUT || code == QK_IO) && err.text[0] != '\0'),
        "refused with a message");
    if (code != QK_OK)
        return 0;
    size_t n = 0;
    for (size_t i = 0; i < checkpoint->n_shards; i++) {
        const struct qk_tensor_file *file = &checkpoint->shard[i].file;
        n += file->n_tensors;
        for (size_t t = 0; t < file->n_tensors; t++)
            fuzz_check(qk_checkpoint_find(checkpoint, file->tensor[t].name) != NULL,
                "the table has every shard's tensors");
    }
    /* Of a name in two shards the table has one. */
    fuzz_check(checkpoint->n_tensors > 0 && checkpoint->n_tensors <= n, "and no others");
    for (size_t i = 0; i < checkpoint->n_tensors; i++)
        check_tensor(checkpoint, i);
    qk_checkpoint_close(checkpoint);
    return 0;
}
