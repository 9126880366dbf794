/* test_drift.c - the numbers of drift against the float64 goldens of the fixtures and the demo
 * pair, and on matrices whose drift is known by construction. */
#include "drift/drift.h"

#include "base/blas.h"
#include "base/json.h"
#include "base/mem.h"

#include "helper.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The goldens' own precision: they were computed in float64 from the same bytes. */
static const double RELATIVE = 1e-5, DEGREES = 1e-3;

static void near(const char *what, double found, const cJSON *golden, const char *key, double *worst)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(golden, key);
    assert_non_null(item);
    double expected = item->valuedouble;
    bool degrees = strstr(key, "deg") != NULL;
    double error = fabs(found - expected) / (degrees ? DEGREES : RELATIVE * fabs(expected));
    if (!(error <= 1.0))
        fail_msg("%s %s: found %.12g, expected %.12g", what, key, found, expected);
    *worst = fmax(*worst, error);
}

static void check_role(const char *what, const struct qk_role_drift *role, const cJSON *golden, double *worst)
{
    near(what, role->rel_fro, golden, "rel_fro", worst);
    near(what, role->cosine, golden, "cosine", worst);
    near(what, role->norm_ratio, golden, "norm_ratio", worst);
    near(what, role->angle_mean_deg, golden, "angle_mean_deg", worst);
    near(what, role->angle_max_deg, golden, "angle_max_deg", worst);
    const cJSON *heads = cJSON_GetObjectItemCaseSensitive(golden, "heads");
    assert_int_equal(role->n_heads, cJSON_GetArraySize(heads));
    for (int h = 0; h < role->n_heads; h++) {
        const cJSON *head = cJSON_GetArrayItem(heads, h);
        near(what, role->head[h].rel_fro, head, "rel_fro", worst);
        near(what, role->head[h].cosine, head, "cosine", worst);
        near(what, role->head[h].norm_ratio, head, "norm_ratio", worst);
        near(what, role->head[h].angle_mean_deg, head, "angle_mean_deg", worst);
        near(what, role->head[h].angle_max_deg, head, "angle_max_deg", worst);
    }
}

static void check_layer(
    const char *name, const struct qk_pair *pair, int index, const cJSON *golden, double *worst)
{
    struct qk_error err = {0};
    struct qk_layer_drift drift;
    char what[256];
    assert_int_equal(qk_drift_pair_layer(pair, index, false, NULL, &drift, &err), QK_OK);
    assert_int_equal(drift.index, qk_json_int(golden, "index", -1));
    assert_string_equal(qk_kind_name(drift.kind), qk_json_string(golden, "kind", ""));
    const cJSON *routing = cJSON_GetObjectItemCaseSensitive(golden, "routing");
    assert_int_equal(drift.has_qk, routing != NULL);
    if (routing != NULL) {
        snprintf(what, sizeof what, "%s layer %d q", name, index);
        check_role(what, &drift.role[QK_Q], cJSON_GetObjectItemCaseSensitive(golden, "q"), worst);
        snprintf(what, sizeof what, "%s layer %d k", name, index);
        check_role(what, &drift.role[QK_K], cJSON_GetObjectItemCaseSensitive(golden, "k"), worst);
        snprintf(what, sizeof what, "%s layer %d routing", name, index);
        near(what, drift.routing_rel_fro, routing, "rel_fro", worst);
        const cJSON *heads = cJSON_GetObjectItemCaseSensitive(routing, "heads");
        assert_int_equal(drift.n_routing, cJSON_GetArraySize(heads));
        for (int h = 0; h < drift.n_routing; h++)
            near(what, drift.routing_head[h], cJSON_GetArrayItem(heads, h), "rel_fro", worst);
    }
    qk_layer_drift_free(&drift);
}

static void check_golden(const char *folder)
{
    char pre[PATH_SIZE], post[PATH_SIZE], json[PATH_SIZE], part[512];
    struct qk_error err = {0};
    struct qk_pair *pair;
    cJSON *golden;
    snprintf(part, sizeof part, "%s/pre", folder);
    data_path(pre, part);
    snprintf(part, sizeof part, "%s/post", folder);
    data_path(post, part);
    snprintf(part, sizeof part, "%s/drift.json", folder);
    data_path(json, part);
    expect_ok(qk_pair_open(pre, post, &pair, &err), &err);
    assert_int_equal(qk_json_read(json, 1 << 24, &golden, &err), QK_OK);
    const cJSON *layers = cJSON_GetObjectItemCaseSensitive(golden, "layers");
    assert_int_equal(pair->n_layers, cJSON_GetArraySize(layers));
    double worst = 0;
    for (int i = 0; i < pair->n_layers; i++)
        check_layer(folder, pair, i, cJSON_GetArrayItem(layers, i), &worst);
    print_message("%-28s worst error %.3g of the tolerance\n", folder, worst);
    cJSON_Delete(golden);
    qk_pair_close(pair);
}

static void test_goldens(void **state)
{
    (void)state;
    const char *const families[] = {"../../data/tiny-hypenet", "../../data/tiny-jet-nemotron",
        "fixtures/jet_nemotron", "fixtures/llama", "fixtures/mistral", "fixtures/qwen2", "fixtures/qwen3",
        "fixtures/qwen3_next", "fixtures/qwen3_5_text", "fixtures/jamba", "fixtures/falcon",
        "fixtures/gemma3_text", "fixtures/gpt2", "fixtures/gpt_neox", "fixtures/minimax", "fixtures/phi3"};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        check_golden(families[i]);
}

static void test_demo_ranks_layer_7_first(void **state)
{
    (void)state;
    char pre[PATH_SIZE], post[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_pair *pair;
    expect_ok(qk_pair_open(demo_path(pre, "pre"), demo_path(post, "post"), &pair, &err), &err);
    double best = -1;
    int first = -1;
    for (int i = 0; i < pair->n_layers; i++) {
        if (pair->layer[i].kind != QK_FULL)
            continue;
        struct qk_layer_drift drift;
        assert_int_equal(qk_drift_pair_layer(pair, i, false, NULL, &drift, &err), QK_OK);
        if (drift.routing_rel_fro > best) {
            best = drift.routing_rel_fro;
            first = i;
        }
        qk_layer_drift_free(&drift);
    }
    assert_int_equal(first, 7);
    qk_pair_close(pair);
}

/* --- a source of head views held in memory --- */

enum { HD = 8, D = 40, NQ = 4, NK = 2 };

struct memory_heads {
    struct qk_heads base;
    double q[NQ][HD * D], k[NK][HD * D];
};

static enum qk_code read_memory(
    struct qk_heads *heads, enum qk_role role, int head, double *out, struct qk_error *err)
{
    (void)err;
    struct memory_heads *m = (struct memory_heads *)heads;
    memcpy(out, role == QK_Q ? m->q[head] : m->k[head], sizeof m->q[0]);
    return QK_OK;
}

static struct qk_tensor weights[2] = {{.name = (char *)"q.weight"}, {.name = (char *)"k.weight"}};
static struct qk_layer shape = {.kind = QK_FULL,
    .head_dim = HD,
    .d = D,
    .role = {{.weight = &weights[0], .n_heads = NQ}, {.weight = &weights[1], .n_heads = NK}}};
static struct qk_pair_layer layer = {.kind = QK_FULL, .side = {&shape, &shape}, .has_qk = true};
static struct memory_heads side_a, side_b;

static void free_memory(struct qk_heads *heads)
{
    (void)heads;
}

static enum qk_code open_memory(const void *context, struct qk_heads *side[2], struct qk_error *err)
{
    (void)context;
    (void)err;
    side[0] = &side_a.base;
    side[1] = &side_b.base;
    return QK_OK;
}
static const struct qk_drift_sides in_memory = {.open = open_memory};

static void fill_sides(double drift)
{
    unsigned seed = 7;
    side_a.base = side_b.base = (struct qk_heads){
        .layer = &layer, .where = "post", .named = &shape, .read = read_memory, .free = free_memory};
    for (int h = 0; h < NQ + NK; h++) {
        double *a = h < NQ ? side_a.q[h] : side_a.k[h - NQ], *b = h < NQ ? side_b.q[h] : side_b.k[h - NQ];
        for (int i = 0; i < HD * D; i++) {
            seed = seed * 1664525u + 1013904223u;
            a[i] = (double)seed / 4294967296.0 - 0.5;
            seed = seed * 1664525u + 1013904223u;
            b[i] = a[i] + drift * ((double)seed / 4294967296.0 - 0.5);
        }
    }
}

static void compare(struct qk_layer_drift *drift)
{
    struct qk_error err = {0};
    assert_int_equal(qk_drift_layer(&layer, &in_memory, NULL, drift, &err), QK_OK);
}

/* Routing against the d x d matrices themselves; tolerance: sums of 1600 terms in float64. */
static void test_routing_is_the_distance_of_the_products(void **state)
{
    (void)state;
    const double drifts[] = {1.0, 1e-3, 1e-6};
    for (int t = 0; t < 3; t++) {
        struct qk_layer_drift drift;
        fill_sides(drifts[t]);
        compare(&drift);
        for (int h = 0; h < NQ; h++) {
            double base = 0, moved = 0;
            for (int i = 0; i < D; i++) {
                for (int j = 0; j < D; j++) {
                    long double ra = 0, rb = 0;
                    for (int k = 0; k < HD; k++) {
                        ra += (long double)side_a.q[h][k * D + i] * side_a.k[h / 2][k * D + j];
                        rb += (long double)side_b.q[h][k * D + i] * side_b.k[h / 2][k * D + j];
                    }
                    base += (double)(ra * ra);
                    moved += (double)((rb - ra) * (rb - ra));
                }
            }
            double truth = sqrt(moved / base);
            assert_true(fabs(drift.routing_head[h] - truth) < 1e-9 * truth);
        }
        qk_layer_drift_free(&drift);
    }
}

/* One rotation of q and k together moves the weights and leaves the routing: the rest is rounding. */
static void test_routing_ignores_a_common_rotation(void **state)
{
    (void)state;
    struct qk_layer_drift drift;
    fill_sides(0.0);
    double c = cos(0.7), s = sin(0.7);
    for (int h = 0; h < NQ + NK; h++) {
        double *a = h < NQ ? side_a.q[h] : side_a.k[h - NQ], *b = h < NQ ? side_b.q[h] : side_b.k[h - NQ];
        for (int j = 0; j < D; j++) {
            b[j] = c * a[j] - s * a[D + j];
            b[D + j] = s * a[j] + c * a[D + j];
        }
    }
    compare(&drift);
    assert_true(drift.routing_rel_fro < 1e-7);
    assert_true(drift.role[QK_Q].rel_fro > 0.1);
    assert_true(drift.role[QK_Q].angle_max_deg < 1e-9); /* the row space is the same, too */
    qk_layer_drift_free(&drift);
}

static void test_same_weights_have_no_drift(void **state)
{
    (void)state;
    struct qk_layer_drift drift;
    fill_sides(0.0);
    compare(&drift);
    assert_true(drift.role[QK_Q].rel_fro == 0.0);
    assert_true(fabs(drift.role[QK_K].cosine - 1.0) < 1e-15);
    assert_true(drift.role[QK_K].norm_ratio == 1.0);
    assert_true(drift.routing_rel_fro == 0.0);
    assert_true(drift.role[QK_Q].angle_max_deg < 1e-12);
    assert_null(drift.problem);
    qk_layer_drift_free(&drift);
}

/* A NaN in one key head: its group's routing and k's role numbers are unknown, everything else stands. */
static void test_not_finite_is_named_and_not_spread(void **state)
{
    (void)state;
    struct qk_layer_drift drift;
    fill_sides(0.1);
    side_b.k[1][17] = NAN;
    side_b.k[1][18] = INFINITY;
    compare(&drift);
    assert_non_null(drift.problem);
    assert_non_null(strstr(drift.problem, "post: k.weight: head 1"));
    assert_non_null(strstr(drift.problem, "2 NaN or Inf"));
    assert_true(isfinite(drift.role[QK_Q].rel_fro));
    assert_true(isfinite(drift.role[QK_K].head[0].rel_fro));
    assert_true(isnan(drift.role[QK_K].head[1].rel_fro));
    assert_true(isnan(drift.role[QK_K].rel_fro));
    assert_true(isfinite(drift.routing_head[0]) && isfinite(drift.routing_head[1]));
    assert_true(isnan(drift.routing_head[2]) && isnan(drift.routing_rel_fro));
    qk_layer_drift_free(&drift);
}

/* The fault is searched under the name of the tensor on its own side. */
static void test_not_finite_is_named_as_its_side_names_it(void **state)
{
    (void)state;
    struct qk_layer_drift drift;
    struct qk_tensor wrapped = {.name = (char *)"student_model.q.weight"};
    struct qk_layer pre = shape;
    pre.role[QK_Q].weight = &wrapped;
    fill_sides(0.1);
    side_a.base.where = "pre";
    side_a.base.named = &pre;
    side_a.q[0][0] = NAN;
    compare(&drift);
    assert_non_null(strstr(drift.problem, "pre: student_model.q.weight: head 0"));
    qk_layer_drift_free(&drift);
}

/* Every number is a ratio or an angle: a common scale of 1e-200 or 1e150 changes nothing but last digits. */
static void test_scale_does_not_matter(void **state)
{
    (void)state;
    const double scales[] = {1e-200, 1e150};
    struct qk_layer_drift plain, scaled;
    fill_sides(0.1);
    compare(&plain);
    for (int t = 0; t < 2; t++) {
        fill_sides(0.1);
        for (int h = 0; h < NQ + NK; h++) {
            double *a = h < NQ ? side_a.q[h] : side_a.k[h - NQ], *b = h < NQ ? side_b.q[h] : side_b.k[h - NQ];
            for (int i = 0; i < HD * D; i++) {
                a[i] *= scales[t];
                b[i] *= scales[t];
            }
        }
        compare(&scaled);
        assert_true(fabs(scaled.routing_rel_fro / plain.routing_rel_fro - 1.0) < 1e-12);
        assert_true(fabs(scaled.role[QK_Q].rel_fro / plain.role[QK_Q].rel_fro - 1.0) < 1e-12);
        assert_true(fabs(scaled.role[QK_K].cosine / plain.role[QK_K].cosine - 1.0) < 1e-12);
        assert_true(fabs(scaled.role[QK_K].angle_mean_deg - plain.role[QK_K].angle_mean_deg) < 1e-9);
        qk_layer_drift_free(&scaled);
    }
    qk_layer_drift_free(&plain);
}

static void test_zero_head(void **state)
{
    (void)state;
    struct qk_layer_drift drift;
    fill_sides(0.1);
    memset(side_a.q[1], 0, sizeof side_a.q[1]);
    compare(&drift);
    assert_true(isnan(drift.role[QK_Q].head[1].rel_fro));
    assert_int_equal(drift.role[QK_Q].head[1].rank[0], 0);
    assert_int_equal(drift.role[QK_Q].head[1].rank[1], HD);
    assert_int_equal(drift.role[QK_Q].head[1].n_angles, 0);
    assert_true(isfinite(drift.role[QK_Q].rel_fro));
    assert_true(isfinite(drift.role[QK_Q].angle_mean_deg));
    qk_layer_drift_free(&drift);
}

/* A head of rank 3 is compared on its row space: the angles are those of the three dimensions. */
static void test_rank_deficient_head(void **state)
{
    (void)state;
    struct qk_layer_drift drift;
    fill_sides(0.1);
    for (int i = 3; i < HD; i++)
        for (int j = 0; j < D; j++)
            side_a.k[0][i * D + j] = side_a.k[0][(i % 3) * D + j] * (i + 1);
    compare(&drift);
    const struct qk_head_drift *head = &drift.role[QK_K].head[0];
    assert_int_equal(head->rank[0], 3);
    assert_int_equal(head->rank[1], HD);
    assert_int_equal(head->n_angles, 3);
    assert_true(head->angle_max_deg == head->angle_deg[2] && head->angle_deg[0] <= head->angle_deg[1]);
    assert_true(isfinite(head->rel_fro) && isfinite(drift.role[QK_K].angle_mean_deg));
    qk_layer_drift_free(&drift);
}

/* Drifts down to the rounding of float64 keep half of their digits at least. */
static void test_tiny_drift(void **state)
{
    (void)state;
    static const double drifts[] = {1e-6, 1e-9, 1e-12};
    for (int t = 0; t < 3; t++) {
        struct qk_layer_drift drift;
        fill_sides(drifts[t]);
        compare(&drift);
        double base = 0, moved = 0;
        for (int i = 0; i < HD * D; i++) {
            double e = side_b.q[2][i] - side_a.q[2][i];
            base += side_a.q[2][i] * side_a.q[2][i];
            moved += e * e;
        }
        assert_true(fabs(drift.role[QK_Q].head[2].rel_fro / sqrt(moved / base) - 1) < 1e-12);
        /* a head of condition below 10: the angles are of the drift's order, and not lost in rounding */
        double expected = drifts[t] * 180 / 3.14159265358979;
        assert_true(drift.role[QK_Q].head[2].angle_max_deg > 0.3 * expected);
        assert_true(drift.role[QK_Q].head[2].angle_max_deg < 30 * expected);
        qk_layer_drift_free(&drift);
    }
}

static void test_progress_counts_heads(void **state)
{
    (void)state;
    struct qk_layer_drift drift;
    struct qk_progress progress = {0};
    struct qk_error err = {0};
    fill_sides(0.1);
    expect_ok(qk_drift_layer(&layer, &in_memory, &progress, &drift, &err), &err);
    assert_int_equal(atomic_load(&progress.done), 2 * (NQ + NK));
    qk_layer_drift_free(&drift);
}

/* The problem goes to the screen with a name from a file in it. */
static void test_problem_is_printable(void **state)
{
    (void)state;
    struct qk_layer_drift drift;
    char *plain = weights[0].name;
    fill_sides(0.1);
    side_a.q[2][0] = -INFINITY;
    weights[0].name = (char *)"q\x1b[2J.weight";
    compare(&drift);
    assert_non_null(
        strstr(drift.problem, "q\\x1b[2J.weight: head 2 holds values that are not finite (1 NaN or Inf"));
    qk_layer_drift_free(&drift);
    weights[0].name = plain;
}

/* Groups in any order and by several workers' scratch give the same bits; the first stage gives the norms
 * alone, to what float32 sums cost. */
static void test_stages_and_groups(void **state)
{
    (void)state;
    char pre[PATH_SIZE], post[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_pair *pair;
    struct qk_drift_work *work[2];
    struct qk_layer_drift whole, part, norms;
    struct qk_drift_run *run;
    expect_ok(qk_pair_open(demo_path(pre, "pre"), demo_path(post, "post"), &pair, &err), &err);
    expect_ok(qk_drift_pair_layer(pair, 3, false, NULL, &whole, &err), &err);
    for (int i = 0; i < 2; i++)
        expect_ok(qk_drift_work_new(&work[i], &err), &err);

    expect_ok(qk_drift_run_new(pair, 3, false, QK_DRIFT_ALL, &run, &err), &err);
    int n = qk_drift_run_groups(run);
    assert_int_equal(n, whole.role[QK_K].n_heads);
    for (int g = n - 1; g >= 0; g--)
        expect_ok(qk_drift_run_group(run, g, work[g % 2], NULL, &err), &err);
    expect_ok(qk_drift_run_take(run, &part, &err), &err);
    qk_drift_run_free(run);
    assert_true(part.routing_rel_fro == whole.routing_rel_fro && !part.norms_only);

    expect_ok(qk_drift_run_new(pair, 3, false, QK_DRIFT_NORMS, &run, &err), &err);
    for (int g = 0; g < n; g++)
        expect_ok(qk_drift_run_group(run, g, work[0], NULL, &err), &err);
    expect_ok(qk_drift_run_take(run, &norms, &err), &err);
    qk_drift_run_free(run);
    assert_true(norms.norms_only && isnan(norms.routing_rel_fro));
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        assert_true(part.role[r].angle_mean_deg == whole.role[r].angle_mean_deg);
        assert_true(part.role[r].rel_fro == whole.role[r].rel_fro);
        assert_true(isnan(norms.role[r].angle_mean_deg));
        assert_true(fabs(norms.role[r].rel_fro / whole.role[r].rel_fro - 1) < 1e-6);
        assert_true(fabs(norms.role[r].cosine - whole.role[r].cosine) < 1e-8);
        assert_true(fabs(norms.role[r].head[1].norm_ratio - whole.role[r].head[1].norm_ratio) < 1e-6);
    }
    qk_layer_drift_free(&whole);
    qk_layer_drift_free(&part);
    qk_layer_drift_free(&norms);
    for (int i = 0; i < 2; i++)
        qk_drift_work_free(work[i]);
    qk_pair_close(pair);
}

static void test_cancel(void **state)
{
    (void)state;
    struct qk_layer_drift drift;
    struct qk_progress progress = {0};
    struct qk_error err = {0};
    fill_sides(0.1);
    atomic_store(&progress.cancel, true);
    assert_int_equal(qk_drift_layer(&layer, &in_memory, &progress, &drift, &err), QK_CANCELLED);
}

static void test_metric_table(void **state)
{
    (void)state;
    for (int i = 0; i < QK_METRIC_COUNT; i++) {
        enum qk_metric metric;
        assert_true(qk_metric_parse(qk_metric_info((enum qk_metric)i)->key, &metric));
        assert_int_equal(metric, i);
        assert_true(strlen(qk_metric_info((enum qk_metric)i)->label) <= 7);
    }
    enum qk_metric metric;
    assert_false(qk_metric_parse("nonsense", &metric));
    struct qk_layer_drift drift;
    fill_sides(0.1);
    compare(&drift);
    drift.role[QK_Q].cosine = 0.5;
    drift.role[QK_K].cosine = 0.9;
    drift.role[QK_Q].rel_fro = 0.5;
    drift.role[QK_K].rel_fro = 0.9;
    assert_true(qk_metric_layer(&drift, QK_METRIC_COSINE, -1) == 0.5);
    assert_true(qk_metric_layer(&drift, QK_METRIC_REL_FRO, -1) == 0.9);
    assert_true(qk_metric_layer(&drift, QK_METRIC_REL_FRO, QK_Q) == 0.5);
    assert_true(isnan(qk_metric_head(&drift, QK_METRIC_ROUTING, QK_K, 0)));
    qk_layer_drift_free(&drift);
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),
        cmocka_unit_test(test_demo_ranks_layer_7_first),
        cmocka_unit_test(test_routing_is_the_distance_of_the_products),
        cmocka_unit_test(test_routing_ignores_a_common_rotation),
        cmocka_unit_test(test_same_weights_have_no_drift),
        cmocka_unit_test(test_not_finite_is_named_and_not_spread),
        cmocka_unit_test(test_not_finite_is_named_as_its_side_names_it),
        cmocka_unit_test(test_scale_does_not_matter),
        cmocka_unit_test(test_zero_head),
        cmocka_unit_test(test_rank_deficient_head),
        cmocka_unit_test(test_tiny_drift),
        cmocka_unit_test(test_progress_counts_heads),
        cmocka_unit_test(test_problem_is_printable),
        cmocka_unit_test(test_stages_and_groups),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_metric_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
