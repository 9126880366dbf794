/* test_head_choices.c - choices by head: each changes its own rows alone, and all of them together are the choice of
 * their layer, bit for bit, for every mode and family. */
#include "helper.h"

#include "base/blas.h"
#include "blend/blend.h"
#include "blend/change.h"
#include "blend/selection.h"
#include "drift/product.h"

#include <stdlib.h>
#include <string.h>

static struct qk_selection new_selection(const struct qk_pair *pair)
{
    struct qk_error err = {0};
    struct qk_selection selection;
    expect_ok(qk_selection_init(&selection, pair->n_layers, &err), &err);
    return selection;
}

static void set_heads(struct qk_selection *selection, const struct qk_pair *pair, int layer,
    enum qk_head_kind of, int first, int last, struct qk_choice choice)
{
    struct qk_error err = {0};
    const struct qk_head_run run = {of, first, last};
    expect_ok(qk_selection_set_heads(selection, pair, layer, &run, 1, choice, &err), &err);
}

/* The tensor with its choices applied; post's bytes when it does not change. The caller frees. */
static char *changed_bytes(
    const struct qk_pair *pair, const struct qk_selection *selection, const struct qk_tensor *tensor)
{
    struct qk_change *change;
    size_t n;
    struct qk_error err = {0};
    char *bytes = malloc(tensor->bytes + 1);
    expect_ok(
        qk_checkpoint_read(pair->model[QK_POST]->checkpoint, tensor, 0, bytes, (size_t)tensor->bytes, &err),
        &err);
    expect_ok(qk_changes_find(pair, selection, true, false, &change, &n, &err), &err);
    for (size_t i = 0; i < n; i++)
        if (change[i].tensor == tensor)
            expect_ok(qk_change_apply(pair, selection, true, &change[i], bytes, NULL, &err), &err);
    free(change);
    return bytes;
}

/* The head of a role to which a byte of a tensor belongs, worked out from the view; -1 without one. */
static int owner(
    const struct qk_layer *layer, enum qk_role role, const struct qk_tensor *tensor, uint64_t byte)
{
    const struct qk_view *view = &layer->role[role];
    uint64_t element = byte / (qk_dtype_bits(tensor->dtype) / 8), rows = (uint64_t)layer->head_dim,
             row = tensor == view->weight && view->transposed ? element % tensor->shape[1]
                   : tensor == view->weight                   ? element / tensor->shape[1]
                                                              : element;
    if (tensor == view->norm)
        return (int)(element / rows);
    for (int h = 0; h < view->n_heads; h++)
        if (row >= view->first_row[h] && row < view->first_row[h] + rows - (uint64_t)view->tail)
            return h;
    return -1;
}

/* One tensor of a role: each head in turn, added up. */
static void check_sum(const struct qk_pair *pair, int layer, enum qk_role role, struct qk_choice choice,
    const struct qk_tensor *tensor)
{
    const struct qk_layer *post = pair->layer[layer].side[QK_POST];
    struct qk_selection none = new_selection(pair), all = new_selection(pair);
    struct qk_error err = {0};
    expect_ok(qk_selection_set(&all, pair, layer, -1, choice, &err), &err);
    char *sum = changed_bytes(pair, &none, tensor), *whole = changed_bytes(pair, &all, tensor);
    char *kept = changed_bytes(pair, &none, tensor);
    /* what every head shares follows them all, and one tensor may hold both roles */
    bool shared = tensor == post->role[role].norm && qk_blend_shares_gain(post, role);
    for (int h = 0; h < post->role[role].n_heads; h++) {
        struct qk_selection one = new_selection(pair);
        set_heads(&one, pair, layer, (enum qk_head_kind)role, h, h, choice);
        char *bytes = changed_bytes(pair, &one, tensor);
        bool alone = post->role[role].n_heads == 1;
        for (uint64_t i = 0; i < tensor->bytes; i++) {
            bool own = !shared && owner(post, role, tensor, i) == h;
            if (own)
                sum[i] = bytes[i];
            if (qk_mode_info(choice.mode)->both_roles) /* the other heads of its group change, too */
                continue;
            if ((own || (alone && shared)) ? bytes[i] != whole[i] : bytes[i] != kept[i])
                fail_msg("%s %s%d: byte %llu", tensor->name, qk_role_name(role), h, (unsigned long long)i);
        }
        free(bytes);
        qk_selection_free(&one);
    }
    for (uint64_t i = 0; i < tensor->bytes; i++)
        if (!shared && owner(post, role, tensor, i) >= 0 && sum[i] != whole[i])
            fail_msg("%s %s: byte %llu of the sum", tensor->name, qk_role_name(role), (unsigned long long)i);
    free(sum);
    free(whole);
    free(kept);
    qk_selection_free(&none);
    qk_selection_free(&all);
}

static int check_layer(const struct qk_pair *pair, int layer)
{
    const struct qk_layer *post = pair->layer[layer].side[QK_POST];
    int checked = 0;
    for (int m = 0; m < QK_MODE_COUNT; m++) {
        struct qk_choice choice = {(enum qk_mode)m, qk_mode_info((enum qk_mode)m)->start};
        const struct qk_layer_choice both = {.role = {choice, choice}};
        struct qk_error err = {0};
        if (!qk_blend_offers(post, choice.mode) || qk_blend_check(pair, layer, &both, true, &err) != QK_OK)
            continue;
        for (int r = 0; r < QK_ROLE_COUNT; r++) {
            const struct qk_view *view = &post->role[r];
            const struct qk_tensor *const tensors[] = {view->weight, view->bias, view->norm};
            for (int t = 0; t < 3; t++)
                if (tensors[t] != NULL)
                    check_sum(pair, layer, (enum qk_role)r, choice, tensors[t]);
        }
        checked++;
    }
    return checked;
}

static void check_family(const char *family)
{
    struct qk_pair *pair = open_family(family);
    bool seen[QK_KIND_COUNT] = {false};
    int checked = 0;
    for (int i = 0; i < pair->n_layers; i++)
        if (pair->layer[i].has_qk && !seen[pair->layer[i].kind]) {
            seen[pair->layer[i].kind] = true;
            checked += check_layer(pair, i);
        }
    assert_true(checked > 1);
    qk_pair_close(pair);
}

static void test_every_family(void **state)
{
    (void)state;
    for (size_t f = 0; f < N_FAMILIES; f++)
        check_family(FAMILIES[f]);
    check_family("deepseek_v3");
}

/* Rows, bias and gains at once: all heads by their numbers are the layer's choice, in form, too. */
static void test_all_heads_are_the_layer(void **state)
{
    (void)state;
    struct qk_pair *pair = open_family("qwen3");
    struct qk_error err = {0};
    struct qk_selection all = new_selection(pair), heads = new_selection(pair), groups = new_selection(pair);
    const struct qk_choice lerp = {QK_LERP, 0.5};
    int q = qk_selection_heads(&pair->layer[0], QK_HEAD_Q),
        k = qk_selection_heads(&pair->layer[0], QK_HEAD_K);
    expect_ok(qk_selection_set(&all, pair, 0, -1, lerp, &err), &err);
    for (int h = 0; h < q; h++) {
        assert_false(qk_selection_equal(&all, &heads));
        set_heads(&heads, pair, 0, QK_HEAD_Q, h, h, lerp);
    }
    set_heads(&heads, pair, 0, QK_HEAD_K, 0, k - 1, lerp);
    set_heads(&groups, pair, 0, QK_HEAD_GROUP, 0, k - 1, lerp);
    assert_true(qk_selection_equal(&all, &heads));
    assert_true(qk_selection_equal(&all, &groups));
    assert_false(qk_layer_choice_by_head(&heads.choice[0]));
    qk_selection_free(&all);
    qk_selection_free(&heads);
    qk_selection_free(&groups);
    qk_pair_close(pair);
}

/* Slices that the heads of latent attention share follow them when all agree. */
static void test_latent_attention(void **state)
{
    (void)state;
    struct qk_pair *pair = open_family("deepseek_v3");
    int layer = 2, n = qk_selection_heads(&pair->layer[layer], QK_HEAD_K);
    const struct qk_view *view = &pair->layer[layer].side[QK_POST]->role[QK_K];
    struct qk_selection selection = new_selection(pair);
    char *post = changed_bytes(pair, &selection, view->down), *bytes;
    set_heads(&selection, pair, layer, QK_HEAD_K, 0, n - 2, (struct qk_choice){QK_RESTORE_LATENT, 0});
    bytes = changed_bytes(pair, &selection, view->down);
    assert_memory_equal(bytes, post, view->down->bytes);
    free(bytes);
    set_heads(&selection, pair, layer, QK_HEAD_K, n - 1, n - 1, (struct qk_choice){QK_RESTORE, 0});
    bytes = changed_bytes(pair, &selection, view->down); /* the rotating rows, but not the latent */
    size_t width = (size_t)(view->down->bytes / view->down->shape[0]),
           rank = (size_t)view->weight->shape[1] * width;
    assert_memory_equal(bytes, post, rank);
    assert_memory_not_equal(bytes + rank, post + rank, view->down->bytes - rank);
    free(bytes);
    free(post);
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

/* The current model's views are those of the bytes that are written. */
static void test_views_of_current(void **state)
{
    (void)state;
    struct qk_pair *pair = open_family("deepseek_v3");
    struct qk_selection selection = new_selection(pair);
    const struct qk_choice restore = {QK_RESTORE, 0};
    const struct qk_layer *pre = pair->layer[2].side[QK_PRE], *post = pair->layer[2].side[QK_POST];
    const struct qk_product_sources sources = {.up = {pair->model[QK_PRE], pre},
        .latent = {pair->model[QK_POST], post},
        .tail = {pair->model[QK_POST], post}};
    size_t n = (size_t)post->head_dim * (size_t)post->d;
    double *expected = malloc(n * sizeof *expected), *found = malloc(n * sizeof *found);
    struct qk_heads *heads;
    struct qk_error err = {0};
    set_heads(&selection, pair, 2, QK_HEAD_K, 1, 1, restore);
    expect_ok(qk_heads_of_blend(pair, 2, &selection.choice[2], QK_GAINS_NONE, &heads, &err), &err);
    expect_ok(heads->read(heads, QK_K, 1, found, &err), &err);
    expect_ok(qk_product_read(&sources, QK_K, 1, expected, &err), &err);
    assert_memory_equal(found, expected, n * sizeof *found);
    expect_ok(heads->read(heads, QK_K, 0, found, &err), &err);
    const struct qk_product_sources kept = qk_product_of(pair->model[QK_POST], post);
    expect_ok(qk_product_read(&kept, QK_K, 0, expected, &err), &err);
    assert_memory_equal(found, expected, n * sizeof *found);
    qk_heads_free(heads);
    free(expected);
    free(found);
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

static void expect_choice(
    const struct qk_selection *s, int layer, enum qk_role role, int head, enum qk_mode mode)
{
    assert_int_equal(qk_layer_choice_of(&s->choice[layer], role, head).mode, mode);
}

/* A mode of both roles takes whole groups, and leaves them as a whole. */
static void test_groups(void **state)
{
    (void)state;
    struct qk_pair *pair = open_family("hypenet");
    struct qk_selection s = new_selection(pair);
    int q = qk_selection_heads(&pair->layer[7], QK_HEAD_Q),
        k = qk_selection_heads(&pair->layer[7], QK_HEAD_K), per_group = q / k;
    assert_true(k > 1 && per_group > 1);
    set_heads(&s, pair, 7, QK_HEAD_Q, per_group, per_group, (struct qk_choice){QK_QKPRO, 0.3});
    expect_choice(&s, 7, QK_K, 1, QK_QKPRO);
    expect_choice(&s, 7, QK_K, 0, QK_KEEP);
    expect_choice(&s, 7, QK_Q, 0, QK_KEEP);
    expect_choice(&s, 7, QK_Q, per_group + 1, QK_QKPRO);
    set_heads(&s, pair, 7, QK_HEAD_Q, per_group + 1, per_group + 1, (struct qk_choice){QK_RESTORE, 0});
    expect_choice(&s, 7, QK_Q, per_group + 1, QK_RESTORE);
    expect_choice(&s, 7, QK_Q, per_group, QK_KEEP);
    expect_choice(&s, 7, QK_K, 1, QK_KEEP);
    set_heads(&s, pair, 7, QK_HEAD_GROUP, 0, 0, (struct qk_choice){QK_QKPRO, 2});
    struct qk_error err = {0};
    expect_ok(qk_selection_set(&s, pair, 7, QK_K, (struct qk_choice){QK_LERP, 0.5}, &err), &err);
    expect_choice(&s, 7, QK_Q, 0, QK_KEEP); /* left with its key head */
    expect_choice(&s, 7, QK_Q, per_group + 1, QK_RESTORE);
    expect_choice(&s, 7, QK_K, 0, QK_LERP);
    qk_selection_free(&s);
    qk_pair_close(pair);
}

static void test_refusals(void **state)
{
    (void)state;
    struct qk_pair *pair = open_family("hypenet");
    struct qk_selection s = new_selection(pair), untouched = new_selection(pair);
    static const struct {
        struct qk_head_run run;
        const char *words;
    } rows[] = {{{QK_HEAD_Q, 3, 4}, "layer 7 has 4 query heads (found 4, expected 0 to 3)"},
        {{QK_HEAD_K, 9, 9}, "layer 7 has 2 key heads (found 9, expected 0 to 1)"},
        {{QK_HEAD_GROUP, 0, 2}, "layer 7 has 2 key groups (found 2, expected 0 to 1)"},
        {{QK_HEAD_Q, -1, 0}, "(found -1, expected 0 to 3)"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qk_error err = {0};
        expect_failure(
            qk_selection_set_heads(&s, pair, 7, &rows[i].run, 1, (struct qk_choice){QK_RESTORE, 0}, &err),
            &err, QK_USAGE, rows[i].words);
        assert_true(qk_selection_equal(&s, &untouched));
    }
    qk_selection_free(&s);
    qk_selection_free(&untouched);
    qk_pair_close(pair);
}

/* Undo and redo give choices by head back; a copy outlives what it was made from. */
static void test_history(void **state)
{
    (void)state;
    struct qk_pair *pair = open_family("hypenet");
    struct qk_error err = {0};
    struct qk_history *history;
    struct qk_selection one = new_selection(pair), two, none = new_selection(pair);
    expect_ok(qk_history_new(pair->n_layers, &history, &err), &err);
    set_heads(&one, pair, 7, QK_HEAD_Q, 1, 2, (struct qk_choice){QK_RESTORE, 0});
    expect_ok(qk_history_commit(history, &one, "one", &err), &err);
    expect_ok(qk_selection_copy(&two, &one, &err), &err);
    set_heads(&two, pair, 7, QK_HEAD_Q, 1, 1, (struct qk_choice){QK_KEEP, 0});
    assert_false(qk_selection_equal(&one, &two));
    expect_ok(qk_history_commit(history, &two, "two", &err), &err);
    assert_true(qk_history_undo(history, NULL));
    assert_true(qk_selection_equal(qk_history_current(history), &one));
    qk_selection_free(&one);
    assert_true(qk_history_undo(history, NULL));
    assert_true(qk_selection_equal(qk_history_current(history), &none));
    assert_true(qk_history_redo(history, NULL) && qk_history_redo(history, NULL));
    assert_true(qk_selection_equal(qk_history_current(history), &two));
    qk_history_free(history);
    qk_selection_free(&two);
    qk_selection_free(&none);
    qk_pair_close(pair);
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_family),
        cmocka_unit_test(test_all_heads_are_the_layer),
        cmocka_unit_test(test_latent_attention),
        cmocka_unit_test(test_views_of_current),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
