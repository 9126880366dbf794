/* test_suggest.c - recall heads and proposals from masses made by hand: gaps, ties, noise, groups, every family. */
#include "helper.h"

#include "base/blas.h"
#include "blend/spec.h"
#include "eval/student.h"
#include "eval/suggest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH = 200 };
static const double LITTLE = 0.01;

/* --- masses by hand --- */

/* A pair, needles of LENGTH tokens, and masses that a test sets. */
struct stage {
    struct qk_pair *pair;
    struct qk_needles needles;
    struct qk_needle_pair measured;
    struct qk_suggestion suggestion;
};

static struct qk_needle_layer make_layer(int n_heads, size_t n_needles)
{
    struct qk_needle_layer layer = {.n_heads = n_heads, .n_needles = n_needles};
    layer.mass = calloc((size_t)n_heads * n_needles, sizeof *layer.mass);
    layer.copies = calloc((size_t)n_heads * n_needles, sizeof *layer.copies);
    assert_true(layer.mass != NULL && layer.copies != NULL);
    return layer;
}

/* The same mass in every prompt, but for a wave of this height whose mean is 0 over 8 prompts. */
static void set_mass(struct stage *stage, enum qk_side side, int layer, int head, double mass, double wave)
{
    struct qk_needle_layer *of = &stage->measured.side[side][layer];
    assert_true(head < of->n_heads);
    for (size_t i = 0; i < of->n_needles; i++)
        of->mass[(size_t)head * of->n_needles + i] = mass + (i % 2 == 0 ? wave : -wave);
}

static void set_both(struct stage *stage, int layer, int head, double pre, double post)
{
    set_mass(stage, QK_PRE, layer, head, pre, LITTLE);
    set_mass(stage, QK_POST, layer, head, post, LITTLE / 2);
}

/* Every head of the family's pair has LITTLE in both models. */
static struct stage begin(const char *family, size_t n_needles)
{
    struct stage stage = {.pair = open_family(family)};
    struct qk_error err = {0};
    int32_t ids[LENGTH] = {0};
    for (size_t i = 0; i < n_needles; i++)
        expect_ok(qk_needles_add(&stage.needles, ids, LENGTH - 1, ids, 2, 20, &err), &err);
    stage.measured.n_layers = stage.pair->n_layers;
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        stage.measured.side[s] = calloc((size_t)stage.pair->n_layers, sizeof *stage.measured.side[s]);
        assert_non_null(stage.measured.side[s]);
        for (int l = 0; l < stage.pair->n_layers; l++) {
            int n = qk_selection_heads(&stage.pair->layer[l], QK_HEAD_Q);
            if (n > 0)
                stage.measured.side[s][l] = make_layer(n, n_needles);
            for (int h = 0; h < n; h++)
                set_mass(&stage, (enum qk_side)s, l, h, LITTLE, LITTLE / 4);
        }
    }
    return stage;
}

static void suggest(struct stage *stage)
{
    struct qk_error err = {0};
    expect_ok(qk_suggest(stage->pair, &stage->needles, &stage->measured, &stage->suggestion, &err), &err);
}

static void end(struct stage *stage)
{
    qk_suggestion_free(&stage->suggestion);
    qk_needle_pair_free(&stage->measured);
    qk_needles_free(&stage->needles);
    qk_pair_close(stage->pair);
}

static void expect_head(const struct stage *stage, size_t i, int layer, int head, int key)
{
    const struct qk_recall_head *found = &stage->suggestion.recall.head[i];
    assert_int_equal(found->of.layer, layer);
    assert_int_equal(found->of.head, head);
    assert_int_equal(found->key, key);
}

static void expect_proposal(const struct stage *stage, int i, const char *name, const char *set)
{
    assert_true(i < stage->suggestion.n);
    assert_string_equal(stage->suggestion.proposal[i].name, name);
    assert_string_equal(stage->suggestion.proposal[i].set, set);
}

/* --- the rule --- */

/* Tables of the t distribution, as in any book; and the two closed forms, of 1 and 2 degrees of freedom. */
static void test_student(void **state)
{
    (void)state;
    static const struct {
        double probability;
        size_t freedom;
        double t;
    } TABLE[] = {{0.025, 1, 12.7062}, {0.005, 2, 9.92484}, {0.001, 5, 5.89343}, {0.025, 10, 2.22814},
        {0.0005, 23, 3.76763}, {0.05, 30, 1.69726}, {0.025, 120, 1.97993}};
    for (size_t i = 0; i < sizeof TABLE / sizeof TABLE[0]; i++) {
        double found = qk_student_quantile(TABLE[i].probability, TABLE[i].freedom);
        assert_true(fabs(found - TABLE[i].t) < 1e-5 * TABLE[i].t);
        assert_true(fabs(qk_student_tail(found, TABLE[i].freedom) - TABLE[i].probability) < 1e-12);
    }
    assert_true(fabs(qk_student_tail(3, 1) - (0.5 - atan(3) / acos(-1))) < 1e-14);
    assert_true(fabs(qk_student_tail(3, 2) - (0.5 - 3 / (2 * sqrt(11)))) < 1e-14);
    assert_true(qk_student_tail(0, 7) == 0.5 && isinf(qk_student_quantile(0.05, 0)));
}

/* Two heads far above the rest: they, their key heads, and nothing else. Heads that look at the needle now and then
 * are above the floor with certainty, and yet in the lower group. */
static void test_clear_gap(void **state)
{
    (void)state;
    struct stage stage = begin("qwen3", 24);
    set_both(&stage, 2, 0, 0.92, 0.84);
    set_both(&stage, 2, 1, 0.8, 0.6);
    set_both(&stage, 2, 2, 0.17, 0.16);
    set_both(&stage, 1, 3, 0.16, 0.2);
    suggest(&stage);
    const struct qk_recall *recall = &stage.suggestion.recall;
    assert_int_equal(recall->verdict, QK_RECALL_FOUND);
    assert_int_equal(recall->n_recall, 2);
    expect_head(&stage, 0, 2, 1, 0); /* the larger drop */
    expect_head(&stage, 1, 2, 0, 0);
    expect_head(&stage, 2, 2, 2, 1); /* the others by mass */
    assert_true(qk_recall_bound(recall, recall->head[2].of.mass[QK_PRE]) > 0.12);
    assert_true(recall->head[0].fetches && recall->head[0].lost);
    assert_true(recall->head[1].fetches && !recall->head[1].lost);
    assert_true(fabs(recall->split - (0.8 + 0.17) / 2) < 1e-12);
    assert_true(fabs(recall->gap.mean - 0.63) < 1e-12 && recall->clear);
    /* answer tokens at 198 and 199, each with 2 / (t + 1) */
    assert_true(fabs(recall->background - (2.0 / 199 + 2.0 / 200) / 2) < 1e-12);
    assert_int_equal(stage.suggestion.n, 3);
    expect_proposal(&stage, 0, "careful", "2/k0=restore");
    expect_proposal(&stage, 1, "recall heads", "2/q0-1,k0=restore");
    expect_proposal(&stage, 2, "QK-Restore", "all=restore");
    assert_int_equal(stage.suggestion.proposal[1].heads[QK_Q], 2);
    assert_int_equal(stage.suggestion.proposal[1].heads[QK_K], 1);
    assert_int_equal(stage.suggestion.proposal[1].layers, 1);
    assert_true(fabs(stage.suggestion.mass[QK_PRE].mean - 0.86) < 1e-12);
    assert_true(fabs(stage.suggestion.drop.mean - 0.14) < 1e-12);
    end(&stage);
}

/* Bytes: the rows of the heads and nothing else. */
static void test_bytes(void **state)
{
    (void)state;
    struct stage stage = begin("qwen3", 8);
    set_both(&stage, 3, 2, 0.9, 0.7);
    suggest(&stage);
    const struct qk_layer *layer = stage.pair->layer[3].side[QK_POST];
    uint64_t head =
        (uint64_t)layer->head_dim * layer->d * (qk_dtype_bits(layer->role[QK_Q].weight->dtype) / 8);
    expect_proposal(&stage, 0, "careful", "3/k1=restore");
    assert_int_equal(stage.suggestion.proposal[0].bytes, head);
    expect_proposal(&stage, 1, "recall heads", "3/q2,k1=restore");
    assert_int_equal(stage.suggestion.proposal[1].bytes, 2 * head);
    assert_true(stage.suggestion.proposal[2].bytes > 2 * head);
    end(&stage);
}

/* Masses in even steps: there is a boundary, and it is said to be none that is clear. */
static void test_no_gap(void **state)
{
    (void)state;
    struct stage stage = begin("qwen3", 24);
    for (int i = 0; i < 16; i++)
        set_both(&stage, i / 4, i % 4, 0.96 - 0.06 * i, 0.9 - 0.06 * i);
    suggest(&stage);
    const struct qk_recall *recall = &stage.suggestion.recall;
    assert_int_equal(recall->verdict, QK_RECALL_FOUND);
    assert_int_equal(recall->n_recall, 8);
    assert_true(fabs(recall->gap.mean - 0.06) < 1e-12 && !recall->clear);
    end(&stage);
}

static void test_all_zero(void **state)
{
    (void)state;
    struct stage stage = begin("qwen3", 24);
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        for (int i = 0; i < 16; i++)
            set_mass(&stage, (enum qk_side)s, i / 4, i % 4, 0, 0);
    suggest(&stage);
    assert_int_equal(stage.suggestion.recall.verdict, QK_RECALL_NONE);
    assert_true(isnan(stage.suggestion.recall.split) && isnan(stage.suggestion.recall.gap.mean));
    assert_non_null(strstr(stage.suggestion.verdict, "no head of PRE fetches the needle"));
    assert_null(strstr(stage.suggestion.verdict, "linear"));
    assert_int_equal(stage.suggestion.n, 1);
    expect_proposal(&stage, 0, "QK-Restore", "all=restore");
    assert_true(!stage.suggestion.proposal[0].measured && isnan(stage.suggestion.drop.mean));
    end(&stage);
}

/* The linear layers are named where there are some. */
static void test_linear_layers(void **state)
{
    (void)state;
    struct stage stage = begin("hypenet", 24);
    suggest(&stage);
    assert_int_equal(stage.suggestion.recall.verdict, QK_RECALL_NONE);
    assert_non_null(strstr(stage.suggestion.verdict, "8 linear layers"));
    expect_proposal(&stage, 0, "QK-Restore", "full=restore");
    end(&stage);
}

/* One prompt has no standard error, and two with different masses have a large one. */
static void test_few_prompts(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 2; n++) {
        struct stage stage = begin("qwen3", n);
        set_both(&stage, 2, 1, 0.9, 0.7);
        suggest(&stage);
        const struct qk_suggestion *s = &stage.suggestion;
        assert_int_equal(s->recall.verdict, QK_RECALL_UNSURE);
        assert_true(isinf(s->recall.margin) == (n == 1));
        assert_non_null(strstr(s->verdict, n == 1 ? "1 prompt is not enough" : "2 prompts are not enough"));
        assert_true((strstr(s->verdict, "standard error") != NULL) == (n == 2));
        assert_int_equal(s->n, 1);
        expect_proposal(&stage, 0, "QK-Restore", "all=restore");
        end(&stage);
    }
}

/* A head that only some prompts show. */
static void test_noise(void **state)
{
    (void)state;
    struct stage stage = begin("qwen3", 24);
    set_mass(&stage, QK_PRE, 2, 1, 0.25, 0.25);
    suggest(&stage);
    assert_int_equal(stage.suggestion.recall.verdict, QK_RECALL_UNSURE);
    assert_true(stage.suggestion.recall.head[0].unsure);
    end(&stage);

    stage = begin("qwen3", 4); /* one that is certain, and one that is not */
    set_mass(&stage, QK_PRE, 0, 0, 0.9, 0.01);
    set_mass(&stage, QK_PRE, 2, 1, 0.8, 0.2);
    suggest(&stage);
    assert_int_equal(stage.suggestion.recall.n_recall, 1);
    assert_int_equal(stage.suggestion.recall.n_unsure, 1);
    assert_true(stage.suggestion.recall.head[1].unsure && !stage.suggestion.recall.clear);
    end(&stage);
}

/* Heads of equal mass are on one side, in the order of layers and heads. Where all heads are equal all are recall
 * heads: the choice of them is QK-Restore, which is not proposed twice. */
static void test_ties(void **state)
{
    (void)state;
    struct stage stage = begin("qwen3", 24);
    set_both(&stage, 3, 3, 0.7, 0.5);
    set_both(&stage, 1, 2, 0.7, 0.5);
    set_both(&stage, 1, 0, 0.7, 0.5);
    suggest(&stage);
    assert_int_equal(stage.suggestion.recall.n_recall, 3);
    expect_head(&stage, 0, 1, 0, 0);
    expect_head(&stage, 1, 1, 2, 1);
    expect_head(&stage, 2, 3, 3, 1);
    expect_proposal(&stage, 1, "recall heads", "1:k=restore 1/q0,q2=restore 3/q3,k1=restore");
    end(&stage);

    stage = begin("qwen3", 24);
    for (int i = 0; i < 16; i++)
        set_both(&stage, i / 4, i % 4, 0.7, 0.5);
    suggest(&stage);
    assert_int_equal(stage.suggestion.recall.n_recall, 16);
    assert_true(isnan(stage.suggestion.recall.gap.mean) && !stage.suggestion.recall.clear);
    assert_int_equal(stage.suggestion.n, 2);
    expect_proposal(&stage, 0, "careful", "all:k=restore");
    expect_proposal(&stage, 1, "recall heads", "all=restore");
    end(&stage);
}

/* A head of the lower group that lost much counts, one that lost little does not. */
static void test_lost(void **state)
{
    (void)state;
    struct stage stage = begin("qwen3", 24);
    set_both(&stage, 0, 1, 0.95, 0.93);
    set_both(&stage, 0, 2, 0.9, 0.88);
    set_both(&stage, 2, 3, 0.25, 0.02);
    set_both(&stage, 3, 0, 0.25, 0.2);
    suggest(&stage);
    const struct qk_recall *recall = &stage.suggestion.recall;
    assert_int_equal(recall->n_recall, 3);
    expect_head(&stage, 0, 2, 3, 1);
    assert_true(recall->head[0].lost && !recall->head[0].fetches);
    assert_true(!recall->clear);
    end(&stage);
}

/* Nothing was lost: the heads are named, and the words say that little can be won. */
static void test_nothing_lost(void **state)
{
    (void)state;
    struct stage stage = begin("qwen3", 24);
    set_mass(&stage, QK_PRE, 1, 1, 0.9, LITTLE);
    set_mass(&stage, QK_POST, 1, 1, 0.9, LITTLE);
    suggest(&stage);
    assert_int_equal(stage.suggestion.recall.n_recall, 1);
    assert_non_null(strstr(stage.suggestion.verdict, "1 of 16 query heads fetches needles: 1/q1"));
    assert_non_null(strstr(stage.suggestion.verdict, "there may be little to put back"));
    stage.suggestion.proposal[0].measured = true;
    assert_true(isnan(qk_proposal_share(&stage.suggestion, &stage.suggestion.proposal[0])));
    end(&stage);
}

/* Numbers that a broken model gives are of no head that counts. */
static void test_not_finite(void **state)
{
    (void)state;
    struct stage stage = begin("qwen3", 24);
    set_both(&stage, 0, 0, NAN, NAN);
    set_both(&stage, 1, 1, 0.9, NAN);
    set_both(&stage, 2, 2, 0.8, 0.7);
    set_mass(&stage, QK_PRE, 3, 3, 0.01, NAN);
    suggest(&stage);
    assert_int_equal(stage.suggestion.recall.n_recall, 2);
    expect_head(&stage, 0, 2, 2, 1);
    expect_head(&stage, 1, 1, 1, 0);
    end(&stage);
}

/* --- choices --- */

/* Every family and layout: the proposals choose the head and its key head, and their words give them again. */
static void test_families(void **state)
{
    (void)state;
    for (int f = 0; f < N_FAMILIES; f++) {
        struct stage stage = begin(FAMILIES[f], 8);
        struct qk_error err = {0};
        int layer = stage.pair->n_layers - 1;
        while (qk_selection_heads(&stage.pair->layer[layer], QK_HEAD_Q) == 0)
            layer--;
        int q = qk_selection_heads(&stage.pair->layer[layer], QK_HEAD_Q);
        int k = qk_selection_heads(&stage.pair->layer[layer], QK_HEAD_K);
        set_both(&stage, layer, q - 1, 0.9, 0.6);
        suggest(&stage);
        expect_head(&stage, 0, layer, q - 1, k - 1);
        const struct qk_proposal *heads = NULL;
        for (int i = 0; i < stage.suggestion.n; i++) {
            const struct qk_proposal *proposal = &stage.suggestion.proposal[i];
            struct qk_selection again;
            char set[256], *rest = set;
            snprintf(set, sizeof set, "%s", proposal->set);
            expect_ok(qk_selection_init(&again, stage.pair->n_layers, &err), &err);
            for (char *word; (word = strtok_r(rest, " ", &rest)) != NULL;) {
                struct qk_spec spec;
                expect_ok(qk_spec_parse(word, &spec, &err), &err);
                expect_ok(qk_spec_apply(&spec, stage.pair, NULL, &again, NULL, &err), &err);
                qk_spec_free(&spec);
            }
            assert_true(qk_selection_equal(&again, &proposal->selection) && proposal->bytes > 0);
            qk_selection_free(&again);
            heads = strcmp(proposal->slug, "recall-heads") == 0 ? proposal : heads;
        }
        assert_non_null(heads);
        assert_int_equal(heads->heads[QK_Q], 1);
        assert_int_equal(heads->heads[QK_K], k > 0 ? 1 : 0);
        end(&stage);
    }
}

/* A proposal is measured by a pass of post with it; of all q and k restored, the heads' masses are pre's where their
 * layer's input is: the first layer's. */
static void test_measure(void **state)
{
    (void)state;
    struct stage stage = begin("qwen3", 3);
    struct qk_error err = {0};
    for (size_t i = 0; i < stage.needles.n; i++) /* different prompts */
        for (size_t t = 0; t < stage.needles.item[i].T; t++)
            stage.needles.item[i].ids[t] = (int32_t)((t * (i + 3) + i) % 100);
    struct qk_needle_pair measured;
    expect_ok(qk_needle_measure(stage.pair, &stage.needles, NULL, false, 0, NULL, &measured, &err), &err);
    qk_needle_pair_free(&stage.measured);
    stage.measured = measured;
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        for (size_t i = 0; i < 3; i++)
            stage.measured.side[s][0].mass[i] += 0.9; /* head 0 of layer 0 recalls */
    suggest(&stage);
    assert_int_equal(stage.suggestion.recall.n_recall, 1);
    expect_head(&stage, 0, 0, 0, 0);
    for (int i = 0; i < stage.suggestion.n; i++) {
        struct qk_proposal *proposal = &stage.suggestion.proposal[i];
        expect_ok(qk_proposal_measure(
                      stage.pair, &stage.needles, &stage.measured, 0, NULL, &stage.suggestion, i, &err),
            &err);
        double added = proposal->gained.mean - (proposal->mass.mean - stage.suggestion.mass[QK_POST].mean);
        assert_true(proposal->measured && fabs(added) < 1e-12);
    }
    const struct qk_proposal *heads = &stage.suggestion.proposal[1], *all = &stage.suggestion.proposal[2];
    assert_true(fabs(heads->mass.mean - all->mass.mean) < 1e-9);
    assert_true(fabs(stage.suggestion.proposal[0].mass.mean - all->mass.mean) > 1e-9);
    end(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_student),
        cmocka_unit_test(test_clear_gap),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_no_gap),
        cmocka_unit_test(test_all_zero),
        cmocka_unit_test(test_linear_layers),
        cmocka_unit_test(test_few_prompts),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_nothing_lost),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_measure),
    };
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
