/* helper.c - the shared part of the unit tests (helper.h). */
#define _XOPEN_SOURCE 700 /* nftw */
#include "helper.h"

#include "tensor/dtype.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void map_row(const struct qk_attention_map *map, size_t i, float *row)
{
    size_t t = map->t0 + i, first = qk_first_key(map->window, t);
    memset(row, 0, first * sizeof *row);
    for (size_t s = first; s <= t; s++)
        row[s] = map->p[i * map->ld + s] * map->factor[i * map->blocks + s / QK_ATTENTION_BLOCK];
}

char *path_in(char out[PATH_SIZE], const char *folder, const char *name)
{
    assert_true(snprintf(out, PATH_SIZE, "%s/%s", folder, name) < PATH_SIZE);
    return out;
}

bool test_is_brief(void)
{
    return getenv("QK_TEST_BRIEF") != NULL;
}

char *data_path(char out[PATH_SIZE], const char *name)
{
    const char *root = getenv("QK_TEST_DATA");
    return path_in(out, root != NULL ? root : "tests/data", name);
}

char *demo_path(char out[PATH_SIZE], const char *name)
{
    const char *root = getenv("QK_DEMO_DATA");
    return path_in(out, root != NULL ? root : "data/tiny-hypenet", name);
}

char *trained_path(char out[PATH_SIZE], const char *pair, const char *name)
{
    char folder[PATH_SIZE];
    const char *root = getenv("QK_DATA");
    return path_in(out, path_in(folder, root != NULL ? root : "data", pair), name);
}

const char *const FAMILIES[N_FAMILIES] = {"hypenet", "jet_nemotron", "llama", "mistral", "qwen2", "qwen3",
    "qwen3_next", "qwen3_5_text", "jamba", "falcon", "gemma3_text", "gpt2", "gpt_neox", "minimax", "phi3"};

struct qk_pair *open_family(const char *family)
{
    char name[PATH_SIZE], pre[PATH_SIZE], post[PATH_SIZE];
    struct qk_pair *pair;
    struct qk_error err = {0};
    if (strcmp(family, "hypenet") == 0) {
        demo_path(pre, "pre");
        demo_path(post, "post");
    } else {
        snprintf(name, sizeof name, "fixtures/%s/pre", family);
        data_path(pre, name);
        snprintf(name, sizeof name, "fixtures/%s/post", family);
        data_path(post, name);
    }
    expect_ok(qk_pair_open(pre, post, &pair, &err), &err);
    return pair;
}

/* --- folders --- */

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

void remove_all(const char *path)
{
    assert_int_equal(nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

int scratch_setup(void **state)
{
    const char *root = getenv("TMPDIR");
    char path[PATH_SIZE];
    *state = strdup(path_in(path, root != NULL ? root : "/tmp", "qkscope-test-XXXXXX"));
    return *state != NULL && mkdtemp(*state) != NULL ? 0 : -1;
}

int scratch_teardown(void **state)
{
    remove_all(*state);
    free(*state);
    return 0;
}

void make_folder(const char *path)
{
    char part[PATH_SIZE];
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        assert_true(mkdir(part, 0700) == 0 || errno == EEXIST);
    }
    assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
}

/* --- files --- */

void write_bytes(const char *path, const void *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        fail_msg("%s: %s", path, strerror(errno));
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

void write_text(const char *path, const char *format, ...)
{
    char *text;
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    assert_true(n >= 0);
    text = malloc((size_t)n + 1);
    assert_non_null(text);
    va_start(arguments, format);
    vsnprintf(text, (size_t)n + 1, format, arguments);
    va_end(arguments);
    write_bytes(path, text, (size_t)n);
    free(text);
}

char *read_bytes(const char *path, size_t *n)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("%s: %s", path, strerror(errno));
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    assert_true(size >= 0);
    rewind(file);
    char *bytes = malloc((size_t)size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)size, file), size);
    bytes[size] = '\0';
    fclose(file);
    if (n != NULL)
        *n = (size_t)size;
    return bytes;
}

static uint64_t count_elements(const struct test_tensor *tensor)
{
    uint64_t count = 1;
    for (int i = 0; i < tensor->n_dims; i++)
        count *= tensor->shape[i];
    return count;
}

static void write_data(FILE *file, const struct test_tensor *tensor, uint64_t *state)
{
    enum qk_dtype dtype = qk_dtype_parse(tensor->dtype);
    size_t count = (size_t)count_elements(tensor), bits = qk_dtype_bits(dtype), bytes = count * bits / 8;
    unsigned char *data = malloc(bytes + 1);
    double *random = malloc((count + 1) * sizeof *random);
    assert_true(data != NULL && random != NULL);
    for (size_t i = 0; i < count; i++)
        random[i] = random_uniform(state) / 2;
    if (qk_dtype_writable(dtype))
        qk_dtype_from_f64(dtype, tensor->values != NULL ? tensor->values : random, count, data);
    else
        for (size_t i = 0; i < bytes; i++)
            data[i] = (unsigned char)random_bits(state);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    free(random);
    free(data);
}

static void write_length(FILE *file, uint64_t n)
{
    for (int i = 0; i < 8; i++)
        fputc((int)(n >> (8 * i) & 0xff), file);
}

void write_safetensors(const char *path, const struct test_tensor *tensors, size_t n, uint64_t seed)
{
    char *header;
    size_t length;
    FILE *text = open_memstream(&header, &length), *file = fopen(path, "wb");
    assert_true(text != NULL && file != NULL);
    uint64_t at = 0;
    fputc('{', text);
    for (size_t i = 0; i < n; i++) {
        uint64_t bytes = count_elements(&tensors[i]) * qk_dtype_bits(qk_dtype_parse(tensors[i].dtype)) / 8;
        fprintf(text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i > 0 ? "," : "", tensors[i].name,
            tensors[i].dtype);
        for (int d = 0; d < tensors[i].n_dims; d++)
            fprintf(text, "%s%llu", d > 0 ? "," : "", (unsigned long long)tensors[i].shape[d]);
        fprintf(text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
            (unsigned long long)(at + bytes));
        at += bytes;
    }
    fputc('}', text);
    assert_int_equal(fclose(text), 0);
    write_length(file, length);
    assert_int_equal(fwrite(header, 1, length, file), length);
    for (size_t i = 0; i < n; i++)
        write_data(file, &tensors[i], &seed);
    assert_int_equal(fclose(file), 0);
    free(header);
}

void write_header(const char *path, const char *header, size_t n_data)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    write_length(file, strlen(header));
    fputs(header, file);
    for (size_t i = 0; i < n_data; i++)
        fputc((int)(i * 37 % 251), file);
    assert_int_equal(fclose(file), 0);
}

void write_llama(const char *folder, const char *prefix, int layers, uint64_t seed)
{
    enum { MOST = 64 };
    static const char *const roles[] = {"q_proj", "k_proj"};
    char path[PATH_SIZE], names[2 * MOST][128];
    struct test_tensor tensors[2 * MOST];
    assert_true(layers <= MOST);
    for (int i = 0; i < 2 * layers; i++) {
        snprintf(names[i], sizeof names[i], "%s%d.self_attn.%s.weight", prefix, i / 2, roles[i % 2]);
        tensors[i] = (struct test_tensor){names[i], "F32", 2, {i % 2 == 0 ? 8 : 4, 6}, NULL};
    }
    make_folder(folder);
    write_safetensors(path_in(path, folder, "model.safetensors"), tensors, 2 * (size_t)layers, seed);
    write_text(path_in(path, folder, "config.json"),
        "{\"model_type\":\"llama\",\"num_hidden_layers\":%d,\"num_attention_heads\":2,"
        "\"num_key_value_heads\":1,\"hidden_size\":8}",
        layers);
}

/* --- numbers and checks --- */

uint64_t random_bits(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double random_uniform(uint64_t *state)
{
    return (double)(random_bits(state) >> 11) * 0x1p-53 * 2.0 - 1.0;
}

void expect_ok(enum qk_code code, const struct qk_error *err)
{
    if (code != QK_OK)
        fail_msg("code %d: %s", code, err->text);
}

void expect_failure(enum qk_code code, const struct qk_error *err, enum qk_code expected, const char *words)
{
    if (code != expected)
        fail_msg("code %d, expected %d (\"%s\"): %s", code, expected, words, code != QK_OK ? err->text : "");
    assert_int_equal(err->code, expected);
    char word[512];
    for (const char *at = words; *at != '\0';) {
        size_t n = strcspn(at, "|");
        snprintf(word, sizeof word, "%.*s", (int)n, at);
        if (strstr(err->text, word) == NULL)
            fail_msg("\"%s\" is not in the message: %s", word, err->text);
        at += n + (at[n] == '|');
    }
}
