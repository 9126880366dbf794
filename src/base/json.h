/* json.h - cJSON with the checks that files from strangers need, and typed getters.
 *
 * cJSON accepts more than JSON: trailing text, embedded \u0000 that cuts a string short, broken UTF-8, numbers such as
 * 01, control characters in strings. qk_json_parse refuses these. cJSON keeps duplicate keys, of which the last counts
 * here, as in Python. Callers refuse duplicates where they matter (qk_json_duplicate). The function that gets a cJSON
 * tree frees it with cJSON_Delete. */
#ifndef QK_BASE_JSON_H
#define QK_BASE_JSON_H

#include "base/error.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Makes cJSON allocate through this file, which then knows when memory was refused. cJSON itself shows that as
 * missing values or as a syntax error. Called once, before any other function of this file. */
void qk_json_init(void);

enum qk_json_dialect {
    QK_JSON_STRICT, /* RFC 8259 */
    QK_JSON_PYTHON, /* and what Python writes: NaN, Infinity, -Infinity */
};

/* Parses n bytes of QK_JSON_PYTHON; messages use `name` (a path). NaN, Infinity and -Infinity become strings, so that
 * a reader who wants a number there refuses them. QK_INPUT when the text is not UTF-8, or not one JSON value with
 * white space only behind it. Also when it is nested deeper than cJSON's limit, or holds \u0000 in a string. Also when
 * it has so many values that cJSON's tree would take a multiple of its size (2^20 are free, then one in 8 bytes). QK_IO
 * when there is no memory for the tree. */
enum qk_code qk_json_parse(const char *name, const char *bytes, size_t n, cJSON **out, struct qk_error *err);

/* Makes the first two of these checks: UTF-8 and no NUL. Names what downloads leave in place of a file. */
enum qk_code qk_json_check(const char *name, const char *bytes, size_t n, struct qk_error *err);
/* Checks that JSON spells every token (number, string, word) of text[begin, end) so. The text has passed
 * qk_json_check. Positions in messages count from the start of `text`. */
enum qk_code qk_json_check_tokens(const char *name, const char *text, size_t begin, size_t end,
    enum qk_json_dialect dialect, struct qk_error *err);

/* What the text of one value holds in its strings that no C string of UTF-8 can: NUL, or half of a surrogate pair
 * (static words for a message). NULL where it holds neither. */
const char *qk_json_not_text(const char *text, size_t n);

/* The place behind the object or list that begins at text[at], by its brackets and strings alone. 0 where it does not
 * end before `end`, or where a string goes over the end of a line. */
size_t qk_json_value_end(const char *text, size_t at, size_t end);

/* A walk over the members of one large object or list, of which only one at a time is a tree. The text has passed
 * both checks. Members are text[value, value + length); only qk_json_walk_value checks their content. Positions in
 * messages count from the start of `text`. */
struct qk_json_walk {
    const char *name, *text; /* borrowed */
    size_t at, end;
    bool started, list;
    char *
        key; /* key of the present member, without escapes; owned, valid until the next step; NULL in a list */
    size_t value, length;
};
/* Starts a walk over the object text[begin, end), which may have white space around it. */
void qk_json_walk_start(
    struct qk_json_walk *walk, const char *name, const char *text, size_t begin, size_t end);
/* The same over a list, whose members have no key. */
void qk_json_walk_start_list(
    struct qk_json_walk *walk, const char *name, const char *text, size_t begin, size_t end);
/* Steps to the next member; *more is false behind the last one. QK_INPUT when the text is no object
 * (list). */
enum qk_code qk_json_walk_next(struct qk_json_walk *walk, bool *more, struct qk_error *err);
/* *out = the present member's value as a tree. */
enum qk_code qk_json_walk_value(const struct qk_json_walk *walk, cJSON **out, struct qk_error *err);
/* Frees the walk; always needed after qk_json_walk_start. */
void qk_json_walk_end(struct qk_json_walk *walk);

/* Reads (qk_read_file) and parses a file of at most max_bytes. */
enum qk_code qk_json_read(const char *path, size_t max_bytes, cJSON **out, struct qk_error *err);

/* *key = the first key that appears twice in the object, or NULL. O(n log n). */
enum qk_code qk_json_duplicate(const cJSON *object, const char **key, struct qk_error *err);

/* Removes from the object every member whose key stands again behind it, for callers that walk over all members.
 * O(n log n). */
enum qk_code qk_json_keep_last(cJSON *object, struct qk_error *err);

/* Typed getters: the value of `key` (the last, where it stands twice), or `fallback` where the key is absent, null, or
 * of another type. For the integer getter that includes numbers that are not integral or outside int64. object may be
 * NULL. Case-sensitive. */
const cJSON *qk_json_get(const cJSON *object, const char *key);
int64_t qk_json_int(const cJSON *object, const char *key, int64_t fallback);
double qk_json_number(const cJSON *object, const char *key, double fallback);
bool qk_json_bool(const cJSON *object, const char *key, bool fallback);
const char *qk_json_string(const cJSON *object, const char *key, const char *fallback);

/* True and *out set when item is a number that is an exact integer in [0, 2^53]. */
bool qk_json_u64(const cJSON *item, uint64_t *out);

/* Adds a finite number with enough digits to read exactly it back; cJSON prints 15 and drops the last bits. The item
 * is raw text: it can be printed, but not read by the getters. */
void qk_json_add_exact(cJSON *object, const char *key, double value);
/* Adds `item` (NULL: memory ran out) to the array, which may be NULL for the same reason;
 * owned by the array, or freed. */
void qk_json_append(cJSON *array, cJSON *item);
/* Adds an empty object and returns it; NULL when memory ran out. Every cJSON_Add function takes that NULL. */
cJSON *qk_json_append_object(cJSON *array);
/* *out = the text of the tree, on many lines or on one, with hidden characters (base/text.h) as escapes. The tree is
 * freed; the caller frees the text. QK_IO when this thread was refused memory now or while it made the tree. So callers
 * need not check additions to a tree, and an incomplete tree is never printed. */
enum qk_code qk_json_text(cJSON *root, bool lines, char **out, struct qk_error *err);
/* Adds a number, or null where the value is not finite (JSON has no NaN). */
void qk_json_add_number(cJSON *object, const char *key, double value);

#endif
