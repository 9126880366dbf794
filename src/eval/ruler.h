/* ruler.h - long needles as RULER defines them (Hsieh et al. 2024, arXiv 2404.06654; github.com/NVIDIA/RULER): its
 * templates, haystacks, kinds of keys and values, and the length that counts what is generated, too. Its random
 * numbers and word lists are not RULER's. */
#ifndef QK_EVAL_RULER_H
#define QK_EVAL_RULER_H

#include "base/text.h"
#include "token/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* RULER's names, in the order of the words of --ruler. Fields: the haystack (five sentences again and again, essays,
 * or other needles), uuid keys, uuid values, keys, values of a key, and keys that are asked for. */
#define QK_RULER_TASKS(X)                                                                                    \
    X(niah_single_1, NOISE, false, false, 1, 1, 1)                                                           \
    X(niah_single_2, ESSAYS, false, false, 1, 1, 1)                                                          \
    X(niah_single_3, ESSAYS, false, true, 1, 1, 1)                                                           \
    X(niah_multikey_1, ESSAYS, false, false, 4, 1, 1)                                                        \
    X(niah_multikey_2, NEEDLES, false, false, 1, 1, 1)                                                       \
    X(niah_multikey_3, NEEDLES, true, true, 1, 1, 1)                                                         \
    X(niah_multivalue, ESSAYS, false, false, 1, 4, 1)                                                        \
    X(niah_multiquery, ESSAYS, false, false, 4, 1, 4)                                                        \
    X(vt, NOISE, false, false, 0, 0, 0)

/* The words of --ruler. */
#define QK_RULER_WORDS                                                                                       \
    "niah_single_1|niah_single_2|niah_single_3|niah_multikey_1|niah_multikey_2|niah_multikey_3|"             \
    "niah_multivalue|niah_multiquery|vt"

struct qk_ruler {
    int task; /* place in the table */
    const char
        *text; /* n_text bytes of UTF-8, the essays; NULL: the built-in prose (range/prose.h). Borrowed */
    size_t n_text;
    uint64_t seed;
    const struct qk_tokenizer *tokenizer; /* counts lengths; NULL: in bytes. Borrowed */
};

/* True for the tasks with one answer, whose place a depth gives. */
bool qk_ruler_has_depth(int task);
/* True for the tasks whose haystack is the essays. */
bool qk_ruler_has_essays(int task);

/* Appends case `number` of this length as a line of a file of cases, with the task NAME@LENGTH. A case depends on these
 * arguments alone. Prompt and what is generated (128 tokens, of vt 30) have `length` tokens at most. The text of essays
 * is taken from its beginning, again behind its end, with single blanks. All answers must be in the continuation.
 * `depth` is 0 to 1, or NaN: a random one, as in RULER. QK_USAGE when the length is too short, or when every tried
 * value stands elsewhere in the text, too. QK_INPUT when the tokenizer refuses the text. */
enum qk_code qk_ruler_write(const struct qk_ruler *ruler, size_t length, double depth, int number,
    struct qk_text *out, struct qk_error *err);

#endif
