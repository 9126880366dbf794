/* test_evaluation.c - answers of pre, post and a selection to cases: reports, answers kept between runs, cancelled
 * runs, and a spoilt store. */
#include "helper.h"

#include "base/blas.h"
#include "eval/answer_store.h"
#include "eval/evaluation.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 6 };
static const size_t LIST[N] = {5, 0, 1, 2, 3, 4};

struct world {
    struct qk_pair *pair;
    struct qk_cases cases;
    struct qk_evaluation *evaluation;
};

/* Cache and cases in FOLDER: the first six of the shipped problems. */
static void open_world(const char *folder, struct world *w)
{
    char pre[PATH_SIZE], post[PATH_SIZE], path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_evaluation_options options = {0};
    size_t n;
    memset(w, 0, sizeof *w);
    setenv("XDG_CACHE_HOME", folder, 1);
    char *all = read_bytes(demo_path(path, "cases/reasoning.jsonl"), &n), *end = all;
    for (int i = 0; i < N; i++)
        end = strchr(end, '\n') + 1;
    write_bytes(path_in(path, folder, "cases.jsonl"), all, (size_t)(end - all));
    free(all);
    expect_ok(qk_cases_read(path, &w->cases, &err), &err);
    assert_int_equal(w->cases.n, N);
    expect_ok(qk_pair_open(demo_path(pre, "pre"), demo_path(post, "post"), &w->pair, &err), &err);
    expect_ok(qk_evaluation_open(w->pair, NULL, &w->cases, &options, &w->evaluation, &err), &err);
}

static void close_world(struct world *w)
{
    qk_evaluation_close(w->evaluation);
    qk_pair_close(w->pair);
    qk_cases_free(&w->cases);
}

struct reported {
    size_t n, calls;
    signed char answer[N];
    struct qk_progress *cancel_after_first;
};

static void report(void *context, size_t n, const size_t *cases, const signed char *answer)
{
    struct reported *reported = context;
    reported->calls++;
    for (size_t i = 0; i < n; i++)
        reported->answer[cases[i]] = answer[i];
    reported->n += n;
    if (reported->cancel_after_first != NULL)
        atomic_store(&reported->cancel_after_first->cancel, true);
}

/* The store's only file. */
static void store_path(const char *folder, char path[PATH_SIZE])
{
    char answers[PATH_SIZE];
    int found = 0;
    DIR *dir = opendir(path_in(answers, folder, "qkscope/answers"));
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (entry->d_name[0] != '.') {
            path_in(path, answers, entry->d_name);
            found++;
        }
    closedir(dir);
    assert_int_equal(found, 1);
}

static void test_kept(void **state)
{
    struct world w;
    struct reported reported = {0};
    struct qk_error err = {0};
    struct qk_progress progress = {0};
    signed char first[N], again[N];
    double cost;
    const struct qk_exam_watch watch = {&reported, report};
    const struct qk_subject post = {QK_POST, NULL, false};
    open_world(*state, &w);
    expect_ok(qk_evaluation_answer(w.evaluation, post, 2, LIST, first, &watch, &progress, &cost, &err), &err);
    double two = (double)(qk_evaluation_cost(w.evaluation, 5) + qk_evaluation_cost(w.evaluation, 0));
    assert_true(cost == two && progress.done == (uint64_t)two);
    expect_ok(qk_evaluation_answer(w.evaluation, post, N, LIST, first, &watch, NULL, &cost, &err), &err);
    assert_int_equal(reported.n, 2 + N);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(reported.answer[LIST[i]], first[i]);
    close_world(&w);
    open_world(*state, &w); /* a new run */
    reported = (struct reported){0};
    expect_ok(qk_evaluation_answer(w.evaluation, post, N, LIST, again, &watch, NULL, &cost, &err), &err);
    assert_true(cost == 0 && reported.calls == 1 && reported.n == N);
    assert_memory_equal(first, again, sizeof first);
    struct qk_score score[1] = {{0}};
    qk_evaluation_score(&w.cases, N, LIST, again, score);
    assert_int_equal(score[0].total, N);
    assert_int_equal(score[0].right, N); /* the reference: post solves all of the hundred */
    close_world(&w);
}

/* A selection that keeps everything is post, and shares its answers; another is not. */
static void test_selections(void **state)
{
    struct world w;
    struct qk_error err = {0};
    struct qk_selection selection;
    signed char answer[N];
    double cost;
    open_world(*state, &w);
    struct qk_subject subject = {QK_POST, NULL, false};
    expect_ok(qk_evaluation_answer(w.evaluation, subject, N, LIST, answer, NULL, NULL, NULL, &err), &err);
    expect_ok(qk_selection_init(&selection, w.pair->n_layers, &err), &err);
    subject.selection = &selection;
    expect_ok(qk_evaluation_answer(w.evaluation, subject, N, LIST, answer, NULL, NULL, &cost, &err), &err);
    assert_true(cost == 0);
    for (int i = 0; i < selection.n_layers; i++)
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            selection.choice[i].role[r] = (struct qk_choice){QK_RESTORE, 0};
    expect_ok(qk_evaluation_answer(w.evaluation, subject, N, LIST, answer, NULL, NULL, &cost, &err), &err);
    assert_true(cost > 0);
    qk_selection_free(&selection);
    close_world(&w);
}

/* A choice that comes in between stops a run; answers reported until then are kept. */
static void test_cancelled(void **state)
{
    struct world w;
    struct qk_progress progress = {0};
    struct reported reported = {0};
    struct qk_error err = {0};
    signed char answer[N];
    double cost, rest;
    const struct qk_exam_watch watch = {&reported, report};
    const struct qk_subject post = {QK_POST, NULL, false};
    open_world(*state, &w);
    expect_ok(qk_evaluation_answer(w.evaluation, post, 2, LIST, answer, NULL, NULL, NULL, &err), &err);
    reported.cancel_after_first = &progress; /* after the report of the two known ones */
    expect_failure(qk_evaluation_answer(w.evaluation, post, N, LIST, answer, &watch, &progress, &cost, &err),
        &err, QK_CANCELLED, "");
    assert_int_equal(reported.n, 2);
    expect_ok(qk_evaluation_answer(w.evaluation, post, N, LIST, answer, NULL, NULL, &rest, &err), &err);
    assert_true(rest == cost && rest > 0);
    close_world(&w);
}

/* Lines that were cut or are nonsense are as if they were not there; a folder in the file's place, too. */
static void test_spoilt_store(void **state)
{
    struct world w;
    struct qk_error err = {0};
    signed char first[N], again[N];
    char path[PATH_SIZE];
    size_t n;
    double cost, one;
    const struct qk_subject post = {QK_POST, NULL, false};
    open_world(*state, &w);
    expect_ok(qk_evaluation_answer(w.evaluation, post, N, LIST, first, NULL, NULL, NULL, &err), &err);
    store_path(*state, path);
    char *bytes = read_bytes(path, &n);
    memset(bytes, '?', 5);           /* of the first line: case 5 */
    write_bytes(path, bytes, n - 1); /* and the end of the last: case 4 */
    free(bytes);
    expect_ok(qk_evaluation_answer(w.evaluation, post, N, LIST, again, NULL, NULL, &cost, &err), &err);
    one = (double)(qk_evaluation_cost(w.evaluation, 5) + qk_evaluation_cost(w.evaluation, 4));
    assert_true(cost == one);
    assert_memory_equal(first, again, sizeof first);
    assert_int_equal(remove(path), 0);
    make_folder(path);
    expect_ok(qk_evaluation_answer(w.evaluation, post, N, LIST, again, NULL, NULL, &cost, &err), &err);
    assert_memory_equal(first, again, sizeof first);
    close_world(&w);
}

/* --- kept activations --- */

enum { RECALLED = 8, ROWS = 5, BRIEF_ROWS = 2 };

/* Asks the first cases of recall of post, and of post with q and k restored in one layer or two. */
static void ask_rows(const struct qk_pair *pair, const struct qk_cases *cases, bool reuse, size_t memory,
    signed char answer[ROWS][RECALLED])
{
    static const int restored[ROWS][2] = {{-1, -1}, {7, -1}, {1, 7}, {1, 10}, {10, -1}};
    const struct qk_evaluation_options options = {.no_cache = true, .reuse = reuse, .memory = memory};
    struct qk_evaluation *evaluation;
    struct qk_error err = {0};
    size_t list[RECALLED];
    expect_ok(qk_evaluation_open(pair, NULL, cases, &options, &evaluation, &err), &err);
    for (size_t i = 0; i < RECALLED; i++)
        list[i] = i;
    for (size_t row = 0; row < (test_is_brief() ? BRIEF_ROWS : ROWS); row++) {
        struct qk_selection selection;
        expect_ok(qk_selection_init(&selection, pair->n_layers, &err), &err);
        for (size_t i = 0; i < 2; i++)
            for (int r = 0; restored[row][i] >= 0 && r < QK_ROLE_COUNT; r++)
                selection.choice[restored[row][i]].role[r] = (struct qk_choice){QK_RESTORE, 0};
        const struct qk_subject subject = {QK_POST, &selection, false};
        expect_ok(
            qk_evaluation_answer(evaluation, subject, RECALLED, list, answer[row], NULL, NULL, NULL, &err),
            &err);
        qk_selection_free(&selection);
    }
    qk_evaluation_close(evaluation);
}

/* Answers are the same with kept activations and without, and where only some fit (the weights of both take 22 MB).
 * tests/unit/test_prefill.c compares the bits. */
static void test_reuse(void **state)
{
    char pre[PATH_SIZE], post[PATH_SIZE], path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_pair *pair;
    struct qk_cases cases = {0};
    size_t n;
    signed char expected[ROWS][RECALLED] = {{0}}, found[ROWS][RECALLED] = {{0}};
    char *all = read_bytes(demo_path(path, "cases/recall.jsonl"), &n), *end = all;
    for (int i = 0; i < RECALLED; i++)
        end = strchr(end, '\n') + 1;
    make_folder(*state);
    write_bytes(path_in(path, *state, "cases.jsonl"), all, (size_t)(end - all));
    free(all);
    expect_ok(qk_cases_read(path, &cases, &err), &err);
    expect_ok(qk_pair_open(demo_path(pre, "pre"), demo_path(post, "post"), &pair, &err), &err);
    ask_rows(pair, &cases, false, 0, expected);
    ask_rows(pair, &cases, true, 0, found);
    assert_memory_equal(found, expected, sizeof found);
    ask_rows(pair, &cases, true, 34 << 20, found);
    assert_memory_equal(found, expected, sizeof found);
    qk_pair_close(pair);
    qk_cases_free(&cases);
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        test_in_folder(test_kept),
        test_in_folder(test_selections),
        test_in_folder(test_cancelled),
        test_in_folder(test_spoilt_store),
        test_in_folder(test_reuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
