/* side_files.h - the list of side files that an export leaves out, or copies though they are of no model. */
#ifndef QK_CLI_SIDE_FILES_H
#define QK_CLI_SIDE_FILES_H

#include "export/export_files.h"

/* Prints a heading and rows "SIZE  NAME" for each kind that has a file; nothing without any. */
void qk_side_files_print(const struct qk_export_files *files);

#endif
