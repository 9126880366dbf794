/* driver.c - runs a fuzz target over inputs mutated from its seeds by a fixed generator, as one TAP test.
 *
 * FUZZ_RUNS=N runs N inputs instead of the usual number; `TARGET DIR` writes the seeds as files into DIR, for
 * libFuzzer to start from. A hang is a failure: the alarm ends the process. */
#include "fuzz.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RUNS = 3000, LARGEST = 8192, SECONDS = 300 };

static uint64_t state = 2026;

static size_t below(size_t n) /* Steele, Lea, Flood 2014 */
{
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return n == 0 ? 0 : (size_t)((z ^ (z >> 31)) % n);
}

struct input {
    uint8_t bytes[LARGEST];
    size_t n;
};

/* Replaces `length` bytes at `at` by `n` others, as far as there is room. */
static void replace(struct input *input, size_t at, size_t length, const void *bytes, size_t n)
{
    if (input->n - length + n > LARGEST)
        return;
    memmove(input->bytes + at + n, input->bytes + at + length, input->n - at - length);
    memcpy(input->bytes + at, bytes, n);
    input->n = input->n - length + n;
}

static void mutate(struct input *input)
{
    static const char *const numbers[] = {"0", "-1", "1e300", "1e999", "65536", "9007199254740993", "0.5",
        "18446744073709551616", "null", "true", "[]", "{}", "\"\""};
    size_t at = below(input->n + 1), rest = input->n - at, words = 0;
    uint8_t byte = (uint8_t)below(256), copy[64];
    while (fuzz_words[words] != NULL)
        words++;
    const char *word = fuzz_words[below(words)], *number = numbers[below(sizeof numbers / sizeof numbers[0])];
    switch (below(8)) {
    case 0:
        if (rest > 0)
            input->bytes[at] ^= (uint8_t)(1u << below(8));
        break;
    case 1:
        replace(input, at, rest > 0, &byte, 1);
        break;
    case 2:
        replace(input, at, below(rest < 16 ? rest + 1 : 16), "", 0);
        break;
    case 3: { /* a piece of it once more */
        size_t n = below(rest < sizeof copy ? rest + 1 : sizeof copy);
        memcpy(copy, input->bytes + at, n);
        replace(input, below(input->n + 1), 0, copy, n);
        break;
    }
    case 4:
        replace(input, at, 0, word, strlen(word));
        break;
    case 5:
        replace(input, at, below(rest < 8 ? rest + 1 : 8), number, strlen(number));
        break;
    case 6: { /* the end of another seed */
        const struct fuzz_seed *seed = &fuzz_seeds[below(n_fuzz_seeds)];
        size_t from = below(seed->n + 1);
        replace(input, at, rest, seed->bytes + from, seed->n - from);
        break;
    }
    default:
        if (below(4) == 0)
            input->n = at;
        break;
    }
}

static void run(const struct input *input)
{
    /* A copy of its exact size, so that sanitizers see a read behind it. */
    uint8_t *bytes = malloc(input->n > 0 ? input->n : 1);
    if (bytes == NULL)
        abort();
    memcpy(bytes, input->bytes, input->n);
    LLVMFuzzerTestOneInput(bytes, input->n);
    free(bytes);
}

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

int main(int argc, char **argv)
{
    if (argc > 1)
        return write_seeds(argv[1]);
    const char *wanted = getenv("FUZZ_RUNS");
    long runs = wanted != NULL ? strtol(wanted, NULL, 10) : RUNS;
    printf("1..1\n");
    fflush(stdout);
    alarm(SECONDS);
    for (long i = 0; i < runs; i++) {
        static struct input input;
        const struct fuzz_seed *seed = &fuzz_seeds[(size_t)i % n_fuzz_seeds];
        input.n = seed->n < LARGEST ? seed->n : LARGEST;
        memcpy(input.bytes, seed->bytes, input.n);
        bool untouched = (size_t)i < n_fuzz_seeds; /* the seeds themselves come first */
        for (size_t n = untouched ? 0 : 1 + below(6); n > 0; n--)
            mutate(&input);
        run(&input);
    }
    printf("ok 1 - %s: %ld inputs\n", fuzz_name, runs);
    return 0;
}
