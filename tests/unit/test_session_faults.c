/* test_session_faults.c - a live pair whose threads run out of memory, or cannot start: nothing waits for ever, and
 * the events of a freed run change no other run.
 *
 * The linker puts the wrappers below between the program and the C library (Makefile.am). They fail on demand:
 * memory in every thread but the test's own, threads in this one. */
#include "session/choices.h"
#include "session/evaluation.h"
#include "session/layers.h"
#include "session/range_thread.h"
#include "session/search.h"
#include "session/task.h"

#include "base/blas.h"
#include "models.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_SECONDS = 120 }; /* a hang must fail, a slow sanitizer run must not */

/* --- what fails --- */

static pthread_t tester;
static atomic_long calls;        /* for memory, by other threads, since arm() */
static atomic_long first_failed; /* this call fails; 0: none */
static atomic_bool lasting;      /* and all that follow */
static atomic_bool failed;       /* a call has failed */
static int threads_left = -1;    /* how many can be started before one cannot; -1: any number */

static bool fails(void)
{
    if (atomic_load(&first_failed) == 0 || pthread_equal(pthread_self(), tester))
        return false;
    long call = atomic_fetch_add(&calls, 1) + 1, first = atomic_load(&first_failed);
    if (call != first && !(atomic_load(&lasting) && call > first))
        return false;
    atomic_store(&failed, true);
    errno = ENOMEM;
    return true;
}

static void arm(long call, bool lasts)
{
    atomic_store(&calls, 0);
    atomic_store(&lasting, lasts);
    atomic_store(&first_failed, call);
}

/* The last probe's run. With `reuse` the next one gets the same address, for any allocator. */
static void *_Atomic last_run;
static atomic_bool reuse, run_free;
static atomic_int n_freed;

#define WRAP(type, name, ...)                                                                                \
    type __real_##name(__VA_ARGS__);                                                                         \
    type __wrap_##name(__VA_ARGS__);                                                                         \
    type __wrap_##name(__VA_ARGS__)

WRAP(void *, malloc, size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

WRAP(void *, calloc, size_t n, size_t size)
{
    if (fails())
        return NULL;
    bool run = n * size == sizeof(struct range_run) && pthread_equal(pthread_self(), tester);
    if (!run)
        return __real_calloc(n, size);
    if (run_free)
        memset(last_run, 0, size);
    else
        last_run = __real_calloc(n, size);
    run_free = false;
    return last_run;
}

WRAP(void *, realloc, void *block, size_t n)
{
    return fails() ? NULL : __real_realloc(block, n);
}

WRAP(void *, aligned_alloc, size_t alignment, size_t n)
{
    return fails() ? NULL : __real_aligned_alloc(alignment, n);
}

WRAP(char *, strdup, const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

WRAP(void, free, void *block)
{
    if (block == NULL || block != last_run || run_free) {
        __real_free(block);
        return;
    }
    n_freed++;
    run_free = reuse;
    if (!reuse) {
        last_run = NULL;
        __real_free(block);
    }
}

WRAP(int, pthread_create, pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
    void *argument)
{
    if (pthread_equal(pthread_self(), tester) && threads_left >= 0 && threads_left-- == 0)
        return EAGAIN;
    return __real_pthread_create(thread, attributes, run, argument);
}

/* Calls the test with memory failing at call 1, 2, 4, 8, ... until there are not so many calls: that call alone, then
 * all from it on. */
static void at_many_calls(void (*test)(const char *folder), const char *folder)
{
    enum { MOST = 1 << 24 };
    for (int lasts = 0; lasts < 2; lasts++) {
        long call = 1;
        do {
            atomic_store(&failed, false);
            arm(call, lasts == 1);
            test(folder);
            arm(0, false);
            call *= 2;
        } while (atomic_load(&failed) && call < MOST);
        assert_true(call > 2 && call < MOST);
    }
}

/* --- the session --- */

enum { LAYERS = 12, LENGTH = 64 }; /* of the demo pair, of its probe */

static struct qk_session *open_demo(void)
{
    char pre[PATH_SIZE], post[PATH_SIZE];
    struct qk_session *session;
    struct qk_error err = {0};
    expect_ok(qk_session_open(demo_path(pre, "pre"), demo_path(post, "post"), 2, &session, &err), &err);
    return session;
}

static void wait_for_event(struct qk_session *session)
{
    struct pollfd fd = {.fd = qk_session_event_fd(session), .events = POLLIN};
    assert_true(poll(&fd, 1, WAIT_SECONDS * 1000) > 0);
    assert_true(qk_session_poll(session));
}

static void wait_for_drift(struct qk_session *session)
{
    int done, total;
    for (qk_session_done(session, &done, &total); done < total; qk_session_done(session, &done, &total))
        wait_for_event(session);
}

static void choose(struct qk_session *session, int layer, enum qk_mode mode)
{
    struct qk_error err = {0};
    const struct qk_choice choice = {mode, 0.5};
    expect_ok(qk_session_choose(session, &layer, 1, -1, choice, NULL, &err), &err);
}

static void wait_for_task(struct qk_session *session)
{
    while (qk_session_task(session)->running)
        wait_for_event(session);
}

/* --- without memory --- */

static void wait_for_current(struct qk_session *session, int layer)
{
    while (qk_session_current(session, layer) == NULL && qk_session_current_error(session, layer) == NULL)
        wait_for_event(session);
}

static void check_layers(const char *folder)
{
    (void)folder;
    struct qk_session *session = open_demo();
    choose(session, 7, QK_LERP);
    wait_for_drift(session);
    wait_for_current(session, 7);
    for (int i = 0; i < LAYERS; i++) {
        bool ready = qk_session_layer_state(session, i) == QK_LAYER_READY;
        assert_true(ready == (qk_session_layer_error(session, i) == NULL));
        if (!ready)
            assert_non_null(strstr(qk_session_layer_error(session, i), "out of memory"));
    }
    arm(0, false);
    qk_session_recompute(session, false); /* with memory all is well again */
    wait_for_drift(session);
    wait_for_current(session, 7);
    for (int i = 0; i < LAYERS; i++)
        assert_int_equal(qk_session_layer_state(session, i), QK_LAYER_READY);
    assert_non_null(qk_session_current(session, 7));
    qk_session_close(session);
}

static void test_layers_without_memory(void **state)
{
    at_many_calls(check_layers, *state);
}

/* The ranges of a layer that is chosen, once nothing more is to come. */
static struct qk_session_range wait_for_range(struct qk_session *session, int layer)
{
    struct qk_session_range range;
    const struct qk_probe_state *probe = qk_session_probe_state(session);
    while (!qk_session_range(session, layer, &range) || range.current_is == QK_CURRENT_PENDING)
        wait_for_event(session);
    while (range.current_is != QK_CURRENT_EXACT && probe->exact.error == NULL) {
        wait_for_event(session);
        assert_true(qk_session_range(session, layer, &range));
    }
    return range;
}

static void check_ranges(const char *folder)
{
    const struct qk_probe_options options = {.length = LENGTH};
    struct qk_session *session = open_demo();
    struct qk_error err = {0};
    (void)folder;
    choose(session, 7, QK_RESTORE);
    expect_ok(qk_session_probe(session, &options, &err), &err);
    const struct qk_probe_state *probe = qk_session_probe_state(session);
    while (probe->stage == QK_PROBE_RUNNING)
        wait_for_event(session);
    if (probe->stage == QK_PROBE_READY) {
        assert_int_equal(probe->n_ids, LENGTH);
        struct qk_session_range range = wait_for_range(session, 7);
        assert_true((range.current_is == QK_CURRENT_FAILED) == (range.current == NULL));
        assert_true((range.current_is == QK_CURRENT_FAILED) == (range.current_error != NULL));
        while (qk_session_attention_row(session, 7, 0, 3, QK_RANGE_CURRENT) == NULL &&
               qk_session_attention_error(session) == NULL)
            wait_for_event(session);
    } else {
        assert_int_equal(probe->stage, QK_PROBE_FAILED);
        assert_non_null(strstr(probe->error, "out of memory"));
    }
    qk_session_close(session);
}

static void test_ranges_without_memory(void **state)
{
    at_many_calls(check_ranges, *state);
}

static void check_profiles(const char *folder)
{
    char pre[PATH_SIZE], post[PATH_SIZE];
    struct qk_session *session;
    struct qk_error err = {0};
    expect_ok(
        qk_session_open(path_in(pre, folder, "pre"), path_in(post, folder, "post"), 2, &session, &err), &err);
    expect_ok(qk_session_probe(session, NULL, &err), &err);
    const struct qk_probe_state *probe = qk_session_probe_state(session);
    while (probe->stage == QK_PROBE_RUNNING)
        wait_for_event(session);
    assert_int_equal(probe->stage, QK_PROBE_FAILED);
    for (int i = 0; probe->estimated && i < qk_session_pair(session)->n_layers; i++)
        while (qk_probe_has_profile(qk_session_pair(session), i) &&
               qk_session_profile(session, i, QK_POST) == NULL && qk_session_range_error(session, i) == NULL)
            wait_for_event(session);
    qk_session_close(session);
}

static void test_profiles_without_memory(void **state)
{
    copy_pair_without_pass(*state);
    at_many_calls(check_profiles, *state);
}

/* Two tasks of few short cases. */
static void write_cases(const char *folder)
{
    char path[PATH_SIZE];
    write_text(path_in(path, folder, "cases.jsonl"),
        "{\"task\": \"a\", \"prompt\": \"one two\", \"answer\": \"three\"}\n"
        "{\"task\": \"b\", \"prompt\": \"four five\", \"answer\": \"six\"}\n");
}

static void wait_for_search(struct qk_session *session)
{
    struct qk_error err = {0};
    const struct qk_search_state *search = qk_session_search_state(session);
    if (qk_session_search(session, &(struct qk_search_limits){.max_trials = 5}, &err) != QK_OK) {
        assert_non_null(strstr(err.text, "out of memory"));
        return;
    }
    while (search->stage == QK_SEARCH_RUNNING)
        wait_for_event(session);
    if (search->stage == QK_SEARCH_FAILED)
        assert_non_null(search->error);
}

static void check_evaluation(const char *folder)
{
    char path[PATH_SIZE];
    const char *const file[] = {path_in(path, folder, "cases.jsonl")};
    struct qk_session *session = open_demo();
    struct qk_error err = {0};
    choose(session, 7, QK_RESTORE);
    expect_ok(qk_session_evaluate(session, file, 1, true, &err), &err);
    const struct qk_evaluation_state *all = qk_session_evaluation(session);
    while (all->stage == QK_EVALUATION_OPENING)
        wait_for_event(session);
    if (all->stage == QK_EVALUATION_FAILED) {
        assert_non_null(strstr(all->error, "out of memory"));
        qk_session_close(session);
        return;
    }
    wait_for_search(session);
    choose(session, 10, QK_RESTORE);
    while (all->stage == QK_EVALUATION_RUNNING)
        wait_for_event(session);
    assert_int_equal(all->stage, QK_EVALUATION_READY);
    for (int who = 0; who < QK_ASKED_COUNT; who++) {
        assert_false(all->model[who].running);
        assert_true(all->model[who].n_known == all->n_cases || all->model[who].error != NULL);
    }
    qk_session_close(session);
}

static void test_evaluation_without_memory(void **state)
{
    write_cases(*state);
    at_many_calls(check_evaluation, *state);
}

static void check_task(const char *folder)
{
    char target[PATH_SIZE];
    const struct qk_export_options options = {.target = path_in(target, folder, "out")};
    struct qk_session *session = open_demo();
    struct qk_error err = {0};
    choose(session, 7, QK_RESTORE);
    expect_ok(qk_session_export(session, &options, &err), &err);
    wait_for_task(session);
    bool written = qk_session_task(session)->error.code == QK_OK;
    assert_true(qk_session_unsaved(session) == !written);
    expect_ok(qk_session_verify(session, target, &err), &err);
    wait_for_task(session);
    assert_int_equal(qk_session_task(session)->kind, QK_TASK_VERIFY);
    qk_session_close(session);
    if (written)
        remove_all(target);
}

static void test_task_without_memory(void **state)
{
    at_many_calls(check_task, *state);
}

/* --- without threads --- */

static void test_threads_that_cannot_start(void **state)
{
    char pre[PATH_SIZE], post[PATH_SIZE], target[PATH_SIZE], path[PATH_SIZE];
    const char *const file[] = {path_in(path, *state, "cases.jsonl")};
    const struct qk_export_options options = {.target = path_in(target, *state, "out")};
    struct qk_session *session;
    struct qk_error err = {0};
    for (int n = 0; n < 2; n++) {
        threads_left = n;
        expect_failure(qk_session_open(demo_path(pre, "pre"), demo_path(post, "post"), 2, &session, &err),
            &err, QK_IO, "cannot start a thread");
        assert_null(session);
    }
    write_cases(*state);
    session = open_demo();
    threads_left = 0;
    expect_failure(qk_session_evaluate(session, file, 1, true, &err), &err, QK_IO, "cannot start a thread");
    assert_int_equal(qk_session_evaluation(session)->stage, QK_EVALUATION_OFF);
    expect_ok(qk_session_evaluate(session, file, 1, true, &err), &err);
    choose(session, 7, QK_RESTORE);
    expect_ok(qk_session_export(session, &options, &err), &err);
    wait_for_task(session);
    threads_left = 0;
    expect_failure(qk_session_verify(session, target, &err), &err, QK_IO, "cannot start a thread");
    /* the record of the task before stays */
    assert_int_equal(qk_session_task(session)->kind, QK_TASK_EXPORT);
    assert_string_equal(qk_session_task(session)->target, target);
    expect_ok(qk_session_verify(session, target, &err), &err);
    wait_for_task(session);
    expect_ok(qk_session_task(session)->error.code, &qk_session_task(session)->error);
    qk_session_close(session);
}

/* --- late events --- */

/* The first thread of a run starts and the second cannot: the run is freed, and what it posted is still there when
 * another run has its address. */
static void test_events_of_a_freed_run(void **state)
{
    const struct qk_probe_options options = {.length = LENGTH};
    struct qk_session *session = open_demo();
    struct qk_error err = {0};
    (void)state;
    reuse = true;
    threads_left = 1;
    expect_failure(qk_session_probe(session, &options, &err), &err, QK_IO, "cannot start a thread");
    assert_true(run_free);
    assert_int_equal(qk_session_probe_state(session)->stage, QK_PROBE_OFF);
    expect_ok(qk_session_probe(session, &options, &err), &err);
    assert_false(run_free); /* it is there again */
    while (qk_session_probe_state(session)->stage == QK_PROBE_RUNNING)
        wait_for_event(session);
    assert_int_equal(qk_session_probe_state(session)->stage, QK_PROBE_READY);
    assert_int_equal(qk_session_probe_state(session)->n_ids, LENGTH);
    struct qk_session_range range;
    assert_true(qk_session_range(session, 7, &range));
    reuse = false;
    qk_session_close(session);
}

/* A run that was replaced is freed once its threads ended, not only with the session. */
static void test_replaced_run_is_freed(void **state)
{
    const struct qk_probe_options options = {.length = LENGTH};
    struct qk_session *session = open_demo();
    struct qk_error err = {0};
    (void)state;
    n_freed = 0;
    expect_ok(qk_session_probe(session, &options, &err), &err);
    const void *first = last_run;
    expect_ok(qk_session_probe(session, &options, &err), &err);
    assert_ptr_not_equal(first, last_run);
    last_run = (void *)(uintptr_t)first; /* the one whose end counts */
    while (n_freed == 0)
        wait_for_event(session);
    qk_session_close(session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers_without_memory),
        cmocka_unit_test(test_ranges_without_memory),
        cmocka_unit_test(test_profiles_without_memory),
        test_in_folder(test_evaluation_without_memory),
        test_in_folder(test_task_without_memory),
        test_in_folder(test_threads_that_cannot_start),
        cmocka_unit_test(test_events_of_a_freed_run),
        cmocka_unit_test(test_replaced_run_is_freed),
    };
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    tester = pthread_self();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
