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
    w->cases = (struct qk_search_cases){CASES, 3, 2, w->task, w->objective, w->work};
}

static struct qk_search search_world(
    const struct qk_pair *pair, struct world *w, size_t max_trials, enum qk_code expected)
{
    struct qk_search search = {0};
    struct qk_error err = {0};
    struct qk_search_limits limits = {.max_trials = max_trials};
    struct qk_search_calls calls = {.context = w, .answer = answer};
    assert_int_equal(qk_search_run(&search, pair, &w->cases, NULL, &limits, &calls, &err), expected);
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

/* The layer with the largest prior is tried first when there is time for few. */
static void test_prior(void **state)
{
    (void)state;
    struct world w;
    struct qk_pair *pair = open_family("hypenet");
    struct qk_search s = {0};
    struct qk_error err = {0};
    make_world(&w);
    const double prior[LAYERS] = {[7] = 3, [2] = 2, [5] = 1};
    const struct qk_search_limits limits = {.max_trials = 10};
    const struct qk_search_calls calls = {.context = &w, .answer = answer};
    expect_ok(qk_search_run(&s, pair, &w.cases, prior, &limits, &calls, &err), &err);
    assert_true(s.effect[7].in[QK_EFFECT_BOTH] != NULL && s.effect[0].in[QK_EFFECT_BOTH] == NULL);
    /* post, the full layers restored, all restored; then the layers. */
    assert_true(s.n_trials > 3 && restored_alone(&s.trial[3]->selection, 7));
    assert_int_equal(s.trial[1]->n_asked, CASES);
    assert_true(strcmp(s.trial[1]->origin, "kind") == 0 && strcmp(s.trial[2]->origin, "all") == 0);
    qk_search_free(&s);
    qk_pair_close(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_effects), cmocka_unit_test(test_front),
        cmocka_unit_test(test_limits), cmocka_unit_test(test_cancelled), cmocka_unit_test(test_prior)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
