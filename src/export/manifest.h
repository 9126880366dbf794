/* manifest.h - the effects of an export, found before anything is written. */
#ifndef QK_EXPORT_MANIFEST_H
#define QK_EXPORT_MANIFEST_H

#include "blend/change.h"
#include "export/export_files.h"

/* The file of weights in a patch. */
#define QK_PATCH_NAME "qkscope-patch.safetensors"

/* What became of the shards of an export that may link. */
struct qk_export_written {
    uint64_t bytes; /* of new files; where the file system shares blocks, the disk has fewer */
    size_t changed; /* shards with a changed tensor */
    size_t linked;  /* the others: hard links */
    size_t shared;  /* files that share all blocks with the old one (FICLONE) */
    size_t named;   /* symbolic links */
    size_t copied;
};

struct qk_export_options {
    const char *target; /* DIR */
    bool force;         /* replace an existing export (a folder with a recipe, or an empty one) */
    bool link;          /* hard-link shards that do not change */
    bool link_names;    /* with `link`: where that fails, share their blocks, else make symbolic links */
    bool adapter;       /* post's adapter with its factors changed, not the merged checkpoint */
    bool patch_only;    /* only the changed tensors (QK_PATCH_NAME) and the recipe */
    bool norms;         /* the gains of the q/k norms follow their role */
    struct qk_file_rules files;
    const char *comment;               /* for the recipe, or NULL */
    struct qk_export_written *written; /* filled in by qk_export unless NULL */
};

struct qk_export_manifest {
    struct qk_change *change; /* by shard and offset */
    size_t n_changes;
    uint64_t bytes_total;   /* bytes of the finished folder, without its recipe */
    uint64_t bytes_written; /* of these, the bytes that are not hard-linked */
    uint64_t bytes_changed; /* sum over the changes */
    uint64_t bytes_free; /* free bytes of the target's file system, plus those of left-overs that go first */
    size_t n_files, n_shards_changed;
    struct qk_export_files files; /* empty of a patch */
    bool target_exists;
};

/* Computes what an export would do, and checks all that it can without writing. That is a target inside an input, an
 * existing target without force, free space, problems of chosen layers, and an adapter that cannot be merged. Freed
 * with qk_export_manifest_free. */
enum qk_code qk_export_manifest(const struct qk_pair *pair, const struct qk_selection *selection,
    const struct qk_export_options *options, struct qk_export_manifest *manifest, struct qk_error *err);
void qk_export_manifest_free(struct qk_export_manifest *manifest);

/* True when a tensor of the shard changes. */
bool qk_export_changes_shard(const struct qk_export_manifest *manifest, int shard);

#endif
