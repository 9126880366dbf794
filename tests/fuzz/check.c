/* check.c - the report of a fuzz target's find. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>

void fuzz_check(int holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "%s: %s\n", fuzz_name, what);
    abort();
}
