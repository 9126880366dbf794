/* test_session_ranges.c - the attention ranges of a live pair: their arrival, their update after every choice, and
 * their end on request. */
#include "session/choices.h"
#include "session/layers.h"
#include "session/ranges.h"
#include "session/trials.h"

#include "base/blas.h"
#include "models.h"

#include <dirent.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_SECONDS = 600 }; /* a hang must fail, a slow sanitizer run must not */

static struct qk_session *open_demo(const struct qk_probe_options *options)
{
    char pre[PATH_SIZE], post[PATH_SIZE];
    struct qk_session *session;
    struct qk_error err = {0};
    expect_ok(qk_session_open(demo_path(pre, "pre"), demo_path(post, "post"), 1, &session, &err), &err);
    assert_int_equal(qk_session_probe_state(session)->stage, QK_PROBE_OFF);
    expect_ok(qk_session_probe(session, options, &err), &err);
    assert_int_equal(qk_session_probe_state(session)->stage, QK_PROBE_RUNNING);
    return session;
}

static void wait_for_event(struct qk_session *session)
{
    struct pollfd fd = {.fd = qk_session_event_fd(session), .events = POLLIN};
    assert_true(poll(&fd, 1, WAIT_SECONDS * 1000) > 0);
    assert_true(qk_session_poll(session));
}

static void wait_for_probe(struct qk_session *session)
{
    while (qk_session_probe_state(session)->stage == QK_PROBE_RUNNING)
        wait_for_event(session);
}

/* Until the layer's current numbers are on post's states, or exact: of a session that was not heard for long
 * these may be there already where the others were meant. */
static struct qk_session_range wait_for(struct qk_session *session, int layer, enum qk_current_range what)
{
    struct qk_session_range range;
    while (!qk_session_range(session, layer, &range) ||
           (range.current_is != what && range.current_is != QK_CURRENT_EXACT)) {
        assert_int_not_equal(range.current_is, QK_CURRENT_FAILED);
        wait_for_event(session);
    }
    return range;
}

static void choose(struct qk_session *session, int layer, enum qk_mode mode, double param)
{
    struct qk_error err = {0};
    expect_ok(qk_session_choose(session, &layer, 1, -1, (struct qk_choice){mode, param}, NULL, &err), &err);
}

/* Trials of choices give what these come to: keep the numbers that are there, restore no drift, and as little shift as
 * q and k leave. A probe that is replaced meanwhile stays as long as they use it. */
static void test_trials(void **state)
{
    (void)state;
    enum { LAYER = 7, TRIED = 3 };
    const struct qk_choice choice[TRIED] = {{QK_KEEP, 0}, {QK_RESTORE, 0}, {QK_LERP, 0.5}};
    struct qk_session *session = open_demo(NULL);
    struct qk_selection next[TRIED];
    struct qk_session_range range;
    struct qk_error err = {0};
    const int layer = LAYER;
    assert_int_equal(qk_session_trials(session)->n, 0);
    wait_for_probe(session);
    while (qk_session_layer_state(session, LAYER) != QK_LAYER_READY)
        wait_for_event(session);
    for (int i = 0; i < TRIED; i++)
        expect_ok(qk_session_would_choose(session, &layer, 1, -1, choice[i], &next[i], &err), &err);
    assert_int_equal(qk_selection_count(qk_session_selection(session)), 0); /* nothing is chosen by it */
    expect_ok(qk_session_try(session, &layer, 1, next, 1, &err), &err);     /* replaced at once */
    expect_ok(qk_session_try(session, &layer, 1, next, TRIED, &err), &err);
    const struct qk_trials *trials = qk_session_trials(session);
    assert_true(trials->ranges && trials->n == TRIED);
    while (trials->n_done < TRIED)
        wait_for_event(session);
    assert_null(trials->error);
    assert_true(qk_session_range(session, LAYER, &range));
    assert_true(trials->trial[0].routing == qk_session_drift(session, LAYER)->routing_rel_fro);
    assert_float_equal(trials->trial[0].shift, range.shift, 1e-12);
    assert_true(trials->trial[1].routing == 0.0);
    assert_true(trials->trial[1].shift > 0 && trials->trial[1].shift < range.shift / 10);
    assert_true(trials->trial[2].shift > trials->trial[1].shift && trials->trial[2].shift < range.shift);
    choose(session, LAYER, QK_LERP, 0.5);
    while (qk_session_current(session, LAYER) == NULL)
        wait_for_event(session);
    assert_true(
        trials->trial[2].routing == qk_session_current(session, LAYER)->against[QK_PRE].routing_rel_fro);
    expect_ok(qk_session_try(session, &layer, 1, next, TRIED, &err), &err);
    expect_ok(qk_session_probe(session, NULL, &err), &err);
    trials = qk_session_trials(session);
    while (trials->n_done < TRIED)
        wait_for_event(session);
    assert_float_equal(trials->trial[0].shift, range.shift, 1e-12);
    expect_ok(qk_session_try(session, NULL, 0, NULL, 0, &err), &err);
    assert_int_equal(qk_session_trials(session)->n, 0);
    expect_ok(qk_session_try(session, &layer, 1, next, TRIED, &err), &err); /* closing ends it */
    for (int i = 0; i < TRIED; i++)
        qk_selection_free(&next[i]);
    qk_session_close(session);
}

static void test_ranges_arrive(void **state)
{
    (void)state;
    struct qk_session *session = open_demo(NULL);
    struct qk_session_range range;
    assert_false(qk_session_range(session, 7, &range));
    wait_for_probe(session);
    const struct qk_probe_state *probe = qk_session_probe_state(session);
    assert_int_equal(probe->stage, QK_PROBE_READY);
    assert_null(probe->error);
    assert_int_equal(probe->origin, QK_ORIGIN_PASS);
    assert_in_range(probe->n_ids, 480, 512);
    assert_int_equal(probe->first_query, probe->n_ids / 2);
    assert_int_equal(probe->long_from, 128);
    assert_true(probe->done == probe->total && probe->total > 0);
    assert_int_equal(probe->linear_queries, probe->n_ids - probe->first_query); /* few: all count */
    double shift = 0;
    for (int i = 0; i < 12; i++) {
        assert_true(qk_session_range(session, i, &range));
        assert_null(qk_session_range_error(session, i));
        assert_int_equal(range.side[QK_PRE]->n_bins, probe->n_bins);
        assert_int_equal(range.current_is, QK_CURRENT_POST);
        assert_ptr_equal(range.current, range.side[QK_POST]);
        shift = fmax(shift, range.shift);
    }
    assert_true(qk_session_range(session, 7, &range) && range.shift == shift);
    size_t n;
    const char *piece = qk_session_probe_piece(session, 1, &n);
    assert_true(piece != NULL && n == 1 && piece[0] == 'T'); /* "The code of ..." behind BOS */
    assert_null(qk_session_probe_piece(session, probe->n_ids, &n));
    qk_session_close(session);
}

/* The same mean on the same states; when they are exact already, but for what float32 makes of another order.
 */
static void expect_mean(const struct qk_session_range *range, double mean)
{
    double found = range->current->layer.mean;
    assert_true(range->current_is == QK_CURRENT_EXACT ? fabs(found - mean) < 1e-6 : found == mean);
}

static void test_current_follows_choices(void **state)
{
    (void)state;
    struct qk_session *session = open_demo(NULL);
    const int visible[] = {7};
    qk_session_want(session, 7, visible, 1);
    choose(session, 7, QK_RESTORE, 0); /* before there are numbers */
    struct qk_session_range range = wait_for(session, 7, QK_CURRENT_SAME);
    double restored = range.restored->layer.mean; /* as was said beforehand */
    assert_true(restored != range.side[QK_POST]->layer.mean);
    expect_mean(&range, restored);
    assert_true(range.restored_shift > 0 && range.restored_shift < range.shift);
    for (int i = 0; i <= 10; i++)
        choose(session, 7, QK_LERP, i / 10.0);
    assert_true(qk_session_range(session, 7, &range));
    assert_int_equal(range.current_is, QK_CURRENT_PENDING);
    assert_null(range.current);
    range = wait_for(session, 7, QK_CURRENT_SAME); /* lerp 1 is restore */
    expect_mean(&range, restored);
    wait_for_probe(session);
    /* a kept layer's current is post's on the same states; exactly, it looks at what the others made of its input */
    assert_true(qk_session_range(session, 10, &range));
    if (range.current_is == QK_CURRENT_SAME)
        assert_ptr_equal(range.current, range.side[QK_POST]);
    range = wait_for(session, 10, QK_CURRENT_EXACT);
    assert_true(range.current->layer.mean != range.side[QK_POST]->layer.mean);
    range = wait_for(session, 7, QK_CURRENT_EXACT); /* the first choice on the way: its input is post's */
    expect_mean(&range, restored);
    assert_true(qk_session_undo(session, NULL));
    range = wait_for(session, 7, QK_CURRENT_SAME);
    assert_true(range.current->layer.mean != restored);
    while (qk_session_undo(session, NULL))
        ;
    assert_true(qk_session_range(session, 7, &range));
    assert_int_equal(range.current_is, QK_CURRENT_POST);
    qk_session_close(session);
}

static const float *wait_for_row(struct qk_session *session, int head, size_t query, enum qk_range_side side)
{
    const float *row;
    while ((row = qk_session_attention_row(session, 7, head, query, side)) == NULL)
        wait_for_event(session);
    return row;
}

static void test_rows(void **state)
{
    (void)state;
    enum { QUERY = 400 };
    struct qk_session *session = open_demo(NULL);
    assert_null(qk_session_attention_row(session, 7, 0, 0, QK_RANGE_PRE));
    wait_for_probe(session);
    assert_null(qk_session_attention_row(session, 7, 0, 100000, QK_RANGE_PRE));
    for (int side = QK_RANGE_PRE; side <= QK_RANGE_CURRENT; side++)
        for (int head = 0; head < 4; head++) {
            const float *row = wait_for_row(session, head, QUERY, (enum qk_range_side)side);
            double sum = 0;
            for (int s = 0; s <= QUERY; s++)
                sum += row[s];
            assert_true(fabs(sum - 1) < 1e-5); /* 400 float32 values */
        }
    assert_ptr_equal(qk_session_attention_row(session, 7, 1, QUERY, QK_RANGE_CURRENT),
        qk_session_attention_row(session, 7, 1, QUERY, QK_RANGE_POST));
    assert_null(qk_session_attention_row(session, 7, 4, QUERY, QK_RANGE_POST));
    choose(session, 7, QK_RESTORE, 0);
    assert_null(qk_session_attention_row(session, 7, 1, QUERY, QK_RANGE_CURRENT));
    assert_non_null(qk_session_attention_row(session, 7, 1, QUERY, QK_RANGE_PRE)); /* still what it was */
    const float *current = wait_for_row(session, 1, QUERY, QK_RANGE_CURRENT);
    const float *post = qk_session_attention_row(session, 7, 1, QUERY, QK_RANGE_POST);
    assert_true(memcmp(current, post, (QUERY + 1) * sizeof *post) != 0);
    wait_for_row(session, 0, 3, QK_RANGE_CURRENT);
    qk_session_close(session);
}

static void test_from_states(void **state)
{
    (void)state;
    char pre[PATH_SIZE], post[PATH_SIZE];
    const struct qk_probe_options options = {
        .states_path = {demo_path(pre, "golden-pre.safetensors"), demo_path(post, "golden-post.safetensors")},
        .range = {.queries = QK_QUERIES_LAST, .last = 3, .long_from = 50}};
    struct qk_session *session = open_demo(&options);
    memset(post, 'x', sizeof post); /* its paths were copied */
    choose(session, 4, QK_RESTORE, 0);
    wait_for_probe(session);
    const struct qk_probe_state *probe = qk_session_probe_state(session);
    assert_int_equal(probe->stage, QK_PROBE_READY);
    assert_int_equal(probe->origin, QK_ORIGIN_STATES);
    assert_int_equal(probe->n_ids, 203);
    assert_int_equal(probe->first_query, 200);
    assert_int_equal(probe->long_from, 50);
    struct qk_session_range range = wait_for(session, 4, QK_CURRENT_SAME);
    assert_true(range.current->layer.mean != range.side[QK_POST]->layer.mean);
    assert_false(probe->exact.running);
    qk_session_close(session);
}

static void test_failure_and_cancel(void **state)
{
    char path[PATH_SIZE];
    const struct qk_probe_options missing = {.ids_path = path_in(path, *state, "missing")};
    struct qk_session *session = open_demo(&missing);
    struct qk_session_range range;
    struct qk_error err = {0};
    wait_for_probe(session);
    assert_int_equal(qk_session_probe_state(session)->stage, QK_PROBE_FAILED);
    assert_non_null(strstr(qk_session_probe_state(session)->error, "missing"));
    assert_false(qk_session_range(session, 7, &range));
    choose(session, 7, QK_RESTORE, 0);
    /* the next one runs all the same, and a cancelled one reports that */
    const struct qk_probe_options longer = {.length = 4000};
    expect_ok(qk_session_probe(session, &longer, &err), &err);
    qk_session_probe_cancel(session);
    wait_for_probe(session);
    assert_int_equal(qk_session_probe_state(session)->stage, QK_PROBE_CANCELLED);
    expect_ok(qk_session_probe(session, NULL, &err), &err);
    wait_for(session, 7, QK_CURRENT_SAME);
    qk_session_probe_cancel(session);
    qk_session_close(session);
}

/* Without a forward pass there is an estimate from weights; no other failure leads to one. */
static void test_estimate(void **state)
{
    enum { POINTS = 10 }; /* of the built-in text's 512 tokens: 0, 1, 2, 4, ..., 256 */
    char pre[PATH_SIZE], post[PATH_SIZE];
    struct qk_session *session;
    struct qk_error err = {0};
    copy_pair_without_pass(*state);
    expect_ok(
        qk_session_open(path_in(pre, *state, "pre"), path_in(post, *state, "post"), 1, &session, &err), &err);
    const struct qk_pair *pair = qk_session_pair(session);
    expect_ok(qk_session_probe(session, NULL, &err), &err);
    wait_for_probe(session);
    assert_int_equal(qk_session_probe_state(session)->stage, QK_PROBE_FAILED);
    assert_true(qk_session_probe_state(session)->estimated);
    assert_non_null(strstr(qk_session_probe_state(session)->error, "no forward pass"));
    int n = 0;
    for (int i = 0; i < pair->n_layers; i++) {
        if (!qk_probe_has_profile(pair, i)) {
            assert_null(qk_session_profile(session, i, QK_POST));
            continue;
        }
        n++;
        for (int s = 0; s < QK_SIDE_COUNT; s++) {
            struct qk_profile own;
            while (qk_session_profile(session, i, (enum qk_side)s) == NULL)
                wait_for_event(session);
            const struct qk_profile *got = qk_session_profile(session, i, (enum qk_side)s);
            expect_ok(qk_profile_make(pair->model[s], pair->layer[i].side[s], POINTS, &own, &err), &err);
            assert_int_equal(got->n_points, POINTS);
            assert_int_equal(got->n_heads, own.n_heads);
            for (int k = 0; k < own.n_heads * POINTS; k++)
                assert_true(got->logit[k] == own.logit[k]);
            qk_profile_free(&own);
        }
    }
    assert_true(n > 0);
    const struct qk_probe_options missing = {.states_path = {NULL, "/nowhere/states"}};
    expect_ok(qk_session_probe(session, &missing, &err), &err);
    wait_for_probe(session);
    assert_int_equal(qk_session_probe_state(session)->stage, QK_PROBE_FAILED);
    assert_false(qk_session_probe_state(session)->estimated);
    qk_session_close(session);
}

static void copy_file(const char *folder, const char *side, const char *name)
{
    char from[PATH_SIZE], to[PATH_SIZE], path[PATH_SIZE];
    size_t n;
    snprintf(path, sizeof path, "%s/%s", side, name);
    char *bytes = read_bytes(demo_path(from, path), &n);
    write_bytes(path_in(to, folder, name), bytes, n);
    free(bytes);
}

static int count_files(const char *folder)
{
    int n = 0;
    DIR *dir = opendir(folder);
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        n += entry->d_name[0] != '.';
    if (dir != NULL)
        closedir(dir);
    return n;
}

static double shift_of(struct qk_session *session)
{
    struct qk_session_range range;
    wait_for_probe(session);
    assert_int_equal(qk_session_probe_state(session)->stage, QK_PROBE_READY);
    assert_true(qk_session_range(session, 7, &range));
    return range.shift;
}

/* Started again, a probe sees the files as they are then, for any contents of the cache. */
static void test_again(void **state)
{
    char pre[PATH_SIZE], post[PATH_SIZE], cache[PATH_SIZE];
    struct qk_session *session;
    struct qk_error err = {0};
    const struct qk_probe_options options = {.length = 64, .cached = true};
    assert_int_equal(setenv("XDG_CACHE_HOME", *state, 1), 0);
    path_in(cache, *state, "qkscope");
    make_folder(path_in(post, *state, "post"));
    copy_file(post, "post", "config.json");
    copy_file(post, "post", "tokenizer.json");
    copy_file(post, "post", "model.safetensors");
    expect_ok(qk_session_open(demo_path(pre, "pre"), post, 1, &session, &err), &err);
    expect_ok(qk_session_probe_again(session, &err), &err);
    assert_int_equal(qk_session_probe_state(session)->stage, QK_PROBE_OFF);
    expect_ok(qk_session_probe(session, &options, &err), &err);
    double shift = shift_of(session);
    while (count_files(cache) < QK_SIDE_COUNT) /* written once the numbers are there */
        poll(NULL, 0, 5);
    expect_ok(qk_session_probe_again(session, &err), &err);
    assert_true(shift > 0 && shift_of(session) == shift);
    copy_file(post, "pre", "model.safetensors"); /* as large, with the same header */
    expect_ok(qk_session_probe_again(session, &err), &err);
    assert_true(shift_of(session) == 0);
    qk_session_close(session);
    assert_int_equal(count_files(cache), QK_SIDE_COUNT);
    unsetenv("XDG_CACHE_HOME");
}

/* Replacing and closing during any work must neither hang nor leak (the sanitizer run sees a leak). */
static void test_replace_and_close_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        const struct qk_probe_options options = {.length = (size_t)(64 + 100 * i)};
        struct qk_session *session = open_demo(&options);
        struct qk_error err = {0};
        if (i % 2)
            wait_for_event(session);
        for (int j = 0; j < i % 4; j++)
            expect_ok(qk_session_probe(session, &options, &err), &err);
        choose(session, 7, QK_PROCRUSTES, 0.5);
        qk_session_attention_row(session, 7, 0, 3, QK_RANGE_PRE);
        if (i % 3 == 0)
            wait_for_probe(session);
        qk_session_close(session);
    }
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges_arrive),
        cmocka_unit_test(test_trials),
        cmocka_unit_test(test_current_follows_choices),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_from_states),
        test_in_folder(test_failure_and_cancel),
        test_in_folder(test_estimate),
        test_in_folder(test_again),
        cmocka_unit_test(test_replace_and_close_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
