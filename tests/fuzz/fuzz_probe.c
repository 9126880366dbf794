/* fuzz_probe.c - any bytes as the file of a probe: token ids, a text, or hidden states; the first byte chooses.
 * Refused with a message, or read as the header of its reader promises.
 *
 * States are a header and, behind a NUL, the data that its file begins with. */
#include "fuzz.h"

#include "base/text.h"
#include "range/probe_text.h"
#include "range/states.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char fuzz_name[] = "probe";
#define TENSOR(name, dtype, shape, offsets)                                                                  \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define IDS TENSOR("input_ids", "I32", "[2]", "[0,8]")
const struct fuzz_seed fuzz_seeds[] = {FUZZ_SEED("i0 17\t2147483647\r\n\v\f 5 "), FUZZ_SEED("i1,2"),
    FUZZ_SEED("tThe way \xc3\xa9\xe6\xbc\xa2\n"),
    FUZZ_SEED(
        "s{" IDS "," TENSOR("hidden_states.1", "F32", "[2,8]", "[8,72]") "}\0\1\0\0\0\2\0\0\0\0\0\x80?"),
    FUZZ_SEED("s{" TENSOR("input_ids", "I64", "[1,1]", "[0,8]") "," TENSOR(
        "hidden_states.2", "BF16", "[1,1,8]", "[8,24]") "}\0\7\0\0\0\0\0\0\0\0\0\x80\x7f"),
    FUZZ_SEED("s{" IDS "," TENSOR("hidden_states.1", "F64", "[2,8]", "[8,136]") "," TENSOR(
        "hidden_states.0", "I8", "[2,8]", "[136,152]") "}\0")};
const size_t n_fuzz_seeds = sizeof fuzz_seeds / sizeof fuzz_seeds[0];
const char *const fuzz_words[] = {"i", "t", "s", "2147483648", "-1", " ", "input_ids", "hidden_states.",
    "\"I32\"", "\"I64\"", "\"F16\"", "\"F32\"", "[1,2,8]", "[2,8]", "[0]", "\xed\xa0\x80", "{", "}", "[", "]",
    ",", NULL};

static void check_refusal(enum qk_code code, const struct qk_error *err)
{
    fuzz_check(code == QK_OK || (code == QK_INPUT && strstr(err->text, "probe-file") != NULL),
        "refused with a message that names the file");
}

static void read_ids(const char *path)
{
    struct qk_error err = {0};
    int32_t *ids;
    size_t n;
    enum qk_code code = qk_probe_read_ids(path, &ids, &n, &err);
    check_refusal(code, &err);
    fuzz_check(code != QK_OK || (n > 0 && n <= QK_PROBE_MOST), "some ids");
    for (size_t i = 0; code == QK_OK && i < n; i++)
        fuzz_check(ids[i] >= 0, "no id is negative");
    free(ids);
}

static void read_text(const char *path, size_t size)
{
    struct qk_error err = {0};
    char *text;
    size_t n;
    enum qk_code code = qk_probe_read_text(path, &text, &n, &err);
    check_refusal(code, &err);
    fuzz_check(
        code != QK_OK || (n == size && strlen(text) == n && qk_utf8_valid(text, n)), "the text, as UTF-8");
    free(text);
}

/* The model of the pair that can be run, opened once; its inner layers have ranges. */
static const struct qk_model *model(void)
{
    static struct qk_model *opened;
    char path[96];
    struct qk_error err = {0};
    if (opened == NULL) {
        fuzz_write_pairs();
        snprintf(path, sizeof path, "%s/run/post", fuzz_folder());
        fuzz_check(qk_model_open(path, &opened, &err) == QK_OK, "the model can be opened");
    }
    return opened;
}

static void write_states(const char *path, const char *text, size_t size)
{
    const char *end = size > 0 ? memchr(text, '\0', size) : NULL;
    size_t n = end != NULL ? (size_t)(end - text) : size, rest = n < size ? size - n - 1 : 0;
    fuzz_write_weights("probe-file", text, n);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    off_t length = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;
    fuzz_check(length >= (off_t)(8 + n), "the file is there");
    if ((off_t)rest > length - (off_t)(8 + n))
        rest = (size_t)(length - (off_t)(8 + n));
    fuzz_check(pwrite(fd, text + size - (n < size ? size - n - 1 : 0), rest, (off_t)(8 + n)) == (ssize_t)rest,
        "write");
    close(fd);
}

static void read_states(const char *path)
{
    const struct qk_model *m = model();
    struct qk_states states;
    struct qk_error err = {0};
    enum qk_code code = qk_states_read(path, m, &states, &err);
    check_refusal(code, &err);
    int found = 0;
    for (int i = 0; code == QK_OK && i < states.n_layers; i++) {
        found += states.layer[i] != NULL;
        fuzz_check(states.layer[i] == NULL || qk_states_wanted(&m->layer[i]), "layers that have ranges");
        for (size_t k = 0; states.layer[i] != NULL && k < states.T * m->layer[i].d; k++)
            fuzz_check(isfinite(states.layer[i][k]), "finite values");
    }
    if (code != QK_OK)
        return;
    fuzz_check(found > 0 && states.T > 0 && states.T <= QK_PROBE_MOST, "something is there");
    for (size_t t = 0; t < states.T; t++)
        fuzz_check(states.ids[t] >= 0, "no id is negative");
    qk_states_free(&states);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[96];
    if (size == 0)
        return 0;
    snprintf(path, sizeof path, "%s/probe-file", fuzz_folder());
    const char *rest = (const char *)data + 1;
    if (data[0] == 's')
        write_states(path, rest, size - 1);
    else
        fuzz_write_file("probe-file", rest, size - 1);
    if (data[0] == 's')
        read_states(path);
    else if (data[0] == 't')
        read_text(path, size - 1);
    else
        read_ids(path);
    return 0;
}
