/* test_session_evaluation.c - the evaluation of a live pair: the same answers as without a session, anew after
 * each choice, paused, a search beside it, and the state without cases. */
#include "session/choices.h"
#include "session/evaluation.h"
#include "session/search.h"

#include "base/blas.h"
#include "eval/evaluation.h"
#include "helper.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_SECONDS = 600, TASKS = 2 }; /* a hang must fail, a slow sanitizer run must not */
/* No search of these tests comes to its end, however slow the machine. */
static const struct qk_search_limits LONG = {.seconds = 1e6};

/* FOLDER/NAME with the first n cases of the demo pair's file of that name, of each prompt its end: what is
 * asked does not matter here, and short prompts are answered sooner. */
static char *write_head(char out[PATH_SIZE], const char *folder, const char *name, size_t n)
{
    enum { MOST_PROMPT = 60 };
    char from[PATH_SIZE], inside[64];
    struct qk_cases cases = {0};
    struct qk_text text = {0};
    struct qk_error err = {0};
    snprintf(inside, sizeof inside, "cases/%s", name);
    expect_ok(qk_cases_read(demo_path(from, inside), &cases, &err), &err);
    for (size_t i = 0; i < n; i++) {
        struct qk_case item = cases.item[i];
        size_t length = strlen(item.prompt);
        item.prompt += length > MOST_PROMPT ? length - MOST_PROMPT : 0;
        expect_ok(qk_case_write(&item, cases.task[item.task], &text, &err), &err);
    }
    size_t n_bytes = text.length;
    char *lines;
    expect_ok(qk_text_take(&text, &lines, &err), &err);
    write_bytes(path_in(out, folder, name), lines, n_bytes);
    free(lines);
    qk_cases_free(&cases);
    return out;
}

static struct qk_session *open_demo(void)
{
    char pre[PATH_SIZE], post[PATH_SIZE];
    struct qk_session *session;
    struct qk_error err = {0};
    expect_ok(qk_session_open(demo_path(pre, "pre"), demo_path(post, "post"), 1, &session, &err), &err);
    assert_int_equal(qk_session_evaluation(session)->stage, QK_EVALUATION_OFF);
    return session;
}

static void evaluate(struct qk_session *session, const char *const *file, size_t n)
{
    struct qk_error err = {0};
    expect_ok(qk_session_evaluate(session, file, n, true, &err), &err);
}

static void wait_for_event(struct qk_session *session)
{
    struct pollfd fd = {.fd = qk_session_event_fd(session), .events = POLLIN};
    assert_true(poll(&fd, 1, WAIT_SECONDS * 1000) > 0);
    assert_true(qk_session_poll(session));
}

static const struct qk_evaluation_state *wait_for(struct qk_session *session, enum qk_evaluation_stage stage)
{
    while (qk_session_evaluation(session)->stage != stage)
        wait_for_event(session);
    return qk_session_evaluation(session);
}

/* Until the cases are read; more may have happened by then. */
static const struct qk_evaluation_state *wait_for_cases(struct qk_session *session)
{
    while (qk_session_evaluation(session)->stage == QK_EVALUATION_OPENING)
        wait_for_event(session);
    return qk_session_evaluation(session);
}

static void restore(struct qk_session *session, int layer)
{
    struct qk_error err = {0};
    const struct qk_choice choice = {QK_RESTORE, 0};
    expect_ok(qk_session_choose(session, &layer, 1, -1, choice, NULL, &err), &err);
}

/* What the model answers when it is asked everything at once, without a session. */
static void ask(const struct qk_pair *pair, const char *const *file, size_t n, enum qk_side side,
    const struct qk_selection *selection, struct qk_score score[TASKS])
{
    const struct qk_evaluation_options options = {.no_cache = true};
    struct qk_evaluation *evaluation;
    struct qk_cases cases = {0};
    struct qk_error err = {0};
    size_t list[64];
    signed char answer[64];
    for (size_t i = 0; i < n; i++)
        expect_ok(qk_cases_read(file[i], &cases, &err), &err);
    assert_true(cases.n <= 64 && cases.n_tasks == TASKS);
    for (size_t i = 0; i < cases.n; i++)
        list[i] = i;
    expect_ok(qk_evaluation_open(pair, NULL, &cases, &options, &evaluation, &err), &err);
    const struct qk_subject subject = {side, selection, false};
    expect_ok(qk_evaluation_answer(evaluation, subject, cases.n, list, answer, NULL, NULL, NULL, &err), &err);
    memset(score, 0, TASKS * sizeof *score);
    qk_evaluation_score(&cases, cases.n, list, answer, score);
    qk_evaluation_close(evaluation);
    qk_cases_free(&cases);
}

static void expect_scores(const struct qk_evaluated *model, const struct qk_score expected[TASKS])
{
    for (size_t t = 0; t < TASKS; t++) {
        assert_int_equal(model->score[t].total, expected[t].total);
        assert_int_equal(model->score[t].right, expected[t].right);
    }
}

static void test_follows_choices(void **state)
{
    char recall[PATH_SIZE], reasoning[PATH_SIZE];
    const char *const file[] = {
        write_head(recall, *state, "recall.jsonl", 9), write_head(reasoning, *state, "reasoning.jsonl", 3)};
    struct qk_session *session = open_demo();
    const struct qk_pair *pair = qk_session_pair(session);
    struct qk_score pre[TASKS], post[TASKS], current[TASKS];
    evaluate(session, file, 2);
    assert_int_equal(qk_session_evaluation(session)->stage, QK_EVALUATION_OPENING);
    const struct qk_evaluation_state *all = wait_for(session, QK_EVALUATION_READY);
    assert_int_equal(all->n_cases, 12);
    assert_int_equal(all->n_tasks, TASKS);
    assert_string_equal(all->task[0], "recall-words@512");
    assert_int_equal(all->n_of_task[1], 3);
    ask(pair, file, 2, QK_PRE, NULL, pre);
    ask(pair, file, 2, QK_POST, NULL, post);
    expect_scores(&all->model[QK_ASKED_PRE], pre);
    expect_scores(&all->model[QK_ASKED_POST], post);
    assert_int_equal(all->model[QK_ASKED_PRE].n_known, 12);
    assert_true(all->model[QK_ASKED_CURRENT].is_post);
    assert_int_equal(all->model[QK_ASKED_CURRENT].n_known, 0);

    restore(session, 4);
    assert_int_equal(all->stage, QK_EVALUATION_RUNNING);
    assert_false(all->model[QK_ASKED_CURRENT].is_post);
    restore(session, 7); /* before anything of the first choice is known */
    wait_for(session, QK_EVALUATION_READY);
    ask(pair, file, 2, QK_POST, qk_session_selection(session), current);
    expect_scores(&all->model[QK_ASKED_CURRENT], current);
    expect_scores(&all->model[QK_ASKED_POST], post); /* and nothing was counted twice */
    assert_true(qk_session_undo(session, NULL) && qk_session_undo(session, NULL));
    assert_true(all->model[QK_ASKED_CURRENT].is_post);
    assert_int_equal(all->model[QK_ASKED_CURRENT].n_known, 0);

    wait_for(session, QK_EVALUATION_READY);
    qk_session_evaluate_pause(session); /* with nothing left to ask, until there is */
    assert_int_equal(all->stage, QK_EVALUATION_READY);
    assert_true(qk_session_redo(session, NULL));
    assert_int_equal(all->stage, QK_EVALUATION_PAUSED);
    evaluate(session, NULL, 0);
    wait_for(session, QK_EVALUATION_READY);
    assert_int_equal(all->model[QK_ASKED_CURRENT].n_known, 12);
    qk_session_close(session);
}

/* Few cases of each task first, and nothing while it is paused; closing in the middle frees everything. There
 * are so many cases that a thread which has to wait for its turn still comes before the end. */
static void test_pause(void **state)
{
    enum { RECALL = 400, REASONING = 100 };
    char recall[PATH_SIZE], reasoning[PATH_SIZE];
    const char *const file[] = {write_head(recall, *state, "recall.jsonl", RECALL),
        write_head(reasoning, *state, "reasoning.jsonl", REASONING)};
    struct qk_session *session = open_demo();
    evaluate(session, file, 2);
    const struct qk_evaluation_state *all = qk_session_evaluation(session);
    while (all->model[QK_ASKED_POST].n_known < 16)
        wait_for_event(session);
    size_t known[TASKS] = {
        all->model[QK_ASKED_POST].score[0].total, all->model[QK_ASKED_POST].score[1].total};
    if (known[0] + known[1] == 16) /* else this thread has not been heard for long, and missed it */
        assert_true(known[0] == 8 && known[1] == 8);
    assert_true(known[0] >= 8 && known[1] >= 8);
    qk_session_evaluate_pause(session);
    assert_int_equal(all->stage, QK_EVALUATION_PAUSED);
    while (all->model[QK_ASKED_PRE].running || all->model[QK_ASKED_POST].running)
        wait_for_event(session);
    restore(session, 7);
    assert_int_equal(all->stage, QK_EVALUATION_PAUSED);
    assert_int_equal(all->model[QK_ASKED_CURRENT].n_known, 0);
    evaluate(session, NULL, 0);
    assert_int_equal(all->stage, QK_EVALUATION_RUNNING);
    while (all->model[QK_ASKED_CURRENT].n_known < 16)
        wait_for_event(session);
    assert_true(all->model[QK_ASKED_POST].n_known < RECALL + REASONING); /* current came first */
    qk_session_close(session);
}

/* The figures of a point are those of its selection, which can be taken and given back. */
static void check_point(struct qk_session *session, const char *const *file, size_t n, size_t i)
{
    const struct qk_search_point *point = &qk_session_search_state(session)->point[i];
    struct qk_score score[TASKS];
    struct qk_error err = {0};
    ask(qk_session_pair(session), file, n, QK_POST, &point->selection, score);
    for (size_t o = 0; o < TASKS; o++) { /* each file is a task here */
        const struct qk_score on = point->score[QK_SEARCHED][o], out = point->score[QK_CONFIRMED][o];
        assert_int_equal(on.right + out.right, score[o].right);
        assert_int_equal(on.total + out.total, score[o].total);
        assert_int_equal(out.total, score[o].total / 2);
    }
    expect_ok(qk_session_take_point(session, i, &err), &err);
    assert_int_equal(qk_session_point(session), (int)i);
    assert_true(qk_selection_equal(qk_session_selection(session), &point->selection));
    const char *label;
    assert_true(qk_session_undo(session, &label));
    assert_string_equal(label, point->text);
}

static void test_search(void **state)
{
    char recall[PATH_SIZE], reasoning[PATH_SIZE];
    const char *const file[] = {
        write_head(recall, *state, "recall.jsonl", 6), write_head(reasoning, *state, "reasoning.jsonl", 2)};
    struct qk_session *session = open_demo();
    struct qk_error err = {0};
    const struct qk_search_state *found = qk_session_search_state(session);
    assert_int_equal(found->stage, QK_SEARCH_OFF);
    expect_failure(qk_session_search(session, &LONG, &err), &err, QK_USAGE, "no cases");
    evaluate(session, file, 2);
    wait_for_cases(session);
    expect_ok(qk_session_search(session, &LONG, &err), &err);
    expect_failure(qk_session_search(session, &LONG, &err), &err, QK_USAGE, "still running");
    found = qk_session_search_state(session);
    assert_int_equal(found->n_objectives, 2);
    assert_string_equal(found->objective[0], "recall");
    while (found->effect == NULL) /* they come after the usual selections */
        wait_for_event(session);
    /* A choice has its few cases while the search goes on, which asks post and pre as well. */
    restore(session, 4);
    const struct qk_evaluation_state *all = qk_session_evaluation(session);
    while (all->model[QK_ASKED_CURRENT].n_known < 8)
        wait_for_event(session);
    assert_int_equal(found->stage, QK_SEARCH_RUNNING);
    assert_int_equal(all->model[QK_ASKED_POST].n_known, 4); /* half is held out */
    assert_int_equal(all->model[QK_ASKED_PRE].n_known, 4);
    assert_int_equal(qk_session_objective(session, QK_ASKED_PRE, 1).total, 1);
    qk_session_search_cancel(session);
    while (found->stage == QK_SEARCH_RUNNING)
        wait_for_event(session);
    assert_int_equal(found->stage, QK_SEARCH_CANCELLED);
    assert_true(found->n_points > 0 && found->n_trials >= 4);
    int known = 0;
    for (int i = 0; i < qk_session_pair(session)->n_layers; i++)
        known += found->effect[2 * i].n > 0;
    assert_true(known > 0);
    for (size_t i = 0; i < found->n_points; i++)
        assert_int_equal(found->point[i].score[QK_CONFIRMED][0].total, 0);
    /* One with an end confirms its front. */
    expect_ok(qk_session_search(session, &(struct qk_search_limits){.max_trials = 6}, &err), &err);
    while (found->stage == QK_SEARCH_RUNNING)
        wait_for_event(session);
    assert_int_equal(found->stage, QK_SEARCH_LIMITED);
    assert_true(found->n_points > 0 && found->n_at_once[QK_CONFIRMED] >= found->n_points);
    for (size_t i = 0; i < found->n_points; i++)
        check_point(session, file, 2, i);
    expect_failure(qk_session_take_point(session, found->n_points, &err), &err, QK_USAGE, "no such point");
    qk_session_close(session);
}

/* Its time is up at once: pre and post are all that was asked; it is of five evaluations; and closing a
 * session ends a search. */
static void test_search_ends(void **state)
{
    char recall[PATH_SIZE];
    const char *const file[] = {write_head(recall, *state, "recall.jsonl", 4)};
    struct qk_session *session = open_demo();
    struct qk_error err = {0};
    evaluate(session, file, 1);
    wait_for(session, QK_EVALUATION_READY);
    expect_ok(qk_session_search(session, &(struct qk_search_limits){.seconds = 1e-5}, &err), &err);
    const struct qk_search_state *found = qk_session_search_state(session);
    while (found->stage == QK_SEARCH_RUNNING)
        wait_for_event(session);
    assert_int_equal(found->stage, QK_SEARCH_LIMITED);
    expect_ok(qk_session_search(session, &(struct qk_search_limits){.max_trials = 5}, &err), &err);
    assert_int_equal(found->limits.max_trials, 5);
    while (found->stage == QK_SEARCH_RUNNING)
        wait_for_event(session);
    assert_int_equal(found->stage, QK_SEARCH_LIMITED);
    assert_int_equal(found->n_measured, 5);
    expect_ok(qk_session_search(session, &LONG, &err), &err);
    while (found->n_trials < 3)
        wait_for_event(session);
    qk_session_close(session);
}

static void test_nothing_to_ask(void **state)
{
    char path[PATH_SIZE];
    const char *const missing[] = {path_in(path, *state, "missing.jsonl")};
    struct qk_session *session = open_demo();
    evaluate(session, missing, 1);
    assert_non_null(strstr(wait_for(session, QK_EVALUATION_FAILED)->error, "missing.jsonl"));
    restore(session, 7); /* changes nothing about it */
    assert_int_equal(qk_session_evaluation(session)->stage, QK_EVALUATION_FAILED);
    qk_session_close(session);

    char pre[PATH_SIZE], post[PATH_SIZE];
    struct qk_error err = {0};
    expect_ok(qk_session_open(data_path(pre, "fixtures/qwen3/pre"), data_path(post, "fixtures/qwen3/post"), 1,
                  &session, &err),
        &err);
    evaluate(session, NULL, 0);
    assert_null(wait_for(session, QK_EVALUATION_NO_CASES)->error);
    qk_session_close(session);

    session = open_demo(); /* which has cases beside it */
    evaluate(session, NULL, 0);
    const struct qk_evaluation_state *all = wait_for_cases(session);
    assert_int_equal(all->n_files, 2);
    assert_non_null(strstr(all->file[0], "cases/reasoning.jsonl"));
    qk_session_close(session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_folder(test_follows_choices),
        test_in_folder(test_pause),
        test_in_folder(test_search),
        test_in_folder(test_search_ends),
        test_in_folder(test_nothing_to_ask),
    };
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
