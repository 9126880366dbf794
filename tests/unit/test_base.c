/* test_base.c - text, JSON, memory, errors, digests, progress, loops, files, folders and the cache. */
#include "helper.h"

#include "base/cache.h"
#include "base/digest.h"
#include "base/folder.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "base/processors.h"
#include "base/progress.h"
#include "base/read_file.h"
#include "base/text.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* --- text --- */

/* RFC 3629 written out: the well-formed sequences of one to four bytes by their table. */
static bool well_formed(const unsigned char *p, size_t n)
{
    static const unsigned char rows[][5] = {/* lead low, lead high, second low, second high, length */
        {0x00, 0x7f, 0, 0, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        const unsigned char *row = rows[r];
        if (p[0] < row[0] || p[0] > row[1] || n != row[4])
            continue;
        bool good = n == 1 || (p[1] >= row[2] && p[1] <= row[3]);
        for (size_t i = 2; i < n; i++)
            good = good && p[i] >= 0x80 && p[i] <= 0xbf;
        return good;
    }
    return false;
}

/* Every sequence of up to three bytes, and of four with the third and fourth at their edges: accepted exactly
 * where the table does, or where it splits into shorter well-formed ones. */
static void test_utf8(void **state)
{
    (void)state;
    unsigned char p[4];
    for (unsigned v = 0; v < 1u << 16; v++) {
        p[0] = (unsigned char)(v >> 8);
        p[1] = (unsigned char)v;
        bool two = well_formed(p, 2) || (well_formed(p, 1) && well_formed(p + 1, 1));
        assert_int_equal(qk_utf8_valid((char *)p, 1), well_formed(p, 1));
        assert_int_equal(qk_utf8_valid((char *)p, 2), two);
        static const unsigned char edges[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
        for (size_t a = 0; p[0] >= 0xe0 && a < sizeof edges; a++) {
            p[2] = edges[a];
            assert_int_equal(qk_utf8_valid((char *)p, 3), well_formed(p, 3));
            for (size_t b = 0; p[0] >= 0xf0 && b < sizeof edges; b++) {
                p[3] = edges[b];
                assert_int_equal(qk_utf8_valid((char *)p, 4), well_formed(p, 4));
            }
        }
    }
    assert_true(qk_utf8_valid("", 0));
    assert_false(qk_utf8_valid("\xe2\x82", 2));         /* cut short */
    assert_false(qk_utf8_valid("\xc0\xaf", 2));         /* overlong '/' */
    assert_false(qk_utf8_valid("\xed\xa0\x80", 3));     /* a surrogate */
    assert_false(qk_utf8_valid("\xf4\x90\x80\x80", 4)); /* above U+10FFFF */
}

static void expect_printable(const char *text, size_t room, const char *expected)
{
    char out[64];
    memset(out, '#', sizeof out);
    assert_ptr_equal(qk_printable(out, room, text), out);
    assert_string_equal(out, expected);
    assert_int_equal(out[room], '#'); /* nothing behind the room it was given */
}

static void test_printable(void **state)
{
    (void)state;
    expect_printable("plain λ text", 32, "plain λ text");
    expect_printable("\x1b[2J\a\n\x7f", 32, "\\x1b[2J\\x07\\x0a\\x7f");
    expect_printable("\xc2\x9b"
                     "31m",
        32, "\\x9b31m"); /* C1: a one-character CSI */
    expect_printable("a\xff"
                     "b\xe2\x82",
        32, "a\\xffb\\xe2\\x82");
    expect_printable("abcdef", 4, "abc");
    expect_printable("ab\x01"
                     "cd",
        5, "ab");                   /* an escape is never cut */
    expect_printable("aλ", 3, "a"); /* nor is a character */
    expect_printable("x", 1, "");
    expect_printable("a\u202e\u2029\u200b", 32, "a\\u202e\\u2029\\u200b");
    expect_printable("\U000e0041\ufeff\u00ad", 32, "\\U000e0041\\ufeff\\u00ad");
    expect_printable(
        "e\u0301 \u05d0\u0627 \U0001f600", 32, "e\u0301 \u05d0\u0627 \U0001f600"); /* seen as they are */
}

/* Text of several lines, and a name within one. */
static void test_visible_text(void **state)
{
    (void)state;
    static const char text[] = "a\tb\nc\x1b\0d\u202e\xff";
    struct qk_text lines = {0}, name = {0};
    qk_text_add_visible(&lines, text, sizeof text - 1, true);
    qk_text_add_visible(&name, text, sizeof text - 1, false);
    assert_string_equal(lines.s, "a\tb\nc\\x1b\\x00d\\u202e\\xff");
    assert_string_equal(name.s, "a\\x09b\\x0ac\\x1b\\x00d\\u202e\\xff");
    qk_text_free(&lines);
    qk_text_free(&name);
}

/* What JSON says of a name is the name, and holds nothing that a terminal would obey. */
static void test_json_names(void **state)
{
    (void)state;
    static const char evil[] = "\x1b\n\x7f\xc2\x9b\u202e\u2028\U000e0041\U0001d173\u00e9\"";
    struct qk_error err = {0};
    cJSON *root = cJSON_CreateObject(), *again;
    char *text;
    cJSON_AddStringToObject(root, evil, evil);
    expect_ok(qk_json_text(root, true, &text, &err), &err);
    assert_string_equal(text,
        "{\n\t\"\\u001b\\n\\u007f\\u009b\\u202e\\u2028\\udb40\\udc41\\ud834\\udd73\u00e9\\\"\":"
        "\t\"\\u001b\\n\\u007f\\u009b\\u202e\\u2028\\udb40\\udc41\\ud834\\udd73\u00e9\\\"\"\n}");
    expect_ok(qk_json_parse("again", text, strlen(text), &again, &err), &err);
    assert_string_equal(again->child->string, evil);
    assert_string_equal(again->child->valuestring, evil);
    cJSON_Delete(again);
    free(text);
}

static void test_format_bytes(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {{0, "0 B"}, {812, "812 B"}, {999, "999 B"}, {1000, "1.00 kB"}, {9994, "9.99 kB"},
        {9996, "10.0 kB"}, {99949, "99.9 kB"}, {99951, "100 kB"}, {999499, "999 kB"}, {999500, "1.00 MB"},
        {12400000, "12.4 MB"}, {18200000000, "18.2 GB"}, {UINT64_MAX, "18.4 EB"}};
    char out[QK_BYTES_TEXT];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_string_equal(qk_format_bytes(out, rows[i].bytes), rows[i].text);
}

static void test_text_grows(void **state)
{
    (void)state;
    struct qk_text text = {0};
    struct qk_error err = {0};
    char *whole;
    for (int i = 0; i < 1000; i++)
        qk_text_add(&text, "%d,", i);
    qk_text_add_bytes(&text, "a\0b", 3);
    assert_int_equal(text.length, 2890 + 1000 + 3);
    expect_ok(qk_text_take(&text, &whole, &err), &err);
    assert_int_equal(strncmp(whole, "0,1,2,", 6), 0);
    assert_memory_equal(whole + 3890, "a\0b", 4);
    assert_null(text.s);
    free(whole);
    expect_ok(qk_text_take(&text, &whole, &err), &err); /* nothing was added: still a text */
    assert_string_equal(whole, "");
    free(whole);
    text.failed = true;
    qk_text_add(&text, "lost");
    assert_int_equal(qk_text_take(&text, &whole, &err), QK_IO);
    assert_null(whole);
}

static void test_lines(void **state)
{
    (void)state;
    struct qk_lines lines = {0};
    struct qk_error err = {0};
    for (int i = 0; i < 100; i++)
        expect_ok(qk_lines_add(&lines, &err, "line %d", i), &err);
    assert_int_equal(lines.n, 100);
    assert_string_equal(lines.line[99], "line 99");
    qk_lines_free(&lines);
    assert_int_equal(lines.n, 0);
}

/* --- memory --- */

static void test_parts_of_names(void **state)
{
    (void)state;
    assert_true(qk_ends_with("model.safetensors", ".safetensors") && qk_ends_with("a", "a"));
    assert_true(qk_ends_with("a", "") && qk_ends_with("", ""));
    assert_false(qk_ends_with("safetensors", ".safetensors") || qk_ends_with("", "a"));
    assert_true(qk_path_inside("/a/b", "/a/b") && qk_path_inside("/a/b/c", "/a/b"));
    assert_true(qk_path_inside("/a", "/") && qk_path_inside("/", "/"));
    assert_false(qk_path_inside("/a/bc", "/a/b") || qk_path_inside("/a", "/a/b"));
}

static void test_memory(void **state)
{
    (void)state;
    struct qk_error err = {0};
    unsigned char *bytes = (unsigned char *)&err;
    expect_ok(qk_alloc(&bytes, 100, 3, &err), &err);
    for (int i = 0; i < 300; i++)
        assert_int_equal(bytes[i], 0);
    free(bytes);
    expect_ok(qk_alloc(&bytes, 0, 8, &err), &err);
    assert_non_null(bytes);
    free(bytes);
    expect_failure(qk_alloc(&bytes, SIZE_MAX / 2, 4, &err), &err, QK_IO, "out of memory");
    assert_null(bytes);
    bytes = (unsigned char *)&err;
    expect_failure(qk_alloc_aligned(&bytes, SIZE_MAX, 1, &err), &err, QK_IO, "out of memory");
    assert_null(bytes);
    for (size_t n = 0; n < 200; n += 7) {
        expect_ok(qk_alloc_aligned(&bytes, n, 1, &err), &err);
        assert_int_equal((uintptr_t)bytes % 64, 0);
        free(bytes);
    }
}

static void test_grow(void **state)
{
    (void)state;
    struct qk_error err = {0};
    int *array = NULL;
    size_t capacity = 0;
    for (size_t n = 1; n < 5000; n++) {
        expect_ok(qk_grow(&array, &capacity, n, sizeof *array, &err), &err);
        assert_true(capacity >= n);
        assert_int_equal(array[n - 1], 0);
        array[n - 1] = (int)n;
    }
    for (size_t n = 1; n < 5000; n++)
        assert_int_equal(array[n - 1], n);
    size_t before = capacity;
    int *same = array;
    expect_failure(
        qk_grow(&array, &capacity, SIZE_MAX / 2, sizeof *array, &err), &err, QK_IO, "out of memory");
    assert_ptr_equal(array, same);
    assert_int_equal(capacity, before);
    free(array);
}

/* --- errors --- */

static void test_errors(void **state)
{
    (void)state;
    struct qk_error err = {0};
    char longest[3 * QK_ERROR_TEXT];
    assert_int_equal(qk_fail(NULL, QK_INPUT, "%s", "unheard"), QK_INPUT);
    expect_failure(qk_fail(&err, QK_INPUT, "%s: found %d", "a\nb", 3), &err, QK_INPUT, "a\\x0ab: found 3");
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(qk_fail(&err, QK_USAGE, "%s", longest), QK_USAGE);
    assert_int_equal(strlen(err.text), QK_ERROR_TEXT - 1);
    memset(longest, '\x1b', sizeof longest - 1);
    qk_fail(&err, QK_USAGE, "%s", longest);
    assert_null(strchr(err.text, '\x1b'));
    errno = ENOENT;
    expect_failure(
        qk_fail_errno(&err, "some/file", "open"), &err, QK_IO, "some/file: cannot open: No such file");
    expect_failure(qk_fail_memory(&err, 77), &err, QK_IO, "out of memory (77 bytes)");
    expect_failure(qk_fail_cancelled(&err), &err, QK_CANCELLED, "interrupted");
    /* A message about a message: the text may be its own argument. */
    qk_fail(&err, QK_INPUT, "inner");
    expect_failure(qk_fail(&err, QK_INPUT, "outer: %s", err.text), &err, QK_INPUT, "outer: inner");
}

/* --- JSON --- */

static enum qk_code parse(const char *text, size_t n, cJSON **out, struct qk_error *err)
{
    /* A copy of exactly n bytes, so that a read behind them is a fault that the sanitizers see. */
    char *copy = malloc(n > 0 ? n : 1);
    assert_non_null(copy);
    memcpy(copy, text, n);
    enum qk_code code = qk_json_parse("some.json", copy, n, out, err);
    free(copy);
    return code;
}

static void test_json_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n; /* 0: strlen */
        const char *words;
    } rows[] = {{"", 0, "some.json|not valid JSON|line 1, column 1"}, {"{", 0, "not valid JSON"},
        {"{\"a\":1", 0, "not valid JSON"}, {"{\"a\":1,", 0, "not valid JSON"}, {"[1,]", 0, "not valid JSON"},
        {"{} {}", 0, "not valid JSON (line 1, column 4)"}, {"{}\n\nx", 0, "line 3, column 1"},
        {"{\"a\": tru}", 0, "not valid JSON"}, {"nul", 0, "not valid JSON"}, {"\"abc", 0, "not valid JSON"},
        {"\"\\u12", 0, "not valid JSON"}, {"\"\\ud800\"", 0, "not valid JSON"}, {"-", 0, "not valid JSON"},
        {"{\"a\xff\":1}", 0, "not UTF-8"}, {"\"\xed\xa0\x80\"", 0, "not UTF-8"},
        {"{\"a\\u0000b\":1}", 0, "NUL"}, {"{}\0", 3, "NUL"}, {"\"a\0b\"", 5, "NUL"},
        /* numbers, control characters, escapes and blanks that Python refuses, too, and cJSON does not */
        {"{\"a\":01}", 0, "line 1, column 7"}, {"[1.]", 0, "not valid JSON"}, {"[-01]", 0, "not valid JSON"},
        {"[.5]", 0, "not valid JSON"}, {"[+1]", 0, "not valid JSON"}, {"[1e]", 0, "not valid JSON"},
        {"[1.e3]", 0, "not valid JSON"}, {"[1-2]", 0, "not valid JSON"}, {"[1.5.2]", 0, "not valid JSON"},
        {"[0x10]", 0, "not valid JSON"}, {"\"a\tb\"", 0, "line 1, column 3"}, {"\"\x1f\"", 0, "column 2"},
        {"\"a\nb\"", 0, "not valid JSON"}, {"\"\\uZZZZ\"", 0, "not valid JSON"}, {"\"\\x\"", 0, "not valid"},
        {"[1,\f2]", 0, "line 1, column 4"}, {"[1,\v2]", 0, "not valid JSON"},
        {"{\"a\":1, // text\n\"b\":2}", 0, "line 1, column 9"}, {"{\"a\":1,\n}", 0, "line 2, column 1"},
        /* the words of Python's floats are values, and nothing else is spelled so */
        {"[nan]", 0, "not valid JSON"}, {"[inf]", 0, "not valid JSON"}, {"[+Infinity]", 0, "not valid JSON"},
        {"[-NaN]", 0, "not valid JSON"}, {"{NaN:1}", 0, "not valid JSON"}, {"[NaNNaN]", 0, "not valid JSON"},
        {"[- Infinity]", 0, "not valid JSON"},
        {"[NaN,\n\"Infinity\", -Infinity, 2 3]", 0, "line 2, column 26"}, {"[NaN 1]", 0, "line 1, column 6"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_error err = {0};
        cJSON *root = (cJSON *)&err;
        size_t n = rows[i].n > 0 ? rows[i].n : strlen(rows[i].text);
        expect_failure(parse(rows[i].text, n, &root, &err), &err, QK_INPUT, rows[i].words);
        assert_null(root);
    }
}

static void test_json_accepts(void **state)
{
    (void)state;
    static const char *const rows[] = {"{}", " [1, 2]\r\n\t ", "\"\\\\u0000\"", "1e400", "-0.5e-3", "-0",
        "[0,0.0,10,1E+2,1e-0]", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\x7f\"", "\xef\xbb\xbf{}", "NaN",
        "[Infinity]", "{\"a\":{\"b\":[true,false,null,\"\\ud83d\\ude00\"]}}"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_error err = {0};
        cJSON *root;
        expect_ok(parse(rows[i], strlen(rows[i]), &root, &err), &err);
        cJSON_Delete(root);
    }
}

/* What json.dumps({"a": nan, "b": [0.0, inf], "NaN": {"-Infinity": -inf}, "s": "NaN, Infinity"}) writes. No number may
 * come of these words. */
static void test_json_of_python(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\": NaN, \"b\": [0.0, Infinity], \"NaN\": {\"-Infinity\": -Infinity}, \"s\": \"NaN, Infinity\"}";
    struct qk_error err = {0};
    cJSON *o;
    expect_ok(parse(text, strlen(text), &o, &err), &err);
    const cJSON *b = qk_json_get(o, "b");
    assert_true(qk_json_number(o, "a", 7) == 7 && qk_json_int(o, "a", 7) == 7);
    assert_string_equal(qk_json_string(o, "a", ""), "NaN");
    assert_true(b->child->valuedouble == 0);
    assert_string_equal(b->child->next->valuestring, "Infinity");
    assert_string_equal(qk_json_string(qk_json_get(o, "NaN"), "-Infinity", ""), "-Infinity");
    assert_string_equal(qk_json_string(o, "s", ""), "NaN, Infinity");
    cJSON_Delete(o);
    expect_failure(qk_json_check_tokens("header", "{\"a\":NaN}", 0, 9, QK_JSON_STRICT, &err), &err, QK_INPUT,
        "header: not valid JSON (line 1, column 6)");
}

/* Neither the stack nor the clock may suffer from brackets. */
static void test_json_deep_nesting(void **state)
{
    (void)state;
    enum { DEEP = 2000000 };
    struct qk_error err = {0};
    cJSON *root;
    char *text = malloc(DEEP);
    assert_non_null(text);
    memset(text, '[', DEEP);
    expect_failure(parse(text, DEEP, &root, &err), &err, QK_INPUT, "JSON");
    expect_failure(parse(text, 100000, &root, &err), &err, QK_INPUT, "not valid JSON");
    for (size_t i = 0; i + 5 <= DEEP; i += 5)
        memcpy(text + i, "{\"a\":", 5);
    expect_failure(parse(text, 100000, &root, &err), &err, QK_INPUT, "not valid JSON");
    memset(text, '[', 500);
    memset(text + 500, ']', 500);
    expect_ok(parse(text, 1000, &root, &err), &err);
    cJSON_Delete(root);
    free(text);
}

/* A node of the tree is some 64 bytes; text that is nothing but short values is refused before the tree. */
static void test_json_bounds_memory(void **state)
{
    (void)state;
    enum { MANY = 4000000 };
    struct qk_error err = {0};
    cJSON *root;
    char *text = malloc(2 * MANY + 2);
    assert_non_null(text);
    text[0] = '[';
    for (size_t i = 0; i < MANY; i++)
        memcpy(text + 1 + 2 * i, "0,", 2);
    memcpy(text + 2 * MANY, "]", 2);
    expect_failure(parse(text, 2 * MANY + 1, &root, &err), &err, QK_INPUT, "too many JSON values");
    text[200000] = ']';
    expect_ok(parse(text, 200001, &root, &err), &err);
    cJSON_Delete(root);
    memset(text, ',', 2 * MANY); /* commas inside a string are no values */
    text[0] = text[2 * MANY - 1] = '"';
    expect_ok(parse(text, 2 * MANY, &root, &err), &err);
    cJSON_Delete(root);
    free(text);
}

static void test_json_getters(void **state)
{
    (void)state;
    const char *text = "{\"i\":-3,\"f\":2.5,\"big\":1e300,\"inf\":1e999,\"b\":true,\"s\":\"x\",\"n\":null,"
                       "\"I\":4,\"edge\":9007199254740992,\"over\":9007199254740994}";
    struct qk_error err = {0};
    cJSON *o;
    uint64_t u;
    expect_ok(parse(text, strlen(text), &o, &err), &err);
    assert_int_equal(qk_json_int(o, "i", 7), -3);
    assert_int_equal(qk_json_int(o, "I", 7), 4); /* the case counts */
    static const char *const no_ints[] = {"f", "big", "inf", "b", "s", "n", "absent"};
    for (size_t i = 0; i < sizeof no_ints / sizeof no_ints[0]; i++)
        assert_int_equal(qk_json_int(o, no_ints[i], 7), 7);
    assert_true(qk_json_number(o, "f", 0) == 2.5 && qk_json_number(o, "s", 9) == 9);
    assert_true(qk_json_bool(o, "b", false) && qk_json_bool(o, "i", true) && !qk_json_bool(o, "n", false));
    assert_string_equal(qk_json_string(o, "s", "-"), "x");
    assert_string_equal(qk_json_string(o, "b", "-"), "-");
    assert_null(qk_json_get(NULL, "a"));
    assert_true(qk_json_u64(qk_json_get(o, "edge"), &u) && u == 1ull << 53);
    static const char *const no_u64[] = {"i", "f", "big", "inf", "b", "s", "n", "absent", "over"};
    for (size_t i = 0; i < sizeof no_u64 / sizeof no_u64[0]; i++)
        assert_false(qk_json_u64(qk_json_get(o, no_u64[i]), &u));
    qk_json_add_number(o, "nan", NAN);
    qk_json_add_number(o, "half", 0.5);
    assert_true(cJSON_IsNull(qk_json_get(o, "nan")) && qk_json_number(o, "half", 0) == 0.5);
    cJSON_Delete(o);
    o = cJSON_Parse("[1,2]");
    assert_null(qk_json_get(o, "a")); /* elements of a list have no names */
    cJSON_Delete(o);
}

/* What cJSON prints loses the last bits of a third; these come back as they were. */
static void test_json_exact(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < 20000; i++) {
        double value = i == 0   ? 0.1 + 0.2
                       : i == 1 ? 5e-324
                       : i == 2 ? -1.7976931348623157e308
                       : i == 3 ? 0.3
                                : random_uniform(&seed);
        cJSON *o = cJSON_CreateObject();
        qk_json_add_exact(o, "x", value);
        char *text = cJSON_PrintUnformatted(o);
        cJSON_Delete(o);
        o = cJSON_Parse(text);
        assert_true(qk_json_number(o, "x", NAN) == value);
        if (i == 3)
            assert_string_equal(text, "{\"x\":0.3}");
        cJSON_Delete(o);
        cJSON_free(text);
    }
}

static void test_json_duplicates(void **state)
{
    (void)state;
    struct qk_error err = {0};
    const char *key;
    cJSON *o = cJSON_Parse("{\"b\":1,\"a\":2,\"B\":3,\"b\":4}");
    expect_ok(qk_json_duplicate(o, &key, &err), &err);
    assert_string_equal(key, "b");
    cJSON_Delete(o);
    o = cJSON_Parse("{\"b\":1,\"a\":2}");
    expect_ok(qk_json_duplicate(o, &key, &err), &err);
    assert_null(key);
    cJSON_Delete(o);
    o = cJSON_Parse("{}");
    expect_ok(qk_json_duplicate(o, &key, &err), &err);
    assert_null(key);
    cJSON_Delete(o);
}

/* Of equal keys the last counts, as in Python: json.loads gives {"b": 5, "a": 2, "B": 3} of these members. */
static void test_json_last_counts(void **state)
{
    (void)state;
    struct qk_error err = {0};
    cJSON *o = cJSON_Parse("{\"b\":1,\"a\":2,\"b\":{},\"B\":3,\"b\":5}");
    assert_true(qk_json_number(o, "b", 0) == 5 && qk_json_number(o, "B", 0) == 3);
    expect_ok(qk_json_keep_last(o, &err), &err);
    char *text = cJSON_PrintUnformatted(o);
    assert_string_equal(text, "{\"a\":2,\"B\":3,\"b\":5}");
    cJSON_free(text);
    cJSON_Delete(o);
    o = cJSON_Parse("{}");
    expect_ok(qk_json_keep_last(o, &err), &err);
    cJSON_Delete(o);
}

/* Keys and values one after the other, spelled "key=value;". */
static enum qk_code walk_text(const char *text, char out[256], struct qk_error *err)
{
    struct qk_json_walk walk;
    bool more = true;
    size_t n = strlen(text), used = 0;
    enum qk_code code = qk_json_check_tokens("walked.json", text, 0, n, QK_JSON_STRICT, err);
    char *copy = malloc(n > 0 ? n : 1);
    assert_non_null(copy);
    memcpy(copy, text, n);
    qk_json_walk_start(&walk, "walked.json", copy, 0, n);
    while (code == QK_OK && (code = qk_json_walk_next(&walk, &more, err)) == QK_OK && more) {
        cJSON *value;
        code = qk_json_walk_value(&walk, &value, err);
        char *shown = code == QK_OK ? cJSON_PrintUnformatted(value) : NULL;
        if (code == QK_OK)
            used += (size_t)snprintf(out + used, 256 - used, "%s=%s;", walk.key, shown);
        cJSON_free(shown);
        cJSON_Delete(value);
    }
    qk_json_walk_end(&walk);
    free(copy);
    return code;
}

static void test_json_walk(void **state)
{
    (void)state;
    char out[256] = "";
    struct qk_error err = {0};
    expect_ok(
        walk_text(" { \"a\" : 1 ,\n\"\\u0062\":{\"x\":[1,\"}\\\"]\"]},\"c\":\"d,\"} ", out, &err), &err);
    assert_string_equal(out, "a=1;b={\"x\":[1,\"}\\\"]\"]};c=\"d,\";");
    out[0] = '\0';
    expect_ok(walk_text("{}", out, &err), &err);
    assert_string_equal(out, "");
    static const char *const broken[] = {"", "[]", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,",
        "{\"a\":1,}", "{\"a\" 1}", "{\"a\":1 \"b\":2}", "{a:1}", "{\"a\":}", "{\"a\":1}}", "{\"a\":1}{",
        "{\"a\":[1}", "{\"a\":\"b}", "{\"a\":1 2}", "{\"a\":{]}", "{\"\\q\":1}", "{\"a\":x}", "{,}",
        "{\"a\":1,,\"b\":2}"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++)
        expect_failure(
            walk_text(broken[i], out, &err), &err, QK_INPUT, "walked.json: not valid JSON (line 1");
    expect_failure(walk_text("{\"a\":1,\n\"b\":?}", out, &err), &err, QK_INPUT, "line 2, column 5");
}

static void test_json_read(void **state)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    cJSON *root;
    path_in(path, *state, "a.json");
    expect_failure(qk_json_read(path, 100, &root, &err), &err, QK_IO, "a.json: cannot open");
    write_text(path, "{\"a\": 1}\n");
    expect_ok(qk_json_read(path, 100, &root, &err), &err);
    cJSON_Delete(root);
    expect_failure(
        qk_json_read(path, 8, &root, &err), &err, QK_INPUT, "a.json: too large (found 9 bytes, at most 8)");
    assert_null(root);
    write_text(path, "%s", "");
    expect_failure(qk_json_read(path, 8, &root, &err), &err, QK_INPUT, "a.json: not valid JSON");
    expect_failure(qk_json_read(*state, 8, &root, &err), &err, QK_INPUT, "not a regular file");
    path_in(path, *state, "fifo");
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_failure(qk_json_read(path, 8, &root, &err), &err, QK_INPUT, "not a regular file");
}

/* --- files --- */

static void test_read_file(void **state)
{
    char path[PATH_SIZE], *text, part[4] = "";
    size_t n;
    int fd;
    struct stat info;
    struct qk_error err = {0};
    path_in(path, *state, "a");
    write_text(path, "%s", "some text");
    expect_ok(qk_read_file(path, 9, &text, &n, &err), &err);
    assert_int_equal(n, 9);
    assert_string_equal(text, "some text");
    free(text);
    expect_failure(
        qk_read_file(path, 8, &text, &n, &err), &err, QK_INPUT, "a: too large (found 9 bytes, at most 8)");
    assert_null(text);
    expect_failure(qk_read_file(*state, 8, &text, &n, &err), &err, QK_INPUT, "not a regular file");
    expect_ok(qk_open_regular(path, &fd, &info, &err), &err);
    assert_int_equal(info.st_size, 9);
    expect_ok(qk_read_at(fd, path, 9, 5, part, 4, &err), &err);
    assert_memory_equal(part, "text", 4);
    expect_failure(qk_read_at(fd, path, 12, 6, part, 4, &err), &err, QK_IO,
        "a: became shorter while it was read (found 9 bytes, expected 12)");
    close(fd);
    expect_failure(qk_read_at(-1, path, 9, 5, part, 4, &err), &err, QK_IO, "a: cannot read: Bad file");
    expect_failure(qk_open_regular(*state, &fd, &info, &err), &err, QK_INPUT, "not a regular file");
    assert_int_equal(fd, -1);
    write_text(path, "%s", "");
    expect_ok(qk_read_file(path, 0, &text, &n, &err), &err);
    assert_string_equal(text, "");
    free(text);
}

/* --- digest, progress --- */

/* FIPS 180-2, appendix B, and the empty message. */
static void test_digest(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hex;
    } rows[] = {{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"}};
    struct qk_digest digest;
    char hex[QK_DIGEST_TEXT];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        qk_digest_init(&digest);
        for (const char *c = rows[i].text; *c != '\0'; c++)
            qk_digest_add(&digest, c, 1);
        qk_digest_hex(&digest, hex);
        assert_string_equal(hex, rows[i].hex);
    }
    char block[1000];
    memset(block, 'a', sizeof block);
    qk_digest_init(&digest);
    for (int i = 0; i < 1000; i++)
        qk_digest_add(&digest, block, sizeof block);
    qk_digest_hex(&digest, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void test_progress(void **state)
{
    (void)state;
    struct qk_progress progress = {0};
    struct qk_error err = {0};
    qk_progress_total(&progress, 10);
    qk_progress_add(&progress, 3);
    qk_progress_add(&progress, 4);
    assert_int_equal(atomic_load(&progress.done), 7);
    assert_int_equal(atomic_load(&progress.total), 10);
    expect_ok(qk_progress_check(&progress, &err), &err);
    atomic_store(&progress.cancel, true);
    expect_failure(qk_progress_check(&progress, &err), &err, QK_CANCELLED, "interrupted");
    qk_progress_total(NULL, 1);
    qk_progress_add(NULL, 1);
    expect_ok(qk_progress_check(NULL, &err), &err);
    assert_true(qk_cpu_count() >= 1);
}

/* --- loops over items --- */

struct count {
    int done[1000];
    struct qk_progress progress;
};

static void count_item(void *context, size_t item, size_t worker)
{
    struct count *count = context;
    assert_true(worker < qk_parallel_workers(1000));
    count->done[item]++;
    if (item == 10)
        atomic_store(&count->progress.cancel, true);
}

static void test_parallel(void **state)
{
    (void)state;
    static struct count all, some;
    qk_parallel_for(1000, count_item, &all, NULL);
    qk_parallel_for(1000, count_item, &some, &some.progress);
    qk_parallel_for(0, count_item, &all, NULL);
    int begun = 0;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(all.done[i], 1);
        begun += some.done[i];
    }
    assert_true(begun >= 11 && begun < 1000);
    assert_int_equal(qk_parallel_workers(0), 1);
    assert_int_equal(qk_parallel_workers(1), 1);
    qk_parallel_limit(3);
    assert_int_equal(qk_parallel_workers(1000), 3);
    assert_int_equal(qk_parallel_workers(2), 2);
    qk_parallel_limit(0);
}

enum { TRIED = 200, FAILING = 60 };

struct attempt {
    int done[TRIED]; /* by item */
    size_t workers;
    struct qk_progress progress;
};

/* From FAILING on every fifth item fails, the first of them last of all. */
static enum qk_code try_item(void *context, size_t item, size_t worker, struct qk_error *err)
{
    struct attempt *attempt = context;
    assert_true(worker < attempt->workers);
    attempt->done[item]++;
    if (item < FAILING || item % 5 != 0)
        return QK_OK;
    if (item == FAILING)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    return qk_fail(err, QK_INPUT, "item %zu", item);
}

static enum qk_code try_and_cancel(void *context, size_t item, size_t worker, struct qk_error *err)
{
    struct attempt *attempt = context;
    (void)worker, (void)err;
    attempt->done[item]++;
    if (item == 10)
        atomic_store(&attempt->progress.cancel, true);
    return QK_OK;
}

/* The failure is the smallest item's, for any order of the threads; the items before it are done. */
static void run_inner(void *context, size_t item, size_t worker)
{
    (void)worker;
    qk_parallel_for(1000, count_item, (struct count *)context + item, NULL);
}

static void *run_outer(void *context)
{
    qk_parallel_for(4, run_inner, context, NULL);
    return NULL;
}

/* Loops in loops, of several threads at once, share the threads and end. */
static void test_parallel_nested(void **state)
{
    (void)state;
    enum { CALLERS = 3 };
    static struct count counts[CALLERS][4];
    pthread_t thread[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, run_outer, counts[i]), 0);
    for (int i = 0; i < CALLERS; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < CALLERS * 4 * 1000; i++)
        assert_int_equal(counts[i / 4000][i / 1000 % 4].done[i % 1000], 1);
}

/* Quotas as a kernel writes them: the smallest from the group to the root counts, rounded up. */
static void test_cpu_quota(void **state)
{
    char groups[PATH_SIZE], root[PATH_SIZE], file[PATH_SIZE];
    path_in(groups, *state, "cgroup");
    path_in(root, *state, "fs");
    make_folder(path_in(file, root, "a/b"));
    assert_int_equal(qk_cpu_quota(groups, root), 0); /* no list */
    write_text(groups, "1:cpu:/a\n");
    assert_int_equal(qk_cpu_quota(groups, root), 0); /* no group of version 2 */
    write_text(groups, "12:devices:/x\n0::/a/b\n");
    assert_int_equal(qk_cpu_quota(groups, root), 0); /* no quota */
    write_text(path_in(file, root, "a/b/cpu.max"), "max 100000\n");
    assert_int_equal(qk_cpu_quota(groups, root), 0);
    write_text(path_in(file, root, "a/cpu.max"), "250000 100000\n");
    assert_int_equal(qk_cpu_quota(groups, root), 3);
    write_text(path_in(file, root, "a/b/cpu.max"), "50000 100000\n");
    assert_int_equal(qk_cpu_quota(groups, root), 1);
    write_text(path_in(file, root, "cpu.max"), "800000 100000\n");
    assert_int_equal(qk_cpu_quota(groups, root), 1);
    write_text(path_in(file, root, "a/b/cpu.max"), "nonsense\n");
    assert_int_equal(qk_cpu_quota(groups, root), 3);
    write_text(groups, "0::/\n");
    assert_int_equal(qk_cpu_quota(groups, root), 8);
}

/* Limits as a kernel writes them: the least that one of them leaves, from the group to the root. */
static void test_group_memory(void **state)
{
    char groups[PATH_SIZE], root[PATH_SIZE], file[PATH_SIZE];
    path_in(groups, *state, "cgroup");
    path_in(root, *state, "fs");
    make_folder(path_in(file, root, "a/b"));
    assert_true(qk_group_memory(groups, root) == SIZE_MAX); /* no list */
    write_text(groups, "0::/a/b\n");
    assert_true(qk_group_memory(groups, root) == SIZE_MAX); /* no limit */
    write_text(path_in(file, root, "a/b/memory.max"), "max\n");
    write_text(path_in(file, root, "a/b/memory.current"), "500\n");
    assert_true(qk_group_memory(groups, root) == SIZE_MAX);
    write_text(path_in(file, root, "a/memory.max"), "9000\n");
    assert_true(qk_group_memory(groups, root) == SIZE_MAX); /* what is in use is not known */
    write_text(path_in(file, root, "a/memory.current"), "2000\n");
    assert_true(qk_group_memory(groups, root) == 7000);
    write_text(path_in(file, root, "a/b/memory.max"), "4096\n");
    assert_true(qk_group_memory(groups, root) == 3596);
    write_text(path_in(file, root, "a/b/memory.current"), "5000\n");
    assert_true(qk_group_memory(groups, root) == 0);
    write_text(
        path_in(file, root, "a/b/memory.stat"), "anon 900\nfile 4000\ninactive_file 3000\nactive_file 600\n");
    assert_true(qk_group_memory(groups, root) == 4096 - 1400); /* pages of files are given up */
    write_text(path_in(file, root, "a/b/memory.stat"), "inactive_file 9000\n");
    assert_true(qk_group_memory(groups, root) == 4096);
}

static void test_parallel_try(void **state)
{
    static const size_t workers[] = {1, 2, 7, 300};
    (void)state;
    for (size_t w = 0; w < sizeof workers / sizeof workers[0]; w++) {
        struct qk_error err = {0};
        struct attempt some = {.workers = workers[w]}, all = some, cancelled = some;
        expect_failure(
            qk_parallel_try(TRIED, workers[w], try_item, &some, NULL, &err), &err, QK_INPUT, "item 60");
        expect_ok(qk_parallel_try(FAILING, workers[w], try_item, &all, &all.progress, &err), &err);
        for (int i = 0; i <= FAILING; i++) {
            assert_int_equal(some.done[i], 1);
            assert_int_equal(all.done[i], i < FAILING);
        }
        int begun = 0;
        for (int i = 0; i < TRIED; i++) {
            assert_true(some.done[i] <= 1);
            begun += some.done[i];
        }
        assert_true(workers[w] > 1 || begun == FAILING + 1);
        expect_failure(
            qk_parallel_try(TRIED, workers[w], try_and_cancel, &cancelled, &cancelled.progress, &err), &err,
            QK_CANCELLED, "interrupted");
    }
    expect_ok(qk_parallel_try(0, 4, try_item, NULL, NULL, NULL), &(struct qk_error){0});
}

/* --- the cache --- */

/* A file of 64 KiB on the disk and a hole of 1 GiB, last touched at `seconds`. */
static void write_old(const char *folder, const char *name, time_t seconds)
{
    static char bytes[64 << 10];
    char path[PATH_SIZE];
    memset(bytes, 'x', sizeof bytes);
    int fd = open(path_in(path, folder, name), O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, sizeof bytes), sizeof bytes);
    assert_int_equal(ftruncate(fd, 1 << 30), 0);
    assert_int_equal(futimens(fd, (struct timespec[]){{.tv_sec = seconds}, {.tv_sec = seconds}}), 0);
    close(fd);
}

static void test_folder_names(void **state)
{
    char path[PATH_SIZE];
    bool found;
    struct qk_lines names;
    struct qk_error err = {0};
    const char *folder = *state;
    for (const char *const *name = (const char *const[]){"b", "a", ".c", "a.b", NULL}; *name != NULL; name++)
        write_old(folder, *name, 1000);
    assert_int_equal(mkdir(path_in(path, folder, "a0"), 0700), 0);
    expect_ok(qk_folder_names(folder, &found, &names, &err), &err);
    assert_true(found);
    assert_int_equal(names.n, 5);
    assert_string_equal(names.line[0], ".c");
    assert_string_equal(names.line[1], "a");
    assert_string_equal(names.line[2], "a.b");
    assert_string_equal(names.line[3], "a0");
    assert_string_equal(names.line[4], "b");
    qk_lines_free(&names);
    /* What is no folder is missing to those who ask, and a failure to others. */
    for (const char *const *name = (const char *const[]){"nowhere", "b", "b/c", NULL}; *name != NULL;
         name++) {
        path_in(path, folder, *name);
        expect_ok(qk_folder_names(path, &found, &names, &err), &err);
        assert_false(found);
        assert_int_equal(names.n, 0);
        expect_failure(qk_folder_names(path, NULL, &names, &err), &err, QK_IO, "cannot open: ");
        assert_int_equal(names.n, 0);
    }
}

static void test_cache_trim(void **state)
{
    char path[PATH_SIZE];
    const char *folder = *state;
    write_old(folder, "new.blocks", 3000);
    write_old(folder, "oldest.blocks", 1000);
    write_old(folder, "old.blocks", 2000);
    write_old(folder, "older.other", 10);
    qk_cache_trim(folder, ".blocks", 1 << 20); /* holes take none */
    assert_int_equal(access(path_in(path, folder, "oldest.blocks"), F_OK), 0);
    qk_cache_trim(folder, ".blocks", 150 << 10);
    assert_int_equal(access(path_in(path, folder, "oldest.blocks"), F_OK), -1);
    assert_int_equal(access(path_in(path, folder, "old.blocks"), F_OK), 0);
    qk_cache_trim(folder, ".blocks", 0);
    assert_int_equal(access(path_in(path, folder, "new.blocks"), F_OK), -1);
    assert_int_equal(access(path_in(path, folder, "older.other"), F_OK), 0);
    qk_cache_trim(path_in(path, folder, "nowhere"), ".blocks", 0);
    /* What cannot be removed holds up nothing. */
    assert_int_equal(mkdir(path_in(path, folder, "folder.blocks"), 0700), 0);
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){{.tv_sec = 1}, {.tv_sec = 1}}, 0), 0);
    write_old(folder, "new.blocks", 3000);
    qk_cache_trim(folder, ".blocks", 0);
    assert_int_equal(access(path_in(path, folder, "new.blocks"), F_OK), -1);
    assert_int_equal(access(path_in(path, folder, "folder.blocks"), F_OK), 0);
}

static void *has_second_stack(void *argument)
{
    stack_t *stack = argument;
    sigaltstack(NULL, stack);
    return argument;
}

static void test_thread(void **state)
{
    (void)state;
    struct qk_error err = {0};
    pthread_t thread;
    stack_t stack[2];
    void *result;
    for (int i = 0; i < 2; i++) {
        expect_ok(qk_thread_start(&thread, has_second_stack, &stack[i], &err), &err);
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_ptr_equal(result, &stack[i]);
        assert_int_equal(stack[i].ss_flags & SS_DISABLE, 0);
        assert_true(stack[i].ss_size >= (size_t)sysconf(_SC_SIGSTKSZ));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_printable),
        cmocka_unit_test(test_visible_text),
        cmocka_unit_test(test_json_names),
        cmocka_unit_test(test_format_bytes),
        cmocka_unit_test(test_text_grows),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_parts_of_names),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_grow),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_json_refuses),
        cmocka_unit_test(test_json_accepts),
        cmocka_unit_test(test_json_deep_nesting),
        cmocka_unit_test(test_json_bounds_memory),
        cmocka_unit_test(test_json_getters),
        cmocka_unit_test(test_json_exact),
        cmocka_unit_test(test_json_duplicates),
        cmocka_unit_test(test_json_of_python),
        cmocka_unit_test(test_json_last_counts),
        cmocka_unit_test(test_json_walk),
        test_in_folder(test_json_read),
        test_in_folder(test_read_file),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_parallel),
        cmocka_unit_test(test_parallel_nested),
        test_in_folder(test_cpu_quota),
        test_in_folder(test_group_memory),
        cmocka_unit_test(test_parallel_try),
        test_in_folder(test_folder_names),
        cmocka_unit_test(test_thread),
        test_in_folder(test_cache_trim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
