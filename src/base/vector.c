/* vector.c - the widest vectors of this processor. */
#include "base/vector.h"

#include <stdbool.h>
#if defined __x86_64__
#include <cpuid.h>

/* clang's __builtin_cpu_supports does not know the name. */
static bool has_f16c(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

int qk_vector_width(void)
{
#if defined __x86_64__
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        return 1;
#endif
    return 0;
}
