/* folders.h - the folders outside of the checkpoints that the program looks into. */
#ifndef QK_CLI_FOLDERS_H
#define QK_CLI_FOLDERS_H

#include "base/error.h"

/* One indented line each: what it is for, its path, and whether it is there; and one more where writes that
 * were killed left something in it (left_over.h). */
enum qk_code qk_folders_print(struct qk_error *err);

#endif
