/* fuzz_tokenizer.c - any bytes as a tokenizer.json, behind a NUL a text for it, and behind two more NULs a
 * tokenizer_config.json: refused with a message, or the text has ids, which are the tokenizer's, and a text again. */
#include "fuzz.h"

#include "token/tokenizer.h"

#include <stdlib.h>
#include <string.h>

const char fuzz_name[] = "tokenizer";
#define LETTERS                                                                                              \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"\xc4\xa0\":2,\"ab\":3,\"<0x0A>\":4,\"u\":5,"   \
    "\"\xe2\x96\x81\":6},\"merges\":[\"a b\"],\"unk_token\":\"u\",\"byte_fallback\":true}"
#define MARK "\"replacement\":\"\xe2\x96\x81\""
const struct fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("{" LETTERS ",\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true},\"decoder\":"
              "{\"type\":\"ByteLevel\"}}\0ab ab\n12 \xc3\xa9"),
    FUZZ_SEED("{" LETTERS ",\"pre_tokenizer\":{\"type\":\"Metaspace\"," MARK ",\"prepend_scheme\":\"first\"},"
              "\"decoder\":{\"type\":\"Metaspace\"," MARK "}}\0ab  ab\n"),
    FUZZ_SEED(
        "{" LETTERS ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},"
        "{\"type\":\"Prepend\",\"prepend\":\"a\"},{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" +\"},"
        "\"content\":\"b\"}]},\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteFallback\"},"
        "{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\"a\",\"start\":1,\"stop\":1}]}}\0e\xcc\x81 "
        "\xef\xac\x81"),
    FUZZ_SEED(
        "{" LETTERS ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
        "\"pattern\":{\"Regex\":\"\\\\p{N}{1,3}|(?i:'s)|\\\\s+(?!\\\\S)\"},\"behavior\":\"MergedWithNext\","
        "\"invert\":true},{\"type\":\"Digits\"},{\"type\":\"Punctuation\"}]}}\0it's 1234  b"),
    FUZZ_SEED(
        "{" LETTERS ",\"added_tokens\":[{\"id\":9,\"content\":\"<s>\",\"special\":true,\"lstrip\":true},"
        "{\"id\":8,\"content\":\"<s\",\"single_word\":true,\"rstrip\":true}],\"post_processor\":{\"type\":"
        "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"B\"}},{\"Sequence\":{\"id\":\"A\"}}],"
        "\"special_tokens\":{\"B\":{\"ids\":[9,0]}}}}\0a  <s>  <s b"),
    FUZZ_SEED("{" LETTERS ",\"added_tokens\":[{\"id\":9,\"content\":\"<s>\",\"special\":true}]}\0ab\0\0"
              "{\"add_bos_token\":true,\"bos_token\":{\"content\":\"<s>\"},\"add_eos_token\":1,\"eos_token\":"
              "\"u\"}")};
const size_t n_fuzz_seeds = sizeof fuzz_seeds / sizeof fuzz_seeds[0];
const char *const fuzz_words[] = {"\"type\":\"Sequence\"", "\"type\":\"Split\"", "\"type\":\"NFC\"",
    "\"behavior\":\"Contiguous\"", "\"behavior\":\"Removed\"", "\"split\":false", "\"normalized\":true",
    "\"merges\":[\"a b\",\"b a\"]", "[\"a\",\"b\"]", "\"String\":\"a\"", "\"ignore_merges\":true",
    "\"fuse_unk\":true", "(?R)", "(a*)*", "\\\\p{L}", "[[:alpha:]]", "\\\\p{^Han}", "&&", "(?m:", "(?ix)",
    "\\\\u0061", "\\\\W", "\\\\B", "{1,2}+", "\\\\g<0>", "[^a]", "{1,9}", "\"add_bos_token\":true",
    "\"bos_token\":", "\"eos_token\":", "{", "}", "[", "]", ",", ":", "|", NULL};

static void ask(const struct qk_tokenizer *tokenizer, const char *text, size_t n)
{
    struct qk_error err = {0};
    int32_t *ids;
    char *again;
    size_t n_ids, length;
    enum qk_code code = qk_tokenizer_encode(tokenizer, text, n, true, &ids, &n_ids, &err);
    fuzz_check(code == QK_OK || (code == QK_INPUT && err.text[0] != '\0'), "ids, or a message");
    if (code != QK_OK)
        return;
    for (size_t i = 0; i < n_ids; i++) {
        fuzz_check(ids[i] >= 0 && (size_t)ids[i] < qk_tokenizer_size(tokenizer), "ids are the tokenizer's");
        code = i < 64 ? qk_tokenizer_piece(tokenizer, ids[i], &again, &length, &err) : QK_INPUT;
        if (code == QK_OK)
            free(again);
        fuzz_check(code == QK_OK || code == QK_INPUT, "a piece, or a message");
    }
    code = qk_tokenizer_decode(tokenizer, ids, n_ids, false, &again, &length, &err);
    fuzz_check(code == QK_OK || code == QK_INPUT, "a text, or a message");
    if (code == QK_OK) {
        fuzz_check(again[length] == '\0', "a NUL behind the text");
        free(again);
    }
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *end = size > 0 ? memchr(text, '\0', size) : NULL;
    const char *config = size > 0 ? memmem(text, size, "\0\0", 2) : NULL;
    size_t n = end != NULL ? (size_t)(end - text) : size,
           stop = config != NULL ? (size_t)(config - text) : size;
    struct qk_tokenizer *tokenizer;
    struct qk_error err = {0};
    fuzz_write_file("tokenizer.json", text, n);
    fuzz_write_file(
        "tokenizer_config.json", config != NULL ? config + 2 : "{}", config != NULL ? size - stop - 2 : 2);
    enum qk_code code = qk_tokenizer_open(fuzz_folder(), &tokenizer, &err);
    fuzz_check(code == QK_OK || (code == QK_INPUT && err.text[0] != '\0'), "refused with a message");
    if (code == QK_OK)
        ask(tokenizer, n < stop ? text + n + 1 : "", n < stop ? stop - n - 1 : 0);
    qk_tokenizer_free(tokenizer);
    return 0;
}
