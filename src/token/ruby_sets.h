/* ruby_sets.h - the sets of characters that a pattern in Ruby's syntax can name: \s, \p{Letter}, [:alpha:]. */
#ifndef QK_TOKEN_RUBY_SETS_H
#define QK_TOKEN_RUBY_SETS_H

#include <stdbool.h>
#include <stddef.h>

enum { QK_SET_NAME = 64 };

/* The characters of the items, or all others. */
struct qk_ruby_set {
    char items[QK_SET_NAME + 8]; /* as they stand in a class of PCRE2 */
    bool complement;
    bool single; /* one \p{...} */
    bool cased;  /* has letters of one case */
};

/* The set of \s, \w, \d or \h, or with a capital letter all others; false for other letters. */
bool qk_ruby_set_of_letter(char letter, bool in_class, struct qk_ruby_set *set);

/* The set of \p{NAME}, or of [:NAME:] with `bracket`; a ^ before the name means all others. false when there is no
 * such set, or PCRE2 does not know it. */
bool qk_ruby_set_of_name(const char *name, size_t n, bool bracket, struct qk_ruby_set *set);

#endif
