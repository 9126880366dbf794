/* prose.c - words, sentences, and the numbers that choose them. */
#include "range/prose.h"

static const char *const ADJECTIVES[] = {"quiet", "old", "green", "narrow", "bright", "cold", "early",
    "distant", "wooden", "gentle", "heavy", "broken", "silver", "lonely", "busy", "warm", "hidden", "steep",
    "rough", "golden"};
static const char *const NOUNS[] = {"river", "bridge", "market", "garden", "window", "letter", "station",
    "harbor", "forest", "engine", "teacher", "village", "mountain", "kitchen", "painter", "bakery", "lantern",
    "castle", "meadow", "clock", "train", "sailor", "library", "doctor", "farmer", "road", "island", "tower",
    "valley", "field"};
static const char *const VERBS[] = {"crossed", "followed", "reached", "watched", "passed", "entered", "left",
    "found", "opened", "carried", "painted", "described", "remembered", "visited", "repaired"};
static const char *const PLACES[] = {
    "near", "behind", "above", "beside", "beyond", "under", "inside", "past"};

uint64_t qk_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

size_t qk_random_below(uint64_t *state, size_t n)
{
    return (size_t)(qk_random(state) % n);
}

uint64_t qk_random_mix(uint64_t state, uint64_t number)
{
    return qk_random(&state) ^ qk_random(&number);
}

#define PICK(list, random) list[qk_random_below(random, sizeof list / sizeof list[0])]

void qk_prose_key(char key[QK_PROSE_KEY + 1], uint64_t *random)
{
    static const char consonants[] = "bcdfghjklmnpqrstvwz", vowels[] = "aeiou";
    for (int i = 0; i < QK_PROSE_KEY; i++)
        key[i] = i % 2 == 0 ? consonants[qk_random_below(random, sizeof consonants - 1)]
                            : vowels[qk_random_below(random, sizeof vowels - 1)];
    key[QK_PROSE_KEY] = '\0';
}

const char *qk_prose_noun(uint64_t *random)
{
    return PICK(NOUNS, random);
}

void qk_prose_filler(struct qk_text *text, uint64_t *random)
{
    const char *first = PICK(ADJECTIVES, random), *who = PICK(NOUNS, random), *did = PICK(VERBS, random),
               *second = PICK(ADJECTIVES, random), *what = PICK(NOUNS, random), *place = PICK(PLACES, random),
               *where = PICK(NOUNS, random);
    qk_text_add(text, "The %s %s %s the %s %s %s the %s. ", first, who, did, second, what, place, where);
}

void qk_prose_fact(struct qk_text *text, const char *key, const char *value)
{
    qk_text_add(text, "The code of %s is %s. ", key, value);
}

void qk_prose_question(struct qk_text *text, const char *key)
{
    qk_text_add(text, "What is the code of %s? It is ", key);
}
