/* pattern.h - the patterns of a tokenizer.json (PCRE2), and the cutting of text by them. */
#ifndef QK_TOKEN_PATTERN_H
#define QK_TOKEN_PATTERN_H

#include "base/error.h"
#include "base/json.h"
#include "token/pieces.h"

#include <stdbool.h>
#include <stddef.h>

struct qk_pattern; /* a literal text or a regular expression */

/* Compiles a pattern in Oniguruma's Ruby syntax, as in the files. QK_INPUT when it is not valid, or has a part that
 * PCRE2 has no counterpart of. Messages begin with `where`. *out is freed with qk_pattern_free, and NULL on failure. */
enum qk_code qk_pattern_regex(
    const char *where, const char *text, struct qk_pattern **out, struct qk_error *err);
enum qk_code qk_pattern_literal(const char *text, struct qk_pattern **out, struct qk_error *err);
/* {"String": ...} or {"Regex": ...}. */
enum qk_code qk_pattern_read(
    const char *where, const cJSON *pattern, struct qk_pattern **out, struct qk_error *err);
void qk_pattern_free(struct qk_pattern *pattern);

struct qk_range {
    size_t from, to;
    bool match; /* false: what lies between matches */
};
/* Zero-initialise; the caller frees `range`. */
struct qk_ranges {
    struct qk_range *range;
    size_t n, capacity;
};
/* Finds the matches in text[0, n) and what lies between them, in order and without a gap. Bytes that are not UTF-8
 * lie between. QK_INPUT when the pattern takes more steps or time than any real one. */
enum qk_code qk_pattern_find(const struct qk_pattern *pattern, const char *text, size_t n,
    struct qk_ranges *found, struct qk_error *err);

/* Where the matches go when a text is cut at them. */
enum qk_split { QK_ISOLATED, QK_REMOVED, QK_MERGED_WITH_PREVIOUS, QK_MERGED_WITH_NEXT, QK_CONTIGUOUS };
/* Reads its name in the files ("Isolated" ...). */
enum qk_code qk_split_read(const char *where, const char *name, enum qk_split *out, struct qk_error *err);

/* Appends the pieces of text[0, n) to `out`. `invert` swaps matches and what lies between. Bytes that are not UTF-8
 * are never removed. `lead` is that of struct qk_piece. */
enum qk_code qk_pattern_split(const struct qk_pattern *pattern, bool invert, enum qk_split split,
    const char *text, size_t n, size_t lead, struct qk_pieces *out, struct qk_error *err);

#endif
