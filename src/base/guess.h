/* guess.h - the name that a mistyped word may have meant. */
#ifndef QK_BASE_GUESS_H
#define QK_BASE_GUESS_H

#include <stddef.h>

/* The nearest name so far (`best`, borrowed; NULL: none is near); only typing slips count as near. */
struct qk_guess {
    const char *word, *best;
    size_t n, distance;
};

/* For a word of n bytes, which the guess borrows. */
struct qk_guess qk_guess_begin(const char *word, size_t n);
void qk_guess_consider(struct qk_guess *guess, const char *name);

#endif
