/* start.c - the seeds and words of a fuzz target, as files for a fuzzer to start from. */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

static int write_seeds(const char *folder)
{
    for (size_t i = 0; i < n_fuzz_seeds; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/seed-%zu", folder, i);
        FILE *file = fopen(path, "wb");
        if (file == NULL || fwrite(fuzz_seeds[i].bytes, 1, fuzz_seeds[i].n, file) != fuzz_seeds[i].n ||
            fclose(file) != 0) {
            perror(path);
            return 1;
        }
    }
    return 0;
}

static int print_words(void)
{
    for (size_t i = 0; fuzz_words[i] != NULL; i++) {
        putchar('"');
        for (const char *p = fuzz_words[i]; *p != '\0'; p++)
            printf("\\x%02x", (unsigned)(unsigned char)*p);
        puts("\"");
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

int fuzz_start(const char *argument)
{
    return strcmp(argument, "--words") == 0 ? print_words() : write_seeds(argument);
}
