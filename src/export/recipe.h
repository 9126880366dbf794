/* recipe.h - a file with a selection and the fingerprints of the checkpoints for which it was made.
 *
 * {"format": "qkscope-recipe", "version": 1, "comment": "...",
 *  "pre":  {"path": "...", "model_type": "...", "files": [{"name", "bytes", "header_sha256"}]},
 *  "post": {...},
 *  "options": {"norms": false},
 *  "choices": [{"layers": [1, 4], "roles": ["q", "k"], "mode": "qk-pro", "param": 0.3}],
 *  "outputs": [{"tensor": "...", "sha256": "..."}]}          - in exported folders only
 *
 * Version 2 also has entries for heads: {"layers": [10], "heads": {"q": [0, 1], "k": [0]}, "mode": "restore"}. A
 * selection without choices by head is written as version 1. */
#ifndef QK_EXPORT_RECIPE_H
#define QK_EXPORT_RECIPE_H

#include "blend/selection.h"

struct qk_file_print {
    char *name;
    uint64_t bytes;
    char header_digest[65];
};
struct qk_output_print {
    char *tensor;
    char digest[65];
};
struct qk_recipe {
    char *source;              /* the file it was read from, for messages; NULL when it was made */
    char *path[QK_SIDE_COUNT]; /* absolute */
    char *model_type[QK_SIDE_COUNT];
    struct qk_file_print *file[QK_SIDE_COUNT];
    size_t n_files[QK_SIDE_COUNT];
    bool norms;    /* true: q/k norm gains follow their role */
    char *comment; /* NULL or text */
    struct qk_selection selection;
    struct qk_output_print *output; /* n_outputs; none in a plan */
    size_t n_outputs;
};

/* The file name of an export's recipe. */
#define QK_RECIPE_NAME "qkscope-recipe.json"

/* Fills a recipe from a pair and a selection. comment may be NULL. */
enum qk_code qk_recipe_make(const struct qk_pair *pair, const struct qk_selection *selection, bool norms,
    const char *comment, struct qk_recipe *recipe, struct qk_error *err);
void qk_recipe_free(struct qk_recipe *recipe);
/* *out = the file's text; the caller frees. Layers with equal choices share an entry. */
enum qk_code qk_recipe_text(const struct qk_recipe *recipe, char **out, struct qk_error *err);
/* Writes through a temporary file and a rename, so that PATH is never half a recipe. QK_USAGE when PATH is in pre's
 * or post's folder, or would replace another file beside a checkpoint. */
enum qk_code qk_recipe_write(const struct qk_recipe *recipe, const char *path, struct qk_error *err);
/* Writes another text about the same checkpoints in the same way, with the same checks for pre and post. */
enum qk_code qk_recipe_write_beside(
    const struct qk_recipe *recipe, const char *path, const char *text, struct qk_error *err);
/* Reads a recipe. QK_INPUT names the wrong key. */
enum qk_code qk_recipe_read(const char *path, struct qk_recipe *recipe, struct qk_error *err);
/* Fills *selection (the caller frees). QK_INPUT when a fingerprint of pre or post does not match (the message names
 * the file), or layers are missing. `force` skips the fingerprints but not the layers. */
enum qk_code qk_recipe_replay(const struct qk_recipe *recipe, const struct qk_pair *pair, bool force,
    struct qk_selection *selection, struct qk_error *err);

#endif
