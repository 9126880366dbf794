/* haystack.h - needles in a haystack (Kamradt 2023): a fact somewhere in a long text, and the question for it at the
 * end.
 *
 * A case is filler, the needle and some others like it ("The code of tezav is 3406. "), and the question
 * ("What is the code of tezav? It is "), in the language of the demo pair's training (range/prose.h). */
#ifndef QK_EVAL_HAYSTACK_H
#define QK_EVAL_HAYSTACK_H

#include "base/text.h"
#include "token/tokenizer.h"

#include <stddef.h>
#include <stdint.h>

/* noise: five short sentences again and again (Mohtashami and Jaggi 2023). prose: sentences of the built-in
 * vocabulary, equal only by chance. text: the user's, from a random sentence on, and from its beginning again behind
 * its end. */
enum qk_filler { QK_FILLER_NOISE, QK_FILLER_PROSE, QK_FILLER_TEXT };

/* The kind of a needle's value: decimal digits, hexadecimal digits, or nouns joined by hyphens. In the order of the
 * words of --value. */
enum qk_value { QK_VALUE_DIGITS, QK_VALUE_HEX, QK_VALUE_WORDS };

enum { QK_VALUE_MOST = 64, QK_DISTRACTORS_MOST = 1000 };

struct qk_haystack {
    enum qk_filler filler;
    const char *text; /* n_text bytes of UTF-8 for QK_FILLER_TEXT; borrowed */
    size_t n_text;
    enum qk_value value;
    int digits;      /* digits, or words, of a value: 1 to QK_VALUE_MOST */
    int distractors; /* needles without a question: up to QK_DISTRACTORS_MOST */
    uint64_t seed;
    const struct qk_tokenizer *tokenizer; /* counts lengths; NULL: in bytes. Borrowed */
};

/* Makes case `number` of this length and depth: *prompt and *value, the answer; the caller frees both. A case depends
 * on these arguments alone, not on other lengths and depths or the machine.
 *
 * The prompt, with the special tokens before it, has `length` tokens at most; one more sentence of filler would
 * exceed them. The needle follows the end of the sentence that is nearest to depth * bytes of the text before the
 * question (0: first, 1: last). Key and value are at no other place of the prompt.
 *
 * QK_USAGE when needles and question alone are longer than that, or when every tried value (or key) is in the text
 * already. QK_INPUT when the tokenizer refuses the text. */
enum qk_code qk_haystack_make(const struct qk_haystack *haystack, size_t length, double depth, int number,
    char **prompt, char **value, struct qk_error *err);

/* Appends such a case as a line of a file of cases, with the task needle-FILLER-VALUE@LENGTH. */
enum qk_code qk_haystack_write(const struct qk_haystack *haystack, size_t length, double depth, int number,
    struct qk_text *out, struct qk_error *err);

/* The length of the sentence at text[0, n), n > 0: up to an end mark and the blanks behind it, or to an empty line. A
 * very long one is cut behind a blank, or between characters. */
size_t qk_sentence_length(const char *text, size_t n);

#endif
