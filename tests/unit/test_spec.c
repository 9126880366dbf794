/* test_spec.c - the --set grammar: every production, every error, and the effect on a selection. */
#include "helper.h"

#include "blend/spec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- parsing --- */

static struct qk_spec parse(const char *text)
{
    struct qk_error err = {0};
    struct qk_spec spec;
    expect_ok(qk_spec_parse(text, &spec, &err), &err);
    return spec;
}

static void expect_choice(const char *text, int role, enum qk_mode mode, double param)
{
    struct qk_spec spec = parse(text);
    if (spec.role != role || spec.choice.mode != mode || spec.choice.param != param)
        fail_msg("%s: role %d, mode %d, parameter %g", text, spec.role, spec.choice.mode, spec.choice.param);
    qk_spec_free(&spec);
}

static void test_choices(void **state)
{
    (void)state;
    expect_choice("all=keep", -1, QK_KEEP, 0);
    expect_choice("all=restore", -1, QK_RESTORE, 0);
    expect_choice("all:q=restore", QK_Q, QK_RESTORE, 0);
    expect_choice("all:k=restore", QK_K, QK_RESTORE, 0);
    expect_choice("all:qk=restore", -1, QK_RESTORE, 0);
    expect_choice("all=lerp:0.25", -1, QK_LERP, 0.25);
    expect_choice("all:q=lerp:1", QK_Q, QK_LERP, 1);
    expect_choice("all=lerp:0", -1, QK_LERP, 0);
    expect_choice("all=lerp:.5", -1, QK_LERP, 0.5);
    expect_choice("all=lerp:+1e-1", -1, QK_LERP, 0.1);
    expect_choice("all=qk-pro:0.3", -1, QK_QKPRO, 0.3);
    expect_choice("all:qk=qk-pro:1E3", -1, QK_QKPRO, 1000);
    expect_choice("all=procrustes:0.75", -1, QK_PROCRUSTES, 0.75);
    expect_choice(" all : q = lerp : 0.5 ", QK_Q, QK_LERP, 0.5);
    expect_choice("\tall\t=\tkeep\t", -1, QK_KEEP, 0);
}

static void test_selectors(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum qk_selector selector;
        enum qk_kind kind;
    } rows[] = {{"all=keep", QK_SELECT_ALL, QK_FULL}, {"full=keep", QK_SELECT_KIND, QK_FULL},
        {"window=keep", QK_SELECT_KIND, QK_WINDOW}, {"linear:q=keep", QK_SELECT_KIND, QK_LINEAR}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_spec spec = parse(rows[i].text);
        assert_int_equal(spec.selector, rows[i].selector);
        assert_int_equal(spec.kind, rows[i].kind);
        qk_spec_free(&spec);
    }
}

static void test_lists(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int range[3][2];
        size_t n;
    } rows[] = {{"3=keep", {{3, 3}}, 1}, {"0-11=keep", {{0, 11}}, 1}, {"1,4-7=keep", {{1, 1}, {4, 7}}, 2},
        {" 1 , 4 - 7 , 9 =keep", {{1, 1}, {4, 7}, {9, 9}}, 3}, {"5-5:q=keep", {{5, 5}}, 1},
        {"007=keep", {{7, 7}}, 1}, {"3,3,3=keep", {{3, 3}, {3, 3}, {3, 3}}, 3}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_spec spec = parse(rows[i].text);
        assert_int_equal(spec.selector, QK_SELECT_LIST);
        assert_int_equal(spec.n_ranges, rows[i].n);
        for (size_t k = 0; k < spec.n_ranges; k++)
            assert_true(spec.range[k][0] == rows[i].range[k][0] && spec.range[k][1] == rows[i].range[k][1]);
        qk_spec_free(&spec);
    }
}

static void test_tests(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum qk_metric metric;
        int role;
        enum qk_compare compare;
        double bound;
    } rows[] = {{"routing>0.15=keep", QK_METRIC_ROUTING, -1, QK_GREATER, 0.15},
        {"q.angle>=4=keep", QK_METRIC_ANGLE_MEAN, QK_Q, QK_GREATER_EQUAL, 4},
        {"k.cosine<0.99=keep", QK_METRIC_COSINE, QK_K, QK_LESS, 0.99},
        {"rel_fro<=1e-3=keep", QK_METRIC_REL_FRO, -1, QK_LESS_EQUAL, 1e-3},
        {"angle_mean_deg>1:k=keep", QK_METRIC_ANGLE_MEAN, -1, QK_GREATER, 1},
        {"angle_max_deg>1=keep", QK_METRIC_ANGLE_MAX, -1, QK_GREATER, 1},
        {"q.norm_ratio > -2.5 = keep", QK_METRIC_NORM_RATIO, QK_Q, QK_GREATER, -2.5},
        {"routing>14%=keep", QK_METRIC_ROUTING, -1, QK_GREATER, 14 / 100.0},
        {"k.rel_fro < 2.5%:k=keep", QK_METRIC_REL_FRO, QK_K, QK_LESS, 2.5 / 100},
        {" routing >= .5 :q=keep", QK_METRIC_ROUTING, -1, QK_GREATER_EQUAL, 0.5}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_spec spec = parse(rows[i].text);
        assert_int_equal(spec.selector, QK_SELECT_TEST);
        assert_int_equal(spec.metric, rows[i].metric);
        assert_int_equal(spec.metric_role, rows[i].role);
        assert_int_equal(spec.compare, rows[i].compare);
        assert_true(spec.bound == rows[i].bound);
        qk_spec_free(&spec);
    }
}

/* A share that no drift has is doubted, and nothing else. */
static void test_doubt(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool doubted;
    } rows[] = {{"routing>14=keep", true}, {"q.rel_fro>=10=keep", true}, {"drop>5=keep", true},
        {"routing>14%=keep", false}, {"routing>1.5=keep", false}, {"angle>14=keep", false},
        {"norm_ratio>14=keep", false}, {"full=keep", false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_spec spec = parse(rows[i].text);
        assert_int_equal(qk_spec_doubt(&spec) != NULL, rows[i].doubted);
        qk_spec_free(&spec);
    }
}

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } rows[] = {{"", "character 1: no layers named (found the end, expected all, full"},
        {"   ", "character 4: no layers named (found the end"},
        {"=restore", "character 1: no layers named (found '='"},
        {"everything=restore", "character 1: unknown layers (found 'everything', expected all, full"},
        {"none=restore", "unknown layers (found 'none'"}, {"ALL=restore", "unknown layers (found 'ALL'"},
        {"full", "'full': character 5: no choice given (found the end, expected =MODE"},
        {"full restore", "character 6: no choice given (found 'restore'"},
        {"full=", "character 6: unknown mode (found the end, expected keep, restore|restore-latent"},
        {"full=revert", "unknown mode (found 'revert'"}, {"full=Restore", "unknown mode (found 'Restore'"},
        {"full:=restore", "character 6: unknown role (found '=', expected q, k or qk"},
        {"full:v=restore", "unknown role (found 'v'"}, {"full:kq=restore", "unknown role (found 'kq'"},
        {"full:q:k=restore", "character 7: no choice given (found ':'"},
        {"full=restore:1", "character 13: this mode takes no parameter (found ':'"},
        {"full=keep:", "this mode takes no parameter"},
        {"full=lerp", "character 10: parameter missing (found the end, expected a colon and a number"},
        {"full=lerp 0.5", "parameter missing (found '0.5'"},
        {"full=qk-pro", "expected a colon and a number, as in qk-pro:0.3"},
        {"full=lerp:", "parameter (found the end, expected a number"},
        {"full=lerp:x", "parameter (found 'x', expected a number such as 0.3"},
        {"full=lerp:nan", "parameter (found 'nan'"}, {"full=lerp:inf", "parameter (found 'inf'"},
        {"full=lerp:0x1", "parameter (found '0x1'"}, {"full=lerp:1e", "parameter (found '1e'"},
        {"full=lerp:1.2.3", "parameter (found '1.2.3'"}, {"full=lerp:-", "parameter (found '-'"},
        {"full=lerp:0.5,", "parameter (found '0.5'"},
        {"full=lerp:1.5", "character 11: parameter out of range (found '1.5', expected a number from 0 to 1"},
        {"full=lerp:-0.1", "parameter out of range (found '-0.1'"},
        {"full=procrustes:2", "expected a number from 0 to 1"},
        {"full=qk-pro:-1", "parameter out of range (found '-1', expected a finite number >= 0"},
        {"full=qk-pro:1e999", "a number of ordinary size"},
        {"full=qk-pro:1e301", "a number of ordinary size"},
        {"full:q=qk-pro:1", "character 8: acts on q and k at once (found 'qk-pro', expected no role, or qk"},
        {"full=restore full=keep", "character 14: more than one selection (found 'full', expected the end"},
        {"full=restore,linear=keep", "more than one selection (found ','"},
        {"full=restore\n", "more than one selection"},
        {"3-=keep", "character 3: layer number missing (found '='"}, {"3,=keep", "layer number missing"},
        {",3=keep", "no layers named (found ','"}, {"-3=keep", "no layers named (found '-3'"},
        {"3--5=keep", "layer number missing"},
        {"7-4=keep", "character 1: range runs backwards (found '7-4', expected the smaller"},
        {"1,7-4=keep", "character 3: range runs backwards"},
        {"99999999999999999999=keep", "layer number too large (found '99999999999999999999'"},
        {"1073741824=keep", "layer number too large"}, {"3.5=keep", "no choice given (found '.5'"},
        {"1,full=keep", "character 3: layer number missing (found 'full'"},
        {"angle>4%=keep", "character 7: per cent of an angle (found '4%', expected degrees"},
        {"routing>14%%=keep", "bound of the test (found '14%%'"},
        {"routing>%=keep", "bound of the test (found '%'"}, {"lerp>50%=keep", "unknown metric"},
        {"full=lerp:50%", "parameter (found '50%'"},
        {"routng>1=keep", "unknown metric: did you mean routing? (found 'routng'"},
        {"ful=keep", "unknown layers: did you mean full? (found 'ful'"},
        {"speed>1=keep", "character 1: unknown metric (found 'speed', expected routing, rel_fro"},
        {"v.angle>1=keep", "unknown metric: did you mean angle? (found 'v.angle'"},
        {"q.routing>1=keep", "routing is a number of the whole layer"}, {"q.>1=keep", "unknown metric"},
        {"angle>=keep", "bound of the test (found 'keep', expected a number"}, {"angle>=keep", "character 8"},
        {"angle>1", "no choice given (found the end"}, {"angle=1=keep", "unknown layers (found 'angle'"},
        {"angle>>1=keep", "bound of the test (found '>'"}, {"angle>1,3=keep", "bound of the test (found '1'"},
        {">1=keep", "no layers named (found '>'"},
        {"a_word_that_is_longer_than_any_word_of_the_grammar_could_ever_be_in_any_version=keep",
            "unknown layers"},
        {"full=lerp:0.00000000000000000000000000000000000000000000000000000000000000000001",
            "parameter (found '0.0"},
        {"3/=keep", "character 3: unknown heads (found '=', expected heads such as q0-1,k0 or g1"},
        {"3/v0=keep", "unknown heads (found 'v0'"},
        {"3/q=keep", "character 4: head number missing (found '='"},
        {"3/q0,1=keep", "character 6: unknown heads (found '1'"},
        {"3/q0-=keep", "character 6: head number missing"},
        {"3/q2-1=keep", "character 4: range runs backwards (found '2-1', expected the smaller head first"},
        {"3/q99999999999=keep", "head number too large (found '99999999999', expected a head of the layer"},
        {"3/q0:q=keep", "character 5: no choice given (found ':'"},
        {"3:q/q0=keep", "character 4: no choice given (found '/'"},
        {"3/q0", "no choice given (found the end"}, {"/q0=keep", "no layers named (found '/'"},
        {"drop>0.1/q0=keep", "character 11: no choice given (found '0'"},
        {"drop>0.1/x=keep", "unknown heads (found 'x', expected q, k or g: these heads"},
        {"drop>0.1:q=keep",
            "character 9: a test of heads takes no role (found ':', expected /q, /k, /g or =MODE"},
        {"q.drop>0.1=keep", "unknown metric: did you mean drop? (found 'q.drop'"},
        {"f\x1b[31mull=keep", "'f\\x1b[31mull=keep': character 1: unknown layers"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_error err = {0};
        struct qk_spec spec;
        expect_failure(qk_spec_parse(rows[i].text, &spec, &err), &err, QK_USAGE, rows[i].words);
        assert_null(spec.range);
    }
}

static void test_heads(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        struct qk_head_run run[3];
        size_t n;
    } rows[] = {{"10/q0-1,k0=restore", {{QK_HEAD_Q, 0, 1}, {QK_HEAD_K, 0, 0}}, 2},
        {"7/g1=lerp:0.5", {{QK_HEAD_GROUP, 1, 1}}, 1}, {"all / k0 = restore", {{QK_HEAD_K, 0, 0}}, 1},
        {"full/q0-3=keep", {{QK_HEAD_Q, 0, 3}}, 1}, {"routing>0.1/g0=keep", {{QK_HEAD_GROUP, 0, 0}}, 1},
        {"1,3-5 / q 1 - 2 , g 0 , k 7 =qk-pro:1",
            {{QK_HEAD_Q, 1, 2}, {QK_HEAD_GROUP, 0, 0}, {QK_HEAD_K, 7, 7}}, 3}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_spec spec = parse(rows[i].text);
        assert_int_equal(spec.n_runs, rows[i].n);
        assert_int_equal(spec.role, -1);
        for (size_t k = 0; k < spec.n_runs; k++)
            assert_true(spec.run[k].of == rows[i].run[k].of && spec.run[k].first == rows[i].run[k].first &&
                        spec.run[k].last == rows[i].run[k].last);
        qk_spec_free(&spec);
        assert_null(spec.run);
    }
}

static void test_tests_of_heads(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum qk_head_metric metric;
        enum qk_head_kind of;
    } rows[] = {{"drop>0.02=restore", QK_HEAD_DROP, QK_HEAD_Q},
        {"needle>0.1/q=keep", QK_HEAD_NEEDLE, QK_HEAD_Q},
        {"needle >= 0.1 / k = keep", QK_HEAD_NEEDLE, QK_HEAD_K},
        {"drop>0.02/g=lerp:1", QK_HEAD_DROP, QK_HEAD_GROUP}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_spec spec = parse(rows[i].text);
        assert_int_equal(spec.selector, QK_SELECT_HEADS);
        assert_int_equal(spec.head_metric, rows[i].metric);
        assert_int_equal(spec.heads_of, rows[i].of);
        qk_spec_free(&spec);
    }
}

/* The reason must be readable, however long the text is that it is about. */
static void test_long_text(void **state)
{
    (void)state;
    char text[8192];
    struct qk_error err = {0};
    struct qk_spec spec;
    memset(text, '1', sizeof text);
    for (size_t i = 1; i < sizeof text - 1; i += 2)
        text[i] = ',';
    text[sizeof text - 1] = '\0';
    text[sizeof text - 2] = '?';
    expect_failure(
        qk_spec_parse(text, &spec, &err), &err, QK_USAGE, "character 8191: |layer number missing (found '?'");
}

static void test_selector_alone(void **state)
{
    (void)state;
    struct qk_error err = {0};
    struct qk_spec spec;
    expect_ok(qk_spec_parse_selector("1,4-7", &spec, &err), &err);
    assert_int_equal(spec.n_ranges, 2);
    assert_int_equal(spec.role, -1);
    assert_int_equal(spec.choice.mode, QK_KEEP);
    qk_spec_free(&spec);
    expect_ok(qk_spec_parse_selector(" q.angle >= 4 ", &spec, &err), &err);
    assert_int_equal(spec.selector, QK_SELECT_TEST);
    qk_spec_free(&spec);
    expect_failure(qk_spec_parse_selector("full=keep", &spec, &err), &err, QK_USAGE, "character 5");
    expect_failure(qk_spec_parse_selector("full:q", &spec, &err), &err, QK_USAGE, "character 5");
    expect_failure(qk_spec_parse_selector("", &spec, &err), &err, QK_USAGE, "no layers named");
}

/* --- applying, on a pair in memory: four query heads on two key heads, two on one in layer 6 --- */

enum { LAYERS = 8 };

static struct qk_pair_layer pair_layers[LAYERS];
static const struct qk_layer FOUR = {.role = {{.n_heads = 4}, {.n_heads = 2}}},
                             TWO = {.role = {{.n_heads = 2}, {.n_heads = 1}}};
static struct qk_pair pair = {.layer = pair_layers, .n_layers = LAYERS};
static struct qk_layer_drift drift[LAYERS];
static const struct qk_spec_numbers numbers = {.drift = drift};

/* Kinds f w l n f(problem) f l f; routing i / 10, q's rel_fro i, k's 7 - i; layer 7's numbers are unknown. */
static int make_pair(void **state)
{
    (void)state;
    static const enum qk_kind kinds[LAYERS] = {
        QK_FULL, QK_WINDOW, QK_LINEAR, QK_NONE, QK_FULL, QK_FULL, QK_LINEAR, QK_FULL};
    for (int i = 0; i < LAYERS; i++) {
        pair_layers[i] = (struct qk_pair_layer){.index = i, .kind = kinds[i], .has_qk = i != 3 && i != 4};
        pair_layers[i].side[QK_POST] = i == 6 ? &TWO : &FOUR;
        drift[i] = (struct qk_layer_drift){.index = i, .kind = kinds[i], .has_qk = i != 3 && i != 4};
        drift[i].routing_rel_fro = i == 7 ? (double)NAN : i / 10.0;
        drift[i].role[QK_Q].rel_fro = i == 7 ? (double)NAN : i;
        drift[i].role[QK_K].rel_fro = i == 7 ? (double)NAN : 7 - i;
    }
    pair_layers[4].problem = (char *)"the heads differ";
    return 0;
}

static void expect_matches(const char *selector, const char *layers)
{
    struct qk_error err = {0};
    struct qk_spec spec;
    char found[LAYERS + 1] = "";
    expect_ok(qk_spec_parse_selector(selector, &spec, &err), &err);
    for (int i = 0; i < LAYERS; i++)
        if (qk_spec_matches(&spec, &pair, &numbers, i))
            strcat(found, (const char[]){(char)('0' + i), '\0'});
    if (strcmp(found, layers) != 0)
        fail_msg("%s: found %s, expected %s", selector, found, layers);
    qk_spec_free(&spec);
}

static void test_matches(void **state)
{
    (void)state;
    expect_matches("all", "012567"); /* never a layer without q and k, nor one with a problem */
    expect_matches("full", "057");
    expect_matches("window", "1");
    expect_matches("linear", "26");
    expect_matches("1,4-6", "1456"); /* a list means what it says */
    expect_matches("routing>0.1", "256");
    expect_matches("routing>=0.1", "1256");
    expect_matches("routing<0.1", "0");
    expect_matches("routing<=0.1", "01");
    expect_matches("routing>-9", "01256"); /* unknown numbers match nothing */
    expect_matches("q.rel_fro>4", "56");
    expect_matches("k.rel_fro>4", "012");
    expect_matches("rel_fro>5.5", "016"); /* without a role the stronger of both */
    expect_matches("routing>9", "");
}

static void test_apply(void **state)
{
    (void)state;
    struct qk_error err = {0};
    struct qk_selection selection;
    int matched = -1;
    expect_ok(qk_selection_init(&selection, LAYERS, &err), &err);
    struct qk_spec spec = parse("full:q=lerp:0.5");
    expect_ok(qk_spec_apply(&spec, &pair, NULL, &selection, &matched, &err), &err);
    qk_spec_free(&spec);
    assert_int_equal(matched, 3);
    for (int i = 0; i < LAYERS; i++) {
        bool chosen = i == 0 || i == 5 || i == 7;
        assert_int_equal(selection.choice[i].role[QK_Q].mode, chosen ? QK_LERP : QK_KEEP);
        assert_int_equal(selection.choice[i].role[QK_K].mode, QK_KEEP);
    }
    spec = parse("5=keep"); /* later wins */
    expect_ok(qk_spec_apply(&spec, &pair, NULL, &selection, NULL, &err), &err);
    qk_spec_free(&spec);
    assert_int_equal(selection.choice[5].role[QK_Q].mode, QK_KEEP);
    spec = parse("routing>9=restore");
    expect_ok(qk_spec_apply(&spec, &pair, &numbers, &selection, &matched, &err), &err);
    qk_spec_free(&spec);
    assert_int_equal(matched, 0);
    qk_selection_free(&selection);
}

static void test_apply_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } rows[] = {{"0-8=restore", "no such layer (found 8, expected 0 to 7)"},
        {"1000000=restore", "no such layer (found 1000000"},
        {"0,3=restore", "layer 3 cannot be chosen: it has no q and k"},
        {"0-5=restore", "layer 3 cannot be chosen"},
        {"4=restore", "layer 4 cannot be chosen: the heads differ"},
        {"4/q0=restore", "layer 4 cannot be chosen: the heads differ"},
        {"0,3/q0=restore", "layer 3 cannot be chosen: it has no q and k"},
        {"5/q4=restore", "layer 5 has 4 query heads (found 4, expected 0 to 3)"},
        {"0-1,6/q1-3=restore", "layer 6 has 2 query heads (found 3, expected 0 to 1)"},
        {"5/k2=restore", "layer 5 has 2 key heads (found 2, expected 0 to 1)"},
        {"5/q0,g2=restore", "layer 5 has 2 key groups (found 2, expected 0 to 1)"},
        {"8/q0=restore", "no such layer (found 8"},
        {"drop>0.1=restore", "the needle mass of the heads is not known, which needle and drop test"}};
    struct qk_error err = {0};
    struct qk_selection selection, untouched;
    expect_ok(qk_selection_init(&selection, LAYERS, &err), &err);
    expect_ok(qk_selection_init(&untouched, LAYERS, &err), &err);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_spec spec = parse(rows[i].text);
        expect_failure(
            qk_spec_apply(&spec, &pair, NULL, &selection, NULL, &err), &err, QK_USAGE, rows[i].words);
        assert_true(qk_selection_equal(&selection, &untouched)); /* not even the layers before the fault */
        qk_spec_free(&spec);
    }
    qk_selection_free(&selection);
    qk_selection_free(&untouched);
}

static void expect_modes(const struct qk_selection *selection, int layer, const char *q, const char *k)
{
    const char *const expected[QK_ROLE_COUNT] = {q, k};
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        for (int h = 0; expected[r][h] != '\0'; h++) {
            enum qk_mode mode = qk_layer_choice_of(&selection->choice[layer], (enum qk_role)r, h).mode;
            if (mode != (expected[r][h] == 'r' ? QK_RESTORE : expected[r][h] == 'p' ? QK_QKPRO : QK_KEEP))
                fail_msg("layer %d: %s%d has mode %d", layer, qk_role_name((enum qk_role)r), h, mode);
        }
}

static void apply_one(const char *text, struct qk_selection *selection, int expected)
{
    static const double needle[4] = {0.9, 0.05, 0.3, (double)NAN}, drop[4] = {0.1, 0.2, -0.1, 0};
    static const struct qk_head_numbers heads[LAYERS] = {
        [5] = {4, {needle, drop}}, [6] = {4, {needle, drop}}};
    const struct qk_spec_numbers known = {.drift = drift, .heads = heads};
    struct qk_error err = {0};
    int matched = -1;
    struct qk_spec spec = parse(text);
    expect_ok(qk_spec_apply(&spec, &pair, &known, selection, &matched, &err), &err);
    if (matched != expected)
        fail_msg("%s: %d layers match, expected %d", text, matched, expected);
    qk_spec_free(&spec);
}

static void test_apply_to_heads(void **state)
{
    (void)state;
    struct qk_error err = {0};
    struct qk_selection s;
    expect_ok(qk_selection_init(&s, LAYERS, &err), &err);
    apply_one("5/q1-2,k0=restore", &s, 1);
    expect_modes(&s, 5, "krrk", "rk");
    apply_one("5/g1=keep", &s, 1);
    expect_modes(&s, 5, "krkk", "rk");
    apply_one("all/q2-9=restore", &s, 5); /* not layer 6, which has none of them */
    expect_modes(&s, 5, "krrr", "rk");
    expect_modes(&s, 0, "kkrr", "kk");
    expect_modes(&s, 6, "kk", "k");
    apply_one("linear/k1=restore", &s, 1);
    expect_modes(&s, 2, "kkrr", "kr");
    apply_one("0/q0=qk-pro:0.3", &s, 1); /* the group of q0 */
    expect_modes(&s, 0, "pprr", "pk");
    apply_one("0/k0=restore", &s, 1);
    expect_modes(&s, 0, "kkrr", "rk");
    apply_one("5=keep", &s, 1);
    assert_false(qk_layer_choice_by_head(&s.choice[5]));
    apply_one("drop>=0.1=restore", &s, 1); /* layer 6 has other heads than its numbers */
    expect_modes(&s, 5, "rrkk", "kk");
    apply_one("needle>0.1/k=restore", &s, 1);
    expect_modes(&s, 5, "rrkk", "rr");
    apply_one("drop<0/g=keep", &s, 1);
    expect_modes(&s, 5, "rrkk", "rk");
    apply_one("needle>5=restore", &s, 0);
    qk_selection_free(&s);
}

/* Sets each of the words that stand between spaces. */
static void apply_words(const char *words, struct qk_selection *selection)
{
    char copy[512];
    struct qk_error err = {0};
    assert_true(strlen(words) < sizeof copy);
    snprintf(copy, sizeof copy, "%s", words);
    for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
        struct qk_spec spec = parse(word);
        expect_ok(qk_spec_apply(&spec, &pair, NULL, selection, NULL, &err), &err);
        qk_spec_free(&spec);
    }
}

/* A selection as text, and back. */
static void test_text(void **state)
{
    (void)state;
    static const struct {
        const char *given, *text;
    } rows[] = {{"", "keep"}, {"5=restore", "5=restore"}, {"all=restore", "all=restore"},
        {"all:q=lerp:0.25", "all:q=lerp:0.25"}, {"full=qk-pro:0.3", "full=qk-pro:0.3"},
        {"5:q=restore 5:k=lerp:0.1 7=restore", "5:q=restore 5:k=lerp:0.1 7=restore"},
        {"0-2=restore 5-6:k=restore", "0-2=restore 5-6:k=restore"},
        {"1=lerp:0.30000000000000004", "1=lerp:0.30000000000000004"},
        {"5/q0-1,k0=restore", "5/q0-1,k0=restore"}, {"5/g0=restore", "5/q0-1,k0=restore"},
        {"5/q0-3=restore 5/k0-1=restore", "5=restore"},
        {"0,5/q3,q0=lerp:0.5 1/k1=restore", "0,5/q0,q3=lerp:0.5 1/k1=restore"},
        {"full/k0=restore full:q=lerp:0.5", "full:q=lerp:0.5 full/k0=restore"},
        {"1/g0=qk-pro:0.3 1/g1=qk-pro:2", "1/q0-1,k0=qk-pro:0.3 1/q2-3,k1=qk-pro:2"},
        {"6/q1=restore 5/q1=restore", "5/q1=restore 6/q1=restore"}};
    struct qk_error err = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_selection selection, again;
        char *text;
        expect_ok(qk_selection_init(&selection, LAYERS, &err), &err);
        expect_ok(qk_selection_init(&again, LAYERS, &err), &err);
        apply_words(rows[i].given, &selection);
        expect_ok(qk_spec_text(&selection, &pair, &text, &err), &err);
        assert_string_equal(text, rows[i].text);
        if (i > 0)
            apply_words(text, &again);
        assert_true(qk_selection_equal(&selection, &again));
        free(text);
        qk_selection_free(&selection);
        qk_selection_free(&again);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_selectors),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_tests),
        cmocka_unit_test(test_doubt),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_tests_of_heads),
        cmocka_unit_test(test_long_text),
        cmocka_unit_test(test_selector_alone),
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_apply),
        cmocka_unit_test(test_apply_refuses),
        cmocka_unit_test(test_apply_to_heads),
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, make_pair, NULL);
}
