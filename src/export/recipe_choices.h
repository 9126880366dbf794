/* recipe_choices.h - the choices of a recipe, written and read (recipe_choices.c), and the checks of every key that
 * the readers of a recipe share (recipe.c). */
#ifndef QK_EXPORT_RECIPE_CHOICES_H
#define QK_EXPORT_RECIPE_CHOICES_H

#include "base/json.h"
#include "export/recipe.h"

/* The versions of the format. */
enum { QK_RECIPE_BY_LAYER = 1, QK_RECIPE_BY_HEAD = 2 };

struct qk_recipe_reader {
    const char *path;
    struct qk_error *err;
};
/* QK_INPUT: "PATH: WHERE.KEY: missing or wrong (expected ...)". */
enum qk_code qk_recipe_wrong(
    const struct qk_recipe_reader *r, const char *where, const char *key, const char *expected);
/* Checks that an object holds only keys of the list (NULL-terminated), each once: a misspelt key would silently
 * change what is exported. */
enum qk_code qk_recipe_keys(
    const struct qk_recipe_reader *r, const cJSON *object, const char *where, const char *const *keys);
/* *out = the first element of the array `key`; *n = how many it has. */
enum qk_code qk_recipe_array(const struct qk_recipe_reader *r, const cJSON *object, const char *where,
    const char *key, const cJSON **out, size_t *n);

/* The version in which a selection is written: the first that can hold it. */
int qk_recipe_version(const struct qk_selection *selection);
/* Adds "choices" to a recipe's object. Layers with equal choices share an entry. */
void qk_recipe_add_choices(cJSON *root, const struct qk_selection *selection);
/* Reads "choices" into *out, which the caller frees. The reader does not know how many heads a layer has: a role that
 * is chosen by head has one more than the largest number, and that one is kept. */
enum qk_code qk_recipe_read_choices(
    const struct qk_recipe_reader *r, const cJSON *root, bool by_head, struct qk_selection *out);
/* Sets the choices of one layer of the recipe. QK_INPUT when the pair lacks the layer or a head, or when a mode acts on
 * whole key groups and the recipe names a part of one. */
enum qk_code qk_recipe_replay_layer(const struct qk_recipe *recipe, const struct qk_pair *pair, int layer,
    struct qk_selection *selection, struct qk_error *err);

#endif
