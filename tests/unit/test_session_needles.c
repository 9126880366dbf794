/* test_session_needles.c - needle masses of a live pair: the same as those of the command, current after each choice,
 * the attention on a needle's text, and the reasons for none. */
#include "session/choices.h"
#include "session/layers.h"
#include "session/needles.h"

#include "base/blas.h"
#include "models.h"
#include "token/tokenizer.h"

#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_SECONDS = 600 }; /* a hang must fail, a slow sanitizer run must not */

/* Needles of `file`; NULL: made ones. */
static struct qk_session *open_sides(const char *pre, const char *post, const char *file)
{
    struct qk_session *session;
    struct qk_error err = {0};
    expect_ok(qk_session_open(pre, post, 1, &session, &err), &err);
    assert_int_equal(qk_session_needles_state(session)->stage, QK_NEEDLES_OFF);
    expect_ok(qk_session_needles(session, file, &err), &err);
    assert_int_equal(qk_session_needles_state(session)->stage, QK_NEEDLES_RUNNING);
    return session;
}

/* A few short prompts that 'qkscope cases needle' made. */
enum { SHORT_PROMPTS = 6 };
static struct qk_session *open_demo(void)
{
    char pre[PATH_SIZE], post[PATH_SIZE], file[PATH_SIZE];
    return open_sides(demo_path(pre, "pre"), demo_path(post, "post"), data_path(file, "needle/short.jsonl"));
}

static void wait_for_event(struct qk_session *session)
{
    struct pollfd fd = {.fd = qk_session_event_fd(session), .events = POLLIN};
    assert_true(poll(&fd, 1, WAIT_SECONDS * 1000) > 0);
    assert_true(qk_session_poll(session));
}

static enum qk_needles_stage wait_for_passes(struct qk_session *session)
{
    while (qk_session_needles_state(session)->stage == QK_NEEDLES_RUNNING)
        wait_for_event(session);
    return qk_session_needles_state(session)->stage;
}

static struct qk_session_needle wait_for(struct qk_session *session, int layer, enum qk_current_range what)
{
    struct qk_session_needle needle;
    while (!qk_session_needle(session, layer, &needle) ||
           (needle.current_is != what && needle.current_is != QK_CURRENT_EXACT)) {
        assert_int_not_equal(needle.current_is, QK_CURRENT_FAILED);
        wait_for_event(session);
    }
    return needle;
}

static void choose_heads(struct qk_session *session, enum qk_head_kind of, int first, int last)
{
    const struct qk_head_run run = {of, first, last};
    struct qk_error err = {0};
    expect_ok(
        qk_session_choose_heads(session, 7, &run, 1, (struct qk_choice){QK_RESTORE, 0}, NULL, &err), &err);
}

static void expect_same(const struct qk_needle_layer *found, const struct qk_needle_layer *expected)
{
    size_t n = (size_t)expected->n_heads * expected->n_needles;
    assert_int_equal(found->n_heads, expected->n_heads);
    assert_int_equal(found->n_needles, expected->n_needles);
    assert_memory_equal(found->mass, expected->mass, n * sizeof *found->mass);
    assert_memory_equal(found->copies, expected->copies, n * sizeof *found->copies);
}

/* The command's own way to the same numbers. */
static void measure(struct qk_session *session, struct qk_needle_pair *out)
{
    struct qk_needle_prompts prompts = {0};
    struct qk_tokenizer *tokenizer;
    struct qk_error err = {0};
    char post[PATH_SIZE], file[PATH_SIZE];
    expect_ok(qk_tokenizer_open(demo_path(post, "post"), &tokenizer, &err), &err);
    expect_ok(qk_needle_prompts_open(data_path(file, "needle/short.jsonl"), tokenizer, &prompts, &err), &err);
    expect_ok(qk_needle_measure(qk_session_pair(session), &prompts.needles, qk_session_selection(session),
                  qk_session_norms(session), 0, NULL, out, &err),
        &err);
    qk_needle_prompts_free(&prompts);
    qk_tokenizer_free(tokenizer);
}

static void test_masses_arrive(void **state)
{
    (void)state;
    struct qk_session *session = open_demo();
    struct qk_needle_pair expected;
    struct qk_session_needle needle;
    assert_false(qk_session_needle(session, 7, &needle));
    assert_null(qk_session_needle_numbers(session));
    assert_int_equal(wait_for_passes(session), QK_NEEDLES_READY);
    const struct qk_needles_state *now = qk_session_needles_state(session);
    assert_true(now->done == now->total && now->total > 0 && now->fetches);
    assert_int_equal(now->needles->n, SHORT_PROMPTS);
    assert_int_equal(now->kept->needles.n, SHORT_PROMPTS); /* a small model keeps all */
    measure(session, &expected);
    for (int i = 0; i < expected.n_layers; i++) {
        assert_true(qk_session_needle(session, i, &needle));
        for (int s = 0; s < QK_SIDE_COUNT; s++)
            expect_same(needle.side[s], &expected.side[s][i]);
        expect_same(needle.restored, &expected.restored[i]);
        assert_int_equal(needle.current_is, QK_CURRENT_POST);
        assert_ptr_equal(needle.current, needle.side[QK_POST]);
        assert_true(i == 7 || qk_needle_mass(needle.side[QK_PRE], needle.largest).mean < 0.2);
    }
    /* the two heads that the measurements of the pair's README name */
    assert_true(qk_session_needle(session, 7, &needle));
    assert_int_equal(needle.largest, 1);
    assert_int_equal(needle.largest_drop, 2);
    for (int h = 1; h <= 2; h++) {
        assert_true(qk_needle_mass(needle.side[QK_PRE], h).mean > 0.75);
        assert_true(qk_needle_drop(needle.side[QK_PRE], needle.side[QK_POST], h).mean > 0.05);
        assert_true(qk_session_needle_numbers(session)[7].value[QK_HEAD_DROP][h] > 0.05);
    }
    qk_needle_pair_free(&expected);
    qk_session_close(session);
}

/* The mean mass of 7/q1 and 7/q2 in current. */
static double current_mass(const struct qk_session_needle *needle, int head)
{
    return qk_needle_mass(needle->current, head).mean;
}

static void test_current_follows_heads(void **state)
{
    (void)state;
    struct qk_session *session = open_demo();
    const int visible[] = {7};
    qk_session_want(session, 7, visible, 1);
    choose_heads(session, QK_HEAD_Q, 1, 1); /* before there are numbers */
    struct qk_session_needle needle = wait_for(session, 7, QK_CURRENT_SAME);
    double post[2] = {
        qk_needle_mass(needle.side[QK_POST], 1).mean, qk_needle_mass(needle.side[QK_POST], 2).mean};
    assert_true(current_mass(&needle, 1) - post[0] > 1e-3); /* its own row changed, and no other head's */
    assert_true(fabs(current_mass(&needle, 2) - post[1]) < 1e-6); /* float32 products of other blocks */
    choose_heads(session, QK_HEAD_GROUP, 0, 0);
    assert_true(qk_session_needle(session, 7, &needle));
    assert_int_equal(needle.current_is, QK_CURRENT_PENDING);
    assert_null(needle.current);
    choose_heads(session, QK_HEAD_GROUP, 1, 1);
    /* all heads are the layer, which is measured already */
    assert_true(qk_session_needle(session, 7, &needle));
    assert_int_equal(needle.current_is, QK_CURRENT_SAME);
    assert_ptr_equal(needle.current, needle.restored);
    assert_true(qk_session_undo(session, NULL));
    needle = wait_for(session, 10, QK_CURRENT_EXACT); /* a layer behind it has other inputs now */
    needle = wait_for(session, 7, QK_CURRENT_EXACT);
    struct qk_needle_pair expected;
    measure(session, &expected);
    expect_same(needle.current, &expected.current[7]);
    qk_needle_pair_free(&expected);
    while (qk_session_undo(session, NULL))
        ;
    assert_true(qk_session_needle(session, 7, &needle));
    assert_int_equal(needle.current_is, QK_CURRENT_POST);
    qk_session_close(session);
}

static void test_selectors(void **state)
{
    (void)state;
    if (test_is_brief())
        return;
    struct qk_session *session = open_demo();
    struct qk_error err = {0};
    int found[64], n;
    enum qk_code code = qk_session_set(session, "drop>0.05=restore", NULL, &err);
    expect_failure(code, &err, QK_USAGE, "not known");
    assert_int_equal(wait_for_passes(session), QK_NEEDLES_READY);
    expect_ok(qk_session_find(session, "needle>0.5", found, &n, &err), &err);
    assert_true(n == 1 && found[0] == 7);
    expect_ok(qk_session_set(session, "drop>0.065=restore", NULL, &err), &err);
    const struct qk_layer_choice *choice = &qk_session_selection(session)->choice[7];
    for (int h = 0; h < 4; h++)
        assert_int_equal(qk_layer_choice_of(choice, QK_Q, h).mode, h == 1 || h == 2 ? QK_RESTORE : QK_KEEP);
    qk_session_close(session);
}

static void test_suggestion(void **state)
{
    (void)state;
    if (test_is_brief())
        return;
    struct qk_session *session = open_demo();
    const struct qk_suggestion *found;
    struct qk_error err = {0};
    expect_failure(qk_session_suggest(session, &found, &err), &err, QK_USAGE, "no needle masses");
    assert_int_equal(wait_for_passes(session), QK_NEEDLES_READY);
    expect_ok(qk_session_suggest(session, &found, &err), &err);
    assert_true(found->n >= 1 && found->recall.n > 0 && found->verdict != NULL);
    expect_ok(qk_session_select(session, &found->proposal[found->n - 1].selection, "QK-Restore", &err), &err);
    for (int i = 1; i <= 10; i += 3) /* the softmax layers */
        assert_int_equal(qk_session_selection(session)->choice[i].role[QK_K].mode, QK_RESTORE);
    qk_session_close(session);
}

static const float *wait_for_row(struct qk_session *session, int head, size_t query, enum qk_range_side side)
{
    const float *row;
    while ((row = qk_session_needle_row(session, 7, head, query, side)) == NULL)
        wait_for_event(session);
    return row;
}

/* The attention on the text adds up to the mass of that prompt. */
static void test_rows(void **state)
{
    (void)state;
    struct qk_session *session = open_demo();
    struct qk_session_needle needle;
    assert_int_equal(qk_session_needle_shown(session), -1);
    assert_null(qk_session_needle_row(session, 7, 0, 0, QK_RANGE_PRE));
    assert_int_equal(wait_for_passes(session), QK_NEEDLES_READY);
    int shown = qk_session_needle_shown(session);
    assert_true(shown >= 0 && qk_session_needle(session, 7, &needle));
    const struct qk_needle *of = &qk_session_needles_state(session)->kept->needles.item[shown];
    size_t column = qk_session_needles_state(session)->kept->item[shown], n;
    double mass = 0;
    for (size_t j = 0; j < of->n_answer; j++) {
        const float *row = wait_for_row(session, 1, of->query[j], QK_RANGE_POST);
        mass += (double)row[of->place[j]] + (double)row[of->place[j] - 1];
        assert_non_null(wait_for_row(session, 1, of->query[j], QK_RANGE_PRE));
    }
    double expected = needle.side[QK_POST]->mass[1 * needle.side[QK_POST]->n_needles + column];
    assert_true(fabs(mass / (double)of->n_answer - expected) < 1e-5); /* float32 rows of other blocks */
    assert_non_null(qk_session_needle_piece(session, of->place[0], &n));
    assert_null(qk_session_needle_piece(session, of->T, &n));
    assert_null(qk_session_needle_row(session, 7, 0, of->T, QK_RANGE_PRE));
    assert_ptr_equal(qk_session_needle_row(session, 7, 1, of->query[of->n_answer - 1], QK_RANGE_CURRENT),
        qk_session_needle_row(session, 7, 1, of->query[of->n_answer - 1], QK_RANGE_POST));
    assert_null(qk_session_needle_row_error(session));
    qk_session_close(session);
}

static void test_cancel(void **state)
{
    (void)state;
    char pre[PATH_SIZE], post[PATH_SIZE], file[PATH_SIZE];
    struct qk_session *session = open_sides(demo_path(pre, "pre"), demo_path(post, "post"), NULL);
    struct qk_error err = {0};
    data_path(file, "needle/short.jsonl");
    qk_session_needles_cancel(session);
    assert_int_equal(wait_for_passes(session), QK_NEEDLES_CANCELLED);
    expect_ok(qk_session_needles(session, NULL, &err), &err);
    expect_ok(qk_session_needles(session, file, &err), &err); /* replaces the one before */
    assert_int_equal(wait_for_passes(session), QK_NEEDLES_READY);
    assert_int_equal(qk_session_needles_state(session)->needles->n, SHORT_PROMPTS);
    expect_ok(qk_session_needles(session, file, &err), &err);
    qk_session_close(session); /* in the midst */
}

static void test_reasons(void **state)
{
    struct qk_session *session;
    char pre[PATH_SIZE], post[PATH_SIZE], folder[PATH_SIZE];
    copy_pair_without_pass(*state);
    session = open_sides(path_in(pre, *state, "pre"), path_in(post, *state, "post"), NULL);
    assert_int_equal(wait_for_passes(session), QK_NEEDLES_FAILED);
    assert_non_null(strstr(qk_session_needles_state(session)->error, "no forward pass"));
    qk_session_close(session);
    write_llama(path_in(folder, *state, "model"), "model.layers.", 2, 1);
    session = open_sides(folder, folder, NULL);
    assert_int_equal(wait_for_passes(session), QK_NEEDLES_FAILED);
    assert_non_null(strstr(qk_session_needles_state(session)->error, "tokenizer"));
    qk_session_close(session);
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_masses_arrive),
        cmocka_unit_test(test_current_follows_heads),
        cmocka_unit_test(test_selectors),
        cmocka_unit_test(test_suggestion),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_cancel),
        test_in_folder(test_reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
