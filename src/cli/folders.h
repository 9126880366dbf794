/* folders.h - the folders outside of the checkpoints that the program uses. */
#ifndef QK_CLI_FOLDERS_H
#define QK_CLI_FOLDERS_H

#include "base/error.h"

/* Prints an indented line for each folder: its use, its path, and whether it exists. One more line reports left-overs
 * of killed writes in it (left_over.h). */
enum qk_code qk_folders_print(struct qk_error *err);

#endif
