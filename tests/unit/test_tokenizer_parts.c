/* test_tokenizer_parts.c - the parts of a tokenizer.json: pieces of text, written out by hand from the patterns'
 * definitions, and the refusals of files and texts.
 *
 * Where a comment says "library", the pieces are those of Hugging Face's tokenizers 0.22.2. */
#include "helper.h"

#include "base/json.h"
#include "base/text.h"
#include "token/pieces.h"
#include "token/steps.h"
#include "token/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum qk_code open_json(
    const char *folder, const char *json, struct qk_tokenizer **out, struct qk_error *err)
{
    char path[PATH_SIZE];
    write_bytes(path_in(path, folder, "tokenizer.json"), json, strlen(json));
    return qk_tokenizer_open(folder, out, err);
}

/* --- pieces, written out by hand from the patterns' definitions --- */

/* Runs a pre_tokenizer; the pieces, joined by '|', are compared. */
static void expect_pieces(const char *part, const char *text, const char *expected)
{
    struct qk_error err = {0};
    struct qk_steps steps = {0};
    struct qk_pieces pieces = {.limit = 1 << 20};
    struct qk_text joined = {0};
    cJSON *json = cJSON_Parse(part);
    assert_non_null(json);
    expect_ok(qk_steps_read_pre_tokenizer("test", json, &steps, &err), &err);
    expect_ok(qk_pieces_put(&pieces, text, strlen(text), QK_NO_TOKEN, 1, &err), &err);
    expect_ok(qk_steps_run(&steps, false, &pieces, &err), &err);
    for (size_t i = 0; i < pieces.n; i++)
        qk_text_add(
            &joined, "%s%.*s", i > 0 ? "|" : "", (int)pieces.piece[i].n, pieces.bytes + pieces.piece[i].at);
    assert_string_equal(joined.s != NULL ? joined.s : "", expected);
    qk_text_free(&joined);
    qk_pieces_free(&pieces);
    qk_steps_free(&steps);
    cJSON_Delete(json);
}

#define LLAMA3(digits)                                                                                       \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}" \
    "]"                                                                                                      \
    "?\\\\p{L}+|\\\\p{N}" digits                                                                             \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)"                          \
    "|\\\\s+\"},\"behavior\":\"Isolated\",\"invert\":false}"
/* what ByteLevel's use_regex does, without turning bytes into characters */
#define GPT2                                                                                                 \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| "         \
    "?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":\"Isolated\",\"invert\":false}"

static void test_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *text, *llama3, *qwen2, *gpt2;
    } rows[] = {{"I'LL we're it's", "I|'LL| we|'re| it|'s", "I|'LL| we|'re| it|'s", "I|'|LL| we|'re| it|'s"},
        {"12345 678", "123|45| |678", "1|2|3|4|5| |6|7|8", "12345| 678"},
        {"a   b", "a|  | b", "a|  | b", "a|  | b"}, {"a  ", "a|  ", "a|  ", "a|  "},
        {"a\n\nb", "a|\n\n|b", "a|\n\n|b", "a|\n|\n|b"},
        {"x \n\n y", "x| \n\n| y", "x| \n\n| y", "x| \n\n| y"},
        {"end.\r\n\nNext", "end|.\r\n\n|Next", "end|.\r\n\n|Next", "end|.|\r\n|\n|Next"},
        {"tab\t\tx", "tab|\t|\tx", "tab|\t|\tx", "tab|\t|\t|x"}, {"''s", "''|s", "''|s", "''|s"},
        {"\xe4\xbd\xa0\xe5\xa5\xbd,\xe4\xb8\x96\xe7\x95\x8c!",
            "\xe4\xbd\xa0\xe5\xa5\xbd|,\xe4\xb8\x96\xe7\x95\x8c|!",
            "\xe4\xbd\xa0\xe5\xa5\xbd|,\xe4\xb8\x96\xe7\x95\x8c|!",
            "\xe4\xbd\xa0\xe5\xa5\xbd|,|\xe4\xb8\x96\xe7\x95\x8c|!"},
        {"hi \xf0\x9f\x98\x80\xf0\x9f\x98\x80 ok", "hi| \xf0\x9f\x98\x80\xf0\x9f\x98\x80| ok",
            "hi| \xf0\x9f\x98\x80\xf0\x9f\x98\x80| ok", "hi| \xf0\x9f\x98\x80\xf0\x9f\x98\x80| ok"},
        /* a byte that is no UTF-8 belongs to no match */
        {"ab\xff"
         "cd",
            "ab|\xff|cd", "ab|\xff|cd", "ab|\xff|cd"},
        {"", "", "", ""}, {" ", " ", " ", " "}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        expect_pieces(LLAMA3("{1,3}"), rows[i].text, rows[i].llama3);
        expect_pieces(LLAMA3(""), rows[i].text, rows[i].qwen2);
        expect_pieces(GPT2, rows[i].text, rows[i].gpt2);
    }
    /* ByteLevel's own: the same cuts, then a space is U+0120 and a line feed U+010A */
    expect_pieces("{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", "it's 5\n\xc3\xa9",
        "\xc4\xa0it|'s|\xc4\xa0"
        "5|\xc4\x8a|\xc3\x83\xc2\xa9");
}

static void test_splits(void **state)
{
    (void)state;
    /* the example of the library's documentation */
    static const char *const rows[][2] = {{"Isolated", "the|-|final|-|-|countdown"},
        {"Removed", "the|final|countdown"}, {"MergedWithPrevious", "the-|final-|-|countdown"},
        {"MergedWithNext", "the|-final|-|-countdown"}, {"Contiguous", "the|-|final|--|countdown"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int regex = 0; regex < 2; regex++) {
            char part[256];
            snprintf(part, sizeof part,
                "{\"type\":\"Split\",\"pattern\":{\"%s\":\"-\"},\"behavior\":\"%s\",\"invert\":false}",
                regex ? "Regex" : "String", rows[i][0]);
            expect_pieces(part, "the-final--countdown", rows[i][1]);
        }
    expect_pieces(
        "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a-z]+\"},\"behavior\":\"Removed\",\"invert\":true}",
        "one 2 three", "one|three");
    expect_pieces("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a*|c$\"},\"behavior\":\"MergedWithNext\"}",
        "baatc", "b|aat|c"); /* library */
    expect_pieces("{\"type\":\"Digits\",\"individual_digits\":true}", "a12\xc2\xbd", "a|1|2|\xc2\xbd");
    expect_pieces("{\"type\":\"Digits\",\"individual_digits\":false}", "a12 3", "a|12| |3");
    expect_pieces("{\"type\":\"Punctuation\"}", "Hey, you!\xc2\xbf", "Hey|,| you|!|\xc2\xbf");
    expect_pieces("{\"type\":\"WhitespaceSplit\"}", " a  b\tc\n", "a|b|c");
    expect_pieces("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"always\"}",
        "Hey   friend!", "_Hey|_|_|_friend!");
    expect_pieces(
        "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"never\",\"split\":false}", "a b",
        "a_b");
    expect_pieces(
        "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},{\"type\":\"Metaspace\","
        "\"replacement\":\"_\",\"prepend_scheme\":\"first\"}]}",
        "a b", "_a|b");
}

#define LETTERS_MODEL                                                                                        \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\" \":2,\"ab\":3,\"\xc3\xa9\":4,\"?\":5},"       \
    "\"unk_token\":\"?\",\"fuse_unk\":true,\"merges\":[\"a b\"]}"

#define TEMPLATE(single)                                                                                     \
    "{\"type\":\"TemplateProcessing\",\"single\":[" single                                                   \
    "],\"pair\":[],\"special_tokens\":{\"S\":{\"id\":"                                                       \
    "\"S\",\"ids\":[4,5],\"tokens\":[\"x\",\"y\"]}}}"
#define TEXT_PIECE "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"
#define SPECIAL_PIECE "{\"SpecialToken\":{\"id\":\"S\",\"type_id\":0}}"

/* --- what must be refused --- */

static void test_refused(void **state)
{
#define MODEL(rest) "{\"model\":{\"type\":\"BPE\"," rest "}}"
#define PART(name, part) "{" LETTERS_MODEL ",\"" name "\":" part "}"
    static const struct {
        const char *json, *words;
    } rows[] = {{"", "not valid JSON"}, {"[]", "not a JSON object"}, {"{}", "model|not an object"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", "model|Unigram|give token ids instead"},
        {MODEL("\"merges\":[]"), "vocab|not an object"}, {MODEL("\"vocab\":{\"a\":0}"), "merges|not a list"},
        {MODEL("\"vocab\":{\"a\":\"0\"},\"merges\":[]"), "vocab|a|not a token id"},
        {MODEL("\"vocab\":{\"a\":-1},\"merges\":[]"), "vocab|not a token id"},
        {MODEL("\"vocab\":{\"a\":2147483647},\"merges\":[]"), "vocab|not a token id"},
        {MODEL("\"vocab\":{\"a\":0.5},\"merges\":[]"), "vocab|not a token id"},
        {MODEL("\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]"), "a stands there twice"},
        {MODEL("\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]"), "same id"},
        {MODEL("\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"a b\"]"), "merges|entry 0|ab is not in"},
        {MODEL("\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"a c\"]"), "merges|c is not in"},
        {MODEL("\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[\"a a a\"]"), "not two tokens"},
        {MODEL("\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[[\"a\"]]"), "not two tokens"},
        {MODEL("\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[[\"a\",7]]"), "not two tokens"},
        {MODEL("\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1"), "dropout"},
        {MODEL("\"vocab\":{\"a\":0},\"merges\":[],\"end_of_word_suffix\":\"</w>\""), "end_of_word_suffix"},
        {MODEL("\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"u\""), "unk_token"},
        {PART("normalizer", "{\"type\":\"Lowercase\"}"), "normalizer: Lowercase is not supported"},
        {PART("normalizer", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Nmt\"}]}"), "Nmt"},
        {PART("normalizer", "{\"type\":\"Replace\",\"content\":\"\"}"), "pattern"},
        {PART("normalizer", "{}"), "normalizer: type is missing"},
        {PART("pre_tokenizer", "{\"type\":\"Whitespace\"}"), "pre_tokenizer: Whitespace is not supported"},
        {PART("pre_tokenizer", "{\"type\":\"Sequence\"}"), "pretokenizers is not a list"},
        {PART(
             "pre_tokenizer", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}"),
            "pattern is not valid"},
        {PART("pre_tokenizer",
             "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?~ab)\"},\"behavior\":\"Isolated\"}"),
            "not supported (found (?~ab))"},
        {PART("pre_tokenizer",
             "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\\\\K\"},\"behavior\":\"Isolated\"}"),
            "not supported (found \\K)"},
        {PART("pre_tokenizer", "{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"Other\"}"),
            "behavior|Other"},
        {PART("pre_tokenizer", "{\"type\":\"Metaspace\",\"replacement\":\"ab\"}"), "replacement"},
        {PART("decoder", "{\"type\":\"WordPiece\"}"), "decoder: WordPiece is not supported"},
        {PART("decoder", "{\"type\":\"Strip\",\"content\":\" \",\"start\":-1,\"stop\":0}"), "start or stop"},
        {PART("added_tokens", "{}"), "added_tokens: not a list"}, {PART("added_tokens", "[7]"), "no content"},
        {PART("added_tokens", "[{\"content\":\"x\"}]"), "x: not a token id"},
        {PART("added_tokens", "[{\"id\":3,\"content\":\"x\"}]"), "x has the id of another token|ab"},
        {PART("added_tokens", "[{\"id\":8,\"content\":\"x\"},{\"id\":8,\"content\":\"y\"}]"),
            "same id (found 8)"},
        {PART("added_tokens", "[{\"id\":8,\"content\":\"x\"},{\"id\":9,\"content\":\"x\"}]"),
            "two ids (found 8 and 9)"},
        {PART("post_processor", "{\"type\":\"Other\"}"), "post_processor: Other"},
        {PART("post_processor", TEMPLATE(SPECIAL_PIECE)), "found 0 times"},
        {PART("post_processor", TEMPLATE("{\"SpecialToken\":{\"id\":\"T\"}}")),
            "special_tokens has no ids of T"},
        {PART("post_processor", "{\"type\":\"BertProcessing\",\"cls\":[\"a\",0],\"sep\":[\"z\",77]}"),
            "not the id of a token"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_error err = {0};
        struct qk_tokenizer *tokenizer = (void *)&err;
        expect_failure(open_json(*state, rows[i].json, &tokenizer, &err), &err, QK_INPUT, rows[i].words);
        assert_null(tokenizer);
    }
    char path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_tokenizer *tokenizer;
    remove_all(path_in(path, *state, "tokenizer.json"));
    expect_failure(qk_tokenizer_open(*state, &tokenizer, &err), &err, QK_INPUT,
        "tokenizer.json: no such file|give token ids instead");
}

static void expect_encode_failure(
    const char *folder, const char *json, const char *text, size_t n, const char *words)
{
    struct qk_tokenizer *tokenizer;
    struct qk_error err = {0};
    expect_ok(open_json(folder, json, &tokenizer, &err), &err);
    int32_t *ids = (void *)&err;
    size_t n_ids;
    expect_failure(qk_tokenizer_encode(tokenizer, text, n, false, &ids, &n_ids, &err), &err, QK_INPUT, words);
    assert_null(ids);
    qk_tokenizer_free(tokenizer);
}

enum { MEGABYTE = 1 << 20 };

static void test_hostile_text(void **state)
{
    char *text = test_malloc(MEGABYTE);
    memset(text, 'a', MEGABYTE);
    expect_encode_failure(*state,
        PART("pre_tokenizer",
            "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a+a+)+[bc]\"},\"behavior\":\"Isolated\"}"),
        text, 40, "takes too long");
    expect_encode_failure(*state,
        PART("pre_tokenizer",
            "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?:a|\\\\g<0>)*+\\\\g<0>\"},\"behavior\":\"Isolated\"}"),
        text, MEGABYTE, "takes too long");
    expect_encode_failure(*state,
        PART("normalizer",
            "{\"type\":\"Sequence\",\"normalizers\":["
            "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaaaa\"},"
            "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaaaa\"},"
            "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaaaa\"}]}"),
        text, 4096, "too long");
    expect_encode_failure(*state, PART("normalizer", "{\"type\":\"NFC\"}"), "\xff", 1, "not UTF-8");
    for (size_t i = 0; i < 100000; i++)
        memcpy(text + 4 * i, i % 2 == 0 ? "\xcc\x81\xcc\xa3" : "\xcc\xa3\xcc\x81", 4);
    expect_encode_failure(
        *state, PART("normalizer", "{\"type\":\"NFC\"}"), text, 400000, "too many combining marks");
    test_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_splits),
        test_in_folder(test_refused),
        test_in_folder(test_hostile_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
