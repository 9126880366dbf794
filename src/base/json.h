/* json.h - cJSON with the checks that files from strangers need, and typed getters.
 *
 * cJSON accepts more than JSON (trailing text, embedded \u0000 that cuts a string short, broken UTF-8) and
 * keeps duplicate keys; qk_json_parse closes the first three, callers that care for duplicates check them
 * (qk_json_duplicate). All cJSON trees are freed with cJSON_Delete by whoever got them. */
#ifndef QK_BASE_JSON_H
#define QK_BASE_JSON_H

#include "base/error.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Makes cJSON allocate by way of this file, which then knows when memory was refused: cJSON itself tells of
 * it by values that are missing, or as a syntax error. Called once, before anything else of this file. */
void qk_json_init(void);

/* Parses n bytes; `name` (a path) is used in messages. QK_INPUT when the text is not UTF-8, not one JSON value
 * followed by white space only, nested deeper than cJSON's limit, holds \u0000 in a string, or holds so many
 * values for its size that cJSON's tree would take a multiple of it (2^20 are free, then one in 8 bytes). QK_IO
 * when there is no memory for the tree. */
enum qk_code qk_json_parse(const char *name, const char *bytes, size_t n, cJSON **out, struct qk_error *err);

/* Of these checks the first two: UTF-8 and no NUL. */
enum qk_code qk_json_check(const char *name, const char *bytes, size_t n, struct qk_error *err);

/* Walks the members of one large object member by member, so that no more than one of them is ever a tree.
 * The text has passed qk_json_check. Members are text[value, value + length); what they hold is checked by
 * qk_json_walk_value alone. Positions in messages count from the start of `text`. */
struct qk_json_walk {
    const char *name, *text; /* borrowed */
    size_t at, end;
    bool started;
    char *key; /* of the present member, without escapes; owned, valid until the next step */
    size_t value, length;
};
/* The object is text[begin, end), with white space around it at most. */
void qk_json_walk_start(
    struct qk_json_walk *walk, const char *name, const char *text, size_t begin, size_t end);
/* Steps to the next member; *more is false behind the last one. QK_INPUT when the text is not an object. */
enum qk_code qk_json_walk_next(struct qk_json_walk *walk, bool *more, struct qk_error *err);
/* The present member's value as a tree. */
enum qk_code qk_json_walk_value(const struct qk_json_walk *walk, cJSON **out, struct qk_error *err);
/* Frees what the walk holds; always needed after qk_json_walk_start. */
void qk_json_walk_end(struct qk_json_walk *walk);

/* Reads (qk_read_file) and parses a file of at most max_bytes. */
enum qk_code qk_json_read(const char *path, size_t max_bytes, cJSON **out, struct qk_error *err);

/* The first key that stands twice in the object, or NULL. O(n log n). */
enum qk_code qk_json_duplicate(const cJSON *object, const char **key, struct qk_error *err);

/* Typed getters: the value of `key`, or `fallback` where the key is absent, null, or of another type
 * (numbers: not integral or outside int64 for the integer getter). object may be NULL. Case-sensitive. */
const cJSON *qk_json_get(const cJSON *object, const char *key);
int64_t qk_json_int(const cJSON *object, const char *key, int64_t fallback);
double qk_json_number(const cJSON *object, const char *key, double fallback);
bool qk_json_bool(const cJSON *object, const char *key, bool fallback);
const char *qk_json_string(const cJSON *object, const char *key, const char *fallback);

/* True and *out set when item is a number that is an exact integer in [0, 2^53]. */
bool qk_json_u64(const cJSON *item, uint64_t *out);

/* Adds a finite number with the digits that bring exactly it back; cJSON prints 15, and drops the last bits.
 * The item is raw text: to be printed, not to be read by the getters. */
void qk_json_add_exact(cJSON *object, const char *key, double value);
/* Adds `item` (NULL: memory ran out) to the array, which may be NULL for the same reason;
 * owned by the array, or freed. */
void qk_json_append(cJSON *array, cJSON *item);
/* Adds an empty object and returns it; NULL when memory ran out. Every cJSON_Add function takes that NULL. */
cJSON *qk_json_append_object(cJSON *array);
/* *out = the text of the tree, on many lines or on one; the tree is freed, the text is the caller's to
 * free(). QK_IO when memory is refused, now or before, while this thread made the tree: no call that adds to
 * a tree need be checked, and none that lacks something is printed. */
enum qk_code qk_json_text(cJSON *root, bool lines, char **out, struct qk_error *err);
/* Adds a number, or null where the value is not finite (JSON has no NaN). */
void qk_json_add_number(cJSON *object, const char *key, double value);

#endif
