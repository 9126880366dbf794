/* test_cases.c - files of cases: reading, refusals with their place, tokens, and Wilson's interval. */
#include "helper.h"

#include "eval/case_tokens.h"
#include "eval/score.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *write_cases(char path[PATH_SIZE], const char *folder, const char *name, const char *text)
{
    write_bytes(path_in(path, folder, name), text, strlen(text));
    return path;
}

/* --- reading --- */

static void test_all_keys(void **state)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_cases cases = {0};
    write_cases(path, *state, "own name.jsonl",
        "\xef\xbb\xbf{\"prompt\": \"P\\n\\u00e9\", \"answer\": \" a\", \"task\": \"T\", \"depth\": 0.25, "
        "\"answer_after\": \"A:\", \"answer_until\": \".\", \"max_new_tokens\": 80, \"id\": [1, {}]}\r\n"
        "\n \t\r\n"
        "{\"answer\":\"b\",\"prompt\":\"Q\",\"task\":null,\"depth\":null,\"answer_until\":null}");
    expect_ok(qk_cases_read(path, &cases, &err), &err);
    assert_int_equal(cases.n, 2);
    const struct qk_case *first = &cases.item[0], *second = &cases.item[1];
    assert_string_equal(first->prompt, "P\n\xc3\xa9");
    assert_string_equal(first->answer, " a");
    assert_string_equal(first->after, "A:");
    assert_string_equal(first->until, ".");
    assert_string_equal(cases.task[first->task], "T");
    assert_true(first->depth == 0.25 && first->max_new_tokens == 80 && first->line == 1);
    assert_string_equal(cases.task[second->task], "own name");
    assert_true(second->after == NULL && second->until == NULL && isnan(second->depth));
    assert_true(second->max_new_tokens == 0 && second->line == 4 && second->file == 0);
    qk_cases_free(&cases);
}

/* What other tools write: the prompt, the answers in their order, and how they are compared. */
static void expect_case(const struct qk_cases *cases, size_t i, const char *prompt, const char *answers,
    const char *how, const char *task)
{
    const struct qk_case *item = &cases->item[i];
    struct qk_text found = {0};
    char text[128];
    const char *answer;
    for (size_t k = 0; (answer = qk_case_answer(item, k)) != NULL; k++)
        qk_text_add(&found, "%s|", answer);
    snprintf(text, sizeof text, "%s %s %zu %zu", item->contains ? "contains" : "exact",
        item->all ? "all" : "any", item->n_stop, item->max_new_tokens);
    assert_string_equal(item->prompt != NULL ? item->prompt : item->messages, prompt);
    assert_string_equal(found.s, answers);
    assert_string_equal(text, how);
    assert_string_equal(cases->task[item->task], task);
    qk_text_free(&found);
}

static void read_from(const char *folder, const char *name, const char *text, struct qk_cases *cases)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    write_cases(path, folder, name, text);
    expect_ok(qk_cases_read(path, cases, &err), &err);
}

static void test_other_tools(void **state)
{
    char path[PATH_SIZE];
    struct qk_cases cases = {0};
    make_folder(path_in(path, *state, "niah"));
    make_folder(path_in(path, *state, "qa_1"));
    read_from(*state, "niah/validation.jsonl",
        "{\"index\":0,\"input\":\"I?\",\"outputs\":[\"7\",\"b\"],\"length\":20,\"length_w_model_temp\":20,"
        "\"answer_prefix\":\" It is\"}",
        &cases);
    expect_case(&cases, 0, "I? It is", "7|b|", "contains all 0 128", "niah");
    read_from(*state, "qa_1/validation.jsonl",
        "{\"input\":\"I?\",\"outputs\":[\"7\",\"b\"],\"answer_prefix\":\"\"}", &cases);
    expect_case(&cases, 1, "I?", "7|b|", "contains any 0 128", "qa_1");
    read_from(*state, "samples_nq_open_2025-11-01T12-00-00.1.jsonl",
        "{\"doc_id\":0,\"doc\":{\"q\":[1]},\"target\":\"['a', \\\"b's\\\", 'c\\\\n', 4]\",\"arguments\":{\"gen_args_0\":"
        "{\"arg_0\":\"Q: p\",\"arg_1\":{\"until\":[\"\\n\",\".\"],\"max_gen_toks\":9}}},\"resps\":[[\"x\\u0000\\ud800\"]],"
        "\"score\":NaN}",
        &cases);
    expect_case(&cases, 2, "Q: p", "a|b's|c\n|4|", "contains any 2 9", "nq_open");
    read_from(*state, "samples_lambada_2024-01-01.jsonl",
        "{\"target\":\" x\",\"arguments\":{\"gen_args_0\":{\"arg_0\":\"p\",\"arg_1\":\" x\"}}}\n"
        "{\"target\":\"[a] x\",\"arguments\":[[\"p\",{\"until\":\"\\n\"}]]}\n"
        "{\"target\":\"x\",\"answer\":\"y\",\"arguments\":[\"p\",{}]}",
        &cases);
    expect_case(&cases, 3, "p", " x|", "exact any 0 0", "lambada");
    expect_case(&cases, 4, "p", "[a] x|", "contains any 1 256", "lambada");
    expect_case(&cases, 5, "p", "y|", "contains any 0 256", "lambada");
    read_from(*state, "chat.jsonl",
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"h\"},{\"text\":\"i\"}],\"name\":7},"
        "{\"role\":\"assistant\",\"content\":\"yes\"}]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"h\"}],\"answer\":[1.50,\"b\"],\"match\":\"contains\",\"require\":\"all\"}",
        &cases);
    expect_case(&cases, 6, "[{\"role\":\"user\",\"content\":\"hi\"}]", "yes|", "exact any 0 0", "chat");
    expect_case(&cases, 7, "[{\"role\":\"user\",\"content\":\"h\"}]", "1.50|b|", "contains all 0 0", "chat");
    qk_cases_free(&cases);
}

/* Lists, objects over several lines, keys that stand twice, and bytes that only look odd. */
static void test_spellings(void **state)
{
    struct qk_cases cases = {0};
    read_from(*state, "a.json",
        "\xef\xbb\xbf [ {\"prompt\":\"p]\",\"answer\":\"a\"} ,\r\n\n {\"prompt\":\"q\",\"answer\":3066}\n]\n",
        &cases);
    expect_case(&cases, 0, "p]", "a|", "exact any 0 0", "a");
    expect_case(&cases, 1, "q", "3066|", "exact any 0 0", "a");
    assert_int_equal(cases.item[1].line, 3);
    read_from(*state, "b.json",
        "\n{\n  \"prompt\": \"{p\",\n  \"answer\": \"a\",\n  \"x\": {\"prompt\": 1}\n}\n\n{\"prompt\":\"q\",\"answer\":\"b\"}\n{\n"
        "\"prompt\":\"r\",\"answer\":\"c\"}",
        &cases);
    expect_case(&cases, 2, "{p", "a|", "exact any 0 0", "b");
    expect_case(&cases, 4, "r", "c|", "exact any 0 0", "b");
    assert_true(cases.item[2].line == 2 && cases.item[3].line == 8 && cases.item[4].line == 9);
    read_from(*state, "c.jsonl",
        "{\"prompt\":1,\"answer\":\"a\",\"prompt\":\"x\xe2\x80\xa8y\",\"answer\":-1e3,\"depth\":[],\"depth\":null,\"s\":NaN}",
        &cases);
    expect_case(&cases, 5, "x\xe2\x80\xa8y", "-1e3|", "exact any 0 0", "c");
    qk_cases_free(&cases);
}

static void test_demo(void **state)
{
    (void)state;
    static const char *const names[] = {
        "recall-words@512", "recall-words@1024", "recall-hex@1024", "recall-words@2048", "arithmetic-cot"};
    char path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_cases cases = {0};
    size_t count[5] = {0};
    expect_ok(qk_cases_read(demo_path(path, "cases/recall.jsonl"), &cases, &err), &err);
    expect_ok(qk_cases_read(demo_path(path, "cases/reasoning.jsonl"), &cases, &err), &err);
    assert_int_equal(cases.n, 500);
    assert_int_equal(cases.n_tasks, 5);
    for (size_t i = 0; i < cases.n; i++)
        count[cases.item[i].task]++;
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(cases.task[i], names[i]);
        assert_int_equal(count[i], 100);
    }
    assert_int_equal(cases.item[499].file, 1);
    assert_int_equal(cases.item[499].line, 100);
    qk_cases_free(&cases);
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"", "c.jsonl: it holds no case"},
        {"\n \n", "it holds no case"},
        {"\xef\xbb\xbf", "it holds no case"},
        {"{\"prompt\":\"p\",\"answer\":\"a\"}\n\n{\"prompt\":\"p\"}\n", "c.jsonl:3: answer is missing"},
        {"{\"answer\":\"a\"}", "c.jsonl:1: prompt is missing"},
        {"{\"prompt\":null,\"answer\":\"a\"}", "c.jsonl:1: prompt is missing"},
        {"{\"prompt\":\"\",\"answer\":\"a\"}", "c.jsonl:1: prompt is empty"},
        {"{\"prompt\":\"p\",\"answer\":true}", "c.jsonl:1: answer is not a text"},
        {"{\"prompt\":\"p\",\"answer\":-Infinity}", "c.jsonl:1: answer is not a text"},
        {"{\"prompt\":\"p\",\"answer\":[]}", "c.jsonl:1: answer is an empty list"},
        {"{\"prompt\":\"p\",\"answer\":[\"a\",null]}", "c.jsonl:1: answer is not a text"},
        {"{\"prompt\":\"p\",\"answer\":[\"a\",\"\"]}", "c.jsonl:1: answer is empty"},
        {"{\"prompt\":\"p\",\"answer\":[\"a\" \"b\"]}", "c.jsonl: not valid JSON (line 1, column 29)"},
        {"{\"prompt\":\"p\",\"answer\":\"a\",\"match\":\"fuzzy\"}",
            "match is out of range (found \"fuzzy\", exp"},
        {"{\"prompt\":\"p\",\"answer\":\"a\",\"match\":1}", "c.jsonl:1: match is not a text"},
        {"{\"prompt\":\"p\",\"answer\":[\"a\",\"b\"],\"require\":\"all\"}", "c.jsonl:1: require is \"all\""},
        {"{\"prompt\":\"p\",\"answer\":\"a\",\"stop\":[1]}", "stop is neither a text nor a list"},
        {"{\"prompt\":\"p\",\"answer\":[\"a\",\"b.\"],\"answer_after\":\":\",\"answer_until\":\".\"}",
            "answer_until is within the answer"},
        {"{\"input\":\"p\"}", "c.jsonl:1: answer is missing"},
        {"{\"input\":\"p\",\"context\":\"c\",\"answers\":[\"a\"]}", "c.jsonl:1: answer is missing"},
        {"{\"messages\":\"p\",\"answer\":\"a\"}", "c.jsonl:1: messages is not a list"},
        {"{\"messages\":[],\"answer\":\"a\"}", "messages holds no message to answer"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"}]}",
            "messages holds no message to answer"},
        {"{\"messages\":[{\"content\":\"a\"}],\"answer\":\"a\"}", "messages: message 1 has no role"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":null}],\"answer\":\"a\"}",
            "messages: the content of message 1 is not a text"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}],\"answer\":\"a\"}",
            "message 1 has a part that is not a text (found type \"image\")"},
        {"{\"arguments\":{},\"target\":\"a\"}", "arguments: the prompt is not a text"},
        {"{\"arguments\":[[\"p\",\"a\"],[\"p\",\"b\"]],\"target\":\"0\"}", "arguments are choices"},
        {"{\"arguments\":[[\"p\",1]],\"target\":\"0\"}", "neither a continuation nor settings"},
        {"{\"arguments\":[[\"p\",{}]],\"target\":\"3+4\\n#### 7\"}", "target is a worked solution"},
        {"{\"arguments\":[[\"p\",{}]]}", "c.jsonl:1: answer is missing"},
        {"{\"prompt\":[\"p\"],\"answer\":\"a\"}", "c.jsonl:1: prompt is not a text"},
        {"{\"prompt\":\"p\",\"answer\":{}}", "c.jsonl:1: answer is not a text"},
        {"{\"prompt\":\"p\",\"answer\":\"a\",\"depth\":[1]}", "c.jsonl:1: depth is not a number"},
        {"{\"prompt\":\"p\",\"answer\":\"a\",\"depth\":\"1\"}", "c.jsonl:1: depth is not a number"},
        {"{\"prompt\":\"p\",\"answer\":\"a\",\"depth\":1.5}", "depth is out of range (found 1.5, expected 0"},
        {"{\"prompt\":\"p\",\"answer\":\"a\",\"depth\":-1}", "depth is out of range"},
        {"{\"prompt\":\"p\",\"answer\":\"a\",\"max_new_tokens\":0}",
            "max_new_tokens is out of range|found 0"},
        {"{\"prompt\":\"p\",\"answer\":\"a\",\"max_new_tokens\":1e9}", "max_new_tokens is out of range"},
        {"{\"prompt\":\"p\",\"answer\":\"a\",\"max_new_tokens\":1.5}", "max_new_tokens is out of range"},
        {"{\"prompt\":\"p\",\"answer\":\"a\",\"answer_until\":\".\"}", "answer_until needs answer_after"},
        {"{\"prompt\":\"p\",\"answer\":\"a.b\",\"answer_after\":\":\",\"answer_until\":\".\"}",
            "c.jsonl:1: answer_until is within the answer"},
        {"{\"prompt\":\"p\",\"answer\":\"a.\",\"answer_after\":\":\",\"answer_until\":\"..\"}",
            "answer_until is within the answer"}, /* "a..." has ".." a byte early */
        {"[]", "c.jsonl: it holds no case"},
        {"[{\"prompt\":\"p\",\"answer\":\"a\"},\n{\"prompt\":\"p\"}]", "c.jsonl:2: answer is missing"},
        {"[{\"prompt\":\"p\",\"answer\":\"a\"}\n{}]", "c.jsonl: not valid JSON|line 2, column 1"},
        {"[{\"prompt\":\"p\",\"answer\":\"a\"},\n", "c.jsonl: not valid JSON|line 2, column 1"},
        {"[{\"prompt\":\"p\",\"answer\":\"a\"}] x", "c.jsonl: not valid JSON|line 1, column 31"},
        {"[\n7]", "c.jsonl:2: not a JSON object"},
        {"\"a\"", "c.jsonl:1: not a JSON object (expected one a line)"},
        {"{\n\"prompt\":\"p\",\n\"answer\":\n}", "c.jsonl: not valid JSON|line 4, "},
        {"{\"prompt\":\"p\",\n{\"prompt\":\"p\",\"answer\":\"a\"}", "c.jsonl: not valid JSON|line 1, "},
        {"{\"prompt\":\"p\",\"answer\":\"a\"} {}", "c.jsonl: not valid JSON|line 1, column 29"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "c.jsonl: a Git LFS pointer"},
        {"{\"prompt\":\"p\",\"answer\":\"a\"} x", "c.jsonl: not valid JSON|line 1, column 29"},
        {"\n{\"prompt\":\"p\",\"answer\":}", "c.jsonl: not valid JSON|line 2, "},
        {"{\"prompt\":\"p\",\"answer\":\"a}", "c.jsonl: not valid JSON|line 1, "},
        {"\n{\"prompt\":\"\xff\",\"answer\":\"a\"}",
            "c.jsonl:2: prompt is not UTF-8 (found the byte 0xff, as in Latin-1)"},
        {"{\"prompt\":\"p\",\"a\x80\":1}", "c.jsonl:1: the line is not UTF-8 (found the byte 0x80)"},
        {"{\"prompt\":\"p\\u0000\",\"answer\":\"a\"}", "c.jsonl:1: prompt holds a NUL"},
        {"{\"prompt\\u0000\":\"p\",\"answer\":\"a\"}", "c.jsonl: not valid JSON|column 2"},
        {"{\"prompt\":\"p\\ud800\",\"answer\":\"a\"}", "c.jsonl:1: prompt holds half of a surrogate pair"},
        {"{\"prompt\":\"p\",\"answer\":[\"\\udc00\\ud800\"]}",
            "c.jsonl:1: answer holds half of a surrogate pair"},
        {"{\"prompt\":\"p\",\"answer\":\"\\ud83d\\u0041\"}",
            "c.jsonl:1: answer holds half of a surrogate pair"},
    };
    char path[PATH_SIZE];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_error err = {0};
        struct qk_cases cases = {0};
        write_cases(path, *state, "c.jsonl", rows[i].text);
        expect_failure(qk_cases_read(path, &cases, &err), &err, QK_INPUT, rows[i].words);
        qk_cases_free(&cases);
    }
}

static void test_nul_and_size(void **state)
{
    static const char nul[] = "{\"prompt\":\"p\0\",\"answer\":\"a\"}";
    enum { LONG = (16 << 20) + 64 };
    char path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_cases cases = {0};
    write_bytes(path_in(path, *state, "nul"), nul, sizeof nul - 1);
    expect_failure(qk_cases_read(path, &cases, &err), &err, QK_INPUT, "nul:1: prompt holds a NUL byte");
    char *line = malloc(LONG);
    assert_non_null(line);
    memset(line, 'x', LONG);
    line[0] = '\n';
    write_bytes(path_in(path, *state, "long"), line, LONG);
    free(line);
    expect_failure(qk_cases_read(path, &cases, &err), &err, QK_INPUT, "long:2: too long");
    expect_failure(qk_cases_read(*state, &cases, &err), &err, QK_INPUT, "regular file");
    expect_failure(qk_cases_read(path_in(path, *state, "none"), &cases, &err), &err, QK_IO, "none: cannot");
    qk_cases_free(&cases);
}

static void test_tasks(void **state)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_cases cases = {0};
    write_cases(path, *state, "b.json",
        "{\"prompt\":\"p\",\"answer\":\"a\",\"task\":\"z\"}\n{\"prompt\":\"p\",\"answer\":\"a\"}\n");
    expect_ok(qk_cases_read(path, &cases, &err), &err);
    write_cases(path, *state, "z.jsonl", "{\"prompt\":\"q\",\"answer\":\"a\"}\n");
    expect_ok(qk_cases_read(path, &cases, &err), &err);
    assert_int_equal(cases.n_tasks, 2);
    assert_string_equal(cases.task[0], "z");
    assert_string_equal(cases.task[1], "b");
    assert_true(cases.item[2].task == 0 && cases.item[2].file == 1 && cases.item[2].line == 1);
    qk_cases_free(&cases);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i <= QK_CASES_TASKS; i++)
        fprintf(file, "{\"prompt\":\"p\",\"answer\":\"a\",\"task\":\"t%d\"}\n", i);
    assert_int_equal(fclose(file), 0);
    expect_failure(qk_cases_read(path, &cases, &err), &err, QK_INPUT, "z.jsonl:1025: too many tasks");
    qk_cases_free(&cases);
}

static void test_digest(void **state)
{
    (void)state;
    char a[] = "a", b[] = "b", ab[] = "ab", empty[] = "", *list[] = {b};
    struct qk_case items[] = {{.prompt = ab, .answer = a}, {.prompt = a, .answer = b},
        {.prompt = ab, .answer = a, .after = a}, {.prompt = ab, .answer = a, .after = a, .until = b},
        {.prompt = ab, .answer = a, .max_new_tokens = 1}, {.prompt = ab, .answer = a, .after = empty},
        {.messages = ab, .answer = a}, {.prompt = ab, .answer = a, .contains = true},
        {.prompt = ab, .answer = a, .contains = true, .all = true},
        {.prompt = ab, .answer = a, .other = list, .n_other = 1},
        {.prompt = ab, .answer = a, .contains = true, .stop = list, .n_stop = 1},
        {.prompt = ab, .answer = a, .contains = true, .other = list, .n_other = 1}};
    enum { N = sizeof items / sizeof items[0] };
    char digest[N][QK_DIGEST_TEXT], again[QK_DIGEST_TEXT];
    for (int i = 0; i < N; i++) {
        qk_case_digest(&items[i], digest[i]);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(digest[i], digest[j]);
    }
    items[0].task = items[0].line = 7; /* names and places have no part in it */
    qk_case_digest(&items[0], again);
    assert_string_equal(again, digest[0]);
    /* Kept answers of plain cases stay valid: SHA-256 of "2 ab1 a- - 0", by sha256sum. */
    assert_string_equal(digest[0], "5826bf24f3e8704dea7e805f90b21044ad29021f592046ea6ebf4ef445dfff65");
}

/* --- tokens --- */

/* a b ab and the space; "ab" is one token at any place. BOS before, EOS behind. */
static const char TOKENIZER[] =
    "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"\xc4\xa0\":2,\"ab\":3},\"merges\":[\"a b\"]},"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"decoder\":{\"type\":"
    "\"ByteLevel\"},\"added_tokens\":[{\"id\":4,\"content\":\"<s>\",\"special\":true},{\"id\":5,\"content\":"
    "\"</s>\",\"special\":true}],\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
    "{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"</s>\"}}],"
    "\"special_tokens\":{\"<s>\":{\"ids\":[4]},\"</s>\":{\"ids\":[5]}}}}";

static void expect_ids(const int32_t *ids, size_t n, const char *expected)
{
    char text[256];
    size_t at = 0;
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%d ", (int)ids[i]);
    text[at] = '\0';
    assert_string_equal(text, expected);
}

static void test_tokens(void **state)
{
    static const struct {
        const char *line, *prompt, *answer;
        size_t limit;
    } rows[] = {
        {"{\"prompt\":\"b \",\"answer\":\"ab\"}", "4 1 2 ", "3 ", 1},
        {"{\"prompt\":\"b\",\"answer\":\"ba\"}", "4 1 ", "1 0 ", 2},
        {"{\"prompt\":\"b\",\"answer\":\"ba\",\"max_new_tokens\":9}", "4 1 ", "1 0 ", 9},
        /* "aab" is a ab: the prompt's a is not what the model would have seen before b */
        {"{\"prompt\":\"aa\",\"answer\":\"ba\"}", "4 0 0 ", "", 2},
        {"{\"prompt\":\"b\",\"answer\":\"b\",\"answer_after\":\"a\"}", "4 1 ", "", 256},
        {"{\"prompt\":\"b\",\"answer\":\"b\",\"answer_after\":\"a\",\"max_new_tokens\":3}", "4 1 ", "", 3},
        {"{\"prompt\":\"b\",\"answer\":\"b\",\"match\":\"contains\"}", "4 1 ", "", 256},
        {"{\"prompt\":\"b\",\"answer\":[\"b\",\"aba\"]}", "4 1 ", "", 3},
        /* special tokens that are spelled out are found, EOS as well: the user wrote it */
        {"{\"prompt\":\"<s>b</s>\",\"answer\":\"b\"}", "4 4 1 5 ", "1 ", 1},
        {"{\"prompt\":\"b\",\"answer\":\"ba\",\"max_new_tokens\":1}", NULL,
            "c.jsonl:1: max_new_tokens is less than the answer's tokens (found 1, expected at least 2)", 0},
    };
    char path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_tokenizer *tokenizer;
    write_bytes(path_in(path, *state, "tokenizer.json"), TOKENIZER, strlen(TOKENIZER));
    expect_ok(qk_tokenizer_open(*state, &tokenizer, &err), &err);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_cases cases = {0};
        struct qk_case_tokens tokens;
        write_cases(path, *state, "c.jsonl", rows[i].line);
        expect_ok(qk_cases_read(path, &cases, &err), &err);
        enum qk_code code = qk_case_encode(&cases, 0, tokenizer, NULL, &tokens, &err);
        if (rows[i].prompt != NULL) {
            expect_ok(code, &err);
            expect_ids(tokens.prompt, tokens.n_prompt, rows[i].prompt);
            expect_ids(tokens.answer, tokens.n_answer, rows[i].answer);
            assert_int_equal(tokens.limit, rows[i].limit);
        } else {
            expect_failure(code, &err, QK_INPUT, rows[i].answer);
        }
        qk_case_tokens_free(&tokens);
        qk_cases_free(&cases);
    }
    qk_tokenizer_free(tokenizer);
}

/* --- the interval --- */

static void test_interval(void **state)
{
    (void)state;
    /* scipy.stats.binomtest(right, total).proportion_ci(method="wilson"), SciPy of Debian 12; its z has more
     * digits, which is below 1e-8 here. */
    static const struct {
        size_t right, total;
        double low, high;
    } rows[] = {{0, 1, 0, 0.7934506856227626}, {1, 1, 0.20654931437723745, 1},
        {0, 100, 0, 0.03699349820698568}, {100, 100, 0.9630065017930143, 1},
        {57, 100, 0.47215389549212305, 0.6626670147588988}, {74, 100, 0.6462901055081282, 0.8159530153525186},
        {1, 10, 0.017876213095072896, 0.4041500267952385}, {399, 400, 0.9859767149241766, 0.9995585522131983},
        {3, 7, 0.1582198552514697, 0.7495416354723428},
        {500000, 1000000, 0.4990200198900048, 0.5009799801099952}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_interval found = qk_score_interval((struct qk_score){rows[i].right, rows[i].total});
        assert_true(fabs(found.low - rows[i].low) < 1e-8);
        assert_true(fabs(found.high - rows[i].high) < 1e-8);
        assert_true(found.low >= 0 && found.high <= 1);
    }
    for (size_t n = 1; n < 200; n++) { /* the ends exactly, in spite of rounding */
        assert_true(qk_score_interval((struct qk_score){0, n}).low == 0);
        assert_true(qk_score_interval((struct qk_score){n, n}).high == 1);
    }
    struct qk_interval none = qk_score_interval((struct qk_score){0, 0});
    assert_true(none.low == 0 && none.high == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_folder(test_all_keys),
        test_in_folder(test_other_tools),
        test_in_folder(test_spellings),
        cmocka_unit_test(test_demo),
        test_in_folder(test_refused),
        test_in_folder(test_nul_and_size),
        test_in_folder(test_tasks),
        cmocka_unit_test(test_digest),
        test_in_folder(test_tokens),
        cmocka_unit_test(test_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
