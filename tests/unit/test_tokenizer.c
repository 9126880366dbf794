/* test_tokenizer.c - text to token ids and back: the demo pair's tokenizer, made ones against a slow
 * merge, pieces written out by hand, and wrong files.
 *
 * Where a comment says "library", the ids or pieces are those of Hugging Face's tokenizers
 * 0.22.2 for the same file. */
#include "helper.h"

#include "base/text.h"
#include "token/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- helpers --- */

static enum qk_code open_json(
    const char *folder, const char *json, struct qk_tokenizer **out, struct qk_error *err)
{
    char path[PATH_SIZE];
    write_bytes(path_in(path, folder, "tokenizer.json"), json, strlen(json));
    return qk_tokenizer_open(folder, out, err);
}

static struct qk_tokenizer *must_open(const char *folder, const char *json)
{
    struct qk_tokenizer *tokenizer;
    struct qk_error err = {0};
    expect_ok(open_json(folder, json, &tokenizer, &err), &err);
    return tokenizer;
}

/* Encodes text[0, n) and compares; `what` is for the message. */
static void expect_ids(const struct qk_tokenizer *tokenizer, const char *text, size_t n, bool special,
    const int32_t *expected, size_t n_expected)
{
    struct qk_error err = {0};
    int32_t *ids;
    size_t found;
    expect_ok(qk_tokenizer_encode(tokenizer, text, n, special, &ids, &found, &err), &err);
    if (found != n_expected || (found > 0 && memcmp(ids, expected, found * sizeof *ids) != 0)) {
        for (size_t i = 0; i < found || i < n_expected; i++)
            print_message("%zu: found %d, expected %d\n", i, i < found ? (int)ids[i] : -1,
                i < n_expected ? (int)expected[i] : -1);
        fail_msg("ids of \"%s\" (found %zu, expected %zu)", text, found, n_expected);
    }
    free(ids);
}
#define EXPECT_IDS(tokenizer, text, special, ...)                                                            \
    expect_ids(tokenizer, text, strlen(text), special, (const int32_t[]){__VA_ARGS__},                       \
        sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void expect_text(const struct qk_tokenizer *tokenizer, const int32_t *ids, size_t n, bool skip,
    const char *expected, size_t n_expected)
{
    struct qk_error err = {0};
    char *text;
    size_t length;
    expect_ok(qk_tokenizer_decode(tokenizer, ids, n, skip, &text, &length, &err), &err);
    assert_int_equal(length, n_expected);
    assert_memory_equal(text, expected, length);
    assert_int_equal(text[length], 0);
    free(text);
}

static void expect_piece(const struct qk_tokenizer *tokenizer, int32_t id, const char *expected)
{
    struct qk_error err = {0};
    char *text;
    size_t length;
    expect_ok(qk_tokenizer_piece(tokenizer, id, &text, &length, &err), &err);
    assert_string_equal(text, expected);
    assert_int_equal(length, strlen(expected));
    free(text);
}

static void expect_round_trip(const struct qk_tokenizer *tokenizer, const char *text, size_t n)
{
    struct qk_error err = {0};
    int32_t *ids;
    size_t n_ids;
    expect_ok(qk_tokenizer_encode(tokenizer, text, n, false, &ids, &n_ids, &err), &err);
    expect_text(tokenizer, ids, n_ids, false, text, n);
    free(ids);
}

/* --- the demo pair's: a byte is a token --- */

static void test_demo(void **state)
{
    (void)state;
    char folder[PATH_SIZE], bytes[256];
    int32_t ids[256];
    struct qk_error err = {0};
    struct qk_tokenizer *tokenizer;
    expect_ok(qk_tokenizer_open(demo_path(folder, "pre"), &tokenizer, &err), &err);
    assert_int_equal(qk_tokenizer_size(tokenizer), 259);
    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)i;
        ids[i] = i;
    }
    expect_ids(tokenizer, bytes, 256, false, ids, 256);
    expect_text(tokenizer, ids, 256, false, bytes, 256);
    EXPECT_IDS(tokenizer, "Hi", true, 256, 'H', 'i');
    EXPECT_IDS(tokenizer, "", true, 256);
    expect_ids(tokenizer, "", 0, false, ids, 0);
    EXPECT_IDS(tokenizer, "a<eos>b<bos", false, 'a', 257, 'b', '<', 'b', 'o', 's');
    static const int32_t with_special[] = {256, 'H', 'i', 257};
    expect_text(tokenizer, with_special, 4, true, "Hi", 2);
    expect_text(tokenizer, with_special, 4, false, "<bos>Hi<eos>", 12);
    expect_piece(tokenizer, ' ', " ");
    expect_piece(tokenizer, 0xc3, "\xc3");
    expect_piece(tokenizer, 258, "<pad>");
    static const int32_t bad[] = {'H', 259, -1};
    char *text;
    size_t length;
    for (size_t i = 1; i < 3; i++) {
        err = (struct qk_error){0};
        expect_failure(qk_tokenizer_decode(tokenizer, &bad[i], 1, false, &text, &length, &err), &err,
            QK_INPUT, "token id|at most 258");
        assert_null(text);
    }
    qk_tokenizer_free(tokenizer);
    qk_tokenizer_free(NULL);
}

/* --- merging, against the rule itself: as long as two neighbours can be merged, the pair of the lowest rank
 * is, the leftmost first. Quadratic, over texts and not ids. --- */

enum { MERGES = 300, LETTERS = 6, WORD = 60, TEXT = 32 };

struct slow {
    char token[256 + LETTERS + MERGES][TEXT]; /* index: id */
    int n;
    int left[MERGES], right[MERGES], n_merges;
};

static int slow_find(const struct slow *slow, const char *text)
{
    for (int i = 0; i < slow->n; i++)
        if (strcmp(slow->token[i], text) == 0)
            return i;
    return -1;
}

static bool slow_has(const struct slow *slow, int left, int right)
{
    for (int i = 0; i < slow->n_merges; i++)
        if (slow->left[i] == left && slow->right[i] == right)
            return true;
    return false;
}

static void slow_add(struct slow *slow, int left, int right)
{
    char joined[2 * TEXT];
    int n = snprintf(joined, sizeof joined, "%s%s", slow->token[left], slow->token[right]);
    if (slow_find(slow, joined) < 0)
        memcpy(slow->token[slow->n++], joined, (size_t)n + 1);
    slow->left[slow->n_merges] = left;
    slow->right[slow->n_merges++] = right;
}

static bool ends_with(const char *text, const char *end)
{
    return strlen(text) >= strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0;
}

/* Random merges of the tokens from id `from` on; some give a token that another merge gives too. What ends with `last`
 * is never a left part, unless it is NULL. */
static void slow_invent(struct slow *slow, int from, const char *last, uint64_t seed)
{
    while (slow->n_merges < MERGES) {
        int left = from + (int)(random_bits(&seed) % (unsigned)(slow->n - from));
        int right = from + (int)(random_bits(&seed) % (unsigned)(slow->n - from));
        bool fits = strlen(slow->token[left]) + strlen(slow->token[right]) < TEXT / 2;
        if (fits && !slow_has(slow, left, right) && (last == NULL || !ends_with(slow->token[left], last)))
            slow_add(slow, left, right);
    }
}

static size_t slow_merge(const struct slow *slow, int32_t *ids, size_t n)
{
    for (;;) {
        int best = MERGES;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (int m = 0; m < best && m < slow->n_merges; m++)
                if (slow->left[m] == ids[i] && slow->right[m] == ids[i + 1]) {
                    best = m;
                    at = i;
                }
        if (best == MERGES)
            return n;
        char joined[2 * TEXT];
        snprintf(joined, sizeof joined, "%s%s", slow->token[ids[at]], slow->token[ids[at + 1]]);
        ids[at] = slow_find(slow, joined);
        n--;
        memmove(ids + at + 1, ids + at + 2, (n - at - 1) * sizeof *ids);
    }
}

/* The model as JSON; merges as "a b" or as pairs. */
static char *slow_model(const struct slow *slow, bool pairs, const char *more)
{
    struct qk_text text = {0};
    struct qk_error err = {0};
    char *json;
    qk_text_add(&text, "{\"type\":\"BPE\",%s\"vocab\":{", more);
    for (int i = 0; i < slow->n; i++)
        qk_text_add(&text, "%s\"%s%s\":%d", i > 0 ? "," : "",
            strcmp(slow->token[i], "\"") == 0 || strcmp(slow->token[i], "\\") == 0 ? "\\" : "",
            slow->token[i], i);
    qk_text_add(&text, "},\"merges\":[");
    for (int i = 0; i < slow->n_merges; i++)
        qk_text_add(&text, pairs ? "%s[\"%s\",\"%s\"]" : "%s\"%s %s\"", i > 0 ? "," : "",
            slow->token[slow->left[i]], slow->token[slow->right[i]]);
    qk_text_add(&text, "]}");
    expect_ok(qk_text_take(&text, &json, &err), &err);
    return json;
}

/* Byte-level: ids of bytes are their place in GPT-2's alphabet, written out as its authors did: those that
 * print, in their order, then the others. */
static void byte_alphabet(struct slow *slow, int32_t id_of[256])
{
    int next = 0x100;
    slow->n = 256;
    for (int pass = 0, id = 0; pass < 2; pass++)
        for (int byte = 0; byte < 256; byte++) {
            bool shown = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
            if (shown != (pass == 0))
                continue;
            int code = shown ? byte : next++;
            if (code < 0x80)
                snprintf(slow->token[id], TEXT, "%c", code);
            else
                snprintf(slow->token[id], TEXT, "%c%c", 0xc0 | code >> 6, 0x80 | (code & 0x3f));
            id_of[byte] = id++;
        }
}

static void test_byte_level_merges(void **state)
{
    static const char alphabet[] = "etao \n\xc3\xa9";
    static struct slow slow;
    int32_t id_of[256], expected[WORD];
    memset(&slow, 0, sizeof slow);
    byte_alphabet(&slow, id_of);
    for (int i = 0; i < LETTERS; i++) /* the others are made of what these give */
        slow_add(&slow, id_of[(unsigned char)alphabet[i]], id_of[(unsigned char)alphabet[i + 1]]);
    slow_invent(&slow, 256, NULL, 1);
    for (int pairs = 0; pairs < 2; pairs++) {
        char *model = slow_model(&slow, pairs != 0, ""), *json;
        struct qk_text text = {0};
        struct qk_error err = {0};
        qk_text_add(&text,
            "{\"model\":%s,\"decoder\":{\"type\":\"ByteLevel\"},\"pre_tokenizer\":{\"type\":\"ByteLevel\","
            "\"add_prefix_space\":false,\"use_regex\":false}}",
            model);
        expect_ok(qk_text_take(&text, &json, &err), &err);
        struct qk_tokenizer *tokenizer = must_open(*state, json);
        uint64_t seed = 7;
        for (int round = 0; round < 200; round++) {
            char word[WORD];
            size_t n = random_bits(&seed) % WORD;
            for (size_t i = 0; i < n; i++) {
                /* every tenth word is of any bytes */
                word[i] = round % 10 == 0 ? (char)random_bits(&seed) : alphabet[random_bits(&seed) % 8];
                expected[i] = id_of[(unsigned char)word[i]];
            }
            expect_ids(tokenizer, word, n, false, expected, slow_merge(&slow, expected, n));
            expect_round_trip(tokenizer, word, n);
        }
        qk_tokenizer_free(tokenizer);
        free(json);
        free(model);
    }
}

/* SentencePiece's: <unk>, 256 byte tokens' names, letters, merges; the mark U+2581 for a space. */
static void sentencepiece_alphabet(struct slow *slow, const char *const letters[LETTERS], const char *last)
{
    memset(slow, 0, sizeof *slow);
    for (; slow->n < 256; slow->n++)
        snprintf(slow->token[slow->n], TEXT, "<0x%02X>", (unsigned)slow->n);
    for (int i = 0; i < LETTERS; i++)
        snprintf(slow->token[slow->n++], TEXT, "%s", letters[i]);
    slow_invent(slow, 256, last, 3);
}

static void check_sentencepiece(const char *folder, const char *last)
{
    static const char *const letters[LETTERS] = {"\xe2\x96\x81", "a", "b", "e", "\xc3\xa9", "\xe4\xb8\xad"};
    static const char *const input[LETTERS + 3] = {
        " ", "a", "b", "e", "\xc3\xa9", "\xe4\xb8\xad", "\n", "\xf0\x9f\x98\x80", "\xff"};
    static struct slow slow;
    sentencepiece_alphabet(&slow, letters, last);
    char *model = slow_model(&slow, false, "\"byte_fallback\":true,\"fuse_unk\":true,\"unk_token\":null,"),
         *json;
    struct qk_text text = {0};
    struct qk_error err = {0};
    qk_text_add(&text,
        "{\"model\":%s,\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\","
        "\"prepend\":"
        "\"\xe2\x96\x81\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" "
        "\"},\"content\":\"\xe2\x96\x81\"}]},"
        "\"pre_tokenizer\":null,\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\","
        "\"pattern\":"
        "{\"String\":\"\xe2\x96\x81\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
        "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}}",
        model);
    expect_ok(qk_text_take(&text, &json, &err), &err);
    struct qk_tokenizer *tokenizer = must_open(folder, json);
    uint64_t seed = 11;
    for (int round = 0; round < 200; round++) {
        char word[4 * WORD] = "";
        int32_t expected[4 * WORD] = {256}; /* the prepended id */
        size_t n = 1 + random_bits(&seed) % 40, n_ids = 1;
        for (size_t i = 0; i < n; i++) {
            size_t pick = random_bits(&seed) % (round % 2 == 0 ? LETTERS : LETTERS + 3u);
            strcat(word, input[pick]);
            if (pick < LETTERS)
                expected[n_ids++] = 256 + (int32_t)pick;
            else
                for (const char *p = input[pick]; *p != '\0'; p++)
                    expected[n_ids++] = (unsigned char)*p;
        }
        expect_ids(tokenizer, word, strlen(word), false, expected, slow_merge(&slow, expected, n_ids));
        expect_round_trip(tokenizer, word, strlen(word));
    }
    expect_piece(tokenizer, 256, " "); /* decoded alone it is nothing */
    expect_text(tokenizer, (const int32_t[]){256}, 1, false, "", 0);
    expect_piece(tokenizer, 0xff, "\xff");
    qk_tokenizer_free(tokenizer);
    free(json);
    free(model);
}

static void test_sentencepiece_merges(void **state)
{
    check_sentencepiece(*state, NULL);
    /* a text is cut behind what no merge goes on from */
    check_sentencepiece(*state, "b");
    check_sentencepiece(*state, "\xe4\xb8\xad");
}

/* --- tokens within the text, templates --- */

#define LETTERS_MODEL                                                                                        \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\" \":2,\"ab\":3,\"\xc3\xa9\":4,\"?\":5},"       \
    "\"unk_token\":\"?\",\"fuse_unk\":true,\"merges\":[\"a b\"]}"

/* Metaspace's "first" is for all that begins in the first character of the text as it was given. A Prepend's mark
 * counts as part of that character. A piece cut off behind the mark begins there, too: the rule in the library's
 * NormalizedString::prepend and ::slice. */
static void test_metaspace_first(void **state)
{
    static const char format[] =
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"_\":2,\"x\":3,\" \":4},\"merges\":[]},"
        "\"normalizer\":%s,\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
        "\"pattern\":{\"String\":\"%s\"},\"behavior\":\"Isolated\"},{\"type\":\"Metaspace\","
        "\"replacement\":\"_\",\"prepend_scheme\":\"first\"}]}}";
    static const char prepend[] = "{\"type\":\"Prepend\",\"prepend\":\"x\"}";
    static const char replace[] = "{\"type\":\"Replace\",\"pattern\":{\"String\":\"%s\"},\"content\":\"xa\"}";
    char json[1024], normalizer[256];
    snprintf(json, sizeof json, format, prepend, "x");
    struct qk_tokenizer *tokenizer = must_open(*state, json);
    EXPECT_IDS(tokenizer, "a b", false, 2, 3, 2, 0, 2, 1);
    EXPECT_IDS(tokenizer, "axb", false, 2, 3, 2, 0, 3, 1); /* the second x is further on */
    qk_tokenizer_free(tokenizer);
    snprintf(normalizer, sizeof normalizer, replace, "b"); /* what replaces b begins where b does */
    snprintf(json, sizeof json, format, normalizer, "x");
    tokenizer = must_open(*state, json);
    EXPECT_IDS(tokenizer, "ba", false, 2, 3, 2, 0, 0);
    EXPECT_IDS(tokenizer, "ab", false, 2, 0, 3, 0);
    qk_tokenizer_free(tokenizer);
    snprintf(normalizer, sizeof normalizer, replace,
        "bb"); /* and what replaces bb where its last character does */
    snprintf(json, sizeof json, format, normalizer, "x");
    tokenizer = must_open(*state, json);
    EXPECT_IDS(tokenizer, "bba", false, 3, 0, 0);
    qk_tokenizer_free(tokenizer);
}

static void test_added_tokens(void **state)
{
    struct qk_tokenizer *tokenizer = must_open(*state,
        "{" LETTERS_MODEL ",\"normalizer\":{\"type\":\"NFC\"},\"added_tokens\":["
        "{\"id\":10,\"content\":\"<x>\",\"special\":true,\"normalized\":false},"
        "{\"id\":11,\"content\":\"<x>y\",\"special\":false,\"normalized\":false},"
        "{\"id\":12,\"content\":\"<l>\",\"special\":true,\"normalized\":false,\"lstrip\":true},"
        "{\"id\":13,\"content\":\"<r>\",\"special\":true,\"normalized\":false,\"rstrip\":true},"
        "{\"id\":14,\"content\":\"one\",\"special\":false,\"normalized\":false,\"single_word\":true},"
        "{\"id\":15,\"content\":\"e\xcc\x81!\",\"special\":false,\"normalized\":true},"
        "{\"id\":99,\"content\":\"ab\",\"special\":true,\"normalized\":false}]}");
    assert_int_equal(qk_tokenizer_size(tokenizer), 16); /* "ab" has its id in the vocabulary */
    EXPECT_IDS(tokenizer, "a<x>b", false, 0, 10, 1);
    EXPECT_IDS(tokenizer, "<x>y<x>", false, 11, 10);
    EXPECT_IDS(tokenizer, "a  <l>  b", false, 0, 12, 2, 2, 1);
    EXPECT_IDS(tokenizer, "a  <r>  b", false, 0, 2, 2, 13, 1);
    EXPECT_IDS(tokenizer, "a <r> <l> a", false, 0, 2, 13, 12, 2, 0);
    EXPECT_IDS(tokenizer, "one a one", false, 14, 2, 0, 2, 14);
    EXPECT_IDS(tokenizer, "aoneb one", false, 0, 5, 1, 2, 14);     /* three unknown letters are fused */
    EXPECT_IDS(tokenizer, "e\xcc\x81 \xc3\xa9!", false, 4, 2, 15); /* composed before the search */
    static const int32_t ids[] = {3, 10, 11, 0};
    expect_text(tokenizer, ids, 4, true, "<x>y a", 6); /* no decoder: spaces between */
    qk_tokenizer_free(tokenizer);
}

#define TEMPLATE(single)                                                                                     \
    "{\"type\":\"TemplateProcessing\",\"single\":[" single                                                   \
    "],\"pair\":[],\"special_tokens\":{\"S\":{\"id\":"                                                       \
    "\"S\",\"ids\":[4,5],\"tokens\":[\"x\",\"y\"]}}}"
#define TEXT_PIECE "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"
#define SPECIAL_PIECE "{\"SpecialToken\":{\"id\":\"S\",\"type_id\":0}}"

static void test_templates(void **state)
{
    char path[PATH_SIZE];
    path_in(path, *state, "tokenizer_config.json");
    write_text(path, "{\"add_bos_token\":true,\"bos_token\":{\"content\":\"b\"},\"add_eos_token\":true,"
                     "\"eos_token\":\" \"}");
    struct qk_tokenizer *tokenizer = must_open(*state,
        "{" LETTERS_MODEL
        ",\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"}," TEMPLATE(
            SPECIAL_PIECE "," TEXT_PIECE "," SPECIAL_PIECE) "]}}");
    EXPECT_IDS(tokenizer, "ab", true, 4, 5, 3, 4, 5); /* the template is all */
    EXPECT_IDS(tokenizer, "ab", false, 3);
    qk_tokenizer_free(tokenizer);
    tokenizer = must_open(*state,
        "{" LETTERS_MODEL ",\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"a\",0],\"sep\":"
        "[\"b\",1]}}");
    EXPECT_IDS(tokenizer, "ab", true, 0, 3, 1);
    qk_tokenizer_free(tokenizer);
    tokenizer = must_open(*state, "{" LETTERS_MODEL ",\"post_processor\":{\"type\":\"ByteLevel\"}}");
    EXPECT_IDS(tokenizer, "ab", true, 1, 3, 2); /* tokenizer_config.json's */
    EXPECT_IDS(tokenizer, "ab", false, 3);
    qk_tokenizer_free(tokenizer);
    write_text(path, "{\"add_bos_token\":true,\"bos_token\":\"none such\"}");
    struct qk_error err = {0};
    expect_failure(open_json(*state, "{" LETTERS_MODEL "}", &tokenizer, &err), &err, QK_INPUT,
        "tokenizer_config.json|bos_token|none such");
}

static void test_model_options(void **state)
{
    /* ignore_merges: a word that is a token is that token, in spite of the merges */
    static const char model[] =
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"ba\":3,\"aba\":4},"
        "\"ignore_merges\":%s,\"unk_token\":%s,\"fuse_unk\":%s,\"merges\":[\"a b\"]}}";
    char json[512];
    snprintf(json, sizeof json, model, "true", "null", "false");
    struct qk_tokenizer *tokenizer = must_open(*state, json);
    EXPECT_IDS(tokenizer, "aba", false, 4);
    EXPECT_IDS(tokenizer, "abab", false, 2, 2);
    EXPECT_IDS(tokenizer, "a??b", false, 2); /* without unk_token they vanish: library */
    qk_tokenizer_free(tokenizer);
    snprintf(json, sizeof json, model, "false", "\"ba\"", "false");
    tokenizer = must_open(*state, json);
    EXPECT_IDS(tokenizer, "aba", false, 2, 0);
    EXPECT_IDS(tokenizer, "a??b", false, 0, 3, 3, 1);
    qk_tokenizer_free(tokenizer);
}

enum { MEGABYTE = 1 << 20 };

/* One word of a megabyte, in which every merge makes the next one possible. */
static void test_long_word(void **state)
{
    struct qk_tokenizer *tokenizer = must_open(*state,
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"aa\":1,\"aaaa\":2,\"aaaaaaaa\":3},"
        "\"merges\":[\"a a\",\"aa aa\",\"aaaa aaaa\"]},\"decoder\":{\"type\":\"Fuse\"}}");
    char *text = test_malloc(MEGABYTE);
    int32_t *expected = test_malloc(MEGABYTE / 8 * sizeof *expected);
    memset(text, 'a', MEGABYTE);
    for (size_t i = 0; i < MEGABYTE / 8; i++)
        expected[i] = 3;
    expect_ids(tokenizer, text, MEGABYTE, false, expected, MEGABYTE / 8);
    expect_round_trip(tokenizer, text, MEGABYTE - 1);
    test_free(expected);
    test_free(text);
    qk_tokenizer_free(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_demo),
        test_in_folder(test_byte_level_merges),
        test_in_folder(test_sentencepiece_merges),
        test_in_folder(test_metaspace_first),
        test_in_folder(test_added_tokens),
        test_in_folder(test_templates),
        test_in_folder(test_model_options),
        test_in_folder(test_long_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
