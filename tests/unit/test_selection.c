/* test_selection.c - choices and their table, selections, and the log of edits behind undo and redo. */
#include "helper.h"

#include "blend/choice.h"
#include "blend/selection.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct qk_choice choice(enum qk_mode mode, double param)
{
    return (struct qk_choice){mode, param};
}

/* --- choices --- */

/* What is true of every row of the table. */
static void check_mode(enum qk_mode i)
{
    const struct qk_mode_info *info = qk_mode_info(i);
    enum qk_mode mode;
    assert_true(qk_mode_parse(info->name, &mode) && mode == i);
    assert_true(info->help[0] != '\0');
    assert_int_equal(info->symbol[0] != '\0', info->has_param);
    assert_int_equal(info->ascii[0] != '\0', info->has_param);
    assert_int_equal(info->placeholder[0] != '\0', info->has_param);
    if (info->has_param)
        assert_true(info->start >= info->low && info->start <= info->high);
    for (int t = 0; t < info->n_trials; t++) {
        struct qk_choice tried = choice(i, info->trial[t].param);
        assert_int_equal(qk_choice_check(tried, NULL), QK_OK);
        assert_int_equal(qk_choice_effect(tried).mode, i); /* at an edge it is another mode's trial */
    }
}

static void test_mode_table(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool has_param, both_roles, needs_k, copies, linear;
    } rows[] = {{"keep", false, false, false, true, true}, {"restore", false, false, false, true, true},
        {"lerp", true, false, false, false, true}, {"qk-pro", true, true, true, false, false},
        {"procrustes", true, false, true, false, false},
        {"restore-latent", false, false, false, true, false}};
    for (int i = 0; i < QK_MODE_COUNT; i++)
        check_mode((enum qk_mode)i);
    enum qk_mode mode;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_true(qk_mode_parse(rows[i].name, &mode));
        const struct qk_mode_info *info = qk_mode_info(mode);
        assert_int_equal(info->has_param, rows[i].has_param);
        assert_int_equal(info->both_roles, rows[i].both_roles);
        assert_int_equal(info->needs_k, rows[i].needs_k);
        assert_int_equal(qk_mode_copies(mode), rows[i].copies);
        assert_int_equal(qk_mode_is_linear(mode), rows[i].linear);
    }
    assert_false(qk_mode_parse("Keep", &mode) || qk_mode_parse("", &mode) || qk_mode_parse("qkpro", &mode));
}

static bool is_keep(enum qk_mode mode)
{
    return mode == QK_KEEP;
}

static bool is_no_mode(enum qk_mode mode)
{
    (void)mode;
    return false;
}

static void test_mode_list(void **state)
{
    (void)state;
    char out[QK_MODE_LIST], word[64];
    assert_string_equal(qk_mode_list(out, is_keep, false), "keep");
    assert_string_equal(qk_mode_list(out, is_no_mode, true), "");
    assert_string_equal(qk_mode_list(out, qk_mode_copies, true), "keep, restore or restore-latent");
    qk_mode_list(
        out, NULL, true); /* every mode stands in it, and it ends with the last one: nothing is cut */
    for (int i = 0; i < QK_MODE_COUNT; i++) {
        const struct qk_mode_info *info = qk_mode_info((enum qk_mode)i);
        snprintf(word, sizeof word, "%s%s%s", info->name, info->has_param ? ":" : "", info->placeholder);
        assert_non_null(strstr(out, word));
    }
    assert_true(qk_ends_with(out, word));
    assert_null(strstr(qk_mode_list(out, NULL, false), ":"));
}

static void test_choice_alpha(void **state)
{
    (void)state;
    double alpha = -1;
    assert_true(qk_choice_alpha(choice(QK_KEEP, 0), &alpha) && alpha == 0);
    assert_true(qk_choice_alpha(choice(QK_RESTORE, 0), &alpha) && alpha == 1);
    assert_true(qk_choice_alpha(choice(QK_LERP, 0.3), &alpha) && alpha == 0.3);
    assert_false(qk_choice_alpha(choice(QK_QKPRO, 0.3), &alpha));
    assert_false(qk_choice_alpha(choice(QK_PROCRUSTES, 0.3), &alpha));
    assert_false(qk_choice_alpha(choice(QK_RESTORE_LATENT, 0), &alpha));
}

static void test_choice_check(void **state)
{
    (void)state;
    struct qk_error err = {0};
    static const struct {
        enum qk_mode mode;
        double param;
        const char *words; /* NULL: accepted */
    } rows[] = {{QK_KEEP, 99, NULL}, {QK_RESTORE, NAN, NULL}, {QK_LERP, 0, NULL}, {QK_LERP, 1, NULL},
        {QK_LERP, 1.0000001, "lerp: parameter out of range (found 1, expected 0 to 1)"},
        {QK_LERP, -1e-9, "lerp: parameter out of range"},
        {QK_LERP, NAN, "lerp: parameter out of range (found"}, {QK_QKPRO, 0, NULL}, {QK_QKPRO, 1e300, NULL},
        {QK_QKPRO, -0.1, "qk-pro: parameter out of range (found -0.1"},
        {QK_QKPRO, HUGE_VAL, "expected a finite number >= 0"}, {QK_PROCRUSTES, 0.5, NULL},
        {QK_PROCRUSTES, 2, "procrustes: parameter out of range (found 2, expected 0 to 1)"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum qk_code code = qk_choice_check(choice(rows[i].mode, rows[i].param), &err);
        if (rows[i].words == NULL)
            expect_ok(code, &err);
        else
            expect_failure(code, &err, QK_USAGE, rows[i].words);
    }
}

static void test_choice_effect(void **state)
{
    (void)state;
    static const struct {
        struct qk_choice choice, effect;
    } rows[] = {{{QK_KEEP, 0}, {QK_KEEP, 0}}, {{QK_RESTORE, 3}, {QK_RESTORE, 0}},
        {{QK_LERP, 0}, {QK_KEEP, 0}}, {{QK_LERP, 1}, {QK_RESTORE, 0}}, {{QK_LERP, 0.5}, {QK_LERP, 0.5}},
        {{QK_QKPRO, 0}, {QK_RESTORE, 0}}, {{QK_QKPRO, 1}, {QK_QKPRO, 1}},
        {{QK_PROCRUSTES, 1}, {QK_RESTORE, 0}},
        {{QK_PROCRUSTES, 0}, {QK_PROCRUSTES, 0}}}; /* procrustes 0 still turns */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_choice effect = qk_choice_effect(rows[i].choice);
        assert_int_equal(effect.mode, rows[i].effect.mode);
        assert_true(effect.param == rows[i].effect.param);
    }
}

static void test_choice_text(void **state)
{
    (void)state;
    char out[QK_CHOICE_TEXT];
    assert_string_equal(qk_choice_text(out, choice(QK_KEEP, 7)), "keep");
    assert_string_equal(qk_choice_text(out, choice(QK_LERP, 0.5)), "lerp 0.5");
    assert_string_equal(qk_choice_text(out, choice(QK_QKPRO, 0.3)), "qk-pro 0.3");
    assert_string_equal(qk_choice_text(out, choice(QK_QKPRO, 1.23456789e-300)), "qk-pro 1.23457e-300");
    assert_true(qk_choice_equal(choice(QK_KEEP, 1), choice(QK_KEEP, 2)));
    assert_false(qk_choice_equal(choice(QK_LERP, 0.1), choice(QK_LERP, 0.2)));
    assert_false(qk_choice_equal(choice(QK_LERP, 0.1), choice(QK_PROCRUSTES, 0.1)));
}

/* --- selections, on a pair in memory: layer 2 has no q and k, layer 3 has a problem --- */

enum { LAYERS = 6 };

static struct qk_pair_layer pair_layers[LAYERS];
static struct qk_pair pair = {.layer = pair_layers, .n_layers = LAYERS};

static int make_pair(void **state)
{
    (void)state;
    for (int i = 0; i < LAYERS; i++)
        pair_layers[i] = (struct qk_pair_layer){.index = i, .kind = QK_FULL, .has_qk = true};
    pair_layers[2].kind = QK_NONE;
    pair_layers[2].has_qk = pair_layers[3].has_qk = false;
    pair_layers[3].problem = (char *)"the heads differ";
    return 0;
}

static struct qk_selection new_selection(void)
{
    struct qk_error err = {0};
    struct qk_selection selection;
    expect_ok(qk_selection_init(&selection, LAYERS, &err), &err);
    return selection;
}

static void set(struct qk_selection *selection, int layer, int role, enum qk_mode mode, double param)
{
    struct qk_error err = {0};
    expect_ok(qk_selection_set(selection, &pair, layer, role, choice(mode, param), &err), &err);
}

static void expect_choices(
    const struct qk_selection *selection, int layer, struct qk_choice q, struct qk_choice k)
{
    assert_true(qk_choice_equal(selection->choice[layer].role[QK_Q], q));
    assert_true(qk_choice_equal(selection->choice[layer].role[QK_K], k));
}

static void test_set(void **state)
{
    (void)state;
    struct qk_selection s = new_selection();
    assert_int_equal(qk_selection_count(&s), 0);
    set(&s, 0, QK_Q, QK_RESTORE, 5);
    expect_choices(&s, 0, choice(QK_RESTORE, 0), choice(QK_KEEP, 0));
    assert_true(s.choice[0].role[QK_Q].param == 0); /* what has no parameter stores none */
    set(&s, 1, -1, QK_LERP, 0.5);
    expect_choices(&s, 1, choice(QK_LERP, 0.5), choice(QK_LERP, 0.5));
    set(&s, 1, QK_K, QK_KEEP, 0);
    expect_choices(&s, 1, choice(QK_LERP, 0.5), choice(QK_KEEP, 0));
    assert_int_equal(qk_selection_count(&s), 2);
    set(&s, 1, QK_Q, QK_LERP, -0.0);
    assert_false(signbit(s.choice[1].role[QK_Q].param)); /* or it would be shown, and saved, as -0 */
    qk_selection_free(&s);
}

static void test_both_roles_at_once(void **state)
{
    (void)state;
    struct qk_selection s = new_selection();
    set(&s, 0, QK_Q, QK_QKPRO, 0.3);
    expect_choices(&s, 0, choice(QK_QKPRO, 0.3), choice(QK_QKPRO, 0.3));
    set(&s, 0, QK_K, QK_RESTORE, 0);
    expect_choices(&s, 0, choice(QK_KEEP, 0), choice(QK_RESTORE, 0));
    set(&s, 0, QK_K, QK_QKPRO, 2);
    expect_choices(&s, 0, choice(QK_QKPRO, 2), choice(QK_QKPRO, 2));
    set(&s, 0, QK_Q, QK_KEEP, 0);
    expect_choices(&s, 0, choice(QK_KEEP, 0), choice(QK_KEEP, 0));
    qk_selection_free(&s);
}

static void test_set_refuses(void **state)
{
    (void)state;
    struct qk_selection s = new_selection(), untouched = new_selection();
    static const struct {
        int layer;
        struct qk_choice choice;
        const char *words;
    } rows[] = {{-1, {QK_RESTORE, 0}, "no such layer (found -1, expected 0 to 5)"},
        {LAYERS, {QK_RESTORE, 0}, "no such layer (found 6, expected 0 to 5)"},
        {2, {QK_RESTORE, 0}, "layer 2 cannot be chosen: it has no q and k"},
        {3, {QK_RESTORE, 0}, "layer 3 cannot be chosen: the heads differ"},
        {3, {QK_KEEP, 0}, "layer 3 cannot be chosen"}, {0, {QK_LERP, 2}, "lerp: parameter out of range"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_error err = {0};
        expect_failure(qk_selection_set(&s, &pair, rows[i].layer, QK_Q, rows[i].choice, &err), &err, QK_USAGE,
            rows[i].words);
        assert_true(qk_selection_equal(&s, &untouched));
    }
    qk_selection_free(&s);
    qk_selection_free(&untouched);
}

static void test_copy_and_equal(void **state)
{
    (void)state;
    struct qk_error err = {0};
    struct qk_selection a = new_selection(), b, none;
    set(&a, 4, -1, QK_LERP, 0.25);
    expect_ok(qk_selection_copy(&b, &a, &err), &err);
    assert_true(qk_selection_equal(&a, &b));
    set(&b, 4, QK_K, QK_LERP, 0.5);
    assert_false(qk_selection_equal(&a, &b));
    assert_true(a.choice[4].role[QK_K].param == 0.25);
    qk_selection_free(&b);
    expect_ok(qk_selection_init(&none, 0, &err), &err);
    assert_false(qk_selection_equal(&a, &none));
    expect_ok(qk_selection_copy(&b, &none, &err), &err);
    assert_true(qk_selection_equal(&b, &none));
    qk_selection_free(&a);
    qk_selection_free(&b);
    qk_selection_free(&none);
}

/* --- history --- */

static void commit(struct qk_history *history, const struct qk_selection *next, const char *label)
{
    struct qk_error err = {0};
    expect_ok(qk_history_commit(history, next, label, &err), &err);
}

static void test_history(void **state)
{
    (void)state;
    struct qk_error err = {0};
    struct qk_history *history;
    struct qk_selection next = new_selection();
    const char *label = "untouched";
    expect_ok(qk_history_new(LAYERS, &history, &err), &err);
    assert_false(qk_history_undo(history, &label) || qk_history_redo(history, &label));
    assert_string_equal(label, "untouched");
    commit(history, &next, "nothing differs");
    assert_int_equal(qk_history_undo_depth(history), 0);

    set(&next, 0, -1, QK_RESTORE, 0);
    set(&next, 1, -1, QK_RESTORE, 0);
    commit(history, &next, "restore 0-1");
    set(&next, 1, QK_Q, QK_KEEP, 0);
    commit(history, &next, "keep q of 1");
    assert_int_equal(qk_history_undo_depth(history), 2);
    assert_true(qk_selection_equal(qk_history_current(history), &next));
    assert_true(qk_history_undo(history, &label));
    assert_string_equal(label, "keep q of 1");
    expect_choices(qk_history_current(history), 1, choice(QK_RESTORE, 0), choice(QK_RESTORE, 0));
    assert_true(qk_history_undo(history, NULL)); /* one edit over two layers goes at once */
    assert_int_equal(qk_selection_count(qk_history_current(history)), 0);
    assert_int_equal(qk_history_redo_depth(history), 2);
    assert_true(qk_history_redo(history, &label));
    assert_string_equal(label, "restore 0-1");
    set(&next, 5, -1, QK_LERP, 0.5);
    commit(history, &next, "lerp 5"); /* drops what could be redone */
    assert_int_equal(qk_history_redo_depth(history), 0);
    assert_int_equal(qk_history_undo_depth(history), 2);
    assert_false(qk_history_redo(history, &label));
    /* committing the current selection itself is no edit and drops nothing */
    assert_true(qk_history_undo(history, NULL));
    commit(history, qk_history_current(history), "itself");
    assert_int_equal(qk_history_redo_depth(history), 1);
    qk_history_free(history);
    qk_history_free(NULL);
    qk_selection_free(&next);
}

/* A thousand random edits, undone and redone in random runs: every state on the way is the one recorded. */
static void test_random_walk(void **state)
{
    (void)state;
    enum { EDITS = 1000 };
    static struct qk_selection states[EDITS + 1];
    struct qk_error err = {0};
    struct qk_history *history;
    uint64_t seed = 5;
    int at = 0; /* states[at] is current, states[0..top] are recorded */
    expect_ok(qk_history_new(LAYERS, &history, &err), &err);
    states[0] = new_selection();
    for (int edits = 0, top = 0; edits < EDITS;) {
        uint64_t dice = random_bits(&seed);
        if (dice % 10 < 7) {
            static const int usable[] = {0, 1, 4, 5};
            struct qk_selection next;
            expect_ok(qk_selection_copy(&next, qk_history_current(history), &err), &err);
            for (uint64_t n = 1 + dice / 16 % 3; n > 0; n--) {
                uint64_t more = random_bits(&seed);
                set(&next, usable[more % 4], (int)(more / 4 % 3) - 1,
                    (enum qk_mode)(more / 16 % QK_MODE_COUNT), (double)(more / 256 % 8) / 8);
            }
            bool differs = !qk_selection_equal(&next, qk_history_current(history));
            commit(history, &next, "step");
            if (differs) {
                for (; top > at; top--)
                    qk_selection_free(&states[top]);
                states[++at] = next;
                top = at;
            } else {
                qk_selection_free(&next);
            }
            edits++;
        } else if (dice % 10 < 9) {
            assert_int_equal(qk_history_undo(history, NULL), at > 0);
            at -= at > 0;
        } else {
            assert_int_equal(qk_history_redo(history, NULL), at < top);
            at += at < top;
        }
        assert_true(qk_selection_equal(qk_history_current(history), &states[at]));
        assert_int_equal(qk_history_undo_depth(history), at);
        assert_int_equal(qk_history_redo_depth(history), top - at);
        if (edits == EDITS) {
            for (; at > 0; at--)
                assert_true(qk_history_undo(history, NULL));
            assert_true(qk_selection_equal(qk_history_current(history), &states[0]));
            for (at = 1; at <= top; at++) {
                assert_true(qk_history_redo(history, NULL));
                assert_true(qk_selection_equal(qk_history_current(history), &states[at]));
            }
            for (; top >= 0; top--)
                qk_selection_free(&states[top]);
        }
    }
    qk_history_free(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mode_table),
        cmocka_unit_test(test_mode_list),
        cmocka_unit_test(test_choice_alpha),
        cmocka_unit_test(test_choice_check),
        cmocka_unit_test(test_choice_effect),
        cmocka_unit_test(test_choice_text),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_both_roles_at_once),
        cmocka_unit_test(test_set_refuses),
        cmocka_unit_test(test_copy_and_equal),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_random_walk),
    };
    return cmocka_run_group_tests(tests, make_pair, NULL);
}
