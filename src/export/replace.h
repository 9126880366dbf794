/* replace.h - the name of an export for a folder that was filled under another one.
 *
 * One rename exchanges the two, and what had the name is removed. Where a file system cannot exchange names, the old
 * folder stands aside as ".NAME.qkscope-replaced" while the new one gets its name. */
#ifndef QK_EXPORT_REPLACE_H
#define QK_EXPORT_REPLACE_H

#include "base/error.h"

#include <stdbool.h>

/* Gives the folder `sibling` the name `target` and syncs their parent. With `exists` it replaces the folder of that
 * name; else nothing but an empty folder is ever replaced. QK_IO. */
enum qk_code qk_replace_folder(const char *sibling, const char *target, bool exists, struct qk_error *err);

/* *aside = the path of the old folder that a killed replacement left. NULL: there is no such folder, or another program
 * holds it; the caller frees. */
enum qk_code qk_replaced_find(const char *target, char **aside, struct qk_error *err);

/* Ends what a kill interrupted: the old folder gets its name back, or goes where the new one has it. QK_IO when it
 * cannot get its name back. */
enum qk_code qk_replaced_recover(const char *target, struct qk_error *err);

#endif
