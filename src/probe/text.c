/* text.c - the built-in needle document; text and ids from files. */
#include "probe/text.h"

#include "base/mem.h"
#include "base/text.h"
#include "tensor/source.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* --- the document --- */

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

/* Steele, Lea, Flood 2014: fixed numbers for a fixed text. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static size_t below(uint64_t *state, size_t n)
{
    return (size_t)(next_random(state) % n);
}

#define PICK(list, state) list[below(state, sizeof list / sizeof list[0])]

enum { KEY = 5, VALUE = 4, SENTENCE = 128, MOST_NEEDLES = 16 };

struct needle {
    char key[KEY + 1], value[VALUE + 1];
};

static void make_needle(struct needle *needle, uint64_t *random)
{
    static const char consonants[] = "bcdfghjklmnpqrstvwz", vowels[] = "aeiou";
    for (int i = 0; i < KEY; i++)
        needle->key[i] = i % 2 == 0 ? consonants[below(random, sizeof consonants - 1)]
                                    : vowels[below(random, sizeof vowels - 1)];
    for (int i = 0; i < VALUE; i++)
        needle->value[i] = (char)('0' + below(random, 10));
}

static void add_filler(struct qk_text *text, uint64_t *random)
{
    const char *first = PICK(ADJECTIVES, random), *who = PICK(NOUNS, random), *did = PICK(VERBS, random),
               *second = PICK(ADJECTIVES, random), *what = PICK(NOUNS, random), *place = PICK(PLACES, random),
               *where = PICK(NOUNS, random);
    qk_text_add(text, "The %s %s %s the %s %s %s the %s. ", first, who, did, second, what, place, where);
}

static void add_fact(struct qk_text *text, const struct needle *needle)
{
    qk_text_add(text, "The code of %s is %s. ", needle->key, needle->value);
}

static void add_question(struct qk_text *text, const struct needle *needle)
{
    qk_text_add(text, "What is the code of %s? It is %s. ", needle->key, needle->value);
}

enum qk_code qk_probe_document(size_t n, char **out, struct qk_error *err)
{
    enum { PER_NEEDLE = 160, FACT = 27, QUESTION = 39 };
    struct needle needle[MOST_NEEDLES] = {0};
    struct qk_text text = {0};
    uint64_t random = 3;
    size_t needles = n / PER_NEEDLE < MOST_NEEDLES ? n / PER_NEEDLE : MOST_NEEDLES;
    size_t room = n - needles * QUESTION, told = 0;
    for (size_t i = 0; i < needles; i++)
        make_needle(&needle[i], &random);
    for (;;) {
        struct qk_text sentence = {0};
        /* Facts stand in the first three quarters, evenly: some are asked for from near, some from far. */
        bool due = told < needles && text.length * 4 * needles >= told * 3 * room;
        if (due)
            add_fact(&sentence, &needle[told]);
        else
            add_filler(&sentence, &random);
        bool fits = !sentence.failed && text.length + sentence.length + (needles - told - due) * FACT <= room;
        if (fits)
            qk_text_add_bytes(&text, sentence.s, sentence.length);
        qk_text_free(&sentence);
        if (!fits)
            break;
        told += due;
    }
    for (size_t i = 0; i < told; i++) /* the order of asking is not that of telling */
        add_question(&text, &needle[(i + told / 2) % told]);
    if (text.length == 0)
        qk_text_add_bytes(&text, "The river. ", n < 11 ? n : 11);
    return qk_text_take(&text, out, err);
}

/* --- files --- */

enum { MOST_BYTES = 64 << 20 };

enum qk_code qk_probe_read_bytes(const char *path, size_t most, char **out, size_t *n, struct qk_error *err)
{
    struct qk_source source;
    *out = NULL;
    QK_TRY(qk_source_open(path, &source, err));
    enum qk_code code = QK_OK;
    *n = (size_t)source.size;
    if (source.size > most)
        code = qk_fail(err, QK_INPUT, "%s: too large (found %llu bytes, expected at most %zu)", path,
            (unsigned long long)source.size, most);
    if (code == QK_OK)
        code = qk_alloc(out, *n + 1, 1, err);
    if (code == QK_OK)
        code = qk_source_read(&source, 0, *out, *n, err);
    qk_source_close(&source);
    if (code != QK_OK) {
        free(*out);
        *out = NULL;
    }
    return code;
}

enum qk_code qk_probe_read_text(const char *path, char **out, size_t *n, struct qk_error *err)
{
    QK_TRY(qk_probe_read_bytes(path, MOST_BYTES, out, n, err));
    const char *problem = *n == 0                          ? "there is no text in it"
                          : !qk_utf8_valid(*out, *n)       ? "not UTF-8"
                          : memchr(*out, '\0', *n) != NULL ? "it holds a NUL byte"
                                                           : NULL;
    if (problem == NULL)
        return QK_OK;
    free(*out);
    *out = NULL;
    return qk_fail(err, QK_INPUT, "%s: %s", path, problem);
}

static enum qk_code parse_ids(
    const char *path, const char *text, size_t n, int32_t **out, size_t *n_ids, struct qk_error *err)
{
    static const char blank[] = " \t\r\n\v\f";
    size_t capacity = 0, at = 0;
    *n_ids = 0;
    for (;;) {
        while (at < n && text[at] != '\0' && strchr(blank, text[at]) != NULL)
            at++;
        if (at == n)
            break;
        int64_t id = 0;
        size_t digits = 0;
        for (; at + digits < n && text[at + digits] >= '0' && text[at + digits] <= '9' && id <= INT32_MAX;
             digits++)
            id = id * 10 + (text[at + digits] - '0');
        bool ends =
            at + digits == n || (text[at + digits] != '\0' && strchr(blank, text[at + digits]) != NULL);
        if (digits == 0 || !ends || id > INT32_MAX)
            return qk_fail(err, QK_INPUT,
                "%s: byte %zu: no token id (expected decimal numbers and white space)", path, at);
        if (*n_ids == QK_PROBE_MOST)
            return qk_fail(
                err, QK_INPUT, "%s: too many token ids (expected at most %d)", path, QK_PROBE_MOST);
        QK_TRY(qk_grow(out, &capacity, *n_ids + 1, sizeof **out, err));
        (*out)[(*n_ids)++] = (int32_t)id;
        at += digits;
    }
    return *n_ids > 0 ? QK_OK : qk_fail(err, QK_INPUT, "%s: there is no token id in it", path);
}

enum qk_code qk_probe_read_ids(const char *path, int32_t **out, size_t *n, struct qk_error *err)
{
    char *text;
    size_t length;
    *out = NULL;
    QK_TRY(qk_probe_read_bytes(path, MOST_BYTES, &text, &length, err));
    enum qk_code code = parse_ids(path, text, length, out, n, err);
    free(text);
    if (code != QK_OK) {
        free(*out);
        *out = NULL;
    }
    return code;
}
