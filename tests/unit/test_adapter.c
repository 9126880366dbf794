/* test_adapter.c - merged weights read in parts of any kind, and the factors that are kept between reads. */
#include "helper.h"

#include "base/blas.h"
#include "tensor/checkpoint.h"
#include "tensor/factors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OUT = 5, IN = 7, RANK = 3 };

static void fill(double *values, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        values[i] = random_uniform(&seed);
}

static double at(const double *matrix, size_t columns, size_t i, size_t j)
{
    return matrix[i * columns + j];
}

/* FOLDER with a base of one weight, (OUT, IN), or (IN, OUT) with fan_in_fan_out, and FOLDER/adapter; `merged`
 * receives what the weight becomes. */
static void write_pair(const char *folder, bool fan_in_fan_out, double merged[OUT * IN])
{
    char path[PATH_SIZE];
    double w[OUT * IN], a[RANK * IN], b[OUT * RANK];
    uint64_t rows = fan_in_fan_out ? IN : OUT, columns = fan_in_fan_out ? OUT : IN;
    fill(w, OUT * IN, 1);
    fill(a, RANK * IN, 2);
    fill(b, OUT * RANK, 3);
    const struct test_tensor base = {"h.weight", "F64", 2, {rows, columns}, w};
    const struct test_tensor factors[] = {
        {"base_model.model.h.lora_A.weight", "F64", 2, {RANK, IN}, a},
        {"base_model.model.h.lora_B.weight", "F64", 2, {OUT, RANK}, b},
    };
    write_safetensors(path_in(path, folder, "model.safetensors"), &base, 1, 1);
    make_folder(path_in(path, folder, "adapter"));
    write_safetensors(path_in(path, folder, "adapter/adapter_model.safetensors"), factors, 2, 1);
    write_text(path_in(path, folder, "adapter/adapter_config.json"),
        "{\"lora_alpha\":1,\"peft_type\":\"LORA\",\"r\":3,\"alpha_pattern\":{\"h\":5,\"g\":1,\"h\":6},"
        "\"lora_alpha\":NaN,\"fan_in_fan_out\":%s}", /* of equal keys the last counts, as in Python */
        fan_in_fan_out ? "true" : "false");
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) {
            double sum = 0;
            for (size_t k = 0; k < RANK; k++)
                sum += fan_in_fan_out ? at(a, IN, k, i) * at(b, RANK, j, k)
                                      : at(b, RANK, i, k) * at(a, IN, k, j);
            merged[i * columns + j] = w[i * columns + j] + 2 * sum;
        }
}

/* Every range of elements: within a row, over the end of one, whole rows, the whole. The tolerance is a few
 * roundings of sums of numbers up to 7. */
static void check_ranges(const char *folder, bool fan_in_fan_out)
{
    char path[PATH_SIZE];
    double merged[OUT * IN], found[OUT * IN];
    struct qk_error err = {0};
    struct qk_checkpoint *c;
    write_pair(folder, fan_in_fan_out, merged);
    expect_ok(qk_checkpoint_open(folder, &c, &err), &err);
    expect_ok(qk_adapter_attach(c, path_in(path, folder, "adapter"), &err), &err);
    const struct qk_tensor *tensor = qk_checkpoint_find(c, "h.weight");
    for (size_t first = 0; first < OUT * IN; first++)
        for (size_t n = 0; first + n <= OUT * IN; n++) {
            expect_ok(
                qk_checkpoint_read(c, tensor, first * sizeof *found, found, n * sizeof *found, &err), &err);
            for (size_t i = 0; i < n; i++)
                assert_true(fabs(found[i] - merged[first + i]) < 1e-14);
        }
    qk_checkpoint_close(c);
}

static void test_ranges(void **state)
{
    check_ranges(*state, false);
}

static void test_ranges_transposed(void **state)
{
    check_ranges(*state, true);
}

/* Two of these factors fit into the kept ones, and three do not. */
static void test_kept(void **state)
{
    enum { N = 3, SIDE = 1900 };
    static const char *const names[N][2] = {{"a0", "b0"}, {"a1", "b1"}, {"a2", "b2"}};
    char path[PATH_SIZE];
    struct test_tensor tensors[2 * N];
    struct qk_error err = {0};
    struct qk_checkpoint *c;
    struct qk_factor_cache *cache;
    const struct qk_factors *held[N], *again;
    for (size_t i = 0; i < 2 * N; i++)
        tensors[i] = (struct test_tensor){names[i / 2][i % 2], "BF16", 2, {SIDE, i % 2 ? 2 : SIDE}, NULL};
    write_safetensors(path_in(path, *state, "model.safetensors"), tensors, 2 * N, 1);
    expect_ok(qk_checkpoint_open(path, &c, &err), &err);
    expect_ok(qk_factor_cache_new(&cache, &err), &err);
#define HOLD(i, out)                                                                                         \
    expect_ok(qk_factors_hold(cache, &c->shard[0].file, qk_checkpoint_find(c, names[i][0]),                  \
                  qk_checkpoint_find(c, names[i][1]), out, &err),                                            \
        &err)
    double first;
    HOLD(0, &held[0]);
    first = held[0]->a[0];
    qk_factors_release(cache, held[0], true);
    HOLD(1, &held[1]);
    qk_factors_release(cache, held[1], true);
    HOLD(0, &again); /* kept, and now the one that was held last */
    assert_ptr_equal(again, held[0]);
    HOLD(0, &again); /* by two at once */
    assert_ptr_equal(again, held[0]);
    qk_factors_release(cache, again, true);
    qk_factors_release(cache, again, true);
    HOLD(2, &held[2]); /* drops 1 */
    HOLD(0, &again);
    assert_ptr_equal(again, held[0]);
    HOLD(1, &held[1]); /* all three are in use, which none of them may notice */
    assert_true(again->a[0] == first);
    qk_factors_release(cache, again, false);
    qk_factors_release(cache, held[1], true);
    qk_factors_release(cache, held[2], true);
    HOLD(0, &again); /* read anew */
    assert_true(again->a[0] == first);
    qk_factors_release(cache, again, true);
    qk_factor_cache_free(cache);
    qk_checkpoint_close(c);
#undef HOLD
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_folder(test_ranges),
        test_in_folder(test_ranges_transposed),
        test_in_folder(test_kept),
    };
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
