/* test_session.c - the live pair without a screen: background numbers, choices, the current model, export. */
#include "session/choices.h"
#include "session/layers.h"
#include "session/task.h"

#include "base/blas.h"
#include "helper.h"

#include <math.h>
#include <poll.h>
#include <string.h>

enum { WAIT_SECONDS = 600 }; /* a hang must fail, a slow sanitizer run must not */

static struct qk_session *open_demo(int threads)
{
    char pre[PATH_SIZE], post[PATH_SIZE];
    struct qk_session *session;
    struct qk_error err = {0};
    expect_ok(qk_session_open(demo_path(pre, "pre"), demo_path(post, "post"), threads, &session, &err), &err);
    return session;
}

static void wait_for_event(struct qk_session *session)
{
    struct pollfd fd = {.fd = qk_session_event_fd(session), .events = POLLIN};
    assert_true(poll(&fd, 1, WAIT_SECONDS * 1000) > 0);
    assert_true(qk_session_poll(session));
}

/* What is shown of a layer never goes back; its norms are there before the rest. */
static void check_stages(const struct qk_session *session, enum qk_drift_state *seen)
{
    for (int i = 0; i < qk_session_pair(session)->n_layers; i++) {
        enum qk_drift_state now = qk_session_layer_state(session, i);
        const struct qk_layer_drift *drift = qk_session_drift(session, i);
        assert_true(now >= seen[i] && now != QK_LAYER_FAILED);
        assert_true((drift != NULL) == (now >= QK_LAYER_NORMS));
        if (drift != NULL) {
            assert_true(drift->norms_only == (now == QK_LAYER_NORMS));
            assert_true(isfinite(drift->role[QK_Q].rel_fro));
            assert_true(isfinite(drift->routing_rel_fro) == (now == QK_LAYER_READY));
        }
        seen[i] = now;
    }
}

static void wait_for_drift(struct qk_session *session)
{
    enum { LAYERS = 64 };
    enum qk_drift_state seen[LAYERS] = {QK_LAYER_WAITING};
    int done, total;
    assert_true(qk_session_pair(session)->n_layers <= LAYERS);
    for (qk_session_done(session, &done, &total); done < total; qk_session_done(session, &done, &total)) {
        wait_for_event(session);
        check_stages(session, seen);
    }
}

static const struct qk_current *wait_for_current(struct qk_session *session, int layer)
{
    while (qk_session_current(session, layer) == NULL) {
        assert_null(qk_session_current_error(session, layer));
        wait_for_event(session);
    }
    return qk_session_current(session, layer);
}

static void choose(struct qk_session *session, int layer, int role, enum qk_mode mode, double param)
{
    struct qk_error err = {0};
    assert_int_equal(
        qk_session_choose(session, &layer, 1, role, (struct qk_choice){mode, param}, NULL, &err), QK_OK);
}

static void finish_task(struct qk_session *session)
{
    while (qk_session_task(session)->running)
        wait_for_event(session);
}

static void test_numbers_arrive(void **state)
{
    (void)state;
    struct qk_session *session = open_demo(2);
    int done, total;
    qk_session_done(session, &done, &total);
    assert_int_equal(done, 0); /* nothing is known before the first poll */
    assert_int_equal(total, 12);
    wait_for_drift(session);
    for (int i = 0; i < total; i++) {
        struct qk_layer_drift direct;
        struct qk_error err = {0};
        assert_int_equal(qk_session_layer_state(session, i), QK_LAYER_READY);
        assert_int_equal(qk_drift_pair_layer(qk_session_pair(session), i, false, NULL, &direct, &err), QK_OK);
        assert_true(qk_session_drift(session, i)->routing_rel_fro == direct.routing_rel_fro);
        qk_layer_drift_free(&direct);
    }
    qk_session_recompute(session, true);
    assert_int_equal(qk_session_layer_state(session, 3), QK_LAYER_WAITING);
    wait_for_drift(session);
    assert_true(qk_session_effective(session));
    qk_session_close(session);
}

static void test_restored_layer_is_pre(void **state)
{
    (void)state;
    struct qk_session *session = open_demo(2);
    choose(session, 7, -1, QK_RESTORE, 0);
    const struct qk_current *current = wait_for_current(session, 7);
    assert_true(current->against[QK_PRE].routing_rel_fro == 0.0);
    assert_true(current->against[QK_PRE].role[QK_Q].rel_fro == 0.0);
    assert_true(current->against[QK_POST].role[QK_Q].rel_fro > 0.05);
    assert_null(qk_session_current(session, 4)); /* kept: nothing to compute */
    qk_session_close(session);
}

static void test_current_follows_the_newest_choice(void **state)
{
    (void)state;
    struct qk_session *session = open_demo(2);
    for (int i = 0; i <= 20; i++)
        choose(session, 7, -1, QK_LERP, i / 20.0);
    choose(session, 7, -1, QK_LERP, 0.25);
    const struct qk_current *current = wait_for_current(session, 7);
    assert_true(current->choice.role[QK_Q].param == 0.25);
    wait_for_drift(session);
    /* a quarter of the way back: three quarters of the drift, but for rounding to bfloat16 (2^-9 of a value
     * against a drift of a tenth of it) */
    double whole = qk_session_drift(session, 7)->role[QK_K].rel_fro;
    assert_true(fabs(current->against[QK_PRE].role[QK_K].rel_fro / whole - 0.75) < 0.01);
    qk_session_close(session);
}

static void test_undo_redo_and_unsaved(void **state)
{
    (void)state;
    struct qk_session *session = open_demo(1);
    const int layers[] = {1, 4, 7, 10};
    struct qk_error err = {0};
    const char *label;
    int changed;
    assert_false(qk_session_unsaved(session));
    assert_int_equal(
        qk_session_choose(session, layers, 4, QK_Q, (struct qk_choice){QK_RESTORE, 0}, &changed, &err),
        QK_OK);
    assert_int_equal(changed, 4);
    assert_int_equal(qk_session_undo_depth(session), 1);
    assert_true(qk_session_unsaved(session));
    assert_int_equal(qk_session_set(session, "full:k=lerp:0.5", &changed, &err), QK_OK);
    assert_int_equal(changed, 4);
    assert_true(qk_session_undo(session, &label));
    assert_string_equal(label, "full:k=lerp:0.5");
    assert_int_equal(qk_session_selection(session)->choice[4].role[QK_K].mode, QK_KEEP);
    assert_int_equal(qk_session_selection(session)->choice[4].role[QK_Q].mode, QK_RESTORE);
    assert_true(qk_session_undo(session, &label));
    assert_false(qk_session_undo(session, &label));
    assert_false(qk_session_unsaved(session));
    assert_true(qk_session_redo(session, &label));
    assert_true(qk_session_redo(session, &label));
    assert_false(qk_session_redo(session, &label));
    assert_int_equal(qk_session_selection(session)->choice[10].role[QK_K].mode, QK_LERP);
    assert_int_equal(qk_session_set(session, "1=lerp:2", &changed, &err), QK_USAGE);
    assert_int_equal(qk_session_undo_depth(session), 2);
    qk_session_close(session);
}

/* Heads are one edit, whose numbers follow. */
static void test_heads(void **state)
{
    (void)state;
    struct qk_session *session = open_demo(2);
    const struct qk_head_run runs[] = {{QK_HEAD_Q, 1, 2}, {QK_HEAD_K, 0, 0}}, group = {QK_HEAD_GROUP, 0, 0},
                             beyond = {QK_HEAD_Q, 4, 4};
    const struct qk_choice restore = {QK_RESTORE, 0}, pro = {QK_QKPRO, 0.3};
    struct qk_error err = {0};
    const char *label;
    int changed = -1;
    expect_ok(qk_session_choose_heads(session, 7, runs, 2, restore, &changed, &err), &err);
    assert_int_equal(changed, 1);
    const struct qk_current *current = wait_for_current(session, 7);
    const struct qk_role_drift *q = &current->against[QK_PRE].role[QK_Q];
    assert_true(q->head[1].rel_fro == 0 && q->head[2].rel_fro == 0 && q->head[0].rel_fro > 0);
    assert_true(current->against[QK_POST].role[QK_Q].head[0].rel_fro == 0);
    assert_true(current->against[QK_PRE].role[QK_K].head[0].rel_fro == 0);
    expect_ok(qk_session_choose_heads(session, 7, &group, 1, pro, &changed, &err), &err);
    current = wait_for_current(session, 7);
    assert_true(qk_layer_choice_of(&current->choice, QK_Q, 0).mode == QK_QKPRO);
    expect_failure(qk_session_choose_heads(session, 7, &beyond, 1, restore, &changed, &err), &err, QK_USAGE,
        "layer 7 has 4 query heads");
    assert_true(qk_session_undo(session, &label));
    assert_string_equal(label, "qk-pro 0.3 g0 of layer 7");
    assert_true(qk_session_undo(session, &label));
    assert_string_equal(label, "restore q1-2,k0 of layer 7");
    assert_false(qk_session_unsaved(session));
    qk_session_close(session);
}

/* A recipe and an export store the norms, too. */
static void test_unsaved_norms(void **state)
{
    char path[PATH_SIZE], target[PATH_SIZE];
    struct qk_session *session = open_demo(1);
    struct qk_error err = {0};
    qk_session_set_norms(session, true);
    assert_false(qk_session_unsaved(session)); /* nothing is chosen whose norms could go along */
    choose(session, 7, -1, QK_RESTORE, 0);
    expect_ok(qk_session_save_recipe(session, path_in(path, *state, "recipe.json"), &err), &err);
    assert_false(qk_session_unsaved(session));
    qk_session_set_norms(session, false);
    assert_true(qk_session_unsaved(session));
    qk_session_set_norms(session, true);
    assert_false(qk_session_unsaved(session));
    const struct qk_export_options options = {.target = path_in(target, *state, "out"), .norms = true};
    expect_ok(qk_session_export(session, &options, &err), &err);
    qk_session_set_norms(session, false); /* does not reach the export */
    finish_task(session);
    expect_ok(qk_session_task(session)->error.code, &qk_session_task(session)->error);
    assert_true(qk_session_unsaved(session));
    expect_ok(qk_session_load_recipe(session, path, false, &err), &err);
    assert_true(qk_session_norms(session));
    assert_false(qk_session_unsaved(session));
    qk_session_close(session);
}

static void test_metric_tests_need_the_numbers(void **state)
{
    (void)state;
    struct qk_session *session = open_demo(1);
    struct qk_error err = {0};
    int changed;
    assert_int_equal(qk_session_set(session, "routing>0.15=restore", &changed, &err), QK_USAGE);
    wait_for_drift(session);
    assert_int_equal(qk_session_set(session, "routing>0.15=restore", &changed, &err), QK_OK);
    assert_int_equal(changed, 3); /* layers 6, 7, 11: drift.json */
    qk_session_close(session);
}

static void test_export_verify_and_cancel(void **state)
{
    char target[PATH_SIZE];
    path_in(target, *state, "out");
    struct qk_session *session = open_demo(2);
    struct qk_error err = {0};
    assert_int_equal(qk_session_set(session, "full=restore", NULL, &err), QK_OK);
    struct qk_export_manifest manifest;
    const struct qk_export_options options = {.target = target};
    assert_int_equal(qk_session_manifest(session, &options, &manifest, &err), QK_OK);
    assert_int_equal(manifest.n_changes, 8);
    qk_export_manifest_free(&manifest);
    assert_int_equal(qk_session_export(session, &options, &err), QK_OK);
    assert_int_equal(qk_session_verify(session, target, &err), QK_USAGE); /* one at a time */
    finish_task(session);
    assert_int_equal(qk_session_task(session)->error.code, QK_OK);
    assert_false(qk_session_unsaved(session));
    assert_int_equal(qk_session_verify(session, target, &err), QK_OK);
    finish_task(session);
    assert_int_equal(qk_session_task(session)->error.code, QK_OK);
    assert_int_equal(qk_session_export(session, &options, &err), QK_OK); /* exists: the task fails */
    finish_task(session);
    assert_int_not_equal(qk_session_task(session)->error.code, QK_OK);
    qk_session_close(session);
}

/* Closing while everything runs must neither hang nor leak (the sanitizer run sees a leak). */
static void test_close_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct qk_session *session = open_demo(3);
        const int all[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
        struct qk_error err = {0};
        qk_session_want(session, 7, all + 4, 4);
        qk_session_choose(session, all, 12, -1, (struct qk_choice){QK_PROCRUSTES, 0.5}, NULL, &err);
        if (i % 2)
            wait_for_event(session);
        qk_session_close(session);
    }
}

static void test_open_failure(void **state)
{
    (void)state;
    struct qk_session *session;
    struct qk_error err = {0};
    char post[PATH_SIZE];
    expect_failure(qk_session_open("/nonexistent", demo_path(post, "post"), 1, &session, &err), &err, QK_IO,
        "/nonexistent");
    assert_null(session);
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_arrive),
        cmocka_unit_test(test_restored_layer_is_pre),
        cmocka_unit_test(test_current_follows_the_newest_choice),
        cmocka_unit_test(test_undo_redo_and_unsaved),
        cmocka_unit_test(test_heads),
        test_in_folder(test_unsaved_norms),
        cmocka_unit_test(test_metric_tests_need_the_numbers),
        test_in_folder(test_export_verify_and_cancel),
        cmocka_unit_test(test_close_at_once),
        cmocka_unit_test(test_open_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
