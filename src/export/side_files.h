/* side_files.h - the kinds of the files beside a model's weights, by their names. */
#ifndef QK_EXPORT_SIDE_FILES_H
#define QK_EXPORT_SIDE_FILES_H

#include "tensor/checkpoint.h"

#include <stdbool.h>

enum qk_side_kind {
    QK_SIDE_MODEL,  /* config, tokenizer, code, texts: copied */
    QK_SIDE_STATE,  /* what trainers keep to go on: left out */
    QK_SIDE_HIDDEN, /* a name with a dot in front, or in such a folder: copied, and listed */
    QK_SIDE_OTHER,  /* anything else: copied, and listed */
    QK_SIDE_KINDS
};

/* The kind of a file, by its name relative to the folder; weights of the model are none of these. A folder is STATE by
 * its own name. */
enum qk_side_kind qk_side_kind_of(const char *name, bool is_folder);

#endif
