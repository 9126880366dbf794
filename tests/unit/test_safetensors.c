/* test_safetensors.c - every check of a header, by a file that fails it and files that pass. */
#include "helper.h"

#include "base/digest.h"
#include "tensor/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Opens FOLDER/a.safetensors, closing it again when that worked. */
static enum qk_code open_file(const char *folder, struct qk_error *err)
{
    char path[PATH_SIZE];
    struct qk_tensor_file file;
    enum qk_code code = qk_safetensors_open(path_in(path, folder, "a.safetensors"), &file, err);
    if (code == QK_OK)
        qk_tensor_file_close(&file);
    assert_int_equal(file.source.fd, -1);
    assert_null(file.tensor);
    return code;
}

static void refuse(const char *folder, const char *header, size_t n_data, const char *words)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    write_header(path_in(path, folder, "a.safetensors"), header, n_data);
    expect_failure(open_file(folder, &err), &err, QK_INPUT, "a.safetensors: ");
    expect_failure(err.code, &err, QK_INPUT, words);
}

static void accept(const char *folder, const char *header, size_t n_data)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    write_header(path_in(path, folder, "a.safetensors"), header, n_data);
    expect_ok(open_file(folder, &err), &err);
}

/* --- what passes --- */

static void test_reads_a_file(void **state)
{
    char path[PATH_SIZE];
    const struct test_tensor tensors[] = {
        {"b", "BF16", 2, {3, 4}, NULL}, {"a", "F32", 1, {5}, NULL}, {"scalar", "I64", 0, {0}, NULL}};
    struct qk_error err = {0};
    struct qk_tensor_file file;
    write_safetensors(path_in(path, *state, "a.safetensors"), tensors, 3, 1);
    expect_ok(qk_safetensors_open(path, &file, &err), &err);
    assert_int_equal(file.n_tensors, 3);
    assert_string_equal(file.tensor[0].name, "b");
    assert_int_equal(file.tensor[0].offset, file.header_bytes);
    assert_int_equal(file.tensor[0].bytes, 24);
    assert_int_equal(file.tensor[0].dtype, QK_BF16);
    assert_int_equal(file.tensor[0].n_dims, 2);
    assert_int_equal(file.tensor[0].shape[1], 4);
    assert_int_equal(file.tensor[1].offset, file.header_bytes + 24);
    assert_int_equal(file.tensor[2].n_dims, 0);
    assert_int_equal(file.tensor[2].bytes, 8);

    size_t n;
    char *bytes = read_bytes(path, &n), hex[QK_DIGEST_TEXT];
    struct qk_digest digest;
    qk_digest_init(&digest);
    qk_digest_add(&digest, bytes, (size_t)file.header_bytes);
    qk_digest_hex(&digest, hex);
    assert_string_equal(file.header_digest, hex);
    assert_int_equal(file.source.size, n);
    free(bytes);
    qk_tensor_file_close(&file);
}

static void test_accepts(void **state)
{
    accept(*state, "{}", 0);
    accept(*state, "{}          ", 0); /* padding */
    accept(*state, "{\"__metadata__\":{\"format\":\"pt\",\"note\":\"\"}}", 0);
    accept(*state, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}\n  ", 8);
    accept(*state,
        "{\"a\":{\"data_offsets\":[4,8],\"shape\":[],\"dtype\":\"F32\",\"more\":[1]},"
        "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
        8);
    accept(*state,
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"
        "\"data_offsets\":[0,4]}}",
        4);
    accept(*state, "{\"a\":{\"dtype\":\"F4\",\"shape\":[3,2],\"data_offsets\":[0,3]}}", 3);
    /* an unknown format: its bytes are carried, whatever its shape */
    accept(*state, "{\"a\":{\"dtype\":\"Q4_K\",\"shape\":[256],\"data_offsets\":[0,144]}}", 144);
}

/* Tensors without elements may lie anywhere between others. */
static void test_empty_tensors(void **state)
{
    accept(*state, "{\"z\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[0,0]}}", 0);
    accept(*state,
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[2,2]},"
        "\"c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]},"
        "\"d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[3,3]}}",
        3);
    refuse(*state,
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[1,1]}}",
        2, "b: data_offsets overlap the tensor before it by 1 bytes");
}

/* --- the frame --- */

static void test_short_files(void **state)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    path_in(path, *state, "a.safetensors");
    expect_failure(open_file(*state, &err), &err, QK_IO, "cannot open: No such file");
    for (size_t n = 0; n < 8; n++) {
        write_bytes(path, "\2\0\0\0\0\0\0\0", n);
        expect_failure(open_file(*state, &err), &err, QK_INPUT, "header too small|expected at least 8");
    }
    write_bytes(path, "\2\0\0\0\0\0\0\0", 8);
    expect_failure(
        open_file(*state, &err), &err, QK_INPUT, "header runs past the end|found 8 bytes, expected 10");
    write_bytes(path, "\2\0\0\0\0\0\0\0{", 9);
    expect_failure(open_file(*state, &err), &err, QK_INPUT, "header runs past the end");
    write_bytes(path, "\0\0\0\0\0\0\0\0", 8);
    expect_failure(open_file(*state, &err), &err, QK_INPUT, "does not start with '{'");
}

static void test_absurd_lengths(void **state)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    path_in(path, *state, "a.safetensors");
    static const char *const prefixes[] = {"\xff\xff\xff\xff\xff\xff\xff\xff{}",
        "\xf8\xff\xff\xff\xff\xff\xff\xff{}", "\0\0\0\0\0\0\0\x80{}", "\x01\xe1\xf5\x05\0\0\0\0{}"};
    for (size_t i = 0; i < 4; i++) {
        write_bytes(path, prefixes[i], 10);
        expect_failure(open_file(*state, &err), &err, QK_INPUT, "header too large|at most 100000000");
    }
    write_bytes(path, "\0\xe1\xf5\x05\0\0\0\0{}", 10); /* exactly the limit, and the file is short */
    expect_failure(open_file(*state, &err), &err, QK_INPUT, "header runs past the end");
}

static void test_not_files(void **state)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    path_in(path, *state, "a.safetensors");
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_failure(open_file(*state, &err), &err, QK_INPUT, "not a regular file"); /* and does not wait */
    remove_all(path);
    make_folder(path);
    expect_failure(open_file(*state, &err), &err, QK_INPUT, "not a regular file");
    remove_all(path);
    assert_int_equal(symlink("a.safetensors", path), 0);
    expect_failure(open_file(*state, &err), &err, QK_IO, "cannot open");
}

/* --- the text --- */

static void test_not_json(void **state)
{
    refuse(*state, "[]", 0, "does not start with '{'");
    refuse(*state, " {}", 0, "does not start with '{'");
    refuse(*state, "{\"a\xff\":1}", 0, "not UTF-8");
    refuse(*state, "{\"a\\u0000\":1}", 0, "NUL");
    refuse(*state, "{\"a\":", 0, "not valid JSON");
    refuse(*state, "{", 0, "not valid JSON");
    refuse(*state, "{}{}", 0, "not valid JSON (line 1, column 3)");
    refuse(*state, "{\"a\":1,}", 0, "a: its entry is not an object");
    refuse(*state, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},}", 8, "not valid JSON");
    refuse(*state, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8}}", 8, "not valid JSON");
    refuse(*state, "{\"a\":{\"dtype\":\"F32\"\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
        "not valid JSON (line 1, column 2");
    refuse(*state, "{\"__metadata__\":{\"a\":}}", 0, "not valid JSON");
}

static void test_names(void **state)
{
#define TENSOR(name) "\"" name "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}"
    refuse(*state, "{" TENSOR("x") "," TENSOR("x") "}", 1, "x: tensor appears twice");
    refuse(*state, "{" TENSOR("x") "," TENSOR("\\u0078") "}", 1, "x: tensor appears twice");
    refuse(*state, "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ appears twice");
    /* what a terminal would obey is made visible */
    refuse(*state, "{\"a\\u001b[2J\":3}", 0, "a\\x1b[2J: its entry is not an object");
    refuse(*state,
        "{\"\xc2\x9b"
        "2J\":3}",
        0, "\\x9b2J: its entry");
    refuse(*state, "{\"\":3}", 0, ": : its entry is not an object");
}

static void test_metadata(void **state)
{
    refuse(*state, "{\"__metadata__\":[]}", 0, "__metadata__ is not an object");
    refuse(*state, "{\"__metadata__\":\"x\"}", 0, "__metadata__ is not an object");
    refuse(*state, "{\"__metadata__\":{\"n\":1}}", 0, "__metadata__: \"n\" is not a string");
    refuse(*state, "{\"__metadata__\":{\"n\":null}}", 0, "__metadata__: \"n\" is not a string");
    refuse(*state, "{\"__metadata__\":{\"a\":\"1\",\"b\":\"2\",\"a\":\"3\"}}", 0,
        "__metadata__: key \"a\" appears twice");
    accept(*state, "{\"__metadata__\":null}", 0);
}

/* The reference library reads headers with serde_json into unsigned integers and a list of dtypes in capitals. */
static void test_spellings(void **state)
{
#define ENTRY(dtype, shape, rest)                                                                            \
    "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[0,8]" rest "}}"
    static const struct {
        const char *header, *words;
    } rows[] = {{ENTRY("F32", "[02]", ""), "not valid JSON"}, {ENTRY("F32", "[2.]", ""), "not valid JSON"},
        {ENTRY("F32", "[2.0]", ""), "a: shape holds a number that is not spelled as a whole number"},
        {ENTRY("F32", "[2e0]", ""), "a: shape holds a number"}, {ENTRY("F32", "[2,-0]", ""), "a: "},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8.0]}}",
            "a: data_offsets holds a number"},
        {ENTRY("F32", "[2]", ",\"b\":NaN"), "not valid JSON"},
        {ENTRY("F32", "[2]", ",\"b\":00"), "not valid JSON"},
        {ENTRY("F32", "[2]", ",\"b\":\"\t\""), "not valid JSON"},
        {ENTRY("f32", "[2]", ""), "a: not a dtype (found \"f32\""}, {ENTRY("bf16", "[4]", ""), "not a dtype"},
        {ENTRY("", "[2]", ",\"\x01\":1"), "not valid JSON"},
        {"{\"__metadata__\":{\"a\":\"\n\"}}", "not valid JSON"},
        {"{\"__metadata__\":{\"a\":NaN}}", "not valid JSON"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        refuse(*state, rows[i].header, strstr(rows[i].header, "__metadata__") != NULL ? 0 : 8, rows[i].words);
    accept(*state, ENTRY("F32", "[2]", ",\"b\":-1.5e3"), 8);
#undef ENTRY
}

/* --- an entry --- */

static void test_dtypes(void **state)
{
    refuse(*state, "{\"a\":[]}", 0, "a: its entry is not an object");
    refuse(*state, "{\"a\":{\"shape\":[],\"data_offsets\":[0,0]}}", 0, "a: dtype is missing or not a string");
    refuse(*state, "{\"a\":{\"dtype\":32,\"shape\":[],\"data_offsets\":[0,0]}}", 0, "a: dtype is missing");
    refuse(*state, "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[0,4]}}", 4,
        "a: key \"dtype\" appears twice");
    char path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_tensor_file file;
    write_header(path_in(path, *state, "a.safetensors"),
        "{\"a\":{\"dtype\":\"A_NAME_LONGER_THAN_ANY\",\"shape\":[9],\"data_offsets\":[0,2]}}", 2);
    expect_ok(qk_safetensors_open(path, &file, &err), &err);
    assert_int_equal(file.tensor[0].dtype, QK_DTYPE_OTHER);
    assert_string_equal(file.tensor[0].dtype_text, "A_NAME_LONGER_T");
    assert_int_equal(file.tensor[0].bytes, 2);
    qk_tensor_file_close(&file);
}

static void refuse_shape(const char *folder, const char *shape, const char *words)
{
    char header[512];
    snprintf(header, sizeof header, "{\"a\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[0,4]}}", shape);
    refuse(folder, header, 4, words);
}

static void test_shapes(void **state)
{
    refuse_shape(*state, "4", "a: shape is not an array");
    refuse_shape(*state, "null", "a: shape is not an array");
    refuse_shape(*state, "{\"0\":1}", "a: shape is not an array");
    static const char *const not_whole[] = {
        "[-1]", "[1.5]", "[\"1\"]", "[null]", "[[1]]", "[1e300]", "[1e999]", "[9007199254740994]", "[true]"};
    for (size_t i = 0; i < sizeof not_whole / sizeof not_whole[0]; i++)
        refuse_shape(*state, not_whole[i], "a: shape holds something that is not a whole number");
    refuse_shape(*state, "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "a: more than 16 dimensions");
    refuse_shape(*state, "[4294967296,4294967296]", "a: the product of its shape overflows");
    refuse_shape(*state, "[9007199254740992,2048]", "a: the product of its shape overflows");
    refuse_shape(*state, "[9007199254740992,9007199254740992,0]", "a: the product of its shape overflows");
    refuse_shape(
        *state, "[2]", "a: data_offsets do not fit its shape (found 4 bytes, expected 8 for F32 (2))");
    refuse_shape(*state, "[0]", "found 4 bytes, expected 0 for F32 (0)");
    refuse_shape(*state, "[9007199254740991,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]",
        "expected 36028797018963964 for F32 (9007199254740991, 1");
    refuse(*state, "{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2,
        "a: 12 bits are not a whole number of bytes");
}

static void test_long_entry(void **state)
{
    enum { LONG = 100000 };
    char *header = malloc(LONG);
    assert_non_null(header);
    int n = snprintf(header, LONG, "{\"a\":{\"dtype\":\"F32\",\"shape\":[");
    while (n < LONG - 40)
        n += snprintf(header + n, (size_t)(LONG - n), "1,");
    snprintf(header + n, (size_t)(LONG - n), "1],\"data_offsets\":[0,4]}}");
    refuse(*state, header, 4, "a: its entry is too long (found 99");
    free(header);
}

static void test_offsets(void **state)
{
#define AT(offsets) "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" offsets "}}"
    refuse(*state, AT("null"), 4, "a: data_offsets are not two whole numbers");
    refuse(*state, AT("[0]"), 4, "a: data_offsets are not two whole numbers");
    refuse(*state, AT("[0,4,8]"), 4, "a: data_offsets are not two whole numbers");
    refuse(*state, AT("[0,\"4\"]"), 4, "a: data_offsets are not two whole numbers");
    refuse(*state, AT("[-4,0]"), 4, "a: data_offsets are not two whole numbers");
    refuse(*state, AT("[0.5,4.5]"), 4, "a: data_offsets are not two whole numbers");
    refuse(*state, AT("[0,1e30]"), 4, "a: data_offsets are not two whole numbers");
    refuse(*state, AT("[4,0]"), 4, "a: data_offsets run backwards (4 to 0)");
    refuse(*state, AT("[0,3]"), 4, "found 3 bytes, expected 4 for U8 (4)");
    refuse(*state, AT("[2,6]"), 6, "a: a hole of 2 bytes before its data");
    refuse(*state, AT("[0,4]"), 3, "the data is cut short|found|expected");
    refuse(*state, AT("[0,4]"), 9, "5 bytes after the last tensor");
    refuse(*state, AT("[9007199254740988,9007199254740992]"), 4, "a: a hole of 9007199254740988 bytes");
    refuse(*state, "{}", 1, "1 bytes after the last tensor");
#define TWO(b)                                                                                               \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"                                        \
    "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" b "}}"
    refuse(*state, TWO("[3,7]"), 7, "b: data_offsets overlap the tensor before it by 1 bytes");
    refuse(*state, TWO("[0,4]"), 4, "b: data_offsets overlap the tensor before it by 4 bytes");
    refuse(*state, TWO("[5,9]"), 9, "b: a hole of 1 bytes before its data");
    accept(*state, TWO("[4,8]"), 8);
}

/* --- a file that changes under us --- */

static void test_cut_short_afterwards(void **state)
{
    char path[PATH_SIZE], buffer[4096];
    const struct test_tensor tensors[] = {{"a", "F32", 1, {1024}, NULL}};
    struct qk_error err = {0};
    struct qk_tensor_file file;
    write_safetensors(path_in(path, *state, "a.safetensors"), tensors, 1, 1);
    expect_ok(qk_safetensors_open(path, &file, &err), &err);
    expect_ok(qk_source_read(&file.source, file.tensor[0].offset, buffer, 4096, &err), &err);
    expect_ok(qk_source_unchanged(&file.source, &err), &err);
    assert_int_equal(truncate(path, (off_t)file.tensor[0].offset + 100), 0);
    expect_failure(qk_source_read(&file.source, file.tensor[0].offset, buffer, 4096, &err), &err, QK_IO,
        "a.safetensors: became shorter while it was read|found|expected");
    expect_failure(qk_source_unchanged(&file.source, &err), &err, QK_IO, "was changed by another program");
    qk_tensor_file_close(&file);
}

/* --- bounds of time and memory --- */

static long peak_kilobytes(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

/* A quarter of the largest header that is allowed: 25 megabytes. Sanitizers, which take ten times as long, get 4. */
#ifdef QK_SANITIZED
enum { LARGE = QK_ST_MAX_HEADER / 25 };
#else
enum { LARGE = QK_ST_MAX_HEADER / 4 };
#endif

/* A header of that size: `lead`, then `unit` over and over. */
static void write_large(const char *folder, const char *lead, const char *unit)
{
    char path[PATH_SIZE];
    size_t n = LARGE, m = strlen(unit);
    unsigned char *bytes = malloc(8 + n);
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)n >> (8 * i));
    memcpy(bytes + 8, unit, m);
    for (size_t done = m; done < n; done *= 2) /* whole units each time, the last cut short */
        memcpy(bytes + 8 + done, bytes + 8, done < n - done ? done : n - done);
    memcpy(bytes + 8, lead, strlen(lead));
    write_bytes(path_in(path, folder, "a.safetensors"), bytes, 8 + n);
    free(bytes);
}

/* The bounds are generous (sanitizers are slow and keep memory back), yet below what a tree of the whole
 * would take: 1 GB for the second row. */
static void test_large_headers(void **state)
{
    static const struct {
        const char *lead, *unit;
    } rows[] = {{"{", "[[[["}, {"{\"a\":[", "0,"}, {"{\"a\":", "{\"a\":"}, {"{\"", "x"},
        {"{\"__metadata__\":{", "\"a\":1,"}, {"{", " "}, {"{", "\\\""}, {"{", "\"a\":{},"},
        {"{\"__metadata__\":", "\"\","}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_error err = {0};
        write_large(*state, rows[i].lead, rows[i].unit);
        clock_t start = clock();
        assert_int_equal(open_file(*state, &err), QK_INPUT);
        double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        if (seconds > 600) /* in time that grows as its square it would be a day */
            fail_msg("%s%s... took %.0f s", rows[i].lead, rows[i].unit, seconds);
    }
    if (peak_kilobytes() > 600 * 1024)
        fail_msg("took %ld kB", peak_kilobytes());
}

/* Many entries are walked in linear time, the last is found wanting. */
static void test_many_tensors(void **state)
{
    enum { MANY = 200000 };
    char path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_tensor_file file;
    char *header;
    size_t length;
    FILE *text = open_memstream(&header, &length);
    assert_non_null(text);
    fputc('{', text);
    for (int i = 0; i < MANY; i++)
        fprintf(text, "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i > 0 ? "," : "",
            i, i, i + 1);
    fputc('}', text);
    fclose(text);
    write_header(path_in(path, *state, "a.safetensors"), header, MANY);
    expect_ok(qk_safetensors_open(path, &file, &err), &err);
    assert_int_equal(file.n_tensors, MANY);
    qk_tensor_file_close(&file);
    refuse(*state, header, MANY - 1, "the data is cut short");
    free(header);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_folder(test_reads_a_file),
        test_in_folder(test_accepts),
        test_in_folder(test_empty_tensors),
        test_in_folder(test_short_files),
        test_in_folder(test_absurd_lengths),
        test_in_folder(test_not_files),
        test_in_folder(test_not_json),
        test_in_folder(test_names),
        test_in_folder(test_metadata),
        test_in_folder(test_spellings),
        test_in_folder(test_dtypes),
        test_in_folder(test_shapes),
        test_in_folder(test_long_entry),
        test_in_folder(test_offsets),
        test_in_folder(test_cut_short_afterwards),
        test_in_folder(test_large_headers),
        test_in_folder(test_many_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
