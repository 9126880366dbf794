/* test_answer.c - the verdict on a continuation, token by token: the token that decides it, and the ends of it. */
#include "helper.h"

#include "eval/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EOS = 257, NO_TOKEN = 5000 };

/* The demo's tokenizer: ids are bytes, so that continuations can be written as text here. */
static struct qk_tokenizer *open_demo(void)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_tokenizer *tokenizer;
    expect_ok(qk_tokenizer_open(demo_path(path, "pre"), &tokenizer, &err), &err);
    return tokenizer;
}

/* Feeds text and then, where it is not negative, one more id; the verdict, and in *taken after how
 * many tokens it was known. */
static enum qk_verdict feed(const struct qk_case *item, const struct qk_case_tokens *tokens,
    const struct qk_tokenizer *tokenizer, const char *text, int32_t last, size_t *taken)
{
    int32_t ends_id[] = {3, EOS};
    const struct qk_ends ends = {.id = ends_id, .n = 2};
    struct qk_answer answer;
    struct qk_error err = {0};
    qk_answer_start(&answer, item, tokens, tokenizer, &ends);
    for (const char *p = text; *p != '\0'; p++)
        expect_ok(qk_answer_take(&answer, (unsigned char)*p, &err), &err);
    if (last >= 0)
        expect_ok(qk_answer_take(&answer, last, &err), &err);
    enum qk_verdict verdict = answer.verdict;
    *taken = answer.taken;
    qk_answer_free(&answer);
    if (last < 0 || last == 3 || last == EOS) { /* the whole text at once gives the same */
        bool right;
        expect_ok(qk_answer_judge(item, text, strlen(text), last >= 0, &right, &err), &err);
        assert_int_equal(right, verdict == QK_RIGHT);
    }
    return verdict;
}

static void test_by_ids(void **state)
{
    (void)state;
    struct qk_tokenizer *tokenizer = open_demo();
    char prompt[] = "p", text[] = "7752";
    struct qk_case item = {.prompt = prompt, .answer = text};
    struct qk_cases cases = {.item = &item, .n = 1};
    struct qk_case_tokens tokens;
    struct qk_error err = {0};
    static const struct {
        const char *text;
        int32_t last;
        enum qk_verdict verdict;
        size_t taken;
    } rows[] = {{"", -1, QK_GO_ON, 0}, {"77", -1, QK_GO_ON, 2}, {"7752", -1, QK_RIGHT, 4},
        {"775299", -1, QK_RIGHT, 4}, {"78", -1, QK_WRONG, 2}, {" 7752", -1, QK_WRONG, 1},
        {"775", EOS, QK_WRONG, 4}, {"7752", EOS, QK_RIGHT, 4}, {"", NO_TOKEN, QK_WRONG, 1}};
    expect_ok(qk_case_encode(&cases, 0, tokenizer, NULL, &tokens, &err), &err);
    assert_int_equal(tokens.n_answer, 4);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t taken;
        assert_int_equal(
            feed(&item, &tokens, tokenizer, rows[i].text, rows[i].last, &taken), rows[i].verdict);
        assert_int_equal(taken, rows[i].taken);
    }
    qk_case_tokens_free(&tokens);
    qk_tokenizer_free(tokenizer);
}

static void test_by_text(void **state)
{
    (void)state;
    struct qk_tokenizer *tokenizer = open_demo();
    static const struct {
        const char *after, *until, *answer, *text;
        int32_t last;
        size_t limit;
        enum qk_verdict verdict;
        size_t taken;
    } rows[] = {
        {"Answer: ", ".", "82", "Steps: 1+1=2. Answer: 82. ", -1, 80, QK_RIGHT, 25},
        {"Answer: ", ".", "82", "Answer: 82", -1, 80, QK_GO_ON, 10},
        {"Answer: ", ".", "82", "Answer: 823", -1, 80, QK_WRONG, 11},
        {"Answer: ", ".", "82", "Answer: 9", -1, 80, QK_WRONG, 9},
        {"Answer: ", ".", "82", "Answer:  82.", -1, 80, QK_WRONG, 9}, /* nothing is trimmed */
        {"Answer: ", ".", "82", "82.", -1, 80, QK_GO_ON, 3},
        /* the first answer_after counts, also where it begins within a false start */
        {"aab", ".", "1", "aaab1.", -1, 80, QK_RIGHT, 6},
        {"aab", ".", "1", "aab2.aab1.", -1, 80, QK_WRONG, 4},
        /* the end of the text ends the answer, its limit does not */
        {"Answer: ", ".", "82", "Answer: 82", EOS, 80, QK_RIGHT, 11},
        {"Answer: ", ".", "82", "Answer: 82", 3, 80, QK_RIGHT, 11},
        {"Answer: ", ".", "82", "Answer: 8", EOS, 80, QK_WRONG, 10},
        {"Answer: ", "END", "82", "Answer: 82E", EOS, 80, QK_WRONG, 12},
        {"Answer: ", ".", "82", "Answer: 82", -1, 10, QK_WRONG, 10},
        {"Answer: ", ".", "82", "Answer: 82.", -1, 11, QK_RIGHT, 11},
        {"Answer: ", ".", "82", "", EOS, 80, QK_WRONG, 1},
        {"Answer: ", ".", "82", "never", -1, 5, QK_WRONG, 5},
        /* without answer_until */
        {"Answer: ", NULL, "82", "Answer: 82", -1, 80, QK_RIGHT, 10},
        {"Answer: ", NULL, "82", "Answer: 8", EOS, 80, QK_WRONG, 10},
        /* bytes of one character come in several tokens */
        {"\xc3\xa9", "\xe2\x82\xac", "\xc3\xa8", "\xc3\xa9\xc3\xa8\xe2\x82\xac", -1, 80, QK_RIGHT, 7},
        {"\xc3\xa9", NULL, "\xc3\xa8", "\xc3\xa9\xc3\xaa", -1, 80, QK_WRONG, 4},
        /* an id that no token has stands for something, so it may come before the answer but not in it */
        {":", ".", "82", ":8", NO_TOKEN, 80, QK_WRONG, 3},
        {":", ".", "82", "x", NO_TOKEN, 80, QK_GO_ON, 2},
        {":", ".", "82", ":82", 258, 80, QK_WRONG, 4}, /* <pad> */
        /* neither ids nor answer_after: the text must begin with it */
        {NULL, NULL, "82", "82", -1, 2, QK_RIGHT, 2},
        {NULL, NULL, "82", "x", -1, 2, QK_WRONG, 1},
        {NULL, NULL, "82", "8", EOS, 80, QK_WRONG, 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *copy[3] = {NULL};
        const char *texts[3] = {rows[i].answer, rows[i].after, rows[i].until};
        for (int t = 0; t < 3; t++)
            copy[t] = texts[t] != NULL ? strdup(texts[t]) : NULL;
        const struct qk_case item = {.answer = copy[0], .after = copy[1], .until = copy[2]};
        const struct qk_case_tokens tokens = {.limit = rows[i].limit};
        size_t taken;
        enum qk_verdict verdict = feed(&item, &tokens, tokenizer, rows[i].text, rows[i].last, &taken);
        if (verdict != rows[i].verdict || taken != rows[i].taken)
            fail_msg("row %zu (%s): verdict %d after %zu", i, rows[i].text, (int)verdict, taken);
        for (int t = 0; t < 3; t++)
            free(copy[t]);
    }
    qk_tokenizer_free(tokenizer);
}

/* Several answers, at the front of the text or anywhere in it. */
static void test_several(void **state)
{
    (void)state;
    struct qk_tokenizer *tokenizer = open_demo();
    char after[] = "A:", until[] = "!", line[] = "\n", dash[] = "--", *stops[] = {line, dash};
    static const struct {
        const char *first, *second; /* answers; NULL: one */
        bool contains, all, bounded;
        const char *text;
        int32_t last;
        enum qk_verdict verdict;
        size_t taken;
    } rows[] = {
        /* at the front */
        {"82", "9", false, false, false, "9", -1, QK_RIGHT, 1},
        {"82", "8", false, false, false, "8", -1, QK_RIGHT, 1},
        {"82", "83", false, false, false, "8", -1, QK_GO_ON, 1},
        {"82", "83", false, false, false, "84", -1, QK_WRONG, 2},
        /* anywhere, in either case */
        {"82", NULL, true, false, false, "it is 82", -1, QK_RIGHT, 8},
        {"Paris", NULL, true, false, false, "in PARIS", -1, QK_RIGHT, 8},
        {"\xc3\x89t\xc3\xa9", NULL, true, false, false, "l'\xc3\xa9t\xc3\x89", -1, QK_RIGHT, 7},
        {"82", NULL, true, false, false, "it is 8", EOS, QK_WRONG, 8},
        {"82", NULL, true, false, false, "it is 82", EOS, QK_RIGHT, 8},
        {"82", "nine", true, false, false, "x nine", -1, QK_RIGHT, 6},
        {"82", "nine", true, true, false, "x nine", -1, QK_GO_ON, 6},
        {"82", "nine", true, true, false, "x nine 82", -1, QK_RIGHT, 9},
        {"82", "nine", true, true, false, "x nine", EOS, QK_WRONG, 7},
        {"a", "ab", true, true, false, "ab", -1, QK_RIGHT, 2}, /* one may be within another */
        /* up to where the text stops */
        {"82", NULL, true, false, false, "it\n82", -1, QK_WRONG, 3},
        {"82", NULL, true, false, false, "it -82", -1, QK_RIGHT, 6},
        {"82", NULL, true, false, false, "it --", -1, QK_WRONG, 5},
        /* between answer_after and answer_until */
        {"82", NULL, true, false, true, "82 A:", -1, QK_GO_ON, 5},
        {"82", NULL, true, false, true, "82 A: 82", -1, QK_RIGHT, 8},
        {"82", NULL, true, false, true, "82 A: 8!", -1, QK_WRONG, 8},
        {"82", NULL, true, false, false, "it is ", NO_TOKEN, QK_GO_ON, 7},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *first = strdup(rows[i].first), *second = rows[i].second != NULL ? strdup(rows[i].second) : NULL;
        const struct qk_case item = {.answer = first,
            .other = &second,
            .n_other = second != NULL,
            .contains = rows[i].contains,
            .all = rows[i].all,
            .stop = stops,
            .n_stop = 2,
            .after = rows[i].bounded ? after : NULL,
            .until = rows[i].bounded ? until : NULL};
        const struct qk_case_tokens tokens = {.limit = 80};
        size_t taken;
        enum qk_verdict verdict = feed(&item, &tokens, tokenizer, rows[i].text, rows[i].last, &taken);
        if (verdict != rows[i].verdict || taken != rows[i].taken)
            fail_msg("row %zu (%s): verdict %d after %zu", i, rows[i].text, (int)verdict, taken);
        free(first);
        free(second);
    }
    qk_tokenizer_free(tokenizer);
}

static void expect_ends(const char *folder, const char *expected)
{
    struct qk_error err = {0};
    struct qk_ends ends = {0};
    char text[64] = "";
    expect_ok(qk_ends_read(folder, &ends, &err), &err);
    for (size_t i = 0; i < ends.n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%d ", (int)ends.id[i]);
    assert_string_equal(text, expected);
    qk_ends_free(&ends);
}

static void test_ends(void **state)
{
    char path[PATH_SIZE], demo[PATH_SIZE];
    static const char *const wrong[] = {"\"</s>\"", "-1", "1.5", "[1, null]", "4294967296", "{}"};
    expect_ends(demo_path(demo, "post"), "257 ");
    expect_ends(*state, "");
    write_text(path_in(path, *state, "config.json"), "{\"eos_token_id\": 2}");
    expect_ends(*state, "2 ");
    write_text(path, "{\"eos_token_id\": 2, \"text_config\": {\"eos_token_id\": [3, 4]}}");
    expect_ends(*state, "3 4 ");
    write_text(path, "{\"eos_token_id\": 2, \"text_config\": {}}");
    expect_ends(*state, "2 ");
    write_text(path_in(path, *state, "generation_config.json"), "{\"eos_token_id\": null}");
    expect_ends(*state, "2 ");
    write_text(path, "{\"eos_token_id\": [7, 8, 9]}");
    expect_ends(*state, "7 8 9 ");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct qk_error err = {0};
        struct qk_ends ends = {0};
        write_text(path, "{\"eos_token_id\": %s}", wrong[i]);
        expect_failure(
            qk_ends_read(*state, &ends, &err), &err, QK_INPUT, "generation_config.json: eos_token");
        qk_ends_free(&ends);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_ids),
        cmocka_unit_test(test_by_text),
        cmocka_unit_test(test_several),
        test_in_folder(test_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
