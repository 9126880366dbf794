/* test_tokenizer_vectors.c - texts, ids and decoded bytes of Hugging Face's tokenizers 0.22.2, for files with the
 * parts of published ones and small vocabularies.
 *
 * tests/data/tokenizers has a folder for each: tokenizer.json, and vectors.json with the texts. Two things were
 * decided. An added token that is normalized decodes as it is written, as in 0.22.2 and not in 0.23. An added token
 * has the id of the file, where the library would count on (added-id-with-hole). Texts that are not UTF-8 have the ids
 * that tokenizer.h says; the library cannot read them. */
#include "helper.h"

#include "base/json.h"
#include "token/bpe.h"
#include "token/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_IDS = 4096, MOST_BYTES = 16384 };

static const char *const NAMES[] = {"added-id-with-hole", "added-lstrip-inside-rstrip", "chatglm", "claude",
    "deepseek-v3", "empty-match-at-end", "falcon", "gemini", "gemma3", "gptoss",
    "invalid-utf8-removed-invert", "llama2", "llama3-1", "m-flag", "neox", "normalized-added-decode-0.23",
    "phi2", "phi3", "qwen3", "roberta", "u180e-gpt2", "u180e-llama3"};
enum { N_NAMES = sizeof NAMES / sizeof NAMES[0] };

static char *folder_of(char out[PATH_SIZE], const char *name)
{
    char below[128];
    snprintf(below, sizeof below, "tokenizers/%s", name);
    return data_path(out, below);
}

static size_t from_hex(const char *hex, char out[MOST_BYTES])
{
    size_t n = strlen(hex) / 2;
    assert_true(n < MOST_BYTES);
    for (size_t i = 0; i < n; i++) {
        const char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        out[i] = (char)strtoul(pair, NULL, 16);
    }
    out[n] = '\0';
    return n;
}

static size_t read_ids(const cJSON *list, int32_t out[MOST_IDS])
{
    size_t n = 0;
    for (const cJSON *item = list->child; item != NULL; item = item->next) {
        assert_true(n < MOST_IDS);
        out[n++] = (int32_t)item->valuedouble;
    }
    return n;
}

static void expect_ids(const struct qk_tokenizer *tokenizer, const char *where, const cJSON *expected,
    const char *text, size_t n, bool special)
{
    struct qk_error err = {0};
    int32_t *ids, right[MOST_IDS];
    size_t found, n_right = read_ids(expected, right);
    expect_ok(qk_tokenizer_encode(tokenizer, text, n, special, &ids, &found, &err), &err);
    for (size_t i = 0; i < found && i < n_right; i++)
        if (ids[i] != right[i])
            fail_msg("%s: id %zu (found %d, expected %d)", where, i, (int)ids[i], (int)right[i]);
    if (found != n_right)
        fail_msg("%s: number of ids (found %zu, expected %zu)", where, found, n_right);
    free(ids);
}

static void expect_decoded(
    const struct qk_tokenizer *tokenizer, const char *where, const cJSON *ids, bool skip, const char *hex)
{
    struct qk_error err = {0};
    int32_t list[MOST_IDS];
    char *text, right[MOST_BYTES];
    size_t length, n = read_ids(ids, list), n_right = from_hex(hex, right);
    expect_ok(qk_tokenizer_decode(tokenizer, list, n, skip, &text, &length, &err), &err);
    if (length != n_right || memcmp(text, right, length) != 0)
        fail_msg("%s: decoded, skip %d (found %zu bytes %s, expected %zu bytes %s)", where, skip, length,
            text, n_right, right);
    free(text);
}

static void check_vector(const struct qk_tokenizer *tokenizer, const char *where, const cJSON *vector)
{
    char text[MOST_BYTES];
    size_t n;
    const char *plain = qk_json_string(vector, "text", NULL), *hex;
    if (plain != NULL) {
        n = strlen(plain);
        assert_true(n < MOST_BYTES);
        memcpy(text, plain, n + 1);
    } else {
        n = from_hex(qk_json_string(vector, "text_hex", ""), text);
    }
    const cJSON *special = qk_json_get(vector, "ids_special");
    expect_ids(tokenizer, where, qk_json_get(vector, "ids"), text, n, false);
    if (special == NULL)
        return;
    expect_ids(tokenizer, where, special, text, n, true);
    if ((hex = qk_json_string(vector, "decode_special_hex", NULL)) != NULL)
        expect_decoded(tokenizer, where, special, false, hex);
    if ((hex = qk_json_string(vector, "decode_skip_hex", NULL)) != NULL)
        expect_decoded(tokenizer, where, special, true, hex);
}

static void test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        char folder[PATH_SIZE], path[PATH_SIZE], where[128];
        struct qk_error err = {0};
        struct qk_tokenizer *tokenizer;
        size_t line = 1;
        expect_ok(qk_tokenizer_open(folder_of(folder, NAMES[i]), &tokenizer, &err), &err);
        cJSON *vectors;
        expect_ok(qk_json_read(path_in(path, folder, "vectors.json"), 1 << 20, &vectors, &err), &err);
        for (const cJSON *vector = vectors->child; vector != NULL; vector = vector->next) {
            snprintf(where, sizeof where, "%s/vectors.json:%zu", NAMES[i], ++line);
            check_vector(tokenizer, where, vector);
        }
        assert_true(line > 1);
        cJSON_Delete(vectors);
        qk_tokenizer_free(tokenizer);
    }
}

/* Without a pre_tokenizer, the whole text is a word. Its parts are merged alone, so the time is in proportion to the
 * length: it is cut where no merge joins the two characters. Here, where any does (python: x[-1] + y[0] of merges). */
static void test_cuts(void **state)
{
    (void)state;
    static const char *const whole[] = {"llama2", "phi3", "chatglm", "gemma3", "gemini"};
    static const char joined[] = "_1_a_b_ha_b_o_!!1223abelheinlllong"; /* _: U+2581 */
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        char folder[PATH_SIZE], path[PATH_SIZE];
        struct qk_error err = {0};
        struct qk_bpe bpe;
        cJSON *root;
        expect_ok(
            qk_json_read(path_in(path, folder_of(folder, whole[i]), "tokenizer.json"), 1 << 20, &root, &err),
            &err);
        expect_ok(qk_bpe_read(path, qk_json_get(root, "model"), &bpe, &err), &err);
        for (char left = '!'; left <= 'z'; left++)
            for (char right = '!'; right <= 'z'; right++) {
                bool right_answer = left == '_' && right == '_';
                for (size_t j = 0; j + 1 < sizeof joined - 1; j += 2)
                    right_answer = right_answer || (joined[j] == left && joined[j + 1] == right);
                assert_int_equal(
                    qk_bpe_joins(&bpe, left == '_' ? 0x2581 : left, right == '_' ? 0x2581 : right),
                    right_answer);
            }
        assert_true(qk_bpe_joins(&bpe, -1, 'x')); /* nothing is known of what is no character */
        qk_bpe_free(&bpe);
        cJSON_Delete(root);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors), cmocka_unit_test(test_cuts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
