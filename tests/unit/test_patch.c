/* test_patch.c - the layers that a patch changes: those with a changed tensor in their q or k, and no others. */
#include "helper.h"

#include "base/blas.h"
#include "blend/patch.h"

#include <stdlib.h>

/* With each changed tensor alone: it changes the layer of its choice. Returns how many there are. */
static size_t check_changes(const struct qk_pair *pair, enum qk_mode mode)
{
    struct qk_error err = {0};
    struct qk_selection selection;
    struct qk_selection_patch patch;
    expect_ok(qk_selection_init(&selection, pair->n_layers, &err), &err);
    for (int i = 0; i < pair->n_layers; i++)
        if (pair->layer[i].has_qk)
            expect_ok(qk_selection_set(&selection, pair, i, -1, (struct qk_choice){mode, 0}, &err), &err);
    expect_ok(qk_selection_patch_make(pair, &selection, -1, true, &patch, &err), &err);
    for (size_t c = 0; c < patch.n; c++) {
        struct qk_selection_patch alone = patch;
        alone.change = &patch.change[c];
        alone.n = 1;
        for (int i = 0; i < pair->n_layers; i++)
            if (qk_selection_patch_changes(&alone, i) != (i == patch.change[c].layer))
                fail_msg("%s of layer %d: layer %d is reported the other way", patch.change[c].tensor->name,
                    patch.change[c].layer, i);
    }
    size_t n = patch.n;
    qk_selection_patch_free(&patch);
    qk_selection_free(&selection);
    return n;
}

static void test_every_family(void **state)
{
    (void)state;
    for (size_t f = 0; f < N_FAMILIES; f++) {
        struct qk_pair *pair = open_family(FAMILIES[f]);
        assert_true(check_changes(pair, QK_RESTORE) > 0);
        qk_pair_close(pair);
    }
}

/* Factors, the latent's norm: tensors that hold no head's rows by themselves. */
static void test_latent_attention(void **state)
{
    (void)state;
    struct qk_pair *pair = open_family("deepseek_v3");
    assert_int_equal(check_changes(pair, QK_RESTORE_LATENT), 6 * pair->n_layers);
    qk_pair_close(pair);
}

/* Nothing is changed by a selection that keeps everything. */
static void test_nothing(void **state)
{
    (void)state;
    struct qk_error err = {0};
    struct qk_selection selection;
    struct qk_selection_patch patch;
    struct qk_pair *pair = open_family("llama");
    expect_ok(qk_selection_init(&selection, pair->n_layers, &err), &err);
    expect_ok(qk_selection_patch_make(pair, &selection, -1, true, &patch, &err), &err);
    for (int i = 0; i < pair->n_layers; i++)
        assert_false(qk_selection_patch_changes(&patch, i));
    qk_selection_patch_free(&patch);
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_family),
        cmocka_unit_test(test_latent_attention),
        cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
