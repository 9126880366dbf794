/* recipe_folder.h - a folder for the recipes that a command finds. */
#ifndef QK_CLI_RECIPE_FOLDER_H
#define QK_CLI_RECIPE_FOLDER_H

#include "blend/selection.h"

/* Zero-initialise; freed with qk_recipe_folder_free. */
struct qk_recipe_folder {
    const char *path; /* NULL: no recipes are kept; borrowed */
    bool made;        /* by qk_recipe_folder_make */
    char **recipe;    /* n paths in the order of qk_recipe_folder_write; owned */
    size_t n, capacity;
};

/* Makes the folder; path NULL: does nothing. QK_USAGE when it exists, unless `force` allows that. Call it before the
 * work, so that the user does not wait for recipes that cannot be kept. */
enum qk_code qk_recipe_folder_make(
    const char *path, bool force, struct qk_recipe_folder *folder, struct qk_error *err);
/* Writes PATH/NAME.json (export/recipe.h); without a path it does nothing. An earlier file of that name is replaced. */
enum qk_code qk_recipe_folder_write(struct qk_recipe_folder *folder, const char *name,
    const struct qk_pair *pair, const struct qk_selection *selection, const char *comment,
    struct qk_error *err);
/* Recipe i, or NULL. */
const char *qk_recipe_folder_at(const struct qk_recipe_folder *folder, size_t i);
/* Removes the recipes and the folder, if this run made it; files of others stay. */
void qk_recipe_folder_remove(const struct qk_recipe_folder *folder);
void qk_recipe_folder_free(struct qk_recipe_folder *folder);

#endif
