/* haystack.h - needles in a haystack (Kamradt 2023): one fact somewhere in a long text, asked for at its end.
 *
 * A case is filler, the needle and some others like it ("The code of tezav is 3406. "), and the question
 * ("What is the code of tezav? It is "), in the language of the demo pair's training (range/prose.h). */
#ifndef QK_EVAL_HAYSTACK_H
#define QK_EVAL_HAYSTACK_H

#include "base/text.h"
#include "token/tokenizer.h"

#include <stddef.h>
#include <stdint.h>

/* noise: five short sentences again and again (Mohtashami and Jaggi 2023); prose: sentences of the built-in
 * vocabulary, no two alike but by chance; text: the user's, from a sentence drawn by lot on, and from its
 * beginning again behind its end. */
enum qk_filler { QK_FILLER_NOISE, QK_FILLER_PROSE, QK_FILLER_TEXT };

/* What a needle's value is made of: decimal digits, hexadecimal digits, or nouns joined by hyphens. Order is
 * that of the words of --value. */
enum qk_value { QK_VALUE_DIGITS, QK_VALUE_HEX, QK_VALUE_WORDS };

enum { QK_VALUE_MOST = 64, QK_DISTRACTORS_MOST = 1000 };

struct qk_haystack {
    enum qk_filler filler;
    const char *text; /* n_text bytes of UTF-8 for QK_FILLER_TEXT; borrowed */
    size_t n_text;
    enum qk_value value;
    int digits;      /* digits, or words, of a value: 1 to QK_VALUE_MOST */
    int distractors; /* needles that are not asked for: up to QK_DISTRACTORS_MOST */
    uint64_t seed;
    const struct qk_tokenizer *tokenizer; /* what lengths are counted with; NULL: in bytes. Borrowed */
};

/* Makes case `number` of this length and depth: *prompt and *value, the answer; the caller frees both. A case
 * depends on nothing but what is given here: neither on other lengths and depths nor on the machine.
 *
 * The prompt, with the special tokens before it, has `length` tokens at most, and less than that by no more
 * than the next sentence of filler would have taken. The needle stands at the end of a sentence, that one
 * which is nearest to depth * bytes of what stands before the question (0: first, 1: last). Key and value
 * stand in the prompt at no other place.
 *
 * QK_USAGE when needles and question alone are longer than that, or when every value that was tried (or key)
 * stands in the text already. QK_INPUT when the tokenizer refuses the text. */
enum qk_code qk_haystack_make(const struct qk_haystack *haystack, size_t length, double depth, int number,
    char **prompt, char **value, struct qk_error *err);

/* Appends such a case as a line of a file of cases, its task needle-FILLER-VALUE@LENGTH. */
enum qk_code qk_haystack_write(const struct qk_haystack *haystack, size_t length, double depth, int number,
    struct qk_text *out, struct qk_error *err);

#endif
