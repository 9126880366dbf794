/* bench_tokenizer.c - the time that each kind of tokenizer takes for 10 MB of text beside that for 5 MB: it must grow
 * with the text and no faster. Prints a Markdown table.
 *
 * bench_tokenizer FOLDER [ROUNDS]; FOLDER holds folders with a tokenizer.json each. Exit 1 when a limit is missed. A
 * round measures both lengths, one behind the other. The least time of the rounds counts: other work of the machine
 * only adds to it. The text is words of three scripts with spaces, numbers and punctuation, by a fixed generator. */
#include "base/text.h"
#include "token/tokenizer.h"

#include <dirent.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 3, SHORT = 5000000, LONG = 2 * SHORT, MOST_TOKENIZERS = 64 };
static const double MOST_RATIO = 2.2;

static void must(enum qk_code code, const struct qk_error *err)
{
    if (code == QK_OK)
        return;
    fprintf(stderr, "bench_tokenizer: %s\n", err->text);
    exit(1);
}

/* LONG bytes, and a NUL; the caller frees. It ends within a word, but not within a character. */
static char *make_text(void)
{
    static const char *const ends[] = {
        " ", " ", " ", " ", " ", ", ", ". ", "\n", " 1234 ", "'s ", "  ", "!\n\n"};
    static const char *const letters[] = {"e", "t", "a", "o", "n", "i", "s", "r", "h", "l", "d", "\xc3\xa9",
        "\xe4\xb8\xad", "\xe6\x96\x87", "\xd0\xb4", "\xd0\xb0"};
    struct qk_text text = {0};
    struct qk_error err = {0};
    char *made;
    uint64_t state = 1;
    while (text.length < LONG && !text.failed) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        unsigned bits = (unsigned)(state >> 33), script = bits % 8;
        for (unsigned i = 0; i < 1 + (bits >> 3) % 9; i++) {
            state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            unsigned letter = (unsigned)(state >> 40);
            qk_text_add(&text, "%s", letters[script == 7 ? 11 + letter % 5 : letter % 11]);
        }
        qk_text_add(&text, "%s", ends[(bits >> 8) % (sizeof ends / sizeof ends[0])]);
    }
    must(qk_text_take(&text, &made, &err), &err);
    return made;
}

static size_t whole_characters(const char *text, size_t n)
{
    while (((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    return n;
}

/* Seconds of processor time. */
static double encode(const struct qk_tokenizer *tokenizer, const char *text, size_t n)
{
    struct qk_error err = {0};
    struct timespec from, to;
    int32_t *ids;
    size_t n_ids;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    must(qk_tokenizer_encode(tokenizer, text, n, true, &ids, &n_ids, &err), &err);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    free(ids);
    return (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
}

/* Whether the tokenizer keeps to the limit. */
static bool measure(const char *folder, const char *name, const char *text, size_t rounds)
{
    struct qk_error err = {0};
    struct qk_tokenizer *tokenizer;
    char *path;
    double least[2] = {INFINITY, INFINITY};
    must(qk_path_join(folder, name, &path, &err), &err);
    must(qk_tokenizer_open(path, &tokenizer, &err), &err);
    for (size_t i = 0; i < rounds; i++) {
        least[0] = fmin(least[0], encode(tokenizer, text, whole_characters(text, SHORT)));
        least[1] = fmin(least[1], encode(tokenizer, text, whole_characters(text, LONG)));
    }
    double ratio = least[1] / least[0];
    printf("| %s | %.2f s | %.2f |\n", name, least[1], ratio);
    fflush(stdout);
    qk_tokenizer_free(tokenizer);
    free(path);
    return ratio <= MOST_RATIO;
}

int main(int argc, char **argv)
{
    size_t rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : ROUNDS, n = 0;
    DIR *folder = argc > 1 ? opendir(argv[1]) : NULL;
    char *names[MOST_TOKENIZERS];
    if (folder == NULL || rounds == 0) {
        fprintf(stderr, "usage: bench_tokenizer FOLDER [ROUNDS]\n");
        return 2;
    }
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL && n < MOST_TOKENIZERS;)
        if (entry->d_name[0] != '.' && (names[n] = strdup(entry->d_name)) != NULL)
            n++;
    closedir(folder);
    qk_sort_texts(names, n);
    char *text = make_text();
    bool right = true;
    printf("| tokenizer | 10 MB | beside 5 MB (at most %.1f) |\n|---|---|---|\n", MOST_RATIO);
    for (size_t i = 0; i < n; i++) {
        right = measure(argv[1], names[i], text, rounds) && right;
        free(names[i]);
    }
    free(text);
    return right ? 0 : 1;
}
