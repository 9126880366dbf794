/* fuzzer.c - the arguments of a fuzz target that a fuzzer's own main runs (--enable-fuzzing). */
#include "fuzz.h"

#include "base/blas.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);

/* `--words` and `--seeds DIR` are ours (fuzz_start), and the fuzzer gets all others. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    if (*argc == 2 && strcmp((*argv)[1], "--words") == 0)
        exit(fuzz_start("--words"));
    if (*argc == 3 && strcmp((*argv)[1], "--seeds") == 0)
        exit(fuzz_start((*argv)[2]));
    if (qk_blas_load(NULL, NULL) != QK_OK)
        exit(1);
    return 0;
}
