/* driver.c - the main of a fuzz target as a test: two TAP tests, over its corpus and over inputs mutated from its seeds
 * by a fixed generator.
 *
 * The corpus is the files of $srcdir/tests/fuzz/corpus/NAME. FUZZ_RUNS=N runs N mutated inputs. Without it the
 * number depends on the time; the seeds always run. With sanitizers, which find most, there is more time.
 * A hang is a failure: the alarm ends the process. An argument is one of fuzz_start. */
#include "fuzz.h"

#include "base/blas.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RUNS = 3000, LARGEST = 8192, HANGS = 3600 /* seconds */ };
#ifdef QK_SANITIZED
enum { USUAL_SECONDS = 5 };
#else
enum { USUAL_SECONDS = 2 };
#endif

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

static void run(const void *input, size_t n)
{
    /* A copy of its exact size, so that sanitizers see a read behind it. */
    uint8_t *bytes = malloc(n > 0 ? n : 1);
    if (bytes == NULL)
        abort();
    if (n > 0)
        memcpy(bytes, input, n);
    LLVMFuzzerTestOneInput(bytes, n);
    free(bytes);
}

/* --- the corpus --- */

/* Runs the file; false when it cannot be read whole. Its name is left where a crash shows it. */
static bool run_file(const char *path)
{
    static uint8_t bytes[1 << 20];
    FILE *file = fopen(path, "rb");
    size_t n = file != NULL ? fread(bytes, 1, sizeof bytes, file) : 0;
    bool whole = file != NULL && feof(file);
    if (file != NULL)
        fclose(file);
    if (!whole)
        return false;
    printf("# %s\n", path);
    fflush(stdout);
    run(bytes, n);
    return true;
}

static int is_input(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Returns how many files the corpus has, or -1 when it cannot be read. */
static int run_corpus(void)
{
    char folder[2048], path[4096];
    const char *top = getenv("srcdir");
    struct dirent **entry;
    bool good = true;
    snprintf(folder, sizeof folder, "%s/tests/fuzz/corpus/%s", top != NULL ? top : ".", fuzz_name);
    int n = scandir(folder, &entry, is_input, alphasort);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, entry[i]->d_name);
        good = run_file(path) && good;
        free(entry[i]);
    }
    if (n >= 0)
        free(entry);
    return good ? n : -1;
}

/* --- mutations --- */

/* Returns how many were run. */
static long run_mutations(void)
{
    static struct input input;
    const char *wanted = getenv("FUZZ_RUNS");
    long runs = wanted != NULL ? strtol(wanted, NULL, 10) : RUNS, done = 0;
    time_t began = time(NULL);
    for (; done < runs; done++) {
        const struct fuzz_seed *seed = &fuzz_seeds[(size_t)done % n_fuzz_seeds];
        bool untouched = (size_t)done < n_fuzz_seeds; /* the seeds themselves come first */
        if (wanted == NULL && !untouched && time(NULL) - began >= USUAL_SECONDS)
            break;
        input.n = seed->n < LARGEST ? seed->n : LARGEST;
        memcpy(input.bytes, seed->bytes, input.n);
        for (size_t n = untouched ? 0 : 1 + below(6); n > 0; n--)
            mutate(&input);
        run(input.bytes, input.n);
    }
    return done;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return fuzz_start(argv[1]);
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    printf("1..2\n");
    fflush(stdout);
    alarm(HANGS);
    int n = run_corpus();
    printf("%s 1 - %s: %d files of its corpus\n", n > 0 ? "ok" : "not ok", fuzz_name, n);
    fflush(stdout);
    printf("ok 2 - %s: %ld inputs\n", fuzz_name, run_mutations());
    return 0;
}
