/* ruby.h - a regular expression in Ruby's syntax of Oniguruma, which tokenizer files use, rewritten for PCRE2. */
#ifndef QK_TOKEN_RUBY_H
#define QK_TOKEN_RUBY_H

#include "base/error.h"

/* *out = a pattern that matches in PCRE2 (UTF, UCP, MULTILINE) what `text` matches in Oniguruma; the caller frees.
 * QK_INPUT names a construct that has no counterpart; `where` begins the message. A mistake in the pattern may be
 * copied, for PCRE2 to name it. */
enum qk_code qk_ruby_to_pcre2(const char *where, const char *text, char **out, struct qk_error *err);

#endif
