/* pieces.h - a text that becomes tokens: pieces, each either text or already a token. */
#ifndef QK_TOKEN_PIECES_H
#define QK_TOKEN_PIECES_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QK_NO_TOKEN = -1 };

struct qk_piece {
    size_t at, n;  /* bytes[at, at + n) */
    int32_t token; /* QK_NO_TOKEN: text */
    size_t lead;   /* so many of its first bytes come from the first character of the whole text */
};

/* Zero-initialise, and set the limit. Growth beyond `limit` bytes or pieces fails: a file's replacements must not
 * enlarge a text without bound. */
struct qk_pieces {
    char *bytes;
    size_t n_bytes, bytes_capacity;
    struct qk_piece *piece;
    size_t n, capacity;
    size_t limit;
};

/* The lead of what is left of a piece without its first `n` bytes. */
size_t qk_lead_behind(size_t lead, size_t n);

/* Appends bytes to the next piece, which qk_pieces_cut makes. */
enum qk_code qk_pieces_add(struct qk_pieces *pieces, const char *bytes, size_t n, struct qk_error *err);
/* Makes a piece of all bytes from `from` on; an empty one is left out. */
enum qk_code qk_pieces_cut(
    struct qk_pieces *pieces, size_t from, int32_t token, size_t lead, struct qk_error *err);
/* Both. */
enum qk_code qk_pieces_put(
    struct qk_pieces *pieces, const char *bytes, size_t n, int32_t token, size_t lead, struct qk_error *err);
void qk_pieces_free(struct qk_pieces *pieces);

/* Length of the character at p with n > 0 bytes left, and its code. A byte that starts no UTF-8 character is a
 * character of its own, with code -1. */
size_t qk_character(const char *p, size_t n, int32_t *code);
/* The code of the character that ends at text[at], at > 0; -1 for a byte that ends none. */
int32_t qk_character_before(const char *text, size_t at);

#endif
