/* pieces.c - growing lists of pieces of text. */
#include "token/pieces.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

size_t qk_lead_behind(size_t lead, size_t n)
{
    return lead > n ? lead - n : 0;
}

enum qk_code qk_pieces_add(struct qk_pieces *pieces, const char *bytes, size_t n, struct qk_error *err)
{
    if (n == 0)
        return QK_OK;
    if (pieces->n_bytes > pieces->limit || n > pieces->limit - pieces->n_bytes)
        return qk_fail(err, QK_INPUT,
            "the tokenizer's replacements make the text too long (found more than %zu bytes)", pieces->limit);
    QK_TRY(qk_grow(&pieces->bytes, &pieces->bytes_capacity, pieces->n_bytes + n, 1, err));
    memcpy(pieces->bytes + pieces->n_bytes, bytes, n);
    pieces->n_bytes += n;
    return QK_OK;
}

enum qk_code qk_pieces_cut(
    struct qk_pieces *pieces, size_t from, int32_t token, size_t lead, struct qk_error *err)
{
    size_t n = pieces->n_bytes - from;
    if (n == 0)
        return QK_OK;
    QK_TRY(qk_grow(&pieces->piece, &pieces->capacity, pieces->n + 1, sizeof *pieces->piece, err));
    pieces->piece[pieces->n++] = (struct qk_piece){from, n, token, lead < n ? lead : n};
    return QK_OK;
}

enum qk_code qk_pieces_put(
    struct qk_pieces *pieces, const char *bytes, size_t n, int32_t token, size_t lead, struct qk_error *err)
{
    size_t from = pieces->n_bytes;
    QK_TRY(qk_pieces_add(pieces, bytes, n, err));
    return qk_pieces_cut(pieces, from, token, lead, err);
}

void qk_pieces_free(struct qk_pieces *pieces)
{
    free(pieces->bytes);
    free(pieces->piece);
    *pieces = (struct qk_pieces){.limit = pieces->limit};
}

size_t qk_character(const char *p, size_t n, int32_t *code)
{
    utf8proc_int32_t value = -1;
    utf8proc_ssize_t length =
        utf8proc_iterate((const utf8proc_uint8_t *)p, n < 4 ? (utf8proc_ssize_t)n : 4, &value);
    *code = length > 0 ? value : -1;
    return length > 0 ? (size_t)length : 1;
}

int32_t qk_character_before(const char *text, size_t at)
{
    int32_t code;
    size_t back = 1;
    while (back < 4 && back < at && ((unsigned char)text[at - back] & 0xc0) == 0x80)
        back++;
    return qk_character(text + at - back, back, &code) == back ? code : -1;
}
