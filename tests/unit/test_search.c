/* test_search.c - the search over selections, on the demo pair's layers with answers that a formula gives. */
#include "helper.h"

#include "eval/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Recall cases 0 .. 199 are right where the restored layers together lift more than the case needs; reasoning
 * cases 200 .. 299 where what it costs is less than the case bears. */
enum { RECALL = 200, REASONING = 100, CASES = RECALL + REASONING, LAYERS = 12 };

struct world {
    double lift[LAYERS][QK_ROLE_COUNT], cost[LAYERS][QK_ROLE_COUNT];
    size_t task[CASES], objective[3], asked, calls, fail_after;
    double work[CASES];
    struct qk_search_cases cases;
};

static double strength(struct qk_choice choice)
{
    switch (choice.mode) {
    case QK_KEEP:
        return 0;
    case QK_LERP:
    case QK_PROCRUSTES:
        return choice.param;
    case QK_QKPRO:
        return 1 / (1 + choice.param);
    default:
        return 1;
    }
}

static bool right(const struct world *w, const struct qk_selection *selection, size_t i)
{
    double lift = 0, cost = 0;
    for (int l = 0; l < LAYERS; l++)
        for (int r = 0; r < QK_ROLE_COUNT; r++) {
            double s = selection == NULL ? 1 : strength(selection->choice[l].role[r]);
            lift += s * w->lift[l][r];
            cost += s * s * w->cost[l][r];
        }
    if (i < RECALL) /* a third needs nothing */
        return lift >= 1.5 * (double)(i * 7 % RECALL) / RECALL - 0.5;
    return cost <= 0.2 + (double)((i - RECALL) * 7 % REASONING) / REASONING;
}

static enum qk_code answer(void *context, const struct qk_selection *selection, const size_t *cases, size_t n,
    signed char *out, double *cost, struct qk_error *err)
{
    struct world *w = context;
    if (w->fail_after > 0 && ++w->calls > w->fail_after)
        return qk_fail(err, QK_CANCELLED, "interrupted");
    *cost = 0;
    for (size_t i = 0; i < n; i++) {
        out[i] = right(w, selection, cases[i]);
        *cost += w->work[cases[i]];
    }
    w->asked += n;
    return QK_OK;
}

/* Layer 7 carries most, 2 and 5 something at a price, all others next to nothing. */
static void make_world(struct world *w)
{
    memset(w, 0, sizeof *w);
    for (int l = 0; l < LAYERS; l++)
        for (int r = 0; r < QK_ROLE_COUNT; r++) {
            w->lift[l][r] = l == 7 ? 0.25 : l == 2 || l == 5 ? 0.15 : 0.005;
            w->cost[l][r] = l == 7 ? 0.02 : l == 2 ? 0.05 : l == 5 ? 0.3 : 0.01;
        }
    for (size_t i = 0; i < CASES; i++) {
        w->task[i] = i >= RECALL ? 2 : i >= RECALL / 2;
        w->work[i] = i < RECALL ? 10 : 1;
    }
    w->objective[2] = 1;
    w->cases = (struct qk_search_cases){.n = CASES,
        .n_tasks = 3,
        .n_objectives = 2,
        .task = w->task,
        .objective = w->objective,
        .cost = w->work};
}

static struct qk_search search_world(
    const struct qk_pair *pair, struct world *w, size_t max_trials, enum qk_code expected)
{
    struct qk_search search = {0};
    struct qk_error err = {0};
    struct qk_search_limits limits = {.max_trials = max_trials};
    struct qk_search_calls calls = {.context = w, .answer = answer};
    const struct qk_search_hints hints = {0};
    assert_int_equal(qk_search_run(&search, pair, &w->cases, &hints, &limits, &calls, &err), expected);
    return search;
}

static size_t n_right(const struct qk_trial *trial, size_t from, size_t to)
{
    size_t n = 0;
    for (size_t i = from; i < to; i++)
        n += trial->answer[i] > 0;
    return n;
}

static bool restored_alone(const struct qk_selection *selection, int layer)
{
    for (int l = 0; l < selection->n_layers; l++)
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            if ((selection->choice[l].role[r].mode == QK_RESTORE) != (l == layer))
                return false;
    return true;
}

/* --- effects --- */

/* The layer that carries recall has the largest effect, its sign is right in both directions, and what an
 * effect's estimate says of all cases is within three of its standard errors (plus a case) of the truth. */
static void test_effects(void **state)
{
    (void)state;
    struct world w;
    struct qk_pair *pair = open_family("hypenet");
    make_world(&w);
    struct qk_search s = search_world(pair, &w, 0, QK_OK);
    struct qk_selection none, one;
    struct qk_error err = {0};
    expect_ok(qk_selection_init(&none, LAYERS, &err), &err);
    for (int l = 0; l < LAYERS; l++) {
        const struct qk_estimate *in = s.effect[l].in[QK_EFFECT_BOTH], *out = s.effect[l].out[QK_EFFECT_BOTH];
        assert_true(in != NULL && out != NULL && in[0].n > 0 && in[0].n <= RECALL && in[1].n <= REASONING);
        assert_true(in[0].value >= 0 && in[1].value <= 0 && out[0].value >= 0 && out[1].value <= 0);
        if (l != 7)
            assert_true(s.effect[7].in[QK_EFFECT_BOTH][0].value > in[0].value);
        expect_ok(qk_selection_copy(&one, &none, &err), &err);
        expect_ok(qk_selection_set(&one, pair, l, -1, (struct qk_choice){QK_RESTORE, 0}, &err), &err);
        double truth[2] = {0, 0};
        for (size_t i = 0; i < CASES; i++)
            truth[i >= RECALL] += (double)right(&w, &one, i) - (double)right(&w, &none, i);
        assert_true(fabs(truth[0] / RECALL - in[0].value) <= 3 * in[0].error + 1.0 / RECALL);
        assert_true(fabs(truth[1] / REASONING - in[1].value) <= 3 * in[1].error + 1.0 / REASONING);
        qk_selection_free(&one);
    }
    assert_true(s.effect[7].in[QK_EFFECT_BOTH][0].value > s.effect[7].in[QK_EFFECT_Q][0].value);
    qk_selection_free(&none);
    qk_search_free(&s);
    qk_pair_close(pair);
}

/* --- the front --- */

/* Every trial on the front was asked everything, and is not beaten by any that was; all answers that a trial
 * keeps are the formula's. */
static void check_front(const struct world *w, const struct qk_search *s)
{
    size_t n_front = 0;
    for (size_t i = 0; i < s->n_trials; i++) {
        const struct qk_trial *a = s->trial[i];
        for (size_t c = 0; c < CASES; c++)
            assert_true(a->answer[c] < 0 || a->answer[c] == right(w, &a->selection, c));
        n_front += a->front;
        if (!a->front)
            continue;
        assert_int_equal(a->n_asked, CASES);
        for (size_t j = 0; j < s->n_trials; j++) {
            const struct qk_trial *b = s->trial[j];
            bool better = n_right(b, 0, RECALL) >= n_right(a, 0, RECALL) &&
                          n_right(b, RECALL, CASES) >= n_right(a, RECALL, CASES) &&
                          n_right(b, 0, CASES) > n_right(a, 0, CASES);
            assert_false(b->n_asked == CASES && better);
        }
    }
    assert_true(n_front >= 2);
}

/* True when a trial of the front is at least as good as the selection in both objectives. */
static bool reached(const struct world *w, const struct qk_search *s, const struct qk_selection *selection)
{
    size_t recall = 0, reasoning = 0;
    for (size_t i = 0; i < CASES; i++)
        *(i < RECALL ? &recall : &reasoning) += right(w, selection, i);
    for (size_t i = 0; i < s->n_trials; i++)
        if (s->trial[i]->front && n_right(s->trial[i], 0, RECALL) >= recall &&
            n_right(s->trial[i], RECALL, CASES) >= reasoning)
            return true;
    return false;
}

static void test_front(void **state)
{
    (void)state;
    struct world w;
    struct qk_pair *pair = open_family("hypenet");
    struct qk_selection one, best;
    struct qk_error err = {0};
    make_world(&w);
    struct qk_search s = search_world(pair, &w, 0, QK_OK);
    assert_true(s.complete);
    check_front(&w, &s);
    const int layers[] = {7, 2};
    expect_ok(qk_selection_init(&one, LAYERS, &err), &err);
    for (int i = 0; i < 2; i++) { /* layer 7; then with it layer 2, which gives more than it takes */
        expect_ok(qk_selection_set(&one, pair, layers[i], -1, (struct qk_choice){QK_RESTORE, 0}, &err), &err);
        assert_true(reached(&w, &s, &one));
    }
    expect_ok(qk_selection_init(&best, LAYERS, &err), &err);
    for (int l = 0; l < LAYERS; l++)
        expect_ok(qk_selection_set(&best, pair, l, -1, (struct qk_choice){QK_RESTORE, 0}, &err), &err);
    assert_true(reached(&w, &s, &best)); /* most recall of all */
    qk_selection_free(&best);
    qk_selection_free(&one);
    qk_search_free(&s);
    qk_pair_close(pair);
}

/* --- limits --- */

/* Fewer trials find less; the rest holds. The same search asks the same again. */
static void test_limits(void **state)
{
    (void)state;
    struct world w;
    struct qk_pair *pair = open_family("hypenet");
    make_world(&w);
    struct qk_search whole = search_world(pair, &w, 0, QK_OK);
    size_t asked = w.asked;
    w.asked = 0;
    struct qk_search again = search_world(pair, &w, 0, QK_OK);
    assert_int_equal(w.asked, asked);
    assert_int_equal(again.n_trials, whole.n_trials);
    for (size_t i = 0; i < whole.n_trials; i++)
        assert_memory_equal(again.trial[i]->answer, whole.trial[i]->answer, CASES);
    w.asked = 0;
    struct qk_search few = search_world(pair, &w, 40, QK_OK);
    assert_true(w.asked < asked && few.n_trials < whole.n_trials && !few.complete);
    check_front(&w, &few);
    qk_search_free(&few);
    qk_search_free(&again);
    qk_search_free(&whole);
    qk_pair_close(pair);
}

/* An error of the answers ends it at any point, and earlier results stay. */
static void test_cancelled(void **state)
{
    (void)state;
    struct world w;
    struct qk_pair *pair = open_family("hypenet");
    for (size_t after = 1; after < 120; after = after * 3 / 2 + 1) {
        make_world(&w);
        w.fail_after = after;
        struct qk_search s = search_world(pair, &w, 0, QK_CANCELLED);
        assert_true(s.n_trials >= 1 && !s.complete);
        if (after >= 2)
            assert_true(s.trial[0]->front || n_right(s.trial[0], 0, CASES) > 0);
        qk_search_free(&s);
    }
    qk_pair_close(pair);
}

static bool has_choice(const struct qk_selection *selection, int layer, enum qk_role role, enum qk_mode mode)
{
    return qk_layer_choice_of(&selection->choice[layer], role, 0).mode == mode;
}

/* The selections that are known to be good come first and in full: the full layers, their keys, what the heads that
 * carry recall say. Then the layer with the largest prior is measured. */
static void test_order(void **state)
{
    (void)state;
    struct world w;
    struct qk_pair *pair = open_family("hypenet");
    struct qk_search s = {0};
    struct qk_error err = {0};
    make_world(&w);
    const double prior[LAYERS] = {[7] = 3, [2] = 2, [5] = 1};
    const struct qk_search_head head = {7, 1, 0};
    const struct qk_search_hints hints = {prior, &head, 1};
    const struct qk_search_limits limits = {.max_trials = 60};
    const struct qk_search_calls calls = {.context = &w, .answer = answer};
    expect_ok(qk_search_run(&s, pair, &w.cases, &hints, &limits, &calls, &err), &err);
    assert_true(s.n_trials > 10);
    static const char *const ORIGIN[] = {
        "post", "kind", "kind", "recall heads", "recall heads", "blend", "blend"};
    for (size_t i = 0; i < sizeof ORIGIN / sizeof ORIGIN[0]; i++) {
        assert_string_equal(s.trial[i]->origin, ORIGIN[i]);
        assert_int_equal(s.trial[i]->n_asked, CASES);
    }
    for (int l = 0; l < LAYERS; l++) {
        enum qk_mode mode = pair->layer[l].kind == QK_FULL ? QK_RESTORE : QK_KEEP;
        assert_true(has_choice(&s.trial[1]->selection, l, QK_Q, mode));
        assert_true(has_choice(&s.trial[1]->selection, l, QK_K, mode));
        assert_true(has_choice(&s.trial[2]->selection, l, QK_Q, QK_KEEP));
        assert_true(has_choice(&s.trial[2]->selection, l, QK_K, mode));
    }
    const struct qk_layer_choice *seven = &s.trial[3]->selection.choice[7];
    assert_int_equal(qk_layer_choice_of(seven, QK_Q, 1).mode, QK_RESTORE);
    assert_int_equal(qk_layer_choice_of(seven, QK_Q, 0).mode, QK_KEEP);
    assert_int_equal(qk_layer_choice_of(seven, QK_K, 0).mode, QK_RESTORE);
    const struct qk_layer_choice *keys = &s.trial[4]->selection.choice[7],
                                 *blend = &s.trial[5]->selection.choice[7];
    assert_int_equal(qk_layer_choice_of(keys, QK_Q, 1).mode, QK_KEEP);
    assert_int_equal(qk_layer_choice_of(keys, QK_K, 0).mode, QK_RESTORE);
    assert_int_equal(qk_layer_choice_of(blend, QK_Q, 1).mode, QK_LERP);
    assert_int_equal(qk_layer_choice_of(blend, QK_K, 0).mode, QK_LERP);
    assert_int_equal(qk_layer_choice_of(blend, QK_Q, 0).mode, QK_KEEP);
    for (size_t i = 0; i < s.n_trials; i++) /* the first of the effects */
        if (strcmp(s.trial[i]->origin, "layer in") == 0) {
            assert_true(
                restored_alone(&s.trial[i]->selection, 7) || restored_alone(&s.trial[i]->selection, 2));
            break;
        }
    qk_search_free(&s);
    qk_pair_close(pair);
}

/* --- parts and constraints --- */

/* True when a point of the front is better in no objective by more than the difference's 95 % interval. */
static bool is_near(const struct qk_search *s, const struct qk_trial *trial)
{
    for (size_t i = 0; i < s->n_trials; i++) {
        bool near = s->trial[i]->front;
        for (size_t o = 0; near && o < 2; o++) {
            struct qk_estimate lack = qk_search_difference(s, s->trial[i], trial, o);
            near = lack.value <= 1.959964 * lack.error;
        }
        if (near)
            return true;
    }
    return false;
}

/* Cases that are held out are asked of post, pre, the front and what is near it alone, and only at the end. */
static void test_held_out(void **state)
{
    (void)state;
    struct world w;
    struct qk_pair *pair = open_family("hypenet");
    bool held_out[CASES];
    enum { MOST_NEAR = 12 };
    size_t n_held[2] = {0, 0}, n_front = 0, n_near = 0, n_near_confirmed = 0, n_points;
    make_world(&w);
    for (size_t i = 0; i < CASES; i++) {
        held_out[i] = i % 3 == 0;
        n_held[i >= RECALL] += held_out[i];
    }
    w.cases.held_out = held_out;
    struct qk_search s = search_world(pair, &w, 200, QK_OK);
    const size_t n_searched = CASES - n_held[0] - n_held[1];
    for (size_t i = 0; i < s.n_trials; i++) {
        const struct qk_trial *trial = s.trial[i];
        bool near = i > 0 && !trial->front && trial->n_asked == n_searched && is_near(&s, trial);
        n_front += trial->front;
        n_near += near;
        n_near_confirmed += near && trial->confirmed;
        assert_true(near || trial->confirmed == (trial->front || i == 0));
        for (size_t c = 0; c < CASES; c++)
            assert_true(held_out[c] ? (trial->answer[c] >= 0) == trial->confirmed
                                    : !trial->front || trial->answer[c] >= 0);
        for (size_t o = 0; trial->confirmed && o < 2; o++) {
            struct qk_score score = qk_search_score(&s, trial->answer, o, QK_CONFIRMED);
            assert_int_equal(score.total, n_held[o]);
        }
    }
    for (size_t c = 0; c < CASES; c++)
        assert_true(s.pre[c] >= 0);
    assert_true(n_front >= 2 && n_near >= 1);
    assert_int_equal(n_near_confirmed, n_near < MOST_NEAR ? n_near : MOST_NEAR);
    assert_int_equal(qk_search_count(&s, QK_CONFIRMED), n_front + n_near_confirmed + !s.trial[0]->front);
    const struct qk_trial **point;
    struct qk_error err = {0};
    size_t n_first;
    expect_ok(qk_search_points(&s, &point, &n_first, &n_points, &err), &err);
    assert_true(n_first == n_front && n_points == n_front + n_near_confirmed);
    for (size_t i = 0; i < n_points; i++) {
        assert_true(point[i]->front == (i < n_front) && point[i]->confirmed);
        if (i > 0 && i != n_front)
            assert_true(qk_search_rate(&s, point[i], 0).value <= qk_search_rate(&s, point[i - 1], 0).value);
    }
    free(point);
    qk_search_free(&s);
    qk_pair_close(pair);
}

/* Keys that lack one answer to the whole layer are no point of the front. They are known to be good: they are confirmed
 * before all others that are near. What lies far off is not. */
static void test_near(void **state)
{
    (void)state;
    struct world w;
    struct qk_pair *pair = open_family("hypenet");
    bool held_out[CASES];
    make_world(&w);
    for (int l = 0; l < LAYERS; l++)
        for (int r = 0; r < QK_ROLE_COUNT; r++) {
            w.lift[l][r] = l != 7 ? 0 : r == QK_K ? 0.7 : 0.013; /* a step of the cases is 1.5 / RECALL */
            w.cost[l][r] = pair->layer[l].kind == QK_FULL ? 0 : 0.5;
        }
    for (size_t i = 0; i < CASES; i++)
        held_out[i] = i % 2 == 0;
    w.cases.held_out = held_out;
    struct qk_search s = search_world(pair, &w, 80, QK_OK);
    const struct qk_trial *full = s.trial[1], *keys = s.trial[2];
    struct qk_estimate lack = qk_search_difference(&s, full, keys, 0);
    assert_true(full->usual && keys->usual && has_choice(&keys->selection, 7, QK_K, QK_RESTORE) &&
                has_choice(&keys->selection, 7, QK_Q, QK_KEEP));
    assert_true(lack.value > 0 && lack.value < 1.96 * lack.error);
    assert_true(!keys->front && keys->confirmed);
    size_t n_far = 0;
    for (size_t i = 1; i < s.n_trials; i++)
        if (!is_near(&s, s.trial[i])) {
            n_far++;
            assert_false(s.trial[i]->confirmed);
        }
    assert_true(n_far > 0);
    qk_search_free(&s);
    qk_pair_close(pair);
}

/* No point of the front has less than the least share, unless no trial has that much: then the nearest ones are. */
static void test_constraint(void **state)
{
    (void)state;
    struct world w;
    struct qk_pair *pair = open_family("hypenet");
    static const double WANTED[] = {0.9, 1.5};
    for (int i = 0; i < 2; i++) {
        const double least[2] = {0, WANTED[i]};
        double most = 0;
        make_world(&w);
        w.cases.least = least;
        struct qk_search s = search_world(pair, &w, 100, QK_OK);
        for (size_t k = 0; k < s.n_trials; k++)
            if (s.trial[k]->n_asked == CASES)
                most = fmax(most, qk_search_rate(&s, s.trial[k], 1).value);
        size_t n_front = 0;
        for (size_t k = 0; k < s.n_trials; k++) {
            n_front += s.trial[k]->front;
            assert_true(
                !s.trial[k]->front || qk_search_rate(&s, s.trial[k], 1).value >= fmin(least[1], most));
        }
        assert_true(n_front >= 1);
        qk_search_free(&s);
    }
    qk_pair_close(pair);
}

/* Recall needs a lerp of layer 7 of about two thirds, and reasoning bears no more: the strength is found between
 * those of the table of modes. */
static void test_strength(void **state)
{
    (void)state;
    struct world w;
    struct qk_pair *pair = open_family("hypenet");
    make_world(&w);
    for (int l = 0; l < LAYERS; l++)
        for (int r = 0; r < QK_ROLE_COUNT; r++) {
            w.lift[l][r] = l == 7 ? 0.5 : 0;
            w.cost[l][r] = l == 7 ? 1.25 : 1;
        }
    struct qk_search s = search_world(pair, &w, 300, QK_OK);
    size_t n_between = 0;
    for (size_t i = 0; i < s.n_trials; i++) {
        const struct qk_choice choice = s.trial[i]->selection.choice[7].role[QK_Q];
        n_between += strcmp(s.trial[i]->origin, "strength") == 0 && s.trial[i]->front &&
                     (choice.mode == QK_LERP || choice.mode == QK_QKPRO || choice.mode == QK_PROCRUSTES);
    }
    assert_true(n_between >= 1);
    qk_search_free(&s);
    qk_pair_close(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_effects), cmocka_unit_test(test_front),
        cmocka_unit_test(test_limits), cmocka_unit_test(test_cancelled), cmocka_unit_test(test_order),
        cmocka_unit_test(test_held_out), cmocka_unit_test(test_near), cmocka_unit_test(test_constraint),
        cmocka_unit_test(test_strength)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
