/* export_files.h - the files of post that an export holds. */
#ifndef QK_EXPORT_EXPORT_FILES_H
#define QK_EXPORT_EXPORT_FILES_H

#include "base/folder.h"
#include "tensor/checkpoint.h"

/* post's files, as export.h describes them; freed with qk_folder_free. */
enum qk_code qk_export_files(const struct qk_checkpoint *post, struct qk_folder *files, struct qk_error *err);

/* The number of the shard that a file of the list is, or -1. */
int qk_export_shard(const struct qk_checkpoint *post, const char *name);

#endif
