/* layout.h - the table of model families (layout.c), and the check of its rows (layout_row.c): where each stores
 * q and k. Rows are data (data/layouts), not code; the manual page qkscope-layout(5) describes every key. */
#ifndef QK_MODEL_LAYOUT_H
#define QK_MODEL_LAYOUT_H

#include "base/error.h"
#include "model/config.h"
#include "tensor/names.h"

#include <stdbool.h>
#include <stddef.h>

struct qk_embedded_layout {
    const char *file, *text;
    size_t length;
};
extern const struct qk_embedded_layout qk_embedded_layouts[]; /* generated at build time */
extern const size_t qk_n_embedded_layouts;

struct qk_layout {
    cJSON *row;         /* owned */
    char *file;         /* where the row came from, for messages; owned */
    const char *family; /* borrowed from row */
    bool guessed;       /* a "*" row: the model type is not in the table */
};

/* Finds the row for a model type: a row of the user's, else a built-in one, else a "*" row. QK_INPUT when a row has a
 * mistake, QK_IO when the user's folder exists and cannot be read. */
enum qk_code qk_layout_find(const char *model_type, struct qk_layout *layout, struct qk_error *err);
void qk_layout_free(struct qk_layout *layout);

/* Parses and checks one row; `file` is used in messages. */
enum qk_code qk_layout_parse(
    const char *file, const char *text, size_t n, struct qk_layout *layout, struct qk_error *err);

/* Checks a row that is JSON (layout_row.c): unknown and missing keys, wrong values, mixers that are not there. */
enum qk_code qk_layout_check(const char *file, const cJSON *row, struct qk_error *err);

/* A key that a row may hold, for the manual page. */
struct qk_layout_key {
    const char *object; /* where it stands: "row", "rule", "mixer", "forward", "experts" or "shared" */
    const char *key;
    const char *type;  /* what its value is, in the words of the manual page */
    const char *words; /* the words allowed, each between blanks; NULL: any */
    bool needed;       /* every such object must hold it */
};
/* Key number i of all, object by object; false behind the last. */
bool qk_layout_key(size_t i, struct qk_layout_key *out);

/* *out = the folder of the user's rows, whether it exists or not; NULL when neither variable is set. The caller
 * frees. */
enum qk_code qk_layout_folder(char **out, struct qk_error *err);

/* Calls visit for every row of the table, the user's rows first, in the order of the files' names. A row lives only
 * while it is visited. */
enum qk_code qk_layout_rows(
    void (*visit)(void *context, const struct qk_layout *row), void *context, struct qk_error *err);

/* mixer[i] = name of the mixer of layer i, for n layers; borrowed from the row. QK_INPUT reports the config key that
 * does not fit. Linear in n and in the size of the config. */
enum qk_code qk_layout_kinds(const struct qk_layout *layout, const struct qk_config *config,
    const struct qk_names *names, int n, const char **mixer, struct qk_error *err);
/* The mixer of that name. */
const cJSON *qk_layout_mixer(const struct qk_layout *layout, const char *name);

/* *out = the value of `key` of an object of the row, looked up in the config. KEY_when comes first where one of its
 * conditions holds. False when the value does not exist. */
bool qk_layout_value(const cJSON *object, const char *key, const struct qk_config *config, double *out);
/* The same for whole numbers in 1..limit; QK_INPUT reports the key and what was found. */
enum qk_code qk_layout_count(const cJSON *object, const char *key, const struct qk_config *config, long limit,
    long *out, struct qk_error *err);
/* QK_INPUT when the config holds something else than a number for one of the keys (a list that NULL ends) of the
 * object. Only what would count is looked at. */
enum qk_code qk_layout_check_values(
    const cJSON *object, const char *const *keys, const struct qk_config *config, struct qk_error *err);
/* A number in the bounds; QK_INPUT reports another one. *out is left alone when *found is false. */
struct qk_bounds {
    double least, most;
    const char *text; /* what is expected, for the message */
};
extern const struct qk_bounds qk_above_zero;
enum qk_code qk_layout_number(const cJSON *object, const char *key, const struct qk_config *config,
    struct qk_bounds bounds, bool *found, double *out, struct qk_error *err);
/* The flag `key`; `fallback` when the config does not have it. */
bool qk_layout_flag(const cJSON *object, const char *key, const struct qk_config *config, bool fallback);
/* The word `key`, or that of the first pair of KEY_when whose condition holds. */
const char *qk_layout_word(const cJSON *object, const char *key, const struct qk_config *config);

/* True when the condition holds: KEY is true in the config, or KEY=WORD and the key is this word. */
bool qk_layout_holds(const struct qk_config *config, const char *condition);
/* True when the item is present and not null, false or 0. */
bool qk_config_true(const cJSON *item);
/* The item at the config path "a.b.c" below the text config, or NULL. */
const cJSON *qk_config_path(const struct qk_config *config, const char *path);

#endif
