/* fuzz_safetensors.c - any bytes as a .safetensors file: refused with a message, or a table that is sound.
 *
 * An input whose first byte is '#' is the header's text alone, up to the last byte, which says how many bytes
 * of data follow; its length goes before it. Any other input is the file itself. */
#include "fuzz.h"

#include "tensor/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char fuzz_name[] = "safetensors";
#define ENTRY(name, dtype, shape, offsets)                                                                   \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
const struct fuzz_seed fuzz_seeds[] = {FUZZ_SEED("\2\0\0\0\0\0\0\0{}"),
    FUZZ_SEED("#{" ENTRY("a", "F32", "[2]", "[0,8]") "}\x08"),
    FUZZ_SEED("#{\"__metadata__\":{\"format\":\"pt\"}," ENTRY("a", "BF16", "[2,3]", "[0,12]") "," ENTRY(
        "b", "I8", "[4]", "[12,16]") "," ENTRY("c", "U8", "[0]", "[16,16]") "}  \x10"),
    FUZZ_SEED(
        "#{" ENTRY("x\\u00e9\\n", "F4", "[2,1,1,1]", "[2,3]") "," ENTRY("y", "Q5_K", "[]", "[0,2]") "}\x03"),
    FUZZ_SEED("\x3b\0\0\0\0\0\0\0{" ENTRY("a", "F64", "[1]", "[0,8]") "}  12345678")};
const size_t n_fuzz_seeds = sizeof fuzz_seeds / sizeof fuzz_seeds[0];
const char *const fuzz_words[] = {"\"dtype\":\"F16\"", "\"shape\":[1]", "\"data_offsets\":[0,1]",
    "__metadata__", "\"a\":", "F8_E4M3", "BOOL", "C64", "\\u0000", "\\ud800", "\xc2\x9b", "{", "}", "[", "]",
    ",", NULL};

static int open_memory(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    fuzz_check(fd >= 0, "no memory file");
    bool framed = size >= 2 && data[0] == '#';
    size_t n = framed ? size - 2 : 0;
    if (framed) {
        uint8_t prefix[8] = {(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16)};
        fuzz_check(write(fd, prefix, 8) == 8 && write(fd, data + 1, n) == (ssize_t)n, "write");
        fuzz_check(ftruncate(fd, (off_t)(8 + n + data[size - 1])) == 0, "truncate");
    } else {
        fuzz_check(write(fd, data, size) == (ssize_t)size, "write");
    }
    return fd;
}

static void check_table(const struct qk_tensor_file *file)
{
    uint64_t at = file->header_bytes;
    struct qk_error err = {0};
    char text[QK_SHAPE_TEXT];
    for (size_t i = 0; i < file->n_tensors; i++) {
        const struct qk_tensor *tensor = &file->tensor[i];
        unsigned char byte;
        fuzz_check(tensor->offset == at, "tensors touch each other");
        at += tensor->bytes;
        fuzz_check(at <= file->source.size, "tensors lie in the file");
        fuzz_check(strlen(qk_shape_text(text, tensor)) < QK_SHAPE_TEXT, "shape text");
        if (tensor->bytes > 0)
            fuzz_check(qk_source_read(&file->source, at - 1, &byte, 1, &err) == QK_OK, "last byte is there");
    }
    fuzz_check(at == file->source.size, "tensors cover the file");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    struct qk_tensor_file file;
    struct qk_error err = {0};
    int fd = open_memory(data, size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    enum qk_code code = qk_safetensors_open(path, &file, &err);
    fuzz_check(code == QK_OK || (code == QK_INPUT && err.text[0] != '\0'), "refused with a message");
    if (code == QK_OK) {
        check_table(&file);
        qk_tensor_file_close(&file);
    }
    close(fd);
    return 0;
}
