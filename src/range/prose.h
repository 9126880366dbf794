/* prose.h - the small language of the built-in texts: filler sentences, facts, and questions about them. It is that
 * of the demo pair's training (data/recipe/documents.py). */
#ifndef QK_RANGE_PROSE_H
#define QK_RANGE_PROSE_H

#include "base/text.h"

#include <stddef.h>
#include <stdint.h>

/* SplitMix64 (Steele, Lea, Flood 2014: "Fast splittable pseudorandom number generators") gives the same numbers on
 * every machine. Any state is valid. */
uint64_t qk_random(uint64_t *state);
/* A number from 0 to n - 1, n > 0; for n below 2^32 uniform to 2^-32. */
size_t qk_random_below(uint64_t *state, size_t n);
/* Another state that depends on all bits of both. */
uint64_t qk_random_mix(uint64_t state, uint64_t number);

enum { QK_PROSE_KEY = 5 };

/* A made-up word, "tezav". */
void qk_prose_key(char key[QK_PROSE_KEY + 1], uint64_t *random);
/* A noun of the language. */
const char *qk_prose_noun(uint64_t *random);
/* "The quiet river crossed the old bridge near the market. " */
void qk_prose_filler(struct qk_text *text, uint64_t *random);
/* "The code of KEY is VALUE. " */
void qk_prose_fact(struct qk_text *text, const char *key, const char *value);
/* "What is the code of KEY? It is " */
void qk_prose_question(struct qk_text *text, const char *key);

#endif
