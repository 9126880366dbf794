/* test_kernels.c - the order in which kernels are tried, and that they can be loaded one after the other. */
#include "linalg/kernels.h"

#include "base/blas.h"
#include "helper.h"

#include <stdlib.h>
#include <string.h>

/* The names of an order with blanks between; "-" is the library's own choice. */
static const char *order_of(enum qk_kernel_class class, bool zen, const char *own, char out[256])
{
    const struct qk_processor processor = {class, zen};
    const char *order[QK_KERNELS_MOST];
    int n;
    qk_kernels_order(&processor, own, order, &n);
    out[0] = '\0';
    for (int i = 0; i < n; i++) {
        strcat(out, i > 0 ? " " : "");
        strcat(out, order[i][0] != '\0' ? order[i] : "-");
    }
    return out;
}

static void test_order(void **state)
{
    (void)state;
    char out[256];
    assert_string_equal(
        order_of(QK_KERNELS_AVX512, false, "Prescott", out), "SkylakeX Haswell Sandybridge - Nehalem");
    assert_string_equal(
        order_of(QK_KERNELS_AVX512, true, "Prescott", out), "SkylakeX Zen Sandybridge - Nehalem");
    assert_string_equal(order_of(QK_KERNELS_AVX2, false, "Prescott", out), "Haswell Sandybridge - Nehalem");
    assert_string_equal(order_of(QK_KERNELS_AVX512, false, "SkylakeX", out), "- Haswell Sandybridge Nehalem");
    assert_string_equal(
        order_of(QK_KERNELS_AVX512, false, "SapphireRapids", out), "- SkylakeX Haswell Sandybridge Nehalem");
    assert_string_equal(order_of(QK_KERNELS_AVX512, false, "Haswell", out), "SkylakeX - Sandybridge Nehalem");
    assert_string_equal(order_of(QK_KERNELS_AVX2, true, "Zen", out), "- Sandybridge Nehalem");
    assert_string_equal(order_of(QK_KERNELS_BASE, false, "Core2", out), "- Nehalem");
    assert_string_equal(order_of(QK_KERNELS_BASE, false, "armv8", out), "- Nehalem");
}

/* Kernels that the library took for a processor of more than this one has are only ever its own. */
static void test_nothing_beyond_the_processor(void **state)
{
    (void)state;
    char out[256];
    assert_string_equal(order_of(QK_KERNELS_AVX, false, "Haswell", out), "- Sandybridge Nehalem");
}

/* Products are right under each class that the processor has, and the first choice can be loaded again. */
static void test_loaded_again(void **state)
{
    (void)state;
    const struct qk_processor processor = qk_processor_read();
    const char *order[QK_KERNELS_MOST];
    struct qk_error err = {0};
    int n;
    qk_kernels_order(&processor, "", order, &n);
    for (int i = 0; i < n; i++) {
        const float a[] = {1, 2, 3, 4}, b[] = {5, 6, 7, 8}, expected[] = {19, 22, 43, 50};
        float c[4] = {0};
        double rate;
        assert_int_equal(qk_kernels_rate(order[i], &rate, &err), QK_OK);
        qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, 2, 2, 2, 1, a, 2, b, 2, 0, c, 2);
        assert_memory_equal(c, expected, sizeof c);
    }
}

static void test_choice(void **state)
{
    (void)state;
    struct qk_kernels_choice choice;
    struct qk_error wrong = {0}, err = {0};
    const char *given = getenv("OPENBLAS_CORETYPE");
    assert_int_equal(qk_kernels_load(&choice, &wrong, &err), QK_OK);
    assert_string_equal(wrong.text, "");
    assert_int_equal(choice.asked, given != NULL && given[0] != '\0');
    assert_string_equal(choice.core, qk_blas_core());
    if (!choice.asked && choice.n_refused == 0)
        assert_true(qk_kernel_class_of(choice.core) >= qk_processor_read().class);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_nothing_beyond_the_processor),
        cmocka_unit_test(test_loaded_again),
        cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
