/* export_files.h - the files of post that an export holds, and those of which a user should know. */
#ifndef QK_EXPORT_EXPORT_FILES_H
#define QK_EXPORT_EXPORT_FILES_H

#include "base/folder.h"
#include "export/side_files.h"
#include "tensor/checkpoint.h"

struct qk_file_rules {
    bool everything;   /* also what trainers keep, and a left-over adapter_config.json */
    bool follow_links; /* also links out of the folder */
};

/* A side file that is left out, hidden or of no model. Those of a folder are one entry, with the folder's name. */
struct qk_side_file {
    char *name; /* with a slash at the end of a folder; owned */
    enum qk_side_kind kind;
    uint64_t bytes;
    size_t n_files;
};

struct qk_export_files {
    struct qk_folder copied; /* with the shards */
    struct qk_side_file *side;
    size_t n_sides, capacity;
};

/* post's files, as export.h describes them. QK_INPUT names a side file that is a link out of post's folder, unless it
 * leads into the hub's "blobs" or links are followed: a folder of a stranger could take a file of the user along.
 * Weights may be such links. Freed with qk_export_files_free, also after a failure. */
enum qk_code qk_export_files(const struct qk_checkpoint *post, const struct qk_file_rules *rules,
    struct qk_export_files *files, struct qk_error *err);
void qk_export_files_free(struct qk_export_files *files);

/* The number of the shard that a file of the list is, or -1. */
int qk_export_shard(const struct qk_checkpoint *post, const char *name);

/* True for an entry that is left out unless everything is copied. */
bool qk_export_leaves_out(const struct qk_checkpoint *post, const char *name, bool is_folder);

#endif
