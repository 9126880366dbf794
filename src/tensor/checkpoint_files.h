/* checkpoint_files.h - the files that make a checkpoint, before any of them is opened. */
#ifndef QK_TENSOR_CHECKPOINT_FILES_H
#define QK_TENSOR_CHECKPOINT_FILES_H

#include "tensor/checkpoint.h"

#include <cjson/cJSON.h>

/* A larger index is refused. */
enum { QK_MAX_INDEX_BYTES = 64 << 20 };

/* Chooses the files of c->path, as qk_checkpoint_open says. It sets c->folder and fills `names` with the shards, or
 * sets c->index_path where an index names them. *index becomes the index where it has been read (the caller frees it
 * with cJSON_Delete, also after a failure), else it stays. c->notes get what was left out. */
enum qk_code qk_checkpoint_choose(
    struct qk_checkpoint *c, struct qk_lines *names, cJSON **index, struct qk_error *err);

#endif
