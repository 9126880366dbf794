/* export.h - writes post with a selection applied: all of it under its final name, or nothing.
 *
 * States: (1) nothing; (2) a temporary sibling ".NAME.qkscope-PID-N" is filled, every file fsynced;
 * (3) one rename gives it its name; the parent folder is fsynced. A crash in 2 leaves a sibling that is not
 * DIR, which the next export to DIR removes; inputs are only ever opened for reading.
 *
 * Files are filled part by part on all processors (fill.h): what is written does not depend on how many.
 *
 * What is written: post's folder as it is, in which only rows of chosen roles differ, and the recipe. Of a
 * post that is an adapter, it is pre's folder with the merged tensors in place, or the adapter's own folder,
 * in which the rows of chosen roles in B are multiplied by 1 - alpha (lerp) or 0 (restore). When
 * post was named by a single file, its folder is taken to hold other things, too: then that file and the
 * small files that belong to a checkpoint (*.json, *.txt, *.model, *.py, *.jinja, *.md) beside it. */
#ifndef QK_EXPORT_EXPORT_H
#define QK_EXPORT_EXPORT_H

#include "base/progress.h"
#include "export/recipe.h"

/* The one file of weights in a patch. */
#define QK_PATCH_NAME "qkscope-patch.safetensors"

struct qk_export_options {
    const char *target;  /* DIR */
    bool force;          /* replace an existing export (a folder with a recipe, or an empty one) */
    bool link;           /* hard-link shards that do not change */
    bool adapter;        /* post's adapter with its factors changed, not what it makes of pre */
    bool patch_only;     /* only the changed tensors (QK_PATCH_NAME) and the recipe */
    bool norms;          /* the gains of the q/k norms go with their role */
    const char *comment; /* for the recipe, or NULL */
};

struct qk_export_change {               /* one changed tensor */
    const struct qk_tensor *tensor;     /* post's, or its adapter's; borrowed */
    const struct qk_addition *addition; /* NULL, or that whose factor B the tensor is */
    int layer;                          /* -1: no choice, but post's adapter changes it */
    char roles[4];                      /* "q", "k", "qk"; "" without a choice */
    uint64_t bytes_changed;             /* of its rows that belong to chosen roles */
};
struct qk_export_plan {
    struct qk_export_change *change; /* by shard and offset */
    size_t n_changes;
    uint64_t bytes_total;   /* of the finished folder, without its recipe */
    uint64_t bytes_written; /* of these, what is not hard-linked */
    uint64_t bytes_changed; /* sum over the changes */
    uint64_t bytes_free;    /* of the target's file system for us */
    size_t n_files, n_shards_changed;
    bool target_exists;
};

/* What an export would do; checks everything that can be checked without writing (target inside an input,
 * existing target without force, free space, problems of chosen layers). Freed with qk_export_plan_free. */
enum qk_code qk_export_plan(const struct qk_pair *pair, const struct qk_selection *selection,
    const struct qk_export_options *options, struct qk_export_plan *plan, struct qk_error *err);
void qk_export_plan_free(struct qk_export_plan *plan);

/* Does it. progress counts bytes written. On any failure or cancel the temporary folder is removed. */
enum qk_code qk_export(const struct qk_pair *pair, const struct qk_selection *selection,
    const struct qk_export_options *options, struct qk_progress *progress, struct qk_error *err);

/* Re-reads an exported folder against its recipe, pre and post: every file, every byte. Paths of pre and post
 * come from the recipe unless given. QK_DIFFERS with the first difference (file, tensor, byte) in err, and
 * every differing tensor or file as a line of `differences` (may be NULL). Blended values are compared with
 * the digest that the export recorded and with a recomputation to one unit in the last place (another BLAS
 * kernel may round a tie the other way). progress counts bytes read. */
enum qk_code qk_verify(const char *folder, const char *pre, const char *post, struct qk_progress *progress,
    struct qk_lines *differences, struct qk_error *err);

#endif
