/* guess.c - the distance of words, and the nearest of several. */
#include "base/guess.h"

#include <string.h>

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance (Wagner and Fischer 1974); longer words than any name count as far away. */
static size_t distance(const char *a, size_t n, const char *b)
{
    enum { LONGEST = 32 };
    size_t m = strlen(b), row[LONGEST + 1];
    if (n > LONGEST || m > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = least(changed, least(row[j], row[j - 1]) + 1);
        }
    }
    return row[m];
}

struct qk_guess qk_guess_begin(const char *word, size_t n)
{
    enum { NEAR = 3 };
    return (struct qk_guess){.word = word, .n = n, .distance = least(NEAR, n > 2 ? n - 1 : 1)};
}

void qk_guess_consider(struct qk_guess *guess, const char *name)
{
    size_t d = distance(guess->word, guess->n, name);
    if (d < guess->distance) {
        guess->best = name;
        guess->distance = d;
    }
}
