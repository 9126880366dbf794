/* fuzz_cases.c - any bytes as a file of cases: refused with a message that names it, or cases as the
 * header promises, which are the same after they are written and read again. */
#include "fuzz.h"

#include "eval/cases.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char fuzz_name[] = "cases";
#define NEEDED "\"prompt\":\"p q\",\"answer\":\"12\""
const struct fuzz_seed fuzz_seeds[] = {FUZZ_SEED("{" NEEDED "}\n{" NEEDED ",\"task\":\"t\",\"depth\":0.5}\n"),
    FUZZ_SEED("{" NEEDED ",\"answer_after\":\"A: \",\"answer_until\":\".\",\"max_new_tokens\":80}"),
    FUZZ_SEED("\xef\xbb\xbf\r\n{" NEEDED ",\"id\":[1,{\"a\":null}],\"task\":null}\r\n\n"),
    FUZZ_SEED(
        "[{" NEEDED
        ",\"match\":\"contains\",\"require\":\"all\",\"stop\":[\".\"]},\n{\"prompt\":\"p\",\"answer\":[1,\"b\"]}]"),
    FUZZ_SEED("{\n\"input\":\"p\",\"outputs\":[\"7\",\"b\"],\n\"answer_prefix\":\" It\"\n}\n"),
    FUZZ_SEED(
        "{\"target\":\"['a', \\\"b\\\", 4]\",\"arguments\":{\"gen_args_0\":{\"arg_0\":\"p\",\"arg_1\":{\"until\":[\".\"],"
        "\"max_gen_toks\":9}}}}"),
    FUZZ_SEED(
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"h\"}]},{\"role\":\"assistant\",\"content\":\"a\"}]}"),
    FUZZ_SEED("{\"prompt\":\"\\u00e9\xe2\x82\xac\\n\",\"answer\":\"\\ud83d\\ude00\"}")};
const size_t n_fuzz_seeds = sizeof fuzz_seeds / sizeof fuzz_seeds[0];
const char *const fuzz_words[] = {"\"prompt\":", "\"answer\":", "\"task\":", "\"depth\":",
    "\"answer_after\":", "\"answer_until\":", "\"max_new_tokens\":", "\"match\":", "\"require\":",
    "\"stop\":", "\"messages\":", "\"input\":", "\"answer_prefix\":", "\"outputs\":", "\"arguments\":",
    "\"target\":", "\"arg_0\":", "\"role\":", "\"content\":", "\"contains\"", "\"all\"", "\"\"", "\\u0000",
    "\\ud800", "\n", "\r\n", "{" NEEDED "}", "{", "}", "[", "]", ",", "null", "1e-9", "\xff", NULL};

static void check_case(const struct qk_cases *cases, size_t i, struct qk_text *again)
{
    const struct qk_case *item = &cases->item[i];
    struct qk_error err = {0};
    const char *answer;
    fuzz_check((item->prompt == NULL) != (item->messages == NULL), "a prompt or messages");
    for (size_t k = 0; (answer = qk_case_answer(item, k)) != NULL; k++)
        fuzz_check(answer[0] != '\0', "answers are not empty");
    fuzz_check(item->answer != NULL && (item->contains || !item->all || item->n_other == 0), "answers");
    fuzz_check(item->until == NULL || item->after != NULL, "answer_until stands with answer_after");
    fuzz_check(isnan(item->depth) || (item->depth >= 0 && item->depth <= 1), "depth");
    fuzz_check(item->max_new_tokens <= QK_CASES_NEW_TOKENS, "max_new_tokens");
    fuzz_check(item->task < cases->n_tasks && item->file < cases->n_files && item->line > 0, "indices");
    fuzz_check(qk_case_write(item, cases->task[item->task], again, &err) == QK_OK, "written");
}

static enum qk_code read_bytes(const void *bytes, size_t n, struct qk_cases *cases, struct qk_error *err)
{
    char path[64];
    fuzz_write_file("cases.jsonl", bytes, n);
    snprintf(path, sizeof path, "%s/cases.jsonl", fuzz_folder());
    return qk_cases_read(path, cases, err);
}

static void check_again(const struct qk_cases *cases, const struct qk_text *text)
{
    struct qk_cases again = {0};
    struct qk_error err = {0};
    fuzz_check(read_bytes(text->s, text->length, &again, &err) == QK_OK, "what was written is read");
    fuzz_check(again.n == cases->n && again.n_tasks == cases->n_tasks, "as many");
    for (size_t i = 0; i < again.n; i++) {
        char a[QK_DIGEST_TEXT], b[QK_DIGEST_TEXT];
        double depth = cases->item[i].depth;
        qk_case_digest(&cases->item[i], a);
        qk_case_digest(&again.item[i], b);
        fuzz_check(strcmp(a, b) == 0 && again.item[i].task == cases->item[i].task, "the same case");
        fuzz_check(isnan(depth) ? isnan(again.item[i].depth) : again.item[i].depth == depth, "depth again");
    }
    qk_cases_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qk_cases cases = {0};
    struct qk_text again = {0};
    struct qk_error err = {0};
    enum qk_code code = read_bytes(data, size, &cases, &err);
    fuzz_check(code == QK_OK || (code == QK_INPUT && strstr(err.text, "cases.jsonl:") != NULL),
        "refused with a message that names the file");
    fuzz_check(code != QK_OK || cases.n > 0, "a file without cases is refused");
    for (size_t i = 0; i < cases.n; i++)
        check_case(&cases, i, &again);
    if (code == QK_OK)
        check_again(&cases, &again);
    qk_text_free(&again);
    qk_cases_free(&cases);
    return 0;
}
