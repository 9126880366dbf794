/* probe_text.c - the built-in needle document; text and ids from files. */
#include "range/probe_text.h"

#include "base/mem.h"
#include "base/read_file.h"
#include "base/text.h"
#include "range/prose.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* --- the document --- */

enum { VALUE = 4, MOST_NEEDLES = 16 };

struct needle {
    char key[QK_PROSE_KEY + 1], value[VALUE + 1];
};

static void make_needle(struct needle *needle, uint64_t *random)
{
    qk_prose_key(needle->key, random);
    for (int i = 0; i < VALUE; i++)
        needle->value[i] = (char)('0' + qk_random_below(random, 10));
}

enum qk_code qk_probe_document(size_t n, char **out, struct qk_error *err)
{
    enum { PER_NEEDLE = 160, FACT = 27, QUESTION = 39 };
    struct needle needle[MOST_NEEDLES] = {0};
    struct qk_text text = {0};
    uint64_t random = 3;
    size_t needles = n / PER_NEEDLE < MOST_NEEDLES ? n / PER_NEEDLE : MOST_NEEDLES;
    size_t room = n - needles * QUESTION, placed = 0;
    for (size_t i = 0; i < needles; i++)
        make_needle(&needle[i], &random);
    for (;;) {
        struct qk_text sentence = {0};
        /* Facts stand evenly in the first three quarters, so that some questions are near and some far. */
        bool due = placed < needles && text.length * 4 * needles >= placed * 3 * room;
        if (due)
            qk_prose_fact(&sentence, needle[placed].key, needle[placed].value);
        else
            qk_prose_filler(&sentence, &random);
        bool fits =
            !sentence.failed && text.length + sentence.length + (needles - placed - due) * FACT <= room;
        if (fits)
            qk_text_add_bytes(&text, sentence.s, sentence.length);
        qk_text_free(&sentence);
        if (!fits)
            break;
        placed += due;
    }
    for (size_t i = 0; i < placed; i++) { /* questions come in another order than facts */
        const struct needle *asked = &needle[(i + placed / 2) % placed];
        qk_prose_question(&text, asked->key);
        qk_text_add(&text, "%s. ", asked->value);
    }
    if (text.length == 0)
        qk_text_add_bytes(&text, "The river. ", n < 11 ? n : 11);
    return qk_text_take(&text, out, err);
}

/* --- files --- */

enum { MOST_BYTES = 64 << 20 };

enum qk_code qk_probe_read_text(const char *path, char **out, size_t *n, struct qk_error *err)
{
    QK_TRY(qk_read_file(path, MOST_BYTES, out, n, err));
    const char *problem = *n == 0                          ? "it holds no text"
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
                "%s: byte %zu: not a token id (expected decimal numbers and white space)", path, at);
        if (*n_ids == QK_PROBE_MOST)
            return qk_fail(
                err, QK_INPUT, "%s: too many token ids (expected at most %d)", path, QK_PROBE_MOST);
        QK_TRY(qk_grow(out, &capacity, *n_ids + 1, sizeof **out, err));
        (*out)[(*n_ids)++] = (int32_t)id;
        at += digits;
    }
    return *n_ids > 0 ? QK_OK : qk_fail(err, QK_INPUT, "%s: it holds no token id", path);
}

enum qk_code qk_probe_read_ids(const char *path, int32_t **out, size_t *n, struct qk_error *err)
{
    char *text;
    size_t length;
    *out = NULL;
    QK_TRY(qk_read_file(path, MOST_BYTES, &text, &length, err));
    enum qk_code code = parse_ids(path, text, length, out, n, err);
    free(text);
    if (code != QK_OK) {
        free(*out);
        *out = NULL;
    }
    return code;
}
